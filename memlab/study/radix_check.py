"""Is the RAM of a RadixMachine in order?  Every rule that it keeps between calls, tested from RAM alone.

Used through ``m.check()``.  Trusts nothing that it reads and ends on any image, however damaged.  Imports radix_tree and the core.
"""

from __future__ import annotations

from typing import Final

from ..check_rules import Broken
from .radix_tree import ARRAY, LIST, PARENT, RadixTrees, Use, Zone, node_pool, zone

RULES: Final = {
    "zone-shape": "a struct zone says its name, span and managed pages as the machine was booted",
    "zone-free-count": "a zone's free_pages is the sum of its free blocks",
    "page-use": "a struct page has one of the known uses and orders, and blocks cover all pages without overlap",
    "page-zone": "a block lies in one zone and starts at a multiple of its size",
    "page-reserved": "just the mem_map's pages are reserved",
    "page-private": "the second word of a struct page is used by pages of nodes and pages that wait only",
    "free-block-merged": "two free buddies of one order are never left unmerged",
    "tree-entry": "a tree's entries are just the free blocks of its zone and order, each at its index",
    "tree-node": "a node lies in a page of nodes, is reached once, and its words name its level, its slot and what is above it",
    "tree-count": "a node counts its slots in use, and there is at least one",
    "pool-link": "the pool links just the nodes that no tree uses, both ways",
    "pool-count": "the pool counts its nodes and pages, and a page of nodes those in use",
    "nodes-lowmem": "pages of nodes are single pages in lowmem",
    "pending-link": "the pending list links just the blocks that are marked so, all of them in HIGHMEM",
}


def check(m: RadixTrees) -> list[Broken]:
    """Return every broken rule; an empty list if all is in order."""
    return _Checker(m).run()


class _Checker:
    """What has been seen so far: free blocks by zone and order, nodes in use, and what is broken."""

    def __init__(self, m: RadixTrees) -> None:
        self.m = m
        self.broken: list[Broken] = []
        self.used: set[int] = set()

    def run(self) -> list[Broken]:
        m = self.m
        self.blocks = list(m.blocks())
        self.look_at_blocks()
        for z in m.zones:
            self.look_at_zone(z)
            for order in range(m.max_order + 1):
                self.look_at_tree(z, order)
        self.look_at_pool()
        self.look_at_pending()
        return self.broken

    def say(self, rule: str, sentence: str, *pfns: int) -> None:
        self.broken.append(Broken(rule, sentence, tuple(self.m.V + self.m.page_bytes * pfn for pfn in pfns)))

    def look_at_blocks(self) -> None:
        m = self.m
        for b in self.blocks:
            word, private = m.w[m.MM + 2 * b.start], m.w[m.MM + 2 * b.start + 1]
            if b.use == Use.TAIL or word != b.use | b.order << 4:
                self.say("page-use", f"page {b.start} has flags {word:#x}, which say no use that fits there", b.start)
                continue
            inside = [pfn for pfn in b.pages[1:] if m.w[m.MM + 2 * pfn] != Use.TAIL]
            if inside:
                self.say("page-use", f"pages {inside} are inside the block at page {b.start} and not marked as its tail pages", *inside)
            if m.zone_of(b.start) is not m.zone_of(b.pages[-1]) or b.start % len(b.pages):
                self.say("page-zone", f"the block of order {b.order} at page {b.start} is not aligned, or in two zones", b.start)
            if (b.use == Use.RESERVED) != (b.start < m.mem_map_pages) or (b.use == Use.RESERVED and b.order):
                self.say("page-reserved", f"page {b.start} is {b.use.name}, and the mem_map has pages 0 to {m.mem_map_pages - 1}", b.start)
            if b.use == Use.NODES and (b.order or b.start >= m.highmem_pfn):
                self.say("nodes-lowmem", f"page {b.start} holds nodes, and is no single page of lowmem", b.start)
            worded = [pfn for pfn in b.pages if m.w[m.MM + 2 * pfn + 1] and (pfn > b.start or b.use not in (Use.NODES, Use.PENDING))]
            if worded:
                self.say("page-private", f"pages {worded} have a second word, such as {private:#x}, that nobody uses", *worded)
            other = b.start ^ len(b.pages)
            if (
                b.use == Use.FREE
                and b.order < m.max_order
                and other > b.start
                and m.zone_of(b.start).start <= other < m.zone_of(b.start).end
            ):
                twin = m.block(other)
                if (twin.start, twin.order, twin.use) == (other, b.order, Use.FREE):
                    self.say(
                        "free-block-merged",
                        f"the free blocks of order {b.order} at pages {b.start} and {other} are buddies",
                        b.start,
                        other,
                    )

    def look_at_zone(self, z: Zone) -> None:
        m = self.m
        struct = zone(m.max_order)
        view = struct(m, m.B + 8 * (z.trees - struct.tree.word))  # type: ignore[attr-defined]  # declared in a function
        wanted = (z.name, z.start, z.end, z.end - max(z.start, m.mem_map_pages))
        found = (view.name, view.start_pfn, view.end_pfn, view.managed_pages)  # type: ignore[attr-defined]
        if found != wanted:
            self.say("zone-shape", f"zone {z.name} says {found}, and was booted as {wanted}")
        free = sum(len(b.pages) for b in self.blocks if b.use == Use.FREE and z.start <= b.start < z.end)
        if m.w[z.free] != free:
            self.say("zone-free-count", f"zone {z.name} counts {m.w[z.free]} free pages, and its free blocks have {free}")

    def look_at_tree(self, z: Zone, order: int) -> None:
        m, w = self.m, self.m.w
        root, entries = z.trees + order, set[int]()
        if w[root] and m.node_at(w[root]) is None:
            self.say("tree-node", f"the root of the tree of order {order} is {w[root]:#x}, which is no node")
        owner: dict[int, int] = {}  # the word of a slot -> its node
        for n in m.tree_nodes(z, order):
            pfn, above = n.word >> m.WS, owner.get(n.slot, 0)
            offset = n.slot - m.slots(above).start if above else 0
            words = (w[n.word] & 0xFFFF, w[n.word + PARENT], w[n.word + ARRAY])
            if words != (n.level * m.shift | offset << 8, m.B + 8 * above if above else 0, m.B + 8 * root):
                self.say("tree-node", f"the node at {m.B + 8 * n.word:#x} in page {pfn} does not say where it hangs", pfn)
            if n.word in self.used or m.block(pfn).use != Use.NODES:
                self.say(
                    "tree-node", f"the node at {m.B + 8 * n.word:#x} in page {pfn} is used twice, or its page is no page of nodes", pfn
                )
                if n.word in self.used:
                    continue
            self.used.add(n.word)
            filled = [at for at in m.slots(n.word) if w[at]]
            if w[n.word] >> 16 != len(filled) or not filled:
                self.say(
                    "tree-count",
                    f"the node at {m.B + 8 * n.word:#x} in page {pfn} counts {w[n.word] >> 16} slots, and has {len(filled)}",
                    pfn,
                )
            for i, at in enumerate(m.slots(n.word)):
                if not w[at]:
                    continue
                owner[at] = n.word
                here = n.prefix << m.shift | i
                if n.level and m.node_at(w[at]) is None:
                    self.say("tree-node", f"a slot of the node in page {pfn} holds {w[at]:#x}, which is no node", pfn)
                elif not n.level and m.entry_at(w[at]) != here << order:
                    self.say("tree-entry", f"the tree of order {order} has {w[at]:#x} at index {here}", pfn)
                elif not n.level:
                    entries.add(here << order)
        free = {b.start for b in self.blocks if b.use == Use.FREE and b.order == order and z.start <= b.start < z.end}
        if entries != free:
            pfns = sorted(entries ^ free)
            self.say("tree-entry", f"the tree of order {order} of zone {z.name} and the blocks marked free differ at pages {pfns}", *pfns)

    def look_at_pool(self) -> None:
        m, w = self.m, self.m.w
        size = m.xa_node.sizeof // 8
        pages = [b.start for b in self.blocks if b.use == Use.NODES]
        nodes = {(pfn << m.WS) + i * size for pfn in pages for i in range(m.nodes_per_page)}
        linked, before, at = set[int](), m.pool, m.pool
        for _ in range(len(nodes) + 1):
            link = w[at]
            at, rest = divmod(link - m.B, 8)
            whole = not rest and (at == m.pool or at - LIST in nodes - linked)
            if not whole or w[at + 1] != m.B + 8 * before:
                self.say("pool-link", f"the pool's list has a link {link:#x} that leads to no unused node, or not back")
                break
            if at == m.pool:
                break
            linked.add(at - LIST)
            before = at
        if linked != nodes - self.used:
            self.say("pool-link", f"the pool links {len(linked)} nodes, and {len(nodes - self.used)} are in no tree")
        found = w[m.pool + node_pool.nr_free.word], w[m.pool + node_pool.nr_pages.word]
        if found != (len(linked), len(pages)):
            self.say("pool-count", f"the pool counts {found[0]} nodes and {found[1]} pages, and has {len(linked)} and {len(pages)}")
        for pfn in pages:
            in_use = sum((pfn << m.WS) <= n < (pfn + 1) << m.WS for n in self.used)
            if w[m.MM + 2 * pfn + 1] != in_use:
                self.say("pool-count", f"page {pfn} counts {w[m.MM + 2 * pfn + 1]} nodes in use, and {in_use} are", pfn)

    def look_at_pending(self) -> None:
        m = self.m
        marked = {b.start for b in self.blocks if b.use == Use.PENDING}
        linked, word = set[int](), m.w[m.pool + node_pool.pending.word]
        while word:
            pfn = m.entry_at(word)
            if pfn is None or pfn not in marked - linked or pfn < m.highmem_pfn:
                self.say("pending-link", f"the pending list has {word:#x}, which is no block of HIGHMEM that waits")
                break
            linked.add(pfn)
            word = m.w[m.MM + 2 * pfn + 1]
        if linked != marked:
            self.say("pending-link", f"the pending list links the blocks at pages {sorted(linked)}, and {sorted(marked)} are marked so")
