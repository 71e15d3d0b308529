"""Mutants of the page-table validator against its tests; scripts/mutants calls this. How they are made: mutate.py, schemata.py.

Each is run against quick tests first; the first red kills it, and so does not coming to an end. In turn: the C differential driver
and the fuzzer; the Python tests that enter its function, lock-step histories among them; both drivers for longer, and under sanitizers.
Not counted: what does not compile, and what compiles to the same code. tests/native/survivors.txt explains those that live
because they change nothing that anyone can see; they count as survivors all the same. Fails below --least killed; the survivors that
nobody has explained are listed. Verdicts are kept in build/mutants: a run that was ended, or --minutes, goes on where it was.
"""

import argparse
import fnmatch
import hashlib
import json
import os
import random
import shutil
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import workshop
from mutant_tests import EVERYTHING, NOTHING
from workshop import CPU_MS, NATIVE, SANITIZERS, WORK, Numbered, Shop

from native import validator

SURVIVORS = workshop.ROOT / "tests" / "native" / "survivors.txt"
VERDICTS = WORK / "verdicts.json"
LONG = 300_000          # steps of the driver for what has lived so far; the suite does more
LIVES = "lives"         # so far: "lives 1" after the first stage


class Verdicts:
    """What is known of each mutant, by file as it is now."""

    def __init__(self) -> None:
        self.digests = {name: hashlib.sha256((NATIVE / name).read_bytes()).hexdigest()[:16] for name in validator.FILES}
        kept = json.loads(VERDICTS.read_text()) if VERDICTS.exists() else {}
        self.known = {name: kept.get(name, {}).get(at, {}) for name, at in self.digests.items()}
        self._lock = threading.Lock()

    def of(self, one: Numbered) -> str:
        """Return a verdict or ""."""
        return self.known[one.mutant.file].get(one.key, "")

    def set(self, one: Numbered, verdict: str) -> None:
        """Note it, to be found again."""
        with self._lock:
            self.known[one.mutant.file][one.key] = verdict

    def save(self) -> None:
        """Write them down."""
        with self._lock:
            WORK.mkdir(parents=True, exist_ok=True)
            VERDICTS.with_suffix(".new").write_text(json.dumps({name: {self.digests[name]: known} for name, known in self.known.items()}))
            VERDICTS.with_suffix(".new").replace(VERDICTS)


class Judge:
    """The stages, for those that have come so far."""

    def __init__(self, chosen: list[Numbered], verdicts: Verdicts, jobs: int, until: float) -> None:
        self.chosen, self.verdicts, self.jobs, self.until = chosen, verdicts, jobs, until
        self.shop = Shop("plain", chosen, ["-O2"], jobs, python=True)
        self.known = validator.explained(SURVIVORS)

    def stage(self, before: str, after: str, work) -> None:
        """Do `work` to each whose verdict so far is `before`; it returns what kills the mutant, or ""."""

        def one_of(one: Numbered) -> None:
            if time.monotonic() >= self.until:
                return
            started = time.monotonic()
            verdict = work(one) or after
            self.verdicts.set(one, verdict)
            if not verdict.startswith(LIVES):
                print(f"{one.mutant.name}: {verdict} ({time.monotonic() - started:.1f} s){self.text(one, verdict)}", flush=True)

        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(one_of, [one for one in self.chosen if self.verdicts.of(one) == before]))
        self.verdicts.save()

    def text(self, one: Numbered, verdict: str) -> str:
        """Return a survivor's lines, and why, if it is known."""
        if verdict != "survived":
            return ""
        which = one.which
        return f"\n  {which.file} {which.function}\n  - {which.old}\n  + {which.new}\n  {self.known.get(which, 'not explained')}"

    def all(self, trust: bool) -> None:
        """All stages, unless the time is up. trust: what is explained is not run past the quick ones."""
        self.stage("", f"{LIVES} 1", self.quick)
        if trust:
            self.stage(f"{LIVES} 1", f"{LIVES} 1", lambda one: "survived" if one.which in self.known else "")
        self.python()
        left = [one for one in self.chosen if self.verdicts.of(one) == f"{LIVES} 2"]
        if left and time.monotonic() < self.until:
            checked = Shop("checked", left, SANITIZERS, self.jobs, python=False)
            self.stage(f"{LIVES} 2", "survived", lambda one: self.thorough(one, checked))

    def quick(self, one: Numbered) -> str:
        """The compiler, then both drivers."""
        shop, nr, directory = self.shop, one.nr, self.shop.build.directory
        if nr in shop.broken or nr in shop.same:
            return "does not compile" if nr in shop.broken else "same code"
        if one.function is None:
            wrong, objects, where = shop.alone(one)
            if wrong:
                shutil.rmtree(where)
                return wrong
            directory = where
            for program in validator.PROGRAMS:
                shop.build.program(program, where / program, {**shop.objects, **objects})
        killed = self.drivers(directory, nr)
        if one.function is None and killed:
            shutil.rmtree(directory)
        return killed

    def drivers(self, directory, nr: int) -> str:
        """Both, quickly."""
        diff, fuzz = directory / "diff_tables", directory / "fuzz_tables"
        if workshop.red([diff, 1, 24_000], nr, CPU_MS) or workshop.red([diff, 2, 48_000], nr, 2 * CPU_MS):
            return "killed by diff_tables"
        return "killed by fuzz_tables" if any(workshop.red([fuzz, seed, 700], nr, CPU_MS) for seed in range(6)) else ""

    def python(self) -> None:
        """The Python tests: as many at a time as there are jobs."""
        if not any(self.verdicts.of(one) == f"{LIVES} 1" for one in self.chosen) or time.monotonic() >= self.until:
            return
        servers = [self.shop.tests()]
        servers[0].red(0, NOTHING)              # it has measured them when it answers
        servers += [self.shop.tests() for _ in range(self.jobs - 1)]
        free = list(servers)

        def work(one: Numbered) -> str:
            if one.function is None:
                objects = {**self.shop.objects, **self.shop.alone(one)[1]}
                where = WORK / f"alone-{one.nr}"
                tests = self.shop.tests(self.shop.build.module(where, objects))
                test = tests.red(0, EVERYTHING)
                tests.close()
            else:
                tests = free.pop()
                test = tests.red(one.nr, self.shop.numbers[one.mutant.file, one.function])
                free.append(tests)
            return f"killed by {test}" if test else ""

        try:
            self.stage(f"{LIVES} 1", f"{LIVES} 2", work)
        finally:
            for server in servers:
                server.close()

    def thorough(self, one: Numbered, checked: Shop) -> str:
        """Longer, and both under sanitizers."""
        where = self.shop.build.directory if one.function is not None else WORK / f"alone-{one.nr}"
        if workshop.red([where / "diff_tables", 3, LONG], one.nr, 60_000):
            return "killed by diff_tables"
        if one.function is None:
            return ""
        fuzz, diff = (checked.build.directory / program for program in ("fuzz_tables", "diff_tables"))
        runs = [*([fuzz, seed, 2000] for seed in range(6)), [diff, 4, 40_000]]
        return "killed under sanitizers" if any(workshop.red(run, one.nr, 60_000) for run in runs) else ""


def select(args: argparse.Namespace, everything: list[Numbered]) -> list[Numbered]:
    """Return those that the arguments mean."""
    chosen = everything
    if args.only:
        chosen = [one for one in chosen if any(fnmatch.fnmatch(one.mutant.name, pattern) for pattern in args.only)]
    elif args.sample:
        chosen = random.Random(args.seed).sample(chosen, min(args.sample, len(chosen)))
    return chosen


def summary(chosen: list[Numbered], verdicts: Verdicts, known: dict) -> float:
    """Print who lives unexplained, a line a file and one for all; return the percentage killed."""
    total: Counter = Counter()
    for one in chosen:
        if verdicts.of(one) == "survived" and one.which not in known:
            print(f"not explained: {one.mutant.name}")
    print(f"{'file':16} mutants  killed  survived  explained  same code  no code")
    for name in validator.FILES:
        here: Counter = Counter()
        for one in chosen:
            if one.mutant.file == name:
                kind = verdicts.of(one).partition(" ")[0]
                here[kind] += 1
                here["explained"] += kind == "survived" and one.which in known
        if here:
            print(f"{name:16} {sum(here.values()) - here['explained']:7} {here['killed']:7} {here['survived']:9} {here['explained']:10} "
                  f"{here['same']:10} {here['does']:8}")
        total.update(here)
    share = 100 * total["killed"] / max(total["killed"] + total["survived"], 1)
    print(f"{len(chosen)} mutants: {total['killed']} killed, {total['survived']} survived ({share:.1f}% killed), of which "
          f"{total['explained']} are explained; {total['same']} the same code, {total['does']} that do not compile")
    return share


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=100, metavar="N", help="so many at random (100); 0: all")
    parser.add_argument("--seed", type=int, default=1, help="which sample")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="these alone: tables.c:171:*, or *:dropped:*")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many at a time")
    parser.add_argument("--minutes", type=float, default=1e6, help="end after so long; the same again goes on")
    parser.add_argument("--fresh", action="store_true", help="forget the verdicts of earlier runs")
    parser.add_argument("--again", action="store_true", help="run again what survived")
    parser.add_argument("--trust", action="store_true", help="believe the explanations: run the quick tests alone against those")
    parser.add_argument("--list", action="store_true", help="print them and do nothing")
    parser.add_argument("--least", type=float, default=90, metavar="PERCENT", help="fail if fewer are killed (90)")
    args = parser.parse_args()
    everything = workshop.all_mutants()
    chosen = select(args, everything)
    if args.list:
        for one in chosen:
            print(one.mutant.name, one.which.old, one.which.new, sep="\n    ")
        return 0
    verdicts = Verdicts()
    for one in chosen:
        if args.fresh or (args.again and verdicts.of(one) == "survived"):
            verdicts.set(one, "")
    judge = Judge(chosen, verdicts, args.jobs, time.monotonic() + 60 * args.minutes)
    if judge.drivers(judge.shop.build.directory, 0):
        print("the tests are red without any mutant")
        return 1
    try:
        judge.all(args.trust)
    finally:
        verdicts.save()
    left = sum(verdicts.of(one) == "" or verdicts.of(one).startswith(LIVES) for one in chosen)
    if left:
        print(f"{left} of {len(chosen)} not judged yet: the same command goes on")
        return 3
    return summary(chosen, verdicts, judge.known) < args.least


if __name__ == "__main__":
    sys.exit(main())
