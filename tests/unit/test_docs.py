"""The documentation holds: its snippets run and print what it says, its links and the files and tests it names exist.

A block opened by ```python runnable is run as a script; if a ```text output block follows, that is what it must print
(a line of three dots stands for any number of lines).
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_RUNNABLE = re.compile(r"^```python runnable\n(.*?)^```\n(?:\s*```text output\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
_NAMED = re.compile(r"`((?:native|xenproc|tests|scripts|docs)/[\w./*{},-]*)(?:::(\w+))?`")


@dataclass
class Snippet:
    """A block of code that says it can be run, and what it should print."""

    page: Path
    line: int
    code: str
    output: str | None


def snippets(page: Path, text: str) -> list[Snippet]:
    """The runnable blocks of a page."""
    return [Snippet(page, text[: m.start()].count("\n") + 1, m[1], m[2]) for m in _RUNNABLE.finditer(text)]


def matches(expected: str, printed: str) -> bool:
    """Is this what should be printed?"""
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line) + "\n" for line in expected.splitlines())
    return re.fullmatch(pattern, printed) is not None


def missing(text: str, root: Path, page: Path) -> list[str]:
    """Links, files and tests that a page names and that are not there."""
    bad = []
    for target, _anchor in _LINK.findall(_FENCE.sub("", text)):
        if target and not (page.parent / target).exists():
            bad.append(f"{page.name}: link to {target}")
    for path, test in _NAMED.findall(text):
        found = list(root.glob(path.rstrip("/"))) if "{" not in path else [root]
        if not found:
            bad.append(f"{page.name}: {path} is not there")
        elif test and not any(re.search(rf"^(async )?def {test}\b", file.read_text(), re.MULTILINE) for file in found):
            bad.append(f"{page.name}: {path} has no {test}")
    return bad


ALL = [snippet for page in PAGES for snippet in snippets(page, page.read_text())]


@pytest.mark.parametrize("snippet", ALL, ids=lambda s: f"{s.page.stem}:{s.line}")
def test_the_snippet_runs_and_prints_what_the_page_says(snippet, tmp_path):
    script = tmp_path / "snippet.py"
    script.write_text(snippet.code)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if snippet.output is not None:
        assert matches(snippet.output, done.stdout), f"printed:\n{done.stdout}{done.stderr}\nthe page says:\n{snippet.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_page_names_exists(page):
    assert missing(page.read_text(), ROOT, page) == []


def test_there_are_snippets_for_each_guide():
    assert {snippet.page.stem for snippet in ALL} >= {"README", "events", "grants", "rings", "channels"}


def test_every_page_is_reachable_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in readme, f"{page.name} is linked from nowhere"


def test_the_threat_model_names_every_door():
    from hostile.doors import DOORS

    page = (ROOT / "docs" / "threat-model.md").read_text()
    assert [door.name for door in DOORS if door.name not in page] == []


# ---- the checks can fail ----

def test_missing_things_are_found(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_x.py").write_text("def test_there():\n    pass\n")
    page = tmp_path / "page.md"
    text = "[a](gone.md) `native/gone.h` `tests/test_x.py::test_there` `tests/test_x.py::test_gone` `tests/test_y.py::test_there`"
    assert missing(text, tmp_path, page) == [
        "page.md: link to gone.md", "page.md: native/gone.h is not there", "page.md: tests/test_x.py has no test_gone",
        "page.md: tests/test_y.py is not there",
    ]


def test_other_output_is_found():
    assert matches("a\n...\nc\n", "a\nb\nb\nc\n")
    assert not matches("a\n...\nc\n", "a\nb\nd\n")
    assert not matches("a\n", "a\nb\n")


def test_only_marked_blocks_are_snippets(tmp_path):
    text = "```python\nx\n```\n```python runnable\nprint(1)\n```\n\n```text output\n1\n```\n\n```python runnable\npass\n```\nword\n"
    assert [(s.line, s.code, s.output) for s in snippets(tmp_path, text)] == [(4, "print(1)\n", "1\n"), (12, "pass\n", None)]
