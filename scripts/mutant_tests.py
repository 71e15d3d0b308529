"""The validator's Python tests for scripts/mutants: collected once, then a process forked for each mutant. A plugin of pytest.

`Tests` is the other side: it starts pytest with this plugin and asks it, a line a mutant. What the plugin runs for a mutant are the
tests that enter the function it is in (xp_reached, schemata.py), first those that have killed most, then quick ones; the first red ends it.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=0", "--noconftest", "--hypothesis-seed=0"]
HISTORIES = "8"             # of each mode, of the lock-step in Python
PIPES = "XENPROC_MUTANT_PIPES"
NOTHING, EVERYTHING = -1, -2    # in place of a function: no test; all, for a mutant outside of functions


class Tests:
    """Tests that wait for mutants; not for several threads. `red` takes a function's place in xp_reached, NOTHING or EVERYTHING."""

    def __init__(self, root: Path, tests: list[str], env: dict[str, str], profile: Path) -> None:
        (theirs, self._to), (self._answers, back) = os.pipe(), os.pipe()
        env = {**env, PIPES: f"{theirs},{back},{profile}", "XENPROC_HISTORIES": HISTORIES}
        env["HYPOTHESIS_STORAGE_DIRECTORY"] = str(profile.parent)
        env["PYTHONPATH"] = f"{Path(__file__).parent}:{env['PYTHONPATH']}"
        command = [sys.executable, "-m", "pytest", *OPTIONS, "-p", "mutant_tests", *tests]
        self._process = subprocess.Popen(command, cwd=root, env=env, pass_fds=(theirs, back), stdout=subprocess.DEVNULL)
        os.close(theirs)
        os.close(back)
        self._lines = os.fdopen(self._answers)

    def red(self, nr: int, function: int) -> str:
        """Run what may notice the mutant; return the test that is red, or "". RuntimeError: the tests are gone, or red without mutants."""
        os.write(self._to, f"{nr} {function}\n".encode())
        answer = self._lines.readline()
        if not answer or answer.startswith("!"):
            raise RuntimeError(f"red without any mutant: {answer[1:].strip()}")
        return answer.strip().removeprefix("green")

    def close(self) -> None:
        """End them."""
        os.close(self._to)
        self._lines.close()
        self._process.wait(60)


class _Plugin:
    def __init__(self, pipes: str) -> None:
        asked, answers, profile = pipes.split(",", 2)
        self.asked, self.answers, self.profile = os.fdopen(int(asked)), int(answers), Path(profile)
        library = ctypes.CDLL(os.environ["XENPROC_TEST_LIBRARY"])
        self.mutant = ctypes.c_uint.in_dll(library, "xp_mutant")
        self.reached = (ctypes.c_ubyte * 512).in_dll(library, "xp_reached")
        self.kills: Counter = Counter()
        self.cost: dict[str, tuple[float, list[int]]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session) -> bool:
        """Answer until nobody asks any more."""
        os.environ.pop(PIPES)
        items = {item.nodeid: item for item in session.items}
        if not self.profile.exists():
            self.child(lambda: self.measure(items))
        try:
            self.cost = json.loads(self.profile.read_text())
        except (OSError, ValueError):
            self.cost = {}
        if set(items) - set(self.cost):
            os.write(self.answers, f"!{self.cost.get('red', 'they do not come to an end')}\n".encode())
            return True
        for line in self.asked:
            nr, function = map(int, line.split())
            names = sorted((name for name in items if function == EVERYTHING or function in self.cost[name][1]),
                           key=lambda name: (-self.kills[name], self.cost[name][0]))
            red = self.child(lambda nr=nr, names=names: self.run(nr, [items[name] for name in names]))
            self.kills[red] += 1
            os.write(self.answers, f"{red or 'green'}\n".encode())
        return True

    def child(self, work) -> str:
        """Fork, work, and return what it says: the name of a test; the one it had begun if it dies."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            self.say = theirs
            try:
                work()
            finally:
                os._exit(0)
        os.close(theirs)
        with os.fdopen(ours) as said:
            lines = said.read().splitlines()
        os.waitpid(pid, 0)
        return "" if lines[-1:] == ["green"] else lines[-1] if lines else "killed before any test"

    def protocol(self, items: list, limit_s) -> str:
        """Run them; return the first red one's name."""
        for i, item in enumerate(items):
            os.write(self.say, f"{item.nodeid}\n".encode())
            signal.setitimer(signal.ITIMER_PROF, limit_s(item.nodeid))
            reports = runtestprotocol(item, nextitem=items[i + 1] if i + 1 < len(items) else None, log=False)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if any(report.failed for report in reports):
                return item.nodeid
            yield_to = getattr(self, "after", None)
            if yield_to:
                yield_to(item.nodeid)
        return ""

    def run(self, nr: int, items: list) -> None:
        """In the child: with this mutant."""
        self.mutant.value = nr
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        if not self.protocol(items, lambda name: 1 + 4 * self.cost[name][0]):
            os.write(self.say, b"green\n")

    def measure(self, items: dict) -> None:
        """In the child: without a mutant, each test's time and what functions it enters."""
        found: dict[str, tuple[float, list[int]] | str] = {}
        started = time.process_time()

        def after(name: str) -> None:
            nonlocal started
            found[name] = time.process_time() - started, [i for i, flag in enumerate(self.reached) if flag]
            ctypes.memset(self.reached, 0, len(self.reached))
            started = time.process_time()

        self.after = after
        ctypes.memset(self.reached, 0, len(self.reached))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        red = self.protocol(list(items.values()), lambda _: 60)
        if red:
            found = {"red": red}
        self.profile.write_text(json.dumps(found))


def pytest_configure(config) -> None:
    """Called by pytest where this file is a plugin."""
    if PIPES in os.environ:
        config.pluginmanager.register(_Plugin(os.environ[PIPES]))
