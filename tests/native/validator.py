"""The validator of page tables as scripts/mutants and scripts/coverage see it: its files, and builds of it with what tests it.

A `Build` holds an object of every source of the harness (hvtest_build.py) and links programs and the Python module from them
with other objects in the place of some: so a mutant costs one compilation.
"""

import os
import re
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from native import hvtest_build as harness

FILES = ["tables.c", "leaf.h", "mmu_update.c", "mmuext.c", "segment.c", "mm.c", "mm_audit.c", "template.c", "paging.c", "ad.c",
         "grant_host.c", "grant_map.c", "writable_pt.c"]
UNIT = ["tests/unit/test_tables.py", "tests/unit/test_leaf_runs.py", "tests/unit/test_mmuext.py", "tests/unit/test_segments.py",
        "tests/unit/test_tables_edges.py", "tests/unit/test_tables_steps.py", "tests/unit/test_writable_pt.py",
        "tests/unit/test_wpt_hints.py", "tests/unit/test_shadow.py", "tests/unit/test_mm_audit.py", "tests/unit/test_unprotect.py",
        "tests/unit/test_tables_leftovers.py",
        "tests/property/test_grant_entries.py",
        "tests/unit/test_grant_counts.py", "tests/property/test_grant_machine.py::test_every_outcome_by_hand",
        "tests/property/test_grant_cases.py"]
PROGRAMS = ["diff_tables", "fuzz_tables"]
MODULE = "_hvtest_validator"
_INCLUDES = re.compile(r'^#include "(\w+\.h)"', re.MULTILINE)


def includes(path: Path) -> set[str]:
    """Names of all headers of native/ that a source includes, through others too."""
    found: set[str] = set()
    left = [path]
    while left:
        for name in _INCLUDES.findall(left.pop().read_text()):
            if name not in found and (harness.NATIVE / name).exists():
                found.add(name)
                left.append(harness.NATIVE / name)
    return found


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test can tell from the original; lines with single spaces."""

    file: str
    function: str
    old: str
    new: str


def explained(path: Path) -> dict[Survivor, str]:
    """Read survivors.txt: which -> why."""
    found = {}
    for block in path.read_text().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if lines:
            where, old, new, *why = lines
            file, _, function = where.partition(" ")
            found[Survivor(file, function, old.removeprefix("- "), new.removeprefix("+ "))] = " ".join(why)
    return found


class Build:
    """Objects of the harness, its drivers and the Python module's glue, compiled with these flags."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.directory = directory
        self.flags = ["-std=c11", "-D_GNU_SOURCE", "-fPIC", "-w", *flags]
        self.link_flags = [flag for flag in flags if flag.startswith(("-fsanitize", "--coverage"))]
        self.sources = {path.name: path for path in [*harness.SOURCES, *(harness.HERE / f"{name}.c" for name in PROGRAMS)]}

    def make(self, jobs: int) -> None:
        """Compile everything anew."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        glue = self.directory / f"{MODULE}.c"
        harness.builder(MODULE).emit_c_code(str(glue))
        self.sources[glue.name] = glue
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda path: self.compile(path, self.object_of(path.name)), self.sources.values()))

    def object_of(self, source: str) -> Path:
        """Where the object of a source is."""
        return self.directory / f"{source.removesuffix('.c')}.o"

    def compile(self, source: Path, out: Path) -> None:
        """Compile one; by its bare name, so that where it lies leaves no trace in the object. CalledProcessError: it does not compile."""
        python = sysconfig.get_path("include")
        command = ["gcc", *self.flags, f"-I{harness.NATIVE}", f"-I{harness.HERE}", f"-I{python}", "-c", source.name, "-o", str(out)]
        subprocess.run(command, check=True, cwd=source.parent, capture_output=True, timeout=120)

    def _link(self, out: Path, sources: list[str], replaced: dict[str, Path], *flags: str) -> Path:
        objects = [str(replaced.get(name, self.object_of(name))) for name in [*sources, *(replaced.keys() - set(sources))]]
        command = ["gcc", *self.link_flags, *flags, *objects, "-o", str(out), *harness.WRAPS, "-lpthread"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return out

    def program(self, name: str, out: Path, replaced: dict[str, Path]) -> Path:
        """Link a driver; replaced: other objects by name of source, and more."""
        return self._link(out, [path.name for path in harness.SOURCES] + [f"{name}.c"], replaced)

    def module(self, out: Path, replaced: dict[str, Path]) -> Path:
        """Link the module that tests load where XENPROC_TEST_LIBRARY names it."""
        return self._link(out / f"{MODULE}.so", [path.name for path in harness.SOURCES] + [f"{MODULE}.c"], replaced, "-shared")


def environment(library: Path) -> dict[str, str]:
    """Of a test run against this module."""
    return {**os.environ, "XENPROC_TEST_LIBRARY": str(library), "PYTHONPATH": f"{harness.ROOT}:{harness.ROOT / 'tests'}"}
