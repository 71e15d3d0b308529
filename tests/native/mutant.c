/*
 * mutant.c: which of the mutants that scripts/schemata.py compiles into one program is meant: XP_MUTANT, 0 the original.
 *
 * Linked with builds of scripts/mutants only. XP_CPU_MS: processor time after which it is ended, as a mutant may not come to an end.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>

unsigned xp_mutant;
unsigned char xp_reached[512];   /* by function; what a test may look at and clear */

__attribute__((constructor)) static void choose(void)
{
    const char *nr = getenv("XP_MUTANT"), *cpu = getenv("XP_CPU_MS");
    if (nr != NULL)
        xp_mutant = (unsigned)strtoul(nr, NULL, 10);
    if (cpu != NULL) {
        long ms = strtol(cpu, NULL, 10);
        (void)setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000}}, NULL);
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    }
}
