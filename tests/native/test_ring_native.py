"""The ring in C: millions of random steps against a model in C, sanitizers, and two threads under ThreadSanitizer."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from helpers import require

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent.parent / "native"
SOURCES = [NATIVE / name for name in ("ring.c", "ringwait.c", "ringloop.c", "direct.c", "gtrace.c", "trace.c", "sem.c", "spin.c")]
FLAGS = ["-std=c11", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-D_GNU_SOURCE", f"-I{NATIVE}", f"-I{HERE}", "-pthread"]
ASAN = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# It does not know fences, which order index and event words; payload is ordered by release and acquire, which it does know.
TSAN = ["-O1", "-fsanitize=thread", "-Wno-tsan"]


def build(tmp_path: Path, name: str, *flags: str) -> Path:
    """Compile one program with the ring."""
    extra = [NATIVE / "tick.c"] if (NATIVE / "tick.c").exists() else []
    program = tmp_path / name
    done = subprocess.run(["gcc", *FLAGS, *flags, "-o", program, HERE / f"{name}.c", *SOURCES, *extra],
                          capture_output=True, text=True, timeout=100, check=False)
    require(done.returncode == 0 or "sanitizer" not in done.stderr.lower(), "gcc's sanitizers (Debian: libgcc-12-dev)")
    assert done.returncode == 0, done.stderr
    return program


def run(program: Path, *args: object) -> str:
    """Run it; any report of a sanitizer fails."""
    env = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1 second_deadlock_stack=1"}
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=110, env=env, check=False)
    assert done.returncode == 0, f"{program.name} {args}:\n{done.stdout}{done.stderr[-3000:]}"
    return done.stdout


def shares(output: str) -> tuple[int, int]:
    """Return (accepted, refused)."""
    accepted, refused = re.search(r"(\d+) accepted, (\d+) refused", output).groups()
    return int(accepted), int(refused)


def test_millions_of_steps(tmp_path):
    """Two million steps of three seeds; at least 30% accepted, and refusals are among them."""
    program = build(tmp_path, "diff_ring", "-O2")
    for seed in (1, 2, 3):
        accepted, refused = shares(run(program, seed, 2_000_000))
        assert accepted >= 0.3 * (accepted + refused) and refused > 10_000


def test_under_address_and_undefined_sanitizers(tmp_path):
    """The same under ASan and UBSan, leaks included."""
    accepted, _ = shares(run(build(tmp_path, "diff_ring", *ASAN), 4, 1_000_000))
    assert accepted > 100_000


def test_two_threads_under_thread_sanitizer(tmp_path):
    """Both ends at once, in every mode of waiting."""
    program = build(tmp_path, "stress_ring", *TSAN)
    assert run(program, 3000).count("front 0, back 0") == 3


@pytest.mark.parametrize("turns", [2_000_000])
def test_a_scribbling_hand_never_holds_an_end_up(tmp_path, turns):
    """With a third thread writing the header at random both ends come back with an error, before their deadline."""
    output = run(build(tmp_path, "stress_ring", "-O2"), turns, "hostile")
    assert output.count("mode") == 3 and "front 0, back 0" not in output, output
