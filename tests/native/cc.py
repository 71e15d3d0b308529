"""Compiles C test drivers with the core's sources, plain or under a sanitizer."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "native"
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", f"-I{NATIVE}", "-pthread"]
SANITIZERS = {
    "plain": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
    "thread": ["-fsanitize=thread", "-Wno-tsan"],       # it does not know fences, and says so
}


def compile(sources: list[str | Path], flags: list[str], out: Path) -> Path:
    """Compile sources (names relative to native/, or paths) into the program `out`. Fails, or outside CI skips, without gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        if os.environ.get("CI"):
            pytest.fail("gcc is missing: apt-get install gcc libc6-dev")
        pytest.skip("gcc is missing: apt-get install gcc libc6-dev")
    paths = [str(source if Path(source).is_absolute() else NATIVE / source) for source in sources]
    done = subprocess.run([gcc, *FLAGS, *flags, "-o", str(out), *paths], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return out


def run(program: Path, *args: object, timeout: float = 60) -> str:
    """Run a driver; what it printed. A sanitizer's finding, like any failure, fails the test with what it said."""
    options = {"TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    env = {**os.environ, **options}
    command = [str(program), *map(str, args)]
    if "-tsan" in program.name:
        command = ["setarch", "-R", *command]  # this sanitizer's shadow does not fit every layout of the address space
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env)
    assert done.returncode == 0, f"{program.name} {args}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
