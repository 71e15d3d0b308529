"""Reading vcpu_time_info beside a writer in a tight loop: whole with the version's check, torn without it."""

import re

import cc

READS = 50_000


def reads(tmp_path, flags):
    program = cc.compile([cc.HERE / "torn_time.c", "timescale.c"], ["-O2", *flags], tmp_path / "torn_time")
    said = re.fullmatch(r"reads (\d+) torn (\d+) back (\d+)\n", cc.run(program, READS, timeout=110))
    assert said is not None
    return [int(number) for number in said.groups()]


def test_no_reader_sees_half_a_version(tmp_path):
    assert reads(tmp_path, []) == [READS, 0, 0]


def test_without_the_check_they_do(tmp_path):
    """The test above can fail: the same program, the check left out."""
    # A tear needs both to run at once: on a busy machine not every run has one.
    assert any(reads(tmp_path, ["-DXP_TEST_TORN"])[1] > 0 for _ in range(20))
