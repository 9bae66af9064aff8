"""What a search may do next on a small machine: operations, and what interrupts do meanwhile.

Used by steps.py, gauge.py, search.py, the Nesting lab and chapters 09 and 10.  Imports survey, consumers and the core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ...addresses import word
from ...cache_table import free_objects
from ...gfp import GFP
from ...kmem_cache import view_for
from ...list_head import list_first
from ...machine import Machine
from ...memdesc import MemType
from ...words import LIST, PARTIAL
from ..consumers import EatBuddies, EatSlabs, descriptor_cache
from .survey import Survey


class Operation(NamedTuple):
    """Something that a search may do next.

    ``on``: what it can work on in the state a survey just saw.  ``code``: the same as Python.  ``only_depth``: a survey cannot look at what it
    makes, so that a search measures how deep it goes and then takes it back.
    """

    run: Callable[[Machine, int], object]
    on: Callable[[Survey, int], Iterator[int]]
    code: str
    frees: bool = False
    only_depth: bool = False


def _orders(_survey: Survey, most: int) -> Iterator[int]:
    yield from range(most + 1)


def _blocks(survey: Survey, _most: int) -> Iterator[int]:
    yield from (pfn for pfn, (_, kind) in survey.blocks.items() if kind == MemType.BUDDY)


def _larger_blocks(survey: Survey, _most: int) -> Iterator[int]:
    yield from (pfn for pfn, (order, kind) in survey.blocks.items() if kind == MemType.BUDDY and order)


def _once(_survey: Survey, _most: int) -> Iterator[int]:
    yield 0


def _held(cache: str) -> Callable[[Survey, int], Iterator[int]]:
    def one_of_each_page(survey: Survey, _most: int) -> Iterator[int]:
        m = survey.m
        found = {(address - m.B) >> m.PS: address for name, address in (*survey.held, *survey.objects) if name == cache}
        yield from found.values()

    return one_of_each_page


def _folios(survey: Survey, _most: int) -> Iterator[int]:
    yield from (address for address, kind in survey.users.items() if kind == MemType.FOLIO)


def _cache(name: str, short: str) -> dict[str, Operation]:
    return {
        f"take a {short}": Operation(lambda m, _: descriptor_cache(m, name).alloc(), _once, f'm.caches["{name}"].alloc()'),
        f"give back a {short}": Operation(
            lambda m, a: descriptor_cache(m, name).free(a), _held(name), f'm.caches["{name}"].free({{:#x}})', frees=True
        ),
    }


_FOREIGN: Final = 0xFFFF_C900_0000_0000 | MemType.FOLIO  # a descriptor that lies in no memory of the machine

OPERATIONS: Final[dict[str, Operation]] = {
    "alloc_pages": Operation(lambda m, order: m.alloc_pages(order), _orders, "m.alloc_pages({})"),
    "free_pages": Operation(lambda m, pfn: m.free_pages(pfn), _blocks, "m.free_pages({})", frees=True),
    "split_page": Operation(lambda m, pfn: m.split_page(pfn), _larger_blocks, "m.split_page({})"),
    **_cache("kmem_cache_slab", "struct slab"),
    **_cache("kmem_cache_buddy", "struct buddy"),
    "shrink": Operation(lambda m, _: m.shrink(), _once, "m.shrink()", frees=True),
    "get_free_page": Operation(lambda m, _: m.get_free_page(), _once, "m.get_free_page()"),
    "kmalloc": Operation(lambda m, _: m.kmalloc(64), _once, "m.kmalloc(64)"),
    "kfree": Operation(lambda m, a: m.kfree(a), _held("kmalloc-64"), "m.kfree({:#x})", frees=True),
    "folio_alloc": Operation(lambda m, order: m.folio_alloc(order), _orders, "m.folio_alloc({})"),
    "folio_put": Operation(lambda m, a: m.folio_put(a), _folios, "m.folio_put({:#x})", frees=True),
    "anonmem_alloc": Operation(lambda m, order: m.anonmem_alloc(order), _orders, "m.anonmem_alloc({})", only_depth=True),
    "filemem_alloc": Operation(lambda m, order: m.filemem_alloc(order), _orders, "m.filemem_alloc({})", only_depth=True),
    "pgtable_alloc": Operation(lambda m, _: m.pgtable_alloc(), _once, "m.pgtable_alloc()", only_depth=True),
    "vmalloc": Operation(lambda m, _: m.vmalloc(2 * m.page_size), _once, "m.vmalloc(2 * m.page_size)", only_depth=True),
    "alloc_pages_desc": Operation(
        lambda m, order: m.alloc_pages_desc(order, _FOREIGN), _orders, f"m.alloc_pages_desc({{}}, {_FOREIGN:#x})", only_depth=True
    ),
    "alloc_pages_bulk": Operation(lambda m, _: m.alloc_pages_bulk(3), _once, "m.alloc_pages_bulk(3)", only_depth=True),
    "kmem_cache_alloc_bulk": Operation(
        lambda m, _: view_for(m, m.KC_BUDDY).alloc_bulk(6), _once, 'm.caches["kmem_cache_buddy"].alloc_bulk(6)', only_depth=True
    ),
}
# what a search tries unless it is told otherwise, and what it can try besides
PAGES: Final = ("alloc_pages", "free_pages", "split_page")
DESCRIPTORS: Final = ("take a struct slab", "give back a struct slab", "take a struct buddy", "give back a struct buddy")
DEFAULT: Final = (*PAGES, *DESCRIPTORS, "shrink")
EVERYTHING: Final = tuple(OPERATIONS)
_CACHES: Final = {"kmalloc": "kmalloc-64", "folio_alloc": "folio"}


class HandlerKind(NamedTuple):
    """Something that an interrupt may do.  ``run(m, busy)``; ``busy``: a block that it must leave alone, or -1.

    ``of_use(m, busy, slabs, buddys)``: whether it would do anything now that no other kind does, with so many free struct slabs and buddys
    on hand (2 stands for more as well).
    """

    run: Callable[[Machine, int], object]
    of_use: Callable[[Machine, int, int, int], bool]


def _first_block(m: Machine, busy: int) -> int | None:
    """Return the first allocated block that the interrupted operation does not work on."""
    words = m.w[m.MM : m.MM + m.nr_pages].tolist()
    other = words[busy] if busy >= 0 else 0
    return next((pfn for pfn, word in enumerate(words) if word & 15 == MemType.BUDDY and word != other), None)


def _free_a_block(m: Machine, busy: int) -> None:
    pfn = _first_block(m, busy)
    if pfn is not None:
        m.free_pages(pfn)


def _eat_both(m: Machine, _busy: int) -> None:
    EatSlabs(m)()
    EatBuddies(m)()


def on_hand(m: Machine, c: int) -> int:
    """Return how many objects of a cache of descriptors the running CPU can take before it must grow: 0, 1, or 2 for more (free_descriptors counts)."""
    percpu, link, _, _, node = m.shape_of[c]
    p = m.percpu + percpu
    n, obj = m.nr_partial_of[node], m.cpu_freelist_of[p]  # a partial slab has one at least
    if obj:
        n += 2 if m.w[(obj - link) >> 3] else 1
    if m.cpu_slab_of[p] and n < 2:
        n += free_objects(m, word(m.cpu_slab_of[p]))
    if n == 1 and m.nr_partial_of[node]:
        n = free_objects(m, list_first(m, node + PARTIAL) - LIST)
    return min(n, 2)


HANDLERS: Final[dict[str, HandlerKind]] = {
    "eat all struct slabs": HandlerKind(lambda m, _: EatSlabs(m)(), lambda _m, _b, slabs, _: slabs > 0),
    "eat all struct buddys": HandlerKind(lambda m, _: EatBuddies(m)(), lambda _m, _b, _, buddys: buddys > 0),
    "eat all struct slabs and struct buddys": HandlerKind(_eat_both, lambda _m, _b, slabs, buddys: slabs > 0 < buddys),
    "eat a struct slab": HandlerKind(lambda m, _: EatSlabs(m, 1)(), lambda _m, _b, slabs, _: slabs > 1),
    "eat a struct buddy": HandlerKind(lambda m, _: EatBuddies(m, 1)(), lambda _m, _b, _, buddys: buddys > 1),
    "take a page": HandlerKind(lambda m, _: m.alloc_pages(0, GFP.ATOMIC), lambda m, _b, _s, _: m.free_pages_count > 0),
    "free a block": HandlerKind(_free_a_block, lambda m, busy, _s, _: _first_block(m, busy) is not None),
}


def survey_for(m: Machine, operations: Sequence[str]) -> Survey:
    """Return a Survey that knows the caches which these operations use."""
    return Survey(m, [cache for operation, cache in _CACHES.items() if operation in operations])
