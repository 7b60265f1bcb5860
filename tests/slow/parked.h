/* parked.h — a crowd of parked fibers, one of them ready to overflow its stack. */
#ifndef TC_TESTS_SLOW_PARKED_H
#define TC_TESTS_SLOW_PARKED_H

#include "tinycoro.h"

enum { PARKED_MAX = 1000000 };

/* Spawn `count` fibers of the default class and wait until all of them are parked; the last one is
 * called "deep" and has a stack of class `last`. Returns the id of the last one. */
uint64_t parked_start(struct tc_runtime *runtime, unsigned count, enum tc_stack_class last);

/* Write into our own bookkeeping of so many fibers, so that it does not count as theirs. */
void parked_touch(unsigned count);

/* Resume all and join them. Returns how many were resumed. */
unsigned parked_end(unsigned count);

/* Resume the last one, which then recurses until the process dies. */
_Noreturn void parked_overflow_last(unsigned count);

#endif
