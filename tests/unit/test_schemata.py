"""scripts/schemata.py: many mutants in one program, each as if it stood alone."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import mutate
import schemata
from native.hvtest_build import HERE, NATIVE

from native import validator

FILE = "x.c"
TEXT = """\
/*
 * x.c: what the tests below compile.
 */
#include <stdio.h>

#define LIMIT 3u

struct pair { unsigned a, b; };

static inline __attribute__((always_inline)) unsigned one_line(const struct pair *p) { return p->a + 1; }

/* Calls itself: each call is the variant's. */
static unsigned sum(unsigned n,
                    const unsigned values[2])
{
    if (n == 0)
        return 0;
    return values[n % 2] + sum(n - 1, values);
}

static void print(void)
{
    const struct pair p = {.a = 1, .b = 2};
    (void)printf("%u %u %u\\n", sum(2, &p.a), one_line(&p), p.a < LIMIT ? 1 : 0);
}

int main(void)
{
    print();
    return 0;
}
"""


def made() -> tuple[dict[int, mutate.Mutant], list[schemata.Function]]:
    """Return its mutants by number, and its functions."""
    return dict(enumerate(mutate.mutants(FILE, TEXT), 1)), schemata.functions(TEXT)


def test_functions_are_found_and_what_is_outside():
    mutants, functions = made()
    assert [one.name for one in functions] == ["one_line", "sum", "print", "main"]
    outside = {one.lines(TEXT)[0] for one in mutants.values() if schemata.function_of(functions, one) is None}
    assert outside == {"#define LIMIT 3u"}


@pytest.mark.parametrize("name", validator.FILES)
def test_nearly_all_mutants_of_the_validator_are_in_functions(name):
    """What is not is a constant's definition."""
    text = (NATIVE / name).read_text()
    functions = schemata.functions(text)
    assert len({one.name for one in functions}) == len(functions) > 0
    for mutant in mutate.mutants(name, text):
        if schemata.function_of(functions, mutant) is None:
            assert mutant.lines(text)[0].startswith(("#define ", "_Static_assert")), mutant.name


def test_each_number_is_its_mutant_and_nothing_else(tmp_path):
    """Every mutant that compiles alone says in the schema what it says alone; what does not compile is named by the compiler."""
    mutants, functions = made()
    numbers = {(FILE, one.name): i for i, one in enumerate(functions)}
    inside = {nr: one for nr, one in mutants.items() if schemata.function_of(functions, one)}
    (tmp_path / FILE).write_text(schemata.schema(FILE, TEXT, list(inside.items()), numbers))
    gcc = ["gcc", "-std=c11", "-w", "-O2", *schemata.FLAGS]
    subprocess.run([*gcc, FILE, str(HERE / "mutant.c"), "-o", "all"], cwd=tmp_path, check=True, timeout=60)
    subprocess.run([*gcc, "-S", FILE, "-o", "all.s"], cwd=tmp_path, check=True, timeout=60)
    same = schemata.same_code((tmp_path / "all.s").read_text())

    def output(program: str, nr: int) -> tuple[int, bytes]:
        env = {"XP_MUTANT": str(nr), "XP_CPU_MS": "500"}
        done = subprocess.run([tmp_path / program], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        return max(done.returncode, -1), done.stdout         # which way it dies is no matter

    usual, told_apart = output("all", 0), 0
    assert usual == (0, b"3 2 1\n")
    for nr, mutant in inside.items():
        if "values[" in mutant.lines(TEXT)[1] and "values[n % 2]" not in mutant.lines(TEXT)[1]:
            continue                        # reads what it must not: what that is differs from program to program
        (tmp_path / "one.c").write_text(mutant.apply(TEXT))
        subprocess.run([*gcc, "one.c", str(HERE / "mutant.c"), "-o", "one"], cwd=tmp_path, check=True, timeout=60)
        assert output("all", nr) == output("one", 0), mutant.lines(TEXT)
        told_apart += output("all", nr) != usual
        assert nr not in same or output("all", nr) == usual
    assert told_apart >= 5


def test_same_code_is_what_changes_nothing(tmp_path):
    text = "unsigned twice(unsigned a)\n{\n    unsigned b = a;\n    return a + b;\n}\n"
    at = text.index("a + b")
    changes = ["b + a", "a - b", "2 * a"]
    mutants = [(nr, mutate.Mutant("y.c", 4, "test", nr, at, at + 5, new)) for nr, new in enumerate(changes, 1)]
    (tmp_path / "y.c").write_text(schemata.schema("y.c", text, mutants, {("y.c", "twice"): 0}))
    subprocess.run(["gcc", "-O2", *schemata.FLAGS, "-S", "y.c", "-o", "y.s"], cwd=tmp_path, check=True, timeout=60)
    assert schemata.same_code((tmp_path / "y.s").read_text()) == {1, 3}


def test_an_error_names_its_mutant(tmp_path):
    text = "int f(int a)\n{\n    a = 1;\n    return a;\n}\n"
    at = text.index("a = 1")
    wrong = mutate.Mutant("z.c", 3, "test", 1, at, at + 5, "1 = a")
    (tmp_path / "z.c").write_text(schemata.schema("z.c", text, [(7, wrong)], {("z.c", "f"): 0}))
    done = subprocess.run(["gcc", "-c", "z.c"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "m7:3:" in done.stderr
