"""The tests of the page-table validator take at least 95 of 100 of its branches (scripts/coverage)."""

import os
import re
import subprocess
import sys

import pytest
from native.hvtest_build import ROOT


@pytest.mark.timeout(400)
def test_branches_of_the_validator():
    """Quickly: the drivers for a while, and the cases by hand. With the lock-step in Python it is more."""
    command = [sys.executable, "scripts/coverage.py", "--quick", "--steps", "60000", "--least", "95"]
    env = {name: value for name, value in os.environ.items() if name != "XENPROC_TEST_LIBRARY"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    taken, of = map(int, re.search(r"the validator: (\d+) of (\d+) branches", done.stdout).groups())
    assert 700 < of and taken >= 0.95 * of
