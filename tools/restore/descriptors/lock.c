/*
 * Locks of files. Those of an open file description are taken before anything outside is changed; whether
 * those of the process can be had is only asked: they are taken when no descriptor of ours is left to be closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "restore/descriptors/private.h"

/* Who holds a lock on the file, as far as /proc/locks tells; 0: it does not. */
static int find_holder(int fd)
{
	struct stat status;
	char line[256];
	int holder = 0;
	FILE *locks = fopen("/proc/locks", "re");
	if (locks == NULL || fstat(fd, &status) < 0) {
		if (locks != NULL)
			fclose(locks);
		return 0;
	}
	while (fgets(line, sizeof(line), locks) != NULL) {
		unsigned major, minor;
		unsigned long inode;
		int pid;
		if (sscanf(line, "%*d: %*s %*s %*s %d %x:%x:%lu", &pid, &major, &minor, &inode) == 4 &&
		    inode == status.st_ino && pid > 0)
			holder = pid;
	}
	fclose(locks);
	return holder;
}

static int refuse_locked(struct restoration *restoration, const struct entry *entry, int holder)
{
	if (holder == 0)
		holder = find_holder(entry->temporary);
	if (holder > 0)
		return restore_refuse(restoration, "%s, which the program had locked, is locked by process %d now",
				      entry->name, holder);
	return restore_refuse(restoration, "%s, which the program had locked, is locked by another process now",
			      entry->name);
}

static struct flock describe(const struct manifest_lock *lock)
{
	return (struct flock){
		.l_type = lock->exclusive ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = lock->start,
		.l_len = lock->end == INT64_MAX ? 0 : lock->end - lock->start + 1,
	};
}

/* One attempt: 0, or an errno value; EWOULDBLOCK with *holder set when another process holds it. */
static int try_lock(const struct entry *entry, const struct manifest_lock *lock, int *holder)
{
	struct flock request = describe(lock);
	int result = 0;
	*holder = 0;
	switch (lock->kind) {
	case LOCK_FLOCK: result = flock(entry->temporary, (lock->exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB); break;
	case LOCK_OFD: result = fcntl(entry->temporary, F_OFD_SETLK, &request); break;
	default:
		result = fcntl(entry->temporary, F_GETLK, &request);
		if (result < 0 || request.l_type == F_UNLCK)
			break;
		*holder = request.l_pid > 0 ? request.l_pid : 0;
		return EWOULDBLOCK;
	}
	return result == 0 ? 0 : errno == EACCES ? EWOULDBLOCK : errno;
}

static int take_one(struct restoration *restoration, const struct manifest_lock *lock)
{
	const struct entry *entry = restore_find(restoration, lock->number);
	int error, holder;
	if (entry->lost || entry->stands_in || entry->temporary < 0)
		return 0;
	do
		error = try_lock(entry, lock, &holder);
	while (error != 0 && restore_be_patient(restoration, error));
	if (error == EWOULDBLOCK)
		return refuse_locked(restoration, entry, holder);
	if (error != 0)
		return restore_refuse(restoration, "cannot lock %s as the program had it: %s", entry->name,
				      strerror(error));
	return 0;
}

int restore_take_locks(struct restoration *restoration)
{
	for (size_t i = 0; i < restoration->lock_count; i++)
		if (take_one(restoration, &restoration->locks[i]) < 0)
			return -1;
	return 0;
}

static bool is_sane(struct restoration *restoration, const struct manifest_lock *lock)
{
	return restore_find(restoration, lock->number) != NULL && lock->kind >= LOCK_FLOCK && lock->kind <= LOCK_OFD &&
	       lock->exclusive <= 1 && lock->start >= 0 && lock->end >= lock->start;
}

int restore_add_lock(struct restoration *restoration, const void *payload, uint32_t length)
{
	struct manifest_lock lock;
	if (length != sizeof(lock))
		return restore_refuse(restoration, "the store's list of locks is damaged");
	memcpy(&lock, payload, sizeof(lock));
	if (!is_sane(restoration, &lock))
		return restore_refuse(restoration, "the store's list of locks is damaged");
	struct manifest_lock *grown = realloc(restoration->locks, (restoration->lock_count + 1) * sizeof(lock));
	if (grown == NULL)
		return restore_refuse(restoration, "out of memory");
	restoration->locks = grown;
	restoration->locks[restoration->lock_count++] = lock;
	return 0;
}
