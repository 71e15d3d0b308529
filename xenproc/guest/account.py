"""Who pays for what a back end does: a front end allows a back end to hand CPU time over, the back end says for whom it worked.

Only where domains are scheduled and CPUs are contended is anybody charged (docs/scheduling.md); everywhere else handing over does nothing.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from xenproc.errors import ConfigError
from xenproc.guest.hypercall import Hypercalls
from xenproc.native import lib

PERIOD_NS = int(lib.XP_SPENT_PERIOD_NS)


class Account:
    """The domain's, at the scheduler."""

    def __init__(self, calls: Hypercalls) -> None:
        self._calls = calls

    def pay(self, peer: int, part: float = 0.5) -> None:
        """Let domain `peer` hand over CPU time that it spends for us: up to `part` of a CPU in each 100 ms; 0: no more.

        It can never make us pay for more than it has really used, nor beyond our own share; within that, it is trusted.
        Raises ConfigError (part), HypercallError: ESRCH (no such domain), EINVAL (itself), ENOSPC (eight are paid).
        """
        if not 0 <= part <= 1:
            raise ConfigError(f"part: expected 0 to 1 of a CPU, got {part!r}")
        self._calls.xenproc_op(lib.XP_OP_pay, peer, round(part * PERIOD_NS))

    def hand_over(self, peer: int, ns: int) -> int:
        """Say that `ns` of the CPU time that we used were spent for domain `peer`; return how much of it that one is charged.

        Less where we have not used so much (in the last 100 ms, and not handed over yet), where it allowed less, or where it has used its
        share; 0 while CPUs are not contended. Raises HypercallError: EPERM (it does not pay us), ESRCH.
        """
        return self._calls.xenproc_op(lib.XP_OP_hand_over, peer, ns)

    @contextmanager
    def serving(self, peer: int) -> Iterator[None]:
        """Hand over what this thread uses within the block. Raises as hand_over, at its end."""
        before = time.thread_time_ns()
        yield
        self.hand_over(peer, time.thread_time_ns() - before)
