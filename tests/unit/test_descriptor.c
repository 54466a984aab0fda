/* Files, directories, devices, pipes, terminals: runtime/descriptor/file.c and its restore. */
#include "descriptor_harness.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <pty.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

TestSuite(descriptor, .init = open_scene, .fini = close_scene);

/* ---- regular files ---- */

static void open_files(void)
{
	write_file("input", "0123456789");
	write_file("output", "first\n");
	put_at(open("input", O_RDONLY | O_CLOEXEC), 10);
	put_at(open("output", O_WRONLY | O_APPEND), 11);
	put_at(open("input", O_RDONLY), 13);
	CHECK(lseek(10, 3, SEEK_SET) == 3);
	CHECK(dup2(10, 12) == 12); /* without close-on-exec */
	put_at(open("rw", O_RDWR | O_CREAT | O_TRUNC, 0600), 20);
	CHECK(write(20, "abcdef", 6) == 6);
}

static void check_files(void)
{
	char byte;
	CHECK(fcntl(10, F_GETFD) == FD_CLOEXEC && fcntl(12, F_GETFD) == 0);
	CHECK((fcntl(11, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND));
	CHECK(read(10, &byte, 1) == 1 && byte == '3');
	CHECK(read(12, &byte, 1) == 1 && byte == '4'); /* one offset for both */
	CHECK(read(13, &byte, 1) == 1 && byte == '0'); /* and another for the third */
	CHECK(lseek(20, 0, SEEK_CUR) == 6);
	CHECK((fcntl(20, F_GETFL) & O_ACCMODE) == O_RDWR);
	CHECK(fcntl(14, F_GETFD) == -1 && fcntl(3, F_GETFD) == -1);
}

Test(descriptor, files_keep_offset_flags_and_sharing)
{
	check_kept(open_files, check_files);
}

/* As some containers do. */
static void forbid_kcmp(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kcmp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	open_files();
}

Test(descriptor, sharing_is_guessed_where_kcmp_is_forbidden)
{
	check_kept(forbid_kcmp, check_files);
}

static void write_on(void)
{
	CHECK(write(11, "second\n", 7) == 7);
}

static void append_again(void)
{
	CHECK(write(11, "third\n", 6) == 6);
	CHECK(file_is("output", "first\nthird\n"));
}

Test(descriptor, what_was_appended_after_the_checkpoint_is_cut_off)
{
	capture_in_process(open_files, write_on);
	cr_assert(file_is("output", "first\nsecond\n"));
	restore_in_process(append_again);
}

Test(descriptor, a_missing_file_is_named_and_nothing_is_changed)
{
	capture_in_process(open_files, write_on);
	cr_assert_eq(unlink("rw"), 0);
	check_refused("/rw, which the program had open");
	cr_assert(file_is("output", "first\nsecond\n"));
}

Test(descriptor, a_replaced_file_is_named)
{
	capture_in_process(open_files, NULL);
	cr_assert(mkdir("elsewhere", 0700) == 0 || errno == EEXIST);
	cr_assert_eq(rename("input", "elsewhere/old"), 0);
	write_file("input", "0123456789");
	check_refused("/input, which the program had open, has been replaced");
}

Test(descriptor, a_directory_in_its_place_is_named)
{
	capture_in_process(open_files, NULL);
	cr_assert_eq(unlink("input"), 0);
	cr_assert_eq(mkdir("input", 0700), 0);
	check_refused("/input, which the program had open, is another type of file");
}

Test(descriptor, input_that_is_shorter_is_named)
{
	capture_in_process(open_files, NULL);
	cr_assert_eq(truncate("input", 5), 0);
	check_refused("/input, which the program was reading, is shorter");
}

static void output_goes_on(void)
{
	CHECK(write(11, "x", 1) == 1);
	CHECK(file_is("output", "x"));
}

Test(descriptor, output_that_is_shorter_goes_on)
{
	capture_in_process(open_files, NULL);
	cr_assert_eq(truncate("output", 0), 0);
	restore_in_process(output_goes_on);
}

static struct descriptor_table *table_of_test;

/* What changes between prepare and capture. */
static void capture_late_changes(void *argument)
{
	static struct manifest_writer writer;
	(void)argument;
	close_range(3, ~0U, 0);
	open_files();
	table_of_test = open_table();
	CHECK(rt_descriptors_prepare(table_of_test) == 0);
	CHECK(rename("output", "renamed") == 0);
	CHECK(dup2(13, 12) == 12);
	close(20);
	put_at(open("/dev/null", O_WRONLY), 20);
	put_at(open("/dev/zero", O_RDONLY), 30);
	CHECK(rt_descriptors_capture(table_of_test, &writer) == 0);
	keep_manifest(&writer);
}

static void check_late_changes(void)
{
	char byte;
	CHECK(read(12, &byte, 1) == 1 && byte == '0');
	CHECK(read(13, &byte, 1) == 1 && byte == '1');
	CHECK(read(10, &byte, 1) == 1 && byte == '3');
	CHECK(write(11, "x", 1) == 1 && file_is("renamed", "first\nx"));
	CHECK(write(20, "x", 1) == 1 && read(30, &byte, 1) == 1 && byte == 0);
}

Test(descriptor, changes_after_prepare_are_seen)
{
	in_process(capture_late_changes, NULL);
	restore_in_process(check_late_changes);
}

/* ---- files without a name ---- */

static void open_nameless(void)
{
	put_at(open("gone", O_RDWR | O_CREAT | O_TRUNC, 0600), 10);
	put_at(open("gone", O_WRONLY | O_APPEND), 11);
	CHECK(write(10, "contents", 8) == 8 && lseek(10, 3, SEEK_SET) == 3);
	CHECK(unlink("gone") == 0);
	put_at(memfd_create("mine", MFD_ALLOW_SEALING), 12);
	CHECK(write(12, "sealed", 6) == 6 && fcntl(12, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0);
	put_at(open(".", O_TMPFILE | O_WRONLY, 0600), 13);
	CHECK(write(13, "tmp", 3) == 3);
	put_at(open("a (deleted)", O_RDWR | O_CREAT, 0600), 14);
}

static void check_nameless(void)
{
	char byte;
	CHECK(reads(10, "tents"));
	CHECK(write(11, "!", 1) == 1 && read(10, &byte, 1) == 1 && byte == '!');
	CHECK((fcntl(11, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND));
	CHECK(lseek(12, 0, SEEK_SET) == 0 && reads(12, "sealed"));
	CHECK(write(12, "x", 1) == -1 && errno == EPERM);
	CHECK(fcntl(12, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SHRINK));
	CHECK(lseek(13, 0, SEEK_CUR) == 3 && lseek(13, 0, SEEK_END) == 3);
	struct stat by_name, by_number;
	CHECK(stat("a (deleted)", &by_name) == 0 && fstat(14, &by_number) == 0);
	CHECK(by_name.st_ino == by_number.st_ino);
}

Test(descriptor, files_without_a_name_carry_their_contents)
{
	check_kept(open_nameless, check_nameless);
}

static void open_large_nameless(void)
{
	put_at(open("large", O_RDWR | O_CREAT, 0600), 10);
	CHECK(ftruncate(10, 2 << 20) == 0 && unlink("large") == 0);
	put_at((int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */), 11);
}

static void check_lost(void)
{
	char byte;
	for (int fd = 10; fd <= 11; fd++) {
		CHECK(fcntl(fd, F_GETFD) >= 0);
		CHECK(read(fd, &byte, 1) == -1 && errno == EBADF);
	}
}

Test(descriptor, what_cannot_be_carried_fails_cleanly)
{
	check_changed(open_large_nameless, check_lost);
}

/* ---- directories and devices ---- */

static void open_others(void)
{
	char buffer[256];
	put_at(open("/proc", O_RDONLY | O_DIRECTORY), 10);
	CHECK(mkdir("sub", 0700) == 0 || errno == EEXIST);
	put_at(open("sub", O_RDONLY | O_DIRECTORY), 11);
	put_at(open("/dev/null", O_RDWR), 12);
	put_at(open("/dev/urandom", O_RDONLY), 13);
	put_at(open("sub", O_PATH | O_CLOEXEC), 14);
	put_at(open("/proc/self/stat", O_RDONLY), 15);
	CHECK(syscall(SYS_getdents64, 10, buffer, sizeof(buffer)) > 0);
	write_file("sub/file", "");
}

static void check_others(void)
{
	char buffer[256];
	CHECK(lseek(10, 0, SEEK_CUR) != 0);
	CHECK(faccessat(11, "file", F_OK, 0) == 0);
	CHECK(write(12, "x", 1) == 1 && read(12, buffer, 1) == 0);
	CHECK(read(13, buffer, 16) == 16);
	CHECK(faccessat(14, "file", F_OK, 0) == 0);
	CHECK((fcntl(14, F_GETFL) & O_PATH) && fcntl(14, F_GETFD) == FD_CLOEXEC);
	CHECK(read(15, buffer, 1) == 1);
}

Test(descriptor, directories_and_devices_are_opened_again)
{
	check_kept(open_others, check_others);
}

/* ---- pipes ---- */

static void open_pipes(void)
{
	int ends[2];
	CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
	put_at(ends[0], 10);
	put_at(ends[1], 11);
	CHECK(fcntl(11, F_SETPIPE_SZ, 1 << 17) == 1 << 17);
	for (int i = 0; i < 100000 / 100; i++) {
		char block[100];
		memset(block, 'a' + i % 26, sizeof(block));
		CHECK(write(11, block, sizeof(block)) == sizeof(block));
	}
	CHECK(pipe2(ends, O_DIRECT) == 0);
	put_at(ends[0], 12);
	put_at(ends[1], 13);
	CHECK(write(13, "one", 3) == 3 && write(13, "three", 5) == 5);
	CHECK(pipe(ends) == 0);
	put_at(ends[0], 14);
	put_at(ends[1], 15);
	CHECK(dup2(15, 16) == 16);
	CHECK(mkfifo("fifo", 0600) == 0 || errno == EEXIST);
	put_at(open("fifo", O_RDONLY | O_NONBLOCK), 17);
	put_at(open("fifo", O_WRONLY), 18);
	CHECK(write(18, "fifo", 4) == 4);
}

static void check_pipes(void)
{
	char contents[100001];
	CHECK(read(10, contents, sizeof(contents)) == 100000);
	for (int i = 0; i < 100000; i++)
		CHECK(contents[i] == 'a' + i / 100 % 26);
	CHECK(read(10, contents, 1) == -1 && errno == EAGAIN);
	CHECK(fcntl(10, F_GETPIPE_SZ) == 1 << 17 && fcntl(10, F_GETFD) == FD_CLOEXEC);
	CHECK(reads(12, "one") && reads(12, "three"));
	CHECK(fcntl(13, F_GETFL) & O_DIRECT);
	CHECK(write(15, "x", 1) == 1 && reads(14, "x"));
	CHECK(close(15) == 0 && write(16, "y", 1) == 1 && reads(14, "y"));
	CHECK(close(16) == 0 && read(14, contents, 1) == 0); /* no writer has been left behind */
	CHECK(reads(17, "fifo") && (fcntl(17, F_GETFL) & O_NONBLOCK) && !(fcntl(18, F_GETFL) & O_NONBLOCK));
}

Test(descriptor, pipes_inside_keep_what_was_unread)
{
	check_kept(open_pipes, check_pipes);
}

static void open_half_pipes(void)
{
	int ends[2];
	CHECK(pipe(ends) == 0);
	put_at(ends[0], 10);
	CHECK(write(ends[1], "sent", 4) == 4);
	close(ends[1]);
	CHECK(pipe(ends) == 0);
	put_at(ends[1], 11);
	close(ends[0]);
}

static void check_half_pipes(void)
{
	char byte;
	signal(SIGPIPE, SIG_IGN);
	CHECK(reads(10, "sent") && read(10, &byte, 1) == 0);
	CHECK(write(11, "x", 1) == -1 && errno == EPIPE);
}

Test(descriptor, pipes_to_the_outside_are_closed)
{
	check_changed(open_half_pipes, check_half_pipes);
}

/* ---- 0, 1 and 2 ---- */

static void use_terminal(void)
{
	int master, slave;
	CHECK(openpty(&master, &slave, NULL, NULL, NULL) == 0);
	for (int fd = 0; fd < 3; fd++)
		CHECK(dup2(slave, fd) == fd);
	put_at(slave, 10);
	put_at(master, HIDDEN_FROM + 50);
}

static void restore_with_pipes(void *argument)
{
	int in[2], out[2], error[2];
	(void)argument;
	CHECK(pipe(in) == 0 && pipe(out) == 0 && pipe(error) == 0);
	CHECK(dup2(in[0], 0) == 0 && dup2(out[1], 1) == 1 && dup2(error[1], 2) == 2);
	int feed = fcntl(in[1], F_DUPFD, HIDDEN_FROM), output = fcntl(out[0], F_DUPFD, HIDDEN_FROM),
	    errors = fcntl(error[0], F_DUPFD, HIDDEN_FROM);
	restore_now();
	CHECK(scene->restored == 0);
	CHECK(write(feed, "in", 2) == 2 && reads(0, "in"));
	CHECK(write(1, "out", 3) == 3 && reads(output, "out"));
	CHECK(write(2, "error", 5) == 5 && reads(errors, "error"));
}

Test(descriptor, a_terminal_becomes_our_own_descriptors)
{
	capture_in_process(use_terminal, NULL);
	in_process(restore_with_pipes, NULL);
}

static void use_outside_pipes(void)
{
	int in[2], out[2];
	CHECK(pipe(in) == 0 && pipe(out) == 0);
	CHECK(dup2(in[0], 0) == 0 && dup2(out[1], 1) == 1 && dup2(1, 2) == 2 && dup2(1, 10) == 10);
	close_range(3, 9, 0);
}

Test(descriptor, outside_pipes_become_our_own_descriptors)
{
	capture_in_process(use_outside_pipes, NULL);
	in_process(restore_with_pipes, NULL);
}

static void redirect(void)
{
	CHECK(dup2(open("/dev/null", O_RDONLY), 0) == 0);
	CHECK(dup2(open("log", O_WRONLY | O_CREAT | O_APPEND, 0600), 1) == 1);
	CHECK(dup2(1, 2) == 2);
	close_range(3, 9, 0);
}

static void check_redirected(void)
{
	CHECK(write(1, "a", 1) == 1 && write(2, "b", 1) == 1 && file_is("log", "ab"));
	CHECK(unlink("log") == 0);
}

Test(descriptor, redirected_output_goes_to_its_file)
{
	capture_in_process(redirect, NULL);
	restore_in_process(check_redirected);
}

/* ---- a process whose main thread is gone ---- */

static void *capture_without_main_thread(void *argument)
{
	static struct manifest_writer writer;
	pthread_t *main_thread = argument;
	CHECK(pthread_join(*main_thread, NULL) == 0);
	usleep(50000); /* joined before its descriptors are gone */
	CHECK(rt_descriptors_prepare(table_of_test) == 0);
	begin_manifest(&writer);
	CHECK(rt_descriptors_capture(table_of_test, &writer) == 0);
	keep_manifest(&writer);
	check_pipes();
	_exit(0);
}

static void leave_main_thread(void *argument)
{
	static pthread_t main_thread;
	pthread_t other;
	(void)argument;
	close_range(3, ~0U, 0);
	table_of_test = open_table();
	CHECK(rt_descriptors_prepare(table_of_test) == 0);
	open_pipes();
	main_thread = pthread_self();
	CHECK(pthread_create(&other, NULL, capture_without_main_thread, &main_thread) == 0);
	syscall(SYS_exit, 0); /* pthread_exit() would unwind through Criterion */
}

Test(descriptor, a_process_without_its_main_thread_is_captured)
{
	in_process(leave_main_thread, NULL);
	restore_in_process(check_pipes);
}

/* ---- a full table ---- */

static void fill_table(void)
{
	struct rlimit limit = {20, 4096};
	open_pipes();
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	while (dup(10) >= 0)
		continue;
	CHECK(errno == EMFILE);
}

static void capture_full_table(void *argument)
{
	static struct manifest_writer writer;
	struct rlimit limit;
	(void)argument;
	close_range(3, ~0U, 0);
	table_of_test = open_table();
	fill_table();
	CHECK(rt_descriptors_prepare(table_of_test) == 0);
	CHECK(rt_descriptors_capture(table_of_test, &writer) == 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == 20);
	keep_manifest(&writer);
}

Test(descriptor, a_full_table_is_captured)
{
	in_process(capture_full_table, NULL);
	restore_in_process(check_pipes);
}
