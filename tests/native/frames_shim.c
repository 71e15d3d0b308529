/* frames_shim.c: the frame table as the property test drives it: a table of its own for each handle, no machine memory. */
#include "frames.h"

#include <stdlib.h>

struct table {
    struct xp_frames f;
    uint64_t memory[];
};

struct xp_frames *shim_new(uint64_t nr);
void shim_free(struct xp_frames *f);
uint32_t shim_zombies(const struct xp_frames *f, uint32_t owner);
uint32_t shim_given_up(const struct xp_frames *f, uint32_t owner);
uint64_t shim_nr_free(const struct xp_frames *f);
uint64_t shim_nr_dirty(const struct xp_frames *f);
struct xp_frame *shim_frame(const struct xp_frames *f, uint64_t mfn);

struct xp_frames *shim_new(uint64_t nr)
{
    struct table *t = calloc(1, sizeof *t + xp_frames_bytes(nr));
    if (t == NULL)
        return NULL;
    xp_frames_init(&t->f, nr, t->memory, NULL);
    return &t->f;
}

void shim_free(struct xp_frames *f) { free(f); }
uint32_t shim_zombies(const struct xp_frames *f, uint32_t owner) { return f->zombies[owner]; }
uint32_t shim_given_up(const struct xp_frames *f, uint32_t owner) { return f->given_up[owner]; }
uint64_t shim_nr_free(const struct xp_frames *f) { return f->nr_free; }
uint64_t shim_nr_dirty(const struct xp_frames *f) { return f->nr_dirty; }
struct xp_frame *shim_frame(const struct xp_frames *f, uint64_t mfn) { return &f->table[mfn]; }
