#include "message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>

#include "sys.h"

#define LINE_SIZE 1024
#define EXIT_TOOL_FAILED 125 /* as env(1) and DESIGN say */

struct output {
	char *buffer;
	size_t size;
	size_t length;
};

static void put_char(struct output *out, char c)
{
	if (out->length + 1 < out->size)
		out->buffer[out->length++] = c;
}

static void put_string(struct output *out, const char *text)
{
	for (text = text ? text : "(null)"; *text; text++)
		put_char(out, *text);
}

static void put_unsigned(struct output *out, unsigned long value, unsigned base)
{
	char digits[24];
	int count = 0;
	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	while (count > 0)
		put_char(out, digits[--count]);
}

static void put_signed(struct output *out, long value)
{
	if (value < 0)
		put_char(out, '-');
	put_unsigned(out, value < 0 ? 0UL - (unsigned long)value : (unsigned long)value, 10);
}

static void put_conversion(struct output *out, bool is_long, char conversion, va_list *arguments)
{
	switch (conversion) {
	case 's': put_string(out, va_arg(*arguments, const char *)); break;
	case 'c': put_char(out, (char)va_arg(*arguments, int)); break;
	case 'd': put_signed(out, is_long ? va_arg(*arguments, long) : va_arg(*arguments, int)); break;
	case 'u':
	case 'x':
		put_unsigned(out, is_long ? va_arg(*arguments, unsigned long) : va_arg(*arguments, unsigned),
			     conversion == 'u' ? 10 : 16);
		break;
	default: put_char(out, conversion);
	}
}

static size_t format_arguments(char *buffer, size_t size, const char *format, va_list *arguments)
{
	struct output out = {buffer, size, 0};
	for (; *format; format++) {
		if (*format != '%') {
			put_char(&out, *format);
			continue;
		}
		bool is_long = false;
		for (format++; *format == 'l' || *format == 'z'; format++)
			is_long = true;
		if (*format == '\0')
			break;
		put_conversion(&out, is_long, *format, arguments);
	}
	buffer[out.length] = '\0';
	return out.length;
}

size_t rt_format(char *buffer, size_t size, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	size_t length = format_arguments(buffer, size, format, &arguments);
	va_end(arguments);
	return length;
}

/* What may be on descriptor 2 for it to be stderr: at the start, and in the last restore. In the image. */
static struct identity {
	uint64_t device, inode;
} accepted[2];

static bool limited;

void rt_message_begin(void)
{
	struct stat status;
	limited = true;
	if (rt_sys_fstat(2, &status) == 0)
		accepted[0] = (struct identity){status.st_dev, status.st_ino};
}

void rt_message_accept(uint64_t device, uint64_t inode)
{
	accepted[1] = (struct identity){device, inode};
}

static bool is_stderr(void)
{
	struct stat status;
	if (!limited)
		return true;
	if (rt_sys_fstat(2, &status) < 0)
		return false;
	for (int i = 0; i < 2; i++)
		if (accepted[i].inode != 0 && accepted[i].device == status.st_dev && accepted[i].inode == status.st_ino)
			return true;
	return false;
}

static void say_arguments(const char *format, va_list *arguments)
{
	if (!is_stderr())
		return;
	char line[LINE_SIZE];
	size_t length = rt_format(line, sizeof(line) - 1, "respct: ");
	length += format_arguments(line + length, sizeof(line) - 1 - length, format, arguments);
	/* Names in it must not end the line, or move a terminal's cursor. */
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[length++] = '\n';
	rt_sys_write(2, line, length);
}

void rt_say(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	say_arguments(format, &arguments);
	va_end(arguments);
}

void rt_refuse(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	say_arguments(format, &arguments);
	va_end(arguments);
	for (;;)
		rt_syscall(SYS_exit_group, EXIT_TOOL_FAILED);
}

const char *rt_error_text(int error)
{
	switch (error < 0 ? -error : error) {
	case EPERM: return "operation not permitted";
	case ENOENT: return "no such file or directory";
	case EIO: return "input/output error";
	case ENOMEM: return "out of memory";
	case EACCES: return "permission denied";
	case EEXIST: return "already exists";
	case ENOTDIR: return "not a directory";
	case EINVAL: return "invalid argument";
	case EMFILE: return "too many open descriptors in the process";
	case ENFILE: return "too many open descriptors in the system";
	case EFBIG: return "file too large";
	case ENOSPC: return "no space left on device";
	case EROFS: return "read-only file system";
	case ENOSYS: return "not supported by this kernel";
	case EAGAIN: return "temporarily unavailable";
	case EDQUOT: return "disk quota exceeded";
	case ELOOP: return "too many levels of symbolic links";
	case EBUSY: return "busy";
	case EFAULT: return "bad address";
	case ESTALE: return "it has been removed";
	case EBADMSG: return "damaged data";
	default: return "unexpected error";
	}
}
