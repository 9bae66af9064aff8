"""The machines that chapter 06's predictions, exercises and notebook share.  Imports the core and study."""

from __future__ import annotations

from ...kmem_cache import KmemCache
from ...machine import Machine
from ...study.consumers import free_descriptors
from ...trace import Trace


def small_machine() -> Machine:
    """Boot the chapter's machine: 1 MiB."""
    return Machine("1M")


def live(m: Machine, name: str) -> int:
    """Return how many objects of a cache are in use."""
    return int(next(row["active_objs"] for row in m.slabinfo() if row["name"] == name))


def no_pairs() -> tuple[Machine, KmemCache]:
    """Return a machine on which no block of order 1 can be had any more, and a new cache whose slabs would like to have that order."""
    m = Machine("256K")
    cache = m.kmem_cache_create("wide", 700)
    assert cache is not None  # noqa: S101  # the table of a fresh machine has room
    while m.alloc_pages(1) is not None:
        pass
    return m, cache


def chain_machine(links: int) -> tuple[Machine, int]:
    """Return a machine and a page whose free empties a slab of descriptors, whose page's free empties another, and so on, ``links`` times.

    Each of these slabs holds one live descriptor: that of the page of the slab that was built after it.
    """
    m = Machine("2M", page_size=1024, watermarks=None)
    links += 1  # the slab that is the CPU's at the end is not in the chain
    buddies, slabs = m.caches["kmem_cache_buddy"], m.caches["kmem_cache_slab"]
    slabs.free_bulk(slabs.alloc_bulk(2 * links) or [])
    singles = [page for half in m.split_page(m.alloc_pages(2) or 0) or () for page in m.split_page(half) or ()]
    pairs = [m.alloc_pages(1) or 0 for _ in range(links + 1)]
    for _ in range(m.buddyinfo()[0, "Normal"][0]):
        m.alloc_pages(0)
    buddies.alloc_bulk(free_descriptors(m, buddies.name))
    m.free_pages(singles[0])
    fillers, uppers, low = list[int | None](), list[int](), 0
    for pair in pairs:
        fillers.append(buddies.alloc())  # the only free single page becomes a slab
        low, high = m.split_page(pair) or (0, 0)  # the descriptor of ``low`` is in that slab
        fillers += buddies.alloc_bulk(free_descriptors(m, buddies.name)) or []
        uppers.append(high)
        if pair != pairs[-1]:
            m.free_pages(low)
    m.free_pages(singles[2])
    buddies.alloc()  # another slab is the CPU's now
    for high in uppers:
        m.free_pages(high)
    for address in fillers:
        buddies.free(address or 0)
    return m, low


def growing_slabs(m: Machine) -> Trace:
    """Use up the struct slabs of a machine, then have a new cache build its first slab; return the trace of that."""
    slabs, cache = m.caches["kmem_cache_slab"], m.kmem_cache_create("dentry", 192)
    slabs.alloc_bulk(free_descriptors(m, slabs.name))
    with m.trace() as trace:
        if cache is not None:
            cache.alloc()
    return trace
