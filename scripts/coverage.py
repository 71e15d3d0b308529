"""Branch coverage of the page-table validator by its tests; scripts/coverage calls this. gcc's own gcov, at -O0.

A branch is one way out of one condition: `a && b` has four. Of code that is inlined several times each copy counts for all: a branch
is taken if it is in any. Not counted, by rule: lines with XP_BUG_ON, whose branch ends the hypervisor and with it the test.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
from native.hvtest_build import NATIVE  # noqa: E402

from native import validator  # noqa: E402

WORK = ROOT / "build" / "coverage"
BESIDE = ["reservation.c", "exchange.c"]      # reported, not judged
PYTEST = ["-q", "-p", "no:cacheprovider", "--noconftest"]       # without the ledger, which takes ten times as long as these tests
LOCKSTEP = ["tables_machine", "reservation_cases", "reservation_machine", "grant_cases", "grant_machine"]

Branches = dict[tuple[str, int], list[int]]         # (file, line) -> how often each branch was taken


def run_tests(build: validator.Build, steps: int, quick: bool) -> None:
    """Run all that tests the validator against this build; quick: without the lock-step in Python. CalledProcessError: red."""
    for name in validator.PROGRAMS:
        program = build.program(name, build.directory / name, {})
        for seed in range(6) if name == "fuzz_tables" else (1, 2):
            nr = min(steps, 3000) if name == "fuzz_tables" else steps
            subprocess.run([program, str(seed), str(nr)], check=True, stdout=subprocess.DEVNULL)
    env = validator.environment(build.module(build.directory, {}))
    tests = [*validator.UNIT, *(f"tests/property/test_{name}.py" for name in LOCKSTEP if not quick)]
    done = subprocess.run([sys.executable, "-m", "pytest", *PYTEST, *tests], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stdout[-4000:])
    done.check_returncode()


def branches(build: validator.Build) -> Branches:
    """Collect what was taken, of all objects and inlined copies together."""
    copies: dict[tuple[str, int], dict[tuple[str, str], list[int]]] = defaultdict(dict)
    for data in sorted(build.directory.glob("*.gcda")):
        subprocess.run(["gcov", "-b", "-c", "-j", data.name], check=True, cwd=build.directory, capture_output=True)
        with gzip.open(build.directory / f"{data.stem}.gcov.json.gz") as packed:
            found = json.load(packed)
        for file in found["files"]:
            for line in file["lines"]:
                if line["branches"]:
                    at = copies[Path(file["file"]).name, line["line_number"]]
                    at[data.name, line.get("function_name", "")] = [branch["count"] for branch in line["branches"]]
    together: Branches = {}
    for at, counted in copies.items():
        width = max(map(len, counted.values()))
        together[at] = [sum(one[i] for one in counted.values() if len(one) == width) for i in range(width)]
    return together


def report(found: Branches, names: list[str]) -> tuple[int, int]:
    """Print a line a file, and each line with a branch that nothing takes. Returns (taken, all)."""
    taken = total = 0
    for name in names:
        source = (NATIVE / name).read_text().splitlines()
        here = {line: counts for (file, line), counts in sorted(found.items()) if file == name and "XP_BUG_ON" not in source[line - 1]}
        nr, of = sum(count > 0 for counts in here.values() for count in counts), sum(map(len, here.values()))
        print(f"{name}: {nr} of {of} branches{f' ({100 * nr / of:.1f}%)' if of else ''}")
        for line, counts in here.items():
            if not all(counts):
                print(f"  {line}: {counts.count(0)} of {len(counts)} never: {source[line - 1].strip()}")
        taken, total = taken + nr, total + of
    return taken, total


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="scripts/coverage", description=__doc__.partition("\n")[0])
    parser.add_argument("--least", type=float, default=95, metavar="PERCENT", help="fail below (95)")
    parser.add_argument("--steps", type=int, default=200_000, help="of the C driver, twice (200000)")
    parser.add_argument("--quick", action="store_true", help="without the lock-step in Python")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time")
    parser.add_argument("--again", action="store_true", help="report the last run once more")
    args = parser.parse_args()
    build = validator.Build(WORK, "-O0", "--coverage", "-fprofile-update=atomic")
    if not args.again:
        build.make(args.jobs)
        run_tests(build, args.steps, args.quick)
    found = branches(build)
    taken, total = report(found, validator.FILES)
    share = 100 * taken / total
    print(f"the validator: {taken} of {total} branches, {share:.1f}%")
    if not args.quick:
        print("beside it, not judged:")
        report(found, BESIDE)
    return share < args.least


if __name__ == "__main__":
    sys.exit(main())
