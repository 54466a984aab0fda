/*
 * POSIX message queues: opened by name, with the messages they have now. One that is gone, as after a reboot, or that
 * had no name any more, is made again, empty.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "restore/descriptors/private.h"

#define QUEUE_FLAGS (O_ACCMODE | O_NONBLOCK)
#define ATTEMPTS 100 /* to find a name that no other user has taken */

/* Under `name`, which must be free. */
static int make_queue(const struct restoration *restoration, const struct entry *entry, const char *name)
{
	const struct descriptor_queue *queue = PAYLOAD(entry, struct descriptor_queue);
	struct mq_attr attributes = {.mq_maxmsg = (long)queue->most_messages, .mq_msgsize = (long)queue->message_bytes};
	int fd = mq_open(name, ((int)entry->record.flags & QUEUE_FLAGS) | O_CREAT | O_EXCL, 0600, &attributes);
	if (fd >= 0)
		fchmod(fd, entry->record.mode & 07777);
	if (fd >= 0 && queue->unread > 0)
		restore_warn(restoration,
			     "message queue %s is gone, and what was in it (%llu messages); it is made again",
			     entry->name, (unsigned long long)queue->unread);
	return fd;
}

/* One of that name is what a restore has left that was killed right here: the numbers of processes come again. */
static int make_nameless(const struct restoration *restoration, const struct entry *entry)
{
	char name[64];
	int fd = -1;
	for (int attempt = 0; attempt < ATTEMPTS && fd < 0; attempt++) {
		snprintf(name, sizeof(name), "/respct-restore-%d-%d-%d", (int)getpid(), entry->record.number, attempt);
		mq_unlink(name);
		fd = make_queue(restoration, entry, name);
		if (fd < 0 && errno != EEXIST)
			break;
	}
	if (fd >= 0)
		mq_unlink(name);
	return fd;
}

static bool is_like(int fd, const struct descriptor_queue *queue)
{
	struct mq_attr attributes;
	return mq_getattr(fd, &attributes) == 0 && (uint64_t)attributes.mq_maxmsg == queue->most_messages &&
	       (uint64_t)attributes.mq_msgsize == queue->message_bytes;
}

/* A path only where the file system of the queues is mounted; a name has no other slash than its first. */
static int open_named(const struct restoration *restoration, const struct entry *entry)
{
	const char *name = strrchr(entry->name, '/');
	int fd = mq_open(name, (int)entry->record.flags & QUEUE_FLAGS);
	return fd < 0 && errno == ENOENT ? make_queue(restoration, entry, name) : fd;
}

int restore_open_queue(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_queue *queue = PAYLOAD(entry, struct descriptor_queue);
	const struct entry *same = restore_same_object(restoration, entry);
	int fd = same != NULL   ? restore_reopen(same->temporary, (int)entry->record.flags & QUEUE_FLAGS)
		 : queue->named ? open_named(restoration, entry)
				: make_nameless(restoration, entry);
	entry->temporary = restore_move_up(restoration, fd);
	if (entry->temporary < 0)
		return restore_refuse(restoration, "cannot open message queue %s as the program had it: %s",
				      entry->name, strerror(errno));
	if (!is_like(entry->temporary, queue))
		return restore_refuse(restoration,
				      "message queue %s, which the program had open, is another one now; remove it and "
				      "try again",
				      entry->name);
	if (queue->notifies)
		restore_warn(restoration, "no notification of messages in %s: mq_notify is not asked for again",
			     entry->name);
	return 0;
}
