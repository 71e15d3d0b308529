"""A Python guest that is a kernel: rings, traps by both ways, counters on both sides, what ends a domain."""

import pytest
from helpers import until

import xenproc

MODES = ["x86_64", "x86_32p", "x86_32"]


def row_of(hv, domain):
    return next(row for row in hv.domains() if row["domid"] == domain.domid)


@pytest.mark.parametrize("paging", MODES)
def test_a_page_fault_travels_through_the_hypervisor(hv, paging):
    """From the kernel and from a process: the handler gets the address, the ring, and runs in the kernel's ring."""

    def guest(g):
        from xenproc.guest.cpu import Gate

        seen = []

        def page_fault(cpu, frame):
            seen.append([frame.address, frame.error_code, frame.ring, cpu.ring, frame.hypervisor])
            return "mapped"

        g.cpu.set_trap_table({14: Gate(page_fault)})

        def process():
            return [g.cpu.ring, g.cpu.in_user, g.cpu.deliver(14, 6, 0x1000), g.cpu.ring, g.cpu.in_user]

        in_kernel = g.cpu.deliver(14, 2, 0xABC000)
        in_process = g.cpu.run_user(process)
        counted = {" ".join(key): nr for key, nr in g.cpu.counters.items()}
        g.console.print("done")
        g.shutdown_request(20)
        return [in_kernel, in_process, seen, g.cpu.in_user, counted]

    domain = hv.create(guest, paging=paging)
    until(lambda: "done" in domain.console.read())
    traps = row_of(hv, domain)["traps"]
    domain.shutdown()
    kernel = 3 if paging == "x86_64" else 1
    in_kernel, in_process, seen, in_user, counted = domain.wait(20)
    assert (in_kernel, in_process, in_user) == ("mapped", [3, True, "mapped", 3, True], False)
    assert seen == [[0xABC000, 2, kernel, kernel, True], [0x1000, 6, 3, kernel, True]]
    assert counted == {"hypervisor page_fault": 2}
    assert traps == {"page_faults": 2, "system_calls": 0, "others": 0, "irets": 3}


@pytest.mark.parametrize("paging", MODES)
def test_a_load_that_faults_is_done_again(hv, paging):
    """What the walker cannot do is a trap; its handler maps the page, and the access goes on. Rights are the ring's, or as said."""

    def guest(g):
        from xenproc.errors import PageFault
        from xenproc.guest.cpu import Context, Gate
        from xenproc.guest.paging import ACCESSED, DIRTY, PRESENT, WRITABLE, AddressSpace

        space, pages, seen = AddressSpace(g), g.memory.alloc(3), []
        pages.view[:] = b"ab" * 6144

        def page_fault(cpu, frame):
            seen.append([frame.address, frame.error_code, frame.hypervisor])
            if frame.error_code & 1:
                space.protect(frame.address & -4096, 1, lambda entry: entry | 6)
            else:
                space.map(frame.address & -4096, [pages.mfn + (frame.address >> 12 & 3)], PRESENT | WRITABLE | ACCESSED | DIRTY)
                space.queue.flush()

        g.cpu.set_trap_table({14: Gate(page_fault)})
        space.load()
        found = [g.cpu.load(space, 0x400FFF, 2).decode()]
        g.cpu.run_user(g.cpu.store, space, 0x402000, b"user")
        found += [g.cpu.load(space, 0x402000, 4, user=True).decode(), g.cpu.load(space, 0x400000, 2, user=True).decode()]
        stack = g.memory.alloc(1)
        end = stack.address + 4096
        second = AddressSpace(g, beside=space)
        left = g.cpu.switch(Context(end, end), second)
        try:
            space.read(0x400000, 1)
        except PageFault as fault:
            found.append(fault.error_code)                      # another space is current
        space.load()
        other = g.cpu.run_user(lambda: g.cpu.deliver(14, 5, 0x401000)) or g.cpu.switch(left).base - end
        return [found, seen, other, left.depth]

    found, seen, other, depth = hv.create(guest, paging=paging).wait(20)
    assert found == ["ba", "user", "ab", 0] and (other, depth) == (0, 0)
    assert [fault[:2] for fault in seen] == [[0x400FFF, 0], [0x401000, 0], [0x402000, 6], [0x402000, 7], [0x400000, 5], [0x401000, 5]]
    assert all(hypervisor for _, _, hypervisor in seen)


def test_system_calls_go_by_the_hypervisor_until_there_is_a_fast_trap(hv):
    def guest(g):
        from xenproc.abi.trap import CallbackType
        from xenproc.guest.cpu import Gate

        def add(cpu, frame):
            return [sum(frame.args), frame.ring, cpu.ring, frame.hypervisor]

        g.cpu.set_trap_table({0x80: Gate(add, dpl=3)})
        g.cpu.set_callback(CallbackType.syscall, add)
        slow = g.cpu.run_user(lambda: g.cpu.interrupt(0x80, 1, 2))
        g.cpu.set_fast_trap(0x80)
        fast = g.cpu.run_user(lambda: [g.cpu.interrupt(0x80, 3, i) for i in range(5)])
        instruction = g.cpu.run_user(lambda: g.cpu.syscall(40, 2))
        g.cpu.set_fast_trap(0)
        again = g.cpu.run_user(lambda: g.cpu.interrupt(0x80, 1))
        g.console.print("done")
        g.shutdown_request(20)
        return [slow, fast[4], instruction, again, {" ".join(key): nr for key, nr in g.cpu.counters.items()}]

    domain = hv.create(guest, paging="x86_32p")
    until(lambda: "done" in domain.console.read())
    traps = row_of(hv, domain)["traps"]
    domain.shutdown()
    slow, fast, instruction, again, counted = domain.wait(20)
    assert slow == [3, 3, 1, True] and fast == [7, 3, 1, False]
    assert instruction == [42, 3, 1, True] and again == [1, 3, 1, True]
    assert counted == {"hypervisor system_call": 3, "straight system_call": 5}
    assert traps["system_calls"] == 3


@pytest.mark.parametrize("paging", ["x86_64", "x86_32"])
def test_privileged_instructions_are_general_protection_faults(hv, paging):
    """In the kernel's ring and in a process: each of them arrives at the handler, straight, and does nothing."""

    def guest(g):
        from xenproc.guest.cpu import Gate

        seen = []
        g.cpu.set_trap_table({13: Gate(lambda cpu, frame: seen.append([frame.vector, frame.error_code, frame.ring, frame.hypervisor]))})
        cpu = g.cpu
        tries = [cpu.hlt, cpu.cli, cpu.sti, lambda: cpu.mov_to_cr(3, 0x1000), lambda: cpu.mov_from_cr(2), lambda: cpu.lgdt(0),
                 lambda: cpu.lidt(0), lambda: cpu.invlpg(0), cpu.clts, lambda: cpu.rdmsr(0x1B), lambda: cpu.wrmsr(0x1B, 0),
                 lambda: cpu.inb(0x60), lambda: cpu.outb(0x64, 0xFE)]
        for instruction in tries:
            instruction()
        cpu.run_user(lambda: [instruction() for instruction in tries])
        return [len(tries), seen, cpu.counters["straight", "other"], cpu.counters["hypervisor", "other"]]

    nr, seen, straight, bounced = hv.create(guest, paging=paging).wait(20)
    kernel = 3 if paging == "x86_64" else 1
    assert seen == [[13, 0, kernel, False]] * nr + [[13, 0, 3, False]] * nr
    assert (straight, bounced) == (2 * nr, 0)


def test_a_process_may_not_raise_the_kernels_gates(hv):
    """Software interrupts obey the gate's privilege; an exception of the same vector does not."""

    def guest(g):
        from xenproc.guest.cpu import Gate

        seen = []

        def note(cpu, frame):
            seen.append([frame.vector, frame.error_code])

        g.cpu.set_trap_table({3: Gate(note, dpl=3), 4: Gate(note, dpl=1), 13: Gate(note)})
        for raise_it in (lambda: g.cpu.interrupt(3), lambda: g.cpu.interrupt(4), lambda: g.cpu.deliver(4)):
            raise_it()
            g.cpu.run_user(raise_it)
        return seen

    seen = hv.create(guest, paging="x86_32").wait(20)
    assert seen == [[3, 0], [3, 0], [4, 0], [13, 4 << 3 | 2], [4, 0], [4, 0]]


def test_a_process_makes_no_hypercalls(hv):
    def guest(g):
        def process():
            try:
                g.clock.set_timer(0)
            except xenproc.HypercallError as error:
                return error.errno

        return [g.cpu.run_user(process), g.clock.set_timer(0)]

    assert hv.create(guest).wait(20) == [1, None]


def test_traps_nest(hv):
    """A page fault within a system call within a process: each frame below the other, and every one returns where it came from."""

    def guest(g):
        from xenproc.guest.cpu import Gate

        path = []

        def page_fault(cpu, frame):
            path.append(["fault", frame.ring, frame.at])
            if frame.address > 1:
                cpu.deliver(14, 0, frame.address - 1)

        def system_call(cpu, frame):
            path.append(["call", frame.ring, frame.at])
            cpu.deliver(14, 0, 3)
            cpu.run_user(lambda: cpu.deliver(14, 0, 1))
            return "back"

        g.cpu.set_trap_table({14: Gate(page_fault), 0x80: Gate(system_call, dpl=3)})
        result = g.cpu.run_user(lambda: [g.cpu.interrupt(0x80), g.cpu.in_user])
        return [result, path]

    result, path = hv.create(guest, paging="x86_32p").wait(20)
    assert result == ["back", True]
    assert [step[:2] for step in path] == [["call", 3], ["fault", 1], ["fault", 1], ["fault", 1], ["fault", 3]]
    frames = [step[2] for step in path]
    assert frames[0] > frames[1] > frames[2] > frames[3] and frames[4] < frames[0]


def test_floating_point_traps_once_it_was_switched(hv):
    def guest(g):
        from xenproc.guest.cpu import Gate

        seen = []

        def load(cpu, frame):
            seen.append(frame.vector)
            cpu.fpu_taskswitch(False)

        g.cpu.set_trap_table({7: Gate(load)})
        g.cpu.use_fpu()
        g.cpu.fpu_taskswitch(True)
        g.cpu.use_fpu()
        g.cpu.use_fpu()
        return seen

    assert hv.create(guest).wait(20) == [7]


def test_registers_and_what_is_refused(hv):
    def guest(g):
        from xenproc.abi.trap import SegBase
        from xenproc.guest.cpu import Gate

        def refused(call, *args):
            try:
                call(*args)
            except xenproc.HypercallError as error:
                return error.errno
            except xenproc.XenprocError:
                return "said here"

        g.cpu.set_debugreg(0, 0x1234)
        g.cpu.set_segment_base(SegBase.FS, 0x5000)
        return [
            g.cpu.get_debugreg(0), refused(g.cpu.set_debugreg, 0, 0xFC000000), refused(g.cpu.set_debugreg, 9, 0),
            refused(g.cpu.get_debugreg, 8), refused(g.cpu.set_segment_base, 5, 0), refused(g.cpu.set_fast_trap, 0x80),
            refused(g.cpu.set_trap_table, {256: Gate(refused)}), refused(g.cpu.stack_switch, 0),
        ]

    assert hv.create(guest, paging="x86_32").wait(20) == [0x1234, 1, 22, "said here", 22, 22, "said here", None]


@pytest.mark.parametrize(("how", "words"), [
    ("no handler", ["no handler: vector 13 error 0 ", "from ring 3"]),
    ("no page fault handler", ["no handler: vector 14 error 0x6 address 0xbad000"]),
    ("no stack", ["double fault: no stack: vector 14", "address 0xbad000"]),
    ("stack overflow", ["double fault: no stack: vector 14"]),
    ("triple fault", ["no handler: vector 13"]),
])
def test_what_ends_a_domain_says_with_which_frame(hv, how, words):
    def guest(g):
        from xenproc.guest.cpu import Gate

        def fault(cpu, frame):
            if how == "stack overflow":
                cpu.deliver(14, 0, frame.address + 1)

        if how == "no handler":
            g.cpu.run_user(g.cpu.hlt)
        if how == "no page fault handler":
            g.cpu.deliver(14, 6, 0xBAD000)
        g.cpu.set_trap_table({14: Gate(fault)})
        if how == "no stack":
            g.cpu.stack_switch(0x1000)
        if how == "stack overflow":
            import sys

            sys.setrecursionlimit(100000)
            g.cpu.deliver(14, 0, 0)
        if how == "triple fault":
            g.cpu.triple_fault()
        g.cpu.run_user(lambda: g.cpu.deliver(14, 6, 0xBAD000))

    with pytest.raises(xenproc.DomainCrashed) as ended:
        hv.create(guest).wait(30)
    for text in words:
        assert text in str(ended.value)
