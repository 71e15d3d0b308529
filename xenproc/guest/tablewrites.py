"""Page tables written by stores instead of requests: what vm_assist's writable page tables are for.

A store into a level-1 table that is in use is trapped: the hypervisor unhooks the table and the guest writes on as into any
page, until tables matter again (native/writable_pt.h). Where windows are not enforced nothing traps, and the library asks first.
Source: public/xen.h; Xen 2.0's and 3.0's writable page tables.
"""

from typing import TYPE_CHECKING, Any

from xenproc.abi import Hypercall
from xenproc.abi.hypercall import VmAssist, VmAssistCmd
from xenproc.errors import HypercallError
from xenproc.guest.queue import UpdateQueue
from xenproc.native import lib

if TYPE_CHECKING:
    from xenproc.guest.kernel import Guest

_EPERM = -1


class DirectWrites(UpdateQueue):
    """Entries stored where they belong; those of higher tables in use, which nobody may store, wait in the queue.

    Counters: nr_stored. An entry that does not validate ends the domain when its table is hooked again.
    """

    def __init__(self, g: "Guest") -> None:
        super().__init__(g)
        self._link: Any = None
        self._bytes = 8
        self.nr_stored = 0
        g.hypercalls.call(Hypercall.vm_assist, VmAssistCmd.enable, VmAssist.writable_pagetables, op="vm_assist")

    def connect(self, link: Any, size: int) -> None:
        """Store through this link from now on, entries of `size` bytes."""
        self._link, self._bytes = link, size
        link.stores = True

    def put(self, entry: int, value: int) -> None:
        """Store an entry at this machine address. Raises HypercallError: its table is shared or pinned, and this refused."""
        ret = lib.xp_pt_store(self._link, entry, value, self._bytes)
        if ret == _EPERM:
            super().put(entry, value)
        elif ret:
            raise HypercallError(-ret, "pt_write", self._g.domid)
        else:
            self.nr_stored += 1
