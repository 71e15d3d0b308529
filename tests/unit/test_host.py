"""The examination of the host: on a host that has everything, and in a process from which much has been taken away."""

import errno
import json
import os
import struct
import subprocess
import sys

import pytest
from helpers import require

from xenproc.guest import bpf
from xenproc.guest.syscalls import NUMBER
from xenproc.hv import host
from xenproc.native import ffi, lib

KEYS = {"what", "of", "ok", "detail", "cost", "remedy"}
ISOLATION = {"window (userfaultfd)", "filter (seccomp)", "seal (mseal)", "landlock", "uids",
             *(f"{name} namespace" for name in ("user", "mount", "pid", "net", "ipc", "uts"))}


def refusing(names: list[str]) -> bytes:
    """A filter that refuses these calls and no others."""
    asm = bpf.Assembler()
    asm.op(bpf.LD_ABS, bpf.DATA_NR)
    for name in names:
        asm.branch(bpf.JEQ, NUMBER[name], yes="refuse")
    asm.op(bpf.RET, bpf.RET_ALLOW)
    asm.label("refuse")
    asm.op(bpf.RET, bpf.RET_ERRNO | 1)
    return asm.assemble()[0]


def examined(uid: int | None = None, refused: list[str] | None = None) -> dict[str, dict]:
    """Examine in a child that has given up root and the calls named; return its rows by name."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            if uid is not None:
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                lib.xp_prctl(4, 1, 0, 0, 0)         # PR_SET_DUMPABLE: /proc/self stays its own
            if refused is not None:
                program = refusing(refused)
                lib.xp_prctl(38, 1, 0, 0, 0)
                assert lib.xp_seccomp_install(ffi.from_buffer(program), len(program) // 8) == 0
            os.write(writer, json.dumps(host.examine()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        rows = json.loads(lines.read())
    assert os.waitpid(pid, 0)[1] == 0
    return {it["what"]: it for it in rows}


def test_a_row_is_what_doctor_prints():
    rows = host.examine()
    assert len({it["what"] for it in rows}) == len(rows) > 12
    for it in rows:
        assert set(it) == KEYS and it["detail"]
        assert bool(it["cost"]) == bool(it["remedy"]) == (not it["ok"]), it


def test_this_host_has_everything():
    missing = {it["what"]: it["detail"] for it in host.examine() if not it["ok"] and it["what"] in ISOLATION}
    require(not missing, f"{missing}")


def test_the_program_prints_the_same():
    done = subprocess.run([sys.executable, "-m", "xenproc.hv.host", "--json"], capture_output=True, check=True, timeout=30)
    assert [it["what"] for it in json.loads(done.stdout)] == [it["what"] for it in host.examine()]
    text = subprocess.run([sys.executable, "-m", "xenproc.hv.host"], capture_output=True, check=True, timeout=30, text=True).stdout
    assert text.startswith("ok kernel: Linux")


def test_trying_changes_nothing_here():
    before = (os.listdir("/proc/self/ns"), [os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))],
              os.getresuid(), sorted(os.listdir("/proc/self/fd")))
    host.examine()
    after = (os.listdir("/proc/self/ns"), [os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))],
             os.getresuid(), sorted(os.listdir("/proc/self/fd")))
    assert after == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_root_uids_are_shared_and_namespaces_still_made():
    rows = examined(uid=12345)
    assert not rows["uids"]["ok"] and "12345" in rows["uids"]["detail"] and "root" in rows["uids"]["remedy"]
    assert rows["window (userfaultfd)"]["ok"]
    assert all(rows[f"{name} namespace"]["ok"] for name in ("user", "mount", "pid", "net"))


CALLS = {"userfaultfd": "window (userfaultfd)", "mseal": "seal (mseal)", "landlock_create_ruleset": "landlock",
         "seccomp": "filter (seccomp)"}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_the_host_refuses_is_missing(call):
    row = examined(refused=[call])[CALLS[call]]
    assert not row["ok"] and row["cost"] and row["remedy"]
    assert "not permitted" in row["detail"]


def test_as_in_a_plain_container():
    rows = examined(refused=["unshare", "setns", "mount", "userfaultfd"])
    lacking = {what for what, it in rows.items() if not it["ok"]}
    assert lacking == {"window (userfaultfd)", *(what for what in ISOLATION if what.endswith("namespace"))}


def test_a_step_of_the_window_that_fails_is_named(monkeypatch):
    class Half:
        def __getattr__(self, name):
            return (lambda: lib.XP_UFFD_ALL & ~lib.XP_UFFD_POISON) if name == "xp_uffd_trial" else getattr(lib, name)

    monkeypatch.setattr(host, "lib", Half())
    row = host.window()
    assert not row["ok"] and row["detail"] == "lacking: telling whether a frame is gone"


def test_a_trial_that_dies_counts_as_refused():
    assert host.in_child(lambda: os.kill(os.getpid(), 9) or 0) != 0
    assert host.in_child(lambda: 0) == 0
    assert host.in_child(lambda: -13) == -13
    assert host.in_child(lambda: struct.unpack("I", b"")[0]) == -71


# ---- what only the scheduler wants ----

SCHEDULING = {"dispatch", "switch records (perf)", "kept for others"}


def test_the_schedulers_rows_do_not_count_for_isolation():
    rows = {it["what"]: it for it in host.examine()}
    assert {what for what, it in rows.items() if it["of"] == "scheduling"} == SCHEDULING
    assert {it["of"] for it in rows.values()} == {"isolation", "scheduling"}


@pytest.mark.parametrize("call", ["sched_setscheduler", "sched_setattr"])
def test_without_real_time_classes_it_stops_and_continues(call):
    """The second as where RLIMIT_RTPRIO alone lets a thread up, and nothing lets it back: dispatch=None must not choose that way."""
    row = examined(refused=[call])["dispatch"]
    assert not row["ok"] and row["detail"] == "by stopping and continuing; real-time classes: Operation not permitted"
    assert "CAP_SYS_NICE" in row["remedy"]


def test_a_dispatch_trial_leaves_nothing():
    before = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    assert lib.xp_dispatch_trial(b"class") in (0, -errno.EPERM)
    assert lib.xp_dispatch_trial(b"stop") == 0
    assert lib.xp_dispatch_trial(b"magic") == -errno.EINVAL
    assert (os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)) == before


def test_without_perf_a_wake_up_is_seen_at_a_tick():
    row = examined(refused=["perf_event_open"])["switch records (perf)"]
    assert not row["ok"] and "not permitted; perf_event_paranoid is" in row["detail"] and "4 ms later" in row["cost"]


def kept(monkeypatch, tmp_path, runtime, server=None):
    """The row of a host with these settings: us of 1,000,000, ns of a second."""
    folder = tmp_path / "fair_server"
    if server is not None:
        (folder / "cpu0").mkdir(parents=True)
        (folder / "cpu0" / "runtime").write_text(f"{server}\n")
        (folder / "cpu0" / "period").write_text("1000000000\n")
    real = host._number
    settings = {"/proc/sys/kernel/sched_rt_period_us": 1_000_000, "/proc/sys/kernel/sched_rt_runtime_us": runtime}
    monkeypatch.setattr(host, "_number", lambda path: settings[path] if path in settings else real(path))
    monkeypatch.setattr(host, "_FAIR_SERVER", folder)
    return host.kept_for_others()


@pytest.mark.parametrize(("runtime", "server", "ok", "detail"), [
    (950_000, None, True, "sched_rt_runtime_us keeps 5.0%; "),
    (-1, None, True, "sched_rt_runtime_us keeps nothing; "),
    (1_000_000, 50_000_000, True, "sched_rt_runtime_us keeps nothing, the fair server 5.0%; "),
    (900_000, 50_000_000, False, "sched_rt_runtime_us keeps 10.0%, the fair server 5.0%; "),
    (950_000, 100_000_000, False, "sched_rt_runtime_us keeps 5.0%, the fair server 10.0%; "),
    (None, None, True, "sched_rt_runtime_us keeps nothing; "),
])
def test_what_the_kernel_keeps_for_others(monkeypatch, tmp_path, runtime, server, ok, detail):
    row = kept(monkeypatch, tmp_path, runtime, server)
    assert row["ok"] is ok and row["detail"].startswith(detail)
    assert ok or ("sched_rt_runtime_us=950000" in row["remedy"] and "stall" in row["cost"])
