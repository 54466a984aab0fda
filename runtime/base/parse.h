/* Numbers in the text files of /proc. No libc. */
#ifndef RT_PARSE_H
#define RT_PARSE_H

#include <stdint.h>

/* The number at *text, which moves behind its last digit; 0 when there is none. Base 10 or 16 (lower case). */
static inline uint64_t rt_parse_number(const char **text, unsigned base)
{
	uint64_t value = 0;
	for (;; (*text)++) {
		char c = **text;
		unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
				 : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
							: 16;
		if (digit >= base)
			return value;
		value = value * base + digit;
	}
}

static inline uint64_t rt_parse_hex(const char **text)
{
	return rt_parse_number(text, 16);
}

static inline uint64_t rt_parse_decimal(const char **text)
{
	return rt_parse_number(text, 10);
}

#endif
