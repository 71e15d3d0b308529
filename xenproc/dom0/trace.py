"""A recording of what a hypervisor and its domains do: hypercalls, events, traps, scheduling, rings.

    with Recording(client) as recording:
        ...
        recording.collect()             # now and then: the rings hold the newest records only
    chrome.write(recording, file)

The memory is made here and handed over, sealed; the hypervisor writes, we read (native/trace.h). Closing the connection ends it.
"""

import fcntl
import mmap
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from xenproc.dom0.client import Client
from xenproc.errors import ConfigError
from xenproc.native import ffi, lib

CLASSES = {
    "hypercalls": lib.XP_TRACE_hypercalls, "events": lib.XP_TRACE_events, "traps": lib.XP_TRACE_traps, "sched": lib.XP_TRACE_sched,
    "life": lib.XP_TRACE_life, "rings": lib.XP_TRACE_rings,
}
RECORDS = 1 << 16       # a CPU: 2 MiB
MAX_RECORDS = 1 << 24
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened: when (system time, ns), on which CPU, to whom; type, number and value as in native/trace.h."""

    ns: int
    cpu: int
    type: int
    domid: int
    number: int
    value: int


class Recording:
    """Rings of memory, one a CPU, and what was collected of them."""

    def __init__(self, client: Client, classes: tuple[str, ...] = tuple(CLASSES), records: int = RECORDS) -> None:
        """Begin to record. records: what each CPU's ring holds, a power of two. Raises ConfigError, and as Client.call."""
        if not classes or not set(classes) <= set(CLASSES):
            raise ConfigError(f"trace: expected some of {', '.join(CLASSES)}, got {', '.join(classes) or 'none'}")
        if records & (records - 1) or not 256 <= records <= MAX_RECORDS:
            raise ConfigError(f"trace: expected a power of two of records, 256 to {MAX_RECORDS}, got {records}")
        self._client = client
        self._records = records
        self.cpus = os.cpu_count() or 1
        self.lost = 0
        self.names: dict[int, str] = {}
        self.collected: list[Record] = []
        self._stride = lib.xp_trace_ring_bytes(records)
        fd = os.memfd_create("xenproc-trace", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, self.cpus * self._stride)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self._map = mmap.mmap(fd, self.cpus * self._stride)
            mask = sum(CLASSES[name] for name in set(classes))
            self._clock = client.call("trace_start", [fd], cpus=self.cpus, records=records, classes=mask)
        finally:
            os.close(fd)
        self._base = ffi.from_buffer(self._map)
        self._at = [ffi.new("uint64_t *") for _ in range(self.cpus)]
        self._names_now()

    def _names_now(self) -> None:
        self.names |= {row["domid"]: row["name"] for row in self._client.call("list_domains")}

    def _ns(self, tsc: int) -> int:
        return self._clock["ns"] + (tsc - self._clock["tsc"]) * 1_000_000_000 // self._clock["tsc_hz"]

    def collect(self) -> int:
        """Take what is new in the rings; return how many records that were. What was overwritten or torn is added to `lost`."""
        self.lost += self._client.call("trace_gather")
        return self._take()

    def _take(self) -> int:
        seen, lost, before = ffi.new("struct xp_trace_seen[]", _BATCH), ffi.new("uint64_t *"), len(self.collected)
        for cpu in range(self.cpus):
            ring = self._base + cpu * self._stride
            while nr := lib.xp_trace_read(ring, self._records, self._at[cpu], seen, _BATCH, lost):
                self.collected += [
                    Record(self._ns(r.tsc), cpu, r.type, r.domid, r.number, r.value) for r in seen[0:nr]
                ]
        self.lost += lost[0]
        return len(self.collected) - before

    def stop(self) -> None:
        """Record no more, and take what is left. Twice is harmless."""
        if self._map.closed:
            return
        self.lost += self._client.call("trace_stop")
        self._take()
        self._names_now()
        self.collected.sort(key=lambda record: record.ns)
        ffi.release(self._base)
        self._map.close()

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def type_name(number: int) -> str:
    """Return the name of a record's type."""
    return _TYPES.get(number, f"type {number}")


_LASTING = {"call": "call", "block": "blocked", "sleep": "asleep", "wait": "waits for an event"}
_TYPES: dict[int, str] = {
    getattr(lib, name): name.removeprefix("XP_TT_") for name in dir(lib) if name.startswith("XP_TT_") and name != "XP_TT_none"
}


def slices(records: list[Record]) -> list[dict[str, Any]]:
    """Return what lasted and what happened at once, as dicts of ns, dur (None: at once), domid, cpu, name, args.

    A call lasts until its answer, a block until its wake, a wait and the dispatcher's sleep until their ends; what has not ended is
    left out, and so is an end without a beginning.
    """
    from xenproc.abi import Hypercall

    open_: dict[tuple[str, int, int], Record] = {}
    ends = {"answer": "call", "wake": "block", "awake": "sleep", "woken": "wait"}
    found = []
    for record in records:
        name = type_name(record.type)
        if name in ends.values():
            slot = record.number >> 16 if name == "call" else record.number
            open_[name, record.domid, slot] = record
        elif name in ends:
            begun = open_.pop((ends[name], record.domid, record.number), None)
            if begun is None:
                continue
            value = record.value - (1 << 64) if record.value >> 63 else record.value
            title, args = _LASTING[ends[name]], {"result": value}
            if name == "answer":
                nr = begun.number & 0xFFFF
                title = Hypercall(nr).name if nr in _CALLS else f"hypercall {nr}"
                args |= {"argument": begun.value, "slot": record.number}
            elif name == "woken":
                args["port"] = record.number
            found.append({"ns": begun.ns, "dur": record.ns - begun.ns, "domid": record.domid, "cpu": record.cpu,
                          "name": title, "args": {} if name == "awake" else args})
        elif name in ("push", "take"):
            args = {"port": record.number & 0xFFFF, "entries": record.number >> 16, "index": record.value & 0xFFFFFFFF}
            if name == "push":
                args["notify"] = bool(record.value >> 32)
            found.append({"ns": record.ns, "dur": None, "domid": record.domid, "cpu": record.cpu, "name": name, "args": args})
        else:
            found.append({"ns": record.ns, "dur": None, "domid": record.domid, "cpu": record.cpu, "name": name,
                          "args": {"number": record.number, "value": record.value}})
    return found


def _calls() -> set[int]:
    from xenproc.abi import Hypercall

    return {int(call) for call in Hypercall}


_CALLS = _calls()
