"""scripts/mutate.py makes the changes it says, and leaves alone what it says."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import mutate
import workshop
from native.hvtest_build import HERE, NATIVE

from native import validator

TEXT = """\
/* a < b: no code */
#define HOW_MANY 7u  /* 8 */
#define AHEAD 16u
static int f(struct s *d, int a)
{
    XP_BUG_ON(a > 3);
    __builtin_prefetch(&d->x[a + 1]);
    if (a < 2 || (a == 5 && d->ok))
        return -XEN_EINVAL;
    d->count++;
    d->left = a;
    d->flags |= XP_FF_PINNED;
    undo(d, a,
         true);
    return 0;
}
"""


def made() -> dict[str, set[str]]:
    """Rule -> what it makes of a line."""
    found: dict[str, set[str]] = {}
    for mutant in mutate.mutants("x.c", TEXT):
        assert mutant.apply(TEXT).count("\n") == TEXT.count("\n"), mutant
        found.setdefault(mutant.rule, set()).add(mutant.lines(TEXT)[1])
    return found


def test_each_rule():
    got = made()
    cond = "if (a {} 2 || (a == 5 && d->ok))"
    assert got["compare"] == {cond.format("<="), cond.format(">="), "if (a < 2 || (a != 5 && d->ok))"}
    assert got["logic"] == {"if (a < 2 && (a == 5 && d->ok))", "if (a < 2 || (a == 5 || d->ok))"}
    assert got["clause"] == {"if ((a == 5 && d->ok))", "if (a < 2)", "if (a < 2 || (d->ok))", "if (a < 2 || (a == 5))"}
    assert got["check"] == {"if (0)"}
    assert got["dropped"] == {";"}
    assert got["order"] == {"d->left = a; d->count++;", "d->flags |= XP_FF_PINNED; d->left = a;",
                            "undo(d, a, true); d->flags |= XP_FF_PINNED;"}
    assert {"return -XEN_EPERM;", "d->flags |= XP_FF_VALIDATED;", "false);"} <= got["constant"]
    assert {"#define HOW_MANY 8u /* 8 */", "#define HOW_MANY 6u /* 8 */", "return 1;"} <= got["number"]
    assert got["step"] == {"d->count--;", "d->flags &= XP_FF_PINNED;"}
    assert not any("BUG_ON" in line or "prefetch" in line or "AHEAD" in line for lines in got.values() for line in lines)


def test_names_are_unique_and_the_validator_has_many():
    nr = 0
    for name in validator.FILES:
        mutants = mutate.mutants(name, (NATIVE / name).read_text())
        assert len({mutant.name for mutant in mutants}) == len(mutants)
        nr += len(mutants)
    assert nr > 1500


def test_every_explained_survivor_is_a_mutant_still():
    """Fails when a line has changed or gone, or its function: then the explanation is to be looked at, and written anew or deleted."""
    explained = validator.explained(HERE / "survivors.txt")
    there = {one.which for one in workshop.all_mutants()}
    assert explained and all(one.old != one.new and why for one, why in explained.items())
    stale = [f"{one.file} {one.function}: {one.old}" for one in explained if one not in there]
    assert not stale, "explained, but no mutant any more:\n" + "\n".join(stale)


def test_an_explanation_of_another_line_or_function_is_stale():
    """What the test above compares: all four parts."""
    (one, *_) = (one.which for one in workshop.all_mutants() if one.mutant.file == "ad.c")
    there = {other.which for other in workshop.all_mutants()}
    assert one in there
    for change in ({"file": "mm.c"}, {"function": "other"}, {"old": one.old + " "}, {"new": one.new + ";"}):
        assert replace(one, **change) not in there
