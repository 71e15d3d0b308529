/*
 * fixup.c: see fixup.h.
 */
#include "fixup.h"

/* Where an inlined load lies and where it goes on, each from its own place; the linker names both ends of the section. */
struct place { int32_t at, go_on; };
extern const struct place __start_xp_fixups[], __stop_xp_fixups[];

extern const char xp_fix_begin[], xp_fix_end[], xp_fix_landing[];

__asm__(".pushsection .text.xp_fixup, \"ax\", @progbits\n"
        ".hidden xp_fix_begin, xp_fix_end, xp_fix_landing\n"
        ".hidden xp_fix_copy, xp_fix_or64, xp_fix_or32\n"
        ".globl xp_fix_begin, xp_fix_end, xp_fix_landing\n"
        ".globl xp_fix_copy, xp_fix_or64, xp_fix_or32\n"
        ".type xp_fix_copy, @function\n"
        ".type xp_fix_or64, @function\n .type xp_fix_or32, @function\n"
        ".p2align 6\n"
        "xp_fix_begin:\n"
        "xp_fix_or64:\n"
        "    lock orq %rsi, (%rdi)\n"
        "    xorl %eax, %eax\n"
        "    ret\n"
        ".p2align 4\n"
        "xp_fix_or32:\n"
        "    lock orl %esi, (%rdi)\n"
        "    xorl %eax, %eax\n"
        "    ret\n"
        /* A word in one access, as a peer sees it; the rest by the string instruction, which is memcpy's speed on a page. */
        ".p2align 5\n"
        "xp_fix_copy:\n"
        "    xorl %eax, %eax\n"
        "    cmpq $8, %rdx\n"
        "    jne 1f\n"
        "    movq (%rsi), %rcx\n"
        "    movq %rcx, (%rdi)\n"
        "    ret\n"
        "1:  cmpq $4, %rdx\n"
        "    jne 2f\n"
        "    movl (%rsi), %ecx\n"
        "    movl %ecx, (%rdi)\n"
        "    ret\n"
        "2:  cmpq $2, %rdx\n"
        "    jne 3f\n"
        "    movzwl (%rsi), %ecx\n"
        "    movw %cx, (%rdi)\n"
        "    ret\n"
        "3:  movq %rdx, %rcx\n"
        "    rep movsb\n"
        "    ret\n"
        "xp_fix_end:\n"
        "xp_fix_landing:\n"
        "    movl $1, %eax\n"
        "    ret\n"
        ".popsection\n");

static uint64_t from(const int32_t *here) { return (uint64_t)(uintptr_t)here + (uint64_t)(int64_t)*here; }

bool xp_fixup(uint64_t *pc)
{
    if (*pc >= (uint64_t)(uintptr_t)xp_fix_begin && *pc < (uint64_t)(uintptr_t)xp_fix_end) {
        *pc = (uint64_t)(uintptr_t)xp_fix_landing;
        return true;
    }
    for (const struct place *place = __start_xp_fixups; place < __stop_xp_fixups; place++) {
        if (*pc == from(&place->at)) {
            *pc = from(&place->go_on);
            return true;
        }
    }
    return false;
}
