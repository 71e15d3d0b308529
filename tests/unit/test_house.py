"""The house's rules, on the tree as it is and each on a made-up tree that breaks it."""

from pathlib import Path

import house
import pytest

HERE = house.Tree(Path(__file__).resolve().parents[2])

TWO_CLASSES = "class B:\n    'It.'\n    def {}(self):\n        'Do it.'\nclass C(B):\n    'It.'\n    def m(self): ...\n"
OPENING = "/*\n * {}: what it is.\n */\n"

# rule -> (file, text that breaks it, what the violation must name)
BROKEN = {
    "layers": [
        ("xenproc/hv/spy.py", "from xenproc.guest import kernel\n", "hv imports xenproc.guest.kernel"),
        ("xenproc/hv/spy.py", "def f():\n    import xenproc.guest.kernel\n", "spy.py:2: hv imports"),
        ("xenproc/guest/kernel.py", "from ..hv import domain\n", "guest imports xenproc.hv"),
        ("xenproc/guest/kernel.py", "from xenproc import hv\n", "guest imports xenproc"),
        ("xenproc/abi/x.py", "from xenproc.errors import XenprocError\n", "abi imports xenproc.errors"),
        ("xenproc/cli/x.py", "import xenproc.hv\n", "cli imports xenproc.hv"),
        ("xenproc/dom0/x.py", "from xenproc.bench import run\n", "dom0 imports xenproc.bench"),
        ("xenproc/errors.py", "from xenproc.units import pages\n", "errors imports xenproc.units"),
        ("xenproc/surprise.py", "", "no layer"),
    ],
    "foreign_imports": [
        ("xenproc/machine.py", "from multiprocessing.shared_memory import SharedMemory\n", "multiprocessing.shared_memory"),
        ("xenproc/machine.py", "from multiprocessing import shared_memory\n", "multiprocessing.shared_memory"),
        ("xenproc/hv/x.py", "import dill\n", "is ever unpickled"),
    ],
    "unpickling": [("xenproc/dom0/x.py", "import dill\ndill.loads(b'')\n", "x.py:2")],
    "c_layers": [
        ("native/abi_x.h", '#include "xp.h"\n', "includes xp.h"),
        ("native/ring_front.c", '#include "domain.h"\n', "includes domain.h"),
    ],
    "length": [("native/x.c", "\n" * 501, "501 lines")],
    "headers": [
        ("native/x.c", "#include <stdio.h>\n", "x.c: does not open"),
        ("native/x.c", OPENING.format("y.c"), "x.c: does not open"),
        ("native/x.c", "/*\n * x.c: see x.h.\n */\n", "sends the reader to x.h"),
        ("xenproc/x.py", "import os\n", "no docstring"),
        ("scripts/x", "#!/usr/bin/env bash\nset -e\n", "does not open"),
    ],
    "docstrings": [
        ("xenproc/x.py", "def f(): ...\n", "f has no docstring"),
        ("xenproc/x.py", TWO_CLASSES.format("n"), "C.m has no docstring"),
    ],
    "promises": [
        ("native/x.c", "/* TO" + "DO: later */\n", "TO" + "DO"),
        ("docs/x.md", "see /ho" + "me/me/project/x\n", "a path of one machine"),
    ],
    "swallowed": [
        ("xenproc/x.py", "try:\n    f()\nexcept:\n    raise\n", "bare except"),
        ("xenproc/x.py", "try:\n    f()\nexcept OSError:\n    pass\n", "without a comment"),
        ("xenproc/x.py", "with suppress(Exception):\n    f()\n", "suppresses Exception"),
    ],
    "c_asserts": [("native/x.c", "assert(x++ < 3);\n", "x.c:1"), ("native/x.c", "assert((x = 3));\n", "x.c:1")],
    "c_state": [
        ("native/x.c", "static int counter;\nint f(void) { return counter++; }\n", "counter"),
        ("native/x.c", "int f(void) { static int n = 1; return n++; }\n", "n"),
        ("native/x.c", 'const char *names[] = {"a"};\n', "names"),
        ("native/x.c", "_Thread_local int t;\n", " t"),
    ],
    "untested": [
        ("xenproc/__init__.py", '_HOMES = {"Novelty": "xenproc.dom0.domain"}\n', "Novelty is in no test"),
        ("xenproc/guest/memory.py", "class Novelty:\n    def usage(self): ...\n", "Novelty.usage"),
        ("xenproc/dom0/domain.py", "def unheard_of(): ...\n", "unheard_of"),
    ],
    "unused_c": [("native/cdef/x.h", "/* xp_not_me() */ int xp_forgotten(void);\n", "xp_forgotten")],
}
CASES = [(rule, *case) for rule, cases in BROKEN.items() for case in cases]

# rule -> what it must leave alone
FINE = {
    "layers": [
        ("xenproc/hv/x.py", "from xenproc.errors import XenprocError\nfrom xenproc import abi, native\n"),
        ("xenproc/cli/x.py", "import xenproc\nfrom xenproc.dom0.toolstack import Hypervisor\n"),
        ("xenproc/errors.py", "import os\n"),
    ],
    "c_layers": [("native/domain_x.c", '#include "domain.h"\n'), ("native/abi_x.h", '#include "abi_types.h"\n')],
    "headers": [("native/x.c", OPENING.format("x.c")), ("xenproc/x/__init__.py", "")],
    "swallowed": [("xenproc/x.py", "try:\n    f()\nexcept OSError:\n    pass        # gone already\n")],
    "c_asserts": [("native/x.c", "assert(a == b && c <= d);\n_Static_assert(sizeof(int) == 4, \"x = y\");\n")],
    "c_state": [("native/x.c", 'static const char *const names[] = {"a"};\nconst char *f(int i) { return names[i]; }\n')],
    "docstrings": [
        ("xenproc/x.py", "class _C:\n    def m(self): ...\ndef f():\n    'It.'\n    def g(): ...\n"),
        ("xenproc/x.py", TWO_CLASSES.format("m")),
    ],
    "length": [("native/x.c", "\n" * 500)],
}


def made_up(root: Path, file: str, text: str) -> house.Tree:
    """A tree of the project's shape with one file of this text."""
    for package in ("", "hv/", "guest/", "abi/", "dom0/", "cli/", "bench/"):
        init = root / f"xenproc/{package}__init__.py"
        init.parent.mkdir(parents=True, exist_ok=True)
        init.touch()
    for module in ("guest/kernel", "hv/domain", "errors", "units", "native", "bench/run"):
        (root / f"xenproc/{module}.py").write_text('"""It."""\n')
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return house.Tree(root)


@pytest.mark.parametrize("rule", house.RULES)
def test_the_tree_keeps_the_rule(rule):
    violations = house.RULES[rule](HERE)
    assert not violations, "\n".join([house.RULES[rule].__doc__, *violations])


@pytest.mark.parametrize(("rule", "file", "text", "named"), CASES)
def test_the_rule_can_fail(tmp_path, rule, file, text, named):
    violations = house.RULES[rule](made_up(tmp_path, file, text))
    assert any(named in violation for violation in violations), violations


@pytest.mark.parametrize(("rule", "file", "text"), [(rule, *case) for rule, cases in FINE.items() for case in cases])
def test_the_rule_leaves_the_rest_alone(tmp_path, rule, file, text):
    assert house.RULES[rule](made_up(tmp_path, file, text)) == []


def test_every_rule_was_broken():
    assert set(BROKEN) == set(house.RULES)


def test_exported_names_are_read_from_the_package():
    import xenproc

    assert house.exported(HERE) | {"__version__"} == set(xenproc.__all__) | {"__version__"}


def test_the_rules_see_the_tree():
    """A rule that looks at nothing finds nothing: the tree's size is what one expects."""
    assert len(HERE.python) > 40
    assert len(HERE.files("native/*.[ch]")) > 50
    layers = {house.layer_of(module) for module in HERE.python}
    assert {"abi", "common", "hv", "guest", "dom0", "root"} <= layers
