"""Grant tables from a domain's side: granting frames to others, mapping and copying theirs, pages that change hands.

Version 1 entries; the flag protocol is Xen's (native/grantref.c): access is ended only when nobody uses the entry. A mapped page
appears in the window at its machine address; it is left (page gone from this process) before it is unmapped, as the
hypervisor checks.
"""
# Tour R:050

import threading
from types import TracebackType
from typing import Any

from xenproc.abi import GnttabOp, GrantCopy, GrantFlag, GrantMap, GrantStatus, Hypercall, MmuUpdate
from xenproc.errors import XenprocError
from xenproc.guest.hypercall import Hypercalls
from xenproc.guest.memory import Memory, Pages
from xenproc.native import ffi, lib
from xenproc.units import PAGE_SHIFT, PAGE_SIZE

_RESERVED = 8           # entries 0 to 7: Xen's own uses (console, xenstore)
_PER_FRAME = 512
_MAP_BATCH = 32
_SELF = 0x7FF0


class GrantError(XenprocError):
    """The hypervisor refused a grant operation: `status` is GNTST_*."""

    def __init__(self, status: int, what: str) -> None:
        try:
            name = GrantStatus(status).name
        except ValueError:
            name = str(status)
        super().__init__(f"{what}: {name}")
        self.status = status


class Mapping:
    """Pages of another domain, mapped here: consecutive if they are so in machine memory, else by address.

    entries: machine addresses of page-table entries that map them, too; none: they are in the window alone.
    """

    def __init__(self, grants: "Grants", domid: int, refs: list[int], handles: list[int], addresses: list[int],
                 entries: list[int] | None = None) -> None:
        self.grants = grants
        self.domid = domid
        self.refs = refs
        self.handles = handles
        self.addresses = addresses
        self.entries = entries or []

    @property
    def contiguous(self) -> bool:
        """Do the pages lie one behind the other in the window?"""
        first = self.addresses[0]
        return all(address == first + i * PAGE_SIZE for i, address in enumerate(self.addresses))

    @property
    def view(self) -> memoryview:
        """The bytes themselves, without a copy. Raises ValueError if the pages are not consecutive."""
        if not self.contiguous:
            raise ValueError("the pages are not consecutive in machine memory; use page_view")
        return memoryview(ffi.buffer(ffi.cast("char *", self.addresses[0]), len(self.addresses) * PAGE_SIZE))

    def array(self, dtype: Any = "u1") -> Any:
        """Return a NumPy array over the pages, without copying. Needs numpy. Raises ValueError as view."""
        import numpy

        return numpy.frombuffer(self.view, dtype=dtype)

    def page_view(self, index: int) -> memoryview:
        """One page's bytes, without a copy."""
        return memoryview(ffi.buffer(ffi.cast("char *", self.addresses[index]), PAGE_SIZE))

    def unmap(self) -> None:
        """Unmap; the views must not be used any more. Twice is harmless."""
        if self.handles:
            self.grants.unmap(self)
            self.handles = []

    def __enter__(self) -> "Mapping":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.unmap()


class Grants:
    """This domain's grant table and its mappings of others' frames."""

    def __init__(self, hypercalls: Hypercalls, window_base: int, memory: Memory) -> None:
        self.calls = hypercalls
        self.window_base = window_base
        self.memory = memory
        self._lock = threading.Lock()
        self._frames: list[int] = []        # addresses of the table's frames
        self._free: list[int] = []
        self._mapped: dict[int, int] = {}   # address -> handles of this domain on it
        self._ending: list[tuple[list[int], Pages]] = []    # given up by us, not yet by the other side

    # ---- granting ----

    def grant(self, domid: int, pages: Pages | int, readonly: bool = False) -> list[int]:
        """Grant every frame of `pages` (or one frame number) to `domid`; return the references.

        Raises HypercallError or GrantError when the table cannot grow (its limit is max_grant_frames).
        """
        mfns = [pages] if isinstance(pages, int) else pages.mfns
        refs = [self._take_ref() for _ in mfns]
        flags = GrantFlag.permit_access | (GrantFlag.readonly if readonly else 0)
        for ref, mfn in zip(refs, mfns, strict=True):
            lib.xp_grant_entry_set(self._entry(ref), domid, mfn, flags)
        return refs

    def end(self, refs: list[int]) -> list[int]:
        """End access; return those references that are still in use by the other side (try again later)."""
        busy = []
        for ref in refs:
            if lib.xp_grant_entry_end(self._entry(ref)) == 0:
                with self._lock:
                    self._free.append(ref)
            else:
                busy.append(ref)
        return busy

    def end_with(self, refs: list[int], pages: Pages) -> None:
        """End access and free the pages; what the other side still uses is ended and freed later, at some grant or end."""
        self._ending.append((list(refs), pages))
        waiting, self._ending = self._ending, []
        for refs_left, owner in waiting:
            busy = self.end(refs_left)
            if busy:
                self._ending.append((busy, owner))
            else:
                owner.free()

    def in_use(self, ref: int) -> bool:
        """Does the other side map or copy it right now?"""
        return bool(self._entry(ref).flags & (GrantFlag.reading | GrantFlag.writing))

    def _entry(self, ref: int):
        table = ffi.cast("struct xen_grant_entry_v1 *", self._frames[ref // _PER_FRAME])
        return ffi.addressof(table, ref % _PER_FRAME)

    def _take_ref(self) -> int:
        with self._lock:
            if not self._free:
                self._grow()
            return self._free.pop()

    def _grow(self) -> None:
        nr = len(self._frames) + 1
        with self.calls.struct("struct xen_gnttab_setup_table", dom=0x7FF0, nr_frames=nr) as (address, op):
            where = address + 64
            op.frame_list = where
            self.calls.call(Hypercall.grant_table_op, GnttabOp.setup_table, address, 1, op="setup_table")
            if op.status != 0:
                raise GrantError(op.status, f"growing the grant table to {nr} frames (limit: max_grant_frames)")
            mfn = ffi.cast("uint64_t *", where)[nr - 1]
        self._frames.append(self.window_base + (mfn << PAGE_SHIFT))
        first = (nr - 1) * _PER_FRAME
        self._free.extend(range(first + _PER_FRAME - 1, max(first, _RESERVED) - 1, -1))

    # ---- using others' ----

    def map(self, domid: int, refs: list[int], readonly: bool = False, entries: list[int] | None = None,
            user: bool = False) -> Mapping:
        """Map references of `domid`, all or none. Raises GrantError with the first refusal.

        entries: machine addresses of level-1 entries of ours, one for each, which shall map them, too, for our user space if `user`.
        """
        mapping = Mapping(self, domid, [], [], [])
        flags = GrantMap.host_map | GrantMap.device_map | (GrantMap.readonly if readonly else 0)
        if entries is not None:
            flags |= GrantMap.contains_pte | (GrantMap.application_map if user else 0)
        for i in range(0, len(refs), _MAP_BATCH):
            batch = refs[i : i + _MAP_BATCH]
            refused = self._map_batch(mapping, batch, [0] * len(batch) if entries is None else entries[i : i + _MAP_BATCH], flags)
            if refused is not None:
                mapping.unmap()
                raise refused
        return mapping

    def _map_batch(self, mapping: Mapping, refs: list[int], entries: list[int], flags: int) -> GrantError | None:
        """One hypercall; what was mapped is added to `mapping`, the first refusal returned."""
        refused = None
        with self.calls.array("struct xen_gnttab_map_grant_ref", len(refs)) as (address, ops):
            for op, ref, entry in zip(ops, refs, entries, strict=True):
                op.dom, op.ref, op.flags, op.host_addr = mapping.domid, ref, flags, entry
            lib.xp_fault(b"grant.map.before")
            self.calls.call(Hypercall.grant_table_op, GnttabOp.map_grant_ref, address, len(refs), op="map_grant_ref")
            for op in ops:
                if op.status != 0:
                    refused = refused or GrantError(op.status, f"mapping reference {op.ref} of domain {mapping.domid}")
                    continue
                where = self.window_base + op.dev_bus_addr
                mapping.refs.append(op.ref)
                mapping.handles.append(op.handle)
                mapping.addresses.append(where)
                if flags & GrantMap.contains_pte:
                    mapping.entries.append(op.host_addr)
                with self._lock:
                    self._mapped[where] = self._mapped.get(where, 0) + 1
        lib.xp_fault(b"grant.map.mapped")
        return refused

    def unmap(self, mapping: Mapping) -> None:
        """Unmap (called by Mapping.unmap). Raises GrantError."""
        for where in mapping.addresses:
            with self._lock:
                left = self._mapped[where] = self._mapped[where] - 1
                if left == 0:
                    del self._mapped[where]
            if left == 0:
                lib.xp_page_leave(where)
        lib.xp_fault(b"grant.unmap.left")
        hosts = mapping.entries or mapping.addresses
        for i in range(0, len(mapping.handles), _MAP_BATCH):
            end = i + _MAP_BATCH
            self._unmap_batch(mapping.handles[i:end], mapping.addresses[i:end], hosts[i:end])
        lib.xp_fault(b"grant.unmap.done")

    def _unmap_batch(self, handles: list[int], addresses: list[int], hosts: list[int]) -> None:
        with self.calls.array("struct xen_gnttab_unmap_grant_ref", len(handles)) as (address, ops):
            for op, handle, where, host in zip(ops, handles, addresses, hosts, strict=True):
                op.host_addr, op.dev_bus_addr, op.handle = host, where - self.window_base, handle
            self.calls.call(Hypercall.grant_table_op, GnttabOp.unmap_grant_ref, address, len(handles), op="unmap_grant_ref")
            for op in ops:
                if op.status != 0:
                    raise GrantError(op.status, f"unmapping handle {op.handle}")

    def copy(self, source: tuple[int, int, int], dest: tuple[int, int, int], length: int,
             source_is_ref: bool = False, dest_is_ref: bool = False) -> None:
        """Copy within a page through the hypervisor: (domid, frame or reference, offset) each. Raises GrantError."""
        flags = (GrantCopy.source_gref if source_is_ref else 0) | (GrantCopy.dest_gref if dest_is_ref else 0)
        with self.calls.struct("struct xen_gnttab_copy", len=length, flags=flags) as (address, op):
            for end, (domid, frame, offset) in ((op.source, source), (op.dest, dest)):
                end.domid, end.offset, end.u.gmfn = domid, offset, frame
            self.calls.call(Hypercall.grant_table_op, GnttabOp.copy, address, 1, op="gnttab_copy")
            if op.status != 0:
                raise GrantError(op.status, "gnttab_copy")

    # ---- pages that change hands ----

    def accept(self, domid: int) -> int:
        """Offer to take a page of `domid`'s as our own; return the reference that it needs. Raises as grant."""
        ref = self._take_ref()
        lib.xp_grant_entry_set(self._entry(ref), domid, 0, GrantFlag.accept_transfer)
        return ref

    def accepted(self, ref: int) -> Pages | None:
        """Return the page that has come by an offer, ours from now on; None: none yet, and the offer stands.

        Its contents are what the giver left in it. The offer is over when a page has come.
        """
        mfn = lib.xp_grant_transfer_taken(self._entry(ref))
        if mfn < 0:
            return None
        with self._lock:
            self._free.append(ref)
        self._give_number(mfn)
        return Pages(self.memory, mfn, 1)

    def withdraw(self, ref: int) -> bool:
        """Take an offer back. False: too late, a page has come (see accepted)."""
        if lib.xp_grant_transfer_end(self._entry(ref)) != 0:
            return False
        with self._lock:
            self._free.append(ref)
        return True

    def _give_number(self, mfn: int) -> None:
        """A free page number for a frame that came: in our P2M, and in the M2P."""
        (pfn,) = self.memory.numbers(1, 0)
        self.memory.p2m[pfn] = mfn
        with self.calls.struct("struct xen_mmu_update", ptr=mfn << PAGE_SHIFT | MmuUpdate.MACHPHYS_UPDATE, val=pfn) as (address, _):
            self.calls.raw(Hypercall.mmu_update, address, 1, 0, _SELF)

    def transfer(self, domid: int, refs: list[int], pages: Pages) -> None:
        """Make the frames of `pages` another domain's, contents and all, by offers of it (its accept); they are not ours any more.

        Raises GrantError with the first refusal. What was refused is ours still, but this process has let go of it: the balloon
        can give it back for another.
        """
        mfns, pages.nr = pages.mfns, 0
        refused = None
        lib.xp_pages_leave(pages.address, len(mfns))
        lib.xp_fault(b"grant.transfer.left")
        for i in range(0, len(mfns), _MAP_BATCH):
            refused = self._transfer_batch(domid, refs[i : i + _MAP_BATCH], mfns[i : i + _MAP_BATCH]) or refused
        lib.xp_fault(b"grant.transfer.done")
        if refused is not None:
            raise refused

    def _transfer_batch(self, domid: int, refs: list[int], mfns: list[int]) -> GrantError | None:
        refused, kept = None, []
        self.memory.forget(mfns)
        with self.calls.array("struct xen_gnttab_transfer", len(mfns)) as (address, ops):
            for op, ref, mfn in zip(ops, refs, mfns, strict=True):
                op.mfn, op.domid, op.ref = mfn, domid, ref
            self.calls.call(Hypercall.grant_table_op, GnttabOp.transfer, address, len(mfns), op="gnttab_transfer")
            for op in ops:
                if op.status != 0:
                    refused = refused or GrantError(op.status, f"transfer to domain {domid} by its reference {op.ref}")
                    kept.append(op.mfn)
        self.memory.absent += kept
        return refused
