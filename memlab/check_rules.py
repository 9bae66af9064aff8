"""The rules that check() knows, by name, and what it says when they are broken.

Used by check.py and check_slabs.py, by tests (each rule has a corruption that breaks it) and by whoever catches a Corruption.
Imports nothing of memlab.
"""

from __future__ import annotations

from typing import Final, NamedTuple

RULES: Final = {
    "zone-shape": "a struct zone says its name, flags and span as the machine was booted",
    "zone-managed": "a zone's managed_pages is its span less what is reserved",
    "zone-watermarks": "a zone's watermarks and lowmem_reserve are those that it was booted with",
    "zone-free-count": "a zone's free_pages is the sum of its free blocks",
    "free-list-link": "each link of a free list points to the list member of a live struct buddy, or to the list's head",
    "free-list-prev": "prev undoes next on every free list",
    "free-list-loop": "a free list comes back to its head",
    "free-list-order": "a free block is on the list of its own order",
    "free-list-zone": "a free block is on a list of its own zone",
    "free-block-merged": "two free buddies of one order are never left unmerged",
    "pcp-link": "each link of a per-CPU page list points to a live struct buddy, both ways",
    "pcp-count": "a per-CPU page list holds as many pages as it says",
    "pcp-page": "a page on a per-CPU list is a single free page of that zone, marked PCP",
    "buddy-page": "a struct buddy's page is a struct page of this machine",
    "buddy-order": "a struct buddy's order is 0 to max_order",
    "buddy-alignment": "a block of order k starts at a multiple of 2^k",
    "buddy-zone": "a block lies in one zone, and its buddy's flags name it",
    "buddy-leak": "a live struct buddy describes a block: it is on a list, or its pages or their descriptor name it",
    "block-mem_desc": "the mem_desc words of all pages of a block agree with its descriptor",
    "page-type": "a mem_desc has one of the known types",
    "page-desc": "a mem_desc points to a live descriptor of its type",
    "page-reserved": "just the mem_map's pages, and page 0, have no descriptor",
    "page-two-owners": "no page belongs to two blocks",
    "page-no-owner": "every page belongs to a block",
    "desc-in-free-page": "no live descriptor lies in a free page",
    "cache-shape": "a kmem_cache's sizes, orders, node and cpu_slab fit each other",
    "cache-slot": "the entries of an unused slot of the table of caches are empty, and serial numbers only grow",
    "cache-nr_slabs": "a kmem_cache_node counts the cache's slabs of its node",
    "partial-link": "each link of a partial list points to a slab of that cache and node, both ways",
    "partial-count": "a partial list holds nr_partial slabs",
    "partial-missing": "a slab with free objects that is no CPU's is on its node's partial list",
    "partial-full": "a full slab, and a CPU's slab, is on no list",
    "cpu-slab": "a CPU's active slab is a frozen slab of that cache",
    "cpu-freelist": "a CPU's freelist runs through free objects of its slab and ends",
    "slab-leak": "a live struct slab describes a slab",
    "slab-place": "a struct slab is a live object of kmem_cache_slab",
    "slab-cache": "a slab belongs to a live cache",
    "slab-virt": "a slab's virt is the address of its first page",
    "slab-flags": "a slab's flags name the zone of its pages",
    "slab-buddy": "a slab's buddy is the live struct buddy of its pages",
    "slab-order": "a slab's order is its buddy's",
    "slab-objects": "a slab has as many objects as fit",
    "slab-freelist": "a slab's freelist runs through objects of the slab and ends",
    "slab-inuse": "a slab's inuse is its objects less those on its freelist",
    "slab-frozen": "a slab is frozen while it is a CPU's, and only then",
    "slab-lowmem": "slabs and descriptors lie in lowmem",
    "red-zone": "the red zones around a debug cache's objects are whole",
    "poison": "the poison in a debug cache's free objects is whole",
    "user-leak": "a live folio, anonmem, filemem, ptdesc or vmalloc describes pages",
    "user-buddy": "a user's buddy is the live struct buddy of its pages",
    "user-refcount": "a live user has a reference count above 0",
    "vmalloc-list": "a vmalloc's list links nr_pages buddies of single pages, both ways",
}


class Broken(NamedTuple):
    """A rule that is broken: its name, what is wrong in words, and the addresses concerned."""

    rule: str
    sentence: str
    addresses: tuple[int, ...]


class Corruption(Exception):
    """RAM is not in order.  ``broken``: every broken rule found; ``rules``: their names."""

    def __init__(self, broken: list[Broken]) -> None:
        self.broken = broken
        self.rules = sorted({b.rule for b in broken})
        lines = [f"{b.rule}: {b.sentence}" for b in broken[:20]]
        if len(broken) > 20:
            lines.append(f"... and {len(broken) - 20} more")
        super().__init__("\n".join(lines))
