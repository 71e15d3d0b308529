"""Each forgotten door, tried from Python, from machine code, from a second thread and through `int 0x80`.

Refused where the defences are on; with the named defence off the same call goes through, or the test would prove nothing.
"""

import ctypes
import threading

import pytest
from hostile import machine_code
from hostile.doors import DOORS, Door

WAYS = ("python", "machine code", "thread")
EPERM, ENOSYS, EBADF, ENOENT = 1, 38, 9, 2


def _in_thread(call):
    def made(*args):
        got = []
        thread = threading.Thread(target=lambda: got.append(call(*args)))
        thread.start()
        thread.join()
        return got[0]

    return made


def knock(g, names: list[str]) -> dict[str, list[int]]:
    """[guest] Try doors in the three ways that do not end the process; return the kernel's answers."""
    by_code = machine_code.assemble(machine_code.SYSCALL)
    ways = [machine_code.libc_call, by_code, _in_thread(by_code)]
    low = machine_code.low_buffer()
    answers: dict[str, list[int]] = {}
    for door in (door for door in DOORS if door.name in names):
        for way in ways:
            ctypes.memset(low, 0, 4096)
            answers.setdefault(door.name, []).append(way(door.nr, *door.args(g, low)))
    return answers


def knock_once(g, name: str) -> list[int]:
    """[guest] Try one door by machine code; a child that came of it ends at once. Returns [answer, whether it worked]."""
    import os

    door = next(door for door in DOORS if door.name == name)
    low = machine_code.low_buffer()
    me = os.getpid()
    answer = machine_code.assemble(machine_code.SYSCALL)(door.nr, *door.args(g, low))
    if os.getpid() != me or (door.enters_fork and answer == 0):
        os._exit(0)
    return [answer, int(door.opened(answer, g))]


def knock_int80(g, name: str) -> int:
    """[guest] Try one door through the 32-bit gate."""
    door = next(door for door in DOORS if door.name == name)
    return machine_code.assemble(machine_code.INT80)(door.nr32, *door.args(g, machine_code.low_buffer()))


def test_every_door_is_shut(hv):
    """No call gets through, whichever way it is made; the domain lives on and ends by itself."""
    answers = hv.create(knock, [door.name for door in DOORS]).wait(30)
    assert set(answers) == {door.name for door in DOORS}
    for name, got in answers.items():
        assert len(got) == len(WAYS)
        for way, answer in zip(WAYS, got, strict=True):
            assert answer in (-EPERM, -ENOSYS), f"{name} from {way}: the kernel answered {answer}"


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_the_door_opens_with_its_defence_off(hv, door: Door):
    """Without what stands in the way the same call works: the refusal above is the defence's doing."""
    answer, opened = hv.create(knock_once, door.name, without=door.without).wait(30)
    assert opened, f"{door.name} without {', '.join(door.without)}: the kernel answered {answer}"


@pytest.mark.parametrize("name", ["fork", "socket", "madvise MADV_REMOVE", "kill"])
def test_the_32_bit_gate_ends_the_domain(hv, name):
    """`int 0x80` is another architecture to the filter: the process is killed, and Domain0 is told by what."""
    crash = hv.create(knock_int80, name).join(10).crash
    assert crash is not None and crash.signal == "SIGSYS", crash


def test_the_32_bit_gate_works_with_the_filter_off(hv):
    """getpid by `int 0x80` is answered where there is no filter, so it is the filter that ended the domain."""

    def guest(g):
        import os

        return machine_code.assemble(machine_code.INT80)(20) == os.getpid()

    assert hv.create(guest, without=["seccomp"]).wait(10) is True


def test_x32_ends_the_domain(hv):
    """A number with the x32 bit is another table: killed."""

    def guest(g):
        return machine_code.assemble(machine_code.SYSCALL)(0x40000000 | 39)

    crash = hv.create(guest).join(10).crash
    assert crash is not None and crash.signal == "SIGSYS", crash


def test_no_descriptor_of_ours_is_left(hv):
    """A guest holds /dev/null three times, its boot socket, its doorbell and what it made itself: nothing to escape by."""

    def guest(g):
        import os
        import stat

        kinds = {}
        for fd in range(256):
            try:
                mode = os.fstat(fd).st_mode
            except OSError:
                continue
            names = {stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", 0: "other"}
            kinds[fd] = names.get(stat.S_IFMT(mode), "file")
        return kinds

    kinds = hv.create(guest).wait(10)
    assert [kinds[str(fd)] for fd in (0, 1, 2)] == ["device"] * 3
    assert sorted(kind for fd, kind in kinds.items() if int(fd) > 2) == ["other", "socket"]


def test_only_pythons_files_can_be_seen(hv):
    """The root holds Python's own directories; /proc, /dev/shm and /tmp are not there or empty, nothing can be written."""

    def guest(g):
        import os

        hidden = ("/proc", "/dev/shm", "/home", "/sys", "/run")
        seen = {path: os.listdir(path) if os.path.isdir(path) else None for path in hidden}
        try:
            os.open("/made-by-a-guest", os.O_CREAT | os.O_WRONLY)
        except OSError as error:
            seen["write"] = error.errno
        import json

        return {"seen": seen, "python": os.path.exists(json.__file__)}

    answer = hv.create(guest).wait(10)
    assert answer["python"]
    assert answer["seen"].pop("write") == EPERM
    assert not any(answer["seen"].values()), answer["seen"]
