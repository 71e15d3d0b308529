"""Domain0 as people write it: a script without a main guard, the interactive prompt, a notebook; guests of every kind in each.

Nothing of the caller's module is run a second time, whatever it defines travels with the guest.
"""

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Deadline

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON_BASIC_REPL": "1", "TERM": "dumb", "PYTHONSTARTUP": ""}

# What each caller does. Globals, a helper, a class, a closure, a lambda, a generator, recursion and an import at the top.
DEFINITIONS = """\
import math
import xenproc
FACTOR = 3
class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b
    def total(self):
        return self.a + self.b

def scaled(x):
    return FACTOR * math.gcd(x, 12)

def fact(n):
    return 1 if n < 2 else n * fact(n - 1)

def adder(n):
    def guest(g, x):
        return [g.domid > 0, Pair(x, n).total(), scaled(8), fact(5), sum(i for i in range(n))]
    return guest

"""
USE = """\
hv = xenproc.Hypervisor(memory="16M")
first = hv.create(adder(5), 2, name="first")
second = hv.create(lambda g: FACTOR, name="second")
answers = [first.wait(), second.wait()]
hv.close()
print("answers", answers)
"""
ANSWERS = "answers [[True, 7, 12, 120, 10], 3]"


def test_a_script_without_a_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"print('begun', __name__)\n{DEFINITIONS}{USE}")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["begun __main__", ANSWERS]       # the script ran once


def test_a_script_from_standard_input():
    """There is no file to import a guest from."""
    done = subprocess.run([sys.executable, "-"], input=DEFINITIONS + USE, capture_output=True, text=True, timeout=60,
                          env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", ANSWERS + "\n")


def test_a_module_run_with_m(tmp_path):
    """What `python -m` runs is __main__ to dill; a module beside it is imported by its name, if others may read the folder."""
    tmp_path.chmod(0o755)
    (tmp_path / "beside.py").write_text("def doubled(x):\n    return 2 * x\n")
    (tmp_path / "program.py").write_text(f"import beside\n{DEFINITIONS}{USE}"
                                         "with xenproc.Hypervisor(memory='16M') as hv:\n"
                                         "    print(hv.create(lambda g: beside.doubled(4)).wait())\n")
    done = subprocess.run([sys.executable, "-m", "program"], capture_output=True, text=True, timeout=60, cwd=tmp_path,
                          env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, [ANSWERS, "8"]), done.stderr


class Prompt:
    """A Python prompt on a terminal of its own."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([sys.executable, "-q", "-i"], stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT,
                                        start_new_session=True)
        os.close(slave)
        self.seen = ""

    def until(self, what: str) -> str:
        """Read up to `what`, which must come within 30 s; return everything before it."""
        limit = Deadline(30)
        while what not in self.seen:
            limit.check(f"{what!r} after {self.seen!r}")
            if select.select([self.master], [], [], 0.5)[0]:
                self.seen += os.read(self.master, 4096).decode()
        before, _, self.seen = self.seen.partition(what)
        return before

    def type(self, text: str) -> None:
        """Type whole lines, each when its prompt is there."""
        for line in text.splitlines():
            prompt = "... " if getattr(self, "inside", False) else ">>> "
            self.until(prompt)
            os.write(self.master, f"{line}\n".encode())
            self.inside = line.endswith(":") or (line.startswith(" ") and getattr(self, "inside", False))

    def end(self) -> None:
        os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


def test_the_prompt():
    prompt = Prompt()
    try:
        # At a prompt a block ends with an empty line.
        prompt.type(DEFINITIONS)
        prompt.type(USE)
        prompt.until(ANSWERS)
        prompt.type("raise SystemExit(7)")
        assert prompt.process.wait(20) == 7
    finally:
        prompt.end()


# Runs a notebook of the cells on standard input (JSON) with a kernel of its own and prints what its cells printed.
RUN_NOTEBOOK = """\
import json, sys
import nbclient, nbformat
book = nbformat.v4.new_notebook()
book.cells = [nbformat.v4.new_code_cell(source) for source in json.load(sys.stdin)]
nbclient.NotebookClient(book, timeout=60, kernel_name="python3").execute()
for cell in book.cells:
    for output in cell.outputs:
        print(output.get("text", output), end="")
"""


@pytest.mark.timeout(120)
def test_a_notebook():
    """Cells define, create and wait, in a kernel with an event loop and threads of its own; a crash shows as an exception."""
    crash = "try:\n    hv.create(lambda g: 1 / 0).wait()\nexcept xenproc.DomainCrashed as error:\n    print('ZeroDivision' in str(error))"
    cells = [DEFINITIONS, *USE.replace("hv.close()\n", "").splitlines(), crash, "hv.close()"]
    done = subprocess.run([sys.executable, "-c", RUN_NOTEBOOK], input=json.dumps(cells), capture_output=True, text=True,
                          timeout=110, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stdout) == (0, ANSWERS + "\nTrue\n"), done.stderr
