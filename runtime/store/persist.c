#include "persist.h"

#ifdef __x86_64__
#include <emmintrin.h>
#endif
#include <dlfcn.h>
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define SEGMENTS_AT_FIRST 512 /* one page of pointers */
#define ZERO_BYTES 65536

void (*rt_persist_observer)(enum persist_event event, const struct persist_file *file, uint64_t offset,
			    uint64_t length);

/* libpmem's functions; all NULL, or none. */
static struct {
	void *(*memcpy_nodrain)(void *destination, const void *source, size_t length);
	void (*flush)(const void *address, size_t length);
	void (*drain)(void);
} pmem;

int rt_persist_load_libpmem(void)
{
	if (rt_persist_has_libpmem())
		return 0;
	void *library = dlopen("libpmem.so.1", RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return -ENOENT;
	*(void **)&pmem.memcpy_nodrain = dlsym(library, "pmem_memcpy_nodrain");
	*(void **)&pmem.flush = dlsym(library, "pmem_flush");
	*(void **)&pmem.drain = dlsym(library, "pmem_drain");
	if (pmem.memcpy_nodrain && pmem.flush && pmem.drain)
		return 0;
	memset(&pmem, 0, sizeof(pmem));
	dlclose(library);
	return -ENOENT;
}

bool rt_persist_has_libpmem(void)
{
	return pmem.drain != NULL;
}

/* Maps with MAP_SYNC. The kernel refuses MAP_SHARED_VALIDATE together with MAP_FIXED_NOREPLACE, by
 * which rt_memory_map_file() places its mappings: so one of these is made first, then replaced. */
static void *map_synchronous(int fd, size_t bytes, off_t offset, int prot, int *error)
{
	void *place = rt_memory_map_file(fd, bytes, offset, prot, MAP_SHARED, error);
	if (place == NULL)
		return NULL;
	void *block = rt_sys_mmap(place, bytes, prot, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, fd, offset);
	if (rt_is_error(block)) {
		*error = (int)(intptr_t)block;
		rt_memory_unmap(place, bytes);
		return NULL;
	}
	rt_syscall(SYS_madvise, block, bytes, MADV_DONTFORK);
	return block;
}

bool rt_persist_probe_pmem(int fd)
{
	int error;
	void *page = map_synchronous(fd, RT_PAGE_SIZE, 0, PROT_READ, &error);
	if (page == NULL)
		return false;
	rt_memory_unmap(page, RT_PAGE_SIZE);
	return true;
}

static void observe(enum persist_event event, const struct persist_file *file, uint64_t offset, uint64_t length)
{
	if (__builtin_expect(rt_persist_observer != NULL, 0))
		rt_persist_observer(event, file, offset, length);
}

static int make_room_for_segment(struct persist_file *file, size_t number)
{
	size_t capacity = file->segment_capacity ? file->segment_capacity : SEGMENTS_AT_FIRST;
	while (capacity <= number)
		capacity *= 2;
	if (capacity == file->segment_capacity)
		return 0;
	size_t bytes = capacity * sizeof(*file->segments);
	void *block = file->segments == NULL
			      ? rt_memory_map(bytes)
			      : rt_memory_grow(file->segments, file->segment_capacity * sizeof(*file->segments), bytes);
	if (block == NULL)
		return -ENOMEM;
	file->segments = block;
	file->segment_capacity = capacity;
	return 0;
}

static int map_segment(struct persist_file *file, size_t number)
{
	int error = make_room_for_segment(file, number);
	if (error < 0 || file->segments[number] != NULL)
		return error;
	if ((error = rt_fail(RT_FAIL_STORE_MAP)) < 0)
		return error;
	int prot = file->writable ? PROT_READ | PROT_WRITE : PROT_READ;
	off_t offset = (off_t)(number << PERSIST_SEGMENT_SHIFT);
	if (file->map_sync)
		file->segments[number] = map_synchronous(file->fd, PERSIST_SEGMENT_BYTES, offset, prot, &error);
	else
		file->segments[number] =
			rt_memory_map_file(file->fd, PERSIST_SEGMENT_BYTES, offset, prot, MAP_SHARED, &error);
	return file->segments[number] == NULL ? error : 0;
}

int rt_persist_map(struct persist_file *file, uint64_t offset, uint64_t length)
{
	if (length == 0)
		return 0;
	size_t last = (offset + length - 1) >> PERSIST_SEGMENT_SHIFT;
	for (size_t number = offset >> PERSIST_SEGMENT_SHIFT; number <= last; number++) {
		int error = map_segment(file, number);
		if (error < 0)
			return error;
	}
	return 0;
}

#ifdef __x86_64__
/* Past the caches: what goes to the log is not read again soon, and the lines of the destination
 * need not be fetched. Both aligned to 64, as is length. */
static void stream(void *destination, const void *source, size_t length)
{
	__m128i *to = destination;
	const __m128i *from = source;
	for (size_t i = 0; i < length / sizeof(*to); i += 4) {
		__m128i a = _mm_load_si128(from + i), b = _mm_load_si128(from + i + 1);
		__m128i c = _mm_load_si128(from + i + 2), d = _mm_load_si128(from + i + 3);
		_mm_stream_si128(to + i, a);
		_mm_stream_si128(to + i + 1, b);
		_mm_stream_si128(to + i + 2, c);
		_mm_stream_si128(to + i + 3, d);
	}
}

static void fence(void)
{
	_mm_sfence();
}
#else
static void stream(void *destination, const void *source, size_t length)
{
	memcpy(destination, source, length);
}

static void fence(void)
{
}
#endif

static bool is_worth_streaming(const void *destination, const void *source, size_t length)
{
	return length >= RT_PAGE_SIZE && (((uintptr_t)destination | (uintptr_t)source | length) & 63) == 0;
}

void rt_persist_copy(struct persist_file *file, uint64_t offset, const void *source, size_t length)
{
	void *destination = rt_persist_address(file, offset);
	if (file->kind == PERSIST_PMEM) {
		pmem.memcpy_nodrain(destination, source, length);
	} else {
		if (is_worth_streaming(destination, source, length))
			stream(destination, source, length);
		else
			memcpy(destination, source, length);
		file->needs_sync = true;
	}
	observe(PERSIST_STORED, file, offset, length);
}

void rt_persist_flush(struct persist_file *file, uint64_t offset, size_t length)
{
	if (file->kind == PERSIST_PMEM)
		pmem.flush(rt_persist_address(file, offset), length);
	else
		file->needs_sync = true;
	observe(PERSIST_STORED, file, offset, length);
}

/* Skips the first `done` bytes of the buffers. */
static void advance(struct iovec **buffers, size_t *count, size_t done)
{
	while (*count > 0 && done >= (*buffers)->iov_len) {
		done -= (*buffers)->iov_len;
		(*buffers)++;
		(*count)--;
	}
	if (*count > 0) {
		(*buffers)->iov_base = (char *)(*buffers)->iov_base + done;
		(*buffers)->iov_len -= done;
	}
}

/* Asked before a file becomes longer, which would hide that somebody has made it shorter. */
static int look_at_size(const struct persist_file *file, struct stat *status)
{
	int error = rt_sys_fstat(file->fd, status);
	return error == 0 && (uint64_t)status->st_size < file->size ? -EBADMSG : error;
}

/*
 * Where the first bytes are that somebody has stored. A file that is cut short right after a look at it, and then given its
 * size back by growing or by a write at its end, has them later than before, or none.
 */
static uint64_t first_data(const struct persist_file *file)
{
	long offset = rt_syscall(SYS_lseek, file->fd, 0, SEEK_DATA);
	return offset < 0 ? UINT64_MAX : (uint64_t)offset;
}

static uint64_t length_of(const struct iovec *buffers, size_t count)
{
	uint64_t length = 0;
	for (size_t i = 0; i < count; i++)
		length += buffers[i].iov_len;
	return length;
}

int rt_persist_write(struct persist_file *file, uint64_t offset, struct iovec *buffers, size_t count)
{
	struct stat status;
	uint64_t start = offset;
	/* Any other leaves a file that was cut shorter than it is to be, which the next look finds. */
	bool is_last = offset + length_of(buffers, count) >= file->size;
	uint64_t data = is_last ? first_data(file) : 0;
	int error = look_at_size(file, &status);
	if (error < 0)
		return error;
	advance(&buffers, &count, 0);
	while (count > 0) {
		long done = rt_fail(RT_FAIL_STORE_WRITE);
		if (done == 0)
			done = rt_syscall(SYS_pwritev, file->fd, buffers, count, offset, 0);
		if (done == -EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? (int)done : -EIO;
		file->needs_sync = true;
		offset += (uint64_t)done;
		if (file->size < offset)
			file->size = offset;
		advance(&buffers, &count, (size_t)done);
	}
	observe(PERSIST_WRITTEN, file, start, offset - start);
	return is_last && first_data(file) > data ? -EBADMSG : 0;
}

/* For file systems without fallocate(): real zeros take real blocks. */
static int write_zeros(struct persist_file *file, uint64_t size)
{
	static const char zeros[ZERO_BYTES];
	uint64_t offset = file->size;
	while (offset < size) {
		size_t length = size - offset < ZERO_BYTES ? size - offset : ZERO_BYTES;
		long done = rt_sys_pwrite(file->fd, zeros, length, (off_t)offset);
		if (done == -EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? (int)done : -EIO;
		offset += (uint64_t)done;
	}
	return 0;
}

/* Above its limit of file sizes a thread gets SIGXFSZ, which would end the program. */
static bool is_above_limit(uint64_t size)
{
	struct rlimit limit;
	return rt_syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) == 0 && size > limit.rlim_cur;
}

int rt_persist_grow(struct persist_file *file, uint64_t size)
{
	struct stat status;
	if (size <= file->size)
		return 0;
	uint64_t data = first_data(file);
	int error = look_at_size(file, &status);
	if (error == 0 && is_above_limit(size))
		error = -EFBIG;
	if (error == 0)
		error = rt_fail(RT_FAIL_STORE_GROW);
	if (error < 0)
		return error;
	do {
		error = rt_sys_fallocate(file->fd, 0, (off_t)file->size, (off_t)(size - file->size));
	} while (error == -EINTR);
	if (error == -EOPNOTSUPP)
		error = write_zeros(file, size);
	if (error < 0)
		return error;
	uint64_t old_size = file->size;
	file->size = size;
	file->needs_sync = true;
	observe(PERSIST_RESIZED, file, old_size, size - old_size);
	return first_data(file) > data ? -EBADMSG : 0;
}

/* Only in memory file systems: elsewhere it would make the kernel write the pages out. */
static bool is_memory_file(int fd)
{
	struct statfs status;
	return rt_syscall(SYS_fstatfs, fd, &status) == 0 && (unsigned long)status.f_type == TMPFS_MAGIC;
}

void rt_persist_populate(struct persist_file *file, uint64_t end)
{
	if (end > file->size)
		end = file->size;
	if (end <= file->populated || !is_memory_file(file->fd))
		return;
	for (uint64_t offset = file->populated; offset < end;) {
		uint64_t length = PERSIST_SEGMENT_BYTES - (offset & (PERSIST_SEGMENT_BYTES - 1));
		if (length > end - offset)
			length = end - offset;
		if (rt_persist_map(file, offset, length) < 0)
			return;
		rt_syscall(SYS_madvise, rt_persist_address(file, offset), length, MADV_POPULATE_WRITE);
		offset += length;
	}
	file->populated = end;
}

int rt_persist_cut(struct persist_file *file, uint64_t size)
{
	if (size >= file->size)
		return 0;
	int error = rt_fail(RT_FAIL_STORE_CUT);
	if (error == 0)
		error = rt_sys_ftruncate(file->fd, (off_t)size);
	if (error < 0)
		return error;
	uint64_t old_size = file->size;
	file->size = size;
	if (file->populated > size)
		file->populated = size;
	file->needs_sync = true;
	observe(PERSIST_RESIZED, file, size, old_size - size);
	return 0;
}

int rt_persist_punch(struct persist_file *file, uint64_t offset, uint64_t length)
{
	int error = rt_fail(RT_FAIL_STORE_PUNCH);
	if (error == 0)
		error = rt_sys_fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
					 (off_t)length);
	if (error < 0)
		return error;
	file->needs_sync = true;
	observe(PERSIST_PUNCHED, file, offset, length);
	return 0;
}

int rt_persist_drain(struct persist_file *file)
{
	/* The page cache outlives the process: the order of the stores is all there is to keep. */
	__asm__ volatile("" ::: "memory");
	fence();
	if (file->kind == PERSIST_PMEM)
		pmem.drain();
	int failed = rt_fail(RT_FAIL_STORE_DRAIN);
	if (failed < 0)
		return failed;
	if (file->kind != PERSIST_PROCESS && file->needs_sync) {
		int error = (int)rt_syscall(SYS_fdatasync, file->fd);
		if (error < 0)
			return error;
	}
	file->needs_sync = false;
	observe(PERSIST_DRAINED, file, 0, 0);
	return 0;
}

int rt_persist_read(const struct persist_file *file, void *buffer, size_t length, uint64_t offset)
{
	unsigned char *to = buffer;
	while (length > 0) {
		ssize_t got = rt_sys_pread(file->fd, to, length, (off_t)offset);
		if (got == -EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? (int)got : -EBADMSG;
		to += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
	}
	return 0;
}

int rt_persist_look(const struct persist_file *file)
{
	struct stat status;
	int error = look_at_size(file, &status);
	return (error == 0 || error == -EBADMSG) && status.st_nlink == 0 ? -ESTALE : error;
}

static void unmap_segments(struct persist_file *file)
{
	for (size_t i = 0; i < file->segment_capacity; i++) {
		if (file->segments[i] != NULL)
			rt_memory_unmap(file->segments[i], PERSIST_SEGMENT_BYTES);
	}
	if (file->segments != NULL)
		rt_memory_unmap(file->segments, file->segment_capacity * sizeof(*file->segments));
	file->segments = NULL;
	file->segment_capacity = 0;
}

int rt_persist_forget(struct persist_file *file)
{
	struct stat status;
	unmap_segments(file);
	file->populated = 0;
	int error = rt_sys_fstat(file->fd, &status);
	if (error == 0)
		file->size = (uint64_t)status.st_size;
	return error;
}

void rt_persist_close(struct persist_file *file)
{
	unmap_segments(file);
	if (file->fd >= 0)
		rt_sys_close(file->fd);
	memset(file, 0, sizeof(*file));
	file->fd = -1;
}

/* ---- the directory ---- */

int rt_persist_make_file(int directory, const char *name, const void *contents, size_t length)
{
	int fd = rt_sys_openat(directory, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fd;
	int error = (int)rt_syscall(SYS_fchmod, fd, 0600); /* whatever the umask */
	ssize_t written = error < 0 ? error : rt_sys_write(fd, contents, length);
	if (written >= 0 && (size_t)written != length)
		written = -ENOSPC;
	if (written >= 0)
		written = rt_syscall(SYS_fsync, fd);
	rt_sys_close(fd);
	return written < 0 ? (int)written : 0;
}

int rt_persist_rename(int directory, const char *from, const char *to)
{
	return (int)rt_syscall(SYS_renameat, directory, from, directory, to);
}

int rt_persist_drain_directory(int directory)
{
	return (int)rt_syscall(SYS_fsync, directory);
}
