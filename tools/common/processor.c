/*
 * Features by name; see processor.h. Only what an ordinary program can use is listed: instructions and
 * state, in the words of /proc/cpuinfo, by the leaves of CPUID (Intel's and AMD's manuals).
 */
#include "common/processor.h"

#include <stdio.h>
#include <string.h>

static const struct {
	uint8_t word, bit;
	const char *name;
} features[] = {
	{PROCESSOR_1_ECX, 0, "pni"},
	{PROCESSOR_1_ECX, 1, "pclmulqdq"},
	{PROCESSOR_1_ECX, 9, "ssse3"},
	{PROCESSOR_1_ECX, 12, "fma"},
	{PROCESSOR_1_ECX, 13, "cx16"},
	{PROCESSOR_1_ECX, 19, "sse4_1"},
	{PROCESSOR_1_ECX, 20, "sse4_2"},
	{PROCESSOR_1_ECX, 22, "movbe"},
	{PROCESSOR_1_ECX, 23, "popcnt"},
	{PROCESSOR_1_ECX, 25, "aes"},
	{PROCESSOR_1_ECX, 27, "xsave"},
	{PROCESSOR_1_ECX, 28, "avx"},
	{PROCESSOR_1_ECX, 29, "f16c"},
	{PROCESSOR_1_ECX, 30, "rdrand"},
	{PROCESSOR_7_EBX, 0, "fsgsbase"},
	{PROCESSOR_7_EBX, 3, "bmi1"},
	{PROCESSOR_7_EBX, 5, "avx2"},
	{PROCESSOR_7_EBX, 8, "bmi2"},
	{PROCESSOR_7_EBX, 11, "rtm"},
	{PROCESSOR_7_EBX, 16, "avx512f"},
	{PROCESSOR_7_EBX, 17, "avx512dq"},
	{PROCESSOR_7_EBX, 18, "rdseed"},
	{PROCESSOR_7_EBX, 19, "adx"},
	{PROCESSOR_7_EBX, 21, "avx512ifma"},
	{PROCESSOR_7_EBX, 23, "clflushopt"},
	{PROCESSOR_7_EBX, 24, "clwb"},
	{PROCESSOR_7_EBX, 28, "avx512cd"},
	{PROCESSOR_7_EBX, 29, "sha_ni"},
	{PROCESSOR_7_EBX, 30, "avx512bw"},
	{PROCESSOR_7_EBX, 31, "avx512vl"},
	{PROCESSOR_7_ECX, 1, "avx512vbmi"},
	{PROCESSOR_7_ECX, 4, "ospke"},
	{PROCESSOR_7_ECX, 5, "waitpkg"},
	{PROCESSOR_7_ECX, 6, "avx512_vbmi2"},
	{PROCESSOR_7_ECX, 8, "gfni"},
	{PROCESSOR_7_ECX, 9, "vaes"},
	{PROCESSOR_7_ECX, 10, "vpclmulqdq"},
	{PROCESSOR_7_ECX, 11, "avx512_vnni"},
	{PROCESSOR_7_ECX, 12, "avx512_bitalg"},
	{PROCESSOR_7_ECX, 14, "avx512_vpopcntdq"},
	{PROCESSOR_7_ECX, 22, "rdpid"},
	{PROCESSOR_7_ECX, 27, "movdiri"},
	{PROCESSOR_7_ECX, 28, "movdir64b"},
	{PROCESSOR_7_EDX, 8, "avx512_vp2intersect"},
	{PROCESSOR_7_EDX, 14, "serialize"},
	{PROCESSOR_7_EDX, 16, "tsxldtrk"},
	{PROCESSOR_7_EDX, 22, "amx_bf16"},
	{PROCESSOR_7_EDX, 23, "avx512_fp16"},
	{PROCESSOR_7_EDX, 24, "amx_tile"},
	{PROCESSOR_7_EDX, 25, "amx_int8"},
	{PROCESSOR_7_1_EAX, 4, "avx_vnni"},
	{PROCESSOR_7_1_EAX, 5, "avx512_bf16"},
	{PROCESSOR_7_1_EAX, 7, "cmpccxadd"},
	{PROCESSOR_7_1_EAX, 21, "amx_fp16"},
	{PROCESSOR_7_1_EAX, 23, "avx_ifma"},
	{PROCESSOR_D_1_EAX, 0, "xsaveopt"},
	{PROCESSOR_D_1_EAX, 1, "xsavec"},
	{PROCESSOR_D_1_EAX, 2, "xgetbv1"},
	{PROCESSOR_80000001_ECX, 0, "lahf_lm"},
	{PROCESSOR_80000001_ECX, 5, "abm"},
	{PROCESSOR_80000001_ECX, 6, "sse4a"},
	{PROCESSOR_80000001_ECX, 11, "xop"},
	{PROCESSOR_80000001_ECX, 16, "fma4"},
	{PROCESSOR_80000001_ECX, 21, "tbm"},
};

#define FEATURES (sizeof(features) / sizeof(features[0]))

/* Parts of the extended state that a signal frame holds; the first two are part of every x86-64. */
static const char *const states[PROCESSOR_STATES] = {
	[2] = "avx",    [3] = "mpx", [4] = "mpx",  [5] = "avx512", [6] = "avx512",
	[7] = "avx512", [9] = "pku", [17] = "amx", [18] = "amx",
};

struct list {
	char *names;
	size_t length, size;
	int count;
};

static void add_name(struct list *list, const char *name, const char *what)
{
	size_t room = list->size - list->length;
	int length = snprintf(list->names + list->length, room, "%s%s%s", list->length ? " " : "", name, what);
	if (length >= 0 && (size_t)length < room)
		list->length += (size_t)length;
	else
		list->names[list->length] = '\0';
	list->count++;
}

static bool has(const struct manifest_processor *processor, size_t feature)
{
	return processor != NULL && (processor->features[features[feature].word] >> features[feature].bit & 1);
}

/* Whether signal frames of the one are read rightly by the other. */
static void compare_states(const struct manifest_processor *then, const struct manifest_processor *now,
			   struct list *list)
{
	const char *last = "";
	for (int i = 2; i < PROCESSOR_STATES; i++) {
		if ((then->xcr0 >> i & 1) == 0)
			continue;
		const char *name = states[i] != NULL ? states[i] : "unknown";
		bool same = (now->xcr0 >> i & 1) != 0 && then->state[i].size == now->state[i].size &&
			    then->state[i].offset == now->state[i].offset;
		if (!same && strcmp(name, last) != 0)
			add_name(list, name, "-state");
		if (!same)
			last = name;
	}
}

int processor_missing(const struct manifest_processor *then, const struct manifest_processor *now, char *names,
		      size_t size)
{
	struct list list = {.names = names, .size = size};
	names[0] = '\0';
	for (size_t i = 0; i < FEATURES; i++)
		if (has(then, i) && !has(now, i))
			add_name(&list, features[i].name, "");
	if (now != NULL)
		compare_states(then, now, &list);
	return list.count;
}

bool processor_remove(struct manifest_processor *processor, const char *name)
{
	for (size_t i = 0; i < FEATURES; i++) {
		if (strcmp(features[i].name, name) != 0)
			continue;
		processor->features[features[i].word] &= ~(1U << features[i].bit);
		return true;
	}
	return false;
}
