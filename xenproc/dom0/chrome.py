"""A recording as Chrome's trace JSON, which chrome://tracing and Perfetto's page open: one track a domain.

Source: Trace Event Format. Times are microseconds from the recording's first record on.
"""

import json
from typing import IO, Any

from xenproc.dom0.trace import Recording, slices


def events(recording: Recording) -> list[dict[str, Any]]:
    """Return the trace events. Two calls of a domain that overlap are shown beside each other, as asynchronous ones."""
    found = slices(recording.collected)
    found.sort(key=lambda piece: (piece["ns"], -(piece["dur"] or 0)))
    start = found[0]["ns"] if found else 0
    domids = sorted({piece["domid"] for piece in found})
    out: list[dict[str, Any]] = [{"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": "xenproc"}}]
    for domid in domids:
        name = recording.names.get(domid, "")
        title = "hypervisor" if domid == 0 else f"domain {domid} {name}".rstrip()
        out.append({"ph": "M", "pid": 1, "tid": domid, "name": "thread_name", "args": {"name": title}})
        out.append({"ph": "M", "pid": 1, "tid": domid, "name": "thread_sort_index", "args": {"sort_index": domid}})
    ends: dict[int, list[int]] = {}         # of what is open on a track, the innermost last
    for number, piece in enumerate(found):
        event = {"name": piece["name"], "pid": 1, "tid": piece["domid"], "ts": (piece["ns"] - start) / 1000,
                 "args": {**piece["args"], "cpu": piece["cpu"]}}
        if piece["dur"] is None:
            out.append({**event, "ph": "i", "s": "t"})
            continue
        end, inside = piece["ns"] + piece["dur"], ends.setdefault(piece["domid"], [])
        while inside and inside[-1] <= piece["ns"]:
            inside.pop()
        if inside and end > inside[-1]:
            both = {**event, "cat": "overlapping", "id": number}
            out += [{**both, "ph": "b"}, {**both, "ph": "e", "ts": (end - start) / 1000}]
        else:
            inside.append(end)
            out.append({**event, "ph": "X", "dur": piece["dur"] / 1000})
    return out


def write(recording: Recording, file: IO[str]) -> int:
    """Write the recording; return how many events that were."""
    found = events(recording)
    json.dump({"displayTimeUnit": "ns", "otherData": {"lost_records": recording.lost}, "traceEvents": found}, file)
    return len(found)
