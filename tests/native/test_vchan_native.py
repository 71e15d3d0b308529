"""vchan's C core under the sanitizers: threads, a hostile peer, and a peer killed between any two steps."""

import re

import cc
import pytest

CORE = ["vchan.c", "vchan_stream.c", "vchan_msg.c", "vchan_wait.c", "direct.c", "gtrace.c", "trace.c", "sem.c", "spin.c"]
POLL, ADAPTIVE, BLOCK = 0, 1, 2
SOURCES = "".join((cc.NATIVE / name).read_text() for name in [*CORE[:4], "vchan_dir.h"])
FAULT_POINTS = sorted(set(re.findall(r'XP_FAULT_POINT\("([^"]+)"\)', SOURCES)))


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """driver(name, sanitizer) -> program, each compiled once."""
    made = {}
    where = tmp_path_factory.mktemp("vchan")

    def driver(name, sanitizer, *more):
        if (name, sanitizer) not in made:
            suffix = {"plain": "", "address": "-asan", "thread": "-tsan"}[sanitizer]
            made[name, sanitizer] = cc.compile(
                [*CORE, cc.HERE / f"{name}.c"], [*cc.SANITIZERS[sanitizer], *more], where / f"{name}{suffix}"
            )
        return made[name, sanitizer]

    return driver


@pytest.mark.parametrize("messages", [0, 1], ids=["stream", "messages"])
@pytest.mark.parametrize("mode,left,right,scattered", [(BLOCK, 10, 12, 0), (ADAPTIVE, 13, 11, 1), (BLOCK, 16, 16, 1)])
@pytest.mark.parametrize("sanitizer,size", [("thread", 300_000), ("address", 1_000_000)])
def test_threads_at_both_ends(programs, sanitizer, size, mode, left, right, scattered, messages):
    program = programs("vchan_stress", sanitizer)
    assert cc.run(program, mode, left, right, scattered, size, messages) == "ok\n"


@pytest.mark.parametrize("seed", range(4))
def test_a_peer_that_writes_anything_anywhere(programs, seed):
    out = cc.run(programs("vchan_hostile", "address"), seed, 150_000)
    good, broken = map(int, re.fullmatch(r"good (\d+) broken (\d+)\n", out).groups())
    assert good > 40_000
    assert broken > 100


def test_the_list_of_fault_points():
    assert {name.split(".")[1] for name in FAULT_POINTS} == {"write", "read", "tell", "event", "wait", "close", "client"}


@pytest.mark.parametrize("point", FAULT_POINTS)
def test_a_peer_killed_between_any_two_steps(programs, point):
    program = programs("vchan_fault", "plain", "-DXP_FAULT_POINTS")
    outcomes = {n: cc.run(program, point, n) for n in (1, 2, 3, 7)}
    assert outcomes[1] == "hit\n", f"{point} was never passed"
    assert set(outcomes.values()) <= {"hit\n", "missed\n"}
