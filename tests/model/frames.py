"""The frame table in plain Python: a list of frames, each with its owner and its references. The model of native/frames.c.

Which frames an allocation gets is the table's own affair; the model is told and checks that they were free.
"""

from dataclasses import dataclass, field

ENOMEM, EINVAL = -12, -22
OWNERS = 4096
XEN = 0x7FF2            # the hypervisor's own: never released


@dataclass
class Frame:
    """One frame. refs 0 and no owner: free, or dirty until it was scrubbed."""

    owner: int | None = None
    refs: int = 0
    allocated: bool = False     # the owner's own reference is held
    dirty: bool = False
    hv: bool = False

    @property
    def free(self) -> bool:
        """May it be handed out?"""
        return self.owner is None and not self.dirty

    @property
    def zombie(self) -> bool:
        """Given up by its owner and still referred to?"""
        return self.refs > 0 and not self.allocated


@dataclass
class Frames:
    """The table. Frame 0 is nobody's for ever."""

    nr: int
    frames: list[Frame] = field(default_factory=list)
    scrubbing: list[int] = field(default_factory=list)     # taken for scrubbing, not given back yet

    def __post_init__(self) -> None:
        self.frames = [Frame() for _ in range(self.nr)]
        if self.nr:
            self.frames[0].refs = 1

    @property
    def nr_free(self) -> int:
        """How many can be handed out."""
        return sum(frame.free for frame in self.frames[1:])

    @property
    def dirty(self) -> set[int]:
        """Frames to be scrubbed that nobody has taken yet."""
        return {mfn for mfn, frame in enumerate(self.frames) if frame.dirty} - set(self.scrubbing)

    def longest_run(self) -> int:
        """The longest run of free frames."""
        best = length = 0
        for frame in self.frames[1:]:
            length = length + 1 if frame.free else 0
            best = max(best, length)
        return best

    def zombies(self, owner: int, of_hv: bool = True) -> int:
        """How many frames that `owner` gave up others still hold; of_hv: with those of the hypervisor's making."""
        return sum(frame.zombie and frame.owner == owner and (of_hv or not frame.hv) for frame in self.frames)

    def may_alloc(self, owner: int, nr: int, run: bool) -> bool:
        """Is there room?"""
        if (owner >= OWNERS and owner != XEN) or nr > self.nr_free:
            return False
        return 0 < nr <= self.longest_run() if run else True

    def may_alloc_extent(self, owner: int, order: int, limit: int) -> bool:
        """Is there an aligned extent below limit?"""
        nr, end = 1 << order, min(limit, self.nr)
        places = (range(at, at + nr) for at in range(0, end - nr + 1, nr))
        return (owner < OWNERS or owner == XEN) and any(
            all(mfn and self.frames[mfn].free for mfn in place) for place in places)

    def alloc(self, owner: int, mfns: list[int], hv: bool) -> None:
        """Hand out frames that must be free and different."""
        assert len(set(mfns)) == len(mfns)
        for mfn in mfns:
            assert 0 < mfn < self.nr and self.frames[mfn].free, mfn
            self.frames[mfn] = Frame(owner, 1, True, hv=hv)

    def get(self, mfn: int) -> int:
        """One more reference."""
        if not 0 <= mfn < self.nr or self.frames[mfn].owner is None:
            return EINVAL
        self.frames[mfn].refs += 1
        return 0

    def put(self, mfn: int) -> int:
        """One less; 1 if it was the last."""
        frame = self.frames[mfn]
        frame.refs -= 1
        if frame.refs:
            return 0
        self.frames[mfn] = Frame(dirty=True)
        return 1

    def release(self, mfn: int, owner: int) -> int:
        """The owner gives it up."""
        if owner == XEN or not 0 <= mfn < self.nr or self.frames[mfn].owner != owner or not self.frames[mfn].allocated:
            return EINVAL
        self.frames[mfn].allocated = False
        self.put(mfn)
        return 0

    def take_dirty(self, mfns: list[int], most: int) -> None:
        """Frames were taken for scrubbing: dirty ones, as many as there are up to `most`."""
        assert set(mfns) <= self.dirty and len(set(mfns)) == len(mfns) == min(most, len(self.dirty))
        self.scrubbing += mfns

    def give_clean(self, mfns: list[int]) -> None:
        """They are clean."""
        for mfn in mfns:
            self.scrubbing.remove(mfn)
            self.frames[mfn] = Frame()
