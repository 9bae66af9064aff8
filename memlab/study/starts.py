"""States to start from, in which one more call nests little or much, and what is at hand in a state.

Used by nesting.  Imports consumers.

Sources: the email's last paragraph; DESIGN of memlab: the chain recurs once for each free struct slab, as long as no struct buddy is free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ..machine import Machine
from .consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty, free_descriptors

LOW_ORDERS: Final = 2  # orders below this one are emptied
TINY_START: Final = "fresh, 32 pages of 256 bytes"
_CHURN: Final = 150  # slabs that are built and given back
_PIN: Final = 40  # of so many slabs one stays, so that the pages of struct slabs stay as well
_BUDDY: Final = "kmem_cache_buddy"
_SLAB: Final = "kmem_cache_slab"


class AtHand(NamedTuple):
    """What can be had without growing or splitting: free struct buddys, free struct slabs, free blocks of the low orders."""

    buddies: int
    slabs: int
    blocks: int


def at_hand(m: Machine) -> AtHand:
    """Return what can be had on a machine now without growing a cache or splitting a larger block."""
    blocks = m.buddyinfo()[0, "Normal"]
    return AtHand(free_descriptors(m, _BUDDY), free_descriptors(m, _SLAB), sum(blocks[:LOW_ORDERS]))


def _low_orders_empty(m: Machine) -> None:
    KeepLowOrdersEmpty(m, below=LOW_ORDERS)()


def _no_buddy(m: Machine) -> None:
    _low_orders_empty(m)
    EatBuddies(m)()


def _one_slab(m: Machine) -> None:
    _no_buddy(m)
    n = free_descriptors(m, _SLAB)
    if n > 1:
        EatSlabs(m, n - 1)()


def _nothing(m: Machine) -> None:
    _no_buddy(m)
    EatSlabs(m)()


def _churned(m: Machine) -> None:
    cache = m.caches["kmalloc-32"]
    slabs: list[list[int]] = []
    while len(slabs) < _CHURN and (objects := cache.alloc_bulk(m.page_size // 32)) is not None:
        slabs.append(objects)
    for i, objects in enumerate(slabs, 1):
        cache.free_bulk(objects[:-1] if i % _PIN == 0 else objects)
    cache.shrink()
    _no_buddy(m)


STARTS: Final[dict[str, Callable[[Machine], None]]] = {
    "fresh": lambda _m: None,
    "low orders empty": _low_orders_empty,
    "no free struct buddy": _no_buddy,
    "no free struct buddy, one struct slab": _one_slab,
    "no free descriptor": _nothing,
    "slab churn: many struct slabs": _churned,
    TINY_START: lambda _m: None,
}
