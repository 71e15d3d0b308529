"""A recorded run of the scheduler, played again through the pure core: what was asked, and what it answers this time."""

from xenproc.dom0.trace import type_name
from xenproc.native import ffi, lib


class Replay:
    """Gives the core what was recorded, from the first domain on; `decisions` that were made, `wrong` ones that differ."""

    def __init__(self, records, kind, nr_cpus):
        self.sched = ffi.new("struct xp_sched *")
        assert lib.xp_sched_init(self.sched, lib.xp_sched_class_named(kind.encode()), nr_cpus, ffi.NULL) == 0
        self.entities = {}
        self.warps = {}
        self.decisions, self.wrong = 0, []
        self.asked = None               # the decision whose slice comes next
        self.kinds = {}
        for record in records:
            name = type_name(record.type)
            if name.startswith("sched_"):
                what = name.removeprefix("sched_")
                self.kinds[what] = self.kinds.get(what, 0) + 1
                getattr(self, what)(record)
        lib.xp_sched_free(self.sched)

    def params(self, record):
        return ffi.new("struct xp_sched_params *", (record.number, *self.warps.pop(record.domid, [0, 0, 0])))

    def warp(self, record):
        self.warps.setdefault(record.domid, [0, 0, 0])[record.number] = record.value

    def add(self, record):
        e = self.entities[record.domid] = ffi.new("struct xp_sched_entity *", {"domid": record.domid})
        assert lib.xp_sched_add(self.sched, e, self.params(record), record.value) == 0

    def adjust(self, record):
        assert lib.xp_sched_adjust(self.sched, self.entities[record.domid], self.params(record), record.value) == 0

    def remove(self, record):
        lib.xp_sched_remove(self.sched, self.entities.pop(record.domid), record.value)

    def wake(self, record):
        lib.xp_sched_wake(self.sched, self.entities[record.domid], record.value)

    def sleep(self, record):
        lib.xp_sched_sleep(self.sched, self.entities[record.domid], record.value, record.number == 1)

    def charge(self, record):
        lib.xp_sched_charge(self.sched, self.entities[record.domid], record.number, record.value)

    spent = paid = charge

    def decide(self, record):
        choice = lib.xp_sched_decide(self.sched, record.number, record.value)
        self.asked = (0 if choice.next == ffi.NULL else choice.next.domid, record.number, choice.slice_ns)
        self.decisions += 1
        if self.asked[0] != record.domid:
            self.wrong.append((record, self.asked))

    def slice(self, record):
        if self.asked != (record.domid, record.number, record.value):
            self.wrong.append((record, self.asked))
