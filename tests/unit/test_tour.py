"""The tour: its numbers are whole on the tree as it is, and it notices when they are not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tour(*args: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "scripts/tour", *map(str, args)], capture_output=True, text=True, timeout=20)


def test_the_tour_is_whole():
    done = tour()
    assert done.returncode == 0, done.stderr
    assert "A:010  native/xp.h" in done.stdout
    assert done.stdout.count("\n") > 60


def test_a_chapter_alone():
    done = tour("M")
    assert done.returncode == 0
    assert "native/window.h" in done.stdout and "native/ring.h" not in done.stdout


def made_up(root: Path, **extra: str) -> Path:
    (root / "native").mkdir()
    for chapter in "AMHBGERT":
        (root / f"native/{chapter}.c").write_text(f"/*\n * {chapter}.c: it.\n *\n * Tour {chapter}:010\n */\n")
    for name, tag in extra.items():
        (root / f"native/{name}.c").write_text(f"/*\n * {name}.c: it.\n *\n * Tour {tag}\n */\n")
    return root


def test_a_made_up_tree_is_fine(tmp_path):
    assert tour("--root", made_up(tmp_path, x="A:020", y="A:030")).returncode == 0


@pytest.mark.parametrize(("extra", "complaint"), [
    ({"x": "A:010"}, "A:010 is used twice"),
    ({"x": "A:030"}, "A:020 is left out"),
    ({"x": "A:015"}, "A:015 is not a multiple"),
    ({"x": "Z:010"}, "no chapter Z"),
])
def test_what_is_wrong_is_said(tmp_path, extra, complaint):
    done = tour("--root", made_up(tmp_path, **extra))
    assert done.returncode == 1
    assert complaint in done.stderr


def test_an_empty_chapter_is_said(tmp_path):
    root = made_up(tmp_path)
    (root / "native/T.c").unlink()
    assert "chapter T is empty" in tour("--root", root).stderr
