"""How a guest ends and what Domain0 learns of it: results, tracebacks, signals with addresses, the console's tail."""

import ctypes
import os
import signal
import sys

import pytest
from helpers import until

import xenproc

# ---- results ----


@pytest.mark.parametrize(
    "value", [None, 0, -1, 2**80, 1.5, True, "text", "ä€𝄞\0", [], {"a": [1, {"b": None}]}, b"", b"\0\xff bytes", bytes(65536)],
    ids=lambda value: repr(value)[:20],
)
def test_result(hv, value):
    assert hv.create(lambda g: value).wait() == value


def test_bytes_like_results_come_back_as_bytes(hv):
    assert hv.create(lambda g: bytearray(b"ab")).wait() == b"ab"
    assert hv.create(lambda g: memoryview(b"ab")).wait() == b"ab"


@pytest.mark.parametrize("character", ["a", "é", "\x01"])
def test_the_largest_result_of_text(hv, character):
    size = {"a": 65534, "é": 10922, "\x01": 10922}[character]       # JSON with escapes
    assert hv.create(lambda g: character * size).wait() == character * size


def test_result_that_is_too_large(hv):
    for value in (bytes(65537), "a" * 65535):
        end = hv.create(lambda g, value=value: value).join()
        assert end.reason == "crash" and end.result is None
        assert end.crash.detail == f"ValueError: result of {65537} bytes; at most 65536 can be returned"


def test_result_that_is_neither_bytes_nor_json(hv):
    end = hv.create(lambda g: object()).join()
    assert end.crashed and end.crash.detail == "TypeError: Object of type object is not JSON serializable"


@pytest.mark.parametrize(
    "said", [b"[" * 65536, b"{" * 1000, b"1" * 65536, b"\xff\xfe", b"", b"[1, 2", b'{"a":' * 13000],
    ids=["brackets", "braces", "digits", "no utf-8", "empty", "cut", "nested"],
)
def test_a_guest_that_reports_rubbish_as_its_result(hv, said):
    """What it says is data: the hypervisor does not even parse it, Domain0 says what is wrong with it."""

    def guest(g):
        from xenproc.native import lib

        with g.memory.alloc(17) as pages:
            pages.view[: len(said)] = said
            g.hypercalls.xenproc_op(lib.XP_OP_report, lib.XP_REPORT_result_json, pages.address, len(said))
        g.shutdown()

    end = hv.create(guest).join()
    assert end.reason == "crash" and end.result is None
    assert end.crash.detail == "the domain reported a result that is no JSON"


# ---- Python's own ends ----


def test_exception_is_a_crash_with_the_traceback_as_text(hv):
    def guest(g):
        print("about to fail")
        raise RuntimeError("the ä reason")

    dom = hv.create(guest, name="fails")
    with pytest.raises(xenproc.DomainCrashed, match="RuntimeError: the ä reason") as caught:
        dom.wait()
    end = dom.join()
    assert end.crashed and end.reason == "crash"
    assert end.crash.detail == "RuntimeError: the ä reason"
    assert 'raise RuntimeError("the ä reason")' in end.crash.traceback
    assert end.crash.signal is None and end.crash.fault_address is None
    assert end.console == end.crash.console == "about to fail\n"
    assert "'fails'" in str(caught.value) and "Traceback" in str(caught.value)
    assert caught.value.report["traceback"] == end.crash.traceback


def test_exception_with_a_message_longer_than_a_report(hv):
    def guest(g):
        raise ValueError("x" * 100_000 + "\0" * 50_000 + "the end")

    end = hv.create(guest).join()
    assert end.crashed and end.crash.traceback.endswith("the end\n")
    assert len(end.crash.traceback) == 65536


@pytest.mark.parametrize("code, crashed", [("None", None), ("0", None), ("3", "SystemExit: 3"), ("'why'", "SystemExit: why")])
def test_system_exit(hv, code, crashed):
    end = hv.create(lambda g: sys.exit(eval(code))).join()
    assert (end.crash.detail if end.crashed else None) == crashed
    assert end.reason == ("crash" if crashed else "poweroff")


def test_keyboard_interrupt_and_generator_exit_are_crashes(hv):
    def guest(g, kind):
        raise kind

    for kind in (KeyboardInterrupt, GeneratorExit):
        assert hv.create(guest, kind).join().crash.detail == kind.__name__


def test_os_exit_without_a_word_is_a_crash(hv):
    end = hv.create(lambda g: os._exit(0)).join()
    assert end.crashed and end.crash.detail == "its process ended with status 0 without a word"
    end = hv.create(lambda g: os._exit(9)).join()
    assert end.crash.detail == "its process ended with status 9 without a word"


def test_shutdown_with_each_reason(hv):
    def guest(g, reason):
        g.shutdown(reason)

    for number, reason in enumerate(("poweroff", "reboot", "suspend", "crash", "watchdog", "soft_reset")):
        end = hv.create(guest, number).join()
        assert end.reason == reason
        assert end.crashed == (reason == "crash")


# ---- signals ----


def test_abort(hv):
    end = hv.create(lambda g: os.abort()).join()
    assert end.crash.signal == "SIGABRT" and end.crash.detail == "killed by SIGABRT"


@pytest.mark.parametrize("address", [1, 64, 0x1234_5678_9000, 0x7FFF_FFFF_F000])
def test_wild_read(hv, address):
    end = hv.create(lambda g: ctypes.string_at(address, 1)).join()
    assert end.crash.signal == "SIGSEGV"
    assert int(end.crash.fault_address, 16) == address
    assert int(end.crash.rip, 16) > 4096


def test_write_to_a_frame_that_was_not_given(hv):
    def guest(g):
        ctypes.memset(g.window_base, 1, 1)

    end = hv.create(guest).join()
    assert end.crash.signal == "SIGBUS"
    assert int(end.crash.fault_address, 16) % (1 << 40) == 0


@pytest.mark.parametrize(
    "code, signame", [(b"\x0f\x0b", "SIGILL"), (b"\xcc\xc3", "SIGTRAP"), (b"\x31\xc9\xf7\xf1\xc3", "SIGFPE"), (b"\xf4\xc3", "SIGSEGV")],
    ids=["ud2", "int3", "div", "hlt"],
)
def test_machine_code_that_faults(hv, code, signame):
    def guest(g):
        import mmap

        memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        memory.write(code)
        ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
        return "lived on"

    end = hv.create(guest).join()
    assert end.crashed and end.crash.signal == signame, end
    assert end.crash.rip is not None


def test_stack_overflow_of_machine_code(hv):
    def guest(g):
        sys.setrecursionlimit(10**9)

        def down(n):
            return sorted([1, 2], key=lambda _: down(n + 1))

        down(0)

    end = hv.create(guest).join(30)
    assert end.crash.signal == "SIGSEGV" and end.crash.fault_address


def test_killed_from_outside(hv):
    dom = hv.create(lambda g: g.board.lookup(0, "never", None), name="victim")
    os.kill(dom.pid, signal.SIGKILL)
    end = dom.join()
    assert end.crash.detail == "killed by SIGKILL" and end.crash.signal == "SIGKILL"
    assert end.crash.fault_address is None


def test_killed_by_an_ordinary_signal_from_outside(hv):
    for signo in (signal.SIGTERM, signal.SIGSEGV):
        dom = hv.create(lambda g: g.board.lookup(0, "never", None))
        until(lambda dom=dom: hv.domains()[-1]["hypercalls"] >= 2, "the guest runs")
        os.kill(dom.pid, signo)
        assert dom.join().crash.signal == signal.Signals(signo).name


def test_a_crash_in_another_thread(hv):
    def guest(g):
        import threading

        thread = threading.Thread(target=lambda: ctypes.string_at(64, 1))
        thread.start()
        thread.join()

    end = hv.create(guest).join()
    assert end.crash.signal == "SIGSEGV"


def test_last_hypercalls_newest_first_with_their_results(hv):
    def guest(g):
        g.hypercall(17, 0)
        g.hypercall(17, 77)
        g.hypercall(63, 5)
        os.abort()

    calls = hv.create(guest).join().crash.last_hypercalls
    assert [(call["nr"], call["arg0"], call["result"]) for call in calls[:3]] == [(63, 5, -38), (17, 77, -38), (17, 0, 4 << 16 | 23)]
    assert len(calls) <= 16


def test_only_the_last_sixteen_hypercalls_are_kept(hv):
    def guest(g):
        for i in range(100):
            g.hypercall(63, i)
        os.abort()

    calls = hv.create(guest).join().crash.last_hypercalls
    assert [call["arg0"] for call in calls] == list(range(99, 83, -1))


def test_a_call_that_was_not_answered_has_no_result(hv):
    """Parked calls get their own result when it comes, not that of a later call."""

    def guest(g):
        import threading

        from xenproc.native import lib

        with g.hypercalls.struct("struct xp_op_board", key=b"late", domid=g.domid, timeout_ns=5 * 10**9) as (address, _):
            waiter = threading.Thread(target=g.hypercall, args=(62, lib.XP_OP_lookup, address))
            waiter.start()
            while g.hypercall(63, 1) == -38 and waiter.is_alive() and g.hypercalls.core.nr_calls < 300:
                pass
            g.board.publish(g.domid, "late", b"value")
            waiter.join()
        threading.Thread(target=g.board.lookup, args=(0, "never", 60)).start()
        g.hypercall(63, 2)
        for _ in range(100):
            if g.hypercalls.core.nr_calls > 305:
                break
            __import__("time").sleep(0.001)
        os.abort()

    calls = hv.create(guest).join(20).crash.last_hypercalls
    lookups = [call for call in calls if (call["nr"], call["arg0"]) == (62, 4)]
    assert lookups and lookups[0]["result"] is None
    assert all(call["result"] == -38 for call in calls if call["nr"] == 63)
