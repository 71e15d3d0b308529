"""Events that interrupt a virtual CPU: at any bytecode of a process's own code, nowhere else."""

from helpers import until


def test_a_loop_is_interrupted_and_the_kernel_is_not(hv):
    """A process that does nothing else is interrupted, in the kernel's ring; one that is in the kernel, or in a system call, is not."""

    def guest(g):
        from time import monotonic

        from xenproc.guest.cpu import EVENT, Gate
        from xenproc.guest.interrupts import Interrupts

        seen, after, straight = [], [], []

        def upcall(cpu, frame):
            ports = g.events.take_upcall()
            seen.append([cpu.in_user, frame.vector == EVENT, frame.ring, ports == [g.clock.port]])

        def pending():
            return g.events.shared_info.vcpu_info[0].evtchn_upcall_pending

        def long():
            """Far longer than the interpreter lets one thread run without looking at the others."""
            end = monotonic() + 0.04
            while not pending() or monotonic() < end:
                pass

        def busy_kernel(cpu, frame):
            straight.append(len(seen))
            long()
            straight.append(len(seen))

        def process():
            while len(seen) < 3:
                pass
            g.cpu.interrupt(0x80)
            while len(after) == 3:
                pass

        g.cpu.set_trap_table({0x80: Gate(busy_kernel, dpl=3)})
        g.cpu.set_fast_trap(0x80)
        g.events.unmask(g.clock.port)
        g.clock.set_periodic(2_000_000)
        with Interrupts(g, upcall, lambda: after.append(g.cpu.in_user)) as interrupts:
            long()
            before = len(seen)
            g.cpu.run_user(process)
        taken = interrupts.nr_taken
        while not pending():
            pass
        return [before, seen[:4], after[:4], straight[0] == straight[1], taken == len(seen), g.cpu.counters["straight", "upcall"] == taken]

    before, seen, after, untouched, counted, straight = hv.create(guest, memory="1M", paging="x86_32p").wait(20)
    assert before == 0 and seen == [[False, True, 3, True]] * 4 and after == [True] * 4
    assert untouched and counted and straight


def test_a_masked_upcall_waits(hv):
    """While events are masked a process's code goes on; what came meanwhile is taken afterwards."""

    def guest(g):
        from time import monotonic

        from xenproc.guest.interrupts import Interrupts

        seen = []
        vcpu = g.events.shared_info.vcpu_info[0]

        def upcall(cpu, frame):
            seen.append(g.events.take_upcall())

        def process():
            vcpu.evtchn_upcall_mask = 1
            while not vcpu.evtchn_upcall_pending:
                pass
            end = monotonic() + 0.04
            while monotonic() < end:            # no call of ours, in which nothing would be taken anyway
                pass
            masked = len(seen)
            vcpu.evtchn_upcall_mask = 0
            while not seen:
                pass
            return masked

        g.events.unmask(g.clock.port)
        g.clock.set_timer(g.clock.system_time() + 1_000_000)
        with Interrupts(g, upcall):
            return [g.cpu.run_user(process), seen == [[g.clock.port]]]

    assert hv.create(guest, memory="1M").wait(20) == [0, True]


def test_only_the_main_thread_can_be_interrupted(hv):
    def guest(g):
        import threading

        from xenproc.guest.interrupts import Interrupts

        said = []

        def elsewhere():
            try:
                with Interrupts(g, lambda cpu, frame: None):
                    pass
            except ValueError:
                said.append("refused")

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(10)
        return said

    assert hv.create(guest, memory="1M").wait(20) == ["refused"]


def test_a_domain_that_only_loops_can_still_be_asked(hv):
    """The process spins; the kernel's upcall answers Domain0's request to end."""

    def guest(g):
        from xenproc.guest.interrupts import Interrupts

        asked = []

        def upcall(cpu, frame):
            g.events.take_upcall()
            asked.append(g.shutdown_request())

        def process():
            while not any(asked):
                pass

        g.events.unmask(g.clock.port)
        g.clock.set_periodic(5_000_000)
        g.console.print("spins")
        with Interrupts(g, upcall):
            g.cpu.run_user(process)
        return asked[-1]

    domain = hv.create(guest, memory="1M")
    until(lambda: "spins" in domain.console.read())
    domain.shutdown()
    assert domain.wait(20) == "poweroff"
