"""xenproc.abi's numbers against Xen's public ABI: every enumeration, every constant, the errors' words."""

import pytest
from abi_facts import constant_differences, missing_constants
from test_abi_layouts import MODULES

from xenproc.abi.errno import Errno, describe
from xenproc.abi.event import EvtchnOp
from xenproc.abi.grant import GrantFlag, GrantStatus
from xenproc.abi.hypercall import Hypercall, VmAssist, XenFeature
from xenproc.abi.io import XEN_IO_PROTO_ABI_X86_32, XEN_IO_PROTO_ABI_X86_64, XENSTORE_ERRORS
from xenproc.abi.layout import X86_32, X86_64, Arch
from xenproc.abi.names import XenEnum, XenFlag
from xenproc.abi.sched import SchedOp

ENUMS = {
    value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, XenEnum | XenFlag) and value not in (XenEnum, XenFlag)
}
# Families that we have whole. Errno has XEN_ before its names, but the family is XEN_E.
PREFIXES = {enum.prefix for enum in ENUMS} - {"XEN_"} | {"XEN_E"}
# Not Xen's names: facts of the ABI that its headers say in another way.
NOT_CONSTANTS = {"SRING_HEADER_SIZE"}


def constants(arch: Arch) -> dict[str, int]:
    """Every number of the package under Xen's name, as a guest of `arch` has it."""
    found = {}
    for enum in ENUMS:
        found |= {enum.prefix + name.strip("_"): int(value) for name, value in enum.__members__.items()}
    for module in MODULES:
        for name, value in vars(module).items():
            if name.isidentifier() and not name.startswith("_") and name not in NOT_CONSTANTS:
                if isinstance(value, int) and not isinstance(value, type):
                    found[name] = int(value)
                elif isinstance(value, dict) and arch in value:
                    found[name] = value[arch]
    return found


def test_constants(facts):
    only_64 = set(facts["constants_by_arch"]["x86_64"]) - set(facts["constants_by_arch"]["x86_32"])
    for arch in Arch:
        mine = constants(arch)
        if arch is X86_32:
            mine = {name: value for name, value in mine.items() if name not in only_64}
        assert len(mine) > 400
        assert constant_differences(facts, arch.value, mine) == []


def test_no_constant_of_a_family_is_missing(facts):
    assert missing_constants(facts, PREFIXES, set(constants(X86_64)) | set(constants(X86_32))) == []


def test_python_has_what_c_has(measured):
    python = set(constants(X86_64)) | set(constants(X86_32))
    wide = {name for name in measured[1] if not name.startswith("XEN32_")}
    selectors = {name for name in wide if name.startswith("FLAT_")}
    assert wide - selectors - python == {"_GNTMAP_guest_avail0"}
    assert python - wide <= {
        "HYPERVISOR_VIRT_START_NONPAE",
        "MACH2PHYS_VIRT_START_NONPAE",
        "MACH2PHYS_VIRT_END_NONPAE",
    }


def test_a_member_knows_its_name_in_xen():
    assert EvtchnOp.send.xen_name == "EVTCHNOP_send"
    assert SchedOp.yield_.xen_name == "SCHEDOP_yield"
    assert VmAssist(0).xen_name == "VMASST_TYPE_4gb_segments"
    assert (GrantFlag.permit_access | GrantFlag.readonly).xen_name == "GTF_permit_access|GTF_readonly"


def test_no_member_has_a_number_that_xen_leaves_free(facts):
    unused = facts["derived"]["arch_independent"]["unused_numbers"]
    assert {int(call) for call in Hypercall} & set(unused["hypercalls"]) == set()


def test_features(facts):
    assert {f.name: int(f) for f in XenFeature} == facts["feature_bits"]


def test_strings(facts):
    assert [error.name for error in XENSTORE_ERRORS] == facts["strings"]["xenstore_error_names"]
    assert facts["strings"]["XEN_IO_PROTO_ABI_X86_32"] == XEN_IO_PROTO_ABI_X86_32
    assert facts["strings"]["XEN_IO_PROTO_ABI_X86_64"] == XEN_IO_PROTO_ABI_X86_64


def test_every_error_has_words_of_its_own(facts):
    for enum in (Errno, GrantStatus):
        words = [member.message for member in enum]
        assert all(words) and len(set(words)) == len(words)
    never = facts["derived"]["arch_independent"]["errno_never_returned_to_guests"]
    assert not set(never.values()) & {int(error) for error in Errno}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (0, "0"),
        (7, "7"),
        (-22, "-EINVAL (invalid argument)"),
        (-11, "-EAGAIN (not now, try again)"),
        (-4, "-4 (not an error of Xen's)"),
    ],
)
def test_describe(result, words):
    assert describe(result) == words
