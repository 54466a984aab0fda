/*
 * POSIX message queues. What is in one belongs to the kernel, like a System V queue's: it stays as it is when the
 * process dies, and is neither saved nor rolled back.
 */
#include <mqueue.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/parse.h"
#include "descriptor/table.h"

#define MQUEUE_MAGIC 0x19800202 /* f_type; not in the kernel's headers */

bool rt_descriptor_is_queue(const struct descriptor *descriptor)
{
	struct statfs status;
	return S_ISREG(descriptor->mode) && major(descriptor->device) == 0 && !(descriptor->flags & O_PATH) &&
	       rt_syscall(SYS_fstatfs, descriptor->number, &status) == 0 && status.f_type == MQUEUE_MAGIC;
}

/* What the kernel tells whoever may read one: "QSIZE:0 NOTIFY:0 SIGNO:0 NOTIFY_PID:0". */
static bool notifies(int fd)
{
	char text[128];
	ssize_t length = rt_sys_pread(fd, text, sizeof(text) - 1, 0);
	text[length > 0 ? length : 0] = '\0';
	const char *pid = strstr(text, "NOTIFY_PID:");
	if (pid == NULL)
		return false;
	pid += strlen("NOTIFY_PID:");
	return rt_parse_decimal(&pid) == (uint64_t)rt_sys_getpid();
}

int rt_descriptor_capture_queue(struct descriptor_table *table, struct descriptor *descriptor,
				struct manifest_writer *writer)
{
	(void)table;
	struct mq_attr attributes;
	if (rt_syscall(SYS_mq_getsetattr, descriptor->number, NULL, &attributes) < 0)
		return -ESTALE;
	struct descriptor_queue queue = {
		.most_messages = (uint64_t)attributes.mq_maxmsg,
		.message_bytes = (uint64_t)attributes.mq_msgsize,
		.unread = (uint64_t)attributes.mq_curmsgs,
		.named = descriptor->links > 0,
		.notifies = notifies(descriptor->number),
	};
	rt_manifest_put(writer, &queue, sizeof(queue));
	return 0;
}
