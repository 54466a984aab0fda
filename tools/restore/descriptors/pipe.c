/*
 * Pipes and FIFOs. Both ends of one inode are made once; every open file description of the
 * program is then opened through /proc/self/fd, whichever end and however many there are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "restore/descriptors/private.h"

static int refuse_pipe(struct restoration *restoration, const struct entry *entry, const char *what)
{
	return restore_refuse(restoration, "cannot %s of descriptor %d (%s): %s", what, entry->record.number,
			      entry->name, strerror(errno));
}

static struct made_pipe *find_pipe(struct restoration *restoration, const struct entry *entry)
{
	for (size_t i = 0; i < restoration->pipe_count; i++)
		if (restoration->pipes[i].inode == entry->record.inode &&
		    restoration->pipes[i].device == entry->record.device)
			return &restoration->pipes[i];
	return NULL;
}

/* A FIFO open for both never waits for the other side. */
static int make_ends(const struct entry *entry, int ends[2])
{
	struct stat status;
	if (entry->record.kind == DESCRIPTOR_PIPE)
		return pipe2(ends, O_CLOEXEC | O_NONBLOCK);
	if (stat(entry->name, &status) < 0)
		return -1;
	errno = ENOTSUP;
	ends[0] = S_ISFIFO(status.st_mode) ? open(entry->name, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
	ends[1] = ends[0] < 0 ? -1 : dup(ends[0]);
	return ends[1] < 0 ? -1 : 0;
}

static struct made_pipe *make_pipe(struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_pipe *recorded = PAYLOAD(entry, struct descriptor_pipe);
	struct made_pipe *grown = realloc(restoration->pipes, (restoration->pipe_count + 1) * sizeof(struct made_pipe));
	if (grown == NULL)
		return NULL;
	restoration->pipes = grown;
	struct made_pipe *pipe = &grown[restoration->pipe_count];
	pipe->device = entry->record.device;
	pipe->inode = entry->record.inode;
	if (make_ends(entry, pipe->ends) < 0)
		return NULL;
	for (int i = 0; i < 2; i++)
		pipe->ends[i] = restore_move_up(restoration, pipe->ends[i]);
	if (pipe->ends[0] < 0 || pipe->ends[1] < 0)
		return NULL;
	/* Refused when the user's pipes take too much memory: a smaller pipe is still a pipe. */
	if (entry->record.kind == DESCRIPTOR_PIPE && (int)recorded->capacity > 0)
		fcntl(pipe->ends[1], F_SETPIPE_SZ, (int)recorded->capacity);
	restoration->pipe_count++;
	return pipe;
}

static bool write_message(void *context, const struct message *message)
{
	const int *end = context;
	return write(*end, message->bytes, message->length) == (ssize_t)message->length;
}

static int put_back_unread(struct restoration *restoration, const struct entry *entry, int end)
{
	int flags = fcntl(end, F_GETFL);
	if (PAYLOAD(entry, struct descriptor_pipe)->packets) /* they keep their boundaries */
		fcntl(end, F_SETFL, flags | O_DIRECT);
	errno = EAGAIN;
	bool written = restore_each_message(entry, sizeof(struct descriptor_pipe), write_message, &end);
	int error = errno;
	fcntl(end, F_SETFL, flags);
	errno = error;
	return written ? 0 : refuse_pipe(restoration, entry, "put back the unread contents");
}

/* The other end was outside: reads give what was unread, then end of file; writes EPIPE. */
static int open_closed_pipe(struct restoration *restoration, struct entry *entry)
{
	int ends[2];
	bool reads = (entry->record.flags & O_ACCMODE) == O_RDONLY;
	int result = 0;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return refuse_pipe(restoration, entry, "make the pipe");
	if (reads) {
		fcntl(ends[1], F_SETPIPE_SZ, (int)PAYLOAD(entry, struct descriptor_pipe)->capacity);
		result = put_back_unread(restoration, entry, ends[1]);
	}
	close(ends[reads ? 1 : 0]);
	if (result < 0) {
		close(ends[0]);
		return result;
	}
	entry->temporary = restore_move_up(restoration, ends[reads ? 0 : 1]);
	return entry->temporary < 0 ? refuse_pipe(restoration, entry, "make the pipe") : 0;
}

int restore_open_pipe(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_pipe *recorded = PAYLOAD(entry, struct descriptor_pipe);
	int access = (int)entry->record.flags & O_ACCMODE;
	if (entry->record.kind == DESCRIPTOR_PIPE && !recorded->inside)
		return open_closed_pipe(restoration, entry);
	struct made_pipe *pipe = find_pipe(restoration, entry);
	if (pipe == NULL)
		pipe = make_pipe(restoration, entry);
	if (pipe == NULL)
		return refuse_pipe(restoration, entry, "make the pipe");
	int end = pipe->ends[access == O_RDONLY ? 0 : 1];
	entry->temporary = restore_move_up(restoration, restore_reopen(end, access | O_NONBLOCK));
	if (entry->temporary < 0)
		return refuse_pipe(restoration, entry, "open the pipe");
	return entry->record.kind == DESCRIPTOR_PIPE ? put_back_unread(restoration, entry, pipe->ends[1]) : 0;
}

/* Others may have the FIFO open: what it still holds is what was unread. */
int restore_commit_fifo(struct restoration *restoration, struct entry *entry)
{
	const struct made_pipe *pipe = find_pipe(restoration, entry);
	int unread = 0;
	if (pipe == NULL || !PAYLOAD(entry, struct descriptor_pipe)->inside ||
	    (ioctl(pipe->ends[0], FIONREAD, &unread) == 0 && unread > 0))
		return 0;
	return put_back_unread(restoration, entry, pipe->ends[1]);
}
