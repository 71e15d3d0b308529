"""The small guest kernel and processes that ask for anything: whatever the numbers, a number comes back, and the kernel goes on."""

import errno

from guest_kernel import boot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HEAP = 0x0040_0000
EDGES = [0, 1, HEAP, HEAP + 4096, 0x1000_0000, 0x3000_0000, 0x3FFE_0000, 0x3FFF_0000, 0x3FFF_F000, 0x4000_0000, 0x8000_0000, 0xF580_0000,
         0xFFFF_F000, 1 << 32, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, 0xFFFF_8800_0000_0000, 1 << 63, 1 << 64]
NUMBERS = st.one_of(
    st.integers(-3, 20), st.sampled_from(EDGES), st.tuples(st.sampled_from(EDGES), st.integers(-9, 9)).map(sum),
    st.sampled_from([4096, 8192, 65536, 1 << 20, 1 << 30]), st.integers(-(1 << 66), 1 << 66),
)
ANYTHING = st.one_of(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.sampled_from([None, "name", b"bytes", 1.5, (), True]))
CALLS = [1, 2, 3, 4, 6, 7, 11, 20, 37, 41, 42, 48, 63, 64, 90, 91, 119, 125, 158, 445, 446, 162, 0, 500]
A_CALL = st.tuples(st.sampled_from(CALLS), st.lists(ANYTHING, max_size=3))
SENSIBLE = st.sampled_from([
    (42, [HEAP]), (90, [8192, 3]), (91, [0x1000_0000, 4096]), (125, [0x1000_0000, 4096, 1]), (445, [4096]), (445, [-4096]), (41, [1]),
    (3, [3, HEAP, 100]), (4, [4, HEAP, 100]), (48, [10, 0x1000]), (37, [2, 10]), (119, []), (2, ["child"]), (11, [HEAP, HEAP + 64]),
])


@settings(max_examples=10, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(A_CALL, A_CALL, SENSIBLE), min_size=200, max_size=400))
def test_any_number_and_any_argument(hv, calls):
    """Processes make calls at random; who is ended by one is followed by another; who waits for ever is killed by a watchdog."""

    def init(sys, out, kernel):
        results, at = [], [0]
        heap = sys.sbrk(8192)
        sys.store(heap, b"true\0".ljust(64, b"\0") + (heap).to_bytes(4, "little") + bytes(60))
        sys.store(heap + 4096, b"init's")

        def worker(sys):
            while at[0] < len(calls):
                number, args = calls[at[0]]
                at[0] += 1
                if number == 2 and args[:1] == ["child"]:
                    args = [lambda sys: 0]
                results.append([number, sys.raw(number, *args)])

        def watchdog(sys, pid):
            seen = -1
            while seen != at[0]:
                seen = at[0]
                sys.sleep(0.003)
            sys.kill(pid, 9)

        while at[0] < len(calls):
            pid = sys.fork(worker)
            guard = sys.fork(watchdog, pid)
            while sys.wait()[0] != pid:
                if guard not in kernel.table:
                    guard = sys.fork(watchdog, pid)
            sys.kill(guard, 9) if guard in kernel.table else None
        out += [results, sys.load(heap + 4096, 6).decode(), kernel.frames.nr_used > 0]

    end = boot(hv, init, memory="4M")
    results, memory, _ = end["out"]
    assert memory == "init's" and end["status"] == 0 and end["lost"] == 0
    assert "Traceback" not in end["console"], "an error of the kernel's own"
    for number, result in results:
        assert isinstance(result, int) and (result >= 0 or -result in errno.errorcode), (number, result)
