"""`xenproc pagetable`: a walk of a live domain's tables, as a person sees it and as JSON."""

import json

import pytest
from helpers import until

from xenproc.cli import main as entry

VA = 0x0840_0000


def lives(g, loaded: bool) -> int:
    """[guest] Map a page, and wait to be told to end."""
    from xenproc.guest.paging import AddressSpace

    space, page = AddressSpace(g), g.memory.alloc(1)
    space.map(VA, page.mfns)
    if loaded:
        space.load()
    g.console.print(f"frame {page.mfns[0]}")
    return g.shutdown_request(30)


@pytest.fixture
def xen(hv, capsys):
    """A function that runs a command on this test's hypervisor and returns (status, stdout, stderr)."""
    def run(*args):
        with pytest.raises(SystemExit) as leave:
            entry.main([*args, "--hv", str(hv.pid)])
        return leave.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(("mode", "levels"), [("x86_32", 2), ("x86_32p", 3), ("x86_64", 4)])
def test_a_walk(hv, xen, mode, levels):
    made = hv.create(lives, True, name="paged", memory="1M", paging=mode)
    frame = int(until(lambda: made.console.read().strip(), "its page").split()[1])
    status, out, err = xen("pagetable", "paged", hex(VA + 0x123))
    lines = out.splitlines()
    assert (status, err, len(lines)) == (0, "", 2 * levels + 3)
    assert lines[0] == f"{VA + 0x123:#x} in {mode}"
    assert f"level {levels}  frame" in lines[1] and f"domain {made.domid}'s, type l{levels} x2" in lines[1] and "pinned" in lines[1]
    assert f"frame {frame:#x}" in lines[-2] and "type writable x1" in lines[-2]
    assert lines[-1].endswith(f"machine address {(frame << 12) + 0x123:#x}")
    found = json.loads(xen("pagetable", "paged", str(VA), "--json")[1])
    assert [step["level"] for step in found["steps"]] == list(range(levels, 0, -1)) and found["page"]["mfn"] == frame
    status, out, _ = xen("pagetable", "paged", hex(VA + 0x20_0000_00))
    assert status == 0 and out.splitlines()[-1].endswith("not present")
    made.destroy()


def test_the_hole_and_what_is_no_address(hv, xen):
    made = hv.create(lives, True, name="paged", memory="1M")
    until(lambda: made.console.read().strip(), "its page")
    out = xen("pagetable", "paged", "0xffff800000000000")[1]
    assert "(the hypervisor's slot)" in out and "the hypervisor's, type none" in out
    status, out, err = xen("pagetable", "paged", hex(1 << 47))
    assert status == 1 and "address: expected" in err
    assert xen("pagetable", "paged", "here")[0] == 2
    status, out, err = xen("pagetable", "nobody", "0")
    assert status == 1 and "nobody" in err
    made.destroy()


def test_without_a_base_pointer(hv, xen):
    made = hv.create(lives, False, name="paged", memory="1M")
    until(lambda: made.console.read().strip(), "its page")
    assert "no base pointer is loaded" in xen("pagetable", "paged", "0")[1]
    made.destroy()
