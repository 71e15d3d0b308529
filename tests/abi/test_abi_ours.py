"""xenproc.abi.ours against native/ours.h, and against what Xen leaves free."""

import abi_cheaders as cheaders
import pytest
from abi_facts import constant_differences
from test_abi_layouts import as_struct

from xenproc.abi import ours
from xenproc.abi.hypercall import Hypercall
from xenproc.abi.layout import X86_64, Layout
from xenproc.abi.names import XenEnum


@pytest.fixture(scope="module")
def ours_h(tmp_path_factory):
    return cheaders.measure(cheaders.read("ours.h"), "ours.h", tmp_path_factory.mktemp("ours"))


def python_constants():
    found = {}
    for name, value in vars(ours).items():
        if isinstance(value, type) and issubclass(value, XenEnum) and value is not XenEnum:
            found |= {value.prefix + member: int(v) for member, v in value.__members__.items()}
        elif isinstance(value, int):
            found[name] = value
    return found


def test_constants(ours_h):
    assert python_constants() == ours_h[1]


def test_layouts(ours_h):
    """Every argument of our hypercall, field by field; the call page is the C core's alone."""
    arguments = {
        tag.removeprefix("struct "): s for tag, s in ours_h[0].items() if tag.startswith("struct xp_op_")
    }
    layouts = {name: value for name, value in vars(ours).items() if isinstance(value, Layout)}
    assert set(layouts) == set(arguments)
    for name, layout in layouts.items():
        mine, theirs = as_struct(layout, X86_64), arguments[name]
        assert (mine.size, mine.align) == (theirs.size, theirs.align), name
        where = {path: (f.offset, f.size, f.elem) for path, f in mine.fields.items()}
        assert where == {path: (f.offset, f.size, f.elem) for path, f in theirs.fields.items()}, name


def test_our_hypercall_has_a_number_that_xen_leaves_free(facts):
    assert ours.XP_HYPERVISOR_xenproc_op not in [int(call) for call in Hypercall]
    known = {v for name, v in facts["constants"].items() if name.startswith("__HYPERVISOR_")}
    assert ours.XP_HYPERVISOR_xenproc_op not in known
    assert ours.XP_HYPERVISOR_xenproc_op < 64


def test_our_names_are_not_xens(facts):
    assert len(constant_differences(facts, "x86_64", python_constants())) == len(python_constants())
