"""Sizes and times as people write them: "256M" to bytes, 0.5 to nanoseconds. Pure."""
# Tour A:060

import re

from xenproc.errors import ConfigError

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT

_UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([BKMGT]?)(?:i?B)?\s*", re.IGNORECASE)


def parse_size(value: int | str, what: str = "size") -> int:
    """Return a size in bytes from an integer (bytes) or a string such as "256M", "1.5G", "4096".

    Raises ConfigError if it is no such thing, not positive, or not whole bytes.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ConfigError(f"{what}: expected a number of bytes or a string like '256M', got {value!r}")
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if not match:
            raise ConfigError(f"{what}: expected a size like '256M', '1.5G' or '4096', got {value!r}")
        exact = float(match[1]) * _UNITS[match[2].upper()]
        if exact != int(exact):
            raise ConfigError(f"{what}: {value!r} is not a whole number of bytes")
        value = int(exact)
    if value <= 0:
        raise ConfigError(f"{what}: expected a positive size, got {value}")
    return value


def pages(value: int | str, what: str = "size") -> int:
    """Return a size in 4 KiB frames. Raises ConfigError if it is not a multiple of 4096 bytes."""
    size = parse_size(value, what)
    if size % PAGE_SIZE:
        raise ConfigError(f"{what}: {size} bytes is not a multiple of the frame size {PAGE_SIZE}")
    return size >> PAGE_SHIFT


def human(nr_bytes: int) -> str:
    """Return a size for people: 8388608 -> "8 MiB"."""
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if nr_bytes >= 1 << shift:
            exact = nr_bytes % (1 << shift) == 0
            return f"{nr_bytes / (1 << shift):{'g' if exact else '.1f'}} {unit}"
    return f"{nr_bytes} B"


_TIMES = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s)\s*")


def duration_ns(value: float | str, what: str = "time") -> int:
    """Return ns from seconds or a string such as "20ms", "500us", "1.5s". Raises ConfigError."""
    if isinstance(value, str):
        match = _TIME.fullmatch(value)
        if not match:
            raise ConfigError(f"{what}: expected a time like '20ms', '500us' or '1.5s', got {value!r}")
        return round(float(match[1]) * _TIMES[match[2]])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ConfigError(f"{what}: expected seconds or a string like '20ms', got {value!r}")
    return round(value * 1e9)


def timeout_ns(seconds: float | None) -> int:
    """Return a time limit in ns for the C core: None means no limit.

    Raises ConfigError for a negative or absurd number.
    """
    if seconds is None:
        return (1 << 63) - 1
    if not 0 <= seconds < 1e9:
        raise ConfigError(f"timeout: expected 0 or more seconds, got {seconds!r}")
    return int(seconds * 1e9)
