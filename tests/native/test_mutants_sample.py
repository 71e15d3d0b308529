"""The page-table validator's tests notice 90 of 100 small wrong changes to it: a fixed sample (all: scripts/mutants, scripts/soak)."""

import os
import re
import subprocess
import sys

import pytest
from native.hvtest_build import ROOT

LEAST = 90
SAMPLE = 40             # most of what it costs is one compilation of the sources that these are in


@pytest.mark.timeout(500)
def test_a_sample_of_the_mutants():
    """In a directory of its own, so that verdicts and builds of complete runs are neither believed nor lost."""
    command = [sys.executable, "scripts/mutants.py", "--fresh", "--sample", str(SAMPLE), "--seed", "1", "--least", str(LEAST)]
    env = {name: value for name, value in os.environ.items() if name != "XENPROC_TEST_LIBRARY"}
    env["XENPROC_MUTANTS_IN"] = "mutants_sample"
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=480)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    killed, survived = map(int, re.search(r"mutants: (\d+) killed, (\d+) survived", done.stdout).groups())
    assert killed + survived >= 0.9 * SAMPLE and 100 * killed >= LEAST * (killed + survived)
