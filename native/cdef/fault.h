/* Fault points of the suite's own build: native/fault.h. */
int xp_fault_arm(const char *name, uint32_t count);
