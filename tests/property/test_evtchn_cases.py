"""Event channels, case by case: delivery from every state, pages held on to, long calls, ends; compared with the model."""

import fcntl
import os
from errno import ENOSPC, ENOSYS, ESRCH

import pytest
from evtchn_lockstep import Lockstep, bind_ports, connect
from model import evtchn as model
from native.hvtest_real import Real, ffi, lib


@pytest.fixture
def both():
    pair = Lockstep()
    yield pair
    pair.compare()
    pair.close()


@pytest.fixture
def real():
    machine = Real()
    yield machine
    machine.close()


@pytest.mark.parametrize("name", ["send", "unmask"])
def test_delivery_from_every_state(both, name):
    """Pending, masked, selected, upcall pending, polling: all 32 of them, and one event or unmask in each."""
    both.create(1, {"max_evtchns": 4, "max_direct": 0})
    both.op(1, "bind_ipi", vcpu=0)
    d, si = both.model.domains[1], both.shared_info(1)
    for state in range(32):
        pending, unmasked, sel, upcall, polling = (bool(state >> bit & 1) for bit in range(5))
        si.evtchn_pending[0], d.pending = pending << 1, {1} if pending else set()
        (both.unmask_by_itself if unmasked else both.mask)(1, 1)
        si.vcpu_info[0].evtchn_pending_sel, d.sel = sel, {0} if sel else set()
        si.vcpu_info[0].evtchn_upcall_pending, d.upcall_pending = upcall, upcall
        both.polls(1, polling)
        both.op(1, name, port=1)
        both.compare()


def test_a_dying_domain_hears_nothing(real):
    """Its process is dead, its ports not taken down yet: a peer's send is accepted and lost."""
    for domid in (1, 2):
        real.create(domid, max_evtchns=4, max_direct=0)
    real.evtchn(1, "alloc_unbound", dom=model.SELF, remote_dom=2)
    real.evtchn(2, "bind_interdomain", remote_dom=1, remote_port=1)
    real.evtchn(1, "unmask", port=1)
    lib.hvtest_domain_kill(real.t, 1)
    assert real.evtchn(2, "send", port=1) == (0, {})
    assert (lib.hvtest_counts(real.t, 1).kicks, real.ports(1)[1][1]) == (0, False)
    assert real.evtchn(2, "status", dom=1, port=1) == (-ESRCH, {})
    assert real.reap(1)
    assert real.ports(2)[1][:2] == (model.UNBOUND, True)


def test_pages_that_are_not_let_go_of(both):
    """They count against the limit of whoever holds them, are asked for again at each close, and never used again."""
    for domid in (1, 2):
        both.create(domid, {"max_evtchns": 70, "max_direct": 12})
    ports = [connect(both, 1, 2) for _ in range(12)]
    for one, two in ports:
        assert both.make_direct(1, one) == both.make_direct(2, two) == 0
    spare, _ = connect(both, 1, 2)
    assert both.make_direct(1, spare) == -ENOSPC
    channels = [both.model.domains[1].ports[one].channel for one, _ in ports]
    for one, _ in ports:
        both.op(1, "close", port=one)
    both.compare()
    assert len(both.model.domains[1].held) == len(both.model.domains[2].held) == 12
    assert both.make_direct(1, spare) == -ENOSPC
    for channel in channels[:4]:        # the oldest: those that the first few tries do not reach
        both.drop_page(1, channel)
    for _, two in ports:
        both.op(2, "close", port=two)
        both.compare()
    both.op(1, "close", port=spare)
    both.op(1, "bind_ipi", vcpu=0)
    both.op(1, "close", port=1)
    both.compare()
    assert len(both.model.domains[1].held) == 8
    spare, other = connect(both, 1, 2)
    assert both.make_direct(1, spare) == 0
    assert both.make_direct(2, other) == -ENOSPC        # it still holds all twelve
    both.drop_page(2, channels[3])
    assert both.make_direct(2, other) == 0


def test_an_event_that_its_sender_could_not_wake_for(both):
    """A direct sender that finds the other end on a descriptor, or not direct, brings the event to the hypervisor."""
    for domid in (1, 2):
        both.create(domid, {"max_evtchns": 4, "max_direct": 1})
    one, two = connect(both, 1, 2)
    both.make_direct(1, one)
    channel = both.model.domains[1].ports[one].channel
    for _ in range(2):                  # 2 is not direct: an upcall each time it has looked
        both.handle_events(2)
        both.op(2, "unmask", port=two)
        both.write_half(channel, 1, model.SLEEP_FD, 1)
        both.op(1, "send", port=one)
        both.compare()
        assert channel.half[1].pending == 0 and two in both.model.domains[2].pending
    both.make_direct(2, two)
    both.direct_fd(2, two, 0)
    for pending in (0, 1):
        for sleep in (model.AWAKE, model.SLEEP_SEM, model.SLEEP_FD):
            both.write_half(channel, 1, sleep, pending)
            both.op(1, "send", port=one)
            both.compare()


def test_a_table_of_several_buckets(both):
    both.create(1, {"max_evtchns": 200, "max_direct": 0})
    for _ in range(199):
        assert both.op(1, "bind_ipi", vcpu=0) == 0
    assert both.op(1, "bind_ipi", vcpu=0) == -ENOSPC
    assert both.model.domains[1].valid == 256
    both.op(1, "close", port=64)
    both.op(1, "close", port=130)
    assert both.op(1, "bind_ipi", vcpu=0) == 0
    both.op(1, "reset", dom=model.SELF)


def test_the_last_port_of_the_abi(both):
    both.create(1, {"max_evtchns": 1 << 20, "max_direct": 0})
    bind_ports(both.real, 1, 4095)
    for port in range(1, 4096):
        both.model.domains[1].bind(port, model.Port(model.IPI))
    assert both.op(1, "bind_ipi", vcpu=0) == -ENOSPC
    both.op(1, "unmask", port=4095)
    both.op(1, "send", port=4095)
    both.op(1, "send", port=4096)


def test_a_full_table_is_reset_in_bounded_steps(real):
    real.create(1, max_evtchns=4096, max_direct=0)
    bind_ports(real, 1, 2000)
    reset = ffi.new("struct xen_evtchn_reset *", {"dom": model.SELF})
    assert lib.hvtest_evtchn_op(real.t, 1, 10, reset, 2, 1) == lib.XP_CALL_AGAIN
    assert 2000 - 512 <= lib.hvtest_counts(real.t, 1).nr_evtchns < 2000
    assert lib.hvtest_continue(real.t, 1, 100) == 0
    assert lib.hvtest_counts(real.t, 1).nr_evtchns == 0


def test_a_reset_of_a_domain_that_dies_meanwhile(real):
    real.create(0, max_evtchns=4096, max_direct=0)
    real.create(1, max_evtchns=4096, max_direct=0)
    bind_ports(real, 1, 1000)
    lib.hvtest_domain_pause(real.t, 1, True)
    reset = ffi.new("struct xen_evtchn_reset *", {"dom": 1})
    assert lib.hvtest_evtchn_op(real.t, 0, 10, reset, 2, 1) == lib.XP_CALL_AGAIN
    assert real.destroy(1)
    assert lib.hvtest_continue(real.t, 0, 1) == -ESRCH


def test_teardown_goes_in_bounded_steps_and_tells_the_peers(both):
    both.create(1, {"max_evtchns": 4096, "max_direct": 0})
    both.create(2, {"max_evtchns": 4096, "max_direct": 0})
    for _ in range(600):
        connect(both, 1, 2)
    t = both.real.t
    lib.hvtest_domain_kill(t, 1)
    steps = 0
    while lib.hvtest_domain_teardown(t, 1) == 1:
        steps += 1
        assert lib.hvtest_audit(t) == 0
    assert steps >= 600 * 4 // 512
    both.model.destroy(1)
    both.compare()
    assert both.model.domains[2].pending >= set(range(1, 601))


@pytest.mark.timeout(20)
def test_a_guest_that_makes_its_descriptor_block_does_not_stop_the_hypervisor(real):
    """It clears O_NONBLOCK of the eventfd, which is shared with the hypervisor, and fills it: sends and closes go on."""
    for domid in (1, 2):
        real.create(domid, max_evtchns=4, max_direct=1)
    real.evtchn(1, "alloc_unbound", dom=model.SELF, remote_dom=2)
    real.evtchn(2, "bind_interdomain", remote_dom=1, remote_port=1)
    page = real.page(real.make_direct(1, 1)[1]["mfn"])
    real.make_direct(2, 1)
    theirs = os.dup(real.direct_fd(2, 1, 0))
    os.eventfd_write(theirs, 0xFFFFFFFFFFFFFFFE)
    fcntl.fcntl(theirs, fcntl.F_SETFL, 0)
    page.half[1].sleep = lib.XP_SLEEP_FD
    send = ffi.new("struct xen_evtchn_send *", {"port": 1})
    for _ in range(5000):               # more than its queue of signals holds
        assert lib.hvtest_evtchn_op(real.t, 1, 4, send, 4, 1) == 0
    assert real.evtchn(1, "close", port=1) == (0, {})
    assert os.eventfd_read(theirs) >= 0xFFFFFFFFFFFFFFFE
    os.close(theirs)


@pytest.mark.parametrize("cmd", [14, 15, 1 << 20, 0xFFFFFFFF])
def test_unknown_operations(both, cmd):
    both.create(1, {"max_evtchns": 4, "max_direct": 0})
    assert lib.hvtest_evtchn_op(both.real.t, 1, cmd, ffi.new("char[64]"), 64, 1) == -ENOSYS


def test_arguments_that_are_not_the_callers_memory(both):
    both.create(1, {"max_evtchns": 4, "max_direct": 0})
    both.create(2, {"max_evtchns": 4, "max_direct": 0})
    foreign = lib.HVTEST_BASE + (both.real.t.first_mfn[2] << 12)
    end = lib.HVTEST_BASE + ((both.real.t.first_mfn[1] + 4) << 12)
    for va in (0, foreign, end, end - 1, (1 << 64) - 1, lib.HVTEST_BASE - 1):
        for cmd in range(14):
            assert lib.hvtest_raw(both.real.t, 1, False, [cmd, va, 0]) == -14, (cmd, va)


