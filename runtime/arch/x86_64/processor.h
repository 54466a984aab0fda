/*
 * What the processor can do. A library that has chosen its code by that (libc's string functions) fails
 * on one that can do less, and a signal frame holds the vector registers as this one lays them out.
 */
#ifndef RT_ARCH_PROCESSOR_H
#define RT_ARCH_PROCESSOR_H

#include "manifest.h"

/* Asks the processor. Slow in a virtual machine: once. */
void rt_arch_read_processor(struct manifest_processor *processor);

#endif
