"""The semaphore in C between threads: no post is lost, under load and under ThreadSanitizer."""

import subprocess
from pathlib import Path

import pytest
from helpers import require

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent.parent / "native"
FLAGS = ["-std=c11", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-D_GNU_SOURCE", f"-I{NATIVE}", "-pthread"]


@pytest.mark.parametrize(("flags", "posts"), [(["-O2"], 300_000), (["-O1", "-fsanitize=thread"], 20_000)])
def test_no_post_is_lost(tmp_path, flags, posts):
    program = tmp_path / "stress_sem"
    done = subprocess.run(["gcc", *FLAGS, *flags, "-o", program, HERE / "stress_sem.c", NATIVE / "sem.c", NATIVE / "spin.c"],
                          capture_output=True, text=True, timeout=100, check=False)
    require(done.returncode == 0 or "sanitizer" not in done.stderr.lower(), "gcc's sanitizers (Debian: libgcc-12-dev)")
    assert done.returncode == 0, done.stderr
    done = subprocess.run([program, str(posts)], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("mode") == 3
