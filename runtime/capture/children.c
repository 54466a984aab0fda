/*
 * Children: those that run at the checkpoint are lost with it, and waiting for one then reports
 * SIGKILL; those that have ended and were not waited for keep their status. In the stop.
 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/message.h"
#include "base/sys.h"
#include "descriptor/table.h"
#include "engine.h"

#define CHILDREN_BUFFER 4096

/* wait(2)'s encoding of what waitid(2) says. */
static int wait_status(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED)
		return (info->si_status & 0xff) << 8;
	return (info->si_status & 0x7f) | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

static void write_child(int pid, struct manifest_writer *writer)
{
	siginfo_t info = {0};
	struct manifest_child child = {.pid = pid};
	long result = rt_syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL, NULL);
	if (result == 0 && info.si_pid == pid) {
		child.ended = 1;
		child.status = wait_status(&info);
	}
	rt_manifest_add(writer, MANIFEST_CHILD, &child, sizeof(child));
}

/* The children that one thread has started: numbers with a blank after each. */
static int write_children_of(const struct engine *engine, int tid, struct manifest_writer *writer)
{
	char path[32], text[CHILDREN_BUFFER];
	ssize_t got;
	int pid = 0;
	rt_format(path, sizeof(path), "%d/children", tid);
	int fd = rt_descriptor_open_file(engine->task_dir, path, O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	while ((got = rt_sys_read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				pid = pid * 10 + (text[i] - '0');
			} else if (pid != 0) {
				write_child(pid, writer);
				pid = 0;
			}
		}
	}
	rt_sys_close(fd);
	return (int)got;
}

int rt_capture_children(struct engine *engine, struct manifest_writer *writer)
{
	siginfo_t info;
	if (rt_syscall(SYS_waitid, P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL, NULL) == -ECHILD)
		return 0;
	int result = 0;
	for (int i = 0; i < engine->thread_count && result == 0; i++)
		result = write_children_of(engine, engine->threads[i].tid, writer);
	return result;
}
