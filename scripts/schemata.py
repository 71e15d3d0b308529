"""Many mutants in one piece of C: each function once for each of its mutants, and a dispatcher in its place that asks `xp_mutant` which.

Pure text in, text out; mutants.py compiles and runs them. So thousands of mutants cost one compilation, and the one that is meant
is chosen when a program starts (mutant.c). The text that ships is not touched.
    1. The number 0 is the original; a variant's name is the function's with `__<number>`, its lines are said to be of file `m<number>`,
       so that the compiler's errors tell which mutant does not compile.
    2. No variant is inlined or specialised, so two that are compiled to the same code are the same (same_code).
    3. `xp_reached[i]` is set when function i is entered: which tests could notice its mutants.
"""

import re
from collections import defaultdict
from dataclasses import dataclass

import mutate

# For rule 2; and the driver of the compiler must leave each function in one piece.
FLAGS = ["-fno-ipa-cp", "-fno-ipa-sra", "-fno-ipa-icf", "-fno-ipa-ra", "-fno-partial-inlining", "-fno-reorder-blocks-and-partition",
         "-fno-crossjumping", "-fno-asynchronous-unwind-tables"]
_MANY_LINES = re.compile(r"^(?P<sig>[a-z][^;{}#]*?\))\n\{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
_ONE_LINE = re.compile(r"^(?P<sig>[a-z][^;{}#\n]*\)) \{[^\n]*\}\n", re.MULTILINE)
_INLINE = re.compile(r"\b(?:static|inline)\s+|__attribute__\(\([^)]*\)\)\s*")
_VARIANT = re.compile(r"\b(\w+?)__(\d+)\b")
_HEAD = "extern unsigned xp_mutant; extern unsigned char xp_reached[];\n#line 1\n"


@dataclass(frozen=True)
class Function:
    """text[start:end] is a function's definition, text[start:head] its declaration without the semicolon."""

    name: str
    start: int
    head: int
    end: int


def functions(text: str) -> list[Function]:
    """Find a file's functions, in its order."""
    code = mutate.code_of(text)
    found = []
    for match in [*_MANY_LINES.finditer(code), *_ONE_LINE.finditer(code)]:
        name = re.search(r"(\w+)\($", match["sig"][: _opening(match["sig"]) + 1])
        if name:
            found.append(Function(name[1], match.start(), match.end("sig"), match.end()))
    return sorted(found, key=lambda function: function.start)


def _opening(sig: str) -> int:
    """Return where the parenthesis opens that closes at the end: of the parameters."""
    depth = 0
    for i in range(len(sig) - 1, -1, -1):
        depth += (sig[i] == ")") - (sig[i] == "(")
        if depth == 0:
            return i
    raise ValueError(sig)


def function_of(found: list[Function], mutant: mutate.Mutant) -> Function | None:
    """Return the function in whose body the mutant is; None: it is outside of all (a constant's definition)."""
    return next((one for one in found if one.head <= mutant.start and mutant.end <= one.end), None)


def _arguments(sig: str) -> str:
    inside = sig[_opening(sig) + 1 : -1].strip()
    if inside == "void":
        return ""
    return ", ".join(re.search(r"(\w+)(?:\[[^\]]*\])?$", one.strip())[1] for one in inside.split(","))


def _variant(sig: str, name: str, nr: int) -> str:
    plain = _INLINE.sub("", sig)
    return "static __attribute__((noinline, unused)) " + re.sub(rf"\b{name}\(", f"{name}__{nr}(", plain, count=1)


def _schema(text: str, one: Function, mutants: list[tuple[int, mutate.Mutant]], index: int) -> str:
    sig, line = text[one.start : one.head], text.count("\n", 0, one.start) + 1
    parts = [f"{sig};\n"]
    for nr, mutant in [(0, None), *mutants]:
        whole = text if mutant is None else mutant.apply(text)
        body = whole[one.head : one.end + len(whole) - len(text)]
        parts.append(f'#line {line} "m{nr}"\n{_variant(sig, one.name, nr)}{body}')
    cases = "".join(f"    case {nr}: return {one.name}__{nr}({_arguments(sig)});\n" for nr, _ in mutants)
    parts.append(f'{sig}\n{{\n    xp_reached[{index}] = 1;\n    switch (xp_mutant) {{\n{cases}    '
                 f'default: return {one.name}__0({_arguments(sig)});\n    }}\n}}\n')
    return "".join(parts)


def schema(file: str, text: str, mutants: list[tuple[int, mutate.Mutant]], numbers: dict[tuple[str, str], int]) -> str:
    """Return the file with all these mutants, (number, mutant), in it.

    numbers: (file, function) -> its place in xp_reached.
    """
    found = functions(text)
    inside = defaultdict(list)
    for nr, mutant in mutants:
        one = function_of(found, mutant)
        if one is None:
            raise ValueError(f"{mutant.name} is in no function")
        inside[one].append((nr, mutant))
    parts, at = [_HEAD], 0
    for one in found:
        if one in inside:
            parts += [text[at : one.start], _schema(text, one, inside[one], numbers[file, one.name])]
            parts.append(f'#line {text.count(chr(10), 0, one.end) + 1} "{file}"\n')
            at = one.end
    return "".join(parts) + text[at:]


# ---- what the compiler made of it ----


def _functions_of(asm: str) -> dict[str, list[str]]:
    """Name -> its lines; what belongs to none is left out."""
    found: dict[str, list[str]] = {}
    here: list[str] | None = None
    for line in asm.splitlines():
        if (label := re.match(r"(\w+):", line)) and not line.startswith(".L"):
            here = found.setdefault(label[1], [])
        elif here is not None and not re.match(r"\s*\.(?:type|globl|p2align|size|text|local|comm|file|ident|align)\b", line):
            here.append(line)
    return found


def _constants(asm: str) -> dict[str, str]:
    """Label -> what stands there: the compiler's own constants and jump tables."""
    found: dict[str, str] = {}
    for label, data in re.findall(r"^(\.LC\d+):\n((?:\t\.(?:string|quad|long|byte|value|zero|ascii)[^\n]*\n)+)", asm, re.MULTILINE):
        found[label] = " ".join(data.split())
    return found


def same_code(asm: str) -> set[int]:
    """Return the numbers whose variant was compiled to what the original was."""
    constants = _constants(asm)
    originals: dict[str, str] = {}
    variants: list[tuple[str, int, str]] = []
    for name, lines in _functions_of(asm).items():
        match = _VARIANT.fullmatch(name)
        if not match:
            continue
        text = "\n".join(lines)
        if re.search(r"\b\w+\.\d+\b", text):
            continue                        # it has data of its own, which may differ
        labels: dict[str, str] = {}
        text = re.sub(r"\.LC\d+", lambda found: constants.get(found[0], found[0]), text)
        text = re.sub(r"\.L\w+", lambda found, labels=labels: labels.setdefault(found[0], f"L{len(labels)}"), text)
        text = _VARIANT.sub(r"\1", text)
        if match[2] == "0":
            originals[match[1]] = text
        else:
            variants.append((match[1], int(match[2]), text))
    return {nr for name, nr, text in variants if originals.get(name) == text}
