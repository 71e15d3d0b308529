"""The differential drivers: millions of random steps against a model in C, plain and under the sanitizers; and a race."""

import re
import subprocess

import pytest

from native import hvtest_build

SANITIZERS = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
DRIVERS = ["diff_evtchn", "diff_grant", "diff_tables"]


def run(name: str, flags: list[str], seed: int, steps: int) -> None:
    """Run a driver and hold its share of accepted operations against 30%; leaks fail too (LeakSanitizer)."""
    program = hvtest_build.compile_program(name, *flags)
    done = subprocess.run([program, str(seed), str(steps)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{name} {seed} {steps}:\n{done.stdout}{done.stderr}"
    accepted, refused, failed = map(int, re.search(r"(\d+) accepted, (\d+) refused, (\d+) failures", done.stdout).groups())
    assert accepted >= 0.3 * (accepted + refused), done.stdout
    assert failed > steps // 200, done.stdout


@pytest.mark.parametrize(("seed", "driver"), [(seed, driver) for driver in DRIVERS for seed in (1, 2, 3)] +
                         [(seed, "diff_tables") for seed in (5, 6)])
def test_a_million_steps(driver, seed):
    run(driver, ["-O2"], seed, 1_000_000)


@pytest.mark.parametrize("driver", DRIVERS)
def test_under_sanitizers(driver):
    run(driver, SANITIZERS, 4, 600_000)


@pytest.mark.parametrize("seed", range(6))
def test_page_tables_under_random_calls(seed):
    """Each paging mode, enforced and not: all counts are the driver's own, a refused call changes nothing, under sanitizers."""
    program = hvtest_build.compile_program("fuzz_tables", *SANITIZERS)
    done = subprocess.run([program, str(seed), "12000"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"fuzz_tables {seed} 12000:\n{done.stdout}{done.stderr}"
    accepted, refused, failed, interrupted, killed, undone, *seen = map(int, re.findall(r"\d+", done.stdout))
    assert accepted >= 0.3 * (accepted + refused) and min(failed, interrupted, undone) > 100 and killed > 10, done.stdout
    levels = {0: {1, 2}, 1: {1, 2, 3, 7}, 2: {1, 2, 3, 4}}[seed % 3]
    assert {kind for kind, times in enumerate(seen) if times > 0} == {0, 5, 6} | levels, done.stdout


@pytest.mark.parametrize("granter", ["honest", "hostile"])
def test_the_flags_of_an_entry_under_a_race(granter):
    """A granter and the hypervisor on one entry, under ThreadSanitizer: the frame is never both's at once."""
    program = hvtest_build.compile_program("race_entry", "-O1", "-fsanitize=thread", only=["grant_entry.c"])
    done = subprocess.run([program, "30000", granter], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    rounds, tries, uses = map(int, re.findall(r"\d+", done.stdout))
    assert rounds == 30000 and (400 if granter == "honest" else 0) < uses <= tries, done.stdout
