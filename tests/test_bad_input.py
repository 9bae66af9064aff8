"""What bad input gets: for every misuse the right exception with a sentence, and RAM exactly as it was, by comparing snapshots.

KernelBug for breaking a rule of the allocator (double free, somebody else's page), ValueError and TypeError for what is no sensible argument.
"""

import pytest

from memlab import GFP, SLAB, KernelBug, Machine, MemType
from memlab.memdesc import tag

BASE = 0xFFFF_8880_0000_0000


class World:
    """A machine with one of everything, live and freed, by name."""

    def __init__(self, design):
        self.m = m = Machine("1M", page_size=1024, max_order=8, nodes=2, cpus=2, dma="64K", highmem="128K", design=design)
        self.page, self.block = m.alloc_pages(0), m.alloc_pages(3)
        self.highmem = m.alloc_pages(1, GFP.KERNEL | GFP.HIGHMEM, 1)
        self.address = m.get_free_page()
        self.freed = m.alloc_pages(0)
        self.freed_address = m.get_free_page()
        self.cache, self.other = m.kmem_cache_create("cache", 40), m.kmem_cache_create("other", 40)
        self.debug = m.kmem_cache_create("debug", 40, flags=SLAB.DEBUG)
        self.gone = m.kmem_cache_create("gone", 40)
        self.obj, self.obj2, self.other_obj = self.cache.alloc(), self.cache.alloc(), self.other.alloc()
        self.freed_obj = self.cache.alloc()
        self.debug_objs = self.debug.alloc_bulk(3)
        self.kmalloced, self.kmalloced_pages, self.kfreed = m.kmalloc(100), m.kmalloc(8000), m.kmalloc(100)
        self.folio = m.folio_alloc(1)
        self.desc = m.alloc_pages_desc(1, tag(0xFFFF_C900_0000_0000, MemType.FOLIO))
        self.descriptor = m.caches["kmem_cache_buddy"].alloc()
        self.folio_page = next(pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn).address == self.folio)
        self.slab_page = m.virt_to_pfn(self.obj)
        m.free_pages(self.freed)
        m.free_page(self.freed_address)
        self.cache.free(self.freed_obj)
        self.debug.free(self.debug_objs[0])
        self.debug.free(self.debug_objs[1])
        m.kfree(self.kfreed)
        self.gone.destroy()
        self.free_page = next(pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn).type is MemType.FREE)
        m.check()


@pytest.fixture(params=["as-written", "bounded"])
def world(request):
    return World(request.param)


def refuses(world, misuse, error, sentence):
    before = world.m.snapshot()
    with pytest.raises(error, match=sentence) as caught:
        misuse(world)
    assert caught.type is error
    assert world.m.snapshot() == before
    world.m.check()


def cases(**groups):
    """pytest parameters from {name: (misuse, error, sentence)}."""
    return pytest.mark.parametrize(("misuse", "error", "sentence"), [pytest.param(*case, id=name) for name, case in groups.items()])


@cases(
    double_free=(lambda x: x.m.free_pages(x.freed), KernelBug, "is free already"),
    never_allocated=(lambda x: x.m.free_pages(x.free_page), KernelBug, "is free already"),
    tail=(lambda x: x.m.free_pages(x.block + 1), KernelBug, "tail page of the block of order 3"),
    last_tail=(lambda x: x.m.free_pages(x.block + 7), KernelBug, "tail page of the block of order 3"),
    highmem_tail=(lambda x: x.m.free_pages(x.highmem + 1), KernelBug, "tail page of the block of order 1"),
    slabs=(lambda x: x.m.free_pages(x.slab_page), KernelBug, "belongs to the slab"),
    folios=(lambda x: x.m.free_pages(x.folio_page), KernelBug, "belongs to the folio"),
    reserved=(lambda x: x.m.free_pages(0), KernelBug, "page 0 is reserved"),
    mem_map=(lambda x: x.m.free_pages(x.m.mem_map_pfn), KernelBug, "is reserved"),
    beyond=(lambda x: x.m.free_pages(x.m.nr_pages), KernelBug, "there is no page 1024"),
    negative=(lambda x: x.m.free_pages(-1), KernelBug, "there is no page -1"),
    huge=(lambda x: x.m.free_pages(1 << 70), KernelBug, "there is no page"),
    an_address=(lambda x: x.m.free_pages(x.address), KernelBug, "there is no page"),
    none=(lambda x: x.m.free_pages(None), TypeError, "a pfn is a whole number, not None"),
    text=(lambda x: x.m.free_pages("7"), TypeError, "a pfn is a whole number, not '7'"),
    fraction=(lambda x: x.m.free_pages(1.0), TypeError, "a pfn is a whole number, not 1.0"),
    a_list=(lambda x: x.m.free_pages([x.page]), TypeError, "a pfn is a whole number"),
)
def test_free_pages_of(world, misuse, error, sentence):
    refuses(world, misuse, error, sentence)


@cases(
    double_free=(lambda x: x.m.free_page(x.freed_address), KernelBug, "is free already"),
    misaligned=(lambda x: x.m.free_page(x.address + 8), KernelBug, "is not the address of a page"),
    a_block=(lambda x: x.m.free_page(x.m.page_address(x.block)), KernelBug, "more than one page"),
    a_tail=(lambda x: x.m.free_page(x.m.page_address(x.block + 2)), KernelBug, "more than one page|tail page"),
    a_slab=(lambda x: x.m.free_page(x.m.page_address(x.slab_page)), KernelBug, "belongs to the slab"),
    null=(lambda x: x.m.free_page(0), KernelBug, "no virtual address"),
    highmem=(lambda x: x.m.free_page(BASE + x.highmem * x.m.page_size), KernelBug, "no virtual address"),
    beyond=(lambda x: x.m.free_page(BASE + (1 << 40)), KernelBug, "no virtual address"),
    below=(lambda x: x.m.free_page(BASE - x.m.page_size), KernelBug, "no virtual address"),
    a_pfn=(lambda x: x.m.free_page(x.page), KernelBug, "not the address of a page|no virtual address"),
    none=(lambda x: x.m.free_page(None), TypeError, "an address is a whole number"),
    text=(lambda x: x.m.free_page("0xffff888000001000"), TypeError, "an address is a whole number"),
)
def test_free_page_of(world, misuse, error, sentence):
    refuses(world, misuse, error, sentence)


@cases(
    a_single_page=(lambda x: x.m.split_page(x.page), KernelBug, "order 0"),
    a_free_page=(lambda x: x.m.split_page(x.freed), KernelBug, "free already"),
    a_tail=(lambda x: x.m.split_page(x.block + 4), KernelBug, "tail page"),
    a_slab=(lambda x: x.m.split_page(x.slab_page), KernelBug, "belongs to the slab"),
    a_folio=(lambda x: x.m.split_page(x.folio_page), KernelBug, "belongs to the folio"),
    beyond=(lambda x: x.m.split_page(x.m.nr_pages), KernelBug, "there is no page"),
    negative=(lambda x: x.m.split_page(-8), KernelBug, "there is no page"),
    text=(lambda x: x.m.split_page("8"), TypeError, "a pfn is a whole number"),
    none=(lambda x: x.m.split_page(None), TypeError, "a pfn is a whole number"),
)
def test_split_page_of(world, misuse, error, sentence):
    refuses(world, misuse, error, sentence)


@cases(
    below=(lambda x: x.m.alloc_pages(-1), ValueError, "order is 0 to 8 on this machine, not -1"),
    above=(lambda x: x.m.alloc_pages(9), ValueError, "order is 0 to 8 on this machine, not 9"),
    far_above=(lambda x: x.m.alloc_pages(1 << 80), ValueError, "order is 0 to 8"),
    above_atomic=(lambda x: x.m.alloc_pages(9, GFP.ATOMIC), ValueError, "order is 0 to 8"),
    text=(lambda x: x.m.alloc_pages("0"), TypeError, "order is a whole number"),
    none=(lambda x: x.m.alloc_pages(None), TypeError, "order is a whole number"),
    fraction=(lambda x: x.m.alloc_pages(0.5), TypeError, "order is a whole number"),
    a_whole_fraction=(lambda x: x.m.alloc_pages(1.0), TypeError, "order is a whole number"),
    a_list=(lambda x: x.m.alloc_pages([0]), TypeError, "order is a whole number"),
    unknown_gfp=(lambda x: x.m.alloc_pages(0, 1 << 9), ValueError, "no GFP flag: 0x200"),
    negative_gfp=(lambda x: x.m.alloc_pages(0, -1), ValueError, "no GFP flag"),
    two_zones=(lambda x: x.m.alloc_pages(0, GFP.DMA | GFP.HIGHMEM), ValueError, "more than one zone"),
    text_gfp=(lambda x: x.m.alloc_pages(0, "GFP_KERNEL"), TypeError, "gfp is a whole number"),
    no_gfp=(lambda x: x.m.alloc_pages(0, None), TypeError, "gfp is a whole number"),
    node_beyond=(lambda x: x.m.alloc_pages(0, GFP.KERNEL, 2), ValueError, "node is None or 0 to 1"),
    negative_node=(lambda x: x.m.alloc_pages(0, GFP.KERNEL, -1), ValueError, "node is None or 0 to 1"),
    text_node=(lambda x: x.m.alloc_pages(0, GFP.KERNEL, "0"), ValueError, "node is None or 0 to 1"),
    folio_above=(lambda x: x.m.folio_alloc(9), ValueError, "order is 0 to 8"),
    folio_below=(lambda x: x.m.anonmem_alloc(-1), ValueError, "order is 0 to 8"),
    folio_gfp=(lambda x: x.m.filemem_alloc(0, 1 << 30), ValueError, "no GFP flag"),
    pgtable_gfp=(lambda x: x.m.pgtable_alloc("x"), TypeError, "gfp is a whole number"),
    get_free_page_gfp=(lambda x: x.m.get_free_page(1 << 30), ValueError, "no GFP flag"),
    bulk_below=(lambda x: x.m.alloc_pages_bulk(-1), ValueError, "0 or more, not -1"),
    bulk_text=(lambda x: x.m.alloc_pages_bulk("3"), TypeError, "whole number"),
    bulk_gfp=(lambda x: x.m.alloc_pages_bulk(3, 1 << 30), ValueError, "no GFP flag"),
)
def test_a_request_for_pages(world, misuse, error, sentence):
    refuses(world, misuse, error, sentence)


@cases(
    first_page=(lambda x: x.m.free_pages_desc(BASE), KernelBug, "not a struct buddy"),
    tail_of_it=(lambda x: x.m.free_pages_desc(x.desc + 16), KernelBug, "not a struct buddy"),
    misaligned=(lambda x: x.m.free_pages_desc(x.desc + 1), KernelBug, "not a struct buddy"),
    an_ordinary_buddy=(lambda x: x.m.free_pages_desc(x.m.mem_desc(x.block).address), KernelBug, "not a struct buddy"),
    a_free_blocks_buddy=(lambda x: x.m.free_pages_desc(x.m.mem_desc(x.free_page).address), KernelBug, "not a struct buddy"),
    a_slabs_buddy=(lambda x: x.m.free_pages_desc(x.m.slab(x.m.mem_desc(x.slab_page).address).buddy), KernelBug, "not a struct buddy"),
    a_consumed_buddy=(lambda x: x.m.free_pages_desc(x.descriptor), KernelBug, "not a struct buddy"),
    an_object=(lambda x: x.m.free_pages_desc(x.kmalloced), KernelBug, "not a struct buddy"),
    none=(lambda x: x.m.free_pages_desc(None), TypeError, "whole number"),
    no_type=(lambda x: x.m.alloc_pages_desc(0, BASE), ValueError, "both an address and a type"),
    unknown_type=(lambda x: x.m.alloc_pages_desc(0, BASE | 15), ValueError, "no mem_desc"),
    no_address=(lambda x: x.m.alloc_pages_desc(0, 4), ValueError, "both an address and a type"),
    nothing=(lambda x: x.m.alloc_pages_desc(0, 0), ValueError, "from SLAB on"),
    free_type=(lambda x: x.m.alloc_pages_desc(0, BASE | 1), ValueError, "from SLAB on"),
    text=(lambda x: x.m.alloc_pages_desc(0, "folio"), TypeError, "whole number"),
    too_wide=(lambda x: x.m.alloc_pages_desc(0, 1 << 64 | 4), ValueError, "aligned to 16"),
    negative=(lambda x: x.m.alloc_pages_desc(0, -12), ValueError, "aligned|mem_desc"),
    order=(lambda x: x.m.alloc_pages_desc(9, BASE | 4), ValueError, "order is 0 to 8"),
    node=(lambda x: x.m.alloc_pages_node_desc(2, 0, BASE | 4), ValueError, "node is None or 0 to 1"),
)
def test_pages_for_a_descriptor(world, misuse, error, sentence):
    refuses(world, misuse, error, sentence)


@cases(
    double_free=(lambda x: x.cache.free(x.freed_obj), KernelBug, "double free"),
    debug_double_free=(lambda x: x.debug.free(x.debug_objs[1]), KernelBug, "double free"),
    debug_double_free_below_the_head=(lambda x: x.debug.free(x.debug_objs[0]), KernelBug, "double free"),
    wrong_cache=(lambda x: x.other.free(x.obj), KernelBug, "is an object of the cache cache, not of other"),
    wrong_cache_freed=(lambda x: x.other.free(x.freed_obj), KernelBug, "is an object of the cache cache, not of other"),
    wrong_cache_debug=(lambda x: x.debug.free(x.obj), KernelBug, "is an object of the cache cache, not of debug"),
    debugs_object=(lambda x: x.cache.free(x.debug_objs[2]), KernelBug, "is an object of the cache debug, not of cache"),
    inside=(lambda x: x.cache.free(x.obj + 8), KernelBug, "8 bytes into an object of cache"),
    misaligned=(lambda x: x.cache.free(x.obj + 1), KernelBug, "1 bytes into an object of cache"),
    a_page=(lambda x: x.cache.free(x.address), KernelBug, "no slab's"),
    null=(lambda x: x.cache.free(0), KernelBug, "no virtual address"),
    highmem=(lambda x: x.cache.free(BASE + x.highmem * x.m.page_size), KernelBug, "no virtual address"),
    beyond=(lambda x: x.cache.free(BASE + (1 << 50)), KernelBug, "no virtual address"),
    none=(lambda x: x.cache.free(None), TypeError, "whole number"),
    text=(lambda x: x.cache.free("obj"), TypeError, "whole number"),
    bulk_foreign=(lambda x: x.cache.free_bulk([x.obj, x.other_obj]), KernelBug, "is an object of the cache other"),
    bulk_twice=(lambda x: x.cache.free_bulk([x.obj, x.obj2, x.obj]), KernelBug, "more than once"),
    bulk_none=(lambda x: x.cache.free_bulk([x.obj, None]), TypeError, "whole number"),
    bulk_freed=(lambda x: x.cache.free_bulk([x.obj, x.freed_obj]), KernelBug, "double free"),
    destroyed_alloc=(lambda x: x.gone.alloc(), KernelBug, "was destroyed"),
    destroyed_bulk=(lambda x: x.gone.alloc_bulk(3), KernelBug, "was destroyed"),
    destroyed_free=(lambda x: x.gone.free(x.obj), KernelBug, "was destroyed"),
    destroyed_shrink=(lambda x: x.gone.shrink(), KernelBug, "was destroyed"),
    destroyed_destroy=(lambda x: x.gone.destroy(), KernelBug, "was destroyed"),
    destroy_live=(lambda x: x.cache.destroy(), KernelBug, "2 live objects"),
    destroy_builtin=(lambda x: x.m.caches["kmem_cache_buddy"].destroy(), KernelBug, "machine's own caches"),
    live_buddy=(lambda x: x.m.caches["kmem_cache_buddy"].free(x.m.mem_desc(x.page).address), KernelBug, "not allocated through|no object"),
    live_slab=(lambda x: x.m.caches["kmem_cache_slab"].free(x.m.mem_desc(x.slab_page).address), KernelBug, "not allocated through"),
    bulk_below=(lambda x: x.cache.alloc_bulk(-1), ValueError, "0 or more"),
    bulk_text=(lambda x: x.cache.alloc_bulk("2"), TypeError, "whole number"),
    zone_for_objects=(lambda x: x.cache.alloc(GFP.KERNEL | GFP.HIGHMEM), ValueError, "objects live in lowmem"),
    unknown_gfp=(lambda x: x.cache.alloc(1 << 25), ValueError, "no GFP flag"),
    text_gfp=(lambda x: x.cache.alloc("x"), TypeError, "gfp is a whole number"),
)
def test_objects_of_a_cache(world, misuse, error, sentence):
    refuses(world, misuse, error, sentence)


@cases(
    name_taken=(lambda x: x.m.kmem_cache_create("cache", 40), ValueError, "a cache named 'cache' already"),
    no_name=(lambda x: x.m.kmem_cache_create("", 40), ValueError, "text of 1 to 31 bytes"),
    long_name=(lambda x: x.m.kmem_cache_create("x" * 32, 40), ValueError, "text of 1 to 31 bytes"),
    a_number_as_name=(lambda x: x.m.kmem_cache_create(7, 40), ValueError, "text of 1 to 31 bytes"),
    too_small=(lambda x: x.m.kmem_cache_create("new", 7), ValueError, "8 to 262144 bytes"),
    too_large=(lambda x: x.m.kmem_cache_create("new", (1024 << 8) + 1), ValueError, "8 to 262144 bytes"),
    too_large_with_red_zones=(
        lambda x: x.m.kmem_cache_create("new", 1024 << 8, flags=SLAB.DEBUG),
        ValueError,
        "more than the largest block",
    ),
    text_size=(lambda x: x.m.kmem_cache_create("new", "40"), ValueError, "the size of an object"),
    align=(lambda x: x.m.kmem_cache_create("new", 40, align=24), ValueError, "power of two"),
    negative_align=(lambda x: x.m.kmem_cache_create("new", 40, align=-8), ValueError, "power of two"),
    flags=(lambda x: x.m.kmem_cache_create("new", 40, flags=1), ValueError, "flags is made of"),
    ctor=(lambda x: x.m.kmem_cache_create("new", 40, ctor=3), TypeError, "ctor is a function"),
)
def test_a_new_cache(world, misuse, error, sentence):
    refuses(world, misuse, error, sentence)
    assert "new" not in world.m.caches


@cases(
    double_free=(lambda x: x.m.kfree(x.kfreed), KernelBug, "double free"),
    anothers_object=(lambda x: x.m.kfree(x.obj), KernelBug, "an object of the cache cache"),
    a_struct_buddy=(lambda x: x.m.kfree(x.descriptor), KernelBug, "an object of the cache kmem_cache_buddy"),
    inside=(lambda x: x.m.kfree(x.kmalloced + 4), KernelBug, "4 bytes into an object"),
    inside_pages=(lambda x: x.m.kfree(x.kmalloced_pages + 8), KernelBug, "was not returned by kmalloc"),
    a_single_page=(lambda x: x.m.kfree(x.address), KernelBug, "was not returned by kmalloc"),
    a_tail=(lambda x: x.m.kfree(x.kmalloced_pages + 1024), KernelBug, "tail page"),
    a_free_page=(lambda x: x.m.kfree(x.m.page_address(x.free_page)), KernelBug, "free already"),
    a_folios_page=(lambda x: x.m.kfree(x.m.page_address(x.folio_page)), KernelBug, "belongs to the folio"),
    null_as_a_number=(lambda x: x.m.kfree(0), KernelBug, "no virtual address"),
    beyond=(lambda x: x.m.kfree(BASE + (1 << 45)), KernelBug, "no virtual address"),
    text=(lambda x: x.m.kfree("x"), TypeError, "whole number"),
    no_bytes=(lambda x: x.m.kmalloc(0), ValueError, "kmalloc takes 1 to"),
    negative=(lambda x: x.m.kmalloc(-1), ValueError, "kmalloc takes 1 to"),
    too_many=(lambda x: x.m.kmalloc((1024 << 8) + 1), ValueError, "kmalloc takes 1 to"),
    text_size=(lambda x: x.m.kmalloc("8"), TypeError, "whole number"),
    fraction=(lambda x: x.m.kmalloc(8.0), TypeError, "whole number"),
    unknown_gfp=(lambda x: x.m.kmalloc(8, 1 << 25), ValueError, "no GFP flag"),
    unknown_gfp_pages=(lambda x: x.m.kmalloc(8000, 1 << 25), ValueError, "no GFP flag"),
)
def test_kmalloc_and_kfree(world, misuse, error, sentence):
    refuses(world, misuse, error, sentence)


def test_kfree_of_null_does_nothing(world):
    before = world.m.snapshot()
    world.m.kfree(None)
    assert world.m.snapshot() == before


@cases(
    mem_desc=(lambda x: x.m.mem_desc(1024), ValueError, "there is no page 1024"),
    mem_desc_negative=(lambda x: x.m.mem_desc(-1), ValueError, "there is no page -1"),
    mem_desc_text=(lambda x: x.m.mem_desc("1"), TypeError, "whole number"),
    page=(lambda x: x.m.page(1024), ValueError, "there is no page 1024"),
    buddy_misaligned=(lambda x: x.m.buddy(BASE + 8), ValueError, "multiple of 16"),
    buddy_nowhere=(lambda x: x.m.buddy(0), ValueError, "not all in RAM"),
    slab_text=(lambda x: x.m.slab("x"), ValueError, "multiple of 16"),
    read_nowhere=(lambda x: x.m.read(0, 8), ValueError, "not all in RAM"),
    read_beyond=(lambda x: x.m.read(BASE, 1 << 40), ValueError, "RAM|HIGHMEM"),
    read_negative=(lambda x: x.m.read(BASE, -1), ValueError, "0 or more"),
    read_text=(lambda x: x.m.read("0", 1), TypeError, "whole number"),
    read_vmemmap_beyond=(lambda x: x.m.read(x.m.pfn_to_page(1023), 16), ValueError, "not all in the vmemmap"),
    write_nowhere=(lambda x: x.m.write(16, b"x"), ValueError, "not all in RAM"),
    write_text=(lambda x: x.m.write(x.address, "x"), TypeError, "bytes"),
    write_number=(lambda x: x.m.write(x.address, 7), TypeError, "bytes"),
    write_highmem=(lambda x: x.m.write(BASE + x.highmem * x.m.page_size, b"x"), ValueError, "HIGHMEM"),
    page_address=(lambda x: x.m.page_address(1024), ValueError, "there is no page"),
    virt_to_pfn=(lambda x: x.m.virt_to_pfn(7), ValueError, "no virtual address"),
    virt_to_pfn_text=(lambda x: x.m.virt_to_pfn("7"), TypeError, "whole number"),
    pfn_to_page=(lambda x: x.m.pfn_to_page(-1), ValueError, "there is no page"),
    page_to_pfn=(lambda x: x.m.page_to_pfn(BASE), ValueError, "no struct page"),
    page_to_pfn_misaligned=(lambda x: x.m.page_to_pfn(x.m.pfn_to_page(3) + 4), ValueError, "no struct page"),
    restore=(lambda x: x.m.restore(b"snapshot"), TypeError, "what snapshot"),
    restore_foreign=(lambda x: x.m.restore(Machine("2M").snapshot()), ValueError, "another shape"),
    undo_off=(lambda x: x.m.undo(), ValueError, "undo is off"),
    redo_off=(lambda x: x.m.redo(), ValueError, "undo is off"),
    no_counter=(lambda x: x.m.stats.kittens, AttributeError, "no counter 'kittens'"),
)
def test_looking_at_what_is_not_there(world, misuse, error, sentence):
    refuses(world, misuse, error, sentence)


def test_out_of_memory_is_none_everywhere(world):
    m = world.m
    while m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM) is not None or m.alloc_pages(0, GFP.KERNEL | GFP.DMA) is not None:
        pass
    while m.kmalloc(1024) is not None or world.cache.alloc() is not None:
        pass
    before = m.snapshot()
    for gfp in (GFP.KERNEL, GFP.ATOMIC, GFP.NOWAIT):
        assert m.alloc_pages(0, gfp) is None
        assert m.alloc_pages(8, gfp) is None
        assert m.get_free_page(gfp) is None
        assert m.alloc_pages_desc(0, BASE | 4, gfp) is None
        assert m.kmalloc(200_000, gfp) is None
        assert world.cache.alloc_bulk(10_000, gfp) is None
        assert m.folio_alloc(3, gfp) is None
        assert m.pgtable_alloc(gfp) is None
        assert m.vmalloc(500_000, gfp) is None
    assert m.alloc_pages_bulk(3) == []
    assert m.snapshot().key()[1] == before.key()[1]  # the mem_map: every page is what it was
    m.check()
