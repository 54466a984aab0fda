/* Code on the stack, as compilers make it for the address of a function within another. */
#ifndef STACK_CODE_H
#define STACK_CODE_H

#include "victim.h"

/* mov $constant, %rax; add %rdi, %rax; ret */
static inline uint64_t call_on_stack(uint64_t constant, uint64_t argument)
{
	unsigned char code[16] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0x01, 0xf8, 0xc3};
	const void *start = code;
	uint64_t (*function)(uint64_t);

	memcpy(code + 2, &constant, sizeof(constant));
	memcpy(&function, &start, sizeof(function));
	__asm__ volatile("" : : "r"(code) : "memory");
	return function(argument);
}

static inline uint64_t use_stack_code(uint64_t seed, long rounds)
{
	uint64_t state = seed, sum = 0;
	long i;

	for (i = 0; i < rounds; i++) {
		uint64_t constant = next_random(&state);

		CHECK(call_on_stack(constant, sum) == constant + sum);
		sum = spin(constant + sum, 200);
	}
	return sum;
}

#endif
