"""A domain's console as Domain0 reads it: what it wrote, while it lives and after its end."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from xenproc.hv.domain import console_text

if TYPE_CHECKING:
    from xenproc.hv.hypervisor import HypervisorProcess

MAX_FOLLOW = 60.0


def read(hv: "HypervisorProcess", domid: int, pos: int) -> tuple[int, bytes]:
    """Return (new position, bytes) of a domain's console, dead or alive. Raises NoSuchDomain."""
    last_words = _last_words(hv, domid)
    if last_words is not None:
        return _rest(last_words, pos)
    hv.find(domid)
    return console_text(hv.core, domid, pos)


def _last_words(hv: "HypervisorProcess", domid: int) -> tuple[int, bytes] | None:
    """Return (end position, tail) of a dead domain's console, None if it lives or is not known."""
    record = hv.domains.get(domid)
    ended = record.exit if record is not None else hv.exits.peek(domid)
    return None if ended is None else (ended["console_end"], ended["console"].encode("latin-1"))


async def follow(hv: "HypervisorProcess", domid: int, pos: int, limit: float) -> tuple[int, bytes, bool]:
    """As read, but waits up to `limit` seconds for more; also returns whether the domain has ended. Raises NoSuchDomain."""
    last_words = _last_words(hv, domid)
    if last_words is not None:
        return *_rest(last_words, pos), True
    record = hv.find(domid)
    end = asyncio.get_running_loop().time() + min(limit, MAX_FOLLOW)
    while record.exit is None:
        new, data = console_text(hv.core, domid, pos)
        left = end - asyncio.get_running_loop().time()
        if data or left <= 0:
            return new, data, False
        record.news.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(record.news.wait(), left)
    return *_rest(_last_words(hv, domid) or (pos, b""), pos), True


def _rest(last_words: tuple[int, bytes], pos: int) -> tuple[int, bytes]:
    """Return (end position, bytes from `pos` on) of a dead domain's console."""
    end, tail = last_words
    return end, tail[max(0, pos - (end - len(tail))):]
