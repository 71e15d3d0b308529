"""The ledger of what others spend for domains, and its model in lock-step; nothing is lost, invented or paid twice."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from model.spent import PAYEES, PERIOD, Account, Pool

from xenproc.native import ffi, lib

NR = 10
WHO = st.integers(0, NR - 1)
NS = st.one_of(st.integers(0, 2 * PERIOD), st.integers(0, 10**6), st.just(0))


class SpentMachine(RuleBasedStateMachine):
    @initialize(hz=st.sampled_from([10**9, 2_100_000_000, 999_999_937, 3]))
    def start(self, hz):
        self.hz, self.now, self.tsc = hz, 0, 0
        self.pool, self.model = ffi.new("struct xp_spent_pool *"), Pool()
        self.c = {}
        self.born = dict.fromkeys(range(NR), 0)
        self.cpu = dict.fromkeys(range(NR), 0)          # each one's CPU clock
        self.used = self.given = 0                      # by the hypervisor's threads; as measured elsewhere
        self.charged = self.ran = self.paid = 0         # by the processes, in all
        self.gone = self.gone_credit = 0                # of those who are dead
        for who in range(NR):
            self.open(who)

    def teardown(self):
        if hasattr(self, "pool"):
            for account in self.c.values():
                lib.xp_spent_forget(self.pool, account)

    def open(self, who):
        self.c[who] = ffi.new("struct xp_spent *", {"exempt": who == NR - 1})
        self.model.accounts[who] = Account(exempt=who == NR - 1)

    @rule(who=st.one_of(WHO, st.none()), ticks=st.integers(-50, 10**7), turns=st.integers(0, 3))
    def served(self, who, ticks, turns):
        self.tsc = max(0, self.tsc + ticks)
        lib.xp_spent_add(self.pool, ffi.addressof(self.pool.own) if who is None else self.c[who], self.tsc, turns)
        self.model.add(who, self.tsc, turns)

    @rule(who=WHO, ns=NS)
    def measured_elsewhere(self, who, ns):
        lib.xp_spent_give(self.pool, self.c[who], ns)
        self.model.give(who, ns)
        self.given += ns

    @rule(used=NS, charge=st.booleans())
    def settle(self, used, charge):
        before = {who: account.due_ns for who, account in self.c.items()}
        shares = self.model.settle(used, self.hz)
        lib.xp_spent_settle(self.pool, used, self.hz)
        got = {who: self.c[who].due_ns - before[who] for who in self.c}
        for who, ns in got.items():
            assert abs(ns - shares[who]) < 1 + len(got), "its share but for rounding"
        self.model.settled(used, got)
        self.used += used
        if charge:
            self.charge()

    def charge(self):
        ns, seen = ffi.new("int64_t *"), set()
        while (account := lib.xp_spent_take(self.pool, ns)) != ffi.NULL:
            who = next(who for who, known in self.c.items() if known == account)
            assert ns[0] == self.model.take(who)
            seen.add(who)
        assert all(not account.due for account in self.model.accounts.values()), "none is left out"

    @rule(who=WHO)
    def dies_and_another_gets_its_number(self, who):
        self.gone_credit += self.model.accounts[who].credit
        self.model.forget(who)
        lib.xp_spent_forget(self.pool, self.c[who])
        self.gone += self.c[who].hypervisor_ns
        self.born[who] += 1
        self.cpu[who] = 0
        self.open(who)

    @rule(payer=WHO, payee=WHO, limit=st.one_of(st.integers(0, PERIOD), st.just(0)), old=st.booleans())
    def pay(self, payer, payee, limit, old):
        born = self.born[payee] - old
        assert lib.xp_spent_pay(self.c[payer], payee, born, limit, self.now) == self.model.pay(payer, payee, born, limit, self.now)

    @rule(payer=WHO)
    def pays_all(self, payer):
        for payee in range(PAYEES + 1):
            self.pay(payer, payee, PERIOD // 2, False)

    @rule(who=WHO, ns=NS)
    def run(self, who, ns):
        """It runs, and is charged what it has not handed over."""
        self.now += ns
        self.cpu[who] += ns
        self.ran += ns
        own = self.model.without_credit(who, ns)
        assert lib.xp_spent_without_credit(self.c[who], ns) == own
        self.charged += own

    @rule(giver=WHO, payer=WHO, wanted=st.one_of(NS, st.just(2**62), st.just(-5)))
    def hand_over(self, giver, payer, wanted):
        args = giver, self.born[giver], self.cpu[giver]
        got = lib.xp_spent_hand(self.c[giver], *args, self.c[payer], wanted, self.now)
        assert got == self.model.hand(giver, *args, payer, wanted, self.now)
        self.paid += max(0, got)

    @invariant()
    def the_same(self):
        if not hasattr(self, "pool"):
            return
        for who, account in self.model.accounts.items():
            c = self.c[who]
            assert (c.ticks, c.turns, c.due_ns, c.hypervisor_ns) == (account.ticks, account.turns, account.due, account.hypervisor)
            assert (c.paid_ns, c.handed_ns, c.credit_ns, c.mark_ns) == (account.paid, account.handed, account.credit, account.mark)
            assert 0 <= c.handed_ns <= self.cpu[who], "nobody hands over what it has not used"
        assert self.pool.own.hypervisor_ns == self.model.own.hypervisor

    @invariant()
    def nothing_is_lost_or_invented(self):
        if not hasattr(self, "pool"):
            return
        spent = sum(c.hypervisor_ns + c.due_ns for c in self.c.values()) + self.pool.own.hypervisor_ns + self.gone
        assert spent == self.used + self.given, "what the hypervisor's threads used"
        credit = sum(c.credit_ns for c in self.c.values()) + self.gone_credit
        assert self.charged + self.paid == self.ran + credit, "what the processes used: by itself or by who pays for it"


TestSpent = SpentMachine.TestCase
TestSpent.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
