"""The suites without running them, and the command line with a run as short as it gets."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from xenproc.bench import command, runner
from xenproc.bench.command import SUITES, bench, text_of
from xenproc.bench.placement import usable
from xenproc.bench.suite import Plan
from xenproc.cli.main import main

# Every key of the table that the benchmarks owe, and its bound.
OWED = {
    "ring": {
        "ring_poll_c_over_cacheline": {"at_most": 1.5},
        "ring_poll_py_over_c": {"at_most": 3.5},
        "ring_poll_py_us": {"at_most": 0.6},
        "iceoryx2_over_ring_py": {"at_least": 5},
        "pipe_over_ring_py": {"at_least": 30},
        "zmq_over_ring_py": {"at_least": 50},
        "ring_block_py_over_pipe": {"at_most": 0.8},
        "ring_batch_c_mps": {"at_least": 15},
        "ring_batch_py_mps": {"at_least": 2},
        "vchan_64_over_pipe": {"at_least": 3},
        "vchan_4k_over_pipe": {"at_least": 3},
        "vchan_1m_over_pipe": {"at_least": 3},
        "vchan_4k_over_unix": {"at_least": 3},
    },
    "event": {"event_block_over_semaphore": {"at_most": 1.15}},
    "hypercall": {
        "hypercall_block_one_cpu_over_semaphore": {"at_most": 1.35},
        "hypercall_block_two_cpus_over_semaphore": {"at_most": 1.1},
        "hypercall_spin_us": {"at_most": 1.0},
    },
    "time": {
        "time_c_ns": {"at_most": 15}, "time_py_ns": {"at_most": 200}, "trace_event_ns": {"at_most": 30},
    },
    "create": {"create_over_fork": {"at_most": 3}},
    "idle": {
        "idle500_event": {"at_most": 1.1},
        "idle500_hypercall": {"at_most": 1.1},
        "hv_kb_per_domain": {"at_most": 20},
        "domain_mb": {"at_most": 5},
    },
    "memory": {"grant_map_us": None, "grant_map64_us": None, "flip_over_copy_4k": None, "flip_over_copy_1m": None},
    "vchan": {"vchan_64_over_pipe": {"at_least": 3}},
    "kernel": {"fork_validated_over_not": {"at_most": 1.3}, "null_call_over_linux": None, "switch_16p_64k_over_linux": None},
    "tlb": {
        "tlb_hit_ns": {"at_most": 3},
        "walk2_ns": {"at_most": 20},
        "walk3_ns": None,
        "chase2_ns": None,
        "walk4_ns": {"at_most": 40},
        "walk_over_chase": {"at_most": 1.5},
        "walk_over_memcpy": {"at_least": 0.8},
        "flushes_per_crossing": {"at_most": 0},
    },
    "mmu": {
        "pte_batch512_spin_ns": {"at_most": 30},
        "single_over_batch512_spin": {"at_least": 20},
        "single_over_batch512_block": {"at_least": 100},
        "validate_over_touch": {"at_most": 3},
        "pin_entry_ns": {"at_most": 5},
        "pin_step_us": {"at_most": 200},
        "give_frame_us": {"at_most": 1},
        "give_frame_run_us": {"at_most": 0.4},
        "protect_frame_us": {"at_most": 1},
        "table5_mmap_over_native": None,
        "table5_fault_over_native": None,
        "table5_prot_over_native": None,
        **{f"{pair}_{work}": None
           for pair in ("batched_over_direct", "wpt_over_direct", "wpt_over_batched", "shadow_over_direct", "unshadow_over_direct")
           for work in ("build", "fork", "fault")},
        "build_wpt_entry_ns": None,
        "fault_direct_us": None,
    },
    "bvt": {
        "lag_over_bound_max": {"at_most": 1.0},
        "share_error_max": {"at_most": 0.01},
        "lag_blocking_over_bound": {"at_most": 1.0},
        "lag_over_bound_two_cpus": {"at_most": 1.0},
        "share_error_two_cpus": {"at_most": 0.01},
        "wake_p99_warp_over_fifo": {"at_most": 2.0},
        "wake_p99_warp_ms": {"at_most": 1.0},
        "wake_p99_128_ms": {"at_most": 2.0},
        "throughput_128": {"at_least": 0.99},
        "dispatcher_cpu_pct": {"at_most": 0.5},
        "dispatcher_idle_pct": {"at_most": 0.1},
    },
}

needs_two = pytest.mark.skipif(len(usable()) < 2, reason="this host gives one CPU")


def made(name, **asked):
    import importlib

    return importlib.import_module(SUITES[name][0]).suite(Plan(**asked))


@needs_two
@pytest.mark.parametrize("name", sorted(SUITES))
def test_a_suite_owes_its_targets_and_can_pay(name):
    suite = made(name)
    assert not suite.missing
    asked = {ratio.name: ratio.target() for ratio in suite.ratios}
    assert OWED[name].items() <= asked.items()
    keys = [entry.key for entry in suite.entries]
    assert len(set(keys)) == len(keys)
    wanted = {key for ratio in suite.ratios for pair in ratio.pairs for key in pair if key}
    assert wanted <= set(keys)


@needs_two
@pytest.mark.parametrize("name", ["ring", "event", "hypercall", "idle"])
def test_blocking_is_compared_on_one_cpu_and_on_two(name):
    both = [ratio for ratio in made(name).ratios if len(ratio.pairs) == 2]
    if name == "hypercall":
        assert {r.name for r in made(name).ratios} >= set(OWED[name])
        return
    assert both, "no ratio with both placements"
    for ratio in both:
        assert {key.rpartition("/")[2] for pair in ratio.pairs for key in pair} == {"one", "two"}


@pytest.mark.parametrize("name", sorted(SUITES))
def test_only_the_crowd_spins_with_more_parties_than_cpus(name):
    for entry in made(name, cooperative=True).entries:
        assert entry.spinners <= entry.placement.seats() or entry.crowded, entry.key
        assert not entry.crowded or entry.name.startswith("crowd")


def test_like_is_compared_with_like():
    """Same way of waiting, same placement, above and below the line."""
    for name in SUITES:
        for ratio in made(name).ratios:
            for over, under in ratio.pairs:
                if under is not None:
                    assert over.split("/")[1:] == under.split("/")[1:], ratio.name


def test_on_one_cpu_what_needs_two_is_missing_with_the_reason():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        suite = made("ring")
    finally:
        os.sched_setaffinity(0, before)
    assert "needs 2 CPUs" in suite.missing["placement two"]
    assert "ring_poll_c_over_cacheline" in suite.missing
    assert "ring_block_py_over_pipe" in {ratio.name for ratio in suite.ratios}


def test_one_mode_and_one_placement_leave_the_rest_out():
    suite = made("ring", mode="block", placement="one")
    assert {(entry.mode, entry.placement.name) for entry in suite.entries} == {("block", "one")}
    assert {ratio.name for ratio in suite.ratios} == {"ring_block_py_over_pipe"}
    assert not suite.missing


SHORT = ["event", "--mode", "block", "--placement", "one", "--rounds", "2", "--trips", "20"]


def test_json_hdr_and_plot_of_a_short_run(tmp_path):
    files = ["--hdr", str(tmp_path / "x.hlog"), "--plot", str(tmp_path / "x.png")]
    result = CliRunner().invoke(bench, [*SHORT, "--json", *files])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["bench"] == "event"
    assert [row["case"] for row in report["results"]] == ["event", "event_limited"]
    row = report["results"][0]
    assert (row["n"], row["placement"], row["unit"], row["ci95"]) == (40, "one", "us", None)
    assert row["isolation"] in ("enforced", "cooperative")
    assert set(report["limits"]) == {"semaphore/block/one"}
    assert set(report["peers"]) == {"posix_ipc/block/one"}
    assert report["missing"] == {}
    assert 0.1 < report["ratios"]["event_block_over_semaphore"] < 100
    assert set(report["targets"]) == {"event_block_over_semaphore", "event_block_limited_over_semaphore"}
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    reader = HistogramLogReader(str(tmp_path / "x.hlog"), HdrHistogram(1, 10_000_000_000, 3))
    tags = {}
    while (hist := reader.get_next_interval_histogram()) is not None:
        tags[hist.get_tag()] = hist.get_total_count()
    cases = ("event", "event_limited", "semaphore", "posix_ipc")
    assert tags == {f"{case}/block/one": 40 for case in cases}
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_text_says_the_same(monkeypatch):
    report = {
        "bench": "ring",
        "machine": {"cpus": 2, "kernel": "6.18", "model": "X", "commit": "abc"},
        "results": [
            {"case": "ring_py", "mode": "poll", "placement": "two", "isolation": "enforced", "unit": "us", "n": 1234,
             "p50": 0.4321, "p99": 1.5, "p999": 2.5, "max": 12345.6, "ci95": [0.43, 0.44], "stalled": 0.125}
        ],
        "limits": {}, "peers": {},
        "ratios": {"a": 1.2, "b": 7.0, "c": 3.0},
        "intervals": {"a": [1.1, 1.3], "b": [6, 8], "c": None},
        "targets": {"a": {"at_most": 1.5, "met": True}, "b": {"at_least": 8, "met": False}},
        "missing": {"zmq/poll/two": "pyzmq is not installed"},
    }
    text = text_of(report)
    for part in ("0.4321", "0.43 .. 0.44", "12,346", "1,234", "enforced", "12.5%", "<= 1.5  met", ">= 8  missed",
                 "zmq/poll/two: pyzmq is not installed"):
        assert " ".join(part.split()) in " ".join(text.split()), part


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["ring", "--mode", "wave"], 2, "Invalid value"),
        (["ring", "--rounds", "0"], 2, "--rounds"),
        (["ring", "--batch", "65"], 2, "--batch"),
        (["nothing"], 2, "No such command"),
        (["ring", "--size", "20"], 1, "in eights, got 20"),
        (["ring", "--placement", "three"], 1, "placement: expected"),
        (["ring", "--placement", "0,4095"], 1, "got 4095"),
        (["event", "--hdr", "/nonexistent/x"], 1, "/nonexistent/x: cannot be written"),
    ],
)
def test_wrong_usage_says_what_was_expected(arguments, code, says, capsys, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *a: pytest.fail("it measured all the same"))
    with pytest.raises(SystemExit) as leave:
        main(["bench", *arguments])
    err = capsys.readouterr().err
    assert leave.value.code == code
    assert says in err and "Traceback" not in err


def test_help_is_quick_to_import():
    """Neither measuring nor drawing is imported before something is measured."""
    heavy = "{'numpy', 'matplotlib', 'rich', 'hdrh', 'zmq', 'iceoryx2', 'multiprocess', 'psutil', 'dill'}"
    code = f"import sys; from xenproc.bench.command import bench; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert out.stdout.strip() == "[]"


def test_progress_is_for_terminals_only(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with command._progress("x", quiet=False) as tell:
        assert tell is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with command._progress("x", quiet=True) as tell:
        assert tell is None
