/* The heap under timers and the scheduler: native/heap.h. */
#define XP_HEAP_OFF ...
struct xp_heap_node { int64_t key; uint64_t order; uint32_t at; };
struct xp_heap { uint32_t nr; ...; };
