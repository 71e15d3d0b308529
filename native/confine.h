/*
 * confine.h: what a process gives up for good: capabilities, files (Landlock), system calls (seccomp), descriptors, memory.
 *
 * Owns nothing. Used by the process that confines itself: a domain right after it was forked (xenproc/guest/lockdown.py)
 * and the warm server before it is started (xenproc/hv/pen.py). Source: landlock(7), seccomp(2), capabilities(7).
 *   1. Nothing here can be undone; every function only takes away.
 *   2. Functions return 0 or a value, or -errno (Linux's own number).
 */
#ifndef XP_CONFINE_H
#define XP_CONFINE_H

#include "xp.h"

int xp_prctl(int op, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* Gives up every capability: ambient, permitted, effective, inheritable. */
int xp_drop_caps(void);

/* Takes everything but `keep` (bit n: capability n) out of the bounding set: no exec brings it back. */
int xp_drop_bounding(uint64_t keep);

/* The capabilities in force. */
int xp_effective_caps(uint64_t *caps);

/* ---- Landlock ---- */

int xp_landlock_abi(void);

/* A ruleset that handles these rights (those beyond the kernel's ABI are an error): its descriptor. */
int xp_landlock_create(uint64_t handled_fs, uint64_t handled_net, uint64_t scoped);

/* Grants `access` beneath the directory (or on the file) that fd is. */
int xp_landlock_allow(int ruleset, int fd, uint64_t access);

/* Needs no_new_privs or CAP_SYS_ADMIN. */
int xp_landlock_restrict(int ruleset);

#define XP_LANDLOCK_EXECUTE 1
#define XP_LANDLOCK_READ_FILE 4
#define XP_LANDLOCK_READ_DIR 8
#define XP_LANDLOCK_SCOPE_ABSTRACT_UNIX 1
#define XP_LANDLOCK_SCOPE_SIGNAL 2

/* ---- seccomp ---- */

/* Installs a classic BPF program of nr instructions (8 bytes each) on every thread; needs no_new_privs. */
int xp_seccomp_install(const void *program, uint32_t nr);

/* ---- memory ---- */

/*
 * The size of this process's address space in bytes, as RLIMIT_AS counts it, found without /proc by trying the limit;
 * `hint` is where to look first (0: none), `grain` how far below the answer the truth may lie (4096: exact). For a process
 * with a single thread, whose limit is as before afterwards.
 */
int64_t xp_vm_bytes(uint64_t hint, uint64_t grain);

#endif
