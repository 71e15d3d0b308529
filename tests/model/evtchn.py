"""Event channels in plain Python: what native/evtchn*.c must do, said as simply as it can be.

A call returns 0 or a negative error, and what it tells the caller in the dictionary it was given. Checks stand in Xen's order.
Nothing here knows about memory: what a domain sees of its shared_info is a few sets, an event page a `Channel`.
"""
# Tour T:020

from dataclasses import dataclass, field
from errno import EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, ESRCH

FREE, RESERVED, UNBOUND, INTERDOMAIN, VIRQ, IPI = range(6)
STATUS = {FREE: 0, RESERVED: 0, UNBOUND: 1, INTERDOMAIN: 2, VIRQ: 4, IPI: 5}
SELF = 0x7FF0
BUCKET = 64
MAX_PORTS = 4096
NR_VIRQS, NR_PIRQS = 24, 48
PER_VCPU_VIRQS = {0, 1, 7, 13}      # timer, debug, xenoprof, xenpmu
PER_DOMAIN_VIRQS = {2, 11}          # console, argo; all others are Domain0's alone
AWAKE, SLEEP_SEM, SLEEP_FD = range(3)


@dataclass(eq=False)
class Port:
    """One port; dom and port: the peer, or for UNBOUND who may bind."""

    state: int = FREE
    dom: int = 0
    port: int = 0
    virq: int = 0
    channel: "Channel | None" = None
    side: int = 0


@dataclass(eq=False)
class Half:
    """An end's half of an event page."""

    pending: int = 0
    sleep: int = AWAKE
    closed: int = 0
    posts: int = 0                  # of its semaphore


@dataclass(eq=False)
class Channel:
    """An event page: who made it, to whom it was given, whose process still has it."""

    maker: int
    live: bool = True
    half: list[Half] = field(default_factory=lambda: [Half(), Half(sleep=SLEEP_FD)])
    given: list["Domain | None"] = field(default_factory=lambda: [None, None])
    written: list[int | None] = field(default_factory=lambda: [None, None])  # of its eventfd; None: there is none


@dataclass(eq=False)
class Domain:
    """A domain's ports and what it sees of them."""

    domid: int
    max_evtchns: int
    max_direct: int
    ports: dict[int, Port] = field(default_factory=dict)
    valid: int = BUCKET
    virqs: dict[int, int] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)
    unmasked: set[int] = field(default_factory=set)
    sel: set[int] = field(default_factory=set)
    upcall_pending: bool = False
    kicks: int = 0
    polling: bool = False
    polls: int = 0
    paused: bool = False
    dying: bool = False
    mapped: set[Channel] = field(default_factory=set)       # event pages that its process has
    held: list[tuple[Channel, int]] = field(default_factory=list)
    made: int = 0

    def port(self, number: int) -> Port | None:
        """Return the port's record, None if it is not valid."""
        return self.ports.get(number, Port()) if 0 < number < self.valid else Port(RESERVED) if number == 0 else None

    def lowest_free(self) -> int:
        """Return the port that would be handed out next, or -ENOSPC."""
        for number in range(1, min(self.max_evtchns, MAX_PORTS)):
            if number not in self.ports:
                return number
        return -ENOSPC

    def bind(self, number: int, port: Port) -> None:
        """Make a free port this one; the table grows by a bucket if need be."""
        while number >= self.valid:
            self.valid += BUCKET
        self.ports[number] = port


class Machine:
    """All domains."""

    def __init__(self) -> None:
        self.domains: dict[int, Domain] = {}

    # ---- domains ----

    def create(self, domid: int, max_evtchns: int, max_direct: int) -> None:
        self.domains[domid] = Domain(domid, max_evtchns, max_direct)

    def destroy(self, domid: int) -> None:
        """The domain's process dies and its ports are taken down, from the top."""
        d = self.domains[domid]
        d.dying = True
        for number in sorted(d.ports, reverse=True):
            self._close(d, number)
        d.mapped.clear()
        self._retry(d)
        del self.domains[domid]

    def _find(self, caller: Domain, domid: int) -> Domain | None:
        d = self.domains.get(caller.domid if domid == SELF else domid)
        return None if d is None or d.dying else d

    @staticmethod
    def _may_control(caller: Domain, target: Domain) -> bool:
        return caller is target or caller.domid == 0

    # ---- delivery ----

    def set_pending(self, d: Domain, number: int) -> None:
        if d.dying or number in d.pending:
            return
        d.pending.add(number)
        kicks = d.kicks
        if number in d.unmasked:
            self._upcall(d, number)
        if d.polling and d.kicks == kicks:
            d.polls += 1

    @staticmethod
    def _upcall(d: Domain, number: int) -> None:
        if number // 64 not in d.sel:
            d.sel.add(number // 64)
            if not d.upcall_pending:
                d.upcall_pending = True
                d.kicks += 1

    def raise_virq(self, d: Domain, virq: int) -> None:
        if virq in d.virqs:
            self.set_pending(d, d.virqs[virq])

    def _notify(self, d: Domain, number: int) -> None:
        port = d.ports[number]
        if port.channel is None:
            self.set_pending(d, number)
            return
        half = port.channel.half[port.side]
        if port.channel.given[port.side] is None:
            half.pending = 0
            self.set_pending(d, number)
            return
        was, half.pending = half.pending, 1
        if half.sleep == SLEEP_SEM and was != 1:
            half.posts += 1
        elif half.sleep == SLEEP_FD and port.channel.written[port.side] is not None:
            port.channel.written[port.side] += 1

    # ---- closing ----

    def _close(self, d: Domain, number: int) -> None:
        port = d.ports.pop(number)
        if port.state == VIRQ:
            del d.virqs[port.virq]
        elif port.state == INTERDOMAIN:
            peer = self.domains[port.dom]
            peer.ports[port.port] = Port(UNBOUND, d.domid)
            if port.channel:
                self._close_channel(port.channel)
            if d.dying and peer is not d:
                self.set_pending(peer, port.port)
        d.pending.discard(number)

    def _close_channel(self, channel: Channel) -> None:
        channel.live = False
        self.domains[channel.maker].made -= 1
        for side, half in enumerate(channel.half):
            half.closed = 1
            half.posts += 1
            if channel.written[side] is not None:
                channel.written[side] += 1
            d = channel.given[side]
            if d is not None and not self._let_go(channel, side):
                d.held.insert(0, (channel, side))

    @staticmethod
    def _let_go(channel: Channel, side: int) -> bool:
        d = channel.given[side]
        if not d.dying and channel in d.mapped:
            return False
        channel.given[side] = None
        return True

    def _retry(self, d: Domain, most: int = 1 << 30) -> None:
        """Ask again for the first few held pages; those not asked come first next time."""
        asked, rest = d.held[:most], d.held[most:]
        d.held = rest + [(channel, side) for channel, side in asked if not self._let_go(channel, side)]

    # ---- event_channel_op ----

    def alloc_unbound(self, caller: Domain, dom: int, remote_dom: int, out: dict) -> int:
        d = self._find(caller, dom)
        if d is None:
            return -ESRCH
        number = d.lowest_free()
        if number < 0:
            return number
        if not self._may_control(caller, d):
            return -EPERM
        d.bind(number, Port(UNBOUND, caller.domid if remote_dom == SELF else remote_dom))
        out["port"] = number
        return 0

    def bind_interdomain(self, caller: Domain, remote_dom: int, remote_port: int, out: dict) -> int:
        remote = self._find(caller, remote_dom)
        if remote is None:
            return -ESRCH
        number = caller.lowest_free()
        if number < 0:
            return number
        other = remote.port(remote_port)
        if other is None or other.state != UNBOUND or other.dom != caller.domid:
            return -EINVAL
        caller.bind(number, Port(INTERDOMAIN, remote.domid, remote_port))
        remote.ports[remote_port] = Port(INTERDOMAIN, caller.domid, number)
        self.set_pending(caller, number)
        out["local_port"] = number
        return 0

    def bind_virq(self, caller: Domain, virq: int, vcpu: int, out: dict) -> int:
        if virq >= NR_VIRQS or (virq not in PER_VCPU_VIRQS and vcpu != 0):
            return -EINVAL
        if vcpu != 0:
            return -ENOENT
        if virq not in PER_VCPU_VIRQS | PER_DOMAIN_VIRQS and caller.domid != 0:
            return -EBUSY
        if virq in caller.virqs:
            return -EEXIST
        number = caller.lowest_free()
        if number < 0:
            return number
        caller.bind(number, Port(VIRQ, virq=virq))
        caller.virqs[virq] = out["port"] = number
        return 0

    def bind_ipi(self, caller: Domain, vcpu: int, out: dict) -> int:
        if vcpu != 0:
            return -ENOENT
        number = caller.lowest_free()
        if number < 0:
            return number
        caller.bind(number, Port(IPI))
        out["port"] = number
        return 0

    def bind_pirq(self, caller: Domain, pirq: int) -> int:
        return -EINVAL if pirq >= NR_PIRQS else -EPERM

    def close(self, caller: Domain, port: int) -> int:
        if port not in caller.ports:
            return -EINVAL
        self._close(caller, port)
        self._retry(caller, 8)
        return 0

    def send(self, caller: Domain, port: int) -> int:
        chn = caller.port(port)
        if chn is None or chn.state in (FREE, RESERVED, VIRQ):
            return -EINVAL
        if chn.state == INTERDOMAIN:
            self._notify(self.domains[chn.dom], chn.port)
        elif chn.state == IPI:
            self.set_pending(caller, port)
        return 0

    def status(self, caller: Domain, dom: int, port: int, out: dict) -> int:
        d = self._find(caller, dom)
        if d is None:
            return -ESRCH
        chn = d.port(port)
        if chn is None:
            return -EINVAL
        if not self._may_control(caller, d):
            return -EPERM
        out.update(status=STATUS[chn.state], vcpu=0)
        if chn.state == UNBOUND:
            out["dom"] = chn.dom
        elif chn.state == INTERDOMAIN:
            out.update(dom=chn.dom, port=chn.port)
        elif chn.state == VIRQ:
            out["virq"] = chn.virq
        return 0

    def unmask(self, caller: Domain, port: int) -> int:
        if caller.port(port) is None:
            return -EINVAL
        if port not in caller.unmasked:
            caller.unmasked.add(port)
            if port in caller.pending:
                self._upcall(caller, port)
        return 0

    def bind_vcpu(self, caller: Domain, port: int, vcpu: int) -> int:
        chn = caller.port(port)
        if vcpu != 0:
            return -ENOENT
        if chn is None or chn.state in (FREE, RESERVED, IPI):
            return -EINVAL
        return -EINVAL if chn.state == VIRQ and chn.virq in PER_VCPU_VIRQS else 0

    def reset(self, caller: Domain, dom: int) -> int:
        d = self._find(caller, dom)
        if d is None:
            return -ESRCH
        if not self._may_control(caller, d):
            return -EPERM
        if d is not caller and not d.paused:
            return -EINVAL
        for number in sorted(d.ports):
            self._close(d, number)
        return 0

    def init_control(self, caller: Domain) -> int:
        return -ENOSYS

    def expand_array(self, caller: Domain) -> int:
        return -EOPNOTSUPP

    def set_priority(self, caller: Domain, port: int) -> int:
        return -EINVAL if caller.port(port) is None else -ENOSYS

    # ---- direct delivery ----

    def make_direct(self, caller: Domain, port: int, out: dict) -> int:
        chn = caller.port(port)
        if chn is None or chn.state != INTERDOMAIN:
            return -EINVAL
        if chn.channel is None or chn.channel.given[chn.side] is None:
            self._retry(caller, 64)
            if chn.channel is None:
                if caller.made + len(caller.held) >= caller.max_direct:
                    return -ENOSPC
                other = self.domains[chn.dom].ports[chn.port]
                chn.channel = other.channel = Channel(caller.domid)
                chn.side, other.side = 0, 1
                caller.made += 1
            else:
                if len(caller.held) >= caller.max_direct:
                    return -ENOSPC
                half = chn.channel.half[chn.side]
                half.sleep = AWAKE
                if port in caller.pending:
                    half.pending = 1
            chn.channel.given[chn.side] = caller
            caller.mapped.add(chn.channel)
        out.update(side=chn.side, channel=chn.channel)
        return 0

    def direct_fd(self, caller: Domain, port: int, which: int) -> int:
        chn = caller.port(port)
        if chn is None or chn.channel is None or chn.channel.given[chn.side] is None or which not in (0, 1):
            return -EINVAL
        side = chn.side if which == 0 else 1 - chn.side
        if chn.channel.given[side] is None:
            return -EAGAIN
        if chn.channel.written[side] is None:
            chn.channel.written[side] = 0
        return 0
