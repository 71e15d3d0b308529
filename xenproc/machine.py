"""Machine memory: the POSIX shared memory object that is the machine's RAM, in 4 KiB frames (`mfn` = offset >> 12).

Made by the hypervisor's process. Invariants: its name is gone before anybody else runs; every frame is backed before the first
domain starts, so that a full /dev/shm is an error here and not a SIGBUS later.
"""
# Tour M:010

import os
import secrets

import posix_ipc

from xenproc.errors import ConfigError, EnvironmentLacks
from xenproc.units import PAGE_SIZE, human

SHM_DIR = "/dev/shm"
NAME_PREFIX = "xenproc."
MIN_FRAMES = 64


def check_room(nr_frames: int) -> None:
    """Refuse a machine that this host cannot back, before anything is touched.

    Raises ConfigError (too small, more than 2**32 frames) or EnvironmentLacks (/dev/shm or free memory too small).
    """
    need = nr_frames * PAGE_SIZE
    if nr_frames < MIN_FRAMES:
        raise ConfigError(f"memory: expected at least {human(MIN_FRAMES * PAGE_SIZE)}, got {human(need)}")
    if nr_frames >= 1 << 32:
        raise ConfigError(f"memory: expected less than 16 TiB, got {human(need)}")
    try:
        stat = os.statvfs(SHM_DIR)
    except OSError as error:
        raise EnvironmentLacks(f"{SHM_DIR} is not there ({error.strerror}): mount a tmpfs on it") from None
    room = stat.f_bavail * stat.f_frsize
    if room < need:
        raise EnvironmentLacks(
            f"memory: {human(need)} of machine memory asked for, but {SHM_DIR} has {human(room)} free: ask for less, or "
            f"enlarge it (mount -o remount,size=... {SHM_DIR}; docker: --shm-size)"
        )
    free = available_memory()
    if free < need:
        raise EnvironmentLacks(f"memory: {human(need)} of machine memory asked for, but the host has {human(free)} available")


def available_memory() -> int:
    """Return MemAvailable of the host in bytes."""
    import psutil

    return psutil.virtual_memory().available


def create(nr_frames: int) -> int:
    """Make machine memory of `nr_frames` zeroed frames and return its descriptor; no name is left.

    Raises what check_room raises, and EnvironmentLacks where the host runs out while it is backed.
    """
    check_room(nr_frames)
    name = f"/{NAME_PREFIX}{os.getpid()}.{secrets.token_hex(4)}"
    memory = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600, size=0)
    memory.unlink()
    try:
        os.posix_fallocate(memory.fd, 0, nr_frames * PAGE_SIZE)
    except OSError as error:
        memory.close_fd()
        raise EnvironmentLacks(
            f"memory: {human(nr_frames * PAGE_SIZE)} of machine memory could not be backed: {error.strerror}"
        ) from None
    os.set_inheritable(memory.fd, False)
    return memory.fd
