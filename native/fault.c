/*
 * fault.c: see fault.h.
 */
#include "fault.h"

#ifdef XP_FAULT_POINTS

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set_count(unsigned long count)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lu", count);
    return setenv("XP_FAULT_COUNT", text, 1) == 0 ? 0 : -XEN_ENOMEM;
}

int xp_fault_arm(const char *name, uint32_t count)
{
    int ret = set_count(count);
    return ret == 0 && setenv("XP_FAULT_POINT", name, 1) != 0 ? -XEN_ENOMEM : ret;
}

void xp_fault_hit(const char *name)
{
    const char *armed = getenv("XP_FAULT_POINT"), *left = getenv("XP_FAULT_COUNT");
    if (armed == NULL || left == NULL || strcmp(armed, name) != 0)
        return;
    unsigned long count = strtoul(left, NULL, 10);
    if (count <= 1)
        (void)raise(SIGKILL);
    (void)set_count(count - 1);
}

#else

int xp_fault_arm(const char *name, uint32_t count)
{
    (void)name;
    (void)count;
    return -XEN_ENOSYS;
}

#endif
