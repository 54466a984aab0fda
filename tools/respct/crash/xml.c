/* Text in XML; see crash.h. */
#include "common/report.h"
#include "crash.h"

/* The bytes of the UTF-8 character at `text`; 0 when it is none, or one that XML does not allow. */
static size_t character_length(const unsigned char *text)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	if (text[0] < 0x80)
		return text[0] >= ' ' || text[0] == '\t' || text[0] == '\n' || text[0] == '\r';
	size_t length = text[0] >= 0xf8 ? 0 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : text[0] >= 0xc2 ? 2 : 0;
	uint32_t value = length != 0 ? text[0] & (0xffU >> (length + 1)) : 0;
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (text[i] & 0x3f);
	}
	bool allowed = length != 0 && value >= least[length] && value <= 0x10ffff && value != 0xfffe &&
		       value != 0xffff && (value < 0xd800 || value > 0xdfff);
	return allowed ? length : 0;
}

char *crash_escape_xml(const char *text)
{
	char *escaped = NULL;
	size_t size;
	FILE *file = open_memstream(&escaped, &size);
	if (file == NULL)
		refuse("out of memory");
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
		size_t length = character_length(at);
		if (*at == '<')
			fputs("&lt;", file);
		else if (*at == '>')
			fputs("&gt;", file);
		else if (*at == '&')
			fputs("&amp;", file);
		else if (*at == '"')
			fputs("&quot;", file);
		else if (*at == '\n' || *at == '\r' || *at == '\t')
			fprintf(file, "&#%d;", *at);
		else if (length == 0)
			fputc('?', file);
		else
			fwrite(at, 1, length, file);
		at += length != 0 ? length : 1;
	}
	fclose(file);
	return escaped;
}
