"""The checks of this folder can fail: each fact is falsified in turn, and each time it is found out."""

import copy
import re

import abi_cheaders as cheaders
import pytest
from abi_facts import constant_differences, missing_constants, struct_differences
from test_abi_headers import abi_name, header_constant_differences, header_differences, split_by_arch
from test_abi_layouts import LAYOUTS, layout_differences
from test_abi_names import constants

from xenproc.abi.layout import U8, U32, X86_64, Arch, struct


@pytest.fixture
def lie(facts):
    """The facts, to be falsified."""
    return copy.deepcopy(facts)


def falsified(structs):
    """Each (arch, name) of `structs` with one fact changed, as a context that is put right again."""
    for arch, names in structs.items():
        for name, fact in names.items():
            for holder, key in [(fact, "size"), *((f, k) for f in fact["fields"].values() for k in f)]:
                if key in ("count", "bit", "bits"):
                    continue
                if key == "elem" and any(p.startswith("pvt") for p in fact["fields"]):
                    continue
                right = holder[key]
                holder[key] = not right if isinstance(right, bool) else right + 1
                yield arch, name, key
                holder[key] = right


def test_every_falsified_fact_of_a_header_is_found(lie, measured):
    structs, _ = measured
    names = {tag: abi_name(lie, tag) for tag in structs}
    tags = {}
    for tag, (name, narrow) in names.items():
        tags["x86_32" if narrow else "x86_64", name] = tag
        if not narrow:
            tags.setdefault(("x86_32", name), tag)
    covered = {
        arch: {name: fact for name, fact in of_arch.items() if (arch, name) in tags}
        for arch, of_arch in lie["structs"].items()
    }
    tried = 0
    for arch, name, key in falsified(covered):
        if key == "ptr":
            continue  # C has no pointers here, on purpose: only Python's layouts know
        tag = tags[arch, name]
        mine = copy.copy(structs[tag])
        mine.align = None
        assert struct_differences(lie, arch, name, mine), (arch, name, key)
        tried += 1
    assert tried > 2000
    assert header_differences(lie, structs) == []


def test_every_falsified_fact_of_a_layout_is_found(lie):
    covered = {
        arch: {name: fact for name, fact in of_arch.items() if name in LAYOUTS}
        for arch, of_arch in lie["structs"].items()
    }
    tried = 0
    for arch, name, key in falsified(covered):
        assert layout_differences(lie, {name: LAYOUTS[name]}), (arch, name, key)
        tried += 1
    assert tried > 2000
    assert layout_differences(lie, LAYOUTS) == []


def test_a_field_too_many_or_too_few_is_found(lie, measured):
    tag = "struct xen_evtchn_send"
    right = lie["structs"]["x86_64"]["evtchn_send"]["fields"]
    lie["structs"]["x86_64"]["evtchn_send"]["fields"] = right | {"more": {"offset": 0, "size": 4}}
    assert header_differences(lie, {tag: measured[0][tag]}) == ["evtchn_send (x86_64): more: missing"]
    lie["structs"]["x86_64"]["evtchn_send"]["fields"] = {}
    assert header_differences(lie, {tag: measured[0][tag]}) == ["evtchn_send (x86_64): port: no such field"]


def test_a_struct_that_xen_does_not_have_is_found(facts, measured):
    stranger = {"evtchn_stranger": struct("evtchn_stranger", port=U32)}
    assert "no such struct" in layout_differences(facts, stranger)[0]
    with pytest.raises(AssertionError, match="0 structs of that name"):
        header_differences(facts, {"struct xen_evtchn_stranger": measured[0]["struct xen_evtchn_send"]})


def test_a_layout_of_one_architecture_on_both_is_found(facts):
    """The mistake that a test of sizes does not see: vcpu_info is 64 bytes on both."""
    from xenproc.abi.layout import by_arch

    right = LAYOUTS["vcpu_info"]
    wrong = by_arch("vcpu_info", right._fields[X86_64], right._fields[X86_64])
    wrong._classes = {arch: right[X86_64] for arch in Arch}
    assert any("evtchn_pending_sel" in line for line in layout_differences(facts, {"vcpu_info": wrong}))


def test_signedness_is_found(facts):
    wrong = struct("evtchn_reset", dom=U8 * 2)
    assert layout_differences(facts, {"evtchn_reset": wrong})


def test_every_falsified_constant_is_found(lie, measured):
    wide, narrow = split_by_arch(measured[1])
    for arch, names in (("x86_64", wide), ("x86_32", narrow)):
        for name in names:
            held = [table for table in (lie["constants"], lie["constants_by_arch"][arch]) if name in table]
            assert held, name
            for table in held:
                table[name] += 1
            assert any(line.startswith(f"{name} ") for line in header_constant_differences(lie, measured[1]))
            for table in held:
                table[name] -= 1
    assert header_constant_differences(lie, measured[1]) == []
    for arch in Arch:
        mine = constants(arch)
        for name in mine.keys() & lie["constants"].keys():
            lie["constants"][name] += 1
            assert any(name in line for line in constant_differences(lie, arch.value, mine))
            lie["constants"][name] -= 1


def test_a_name_that_xen_does_not_have_is_found(facts):
    assert constant_differences(facts, "x86_64", {"EVTCHNOP_stranger": 14}) == [
        "EVTCHNOP_stranger (x86_64): no such constant"
    ]


def test_a_missing_member_is_found(facts):
    mine = set(facts["constants"]) - {"EVTCHNOP_send"}
    assert missing_constants(facts, {"EVTCHNOP_"}, mine) == ["EVTCHNOP_send"]


def test_a_missing_twin_is_found(facts, measured):
    short = {name: value for name, value in measured[1].items() if name != "XEN32_EVTCHN_2L_NR_CHANNELS"}
    assert header_constant_differences(facts, short) == [
        "EVTCHN_2L_NR_CHANNELS: 32-bit guests have another value, and XEN32_EVTCHN_2L_NR_CHANNELS is missing"
    ]


@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        (
            r"(    uint16_t dom; .*\n)(    int16_t status; .*\n)(    uint32_t handle;)",
            r"\2\1\3",
            "gnttab_map_grant_ref",
        ),
        (r"    int16_t status;", "    uint16_t status;", "gnttab_map_grant_ref"),
        (r"    xen32_u64 timeout;", "    uint64_t timeout;", "sched_poll"),
        (r"uint32_t req_event;", "uint32_t rsp_event_too;", "sring_header"),
        (r"    xen32_u64 pad;\n", "", "blkif_request_indirect"),
        (r"EVTCHNOP_send = 4", "EVTCHNOP_send = 14", "EVTCHNOP_send"),
        (r"#define XEN_RUNSTATE_UPDATE .*", "#define XEN_RUNSTATE_UPDATE 1", "XEN_RUNSTATE_UPDATE"),
        (
            r"enum { XEN_PAGE_SHIFT = 12 };",
            "enum { XEN_PAGE_SHIFT = 12, VIRQ_STRANGER = 5 };",
            "VIRQ_STRANGER",
        ),
    ],
)
def test_a_broken_header_is_found(facts, tmp_path, right, wrong, where):
    """The whole way, through parser and compiler, with one line of a header changed."""
    nr = 0
    for path in cheaders.NATIVE.glob("abi*.h"):
        text = re.sub(r"^_Static_assert.*\n", "", path.read_text(), flags=re.MULTILINE)
        text, times = re.subn(right, wrong, text, count=1)
        nr += times
        (tmp_path / path.name).write_text(text)
    assert nr >= 1
    names = [
        "abi_types.h",
        *sorted(path.name for path in tmp_path.glob("abi_*.h") if path.name != "abi_types.h"),
    ]
    structs, numbers = cheaders.measure(cheaders.read(*names, where=tmp_path), "abi.h", tmp_path, tmp_path)
    found = header_differences(facts, structs) + header_constant_differences(facts, numbers)
    assert any(line.startswith(where) for line in found), found
