/* names.c: see names.h. */
#include "names.h"

#include <string.h>

#define NAME_BYTES 64u

static uint32_t bucket_of(const char *name)
{
    uint32_t hash = 2166136261u;        /* FNV-1a */
    for (size_t i = 0; i < NAME_BYTES && name[i] != '\0'; i++)
        hash = (hash ^ (uint8_t)name[i]) * 16777619u;
    return (hash ^ hash >> 16) % XP_NAME_BUCKETS;
}

void xp_names_init(struct xp_names *n)
{
    memset(n, 0xff, sizeof *n);
}

void xp_names_add(struct xp_names *n, xp_domid_t domid, const char *name)
{
    uint16_t *first = &n->first[bucket_of(name)];
    n->next[domid] = *first;
    *first = domid;
}

void xp_names_remove(struct xp_names *n, xp_domid_t domid, const char *name)
{
    uint16_t *at = &n->first[bucket_of(name)];
    while (*at != XP_NAME_END && *at != domid)
        at = &n->next[*at];
    if (*at == domid)
        *at = n->next[domid];
}

uint16_t xp_names_first(const struct xp_names *n, const char *name)
{
    return n->first[bucket_of(name)];
}
