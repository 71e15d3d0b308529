"""What others spend for domains (native/spent.h) in plain Python: fractions, and a list of who handed over what."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

PERIOD = 100_000_000
PAYEES = 8
EPERM, ENOSPC = 1, 28


@dataclass
class Payee:
    """(domid, born) may hand over `limit` in a period."""

    domid: int
    born: int
    limit: int
    since: int
    taken: int = 0              # of the period under way


@dataclass
class Account:
    """A domain's."""

    exempt: bool = False
    ticks: int = 0
    turns: int = 0
    due: int = 0
    hypervisor: int = 0
    paid: int = 0
    handed: int = 0
    credit: int = 0
    mark: int = 0
    payees: list[Payee] = field(default_factory=list)

    def payee(self, domid: int) -> Payee | None:
        return next((p for p in self.payees if p.domid == domid), None)


@dataclass
class Pool:
    """The hypervisor's threads."""

    accounts: dict[int, Account] = field(default_factory=dict)
    own: Account = field(default_factory=Account)
    last: int = 0

    def add(self, who: int | None, tsc: int, turns: int) -> None:
        account = self.own if who is None or self.accounts[who].exempt else self.accounts[who]
        account.ticks += max(0, tsc - self.last)
        account.turns += turns
        self.last = tsc

    def give(self, who: int, ns: int) -> None:
        account = self.accounts[who]
        if account.exempt:
            self.own.hypervisor += ns
        else:
            account.due += ns

    def settle(self, used: int, hz: int) -> dict[int, Fraction]:
        """Return each one's exact share of what was used; what is due is that, rounded somehow: settled() is told how."""
        everybody = [self.own, *self.accounts.values()]
        counted = {id(a): a.ticks * 10**9 // hz for a in everybody}
        turns = sum(a.turns for a in everybody)
        beyond = max(0, used - sum(counted.values())) if turns else 0
        weights = {id(a): counted[id(a)] + (Fraction(a.turns * beyond, turns) if turns else 0) for a in everybody}
        whole = sum(weights.values())
        shares = {who: used * weights[id(a)] / whole if whole else Fraction(0) for who, a in self.accounts.items()}
        for a in everybody:
            a.ticks = a.turns = 0
        return shares

    def settled(self, used: int, got: dict[int, int]) -> None:
        """So much became due of each; the rest is nobody's."""
        for who, ns in got.items():
            self.accounts[who].due += ns
        self.own.hypervisor += used - sum(got.values())

    def take(self, who: int) -> int:
        account = self.accounts[who]
        ns, account.due = account.due, 0
        account.hypervisor += ns
        return ns

    def forget(self, who: int) -> None:
        account = self.accounts.pop(who)
        self.own.ticks += account.ticks
        self.own.turns += account.turns
        self.own.hypervisor += account.due

    # ---- handing over ----

    def pay(self, payer: int, domid: int, born: int, limit: int, now: int) -> int:
        account = self.accounts[payer]
        known = account.payee(domid)
        if limit == 0:
            account.payees = [p for p in account.payees if p is not known]
            return 0
        if known is None and len(account.payees) == PAYEES:
            return -ENOSPC
        if known is None or known.born != born:
            account.payees = [p for p in account.payees if p is not known] + [Payee(domid, born, limit, now)]
            return 0
        known.taken = limit - min(known.limit - known.taken, limit)      # a change gives nothing before the next period
        known.limit = limit
        return 0

    def hand(self, giver: int, domid: int, born: int, used: int, payer: int, wanted: int, now: int) -> int:
        source, target = self.accounts[giver], self.accounts[payer]
        known = target.payee(domid)
        if known is None or known.born != born:
            return -EPERM
        if now >= known.since + PERIOD:
            known.since, known.taken = now, 0
        source.mark = max(source.mark, used - PERIOD)
        ns = max(0, min(wanted, known.limit - known.taken, used - source.mark))
        known.taken += ns
        source.mark += ns
        source.credit += ns
        source.handed += ns
        target.paid += ns
        return ns

    def without_credit(self, who: int, ran: int) -> int:
        account = self.accounts[who]
        off = min(account.credit, ran)
        account.credit -= off
        return ran - off
