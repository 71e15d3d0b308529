"""Mutants of the page-table validator against its tests; scripts/mutants calls this. How they are made: mutate.py.

Each is built and run against the quick tests first; the first red kills it, and so does not coming to an end. In turn:
the C differential driver, the fuzzer, the unit tests, the lock-step histories, the driver for longer, both under sanitizers.
Not counted: what does not compile, and what compiles to the same code. tests/native/survivors.txt explains those that live
because they change nothing that anyone can see; they count as survivors all the same. Fails below --least killed.
"""

import argparse
import fnmatch
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mutate

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
from native.hvtest_build import NATIVE, SOURCES  # noqa: E402

from native import validator  # noqa: E402

WORK = ROOT / "build" / "mutants"
SURVIVORS = ROOT / "tests" / "native" / "survivors.txt"
SANITIZERS = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
LONG = 300_000          # steps of the driver for what has lived so far; the suite does more
CPU_S = 120


def all_mutants() -> list[mutate.Mutant]:
    """Of all files, in order."""
    return [mutant for name in validator.FILES for mutant in mutate.mutants(name, (NATIVE / name).read_text())]


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def red(command: list, timeout: float, env: dict | None = None) -> bool:
    """Run it; say whether it fails or does not end."""
    try:
        done = subprocess.run(list(map(str, command)), cwd=ROOT, env=env, timeout=timeout, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, preexec_fn=_limits)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


class Workshop:
    """The unchanged thing in two builds, and what is done to a mutant."""

    def __init__(self, jobs: int) -> None:
        self.plain = validator.Build(WORK / "plain", "-O2")
        self.checked = validator.Build(WORK / "checked", *SANITIZERS)
        self.plain.make(jobs)
        self.checked.make(jobs)

    def affected(self, name: str) -> list[str]:
        """The sources to be compiled anew if this file changes."""
        return [name] if name.endswith(".c") else [path.name for path in SOURCES if name in validator.includes(path)]

    def compile(self, build: validator.Build, mutant: mutate.Mutant, where: Path) -> dict[str, Path]:
        """Compile a mutant; return its objects by source. The headers come along: a source looks beside itself first."""
        where.mkdir(parents=True, exist_ok=True)
        objects = {}
        if mutant.file.endswith(".h"):
            for header in NATIVE.glob("*.h"):
                shutil.copy(header, where)
        for name in self.affected(mutant.file):
            shutil.copy(NATIVE / name, where)
        (where / mutant.file).write_text(mutant.apply((NATIVE / mutant.file).read_text()))
        for name in self.affected(mutant.file):
            objects[name] = where / f"{name}.{build.directory.name}.o"
            build.compile(where / name, objects[name])
        return objects

    def verdict(self, mutant: mutate.Mutant, where: Path) -> str:
        """Return what came of it: "killed by ...", "survived", "same code", "does not compile"."""
        try:
            objects = self.compile(self.plain, mutant, where)
        except subprocess.CalledProcessError:
            return "does not compile"
        if all(path.read_bytes() == self.plain.object_of(name).read_bytes() for name, path in objects.items()):
            return "same code"
        found = self.run(self.plain, objects, where)
        if found == "survived":
            found = self.run_checked(self.compile(self.checked, mutant, where), where)
        return found

    def run(self, build: validator.Build, objects: dict[str, Path], where: Path) -> str:
        """The tests, quick ones first."""
        diff = build.program("diff_tables", where / "diff", objects)
        if red([diff, 1, 24_000], 20) or red([diff, 2, 48_000], 20):
            return "killed by diff_tables"
        fuzz = build.program("fuzz_tables", where / "fuzz", objects)
        if any(red([fuzz, seed, 2000], 20) for seed in range(6)):
            return "killed by fuzz_tables"
        env = validator.environment(build.module(where, objects))
        # Without the ledger of what a test leaves behind: it takes ten times as long as these tests.
        pytest = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "--noconftest"]
        if red([*pytest, *validator.UNIT], 100, env):
            return "killed by unit tests"
        if red([*pytest, "tests/property/test_tables_machine.py", "-k", "random_histories and 0-"], 100, env):
            return "killed by the machine"
        return "killed by diff_tables" if red([diff, 3, LONG], 60) else "survived"

    def run_checked(self, objects: dict[str, Path], where: Path) -> str:
        """Both drivers under sanitizers."""
        fuzz, diff = (self.checked.program(name, where / f"{name}.checked", objects) for name in ("fuzz_tables", "diff_tables"))
        found = any(red([fuzz, seed, 3000], 60) for seed in range(6)) or red([diff, 4, 60_000], 60)
        return "killed under sanitizers" if found else "survived"

    def sound(self) -> bool:
        """Does what is not mutated survive? Otherwise nothing here means anything."""
        where = WORK / "unchanged"
        where.mkdir(parents=True, exist_ok=True)
        return self.run(self.plain, {}, where) == self.run_checked({}, where) == "survived"


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=100, metavar="N", help="so many at random (100); 0: all")
    parser.add_argument("--seed", type=int, default=1, help="which sample")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="these alone: tables.c:171:*, or *:dropped:*")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the sample's first N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many at a time")
    parser.add_argument("--list", action="store_true", help="print them and do nothing")
    parser.add_argument("--least", type=float, default=90, metavar="PERCENT", help="fail if fewer are killed (90)")
    args = parser.parse_args()
    chosen = all_mutants()
    if args.only:
        chosen = [mutant for mutant in chosen if any(fnmatch.fnmatch(mutant.name, pattern) for pattern in args.only)]
    elif args.sample:
        chosen = random.Random(args.seed).sample(chosen, min(args.sample, len(chosen)))
    chosen = chosen[args.skip :]
    texts = {name: (NATIVE / name).read_text() for name in validator.FILES}
    if args.list:
        for mutant in chosen:
            print(mutant.name, *mutant.lines(texts[mutant.file]), sep="\n    ")
        return 0
    shop, known = Workshop(args.jobs), validator.explained(SURVIVORS)
    there = {(mutant.file, *mutant.lines(texts[mutant.file])) for mutant in all_mutants()}
    for file, old, _ in (key for key in known if key not in there):
        print(f"explained, but not a mutant any more: {file}: {old}")
    if not shop.sound():
        print("the tests are red without any mutant")
        return 1

    def judge(mutant: mutate.Mutant) -> str:
        where, started = WORK / mutant.name, time.monotonic()
        verdict = shop.verdict(mutant, where)
        shutil.rmtree(where, ignore_errors=True)
        old, new = mutant.lines(texts[mutant.file])
        text = f"{mutant.name}: {verdict} ({time.monotonic() - started:.1f} s)"
        if verdict == "survived":
            text += f"\n  - {old}\n  + {new}\n  {known.get((mutant.file, old, new), 'not explained')}"
        print(text, flush=True)
        return verdict

    with ThreadPoolExecutor(args.jobs) as pool:
        verdicts = list(pool.map(judge, chosen))
    killed = sum(verdict.startswith("killed") for verdict in verdicts)
    lived = verdicts.count("survived")
    share = 100 * killed / max(killed + lived, 1)
    print(f"{len(chosen)} mutants: {killed} killed, {lived} survived ({share:.1f}% killed), {verdicts.count('same code')} the same code, "
          f"{verdicts.count('does not compile')} that do not compile")
    return share < args.least


if __name__ == "__main__":
    sys.exit(main())
