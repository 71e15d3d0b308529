"""Booting the small guest kernel for a test: a first process in, what it found and what the kernel counted out."""

import inspect
from typing import Any


def boot(hv, init, *extra: Any, paging: str = "x86_64", memory: str = "2M", **options: Any) -> dict:
    """Run init(sys, out, ...) as the first process; it appends what it finds to `out`.

    It gets what else it names: kernel, counters (pages), used() (pages with users), faults() (page faults by the hypervisor), now(),
    and then `extra`. options: Kernel's. Returns a dict: status, out, lost (frames that did not come back), console, ticks, traps.
    """
    wanted = list(inspect.signature(init).parameters)[2 : len(inspect.signature(init).parameters) - len(extra)]

    def guest(g):
        from xenproc.guest.minikernel.kernel import Kernel

        Kernel(g).close()           # the first one's page tables stay the CPU's
        free = g.memory.nr_free
        kernel, out = Kernel(g, **options), []
        helpers = {
            "kernel": kernel, "counters": kernel.counters, "used": lambda: kernel.frames.nr_used,
            "faults": lambda: g.cpu.counters["hypervisor", "page_fault"], "now": g.clock.system_time,
        }
        status = kernel.run(init, out, *(helpers[name] for name in wanted), *extra)
        kernel.close()
        return {
            "status": status, "out": out, "lost": free - g.memory.nr_free, "ticks": kernel.sched.nr_ticks,
            "traps": {" ".join(key): nr for key, nr in g.cpu.counters.items()},
        }

    domain = hv.create(guest, paging=paging, memory=memory)
    return domain.wait(30) | {"console": domain.console.read()}
