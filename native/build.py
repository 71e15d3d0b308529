"""Builds `xenproc._native`: every native/*.c behind the declarations of native/cdef/.

One concept, one .c with its .h; what Python may see of it stands in native/cdef/<concept>.h.
`python native/build.py [DIR]` compiles in place (for work on the tree); the wheel's build imports `ffi`.
"""

import os
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
# Order matters: a cdef may use the types of those before it.
CDEFS = sorted((HERE / "cdef").glob("*.h"), key=lambda p: (p.stem not in ("types", "sem"), p.stem))
SOURCES = sorted(HERE.glob("*.c"))
FLAGS = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fvisibility=hidden"]
# cffi's own generated glue is not ours to warn about.
GLUE = ["-Wno-error", "-Wno-conversion", "-Wno-sign-conversion", "-Wno-unused-parameter"]


def headers() -> str:
    """The includes that the generated glue needs: each cdef file's own header, by name."""
    return "\n".join(f'#include "{path.name}"' for path in CDEFS if (HERE / path.name).exists())


def make(module: str = "xenproc._native", macros: tuple[tuple[str, str | None], ...] = ()) -> FFI:
    """An FFI ready to compile `module`; macros select a variant (the fault-point build of the tests)."""
    builder = FFI()
    for path in CDEFS:
        builder.cdef(path.read_text())
    builder.set_source(
        module,
        headers(),
        sources=[os.path.relpath(path, HERE.parent) for path in SOURCES],
        include_dirs=[os.path.relpath(HERE, HERE.parent)],
        depends=[os.path.relpath(path, HERE.parent) for path in sorted(HERE.glob("*.h"))],
        define_macros=[("_GNU_SOURCE", None), *macros],
        extra_compile_args=[*FLAGS, *GLUE],
        py_limited_api=True,
    )
    return builder


ffi = make()

if __name__ == "__main__":
    os.chdir(HERE.parent)
    target = sys.argv[1] if len(sys.argv) > 1 else "."
    make().compile(tmpdir=target, verbose=bool(os.environ.get("V")))
