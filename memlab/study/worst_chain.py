"""The longest call chain that the email foresees, run call by call.

Used by chapter 09, the Nesting lab and the tests.  Imports consumers and the core.

Source: the email's list of 24 calls.  Its indentation is lost in the archive: call 13 hangs under call 6, as a sibling of call 7, since alloc_slab_page
asks for its struct slab first and for its pages then.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..gfp import GFP
from ..machine import Machine
from ..trace import Trace
from .consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty

_BUDDY: Final = "kmem_cache_buddy"
_SLAB: Final = "kmem_cache_slab"
_HALF: Final = (  # twice the same: calls 1 to 12, and 13 to 24
    ("alloc_pages", ""),
    ("kmem_cache_alloc_bulk", _BUDDY),
    ("___slab_alloc", _BUDDY),
    ("new_slab", _BUDDY),
    ("allocate_slab", _BUDDY),
    ("alloc_slab_page", _BUDDY),
    ("kmem_cache_alloc", _SLAB),
    ("___slab_alloc", _SLAB),
    ("new_slab", _SLAB),
    ("allocate_slab", _SLAB),
    ("alloc_slab_page", _SLAB),
    ("__alloc_slab", ""),
)
FRAMES_BELOW_13: Final = 6  # of call 6, alloc_slab_page(kmem_cache_buddy), and its callers
# the email's calls: (depth, the kernel's name, the cache or "")
EMAIL_CHAIN: Final = tuple((base + i, *call) for base in (1, 1 + FRAMES_BELOW_13) for i, call in enumerate(_HALF))
HERE: Final = "kmem_cache_alloc(kmem_cache_slab)"  # at its return the struct slab is had, and the pages are not yet asked for


class Chain(NamedTuple):
    """One run: the machine afterwards, the trace, the pfn that alloc_pages returned (or None), and how many descriptors the interrupt took."""

    machine: Machine
    trace: Trace
    pfn: int | None
    slabs: int
    buddies: int

    @property
    def calls(self) -> tuple[tuple[int, str, str], ...]:
        """The task's calls, as in EMAIL_CHAIN."""
        return tuple((call.depth, call.name, call.cache) for call in self.trace.calls if call.context == 0)

    @property
    def same(self) -> int:
        """How many of its calls, from the first, are the email's: 24 when all are."""
        pairs = enumerate(zip(self.calls, EMAIL_CHAIN, strict=False))
        return next((i for i, (ours, theirs) in pairs if ours != theirs), min(len(self.calls), len(EMAIL_CHAIN)))


def email_chain(
    m: Machine | None = None, slabs: int | None = None, buddies: int | None = None, below: int = 2, at: str = HERE, when: str = "return"
) -> Chain:
    """Make low orders and descriptors scarce, and allocate one page while one interrupt takes descriptors: the email's worst case.

    ``m``: the machine, of the design as written; None for a new one of 1 MiB.  ``slabs``, ``buddies``: how many free struct slabs and struct
    buddys the interrupt takes at most; None for all there are.  ``below``: the lowest order that has free blocks.  ``at``, ``when``: where the
    interrupt comes in, as ``m.interrupt`` takes them.  TypeError or ValueError for a bad argument.
    """
    m = Machine("1M") if m is None else m
    for what, n in (("slabs", slabs), ("buddies", buddies)):
        if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 0):
            raise ValueError(f"{what} is how many the interrupt takes, 0 or more, or None for all there are; not {n!r}")
    KeepLowOrdersEmpty(m, below=below)()
    EatBuddies(m)()
    EatSlabs(m)()
    eaters = [kind(m, most) if most != 0 else None for kind, most in ((EatSlabs, slabs), (EatBuddies, buddies))]

    def eat() -> None:
        for eater in eaters:
            if eater:
                eater()

    with m.trace() as trace, m.interrupt(at, when, eat):
        pfn = m.alloc_pages(0, GFP.KERNEL)
    held = [len(eater.held) if eater else 0 for eater in eaters]
    return Chain(m, trace, pfn, *held)
