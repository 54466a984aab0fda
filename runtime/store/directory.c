/*
 * The files of a store: their names, whose they may be, and the lock.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

static unsigned effective_user(void)
{
	return (unsigned)rt_syscall(SYS_geteuid);
}

/* What is wrong with the file `name` of the store; with the directory itself: "". */
#define explain_file(name, format, ...) rt_store_explain("%s%s" format, name, *(name) ? ": " : "", __VA_ARGS__)

/* Somebody else's file, or one that others may change, can say anything. Root may look at anybody's; but what it
 * wrote there, its owner could read. */
static int check_owner(int fd, const char *name, bool regular, bool writable)
{
	struct stat status;
	int error = rt_sys_fstat(fd, &status);
	if (error < 0)
		return error;
	if (regular && !S_ISREG(status.st_mode))
		return rt_store_damaged("%s: not a regular file", name);
	unsigned user = effective_user();
	if ((user != 0 || writable) && status.st_uid != user) {
		explain_file(name, "belongs to user %u, not to user %u", status.st_uid, user);
		return -EACCES;
	}
	if (regular && writable && status.st_nlink > 1) {
		rt_store_explain("%s: has another name (a hard link), which would change with it", name);
		return -EACCES;
	}
	if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		explain_file(name, "others may write to it (mode %u%u%u%u)", status.st_mode >> 9 & 7U,
			     status.st_mode >> 6 & 7U, status.st_mode >> 3 & 7U, status.st_mode & 7U);
		return -EACCES;
	}
	return 0;
}

/* The name of a new directory becomes durable with the directory it is in, should that be readable. */
static void drain_parent(int directory)
{
	int parent = rt_sys_openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (parent < 0)
		return;
	rt_persist_drain_directory(parent);
	rt_sys_close(parent);
}

/* With a slash behind it, the kernel would follow a symbolic link in spite of O_NOFOLLOW. */
static int open_no_link(const char *path)
{
	char plain[4096];
	size_t length = rt_format(plain, sizeof(plain), "%s", path);
	while (length > 1 && plain[length - 1] == '/')
		plain[--length] = '\0';
	return rt_sys_openat(AT_FDCWD, plain, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

int rt_store_open_directory(const char *path, bool create, bool writable)
{
	int error = -EEXIST;
	if (create) {
		error = (int)rt_syscall(SYS_mkdirat, AT_FDCWD, path, 0700);
		if (error < 0 && error != -EEXIST) {
			rt_store_explain("%s", rt_error_text(error));
			return error;
		}
	}
	int fd = open_no_link(path);
	if (fd < 0) {
		rt_store_explain("%s", fd == -ENOTDIR || fd == -ELOOP ? "not a directory, or a symbolic link to one"
								      : rt_error_text(fd));
		return fd;
	}
	if (error == 0)
		drain_parent(fd);
	error = check_owner(fd, "", false, writable);
	if (error < 0) {
		rt_sys_close(fd);
		return error;
	}
	return fd;
}

/* A descriptor with the same file, at `lowest` or above, instead of fd. */
static int move_up(int fd, int lowest)
{
	if (fd < 0 || fd >= lowest)
		return fd;
	int moved = rt_sys_fcntl(fd, F_DUPFD_CLOEXEC, lowest);
	rt_sys_close(fd);
	return moved;
}

/* `path` in `directory`; in messages it is `name`. */
static int open_file(int directory, const char *path, const char *name, int flags, int lowest_fd)
{
	/* O_NONBLOCK: a fifo in its place must not make us wait. */
	int fd = rt_sys_openat(directory, path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	fd = move_up(fd, lowest_fd);
	if (fd < 0) {
		rt_store_explain("%s: %s", name,
				 fd == -ENXIO || fd == -EISDIR ? "not a regular file" : rt_error_text(fd));
		return fd == -ELOOP || fd == -ENXIO ? -EBADMSG : fd;
	}
	int error = check_owner(fd, name, true, (flags & O_ACCMODE) != O_RDONLY);
	if (error < 0) {
		rt_sys_close(fd);
		return error;
	}
	return fd;
}

int rt_store_open_file(const char *directory, const char *name, int flags, int lowest_fd)
{
	char path[4096 + 16];
	rt_format(path, sizeof(path), "%s/%s", directory, name);
	int fd = open_file(AT_FDCWD, path, name, flags & ~O_TRUNC, lowest_fd);
	/* Only what has been found to be ours is cut. */
	int error = fd >= 0 && (flags & O_TRUNC) ? rt_sys_ftruncate(fd, 0) : 0;
	if (error < 0)
		rt_sys_close(fd);
	return error < 0 ? error : fd;
}

static int open_persist_file(struct store *store, struct persist_file *file, int directory, const char *name,
			     int lowest_fd)
{
	file->writable = store->writable;
	file->fd = open_file(directory, name, name, store->writable ? O_RDWR : O_RDONLY, lowest_fd);
	return file->fd < 0 ? file->fd : 0;
}

int rt_store_refresh_sizes(struct store *store)
{
	struct persist_file *files[] = {&store->super, &store->log, &store->home, &store->index};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct stat status;
		int error = rt_sys_fstat(files[i]->fd, &status);
		if (error < 0)
			return error;
		files[i]->size = (uint64_t)status.st_size;
	}
	return 0;
}

int rt_store_open_files(struct store *store, int directory, int lowest_fd)
{
	int error = open_persist_file(store, &store->super, directory, "super", lowest_fd);
	if (error < 0)
		return error;
	const struct {
		struct persist_file *file;
		const char *name;
	} others[] = {{&store->log, "log"}, {&store->home, "home"}, {&store->index, "index"}};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		error = open_persist_file(store, others[i].file, directory, others[i].name, lowest_fd);
		if (error == -ENOENT)
			return rt_store_damaged("%s: missing", others[i].name);
		if (error < 0)
			return error;
	}
	return 0;
}

int rt_store_take_lock(struct store *store, int directory, int lowest_fd, bool create, int *holder)
{
	/* Moved before it is locked: closing any descriptor of the file would release the lock. */
	store->lock_fd = open_file(directory, "lock", "lock", O_RDWR | (create ? O_CREAT : 0), lowest_fd);
	if (store->lock_fd < 0)
		return store->lock_fd;
	struct flock lock;
	do {
		lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int error = rt_sys_fcntl(store->lock_fd, F_SETLK, (long)&lock);
		if (error != -EAGAIN && error != -EACCES)
			return error;
		error = rt_sys_fcntl(store->lock_fd, F_GETLK, (long)&lock);
		if (error < 0)
			return error;
	} while (lock.l_type == F_UNLCK); /* it has been released between the two */
	if (holder != NULL)
		*holder = lock.l_pid;
	rt_store_explain("in use by process %d", lock.l_pid);
	return -EBUSY;
}

int rt_store_exists(int directory)
{
	if (rt_syscall(SYS_faccessat, directory, "super", F_OK) < 0)
		return 0;
	rt_store_explain("a store is there already");
	return -EEXIST;
}

int rt_store_has_others(int directory)
{
	static const char *const names[] = {"log", "home", "index", "super.new"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct stat status;
		int error = rt_sys_fstatat(directory, names[i], &status, AT_SYMLINK_NOFOLLOW);
		bool new_super = i == 3 && error == 0 && status.st_size <= (off_t)SUPER_FILE_BYTES;
		if (error == -ENOENT || (error == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1 &&
					 (status.st_size == 0 || new_super)))
			continue;
		rt_store_explain("%s: is there, but no store: name another directory, or remove it", names[i]);
		return -ENOTEMPTY;
	}
	return 0;
}
