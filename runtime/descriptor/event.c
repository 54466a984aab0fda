/*
 * eventfd, signalfd, inotify and epoll: objects without a name, whose state the kernel
 * shows in /proc/self/fdinfo. fstat() may show them all alike, so each capture checks that the
 * text is of its kind.
 */
#include <asm/ioctls.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/message.h"
#include "descriptor/table.h"

#define INFO_CHUNK (16 * 1024)

static const struct {
	const char *name;
	uint32_t kind;
} names[] = {
	{"anon_inode:[eventfd]", DESCRIPTOR_EVENTFD},   {"anon_inode:[timerfd]", DESCRIPTOR_TIMERFD},
	{"anon_inode:[signalfd]", DESCRIPTOR_SIGNALFD}, {"anon_inode:inotify", DESCRIPTOR_INOTIFY},
	{"anon_inode:[inotify]", DESCRIPTOR_INOTIFY},   {"anon_inode:[eventpoll]", DESCRIPTOR_EPOLL},
	{"anon_inode:[pidfd]", DESCRIPTOR_PIDFD},
};

void rt_descriptor_recognise_event(struct descriptor_table *table, struct descriptor *descriptor)
{
	descriptor->kind = DESCRIPTOR_LOST;
	if (rt_descriptor_read_name(table, descriptor) == 0) {
		const char *name = rt_descriptor_name(table, descriptor);
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (strcmp(name, names[i].name) == 0)
				descriptor->kind = names[i].kind;
	}
	if (descriptor->kind == DESCRIPTOR_LOST)
		descriptor->reason = "cannot be restored: the kernel does not tell its state";
}

/* ---- the text ---- */

int rt_descriptor_read_fdinfo(struct descriptor_table *table, int number)
{
	char path[16];
	size_t length = 0;
	rt_format(path, sizeof(path), "%d", number);
	int fd = rt_descriptor_open_file(rt_descriptor_info_directory(table, number), path, O_RDONLY);
	if (fd < 0)
		return fd;
	ssize_t part;
	do {
		part = -ENOMEM;
		if (rt_descriptor_reserve(&table->text, length + INFO_CHUNK + 1) < 0)
			break;
		part = rt_sys_read(fd, table->text.bytes + length, table->text.capacity - length - 1);
		if (part > 0)
			length += (size_t)part;
	} while (part > 0);
	rt_sys_close(fd);
	table->text.bytes[length] = '\0';
	return (int)part;
}

/* What follows `key` at the start of a line, or NULL. */
static const char *find_key(const char *text, const char *key)
{
	size_t length = strlen(key);
	while (text != NULL) {
		if (strncmp(text, key, length) == 0)
			return text + length;
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return NULL;
}

static unsigned digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	return UINT_MAX;
}

/* Skips what cannot start a number, reads one, leaves *text behind it. */
static uint64_t take_number(const char **text, unsigned base)
{
	uint64_t value = 0;
	while (**text == ' ' || **text == '\t' || **text == '(' || **text == ',')
		++*text;
	for (; digit_of(**text) < base; ++*text)
		value = value * base + digit_of(**text);
	return value;
}

bool rt_descriptor_get_number(const char *text, const char *key, unsigned base, uint64_t *value)
{
	const char *at = find_key(text, key);
	if (at != NULL)
		*value = take_number(&at, base);
	return at != NULL;
}

/* ---- the kinds ---- */

int rt_descriptor_capture_eventfd(struct descriptor_table *table, struct descriptor *descriptor,
				  struct manifest_writer *writer)
{
	struct descriptor_eventfd event = {0};
	uint64_t semaphore = 0;
	int result = rt_descriptor_read_fdinfo(table, descriptor->number);
	if (result < 0)
		return result;
	if (!rt_descriptor_get_number(table->text.bytes, "eventfd-count:", 16, &event.count))
		return -ESTALE;
	rt_descriptor_get_number(table->text.bytes, "eventfd-semaphore:", 10, &semaphore); /* Linux 6.5 */
	event.semaphore = semaphore != 0;
	rt_manifest_put(writer, &event, sizeof(event));
	return 0;
}

int rt_descriptor_capture_signalfd(struct descriptor_table *table, struct descriptor *descriptor,
				   struct manifest_writer *writer)
{
	struct descriptor_signalfd signals;
	int result = rt_descriptor_read_fdinfo(table, descriptor->number);
	if (result < 0)
		return result;
	if (!rt_descriptor_get_number(table->text.bytes, "sigmask:", 16, &signals.mask))
		return -ESTALE;
	rt_manifest_put(writer, &signals, sizeof(signals));
	return 0;
}

int rt_descriptor_capture_pidfd(struct descriptor_table *table, struct descriptor *descriptor,
				struct manifest_writer *writer)
{
	struct descriptor_pidfd process = {.pid = -1};
	int result = rt_descriptor_read_fdinfo(table, descriptor->number);
	if (result < 0)
		return result;
	const char *pid = find_key(table->text.bytes, "Pid:");
	if (pid == NULL)
		return -ESTALE;
	uint64_t number = take_number(&pid, 10); /* "-1" gives 0, and so does a process of another namespace */
	if (number > 0)
		process.pid = (int32_t)number;
	rt_manifest_put(writer, &process, sizeof(process));
	return 0;
}

/* "inotify wd:1 ino:2c1 sdev:fe00000 mask:100 ignored_mask:0 ...", `line` behind "wd:". */
static bool put_watch(const char *line, struct manifest_writer *writer)
{
	struct descriptor_watch watch = {.number = (int32_t)take_number(&line, 16)};
	const char *inode = strstr(line, "ino:"), *device = strstr(line, "sdev:"), *mask = strstr(line, "mask:");
	if (inode == NULL || device == NULL || mask == NULL)
		return false;
	inode += strlen("ino:");
	device += strlen("sdev:");
	mask += strlen("mask:");
	watch.inode = take_number(&inode, 16);
	watch.mask = (uint32_t)take_number(&mask, 16);
	const char *path = rt_descriptor_watched_path(take_number(&device, 16), watch.inode);
	watch.path_length = path != NULL ? (uint32_t)strlen(path) + 1 : 0;
	rt_manifest_put(writer, &watch, sizeof(watch));
	rt_manifest_put(writer, path, watch.path_length);
	rt_descriptor_pad(writer);
	return path != NULL;
}

/* The kernel shows a watch's inode, not its path: see watch.c. A descriptor without any looks the
 * same as other kinds in its text, hence the check by name. */
int rt_descriptor_capture_inotify(struct descriptor_table *table, struct descriptor *descriptor,
				  struct manifest_writer *writer)
{
	struct descriptor_inotify inotify = {0};
	int result = rt_descriptor_read_name(table, descriptor);
	if (result == 0 && strstr(rt_descriptor_name(table, descriptor), "inotify") == NULL)
		return -ESTALE;
	if (result == 0)
		result = rt_descriptor_read_fdinfo(table, descriptor->number);
	if (result < 0)
		return result;
	int unread = 0;
	if (rt_sys_ioctl(descriptor->number, FIONREAD, &unread) == 0)
		inotify.unread = (uint32_t)unread;
	size_t start = writer->length;
	rt_manifest_put(writer, &inotify, sizeof(inotify));
	const char *line = table->text.bytes;
	while ((line = find_key(line, "inotify wd:")) != NULL) {
		if (!put_watch(line, writer))
			descriptor->reason = "will be restored without some of its watches: their paths are not known";
		inotify.watches++;
	}
	if (!writer->failed)
		memcpy(writer->bytes + start, &inotify, sizeof(inotify));
	return 0;
}

/* An entry of an interest list, as the kernel shows it. */
struct shown {
	int epoll;      /* the list's descriptor */
	int number;     /* under which the file was added */
	uint32_t place; /* among the entries with that number */
	uint64_t inode;
};

/* Whether `descriptor` is that very file: the two ends of a pipe have one inode. */
static bool is_watched(const struct descriptor_table *table, const struct descriptor *descriptor,
		       const struct shown *shown)
{
	if (descriptor->inode != shown->inode || (descriptor->mode & S_IFMT) == 0)
		return false;
	struct kcmp_epoll_slot slot = {
		.efd = (uint32_t)shown->epoll, .tfd = (uint32_t)shown->number, .toff = shown->place};
	int self = rt_sys_gettid();
	return table->no_kcmp || rt_syscall(SYS_kcmp, self, self, KCMP_EPOLL_TFD, descriptor->number, &slot) <= 0;
}

/* The descriptor that stands for an entry of an interest list. The list keeps the number under
 * which the file was added; that number may be closed or mean another file by now, while a
 * duplicate keeps the entry alive. -1: no descriptor of the process is left. */
static int find_watched(struct descriptor_table *table, const struct shown *shown)
{
	const struct descriptor *watched = rt_descriptor_find(table, shown->number);
	if (watched != NULL && watched->inode == shown->inode)
		return shown->number;
	for (size_t i = 0; i < table->count; i++)
		if (is_watched(table, &table->entries[i], shown))
			return table->entries[i].number;
	return -1;
}

/* How many entries before `line` have that number. */
static uint32_t place_of(const struct descriptor_table *table, const char *line, int number)
{
	uint32_t place = 0;
	for (const char *at = table->text.bytes; (at = find_key(at, "tfd:")) != NULL && at < line;)
		place += (int)take_number(&at, 10) == number;
	return place;
}

/* "tfd: %8d events: %8x data: %16llx  pos:%lli ino:%lx sdev:%x", `line` behind "tfd:". */
static bool parse_interest(struct descriptor_table *table, int epoll, const char *line,
			   struct descriptor_interest *interest)
{
	const char *start = line;
	struct shown shown = {.epoll = epoll, .number = (int)take_number(&line, 10)};
	const char *events = strstr(line, "events:"), *data = strstr(line, "data:"), *inode = strstr(line, "ino:");
	if (events == NULL || data == NULL || inode == NULL)
		return false;
	events += strlen("events:");
	data += strlen("data:");
	inode += strlen("ino:");
	interest->events = (uint32_t)take_number(&events, 16);
	interest->data = take_number(&data, 16);
	shown.inode = take_number(&inode, 16);
	const struct descriptor *likely = rt_descriptor_find(table, shown.number);
	if (likely == NULL || likely->inode != shown.inode)
		shown.place = place_of(table, start, shown.number);
	interest->number = find_watched(table, &shown);
	return interest->number >= 0;
}

/* An interest list that is empty shows nothing of its own: then the name decides. */
int rt_descriptor_capture_epoll(struct descriptor_table *table, struct descriptor *descriptor,
				struct manifest_writer *writer)
{
	struct descriptor_epoll epoll = {0};
	struct descriptor_interest interest;
	int result = rt_descriptor_read_fdinfo(table, descriptor->number);
	if (result < 0)
		return result;
	const char *line = table->text.bytes;
	if (find_key(line, "tfd:") == NULL) {
		result = rt_descriptor_read_name(table, descriptor);
		if (result == 0 && strcmp(rt_descriptor_name(table, descriptor), "anon_inode:[eventpoll]") != 0)
			return -ESTALE;
	}
	size_t start = writer->length;
	rt_manifest_put(writer, &epoll, sizeof(epoll));
	while ((line = find_key(line, "tfd:")) != NULL) {
		if (!parse_interest(table, descriptor->number, line, &interest))
			continue;
		rt_manifest_put(writer, &interest, sizeof(interest));
		epoll.count++;
	}
	if (!writer->failed)
		memcpy(writer->bytes + start, &epoll, sizeof(epoll));
	return result < 0 ? result : 0;
}
