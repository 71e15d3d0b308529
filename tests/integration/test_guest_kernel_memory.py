"""The small guest kernel's memory: copy on write, demand paging, regions, and what happens where it runs out."""

from itertools import pairwise

import pytest
from guest_kernel import boot
from helpers import until

from xenproc.guest.minikernel.region import Region, Regions

MODES = ["x86_64", "x86_32p", "x86_32"]
EINVAL, ENOMEM, EFAULT, EAGAIN = 22, 12, 14, 11


@pytest.mark.parametrize("mode", MODES)
def test_copy_on_write(hv, mode):
    """Three share pages; each write copies one page for its writer, the last owner writes in place; nobody sees another's writes."""

    def init(sys, out, counters):
        heap = sys.sbrk(8 * 4096)
        for page in range(8):
            sys.store(heap + page * 4096, bytes([page]) * 16)

        def seen(sys):
            return [sys.load(heap + page * 4096, 1)[0] for page in range(8)]

        def grandchild(sys):
            sys.store(heap, b"\x20")
            out.append(seen(sys))

        def child(sys):
            sys.store(heap + 4096, b"\x10")
            sys.fork(grandchild)
            sys.wait()
            out.append(seen(sys))

        before = dict(counters)
        sys.store(heap + 7 * 4096, b"\7")               # its translation is in the TLB, for writing
        sys.fork(child)
        sys.store(heap + 7 * 4096, b"\x77")             # not for the child
        sys.wait()
        ended = dict(counters)
        for page in range(8):
            sys.store(heap + page * 4096, b"\x30")
        out.append(seen(sys))
        out.append([ended["copied"] - before.get("copied", 0), counters["reused"] - ended.get("reused", 0), ended["forked"]])

    end = boot(hv, init, paging=mode)
    third, second, first, counts = end["out"]
    assert third == [0x20, 0x10, 2, 3, 4, 5, 6, 7]
    assert second == [0, 0x10, 2, 3, 4, 5, 6, 7]
    assert first == [0x30] * 8
    # Copied: the parent's, the child's and the grandchild's own page, and the child's stack page where wait wrote a status.
    assert counts[0] in (3, 4) and counts[1] == 7 and counts[2] >= 16 and end["lost"] == 0


@pytest.mark.parametrize("mode", MODES)
def test_pages_come_when_they_are_touched(hv, mode):
    """Each with one fault through the hypervisor; what nobody touched takes no page."""

    def init(sys, out, counters, used, faults):
        heap = sys.sbrk(64 * 4096)
        before, at, traps = counters["demand"], used(), faults()
        out.append(sys.load(heap + 5 * 4096, 4).hex())
        sys.store(heap + 9 * 4096 - 2, b"over")
        sys.load(heap + 5 * 4096, 4)
        out.append([counters["demand"] - before, used() - at, faults() - traps])

    assert boot(hv, init, paging=mode)["out"] == ["00000000", [3, 3, 3]]


@pytest.mark.parametrize("mode", MODES)
def test_a_page_fault_is_two_calls_of_the_hypervisor(hv, mode):
    """The trap, and the way back with the new entry in one multicall. A page whose table is missing takes no more."""

    def init(sys, out, kernel):
        made, line, call = [], kernel.cpu._line, kernel.g.hypercalls.call

        def counted(through):
            def count(nr, *args, **options):
                made.append(nr)
                return through(nr, *args, **options)
            return count

        kernel.cpu._line, kernel.g.hypercalls.call = counted(line), counted(call)
        at = sys.mmap(4096 * 4096)
        for va in (at, at + 4096, at + 4095 * 4096):
            sys.store(va, b"x")
            out.append(len(made))
            made.clear()
        kernel.cpu._line, kernel.g.hypercalls.call = line, call

    assert boot(hv, init, paging=mode)["out"] == [2, 2, 2]


def test_mmap_munmap_mprotect(hv):
    def init(sys, out, used, kernel):
        def refused(call, *args):
            try:
                call(*args)
            except OSError as error:
                return error.errno

        def ends(body):
            sys.fork(body)
            return sys.wait()[1]

        one, two = sys.mmap(4 * 4096), sys.mmap(100)
        sys.store(one + 4096, b"x" * 8192)
        sys.store(two, b"two")
        at = used()
        sys.munmap(one + 4096, 4096)
        out.append([two - one, used() - at, sys.load(one + 8192, 1).decode(), sys.load(two, 3).decode()])
        out.append(ends(lambda sys: sys.load(one + 4096, 1)))
        out.append(sys.mmap(4096) - one)                # in the hole
        sys.mprotect(one + 8192, 4096, 1)
        out.append([sys.load(one + 8192, 1).decode(), ends(lambda sys: sys.store(one + 8192, b"y"))])
        sys.mprotect(one + 8192, 4096, 0)
        out.append([ends(lambda sys: sys.load(one + 8192, 1)), refused(sys.write_at, 1, one + 8192, 1), -sys.raw(42, one + 8192)])
        sys.mprotect(one + 8192, 4096, 3)
        sys.store(one + 8193, b"y")
        out.append(sys.load(one + 8192, 3).decode())
        out.append([refused(sys.mmap, 0), refused(sys.mmap, 4096, 4), refused(sys.mmap, 1 << 40), refused(sys.munmap, 1, 4096),
                    refused(sys.mprotect, one, 4096, 9), refused(sys.mprotect, one + (1 << 20), 4096, 1), refused(sys.munmap, one, -1)])
        sys.munmap(one, 4 * 4096)
        tables = kernel.current.vm.space.nr_tables
        sys.munmap(two, 4096)
        out.append(tables - kernel.current.vm.space.nr_tables)      # its last page: the table goes, too

    end = boot(hv, init)
    assert end["out"] == [
        [4 * 4096, -1, "x", "two"], -11, 4096, ["x", -11], [-11, EFAULT, EFAULT], "xyx",
        [EINVAL, EINVAL, ENOMEM, EINVAL, EINVAL, ENOMEM, EINVAL], 1,
    ]
    assert end["lost"] == 0


def test_protection_survives_fork(hv):
    """A page that is shared after a fork stays so when its rights are taken away and given back."""

    def init(sys, out):
        at = sys.mmap(4096)
        sys.store(at, b"parent")

        def child(sys):
            sys.mprotect(at, 4096, 1)
            sys.mprotect(at, 4096, 3)
            sys.store(at, b"child!")

        sys.fork(child)
        sys.wait()
        out.append(sys.load(at, 6).decode())

    assert boot(hv, init)["out"] == ["parent"]


def test_sbrk(hv):
    def init(sys, out, used):
        start = sys.sbrk(0)
        out.append([sys.sbrk(100) - start, sys.sbrk(8192) - start, sys.sbrk(0) - start])
        sys.store(start + 8192, b"last")
        at = used()
        sys.sbrk(-8192)
        out.append(used() - at)
        sys.sbrk(8192)
        out.append(sys.load(start + 8192, 4).hex())
        for change in (-1 << 20, 1 << 40):
            try:
                sys.sbrk(change)
            except OSError as error:
                out.append(error.errno)

    assert boot(hv, init)["out"] == [[0, 100, 8292], -1, "00000000", ENOMEM, ENOMEM]


# ---- when memory runs out ----


@pytest.mark.parametrize("mode", MODES)
def test_out_of_memory_in_the_middle_of_fork(hv, mode):
    """Whatever page is the one too many: ENOMEM, nothing lost, nothing changed; with one more it works."""

    def init(sys, out, kernel):
        memory, held = kernel.g.memory, []
        heap = sys.sbrk(4 * 4096)
        for page in range(4):
            sys.store(heap + page * 4096, b"mine")
        def state():
            users = sorted(kernel.frames._users.items())
            return [memory.nr_free, users, list(kernel.table), len(kernel.strands._idle)]

        sys.fork(lambda sys: 0)
        sys.wait()                                      # a strand stands by, as it will for each
        needed = kernel.current.vm.space.nr_tables + 1
        while memory.nr_free:
            held.append(memory.alloc(1))
        for left in range(needed + 1):
            while memory.nr_free < left:
                held.pop().free()
            before = state()
            try:
                sys.fork(lambda sys: sys.exit(sys.load(heap, 1)[0]))
                out.append(["forked", left - needed, sys.wait()[1], state() == before])
            except OSError as error:
                out.append([error.errno, state() == before])
            assert sys.load(heap + 3 * 4096, 4) == b"mine"
        sys.store(heap, b"still")
        out.append(sys.load(heap, 5).decode())
        for pages in held:
            pages.free()

    end = boot(hv, init, paging=mode)
    *failed, forked, text = end["out"]
    assert len(failed) >= 4 and all(each == [ENOMEM, True] for each in failed)
    assert forked == ["forked", 0, ord("m"), True] and text == "still" and end["lost"] == 0


def test_a_copy_that_the_hypervisor_refuses(hv):
    """The pin fails: fork takes everything back."""

    def init(sys, out, kernel):
        from xenproc.errors import HypercallError

        heap = sys.sbrk(4096)
        sys.store(heap, b"mine")
        queue, before = kernel.space.queue, [kernel.g.memory.nr_free, kernel.frames.nr_used, len(kernel.table)]

        def refuse(*ops):
            del queue.extended
            raise HypercallError(12, "mmuext_op", 1)

        queue.extended = refuse
        out.append(sys.raw(2, lambda sys: 0))
        out.append([kernel.g.memory.nr_free, kernel.frames.nr_used, len(kernel.table)] == before)
        sys.fork(lambda sys: 3)
        out.append(sys.wait()[1])

    end = boot(hv, init)
    assert end["out"] == [-ENOMEM, True, 3] and end["lost"] == 0


def test_out_of_memory_at_a_page_fault(hv):
    """Who asks for the page that is not there is killed; a system call that needs it fails. Nobody else notices."""

    def init(sys, out, kernel):
        memory = kernel.g.memory
        heap = sys.sbrk(1 << 22)
        sys.store(heap, b"fine")

        def hog(sys):
            for page in range(1024):
                sys.store(heap + page * 4096, b"x")

        sys.fork(hog)
        out.append(sys.wait()[1])
        held = []
        while memory.nr_free:
            held.append(memory.alloc(1))
        out.append(sys.raw(42, heap + 4 * 4096))
        for pages in held:
            pages.free()
        out.append([sys.load(heap, 4).decode(), len(kernel.current.files)])

    end = boot(hv, init, memory="1M")
    assert end["out"] == [-9, -ENOMEM, ["fine", 3]] and end["lost"] == 0


def test_too_many_processes(hv):
    """The table's end."""

    def init(sys, out):
        made = 0
        try:
            while True:
                sys.fork(lambda sys: sys.sleep(1000))
                made += 1
        except OSError as error:
            out += [made, error.errno]

    end = boot(hv, init, memory="8M")
    assert end["out"] == [63, EAGAIN] and end["lost"] == 0


def test_the_balloon_helps_out_and_gives_back(hv):
    """What the allocator lacks the hypervisor gives, up to the domain's limit; what Domain0 wants back it gets while processes sleep."""

    def guest(g):
        from xenproc.guest.minikernel.kernel import Kernel

        def init(sys, kernel):
            heap = sys.sbrk(300 * 4096)
            for page in range(300):
                sys.store(heap + page * 4096, b"%d" % page)
            same = all(sys.load(heap + page * 4096, 3).rstrip(b"\0") == b"%d" % page for page in range(300))
            deflated = kernel.frames.nr_deflated
            sys.sbrk(-300 * 4096)
            sys.print(f"has {g.memory.nr_free} {same} {deflated}")
            while g.memory.nr_free > 256:
                sys.sleep(0.01)
            m2p, p2m = g.memory.m2p, g.memory.p2m
            right = all(m2p[mfn] == pfn for pfn, mfn in enumerate(p2m) if mfn != (1 << 64) - 1)
            sys.store(sys.sbrk(4096), b"still works")
            kernel.result = [same, deflated > 0, right]

        kernel = Kernel(g)
        kernel.run(init, kernel)
        return kernel.result

    domain = hv.create(guest, memory="1M", maxmem="4M")
    until(lambda: "has" in domain.console.read())
    domain.set_memory("1M")
    assert domain.wait(30) == [True, True, True]


# ---- regions, by themselves ----


def test_regions_against_a_page_by_page_model():
    """Cuts and additions at random: the same pages with the same rights and bytes, never overlapping, grown together."""
    import random

    random.seed(4)
    for _ in range(200):
        regions, model = Regions(), {}
        for _ in range(30):
            start = random.randrange(16)
            end = start + random.randrange(1, 6)
            taken = regions.cut(start * 4096, end * 4096)
            assert sum(piece.end - piece.start for piece in taken) == 4096 * sum(page in model for page in range(start, end))
            for page in range(start, end):
                model.pop(page, None)
            if random.random() < 0.7:
                rights = random.randrange(3)
                regions.add(Region(start * 4096, end * 4096, rights))
                model.update(dict.fromkeys(range(start, end), rights))
            for page in range(24):
                found = regions.find(page * 4096)
                assert (found.rights if found else None) == model.get(page)
            kinds = [(region.start, region.end, region.rights) for region in regions]
            assert all(a[1] < b[0] or (a[1] == b[0] and a[2] != b[2]) for a, b in pairwise(kinds))
            assert regions.covers(start * 4096, end * 4096) == all(page in model for page in range(start, end))
            room = regions.room(2 * 4096, 0, 24 * 4096)
            free = [page for page in range(23) if page not in model and page + 1 not in model]
            assert room == free[0] * 4096
