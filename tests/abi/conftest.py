"""What the ABI tests share: the facts, and our headers as the compiler sees them (measured once)."""

import re

import abi_cheaders as cheaders
import abi_facts
import pytest


@pytest.fixture(scope="session")
def facts():
    return abi_facts.load()


@pytest.fixture(scope="session")
def abi_header():
    """Everything that native/abi.h includes."""
    includes = re.findall(r'#include "(abi_\w+\.h)"', (cheaders.NATIVE / "abi.h").read_text())
    present = {path.name for path in cheaders.NATIVE.glob("abi_*.h")}
    assert set(includes) | {"abi_types.h"} == present, "abi.h includes every abi_*.h"
    return cheaders.read("abi_types.h", *includes)


@pytest.fixture(scope="session")
def measured(abi_header, tmp_path_factory):
    """(structs, constants) of native/abi.h."""
    return cheaders.measure(abi_header, "abi.h", tmp_path_factory.mktemp("abi"))
