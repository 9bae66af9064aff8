"""Consumers: what an interrupt or another CPU takes while an allocation nests, to make its way longer.

Used as handlers of ``m.interrupt``, by explore, the Nesting lab and chapter 09.  What a consumer took, it holds (descriptors are marked HELD), until
``give_back()``.  A consumer that finds nothing to take is content: it fails as quietly as an interrupt handler must.  Imports the core.

Source: the email's last paragraph, which names them: somebody eats struct slabs, somebody eats struct buddys, and somebody keeps the low orders empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..cache_table import COUNTS
from ..gfp import GFP
from ..kmem_cache import KmemCache
from ..machine import Machine


class Consumer:
    """Takes things when called, and holds them: ``m.interrupt("new_slab", "call", EatSlabs(m))``.

    ``m``: the machine.  ``most``: how many it takes each time it is called, None for all there are.  ``held``: addresses or pfns, in order.
    TypeError or ValueError for a bad ``most``.
    """

    name = ""

    def __init__(self, m: Machine, most: int | None = None) -> None:
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

    def on_hand(self) -> int:
        """Return how many there are to take without growing a cache or splitting a block."""
        raise NotImplementedError

    def take(self, n: int) -> list[int]:
        """Take ``n`` of them."""
        raise NotImplementedError

    def give_back(self) -> None:
        """Free all that is held."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: holds {len(self.held)}>"


class _EatDescriptors(Consumer):
    cache = ""

    def on_hand(self) -> int:
        """Return how many free descriptors there are, on this CPU's freelist and in partial slabs, that alloc would take first."""
        m = self.m
        return free_descriptors(m, self.cache)

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
    """Takes the free blocks of each order below ``below``, at their own order, so that no split is needed for it."""

    name = "keep low orders empty"

    def __init__(self, m: Machine, most: int | None = None, below: int = 1) -> None:
        super().__init__(m, most)
        if not isinstance(below, int) or not 1 <= below <= m.max_order:
            raise ValueError(f"below is the lowest order that is left alone, 1 to {m.max_order}, not {below!r}")
        self.below = below

    def on_hand(self) -> int:
        """Return how many blocks are on the lists of the low orders of the node's zones that GFP_KERNEL may take from."""
        return sum(self._blocks().values())

    def take(self, n: int) -> list[int]:
        """Take ``n`` blocks, lowest order first."""
        got: list[int] = []
        for order, blocks in self._blocks().items():
            for _ in range(min(blocks, n - len(got))):
                pfn = self.m.alloc_pages(order, GFP.ATOMIC)
                got += [] if pfn is None else [pfn]
        return got

    def give_back(self) -> None:
        """Free the blocks."""
        held, self.held = self.held, []
        for pfn in held:
            self.m.free_pages(pfn)

    def _blocks(self) -> dict[int, int]:
        free = self.m.buddyinfo()
        lowmem = [blocks for (_, zone), blocks in free.items() if zone == "Normal"]
        return {order: sum(blocks[order] for blocks in lowmem) for order in range(self.below)}


def descriptor_cache(m: Machine, name: str) -> KmemCache:
    """Return kmem_cache_buddy or kmem_cache_slab, as ``m.caches[name]`` does, but without looking at all others.  ValueError for another name."""
    slots = {"kmem_cache_buddy": m.KC_BUDDY, "kmem_cache_slab": m.KC_SLAB}
    if name not in slots:
        raise ValueError(f"the caches of descriptors are {' and '.join(slots)}, not {name!r}")
    return m._view(slots[name])


def free_descriptors(m: Machine, cache: str) -> int:
    """Return how many descriptors can be taken on the running CPU before their cache must grow.

    ``cache``: "kmem_cache_buddy" or "kmem_cache_slab".  ValueError for another.
    """
    ci = (descriptor_cache(m, cache).address - m.B) >> 3
    p = m.percpu + m.shape_of[ci][0]
    n = len(m._walk_freelist(ci, m.w[p]))
    if m.w[p + 1]:
        si = (m.w[p + 1] - m.B) >> 3
        n += (m.w[si + COUNTS] >> 16 & 0xFFFF) - m._inuse(si)
    return n + sum((m.w[si + COUNTS] >> 16 & 0xFFFF) - m._inuse(si) for si in m._partial_slabs(ci))


CONSUMERS: Final[dict[str, Callable[..., Consumer]]] = {kind.name: kind for kind in (EatSlabs, EatBuddies, KeepLowOrdersEmpty)}
