"""Remedies, side by side: the design as written, memlab's bounded one, and a reserve of struct buddys that is filled in advance, as a mempool is.

``compare()`` runs the same storms on each and says how deep calls nested, how often a request failed although memory was free, and what memory stayed
with descriptors.  Used by FINDINGS.md and chapters 09 and 10; ``python -m memlab.study.remedies`` prints it.  Imports the core and consumers.

Source: mm/mempool.c for the idea of the reserve; the storms are memlab's own.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from .. import slub
from ..cache_table import slabs_of
from ..config import Zonelist
from ..gfp import GFP
from ..kernel import bind
from ..list_head import list_empty
from ..machine import Machine
from ..ram import KernelBug
from .consumers import EatBuddies, EatSlabs, free_descriptors


class MempoolMachine(Machine):
    """The design as written, with ``reserve`` free struct buddys on hand before each outermost allocation; within one, their cache does not grow.

    ``reserve``: int, how many; None for twice max_order, which is what a split and the growth for the next one may take.  The other parameters are
    Machine's.  An allocation that finds the reserve empty, because somebody ate it meanwhile, fails.  TypeError or ValueError for a bad argument.
    """

    def __init__(self, *args: Any, reserve: int | None = None, **kwargs: Any) -> None:
        if reserve is not None and (not isinstance(reserve, int) or isinstance(reserve, bool) or reserve < 0):
            raise ValueError(f"reserve is a number of struct buddys, 0 or more, or None for twice max_order, not {reserve!r}")
        self.reserve, self._filling = 0, False
        super().__init__(*args, **kwargs)
        want = 2 * self.max_order if reserve is None else reserve
        while free_descriptors(self, "kmem_cache_buddy") < want and self._kmem_cache_grow(self.KC_BUDDY, GFP.KERNEL):
            pass  # at boot nobody else is there, so the cache may nest as it likes
        self.reserve = want

    def _get_pages(self, order: int, gfp: int, zonelist: Zonelist, desc: int) -> int:
        first = zonelist[0] if zonelist else None
        if desc or first is None or list_empty(self, first.heads + 2 * order) or self.w[first.free] - (1 << order) < first.low:
            self.fill_reserve(gfp)  # a block of the order itself takes no descriptor
        return super()._get_pages(order, gfp, zonelist, desc)

    def _new_slab(self, c: int, gfp: int, node: int | None) -> int:
        if c == self.KC_BUDDY and self.reserve and self._nesting:
            return 0
        return super()._new_slab(c, gfp, node)

    def fill_reserve(self, gfp: int) -> None:
        """Grow kmem_cache_buddy until the reserve is full, at the outermost level only, or until there is no page for it."""
        if not self.reserve or self._nesting or self._filling:
            return
        self._filling = True
        try:
            while free_descriptors(self, "kmem_cache_buddy") < self.reserve and self._kmem_cache_grow(self.KC_BUDDY, gfp & ~GFP.ZERO):
                pass
        finally:
            self._filling = False


def ___slab_alloc(m: MempoolMachine, c: int, gfp: int, node: int | None) -> int:
    """Fill the reserve before another cache than that of the struct buddys allocates."""
    if c != m.KC_BUDDY:
        m.fill_reserve(gfp)
    return slub.___slab_alloc(m, c, gfp, node)


bind(MempoolMachine, ___slab_alloc)

KINDS: Final[dict[str, Callable[..., Machine]]] = {
    "as-written": lambda **shape: Machine(**shape, design="as-written"),
    "bounded": lambda **shape: Machine(**shape, design="bounded"),
    "mempool": lambda **shape: MempoolMachine(**shape, design="as-written"),
}
SHAPE: Final[dict[str, Any]] = {"memory": "64K", "page_size": 256, "max_order": 4}


@dataclass
class Outcome:
    """What a storm did on one kind of machine.

    ``depth``: frames of the deepest chain.  ``failed``: requests that got nothing; ``in_vain``: those of them for which a block of their order, or a
    larger one, was free before and after.  ``slab_pages``: pages of descriptors' slabs on the fresh machine, at the most, when all was freed, and after
    ``shrink()``.  ``largest``: free pages in blocks of the highest order on the fresh machine, when all was freed, and after ``shrink()``.
    """

    kind: str
    depth: int = 0
    requests: int = 0
    failed: int = 0
    in_vain: int = 0
    slab_pages: tuple[int, int, int, int] = (0, 0, 0, 0)
    largest: tuple[int, int, int] = (0, 0, 0)

    def __str__(self) -> str:
        return (
            f"{self.kind:<10} {self.depth:5} frames deep; {self.in_vain:,} of {self.requests:,} requests failed although a block was free; "
            f"pages of descriptors: fresh {self.slab_pages[0]}, most {self.slab_pages[1]}, all freed {self.slab_pages[2]}, shrunk {self.slab_pages[3]}; "
            f"pages in blocks of the highest order: fresh {self.largest[0]}, all freed {self.largest[1]}, shrunk {self.largest[2]}"
        )


def storm(kind: str, seed: int = 1, operations: int = 2000, interrupts: bool = False, shape: dict[str, Any] | None = None) -> Outcome:
    """Allocate and free blocks at random on a fresh machine, free everything, shrink, and return the Outcome.

    ``kind``: a name in KINDS.  ``seed``: int.  ``operations``: int.  ``interrupts``: in every second allocation, at the first return of a nested
    kmem_cache_alloc or kmem_cache_alloc_bulk, somebody eats all free descriptors, and gives them back after the operation.  ``shape``: Machine's
    parameters, None for 256 pages of 256 bytes.  ValueError for an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}; there are {', '.join(KINDS)}")
    m, dice = KINDS[kind](**(shape or SHAPE)), random.Random(seed)  # noqa: S311 - seeded dice
    outcome, live = Outcome(kind), list[int]()
    fresh = most = slab_pages(m)
    largest = [_in_largest(m)]
    slabs, buddys = EatSlabs(m), EatBuddies(m)

    def eat() -> None:
        slabs()
        buddys()

    for i in range(operations):
        growing = i // (operations // 4 or 1) % 2 == 0
        if live and dice.random() < (0.3 if growing else 0.7):
            m.free_pages(live.pop(dice.randrange(len(live))))
            continue
        order = min(int(dice.expovariate(1.2)), m.max_order)
        before = _has(m, order)
        with m.trace() as t, ExitStack() as stack:
            for at in ("kmem_cache_alloc", "kmem_cache_alloc_bulk") if interrupts and i % 2 else ():
                stack.enter_context(m.interrupt(at, "return", eat))
            got = _request(m, order)
        outcome.depth = max([outcome.depth, *(call.depth for call in t.calls if not call.context)])
        outcome.requests += 1
        if got is not None:
            live.append(got)
        else:
            outcome.failed += 1
            outcome.in_vain += before and _has(m, order)
        slabs.give_back()
        buddys.give_back()
        most = max(most, slab_pages(m))
    for pfn in live:
        m.free_pages(pfn)
    freed = slab_pages(m)
    largest.append(_in_largest(m))
    m.shrink()
    m.check()
    largest.append(_in_largest(m))
    outcome.slab_pages = fresh, most, freed, slab_pages(m)
    outcome.largest = largest[0], largest[1], largest[2]
    return outcome


def filled(kind: str, shape: dict[str, Any] | None = None) -> Outcome:
    """Fill a machine with single pages, free them in order of allocation, shrink, and return the Outcome.  Parameters as for ``storm``."""
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}; there are {', '.join(KINDS)}")
    m = KINDS[kind](**(shape or SHAPE))
    fresh, largest = slab_pages(m), [_in_largest(m)]
    with m.trace() as t:
        live = []
        while (pfn := m.alloc_pages(0, GFP.KERNEL)) is not None:
            live.append(pfn)
            t.calls.clear()
    most, in_vain = slab_pages(m), int(_has(m, 0))
    for pfn in live:
        m.free_pages(pfn)
    freed = slab_pages(m)
    largest.append(_in_largest(m))
    m.shrink()
    largest.append(_in_largest(m))
    outcome = Outcome(kind, t.max_depth, len(live) + 1, 1, in_vain)
    outcome.slab_pages = fresh, most, freed, slab_pages(m)
    outcome.largest = largest[0], largest[1], largest[2]
    return outcome


def compare(seeds: int = 4, operations: int = 2000, interrupts: bool = True) -> list[Outcome]:
    """Run the same storms on each kind; returns the sums and maxima over the seeds, one Outcome for each kind.  ValueError for no seed."""
    if seeds < 1:
        raise ValueError(f"seeds is how many storms each kind goes through, 1 or more, not {seeds}")
    out = []
    for kind in KINDS:
        runs = [storm(kind, seed, operations, interrupts) for seed in range(seeds)]
        total = Outcome(
            kind, max(r.depth for r in runs), *(sum(getattr(r, what) for r in runs) for what in ("requests", "failed", "in_vain"))
        )
        a, b, c, d = (max(column) for column in zip(*(r.slab_pages for r in runs), strict=True))
        total.slab_pages = a, b, c, d
        x, y, z = (min(column) for column in zip(*(r.largest for r in runs), strict=True))
        total.largest = x, y, z
        out.append(total)
    return out


def slab_pages(m: Machine) -> int:
    """Return how many pages the slabs of the two caches of descriptors have."""
    return sum(len(slabs_of(m, c)) for c in (m.KC_BUDDY, m.KC_SLAB))


def _request(m: Machine, order: int) -> int | None:
    try:
        return m.alloc_pages(order)
    except KernelBug as bug:
        if "kernel stack overflow" not in str(bug):
            raise
        return None


def _has(m: Machine, order: int) -> bool:
    return any(any(blocks[order:]) for blocks in m.buddyinfo().values())


def _in_largest(m: Machine) -> int:
    return sum(blocks[-1] << m.max_order for blocks in m.buddyinfo().values())


def main() -> None:
    """Print what each kind does when it is filled with single pages, and in storms without and with interrupts."""
    for title, outcomes in (
        ("filled with single pages, all freed", [filled(kind) for kind in KINDS]),
        ("4 storms of 2,000 operations", compare(interrupts=False)),
        ("the same, with an interrupt in every other request that eats all free descriptors", compare()),
    ):
        sys.stdout.write(f"{title}\n" + "".join(f"  {outcome}\n" for outcome in outcomes))


if __name__ == "__main__":
    main()
