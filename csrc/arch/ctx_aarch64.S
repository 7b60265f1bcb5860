/* arch/ctx_aarch64.S — the switch for the AAPCS64. Contract: arch/ctx.h.
 *
 * Frame of a saved context, from its sp upwards:
 *
 *    0  d8 d9    16  d10 d11   32  d12 d13   48  d14 d15
 *   64  x19 x20  80  x21 x22   96  x23 x24  112  x25 x26  128  x27 x28  144  x29 x30
 *
 * Of v8-v15 the ABI preserves the low halves only. The return address is not signed: a signature
 * made under one sp cannot be checked under another. A context that has not run yet has .Lfirst
 * in x30, entry in x19, user in x20 and zero elsewhere.
 *
 * hint #34 is `bti c`, which older processors and assemblers take for a nop.
 */

#define FRAME_BYTES 160
#define TOP_BYTES 16

    .text

/* void *tc__ctx_asm_swap(void **save_sp [x0], void *load_sp [x1], void *arg [x2]) */
    .globl  tc__ctx_asm_swap
    .hidden tc__ctx_asm_swap
    .type   tc__ctx_asm_swap, %function
    .p2align 4
tc__ctx_asm_swap:
    .cfi_startproc
    hint    #34
    sub     sp, sp, #FRAME_BYTES
    .cfi_def_cfa_offset FRAME_BYTES
    stp     d8, d9, [sp, #0]
    .cfi_rel_offset d8, 0
    .cfi_rel_offset d9, 8
    stp     d10, d11, [sp, #16]
    .cfi_rel_offset d10, 16
    .cfi_rel_offset d11, 24
    stp     d12, d13, [sp, #32]
    .cfi_rel_offset d12, 32
    .cfi_rel_offset d13, 40
    stp     d14, d15, [sp, #48]
    .cfi_rel_offset d14, 48
    .cfi_rel_offset d15, 56
    stp     x19, x20, [sp, #64]
    .cfi_rel_offset x19, 64
    .cfi_rel_offset x20, 72
    stp     x21, x22, [sp, #80]
    .cfi_rel_offset x21, 80
    .cfi_rel_offset x22, 88
    stp     x23, x24, [sp, #96]
    .cfi_rel_offset x23, 96
    .cfi_rel_offset x24, 104
    stp     x25, x26, [sp, #112]
    .cfi_rel_offset x25, 112
    .cfi_rel_offset x26, 120
    stp     x27, x28, [sp, #128]
    .cfi_rel_offset x27, 128
    .cfi_rel_offset x28, 136
    stp     x29, x30, [sp, #144]
    .cfi_rel_offset x29, 144
    .cfi_rel_offset x30, 152

    /* The two frames have one layout, so the rules above hold on either side of this move; they
     * also stay true while the registers are loaded, because the slots keep their values. */
    mov     x9, sp
    str     x9, [x0]
    mov     sp, x1
    mov     x0, x2

    ldp     d8, d9, [sp, #0]
    ldp     d10, d11, [sp, #16]
    ldp     d12, d13, [sp, #32]
    ldp     d14, d15, [sp, #48]
    ldp     x19, x20, [sp, #64]
    ldp     x21, x22, [sp, #80]
    ldp     x23, x24, [sp, #96]
    ldp     x25, x26, [sp, #112]
    ldp     x27, x28, [sp, #128]
    ldp     x29, x30, [sp, #144]
    add     sp, sp, #FRAME_BYTES
    .cfi_def_cfa_offset 0
    .cfi_restore d8
    .cfi_restore d9
    .cfi_restore d10
    .cfi_restore d11
    .cfi_restore d12
    .cfi_restore d13
    .cfi_restore d14
    .cfi_restore d15
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore x29
    .cfi_restore x30
    ret
    .cfi_endproc
    .size   tc__ctx_asm_swap, . - tc__ctx_asm_swap

/* The first instructions of a fiber: entry(user [x20], arg [x0]). It must not return. Reached by
 * ret, which needs no landing pad. The nop is never executed: an unwinder looks a return address up
 * one byte before it, which must be here. */
    .type   tc__ctx_asm_start, %function
    .p2align 4
tc__ctx_asm_start:
    .cfi_startproc
    .cfi_undefined x30
    nop
.Lfirst:
    mov     x1, x0
    mov     x0, x20
    blr     x19
    brk     #0x1
    .cfi_endproc
    .size   tc__ctx_asm_start, . - tc__ctx_asm_start

/* void *tc__ctx_asm_make(void *top [x0], void (*entry)(void *, void *) [x1], void *user [x2]) */
    .globl  tc__ctx_asm_make
    .hidden tc__ctx_asm_make
    .type   tc__ctx_asm_make, %function
    .p2align 4
tc__ctx_asm_make:
    .cfi_startproc
    hint    #34
    and     x0, x0, #-16
    sub     x0, x0, #(FRAME_BYTES + TOP_BYTES)
    stp     xzr, xzr, [x0, #0]
    stp     xzr, xzr, [x0, #16]
    stp     xzr, xzr, [x0, #32]
    stp     xzr, xzr, [x0, #48]
    stp     x1, x2, [x0, #64]
    stp     xzr, xzr, [x0, #80]
    stp     xzr, xzr, [x0, #96]
    stp     xzr, xzr, [x0, #112]
    stp     xzr, xzr, [x0, #128]
    adr     x9, .Lfirst
    stp     xzr, x9, [x0, #144]
    stp     xzr, xzr, [x0, #FRAME_BYTES]
    ret
    .cfi_endproc
    .size   tc__ctx_asm_make, . - tc__ctx_asm_make

/* A file without this note would take BTI away from the whole shared object. */
    .section .note.gnu.property, "a", %note
    .p2align 3
    .long   4                   /* size of the name                             */
    .long   16                  /* size of the descriptor                       */
    .long   5                   /* NT_GNU_PROPERTY_TYPE_0                       */
    .asciz  "GNU"
    .long   0xc0000000          /* GNU_PROPERTY_AARCH64_FEATURE_1_AND           */
    .long   4
    .long   1                   /* BTI                                          */
    .long   0

    .section .note.GNU-stack, "", %progbits
