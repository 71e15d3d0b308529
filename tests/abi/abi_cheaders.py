"""Reads our C headers and measures what they declare with the compiler.

The names come from a parser, so that nothing that a header declares escapes; the numbers from a generated
program.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from abi_facts import Field, Struct
from pycparser import c_ast, c_parser

NATIVE = Path(__file__).resolve().parents[2] / "native"

# What the parser must know beforehand; the real types come from the compiler.
_TYPES = [f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)]
_TYPES += ["xp_domid_t", "xp_port_t", "xp_gref_t"]
_PRELUDE = "".join(f"typedef int {name};\n" for name in _TYPES) + "struct xp_sem { int count, waiting; };\n"


def compiler() -> str:
    """The C compiler; without one the test fails where CI is set and is skipped elsewhere."""
    found = shutil.which("cc") or shutil.which("gcc")
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no C compiler")
    return found


@dataclass
class Header:
    """What some headers declare: structs and unions with their fields' kinds, and the names of constants."""

    files: list[str]
    # "struct xen_x" -> dotted field -> "char", "integer", "array", "open" or "aggregate"
    structs: dict[str, dict[str, str]] = field(default_factory=dict)
    constants: list[str] = field(default_factory=list)


def read(*files: str, where: Path = NATIVE) -> Header:
    """Parse headers of `where`, in the order of their includes."""
    header = Header(list(files))
    text = "\n".join((where / name).read_text() for name in files)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).replace("\\\n", " ")
    header.constants += re.findall(r"^#define (\w+) +\S", text, flags=re.MULTILINE)
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"_Static_assert\(.*\);", "", text)
    text = re.sub(r"__attribute__\(\(\w+(\([^()]*\))?\)\)", "", text).replace("_Atomic ", "")
    text = re.sub(r"static inline .*?\n}\n", "", text, flags=re.DOTALL)
    named: dict[str, c_ast.Node] = {}
    for item in c_parser.CParser().parse(_PRELUDE + text).ext:
        if isinstance(item, c_ast.Decl) and isinstance(item.type, c_ast.Enum):
            header.constants += [value.name for value in item.type.values.enumerators]
        elif isinstance(item, c_ast.Decl) and isinstance(item.type, c_ast.Struct | c_ast.Union):
            word = "union" if isinstance(item.type, c_ast.Union) else "struct"
            named[item.type.name] = item.type
            if item.type.name != "xp_sem":
                header.structs[f"{word} {item.type.name}"] = dict(_flatten(item.type, named))
    return header


def _flatten(node, named, prefix=""):
    for decl in node.decls:
        if isinstance(decl.type, c_ast.ArrayDecl):
            yield prefix + decl.name, "open" if decl.type.dim is None else "array"
            continue
        assert isinstance(decl.type, c_ast.TypeDecl), (
            f"{prefix}{decl.name}: neither a plain field nor an array"
        )
        inner = decl.type.type
        if isinstance(inner, c_ast.Struct | c_ast.Union):
            yield prefix + decl.name, "aggregate"
            body = inner if inner.decls else named[inner.name]
            yield from _flatten(body, named, f"{prefix}{decl.name}.")
        else:
            yield prefix + decl.name, "char" if inner.names == ["char"] else "integer"


def measure(
    header: Header, include: str, tmp_path: Path, where: Path = NATIVE
) -> tuple[dict[str, Struct], dict[str, int]]:
    """Every struct and every constant of `header`, as the compiler sees them."""
    lines = []
    for tag, fields in header.structs.items():
        lines.append(f'printf("S\\t{tag}\\t%zu\\t%zu\\n", sizeof({tag}), _Alignof({tag}));')
        for path, kind in fields.items():
            this = f"(({tag} *)0)->{path}"
            size = "(size_t)0" if kind == "open" else f"sizeof({this})"
            elem = f"(long)sizeof({this}[0])" if kind in ("array", "open") else "-1L"
            signed = f"(__typeof__({this}))-1 < 0" if kind == "integer" else "-1"
            lines.append(
                f'printf("F\\t{tag}\\t{path}\\t%zu\\t%zu\\t%ld\\t%d\\n", '
                f"offsetof({tag}, {path}), {size}, {elem}, {signed});"
            )
    for name in header.constants:
        lines.append(f'printf("C\\t{name}\\t"); PRINT({name});')
    source = tmp_path / "measure.c"
    source.write_text(
        f'#include "{include}"\n#include <stdio.h>\n'
        '#define PRINT(x) ((x) < 0 ? printf("%lld\\n", (long long)(x)) \\\n'
        '    : printf("%llu\\n", (unsigned long long)(x)))\n'
        "int main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
    )
    program = tmp_path / "measure"
    subprocess.run([compiler(), "-std=gnu11", f"-I{where}", "-o", program, source], check=True, timeout=60)
    out = subprocess.run([program], check=True, capture_output=True, text=True, timeout=10).stdout
    structs: dict[str, Struct] = {}
    constants: dict[str, int] = {}
    for kind, name, *rest in (line.split("\t") for line in out.splitlines()):
        if kind == "S":
            structs[name] = Struct(int(rest[0]), int(rest[1]))
        elif kind == "F":
            path, offset, size, elem, signed = rest[0], *map(int, rest[1:])
            structs[name].fields[path] = Field(
                offset, size, None if signed < 0 else bool(signed), None if elem < 0 else elem
            )
        else:
            constants[name] = int(rest[0])
    return structs, constants
