"""What a domain finds at its start, read back through the ABI's facts (xenproc.abi, held to xen-public.json by tests/abi)."""

import time

from xenproc.units import PAGE_SIZE


def raw_start(g):
    """[guest] start_info, shared_info and the P2M as bytes."""
    from xenproc.native import ffi

    info = int(ffi.cast("uintptr_t", g.start_info))
    shared = g.window_base + g.start_info.shared_info
    p2m = ffi.unpack(ffi.cast("uint64_t *", g.start_info.mfn_list), g.start_info.nr_pages)
    return {
        "start": bytes(ffi.buffer(ffi.cast("char *", info), 4096)).hex(),
        "shared": bytes(ffi.buffer(ffi.cast("char *", shared), 4096)).hex(),
        "p2m": p2m, "window_base": g.window_base, "start_mfn": (info - g.window_base) >> 12,
    }


def test_start_info_in_xens_layout(hv):
    from xenproc.abi.layout import X86_64
    from xenproc.abi.start import start_info

    found = hv.create(raw_start, memory="2M", cmdline="root=/dev/xvda ro quiet").wait()
    info = start_info[X86_64].from_buffer_copy(bytes.fromhex(found["start"]))
    assert info.magic == b"xen-3.0-x86_64"
    assert info.nr_pages == 512
    assert info.flags == 0
    assert info.cmd_line == b"root=/dev/xvda ro quiet"
    assert (info.pt_base, info.nr_pt_frames, info.mod_start, info.mod_len) == (0, 0, 0, 0)
    assert info.first_p2m_pfn == 3 and info.nr_p2m_frames == 1
    p2m = found["p2m"]
    assert len(set(p2m)) == 512 and 0 not in p2m
    assert p2m[0] == found["start_mfn"] and p2m[1] == info.store_mfn and p2m[2] == info.console.domU.mfn
    assert info.mfn_list == found["window_base"] + (p2m[3] << 12)
    assert info.shared_info % PAGE_SIZE == 0 and info.shared_info >> 12 not in p2m


def test_the_longest_command_line(hv):
    from xenproc.abi.layout import X86_64
    from xenproc.abi.start import start_info

    found = hv.create(raw_start, cmdline="x" * 1023).wait()
    assert start_info[X86_64].from_buffer_copy(bytes.fromhex(found["start"])).cmd_line == b"x" * 1023


def test_shared_info_in_xens_layout(hv):
    from xenproc.abi.layout import X86_64
    from xenproc.abi.start import shared_info

    found = hv.create(raw_start).wait()
    shared = shared_info[X86_64].from_buffer_copy(bytes.fromhex(found["shared"]))
    assert list(shared.evtchn_pending) == [0] * 64
    assert list(shared.evtchn_mask) == [2**64 - 1] * 64
    assert [vcpu.evtchn_upcall_mask for vcpu in shared.vcpu_info] == [1] * 32
    assert [vcpu.evtchn_upcall_pending for vcpu in shared.vcpu_info] == [0] * 32
    clock = shared.vcpu_info[0].time
    assert clock.version % 2 == 0 and clock.version > 0 and clock.flags & 1
    assert shared.wc_version % 2 == 0
    started = (shared.wc_sec_hi << 32 | shared.wc_sec) + shared.wc_nsec / 1e9
    assert 0 <= time.time() - started < 3600


def test_system_time_goes_forward_and_agrees_with_the_hypervisor(hv):
    def guest(g):
        last = g.events.system_time()
        first = last
        for _ in range(20000):
            now = g.events.system_time()
            assert now >= last
            last = now
        return [first, last]

    before = hv.info()["system_time_ns"]
    first, last = hv.create(guest).wait()
    after = hv.info()["system_time_ns"]
    slack = 2_000_000       # of the TSC's measured rate over the hypervisor's life
    assert before - slack <= first <= last <= after + slack


def test_system_time_is_never_torn():
    """A writer moves time by the version protocol all the while; no reader sees half of it."""
    import threading

    from xenproc.native import ffi, lib

    shared = ffi.new("struct xen_shared_info *")
    clock = shared.vcpu_info[0].time
    clock.version = 2
    stop = threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            n = 1 - n
            clock.version += 1
            clock.system_time = n * 10**15          # one of two worlds, each consistent in itself
            clock.tsc_to_system_mul = 0
            clock.tsc_timestamp = n
            clock.version += 1

    writer = threading.Thread(target=write)
    writer.start()
    seen = {lib.xp_system_time(shared) for _ in range(20000)}
    stop.set()
    writer.join()
    assert seen <= {0, 10**15} and seen


def test_each_domain_has_its_own_frames(hv):
    def guest(g):
        from xenproc.native import ffi

        mfns = ffi.unpack(ffi.cast("uint64_t *", g.start_info.mfn_list), g.start_info.nr_pages)
        g.console.print(" ".join(map(str, mfns)))
        g.shutdown_request(None)

    doms = [hv.create(guest, memory="256K") for _ in range(4)]
    from helpers import until

    sets = [set(map(int, until(dom.console.read, "its frames").split())) for dom in doms]
    assert all(len(frames) == 64 for frames in sets)
    assert len(set.union(*sets)) == 4 * 64
    for dom in doms:
        dom.destroy()
