"""What scripts/mutants.py works with: all mutants by number, builds that hold many of them, and the tests, one after the other.

A mutant in a function is a number of a build (schemata.py); one outside of all functions is compiled and linked alone.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mutate
import schemata
from mutant_tests import Tests

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
from native.hvtest_build import HERE, NATIVE, SOURCES  # noqa: E402

from native import validator  # noqa: E402

WORK = ROOT / "build" / os.environ.get("XENPROC_MUTANTS_IN", "mutants")
SANITIZERS = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
CHOICE = "mutant.c"
MACHINE = "tests/property/test_tables_machine.py::test_random_histories"
PARTS = [f"{MACHINE}[0-{mode}]" for mode in range(3)]
CPU_MS = 1500           # a quick program's; it takes a quarter of it
WALL_S = 120


@dataclass(frozen=True)
class Numbered:
    """A mutant by its number in the tree, from 1, with the function it is in; None: in none. nth: of these lines in the function."""

    nr: int
    mutant: mutate.Mutant
    function: str | None
    which: validator.Survivor
    nth: int

    @property
    def key(self) -> str:
        """What it is called from one run to the next."""
        return "\n".join([self.which.function, self.which.old, self.which.new, str(self.nth)])


def all_mutants() -> list[Numbered]:
    """Of all files, in order."""
    found: list[Numbered] = []
    times: Counter = Counter()
    for name in validator.FILES:
        text = (NATIVE / name).read_text()
        functions = schemata.functions(text)
        for mutant in mutate.mutants(name, text):
            one = schemata.function_of(functions, mutant)
            which = validator.Survivor(name, one.name if one else "-", *mutant.lines(text))
            found.append(Numbered(len(found) + 1, mutant, one and one.name, which, times[which]))
            times[which] += 1
    return found


def function_numbers() -> dict[tuple[str, str], int]:
    """(file, function) -> its place in xp_reached."""
    names = [(file, one.name) for file in validator.FILES for one in schemata.functions((NATIVE / file).read_text())]
    return {name: i for i, name in enumerate(names)}


def digest(mutants: list[Numbered]) -> str:
    """A name for what a build of these is made of."""
    paths = [*sorted(NATIVE.glob("*.[ch]")), *sorted(HERE.glob("*.[ch]")), *sorted(Path(__file__).parent.glob("*.py"))]
    text = b"".join(path.read_bytes() for path in paths) + repr([one.nr for one in mutants]).encode()
    return hashlib.sha256(text).hexdigest()[:16]


class Shop:
    """Both drivers and the Python module with many mutants in them, and what is told apart without running anything."""

    def __init__(self, name: str, mutants: list[Numbered], flags: list[str], jobs: int, python: bool) -> None:
        self.build = validator.Build(WORK / name, *flags, *schemata.FLAGS)
        self.build.sources[CHOICE] = HERE / CHOICE
        self.inside = [one for one in mutants if one.function is not None]
        self.broken: set[int] = set()           # what does not compile
        self.same: set[int] = set()             # what compiles to the original
        self.numbers = function_numbers()
        self.where = self.build.directory / "schemata"
        self.objects = {CHOICE: self.build.object_of(CHOICE)}
        stamp = self.build.directory / "stamp"
        now = digest(mutants)
        if stamp.exists() and stamp.read_text().splitlines()[0] == now:
            _, broken, same = stamp.read_text().splitlines()
            self.broken, self.same = (set(map(int, line.split())) for line in (broken, same))
            self.objects.update({name: self.object_of(name) for name in self._affected()})
            self.library = self.build.directory / f"{validator.MODULE}.so"
            return
        self.build.make(jobs)
        self.where.mkdir()
        self._make(jobs)
        for program in validator.PROGRAMS:
            self.build.program(program, self.build.directory / program, self.objects)
        if python:
            self.build.module(self.build.directory, self.objects)
        self.library = self.build.directory / f"{validator.MODULE}.so"
        stamp.write_text("\n".join([now, " ".join(map(str, self.broken)) or " ", " ".join(map(str, self.same)) or " "]))

    def object_of(self, source: str) -> Path:
        """Where a source's object is with the mutants in it."""
        return self.where / f"{source.removesuffix('.c')}.o"

    def _affected(self) -> list[str]:
        """The sources with mutants in them, or in a header they include."""
        files = {one.mutant.file for one in self.inside}
        return [path.name for path in SOURCES if path.name in files or files & validator.includes(path)]

    def _write(self, file: str) -> None:
        ours = [(one.nr, one.mutant) for one in self.inside if one.mutant.file == file and one.nr not in self.broken]
        (self.where / file).write_text(schemata.schema(file, (NATIVE / file).read_text(), ours, self.numbers))

    def _make(self, jobs: int) -> None:
        """Compile by way of assembly, which is looked at; what does not compile is left out, and all is tried again."""
        files = {one.mutant.file for one in self.inside}
        for header in NATIVE.glob("*.h"):
            shutil.copy(header, self.where)
        for name in self._affected():
            shutil.copy(NATIVE / name, self.where)
        for file in files:
            self._write(file)

        def compiled(name: str) -> None:
            while True:
                done = self._gcc("-S", name, "-o", f"{name}.s")
                wrong = {int(nr) for nr in re.findall(r"^m(\d+):\d+:\d+: error", done.stderr, re.MULTILINE)} - self.broken
                if done.returncode == 0:
                    break
                if not wrong:
                    raise RuntimeError(done.stderr)
                self.broken |= wrong
                for file in files:
                    self._write(file)
            asm = (self.where / f"{name}.s").read_text()
            self.same |= schemata.same_code(asm)
            self.objects[name] = self.object_of(name)
            self._gcc("-c", f"{name}.s", "-o", str(self.objects[name]))

        headers = [name for name in self._affected() if files & validator.includes(NATIVE / name)]
        for name in headers:                    # one at a time: they write the header that they share
            compiled(name)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(compiled, [name for name in self._affected() if name not in headers]))

    def _gcc(self, *args: str) -> subprocess.CompletedProcess:
        command = ["gcc", *self.build.flags, f"-I{NATIVE}", f"-I{HERE}", *args]
        return subprocess.run(command, cwd=self.where, capture_output=True, text=True, timeout=300)

    def tests(self, library: Path | None = None) -> Tests:
        """The Python tests, of this build or of another module."""
        profile = WORK / f"profile-{self._tests_digest()}.json"
        return Tests(ROOT, [*validator.UNIT, *PARTS], validator.environment(library or self.library), profile)

    def _tests_digest(self) -> str:
        paths = sorted({ROOT / test.partition("::")[0] for test in [*validator.UNIT, MACHINE]} | {ROOT / "tests" / "tables.py"})
        return hashlib.sha256(digest([]).encode() + b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]

    def alone(self, one: Numbered) -> tuple[str, dict[str, Path], Path]:
        """Compile a mutant outside of functions: ("" or what is wrong with it, its objects, where they are)."""
        where = WORK / f"alone-{one.nr}"
        where.mkdir(parents=True, exist_ok=True)
        file = one.mutant.file
        (where / file).write_text(one.mutant.apply((NATIVE / file).read_text()))
        objects = {file: where / "mutant.o", CHOICE: self.objects[CHOICE]}
        try:
            self.build.compile(where / file, objects[file])
        except subprocess.CalledProcessError:
            return "does not compile", objects, where
        same = objects[file].read_bytes() == self.build.object_of(file).read_bytes()
        return "same code" if same else "", objects, where


def red(command: list, nr: int, cpu_ms: int) -> bool:
    """Run a program with this mutant; say whether it fails or does not end."""
    env = {**os.environ, "XP_MUTANT": str(nr), "XP_CPU_MS": str(cpu_ms)}
    try:
        done = subprocess.run(list(map(str, command)), cwd=ROOT, env=env, timeout=WALL_S, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0
