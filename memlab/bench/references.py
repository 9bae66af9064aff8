"""What memlab is measured against: the least that a buddy allocator and a slab allocator can be.

Used by workload and report, and by tests, which check that they are right before anybody compares speed with them. They
have no descriptors, zones, flags, checks or errors, and trust their caller. Must never import the simulator.
"""

import mmap
import sys


class SetBuddy:
    """A buddy allocator in plain Python: the free blocks of each order in a set, the live ones in a dict."""

    def __init__(self, pages: int, max_order: int) -> None:
        """Make all of `pages` free, in aligned blocks of at most 2^`max_order` pages."""
        self.max_order = max_order
        self.free_blocks: list[set[int]] = [set() for _ in range(max_order + 1)]
        self.live: dict[int, int] = {}  # pfn -> order
        for pfn, order in aligned_blocks(pages, max_order):
            self.free_blocks[order].add(pfn)

    def alloc(self, order: int) -> int | None:
        """Return the pfn of 2^`order` pages, or None."""
        for found in range(order, self.max_order + 1):
            if self.free_blocks[found]:
                pfn = self.free_blocks[found].pop()
                while found > order:
                    found -= 1  # noqa: PLW2901 - the block that was found is halved until it fits
                    self.free_blocks[found].add(pfn + (1 << found))
                self.live[pfn] = order
                return pfn
        return None

    def free(self, pfn: int) -> None:
        """Take back the block that starts at `pfn`, and merge it with its free buddies."""
        order = self.live.pop(pfn)
        while order < self.max_order and pfn ^ (1 << order) in self.free_blocks[order]:
            self.free_blocks[order].remove(pfn ^ (1 << order))
            pfn &= ~(1 << order)
            order += 1
        self.free_blocks[order].add(pfn)


class RamBuddy:
    """A buddy allocator with all of its state in words of an mmap, as memlab has it, but without descriptors.

    Three arrays: `tags` says for each pfn whether a block starts there (FREE or LIVE, and its order), `after` and
    `before` link the free blocks of an order in a ring. The ring of order k has its head at index pages + k. Inside a
    block old tags stay: a buddy of a whole block is where another block starts, and only there are tags read.
    """

    FREE, LIVE, ORDER = 0x100, 0x200, 0xFF

    def __init__(self, pages: int, max_order: int) -> None:
        """Make all of `pages` free, in aligned blocks of at most 2^`max_order` pages."""
        self.max_order = max_order
        # Tags go on to the end of the last whole block, so that a buddy beyond the last page reads as not free.
        tags = -(-pages >> max_order) << max_order
        links = pages + max_order + 1
        words = memoryview(anonymous_memory(8 * (tags + 2 * links))).cast("Q")
        self.tags = words[:tags]
        self.after, self.before = words[tags : tags + links], words[tags + links :][:links]
        self.heads = pages
        for head in range(pages, links):
            self.after[head] = self.before[head] = head
        for pfn, order in aligned_blocks(pages, max_order):
            self._add(pfn, order)

    def alloc(self, order: int) -> int | None:
        """Return the pfn of 2^`order` pages, or None."""
        after = self.after
        for found in range(order, self.max_order + 1):
            pfn = after[self.heads + found]
            if pfn < self.heads:
                self._remove(pfn)
                while found > order:
                    found -= 1  # noqa: PLW2901 - as in SetBuddy
                    self._add(pfn + (1 << found), found)
                self.tags[pfn] = self.LIVE | order
                return pfn
        return None

    def free(self, pfn: int) -> None:
        """Take back the block that starts at `pfn`, and merge it with its free buddies."""
        tags = self.tags
        order = tags[pfn] & self.ORDER
        while order < self.max_order and tags[pfn ^ (1 << order)] == self.FREE | order:
            buddy = pfn ^ (1 << order)
            self._remove(buddy)
            pfn &= buddy
            order += 1
        self._add(pfn, order)

    def _add(self, pfn: int, order: int) -> None:
        head = self.heads + order
        first = self.after[head]
        self.after[head] = self.before[first] = pfn
        self.after[pfn], self.before[pfn] = first, head
        self.tags[pfn] = self.FREE | order

    def _remove(self, pfn: int) -> None:
        after, before = self.after[pfn], self.before[pfn]
        self.after[before], self.before[after] = after, before


class ListSlab:
    """A slab allocator of plain Python lists: for each slab the addresses that are free, and a list of slabs with any.

    Slab n is the 4096 bytes from 4096·n on, so that an address tells its slab. A slab is never given back.
    """

    def __init__(self, size: int) -> None:
        """Serve objects of `size` bytes."""
        self.size = size
        self.free_objects: list[list[int]] = []  # slab -> addresses
        self.partial: list[int] = []  # slabs with a free object

    def alloc(self) -> int:
        """Return the address of an object."""
        if not self.partial:
            start = 4096 * len(self.free_objects)
            self.partial.append(len(self.free_objects))
            self.free_objects.append(list(range(start, start + 4096 - self.size + 1, self.size)))
        objects = self.free_objects[self.partial[-1]]
        address = objects.pop()
        if not objects:
            self.partial.pop()
        return address

    def free(self, address: int) -> None:
        """Take back the object at `address`."""
        slab = address >> 12
        objects = self.free_objects[slab]
        if not objects:
            self.partial.append(slab)
        objects.append(address)


def aligned_blocks(pages: int, max_order: int) -> list[tuple[int, int]]:
    """Cut `pages` into the largest aligned blocks there are: [(pfn, order)], `max_order` at most."""
    blocks = []
    pfn = 0
    while pfn < pages:
        order = max_order
        while pfn % (1 << order) or pfn + (1 << order) > pages:
            order -= 1
        blocks.append((pfn, order))
        pfn += 1 << order
    return blocks


def anonymous_memory(size: int) -> mmap.mmap:
    """Map `size` bytes of zeroes, private where the system has a word for it (shared memory is slower to touch)."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
