"""`xenproc demo`: the first thing a person runs. Real domains, real rings, real crashes; every figure is measured now."""

import contextlib
import os
import signal
import sys
import textwrap
import time
from typing import Any

import click

from xenproc.cli import demo_guests as guests
from xenproc.cli.common import json_option, print_json, say
from xenproc.dom0.domain import Exit
from xenproc.dom0.toolstack import ISOLATION, Hypervisor
from xenproc.errors import Timeout, XenprocError

MACHINE = "64M"
MAX_GAP_MS = 250
FREE_DEADLINE_S = 10.0
SPUN, SLEPT = 100_000, 5_000        # requests

# How each guest must end where isolation is enforced: another end means that something let it through.
ENDINGS = {
    "wild_write": "crash: killed by SIGBUS",
    "abort": "crash: killed by SIGABRT",
    "mistake": "crash: RuntimeError",
    "forbidden": "crash: killed by SIGSYS",
    "greedy": "poweroff: was given",
    "stubborn": "destroyed by Domain0",
    "kill -9": "crash: killed by SIGKILL",
    "liar": "its peer: ring wait: the other end broke the protocol",
}
NOT_TRIED = "not tried"


class Report:
    """What was found, as it is found: text for people, a dict for programs."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.found: dict[str, Any] = {}

    def say(self, text: str = "", **style: Any) -> None:
        """Print a line, unless the output is JSON or nobody wants it."""
        if not self.as_json:
            say(text, **style)

    def row(self, name: str, text: str) -> None:
        """Print a line of a table, in 80 columns."""
        lines = textwrap.wrap(text, 80 - 15)
        self.say("\n".join([f"  {name:<12} {lines[0]}", *(" " * 15 + line for line in lines[1:])]))

    def title(self, text: str) -> None:
        """Print a heading."""
        self.say()
        self.say(text, bold=True)


def placements() -> list[tuple[str, list[int], list[int]]]:
    """Return (what, CPUs of one party, CPUs of the other)."""
    cpus = sorted(os.sched_getaffinity(0))
    one = [("one CPU", cpus[:1], cpus[:1])]
    return [("two CPUs", cpus[:1], cpus[1:2]), *one] if len(cpus) > 1 else one


def show_machine(hv: Hypervisor, report: Report) -> None:
    """Say what was started and how well it is walled in."""
    info = hv.info()
    isolation = info["isolation"]
    report.found["isolation"] = isolation
    report.say(f"hypervisor: process {hv.pid}, {info['memory']['frames']} frames of 4 KiB ({MACHINE}) in shared memory")
    report.say(f"isolation : {isolation['mode']}; namespaces: {', '.join(isolation['namespaces']) or 'none'}")
    for what, why in isolation["refused"].items():
        report.say(textwrap.fill(f"not enforced: {what}: {why}", 80, initial_indent=" " * 12, subsequent_indent=" " * 14),
                   fg="yellow")


def show_ring(hv: Hypervisor, report: Report) -> None:
    """Two domains exchange checked requests through a ring, spinning and sleeping."""
    report.title("A ring between two domains, Python at both ends, every answer checked")
    report.say(f"  {'waiting':<10} {'where':<10} {'requests':>9} {'p50':>10} {'p99':>10} {'p99.9':>10}")
    rows = report.found["ring"] = []
    for where, front, back in placements():
        for mode, requests in (("poll", SPUN), ("block", SLEPT)):
            if mode == "poll" and where == "one CPU":
                continue            # two that spin on one CPU only wait for each other's time slice
            domain = hv.create(guests.server, mode, name="server", cpus=back)
            p50, p99, p999 = hv.create(guests.client, mode, requests, name="client", cpus=front).wait(60)
            answered = domain.wait(10)
            if answered != requests:
                raise XenprocError(f"ring: {requests} requests were made, {answered} answered")
            rows.append({"mode": mode, "placement": where, "requests": requests, "p50_ns": p50, "p99_ns": p99, "p999_ns": p999})
            report.say(f"  {mode:<10} {where:<10} {requests:>9} " + " ".join(f"{ns / 1000:>7.2f} us" for ns in (p50, p99, p999)))


def verdict(end: Exit) -> str:
    """Return one line on how a domain ended."""
    if end.crash is None:
        return f"{end.reason}: {end.result}" if end.result is not None else end.reason
    text = end.crash.detail
    return f"crash: {text} at {end.crash.fault_address}" if end.crash.fault_address else f"crash: {text}"


def run_bad_guest(hv: Hypervisor, name: str) -> str:
    """Run one guest that ends badly; return how."""
    domain = hv.create(getattr(guests, name), name=name, private_memory="128M")
    if name == "stubborn":
        with contextlib.suppress(Timeout):
            domain.join(0.3)
        return f"{verdict(domain.destroy())} by Domain0 after 0.3 s"
    return verdict(domain.join(30))


def show_crashes(hv: Hypervisor, report: Report) -> None:
    """Guests end in different ways while a pair exchanges messages; the pair must not notice."""
    report.title("Guests that crash or cheat, while a pair exchanges a message every 5 ms")
    other = hv.create(guests.listener, name="listener")
    pair = hv.create(guests.talker, name="talker")
    begun = time.monotonic()
    while "talking" not in pair.console.read():
        if time.monotonic() - begun > 20:
            raise XenprocError("the pair did not begin to talk within 20 s")
        time.sleep(0.01)
    endings = report.found["endings"] = {}
    for name in ("wild_write", "abort", "mistake", "forbidden", "greedy", "stubborn"):
        if name == "wild_write" and report.found["isolation"]["mode"] != "enforced":
            endings[name] = f"{NOT_TRIED}: nothing would stop it here (see xenproc doctor)"
        else:
            endings[name] = run_bad_guest(hv, name)
        report.row(name, endings[name])
    victim = hv.create(guests.stubborn, name="victim")
    os.kill(victim.pid, signal.SIGKILL)
    endings["kill -9"] = verdict(victim.join(10))
    report.row("kill -9", endings["kill -9"])
    lied_to = hv.create(guests.deceived, name="deceived")
    hv.create(guests.liar, name="liar").join(30)
    endings["liar"] = f"its peer: {lied_to.wait(30)}"
    report.row("liar", endings["liar"])
    pair.shutdown()
    report.found["pair"] = {**pair.wait(30), **other.wait(30)}


def show_pair(hv: Hypervisor, report: Report) -> bool:
    """Say what the pair noticed and whether everything was given back; return whether all is well."""
    pair = report.found["pair"]
    harmed = abs(pair["sent"] - pair["got"]) + pair["wrong"] + pair["damaged"] + pair["disorder"]
    end = time.monotonic() + FREE_DEADLINE_S
    while (memory := hv.info()["memory"])["free"] != memory["frames"] - 1 and time.monotonic() < end:
        time.sleep(0.01)
    free, audit = memory["free"] == memory["frames"] - memory["hypervisor"], hv.audit()
    left = [name for name in os.listdir("/dev/shm") if name.startswith(f"xenproc.{hv.pid}.")]
    odd = {name: end for name, end in report.found["endings"].items() if not end.startswith((ENDINGS[name], NOT_TRIED))}
    well = not harmed and pair["gap_ms"] <= MAX_GAP_MS and free and audit == 0 and not left and not odd
    report.found["after"] = {
        "all_frames_free": free, "audit": audit, "left_in_dev_shm": left, "unexpected_endings": odd, "well": well,
    }
    report.title("Afterwards")
    report.row("the pair", f"{pair['sent']} messages sent, {pair['got']} received, {harmed} lost or damaged; longest gap "
                           f"{pair['gap_ms']:.1f} ms")
    report.row("the machine", f"{'every frame is free again' if free else 'frames are missing'}, audit "
                              f"{'clean' if audit == 0 else audit}, "
                              f"{f'left in /dev/shm: {left}' if left else 'nothing left in /dev/shm'}")
    for name in odd:
        report.row(name, f"should have ended with {ENDINGS[name]!r}")
    report.say()
    report.say("Nobody else noticed." if well else "Not as it should be: see above.", fg="green" if well else "red", bold=True)
    return well


@click.command()
@json_option
@click.option("--isolation", type=click.Choice(ISOLATION), default="auto", show_default=True,
              help="enforced: fail where the kernel cannot enforce it.")
def demo(as_json: bool, isolation: str) -> None:
    """Show it all: domains as processes, rings between them, and crashes that hurt nobody.

    Takes a few seconds. Exit status 1 if anything was lost, or a guest got further than it should.
    """
    report = Report(as_json)
    started = time.monotonic()
    with Hypervisor(MACHINE, isolation=isolation) as hv:
        show_machine(hv, report)
        show_ring(hv, report)
        show_crashes(hv, report)
        well = show_pair(hv, report)
    report.found["seconds"] = round(time.monotonic() - started, 1)
    if as_json:
        print_json(**report.found)
    if not well:
        sys.exit(1)
