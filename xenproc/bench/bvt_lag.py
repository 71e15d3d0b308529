"""How far a recorded schedule is from the ideal that gives everybody its share at every instant. Pure.

The ideal has the same CPU time to give as was really given, so that what the host takes counts against nobody. Who sleeps gets
nothing of it; who has had more than the ideal gave it is still counted by the ideal until that has caught up.
"""

from collections.abc import Iterable, Mapping

Step = tuple[int, str, int, int, int]       # as in xenproc.dom0.schedule


def lags(steps: Iterable[Step], weights: Mapping[int, int]) -> dict[int, float]:
    """Return for each domain how far it was ever behind its share while it could run, in ns of CPU time.

    weights: of the domains that count; the record has to begin before they do.
    """
    tag = dict.fromkeys(weights, 0.0)
    most = dict.fromkeys(weights, 0.0)
    awake: set[int] = set()
    ideal, pool, at = 0.0, 0.0, None
    for _, what, domid, number, value in steps:
        if domid not in weights or what not in ("charge", "wake", "sleep", "remove"):
            continue
        if what != "charge" or value != at:         # charges of one moment belong together
            ideal, pool = _advance(ideal, pool, tag, weights, awake), 0.0
            for who in awake:
                most[who] = max(most[who], weights[who] * (ideal - tag[who]))
        if what == "charge":
            pool, at = pool + number, value
            tag[domid] += number / weights[domid]
        elif what == "wake":
            tag[domid] = max(tag[domid], ideal)
            awake.add(domid)
        else:
            awake.discard(domid)
    return most


def _advance(ideal: float, pool: float, tag: Mapping[int, float], weights: Mapping[int, int], awake: set[int]) -> float:
    """Give `pool` ns to those who run or are ahead of the ideal; return where it is then."""
    while pool > 1e-3:
        ahead = [who for who in weights if who not in awake and tag[who] > ideal]
        weight = sum(weights[who] for who in (*awake, *ahead))
        if not weight:
            return ideal
        step = min([pool / weight, *[tag[who] - ideal for who in ahead]])
        ideal += step
        pool -= max(step * weight, 1e-3)
    return ideal


def received(steps: Iterable[Step], weights: Mapping[int, int]) -> dict[int, int]:
    """Return the CPU time of each from the moment on when all had been charged."""
    got: dict[int, int] = dict.fromkeys(weights, 0)
    seen: set[int] = set()
    for _, what, domid, number, _ in steps:
        if what == "charge" and domid in weights:
            if seen == set(weights):
                got[domid] += number
            seen.add(domid)
    return got


def overruns(steps: Iterable[Step]) -> list[int]:
    """Return by how much each turn that its slice ended was longer than that, in ns, least first."""
    turn: dict[int, tuple[int, int, int]] = {}      # cpu -> (domid, when, slice)
    found = []
    blocked: set[int] = set()
    for _, what, domid, number, value in steps:
        if what in ("sleep", "remove"):
            blocked.add(domid)
        elif what == "decide":
            before = turn.get(number)
            if before and before[0] and before[0] != domid and before[0] not in blocked and before[2] and domid:
                found.append(max(0, value - before[1] - before[2]))
            blocked.discard(domid)
            turn[number] = (domid, value, 0)
        elif what == "slice" and number in turn:
            turn[number] = (*turn[number][:2], value if value < 1 << 62 else 0)
    return sorted(found)


def out_of_turn(steps: Iterable[Step]) -> int:
    """Return the most CPU time that anybody was charged at once beyond the time it had its CPU, in ns: it ran when it should not."""
    since: dict[int, int] = {}          # who has a CPU: from when on it was not charged
    on: dict[int, int] = {}
    most = 0
    for _, what, domid, number, value in steps:
        if what == "charge":
            if domid in since:
                most = max(most, number - (value - since[domid]))
                since[domid] = value
        elif what == "decide" and on.get(number) != domid:
            since.pop(on.get(number, 0), None)
            on[number] = domid
            since[domid] = value
        elif what in ("sleep", "remove"):
            since.pop(domid, None)
            on = {cpu: who for cpu, who in on.items() if who != domid}
    return most
