"""The guest's side of the call page under the sanitizers: many threads, all modes, posts and give-ups, and a scribbler."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native"
SOURCES = [HERE / "gcall_driver.c", *(NATIVE / name for name in ("gcall.c", "sem.c", "spin.c"))]
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}"]
SANITIZERS = {"address": "-fsanitize=address,undefined", "thread": "-fsanitize=thread", "none": "-O2"}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A function that compiles the driver with a sanitizer, once."""
    built: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in built:
            built[name] = tmp_path_factory.mktemp("gcall") / name
            command = ["gcc", *FLAGS, SANITIZERS[name], "-fno-sanitize-recover=all", *SOURCES, "-o", built[name], "-lpthread"]
            subprocess.run(command, check=True)
        return built[name]

    return build


def run(program: Path, *args: object) -> str:
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("threads", [1, 6, 20])
def test_every_call_is_answered_once_with_its_own_answer(program, sanitizer, threads):
    """Twenty threads are more than there are slots."""
    said = run(program(sanitizer), threads, 60000 // threads)
    assert "wrong 0, garbled 0, posted all" in said


@pytest.mark.parametrize("sanitizer", ["address", "none"])
def test_a_scribbled_page_hurts_nobody_but_its_owner(program, sanitizer):
    """The scribbler races by design, so not under ThreadSanitizer: what counts is that all come to an end."""
    run(program(sanitizer), 4, 0, "hostile")
