"""The rules of the house as functions: each gets a Tree and returns its violations, one string each ("file:line: what").

test_house.py applies them to the real tree, where they must find nothing, and each to a made-up tree that breaks it.
"""
# Tour T:080

import ast
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MAX_LINES = 500

# Modules of the top level that every layer but abi may use. A new one is a decision: it is added here.
COMMON = {
    "errors", "units", "native", "machine", "semaphore", "wire", "fork", "ring", "ring_layout", "vchan", "vchan_end", "fault",
}
LAYERS = {
    "abi": set(),
    "common": {"abi"},
    "hv": {"abi", "common"},
    "guest": {"abi", "common"},
    "dom0": {"abi", "common", "guest"},
    "cli": {"abi", "common", "guest", "dom0", "root"},
    "bench": {"abi", "common", "guest", "dom0", "hv", "cli", "root"},
    "root": {"abi", "common", "guest", "dom0"},
}
# Even among the common ones: errors imports nothing of ours, units the errors only.
COMMON_IMPORTS = {"errors": set(), "units": {"errors"}}

# C that runs in a domain; it knows nothing of the hypervisor's private state.
HYPERVISOR_HEADERS = {"hv.h", "domain.h", "dispatch.h", "frames.h", "guestmem.h", "park.h", "window.h", "hvlock.h"}
GUEST_C = re.compile(r"((guest|gcall|direct|sem|spin|ring|vchan)(_\w+)?|mmu|tlb|walk|fixup)\.[ch]")

NEVER_IMPORTED = {
    "multiprocessing.shared_memory": "its tracker removes what others still use",
    "multiprocessing.resource_tracker": "a child that reaches its pipe has escaped",
}
UNPICKLERS = {"pickle", "dill", "marshal", "shelve", "cloudpickle"}

# What a user's program or guest touches; the other modules are our own business and tested through these.
PUBLIC = re.compile(
    r"xenproc(\.(errors|ring|vchan|semaphore|dom0\.(toolstack|domain)"
    r"|guest\.(kernel|balloon|clock|console|memory|evtchn|gnttab|board|hypercall)))?"
)


@dataclass
class Tree:
    """A source tree with the project's layout."""

    root: Path

    def files(self, *patterns: str) -> list[Path]:
        """The files that match, generated ones and caches left out."""
        found = {path for pattern in patterns for path in self.root.glob(pattern) if path.is_file()}
        return sorted(p for p in found if not p.name.startswith("_native") and "__pycache__" not in p.parts)

    def name(self, path: Path) -> str:
        """Its name as people say it."""
        return path.relative_to(self.root).as_posix()

    @cached_property
    def python(self) -> dict[str, ast.Module]:
        """Our package's modules, by dotted name."""
        trees = {}
        for path in self.files("xenproc/**/*.py"):
            parts = path.relative_to(self.root).with_suffix("").parts
            dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            trees[dotted] = ast.parse(path.read_text(), str(path))
        return trees

    def path_of(self, module: str) -> str:
        """The file of a module of ours."""
        plain = Path(*module.split("."))
        return (plain / "__init__.py" if (self.root / plain).is_dir() else plain.with_suffix(".py")).as_posix()


# ---- layers ----

def layer_of(module: str) -> str:
    """The layer of a module of ours: "hv", "common", ...; the empty string for one that has none."""
    parts = module.split(".")
    if len(parts) == 1:
        return "root"
    if parts[1] in LAYERS:
        return parts[1]
    return "common" if parts[1] in COMMON else ""


def imports(tree: ast.Module, module: str, modules: set[str]) -> Iterator[tuple[int, str]]:
    """Every module of ours that is imported, wherever in the file, with its line."""
    package = module if f"{module}." in " ".join(modules) else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in modules else base


def layers(tree: Tree) -> list[str]:
    """DESIGN.md section 3: who imports whom."""
    bad = []
    modules = set(tree.python)
    for module, syntax in tree.python.items():
        mine = layer_of(module)
        where = tree.path_of(module)
        if not mine:
            bad.append(f"{where}: no layer: a top-level module must be named in house.py")
            continue
        for line, other in imports(syntax, module, modules):
            if other.split(".")[0] != "xenproc":
                continue
            theirs = layer_of(other)
            short = module.removeprefix("xenproc.")
            allowed = LAYERS[mine] | {mine}
            if theirs not in allowed:
                bad.append(f"{where}:{line}: {mine} imports {other}")
            elif theirs == "common" and short in COMMON_IMPORTS and other.removeprefix("xenproc.") not in COMMON_IMPORTS[short]:
                bad.append(f"{where}:{line}: {short} imports {other}")
    return bad


def foreign_imports(tree: Tree) -> list[str]:
    """Modules that nobody here imports, and pickling, which is the guest's own business."""
    bad = []
    for module, syntax in tree.python.items():
        for line, other in imports(syntax, module, set(tree.python) | set(NEVER_IMPORTED)):
            if other in NEVER_IMPORTED:
                bad.append(f"{tree.path_of(module)}:{line}: imports {other}: {NEVER_IMPORTED[other]}")
            if other.split(".")[0] in UNPICKLERS and layer_of(module) in ("abi", "common", "hv"):
                bad.append(f"{tree.path_of(module)}:{line}: imports {other}: nothing from a guest is ever unpickled")
    return bad


def unpickling(tree: Tree) -> list[str]:
    """`loads` of a pickler anywhere but in a locked-down domain."""
    bad = []
    for module, syntax in tree.python.items():
        for node in ast.walk(syntax):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            pickler = isinstance(owner, ast.Name) and owner.id in UNPICKLERS
            if pickler and node.func.attr in ("load", "loads", "Unpickler") and layer_of(module) != "guest":
                bad.append(f"{tree.path_of(module)}:{node.lineno}: unpickles outside of a domain")
    return bad


def c_layers(tree: Tree) -> list[str]:
    """The ABI's headers stand alone; C that runs in a domain does not see the hypervisor's state."""
    bad = []
    for path in tree.files("native/*.[ch]"):
        for line, text in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'#include "([^"]+)"', text)
            if not match:
                continue
            header = match[1]
            if path.name.startswith("abi") and not header.startswith("abi"):
                bad.append(f"{tree.name(path)}:{line}: the ABI's header includes {header}")
            if GUEST_C.fullmatch(path.name) and header in HYPERVISOR_HEADERS:
                bad.append(f"{tree.name(path)}:{line}: code of a domain includes {header}")
    return bad


# ---- what a file looks like ----

def length(tree: Tree) -> list[str]:
    """No file over MAX_LINES."""
    bad = []
    for path in tree.files("xenproc/**/*.py", "native/**/*.[ch]", "tests/**/*.py", "tests/**/*.[ch]", "scripts/*", "docs/*.md"):
        nr = len(path.read_text().splitlines())
        if nr > MAX_LINES:
            bad.append(f"{tree.name(path)}: {nr} lines; at most {MAX_LINES}: split it by the state it owns")
    return bad


def headers(tree: Tree) -> list[str]:
    """A C file opens with its name and what it is; a C file that says "see x.h" has that header; a module has a docstring."""
    bad = []
    for path in tree.files("native/*.[ch]"):
        text = path.read_text()
        opening = re.match(r"/\*(?:\n \*)? (\S+?): .+\n", text)
        if not opening or opening[1] != path.name:
            bad.append(f"{tree.name(path)}: does not open with what it is (/* {path.name}: ...)")
        elif (see := re.match(r"/\*(?:\n \*)? \S+ see (\w+\.h)", text)) and not (path.parent / see[1]).exists():
            bad.append(f"{tree.name(path)}: sends the reader to {see[1]}, which is not there")
    for module, syntax in tree.python.items():
        if syntax.body and not ast.get_docstring(syntax):
            bad.append(f"{tree.path_of(module)}: no docstring that says what it owns")
    for path in tree.files("scripts/*"):
        body = [line for line in path.read_text().splitlines()[:3] if not line.startswith("#!")]
        if not body or not body[0].startswith(("# ", '"""')):
            bad.append(f"{tree.name(path)}: does not open with what it does")
    return bad


def _public(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not item.name.startswith("_"):
            yield prefix + item.name, item
            if isinstance(item, ast.ClassDef):
                yield from _public(item, f"{prefix}{item.name}.")


def docstrings(tree: Tree) -> list[str]:
    """Every public class, function and method says what it does; an override may leave that to its base class."""
    everywhere = {name: cls for syntax in tree.python.values() for name, cls in _classes(syntax).items()}
    return [
        f"{tree.path_of(module)}:{item.lineno}: {name} has no docstring"
        for module, syntax in tree.python.items()
        for name, item in _public(syntax)
        if not ast.get_docstring(item) and not _is_setter(item) and not _inherits_doc(name, everywhere | _classes(syntax))
    ]


def _classes(syntax: ast.Module) -> dict[str, ast.ClassDef]:
    return {item.name: item for item in syntax.body if isinstance(item, ast.ClassDef)}


def _inherits_doc(name: str, classes: dict[str, ast.ClassDef]) -> bool:
    owner, _, method = name.rpartition(".")
    if owner not in classes:
        return False
    for base in classes[owner].bases:
        above = ast.unparse(base).rpartition(".")[2]
        theirs = [item for item in getattr(classes.get(above), "body", ()) if getattr(item, "name", "") == method]
        if any(ast.get_docstring(item) for item in theirs) or _inherits_doc(f"{above}.{method}", classes):
            return True
    return False


def _is_setter(item: ast.AST) -> bool:
    return any(isinstance(d, ast.Attribute) and d.attr in ("setter", "overload") for d in getattr(item, "decorator_list", []))


# ---- what must not be written ----

# Put together so that this file is not found by its own rule.
PROMISE = re.compile(r"\b(" + "|".join(a + b for a, b in (("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK"))) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|work|Users)/\w+/")


def promises(tree: Tree) -> list[str]:
    """No notes to oneself, and no paths of one machine."""
    bad = []
    for path in tree.files(
        "xenproc/**/*.py", "native/**/*.[ch]", "native/*.py", "tests/**/*.py", "tests/**/*.[ch]", "scripts/*", ".ci/*",
        "docs/**/*.md", "*.md", "*.toml", "*.py",
    ):
        for line, text in enumerate(path.read_text().splitlines(), 1):
            if PROMISE.search(text):
                bad.append(f"{tree.name(path)}:{line}: {PROMISE.search(text)[0]}")
            if MACHINE_PATH.search(text):
                bad.append(f"{tree.name(path)}:{line}: a path of one machine: {MACHINE_PATH.search(text)[0]}")
    return bad


def swallowed(tree: Tree) -> list[str]:
    """No exception is dropped in silence: bare `except:`, a handler of `pass` without a word why, suppress(Exception)."""
    bad = []
    for path in tree.files("xenproc/**/*.py", "native/*.py", "tests/**/*.py"):
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            where = f"{tree.name(path)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ExceptHandler):
                if node.type is None:
                    bad.append(f"{where}: bare except")
                empty = all(isinstance(s, ast.Pass) or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
                            for s in node.body)
                if empty and "#" not in "".join(lines[node.lineno - 1:node.end_lineno]):
                    bad.append(f"{where}: an exception is dropped without a comment why")
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                wide = {ast.unparse(arg) for arg in node.args} & {"Exception", "BaseException"}
                if wide and "#" not in lines[node.lineno - 1]:
                    bad.append(f"{where}: suppresses {', '.join(wide)} without a comment why")
    return bad


def c_asserts(tree: Tree) -> list[str]:
    """No assert with side effects in C."""
    bad = []
    for path in tree.files("native/*.[ch]", "tests/**/*.[ch]"):
        for line, text in enumerate(path.read_text().splitlines(), 1):
            match = re.search(r"(?<!_static_)(?<!\w)assert\((.*)\)", text, re.IGNORECASE)
            if match and "_Static_assert" not in text and re.search(r"\+\+|--|(?<![=!<>])=(?!=)", match[1]):
                bad.append(f"{tree.name(path)}:{line}: assert with a side effect")
    return bad


def c_state(tree: Tree) -> list[str]:
    """No mutable state at file scope, statics in functions included: the objects' own symbols tell."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler"
    bad = []
    target = tree.root / ".house.o"
    try:
        for path in tree.files("native/*.c"):
            # Not position-independent: then a constant table of pointers is truly constant.
            subprocess.run([compiler, "-std=c11", "-D_GNU_SOURCE", "-O0", "-fno-pic", "-c", "-o", target, path], check=True)
            symbols = subprocess.run(["nm", target], check=True, capture_output=True, text=True).stdout
            bad += [f"{tree.name(path)}: mutable state {line.split()[-1]}" for line in symbols.splitlines()
                    if re.search(r"\b[dDbBcC] \S+$", line)]
    finally:
        target.unlink(missing_ok=True)
    return bad


# ---- what must be tested and used ----

def words_of_tests(tree: Tree) -> set[str]:
    """Every word of the tests' code, the runnable snippets of the docs included; comments do not count."""
    code = [re.sub(r"#.*", "", p.read_text()) for p in tree.files("tests/**/*.py") if p.name not in ("house.py", "test_house.py")]
    pages = "\n".join(page.read_text() for page in tree.files("docs/*.md", "README.md"))
    code += re.findall(r"^```python runnable\n(.*?)^```", pages, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"\w+", "\n".join(code)))


def untested(tree: Tree) -> list[str]:
    """Every name that xenproc exports, and every method and function that a program or guest can call, is in some test."""
    words = words_of_tests(tree)
    bad = [
        f"{tree.path_of(module)}:{item.lineno}: {name} is in no test"
        for module, syntax in tree.python.items()
        if PUBLIC.fullmatch(module)
        for name, item in _public(syntax)
        if not isinstance(item, ast.ClassDef) and name.rpartition(".")[2] not in words
    ]
    return bad + [f"xenproc: {name} is in no test" for name in sorted(exported(tree) - words)]


def exported(tree: Tree) -> set[str]:
    """The names that the package exports: the string keys, and the names listed with them, of its table _HOMES."""
    table = next(
        (node.value for node in tree.python.get("xenproc", ast.Module([], [])).body
         if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES"), None)
    texts = [node.value for node in ast.walk(table) if isinstance(node, ast.Constant)] if table else []
    return {text for text in texts if isinstance(text, str) and "." not in text}


def unused_c(tree: Tree) -> list[str]:
    """What C shows to Python (native/cdef) is used there or by a test."""
    code = "\n".join(p.read_text() for p in tree.files("xenproc/**/*.py", "tests/**/*.py") if not p.name.startswith("house"))
    words = set(re.findall(r"\w+", code))
    bad = []
    for path in tree.files("native/cdef/*.h"):
        for name in re.findall(r"\b(xp_\w+)\(", re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)):
            if name not in words:
                bad.append(f"{tree.name(path)}: {name} is shown to Python, and nothing there uses it")
    return bad


RULES: dict[str, Callable[[Tree], list[str]]] = {
    rule.__name__: rule
    for rule in (
        layers, foreign_imports, unpickling, c_layers, length, headers, docstrings, promises, swallowed, c_asserts, c_state,
        untested, unused_c,
    )
}
