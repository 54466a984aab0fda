/*
 * Watches of inotify: a directory and a file in it, under their numbers, with gaps between these. An
 * event that was not read at a kill may be lost, and what made it come again.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "victim.h"

#define PATIENCE_MS 300

static int inotify, directory_watch, file_watch;

/* Waits for an event on this watch with one of these bits; others are passed over. */
static bool await(int watch, uint32_t mask)
{
	union {
		struct inotify_event event;
		char bytes[4096];
	} buffer;
	for (;;) {
		struct pollfd entry = {.fd = inotify, .events = POLLIN};
		if (poll(&entry, 1, PATIENCE_MS) == 0)
			return false;
		ssize_t length = read(inotify, &buffer, sizeof(buffer));
		CHECK(length > 0 || errno == EAGAIN);
		for (ssize_t at = 0; at < length;) {
			const struct inotify_event *event = (const void *)(buffer.bytes + at);
			CHECK(event->wd == directory_watch || event->wd == file_watch);
			CHECK((event->mask & (IN_IGNORED | IN_Q_OVERFLOW)) == 0);
			if (event->wd == watch && (event->mask & mask))
				return true;
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	}
}

static void change_file(int file)
{
	do
		CHECK_EQUAL(pwrite(file, "x", 1, 0), 1);
	while (!await(file_watch, IN_MODIFY));
}

static void make_directory_entry(void)
{
	do {
		unlink("watched/new");
		CHECK_EQUAL(symlink("somewhere", "watched/new"), 0);
	} while (!await(directory_watch, IN_CREATE));
}

static void use_up_numbers(int count)
{
	while (count-- > 0)
		CHECK_EQUAL(inotify_rm_watch(inotify, inotify_add_watch(inotify, "/", IN_DELETE_SELF)), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 1600), i;
	CHECK(mkdir("watched", 0755) == 0 || errno == EEXIST);
	int file = open("watched/file", O_RDWR | O_CREAT, 0644);
	CHECK(file >= 0);
	inotify = inotify_init1(IN_NONBLOCK);
	CHECK(inotify >= 0);
	use_up_numbers(3);
	directory_watch = inotify_add_watch(inotify, "watched", IN_CREATE);
	use_up_numbers(5);
	file_watch = inotify_add_watch(inotify, "watched/file", IN_MODIFY);
	CHECK_EQUAL(directory_watch, 4);
	CHECK_EQUAL(file_watch, 10);
	while (poll(&(struct pollfd){.fd = inotify, .events = POLLIN}, 1, 0) == 1) {
		char events[4096]; /* IN_IGNORED */
		CHECK(read(inotify, events, sizeof(events)) > 0);
	}
	for (i = 0; i < rounds; i++) {
		spin((uint64_t)i, 100000);
		change_file(file);
		make_directory_entry();
	}
	printf("inotify: %ld rounds, %d %d\n", i, directory_watch, file_watch);
	return 0;
}
