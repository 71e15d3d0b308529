"""Writable page tables in plain Python: a guest that stores into its level-1 tables. On top of the model of tables.

Written from Xen 2.0's rules (a table is taken out of its directory, written, and validated when it is next used), not from native/.
"""

from model.tables import EINVAL, EPERM, L1, WRITABLE, Domain, P, Refused, Tables, level_of


class Crashed(Exception):
    """The domain is ended for what it did."""


class WritableTables(Tables):
    """The machine, with vm_assist's writable page tables."""

    noted = False                               # whether anybody has switched them on: what names a table is noted from then on

    def assist(self, d: Domain, on: bool) -> None:
        """vm_assist: switch them on or off."""
        if not self.noted:
            self.named.clear()
        self.noted = True
        d.writable = on

    def hook(self, d: Domain, keep: int = 0) -> None:
        """Hook the oldest again until so many are left: what every call that needs tables does first."""
        while len(d.unhooked) > keep:
            table, directory, slot, entry = d.unhooked.pop(0)
            try:
                self.take(d, directory, self.frames[directory].type, slot, entry)
            except Refused:
                d.unhooked.clear()
                raise Crashed(table) from None
            self.words[directory][slot] = entry

    def only_user(self, d: Domain, table: int) -> tuple[int, int] | None:
        """Return the directory's slot that is the level-1 table's one user, if it is one."""
        directory, slot = self.named.get((2, table), (0, 0)) if self.noted else (0, 0)
        above = self.own(d, directory)
        if self.frames[table].count != 1 or above is None or level_of(above.type) != 2 or not above.validated:
            return None
        entry = self.words[directory][slot]
        return (directory, slot) if entry & P and d.mode.mfn(entry) == table else None

    def store(self, d: Domain, ptr: int, value: int, size: int) -> int:
        """A store that met write protection (size 0: nobody knows of what): 0, it is done; 1, the table is unhooked; 2, it is none."""
        mfn, offset, whole = ptr >> 12, ptr % 4096, d.mode.bits // 8
        frame = self.own(d, mfn)
        if not d.writable or frame is None:
            raise Refused(EPERM)
        if size and (size not in (1, 2, 4, 8)[: whole.bit_length()] or offset % size):
            raise Refused(EINVAL)
        if frame.hv:
            raise Refused(EPERM)
        if not frame.count or frame.type == WRITABLE:
            return 1 if any(table == mfn for table, *_ in d.unhooked) else 2
        if frame.type != L1:
            raise Refused(EPERM)
        user = self.only_user(d, mfn)
        foreign = any(self.own(d, d.mode.mfn(entry)) is None for _, entry in self.entries(d, mfn, L1))
        if (user is None or foreign) and not size:
            raise Refused(EPERM)
        if user is None or foreign:
            data = bytearray(self.words[mfn][offset // whole].to_bytes(whole, "little"))
            data[offset % whole : offset % whole + size] = (value % 256**size).to_bytes(size, "little")
            self.change(d, mfn, offset // whole, int.from_bytes(data, "little"), keep=False)
            return 0
        self.hook(d, keep=1)
        directory, slot = user
        entry = self.words[directory][slot]
        d.unhooked.append((mfn, directory, slot, entry))
        self.words[directory][slot] = entry & ~P
        self.put_table(d, mfn)
        return 1
