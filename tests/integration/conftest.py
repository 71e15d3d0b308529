"""What tests with a running hypervisor share."""

import pytest

from xenproc.dom0 import registry


@pytest.fixture
def client(hv):
    """A control connection of its own, as the commands have one."""
    client = registry.connect(hv.pid)
    yield client
    client.close()
