"""Consumers: what an interrupt or another CPU takes while an allocation nests, to make its way longer.

Used as handlers of ``m.interrupt``, by explore, the Nesting lab and chapter 09.  What a consumer took, it holds (descriptors are marked HELD), until
``give_back()``.  A consumer that finds nothing to take is content: it fails as quietly as an interrupt handler must.  Imports the core.

Source: the email's last paragraph, which names them: somebody eats struct slabs, somebody eats struct buddys, and somebody keeps the low orders empty.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from ..addresses import word
from ..cache_table import free_objects, partial_slabs, percpu, walk_freelist
from ..config import Zone, ZoneType
from ..gfp import GFP
from ..kernel import Kernel
from ..kmem_cache import KmemCache, view_for
from ..list_head import list_empty
from ..page_alloc import buddyinfo

_ZONE_FLAG: Final = {ZoneType.NORMAL: 0, ZoneType.DMA: GFP.DMA, ZoneType.DMA32: GFP.DMA32}


class Consumer(ABC):
    """Takes things when called, and holds them: ``m.interrupt("new_slab", "call", EatSlabs(m))``.

    ``m``: the machine.  ``most``: how many it takes each time it is called, None for all there are.  ``held``: addresses or pfns, in order.
    TypeError or ValueError for a bad argument.
    """

    name = ""

    def __init__(self, m: Kernel, most: int | None = None) -> None:
        if not isinstance(m, Kernel):
            raise TypeError(f"a consumer works on a Machine, not {m!r}")
        if most is not None and (not isinstance(most, int) or isinstance(most, bool)):
            raise TypeError(f"most is a whole number, or None for all there are, not {most!r}")
        if most is not None and most < 1:
            raise ValueError(f"most is 1 or more, or None for all there are, not {most}")
        self.m, self.most = m, most
        self.held: list[int] = []

    def __call__(self) -> None:
        """Take what there is, up to ``most``, growing nothing for it."""
        n = self.on_hand()
        self.held += self.take(n if self.most is None else min(n, self.most))

    @abstractmethod
    def on_hand(self) -> int:
        """Return how many there are to take without growing a cache or splitting a block."""

    @abstractmethod
    def take(self, n: int) -> list[int]:
        """Take ``n`` of them."""

    @abstractmethod
    def give_back(self) -> None:
        """Free all that is held."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: holds {len(self.held)}>"


class _EatDescriptors(Consumer):
    cache = ""

    def on_hand(self) -> int:
        """Return how many free descriptors there are, on this CPU's freelist and in partial slabs, that alloc would take first."""
        return free_descriptors(self.m, self.cache)

    def take(self, n: int) -> list[int]:
        """Take ``n`` descriptors, with GFP_ATOMIC, as in an interrupt."""
        return descriptor_cache(self.m, self.cache).alloc_bulk(n, GFP.ATOMIC) or []

    def give_back(self) -> None:
        """Free the descriptors."""
        held, self.held = self.held, []
        descriptor_cache(self.m, self.cache).free_bulk(held)


class EatSlabs(_EatDescriptors):
    """Takes free struct slabs."""

    name, cache = "eat struct slabs", "kmem_cache_slab"


class EatBuddies(_EatDescriptors):
    """Takes free struct buddys."""

    name, cache = "eat struct buddys", "kmem_cache_buddy"


class KeepLowOrdersEmpty(Consumer):
    """Takes the free lowmem blocks of each order below ``below``, at their own order, so that no split is needed for it."""

    name = "keep low orders empty"

    def __init__(self, m: Kernel, most: int | None = None, below: int = 1) -> None:
        super().__init__(m, most)
        if not isinstance(below, int) or isinstance(below, bool) or not 1 <= below <= m.max_order:
            raise ValueError(f"below is the lowest order that is left alone, 1 to {m.max_order}, not {below!r}")
        self.below = below

    def on_hand(self) -> int:
        """Return how many blocks are on the low orders' lists of all zones but HIGHMEM."""
        blocks = buddyinfo(self.m)
        return sum(sum(blocks[z.node, z.name][: self.below]) for z in self._zones())

    def take(self, n: int) -> list[int]:
        """Take ``n`` blocks, lowest order first, with GFP_ATOMIC: fewer where a watermark stands in the way."""
        m, got = self.m, list[int]()
        for order in range(self.below):
            for z in self._zones():
                head = z.heads + 2 * order
                while len(got) < n and not list_empty(m, head):
                    first = m.w[head]
                    pfn = m.alloc_pages(order, GFP.ATOMIC | GFP.THISNODE | _ZONE_FLAG[z.type], z.node)
                    if pfn is not None:
                        got.append(pfn)
                    if m.w[head] == first:  # it came from elsewhere, or not at all
                        break
        return got

    def give_back(self) -> None:
        """Free the blocks."""
        held, self.held = self.held, []
        for pfn in held:
            self.m.free_pages(pfn)

    def _zones(self) -> list[Zone]:
        return [z for z in self.m.zones if z.type is not ZoneType.HIGHMEM]


def descriptor_cache(m: Kernel, name: str) -> KmemCache:
    """Return kmem_cache_buddy or kmem_cache_slab, as ``m.caches[name]`` does, but without looking at all others.  ValueError for another name."""
    slots = {"kmem_cache_buddy": m.KC_BUDDY, "kmem_cache_slab": m.KC_SLAB}
    if not isinstance(name, str) or name not in slots:
        raise ValueError(f"there is no cache {name!r} of descriptors; there are {', '.join(slots)}")
    return view_for(m, slots[name])


def free_descriptors(m: Kernel, cache: str) -> int:
    """Return how many descriptors can be taken on the running CPU before their cache must grow.

    ``cache``: "kmem_cache_buddy" or "kmem_cache_slab".  ValueError for another.
    """
    c = word(descriptor_cache(m, cache).address)
    p = percpu(m, c)
    n = len(walk_freelist(m, c, m.cpu_freelist_of[p]))
    if m.cpu_slab_of[p]:
        n += free_objects(m, word(m.cpu_slab_of[p]))
    return n + sum(free_objects(m, s) for s in partial_slabs(m, c))


CONSUMERS: Final[dict[str, Callable[..., Consumer]]] = {kind.name: kind for kind in (EatSlabs, EatBuddies, KeepLowOrdersEmpty)}
