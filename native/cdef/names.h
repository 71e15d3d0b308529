/* Domains by name: native/names.h. */
#define XP_NAME_BUCKETS ...
#define XP_NAME_END ...
struct xp_names { uint16_t first[...], next[...]; };
void xp_names_init(struct xp_names *n);
void xp_names_add(struct xp_names *n, uint16_t domid, const char *name);
void xp_names_remove(struct xp_names *n, uint16_t domid, const char *name);
uint16_t xp_names_first(const struct xp_names *n, const char *name);
