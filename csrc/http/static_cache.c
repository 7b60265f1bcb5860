#include "http/static_cache.h"

#include <string.h>

typedef _Atomic(struct tc_static_file *) slot_type;

/* ---- slots: under the lock ---------------------------------------------------------------- */

static struct tc_static_file *look_locked(const slot_type *slot)
{
    return tc_load_relaxed(slot); /* relaxed: written under the lock */
}

/* Let go of what is in a slot. Returns the list of those that were let go of. */
static struct tc_static_file *empty_locked(struct tc_static_cache *cache, slot_type *slot,
                                           struct tc_static_file *gone)
{
    struct tc_static_file *file = look_locked(slot);

    if (file == NULL) {
        return gone;
    }
    tc_store_relaxed(slot, NULL); /* relaxed: says nothing about any memory */
    cache->bytes -= file->bytes;
    cache->descriptors -= file->descriptors;
    cache->files--;
    file->next = gone;
    return file;
}

/* The slot of its set that a file may have: of the same path, an empty one, one that was not
 * used. */
static slot_type *choose_locked(struct tc_static_cache *cache, const struct tc_static_file *file)
{
    slot_type *set = &cache->slots[(file->hash & (TC_STATIC_SETS - 1)) * TC_STATIC_WAYS];
    slot_type *best = set;
    int best_rank = 0;

    for (slot_type *slot = set; slot < set + TC_STATIC_WAYS; slot++) {
        const struct tc_static_file *other = look_locked(slot);
        int rank = 1;
        if (other == NULL) {
            rank = 3;
        } else if (other->hash == file->hash && other->path_len == file->path_len &&
                   memcmp(other->path, file->path, file->path_len) == 0) {
            return slot;
        } else if (!tc_load_relaxed(&other->was_used)) { /* relaxed: a hint */
            rank = 2;
        }
        if (rank > best_rank) {
            best = slot;
            best_rank = rank;
        }
    }
    return best;
}

static bool has_room_locked(const struct tc_static_cache *cache, const struct tc_static_file *file)
{
    return file->bytes <= cache->bytes_max - cache->bytes &&
           file->descriptors <= TC_STATIC_DESCRIPTORS - cache->descriptors;
}

/* Go round until there is room: once to see what is not used, once more to see it again. */
static struct tc_static_file *make_room_locked(struct tc_static_cache *cache,
                                               const struct tc_static_file *file,
                                               struct tc_static_file *gone)
{
    for (int steps = 0; steps < 2 * TC_STATIC_SLOTS && !has_room_locked(cache, file); steps++) {
        slot_type *slot = &cache->slots[cache->hand];
        struct tc_static_file *other = look_locked(slot);
        cache->hand = (cache->hand + 1) % TC_STATIC_SLOTS;
        if (other != NULL && tc_load_relaxed(&other->was_used)) { /* relaxed: a hint */
            tc_store_relaxed(&other->was_used, false); /* relaxed: a hint */
        } else {
            gone = empty_locked(cache, slot, gone);
        }
    }
    return gone;
}

/* ---- the end of a file -------------------------------------------------------------------- */

static void free_retired(struct tc_ebr_node *retired)
{
    tc__static_release(tc_container_of(retired, struct tc_static_file, retired));
}

static void retire_all(struct tc_ebr_slot *ebr, struct tc_static_file *gone)
{
    while (gone != NULL) {
        struct tc_static_file *next = gone->next;
        tc_ebr_retire(ebr, &gone->retired, free_retired);
        gone = next;
    }
}

/* ---- public ------------------------------------------------------------------------------- */

void tc__static_cache_init(struct tc_static_cache *cache, uint64_t bytes_max)
{
    memset(cache, 0, sizeof *cache);
    cache->bytes_max = bytes_max;
    tc_lock_init(&cache->lock, TC_RANK_STATIC);
}

void tc__static_cache_fini(struct tc_static_cache *cache)
{
    for (int i = 0; i < TC_STATIC_SLOTS; i++) {
        struct tc_static_file *file = empty_locked(cache, &cache->slots[i], NULL);
        if (file != NULL) {
            tc__static_release(file);
        }
    }
}

struct tc_static_file *tc__static_cache_find(const struct tc_static_cache *cache, uint64_t hash,
                                             const char *path, size_t len)
{
    const slot_type *set = &cache->slots[(hash & (TC_STATIC_SETS - 1)) * TC_STATIC_WAYS];

    for (const slot_type *slot = set; slot < set + TC_STATIC_WAYS; slot++) {
        /* acquire [static-cache]: the file is complete. */
        struct tc_static_file *file = tc_load_acquire(slot);
        if (file != NULL && file->hash == hash && file->path_len == len &&
            memcmp(file->path, path, len) == 0) {
            if (!tc_load_relaxed(&file->was_used)) { /* relaxed: a hint */
                tc_store_relaxed(&file->was_used, true); /* relaxed: a hint */
            }
            return file;
        }
    }
    return NULL;
}

void tc__static_cache_add(struct tc_static_cache *cache, struct tc_ebr_slot *ebr,
                          struct tc_static_file *file)
{
    struct tc_static_file *gone = NULL;

    if (file->bytes > cache->bytes_max) {
        return;
    }
    tc_lock_acquire(&cache->lock);
    slot_type *slot = choose_locked(cache, file);
    gone = empty_locked(cache, slot, gone);
    gone = make_room_locked(cache, file, gone);
    if (has_room_locked(cache, file)) { /* or all the others are being used just now */
        tc__static_hold(file);
        cache->bytes += file->bytes;
        cache->descriptors += file->descriptors;
        cache->files++;
        tc_store_release(slot, file); /* release [static-cache]: publishes it complete */
    }
    tc_lock_release(&cache->lock);
    retire_all(ebr, gone);
}

void tc__static_cache_drop(struct tc_static_cache *cache, struct tc_ebr_slot *ebr,
                           const struct tc_static_file *file)
{
    struct tc_static_file *gone = NULL;
    slot_type *set = &cache->slots[(file->hash & (TC_STATIC_SETS - 1)) * TC_STATIC_WAYS];

    tc_lock_acquire(&cache->lock);
    for (slot_type *slot = set; slot < set + TC_STATIC_WAYS; slot++) {
        if (look_locked(slot) == file) {
            gone = empty_locked(cache, slot, gone);
        }
    }
    tc_lock_release(&cache->lock);
    retire_all(ebr, gone);
}
