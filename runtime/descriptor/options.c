/*
 * The options of a socket: some fifty questions, too many for the stop.
 *
 * They are read before the stop and kept. Read again are those of a socket whose setsockopt() has
 * been called since (the shim tells, in the stop too), and at each checkpoint those of a few more in
 * turn, for programs that make the system call themselves.
 */
#include <linux/netlink.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>

#include "descriptor/table.h"

#define SLOTS 1024 /* descriptors n and n + SLOTS share one: one is read again in vain */
#define BUSY 0xffU /* calls under way, in the low bits of a slot; above: calls that have ended */
#define ENDED (BUSY + 1)
#define SEND_SIZE_SET 1 /* SOCK_SNDBUF_LOCK */
#define RECEIVE_SIZE_SET 2

#define X(name, level, option, bytes, usual) {level, option, bytes, usual},
static const struct {
	int level, option;
	uint32_t bytes;
	int32_t usual;
} options[DESCRIPTOR_OPTIONS] = {DESCRIPTOR_SOCKET_OPTIONS(X)};
#undef X

/* In the image: written by program threads. */
static uint32_t changes[SLOTS];

void rt_descriptors_option_begins(int fd)
{
	__atomic_add_fetch(&changes[(unsigned)fd % SLOTS], 1, __ATOMIC_ACQ_REL);
}

void rt_descriptors_option_ends(int fd)
{
	__atomic_add_fetch(&changes[(unsigned)fd % SLOTS], ENDED - 1, __ATOMIC_ACQ_REL);
}

uint32_t rt_descriptor_option_changes(int fd)
{
	return __atomic_load_n(&changes[(unsigned)fd % SLOTS], __ATOMIC_ACQUIRE);
}

bool rt_descriptor_options_changed(int fd, uint32_t seen)
{
	uint32_t now = rt_descriptor_option_changes(fd);
	return now != seen || (now & BUSY) != 0;
}

static bool level_applies(const struct descriptor *descriptor, int level)
{
	switch (level) {
	case SOL_SOCKET: return true;
	case IPPROTO_TCP: return rt_descriptor_is_tcp(descriptor);
	case IPPROTO_IP: return descriptor->family == AF_INET;
	case SOL_NETLINK: return descriptor->family == AF_NETLINK;
	default: return descriptor->family == AF_INET6;
	}
}

static bool option_applies(const struct descriptor *descriptor, int option)
{
	/* What a connection says of its segments is the path's, not the program's. */
	if (option == DESCRIPTOR_OPTION_MAXSEG && descriptor->kind == DESCRIPTOR_CONNECTION)
		return false;
	return level_applies(descriptor, options[option].level);
}

/* The kernel doubles what it is given. One that sizes itself is left alone. */
static bool set_by_hand(int option, int locked, struct descriptor_option_value *value)
{
	int32_t size;
	if (option == DESCRIPTOR_OPTION_RCVBUF ? !(locked & RECEIVE_SIZE_SET) : !(locked & SEND_SIZE_SET))
		return false;
	memcpy(&size, value->value, sizeof(size));
	size /= 2;
	memcpy(value->value, &size, sizeof(size));
	return true;
}

static bool is_usual(int option, const struct descriptor_option_value *value)
{
	static const uint8_t zeros[DESCRIPTOR_OPTION_BYTES];
	int32_t number;
	if (value->length != sizeof(number))
		return memcmp(value->value, zeros, sizeof(zeros)) == 0;
	memcpy(&number, value->value, sizeof(number));
	return number == options[option].usual;
}

static bool get_value(int fd, int option, struct descriptor_option_value *value)
{
	socklen_t length = options[option].bytes;
	memset(value, 0, sizeof(*value));
	value->option = (uint32_t)option;
	if (rt_sys_getsockopt(fd, options[option].level, options[option].option, value->value, &length) < 0 ||
	    length > sizeof(value->value))
		return false;
	value->length = length;
	return true;
}

uint32_t rt_descriptor_get_options(const struct descriptor *descriptor, struct descriptor_option_value *values)
{
	int locked;
	uint32_t count = 0;
	if (!rt_descriptor_get_option(descriptor->number, SOL_SOCKET, SO_BUF_LOCK, &locked))
		locked = SEND_SIZE_SET | RECEIVE_SIZE_SET;
	for (int i = 0; i < DESCRIPTOR_OPTIONS; i++) {
		struct descriptor_option_value *value = &values[count];
		if (!option_applies(descriptor, i) || !get_value(descriptor->number, i, value))
			continue;
		if ((i == DESCRIPTOR_OPTION_RCVBUF || i == DESCRIPTOR_OPTION_SNDBUF) && !set_by_hand(i, locked, value))
			continue;
		if (!is_usual(i, value))
			count++;
	}
	return count;
}
