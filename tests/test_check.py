"""check() finds what is wrong in RAM, says it by name, and says nothing about a machine that is in order.

For every rule there is at least one damage of a single 64-bit word that breaks it; a table ties the two together, and the table is checked to
cover all rules.  Seeded random damage shows that check() ends on any image, with a Corruption or with nothing.
"""

import random
import re
from functools import partial
from itertools import pairwise

import pytest
from machines import cpu_of, node_of, slab_of, tiny, word

from memlab import GFP, SLAB, Corruption, Machine, MemType
from memlab.check import RULES, check
from memlab.memdesc import tag
from memlab.structs import HELD, buddy, folio, kmem_cache_node, per_cpu_pages, vmalloc

TINY = {"memory": "64K", "page_size": 256, "max_order": 4}  # as machines.tiny
SHAPES = {
    "least": {"memory": "4K", "page_size": 256, "max_order": 4},
    "tiny": TINY,
    "tiny bounded": TINY | {"design": "bounded"},
    "small pages": {"memory": "256K", "page_size": 512, "max_order": 9, "cpus": 2},
    "default pages": {"memory": "2M"},
    "linux watermarks": {"memory": "8M", "watermarks": "linux"},
    "all zones": {"memory": "8M", "nodes": 2, "cpus": 3, "dma": "512K", "dma32": "1M", "highmem": "1M"},
    "four nodes": {"memory": "1M", "page_size": 1024, "nodes": 4, "cpus": 4, "design": "bounded"},
    "per-CPU lists": TINY | {"pcp": True, "cpus": 2},
    "per-CPU lists bounded": {"memory": "4M", "pcp": True, "cpus": 2, "highmem": "1M", "design": "bounded"},
    "big pages": {"memory": "4M", "page_size": "16K"},
}


def poke(m, address, value):
    m.write(address, value.to_bytes(8, "little"))


def table(m, name):
    """Return the address of the first struct of a table in the kernel area."""
    return next(m.B + 8 * start for title, start, _, _ in m.kernel_tables if title == name)


def buddy_of(m, pfn):
    """Return the view of the struct buddy of page `pfn`, free or allocated, whatever describes its block."""
    kind, address = m.mem_desc(pfn)
    if kind in (MemType.FREE, MemType.BUDDY):
        return m.buddy(address)
    return m.buddy(m.slab(address).buddy)  # every descriptor in front of a block names its buddy at the same place


def free_pfns(m, order):
    """Return the pfns of the first pages of all free blocks of an order, in order of pfn."""
    return [
        p
        for p in range(m.nr_pages)
        if m.mem_desc(p).type is MemType.FREE and buddy_of(m, p).order == order and buddy_of(m, p).page == m.pfn_to_page(p)
    ]


def setting(view, field, value, part=0):
    """Return the one-word write that sets a field (or the `part`-th word of a longer one) of a struct: machine, address, word."""
    declared = getattr(type(view), field)
    m, at = view.memory, view.address + declared.offset + 8 * part
    width = min(declared.width, 8)
    first = at & ~7
    raw = bytearray(m.read(first, 8))
    raw[at - first : at - first + width] = value.to_bytes(width, "little")
    return m, first, int.from_bytes(raw, "little")


NEXT, PREV = 0, 1  # parts of a list_head

DAMAGE = []  # (rule, function that returns a one-word write)


def damage(rule):
    """Add the damage that a function does."""

    def add(function):
        DAMAGE.append(pytest.param(rule, function, id=f"{rule}: {function.__name__.replace('_', ' ')}"))
        return function

    return add


def damages(make, rows):
    """Add damages to what ``make`` makes: {"rule: what is wrong": function of that}."""
    for name, write in rows.items():
        DAMAGE.append(pytest.param(name.split(":")[0], lambda write=write: write(*made(make)), id=name))


def made(make):
    found = make()
    return found if isinstance(found, tuple) else (found,)


# -- zones


@damage("zone-watermarks")
def a_zone_keeps_less_in_reserve():
    m = Machine("8M", dma="2M")
    assert m.zone(0, "DMA").lowmem_reserve[2] > 0
    return setting(m.zone(0, "DMA"), "lowmem_reserve", 0, part=2)


damages(
    tiny,
    {
        "zone-shape: a zone starts a page later": lambda m: setting(m.zone(), "start_pfn", m.zone().start_pfn + 1),
        "zone-shape: a zone has another name": lambda m: setting(m.zone(), "name", int.from_bytes(b"Abnormal", "little")),
        "zone-managed: managed pages is off by one": lambda m: setting(m.zone(), "managed_pages", m.zone().managed_pages - 1),
        "zone-free-count: free pages is off by one": lambda m: setting(m.zone(), "free_pages", m.zone().free_pages + 1),
    },
)


damages(
    partial(tiny, watermarks=(4, 6, 8)),
    {
        "zone-watermarks: min is above low": lambda m: setting(m.zone(), "watermark", 7, part=0),
    },
)


# -- free lists


def free_buddy(m=None):
    """Return the first buddy on the list of free blocks of the highest order, which has two or more."""
    m = m or tiny()
    m.alloc_pages(0)
    assert m.buddyinfo()[0, "Normal"][m.max_order] > 1
    return m.buddy(m.zone().free_area[2 * m.max_order] - 8)


@damage("free-list-link")
def a_free_blocks_buddy_is_on_a_freelist_itself():
    m = tiny()
    m.alloc_pages(0)
    cpu = cpu_of(m.caches["kmem_cache_buddy"])
    free = [m.mem_desc(p).address for p in range(m.nr_pages) if m.mem_desc(p).type is MemType.FREE]
    return setting(cpu, "freelist", next(b for b in free if 0 <= b - m.slab(cpu.slab).virt < m.page_size))


@damage("free-block-merged")
def a_blocks_order_makes_it_its_neighbours_buddy():
    """Pages 8n and 8n + 1 are free as a block of order 1, page 8n + 2 as one of order 0, which then says order 1."""
    m = tiny()
    first = m.alloc_pages(2)
    assert m.split_page(first) == (first, first + 2)
    assert m.split_page(first + 2) == (first + 2, first + 3)
    m.free_pages(first)
    m.free_pages(first + 2)
    assert buddy_of(m, first).order == 1
    assert m.check() is None
    return setting(buddy_of(m, first + 2), "order", 1)


damages(
    free_buddy,
    {
        "free-list-link: a link leaves the descriptors": lambda b: setting(b, "list", b.memory.zone().address, NEXT),
        "free-list-link: a link points to nowhere": lambda b: setting(b, "list", 0, NEXT),
        "free-list-prev: prev does not undo next": lambda b: setting(b, "list", b.address + 8, PREV),
        "free-list-loop: a block follows itself": lambda b: setting(b, "list", b.address + 8, NEXT),
        "free-list-order: a free block says another order": lambda b: setting(b, "order", b.order - 1),
        "free-list-zone: a free block says another zone": lambda b: setting(b, "flags", b.flags ^ 1 << 4),
    },
)


damages(
    tiny,
    {
        "free-list-prev: the heads prev is not its last block": lambda m: setting(
            m.zone(), "free_area", m.zone().free_area[2 * m.max_order], 2 * m.max_order + PREV
        ),
    },
)


# -- per-CPU page lists


def per_cpu(cpu=1):
    """Return (machine, the per-CPU list of one CPU, the last page freed there); two pages are on it."""
    m = tiny(pcp=True, cpus=2)
    with m.on_cpu(cpu):
        pfns = m.alloc_pages_bulk(2)
        for pfn in pfns:
            m.free_pages(pfn)
    pages = per_cpu_pages(m, table(m, "per_cpu_pages") + cpu * len(m.zones) * per_cpu_pages.sizeof)
    assert pages.count >= 2
    return m, pages, pfns[-1]


damages(
    per_cpu,
    {
        "pcp-link: a per cpu list leads to the kernel area": lambda m, pages, pfn: setting(pages, "list", m.zone().address, NEXT),
        "pcp-link: prev on a per cpu list does not undo next": lambda m, pages, pfn: setting(
            b := buddy_of(m, pfn), "list", b.address + 8, PREV
        ),
        "pcp-count: a per cpu list counts a page too many": lambda m, pages, pfn: setting(pages, "count", pages.count + 1),
        "pcp-page: a per cpu page is not marked": lambda m, pages, pfn: setting(b := buddy_of(m, pfn), "flags", b.flags & ~2),
        "pcp-page: a per cpu page is of order 1": lambda m, pages, pfn: setting(buddy_of(m, pfn), "order", 1),
    },
)


# -- struct buddy and mem_desc


@damage("block-mem_desc")
def a_tail_page_of_a_free_block_names_another_buddy():
    m = tiny()
    a, b = free_pfns(m, m.max_order)[:2]
    return setting(m.page(a + 5), "mem_desc", m.page(b).mem_desc)


@damage("block-mem_desc")
def a_tail_page_of_a_folio_names_its_buddy_instead():
    m = tiny()
    f = folio(m, m.folio_alloc(2))
    pfn = m.page_to_pfn(m.buddy(f.buddy).page)
    return setting(m.page(pfn + 1), "mem_desc", tag(f.buddy, MemType.BUDDY))


@damage("page-desc")
def a_mem_desc_names_a_buddy_that_is_not_live():
    m = tiny()
    pfn = m.alloc_pages(0)
    spare = m.caches["kmem_cache_buddy"].alloc()
    m.caches["kmem_cache_buddy"].free(spare)
    return setting(m.page(pfn), "mem_desc", tag(spare, MemType.BUDDY))


@damage("page-reserved")
def page_0_has_a_descriptor():
    m = tiny(dma="4K")
    assert m.mem_map_pfn > 0
    return setting(m.page(0), "mem_desc", m.page(m.alloc_pages(0)).mem_desc)


@damage("page-two-owners")
def a_block_grows_over_its_neighbour():
    m = tiny()
    first = m.alloc_pages(1)
    assert m.split_page(first) == (first, first + 1)
    return setting(buddy_of(m, first), "order", 1)


@damage("buddy-leak")
def a_buddy_names_another_buddys_page():
    m = tiny()
    a, b = m.alloc_pages(0), m.alloc_pages(0)
    return setting(buddy_of(m, a), "page", m.pfn_to_page(b))


@damage("desc-in-free-page")
def a_page_of_folios_says_that_it_is_free():
    m = tiny()
    assert m.caches["folio"].struct.order == 1
    last = [m.folio_alloc(0) for _ in range(m.caches["folio"].struct.objects)][-1]
    tail = m.virt_to_pfn(last)
    assert slab_of(m, last).virt < m.page_address(tail)
    return setting(m.page(tail), "mem_desc", m.page(free_pfns(m, m.max_order)[0]).mem_desc)


damages(
    tiny,
    {
        "buddy-page: a buddys page is no struct page": lambda m: setting(buddy_of(m, m.alloc_pages(0)), "page", m.B),
        "buddy-page: a buddys page points between two struct pages": lambda m: setting(
            buddy_of(m, pfn := m.alloc_pages(0)), "page", m.pfn_to_page(pfn) + 4
        ),
        "buddy-order: a buddys order is above the highest": lambda m: setting(buddy_of(m, m.alloc_pages(0)), "order", m.max_order + 1),
        "buddy-order: a buddys order is beyond all reason": lambda m: setting(buddy_of(m, m.alloc_pages(0)), "order", 0xFFFF_FFFF),
        "buddy-order: the padding after a buddys order is not 0": lambda m: (
            m,
            buddy_of(m, m.alloc_pages(0)).address + buddy.order.offset,
            1 << 32,
        ),
        "buddy-alignment: a block of two pages starts at an odd page": lambda m: setting(
            buddy_of(m, pfn := m.alloc_pages(1)), "page", m.pfn_to_page(pfn + 1)
        ),
        "buddy-zone: an allocated block says another zone": lambda m: setting(
            b := buddy_of(m, m.alloc_pages(0)), "flags", b.flags ^ 1 << 4
        ),
        "buddy-leak: a page forgets its buddy": lambda m: setting(m.page(m.alloc_pages(0)), "mem_desc", 0),
        "block-mem_desc: a tail page of an allocated block says free": lambda m: setting(
            m.page((pfn := m.alloc_pages(2)) + 3), "mem_desc", tag(m.mem_desc(pfn).address, MemType.FREE)
        ),
        "page-type: a mem desc has a type that does not exist": lambda m: setting(
            m.page(pfn := m.alloc_pages(0)), "mem_desc", m.page(pfn).mem_desc | 15
        ),
        "page-desc: a mem desc names a slab outside ram": lambda m: setting(m.page(m.alloc_pages(0)), "mem_desc", tag(m.V, MemType.SLAB)),
        "page-desc: a mem desc gives a buddy the type of a folio": lambda m: setting(
            m.page(pfn := m.alloc_pages(0)), "mem_desc", tag(m.mem_desc(pfn).address, MemType.FOLIO)
        ),
        "page-reserved: a page of the mem map has a descriptor": lambda m: setting(
            m.page(m.mem_map_pfn + 1), "mem_desc", m.page(m.alloc_pages(0)).mem_desc
        ),
        "page-reserved: a page in use has none": lambda m: setting(m.page(m.alloc_pages(1)), "mem_desc", 0),
        "page-no-owner: a block shrinks to half": lambda m: setting(buddy_of(m, m.alloc_pages(1)), "order", 0),
        "desc-in-free-page: a page of buddies says that it is free": lambda m: setting(
            m.page(m.virt_to_pfn(free_buddy(m).address)), "mem_desc", m.page(free_pfns(m, m.max_order)[0]).mem_desc
        ),
    },
)


damages(
    partial(tiny, nodes=2),
    {
        "buddy-zone: an allocated block says another node": lambda m: setting(
            b := buddy_of(m, m.alloc_pages(0, node=1)), "flags", b.flags ^ 1 << 8
        ),
    },
)


# -- caches and slabs


def two_slabs(flags=0, cpus=2, **more):
    """Return (machine, cache, objects): a first slab that is full, a second that is a CPU's with one object in use."""
    m = tiny(cpus=cpus, **more)
    cache = m.kmem_cache_create("thing", 32, flags=flags)
    return m, cache, [cache.alloc() for _ in range(cache.struct.objects + 1)]


def partial_slabs(n=2):
    """Return (machine, cache, slab views): n partial slabs in the order of their node's list."""
    m = tiny()
    cache = m.kmem_cache_create("thing", 32)
    per = cache.struct.objects
    objects = [cache.alloc() for _ in range(per * n + 1)]
    for i in range(n):
        cache.free(objects[i * per])
    slabs = [slab_of(m, objects[i * per]) for i in range(n)]
    assert node_of(cache).nr_partial == n
    assert not any(s.frozen for s in slabs)
    return m, cache, slabs


@damage("cache-slot")
def an_unused_slot_has_a_slab_on_a_cpu():
    m = tiny()
    start, struct = next((start, struct) for name, start, struct, _ in m.kernel_tables if name == "kmem_cache_cpu")
    return m, m.B + 8 * start + 63 * struct.sizeof + 8, m.caches["folio"].address


@damage("cache-slot")
def an_unused_slot_counts_a_slab_on_a_node():
    m = tiny()
    start, struct = next((start, struct) for name, start, struct, _ in m.kernel_tables if name == "kmem_cache_node")
    return m, m.B + 8 * start + 63 * struct.sizeof, 1


@damage("slab-lowmem")
def a_slab_reaches_into_highmem():
    """The last block of lowmem is a slab, and says that it is of a higher order and has the objects to go with it."""
    m = tiny(highmem="4K")
    cache = m.kmem_cache_create("page", m.page_size)
    last = m.page_address(m.highmem_pfn - 1)
    while (obj := cache.alloc()) is not None and slab_of(m, obj).virt + (m.page_size << slab_of(m, obj).order) <= last:
        pass
    s = slab_of(m, obj)
    objects, order = (m.page_size << 4) // cache.size, 4
    m, at, value = setting(s, "objects", objects)
    return m, at, value & ~(0xFF << 32) | order << 32


damages(
    two_slabs,
    {
        "desc-in-free-page: a page of struct slabs says that it is free": lambda m, cache, objects: setting(
            m.page(m.virt_to_pfn(slab_of(m, objects[0]).address)), "mem_desc", m.page(free_pfns(m, m.max_order)[0]).mem_desc
        ),
        "cache-shape: a caches objects get larger": lambda m, cache, objects: setting(cache.struct, "size", cache.size + 8),
        "cache-shape: a caches size is 0": lambda m, cache, objects: setting(cache.struct, "size", 0),
        "cache-shape: a cache points to another caches nodes": lambda m, cache, objects: setting(
            cache.struct, "node", m.caches["folio"].struct.node
        ),
        "cache-nr_slabs: a node counts a slab too many": lambda m, cache, objects: setting(
            node_of(cache), "nr_slabs", node_of(cache).nr_slabs + 1
        ),
        "partial-missing: a full slab gets a free object": lambda m, cache, objects: setting(
            slab_of(m, objects[0]), "freelist", objects[0]
        ),
        "cpu-slab: a cpus slab is another caches": lambda m, cache, objects: setting(
            cpu_of(cache), "slab", slab_of(m, m.kmem_cache_create("other", 32).alloc()).address
        ),
        "cpu-slab: two cpus have one slab": lambda m, cache, objects: setting(cpu_of(cache, 1), "slab", cpu_of(cache, 0).slab),
        "cpu-freelist: a cpus freelist leaves its slab": lambda m, cache, objects: setting(cpu_of(cache), "freelist", objects[0]),
        "cpu-freelist: a cpu without a slab has a freelist": lambda m, cache, objects: setting(cpu_of(cache, 1), "freelist", objects[0]),
        "cpu-freelist: a free object on a cpus list points to itself": lambda m, cache, objects: (
            m,
            (obj := cpu_of(cache).freelist) + cache.struct.offset,
            obj,
        ),
        "cpu-freelist: a cpus and its slabs freelist share an object": lambda m, cache, objects: setting(
            slab_of(m, objects[-1]), "freelist", cpu_of(cache).freelist
        ),
        "slab-place: a struct slab in use is on a freelist": lambda m, cache, objects: setting(
            cpu_of(m.caches["kmem_cache_slab"]), "freelist", cpu_of(cache).slab
        ),
        "slab-cache: a slab names a cache that was never created": lambda m, cache, objects: setting(
            slab_of(m, objects[0]), "slab_cache", m.caches["kmem_cache_buddy"].address + 60 * type(m.caches["folio"].struct).sizeof
        ),
        "slab-cache: a cache with slabs is no longer live": lambda m, cache, objects: setting(cache.struct, "serial", 0),
        "slab-virt: a slabs virt is a page too high": lambda m, cache, objects: setting(
            s := slab_of(m, objects[0]), "virt", s.virt + m.page_size
        ),
        "slab-flags: a slab says another zone than its buddy": lambda m, cache, objects: setting(
            s := slab_of(m, objects[0]), "flags", s.flags ^ 1 << 4
        ),
        "slab-buddy: a slabs buddy is no struct buddy": lambda m, cache, objects: setting(
            slab_of(m, objects[0]), "buddy", m.zone().address
        ),
        "slab-buddy: a slabs buddy is another blocks": lambda m, cache, objects: setting(
            slab_of(m, objects[0]), "buddy", slab_of(m, objects[-1]).buddy
        ),
        "slab-order: a slabs order is none of its caches": lambda m, cache, objects: setting(slab_of(m, objects[0]), "order", 3),
        "slab-order: a slabs order is not its buddys": lambda m, cache, objects: setting(
            buddy_of(m, m.virt_to_pfn(objects[0])), "order", 2
        ),
        "slab-objects: a slab says that it has one object more": lambda m, cache, objects: setting(
            s := slab_of(m, objects[0]), "objects", s.objects + 1
        ),
        "slab-frozen: a cpus slab does not say so": lambda m, cache, objects: setting(m.slab(cpu_of(cache).slab), "frozen", 0),
        "slab-frozen: a cpu forgets its slab": lambda m, cache, objects: setting(cpu_of(cache), "slab", 0),
    },
)


damages(
    partial(two_slabs, SLAB.DEBUG),
    {
        "cache-shape: a debug caches right red zone ends before it begins": lambda m, cache, objects: setting(cache.struct, "inuse", 0),
    },
)


damages(
    tiny,
    {
        "cache-slot: a cache has a serial that was never given out": lambda m: setting(m.caches["folio"].struct, "serial", 1000),
        "slab-leak: a slabs page forgets it": lambda m: setting(m.page(m.virt_to_pfn(m.caches["kmem_cache_buddy"].alloc())), "mem_desc", 0),
    },
)


damages(
    partial_slabs,
    {
        "partial-link: a partial list leads to a full slab of another cache": lambda m, cache, slabs: setting(
            node_of(cache), "partial", slab_of(m, m.kmem_cache_create("other", 32).alloc()).address + 8, NEXT
        ),
        "partial-link: prev on a partial list does not undo next": lambda m, cache, slabs: setting(
            slabs[1], "list", slabs[1].address + 8, PREV
        ),
        "partial-count: nr partial is off by one": lambda m, cache, slabs: setting(node_of(cache), "nr_partial", 3),
        "partial-missing: a partial slab falls off its list": lambda m, cache, slabs: setting(
            slabs[0], "list", node_of(cache).address + kmem_cache_node.partial.offset, NEXT
        ),
        "partial-full: a partial slab loses its free objects": lambda m, cache, slabs: setting(slabs[0], "freelist", 0),
        "slab-freelist: a slabs freelist points into the middle of an object": lambda m, cache, slabs: setting(
            slabs[0], "freelist", slabs[0].freelist + 8
        ),
        "slab-freelist: a free object points out of its slab": lambda m, cache, slabs: (
            m,
            slabs[0].freelist + cache.struct.offset,
            slabs[1].freelist,
        ),
        "slab-freelist: a free object points to itself": lambda m, cache, slabs: (
            m,
            slabs[0].freelist + cache.struct.offset,
            slabs[0].freelist,
        ),
        "slab-inuse: inuse is off by one": lambda m, cache, slabs: setting(slabs[0], "inuse", slabs[0].inuse - 1),
        "slab-frozen: a partial slab says that it is a cpus": lambda m, cache, slabs: setting(slabs[0], "frozen", 1),
    },
)


damages(
    partial(partial_slabs, 3),
    {
        "partial-link: a partial list runs in a circle": lambda m, cache, slabs: setting(slabs[1], "list", slabs[0].address + 8, NEXT),
    },
)


damages(
    partial(two_slabs, highmem="4K"),
    {
        "cpu-slab: a cpus slab is in highmem": lambda m, cache, objects: setting(cpu_of(cache), "slab", m.B + (m.highmem_pfn << 8)),
    },
)


damages(
    partial(tiny, highmem="4K"),
    {
        "slab-lowmem: a page of highmem says that it is a slab": lambda m: setting(
            m.page(m.highmem_pfn), "mem_desc", tag(m.caches["kmem_cache_slab"].alloc(), MemType.SLAB)
        ),
    },
)


# -- debug caches


@damage("poison")
def a_free_object_is_written():
    m, cache, objects = two_slabs(SLAB.DEBUG)
    cache.free(objects[0])
    return m, objects[0] + 8, 0x6B6B_6B6B_6B6B_6B6A


damages(
    partial(two_slabs, SLAB.DEBUG),
    {
        "red-zone: a byte after a live object is written": lambda m, cache, objects: (m, objects[0] + cache.object_size, 0),
    },
)


damages(
    partial(two_slabs, SLAB.RED_ZONE),
    {
        "red-zone: a byte before a live object is written": lambda m, cache, objects: (m, objects[0] - 8, 0xCCCC_CCCC_CCCC_CC00),
    },
)


# -- users


def a_folio(order=0):
    m = tiny()
    return m, folio(m, m.folio_alloc(order))


damages(
    a_folio,
    {
        "user-leak: a folios page forgets it": lambda m, f: setting(
            m.page(m.page_to_pfn(m.buddy(f.buddy).page)), "mem_desc", tag(f.buddy, MemType.BUDDY)
        ),
        "user-buddy: a folios buddy is no struct buddy": lambda m, f: setting(f, "buddy", f.address),
        "user-buddy: a folios buddy is another folios": lambda m, f: setting(f, "buddy", folio(m, m.folio_alloc(0)).buddy),
        "user-refcount: a live folio has no references": lambda m, f: setting(f, "refcount", 0),
    },
)


damages(
    partial(a_folio, 1),
    {
        "user-buddy: a folio says another order than its buddy": lambda m, f: setting(f, "order", 2),
    },
)


damages(
    tiny,
    {
        "vmalloc-list: a vmalloc counts a page too many": lambda m: setting(vmalloc(m, m.vmalloc(3 * m.page_size)), "nr_pages", 4),
        "vmalloc-list: a vmallocs list leads to itself": lambda m: (m, (v := vmalloc(m, m.vmalloc(3 * m.page_size))).list[0], v.list[0]),
    },
)


# -- the table at work


@pytest.mark.parametrize(("rule", "function"), DAMAGE)
def test_one_damaged_word_breaks_the_rule(rule, function):
    m, address, value = function()
    before = word(m, address)
    assert m.check() is None
    assert value != before
    poke(m, address, value)
    with pytest.raises(Corruption) as caught:
        m.check()
    assert rule in caught.value.rules
    poke(m, address, before)
    assert m.check() is None


def test_every_rule_has_its_damage_and_its_sentence():
    assert {param.values[0] for param in DAMAGE} == set(RULES)
    assert len(RULES) >= 40
    assert len(set(RULES.values())) == len(RULES)
    assert all(len(sentence.split()) > 4 for sentence in RULES.values())


# -- machines in order


def use(m, seed, steps=150):
    """Do a random mix of everything on a machine; return functions that free what is still in use."""
    r, live = random.Random(seed), []
    caches = [m.kmem_cache_create(name, size, flags=flags) for name, size, flags in (("a", 24, 0), ("b", 100, 0), ("c", 40, SLAB.DEBUG))]
    makers = [
        (lambda: m.alloc_pages(r.randrange(m.max_order), r.choice([GFP.KERNEL, GFP.ATOMIC, GFP.KERNEL | GFP.HIGHMEM])), m.free_pages),
        (lambda: m.folio_alloc(r.randrange(2)), m.folio_put),
        (lambda: m.anonmem_alloc(0, GFP.KERNEL | GFP.HIGHMEM), m.anonmem_put),
        (lambda: m.filemem_alloc(1), m.filemem_put),
        (m.pgtable_alloc, m.pgtable_put),
        (lambda: m.vmalloc(r.randrange(1, 5 * m.page_size)), m.vfree),
        (lambda: m.kmalloc(r.randrange(1, 3 * m.page_size)), m.kfree),
        (m.get_free_page, m.free_page),
        (m.caches["kmem_cache_buddy"].alloc, m.caches["kmem_cache_buddy"].free),
        (m.caches["kmem_cache_slab"].alloc, m.caches["kmem_cache_slab"].free),
        *((cache.alloc, cache.free) for cache in caches),
        (lambda: caches[0].alloc_bulk(r.randrange(20)), caches[0].free_bulk),
    ]
    for step in range(steps):
        with m.on_cpu(r.randrange(m.config.cpus)):
            if live and r.random() < (0.35 if step < 2 * steps // 3 else 0.7):
                free, what = live.pop(r.randrange(len(live)))
                free(what)
            else:
                make, free = r.choice(makers)
                got = make()
                if got is not None:
                    live.append((free, got))
            if r.random() < 0.02:
                m.shrink()
    return live


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_fresh_machine_is_in_order(shape):
    assert Machine(**shape).check() is None


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_machine_in_use_is_in_order_and_so_it_is_with_everything_freed(shape):
    m = Machine(**shape)
    live = use(m, seed=7)
    assert m.check() is None
    for free, what in live:
        free(what)
    assert m.check() is None
    m.shrink()
    assert m.check() is None


def test_check_reads_and_does_not_write():
    m = tiny(cpus=2)
    use(m, seed=3)
    before, counters = m.snapshot(), m.stats
    m.check()
    poke(m, m.zone().address + 16, 99)
    damaged = m.snapshot()
    with pytest.raises(Corruption):
        m.check()
    assert m.snapshot() == damaged
    assert damaged != before
    assert m.stats == counters


def test_what_users_write_into_their_own_memory_is_no_damage():
    m, cache, objects = two_slabs()
    page = m.get_free_page()
    m.write(page, b"\xff" * m.page_size)
    m.write(objects[0], b"\xff" * cache.object_size)
    assert m.check() is None


def test_counters_may_say_anything():
    m = tiny()
    for i in range(len(m.stats)):
        poke(m, table(m, "vm_stat") + 8 * i, 2**64 - 1)
    assert m.check() is None


def test_descriptors_that_a_consumer_holds_are_no_leak_but_without_the_mark_they_are():
    m = tiny()
    held = {name: m.caches[name].alloc() for name in ("kmem_cache_buddy", "kmem_cache_slab")}
    assert m.check() is None
    assert all(word(m, address) == HELD for address in held.values())
    poke(m, held["kmem_cache_slab"], 0)
    with pytest.raises(Corruption, match=f"slab-leak: the struct slab {held['kmem_cache_slab']:#x}") as caught:
        m.check()
    assert caught.value.rules == ["slab-leak"]


# -- what a Corruption says


def test_a_corruption_names_rule_and_addresses_and_says_it_in_words():
    m = tiny()
    b = buddy_of(m, m.alloc_pages(1))
    poke(m, *setting(b, "order", 9)[1:])
    with pytest.raises(Corruption) as caught:
        m.check()
    found = next(broken for broken in caught.value.broken if broken.rule == "buddy-order")
    assert found.addresses == (b.address,)
    assert found.sentence == f"the buddy {b.address:#x} says order 9; the highest is 4"
    assert f"buddy-order: {found.sentence}" in str(caught.value).splitlines()


@pytest.mark.parametrize(("rule", "function"), DAMAGE)
def test_every_sentence_gives_an_address_in_hexadecimal(rule, function):
    m, address, value = function()
    poke(m, address, value)
    of_rule = [broken for broken in check(m) if broken.rule == rule]
    assert of_rule
    for broken in of_rule:
        assert broken.addresses
        assert all(isinstance(a, int) and 0 <= a < 1 << 64 for a in broken.addresses)
        assert re.search(r"0x[0-9a-f]+|\bpages? \d+|zone \w+|CPU \d+|on node \d+", broken.sentence)
        assert not re.search(r"\b\d{12,}\b", broken.sentence)  # no address in decimal


def test_rules_are_listed_once_however_often_they_are_broken():
    m = tiny()
    for pfn in free_pfns(m, m.max_order)[:3]:
        poke(m, *setting(m.page(pfn + 1), "mem_desc", 15)[1:])
    with pytest.raises(Corruption) as caught:
        m.check()
    assert [b.rule for b in caught.value.broken].count("page-type") == 3
    assert caught.value.rules == sorted(set(caught.value.rules))


def test_a_long_list_of_damage_is_cut_in_the_message_but_not_in_broken():
    m = tiny()
    for pfn in range(m.nr_pages):
        poke(m, m.pfn_to_page(pfn), 15)
    with pytest.raises(Corruption) as caught:
        m.check()
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == f"... and {len(caught.value.broken) - 20} more"


# -- it always ends


def damaged_images(seed, n):
    """Yield n machines with one to eight random words written: random values, pointers to anywhere, values from elsewhere, flipped bits."""
    r = random.Random(seed)
    machines = []
    for shape in ("tiny", "tiny bounded", "per-CPU lists", "all zones"):
        m = Machine(**SHAPES[shape] | ({"memory": "1M", "dma": "64K", "dma32": "64K", "highmem": "64K"} if shape == "all zones" else {}))
        use(m, seed)
        machines.append((m, m.snapshot()))
    for i in range(n):
        m, good = machines[i % len(machines)]
        m.restore(good)
        kernel = table(m, "zone"), table(m, "vm_stat")
        slabs = [p for p in range(m.nr_pages) if m.mem_desc(p).type is MemType.SLAB]
        for _ in range(r.randint(1, 8)):
            where = r.choice(["kernel", "mem_map", "slab"])
            if where == "kernel":
                at = r.randrange(*kernel, 8)
            elif where == "mem_map":
                at = m.pfn_to_page(r.randrange(m.nr_pages))
            else:
                at = m.page_address(r.choice(slabs)) + r.randrange(0, m.page_size, 8)
            value = r.choice(
                [
                    r.getrandbits(64),
                    r.choice([0, 1, 1 << 63, (1 << 64) - 1]),
                    m.B + 8 * r.randrange((kernel[1] - m.B) // 8),
                    m.B + r.randrange(m.nr_pages * m.page_size),
                    m.pfn_to_page(r.randrange(m.nr_pages)),
                    word(m, r.randrange(*kernel, 8)),
                    word(m, at) ^ 1 << r.randrange(64),
                ]
            )
            poke(m, at, value)
        yield m


@pytest.mark.parametrize("seed", range(4))
def test_check_ends_on_any_damaged_image_with_rules_of_its_own_or_with_nothing(seed):
    found = set()
    for m in damaged_images(seed, 80):
        broken = check(m)
        assert {b.rule for b in broken} <= set(RULES)
        if broken:
            with pytest.raises(Corruption):
                m.check()
        found.update(b.rule for b in broken)
    assert len(found) > 20  # the damage reached most of what there is


def test_check_ends_on_an_image_of_noise():
    r = random.Random(1)
    m = tiny()
    for fill in (b"\0", b"\xff", b"\1", None):
        for pfn in range(m.nr_pages):
            m.write(m.page_address(pfn), r.randbytes(m.page_size) if fill is None else fill * m.page_size)
        with pytest.raises(Corruption):
            m.check()


def test_check_ends_when_every_pointer_is_a_pointer_to_itself():
    m = tiny(pcp=True, cpus=2)
    use(m, seed=2)
    for start, end in ((m.B, m.B + m.nr_pages * m.page_size), (table(m, "zone"), table(m, "vm_stat"))):
        for at in range(start, end, 8):
            if m.B <= word(m, at) < table(m, "vm_stat"):
                poke(m, at, at)
    with pytest.raises(Corruption):
        m.check()


def test_check_ends_on_free_lists_tied_together():
    """Each list leads into the next one's blocks, and the last into the first's."""
    m = tiny()
    m.alloc_pages(0)
    heads = [m.zone().address + type(m.zone()).free_area.offset + 16 * order for order in range(m.max_order + 1)]
    firsts = [word(m, head) for head in heads]
    for head, first in pairwise(zip(heads, firsts[1:] + firsts[:1], strict=True)):
        poke(m, head[0], first[1])
    with pytest.raises(Corruption) as caught:
        m.check()
    assert any(rule.startswith("free-list") for rule in caught.value.rules)
