"""Many domains: at once from several threads, five hundred in a row, two hypervisors side by side; nothing accumulates."""

import threading
from pathlib import Path

from guests import idle
from helpers import machine_is_free, until


def test_created_and_destroyed_from_several_threads_while_others_run(hv):
    steady = hv.create(idle, name="steady")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(12):
                if i % 3 == 0:
                    assert hv.create(lambda g, x: x, number * 100 + i, memory="256K").wait() == number * 100 + i
                elif i % 3 == 1:
                    assert hv.create(idle, memory="256K").destroy().reason == "destroyed"
                else:
                    assert hv.create(lambda g: 1 / 0, memory="256K").join().crashed
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    assert steady.state == "running"
    steady.shutdown()
    assert steady.wait() == "poweroff"


def test_a_hundred_domains_end_at_the_same_moment(hv):
    """More news at once than one look takes."""
    doms = [hv.create(idle, memory="64K", name=f"one-of-many-{i}") for i in range(100)]
    rows = hv.domains()
    assert len(rows) == 101
    for dom in doms:
        dom.shutdown()
    assert [dom.wait(30) for dom in doms] == ["poweroff"] * 100


def test_ends_that_nobody_asks_for_yet(hv):
    doms = [hv.create(lambda g, i=i: i, memory="64K") for i in range(80)]
    until(lambda: len(hv.domains()) == 1, "their end", 30)
    assert [dom.wait() for dom in doms] == list(range(80))


def test_two_hypervisors_at_once(hv, own_machine):
    other = own_machine("16M")
    doms = [machine.create(lambda g, x: (g.domid, x), n, name="same name") for n, machine in enumerate((hv, other))]
    assert [dom.wait()[1] for dom in doms] == [0, 1]
    survivor = hv.create(idle)
    other.close()
    assert survivor.state == "running"
    survivor.destroy()


def private_kb(pid: int) -> int:
    """Memory of a process that is its own: without machine memory, which it maps."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1])


def test_five_hundred_in_a_row_leave_everything_where_it_was(fresh_hv):
    def round_of(n: int) -> tuple[int, int]:
        for i in range(n):
            dom = fresh_hv.create(lambda g, x: [x, bytes(100).hex()], i, memory="256K")
            assert dom.wait()[0] == i
        info = machine_is_free(fresh_hv)
        return private_kb(fresh_hv.pid), info["kernel_objects"]["descriptors"]

    round_of(100)           # what is made once is made
    before_kb, before_fds = round_of(10)
    after_kb, after_fds = round_of(500)
    assert after_fds == before_fds
    assert after_kb - before_kb < 512, f"{before_kb} kB before, {after_kb} kB after 500 domains"
