"""Where a request for pages goes, and why: the zonelist walk, zone by zone, told before it is done.

Used by the figure and the Machine lab, by lessons, and by hand: ``print(walk_zonelist(m, 0, GFP.ATOMIC))``.  Reads RAM and changes nothing.
Imports the core only, and never the allocator's own search: it works the answer out from the numbers that each struct zone holds, so that a
test can hold the two against each other.

A split needs descriptors.  When too few are free, a page for more of them is taken first, and that may change what the zones have; so the
walk keeps books (free pages, blocks of each order, free descriptors) and follows the growth in them until the answer stands.

Sources: mm/page_alloc.c (get_page_from_freelist, __zone_watermark_ok); the email for the descriptors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .. import page_bugs, pcp
from ..addresses import word
from ..cache_table import free_objects, inuse, nodes, percpu
from ..config import ZONE_NAMES, Zone, ZoneType
from ..gfp import GFP, nested
from ..machine import Machine
from ..slub import FRAMES_PER_NESTING
from ..slub_size import MAX_OBJECTS
from ..structs import kmem_cache, per_cpu_pages
from ..words import CPU_ROW, LIST, PARTIAL, SLAB_WORDS


class Try(NamedTuple):
    """One zone asked once.  Numbers are pages, but for the orders.

    ``second``: whether this is the second round, which goes down to the min watermark.  ``mark``: the watermark that counts, as lowered for this
    request (None: no mark counts); ``lowered``: how it was.  ``reserve``: the zone's lowmem_reserve against requests of this kind.
    ``block``: the smallest order at or above the one asked for of which the zone has a free block, or None.
    """

    zone: Zone
    second: bool
    free: int
    order: int
    mark: int | None
    lowered: str
    reserve: int
    block: int | None

    @property
    def left(self) -> int:
        """Pages that would stay free."""
        return self.free - (1 << self.order)

    @property
    def enough(self) -> bool:
        """Whether that is as many as must stay."""
        return self.mark is None or self.left >= self.mark + self.reserve

    @property
    def taken(self) -> bool:
        """Whether the walk ends here, with a block of this zone."""
        return self.enough and self.block is not None

    @property
    def sum(self) -> str:
        """The comparison in numbers: what would stay, and what must."""
        stays = f"{self.free:,} free − {1 << self.order:,} = {self.left:,}".replace("-", "−")
        if self.mark is None:
            return f"{stays}; no watermark counts"
        name = "min" if self.second else "low"
        must = f"{name} {self.mark:,}" + (f" + reserve {self.reserve:,} = {self.mark + self.reserve:,}" if self.reserve else "")
        return f"{stays} {'≥' if self.enough else '<'} {must}"

    @property
    def why(self) -> str:
        """The verdict in a few words."""
        if not self.enough:
            return "refused: too few would stay"
        if self.block is None:
            return f"refused: no free block of order {self.order} or more"
        return f"taken: a block of order {self.order}" if self.block == self.order else f"taken: split from a block of order {self.block}"


class Walk(NamedTuple):
    """The answer to one request: ``zone`` it is served from, or None for the kernel's NULL.

    ``tries``: the zones asked, in order, the last time that the lists were looked at.  ``before``: sentences on what had to be done before that
    (descriptors made), if anything.  ``left_out``: zones that this request may not use, and why.  ``end``: the outcome in words.
    ``certain``: False when the answer hangs on what reclaim gives back, which only doing it tells.
    """

    order: int
    gfp: int
    node: int
    zone: Zone | None
    tries: tuple[Try, ...]
    before: tuple[str, ...]
    left_out: tuple[tuple[Zone, str], ...]
    end: str
    certain: bool

    def __str__(self) -> str:
        rows = [f"order {self.order}, {GFP.show(self.gfp)}, node {self.node}", *self.before]
        rows += [f"{i}. {zone_words(t.zone)}: {t.sum}: {t.why}" for i, t in enumerate(self.tries, 1)]
        rows += [f"-  {zone_words(z)}: {why}" for z, why in self.left_out]
        return "\n".join([*rows, self.end])


def walk_zonelist(m: Machine, order: int = 0, gfp: int = GFP.KERNEL, node: int | None = None) -> Walk:
    """Say which zone ``m.alloc_pages(order, gfp, node)`` would take its block from, now, and what each zone asked would say.

    ``order``: unsigned int.  ``gfp``: gfp_t.  ``node``: the preferred node, None for that of the running CPU.
    ValueError or TypeError for a bad argument.  RAM may be in the middle of an operation, or damaged: then the books are, too, but nothing raises.
    """
    order, gfp, node = page_bugs.check_request(m, order, gfp, node)
    node = m.node if node is None else node
    books = _Books(m)
    zone = books.get_pages(order, gfp, node)
    return Walk(order, gfp, node, zone, books.tries, tuple(books.before), tuple(_left_out(m, gfp, node)), books.end, books.certain)


def zone_words(z: Zone) -> str:
    """Return what people call a zone, e.g. ``Normal of node 0``."""
    return f"{z.name} of node {z.node}"


def kind_of_request(gfp: int) -> ZoneType:
    """Return the highest type of zone that a request may use (gfp_zone)."""
    for bit, kind in ((GFP.DMA, ZoneType.DMA), (GFP.DMA32, ZoneType.DMA32), (GFP.HIGHMEM, ZoneType.HIGHMEM)):
        if gfp & bit:
            return kind
    return ZoneType.NORMAL


# -- one zone


def _zonelist(m: Machine, gfp: int, node: int) -> list[Zone]:
    """Return the zones that a request may use: node by node, the nearest first, and in each from the highest zone down."""
    kind, near = kind_of_request(gfp), m.config.distance[node]
    nodes = [node] if gfp & GFP.THISNODE else sorted(range(len(near)), key=lambda other: (near[other], (other - node) % len(near)))
    return [z for n in nodes for z in sorted(m.zones, key=lambda z: -z.type) if z.node == n and z.type <= kind]


def _left_out(m: Machine, gfp: int, node: int) -> Iterator[tuple[Zone, str]]:
    kind = kind_of_request(gfp)
    for z in m.zones:
        if gfp & GFP.THISNODE and z.node != node:
            yield z, f"__GFP_THISNODE allows node {node} only"
        elif z.type > kind:
            no_address = z.type is ZoneType.HIGHMEM and kind is ZoneType.NORMAL
            yield z, "its pages have no address, and __GFP_HIGHMEM is not set" if no_address else f"it lies above {ZONE_NAMES[kind]}"


def _mark(watermarks: tuple[int, ...], gfp: int, second: bool) -> tuple[int | None, str]:
    """Return the watermark that counts and how the flags lowered it (__zone_watermark_ok): atomic requests may dig into the last pages."""
    least, low, _ = watermarks
    if not second:
        return low, ""
    if gfp & GFP.MEMALLOC:
        return None, "__GFP_MEMALLOC: no watermark counts"
    if not gfp & GFP.HIGH or not least:
        return least, ""
    half = least - least // 2
    if gfp & GFP.DIRECT_RECLAIM:
        return half, f"min {least} halved by __GFP_HIGH"
    return half - half // 4, f"min {least} halved by __GFP_HIGH, and less a quarter as it may not wait"


# -- the books


class _OnDemand(dict[Any, Any]):
    """A table whose entries are read from RAM when they are first asked for."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, key: Any) -> Any:
        self[key] = value = self.read(key)
        return value


class _Books:
    """What a request changes on its way, kept apart from RAM: free pages and blocks of each zone, free descriptors of both caches."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        self.free = {z: m.w[z.free] for z in m.zones}
        self.blocks = _OnDemand(lambda z: [_length(m, z.heads + 2 * order) for order in range(m.max_order + 1)])
        self.own_pages = {z: m.count_of[pcp.list_of(m, z)] if m.pcp else 0 for z in m.zones}
        self.at_hand = _OnDemand(lambda ci: sum(free for _, free in _slabs_at_hand(m, ci)))
        self.tries: tuple[Try, ...] = ()
        self.before: list[str] = []
        self.grew: list[tuple[str, Zone]] = []
        self.end = ""
        self.certain = True
        self.nesting = 0
        self.overflow = False

    def look(self, order: int, gfp: int, node: int) -> tuple[Try, ...]:
        """Ask the zones in turn, each to keep its low watermark; if none gives, ask them again, down to min."""
        m, kind, tries = self.m, kind_of_request(gfp), list[Try]()
        for second in (False, True) if m.config.watermarks is not None else (False,):
            for z in _zonelist(m, gfp, node):
                view = m.zone_view(z)
                mark, lowered = _mark(view.watermark, gfp, second)
                block = next((k for k in range(order, m.max_order + 1) if self.blocks[z][k]), None)
                tries.append(Try(z, second, self.free[z], order, mark, lowered, view.lowmem_reserve[kind], block))
                if tries[-1].taken:
                    return tuple(tries)
        return tuple(tries)

    def get_pages(self, order: int, gfp: int, node: int) -> Zone | None:
        """Follow a request to its zone, growing the caches of descriptors where its split needs more than there are."""
        m, outer, hand = self.m, self.nesting == 0, 0
        if m.pcp and order == 0 and (zone := self.own_page(gfp, node)):
            if outer:
                self.end = f"CPU {m.cpu} has a free page of {zone_words(zone)} on its own list: that one is taken."
            return zone
        while True:
            tries = self.look(order, gfp, node)
            if outer:
                self.tries = tries
            if not tries or not tries[-1].taken:
                if m.pcp and gfp & GFP.DIRECT_RECLAIM and self.others_hold_pages():
                    self.certain = False
                if outer:
                    self.end = self.refusal(tries)
                break
            zone, block = tries[-1].zone, tries[-1].block or 0
            need = block - order - hand
            if need <= 0:
                self.take(zone, block, order)
                self.at_hand[m.KC_BUDDY] += -need
                if outer:
                    self.end = f"A block of {zone_words(zone)} is taken."
                return zone
            free = self.at_hand[m.KC_BUDDY]
            if not self.objects(m.KC_BUDDY, need, nested(gfp), zone.node):
                if outer:
                    self.end = self.no_descriptors(zone, need, free)
                break
            hand += need
            if outer and need > free:
                self.before.append(
                    f"The split needs {need} descriptor{'s' * (need > 1)} and {_are_free(free)}: {self.grown()}, and the zones are asked again."
                )
        self.at_hand[m.KC_BUDDY] += hand
        return None

    def refusal(self, tries: tuple[Try, ...]) -> str:
        """Return the sentence for a request that no zone serves."""
        if not tries:
            return "None: this machine has no zone that the request may use."
        if not self.certain:
            return "No zone gives a block; the pages on the CPUs' own lists are drained, and only doing it tells whether that helps."
        return "None: every zone that may serve it has refused."

    def no_descriptors(self, z: Zone, need: int, free: int) -> str:
        """Return the sentence for a block that cannot be split."""
        if self.overflow:
            return "The call chain outgrows the kernel's stack, and all of it is unmade."
        lack = f"{zone_words(z)} has a block, but its split needs {need} descriptor{'s' * (need > 1)}, {_are_free(free)}"
        if not self.certain:
            return f"{lack}; the caches are shrunk, and only doing it tells whether that gives a page for more."
        return f"None: {lack}, and no page can be had for more."

    def take(self, z: Zone, block: int, order: int) -> None:
        """Take a block of order ``block``, split down to ``order``."""
        self.free[z] -= 1 << order
        self.blocks[z][block] -= 1
        for part in range(order, block):
            self.blocks[z][part] += 1

    # -- descriptors

    def objects(self, ci: int, n: int, gfp: int, node: int) -> bool:
        """Take ``n`` objects of a cache of descriptors, all or nothing (kmem_cache_alloc_bulk)."""
        took = 0
        while took < n:
            if not self.at_hand[ci] and not self.grow(ci, gfp, node) and (self.overflow or not self.at_hand[ci]):
                self.at_hand[ci] += took
                return False
            now = min(self.at_hand[ci], n - took)
            self.at_hand[ci] -= now
            took += now
        return True

    def grow(self, ci: int, gfp: int, node: int) -> bool:
        """Add a slab to a cache of descriptors (new_slab)."""
        m = self.m
        if (self.nesting + 1) * FRAMES_PER_NESTING > m.frame_limit:
            self.overflow = True
            return False
        self.nesting += 1
        try:
            return self.grow_slabs(gfp, node) if ci == m.KC_SLAB else self.grow_buddies(gfp, node)
        finally:
            self.nesting -= 1

    def grow_slabs(self, gfp: int, node: int) -> bool:
        """__alloc_slab: a page that describes itself; of a larger block the second page becomes a slab of buddies."""
        m = self.m
        found = self.smallest(gfp, node)
        if found is None:
            return False
        z, block = found
        self.take(z, block, 0)
        self.note(z, "kmem_cache_slab")
        self.at_hand[m.KC_SLAB] += self.per_slab(m.KC_SLAB) - 1
        if block:
            self.take(z, 0, 0)
            self.note(z, "kmem_cache_buddy")
            self.at_hand[m.KC_SLAB] -= 1
            self.at_hand[m.KC_BUDDY] += self.per_slab(m.KC_BUDDY) - block
        return True

    def grow_buddies(self, gfp: int, node: int) -> bool:
        """A struct slab, then a page: carved from the smallest block (bounded), or from alloc_pages, which may need descriptors (as written)."""
        m = self.m
        if not self.objects(m.KC_SLAB, 1, gfp, node):
            return False
        used = 0
        if m.bounded:
            found = self.smallest(gfp, node)
            zone = found and found[0]
            if found:
                used = found[1]
                self.take(*found, 0)
        else:
            zone = self.get_pages(0, gfp, node)
        if zone is None:
            self.at_hand[m.KC_SLAB] += 1
            return False
        self.note(zone, "kmem_cache_buddy")
        self.at_hand[m.KC_BUDDY] += self.per_slab(m.KC_BUDDY) - used
        return True

    def smallest(self, gfp: int, node: int) -> tuple[Zone, int] | None:
        """Find the smallest lowmem block; when there is none and the caller may wait, reclaim would be tried."""
        tries = self.look(0, gfp & ~GFP.HIGHMEM, node)
        if tries and tries[-1].taken:
            return tries[-1].zone, tries[-1].block or 0
        if gfp & GFP.DIRECT_RECLAIM and (self.others_hold_pages() or _could_shrink(self.m)):
            self.certain = False
        return None

    def per_slab(self, ci: int) -> int:
        return int(kmem_cache(self.m, self.m.B + 8 * ci).objects)

    def note(self, z: Zone, cache: str) -> None:
        self.grew.append((cache, z))

    def grown(self) -> str:
        """Return in one clause which pages became slabs since it was last asked."""
        grew, self.grew = Counter(self.grew), []
        return " and ".join(f"{cache} gets {n if n > 1 else 'a'} page{'s' * (n > 1)} of {zone_words(z)}" for (cache, z), n in grew.items())

    # -- per-CPU pages

    def own_page(self, gfp: int, node: int) -> Zone | None:
        """Take a page from the running CPU's own lists, refilled with single pages (rmqueue_pcplist)."""
        m, kind = self.m, kind_of_request(gfp)
        for z in _zonelist(m, gfp, node):
            view = m.zone_view(z)
            may = self.free[z] - 1 >= view.watermark[1] + view.lowmem_reserve[kind]
            if not self.own_pages[z] and may:
                refill = min(pcp.batch(z), self.blocks[z][0])
                self.own_pages[z] += refill
                self.blocks[z][0] -= refill
                self.free[z] -= refill
            if self.own_pages[z]:
                self.own_pages[z] -= 1
                return z
            if may:
                return None
        return None

    def others_hold_pages(self) -> bool:
        """Whether any CPU has pages on its own lists, which draining would give back."""
        m, words = self.m, per_cpu_pages.sizeof // 8
        return m.pcp and any(m.w[m.pcp_at + i * words] for i in range(len(m.zones) * m.config.cpus))


def _are_free(n: int) -> str:
    return f"{n} {'is' if n == 1 else 'are'} free"


# -- reading RAM that may be in any state


def _links(m: Machine, head: int, most: int) -> Iterator[int]:
    """Yield the words of the list members of a circular list; ends at a link that leads out of RAM, and after ``most``."""
    li = head
    for _ in range(most):
        at = m.w[li] - m.B
        li = at >> 3
        if at & 7 or not 0 <= li < len(m.w) - SLAB_WORDS or li == head:
            return
        yield li


def _length(m: Machine, head: int) -> int:
    return sum(1 for _ in _links(m, head, m.nr_pages))


def _slabs_at_hand(m: Machine, c: int) -> Iterator[tuple[int, int]]:
    """Yield the slabs of a cache that the running CPU can take objects from, as (objects in use, free): the CPU's own, then the partial ones."""
    lowmem, p = m.highmem_pfn << m.WS, percpu(m, c)
    own = word(m.cpu_slab_of[p])
    if 0 < own < lowmem - SLAB_WORDS:
        free = sum(1 for start in (m.cpu_freelist_of[p], m.freelist_of[own]) for _ in _freelist(m, start, m.offset_of[c]))
        yield inuse(m, own) + free_objects(m, own) - free, free
    for n in nodes(m, c):
        for entry in _links(m, n + PARTIAL, m.nr_pages):
            if LIST <= entry < lowmem - SLAB_WORDS:
                yield inuse(m, entry - LIST), free_objects(m, entry - LIST)


def _freelist(m: Machine, obj: int, offset: int) -> Iterator[int]:
    w, B = m.w, m.B
    for _ in range(MAX_OBJECTS):
        link = (obj - B + offset) >> 3
        if obj < B or link >= len(w):
            return
        yield obj
        obj = w[link]


def _could_shrink(m: Machine) -> bool:
    """Whether shrinking the caches may give a page back: some slab is empty, or its descriptors may move to another one."""
    for cache in m.caches.values():
        c = word(cache.address)
        slabs = list(_slabs_at_hand(m, c))
        if any(live <= m.own_of[c] for live, _ in slabs) or (m.bounded and c in (m.KC_BUDDY, m.KC_SLAB) and len(slabs) > 1):
            return True
    others = (cpu for cpu in range(m.config.cpus) if cpu != m.cpu)
    return any(m.w[m.cc_at + cpu * CPU_ROW + i] for cpu in others for i in range(CPU_ROW))
