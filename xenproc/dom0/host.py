"""What the host offers to a hypervisor, asked in a process of its own: Domain0 does not import xenproc/hv/host.py."""

import json
import os
import subprocess
import sys
from typing import Any

from xenproc.errors import Timeout, XenprocError

DEADLINE_S = 30


def examine() -> list[dict[str, Any]]:
    """Return a dict for each thing that matters: what, ok, detail, cost (what is lost without it), remedy.

    Raises Timeout, XenprocError (the examination itself failed).
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
    try:
        done = subprocess.run([sys.executable, "-m", "xenproc.hv.host", "--json"], capture_output=True, timeout=DEADLINE_S,
                              env=env, check=False)
    except subprocess.TimeoutExpired:
        raise Timeout(f"the host was not examined within {DEADLINE_S} s") from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise XenprocError(f"the host could not be examined: {done.stderr.decode(errors='replace').strip()[-300:]}") from None
