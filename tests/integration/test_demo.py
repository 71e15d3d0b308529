"""`xenproc demo`, run as a person does: its figures are sane, its guests end as they should, and it fails when anything is lost."""

import copy
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from xenproc.cli import demo
from xenproc.dom0 import registry


def run(*args, columns="80"):
    return subprocess.run([sys.executable, "-m", "xenproc.cli.main", "demo", *args], capture_output=True, text=True, timeout=100,
                          check=False, env={**os.environ, "COLUMNS": columns})


@pytest.fixture(scope="module")
def figures():
    """One run with --json."""
    done = run("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_text_is_for_a_terminal_of_80_columns(test_ledger):
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout, "colours where no terminal is"
    assert done.stdout.rstrip().endswith("Nobody else noticed.")
    for name in demo.ENDINGS:
        assert re.search(rf"^  {re.escape(name)} ", done.stdout, re.MULTILINE), name
    pid = int(re.match(r"hypervisor: process (\d+)", done.stdout)[1])
    assert pid not in {entry.pid for entry in registry.entries()}


def test_the_ring_was_measured(figures):
    rows = figures["ring"]
    assert {"block"} <= {row["mode"] for row in rows}
    for row in rows:
        assert row["requests"] >= 1000
        assert 100 < row["p50_ns"] <= row["p99_ns"] <= row["p999_ns"] < 1e9, row
    if len(os.sched_getaffinity(0)) > 1:
        assert {(row["mode"], row["placement"]) for row in rows} == {
            ("poll", "two CPUs"), ("block", "two CPUs"), ("block", "one CPU")}


def test_the_pair_lost_nothing(figures):
    pair = figures["pair"]
    assert pair["sent"] == pair["got"] > 50
    assert (pair["wrong"], pair["damaged"], pair["disorder"]) == (0, 0, 0)
    assert 0 < pair["gap_ms"] <= demo.MAX_GAP_MS
    assert pair["sent"] * 0.005 <= figures["seconds"], "faster than its rate: the rate was not kept"


def test_every_bad_guest_ended_as_it_should(figures):
    assert set(figures["endings"]) == set(demo.ENDINGS)
    for name, end in figures["endings"].items():
        assert end.startswith(demo.ENDINGS[name]), (name, end)
    assert re.search(r"SIGBUS at 0x2[0-9a-f]{11}$", figures["endings"]["wild_write"]), "no address in the window"


def test_nothing_is_left(figures):
    assert figures["schema_version"] == 1
    assert figures["after"] == {
        "all_frames_free": True, "audit": 0, "left_in_dev_shm": [], "unexpected_endings": {}, "well": True}
    assert figures["isolation"]["mode"] == "enforced"


# ---- it can fail: its last judgement on made-up findings ----


def judge(change, free=99, audit=0, names=(), monkeypatch=None):
    found = copy.deepcopy({
        "pair": {"sent": 300, "got": 300, "wrong": 0, "damaged": 0, "disorder": 0, "gap_ms": 12.0},
        "endings": {name: end + "..." for name, end in demo.ENDINGS.items()},
    })
    change(found)
    hv = SimpleNamespace(pid=1, info=lambda: {"memory": {"frames": 100, "free": free, "hypervisor": 1}}, audit=lambda: audit)
    monkeypatch.setattr(demo, "FREE_DEADLINE_S", 0.0)
    monkeypatch.setattr(demo.os, "listdir", lambda _: list(names))
    report = demo.Report(as_json=True)
    report.found = found
    return demo.show_pair(hv, report), report.found["after"]


def test_judgement_of_a_good_run(monkeypatch):
    assert judge(lambda found: None, names=["xenproc.2.a"], monkeypatch=monkeypatch)[0] is True


@pytest.mark.parametrize(("field", "value"), [
    ("sent", 301), ("got", 299), ("wrong", 1), ("damaged", 1), ("disorder", 1), ("gap_ms", 250.1),
])
def test_judgement_of_a_pair_that_noticed(monkeypatch, field, value):
    assert judge(lambda found: found["pair"].update({field: value}), monkeypatch=monkeypatch)[0] is False


def test_judgement_does_not_set_one_harm_against_another(monkeypatch):
    """One answered twice and one damaged are two, not none."""
    assert judge(lambda found: found["pair"].update(got=301, wrong=1), monkeypatch=monkeypatch)[0] is False


@pytest.mark.parametrize("name", demo.ENDINGS)
def test_judgement_of_a_guest_that_got_further(monkeypatch, name):
    well, after = judge(lambda found: found["endings"].update({name: "poweroff: done"}), monkeypatch=monkeypatch)
    assert (well, after["unexpected_endings"]) == (False, {name: "poweroff: done"})


@pytest.mark.parametrize("left", [{"free": 98}, {"audit": 1}, {"names": ["xenproc.1.ab"]}])
def test_judgement_of_a_machine_that_is_not_as_before(monkeypatch, left):
    assert judge(lambda found: None, monkeypatch=monkeypatch, **left)[0] is False
