/*
 * console.c: HYPERVISOR_console_io and what a domain has printed: the last XP_CONSOLE_BYTES of it, by position.
 *
 * Positions count all bytes ever written, so that a reader knows what it has missed. Source: public/xen.h (CONSOLEIO_*).
 */
#include "console.h"

#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"

#include <stdlib.h>
#include <string.h>

#define WRITE_MAX 4096u          /* bytes a call; the rest is for the caller to write again */

static void append(struct xp_domain *d, const uint8_t *bytes, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        d->console[(d->console_prod + i) % XP_CONSOLE_BYTES] = bytes[i];
    d->console_prod += len;
    xp_hv_news_of(d);
}

static int64_t console_write(struct xp_domain *d, uint64_t count, uint64_t va)
{
    uint8_t bytes[WRITE_MAX];
    uint64_t len = count < WRITE_MAX ? count : WRITE_MAX;
    int ret = xp_copy_from_guest(d, bytes, va, len);
    if (ret != 0)
        return ret;
    if (d->console == NULL)
        d->console = malloc(XP_CONSOLE_BYTES);
    if (d->console == NULL)
        return -XEN_ENOMEM;
    append(d, bytes, len);
    return (int64_t)len;
}

int64_t xp_do_console_io(struct xp_domain *d, struct xp_call *call)
{
    switch (call->args[0]) {
    case CONSOLEIO_write: return console_write(d, call->args[1], call->args[2]);
    case CONSOLEIO_read: return 0;      /* no input arrives this way: consoles are read from their ring */
    default: return -XEN_ENOSYS;
    }
}

uint32_t xp_console_read(const struct xp_domain *d, uint64_t *pos, uint8_t *out, uint32_t max)
{
    uint64_t oldest = d->console_prod > XP_CONSOLE_BYTES ? d->console_prod - XP_CONSOLE_BYTES : 0;
    uint32_t nr = 0;
    if (*pos < oldest)
        *pos = oldest;
    while (nr < max && *pos < d->console_prod)
        out[nr++] = d->console[(*pos)++ % XP_CONSOLE_BYTES];
    return nr;
}
