/* arch/ctx_x86_64.S — the switch for the System V ABI on x86-64. Contract: arch/ctx.h.
 *
 * Frame of a saved context, from its sp upwards:
 *
 *    0  r15      8  r14     16  r13     24  r12     32  rbx     40  rbp     48  return address
 *
 * A context that has not run yet has .Lfirst as its return address, entry in rbx, user in r12 and
 * zero elsewhere; above the frame lie two zero words, so that a walk along frame pointers ends
 * instead of reading what is beyond the stack.
 */

#define FRAME_RBX 32
#define FRAME_R12 24
#define FRAME_RETURN 48
#define FRAME_BYTES 56
#define TOP_BYTES 16

    .text

/* void *tc__ctx_asm_swap(void **save_sp [rdi], void *load_sp [rsi], void *arg [rdx]) */
    .globl  tc__ctx_asm_swap
    .hidden tc__ctx_asm_swap
    .type   tc__ctx_asm_swap, @function
    .p2align 4
tc__ctx_asm_swap:
    .cfi_startproc
    endbr64
    pushq   %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq   %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    pushq   %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    pushq   %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    pushq   %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    pushq   %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0

    /* The two frames have one layout, so the rules above hold on either side of this move. */
    movq    %rsp, (%rdi)
    movq    %rsi, %rsp
    movq    %rdx, %rax

    popq    %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    popq    %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r14
    popq    %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r13
    popq    %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r12
    popq    %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq    %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    popq    %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %rcx
    /* notrack: the target is the instruction after a call, where no compiler puts an endbr64, or
     * .Lfirst. */
    notrack jmp *%rcx
    .cfi_endproc
    .size   tc__ctx_asm_swap, . - tc__ctx_asm_swap

/* The first instructions of a fiber: entry(user [r12], arg [rax]). It must not return. The nop is
 * never executed: an unwinder looks a return address up one byte before it, which must be here. */
    .type   tc__ctx_asm_start, @function
    .p2align 4
tc__ctx_asm_start:
    .cfi_startproc
    .cfi_undefined %rip
    nop
.Lfirst:
    movq    %r12, %rdi
    movq    %rax, %rsi
    call    *%rbx
    ud2
    .cfi_endproc
    .size   tc__ctx_asm_start, . - tc__ctx_asm_start

/* void *tc__ctx_asm_make(void *top [rdi], void (*entry)(void *, void *) [rsi], void *user [rdx])
 * After the swap has popped the frame, sp is a multiple of 16, so that the call in start enters
 * `entry` with the alignment of any other call. */
    .globl  tc__ctx_asm_make
    .hidden tc__ctx_asm_make
    .type   tc__ctx_asm_make, @function
    .p2align 4
tc__ctx_asm_make:
    .cfi_startproc
    endbr64
    andq    $-16, %rdi
    leaq    -(TOP_BYTES + FRAME_BYTES)(%rdi), %rax
    xorl    %ecx, %ecx
    movq    %rcx, 0(%rax)
    movq    %rcx, 8(%rax)
    movq    %rcx, 16(%rax)
    movq    %rdx, FRAME_R12(%rax)
    movq    %rsi, FRAME_RBX(%rax)
    movq    %rcx, 40(%rax)
    leaq    .Lfirst(%rip), %rsi
    movq    %rsi, FRAME_RETURN(%rax)
    movq    %rcx, FRAME_BYTES(%rax)
    movq    %rcx, FRAME_BYTES + 8(%rax)
    ret
    .cfi_endproc
    .size   tc__ctx_asm_make, . - tc__ctx_asm_make

/* Indirect branch tracking is claimed, shadow stacks are not. A file without this note would take
 * the property away from the whole shared object. */
    .section .note.gnu.property, "a", @note
    .p2align 3
    .long   4                   /* size of the name                             */
    .long   16                  /* size of the descriptor                       */
    .long   5                   /* NT_GNU_PROPERTY_TYPE_0                       */
    .asciz  "GNU"
    .long   0xc0000002          /* GNU_PROPERTY_X86_FEATURE_1_AND               */
    .long   4
    .long   1                   /* IBT                                          */
    .long   0

    .section .note.GNU-stack, "", @progbits
