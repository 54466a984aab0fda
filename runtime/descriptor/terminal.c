/*
 * Terminals and the masters of pseudo-terminals. The settings of a pseudo-terminal are those of the
 * pair, whichever end is asked. What lies unread in one cannot be looked at without taking it.
 */
#include <asm/ioctls.h>
#include <linux/termios.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "descriptor/table.h"

#define SLAVE_MAJOR_FIRST 136 /* UNIX98_PTY_SLAVE_MAJOR */
#define SLAVE_MAJOR_LAST 143

static void read_settings(int fd, struct descriptor_terminal *terminal)
{
	struct termios2 settings;
	struct winsize size;
	if (rt_sys_ioctl(fd, TCGETS2, &settings) == 0) {
		terminal->input_flags = settings.c_iflag;
		terminal->output_flags = settings.c_oflag;
		terminal->control_flags = settings.c_cflag;
		terminal->local_flags = settings.c_lflag;
		terminal->line_discipline = settings.c_line;
		memcpy(terminal->control_characters, settings.c_cc, sizeof(terminal->control_characters));
		terminal->input_speed = settings.c_ispeed;
		terminal->output_speed = settings.c_ospeed;
	}
	if (rt_sys_ioctl(fd, TIOCGWINSZ, &size) == 0) {
		terminal->rows = size.ws_row;
		terminal->columns = size.ws_col;
	}
}

static int read_master(int fd, struct descriptor_terminal *terminal)
{
	unsigned number;
	int flag = 0;
	int result = rt_sys_ioctl(fd, TIOCGPTN, &number);
	if (result < 0)
		return result;
	terminal->index = (int32_t)number;
	if (rt_sys_ioctl(fd, TIOCGPTLCK, &flag) == 0)
		terminal->locked = flag != 0;
	if (rt_sys_ioctl(fd, TIOCGPKT, &flag) == 0)
		terminal->packets = flag != 0;
	if (rt_sys_ioctl(fd, FIONREAD, &flag) == 0)
		terminal->unread = (uint32_t)flag;
	return 0;
}

int rt_descriptor_capture_terminal(struct descriptor_table *table, struct descriptor *descriptor,
				   struct manifest_writer *writer)
{
	(void)table;
	struct descriptor_terminal terminal = {.index = -1};
	unsigned device = major(descriptor->device_number);
	read_settings(descriptor->number, &terminal);
	if (descriptor->kind == DESCRIPTOR_MASTER) {
		int result = read_master(descriptor->number, &terminal);
		if (result < 0)
			return result;
	} else if (device >= SLAVE_MAJOR_FIRST && device <= SLAVE_MAJOR_LAST) {
		terminal.index = (int32_t)((device - SLAVE_MAJOR_FIRST) << 20 | minor(descriptor->device_number));
	}
	rt_manifest_put(writer, &terminal, sizeof(terminal));
	return 0;
}
