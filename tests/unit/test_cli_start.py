"""The command line's entry: what it imports, its help, its exit statuses, colours; commands are not run here."""

import json
import os
import pty
import resource
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import xenproc
from xenproc import errors
from xenproc.cli import main as entry
from xenproc.cli.common import say

HEAVY = {
    "numpy", "matplotlib", "rich", "asyncio", "dill", "multiprocess", "psutil", "posix_ipc", "cffi", "xenproc.native", "hdrh",
}


def python(*args, **kwargs):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60, check=False, **kwargs)


def xenproc_command(*args, **kwargs):
    return python("-m", "xenproc.cli.main", *args, **kwargs)


def cpu_seconds(*args):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(*args)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ---- what it costs to start ----


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["list", "--help"], ["pause", "--help"], ["gc", "--help"]])
def test_help_imports_little(args):
    code = f"""
import json, sys
from xenproc.cli.main import main
try:
    main({args!r})
except SystemExit as leave:
    print(json.dumps([leave.code, sorted(sys.modules)]))
"""
    done = python("-c", code)
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    # gc looks at processes when it runs, and knows where shared memory lies from machine.py.
    allowed = {"posix_ipc"} if args[0] == "gc" else set()
    assert not (HEAVY - allowed) & set(modules)


def test_help_costs_little_more_than_click():
    """CPU time, the least of five runs each, taken in turn: other processes on this host do not count."""
    runs = {"pass": ("-c", "pass"), "click": ("-c", "import click"), "help": ("-m", "xenproc.cli.main", "--help")}
    took = {name: [] for name in runs}
    for _ in range(5):
        for name, args in runs.items():
            took[name].append(cpu_seconds(*args))
    least = {name: min(times) for name, times in took.items()}
    assert least["pass"] < least["help"], "nothing was measured"
    assert least["help"] - least["click"] < 0.15, least


# ---- help ----


def test_help_names_every_command():
    text = CliRunner().invoke(entry.cli, ["--help"]).output
    for name, (_, _, line) in entry.COMMANDS.items():
        assert f"\n  {name} " in text
        assert line.split(",")[0] in " ".join(text.split())
    assert {"demo", "bench", "list", "info", "console", "pause", "unpause", "shutdown", "destroy", "doctor", "gc"} <= set(
        entry.COMMANDS)


@pytest.mark.parametrize("name", sorted(entry.COMMANDS))
def test_every_command_has_help_and_the_shared_options(name):
    done = CliRunner().invoke(entry.cli, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert "--quiet" in done.output and "--verbose" in done.output
    assert len(done.output.splitlines()[2].strip()) > 10, "no line that says what it does"
    assert max(map(len, done.output.splitlines())) <= 80
    # A second look must not add the options twice.
    assert CliRunner().invoke(entry.cli, [name, "--help"]).output == done.output


@pytest.mark.parametrize("name", ["list", "info", "doctor", "gc", "demo"])
def test_what_answers_a_question_can_answer_in_json(name):
    assert "--json" in CliRunner().invoke(entry.cli, [name, "--help"]).output


def test_version():
    done = xenproc_command("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"xenproc, version {xenproc.__version__}")


# ---- errors ----


@pytest.fixture
def command(monkeypatch):
    """A function that makes `xenproc trial` do something."""

    def make(action):
        trial = click.Command("trial", callback=action)
        monkeypatch.setitem(entry.COMMANDS, "trial", (__name__, "trial", "A trial."))
        monkeypatch.setattr(sys.modules[__name__], "trial", trial, raising=False)

    return make


def run(capsys, *args):
    with pytest.raises(SystemExit) as leave:
        entry.main(list(args))
    out, err = capsys.readouterr()
    return leave.value.code, out, err


def raiser(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(("error", "status"), [
    (errors.ConfigError("memory: expected 8M, got 0"), 1),
    (errors.NoSuchDomain("there is no domain 'x'"), 1),
    (errors.NoSuchHypervisor("none runs"), 1),
    (errors.Timeout("list_domains: not in time"), 1),
    (errors.HypervisorGone("the hypervisor has ended"), 1),
    (OSError(28, "No space left on device"), 1),
    (errors.EnvironmentLacks("no /dev/shm"), 3),
])
def test_an_error_is_one_line_and_a_status(command, capsys, error, status):
    command(raiser(error))
    assert run(capsys, "trial") == (status, "", f"xenproc: {error}\n")


def test_twice_v_shows_the_traceback(command, capsys):
    command(raiser(errors.ConfigError("what, where")))
    for args in (["-vv", "trial"], ["trial", "-v", "-v"], ["-v", "trial", "-v"]):
        status, _, err = run(capsys, *args)
        assert status == 1 and "Traceback" in err and err.endswith("xenproc: what, where\n"), args


def test_a_mistake_of_ours_is_not_dressed_up(command):
    command(raiser(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        entry.main(["trial"])


def test_ctrl_c_is_130_and_silent(command, capsys):
    command(raiser(KeyboardInterrupt()))
    status, out, err = run(capsys, "trial")
    assert (status, out, err.strip()) == (130, "", "")


@pytest.mark.parametrize("args", [["nope"], ["pause"], ["--nope"], ["list", "--hv", "x"], ["demo", "--isolation", "hard"]])
def test_wrong_usage_is_2_and_said_on_stderr(capsys, args):
    status, out, err = run(capsys, *args)
    assert (status, out) == (2, "")
    assert "Usage: xenproc" in err and "Error: " in err


def test_a_closed_pipe_is_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "xenproc.cli.main", "--help"], stdout=writing, stderr=subprocess.PIPE,
                          text=True, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


# ---- how much, in which colours ----


def colourful():
    say("for people", fg="green")
    click.secho("a result", fg="red")


@pytest.mark.parametrize("args", [["-q", "trial"], ["trial", "-q"], ["trial", "--quiet"]])
def test_quiet_leaves_results(command, capsys, args):
    command(colourful)
    assert run(capsys, *args)[1] == "a result\n"
    assert run(capsys, "trial")[1] == "for people\na result\n"


def on_terminal(**env):
    """Return what `xenproc` with a colourful command writes to a terminal."""
    code = """
import click
from xenproc.cli import main as entry
class Own(entry.LazyGroup):
    def get_command(self, ctx, name):
        return click.Command("trial", callback=lambda: click.secho("word", fg="red"))
entry.cli.__class__ = Own
entry.main(["trial"])
"""
    ours, theirs = pty.openpty()
    clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, env={**clean, **env}, check=True, timeout=60)
    os.close(theirs)
    try:
        return os.read(ours, 1000).decode()
    finally:
        os.close(ours)


def test_colours_are_for_terminals_that_may_have_them(command, capsys):
    assert "\x1b[31mword" in on_terminal()
    assert on_terminal(NO_COLOR="1").strip() == "word"
    command(colourful)
    assert "\x1b" not in run(capsys, "trial")[1]
