"""Everything that allocates, as operations with names, and work that is a list of steps: so that a state can be reached again, and its way shortened.

Used by the fault sweep and the tests.  Imports consumers and the core.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from ..gfp import GFP
from ..machine import Machine
from ..ram import KernelBug
from ..slub_size import SLAB
from .consumers import CONSUMERS, Consumer

FOREIGN: Final = 0xFFFF_C900_0000_0008  # mem_desc of type VMALLOC: a descriptor that lies in no memory of the machine


class Operation(NamedTuple):
    """``run``: function of a Work that returns what it got, or None.  ``undo``: function of the machine and what was got, that frees it.

    ``address``: of what was got, where it has one that its owner may write to.
    """

    run: Callable[[Work], Any]
    undo: Callable[[Machine, Any], object]
    address: Callable[[Machine, Any], int | None] = lambda _m, _got: None


class Step(NamedTuple):
    """One step of a work: the name of an operation or of a consumer, or "free", "shrink", "fill"; the CPU; a number that chooses among things."""

    what: str
    cpu: int
    pick: int

    def __str__(self) -> str:
        detail = {"free": f" number {self.pick} of what is held", "fill": f" memory but for {self.pick % 6} pages"}.get(self.what, "")
        return f"{self.what}{detail}, on CPU {self.cpu}"


class Work:
    """A machine with what is held on it; ``do`` takes a Step.  ``held``: (operation or consumer, what was got)."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        self.held: list[tuple[str, Any]] = []
        sizes = {"small": (24, 0), "middle": (m.page_size // 2 - 8, 0), "big": (m.page_size + 8, 0), "debug": (40, SLAB.DEBUG)}
        for name, (size, flags) in sizes.items():
            m.kmem_cache_create(name, size, flags=flags)

    def do(self, step: Step) -> None:
        """Do one step; one that finds no memory, or outgrows the stack, or has nothing to work on, does nothing."""
        m = self.m
        with m.on_cpu(step.cpu % m.config.cpus):
            if step.what == "free":
                if self.held:
                    name, got = self.held.pop(step.pick % len(self.held))
                    self.free(name, got)
            elif step.what == "shrink":
                m.shrink()
            elif step.what == "fill":
                while m.free_pages_count > step.pick % 6 and self._got("alloc_pages(0)", step.pick):
                    pass
            elif step.what in CONSUMERS:
                consumer = CONSUMERS[step.what](m)
                consumer()
                self.held.append((step.what, consumer))
            else:
                self._got(step.what, step.pick)

    def call(self, name: str) -> Any:
        """Run an operation; returns what it got, None for nothing, also when the kernel's stack overflowed."""
        try:
            return OPERATIONS[name].run(self) or None
        except KernelBug as bug:
            if "kernel stack overflow" not in str(bug):
                raise
            return None

    def free(self, name: str, got: Any) -> None:
        """Free what an operation or a consumer got."""
        if isinstance(got, Consumer):
            got.give_back()
        else:
            OPERATIONS[name].undo(self.m, got)

    def block(self) -> int | None:
        """Return the number in ``held`` of the newest block that can be split, None if there is none."""
        return next((i for i in reversed(range(len(self.held))) if self.held[i][0] in _SPLITTABLE), None)

    def _got(self, name: str, pick: int) -> bool:
        got = self.call(name)
        if got is None:
            return False
        if name == _SPLIT:
            del self.held[_found(self.block())]
        self.held.append((name, got))
        address = OPERATIONS[name].address(self.m, got)
        if address is not None:
            self.m.write(address, (pick | 1).to_bytes(8, "little"))
        return True


def steps(m: Machine, seed: int, n: int) -> list[Step]:
    """Return ``n`` steps of random work for a machine, of which every third frees, the same for the same ``seed``."""
    dice = Random(seed)  # noqa: S311 - nothing secret
    names = [*OPERATIONS, "shrink"]
    return [
        Step("free" if dice.random() < 0.35 else dice.choice(names), dice.randrange(m.config.cpus), dice.randrange(1 << 20))
        for _ in range(n)
    ]


def _found(at: int | None) -> int:
    if at is None:
        raise ValueError("nothing that is held can be split")
    return at


def _pages(order: int, gfp: int = GFP.KERNEL) -> Operation:
    return Operation(lambda work: work.m.alloc_pages(order, gfp), lambda m, pfn: m.free_pages(pfn), lambda m, pfn: m.page_address(pfn))


def _cache(name: str) -> Operation:
    return Operation(
        lambda work: work.m.caches[name].alloc(), lambda m, obj: m.caches[name].free(obj), lambda _m, obj: obj if name in _OURS else None
    )


def _bulk(name: str, n: int) -> Operation:
    return Operation(lambda work: work.m.caches[name].alloc_bulk(n), lambda m, objs: m.caches[name].free_bulk(objs))


def _user(user: str, *args: int) -> Operation:
    return Operation(lambda work: getattr(work.m, f"{user}_alloc")(*args), lambda m, desc: getattr(m, f"{user}_put")(desc))


def _split(work: Work) -> tuple[int, int] | None:
    at = work.block()
    return None if at is None else work.m.split_page(work.held[at][1])


def _free_all(m: Machine, pfns: Any) -> None:
    for pfn in pfns:
        m.free_pages(pfn)


def _new_name(m: Machine) -> str:
    caches = m.caches
    return next(name for i in range(len(caches) + 1) if (name := f"new-{i}") not in caches)


_OURS: Final = ("small", "middle", "big", "debug")
_SPLIT: Final = "split_page(the newest block)"
OPERATIONS: Final[dict[str, Operation]] = {
    **{f"alloc_pages({order})": _pages(order) for order in range(4)},
    "alloc_pages(0, GFP_ATOMIC)": _pages(0, GFP.ATOMIC),
    "alloc_pages(1, __GFP_ZERO)": _pages(1, GFP.KERNEL | GFP.ZERO),
    "alloc_pages(0, __GFP_HIGHMEM)": _pages(0, GFP.KERNEL | GFP.HIGHMEM),
    "alloc_pages(1, __GFP_DMA)": _pages(1, GFP.KERNEL | GFP.DMA),
    "alloc_pages(0, __GFP_THISNODE)": _pages(0, GFP.KERNEL | GFP.THISNODE),
    "alloc_pages_bulk(4)": Operation(lambda work: work.m.alloc_pages_bulk(4), _free_all),
    "get_free_page()": Operation(lambda work: work.m.get_free_page(), lambda m, address: m.free_page(address), lambda _m, address: address),
    _SPLIT: Operation(_split, _free_all),
    "alloc_pages_desc(0)": Operation(lambda work: work.m.alloc_pages_desc(0, FOREIGN), lambda m, buddy: m.free_pages_desc(buddy)),
    "alloc_pages_node_desc(last node, 1)": Operation(
        lambda work: work.m.alloc_pages_node_desc(work.m.config.nodes - 1, 1, FOREIGN), lambda m, buddy: m.free_pages_desc(buddy)
    ),
    **{f"kmem_cache_alloc({name})": _cache(name) for name in (*_OURS, "kmem_cache_buddy", "kmem_cache_slab")},
    **{f"kmem_cache_alloc_bulk({name}, 12)": _bulk(name, 12) for name in ("small", "big", "debug")},
    **{f"kmem_cache_alloc_bulk({name}, 6)": _bulk(name, 6) for name in ("kmem_cache_buddy", "kmem_cache_slab")},
    **{f"kmem_cache_grow({name})": Operation(lambda work, name=name: work.m.caches[name].grow(), lambda _m, _slab: None) for name in _OURS},  # type: ignore[misc]
    "kmem_cache_create()": Operation(lambda work: work.m.kmem_cache_create(_new_name(work.m), 32), lambda _m, cache: cache.destroy()),
    "kmalloc(20)": Operation(lambda work: work.m.kmalloc(20), lambda m, address: m.kfree(address), lambda _m, address: address),
    "kmalloc(3 pages)": Operation(
        lambda work: work.m.kmalloc(3 * work.m.page_size), lambda m, address: m.kfree(address), lambda _m, address: address
    ),
    "folio_alloc(0)": _user("folio", 0),
    "folio_alloc(2)": _user("folio", 2),
    "folio_alloc(0, __GFP_HIGHMEM)": _user("folio", 0, GFP.KERNEL | GFP.HIGHMEM),
    "anonmem_alloc(1)": _user("anonmem", 1),
    "filemem_alloc(0)": _user("filemem", 0),
    "pgtable_alloc()": _user("pgtable"),
    "vmalloc(3 pages)": Operation(lambda work: work.m.vmalloc(3 * work.m.page_size), lambda m, address: m.vfree(address)),
}
_SPLITTABLE: Final = frozenset(f"alloc_pages({args})" for args in ("1", "2", "3", "1, __GFP_ZERO", "1, __GFP_DMA"))
