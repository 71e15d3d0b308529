"""`xenproc trace` and Recording on a running hypervisor: what guests do is in it, and nothing when it is off."""

import json
from pathlib import Path

import pytest
from helpers import until

import xenproc
from xenproc.cli import main as entry
from xenproc.dom0 import registry
from xenproc.dom0.trace import CLASSES, Recording, slices, type_name

MS = 1_000_000


def worker(g):
    """Bind, be woken by a timer, take a page fault, end."""
    from xenproc.guest.cpu import Gate

    g.cpu.set_trap_table({14: Gate(lambda cpu, frame: None)})
    _ = g.clock.port
    for i in range(5):
        g.clock.set_timer(g.clock.system_time() + 2 * MS)
        g.clock.wait()
        g.cpu.deliver(14, 0, 0xABC000 + i)


def names(recording, domid):
    return [type_name(r.type) for r in recording.collected if r.domid == domid]


def test_what_a_domain_does_is_recorded(hv, client):
    with Recording(client) as recording:
        domain = hv.create(worker, name="traced")
        domain.wait(20)
    seen = names(recording, domain.domid)
    assert recording.lost == 0
    assert seen[0] == "start" and seen[-1] == "end" and seen.count("alarm") == 5
    # It blocks each time, unless its alarm went off before it came to that.
    assert seen.count("trap") == 5 and 1 <= seen.count("block") == seen.count("wake")
    traps = [r.value for r in recording.collected if type_name(r.type) == "trap"]
    assert traps == [0xABC000 + i for i in range(5)]
    calls = [piece for piece in slices(recording.collected) if piece["name"] == "set_timer_op"]
    assert len(calls) == 5 and all(0 < piece["dur"] < 1000 * MS for piece in calls)
    times = [r.ns for r in recording.collected]
    assert times == sorted(times) and abs(times[-1] - hv.info()["system_time_ns"]) < 10_000 * MS


def test_only_what_was_asked_for(hv, client):
    with Recording(client, ("traps",)) as recording:
        hv.create(worker).wait(20)
    assert {type_name(r.type) for r in recording.collected} == {"trap"}


def test_it_is_off_before_and_after(hv, client):
    hv.create(worker).wait(20)
    recording = Recording(client)
    recording.stop()
    recording.stop()
    hv.create(worker).wait(20)
    assert not any(type_name(r.type) == "trap" for r in recording.collected)


def test_a_reader_that_goes_away_ends_it(hv):
    """Its connection is closed, and what it had handed over is let go."""
    def mapped():
        return "xenproc-trace" in Path(f"/proc/{hv.pid}/maps").read_text()

    before = hv.info()["kernel_objects"]["descriptors"]
    client = registry.connect(hv.pid)
    Recording(client)
    assert mapped()
    client.close()
    until(lambda: hv.info()["kernel_objects"]["descriptors"] <= before and not mapped())
    hv.create(lambda g: None).wait(20)


def test_the_last_one_wins(hv, client):
    """A second recording takes over; the first one's end does not stop it."""
    first = Recording(client)
    other = registry.connect(hv.pid)
    with Recording(other) as second:
        first.stop()
        hv.create(worker).wait(20)
    other.close()
    assert any(type_name(r.type) == "trap" for r in second.collected)
    assert not any(type_name(r.type) == "trap" for r in first.collected)


@pytest.mark.parametrize("arguments", [{"classes": ()}, {"classes": ("vifs",)}, {"records": 255}, {"records": 300}, {"records": 1 << 25}])
def test_what_is_refused(client, arguments):
    with pytest.raises(xenproc.ConfigError, match="trace: expected"):
        Recording(client, **arguments)


def test_the_hypervisor_checks_what_it_is_given(hv, client):
    import os

    for fds in ([os.open("/dev/null", os.O_RDWR)], [os.memfd_create("open")]):
        with pytest.raises(xenproc.HypercallError) as refused:
            client.call("trace_start", fds, cpus=1, records=256, classes=1)
        assert refused.value.errno == 22
        os.close(fds[0])


def test_a_small_ring_counts_what_it_lost(hv, client):
    with Recording(client, records=256) as recording:
        hv.create(lambda g: [g.hypercall(17, 0, 0) for _ in range(5000)] and None).wait(20)
    assert recording.lost > 1000
    assert len(recording.collected) <= 256 * recording.cpus


def test_the_command_writes_what_a_browser_opens(hv, tmp_path, capsys):
    domain = hv.create(lambda g: [g.clock.port, [g.clock.set_periodic(5 * MS)], g.shutdown_request(30)][2], name="ticking")
    out = tmp_path / "trace.json"
    with pytest.raises(SystemExit) as leave:
        entry.main(["trace", "--hv", str(hv.pid), "-s", "0.3", "-o", str(out)])
    assert leave.value.code == 0
    assert f"events: {out}" in capsys.readouterr().out
    found = json.loads(out.read_text())
    alarms = [e for e in found["traceEvents"] if e["name"] == "alarm"]
    assert len(alarms) > 10 and {e["tid"] for e in alarms} == {domain.domid}
    assert {"args": {"name": f"domain {domain.domid} ticking"}, "name": "thread_name", "ph": "M", "pid": 1, "tid": domain.domid} in (
        found["traceEvents"])
    assert set(CLASSES) == {"hypercalls", "events", "traps", "sched", "life", "rings"}
    domain.destroy()
    domain.join(10)
