"""Two page allocators side by side: each request goes to linked lists of descriptors and to radix trees, on machines of equal size.

Used by the Free-list lab and by hand: ``m = SideBySide(); n = m.alloc_pages(0); m.free_pages(n)``.  ``m.linked`` is a Machine, ``m.radix`` a
RadixMachine; both can be looked at and used as such.  Imports the core, both and radix_freelist.

The two seldom choose the same page.  So a caller holds *blocks by number*, each a page of one machine and a page of the other.  Which numbers
are held is the caller's knowledge, not an allocator's: it is kept here, and goes with every snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, cast

from ..gfp import GFP
from ..machine import Machine, Stats
from ..memdesc import MemType
from ..ram import KernelBug
from ..recording import Recording
from ..structs import buddy
from .both import Both
from .radix_freelist import RadixMachine
from .radix_tree import Use


class Pair(NamedTuple):
    """One block that is held: its first page on either machine, None where the request was not met."""

    linked: int | None
    radix: int | None


class SideBySide:
    """A Machine ("bounded", without watermarks) and a RadixMachine, booted with the same parameters; see these for what they mean.

    ValueError, TypeError or MemoryError as they raise it.
    """

    def __init__(self, memory: int | str = "32K", page_size: int | str = 512, max_order: int = 4, highmem: int | str = "8K") -> None:
        self.linked = Machine(memory, page_size, max_order, highmem=highmem, watermarks=None, design="bounded")
        self.radix = RadixMachine(memory, page_size, max_order, highmem)
        self.nr_pages, self.page_size, self.max_order = self.linked.nr_pages, self.linked.page_size, max_order
        self.highmem_pfn = self.linked.highmem_pfn
        self._held: dict[int, Pair] = {}
        self._told: Callable[[str], object] | None = None

    @property
    def held(self) -> dict[int, Pair]:
        """The blocks that are held, by number.  A half that was freed behind this object's back is None."""
        pairs = {n: Pair(self._in_linked(pair.linked), self._in_radix(pair.radix)) for n, pair in self._held.items()}
        return {n: pair for n, pair in pairs.items() if pair != (None, None)}

    def alloc_pages(self, order: int, gfp: int = GFP.KERNEL) -> int | None:
        """Ask both machines for a block of 2^order pages.  Returns its number, or None when neither has one.

        ``order``: unsigned int, 0 to max_order.  ``gfp``: gfp_t.  ValueError or TypeError for a bad argument.
        """
        pfn = self.linked.alloc_pages(order, gfp)
        self._tell("Linked lists have no such block." if pfn is None else f"Linked lists: the block at page {pfn} is allocated.")
        pair = Pair(pfn, self.radix.alloc_pages(order, gfp))
        if pair == (None, None):
            return None
        self._held = self.held
        number = next(n for n in range(1, len(self._held) + 2) if n not in self._held)
        self._held[number] = pair
        return number

    def free_pages(self, number: int) -> None:
        """Free a block on both machines.  KernelBug if no block of that number is held."""
        pair = self.held.get(number)
        if pair is None:
            raise KernelBug(f"no block has the number {number!r}; those that are held are {', '.join(map(str, self.held)) or 'none'}")
        if pair.linked is not None:
            self.linked.free_pages(pair.linked)
            self._tell(f"Linked lists: the block at page {pair.linked} is freed; its descriptor was there since it was allocated.")
        if pair.radix is not None:
            self.radix.free_pages(pair.radix)
        self._held = {n: other for n, other in self.held.items() if n != number}

    @property
    def stats(self) -> Stats:
        """The counters of both machines, as they are now: linked_... and radix_..."""
        sides = {"linked": self.linked.stats, "radix": self.radix.stats}
        return Stats({f"{side}_{name}": n for side, stats in sides.items() for name, n in stats.items()})

    def check(self) -> None:
        """Raise Corruption if either machine's RAM is not in order."""
        self.linked.check()
        self.radix.check()

    def snapshot(self) -> Both:
        """Return a copy of all RAM that ``restore`` takes and that can be compared with ``==``."""
        return Both(self.linked.snapshot(), self.radix.snapshot(), dict(self._held), repr(sorted(self._held.items())))

    def restore(self, snapshot: Both) -> None:
        """Make RAM what it was when the snapshot was taken.  TypeError or ValueError if it is of something else."""
        if not isinstance(snapshot, Both):
            raise TypeError(f"restore takes what snapshot() returned, not {snapshot!r}")
        self.linked.restore(snapshot.one)
        self.radix.restore(snapshot.other)
        self._held = dict(snapshot.beside)

    @contextmanager
    def record(self, within: bool = False) -> Iterator[Recordings]:
        """Record both machines: ``with m.record() as r: ...; r.mark("..."); ...``, as memlab.recording does one.

        ``within``: mark each step within a call, too.
        """
        recordings = Recordings(self)
        if within:
            self._told = recordings.mark
            self.radix.told = lambda words: recordings.mark(f"Radix trees: {words[0].lower()}{words[1:]}")
        try:
            yield recordings
        finally:
            self._told = self.radix.told = None
            recordings.end()

    def __repr__(self) -> str:
        return f"<SideBySide: {self.nr_pages} pages of {self.page_size} bytes each, {len(self.held)} blocks held>"

    def _tell(self, words: str) -> None:
        if self._told:
            self._told(words)

    def _in_linked(self, pfn: int | None) -> int | None:
        m = self.linked
        word = 0 if pfn is None else m.w[m.MM + pfn]
        at = ((word - MemType.BUDDY - m.B) >> 3) + buddy.page.word
        return pfn if word & 15 == MemType.BUDDY and 0 <= at < len(m.w) and m.w[at] == m.V + m.page_bytes * cast("int", pfn) else None

    def _in_radix(self, pfn: int | None) -> int | None:
        return pfn if pfn is not None and self.radix.block(pfn)[::2] == (pfn, Use.ALLOCATED) else None


class Recordings:
    """A Recording of each machine, marked together: marks, at(k) and so on are those of memlab.recording.Recording."""

    def __init__(self, machine: SideBySide) -> None:
        self._both = Recording(machine.linked), Recording(cast("Any", machine.radix))

    @property
    def marks(self) -> list[str]:
        """The words of each mark."""
        return self._both[0].marks

    def mark(self, words: str) -> None:
        """Mark this moment on both machines.  ValueError as Recording raises it."""
        for recording in self._both:
            recording.mark(words)

    @contextmanager
    def at(self, k: int) -> Iterator[None]:
        """Have both machines' RAM as it was at mark ``k`` within a with block.  IndexError or ValueError as Recording raises it."""
        with ExitStack() as stack:
            for recording in self._both:
                stack.enter_context(recording.at(k))
            yield

    def __len__(self) -> int:
        return len(self.marks)

    @property
    def nbytes(self) -> int:
        """About how many bytes both keep once they are ended."""
        return sum(recording.nbytes for recording in self._both)

    def end(self) -> None:
        """End the recording: no more marks."""
        for recording in self._both:
            recording.end()
