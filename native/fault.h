/*
 * fault.h: fault points: a process ends by SIGKILL exactly where the suite wants it, in builds with -DXP_FAULT_POINTS.
 *
 * What is armed stands in the environment (XP_FAULT_POINT, XP_FAULT_COUNT), as the core keeps no state at file scope. One
 * thread arms before the others run. In the shipped build nothing can be armed and no point costs anything.
 */
#ifndef XP_FAULT_H
#define XP_FAULT_H

#include "xp.h"

/* The count-th time (1: the first) that `name` is reached ends this process. 0, or -XEN_ENOSYS in a build without points. */
int xp_fault_arm(const char *name, uint32_t count);

#endif
