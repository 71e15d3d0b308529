/* A protection fault of Linux' own: native/benchfault.h. */
int xp_bench_prot_faults(uint64_t nr);
