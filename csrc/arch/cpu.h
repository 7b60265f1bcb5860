/* arch/cpu.h — what the code needs to know about the processor: how to wait politely, and how
 * far apart two fields must be to stay out of each other's way.
 *
 * Nothing here allocates, calls the system or touches an atomic.
 */
#ifndef TC_ARCH_CPU_H
#define TC_ARCH_CPU_H

#if !defined(__linux__)
#error "tinycoro runs on Linux only: its poller, futexes and stacks have no other backend yet"
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#error "tinycoro supports x86-64 and aarch64 only: csrc/arch has no context switch for this CPU"
#endif

/* Destructive interference distance in bytes. Two 64-byte lines, because x86-64's spatial
 * prefetcher fetches lines in pairs and several aarch64 cores have 128-byte lines: fields that
 * different threads write must be this far apart. */
#define TC_CACHELINE 128

#if defined(__x86_64__)

/* Tell the core that this is a spin loop: frees execution slots for the sibling thread and
 * avoids the memory-order flush when the awaited word finally changes.
 * Parks: never   Threads: any. */
static inline void tc_cpu_relax(void)
{
    __asm__ __volatile__("pause" ::: "memory");
}

#else

/* Tell the core that this is a spin loop: isb waits for some tens of cycles on every core,
 * while yield is a no-op on those without SMT.
 * Parks: never   Threads: any. */
static inline void tc_cpu_relax(void)
{
    __asm__ __volatile__("isb" ::: "memory");
}

#endif

#endif
