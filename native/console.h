/* console.h: what a domain printed with CONSOLEIO_write. */
#ifndef XP_CONSOLE_H
#define XP_CONSOLE_H

#include "domain.h"

/* Copies up to max bytes from position *pos on (or from the oldest kept), moves *pos, returns how many. */
uint32_t xp_console_read(const struct xp_domain *d, uint64_t *pos, uint8_t *out, uint32_t max);

#endif
