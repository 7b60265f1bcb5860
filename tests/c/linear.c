#include "linear.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 14, WORDS = LINEAR_OPS_MAX / 64 };

/* The sequential channels. */
struct state {
    uint16_t items[LINEAR_CHANNELS_MAX][LINEAR_CAPACITY_MAX]; /* oldest first; 0 beyond         */
    uint8_t count[LINEAR_CHANNELS_MAX];
    uint8_t closed;  /* a bit for each channel                                                  */
    uint8_t reserved;
    uint16_t handed; /* 1 + the send on a channel of capacity 0 whose receive comes next        */
};

/* A call or a return, in the list of what is not taken yet. */
struct event {
    int64_t time;
    uint16_t op;
    bool is_return;
    uint16_t previous;
    uint16_t next;
};

/* A set of operations taken and the state they led to, left without success. */
struct entry {
    struct entry *next;
    uint64_t taken[WORDS];
    struct state state;
};

struct search {
    const struct linear_history *history;
    struct event events[2 * LINEAR_OPS_MAX + 1]; /* the last one is the list's head             */
    uint16_t call_of[LINEAR_OPS_MAX];
    uint16_t return_of[LINEAR_OPS_MAX];
    uint64_t taken[WORDS];
    struct state state;
    struct {
        uint16_t op;
        struct state before;
    } path[LINEAR_OPS_MAX];
    unsigned depth;
    unsigned entries;
    struct entry *buckets[BUCKETS];
};

/* ---- the sequential channel -------------------------------------------------------------- */

static bool nothing_to_do(const struct linear_history *history, const struct state *state,
                          unsigned channel, bool is_send)
{
    unsigned capacity = history->capacity[channel];

    return (state->closed >> channel & 1) == 0 &&
           (capacity == 0 || state->count[channel] == (is_send ? capacity : 0));
}

static bool nothing_at_all(const struct linear_history *history, const struct state *state,
                           const struct linear_op *op)
{
    for (unsigned channel = 0; channel < history->channels; channel++) {
        if (((op->sends >> channel & 1) != 0 && !nothing_to_do(history, state, channel, true)) ||
            ((op->recvs >> channel & 1) != 0 && !nothing_to_do(history, state, channel, false))) {
            return false;
        }
    }
    return true;
}

static bool send(const struct linear_history *history, struct state *state, unsigned index)
{
    const struct linear_op *op = &history->ops[index];
    unsigned channel = op->channel;
    bool is_closed = (state->closed >> channel & 1) != 0;

    if (op->result == LINEAR_CLOSED) {
        return is_closed;
    }
    if (op->result == LINEAR_NOTHING) {
        return nothing_to_do(history, state, channel, true);
    }
    if (is_closed) {
        return false;
    }
    if (history->capacity[channel] == 0) {
        state->handed = (uint16_t)(index + 1);
        return true;
    }
    if (state->count[channel] == history->capacity[channel]) {
        return false;
    }
    state->items[channel][state->count[channel]++] = (uint16_t)op->item;
    return true;
}

static bool recv(const struct linear_history *history, struct state *state,
                 const struct linear_op *op)
{
    unsigned channel = op->channel;
    uint16_t *items = state->items[channel];

    if (op->result == LINEAR_CLOSED) {
        return (state->closed >> channel & 1) != 0 && state->count[channel] == 0;
    }
    if (op->result == LINEAR_NOTHING) {
        return nothing_to_do(history, state, channel, false);
    }
    if (state->count[channel] == 0 || items[0] != op->item) {
        return false;
    }
    state->count[channel]--;
    memmove(items, items + 1, state->count[channel] * sizeof items[0]);
    items[state->count[channel]] = 0;
    return true;
}

/* The other half of a hand-over on a channel of capacity 0. */
static bool take_over(const struct linear_history *history, struct state *state,
                      const struct linear_op *op)
{
    const struct linear_op *sent = &history->ops[state->handed - 1];

    if (op->kind != LINEAR_RECV || op->result != LINEAR_OK || op->channel != sent->channel ||
        op->item != sent->item || op->called > sent->returned) {
        return false;
    }
    state->handed = 0;
    return true;
}

/* Let operation `index` happen. False: it cannot have this outcome in this state. */
static bool happen(const struct linear_history *history, struct state *state, unsigned index)
{
    const struct linear_op *op = &history->ops[index];

    if (state->handed != 0) {
        return take_over(history, state, op);
    }
    switch (op->kind) {
    case LINEAR_SEND:
        return send(history, state, index);
    case LINEAR_RECV:
        return recv(history, state, op);
    case LINEAR_CLOSE:
        if ((op->result == LINEAR_OK) != ((state->closed >> op->channel & 1) == 0)) {
            return false;
        }
        state->closed |= (uint8_t)(1u << op->channel);
        return true;
    case LINEAR_NONE:
        break;
    }
    return nothing_at_all(history, state, op);
}

/* ---- the list of calls and returns -------------------------------------------------------- */

static int compare_events(const void *a, const void *b)
{
    const struct event *left = a;
    const struct event *right = b;

    if (left->time != right->time) {
        return left->time < right->time ? -1 : 1;
    }
    return left->is_return - right->is_return; /* equal times are concurrent */
}

static void list_begin(struct search *search)
{
    unsigned count = search->history->count;
    uint16_t head = 2 * LINEAR_OPS_MAX;

    for (unsigned i = 0; i < count; i++) {
        const struct linear_op *op = &search->history->ops[i];
        search->events[2 * i] = (struct event){.time = op->called, .op = (uint16_t)i};
        search->events[2 * i + 1] =
            (struct event){.time = op->returned, .op = (uint16_t)i, .is_return = true};
    }
    qsort(search->events, 2 * (size_t)count, sizeof search->events[0], compare_events);
    for (unsigned i = 0; i < 2 * count; i++) {
        struct event *event = &search->events[i];
        event->previous = i == 0 ? head : (uint16_t)(i - 1);
        event->next = i + 1 == 2 * count ? head : (uint16_t)(i + 1);
        (event->is_return ? search->return_of : search->call_of)[event->op] = (uint16_t)i;
    }
    search->events[head].next = count == 0 ? head : 0;
    search->events[head].previous = count == 0 ? head : (uint16_t)(2 * count - 1);
}

static void list_remove(struct search *search, uint16_t index)
{
    struct event *event = &search->events[index];

    search->events[event->previous].next = event->next;
    search->events[event->next].previous = event->previous;
}

/* In the opposite order of the removals. */
static void list_put_back(struct search *search, uint16_t index)
{
    struct event *event = &search->events[index];

    search->events[event->previous].next = index;
    search->events[event->next].previous = index;
}

/* ---- the search --------------------------------------------------------------------------- */

static uint64_t hash_bytes(const void *bytes, size_t size, uint64_t hash)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Remember the pair. False: it was known. */
static bool remember(struct search *search, const uint64_t *taken, const struct state *state)
{
    uint64_t hash =
        hash_bytes(state, sizeof *state,
                   hash_bytes(taken, sizeof search->taken, UINT64_C(0xcbf29ce484222325)));
    struct entry **bucket = &search->buckets[(hash ^ hash >> 32) % BUCKETS];

    for (struct entry *entry = *bucket; entry != NULL; entry = entry->next) {
        if (memcmp(entry->taken, taken, sizeof entry->taken) == 0 &&
            memcmp(&entry->state, state, sizeof *state) == 0) {
            return false;
        }
    }
    struct entry *entry = malloc(sizeof *entry);
    if (entry == NULL) {
        abort();
    }
    memcpy(entry->taken, taken, sizeof entry->taken);
    entry->state = *state;
    entry->next = *bucket;
    *bucket = entry;
    search->entries++;
    return true;
}

/* Take the operation next, if its outcome fits and this has not been tried. */
static bool take(struct search *search, uint16_t op)
{
    struct state after = search->state;

    if (!happen(search->history, &after, op)) {
        return false;
    }
    search->taken[op / 64] |= UINT64_C(1) << (op % 64);
    if (!remember(search, search->taken, &after)) {
        search->taken[op / 64] &= ~(UINT64_C(1) << (op % 64));
        return false;
    }
    search->path[search->depth].op = op;
    search->path[search->depth++].before = search->state;
    search->state = after;
    list_remove(search, search->call_of[op]);
    list_remove(search, search->return_of[op]);
    return true;
}

/* Undo the last one; returns it. */
static uint16_t take_back(struct search *search)
{
    uint16_t op = search->path[--search->depth].op;

    search->state = search->path[search->depth].before;
    search->taken[op / 64] &= ~(UINT64_C(1) << (op % 64));
    list_put_back(search, search->return_of[op]);
    list_put_back(search, search->call_of[op]);
    return op;
}

static enum linear_verdict run(struct search *search, unsigned *stuck)
{
    uint16_t head = 2 * LINEAR_OPS_MAX;
    uint16_t at = search->events[head].next;
    unsigned deepest = 0;

    while (at != head) {
        struct event *event = &search->events[at];
        if (!event->is_return) {
            at = take(search, event->op) ? search->events[head].next : event->next;
            continue;
        }
        if (search->depth >= deepest) {
            deepest = search->depth;
            *stuck = event->op;
        }
        if (search->depth == 0) {
            return LINEAR_NO;
        }
        if (search->entries > LINEAR_ENTRIES_MAX) {
            return LINEAR_GIVEN_UP;
        }
        at = search->events[search->call_of[take_back(search)]].next;
    }
    /* A send that is handed over to nobody cannot be the last: its receive has a return. */
    return search->state.handed == 0 ? LINEAR_YES : LINEAR_NO;
}

enum linear_verdict linear_check(const struct linear_history *history, unsigned *stuck)
{
    struct search *search = calloc(1, sizeof *search);

    if (search == NULL) {
        abort();
    }
    *stuck = 0;
    search->history = history;
    list_begin(search);
    enum linear_verdict verdict = run(search, stuck);
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (search->buckets[i] != NULL) {
            struct entry *next = search->buckets[i]->next;
            free(search->buckets[i]);
            search->buckets[i] = next;
        }
    }
    free(search);
    return verdict;
}

/* ---- text --------------------------------------------------------------------------------- */

static const char *const result_names[][3] = {
    [LINEAR_SEND] = {"ok", "closed", "full"},
    [LINEAR_RECV] = {"ok", "closed", "empty"},
    [LINEAR_CLOSE] = {"ok", "closed", "-"},
};

static const char *const kind_names[] = {"send", "recv", "close"};

void linear_print(const struct linear_history *history, FILE *file, int marked)
{
    for (unsigned i = 0; i < history->channels; i++) {
        fprintf(file, "channel %u %u\n", i, history->capacity[i]);
    }
    for (unsigned i = 0; i < history->count; i++) {
        const struct linear_op *op = &history->ops[i];
        fprintf(file, "%" PRId64 " %" PRId64, op->called, op->returned);
        if (op->kind == LINEAR_NONE) {
            fputs(" none", file);
            for (unsigned k = 0; k < history->channels; k++) {
                if ((op->sends >> k & 1) != 0) {
                    fprintf(file, " send:%u", k);
                }
                if ((op->recvs >> k & 1) != 0) {
                    fprintf(file, " recv:%u", k);
                }
            }
        } else if (op->item != 0) {
            fprintf(file, " %s %u %u %s", kind_names[op->kind], op->channel, op->item,
                    result_names[op->kind][op->result]);
        } else {
            fprintf(file, " %s %u - %s", kind_names[op->kind], op->channel,
                    result_names[op->kind][op->result]);
        }
        fputs((int)i == marked ? " # no moment fits\n" : "\n", file);
    }
    fputc('\n', file);
}

static bool read_none(struct linear_op *op, char *words)
{
    unsigned channel;
    char kind[8];

    op->kind = LINEAR_NONE;
    op->result = LINEAR_NOTHING;
    for (char *word = strtok(words, " \n"); word != NULL; word = strtok(NULL, " \n")) {
        if (sscanf(word, "%4[a-z]:%u", kind, &channel) != 2 || channel >= LINEAR_CHANNELS_MAX) {
            return false;
        }
        if (strcmp(kind, "send") == 0) {
            op->sends |= 1u << channel;
        } else if (strcmp(kind, "recv") == 0) {
            op->recvs |= 1u << channel;
        } else {
            return false;
        }
    }
    return true;
}

static bool read_op(struct linear_op *op, char *line)
{
    char kind[8];
    char item[8];
    char result[8];
    int used = 0;

    *op = (struct linear_op){.called = 0};
    if (sscanf(line, "%" SCNd64 " %" SCNd64 " %7s%n", &op->called, &op->returned, kind, &used) !=
            3 ||
        op->called > op->returned) {
        return false;
    }
    if (strcmp(kind, "none") == 0) {
        return read_none(op, line + used);
    }
    if (sscanf(line + used, "%u %7s %7s", &op->channel, item, result) != 3 ||
        op->channel >= LINEAR_CHANNELS_MAX) {
        return false;
    }
    op->item = strcmp(item, "-") == 0 ? 0 : (unsigned)strtoul(item, NULL, 10);
    for (op->kind = LINEAR_SEND; strcmp(kind, kind_names[op->kind]) != 0; op->kind++) {
        if (op->kind == LINEAR_CLOSE) {
            return false;
        }
    }
    for (op->result = LINEAR_OK; strcmp(result, result_names[op->kind][op->result]) != 0;
         op->result++) {
        if (op->result == LINEAR_NOTHING) {
            return false;
        }
    }
    bool has_item = op->kind == LINEAR_SEND || (op->kind == LINEAR_RECV && op->result == LINEAR_OK);
    return has_item ? op->item != 0 && op->item <= UINT16_MAX : op->item == 0;
}

int linear_read(struct linear_history *history, FILE *file, int *line)
{
    char text[256];
    bool any = false;

    history->channels = history->count = 0;
    while (fgets(text, sizeof text, file) != NULL) {
        unsigned number;
        unsigned capacity;
        ++*line;
        bool is_comment = text[0] == '#';
        text[strcspn(text, "#\r\n")] = '\0';
        if (text[strspn(text, " \t")] == '\0') {
            if (any && !is_comment) {
                return 1;
            }
            continue;
        }
        any = true;
        if (sscanf(text, "channel %u %u", &number, &capacity) == 2) {
            if (number != history->channels || number >= LINEAR_CHANNELS_MAX ||
                capacity > LINEAR_CAPACITY_MAX) {
                return -1;
            }
            history->capacity[history->channels++] = capacity;
        } else if (history->count == LINEAR_OPS_MAX ||
                   !read_op(&history->ops[history->count], text) ||
                   history->ops[history->count].channel >= history->channels) {
            return -1;
        } else {
            history->count++;
        }
    }
    return any;
}
