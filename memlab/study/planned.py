"""What a call of the Nesting lab begins from and meets: states in which one more call nests little or much, and planned interrupts.

Used by nesting.  Each planned interrupt comes once in a call, at the nth call or return of a trace point, and takes what it is told to.
Imports the core, consumers and explore (what interrupts do).

Sources: the email's last paragraph; DESIGN of memlab: the chain recurs once for each free struct slab, as long as no struct buddy is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from ..machine import Machine
from ..ram import KernelBug
from .consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty, free_descriptors
from .explore.choices import HANDLERS

_BUDDY: Final = "kmem_cache_buddy"
_SLAB: Final = "kmem_cache_slab"
LOW_ORDERS: Final = 2  # orders below this one are emptied
TINY_START: Final = "fresh, 32 pages of 256 bytes"
_CHURN: Final = 150  # slabs that are built and given back
_PIN: Final = 40  # of so many slabs one stays, so that the pages of struct slabs stay as well


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

# -- interrupts

# what the recursion goes through, in its own order: where an interrupt may come
AT: Final = (
    "alloc_pages",
    f"kmem_cache_alloc_bulk({_BUDDY})",
    *(f"{name}({_BUDDY})" for name in ("___slab_alloc", "new_slab", "alloc_slab_page")),
    f"kmem_cache_alloc({_SLAB})",
    *(f"{name}({_SLAB})" for name in ("___slab_alloc", "new_slab", "alloc_slab_page")),
    "__alloc_slab",
)


def _eat(meal: str, m: Machine) -> None:
    HANDLERS[meal].run(m, -1)


_MEALS: Final[dict[str, Callable[[Machine], object]]] = {
    **{name: partial(_eat, name) for name in HANDLERS},
    "empty the low orders": lambda m: KeepLowOrdersEmpty(m, below=LOW_ORDERS)(),
}
MEALS: Final = tuple(_MEALS)


class Planned(NamedTuple):
    """An interrupt that is to come: at the ``nth`` "call" or "return" (``when``) of ``at`` in the task; what it does, a name in MEALS."""

    at: str
    when: str
    nth: int
    meal: str

    def __str__(self) -> str:
        return f"at {self.when} {self.nth} of {self.at}: {self.meal}"


@contextmanager
def interrupted(m: Machine, planned: Sequence[Planned]) -> Iterator[None]:
    """Have the planned interrupts come in a with block."""
    probes, busy = m._probes, [False]
    plans = [_Plan(m, plan, busy) for plan in planned]
    for plan in plans:
        probes.listen(probes.interrupts, plan)
    try:
        yield
    finally:
        for plan in plans:
            probes.ignore(probes.interrupts, plan)


class _Plan:
    """Stands for a planned interrupt among a machine's probes.  ``busy``: whether a handler is at work; handlers are not interrupted in turn."""

    cpu: int | None = None

    def __init__(self, m: Machine, planned: Planned, busy: list[bool]) -> None:
        self._m, self._planned, self._busy = m, planned, busy
        self._seen = 0

    def due(self, name: str, cache: str, when: str) -> bool:
        """Say whether it is to come now."""
        plan = self._planned
        if self._busy[0] or when != plan.when or plan.at not in (name, f"{name}({cache})"):
            return False
        self._seen += 1
        return self._seen == plan.nth

    def handler(self) -> None:
        """Do what it is to do."""
        self._busy[0] = True
        try:
            _MEALS[self._planned.meal](self._m)
        except KernelBug as bug:
            if not is_overflow(bug):  # it got nothing, as a handler may
                raise
        finally:
            self._busy[0] = False


def is_overflow(bug: KernelBug) -> bool:
    """Say whether a chain outgrew the kernel's stack: of an allocation, that it got nothing."""
    return "kernel stack overflow" in str(bug)
