"""`xenproc doctor`: what it prints and its exit status; what the host really offers is the business of xenproc/hv/host.py's tests."""

import json
import subprocess
import sys

import pytest

from xenproc.cli import main as entry
from xenproc.dom0 import host
from xenproc.errors import Timeout, XenprocError

FINE = {"what": "filter (seccomp)", "of": "isolation", "ok": True, "detail": "system calls are filtered", "cost": "", "remedy": ""}
LACKS = {"what": "landlock", "of": "isolation", "ok": False, "detail": "not in this kernel", "cost": "files are seen",
         "remedy": "boot with lsm=landlock"}
SLOWER = {"what": "dispatch", "of": "scheduling", "ok": False, "detail": "by stopping", "cost": "later", "remedy": "root"}


@pytest.fixture
def doctor(monkeypatch, capsys):
    """A function that runs `xenproc doctor` on a made-up host; returns (status, stdout, stderr)."""

    def run(rows, *args):
        monkeypatch.setattr(host, "examine", lambda: rows)
        with pytest.raises(SystemExit) as leave:
            entry.main(["doctor", *args])
        return leave.value.code, *capsys.readouterr()

    return run


def test_a_good_host_is_0(doctor):
    assert doctor([FINE]) == (0, "[ok] filter (seccomp): system calls are filtered\nisolation: enforced\nscheduling: as it is meant\n", "")


def test_a_poor_host_is_3_with_cost_and_remedy(doctor):
    status, out, err = doctor([FINE, LACKS])
    assert (status, err) == (3, "")
    assert "[--] landlock: not in this kernel\n       without it: files are seen\n       remedy: boot with lsm=landlock\n" in out
    assert "isolation: enforced" not in out


def test_what_only_scheduling_lacks_is_said_and_does_not_count(doctor):
    status, out, err = doctor([FINE, SLOWER])
    assert (status, err) == (0, "")
    assert out.endswith("[--] dispatch: by stopping\n       without it: later\n       remedy: root\n"
                        "isolation: enforced\nscheduling: 1 things are missing; it works without\n")


@pytest.mark.parametrize(("rows", "status"), [([FINE], 0), ([FINE, LACKS], 3), ([SLOWER, FINE], 0)])
def test_json_has_the_same_status(doctor, rows, status):
    code, out, err = doctor(rows, "--json")
    assert (code, err) == (status, "")
    assert json.loads(out) == {"schema_version": 1, "host": rows}


def test_this_host_is_examined_in_a_process_of_its_own():
    """Domain0 must not have imported the hypervisor for it."""
    code = ("import json, sys; from xenproc.dom0 import host; rows = host.examine(); "
            "print(json.dumps([rows, [m for m in sys.modules if m.startswith('xenproc.hv')]]))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    rows, imported = json.loads(done.stdout)
    assert imported == []
    assert len(rows) > 5
    for row in rows:
        assert set(row) == {"what", "of", "ok", "detail", "cost", "remedy"}
        assert row["ok"] or (row["cost"] and row["remedy"]), row


def test_an_examination_that_fails_is_said(monkeypatch):
    monkeypatch.setattr(host.sys, "executable", "/bin/false")
    with pytest.raises(XenprocError, match="the host could not be examined"):
        host.examine()


def test_an_examination_has_a_deadline(monkeypatch, tmp_path):
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(host.sys, "executable", str(slow))
    monkeypatch.setattr(host, "DEADLINE_S", 0.2)
    with pytest.raises(Timeout, match=r"not examined within 0\.2 s"):
        host.examine()
