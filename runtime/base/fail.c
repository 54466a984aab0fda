/* The setting of the fail points; see fail.h. No libc but string functions: resume sets it, too. */
#include "fail.h"

#include <errno.h>
#include <string.h>

#include "memory.h"
#include "parse.h"

struct rt_fail_settings *rt_fail_settings;

const char *const rt_fail_names[RT_FAIL_COUNT] = {
#define NAME(identifier, name, effect) name,
	RT_FAIL_POINTS(NAME)
#undef NAME
};

const uint8_t rt_fail_effects[RT_FAIL_COUNT] = {
#define EFFECT(identifier, name, effect) effect,
	RT_FAIL_POINTS(EFFECT)
#undef EFFECT
};

static const struct {
	const char *name;
	int32_t value;
} actions[] = {
#define ROW(name, value) {name, value},
	RT_FAIL_ACTIONS(ROW)
#undef ROW
};

#define ACTIONS (sizeof(actions) / sizeof(actions[0]))

static bool is_end(char c)
{
	return c == '\0' || c == ',';
}

/* Whether the word at *text, up to a colon or the end, is `name`; then *text is behind it. */
static bool take_word(const char **text, const char *name)
{
	size_t length = strlen(name);
	if (strncmp(*text, name, length) != 0 || ((*text)[length] != ':' && !is_end((*text)[length])))
		return false;
	*text += length;
	return true;
}

static int parse_point(const char **text, uint32_t *point)
{
	if (take_word(text, "any")) {
		*point = RT_FAIL_ANY;
		return 0;
	}
	for (uint32_t i = 0; i < RT_FAIL_COUNT; i++) {
		if (take_word(text, rt_fail_names[i])) {
			*point = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_action(const char **text, int32_t *action)
{
	for (size_t i = 0; i < ACTIONS; i++) {
		if (take_word(text, actions[i].name)) {
			*action = actions[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

/* ":NUMBER", or nothing. */
static int parse_count(const char **text, uint64_t *count)
{
	if (is_end(**text))
		return 0;
	const char *digits = ++*text;
	*count = rt_parse_number(text, 10);
	return *text == digits || (**text != ':' && !is_end(**text)) ? -EINVAL : 0;
}

static int parse_one(const char **text, struct rt_fail *fail)
{
	uint64_t first = 1, times = 1;
	memset(fail, 0, sizeof(*fail));
	if (parse_point(text, &fail->point) < 0 || *(*text)++ != ':' || parse_action(text, &fail->action) < 0 ||
	    parse_count(text, &first) < 0 || parse_count(text, &times) < 0 || !is_end(**text) || first == 0)
		return -EINVAL;
	if (fail->action > 0 && fail->point != RT_FAIL_ANY && rt_fail_effects[fail->point] == FAIL_NOTHING)
		return -EINVAL;
	fail->first = first;
	fail->last = times == 0 || times > UINT64_MAX - first ? UINT64_MAX : first + times - 1;
	return 0;
}

int rt_fail_parse(const char *text, struct rt_fail_settings *settings)
{
	memset(settings, 0, sizeof(*settings));
	for (;; text++) {
		if (settings->count == RT_FAIL_SETTINGS || parse_one(&text, &settings->entries[settings->count]) < 0)
			return -EINVAL;
		settings->count++;
		if (*text == '\0')
			return 0;
	}
}

int rt_fail_set(const struct rt_fail_settings *settings)
{
	rt_fail_settings = NULL;
	if (settings->count == 0)
		return 0;
	struct rt_fail_settings *copy = rt_memory_map(sizeof(*copy));
	if (copy == NULL)
		return -ENOMEM;
	*copy = *settings;
	rt_fail_settings = copy;
	return 0;
}
