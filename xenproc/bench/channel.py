"""`xenproc bench vchan`: messages through a channel between two domains, against Pipe and a Unix socket.

Messages of 64 bytes, 4 KiB and 1 MiB, one way as fast as they go; each is numbered at both of its ends and checked.
"""

from xenproc.bench import guests, peers
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.party import PairCase
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite

SIZES = {"64": 64, "4k": 4096, "1m": 1 << 20}
PEERS = ("pipe", "unix", "unix_seqpacket", "zmq")
AT_LEAST = 3


def suite(plan: Plan) -> Suite:
    """Return the entries and ratios."""
    made = Suite(plan)
    add(made, Machine(plan.isolation))
    return made


def add(made: Suite, machine: Machine) -> None:
    """Add the channel's cases, its peers and the ratios to a suite.

    The channel waits as it does by default (adaptive), the peers block: that is what each does for its users.
    """
    for place in made.places("block"):
        if place.name == "one" and made.plan.placement == "auto":
            continue        # a stream between two that take turns on one CPU measures the turns
        for label, size in SIZES.items():
            for name in PEERS:
                peer = PairCase(peers.PEERS[name]("block", size, pour=True))
                made.add(Entry(f"{name}_{label}", "peer", peer, place, "block", unit="MB/s"))
            for many in (False, True) if size < 1 << 20 else (False,):
                case = DomainCase(
                    machine, guests.channel_client, guests.channel_server, grain=guests.CHANNEL_BATCH if many else 1,
                    memory="4M", mode="adaptive", size=size, many=many,
                )
                suffix = "_many" if many else ""
                made.add(Entry(f"vchan_{label}{suffix}", "own", case, place, "block", unit="MB/s"))
    for label in SIZES:
        for name in ("pipe", "unix"):
            made.ratio(f"vchan_{label}_over_{name}", f"vchan_{label}", f"{name}_{label}", "block", at_least=AT_LEAST)
            if label != "1m":
                made.ratio(
                    f"vchan_{label}_many_over_{name}", f"vchan_{label}_many", f"{name}_{label}", "block", at_least=AT_LEAST
                )
