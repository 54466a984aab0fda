/* A library with thread-local storage of its own, which the victim dlopen_tls loads and unloads. */
#include <stdint.h>

#define WORDS 3000

uint64_t tls_library_add(unsigned cell, uint64_t value);
uint64_t *tls_library_address(void);

static __thread uint64_t initialized = 4711;
static __thread uint64_t cells[WORDS];

/* Adds to a cell of the calling thread; returns a sum that begins anew in each thread and with each load. */
uint64_t tls_library_add(unsigned cell, uint64_t value)
{
	cells[cell % WORDS] += value;
	initialized += cells[cell % WORDS];
	return initialized;
}

uint64_t *tls_library_address(void)
{
	return &initialized;
}
