/*
 * The system calls the runtime uses, typed, without libc's errno.
 *
 * Each returns the kernel's result: >= 0, or -errno. A pointer result is checked with
 * rt_is_error(). Safe in any context: in a signal handler, on the checkpoint thread, while
 * threads are parked, and in the restorer.
 */
#ifndef RT_SYS_H
#define RT_SYS_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

#include "arch/x86_64/syscall.h"

#define RT_PAGE_SIZE 4096UL
#define RT_PAGE_SHIFT 12
#define RT_PAGE_ALIGN_DOWN(x) ((x) & ~(RT_PAGE_SIZE - 1))
#define RT_PAGE_ALIGN_UP(x) (((x) + RT_PAGE_SIZE - 1) & ~(RT_PAGE_SIZE - 1))

static inline bool rt_is_error(const void *result)
{
	return (uintptr_t)result >= (uintptr_t)-4095L;
}

static inline void *rt_sys_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	return (void *)rt_syscall(SYS_mmap, address, length, prot, flags, fd, offset);
}

static inline int rt_sys_munmap(void *address, size_t length)
{
	return (int)rt_syscall(SYS_munmap, address, length);
}

static inline int rt_sys_openat(int dirfd, const char *path, int flags, unsigned mode)
{
	return (int)rt_syscall(SYS_openat, dirfd, path, flags, mode);
}

static inline int rt_sys_close(int fd)
{
	return (int)rt_syscall(SYS_close, fd);
}

static inline ssize_t rt_sys_read(int fd, void *buffer, size_t length)
{
	return rt_syscall(SYS_read, fd, buffer, length);
}

static inline ssize_t rt_sys_write(int fd, const void *buffer, size_t length)
{
	return rt_syscall(SYS_write, fd, buffer, length);
}

static inline ssize_t rt_sys_pread(int fd, void *buffer, size_t length, off_t offset)
{
	return rt_syscall(SYS_pread64, fd, buffer, length, offset);
}

static inline ssize_t rt_sys_pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	return rt_syscall(SYS_pwrite64, fd, buffer, length, offset);
}

static inline int rt_sys_fstat(int fd, struct stat *status)
{
	return (int)rt_syscall(SYS_fstat, fd, status);
}

static inline int rt_sys_fstatat(int directory, const char *path, struct stat *status, int flags)
{
	return (int)rt_syscall(SYS_newfstatat, directory, path, status, flags);
}

static inline int rt_sys_ftruncate(int fd, off_t length)
{
	return (int)rt_syscall(SYS_ftruncate, fd, length);
}

static inline int rt_sys_fallocate(int fd, int mode, off_t offset, off_t length)
{
	return (int)rt_syscall(SYS_fallocate, fd, mode, offset, length);
}

static inline off_t rt_sys_lseek(int fd, off_t offset, int whence)
{
	return rt_syscall(SYS_lseek, fd, offset, whence);
}

static inline int rt_sys_fcntl(int fd, int command, long argument)
{
	return (int)rt_syscall(SYS_fcntl, fd, command, argument);
}

static inline int rt_sys_ioctl(int fd, unsigned long request, void *argument)
{
	return (int)rt_syscall(SYS_ioctl, fd, request, argument);
}

static inline int rt_sys_gettid(void)
{
	return (int)rt_syscall(SYS_gettid);
}

static inline int64_t rt_monotonic_ns(void)
{
	struct timespec now;
	rt_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static inline int rt_sys_getpid(void)
{
	return (int)rt_syscall(SYS_getpid);
}

static inline int rt_sys_tgkill(int pid, int tid, int signal)
{
	return (int)rt_syscall(SYS_tgkill, pid, tid, signal);
}

#endif
