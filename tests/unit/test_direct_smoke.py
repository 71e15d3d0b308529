"""A first check that events arrive."""

import mmap
import threading

from xenproc.native import ffi, lib


def test_ping_pong_between_threads():
    memory = mmap.mmap(-1, 4096)
    base = ffi.from_buffer(memory)
    ends = [ffi.new("struct xp_direct *") for _ in range(2)]
    for side, end in enumerate(ends):
        lib.xp_direct_init(end, base, side, -1, -1)
    n = 1000

    def server():
        for _ in range(n):
            assert lib.xp_direct_wait(ends[1], lib.XP_WAIT_BLOCK, 5 * 10**9) == 0
            assert lib.xp_direct_send(ends[1]) >= 0

    thread = threading.Thread(target=server)
    thread.start()
    for _ in range(n):
        assert lib.xp_direct_send(ends[0]) >= 0
        assert lib.xp_direct_wait(ends[0], lib.XP_WAIT_BLOCK, 5 * 10**9) == 0
    thread.join()
    lib.xp_direct_close_page(base)
    assert lib.xp_direct_wait(ends[0], lib.XP_WAIT_BLOCK, 5 * 10**9) == -107
