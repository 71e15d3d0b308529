"""A schedule drawn: turns, shares and virtual times from what was recorded; here from simulated histories."""

import itertools
import json

import pytest
from click.testing import CliRunner
from simulated import MS, Machine, S, Task, naps

from xenproc.cli.schedplot import draw, sched_plot, shares
from xenproc.dom0 import schedule
from xenproc.errors import ConfigError

WEIGHTS = (1, 2, 4)


@pytest.fixture(scope="module")
def recorded():
    """A Chrome trace of 1:2:4 on one CPU for a second, as `xenproc trace` writes it."""
    events = [{"ph": "M", "pid": 1, "tid": 0, "name": "thread_name", "args": {"name": "hypervisor"}}]

    def note(ns, name, domid, number, value=0):
        events.append({"name": f"sched_{name}", "tid": domid, "ts": ns / 1000, "args": {"number": number, "value": value, "cpu": 1}})

    with Machine([Task(weight) for weight in WEIGHTS]) as m:
        m.run(S)
    for i, weight in enumerate(WEIGHTS):
        events.append({"ph": "M", "pid": 1, "tid": i + 1, "name": "thread_name", "args": {"name": f"domain {i + 1} hog {weight}"}})
        note(0, "add", i + 1, weight)
    for cpu, who, start, end in m.history:
        note(start, "decide", who + 1, cpu)
        note(end, "charge", who + 1, end - start - MS)
        note(end, "spent", who + 1, MS)     # by the hypervisor: as much its own as what it ran
    events.append({"name": "call", "tid": 2, "ts": 3.0, "ph": "X", "dur": 1.0, "args": {}})
    return json.dumps({"traceEvents": events})


@pytest.fixture
def file(recorded, tmp_path):
    path = tmp_path / "trace.json"
    path.write_text(recorded)
    return path


def test_what_is_read_is_what_happened(file):
    found = schedule.of_chrome(file.open())
    assert found.names == {1: "hog 1", 2: "hog 2", 3: "hog 4"}
    assert found.title(2) == "2 hog 2"
    turns = found.turns()
    assert {turn[0] for turn in turns} == {0} and {turn[1] for turn in turns} == {1, 2, 3}
    assert all(before[3] <= after[2] for before, after in itertools.pairwise(turns)), "one after the other"
    assert sum(end - start for _, _, start, end in turns) == pytest.approx(S, rel=0.02)
    assert sum(ns for charged in found.charges().values() for _, ns in charged) == S
    assert {ns for charged in found.charges(("spent",)).values() for _, ns in charged} == {MS} and not found.charges(("paid",))


def test_shares_are_of_the_window(file):
    found = schedule.of_chrome(file.open())
    moments, lines = shares(found.charges(), 0, S, 200 * MS)
    assert moments[0] == 200 * MS and moments[-1] == S
    for domid, weight in enumerate(WEIGHTS, 1):
        assert lines[domid][-1] == pytest.approx(weight / 7, abs=0.03)
    assert all(sum(line[i] for line in lines.values()) == pytest.approx(1, abs=0.03) for i in range(len(moments)))


def test_a_sleeper_leaves_its_cpu():
    found = schedule.Schedule([
        (0, "decide", 1, 0, 0), (5, "sleep", 1, 1, 0), (5, "decide", 2, 0, 0), (7, "decide", 2, 0, 0), (9, "remove", 2, 0, 0),
        (9, "decide", 0, 0, 0), (12, "decide", 1, 1, 0), (20, "charge", 1, 8, 0),
    ])
    assert found.turns() == [(0, 1, 0, 5), (0, 2, 5, 9), (1, 1, 12, 20)]


def test_the_command_draws(file, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "schedule.png"
    done = CliRunner().invoke(sched_plot, [str(out), "--trace", str(file)])
    assert done.exit_code == 0, done.output
    assert out.read_bytes().startswith(b"\x89PNG") and out.stat().st_size > 20_000


def test_what_is_no_schedule_is_said(tmp_path):
    with pytest.raises(ConfigError, match="nothing was scheduled"):
        draw(schedule.Schedule([(0, "add", 1, 256, 0)]), {}, str(tmp_path / "no.png"), MS)
    (tmp_path / "no.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"no\.json: not a trace"):
        schedule.of_chrome((tmp_path / "no.json").open())
    assert not (tmp_path / "no.png").exists()


def test_a_nap_is_seen_in_the_shares():
    with Machine([Task(256), Task(256, naps(10 * MS, 400 * MS))]) as m:
        m.run(S)
    charges = {0: [], 1: []}
    for _, who, start, end in m.history:
        charges[who].append((end, end - start))
    _, lines = shares(charges, 0, S, 50 * MS)
    assert min(lines[0]) < 0.9 and max(lines[0]) == pytest.approx(1, abs=0.01)
