"""mmu_update's quick way for runs of level-1 entries does exactly what the general way does: random batches through both.

The general way is taken while a failure is due (hvtest_inject) that never comes.
"""

import random

import pytest
from tables import EBUSY, EINVAL, ENOSYS, EPERM, FULL, L1, NX, PCD, PIN, RW, VARIANTS, X32, A, D, G, Machine, P, U, kind, lib

NEVER = 1 << 31


@pytest.fixture(params=VARIANTS, ids=kind)
def pair(request):
    machines = [Machine(*request.param), Machine(*request.param)]
    yield machines
    for machine in machines:
        lib.hvtest_inject(machine.t, 0)
        machine.close()


def both(pair, requests):
    """The same requests, quickly and generally; everything is the same afterwards. Returns (result, done)."""
    quick, general = pair
    lib.hvtest_inject(general.t, NEVER)
    got = quick.update(*requests)
    assert got == general.update(*requests), requests
    lib.hvtest_inject(general.t, 0)
    assert quick.records() == general.records()
    for mfn in quick.own(20):
        assert quick.table(mfn) == general.table(mfn), mfn
    for machine in pair:
        assert lib.hvtest_mm_audit(machine.t) == 0
    return got


def prepare(pair):
    """Two level-1 tables, validated; returns them, frames to map, and what must not be mapped, or not for writing."""
    for machine in pair:
        tables = machine.own(2)
        for mfn in tables:
            assert machine.ext((PIN[L1], mfn)) == (0, 1)
    quick = pair[0]
    assert quick.first == pair[1].first
    return quick.own(2), quick.own(6, skip=5), [quick.own(1)[0], 0, quick.frames, (1 << 20) - 1]


def test_random_batches(pair):
    tables, frames, odd = prepare(pair)
    quick = pair[0]
    rng = random.Random(7)
    seen = set()
    for _ in range(60):
        requests = []
        for _ in range(rng.randint(1, 60)):
            mfn = rng.choice(frames if rng.random() < 0.98 else odd)
            bits = rng.choice([FULL, FULL, FULL, P | U | A, P | RW, 0, 0, U | RW])
            if rng.random() < 0.01:
                bits |= rng.choice([G, PCD, *([NX] if quick.mode != X32 else [])])
            table = rng.choice([tables[0]] * 8 + [tables[1], frames[0]] if rng.random() < 0.5 else tables[:1])
            cmd = rng.choice([0, 0, 0, 0, 2, 2, 3, 1 if rng.random() < 0.2 else 0, 5 if rng.random() < 0.02 and quick.mode != X32 else 0])
            requests.append((quick.ptr(table, rng.choice([0, 1, 2, 3, 511]), cmd), mfn << 12 | bits))
        seen.add(both(pair, requests)[0])
    assert {0, EINVAL, EPERM} <= seen
    for machine in pair:
        for table in tables:
            for i in range(512):
                assert machine.update((machine.ptr(table, i), 0)) == (0, 1)
    assert quick.record(frames[1])[1:3] == (0, 1)


@pytest.mark.parametrize("at", [0, 1, 20, 39])
def test_a_run_ends_at_what_cannot_be_done(pair, at):
    tables, frames, odd = prepare(pair)
    quick = pair[0]
    good = [(quick.ptr(tables[0], i), frames[i % 6] << 12 | FULL) for i in range(40)]
    for bad, error in (((good[at][0], frames[0] << 12 | FULL | G), EINVAL), ((good[at][0], odd[0] << 12 | FULL), EBUSY),
                       ((good[at][0], odd[2] << 12 | FULL), EPERM), ((good[at][0], 0 << 12 | FULL), EPERM),
                       ((good[at][0] + 5, 0), EINVAL if quick.mode == X32 else ENOSYS)):
        if quick.mode == X32 and bad[0] != good[at][0]:
            continue                    # entries of 4 bytes have no kind of update above 3
        assert both(pair, [*good[:at], bad, *good[at + 1 :]]) == (error, at)


def test_one_frame_again_and_again(pair):
    """Its type changes within a run, and its last reference by an entry goes and comes."""
    tables, frames, _ = prepare(pair)
    quick = pair[0]
    slot = quick.ptr(tables[0], 9)
    values = [frames[0] << 12 | bits for bits in (FULL, FULL & ~RW, FULL, P, P | RW)]
    assert both(pair, [(slot, value) for value in [*values, frames[1] << 12 | FULL, *values, 0]]) == (0, 12)
    assert quick.record(frames[0])[:3] == (0, 0, 1)


def test_accessed_and_dirty_come_along_only_if_asked(pair):
    tables, frames, _ = prepare(pair)
    quick = pair[0]
    assert both(pair, [(quick.ptr(tables[0], 0), frames[0] << 12 | P | A | D), (quick.ptr(tables[0], 0, 2), frames[1] << 12 | P)]) == (0, 2)
    assert quick.table(tables[0])[0] == frames[1] << 12 | P | A | D
    assert both(pair, [(quick.ptr(tables[0], 0, 3), frames[1] << 12 | P)]) == (0, 1)
    assert quick.table(tables[0])[0] == frames[1] << 12 | P
