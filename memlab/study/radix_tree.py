"""Radix trees in RAM, with the nodes of the kernel's xarray: what a free list becomes when it is not a list.

Used by radix_freelist.py, which is built on it, by its checker and by the pictures.  Imports the core.

    tree root -> node, shift 4 -> node, shift 0 -> struct page of a free block       (16 slots: 4 bits of the index to a level)

A tree of order k is indexed by pfn >> k.  Nodes come from the *pool*: every page that holds nodes is cut up, and its unused nodes are linked
through their private_list.  Nothing here allocates: who enters a block has made sure that the pool has the nodes (``_missing``).
All trees are as tall as the machine's last page needs; the xarray also grows and shrinks at the top, which saves nodes for low indexes only.

Sources: include/linux/xarray.h (struct xa_node, XA_CHUNK_SHIFT, the tag of a node's address in a slot) and lib/xarray.c for the names.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from typing import Final, NamedTuple

from ..layout import U8, U64, Chars, Flags, ListHead, Ptr, Struct, U64s
from ..list_head import init_list_head, list_add, list_del, list_for_each
from ..ram import Ram
from ..words import Columns

NODE: Final = 2  # in the low bits of a slot or root that holds a node's address (the xarray's xa_mk_node)


class Use(IntEnum):
    """What a page is: the low four bits of its flags word, on the first page of each block."""

    TAIL = 0  # not the first page of its block
    FREE = 1  # a block in the tree of its order
    ALLOCATED = 2
    NODES = 3  # a page of tree nodes; ``private`` counts those in use
    PENDING = 4  # freed, but in no tree for want of a node; ``private`` links to the next
    RESERVED = 5  # the mem_map


# The flags word:
#
#     63          12 11        4 3     0
#     +-------------+-----------+-------+
#     | 0           | order     | use   |
#     +-------------+-----------+-------+
ORDER_SHIFT: Final = 4


class page(Struct):
    """struct page in two words, as in the question that the email answers."""

    flags = Flags()
    private = U64()


class node_pool(Struct):
    """The pages of tree nodes: their unused nodes, and the blocks that wait for one."""

    nodes = ListHead()
    nr_free = U64()
    nr_pages = U64()
    pending = Ptr("struct page")


class radix_stat(Struct):
    """Counters since boot; they are left out when states are compared.  Counted in what the name says."""

    nodes_allocated = U64()
    nodes_freed = U64()
    pages_consumed = U64()
    pages_returned = U64()
    pages_allocated_while_freeing = U64()
    blocks_pending = U64()
    blocks_settled = U64()
    words_written = U64()
    splits = U64()
    merges = U64()


@cache
def zone(max_order: int) -> type[Struct]:
    """Return struct zone for blocks of order 0 to ``max_order``."""

    class zone(Struct):
        """The free blocks of one zone: a tree for each order."""

        name = Chars(16)
        start_pfn = U64()
        end_pfn = U64()
        managed_pages = U64()
        free_pages = U64()
        tree = U64s(max_order + 1)

    return zone


@cache
def xa_node(n: int) -> type[Struct]:
    """Return struct xa_node with ``n`` slots: 576 bytes for 64 (the kernel's), 192 for 16 (with CONFIG_BASE_SMALL)."""

    class xa_node(Struct):
        """A node of a tree.  ``count``: slots in use.  ``offset``: its slot in ``parent``, which is NULL for the head."""

        shift = U8()
        offset = U8()
        count = U8()
        nr_values = U8()
        parent = Ptr("struct xa_node")
        array = Ptr("struct xarray")
        private_list = ListHead()
        slots = U64s(n)
        marks = U64s(3)

    return xa_node


PARENT: Final = 1  # members of a node, in words; its first word is shift | offset << 8 | count << 16
ARRAY: Final = 2
LIST: Final = 3
SLOTS: Final = 5
ONE: Final = 1 << 16  # of the count


class Zone(NamedTuple):
    """Where a zone lies: its pages [start, end), and the words of its tree roots and its count of free pages."""

    name: str
    start: int
    end: int
    trees: int
    free: int


class Node(NamedTuple):
    """A node that was reached from a root: its first word, its level (0: its slots hold blocks), and the word that points to it.

    ``prefix``: the indexes below it, without the bits that its own level and those below choose.
    """

    word: int
    level: int
    slot: int
    prefix: int


class Block(NamedTuple):
    """A block of 2^order pages from page ``start`` on, and what it is."""

    start: int
    order: int
    use: Use

    @property
    def pages(self) -> range:
        """The block's pages."""
        return range(self.start, self.start + (1 << self.order))


class RadixTrees(Columns, Ram):
    """RAM with a two-word struct page, zones whose free blocks are in trees, and the pool of nodes."""

    page_bytes = page.sizeof

    def __init__(self, nr_pages: int, page_size: int, max_order: int, highmem_pfn: int) -> None:
        self.max_order = max_order
        zones = [("Normal", 0, highmem_pfn)] + [("HighMem", highmem_pfn, nr_pages)] * (highmem_pfn < nr_pages)
        struct = zone(max_order)
        kernel_bytes = len(zones) * struct.sizeof + node_pool.sizeof + radix_stat.sizeof
        Ram.__init__(self, nr_pages, page_size, kernel_bytes, radix_stat.sizeof, 0, highmem_pfn)
        self.xa_node = xa_node(16 if page_size < 4096 else 64)
        self.shift = 4 if page_size < 4096 else 6
        self.mask = (1 << self.shift) - 1
        self.nodes_per_page = page_size // self.xa_node.sizeof
        self.levels = [max(1, -(-((nr_pages - 1) >> order).bit_length() // self.shift)) for order in range(max_order + 1)]
        self.zones = []
        for i, (name, start, end) in enumerate(zones):
            at = self.KA + i * struct.sizeof // 8
            self.zones.append(Zone(name, start, end, at + struct.tree.word, at + struct.free_pages.word))  # type: ignore[attr-defined]
        self.low = self.zones[0]
        self.pool = self.KA + len(zones) * struct.sizeof // 8
        self.stat = self.pool + node_pool.sizeof // 8
        self.kernel_tables: list[tuple[str, int, type[Struct], int]] = [("zone", self.KA, struct, len(zones))]
        self.kernel_tables += [("node_pool", self.pool, node_pool, 1), ("radix_stat", self.stat, radix_stat, 1)]
        init_list_head(self, self.pool)

    # -- struct pages

    def _set(self, pfn: int, use: Use, order: int = 0) -> None:
        """Have the flags word of a page say this."""
        at, word = self.MM + 2 * pfn, use | order << ORDER_SHIFT
        if self.w[at] != word:
            self.w[at] = word
            self._count(words_written=1)

    def _count(self, **more: int) -> None:
        for name, n in more.items():
            self.w[self.stat + getattr(radix_stat, name).word] += n

    # -- the pool

    @property
    def _spare(self) -> int:
        """Unused nodes."""
        return self.w[self.pool + node_pool.nr_free.word]

    def _make_nodes(self, pfn: int) -> None:
        """Cut a lowmem page into nodes, all unused."""
        self._set(pfn, Use.NODES)
        self.touched[pfn] = 1
        for i in range(self.nodes_per_page):
            list_add(self, (pfn << self.WS) + i * self.xa_node.sizeof // 8 + LIST, self.pool)
        self.w[self.pool + node_pool.nr_free.word] += self.nodes_per_page
        self.w[self.pool + node_pool.nr_pages.word] += 1

    def _unmake_nodes(self, pfn: int) -> None:
        """Take the unused nodes of a page out of the pool, and clear it; what it is to be now is for the caller to say."""
        for i in range(self.nodes_per_page):
            list_del(self, (pfn << self.WS) + i * self.xa_node.sizeof // 8 + LIST)
        self.w[self.pool + node_pool.nr_free.word] -= self.nodes_per_page
        self.w[self.pool + node_pool.nr_pages.word] -= 1
        self._zero(pfn, 1)

    def _empty_pages(self) -> list[int]:
        """Return the pages of which no node is in use, the one that came last first."""
        pfns = dict.fromkeys(li >> self.WS for li in list_for_each(self, self.pool))
        return [pfn for pfn in pfns if not self.w[self.MM + 2 * pfn + 1]]

    def _node_alloc(self, level: int, offset: int, parent: int, tree: int) -> int:
        """Take a node from the pool and return its first word.  ``parent``: first word of the node above, or 0.  ``tree``: word of the root."""
        w, B = self.w, self.B
        li = (w[self.pool] - B) >> 3
        list_del(self, li)
        w[self.pool + node_pool.nr_free.word] -= 1
        w[self.MM + 2 * (li >> self.WS) + 1] += 1
        n = li - LIST
        w[n] = level * self.shift | offset << 8
        w[n + PARENT], w[n + ARRAY] = B + 8 * parent if parent else 0, B + 8 * tree
        self._count(nodes_allocated=1)
        return n

    def _node_free(self, n: int) -> None:
        """Give a node without entries back to the pool."""
        w = self.w
        w[n] = w[n + PARENT] = w[n + ARRAY] = 0
        list_add(self, n + LIST, self.pool)
        w[self.pool + node_pool.nr_free.word] += 1
        w[self.MM + 2 * (n >> self.WS) + 1] -= 1
        self._count(nodes_freed=1)

    # -- trees

    def _path(self, z: Zone, order: int, pfn: int) -> list[int]:
        """Return the nodes, from the head down, on the way to where a block's entry is or would be."""
        w, path, index = self.w, list[int](), pfn >> order
        at = z.trees + order
        for level in reversed(range(self.levels[order])):
            if not w[at]:
                break
            path.append((w[at] - NODE - self.B) >> 3)
            at = path[-1] + SLOTS + (index >> level * self.shift & self.mask)
        return path

    def _missing(self, z: Zone, order: int, pfn: int) -> int:
        """Return how many nodes the tree must get before a block can be entered."""
        return self.levels[order] - len(self._path(z, order, pfn))

    def _released(self, z: Zone, order: int, pfn: int) -> int:
        """Return how many nodes hold nothing but the way to a block's entry: erasing it gives them back."""
        nodes = 0
        for n in reversed(self._path(z, order, pfn)):
            if self.w[n] >> 16 & 0xFF != 1:
                break
            nodes += 1
        return nodes

    def _insert(self, z: Zone, order: int, pfn: int) -> None:
        """Enter a block into the tree of its order; the pool has the nodes."""
        w, index = self.w, pfn >> order
        tree = at = z.trees + order
        parent = offset = 0
        for level in reversed(range(self.levels[order])):
            if not w[at]:
                w[at] = self.B + 8 * self._node_alloc(level, offset, parent, tree) + NODE
                if parent:
                    w[parent] += ONE
                self._count(words_written=1)
            parent, offset = (w[at] - NODE - self.B) >> 3, index >> level * self.shift & self.mask
            at = parent + SLOTS + offset
        w[at] = self.V + self.page_bytes * pfn
        w[parent] += ONE
        self._count(words_written=1)

    def _erase(self, z: Zone, order: int, pfn: int) -> None:
        """Take a block out of its tree; nodes that are left with nothing go back to the pool."""
        w, index = self.w, pfn >> order
        for level, n in enumerate(reversed(self._path(z, order, pfn))):
            w[n + SLOTS + (index >> level * self.shift & self.mask)] = 0
            w[n] -= ONE
            self._count(words_written=1)
            if w[n] >> 16 & 0xFF:
                return
            self._node_free(n)
        w[z.trees + order] = 0
        self._count(words_written=1)

    def _first(self, z: Zone, order: int) -> int:
        """Return the first page of the lowest block in a tree that is not empty."""
        w, at = self.w, z.trees + order
        for _ in range(self.levels[order]):
            n = (w[at] - NODE - self.B) >> 3
            at = next(i for i in range(n + SLOTS, n + SLOTS + self.mask + 1) if w[i])
        return (w[at] - self.V) // self.page_bytes

    # -- looking, at RAM that may be damaged or in the middle of an operation

    def tree_nodes(self, z: Zone, order: int) -> Iterator[Node]:
        """Yield the nodes of a tree, each before those below it, as far as they can be reached.  Never raises and always ends."""
        found = [Node(0, self.levels[order], z.trees + order, 0)]
        left = self.highmem_pfn * self.nodes_per_page
        while found and left:
            above = found.pop(0)
            for i, at in enumerate(self.slots(above.word) if above.word else (above.slot,)):
                n = self.node_at(self.w[at])
                if n is not None and left:
                    left -= 1
                    node = Node(n, above.level - 1, at, above.prefix << self.shift | i)
                    yield node
                    if node.level:
                        found.append(node)

    def node_at(self, pointer: int) -> int | None:
        """Return the first word of the node that a slot's value points to, or None if it is no place for a node."""
        at, rest = divmod(pointer - NODE - self.B, 8)
        place, odd = divmod(at & (1 << self.WS) - 1, self.xa_node.sizeof // 8)
        return at if 0 <= at >> self.WS < self.highmem_pfn and not rest and not odd and place < self.nodes_per_page else None

    def slots(self, n: int) -> range:
        """Return the words of a node's slots."""
        return range(n + SLOTS, n + SLOTS + self.mask + 1)

    def block(self, pfn: int) -> Block:
        """Return the block that page ``pfn`` is in.  Pages of a damaged mem_map are blocks of one page.  ValueError if there is no such page."""
        self._pfn(pfn)
        for k in range(self.max_order + 1):
            start = pfn & -(1 << k)
            word = self.w[self.MM + 2 * start]
            use, order = word & 15, word >> ORDER_SHIFT
            if use == Use.TAIL:
                continue
            if use < len(Use) and k <= order <= self.max_order and start + (1 << order) <= self.nr_pages:
                return Block(start, order, Use(use))
            break
        return Block(pfn, 0, Use.TAIL)

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks, in order of their pages."""
        pfn = 0
        while pfn < self.nr_pages:
            block = self.block(pfn)
            yield block
            pfn = block.pages.stop

    def zone_of(self, pfn: int) -> Zone:
        """Return the zone of page ``pfn``."""
        return self.zones[pfn >= self.highmem_pfn]

    def entry_at(self, pointer: int) -> int | None:
        """Return the pfn that a slot's value names, or None if it is no struct page."""
        pfn, rest = divmod(pointer - self.V, self.page_bytes)
        return pfn if not rest and 0 <= pfn < self.nr_pages else None
