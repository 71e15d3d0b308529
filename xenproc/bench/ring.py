"""`xenproc bench ring`: request and response over a ring between two domains, in C and from Python, and its throughput."""

from typing import Any

from xenproc.bench import channel, guests, limits
from xenproc.bench.case import Case
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.party import PairCase
from xenproc.bench.placement import resolve
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite

PEERS = ("pipe", "unix", "unix_seqpacket", "zmq", "iceoryx2", "posix_ipc")
CROWD_N = 200
PACED_S = 0.1


def suite(plan: Plan) -> Suite:
    """Return the entries and ratios."""
    made = Suite(plan)
    machine = Machine(plan.isolation)
    made.add_cache_line()
    made.add_semaphore()
    made.add_peers(PEERS)
    _round_trips(made, machine, "")
    _throughput(made, machine)
    _crowd(made, machine)
    _paced(made, machine)
    if plan.cooperative:
        _round_trips(made, Machine("cooperative"), "_cooperative")
    _ratios(made)
    if plan.mode is None:
        channel.add(made, machine)
    return made


def _round_trips(made: Suite, machine: Machine, suffix: str) -> None:
    plan = made.plan
    for mode in ("poll", "adaptive", "block"):
        for place in made.places(mode):
            common: dict[str, Any] = {"mode": mode, "size": plan.size}
            stride = guests.STRIDE if mode == "poll" else None
            in_c = DomainCase(machine, guests.ring_c_client, guests.ring_c_server, stride=stride, **common)
            in_py = DomainCase(machine, guests.ring_py_client, guests.ring_py_server, stride=stride, **common)
            for name, case in (("ring_c", in_c), ("ring_py", in_py)):
                spinners = 2 if mode == "poll" else 0
                made.add(Entry(name + suffix, "own", case, place, mode, spinners=spinners))


def _throughput(made: Suite, machine: Machine) -> None:
    plan = made.plan
    # Whole batches, and warm-ups of whole batches: the Python loops answer nothing less.
    n = None if plan.trips is None else -(-plan.trips // plan.batch) * plan.batch
    options: dict[str, Any] = {"mode": "poll", "size": plan.size, "batch": plan.batch}
    for place in made.places("poll"):
        for name, client, server in (
            ("ring_batch_c", guests.pump_c_client, guests.pump_c_server),
            ("ring_batch_py", guests.pump_py_client, guests.pump_py_server),
        ):
            case = DomainCase(machine, client, server, grain=plan.batch, **options)
            made.add(Entry(name, "own", case, place, "poll", unit="M/s", spinners=2, n=n))


def _crowd(made: Suite, machine: Machine) -> None:
    """Two parties that poll on one CPU: slow, not dead."""
    if not made.plan.wants("poll") or made.plan.placement != "auto":
        return
    one = resolve("one")
    ours = DomainCase(machine, guests.ring_c_client, guests.ring_c_server, mode="poll", size=made.plan.size)
    crowd: tuple[tuple[str, str, Case], ...] = (
        ("crowd_ring_c", "own", ours),
        ("crowd_cacheline", "limit", PairCase(limits.CacheLine())),
    )
    for name, kind, case in crowd:
        made.add(Entry(name, kind, case, one, "poll", spinners=2, crowded=True, n=CROWD_N))


def _paced(made: Suite, machine: Machine) -> None:
    """Latency under load: at a fixed rate, from the time each request was due."""
    plan = made.plan
    options: dict[str, Any] = {"mode": "adaptive", "size": plan.size, "rate": plan.rate}
    for place in made.places("adaptive"):
        case = DomainCase(machine, guests.paced_client, guests.paced_server, **options)
        made.add(Entry("ring_py_paced", "own", case, place, "adaptive", n=plan.trips or int(plan.rate * PACED_S)))


def _ratios(made: Suite) -> None:
    made.ratio("ring_poll_c_over_cacheline", "ring_c", "cacheline", "poll", at_most=1.5)
    made.ratio("ring_poll_py_over_c", "ring_py", "ring_c", "poll", at_most=3.5)
    made.number("ring_poll_py_us", "ring_py", "poll", scale=1e-3, at_most=0.6)
    made.ratio("iceoryx2_over_ring_py", "iceoryx2", "ring_py", "poll", at_least=5)
    made.ratio("pipe_over_ring_py", "pipe", "ring_py", "poll", at_least=30)
    made.ratio("zmq_over_ring_py", "zmq", "ring_py", "poll", at_least=50)
    made.ratio("ring_block_py_over_pipe", "ring_py", "pipe", "block", at_most=0.8)
    made.number("ring_batch_c_mps", "ring_batch_c", "poll", at_least=15)
    made.number("ring_batch_py_mps", "ring_batch_py", "poll", at_least=2)
    if made.plan.cooperative:
        made.ratio("ring_poll_c_enforced_over_cooperative", "ring_c", "ring_c_cooperative", "poll")
