/*
 * Where hostile input is let loose: a process without anything outside to reach.
 *
 * sandbox_open() gives the fuzzer user, mount, network and System V namespaces of its own, with a small
 * file system in memory. Each input is then tried by a vfork() child with that file system as its root: it
 * shares the fuzzer's memory, and with it the coverage counters, but has descriptors of its own, and its
 * refusals simply end it. What it leaves in memory and in files is cleared away.
 *
 * In the file system: `dev/null`, `proc` (read-only), and the files of sandbox_files.
 */
#ifndef FUZZ_SANDBOX_H
#define FUZZ_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Files and directories that inputs may name. An inode number SANDBOX_INODE + i in an input stands for
 * that of number i here, a build-id of nothing but SANDBOX_BUILD_ID for that of `/program`. */
extern const char *const sandbox_files[];
#define SANDBOX_FILES 8
#define SANDBOX_INODE 0x5a5a0000UL
#define SANDBOX_BUILD_ID 0x5a
#define SANDBOX_FILE_BYTES 8192U

/* Numbers of the tool's own descriptors from here on, as respct-restore has it. */
#define SANDBOX_LOWEST_FD 600

/* Once. False: not permitted here. */
bool sandbox_open(void);

/* Once, after that: lets `make` make a store in the directory `path`, of which only what is open and mapped
 * stays, and stays for all inputs. */
void sandbox_keep(void (*make)(const char *path));

/* Makes the files anew, and runs `use` on a copy of the input, which ends where its memory ends. Ends
 * the process when that ends by a signal, or takes longer than some seconds. */
void sandbox_run(void (*use)(uint8_t *input, size_t size), const uint8_t *input, size_t size);

/* In the child: runs a part of it. False: it refused. */
bool sandbox_try(void (*part)(void));

/* What was found is wrong: says so, and ends the input. (Not by abort(), which the process would share with libFuzzer.) */
void sandbox_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* In the child: the number a stand-in is for, or `inode` itself. */
uint64_t sandbox_inode(uint64_t inode);

/* Writes a file; `path` is absolute. */
void sandbox_write(const char *path, const void *bytes, size_t length);

#endif
