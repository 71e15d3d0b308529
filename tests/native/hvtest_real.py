"""The in-process hypervisor (hvtest.h) for Python tests: calls by name, with every way they can fail tried first.

`Real.call` runs an operation over and over, letting the first, second, ... fallible step inside fail: each time the right
error must come out and nothing that anyone can see may have changed. The last time nothing fails, and that result counts.
"""

from collections.abc import Callable

from native import hvtest_build

ffi, lib = hvtest_build.load()

EVTCHN_OPS = {
    "bind_interdomain": (0, "bind_interdomain", ("local_port",)), "bind_virq": (1, "bind_virq", ("port",)),
    "bind_pirq": (2, "bind_pirq", ()), "close": (3, "close", ()), "send": (4, "send", ()),
    "status": (5, "status", ()), "alloc_unbound": (6, "alloc_unbound", ("port",)), "bind_ipi": (7, "bind_ipi", ("port",)),
    "bind_vcpu": (8, "bind_vcpu", ()), "unmask": (9, "unmask", ()), "reset": (10, "reset", ()),
    "init_control": (11, "init_control", ()), "expand_array": (12, "expand_array", ()),
    "set_priority": (13, "set_priority", ()),
}
FAILS_WITH = {"copy_from": -14, "copy_to": -14, "calloc": -12, "realloc": -12, "frames_alloc": -12, "frames_alloc_run": -12,
              "frames_alloc_extent": -12, "frame_get": -22, "window_give": -12, "window_protect": -12, "eventfd": -24}


class Real:
    """One machine; closed by `close`."""

    def __init__(self, nr_frames: int = 192) -> None:
        self.t = lib.hvtest_create(nr_frames)
        self.nr_frames = nr_frames
        self.injected = 0

    def close(self) -> None:
        assert lib.hvtest_audit(self.t) == 0
        lib.hvtest_destroy(self.t)

    def create(self, domid: int, nr_pages: int = 4, **limits: int) -> int:
        """Return the first frame of a new domain."""
        first = lib.hvtest_domain_create(self.t, domid, nr_pages, [{"max_board": 0, **limits}][0])
        assert first > 0, first
        return first

    def destroy(self, domid: int) -> bool:
        """Kill and take down; False: frames of it are zombies still (ask `reap`)."""
        lib.hvtest_domain_kill(self.t, domid)
        return self.reap(domid)

    def reap(self, domid: int) -> bool:
        while (ret := lib.hvtest_domain_teardown(self.t, domid)) == 1:
            pass
        return ret == 0

    def every_failure(self, act: Callable[[], int], failed_with: Callable[[str, int], bool], fixed: bool = True) -> int:
        """Run act with each failure in turn, then without; fixed: a failed run must change nothing."""
        for n in range(1000):
            before = lib.hvtest_digest(self.t)
            lib.hvtest_fail_at(n)
            ret = act()
            name = lib.hvtest_failed()
            lib.hvtest_fail_at(-1)
            if name == ffi.NULL:
                return ret
            self.injected += 1
            what = ffi.string(name).decode()
            assert failed_with(what, ret), f"{what} failed and the call returned {ret}"
            assert not fixed or lib.hvtest_digest(self.t) == before, f"{what} failed and left something behind"
        raise AssertionError("it never ends")

    # ---- event channels ----

    def evtchn(self, domid: int, name: str, fixed: bool = True, **args: int) -> tuple[int, dict]:
        """Do an event_channel_op by name; returns its result and what it wrote back."""
        cmd, struct, outputs = EVTCHN_OPS[name]
        size = ffi.sizeof(f"struct xen_evtchn_{struct}")
        op = ffi.new(f"struct xen_evtchn_{struct} *")

        def act() -> int:
            for field, value in args.items():
                setattr(op, field, value)
            return lib.hvtest_evtchn_op(self.t, domid, cmd, op, size, 0xFFFFFFFF)

        ret = self.every_failure(act, lambda what, ret: ret == FAILS_WITH[what], fixed)
        return ret, {} if ret != 0 else self._status(op) if name == "status" else {o: getattr(op, o) for o in outputs}

    @staticmethod
    def _status(op: object) -> dict:
        out = {"status": op.status, "vcpu": op.vcpu}
        if op.status == 1:
            out["dom"] = op.u.unbound.dom
        elif op.status == 2:
            out.update(dom=op.u.interdomain.dom, port=op.u.interdomain.port)
        elif op.status == 4:
            out["virq"] = op.u.virq
        return out

    def make_direct(self, domid: int, port: int, fixed: bool = True) -> tuple[int, dict]:
        out = ffi.new("struct xp_op_direct *")
        ret = self.every_failure(lambda: lib.hvtest_make_direct(self.t, domid, port, out),
                                 lambda what, ret: ret == FAILS_WITH[what], fixed)
        return ret, {"side": out.side, "mfn": out.mfn} if ret == 0 else {}

    def direct_fd(self, domid: int, port: int, which: int) -> int:
        return self.every_failure(lambda: lib.hvtest_direct_fd(self.t, domid, port, which),
                                  lambda what, ret: ret == FAILS_WITH[what])

    def ports(self, domid: int) -> list[tuple]:
        """(state, pending, unmasked, dom, port or virq) of each valid port, from 0."""
        infos = ffi.new("struct xp_port_info[4096]")
        nr = lib.hvtest_ports(self.t, domid, infos, 4096)
        return [(i.state, i.pending, not i.masked, i.direct, i.remote_dom, i.remote_port) for i in infos[0:nr]]

    def page(self, mfn: int) -> object:
        return ffi.cast("struct xp_event_page *", lib.hvtest_frame(self.t, mfn))

    # ---- grants ----

    def grant(self, domid: int, cmd: int, struct: str, elements: list[dict]) -> tuple[int, object]:
        """Do a grant_table_op on an array; returns its result and the array as it came back. Nothing is made to fail."""
        args = self._array(struct, elements)
        size = ffi.sizeof(f"struct xen_gnttab_{struct}")
        ret = lib.hvtest_grant_op(self.t, domid, cmd, args, size, len(elements))
        return ret, args        # not its elements: they do not keep the memory alive

    def grant_one(self, domid: int, cmd: int, struct: str, element: dict, fixed: bool = True) -> tuple[int, object]:
        """Do a grant_table_op on one argument, with each failure in turn first; returns its result and an array of one."""
        size = ffi.sizeof(f"struct xen_gnttab_{struct}")
        last = None

        def act() -> int:
            nonlocal last
            last = self._array(struct, [element])
            return lib.hvtest_grant_op(self.t, domid, cmd, last, size, 1)

        def failed_with(what: str, ret: int) -> bool:
            if what in ("copy_from", "copy_to"):
                return ret == -14 or (struct == "setup_table" and (ret, last[0].status) == (0, -5))
            # no memory for a handle: no_device_space; for anything else: general_error
            return ret == 0 and last[0].status in ((-1, -7) if what in ("calloc", "realloc") else (-1,))

        return self.every_failure(act, failed_with, fixed), last

    @staticmethod
    def _array(struct: str, elements: list[dict]) -> object:
        args = ffi.new(f"struct xen_gnttab_{struct}[]", max(len(elements), 1))
        for arg, values in zip(args, elements, strict=False):
            for name, value in values.items():
                *path, last = name.split("__")
                where = arg
                for step in path:
                    where = getattr(where, step)
                setattr(where, last, value)
        return args

    def grant_frames(self, domid: int) -> list[int]:
        mfns = ffi.new("uint64_t[64]")
        return list(mfns[0 : lib.hvtest_grant_frames(self.t, domid, mfns, 64)])

    def entry(self, domid: int, ref: int) -> object:
        frame = lib.hvtest_frame(self.t, self.grant_frames(domid)[ref // 512])
        return ffi.cast("struct xen_grant_entry_v1 *", frame)[ref % 512]

    def uses(self, domid: int) -> list[tuple]:
        """(handle, granter, ref, flags, mfn) of all that a domain maps."""
        use, handle, found = ffi.new("struct xp_grant_use *"), ffi.new("uint32_t *"), []
        while lib.xp_grant_next(lib.hvtest_domain(self.t, domid), handle, use):
            assert use.mapper == domid
            found.append((use.handle, use.granter, use.ref, use.flags, use.mfn))
        return found

    def memory(self, mfn: int) -> object:
        """The frame's bytes."""
        return ffi.buffer(lib.hvtest_frame(self.t, mfn), 4096)
