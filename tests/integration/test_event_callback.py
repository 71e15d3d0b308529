"""The event callback of a guest that is a kernel: entered when upcalls are let in, masked meanwhile, as often as there is need."""


def test_it_is_entered_when_events_are_let_in(hv):
    def guest(g):
        from xenproc.abi.trap import CallbackType
        from xenproc.errors import ConfigError, Timeout

        seen, vcpu, port = [], g.events.shared_info.vcpu_info[0], g.events.bind_ipi()
        g.events.unmask(port)

        def callback(cpu, frame):
            seen.append([g.events.take_upcall() == [port], cpu.ring, frame.ring, vcpu.evtchn_upcall_mask])
            if len(seen) == 2:
                g.events.send(port)         # while masked: it is entered once more afterwards, not inside

        before = []
        try:
            g.cpu.wait_events(1)
        except ConfigError:
            before.append("none")
        g.events.send(port)
        before.append(g.cpu.deliver_events())
        g.events.take_upcall()
        g.cpu.set_callback(CallbackType.event, callback)
        vcpu.evtchn_upcall_mask = 1
        g.events.send(port)
        masked = [g.cpu.deliver_events(), vcpu.evtchn_upcall_pending, len(seen)]
        nr = [g.cpu.unmask_events()]
        g.events.send(port)
        nr.append(g.cpu.wait_events(5))
        try:
            g.cpu.wait_events(0.02)
        except Timeout:
            nr.append("timeout")
        return [before, masked, nr, seen, vcpu.evtchn_upcall_mask, g.cpu.counters["straight", "upcall"]]

    before, masked, nr, seen, mask, counted = hv.create(guest, paging="x86_32p").wait(20)
    assert before == ["none", 0] and masked == [0, 1, 0]
    assert nr == [1, 2, "timeout"] and (mask, counted) == (0, 3)
    assert seen == [[True, 1, 1, 1]] * 3


def test_an_event_of_another_domain_wakes_who_waits(hv):
    def kernel(g):
        from xenproc.abi.trap import CallbackType

        peer = g.board.resolve("sender", 10)
        port = g.events.alloc_unbound(peer)
        g.events.unmask(port)
        ports = []
        g.cpu.set_callback(CallbackType.event, lambda cpu, frame: ports.extend(g.events.take_upcall()))
        g.board.publish(peer, "port", str(port).encode())
        while len(ports) < 20:
            g.cpu.wait_events(10)
            g.events.send(port)
        return set(ports) == {port}

    def sender(g):
        peer = g.board.resolve("kernel", 10)
        port = g.events.bind_interdomain(peer, int(g.board.lookup(peer, "port", 10)))
        for _ in range(20):
            g.events.send(port)
            g.events.wait(port, 10)

    domain = hv.create(kernel, name="kernel")
    hv.create(sender, name="sender").wait(20)
    assert domain.wait(20) is True


def test_a_handler_that_fails_leaves_upcalls_let_in(hv):
    def guest(g):
        from xenproc.abi.trap import CallbackType

        def callback(cpu, frame):
            g.events.take_upcall()
            raise KeyError("what")

        port = g.events.bind_ipi()
        g.events.unmask(port)
        g.cpu.set_callback(CallbackType.event, callback)
        g.events.send(port)
        try:
            g.cpu.wait_events()
        except KeyError as error:
            return [error.args[0], g.events.shared_info.vcpu_info[0].evtchn_upcall_mask, g.cpu.deliver_events()]

    assert hv.create(guest).wait(20) == ["what", 0, 0]


def test_waiting_for_any_upcall_clears_nothing(hv):
    def guest(g):
        from xenproc.errors import Timeout

        port = g.events.bind_ipi()
        g.events.unmask(port)
        try:
            g.events.wait_upcall(0.02)
        except Timeout:
            g.events.send(port)
        g.events.wait_upcall()
        g.events.wait_upcall(0)
        return g.events.take_upcall() == [port]

    assert hv.create(guest).wait(20) is True
