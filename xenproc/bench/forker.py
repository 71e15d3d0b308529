"""`python -m xenproc.bench.forker FD`: a process with the warm server's memory image that forks bare processes.

Told {"n"} over the socket it starts that many `multiprocess.Process` one after the other and answers {"ns": [...]}: for
each the time from before start() to the child's first line. Ends when the socket closes.
"""

import gc
import json
import os
import socket
import sys
import time

import multiprocess

from xenproc.bench import guests  # noqa: F401  (what the machine's hypervisor preloads)
from xenproc.guest import server  # noqa: F401  (and with it all that the warm server imports)
from xenproc.native import lib


def first_line(pipe: int) -> None:
    """What the child runs: say when."""
    os.write(pipe, time.monotonic_ns().to_bytes(8, "little"))


def fork_one(read: int, write: int) -> int:
    """Start one process and return the ns until its first line."""
    begin = time.monotonic_ns()
    process = multiprocess.get_context("fork").Process(target=first_line, args=(write,))
    process.start()
    born = int.from_bytes(os.read(read, 8), "little")
    process.join()
    return born - begin


def main() -> None:
    """Entry point."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    lib.xp_bench_die_with_parent(os.getppid())
    read, write = os.pipe()
    gc.collect()
    gc.freeze()
    sock.send(b'{"ready": true}')
    while data := sock.recv(1 << 16):
        sock.send(json.dumps({"ns": [fork_one(read, write) for _ in range(json.loads(data)["n"])]}).encode())


if __name__ == "__main__":
    main()
