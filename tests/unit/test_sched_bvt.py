"""Weights and warps as they are asked for: in Python, in Xen's names, on the command line; what is no weight or warp is said."""

import pytest

from xenproc.cli.schedbvt import header, line
from xenproc.dom0 import scheduling
from xenproc.errors import ConfigError
from xenproc.hv.sched_bvt import wanted
from xenproc.units import duration_ns

MS = 1_000_000
PLAIN = {"weight": 256, "warp_ns": 0, "warp_limit_ns": 0, "warp_period_ns": 0}


def test_times_as_people_write_them():
    assert [duration_ns(t) for t in ("20ms", "500us", "1.5 s", "7ns", "3µs", 0.25, 2)] == [
        20 * MS, 500_000, 1500 * MS, 7, 3000, 250 * MS, 2000 * MS,
    ]
    for wrong in ("20", "ms", "-1ms", "1h", "", -1, True, None, float("nan")):
        with pytest.raises(ConfigError, match="warp: expected"):
            duration_ns(wrong, "warp")


def test_a_request_names_what_was_given():
    assert scheduling.request() == {} == scheduling.request(force=True)
    assert scheduling.request(weight=512) == {"weight": 512}
    assert scheduling.request(warp="20ms", force=True) == {
        "warp_ns": 20 * MS, "warp_limit_ns": 0, "warp_period_ns": 0, "force": True,
    }
    assert scheduling.request(warp=(0.02, "5ms", "50ms"))["warp_limit_ns"] == 5 * MS
    assert scheduling.request(warp=("0s", "5ms", "50ms")) == {"warp_ns": 0, "warp_limit_ns": 0, "warp_period_ns": 0}
    with pytest.raises(ConfigError, match="warp, limit, period"):
        scheduling.request(warp=("1ms", "2ms"))


def test_what_is_not_named_stays():
    before = {"weight": 7, "warp_ns": 20 * MS, "warp_limit_ns": MS, "warp_period_ns": 5 * MS}
    assert wanted({}, before) == before
    assert wanted({"weight": 9}, before) == {**before, "weight": 9}
    assert wanted({"warp_ns": 3}, before) == {**before, "warp_ns": 3}


@pytest.mark.parametrize(("adv", "weight"), [(1, 2560), (10, 256), (20, 128), (3, 853), (2560, 1)])
def test_xens_inverse_weight(adv, weight):
    assert wanted({"mcu_adv": adv}, PLAIN)["weight"] == weight


def test_xens_warp():
    asked = {"warpback": 1, "warpvalue": 2000, "warpl": 10, "warpu": 100}
    warped = {"weight": 256, "warp_ns": 20 * MS, "warp_limit_ns": 10 * MS, "warp_period_ns": 100 * MS}
    assert wanted(asked, PLAIN) == warped
    assert wanted({"warpback": 0}, warped) == PLAIN
    assert wanted({"warpl": 0}, warped) == {**warped, "warp_limit_ns": 0, "warp_period_ns": 0}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"weight": 0}, "weight: expected 1 to 65535, got 0"),
        ({"weight": 65536}, "weight"),
        ({"weight": True}, "weight"),
        ({"weight": "9"}, "weight"),
        ({"mcu_adv": 0}, "mcu_adv: expected 1 to 2560"),
        ({"mcu_adv": 2561}, "mcu_adv"),
        ({"mcu_adv": 1, "weight": 1}, "one of them"),
        ({"warpback": 2}, "warpback: expected 0 to 1"),
        ({"warp_ns": -1}, "warp_ns"),
        ({"warp_ns": 1 << 60}, "warp_ns"),
        ({"warp_ns": 5, "warp_limit_ns": MS, "warp_period_ns": MS}, "expected a period longer than that, got 1 ms"),
        ({"warpl": 7}, "limit of 7 ms"),
    ],
)
def test_what_cannot_be_is_said(asked, words):
    with pytest.raises(ConfigError, match=words):
        wanted(asked, PLAIN)


def test_the_table_lines_up():
    found = {**PLAIN, "mcu_adv": 10, "charged_ns": 1_500 * MS}
    assert line("web", 3, found).startswith("web") and line("web", 3, found).endswith("1.5  -")
    warped = line("web", 3, {**found, "warp_ns": 20 * MS, "warp_limit_ns": 5 * MS, "warp_period_ns": 50 * MS})
    assert warped.endswith("20 ms, 5 ms in 50 ms")
    assert warped.index("20 ms") == header().index("Warp")
