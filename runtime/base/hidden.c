/* The set of the runtime's own descriptors; see hidden.h. In the image: resume sets it anew. */
#include "hidden.h"

#include <errno.h>
#include <stdint.h>
#include <sys/resource.h>

#include "sys.h"

/*
 * Numbers are taken just below the limit, so that a program that counts its descriptors up does
 * not meet them; bounded, because the kernel's table grows with the highest number.
 */
#define HIGHEST_NUMBER 65536
#define RESERVED_NUMBERS 64
#define MAX_HIDDEN 64

static int hidden[MAX_HIDDEN]; /* fd + 1; 0: free */

int rt_hidden_floor(void)
{
	struct rlimit limit;
	int highest = HIGHEST_NUMBER;
	if (rt_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) == 0 && limit.rlim_cur < HIGHEST_NUMBER)
		highest = (int)limit.rlim_cur;
	return highest > 2 * RESERVED_NUMBERS ? highest - RESERVED_NUMBERS : highest / 2;
}

void rt_hide_in_place(int fd)
{
	for (int i = 0; i < MAX_HIDDEN; i++) {
		if (__atomic_load_n(&hidden[i], __ATOMIC_RELAXED) == 0) {
			__atomic_store_n(&hidden[i], fd + 1, __ATOMIC_RELEASE);
			return;
		}
	}
}

int rt_hide(int fd)
{
	if (fd < 0)
		return fd;
	int high = rt_sys_fcntl(fd, F_DUPFD_CLOEXEC, rt_hidden_floor());
	rt_sys_close(fd);
	if (high >= 0)
		rt_hide_in_place(high);
	return high;
}

void rt_unhide(int fd)
{
	for (int i = 0; i < MAX_HIDDEN; i++)
		if (hidden[i] == fd + 1)
			__atomic_store_n(&hidden[i], 0, __ATOMIC_RELEASE);
}

bool rt_is_hidden(int fd)
{
	if (fd < 0)
		return false;
	for (int i = 0; i < MAX_HIDDEN; i++)
		if (__atomic_load_n(&hidden[i], __ATOMIC_RELAXED) == fd + 1)
			return true;
	return false;
}

int rt_next_hidden(int fd)
{
	int next = -1;
	for (int i = 0; i < MAX_HIDDEN; i++) {
		int number = __atomic_load_n(&hidden[i], __ATOMIC_RELAXED) - 1;
		if (number >= fd && (next < 0 || number < next))
			next = number;
	}
	return next;
}

void rt_hidden_reset(void)
{
	for (int i = 0; i < MAX_HIDDEN; i++)
		hidden[i] = 0;
}

void rt_close_hidden(void)
{
	for (int i = 0; i < MAX_HIDDEN; i++) {
		if (hidden[i] != 0)
			rt_sys_close(hidden[i] - 1);
		hidden[i] = 0;
	}
}
