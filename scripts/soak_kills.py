"""Kill -9 at random moments, many times: pairs of domains with a ring between them; one dies, the other must see just that.

After every 50 pairs the machine must be as it was: every frame free and clean, the audit 0, no descriptor more. `scripts/soak` calls this.
"""

import argparse
import os
import random
import signal
import time

import xenproc
from xenproc.ring import Layout

ECHO = Layout("struct { uint64_t id; uint64_t v; }", "struct { uint64_t id; uint64_t v; }")

def meet(make, *args, **kwargs):
    """[guest] Make an end of a ring; None where the other died before it was there, which may show in several ways."""
    try:
        return make(*args, timeout=0.25, **kwargs)
    except (xenproc.PeerGone, xenproc.HypercallError, xenproc.NoSuchDomain, xenproc.Timeout):
        return None


def front(g, back: str) -> str:
    """[guest] Ask for ever, check every answer."""
    ring = meet(g.ring_front, back, ECHO)
    n = 0
    try:
        while ring is not None:
            ring.request.v = n
            if ring.call().v != n + 1:
                return f"a wrong answer to request {n}"
            n += 1
    except xenproc.PeerGone:
        ring.close()
    return "peer gone"


def back(g, front: str) -> str:
    """[guest] Answer for ever."""
    def answer(request, response) -> None:
        response.v = request.v + 1

    ring = meet(g.ring_back, front, ECHO)
    if ring is not None:
        with ring:
            ring.serve(answer)
    return "peer gone"


def kill_one(hv: xenproc.Hypervisor, rng: random.Random, number: int) -> None:
    """Make a pair, kill one of it at some moment, hear what the other says."""
    names = f"front {number}", f"back {number}"
    pair = [hv.create(front, names[1], name=names[0], memory="1M"), hv.create(back, names[0], name=names[1], memory="1M")]
    rng.shuffle(pair)
    victim, other = pair
    time.sleep(rng.choice([0, rng.uniform(0, 0.002), rng.uniform(0, 0.02)]))
    os.kill(victim.pid, signal.SIGKILL)
    end = victim.join(10)
    assert end.crash is not None and end.crash.signal == "SIGKILL", end
    said = other.join(20)
    assert said.result == "peer gone", f"pair {number}: {other.name} ended with {said}"


def check(hv: xenproc.Hypervisor, descriptors: int, seconds: float = 10.0) -> None:
    """The machine is empty again, soon."""
    end = time.monotonic() + seconds
    while True:
        info = hv.info()
        memory = info["memory"]
        clean = (
            len(hv.domains()) == 1 and memory["free"] == memory["frames"] - memory["hypervisor"]
            and memory["dirty"] == 0 and hv.audit() == 0
            and info["kernel_objects"]["descriptors"] <= descriptors
        )
        if clean:
            return
        assert time.monotonic() < end, f"left behind: {hv.domains()[1:]} {info}"
        time.sleep(0.01)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with xenproc.Hypervisor(memory="64M") as hv:
        hv.create(lambda g: None).wait()
        descriptors = hv.info()["kernel_objects"]["descriptors"]
        for number in range(args.kills):
            kill_one(hv, rng, number)
            if number % 50 == 49:
                check(hv, descriptors)
        check(hv, descriptors)
    print(f"{args.kills} kills; everything was as before each time")


if __name__ == "__main__":
    main()
