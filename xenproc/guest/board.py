"""Where domains find each other: small values published for one reader, names resolved to numbers. See native/board.h."""

from xenproc.errors import ConfigError, HypercallError, NoSuchDomain
from xenproc.guest.hypercall import Hypercalls
from xenproc.native import ffi, lib
from xenproc.units import timeout_ns

_SLACK_NS = 5_000_000_000       # the hypervisor keeps the time limit; this much later it is taken to be gone


class Board:
    """This domain's view of the board."""

    def __init__(self, hypercalls: Hypercalls) -> None:
        self._calls = hypercalls

    def publish(self, reader: int, key: str, value: bytes) -> None:
        """Put `value` (at most 256 bytes) under `key` (at most 63) for domain `reader`; replaces an older one.

        Raises ConfigError (too long), HypercallError (ESRCH: no such domain, ENOSPC: this domain's limit of entries).
        """
        with self._op(key) as (address, op):
            if len(value) > lib.XP_BOARD_VALUE_MAX:
                raise ConfigError(f"value: at most {lib.XP_BOARD_VALUE_MAX} bytes, got {len(value)}")
            ffi.memmove(op.value, value, len(value))
            op.len, op.domid = len(value), reader
            self._calls.xenproc_op(lib.XP_OP_publish, address)

    def lookup(self, publisher: int, key: str, timeout: float | None = 5.0, take: bool = False) -> bytes:
        """Return what `publisher` published for this domain under `key`, waiting for it up to `timeout` seconds.

        take: it is taken off the board, so that the next lookup waits for the next value.
        Raises Timeout, HypercallError (ESRCH: the publisher does not exist, ENOENT: not there and timeout is 0).
        """
        with self._op(key) as (address, op):
            op.domid, op.take = publisher, take
            self._wait(lib.XP_OP_lookup, address, op, timeout)
            return bytes(ffi.buffer(op.value, op.len))

    def resolve(self, name: str, timeout: float | None = 5.0) -> int:
        """Return the number of the domain called `name`, waiting for it to exist. Raises Timeout, NoSuchDomain (timeout 0)."""
        with self._op(name) as (address, op):
            try:
                self._wait(lib.XP_OP_resolve, address, op, timeout)
            except HypercallError as error:
                if error.errno == 2:
                    raise NoSuchDomain(f"there is no domain {name!r}") from None
                raise
            return op.domid

    def domid_of(self, peer: int | str, timeout: float | None = 5.0) -> int:
        """Return a number as it is, a name resolved."""
        return peer if isinstance(peer, int) else self.resolve(peer, timeout)

    def _op(self, key: str):
        data = key.encode()
        if not 0 < len(data) < lib.XP_BOARD_KEY_MAX:
            raise ConfigError(f"key: expected 1 to {lib.XP_BOARD_KEY_MAX - 1} bytes, got {key!r}")
        return self._calls.struct("struct xp_op_board", key=data)

    def _wait(self, cmd: int, address: int, op, timeout: float | None) -> None:
        op.timeout_ns = timeout_ns(timeout)
        limit = min(op.timeout_ns + _SLACK_NS, (1 << 63) - 1)
        self._calls.xenproc_op(cmd, address, timeout_ns=limit)
