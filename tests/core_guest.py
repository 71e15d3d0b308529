"""A domain without a process: its frames are memory of this process, its hypercalls go through its call page to a real dispatcher.

    with Core() as core:
        guest = core.create(1)
        guest.call(Hypercall.vcpu_op, VcpuOp.is_up, 0)

Window addresses are addresses of this process, so that arguments can be written in place. The process behind the domain is this one:
its virtual time is ours.
"""

import os
import threading

from xenproc.abi import Hypercall, Virq
from xenproc.native import ffi, lib

EFAULT, EINVAL, ENOENT, ENOMEM, ENOSYS, ETIME, EPERM, EEXIST = -14, -22, -2, -12, -38, -62, -1, -17


class Core:
    """A hypervisor's core over anonymous memory, its dispatcher in a thread."""

    def __init__(self, nr_frames: int = 1024) -> None:
        fd = os.memfd_create("xenproc-test-machine")
        os.ftruncate(fd, nr_frames * 4096)
        error = ffi.new("int *")
        self.hv = lib.xp_hv_create(fd, nr_frames, False, error)
        os.close(fd)
        assert self.hv != ffi.NULL, error[0]
        self.base = int(ffi.cast("uintptr_t", self.info().base))
        self.domids: list[int] = []
        self.returned: list[int] = []
        self.dispatcher = threading.Thread(target=lambda: self.returned.append(lib.xp_hv_run(self.hv)))
        self.dispatcher.start()

    def info(self):
        info = ffi.new("struct xp_hv_info *")
        lib.xp_hv_info(self.hv, info)
        return info

    def create(self, domid: int, nr_pages: int = 32, paging: int = 2, pidfd: int = -1) -> "CoreGuest":
        """Return a running domain; paging: 0 x86_32, 1 x86_32p, 2 x86_64; pidfd: the process that is paused in its place."""
        plan = ffi.new("struct xp_domain_plan *")
        name, cmdline = ffi.new("char[]", b"core%d" % domid), ffi.new("char[]", b"")
        plan.name, plan.cmdline, plan.nr_pages, plan.max_pages = name, cmdline, nr_pages, nr_pages
        plan.paging = paging
        plan.limits.max_evtchns, plan.limits.max_board = 64, 4
        plan.limits.max_grant_frames, plan.limits.max_maptrack, plan.limits.max_direct = 4, 64, 4
        assert lib.xp_domain_create(self.hv, domid, plan) == 0
        doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
        process = ffi.new("struct xp_domain_process *")
        process.uffd = process.pagemap_fd = process.boot_sock = -1
        process.pidfd = pidfd
        process.doorbell, process.pid, process.window_base = doorbell, os.getpid(), self.base
        assert lib.xp_domain_attach(self.hv, domid, process) == 0
        assert lib.xp_domain_start(self.hv, domid) == 0
        self.domids.append(domid)
        return CoreGuest(self, domid, doorbell)

    def end(self, domid: int) -> None:
        """Kill and take down."""
        assert lib.xp_domain_dying(self.hv, domid) == 0
        while (ret := lib.xp_domain_teardown(self.hv, domid)) == 1:
            pass
        assert ret == 0
        self.domids.remove(domid)

    def close(self) -> None:
        for domid in list(self.domids):
            self.end(domid)
        lib.xp_hv_stop(self.hv)
        self.dispatcher.join(10)
        assert self.returned == [0]
        assert lib.xp_hv_audit(self.hv) == 0
        lib.xp_hv_destroy(self.hv)

    def __enter__(self) -> "Core":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CoreGuest:
    """One domain of it."""

    def __init__(self, core: Core, domid: int, doorbell: int) -> None:
        self.core, self.domid = core, domid
        info = self.info()
        self.gcall = ffi.new("struct xp_gcall *")
        lib.xp_gcall_init(self.gcall, ffi.cast("void *", core.base + info.call_mfn * 4096), doorbell)
        self.shared_info = ffi.cast("struct xen_shared_info *", core.base + info.shared_info_mfn * 4096)
        self.first = info.start_info_mfn
        # behind start_info, the two rings and the P2M the frames are the domain's own
        self.args = core.base + (self.first + 8) * 4096
        self.beyond = core.base + self.info().shared_info_mfn * 4096       # not memory of its own to name

    def info(self):
        info = ffi.new("struct xp_domain_info *")
        assert lib.xp_domain_info(self.core.hv, self.domid, info) == 0
        return info

    def page(self):
        """The call page."""
        return ffi.cast("struct xp_call_page *", self.core.base + self.info().call_mfn * 4096)

    def call(self, nr: int, *args: int, timeout_s: float = 5) -> int:
        """Make a hypercall; return its result, errors included."""
        values = ffi.new("uint64_t[6]", [arg & 0xFFFF_FFFF_FFFF_FFFF for arg in args])
        result = ffi.new("int64_t *")
        ret = lib.xp_gcall(self.gcall, nr, values, lib.XP_WAIT_BLOCK, int(timeout_s * 1e9), result)
        assert ret == 0, f"the hypervisor did not answer: {ret}"
        return result[0]

    def put(self, ctype: str, at: int = 0, **fields: object):
        """Write a struct into the domain's own memory, `at` bytes into its argument page; return (address, struct)."""
        address = self.args + at
        value = ffi.cast(f"{ctype} *", address)
        ffi.memmove(value, bytes(ffi.sizeof(ctype)), ffi.sizeof(ctype))
        for name, field in fields.items():
            setattr(value, name, field)
        return address, value

    def bind_virq(self, virq: int = Virq.TIMER) -> int:
        """Return the port, unmasked."""
        address, value = self.put("struct xen_evtchn_bind_virq", virq=virq)
        assert self.call(Hypercall.event_channel_op, 1, address) == 0
        return value.port

    def poll(self, port: int, timeout_ns: int) -> int:
        """SCHEDOP_poll on one port until a system time."""
        address, op = self.put("struct xen_sched_poll", at=512, nr_ports=1, timeout=timeout_ns)
        ffi.cast("uint32_t *", address + 64)[0] = port
        op.ports = address + 64
        return self.call(Hypercall.sched_op, 3, address, timeout_s=30)

    def taken(self, port: int) -> bool:
        """Clear a port's bit; was it set?"""
        return bool(lib.xp_upcall_take(self.shared_info, port))

    def now(self) -> int:
        """System time."""
        return lib.xp_system_time(self.shared_info)
