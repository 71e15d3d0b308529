"""Grants in their mapper's page tables, case by case: entries made and ended, overwritten, moved, lost; compared with the model."""
# Tour T:110

from errno import EBUSY, EPERM

import pytest
from grant_lockstep import SEEN, UNMAP, Lockstep, maps, unmaps
from model import grant as model
from model.grant import APPLICATION_MAP, BAD_HANDLE, CONTAINS_PTE, DEVICE_MAP, EAGAIN, GENERAL_ERROR, HOST_MAP, MAP_READONLY, OKAY
from native.hvtest_real import ffi, lib

VA = 3 << 12


@pytest.fixture
def both():
    """Domain 1 grants three pages to domain 2: references 0 and 2 for writing, 1 for reading alone."""
    pair = Lockstep()
    for domid in (1, 2):
        pair.create(domid, {"max_grant_frames": 1, "max_maptrack": 100})
        pair.setup_table(domid, model.SELF, 1)
    for ref, kind in enumerate((1, 5, 1)):
        pair.write_entry(1, ref, kind, 2, pair.own[1][2 + ref])
    yield pair
    pair.compare()
    pair.close()


def entry(both, slot=3, domid=2):
    return both.model.read_entry(both.model.domains[domid], slot)


def pte(both, slot=3, domid=2):
    return (both.model.domains[domid].tables[0] << 12) + 4 * slot


def refs(both, nr=2):
    frame = both.model.frames[both.own[1][nr]]
    return frame.refs, frame.writers


def test_the_entry_is_what_the_flags_say(both):
    mfn, readonly = both.own[1][2] << 12, both.own[1][3] << 12
    assert maps(both, 2, 1, 0, HOST_MAP, VA + 77) == OKAY and entry(both) == mfn | 0x63
    assert maps(both, 2, 1, 1, HOST_MAP | MAP_READONLY, VA + 4096) == OKAY and entry(both, 4) == readonly | 0x61
    assert maps(both, 2, 1, 0, HOST_MAP | APPLICATION_MAP | 0xFFFA0000, VA + 8192) == OKAY and entry(both, 5) == mfn | 0x467
    assert maps(both, 2, 1, 0, HOST_MAP | CONTAINS_PTE, pte(both, 6)) == OKAY and entry(both, 6) == mfn | 0x63
    assert refs(both) == (1 + 3 + 3, 6)                         # its own, a handle's and an entry's for each


def test_only_a_host_map_is_an_entry(both):
    """A device map has no address; an entry at machine address 0 is none, which is found out last; a part of a page is no page."""
    assert maps(both, 2, 1, 0, DEVICE_MAP, VA) == OKAY and entry(both) == 0
    assert maps(both, 2, 9, 0, HOST_MAP | CONTAINS_PTE, 0) == model.BAD_DOMAIN
    both.drop(2, both.own[1][2])
    assert unmaps(both, 2, 0) == OKAY
    both.write_entry(1, 0, 0x101, 2, both.own[1][2])
    for address in (0, VA):
        assert maps(both, 2, 1, 0, HOST_MAP, address) == GENERAL_ERROR


def test_a_refusal_writes_its_status_and_nothing_else(both):
    for address in (1 << 22, VA):
        op = {"flags": 2, "ref": 0 if address != VA else 600, "dom": 1, "host_addr": address, "handle": 77, "dev_bus_addr": 99}
        ret, got = both.real.grant(2, 0, "map_grant_ref", [op])
        assert (ret, got[0].handle, got[0].dev_bus_addr, got[0].host_addr) == (0, 77, 99, address)
        assert got[0].status == (GENERAL_ERROR if address != VA else model.BAD_GNTREF)


def test_it_ends_with_its_own_address_alone(both):
    maps(both, 2, 1, 0, HOST_MAP, VA)
    both.drop(2, both.own[1][2])
    for address in (VA + 4096, VA - 4096, pte(both), 1 << 22, 1 << 32):
        assert unmaps(both, 2, 0, host_addr=address) == GENERAL_ERROR
    assert unmaps(both, 2, 0) == OKAY and entry(both)           # no address: nothing ends, as on Xen
    assert unmaps(both, 2, 0, host_addr=VA) == OKAY and entry(both) == 0 and refs(both) == (1, 0)
    assert unmaps(both, 2, 0, host_addr=VA) == BAD_HANDLE


def test_the_window_has_it_until_the_process_lets_go(both):
    maps(both, 2, 1, 0, HOST_MAP, VA)
    assert both.model.domains[2].window[both.own[1][2]] == model.RW
    assert unmaps(both, 2, 0, host_addr=VA) == EAGAIN and entry(both)
    both.drop(2, both.own[1][2])
    assert unmaps(both, 2, 0, host_addr=VA) == OKAY


def test_an_overwritten_entry_leaves_its_handle(both):
    maps(both, 2, 1, 0, HOST_MAP, VA)
    assert both.mmu_update(2, 3, 0) == 0 and refs(both) == (2, 1)
    both.drop(2, both.own[1][2])
    assert unmaps(both, 2, 0, host_addr=VA) == GENERAL_ERROR
    assert both.real.entry(1, 0).flags & model.WRITING          # nobody may reuse the frame yet
    assert maps(both, 2, 1, 0, HOST_MAP, VA) == OKAY            # ... but another entry serves as well
    both.drop(2, both.own[1][2])
    assert [unmaps(both, 2, h, host_addr=VA) for h in (0, 1)] == [OKAY, GENERAL_ERROR]


def test_rights_must_be_the_grants(both):
    """Two handles, to read and to write, on one frame: each ends its own entry and not the other's."""
    maps(both, 2, 1, 0, HOST_MAP | MAP_READONLY, VA)
    maps(both, 2, 1, 0, HOST_MAP, VA + 4096)
    assert unmaps(both, 2, 0, host_addr=VA + 4096) == GENERAL_ERROR
    assert unmaps(both, 2, 1, host_addr=VA) == GENERAL_ERROR
    assert unmaps(both, 2, 1, host_addr=VA + 4096) == OKAY
    assert both.model.domains[2].window[both.own[1][2]] == model.RO


def test_nobody_else_makes_such_an_entry(both):
    maps(both, 2, 1, 0, HOST_MAP, VA)
    for bits in (1, 3):
        assert both.mmu_update(2, 4, both.own[1][2] << 12 | bits) == -EPERM
    assert both.mmu_update(1, 4, both.own[1][2] << 12 | 3) == 0
    table = both.model.domains[1].tables[0]
    assert both.mmu_update(1, 5, table << 12 | 3) == -EBUSY


def test_both_parts_end_one_by_one(both):
    for first in (HOST_MAP, DEVICE_MAP):
        mfn = both.own[1][2] << 12
        maps(both, 2, 1, 0, HOST_MAP | DEVICE_MAP, VA)
        (handle,) = both.model.domains[2].handles
        by = {HOST_MAP: {"host_addr": VA}, DEVICE_MAP: {"dev_bus_addr": mfn}}
        assert unmaps(both, 2, handle) == OKAY                  # no address: no part of it
        assert unmaps(both, 2, handle, **by[first]) == OKAY     # the window has it still: the other part needs it
        assert unmaps(both, 2, handle, **by[first]) == OKAY     # nothing of that kind is left
        both.drop(2, both.own[1][2])
        assert unmaps(both, 2, handle, **by[HOST_MAP + DEVICE_MAP - first]) == OKAY
        assert refs(both) == (1, 0)
    maps(both, 2, 1, 0, HOST_MAP | DEVICE_MAP, VA)
    both.drop(2, both.own[1][2])
    assert unmaps(both, 2, 0, mfn + 4096, VA) == GENERAL_ERROR
    assert unmaps(both, 2, 0, mfn, VA) == OKAY


def test_where_there_is_no_entry(both):
    d = both.model.domains[2]
    for flags, address in ((2, 1 << 22), (2, 0xFC000000), (2, 1 << 32), (18, 0), (18, pte(both) + 2), (18, d.tables[1] << 12),
                           (18, both.own[2][3] << 12), (18, both.model.domains[1].tables[0] << 12), (18, 1 << 40)):
        assert maps(both, 2, 1, 0, flags, address) == GENERAL_ERROR
    assert both.real.entry(1, 0).flags == 1 and refs(both) == (1, 0)


def test_what_was_there_is_dropped(both):
    own = both.own[2][3]
    both.mmu_update(2, 3, own << 12 | 3)
    assert (both.model.frames[own].refs, both.model.frames[own].writers) == (2, 1)
    maps(both, 2, 1, 0, HOST_MAP, VA)
    assert (both.model.frames[own].refs, both.model.frames[own].writers) == (1, 0)
    maps(both, 2, 1, 2, HOST_MAP, VA)
    assert refs(both) == (2, 1) and refs(both, 4) == (3, 2)


def test_unmap_and_replace(both):
    own = both.own[2][3]
    maps(both, 2, 1, 0, HOST_MAP, VA)
    maps(both, 2, 1, 1, HOST_MAP | MAP_READONLY | CONTAINS_PTE, pte(both, 8))
    maps(both, 2, 1, 2)
    both.mmu_update(2, 4, own << 12 | 3)
    both.mmu_update(2, 3 + 4, own << 12 | 1)
    for handle, address, new, status in ((9, VA, VA + 4096, BAD_HANDLE), (2, VA, VA + 4096, GENERAL_ERROR),
                                         (0, VA, VA, GENERAL_ERROR), (0, VA, 1 << 22, GENERAL_ERROR),
                                         (0, VA + 4096, VA, GENERAL_ERROR), (1, pte(both, 8), VA + 4096, GENERAL_ERROR),
                                         (0, 0, VA + 4096, OKAY), (0, VA, VA + 4096, EAGAIN)):
        assert both.replace(2, handle, address, new) == status
        both.compare()
    both.drop(2, both.own[1][2])
    assert both.replace(2, 0, VA, VA + 4096) == OKAY
    assert (entry(both, 3), entry(both, 4)) == (own << 12 | 3, 0) and both.model.frames[own].refs == 3
    both.drop(2, both.own[1][3])
    assert both.replace(2, 1, pte(both, 8), 0) == OKAY and entry(both, 8) == 0      # no new address: as unmap
    both.compare()


def test_a_grant_that_moves_keeps_its_references(both):
    maps(both, 2, 1, 0, HOST_MAP, VA)
    maps(both, 2, 1, 2, HOST_MAP, VA + 4096)
    both.drop(2, both.own[1][2])
    assert both.replace(2, 0, VA, VA + 4096) == OKAY
    assert refs(both) == (1, 0) and refs(both, 4) == (3, 2)
    both.drop(2, both.own[1][4])
    assert unmaps(both, 2, 1, host_addr=VA) == OKAY


def test_deaths(both):
    maps(both, 2, 1, 0, HOST_MAP, VA)
    both.destroy(1)                                             # the granter: its frame stays, for handle and entry
    both.compare()
    assert both.model.zombies(1) == 1
    both.mmu_update(2, 3, 0)
    both.drop(2, both.own[1][2])
    assert unmaps(both, 2, 0, host_addr=VA) == GENERAL_ERROR
    both.destroy(2)                                             # the mapper: nothing is left
    assert both.real.reap(1)
    both.zombies.clear()


def test_a_mapper_dies_with_entries(both):
    maps(both, 2, 1, 0, HOST_MAP, VA)
    maps(both, 2, 1, 1, HOST_MAP | MAP_READONLY, VA + 4096)
    both.destroy(2)
    both.compare()
    assert refs(both) == (1, 0) and both.real.entry(1, 0).flags == 1


def test_a_grant_to_oneself(both):
    mfn = both.own[2][3]
    both.write_entry(2, 0, 1, 2, mfn)
    assert maps(both, 2, 2, 0, HOST_MAP, VA) == OKAY and entry(both) == mfn << 12 | 0x63
    assert unmaps(both, 2, 0, host_addr=VA) == OKAY and both.model.frames[mfn].refs == 1


def test_tables_under_way(both):
    """While an operation on the domain's tables is not finished, an entry waits and a window does not."""
    t, d = both.real.t, both.model.domains[2]
    lib.hvtest_domain(t, 2).mm.ticket = 5
    args = both.real._array("map_grant_ref", [{"flags": 2, "dom": 1, "host_addr": VA}])
    size = ffi.sizeof("struct xen_gnttab_map_grant_ref")
    assert lib.hvtest_grant_steps(t, 2, 0, args, size, 1, 3) == lib.XP_CALL_AGAIN and not both.real.uses(2)
    lib.hvtest_domain(t, 2).mm.ticket = 0
    assert lib.hvtest_continue(t, 2, 1) == 0
    assert both.model.map_grant_ref(d, 2, 0, 1, VA)[0] == OKAY
    both.drop(2, both.own[1][2])
    lib.hvtest_domain(t, 2).mm.ticket = 5
    args = both.real._array("unmap_grant_ref", [{"handle": 0, "host_addr": VA}])
    size = ffi.sizeof("struct xen_gnttab_unmap_grant_ref")
    assert lib.hvtest_grant_steps(t, 2, UNMAP, args, size, 1, 3) == lib.XP_CALL_AGAIN and both.real.uses(2)
    assert maps(both, 2, 1, 1, HOST_MAP | MAP_READONLY) == OKAY
    lib.hvtest_domain(t, 2).mm.ticket = 0
    assert unmaps(both, 2, 0, host_addr=VA) == OKAY


def test_a_tlb_is_flushed_once_for_a_batch_of_entries(both):
    maps(both, 2, 1, 0, HOST_MAP, VA)
    maps(both, 2, 1, 2, HOST_MAP, VA + 4096)
    flushes = lib.hvtest_domain(both.real.t, 2).mm.nr_flushes
    for mfn in both.own[1][2], both.own[1][4]:
        both.drop(2, mfn)
    assert both.unmaps(2, [{"handle": h, "dev_bus_addr": 0, "host_addr": VA + 4096 * h} for h in range(2)]) == [OKAY, OKAY]
    assert list(flushes) == [1, 0, 0, flushes[3], 1]
    maps(both, 2, 1, 2)
    both.drop(2, both.own[1][4])
    unmaps(both, 2, 1)
    assert flushes[4] == 1                                      # a window alone: no page table changed


def test_entries_met(both):
    assert {status for op, status in SEEN if op == "replace"} == {OKAY, GENERAL_ERROR, BAD_HANDLE, EAGAIN}
