/* Terminals: our own in place of the program's, and pseudo-terminals whose master the program holds. */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "restore/descriptors/private.h"

int ioctl(int fd, unsigned long request, ...); /* <sys/ioctl.h> does not go with <asm/termbits.h> */

struct window_size {
	unsigned short rows, columns, width, height; /* struct winsize */
};

static int refuse_terminal(struct restoration *restoration, const struct entry *entry)
{
	return restore_refuse(restoration, "cannot make descriptor %d (%s): %s", entry->record.number, entry->name,
			      strerror(errno));
}

static void set_modes(int fd, const struct descriptor_terminal *terminal)
{
	struct termios2 settings = {
		.c_iflag = terminal->input_flags,
		.c_oflag = terminal->output_flags,
		.c_cflag = terminal->control_flags,
		.c_lflag = terminal->local_flags,
		.c_line = terminal->line_discipline,
		.c_ispeed = terminal->input_speed,
		.c_ospeed = terminal->output_speed,
	};
	memcpy(settings.c_cc, terminal->control_characters, sizeof(settings.c_cc));
	ioctl(fd, TCSETS2, &settings);
}

/* ---- pseudo-terminals ---- */

struct entry *restore_master_of(struct restoration *restoration, const struct entry *entry)
{
	int32_t index = PAYLOAD(entry, struct descriptor_terminal)->index;
	for (size_t i = 0; i < restoration->count && index >= 0; i++) {
		struct entry *other = &restoration->entries[i];
		if (other->record.kind == DESCRIPTOR_MASTER && other->record.shared_with < 0 &&
		    PAYLOAD(other, struct descriptor_terminal)->index == index)
			return other;
	}
	return NULL;
}

static int open_other_end(const struct entry *master, int flags)
{
	return ioctl(master->temporary, TIOCGPTPEER, flags | O_NOCTTY | O_CLOEXEC);
}

static int make_master(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_terminal *terminal = PAYLOAD(entry, struct descriptor_terminal);
	struct window_size size = {.rows = terminal->rows, .columns = terminal->columns};
	int locked = 0, packets = terminal->packets != 0;
	unsigned index;
	entry->temporary = restore_move_up(restoration, open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
	if (entry->temporary < 0 || ioctl(entry->temporary, TIOCSPTLCK, &locked) < 0 ||
	    ioctl(entry->temporary, TIOCGPTN, &index) < 0)
		return refuse_terminal(restoration, entry);
	set_modes(entry->temporary, terminal);
	if (size.rows != 0 || size.columns != 0)
		ioctl(entry->temporary, TIOCSWINSZ, &size);
	ioctl(entry->temporary, TIOCPKT, &packets);
	if ((int32_t)index != terminal->index)
		restore_warn(restoration,
			     "descriptor %d is the master of /dev/pts/%u now, and no longer of /dev/pts/%d",
			     entry->record.number, index, terminal->index);
	if (terminal->unread > 0)
		restore_warn(restoration, "descriptor %d (%s): %u bytes that were not read are lost",
			     entry->record.number, entry->name, terminal->unread);
	return 0;
}

static bool has_slave(struct restoration *restoration, const struct entry *master)
{
	for (size_t i = 0; i < restoration->count; i++) {
		const struct entry *entry = &restoration->entries[i];
		if (entry->record.kind == DESCRIPTOR_TERMINAL && entry->record.shared_with < 0 &&
		    restore_master_of(restoration, entry) == master)
			return true;
	}
	return false;
}

/* With its slave outside, where its user is gone, it hangs up. One that never had a slave is as new. */
int restore_open_master(struct restoration *restoration, struct entry *entry)
{
	int locked = PAYLOAD(entry, struct descriptor_terminal)->locked != 0;
	if (make_master(restoration, entry) < 0)
		return -1;
	if (!locked && !has_slave(restoration, entry))
		close(open_other_end(entry, O_RDWR));
	ioctl(entry->temporary, TIOCSPTLCK, &locked);
	return 0;
}

static int open_slave(struct restoration *restoration, struct entry *entry)
{
	struct entry *master = restore_master_of(restoration, entry);
	if (master->temporary < 0 && restore_open_master(restoration, master) < 0)
		return -1;
	entry->temporary = restore_move_up(restoration, open_other_end(master, (int)entry->record.flags & O_ACCMODE));
	return entry->temporary < 0 ? refuse_terminal(restoration, entry) : 0;
}

/* ---- our own terminal ---- */

/* A terminal on a number above 2 that shares nothing with 0, 1 or 2: by direction. */
int restore_open_terminal(struct restoration *restoration, struct entry *entry)
{
	if (restore_master_of(restoration, entry) != NULL)
		return open_slave(restoration, entry);
	int access = (int)entry->record.flags & O_ACCMODE;
	if (access != O_RDWR)
		return restore_stand_in(restoration, entry, access == O_RDONLY ? 0 : 1);
	for (int i = 0; i < 3; i++)
		if (isatty(restoration->own[i]))
			return restore_stand_in(restoration, entry, i);
	return restore_stand_in(restoration, entry, 0);
}

/* The modes the program had set; what another terminal of ours is like is left alone. */
int restore_commit_terminal(struct restoration *restoration, struct entry *entry)
{
	if (entry->stands_in && isatty(entry->temporary) && restore_master_of(restoration, entry) == NULL)
		set_modes(entry->temporary, PAYLOAD(entry, struct descriptor_terminal));
	return 0;
}
