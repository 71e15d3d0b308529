"""Makes mutants of C text by rule: one small wrong change each. Pure text in, text out; scripts/mutants.py builds and runs them.

Comments, strings, preprocessor lines but constants, and XP_BUG_ON are left alone; so are hints to the processor (fetching ahead) and
the length of a step: a change there changes no result. Lines keep their numbers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

COMPARE = {"<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "==": ("!=",), "!=": ("==",)}
SWAPS = {
    "true": "false", "false": "true", "XP_PTE_RW": "XP_PTE_USER", "XP_PTE_PRESENT": "XP_PTE_ACCESSED", "XP_PTE_ACCESSED": "XP_PTE_DIRTY",
    "XP_PTE_DIRTY": "XP_PTE_ACCESSED", "XP_PTE_GLOBAL": "XP_PTE_PSE", "XP_PTE_PSE": "XP_PTE_GLOBAL", "XP_PTE_PWT": "XP_PTE_PCD",
    "XP_PTE_PCD": "XP_PTE_PWT", "XP_PTE_USER": "XP_PTE_RW", "XP_FF_ALLOCATED": "XP_FF_HV", "XP_FF_HV": "XP_FF_ALLOCATED",
    "XP_FF_PINNED": "XP_FF_VALIDATED", "XP_FF_VALIDATED": "XP_FF_PINNED", "XP_FT_L1": "XP_FT_L2", "XP_FT_L2_HOLE": "XP_FT_L2",
    "XP_FT_SEG": "XP_FT_WRITABLE", "XP_FT_WRITABLE": "XP_FT_SEG", "XP_FT_NONE": "XP_FT_WRITABLE", "XP_MM_taking": "XP_MM_dropping",
    "XP_MM_dropping": "XP_MM_taking", "XEN_EINVAL": "XEN_EPERM", "XEN_EPERM": "XEN_EINVAL", "XEN_EFAULT": "XEN_EINVAL",
    "XEN_EBUSY": "XEN_EINVAL", "XEN_ENOMEM": "XEN_EINVAL", "XEN_ENOSYS": "XEN_EINVAL", "XEN_ESRCH": "XEN_EPERM",
    "XEN_EOPNOTSUPP": "XEN_ENOSYS", "XEN_EACCES": "XEN_EPERM", "XP_CALL_AGAIN": "0", "DESCEND": "0",
}
STEPS = {"++": "--", "--": "++", "|=": "&=", "&=": "|=", "+=": "-=", "-=": "+="}
# Hints, how long a step may be, and what only tests set: no result depends on them.
HINTS = re.compile(r"__builtin_prefetch|fetch_ahead|_fetch\(|AHEAD|mm_inject|mm_step|"
                   r"^#define (?:STEP_NS|LOOK_EVERY|CHUNK|PAGE_COST|TEARDOWN_LOOK) ")
_STATEMENT = re.compile(r"^( +)((?:\(void\))?"
                        r"(?:\*?[a-z]\w*(?:(?:->|\.)\w+|\[[^;\]]*\])*\s*(?:[|&+-]?=[^=]|(?:\+\+|--)(?=;))|--\w|\+\+\w|[a-z]\w*\()"
                        r"[^;{}]*;)", re.MULTILINE)
_KEYWORD = re.compile(r"(?:return|if|for|while|switch|do|else|case|goto|sizeof|XP_BUG_ON)\b")
_CHECK = re.compile(r"\bif \(")


@dataclass(frozen=True)
class Mutant:
    """One change: text[start:end] becomes `new`."""

    file: str
    line: int
    rule: str
    nr: int                 # of this rule on this line
    start: int
    end: int
    new: str

    @property
    def name(self) -> str:
        """What --only selects."""
        return f"{self.file}:{self.line}:{self.rule}:{self.nr}"

    def apply(self, text: str) -> str:
        """Return the mutated text."""
        return text[: self.start] + self.new + text[self.end :]

    def lines(self, text: str) -> tuple[str, str]:
        """Return what was there and what is, whole lines with single spaces."""
        first, last = text.rfind("\n", 0, self.start) + 1, text.find("\n", self.end)
        old, new = text[first:last], text[first : self.start] + self.new + text[self.end : last]
        return " ".join(old.split()), " ".join(new.split())


def code_of(text: str) -> str:
    """Return the text with everything blanked that is not to be changed, of the same length."""
    blank = lambda found: re.sub(r"[^\n]", " ", found[0])  # noqa: E731
    code = re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:[^\"\\\n]|\\.)*\"", blank, text, flags=re.DOTALL)
    code = re.sub(r"^#(?!define [A-Z_0-9]+ )(?:[^\n]*\\\n)*[^\n]*", blank, code, flags=re.MULTILINE)
    code = re.sub(r"^#define [A-Z_0-9]+ ", blank, code, flags=re.MULTILINE)
    code = re.sub(r"^[^\n]*XP_BUG_ON\([^\n]*", blank, code, flags=re.MULTILINE)
    code = re.sub(r"^static inline void fetch_ahead.*?^\}|^static void fetch_ahead.*?^\}|^static inline void \w+_fetch.*?^\}", blank, code,
                  flags=re.DOTALL | re.MULTILINE)
    lines = zip(text.splitlines(keepends=True), code.splitlines(keepends=True), strict=True)
    return "".join(blank([line]) if HINTS.search(original) else line for original, line in lines)


def closing(code: str, at: int) -> int:
    """Return where the parenthesis opened at `at` closes."""
    depth = 0
    for i in range(at, len(code)):
        depth += (code[i] == "(") - (code[i] == ")")
        if depth == 0:
            return i
    raise ValueError("it is not closed")


def _operand(code: str, at: int, step: int) -> int:
    """Return where the operand ends that begins at `at` (step 1), or begins that ends before it (step -1)."""
    depth = 0
    while True:
        char = code[at] if step > 0 else code[at - 1]
        pair, before = (code[at : at + 2], "") if step > 0 else (code[at - 2 : at], code[at - 7 : at])
        depth += step * ((char == "(") - (char == ")"))
        if depth < 0 or (depth == 0 and (char in ";{}?,:" or pair in ("&&", "||"))):
            return at
        if depth == 0 and step < 0 and (before == "return " or before.endswith(" = ")):
            return at
        at += step


def _compare(code: str) -> Iterator[tuple[str, int, int, str]]:
    for found in re.finditer(r" (<=|>=|==|!=|<|>) ", code):
        for new in COMPARE[found[1]]:
            yield "compare", *found.span(1), new


def _clauses(code: str) -> Iterator[tuple[str, int, int, str]]:
    """A && B and A || B: one or the other operand alone, and the other operator."""
    for found in re.finditer(r" (&&|\|\|)\s", code):
        left, right = _operand(code, found.start(), -1), _operand(code, found.end(), 1)
        while code[left] in " \n":
            left += 1
        yield "clause", left, found.end(), ""
        yield "clause", found.start(), right, ""
        yield "logic", *found.span(1), "||" if found[1] == "&&" else "&&"


def _checks(code: str) -> Iterator[tuple[str, int, int, str]]:
    """if (...): never; for a check that only refuses, which makes it dropped."""
    for found in _CHECK.finditer(code):
        end = closing(code, found.end() - 1)
        inside = code[found.end() : end]
        yield "check", found.end(), end, "0" + "\n" * inside.count("\n")
        if not re.match(r"\)\s*(?:\{\s*)?(?:return -|return false|break;|continue;)", code[end:]):
            yield "always", found.end(), end, "1" + "\n" * inside.count("\n")


def _statements(code: str) -> Iterator[tuple[str, int, int, str]]:
    for found in _STATEMENT.finditer(code):
        whole = found[2].count("(") == found[2].count(")") and code[: found.start()].rstrip()[-1:] in ";{})e:"
        if whole and not _KEYWORD.match(found[2]):
            yield "dropped", *found.span(2), ";" + "\n" * found[2].count("\n")


def _orders(code: str) -> Iterator[tuple[str, int, int, str]]:
    """Two calls or assignments in a row, the other way round."""
    found = [match for match in _STATEMENT.finditer(code) if not _KEYWORD.match(match[2]) and match[2].count("(") == match[2].count(")")]
    for first, second in pairwise(found):
        if code[first.end() : second.start()] == "\n" and first[1] == second[1] and code[: first.start()].rstrip()[-1:] in ";{}:":
            yield "order", first.start(2), second.end(2), f"{second[2]}\n{first[1]}{first[2]}"


def _constants(code: str) -> Iterator[tuple[str, int, int, str]]:
    for name, new in SWAPS.items():
        for found in re.finditer(rf"\b{name}\b", code):
            yield "constant", *found.span(), new
    for found in re.finditer(r"(?<![\w.])(?<![=!]= )(?<!> )(0x[0-9a-f]+|\d+)(u|ull)?\b(?!\])", code):
        value = int(found[1], 0)
        yield "number", *found.span(), f"{value + 1}{found[2] or ''}"
        if value > 0:
            yield "number", *found.span(), f"{value - 1}{found[2] or ''}"


def _arithmetic(code: str) -> Iterator[tuple[str, int, int, str]]:
    for found in re.finditer(r"\+\+|(?<!->)--|[|&+-]=", code):
        yield "step", *found.span(), STEPS[found[0]]
    for found in re.finditer(r" ([+-]) (?=[\w(])", code):
        yield "sign", *found.span(1), "-" if found[1] == "+" else "+"
    for found in re.finditer(r"(?<= )([|&]) (?=[\w(~])", code):
        yield "bits", *found.span(1), "|" if found[1] == "&" else "&"
    for found in re.finditer(r"(?<=[( &])~(?=[\w(])", code):
        yield "bits", *found.span(), ""


def mutants(file: str, text: str) -> list[Mutant]:
    """Return all mutants of a file's text, in its order."""
    code = code_of(text)
    found = sorted({(start, end, new, rule) for make in (_compare, _clauses, _checks, _statements, _orders, _constants, _arithmetic)
                    for rule, start, end, new in make(code)})
    made: list[Mutant] = []
    seen: dict[tuple[int, str], int] = {}
    texts: set[tuple[int, str]] = set()                  # two rules may make the same of a line
    for start, end, new, rule in found:
        whole = Mutant(file, 0, rule, 0, start, end, new).lines(text)
        key = text.rfind("\n", 0, start), whole[1].replace(" ", "")
        if whole[0] == whole[1] or key in texts:
            continue
        texts.add(key)
        line = text.count("\n", 0, start) + 1
        nr = seen[line, rule] = seen.get((line, rule), 0) + 1
        new += "\n" * (text.count("\n", start, end) - new.count("\n"))
        made.append(Mutant(file, line, rule, nr, start, end, new))
    return made
