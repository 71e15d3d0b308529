"""Compiles hvtest.c with the tables it tests, for Python (`load`) and for C test programs (`compile_program`).

What is compiled is cached under build/hvtest by the contents of every source, so a change rebuilds and nothing else does.
"""

import hashlib
import importlib.util
import os
import subprocess
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NATIVE = Path(os.environ.get("XENPROC_TEST_NATIVE", ROOT / "native"))
CACHE = ROOT / "build" / "hvtest"

# The real thing; hv.c, domain.c, park.c and window.c are played by hvtest.c.
TESTED = ["evtchn.c", "evtchn_op.c", "evtchn_direct.c", "grant.c", "grant_entry.c", "grant_op.c", "grant_host.c",
          "grant_map.c", "grant_transfer.c", "maptrack.c", "memory.c", "m2p.c", "pagelist.c", "reservation.c", "exchange.c",
          "tables.c", "mm.c", "mm_audit.c", "mmu_update.c", "mmuext.c", "segment.c", "ad.c",
          "writable_pt.c", "shadow.c", "shadow_entry.c", "shadow_walk.c", "shadow_write.c"]
USED = ["walk.c", "fixup.c", "frames.c", "paging.c", "template.c", "guestmem.c",
        "direct.c", "gtrace.c", "sem.c", "spin.c", "wakefd.c", "trace.c"]
FAILING = ["xp_copy_from_guest", "xp_copy_to_guest", "xp_frames_alloc", "xp_frames_alloc_run", "xp_frames_alloc_extent",
           "xp_frame_get", "calloc", "realloc", "eventfd", "xp_now_ns"]
FLAGS = ["-std=c11", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-D_GNU_SOURCE"]
FLAGS += os.environ.get("XENPROC_TEST_CFLAGS", "").split()
WRAPS = [f"-Wl,--wrap={name}" for name in FAILING]
SOURCES = [NATIVE / name for name in TESTED + USED] + [HERE / "hvtest.c", HERE / "hvtest_memory.c", HERE / "hvtest_tables.c"]


def _key(sources: list[Path], flags: list[str]) -> str:
    """A name for what these sources, all headers and flags give."""
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in [*sources, *sorted(NATIVE.glob("*.h")), *sorted(HERE.glob("*.h")), Path(__file__)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def builder(name: str) -> FFI:
    """An FFI that makes the harness's module of this name."""
    ffi = FFI()
    ffi.cdef((ROOT / "native" / "cdef" / "abi.h").read_text())
    ffi.cdef((HERE / "hvtest_cdef.h").read_text())
    ffi.set_source(
        name,
        '#include "abi.h"\n#include "hvtest.h"\n#include "direct.h"\n',
        sources=[str(path) for path in SOURCES],
        include_dirs=[str(NATIVE), str(HERE)],
        extra_compile_args=["-O1", *FLAGS, "-Wno-error", "-Wno-conversion", "-Wno-sign-conversion",
                            "-Wno-unused-parameter", "-Wno-unused-function"],
        extra_link_args=WRAPS,
    )
    return ffi


def _built() -> Path:
    """The module: XENPROC_TEST_LIBRARY names one that is there (validator.py), or it is built if it is not yet."""
    if "XENPROC_TEST_LIBRARY" in os.environ:
        return Path(os.environ["XENPROC_TEST_LIBRARY"])
    key = _key([*SOURCES, ROOT / "native" / "cdef" / "abi.h", HERE / "hvtest_cdef.h"], FLAGS)
    name, directory = f"_hvtest_{key}", CACHE / key
    if not list(directory.glob(f"{name}*.so")):
        directory.mkdir(parents=True, exist_ok=True)
        builder(name).compile(tmpdir=str(directory))
    return next(directory.glob(f"{name}*.so"))


def load():
    """Return (ffi, lib) of the harness; built with -O1 and without sanitizers."""
    path = _built()
    spec = importlib.util.spec_from_file_location(path.name.partition(".")[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ffi, module.lib


def compile_program(name: str, *flags: str, only: list[str] | None = None) -> Path:
    """Compile tests/native/<name>.c with the harness, or with these native sources alone; returns the program.

    flags: sanitizers, optimisation.
    """
    sources = [*(SOURCES if only is None else [NATIVE / source for source in only]), HERE / f"{name}.c"]
    options = [*FLAGS, *flags]
    program = CACHE / _key(sources, options) / name
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        command = ["gcc", *options, f"-I{NATIVE}", f"-I{HERE}", *map(str, sources), "-o", str(program), "-lpthread"]
        subprocess.run(command + (WRAPS if only is None else []), check=True)
    return program
