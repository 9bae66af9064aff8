"""A page allocator whose free lists are radix trees: the design that ran into HIGHMEM, and in answer to which the email was written.

Used by the chapter on free lists, by the Free-list lab and by hand: ``RadixMachine("16K", page_size=256, max_order=4, highmem="4K")``.
Built on radix_tree.py; the rules that its RAM must obey are in radix_check.py.  Imports the core and nothing above it.

A free block has no list links, so two words are enough for a struct page.  Instead the block is entered into the tree of its order, and for
that the tree may need nodes *while memory is freed*.  Where they come from:

- from the pool, the unused nodes of pages that hold nodes already;
- else, in lowmem, from the last page of the very block that is freed: it is *consumed*, cut into nodes, and the rest of the block is entered.
  A single page becomes nodes and is in no tree at all.  The same serves the halves that a split leaves over;
- else, in HIGHMEM, from nowhere.  The page has no virtual address, so no node can lie in it.  So a lowmem page must be *allocated in order to
  free*; and when there is none, the block stays *pending*: neither allocated nor free.  Its struct pages link it to the others that wait (one
  word is enough for that, but not for finding a buddy).  Each later call tries again.

A page whose nodes are all unused goes back to the trees as soon as that takes no new node.  Until then a request for a single page may have it.

Sources: the question that the email quotes, which leaves all details open; mm/page_alloc.c for the names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from .. import gfp as gfp_flags
from ..check_rules import Corruption
from ..config import make_config
from ..gfp import GFP
from ..hexdump import Place, hexdump
from ..machine import Stats
from ..ram import KernelBug
from .radix_check import check
from .radix_tree import ORDER_SHIFT, Block, RadixTrees, Use, Zone, node_pool, page, radix_stat, zone


class RadixMachine(RadixTrees):
    """A computer with ``memory`` bytes of RAM and radix trees for free lists.

    ``page_size``, ``max_order``, ``highmem``: as for Machine.  Nodes have 64 slots, as in the kernel; 16, as in a small kernel, on pages below
    4096 bytes.  ``told``: None, or a function that is called with a sentence at each step within a call.

    ValueError or TypeError for a bad argument, ValueError when too little lowmem is left to boot, MemoryError when this computer has no room.
    """

    kc_at = kn_at = 0  # a recording asks where the table of slab caches is: there is none

    def __init__(self, memory: int | str = "64M", page_size: int | str = 4096, max_order: int = 11, highmem: int | str = 0) -> None:
        c = make_config(memory, page_size, max_order, 1, 1, 0, 0, highmem, None, False, None, "bounded")
        super().__init__(c.nr_pages, c.page_size, max_order, c.nr_pages - c.highmem // c.page_size)
        self.told: Callable[[str], object] | None = None
        self._boot()

    # -- allocation

    def alloc_pages(self, order: int, gfp: int = GFP.KERNEL) -> int | None:
        """Allocate a block of 2^order pages: the lowest that is free in the smallest order that will do.

        ``order``: unsigned int, 0 to max_order.  ``gfp``: gfp_t; with ``__GFP_HIGHMEM`` the HighMem zone is asked first.
        Returns the pfn of the first page, or None when no memory can be had.  ValueError or TypeError for a bad argument.
        Locks in Linux: zone->lock; nodes taken from a page of the block itself need no other.
        """
        if not isinstance(order, int) or isinstance(order, bool):
            raise TypeError(f"order is a whole number from 0 to {self.max_order}, not {order!r}")
        if not 0 <= order <= self.max_order:
            raise ValueError(f"order is 0 to {self.max_order} on this machine, not {order}")
        gfp_flags.check(gfp)
        zones = reversed(self.zones) if gfp & GFP.HIGHMEM else (self.low,)
        pfn = next((pfn for z in zones if (pfn := self._take(z, order)) is not None), None)
        if pfn is None and order == 0 and (empty := self._empty_pages()):
            pfn = empty[0]
            self._unmake_nodes(pfn)
            self._set(pfn, Use.ALLOCATED)
            self._tell(f"No page is in a tree, but none of the nodes in page {pfn} is in use: it is handed out.")
        if pfn is not None and gfp & GFP.ZERO:
            self._zero(pfn, 1 << order)
        self._settle()
        return pfn

    # -- freeing

    def free_pages(self, pfn: int) -> None:
        """Free the block that starts at page ``pfn``, merged with free buddies.  What is written in it is cleared.

        ``pfn``: unsigned long.  KernelBug, and RAM untouched, for a page that is free already, is a tail page of its block, is reserved, holds
        nodes or does not exist; TypeError if it is no whole number.  Locks in Linux: zone->lock; and, for HIGHMEM, what an allocation takes.
        """
        block = self._allocated(pfn)
        self._zero(pfn, 1 << block.order)
        z = self.zone_of(pfn)
        if self._give(z, pfn, block.order):
            self._settle()
            return
        self._wait(pfn, block.order)
        self._count(blocks_pending=1)
        self._tell(f"No lowmem page is free for it: the block at page {pfn} stays pending, neither allocated nor free.")
        self._give_back()

    # -- looking

    def buddyinfo(self) -> dict[tuple[int, str], list[int]]:
        """Return {(node, zone): [free blocks of each order]}: the entries of each tree."""
        free = {(0, z.name): [0] * (self.max_order + 1) for z in self.zones}
        for block in self.blocks():
            if block.use == Use.FREE:
                free[0, self.zone_of(block.start).name][block.order] += 1
        return free

    @property
    def free_pages_count(self) -> int:
        """Pages in the trees; pages whose nodes are all unused are not among them."""
        return sum(self.w[z.free] for z in self.zones)

    @property
    def stats(self) -> Stats:
        """The counters in RAM (struct radix_stat), as they are now."""
        return Stats({f.name: self.w[self.stat + f.word] for f in radix_stat.fields})

    def page(self, pfn: int) -> page:
        """Return the view of page ``pfn``'s struct page."""
        return page(self, self.pfn_to_page(pfn))

    def node(self, address: int) -> Any:
        """Return the view of the tree node at ``address``.  ValueError if no node is there."""
        n = self.node_at(address + 2) if isinstance(address, int) else None
        if n is None or self.block(n >> self.WS).use != Use.NODES:
            raise ValueError(f"there is no tree node at {address!r}")
        return self.xa_node(self, address)

    def whatis(self, address: int) -> Place:
        """Say what lies at a virtual or vmemmap address.  ValueError if nothing does."""
        self.read(address, 1)
        if address >= self.V:
            pfn = (address - self.V) // self.page_bytes
            return Place(f"struct page of pfn {pfn}", self.pfn_to_page(pfn), page)
        word = (address - self.B) >> 3
        if word >= self.KA:
            for name, start, struct, rows in self.kernel_tables:
                i, words = (word - start) // (struct.sizeof // 8), struct.sizeof // 8
                if 0 <= i < rows:
                    return Place(f"{name}[{i}]" if rows > 1 else name, self.B + 8 * (start + i * words), struct)
        if self.MM <= word < self.MM + self.mem_map_words:
            pfn = (word - self.MM) // 2
            return Place(f"struct page of pfn {pfn}", self.B + 8 * (self.MM + 2 * pfn), page)
        pfn, block = word >> self.WS, self.block(word >> self.WS)
        i = (word & (1 << self.WS) - 1) // (self.xa_node.sizeof // 8)
        if block.use == Use.NODES and i < self.nodes_per_page:
            return Place(f"node[{i}] in page {pfn}", self.B + (pfn << self.PS) + i * self.xa_node.sizeof, self.xa_node)
        return Place(f"page {pfn}: {block.use.name.lower()}", self.B + (pfn << self.PS), None)

    def hexdump(self, address: int, n: int = 64) -> str:
        """Return ``n`` bytes of RAM as text that names the fields it crosses; see memlab.hexdump."""
        return hexdump(self, address, n)

    def check(self) -> None:
        """Read all of RAM and raise Corruption, which names every broken rule, if any is broken.  Valid between operations."""
        broken = check(self)
        if broken:
            raise Corruption(broken)

    def __repr__(self) -> str:
        return f"<RadixMachine: {self.nr_pages} pages of {self.page_size} bytes, {self.free_pages_count} free>"

    # -- the work behind it

    def _take(self, z: Zone, order: int) -> int | None:
        """Take a block out of a zone's trees, split to ``order``, and mark it allocated.  Returns its pfn, or None if it cannot be had."""
        k = next((k for k in range(order, self.max_order + 1) if self.w[z.trees + k]), None)
        if k is None:
            return None
        pfn = self._first(z, k)
        halves = [(j, pfn + (1 << j)) for j in reversed(range(order, k))]
        if z is not self.low:  # halves of lowmem can supply the nodes that they need; these cannot
            while sum(self._missing(z, *half) for half in halves) > self._spare + self._released(z, k, pfn):
                if not self._grow():
                    return None
        self._erase(z, k, pfn)
        self._set(pfn, Use.ALLOCATED, order)
        self.w[z.free] -= 1 << k
        self._tell(f"The block of order {k} at page {pfn} leaves its tree.")
        for j, half in halves:
            self._count(splits=1)
            self._give(z, half, j)
        return pfn

    def _give(self, z: Zone, pfn: int, order: int) -> bool:
        """Enter a block that is in no tree.  Says whether it could; in lowmem it always can."""
        if self._enter(z, pfn, order):
            return True
        if z is not self.low:
            self._tell(f"No nodes are left for page {pfn}, and none can lie in it: it is in HIGHMEM and has no virtual address.")
            while self._grow():
                self._count(pages_allocated_while_freeing=1)
                if self._enter(z, pfn, order):
                    return True
            return False
        last = pfn + (1 << order) - 1
        self._make_nodes(last)
        self._count(pages_consumed=1)
        what = "itself" if order == 0 else f", the last of the block of order {order} at page {pfn},"
        self._tell(f"The pool has too few nodes: page {last} {what} is cut into nodes.".replace(" ,", ","))
        for k in reversed(range(order)):
            self._give(z, pfn, k)
            pfn += 1 << k
        return True

    def _enter(self, z: Zone, pfn: int, order: int, kept: int = 0) -> bool:
        """Merge a block with its free buddies and enter it, if that leaves ``kept`` nodes unused; else change nothing.  Says whether it was done."""
        start, k, buddies, spare = pfn, order, list[tuple[int, int]](), self._spare - kept
        while k < self.max_order:
            buddy = start ^ (1 << k)
            if not z.start <= buddy < z.end or self.w[self.MM + 2 * buddy] != Use.FREE | k << ORDER_SHIFT:
                break
            buddies.append((k, buddy))
            spare += self._released(z, k, buddy)
            start, k = start & buddy, k + 1
        if self._missing(z, k, start) > spare:
            return False
        if kept:
            self._unmake_nodes(pfn)
        for j, buddy in buddies:
            self._erase(z, j, buddy)
            self._set(buddy, Use.TAIL)
        self._insert(z, k, start)
        self._set(pfn, Use.TAIL)
        self._set(start, Use.FREE, k)
        self.w[z.free] += 1 << order
        self._count(merges=len(buddies))
        merged = f", merged with {' and '.join(f'page {buddy}' for _, buddy in buddies)}," if buddies else ""
        self._tell(f"The block at page {pfn}{merged} is entered into the tree of order {k}.")
        return True

    def _grow(self) -> bool:
        """Turn a free lowmem page into nodes.  Says whether there was one."""
        pfn = self._take(self.low, 0)
        if pfn is None:
            return False
        self._make_nodes(pfn)
        self._tell(f"Lowmem page {pfn} is allocated, and cut into nodes.")
        return True

    def _wait(self, pfn: int, order: int) -> None:
        """Put a block at the front of those that wait for a node."""
        head = self.pool + node_pool.pending.word
        self._set(pfn, Use.PENDING, order)
        self.w[self.MM + 2 * pfn + 1], self.w[head] = self.w[head], self.V + self.page_bytes * pfn

    def _settle(self) -> None:
        """After each call: enter the blocks that wait, oldest first, as far as nodes can be had; then give back what is not needed."""
        w, head = self.w, self.pool + node_pool.pending.word
        waiting: list[Block] = []
        while w[head]:
            waiting.append(block := self.block((w[head] - self.V) // self.page_bytes))
            link = self.MM + 2 * block.start + 1
            w[head], w[link] = w[link], 0
        for block in reversed(waiting):
            if self._give(self.zone_of(block.start), block.start, block.order):
                self._count(blocks_settled=1)
            else:
                self._wait(block.start, block.order)
        self._give_back()

    def _give_back(self) -> None:
        """Enter pages of unused nodes as free pages, as long as others have the nodes for it."""
        while any(self._enter(self.low, pfn, 0, kept=self.nodes_per_page) for pfn in self._empty_pages()):
            self._count(pages_returned=1)

    def _allocated(self, pfn: int) -> Block:
        """Return the allocated block that starts at ``pfn``; KernelBug says why there is none."""
        if not isinstance(pfn, int) or isinstance(pfn, bool):
            raise TypeError(f"a pfn is a whole number, not {pfn!r}")
        if not 0 <= pfn < self.nr_pages:
            raise KernelBug(f"there is no page {pfn} to be freed; this machine has pages 0 to {self.nr_pages - 1}")
        block = self.block(pfn)
        if block.use == Use.ALLOCATED and block.start == pfn:
            return block
        reason: Final = {
            Use.RESERVED: "is reserved: it was never allocated, so it cannot be freed",
            Use.FREE: "is free already; a block can be freed only while it is allocated",
            Use.PENDING: "was freed already, and waits for a node of a tree",
            Use.NODES: "holds nodes of the trees; it goes back by itself when they are unused",
            Use.ALLOCATED: f"is a tail page of the block of order {block.order} that starts at page {block.start}; only the whole block can be freed",
            Use.TAIL: "is in no block: its struct page is damaged; check() tells more",
        }
        raise KernelBug(f"page {pfn} {reason[block.use]}")

    def _tell(self, words: str) -> None:
        if self.told:
            self.told(words)

    # -- boot

    def _boot(self) -> None:
        """Hand the pages to the trees; the first pages after the mem_map become the nodes that this takes."""
        first = self.mem_map_pages
        for pages in range(self.highmem_pfn - first):
            blocks = [(z, *b) for z in self.zones for b in self._largest(max(z.start, first + pages), z.end)]
            if self._nodes_for(blocks) <= pages * self.nodes_per_page:
                break
        else:
            raise ValueError(f"{self.highmem_pfn} pages of lowmem are too few to boot with; give more memory, or less of it as highmem")
        for pfn in range(first):
            self._set(pfn, Use.RESERVED)
        for pfn in range(first, first + pages):
            self._make_nodes(pfn)
        for z, pfn, order in blocks:
            self._enter(z, pfn, order)
        for i, z in enumerate(self.zones):
            view: Any = zone(self.max_order)(self, self.B + 8 * self.KA + i * zone(self.max_order).sizeof)
            view.name, view.start_pfn, view.end_pfn = z.name, z.start, z.end
            view.managed_pages = z.end - max(z.start, first)
        for f in radix_stat.fields:
            self.w[self.stat + f.word] = 0

    def _largest(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (pfn, order) of the largest aligned blocks in [start, end)."""
        while start < end:
            order = min((start & -start).bit_length() - 1, (end - start).bit_length() - 1, self.max_order)
            yield start, order
            start += 1 << order

    def _nodes_for(self, blocks: list[tuple[Zone, int, int]]) -> int:
        """Return how many nodes the trees have when just these blocks are in them."""
        ways = {
            (z.name, order, level, pfn >> order >> (level + 1) * self.shift)
            for z, pfn, order in blocks
            for level in range(self.levels[order])
        }
        return len(ways)
