/* What the processor can do, as the program sees it; see processor.h. */
#include "arch/x86_64/processor.h"

#include <cpuid.h>
#include <string.h>

#define OSXSAVE (1U << 27) /* leaf 1, ecx: xgetbv works */

static uint64_t read_xcr0(void)
{
	uint32_t low, high;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static void read_state_layout(struct manifest_processor *processor)
{
	uint32_t eax, ebx, ecx, edx;
	processor->xcr0 = read_xcr0();
	if (!__get_cpuid_count(0xd, 0, &eax, &ebx, &ecx, &edx))
		return;
	processor->state_size = ebx;
	for (uint32_t i = 2; i < PROCESSOR_STATES; i++) {
		if ((processor->xcr0 & 1UL << i) == 0)
			continue;
		__cpuid_count(0xd, i, eax, ebx, ecx, edx);
		processor->state[i].size = eax;
		processor->state[i].offset = ebx;
	}
}

static void read_name(struct manifest_processor *processor)
{
	uint32_t words[12] = {0};
	for (uint32_t i = 0; i < 3; i++)
		__get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
	memcpy(processor->name, words, sizeof(words));
	processor->name[sizeof(processor->name) - 1] = '\0';
}

void rt_arch_read_processor(struct manifest_processor *processor)
{
	uint32_t eax, ebx, ecx, edx;
	memset(processor, 0, sizeof(*processor));
	if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
		processor->features[PROCESSOR_1_ECX] = ecx;
		processor->features[PROCESSOR_1_EDX] = edx;
	}
	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
		uint32_t last = eax;
		processor->features[PROCESSOR_7_EBX] = ebx;
		processor->features[PROCESSOR_7_ECX] = ecx;
		processor->features[PROCESSOR_7_EDX] = edx;
		if (last >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx))
			processor->features[PROCESSOR_7_1_EAX] = eax;
	}
	if (__get_cpuid_count(0xd, 1, &eax, &ebx, &ecx, &edx))
		processor->features[PROCESSOR_D_1_EAX] = eax;
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
		processor->features[PROCESSOR_80000001_ECX] = ecx;
	if (processor->features[PROCESSOR_1_ECX] & OSXSAVE)
		read_state_layout(processor);
	read_name(processor);
}
