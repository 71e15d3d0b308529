/* The guest's side of its window; the hypervisor's side is C only. */
int xp_window_map(int memory_fd, uint64_t nr, uint64_t want, uint64_t *base);
int xp_window_open(int memory_fd, uint64_t nr, uint64_t want, uint64_t *base);
