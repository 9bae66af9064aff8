"""The simulated RAM: an anonymous mmap seen as 64-bit words, and the ways to name a place in it.

Used by everything else.  Imports addresses and structs only.

    word 0                          nr_pages * page_words
    +------------------------------+--------------------------+
    | pages, pfn 0 to nr_pages - 1 | kernel area              |
    |   (the mem_map is in some)   | (zones, caches, per-CPU) |
    +------------------------------+--------------------------+

A place has up to three names: the *virtual address* of a direct map (PAGE_OFFSET + its distance from the start of RAM), a *page frame
number* (pfn), and the address of the pfn's ``struct page`` in the vmemmap.  HIGHMEM pages have no virtual address.
RAM is not touched before it is used, so a large machine costs only what it writes; ``touched`` marks the pages that may not be zero.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from .addresses import B, V
from .number import whole
from .structs import PAGE_STRUCT_BYTES

_MAP_NORESERVE: Final = 0x4000  # Linux's value; Python 3.11 has no name for it


Function = TypeVar("Function", bound=Callable[..., Any])


def changes(function: Function) -> Function:
    """Mark a function that changes RAM for its caller: with undo, one step."""
    function.changes = True  # type: ignore[attr-defined]
    return function


class KernelBug(Exception):
    """The caller broke a rule of the allocator (the kernel would say BUG), and RAM is as it was; or the kernel's stack overflowed."""


class Snapshot:
    """A copy of RAM: kernel area, mem_map and touched pages.  Equal if all but free pages' contents and counters is equal."""

    __slots__ = ("_kernel", "_mem_map", "_page_words", "_pages", "_stat_bytes", "config", "ctors")

    def __init__(self, kernel: bytes, mem_map: bytes, pages: dict[int, bytes], stat_bytes: int, page_words: int = 1) -> None:
        self._kernel, self._mem_map, self._pages, self._stat_bytes = kernel, mem_map, pages, stat_bytes
        self._page_words = page_words  # of a struct page
        self.config: Any = None  # the machine's shape and its caches' constructors, which are not compared
        self.ctors: dict[int, Callable[[int], object]] = {}

    def key(self) -> tuple[bytes, bytes, dict[int, bytes]]:
        """Return what is compared: the kernel area without the counters, the mem_map, and the contents of pages in use."""
        words = memoryview(self._mem_map).cast("Q")[:: self._page_words]
        used = {pfn: data for pfn, data in self._pages.items() if words[pfn] & 15 != 1 and any(data)}
        return self._kernel[: -self._stat_bytes], self._mem_map, used

    def parts(self) -> tuple[bytes, bytes, dict[int, bytes], int]:
        """Return kernel area, mem_map, {pfn: contents} of touched pages, and the number of bytes of counters that end the kernel area."""
        return self._kernel, self._mem_map, self._pages, self._stat_bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key()[:2])

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self._mem_map) // (8 * self._page_words)} pages>"


class Ram:
    """RAM of ``nr_pages`` pages of ``page_size`` bytes, with a kernel area of ``kernel_bytes`` behind them.

    Attributes for hot paths: ``w``, all of RAM as a memoryview of 64-bit words; ``B``, the address of word 0; ``MM``, the index of the first
    word of the mem_map; ``WS``, the shift from a pfn to its first word; ``KA``, the index of the kernel area's first word.
    MemoryError if the machine that runs this has not the room.
    """

    page_bytes = PAGE_STRUCT_BYTES  # of a struct page; a study of another design may have larger ones

    def __init__(self, nr_pages: int, page_size: int, kernel_bytes: int, stat_bytes: int, mem_map_pfn: int, highmem_pfn: int) -> None:
        self.nr_pages, self.page_size = nr_pages, page_size
        self.mem_map_pfn, self.highmem_pfn = mem_map_pfn, highmem_pfn
        self.mem_map_words = nr_pages * self.page_bytes >> 3
        self.mem_map_pages = -(-nr_pages * self.page_bytes // page_size)
        self.PS = page_size.bit_length() - 1
        self.WS = self.PS - 3
        self.page_mask = page_size - 1
        self.B, self.V = B, V
        self.MM = mem_map_pfn << self.WS
        self.KA = nr_pages << self.WS
        self._kernel_end = (self.KA << 3) + kernel_bytes
        self._stat_bytes = stat_bytes
        self.map = _reserve((nr_pages << self.PS) + kernel_bytes)
        self.see(memoryview(self.map).cast("Q"))
        self.touched = _reserve(nr_pages)  # a byte for each page; a mapping, because a bytearray would be resident at once

    def see(self, w: memoryview[int]) -> None:
        """Have ``w`` for RAM's words: the memoryview, or what stands in for it while somebody watches what is written."""
        self.w = w

    def follow(self, words: Iterable[int]) -> None:
        """Have what Python keeps beside RAM follow, after these words were put back.  RAM alone keeps nothing."""

    # -- names of places

    def page_address(self, pfn: int) -> int | None:
        """Return the virtual address of page ``pfn``, or None for a HIGHMEM page; ValueError if there is no such page."""
        pfn = self._pfn(pfn)
        return B + (pfn << self.PS) if pfn < self.highmem_pfn else None

    def virt_to_pfn(self, address: int) -> int:
        """Return the pfn of the page that holds the virtual address; ValueError if none does."""
        address = whole(address, "an address is a whole number")
        pfn = (address - B) >> self.PS
        if not 0 <= pfn < self.highmem_pfn:
            raise ValueError(
                f"{address:#x} is no virtual address of a page; those are {B:#x} to {B + (self.highmem_pfn << self.PS) - 1:#x}"
            )
        return pfn

    def pfn_to_page(self, pfn: int) -> int:
        """Return the address of page ``pfn``'s struct page in the vmemmap; ValueError if there is no such page."""
        return V + self.page_bytes * self._pfn(pfn)

    def page_to_pfn(self, page: int) -> int:
        """Return the pfn whose struct page is at address ``page``; ValueError if none is."""
        page = whole(page, "the address of a struct page is a whole number")
        pfn, rest = divmod(page - V, self.page_bytes)
        if rest or not 0 <= pfn < self.nr_pages:
            raise ValueError(f"{page:#x} is no struct page; those are at {V:#x} plus {self.page_bytes} times a pfn below {self.nr_pages}")
        return pfn

    def _pfn(self, pfn: int) -> int:
        pfn = whole(pfn, "a pfn is a whole number")
        if not 0 <= pfn < self.nr_pages:
            raise ValueError(f"there is no page {pfn}; this machine has pages 0 to {self.nr_pages - 1}")
        return pfn

    # -- bytes

    def read(self, address: int, n: int) -> bytes:
        """Return ``n`` bytes of RAM from a virtual (or vmemmap) address on; ValueError if they are not all RAM."""
        n = whole(n, "a number of bytes is a whole number")
        at = self._span(whole(address, "an address is a whole number"), n)
        return self.map[at : at + n]

    @changes
    def write(self, address: int, data: bytes) -> None:
        """Write bytes to RAM at a virtual (or vmemmap) address, allocator state included: this is how to break a machine.

        ValueError if they would not all be in RAM; TypeError if ``data`` is not bytes.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"RAM is written with bytes, such as b'hello', not {data!r}")
        data = bytes(data)
        at = self._span(whole(address, "an address is a whole number"), len(data))
        self.map[at : at + len(data)] = data
        first, last = at >> self.PS, (at + max(len(data), 1) - 1) >> self.PS
        for pfn in range(first, min(last + 1, self.nr_pages)):
            self.touched[pfn] = not 0 <= pfn - self.mem_map_pfn < self.mem_map_pages  # the mem_map is copied by itself

    def _span(self, address: int, n: int) -> int:
        if n < 0:
            raise ValueError(f"a number of bytes is 0 or more, not {n}")
        highmem, end = self.highmem_pfn << self.PS, self._kernel_end
        at = address - B
        if address >= V:  # the vmemmap: another name of the mem_map's pages
            at = address - V + (self.MM << 3)
            if address - V + n > 8 * self.mem_map_words:
                raise ValueError(f"{address:#x} and the {n} bytes from it are not all in the vmemmap of {self.nr_pages} struct pages")
        elif at < 0 or at + n > end:
            raise ValueError(f"{address:#x} and the {n} bytes from it are not all in RAM, which is {B:#x} to {B + end - 1:#x}")
        elif self.highmem_pfn < self.nr_pages and at + n > highmem and at < self.KA << 3:
            raise ValueError(f"{address:#x} would be in HIGHMEM, which has no virtual addresses; lowmem ends at {B + highmem - 1:#x}")
        return at

    def _zero(self, pfn: int, n: int) -> None:
        """Clear ``n`` pages from page ``pfn`` on; pages never touched are zero already and stay untouched."""
        blank = bytes(self.page_size)
        for i in range(pfn, pfn + n):
            if self.touched[i]:
                self.map[i << self.PS : (i + 1) << self.PS] = blank
                self.touched[i] = 0

    # -- copies

    def snapshot(self) -> Snapshot:
        """Return a copy of RAM that ``restore`` takes and that can be compared with ``==``."""
        PS, first = self.PS, self.mem_map_pfn
        mem_map = self.map[first << PS : (first << PS) + 8 * self.mem_map_words]
        pages, pfn = {}, self.touched.find(b"\1")
        while pfn >= 0:
            pages[pfn] = self.map[pfn << PS : (pfn + 1) << PS]
            pfn = self.touched.find(b"\1", pfn + 1)
        return Snapshot(self.map[self.KA << 3 : self._kernel_end], mem_map, pages, self._stat_bytes, self.page_bytes >> 3)

    def restore(self, snapshot: Snapshot) -> None:
        """Make RAM what it was when the snapshot was taken.  ValueError if it is of a machine of another shape."""
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"restore takes what snapshot() returned, not {snapshot!r}")
        s, PS = snapshot, self.PS
        if len(s._mem_map) != 8 * self.mem_map_words or len(s._kernel) != self._kernel_end - (self.KA << 3):
            raise ValueError("this snapshot is of a machine of another shape; restore it on the machine it was taken from")
        blank, pfn = bytes(self.page_size), self.touched.find(b"\1")
        while pfn >= 0:
            if pfn not in s._pages:
                self.map[pfn << PS : (pfn + 1) << PS] = blank
                self.touched[pfn] = 0
            pfn = self.touched.find(b"\1", pfn + 1)
        for pfn, data in s._pages.items():
            self.map[pfn << PS : (pfn + 1) << PS] = data
            self.touched[pfn] = 1
        self.map[self.KA << 3 : self._kernel_end] = s._kernel
        at = self.MM << 3
        self.map[at : at + len(s._mem_map)] = s._mem_map


def _reserve(n: int) -> mmap.mmap:
    size = -(-n // mmap.PAGESIZE) * mmap.PAGESIZE
    try:
        if sys.platform == "linux":
            return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
        return mmap.mmap(-1, size)
    except (OSError, ValueError, OverflowError) as error:
        raise MemoryError(
            f"this computer cannot map {size >> 20:,} MiB for the simulated RAM ({error}); ask for a smaller machine"
        ) from None
