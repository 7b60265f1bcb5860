/* base/list.h — intrusive doubly linked lists and intrusive singly linked FIFOs; no
 * ownership, no allocation, no locking.
 *
 * struct tc_list is both the head and the node of a circular list: an element can leave
 * from the middle in constant time. struct tc_fifo is a queue of struct tc_link: half the
 * size, but elements leave only at the front.
 *
 * INVARIANTS
 *   L1  An initialised tc_list is circular in both directions; alone, it points to itself.
 *   L2  After tc_list_remove or tc_list_pop_front the node points to itself, so removing it
 *       again is harmless and tc_list_is_empty(node) says "in no list".
 *   L3  A tc_fifo with count 0 has head == tail == NULL; otherwise tail->next == NULL and
 *       count links are reachable from head.
 *
 * WHO MAY CALL: one thread at a time on one list; no function parks.
 */
#ifndef TC_BASE_LIST_H
#define TC_BASE_LIST_H

#include "base/assert.h"
#include "base/defs.h"

#include <stdbool.h>

struct tc_list {
    struct tc_list *next; /* first element of a head, successor of a node; itself when alone   */
    struct tc_list *prev; /* last element of a head, predecessor of a node; itself when alone  */
};

struct tc_link {
    struct tc_link *next; /* successor in the one tc_fifo that holds this link, or NULL        */
};

struct tc_fifo {
    struct tc_link *head; /* oldest, NULL when empty                                           */
    struct tc_link *tail; /* newest, NULL when empty                                           */
    size_t count;         /* links from head to tail                                           */
};

/* ---- circular list -------------------------------------------------------------------- */

static inline void tc_list_init(struct tc_list *list)
{
    list->next = list;
    list->prev = list;
}

/* True for a head without elements, and for a node that is in no list (L2). */
static inline bool tc_list_is_empty(const struct tc_list *list)
{
    return list->next == list;
}

static inline void tc__list_insert(struct tc_list *node, struct tc_list *prev, struct tc_list *next)
{
    node->next = next;
    node->prev = prev;
    prev->next = node;
    next->prev = node;
}

/* Add `node`, which must be in no list. It need not be initialised. */
static inline void tc_list_push_back(struct tc_list *list, struct tc_list *node)
{
    tc_assert_debug(node != list);
    tc__list_insert(node, list->prev, list);
}

static inline void tc_list_push_front(struct tc_list *list, struct tc_list *node)
{
    tc_assert_debug(node != list);
    tc__list_insert(node, list, list->next);
}

/* Take `node` out of whatever list holds it; harmless if it is in none (L2). */
static inline void tc_list_remove(struct tc_list *node)
{
    tc_assert_debug(node->next->prev == node && node->prev->next == node);
    node->prev->next = node->next;
    node->next->prev = node->prev;
    tc_list_init(node);
}

/* Returns the first element, removed, or NULL. */
static inline struct tc_list *tc_list_pop_front(struct tc_list *list)
{
    struct tc_list *node = list->next;

    if (node == list) {
        return NULL;
    }
    tc_list_remove(node);
    return node;
}

/* Move all elements of `src`, in order, behind those of `dst`; `src` is left empty. */
static inline void tc_list_splice_back(struct tc_list *dst, struct tc_list *src)
{
    if (tc_list_is_empty(src)) {
        return;
    }
    src->next->prev = dst->prev;
    dst->prev->next = src->next;
    src->prev->next = dst;
    dst->prev = src->prev;
    tc_list_init(src);
}

/* Visit the elements of `list` in order; the body must not change the list. */
#define TC_LIST_FOR_EACH(it, list) for ((it) = (list)->next; (it) != (list); (it) = (it)->next)

/* The same, but the body may remove or free `it` (no other element). */
#define TC_LIST_FOR_EACH_SAFE(it, tmp, list) \
    for ((it) = (list)->next, (tmp) = (it)->next; (it) != (list); (it) = (tmp), (tmp) = (it)->next)

/* ---- singly linked FIFO --------------------------------------------------------------- */

static inline void tc_fifo_init(struct tc_fifo *fifo)
{
    fifo->head = NULL;
    fifo->tail = NULL;
    fifo->count = 0;
}

static inline bool tc_fifo_is_empty(const struct tc_fifo *fifo)
{
    return fifo->head == NULL;
}

/* Add `link`, which must be in no FIFO, as the newest. */
static inline void tc_fifo_push(struct tc_fifo *fifo, struct tc_link *link)
{
    link->next = NULL;
    if (fifo->tail == NULL) {
        fifo->head = link;
    } else {
        fifo->tail->next = link;
    }
    fifo->tail = link;
    fifo->count++;
}

/* Returns the oldest link, removed and with next == NULL, or NULL. */
static inline struct tc_link *tc_fifo_pop(struct tc_fifo *fifo)
{
    struct tc_link *link = fifo->head;

    if (link == NULL) {
        return NULL;
    }
    fifo->head = link->next;
    if (fifo->head == NULL) {
        fifo->tail = NULL;
    }
    fifo->count--;
    link->next = NULL;
    return link;
}

/* Move all links of `src`, in order, behind those of `dst`; `src` is left empty. */
static inline void tc_fifo_append(struct tc_fifo *dst, struct tc_fifo *src)
{
    if (src->head == NULL) {
        return;
    }
    if (dst->tail == NULL) {
        dst->head = src->head;
    } else {
        dst->tail->next = src->head;
    }
    dst->tail = src->tail;
    dst->count += src->count;
    tc_fifo_init(src);
}

#endif
