"""Where a request for pages goes, and why: the zonelist walk, zone by zone, told before it is done.

Used by the figure and the Machine lab, by lessons, and by hand: ``print(walk_zonelist(m, 0, GFP.ATOMIC))``.  Reads RAM and changes nothing.
The zones are asked here, by the numbers that each struct zone holds, and never by the allocator's own search, so that a test can hold the two
against each other.  A split needs descriptors; when too few are free, a page for more of them is taken first, and that may change what the zones
have: this is done on a copy of the machine, and the zones are asked again.  Imports consumers and the core.

Sources: mm/page_alloc.c (get_page_from_freelist, __zone_watermark_ok); the email for the descriptors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .. import page_bugs, pcp, slub
from ..addresses import word
from ..cache_table import each_cpu, inuse, partial_slabs, percpu, slabs_by_cache, slots, view_of, walk_freelist
from ..config import ZONE_NAMES, Zone, ZoneType
from ..gfp import GFP, nested
from ..list_head import list_empty
from ..machine import Machine
from .consumers import free_descriptors


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
    ValueError or TypeError for a bad argument.  RAM may be in the middle of an operation, or damaged: then so is the answer, but nothing raises.
    """
    order, gfp, node = page_bugs.check_request(m, order, gfp, node)
    request = _Request(m, order, gfp, m.node if node is None else node)
    zone = request.served_from()
    return Walk(
        order,
        gfp,
        request.node,
        zone,
        request.tries,
        tuple(request.before),
        tuple(_left_out(m, gfp, request.node)),
        request.end,
        request.certain,
    )


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


# -- the request


class _Request:
    """A request for pages, followed on ``m``; from where it takes descriptors on, ``m`` is a copy of the machine."""

    def __init__(self, m: Machine, order: int, gfp: int, node: int) -> None:
        self.m, self.order, self.gfp, self.node = m, order, gfp, node
        self.tries: tuple[Try, ...] = ()
        self.before: list[str] = []
        self.end, self.certain = "", True

    def served_from(self) -> Zone | None:
        """Return the zone that the request is served from."""
        m, hand = self.m, 0
        if m.pcp and self.order == 0 and (own := self.own_page()):
            self.end = f"CPU {m.cpu} has a free page of {zone_words(own)} on its own list: that one is taken."
            return own
        while True:
            self.tries = tuple(self.look())
            if not self.tries or not self.tries[-1].taken:
                self.certain = not (self.tries and self.gfp & GFP.DIRECT_RECLAIM and _cpus_hold_pages(m))
                self.end = self.refusal()
                return None
            zone, block = self.tries[-1].zone, self.tries[-1].block or 0
            need = block - self.order - hand
            if need <= 0:
                self.end = f"A block of {zone_words(zone)} is taken."
                return zone
            try:
                free = free_descriptors(self.m, "kmem_cache_buddy")
                if hand == 0 and need <= free:  # no slab has to be built
                    hand = need
                    continue
                got = self.descriptors(need, zone.node)
            except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):  # RAM is damaged, or in the middle of an operation
                self.certain, self.end = False, f"A block of {zone_words(zone)} is there to be split; only doing it tells the rest."
                return zone
            if got is None:
                self.end = self.no_descriptors(zone, need, free)
                return None
            hand += need
            if need > free:
                self.before.append(f"The split needs {_count(need)} and {_are_free(free)}: {got}, and the zones are asked again.")

    def look(self) -> Iterator[Try]:
        """Ask the zones in turn, each to keep its low watermark; if none gives, ask them again, down to min."""
        m, kind = self.m, kind_of_request(self.gfp)
        for second in (False, True) if m.config.watermarks is not None else (False,):
            for z in _zonelist(m, self.gfp, self.node):
                view = m.zone_view(z)
                mark, lowered = _mark(view.watermark, self.gfp, second)
                block = next((k for k in range(self.order, m.max_order + 1) if not list_empty(m, z.heads + 2 * k)), None)
                one = Try(z, second, m.w[z.free], self.order, mark, lowered, view.lowmem_reserve[kind], block)
                yield one
                if one.taken:
                    return

    def refusal(self) -> str:
        """Return the sentence for a request that no zone serves."""
        if not self.tries:
            return "None: this machine has no zone that the request may use."
        if not self.certain:
            return "No zone gives a block; the pages on the CPUs' own lists are drained, and only doing it tells whether that helps."
        return "None: every zone that may serve it has refused."

    def no_descriptors(self, z: Zone, need: int, free: int) -> str:
        """Return the sentence for a block that cannot be split."""
        if self.m._overflow:
            return "The call chain outgrows the kernel's stack, and all of it is unmade."
        lack = f"{zone_words(z)} has a block, but its split needs {_count(need)}, {_are_free(free)}"
        if not self.certain:
            return f"{lack}; the caches are shrunk, and only doing it tells whether that gives a page for more."
        return f"None: {lack}, and no page can be had for more."

    def descriptors(self, need: int, node: int) -> str | None:
        """Have struct buddys allocated on a copy of the machine, without reclaim.  Returns in one clause which pages became slabs; None if there are too few."""
        if not self.before:
            self.m = self.m._twin()
            vars(self.m).update(drain_all_pages=self.reclaim, _shrink=self.reclaim)
        m = self.m
        known = slabs_by_cache(m)
        if slub.kmem_cache_alloc_bulk(m, m.KC_BUDDY, need, nested(self.gfp), node) is None:
            return None
        now = slabs_by_cache(m)
        new = Counter(
            (view_of(m, c).name, m.zone_of[m.flags_of[s]])
            for c in (m.KC_SLAB, m.KC_BUDDY)
            for s in now.get(c, ())
            if s not in known.get(c, ())
        )
        return " and ".join(f"{cache} gets {n if n > 1 else 'a'} page{'s' * (n > 1)} of {zone_words(z)}" for (cache, z), n in new.items())

    def reclaim(self, *_cache: int) -> int:
        """Reclaim nothing, in the place of the copy's own functions, and notice if that might have given a page back."""
        self.certain &= not (_cpus_hold_pages(self.m) or _could_shrink(self.m))
        return 0

    def own_page(self) -> Zone | None:
        """Return the zone of the page that the running CPU's own lists give, refilled with single pages (rmqueue_pcplist)."""
        m, kind = self.m, kind_of_request(self.gfp)
        for z in _zonelist(m, self.gfp, self.node):
            view = m.zone_view(z)
            may = m.w[z.free] - 1 >= view.watermark[1] + view.lowmem_reserve[kind]
            if m.count_of[pcp.list_of(m, z)] or (may and not list_empty(m, z.heads)):
                return z
            if may:
                return None
        return None


def _count(need: int) -> str:
    return f"{need} descriptor{'s' * (need > 1)}"


def _are_free(n: int) -> str:
    return f"{n} {'is' if n == 1 else 'are'} free"


def _cpus_hold_pages(m: Machine) -> bool:
    """Say whether any CPU has pages on its own lists, which draining would give back."""
    return m.pcp and any(m.count_of[q] for q in pcp.lists(m))


def _could_shrink(m: Machine) -> bool:
    """Say whether shrinking the caches may give a page back: some slab is empty, or its descriptors may move to another one."""
    live = [c for c in slots(m) if m.serial_of[c]]
    if any(m.cpu_slab_of[p] for c in live for p in each_cpu(m, c) if p != percpu(m, c)):
        return True
    for c in live:
        slabs, p = [inuse(m, s) for s in partial_slabs(m, c)], percpu(m, c)
        if m.cpu_slab_of[p]:
            slabs.append(inuse(m, word(m.cpu_slab_of[p])) - len(walk_freelist(m, c, m.cpu_freelist_of[p])))
        if any(n <= m.own_of[c] for n in slabs) or (m.bounded and c in (m.KC_BUDDY, m.KC_SLAB) and len(slabs) > 1):
            return True
    return False
