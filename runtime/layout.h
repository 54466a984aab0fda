/*
 * Where things live in the address space of a protected process.
 *
 * x86-64 user space is 128 TiB. The kernel puts the program, its heap and libraries near both
 * ends (0x55.. and 0x7f..), sanitizers take up to 0x1000_7fff_8000. The range in between is
 * never chosen by the kernel on its own, so it is free for fixed placement without a
 * reservation (which RLIMIT_AS would count).
 *
 *   window        part of the image: placed program memory
 *   runtime area  not part of the image: arena, store mappings, checkpoint thread's stack
 *   restorer      not part of the image: code and plan while a process is being rebuilt
 */
#ifndef RT_LAYOUT_H
#define RT_LAYOUT_H

#define RT_THREADS_BASE 0x1f0000000000UL /* thread records, in the image */

#define RT_WINDOW_BASE 0x200000000000UL
#define RT_WINDOW_HEAP_BASE RT_WINDOW_BASE /* extents of the allocator */
#define RT_WINDOW_HEAP_END 0x280000000000UL
#define RT_WINDOW_STACK_BASE 0x280000000000UL /* stacks of threads */
#define RT_WINDOW_STACK_END 0x290000000000UL
#define RT_WINDOW_MAP_BASE 0x290000000000UL /* the program's own anonymous mappings */
#define RT_WINDOW_MAP_END 0x300000000000UL
#define RT_WINDOW_END 0x300000000000UL

#define RT_AREA_BASE 0x300000000000UL
/* The engine is at the same place in every life of a process: a thread captured with its address in
 * a register finds the new one there. The memory handed out begins behind it. */
#define RT_ENGINE_BASE (RT_AREA_BASE + 0x1000UL)
#define RT_AREA_FREE (RT_AREA_BASE + 0x20000UL)
#define RT_AREA_END 0x310000000000UL
#define RT_RESTORER_BASE 0x310000000000UL
#define RT_RESTORER_END 0x320000000000UL

/* In the store only: the pages of [vdso], which the restore under another kernel needs. No address of
 * the image is there. */
#define RT_STORED_VDSO RT_RESTORER_BASE

/* Everything in [RT_AREA_BASE, RT_RESTORER_END) is left out of the image. */
#define RT_OUTSIDE_IMAGE(address) ((address) >= RT_AREA_BASE && (address) < RT_RESTORER_END)

#define RT_USER_END 0x7ffffffff000UL /* first address no user mapping can have */

#endif
