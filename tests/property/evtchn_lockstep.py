"""The real event channels and their model, one step at a time on both, everything compared: for the tests of this directory."""

import os
from collections import Counter
from errno import EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, ESRCH

from model import evtchn as model
from native.hvtest_real import Real, ffi, lib

SEEN: Counter = Counter()               # (operation, result) -> how often


def expected_pairs() -> set[tuple[str, int]]:
    """Every outcome the model can have, read off its checks."""
    errors = {
        "alloc_unbound": [ESRCH, ENOSPC, EPERM], "bind_interdomain": [ESRCH, ENOSPC, EINVAL],
        "bind_virq": [EINVAL, ENOENT, EBUSY, EEXIST, ENOSPC], "bind_ipi": [ENOENT, ENOSPC], "close": [EINVAL],
        "send": [EINVAL], "status": [ESRCH, EINVAL, EPERM], "unmask": [EINVAL], "bind_vcpu": [ENOENT, EINVAL],
        "reset": [ESRCH, EPERM, EINVAL, EAGAIN], "make_direct": [EINVAL, ENOSPC], "direct_fd": [EINVAL, EAGAIN],
    }
    pairs = {(op, 0) for op in errors} | {(op, -error) for op, list_ in errors.items() for error in list_}
    return pairs | {("bind_pirq", -EINVAL), ("bind_pirq", -EPERM), ("init_control", -ENOSYS),
                    ("expand_array", -EOPNOTSUPP), ("set_priority", -EINVAL), ("set_priority", -ENOSYS)}


class Lockstep:
    """The model and the real thing side by side; each method does one step on both and compares its result."""

    def __init__(self) -> None:
        self.real = Real()
        self.model = model.Machine()
        self.mfn: dict[model.Channel, int] = {}     # of event pages
        self.fds: dict[tuple[model.Channel, int], tuple[int, int]] = {}  # eventfds: a copy of ours, the hypervisor's
        self.zombies: set[int] = set()

    def close(self) -> None:
        for fd, _ in self.fds.values():
            os.close(fd)
        self.real.close()

    # ---- domains ----

    def create(self, domid: int, limits: dict) -> None:
        self.zombies -= {z for z in self.zombies if self.real.reap(z)}
        if domid not in self.model.domains and domid not in self.zombies:
            self.real.create(domid, max_grant_frames=1, max_maptrack=8, **limits)
            self.model.create(domid, **limits)

    def destroy(self, domid: int) -> None:
        self.model.destroy(domid)
        if not self.real.destroy(domid):
            self.zombies.add(domid)

    # ---- operations ----

    def op(self, domid: int, name: str, **args: int) -> int:
        caller = self.model.domains[domid]
        out: dict = {}
        takes_out = name in ("alloc_unbound", "bind_interdomain", "bind_virq", "bind_ipi", "status")
        expected = getattr(self.model, name)(caller, *args.values(), *([out] if takes_out else []))
        ret, got = self.real.evtchn(domid, name, **args)
        assert (ret, got) == (expected, out), (name, domid, args)
        SEEN[name, ret] += 1
        return ret

    def make_direct(self, domid: int, port: int) -> int:
        caller = self.model.domains[domid]
        out: dict = {}
        quiet = not caller.held         # asking again for held pages is an effect of its own
        expected = self.model.make_direct(caller, port, out)
        ret, got = self.real.make_direct(domid, port, fixed=quiet)
        assert ret == expected, (domid, port)
        if ret == 0:
            assert got["side"] == out["side"]
            fresh = out["channel"] not in self.mfn
            assert self.mfn.setdefault(out["channel"], got["mfn"]) == got["mfn"]
            in_use = [mfn for channel, mfn in self.mfn.items() if channel is not out["channel"] and any(channel.given)]
            assert not fresh or got["mfn"] not in in_use, "a page that somebody still has is used again"
        SEEN["make_direct", ret] += 1
        return ret

    def direct_fd(self, domid: int, port: int, which: int) -> int:
        caller = self.model.domains[domid]
        expected = self.model.direct_fd(caller, port, which)
        fd = self.real.direct_fd(domid, port, which)
        assert min(fd, 0) == expected, (domid, port, which)
        if fd >= 0:
            chn = caller.ports[port]
            key = (chn.channel, chn.side if which == 0 else 1 - chn.side)
            ours, same = self.fds.setdefault(key, (os.dup(fd) if key not in self.fds else -1, fd))
            assert fd == same and ours >= 0, "one descriptor for each end"
        SEEN["direct_fd", expected] += 1
        return expected

    # ---- what the guests do to their own memory ----

    def shared_info(self, domid: int):
        return ffi.cast("struct xen_shared_info *", lib.hvtest_shared_info(self.real.t, domid))

    def handle_events(self, domid: int) -> None:
        """The domain takes its upcall as a kernel does."""
        d, si = self.model.domains[domid], self.shared_info(domid)
        si.vcpu_info[0].evtchn_upcall_pending = 0
        si.vcpu_info[0].evtchn_pending_sel = 0
        for word in d.sel:
            si.evtchn_pending[word] = 0
        d.pending = {port for port in d.pending if port // 64 not in d.sel}
        d.upcall_pending, d.sel = False, set()

    def mask(self, domid: int, port: int) -> None:
        self.shared_info(domid).evtchn_mask[port // 64] |= 1 << port % 64
        self.model.domains[domid].unmasked.discard(port)

    def half_handled(self, domid: int, what: str) -> None:
        """A domain killed, or mistaken, between two steps of taking its upcall."""
        d, vcpu = self.model.domains[domid], self.shared_info(domid).vcpu_info[0]
        if what == "upcall_pending":
            vcpu.evtchn_upcall_pending, d.upcall_pending = 0, False
        else:
            vcpu.evtchn_pending_sel, d.sel = 0, set()

    def unmask_by_itself(self, domid: int, port: int) -> None:
        self.shared_info(domid).evtchn_mask[port // 64] &= ~(1 << port % 64)
        self.model.domains[domid].unmasked.add(port)

    def polls(self, domid: int, polls: bool) -> None:
        lib.hvtest_domain_polls(self.real.t, domid, polls)
        self.model.domains[domid].polling = polls

    def write_half(self, channel: model.Channel, side: int, sleep: int, pending: int) -> None:
        half = self.real.page(self.mfn[channel]).half[side]
        half.sleep, half.pending = sleep, pending
        channel.half[side].sleep, channel.half[side].pending = sleep, pending

    def drop_page(self, domid: int, channel: model.Channel) -> None:
        """The process lets go of an event page."""
        lib.hvtest_drop(self.real.t, domid, self.mfn[channel])
        self.model.domains[domid].mapped.discard(channel)

    # ---- comparing everything ----

    def compare(self) -> None:
        assert lib.hvtest_audit(self.real.t) == lib.hvtest_mm_audit(self.real.t) == 0
        for d in self.model.domains.values():
            self._compare_domain(d)
        for channel, mfn in self.mfn.items():
            self._compare_channel(channel, mfn)
        for (channel, side), (fd, _) in self.fds.items():
            self._compare_fd(channel, side, fd)

    def _compare_domain(self, d: model.Domain) -> None:
        ports = self.real.ports(d.domid)
        if ports:                       # no table yet: nothing was asked of it
            assert len(ports) == d.valid
        for number, got in enumerate(ports):
            port = d.port(number)
            direct = bool(port.channel and port.channel.given[port.side])
            assert got == (port.state, number in d.pending, number in d.unmasked, direct, port.dom,
                           port.virq if port.state == model.VIRQ else port.port), (d.domid, number)
        counts = lib.hvtest_counts(self.real.t, d.domid)
        assert (counts.nr_evtchns, counts.nr_direct, counts.nr_direct_held) == (len(d.ports), d.made, len(d.held))
        assert (counts.kicks, counts.polls, counts.upcall_pending) == (d.kicks, d.polls, d.upcall_pending)
        assert counts.pending_sel == sum(1 << word for word in d.sel)
        for channel, mfn in self.mfn.items():
            if any(channel.given):
                assert bool(lib.hvtest_shown(self.real.t, d.domid, mfn)) == (channel in d.mapped)

    def _compare_channel(self, channel: model.Channel, mfn: int) -> None:
        refs = channel.live + sum(d is not None for d in channel.given)
        if refs == 0:
            return                      # the frame may be another's by now
        frame = lib.hvtest_frame_record(self.real.t, mfn)
        assert (frame.owner, frame.ref_count) == (channel.maker, refs)
        for side in range(2):
            got, want = self.real.page(mfn).half[side], channel.half[side]
            assert (got.pending, got.sleep, got.closed, got.sem.count) == \
                (want.pending, want.sleep, want.closed, want.posts), side

    @staticmethod
    def _compare_fd(channel: model.Channel, side: int, fd: int) -> None:
        try:
            got = int.from_bytes(os.read(fd, 8), "little")
        except BlockingIOError:
            got = 0
        assert got == channel.written[side]
        channel.written[side] = 0


def connect(both: Lockstep, a: int, b: int) -> tuple[int, int]:
    """Return the ports of a new channel between two domains."""
    out: dict = {}
    assert both.model.alloc_unbound(both.model.domains[a], model.SELF, b, out) == 0
    assert both.real.evtchn(a, "alloc_unbound", dom=model.SELF, remote_dom=b) == (0, out)
    port = out["port"]
    out = {}
    assert both.model.bind_interdomain(both.model.domains[b], a, port, out) == 0
    assert both.real.evtchn(b, "bind_interdomain", remote_dom=a, remote_port=port) == (0, out)
    return port, out["local_port"]


def bind_ports(real: Real, domid: int, nr: int) -> None:
    op = ffi.new("struct xen_evtchn_bind_ipi *")
    for _ in range(nr):
        assert lib.hvtest_evtchn_op(real.t, domid, 7, op, 8, 1) == 0
