"""Page tables that the hypervisor knows nothing of, to compare with: "what would this cost if nobody checked?"

The tables stay ordinary pages that the guest writes itself, and the MMU of the guest walks them all the same. A domain can do that
here because no processor walks its tables; on Xen it could not. Everything else is as ever: traps, stack switches, the same
Python. The same calls as UpdateQueue, so that the kernel does not know which one it has.
"""
# Tour G:150

from typing import Any

from xenproc.guest.queue import UpdateQueue


class BareQueue(UpdateQueue):
    """An update queue whose updates are plain stores."""

    def __init__(self, g: Any, entry_size: int) -> None:
        self._entries = g.memory.window(entry_size)
        self._shift = 2 if entry_size == 4 else 3
        self.nr_calls = self.nr_sent = 0

    def __len__(self) -> int:
        return 0

    def put(self, entry: int, value: int) -> None:
        """Write it."""
        self.nr_sent += 1
        self._entries[entry >> self._shift] = value

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> None:
        """Nothing waits."""

    def extended(self, cmd: int, argument: int, *second: int) -> None:
        """Pins and base pointers are the hypervisor's business."""

    def free(self) -> None:
        """Nothing to give back."""
