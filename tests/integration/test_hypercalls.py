"""Every operation of the core's hypercalls with every error it has, through a real domain; addresses at each edge of its memory."""

import pytest
from helpers import until

from xenproc.abi import Hypercall

EPERM, ENOENT, ESRCH, ENOMEM, EFAULT, EEXIST, EINVAL, ENOSPC, ENOSYS, EAGAIN, ETIMEDOUT = (
    -1, -2, -3, -12, -14, -17, -22, -28, -38, -11, -110)
VERSION, CONSOLE, SCHED, MEMORY, VCPU, MULTI, OURS = (
    int(nr) for nr in (Hypercall.xen_version, Hypercall.console_io, Hypercall.sched_op, Hypercall.memory_op,
                       Hypercall.vcpu_op, Hypercall.multicall, 62))
SELF = 0x7FF0


def call_all(g, calls, setup=()):
    """[guest] Make each call (number, arguments) and return the results; "@n" in arguments is our page's address plus n.

    setup: (offset, bytes) written to the page first, and again before each call.
    """
    page = g.memory.alloc(2)
    results = []
    for nr, *args in calls:
        for at, data in setup:
            page.view[at : at + len(data)] = data
        args = [page.address + int(arg[1:]) if isinstance(arg, str) else arg for arg in args]
        results.append(g.hypercall(nr, *args))
    return results


def results_of(hv, calls, setup=(), **kwargs):
    return hv.create(call_all, calls, setup, **kwargs).wait(20)


def u(value: int, size: int) -> bytes:
    return (value % (1 << 8 * size)).to_bytes(size, "little")


def test_numbers_that_nobody_has(hv):
    numbers = [27, 33, 55, 61, 63, 64, 1 << 16, 0xFFFF_FFFF]
    assert results_of(hv, [(nr, 0, 0) for nr in numbers]) == [ENOSYS] * len(numbers)


def test_xen_version(hv):
    calls = [
        (VERSION, 0), (VERSION, 1, "@0"), (VERSION, 1, 0), (VERSION, 2, "@0"), (VERSION, 2, 64), (VERSION, 3, "@0"), (VERSION, 3, 0),
        (VERSION, 4, "@0"), (VERSION, 4, 0), (VERSION, 5, "@0"), (VERSION, 5, 0), (VERSION, 6, "@0"), (VERSION, 6, 0), (VERSION, 6, "@8"),
        (VERSION, 7), (VERSION, 8, "@0"), (VERSION, 8, 0), (VERSION, 9, "@0"), (VERSION, 10), (VERSION, 11), (VERSION, 1 << 40),
    ]
    assert results_of(hv, calls, [(0, bytes(8)), (8, u(1, 4))]) == [
        4 << 16 | 23, 0, EFAULT, 0, EFAULT, 0, EFAULT, 0, EFAULT, 0, EFAULT, 0, EFAULT, EINVAL,
        4096, 0, EFAULT, EPERM, ENOSYS, ENOSYS, ENOSYS,
    ]


def test_features(hv):
    def guest(g):
        page = g.memory.alloc(1)
        page.view[:8] = bytes(8)
        return [g.hypercall(17, 6, page.address), int.from_bytes(page.view[4:8], "little")]

    assert hv.create(guest, memory="1M").wait() == [0, 1 << 5 | 1 << 7]     # mmu_pt_update_preserve_ad, gnttab_map_avail_bits


def test_console_io(hv):
    calls = [
        (CONSOLE, 0, 5, "@0"), (CONSOLE, 0, 0, 0), (CONSOLE, 0, 1, 0), (CONSOLE, 0, 5000, "@0"), (CONSOLE, 0, 1 << 63, "@0"),
        (CONSOLE, 1, 5, "@0"), (CONSOLE, 2, 0, 0),
    ]
    assert results_of(hv, calls) == [5, 0, EFAULT, 4096, 4096, 0, ENOSYS]


def test_sched_op(hv):
    # struct sched_poll: ports (address), nr_ports, timeout (system time)
    calls = [
        (SCHED, 0), (SCHED, 2, 0), (SCHED, 3, 0), (SCHED, 3, "@16"), (SCHED, 3, "@64"), (SCHED, 3, "@128"), (SCHED, 4, 0),
        (SCHED, 5, 0), (SCHED, 77, 0),
    ]
    setup = [
        (0, u(6, 4)),                                           # a shutdown reason beyond the last
        (16, u(0, 8) + u(129, 4) + u(0, 4) + u(1, 8)),          # more ports than a poll takes
        (64, u(8, 8) + u(1, 4) + u(0, 4) + u(1, 8)),            # ports out of reach
        (128, u(0, 8) + u(0, 4) + u(0, 4) + u(1, 8)),           # no port, a time that has passed
    ]
    assert results_of(hv, calls, setup) == [0, EFAULT, EFAULT, EINVAL, EFAULT, 0, EPERM, ENOSYS, ENOSYS]
    assert results_of(hv, [(SCHED, 2, "@0")], setup) == [EINVAL]


def test_sched_poll_refuses_a_port_that_cannot_be(hv):
    def guest(g):
        page = g.memory.alloc()
        page.view[:24] = u(page.address + 64, 8) + u(1, 4) + u(0, 4) + u(1, 8)
        results = []
        for port in (4095, 4096, 0xFFFF_FFFF):
            page.view[64:68] = u(port, 4)
            results.append(g.hypercall(SCHED, 3, page.address))
        return results

    assert hv.create(guest).wait() == [0, EINVAL, EINVAL]


def test_sched_poll_keeps_its_time(hv):
    def guest(g):
        page = g.memory.alloc()
        took = []
        for ms in (0, 1, 30):
            begin = g.events.system_time()
            page.view[:24] = u(0, 8) + u(0, 4) + u(0, 4) + u(begin + ms * 10**6, 8)
            assert g.hypercall(SCHED, 3, page.address) == 0
            took.append((g.events.system_time() - begin) / 1e6)
        return took

    took = hv.create(guest).wait()
    assert took[0] < 500 and 1 <= took[1] < 500 and 30 <= took[2] < 500


def test_memory_op(hv):
    calls = [
        (MEMORY, 2), (MEMORY, 3, "@0"), (MEMORY, 4, "@0"), (MEMORY, 3, 0), (MEMORY, 3, "@2"), (MEMORY, 3, "@4"), (MEMORY, 4, "@4"),
        (MEMORY, 99, 0),
    ]
    setup = [(0, u(SELF, 2)), (2, u(4000, 2)), (4, u(0, 2))]
    assert results_of(hv, calls, setup, memory="2M", maxmem="3M") == [16383, 512, 768, EFAULT, ESRCH, EPERM, EPERM, ENOSYS]


def test_vcpu_op(hv):
    calls = [
        (VCPU, 0, 0, 0), (VCPU, 1, 0, 0), (VCPU, 3, 0, 0), (VCPU, 4, 0, "@0"), (VCPU, 4, 0, 0), (VCPU, 12, 0, "@0"), (VCPU, 99, 0, 0),
        (VCPU, 3, 1, 0), (VCPU, 0, 1 << 40, 0),
    ]
    assert results_of(hv, calls) == [EEXIST, 0, 1, 0, EFAULT, EINVAL, ENOSYS, ENOENT, ENOENT]


def test_our_own(hv):
    key = b"key\0"
    board = lambda key, length=0, domid=0, timeout=0: (  # noqa: E731
        key.ljust(64, b"\0") + bytes(256) + u(length, 4) + u(domid, 2) + u(0, 2) + u(timeout, 8))
    setup = [
        (0, board(key, domid=SELF)), (512, board(b"")), (1024, board(b"k" * 64)), (1536, board(key, length=257)),
        (2048, board(key, timeout=-1)), (2560, board(key, domid=4000)), (3072, board(b"no such name\0")),
    ]
    publish, lookup, resolve = 3, 4, 5
    calls = [(OURS, op, arg) for op in (publish, lookup, resolve)
             for arg in (0, "@512", "@1024", "@1536", "@2048")]
    assert results_of(hv, calls, setup) == [EFAULT, EINVAL, EINVAL, EINVAL, EINVAL] * 3
    calls = [(OURS, lookup, "@0"), (OURS, publish, "@0"), (OURS, lookup, "@0"), (OURS, publish, "@2560"), (OURS, lookup, "@2560"),
             (OURS, resolve, "@3072"), (OURS, 99)]
    assert results_of(hv, calls, setup) == [ENOENT, 0, 0, ESRCH, ESRCH, ENOENT, ENOSYS]
    calls = [(OURS, 0, 4, "@0", 0), (OURS, 0, 0, "@0", 65537), (OURS, 0, 0, 0, 1), (OURS, 0, 1, 0, 0), (OURS, 1, 1, 0),
             (OURS, 1, 1 << 32, "@0"), (OURS, 1, 77, "@0"), (OURS, 2, 77, 0), (OURS, 2, 77, 1), (OURS, 2, 1 << 32, 0)]
    assert results_of(hv, calls) == [EINVAL, EINVAL, EFAULT, 0, EFAULT, EINVAL, EINVAL, EINVAL, EINVAL, EINVAL]


def test_the_boards_limit(hv):
    def guest(g):
        from xenproc.errors import HypercallError

        done = 0
        try:
            for i in range(10):
                g.board.publish(g.domid, f"key {i}", b"")
                done += 1
        except HypercallError as error:
            refused = -error.errno
        g.board.publish(g.domid, "key 0", b"replaced")          # no new entry
        return [done, refused, g.board.lookup(g.domid, "key 0", 0).decode()]

    assert hv.create(guest, limits={"max_board": 4}).wait() == [4, ENOSPC, "replaced"]


# ---- multicall ----


def entry(op: int, *args: int) -> bytes:
    return u(op, 8) + u(0x5555, 8) + b"".join(u(arg, 8) for arg in (*args, *([0] * (6 - len(args)))))


def multi(g, entries, nr=None):
    """[guest] One multicall; return (its result, the entries' results)."""
    pages = g.memory.alloc(max(1, (len(entries) * 64 + 4095) // 4096))
    for i, data in enumerate(entries):
        pages.view[i * 64 : i * 64 + 64] = data
    result = g.hypercall(MULTI, pages.address, len(entries) if nr is None else nr)
    return result, [int.from_bytes(pages.view[i * 64 + 8 : i * 64 + 16], "little", signed=True) for i in range(len(entries))]


def test_multicall(hv):
    def guest(g):
        return multi(g, [entry(VERSION, 0), entry(VERSION, 99), entry(63), entry(MULTI, 0, 1), entry(1 << 32), entry(SCHED, 0),
                         entry(VERSION, 7)])

    assert hv.create(guest).wait() == [0, [4 << 16 | 23, ENOSYS, ENOSYS, EINVAL, ENOSYS, 0, 4096]]


def test_multicall_whose_entries_are_not_all_there(hv):
    def guest(g):
        done = multi(g, [entry(VERSION, 7)] * 64, nr=65)         # the 65th lies in the next page: ours too, but it is no entry
        over = g.memory.alloc(g.memory.nr_free // 2)
        at_end = g.window_base + (16384 << 12) - 64
        return [done[0] in (0, EFAULT), g.hypercall(MULTI, at_end, 1), g.hypercall(MULTI, 0, 1), g.hypercall(MULTI, 0, 0),
                g.hypercall(MULTI, over.address, 1 << 32)]

    assert hv.create(guest).wait() == [True, EFAULT, EFAULT, 0, EINVAL]


def test_multicall_of_thousands_leaves_others_their_turn(hv):
    """A long one is continued; a neighbour's calls are answered between."""
    def long(g):
        result, results = multi(g, [entry(VERSION, 7)] * 20000)
        return [result, results.count(4096)]

    def neighbour(g):
        import time

        worst = 0.0
        for _ in range(200):
            begin = time.monotonic()
            g.hypercall(VERSION, 0)
            worst = max(worst, time.monotonic() - begin)
        return worst

    doms = [hv.create(long, memory="4M") for _ in range(2)]
    worst = hv.create(neighbour).wait(20)
    assert [dom.wait(20) for dom in doms] == [[0, 20000]] * 2
    assert worst < 0.25


def test_multicall_that_would_wait_does_not(hv):
    def guest(g):
        board = g.memory.alloc()
        board.view[:336] = b"never".ljust(64, b"\0") + bytes(256) + u(0, 4) + u(0, 2) + u(0, 2) + u(10**12, 8)
        poll = board.address + 1024
        board.view[1024:1048] = u(0, 8) + u(0, 4) + u(0, 4) + u(0, 8)
        return multi(g, [entry(OURS, 4, board.address), entry(SCHED, 3, poll), entry(SCHED, 1), entry(VERSION, 7)])

    assert hv.create(guest).wait() == [0, [EAGAIN, 0, 0, 4096]]


def test_multicall_with_a_shutdown_in_it(hv):
    def guest(g):
        page = g.memory.alloc()
        page.view[:4] = u(1, 4)
        multi(g, [entry(SCHED, 2, page.address), entry(VERSION, 7)])
        return "still here"

    assert hv.create(guest).join().reason == "reboot"


# ---- addresses ----


def test_every_edge_of_a_domains_memory(hv):
    """The checked door to guest memory, by console writes of each length at each edge."""
    other = hv.create(lambda g: g.shutdown_request(None), name="other")

    def guest(g, other_frame_is_near):
        from xenproc.native import ffi

        def write(address, length):
            return g.hypercall(CONSOLE, 0, length, address & 0xFFFF_FFFF_FFFF_FFFF)

        page = g.memory.alloc(2)
        start = page.address
        p2m = ffi.unpack(ffi.cast("uint64_t *", g.start_info.mfn_list), g.start_info.nr_pages)
        mine = set(p2m)
        last = max(p2m)
        after = last + 1                                # not ours, or the hypervisor's page for us
        end = g.window_base + (after << 12)
        hv_pages = [mfn for mfn in range(1, 16384) if mfn not in mine][:3]
        top = g.window_base + (16384 << 12)
        return {
            "inside": [write(start, n) for n in (0, 1, 4095, 4096)] + [write(start + 4095, 2), write(start + 1, 4096)],
            "end": [write(end - 1, 1), write(end - 4096, 4096), write(end - 1, 2), write(end, 1), write(end, 0), write(end - 4096, 4097)],
            "overflow": [write(-1, 1), write(-1, 2), write(-4096, 4096), write(1 << 63, 1), write(0, 1), write(g.window_base - 1, 2)],
            "top": [write(top - 1, 1), write(top, 1), write(top - 1, 2)],
            "zero": write(g.window_base, 1),
            "foreign": [write(g.window_base + (mfn << 12), 1) for mfn in hv_pages],
            "shared_info": write(g.window_base + g.start_info.shared_info, 1),
        }

    found = hv.create(guest, True).wait(20)
    other.destroy()
    assert found["inside"] == [0, 1, 4095, 4096, 2, 4096]
    assert found["end"] == [1, 4096, EFAULT, EFAULT, 0, 4096], "a write is of 4096 at most: 4097 from the last page is cut first"
    assert found["overflow"] == [EFAULT] * 6
    assert found["top"] == [EFAULT] * 3
    assert found["zero"] == EFAULT
    assert found["foreign"] == [EFAULT] * 3
    assert found["shared_info"] == EFAULT


def test_an_answer_without_a_place_has_no_effect(hv):
    """bind_ipi and alloc_unbound whose answer cannot be written take no port."""
    def guest(g):
        table = int(Hypercall.event_channel_op)
        return [g.hypercall(table, 7, 64), g.hypercall(table, 6, g.window_base), g.events.bind_ipi()]

    assert hv.create(guest).wait() == [EFAULT, EFAULT, 1]


# ---- the call page ----


@pytest.fixture
def neighbour(hv):
    """A domain that makes calls all the time and says how long the worst took."""
    def guest(g):
        import time

        worst, calls, due = 0.0, 0, time.monotonic()
        g.console.print("begun")
        while g.shutdown_request(0) is None:
            assert g.hypercall(VERSION, 0) == 4 << 16 | 23
            now = time.monotonic()
            worst, calls, due = max(worst, now - due), calls + 1, now + 0.002
            time.sleep(0.002)
        return [calls, worst]

    dom = hv.create(guest, name="neighbour")
    until(dom.console.read, "its first call")
    yield dom
    dom.shutdown()
    calls, worst = dom.wait(20)
    assert calls > 10 and worst < 0.25, (calls, worst)


def test_forged_slots(hv, neighbour):
    """Rubbish over the whole call page, states at random, bits beyond the slots, parked slots submitted again."""
    def guest(g, seed):
        import os
        import random

        from xenproc.native import ffi, lib

        # The first frame the hypervisor made for us: it lies behind the reservation, shared_info behind it.
        address = g.start_info.shared_info + g.window_base - 4096
        raw = ffi.cast("volatile uint32_t *", address)
        chance = random.Random(seed)
        calls = [17, 18, 22, 29, 32, 20, 12, 24, 13, 62, 63, 0xFFFFFFFF]
        end = lib.xp_now_ns() + 400_000_000
        while lib.xp_now_ns() < end:
            slot = chance.randrange(16)
            at = 64 + slot * 16
            raw[at] = chance.choice([0, 1, 2, 3, 7, 0xFFFFFFFF])
            raw[at + 1] = chance.choice(calls)
            for word in range(2, 14):
                raw[at + word] = chance.choice([0, 1, 3, 4, 0x7FF0, 0xFFFFFFFF, chance.getrandbits(32)])
            if (raw[at + 1], raw[at + 2]) in ((29, 2), (13, 0)):
                continue                                        # no honest shutdown: this guest is not done yet
            raw[16] = chance.choice([0xFFFFFFFF, 1 << slot, 0xFFFF0000, chance.getrandbits(32)])
            raw[0] = chance.getrandbits(1)
            os.write(g.doorbell, b"\1" + bytes(7))
        os._exit(3)

    seen = set()
    for seed in range(2):
        end = hv.create(guest, seed, memory="256K").join(20)
        assert end.crashed and "status 3" in end.crash.detail, end
        seen |= {call["nr"] for call in end.crash.last_hypercalls}
    assert seen - {18, 29, 62}, "the rubbish was looked at"         # the guest's own calls are of these
