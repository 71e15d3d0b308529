"""Guests that crash or cheat, each a small program. They run in domains of their own; who runs beside them must not notice.

Verdicts are the tests' (test_crashing.py). A guest that needs a peer to cheat names it; the peers are at the end.
"""
# Tour T:060

import ctypes
import os
import random
import threading
import time

import xenproc
from xenproc.ring import Layout

PAGE = 4096
ECHO = Layout("struct { uint64_t id; uint64_t a; }", "struct { uint64_t id; uint64_t a; }")


def scribble(address: int, nr: int = PAGE) -> bool:
    """Write rubbish by the kernel's hand, so that a page that is not ours is an error and no signal."""
    libc = ctypes.CDLL(None)
    with open("/dev/urandom", "rb", buffering=0) as source:
        return libc.read(source.fileno(), ctypes.c_void_p(address), ctypes.c_size_t(nr)) == nr


def wild_writes(g) -> None:
    """Rubbish over the whole address space.

    First the window, every frame of machine memory, then a sample of all other addresses up to the top of the lower half.
    What is its own is destroyed, its call page, grant table and code among it; everything else must refuse.
    """
    nr = 8192
    for mfn in range(nr):
        scribble(g.window_base + mfn * PAGE)
    rng = random.Random(7)
    for _ in range(200000):
        address = rng.randrange(0, 1 << 47, 8)
        ctypes.memset(address, 0xEE, 8)


def rubbish_on_own_pages(g) -> None:
    """Rubbish, again and again, over every page it can write: call page, shared_info, start_info, event pages, grant table.

    Doorbells in between, so that the hypervisor looks at what lies there.
    """
    end = time.monotonic() + 1.0
    port = g.events.alloc_unbound(0x7FF0)
    g.events.direct(g.events.bind_interdomain(g.domid, port))
    doorbell = int(g.doorbell)
    writable = [mfn for mfn in range(8192) if scribble(g.window_base + mfn * PAGE, 1)]
    while time.monotonic() < end:
        for mfn in writable:
            scribble(g.window_base + mfn * PAGE)
        os.write(doorbell, (1).to_bytes(8, "little"))
    os.abort()


def abort(g) -> None:
    """The plainest crash: SIGABRT."""
    os.abort()


def endless_loop(g) -> None:
    """Never gives up the CPU; Domain0 ends it."""
    while True:
        pass


def allocate_to_the_limit(g) -> str:
    """Allocates and touches memory until there is no more for it. The limit is its own; the host must not feel it."""
    hoard = []
    try:
        while True:
            hoard.append(bytearray(16 << 20))
    except MemoryError:
        return f"{len(hoard) * 16} MiB"


def exhaust_every_limit(g) -> dict[str, str]:
    """Takes ports, grants, frames, threads and descriptors until each runs out: every one a clear error, none a crash."""
    found = {}

    def until_refused(what, take):
        try:
            for _ in range(200000):
                take()
            found[what] = "no limit"
        except (xenproc.XenprocError, OSError, RuntimeError) as error:
            found[what] = str(error)

    pages = g.memory.alloc(1)
    until_refused("ports", lambda: g.events.alloc_unbound(0x7FF0))
    until_refused("grants", lambda: g.grants.grant(0, pages))
    until_refused("frames", lambda: g.memory.alloc(16))
    stop = threading.Event()
    until_refused("threads", lambda: threading.Thread(target=stop.wait, daemon=True).start())
    stop.set()
    descriptors = []
    until_refused("descriptors", lambda: descriptors.append(os.open("/dev/null", os.O_RDONLY)))
    return found


def forged_indices(g) -> None:
    """A front end that shows its back impossible producer counts, in every header word, then goes on using the ring."""
    ring = g.ring_front("victim", ECHO, timeout=20)
    ring.call()
    header = ctypes.c_uint32 * 16
    words = header.from_address(ring._link.addresses[0])
    words[0] += 100000
    ring.event.send()
    time.sleep(0.1)
    for i in range(16):
        words[i] = 0xFFFFFFFF
        ring.event.send()
    time.sleep(0.1)


def forged_ids(g) -> str:
    """A back end that answers with numbers nobody asked for."""
    ring = g.ring_back("victim", ECHO, timeout=20)
    n = ring.wait()
    for i in range(n):
        ring.responses[i].id = 12345
    try:
        ring.reply_and_wait(n)
    except xenproc.XenprocError as error:
        return type(error).__name__
    return "nothing"


def forged_grants(g) -> dict[str, int]:
    """References that were never given: its own, others', out of the table; handles likewise. Every one a status, no effect."""
    from xenproc.guest.gnttab import GrantError

    rng = random.Random(3)
    refused = 0
    for _ in range(500):
        try:
            g.grants.map(rng.choice([0, 1, 2, 3, 0x7FF0, 0x7FF4, 4095, 65535]), [rng.choice([0, 8, 9, 511, 512, 1 << 31])])
        except GrantError:
            refused += 1
    return {"refused": refused}


def flood_events(g) -> int:
    """Sends to itself and rings the doorbell as fast as it can, from two threads."""
    port = g.events.bind_ipi()
    end = time.monotonic() + 1.0
    sent = [0, 0]

    def events() -> None:
        while time.monotonic() < end:
            g.events.send(port)
            sent[0] += 1

    def rings() -> None:
        while time.monotonic() < end:
            os.write(g.doorbell, (1).to_bytes(8, "little"))
            sent[1] += 1

    threads = [threading.Thread(target=events), threading.Thread(target=rings)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(sent)


def flood_hypercalls(g) -> int:
    """Every hypercall number with rubbish for arguments, as fast as it can."""
    rng = random.Random(5)
    end = time.monotonic() + 1.0
    made = 0
    interesting = [0, 1, 2, 7, 64, 4096, 0x7FF0, (1 << 31) - 1, (1 << 64) - 1, g.window_base, g.memory.alloc(1).address]
    calm = {(29, 1), (29, 2), (29, 3), (62, 4), (62, 5)}    # those that wait, or end it
    while time.monotonic() < end:
        nr, first = rng.randrange(0, 70), rng.choice([*range(12), *interesting])
        if (nr, first) in calm or nr in (13, 23):            # multicall has its own tests; iret without a frame is the end
            continue
        g.hypercall(nr, first, *[rng.choice(interesting) for _ in range(5)])
        made += 1
    return made


def never_answers(g) -> None:
    """A back end that takes requests and answers none."""
    with g.ring_back("victim", ECHO, timeout=20) as ring:
        ring.wait()
        time.sleep(30)


def uncaught(g) -> None:
    """An exception of Python's."""
    raise ValueError("a guest's own mistake")


# ---- their victims ----


def deceived_back(g, cheat: str) -> str:
    """The back end of a cheating front: returns the error it got, then shows that it lives."""
    ring = g.ring_back(cheat, ECHO, timeout=20)
    try:
        ring.serve(lambda request, response: None)
        return "the front has left"
    except xenproc.XenprocError as error:
        return type(error).__name__


def deceived_front(g, cheat: str, timeout: float) -> str:
    """The front end of a cheating back: returns the error it got."""
    ring = g.ring_front(cheat, ECHO, timeout=20)
    ring.set_timeout(timeout)
    try:
        ring.call()
        return "answered"
    except xenproc.XenprocError as error:
        return type(error).__name__
