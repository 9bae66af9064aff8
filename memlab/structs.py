"""Every struct of memlab, declared once: both eras of ``struct page``, the descriptors, zones, caches and counters.

Used by all of the core (for word offsets) and by people (as views, hexdump labels and pahole listings).
Imports layout and memdesc only.

Two conventions hold for every memory descriptor, so that code need not know which one it meets: ``flags`` is word 0 and ``list`` words 1
and 2; and where a descriptor stands in front of a block of pages, ``buddy`` is word 3 and names the block's struct buddy.

Sources: the email for page, buddy and slab; include/linux/mmzone.h, mm/slab.h, include/linux/mm_types.h for the rest.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from .layout import U8, U16, U32, U64, Chars, Flags, ListHead, ListHeads, Ptr, Struct, U64s

# The flags word of struct buddy and struct slab:
#
#     63            16 15        8 7    6 5       4 3      2       1     0
#     +---------------+-----------+------+---------+------+-------+-----+------+
#     | 0             | node      | 0    | zone    | 0    | STATIC| PCP | HELD |
#     +---------------+-----------+------+---------+------+-------+-----+------+
HELD: Final = 1 << 0  # somebody outside RAM holds this descriptor's address: it neither moves nor counts as leaked
PCP: Final = 1 << 1  # a free page on a per-CPU page list
UNUSED: Final = 1 << 2  # the static descriptor of boot, once merged away
ZONE_SHIFT: Final = 4
NODE_SHIFT: Final = 8


class page(Struct):
    """struct page as the email ends: one word."""

    mem_desc = Flags()


class buddy(Struct, size=48):
    """Describes a block of 2^order pages, free or allocated.  48 bytes, 40 of them used."""

    flags = Flags()
    list = ListHead()
    order = U32()
    page = Ptr("struct page")


class memdesc(Struct):
    """What every descriptor in front of a block of pages begins with."""

    flags = Flags()
    list = ListHead()
    buddy = Ptr("struct buddy")


class slab(memdesc):
    """Describes a slab: a block of pages cut into objects of one cache."""

    freelist = Ptr("void")
    inuse = U16()
    objects = U16()
    order = U8()
    frozen = U8()
    debug = U8()
    virt = Ptr("void")
    slab_cache = Ptr("struct kmem_cache")


class folio(memdesc):
    """Describes pages that a file or a process maps."""

    mapping = Ptr("struct address_space")
    index = U64()
    private = U64()
    refcount = U32()
    order = U32()


class anonmem(memdesc):
    """Describes anonymous memory of a process."""

    anon_vma = Ptr("struct anon_vma")
    index = U64()
    private = U64()
    refcount = U32()
    order = U32()


class filemem(folio):
    """Describes page cache: memory that holds a part of a file.  Its fields are a folio's."""


class ptdesc(memdesc):
    """Describes one page of page tables."""

    pt_mm = Ptr("struct mm_struct")
    pt_index = U64()
    ptl = U64()
    refcount = U32()
    order = U32()


class vmalloc(memdesc):
    """Describes single pages that are mapped side by side; their buddies hang on ``list``."""

    nbytes = U64()
    nr_pages = U64()
    private = U64()
    refcount = U32()
    order = U32()


class kmem_cache(Struct):
    """One slab cache.  A slot of the fixed table is live when ``serial`` is not 0."""

    name = Chars(32)
    flags = Flags()
    size = U64("unsigned int")
    object_size = U64("unsigned int")
    offset = U64("unsigned int")
    objects = U32()
    order = U32()
    min_objects = U32()
    min_order = U32()
    min_partial = U64()
    own = U64()
    cpu_slab = U64("unsigned long __percpu")
    node = Ptr("struct kmem_cache_node")
    serial = U64()
    inuse = U32()
    red_left_pad = U32()
    align = U32()
    ctor = U32()


class slab_caches(Struct):
    """What the table of caches has in common: the serial number of the cache that was created last."""

    serial = U64()


class kmem_cache_node(Struct):
    """A cache's partial slabs on one node."""

    nr_partial = U64()
    partial = ListHead()
    nr_slabs = U64("atomic_long_t")


class kmem_cache_cpu(Struct):
    """A cache's active slab on one CPU, and that CPU's own list of its free objects."""

    freelist = Ptr("void")
    slab = Ptr("struct slab")


class per_cpu_pages(Struct):
    """Free single pages that one CPU keeps at hand, of one zone."""

    count = U64("int")
    list = ListHead()


class vm_stat(Struct):
    """Counters since boot; they are left out when states are compared.  Counted in what the name says."""

    buddies_allocated = U64()
    buddies_freed = U64()
    buddies_moved = U64()
    slabs_allocated = U64()
    slabs_freed = U64()
    slabs_moved = U64()
    words_split = U64()
    words_merged = U64()
    words_typed = U64()
    words_moved = U64()
    splits = U64()
    merges = U64()
    pages_allocated_while_freeing = U64()


class old_page(Struct, name="page"):
    """struct page before: 64 bytes, whose users overlay their own fields on it."""

    flags = Flags()
    compound_head = U64()
    _pad = U64s(6)


class old_buddy(Struct, size=64, name="buddy"):
    """The middle stage: a free block's struct buddy is laid over its first struct page."""

    flags = Flags()
    list = ListHead()
    order = U32()


class old_slab(Struct, size=64, name="slab"):
    """struct slab laid over the first struct page of its block (as Linux 5.17 and later do)."""

    flags = Flags()
    slab_cache = Ptr("struct kmem_cache")
    list = ListHead()
    freelist = Ptr("void")
    inuse = U16()
    objects = U16()


class old_folio(Struct, size=64, name="folio"):
    """struct folio laid over the first struct page of its block."""

    flags = Flags()
    list = ListHead()
    mapping = Ptr("struct address_space")
    index = U64()
    private = U64()
    mapcount = U32()
    refcount = U32()


@cache
def zone(max_order: int) -> type[Struct]:
    """Return struct zone for blocks of order 0 to ``max_order``: the number of its free lists depends on the machine."""

    class zone(Struct):
        """The free blocks of one zone of one node."""

        name = Chars(16)
        flags = Flags()
        start_pfn = U64()
        end_pfn = U64()
        managed_pages = U64()
        free_pages = U64()
        watermark = U64s(3)
        lowmem_reserve = U64s(4)
        free_area = ListHeads(max_order + 1)

    return zone


PAGE_STRUCT_BYTES: Final = page.sizeof
NR_CACHES: Final = 64
