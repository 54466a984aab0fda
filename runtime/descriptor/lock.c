/*
 * Locks of files: those of flock(), of fcntl() for the process (POSIX) and for an open file description
 * (OFD).
 *
 * The kernel shows them in /proc/self/fdinfo, which is only read when the program has ever asked for a lock,
 * or may have inherited one. Those of open file descriptions are taken again by respct-restore, which can
 * refuse; those of the process by rt_resume(): closing any descriptor of the file would release them.
 */
#include <string.h>

#include "base/message.h"
#include "descriptor/table.h"

/* In the image: a restored program has locked before. */
static uint32_t program_locks;

void rt_descriptors_note_locking(void)
{
	if (__atomic_load_n(&program_locks, __ATOMIC_RELAXED) == 0)
		__atomic_store_n(&program_locks, 1, __ATOMIC_RELEASE);
}

/* ---- capture ---- */

static const char *skip_word(const char *at)
{
	while (*at != ' ' && *at != '\t' && *at != '\n' && *at != '\0')
		at++;
	while (*at == ' ' || *at == '\t')
		at++;
	return at;
}

static bool is_word(const char *at, const char *word)
{
	size_t length = strlen(word);
	return strncmp(at, word, length) == 0 && (at[length] == ' ' || at[length] == '\n' || at[length] == '\0');
}

static int64_t parse_offset(const char *at)
{
	int64_t value = 0;
	if (is_word(at, "EOF"))
		return INT64_MAX;
	for (; *at >= '0' && *at <= '9'; at++)
		value = value * 10 + (*at - '0');
	return value;
}

/* "lock:  1: POSIX  ADVISORY  WRITE 4711 08:01:1234 0 EOF"; false for a lease. */
static bool parse_lock(const char *line, struct manifest_lock *lock)
{
	const char *at = skip_word(skip_word(line));
	lock->kind = is_word(at, "FLOCK")    ? LOCK_FLOCK
		     : is_word(at, "POSIX")  ? LOCK_POSIX
		     : is_word(at, "OFDLCK") ? LOCK_OFD
					     : 0;
	at = skip_word(skip_word(at));
	lock->exclusive = is_word(at, "WRITE");
	at = skip_word(skip_word(skip_word(at)));
	lock->start = parse_offset(at);
	lock->end = parse_offset(skip_word(at));
	return lock->kind != 0;
}

/* A lock of the process shows at every descriptor of the file; it can be taken through some of them. */
static bool can_take(const struct descriptor *descriptor, const struct manifest_lock *lock)
{
	uint32_t access = descriptor->flags & O_ACCMODE;
	return lock->kind == LOCK_FLOCK || access == O_RDWR || access == (lock->exclusive ? O_WRONLY : O_RDONLY);
}

static void put_locks(struct descriptor_table *table, const struct descriptor *descriptor,
		      struct manifest_writer *writer)
{
	for (const char *line = strstr(table->text.bytes, "lock:"); line != NULL; line = strstr(line + 1, "\nlock:")) {
		struct manifest_lock lock = {.number = descriptor->number};
		line += *line == '\n';
		if (!parse_lock(line, &lock) || !can_take(descriptor, &lock))
			continue;
		rt_manifest_add(writer, MANIFEST_LOCK, &lock, sizeof(lock));
		table->has_locks = true;
	}
}

static bool may_be_locked(const struct descriptor *descriptor)
{
	return (S_ISREG(descriptor->mode) || S_ISDIR(descriptor->mode) || S_ISCHR(descriptor->mode) ||
		S_ISBLK(descriptor->mode) || S_ISFIFO(descriptor->mode)) &&
	       descriptor->shared_with < 0 && !(descriptor->flags & O_PATH);
}

int rt_descriptor_capture_locks(struct descriptor_table *table, struct manifest_writer *writer)
{
	if (table->locks_looked_for && !table->has_locks && !__atomic_load_n(&program_locks, __ATOMIC_ACQUIRE))
		return 0;
	table->locks_looked_for = true;
	for (size_t i = 0; i < table->count; i++) {
		if (!may_be_locked(&table->entries[i]))
			continue;
		int result = rt_descriptor_read_fdinfo(table, table->entries[i].number);
		if (result < 0)
			return result;
		put_locks(table, &table->entries[i], writer);
	}
	return 0;
}

/* ---- resume ---- */

static int take_posix(const struct manifest_lock *lock)
{
	struct flock request = {
		.l_type = lock->exclusive ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = lock->start,
		.l_len = lock->end == INT64_MAX ? 0 : lock->end - lock->start + 1,
	};
	int result = rt_sys_fcntl(lock->number, F_SETLK, (long)&request);
	/* A descriptor that could not be restored has said so. */
	return result == -EBADF ? 0 : result;
}

int rt_descriptors_lock_again(const void *manifest, size_t length)
{
	struct manifest_reader reader = {.bytes = manifest, .length = length};
	uint32_t kind, size;
	const void *payload;
	int result = 0;
	while (result == 0 && manifest != NULL && rt_manifest_next(&reader, &kind, &payload, &size) == 1) {
		const struct manifest_lock *lock = payload;
		if (kind == MANIFEST_LOCK && size == sizeof(*lock) && lock->kind == LOCK_POSIX)
			result = take_posix(lock);
	}
	return result;
}
