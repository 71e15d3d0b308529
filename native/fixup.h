/*
 * fixup.h: touching memory that may be missing: a load, a copy, an OR whose fault becomes a result instead of a death.
 *
 * A frame that is not in this process's window is SIGBUS. The few instructions that may meet one are in assembler, and
 * known by their addresses; the crash handler (faults.c), or any other, asks xp_fixup whether the fault happened there.
 *   1. What is called there keeps nothing on the stack and in no saved register: one landing place serves it all.
 *   2. Without a handler that asks xp_fixup a fault is what it always was.
 */
#ifndef XP_FIXUP_H
#define XP_FIXUP_H

#include "xp.h"

/*
 * One load, inlined. *failed becomes 1 if the memory was not there, else it is left as it is. Its place, and where to go on,
 * are noted in a table of their own.
 */
#define XP_FIX_LOAD(instruction, type)                                                                                     \
    __asm__ volatile("1: " instruction "\n2:\n"                                                                            \
                     ".pushsection .text.xp_fixup, \"ax\", @progbits\n3: movl $1, %1\n   jmp 2b\n.popsection\n"              \
                     ".pushsection xp_fixups, \"a\", @progbits\n.long 1b - ., 3b - .\n.popsection\n"                       \
                     : "=&r"(value), "+r"(*failed)                                                                         \
                     : "m"(*(const type *)p))

#define XP_FIX_LOAD_0(instruction, type)                                                                                   \
    __asm__ volatile("1: " instruction "\n2:\n"                                                                            \
                     ".pushsection .text.xp_fixup, \"ax\", @progbits\n3: xorl %k0, %k0\n   jmp 2b\n.popsection\n"          \
                     ".pushsection xp_fixups, \"a\", @progbits\n.long 1b - ., 3b - .\n.popsection\n"                       \
                     : "=r"(value)                                                                                         \
                     : "m"(*(const type *)p))

static inline __attribute__((always_inline)) uint64_t xp_fix_load64(const void *p, uint32_t *failed)
{
    uint64_t value;
    XP_FIX_LOAD("movq %2, %0", uint64_t);
    return value;
}

static inline __attribute__((always_inline)) uint64_t xp_fix_load32(const void *p, uint32_t *failed)
{
    uint32_t value;
    XP_FIX_LOAD("movl %2, %0", uint32_t);
    return value;
}

/* The same where 0 says enough: an entry that is not there is not present either. */
static inline __attribute__((always_inline)) uint64_t xp_fix_load_or_0(const void *p, bool wide)
{
    uint64_t value;
    if (wide)
        XP_FIX_LOAD_0("movq %1, %0", uint64_t);
    else
        XP_FIX_LOAD_0("movl %1, %k0", uint32_t);
    return value;
}

/* 0, or not 0 if either end was not there: then any part of dst may have been written. */
int xp_fix_copy(void *dst, const void *src, size_t len);

/* Atomically *p |= bits. 0, or not 0: it could not be written. */
int xp_fix_or64(void *p, uint64_t bits);
int xp_fix_or32(void *p, uint32_t bits);

/* In a handler of SIGBUS or SIGSEGV: was it one of the above? Then *pc is where it goes on. */
bool xp_fixup(uint64_t *pc);

#endif
