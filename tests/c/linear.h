/* tests/c/linear.h — is a recorded history of channel operations linearizable?
 *
 * A history holds the operations of several threads, fibers or tasks on up to four channels, each
 * with the time before its call, the time after its return, and its outcome. It is linearizable if
 * a moment can be chosen for every operation, between the two, such that the operations in the
 * order of these moments are a run of the sequential channel below. All channels are checked as one
 * object, so that a select with a default, which looks at several, has one moment too.
 *
 * The sequential channel of capacity n > 0 is a queue: a send with fewer than n items inside, a
 * receive of the oldest, "full" with n and "empty" with 0 items while it is open, "closed" for a
 * send after the close and for a receive when it is empty as well. With capacity 0 a send and the
 * receive of its item take place at one moment, so that both must be under way at once; "full" and
 * "empty" say that nobody was waiting, which a history does not tell, and are right while the
 * channel is open. Operations that end by deadline or cancel did nothing, and are left out. Items
 * are different.
 *
 * The search is that of Wing and Gong (Testing and verifying concurrent objects, 1993): take any
 * operation that is called before the first return among the rest, as the next one, and go back
 * when none fits. After Lowe (Testing for linearizability, 2017) a pair of operations taken and
 * state reached that has been left once is not entered again.
 *
 * TEXT. One history: lines until an empty one or the end. '#' begins a comment. Times are integers
 * of one clock; equal times count as concurrent.
 *
 *   channel NUMBER CAPACITY                      NUMBER 0 to 3, CAPACITY 0 to 16; first
 *   CALL RETURN send CHANNEL ITEM ok|closed|full
 *   CALL RETURN recv CHANNEL ITEM ok             ITEM 1 to 65535
 *   CALL RETURN recv CHANNEL - closed|empty
 *   CALL RETURN close CHANNEL - ok|closed        closed: it was already
 *   CALL RETURN none CASE…                       a select took its default; CASE is send:CHANNEL or
 *                                                recv:CHANNEL
 * A select that took a case is that case's line.
 *
 * WHO MAY CALL: any thread; no shared state.
 */
#ifndef TC_TESTS_C_LINEAR_H
#define TC_TESTS_C_LINEAR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    LINEAR_OPS_MAX = 512,
    LINEAR_CHANNELS_MAX = 4,
    LINEAR_CAPACITY_MAX = 16,
    LINEAR_ENTRIES_MAX = 1000000, /* pairs remembered before the search is given up            */
};

enum linear_kind { LINEAR_SEND, LINEAR_RECV, LINEAR_CLOSE, LINEAR_NONE };

/* NOTHING: full, empty, or a default. CLOSED of a close: it was closed already. */
enum linear_result { LINEAR_OK, LINEAR_CLOSED, LINEAR_NOTHING };

struct linear_op {
    int64_t called;
    int64_t returned;
    enum linear_kind kind;
    enum linear_result result;
    unsigned channel;
    unsigned item;  /* of a send, or of a receive that is OK                                    */
    unsigned sends; /* of a NONE: its cases, a bit for each channel                             */
    unsigned recvs;
};

struct linear_history {
    unsigned channels;
    unsigned capacity[LINEAR_CHANNELS_MAX];
    unsigned count;
    struct linear_op ops[LINEAR_OPS_MAX];
};

enum linear_verdict { LINEAR_YES, LINEAR_NO, LINEAR_GIVEN_UP };

/* Decide. *stuck is, for LINEAR_NO, the operation whose return the longest attempt did not reach.
 * Needs up to some hundred MB for histories that are hard to decide. */
enum linear_verdict linear_check(const struct linear_history *history, unsigned *stuck);

/* Write a history as text; a line that is `marked` gets a comment (-1: none). */
void linear_print(const struct linear_history *history, FILE *file, int marked);

/* Read the next history. Returns 1, 0 at the end of the file, or minus the number of the wrong line
 * since `*line`, which is advanced by the lines read. */
int linear_read(struct linear_history *history, FILE *file, int *line);

#endif
