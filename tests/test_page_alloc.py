"""The page allocator through its public face: exact orders, splits and merges, what each costs in descriptors and mem_desc words, and per-CPU lists.

Nothing here looks at the allocator's private attributes: pages are judged by their mem_desc, free lists by the zone's list heads in RAM, costs
by the counters *and* by comparing the words of the mem_map before and after.
"""

import random

import pytest
from machines import take_all_below
from storm import slab_pages

from memlab import GFP, KernelBug, Machine, MemType
from memlab.memdesc import tag

NORMAL = (0, "Normal")


@pytest.fixture
def m(design):
    machine = Machine("64M", design=design)
    yield machine
    machine.check()


def mem_map(m):
    """The mem_desc words of all pages, read from RAM through the vmemmap."""
    raw = m.read(m.pfn_to_page(0), 8 * m.nr_pages)
    return list(memoryview(raw).cast("Q"))


def changed_words(before, after):
    return [pfn for pfn, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]


def live_buddies(m):
    return next(row["active_objs"] for row in m.slabinfo() if row["name"] == "kmem_cache_buddy")


def spare_buddies(m):
    return next(row["num_objs"] - row["active_objs"] for row in m.slabinfo() if row["name"] == "kmem_cache_buddy")


def a_block(m, order):
    """A block of exactly this order that was split off nothing smaller: the pfns below it are all taken."""
    take_all_below(m, order)
    return m.alloc_pages(order)


def free_list(m, order, node=0, zone="Normal"):
    """The pfns of the free blocks of one order, in the order of their list, by following the links in RAM."""
    view = m.zone(node, zone)
    head = view.address + type(view).free_area.offset + 16 * order
    pfns, link = [], view.free_area[2 * order]
    while link != head:
        buddy = m.buddy(link - 8)
        pfns.append(m.page_to_pfn(buddy.page))
        link = buddy.list[0]
    return pfns


# Exact order


@pytest.mark.parametrize("order", [0, 2, 3, 5, 11])
def test_a_block_of_the_exact_order_is_taken_without_a_descriptor(m, order):
    before, stats = m.buddyinfo()[NORMAL], m.stats
    pfn = m.alloc_pages(order)
    after = m.buddyinfo()[NORMAL]
    spent = m.stats - stats
    assert [b - a for a, b in zip(after, before, strict=True)] == [int(k == order) for k in range(12)]
    assert (spent.buddies_allocated, spent.splits, spent.words_split) == (0, 0, 0)
    assert spent.words_typed == 1 << order
    assert pfn % (1 << order) == 0
    assert m.buddy(m.mem_desc(pfn).address).order == order


def test_all_pages_of_a_block_name_the_same_allocated_buddy(m):
    pfn = m.alloc_pages(4)
    descs = {m.mem_desc(p) for p in range(pfn, pfn + 16)}
    assert [desc.type for desc in descs] == [MemType.BUDDY]
    buddy = m.buddy(descs.pop().address)
    assert (buddy.page, buddy.order) == (m.pfn_to_page(pfn), 4)


def test_only_the_words_of_the_block_itself_change_at_an_exact_order(m):
    before = mem_map(m)
    pfn = m.alloc_pages(5)
    assert changed_words(before, mem_map(m)) == list(range(pfn, pfn + 32))


# Splitting


def test_splitting_order_11_takes_eleven_descriptors_and_rewrites_1024_words(m):
    take_all_below(m, 11)
    assert m.buddyinfo()[NORMAL][:11] == [0] * 11
    assert spare_buddies(m) >= 11
    before, stats, live = mem_map(m), m.stats, live_buddies(m)
    pfn = m.alloc_pages(0)
    spent, words = m.stats - stats, changed_words(before, mem_map(m))
    assert (spent.buddies_allocated, spent.splits, spent.words_split) == (11, 11, 1024)
    assert spent.slabs_allocated == 0
    assert live_buddies(m) - live == 11
    assert words == list(range(pfn, pfn + 1024))
    assert m.buddyinfo()[NORMAL][:11] == [1] * 11


def test_the_mirror_free_gives_eleven_descriptors_back_and_rewrites_1024_words(m):
    take_all_below(m, 11)
    whole = m.buddyinfo()
    pfn = m.alloc_pages(0)
    before, stats, live = mem_map(m), m.stats, live_buddies(m)
    m.free_pages(pfn)
    spent, words = m.stats - stats, changed_words(before, mem_map(m))
    assert (spent.buddies_freed, spent.merges, spent.words_merged) == (11, 11, 1024)
    assert spent.slabs_freed == 0
    assert live - live_buddies(m) == 11
    assert words == list(range(pfn, pfn + 1024))
    assert m.buddyinfo() == whole


@pytest.mark.parametrize("order", range(1, 12))
def test_splitting_order_k_takes_k_descriptors_and_half_its_words(m, order):
    whole = a_block(m, order)
    take_all_below(m, 12)
    m.free_pages(whole)
    stats = m.stats
    assert m.alloc_pages(0) == whole
    spent = m.stats - stats
    assert (spent.buddies_allocated, spent.words_split) == (order, 1 << (order - 1))


def test_a_split_part_way_takes_only_as_many_descriptors_as_orders_it_goes_down(m):
    take_all_below(m, 11)
    stats = m.stats
    m.alloc_pages(7)
    spent = m.stats - stats
    assert (spent.buddies_allocated, spent.splits, spent.words_split) == (4, 4, 1024)
    assert m.buddyinfo()[NORMAL][:11] == [0] * 7 + [1] * 4


def test_the_lower_half_is_split_further_and_the_upper_keeps_the_old_descriptor(m):
    take_all_below(m, 11)
    (first, *_) = free_list(m, 11)
    old = m.mem_desc(first).address
    assert m.alloc_pages(0) == first
    assert [free_list(m, k) for k in range(11)] == [[first + (1 << k)] for k in range(11)]
    assert m.mem_desc(first + 1024).address == old
    assert m.buddy(old).order == 10


def test_a_block_is_split_from_the_smallest_order_that_has_one(m):
    take_all_below(m, 5)
    before = m.buddyinfo()[NORMAL]
    m.alloc_pages(2)
    after = m.buddyinfo()[NORMAL]
    assert after == [0, 0, 1, 1, 1, before[5] - 1, *before[6:]]


def test_no_order_left_is_none_and_nothing_changed(m):
    while m.alloc_pages(11) is not None:
        pass
    before = m.snapshot()
    assert m.alloc_pages(11) is None
    assert m.snapshot() == before


# Freeing and merging


def test_freeing_everything_in_any_order_makes_the_same_blocks_whole(m):
    take_all_below(m, 11)
    whole = m.buddyinfo()
    for shuffled in (list, reversed, lambda pfns: random.Random(3).sample(pfns, len(pfns))):
        for pfn in shuffled(m.alloc_pages_bulk(64)):
            m.free_pages(pfn)
        assert m.buddyinfo() == whole


def test_two_free_neighbours_that_are_not_buddies_do_not_merge(m):
    pages = quarter(m)
    m.free_pages(pages[1])
    m.free_pages(pages[2])
    assert free_list(m, 0)[:2] == [pages[2], pages[1]]
    assert m.mem_desc(pages[1]).address != m.mem_desc(pages[2]).address


def test_two_free_buddies_merge_and_one_descriptor_goes_back(m):
    pages = quarter(m)
    m.free_pages(pages[0])
    survivor, stats = m.mem_desc(pages[0]).address, m.stats
    m.free_pages(pages[1])
    assert free_list(m, 1)[0] == pages[0]
    assert {m.mem_desc(pages[0]), m.mem_desc(pages[1])} == {(MemType.FREE, survivor)}
    assert (m.stats - stats).buddies_freed == 1


def test_a_block_does_not_merge_with_a_buddy_that_is_split(m):
    pages = quarter(m)
    m.free_pages(pages[0])
    m.free_pages(pages[1])
    m.free_pages(pages[2])  # its buddy, page 3, is in use: so the upper half is not whole
    assert free_list(m, 1)[0] == pages[0]
    assert free_list(m, 0)[0] == pages[2]
    m.free_pages(pages[3])
    assert free_list(m, 2)[0] == pages[0]


def quarter(m):
    """Four allocated single pages side by side, of one block of order 2, with nothing free below order 3."""
    whole = a_block(m, 2)
    take_all_below(m, 3)
    low, high = m.split_page(whole)
    return [*m.split_page(low), *m.split_page(high)]


def test_the_page_freed_last_is_allocated_first(m):
    pages = quarter(m)
    m.free_pages(pages[0])
    m.free_pages(pages[2])
    assert free_list(m, 0) == [pages[2], pages[0]]
    assert [m.alloc_pages(0), m.alloc_pages(0)] == [pages[2], pages[0]]


@pytest.mark.parametrize("order", [1, 4])
def test_a_block_of_a_higher_order_freed_last_is_allocated_first(m, order):
    take_all_below(m, 11)
    blocks = [m.alloc_pages(order) for _ in range(6)]
    take_all_below(m, order + 1)
    for pfn in blocks[::2]:
        m.free_pages(pfn)
    assert free_list(m, order)[:3] == blocks[::2][::-1]
    assert [m.alloc_pages(order) for _ in range(3)] == blocks[::2][::-1]


def test_blocks_never_merge_beyond_max_order(design):
    m = Machine("1M", max_order=3, design=design)
    pfns = m.alloc_pages_bulk(m.nr_pages)
    for pfn in pfns:
        m.free_pages(pfn)
    m.shrink()
    assert len(m.buddyinfo()[NORMAL]) == 4
    assert m.buddyinfo()[NORMAL][3] > 0
    m.check()


@pytest.mark.parametrize(
    "shape", [{"dma": 5 * 256}, {"dma": 3 * 256, "dma32": 6 * 256}, {"highmem": 7 * 256}, {"memory": 34 * 256, "nodes": 2}]
)
def test_buddies_never_merge_across_zones(shape, design):
    m = Machine(**{"memory": 32 * 256, "page_size": 256, "max_order": 4, "design": design} | shape)
    borders = [m.zone(node, name).start_pfn for node, name in m.buddyinfo()]
    straddled = [pfn for pfn in borders if pfn % 2]  # its buddy is the last page of the zone before
    assert straddled
    pfns = m.alloc_pages_bulk(m.nr_pages, GFP.KERNEL | GFP.HIGHMEM) + m.alloc_pages_bulk(m.nr_pages, GFP.KERNEL | GFP.DMA)
    for pfn in pfns:
        m.free_pages(pfn)
        m.check()
    m.shrink()
    for pfn in straddled:
        if m.mem_desc(pfn).type is m.mem_desc(pfn - 1).type is MemType.FREE:
            assert m.mem_desc(pfn).address != m.mem_desc(pfn - 1).address
    spans = [(m.zone(*key).start_pfn, m.zone(*key).end_pfn, key) for key in m.buddyinfo()]
    for start, end, (node, name) in spans:
        for order in range(5):
            assert all(start <= pfn and pfn + (1 << order) <= end for pfn in free_list(m, order, node, name))


def test_both_pages_on_a_border_are_free_and_stay_two_blocks(design):
    m = Machine("1M", highmem=33 * 4096, design=design)
    m.alloc_pages_bulk(m.nr_pages, GFP.KERNEL | GFP.HIGHMEM)
    low, high = m.zone().end_pfn - 1, m.zone(0, "HighMem").start_pfn
    assert (low, high) == (222, 223)  # buddies, if there were no border between them
    m.free_pages(low)
    m.free_pages(high)
    assert low in free_list(m, 0)
    assert high in free_list(m, 0, zone="HighMem")
    m.check()


# split_page


def test_split_page_makes_two_blocks_of_one_and_takes_one_descriptor(m):
    pfn = a_block(m, 3)
    before, stats, old = mem_map(m), m.stats, m.mem_desc(pfn).address
    assert m.split_page(pfn) == (pfn, pfn + 4)
    spent = m.stats - stats
    assert (spent.buddies_allocated, spent.words_split) == (1, 4)
    assert changed_words(before, mem_map(m)) == list(range(pfn, pfn + 4))
    assert m.mem_desc(pfn + 4) == (MemType.BUDDY, old)
    assert [m.buddy(m.mem_desc(p).address).order for p in (pfn, pfn + 4)] == [2, 2]


def test_the_halves_of_a_split_page_are_freed_each_by_itself(m):
    pfn = a_block(m, 3)
    low, high = m.split_page(pfn)
    whole = m.buddyinfo()
    m.free_pages(high)
    assert free_list(m, 2)[0] == high
    assert m.mem_desc(low).type is MemType.BUDDY
    m.free_pages(low)
    assert free_list(m, 3)[0] == pfn
    assert m.buddyinfo()[NORMAL][2] == whole[NORMAL][2]


def test_split_page_down_to_single_pages_takes_one_descriptor_for_each_but_the_first(m):
    blocks, stats = [a_block(m, 4)], m.stats
    for _ in range(4):
        blocks = [half for pfn in blocks for half in m.split_page(pfn)]
    assert blocks == list(range(blocks[0], blocks[0] + 16))
    assert (m.stats - stats).buddies_allocated == 15


def test_split_page_without_a_descriptor_is_none_and_the_block_is_as_it_was(m):
    pfn = a_block(m, 3)
    before = m.snapshot()
    with m.fail("kmem_cache_alloc"):
        assert m.split_page(pfn) is None
    assert m.snapshot() == before
    assert m.split_page(pfn) is not None


# Bulk


def test_bulk_gives_that_many_single_pages_no_two_the_same(m):
    pfns = m.alloc_pages_bulk(300)
    assert len(set(pfns)) == 300
    assert {m.buddy(m.mem_desc(pfn).address).order for pfn in pfns} == {0}


def test_bulk_gives_fewer_pages_when_memory_runs_out(design):
    m = Machine("1M", design=design)
    pfns = m.alloc_pages_bulk(10_000)
    assert 150 < len(pfns) < m.nr_pages
    assert m.free_pages_count == 0
    assert m.alloc_pages_bulk(1) == []
    m.check()


def test_bulk_of_nothing_is_an_empty_list_and_changes_nothing(m):
    before = m.snapshot()
    assert m.alloc_pages_bulk(0) == []
    assert m.snapshot() == before


# Pages by address


def test_get_free_page_returns_the_address_of_a_page(m):
    address = m.get_free_page()
    pfn = m.virt_to_pfn(address)
    assert address == m.page_address(pfn)
    assert address % m.page_size == 0
    assert m.mem_desc(pfn).type is MemType.BUDDY
    m.free_page(address)
    assert m.mem_desc(pfn).type is MemType.FREE


def test_get_free_page_never_returns_highmem(design):
    m = Machine("1M", highmem="768K", design=design)
    pages = []
    while (address := m.get_free_page(GFP.KERNEL | GFP.HIGHMEM)) is not None:
        pages.append(address)
    assert 10 < len(pages) < 64
    assert m.buddyinfo()[0, "HighMem"][6:8] == [1, 1]
    m.check()


def test_get_free_page_without_memory_is_none(design):
    m = Machine("128K", design=design)
    m.alloc_pages_bulk(32)
    assert m.get_free_page() is None
    assert m.get_free_page(GFP.ATOMIC) is None


# Pages for a descriptor of one's own


def desc_word(m):
    """A mem_desc word that names memory of the caller's own."""
    return tag(m.kmalloc(64), MemType.FOLIO)


@pytest.mark.parametrize("order", [0, 3, 9])
def test_all_pages_have_the_callers_mem_desc_from_the_start(design, order):
    m = Machine("8M", design=design)
    word = desc_word(m)
    buddy = m.alloc_pages_desc(order, word)
    view = m.buddy(buddy)
    pfn = m.page_to_pfn(view.page)
    assert view.order == order
    assert mem_map(m)[pfn : pfn + (1 << order)] == [word] * (1 << order)


def test_free_pages_desc_frees_the_block_once(design):
    m = Machine("8M", design=design)
    whole, free = m.buddyinfo(), m.free_pages_count
    buddy = m.alloc_pages_desc(2, 0xFFFF_C900_0000_0000 | MemType.ANONMEM)
    assert m.free_pages_count == free - 4
    m.free_pages_desc(buddy)
    assert m.buddyinfo() == whole
    before = m.snapshot()
    with pytest.raises(KernelBug, match="still allocated"):
        m.free_pages_desc(buddy)
    assert m.snapshot() == before
    m.check()


def test_every_block_taken_for_a_descriptor_can_be_freed_again(design):
    m = Machine("8K", page_size=256, max_order=4, design=design)
    total, taken = m.free_pages_count + slab_pages(m), 0
    for order in range(5):
        got = []
        while (buddy := m.alloc_pages_desc(order, 0xFFFF_C900_0000_0000 | MemType.FOLIO)) is not None:
            got.append(buddy)
        m.check()
        for buddy in got:
            m.free_pages_desc(buddy)
        m.check()
        assert m.free_pages_count + slab_pages(m) == total
        taken += len(got)
    assert taken > 20


@pytest.mark.parametrize("node", [0, 1, 2])
def test_alloc_pages_node_desc_takes_the_node_it_is_given(design, node):
    m = Machine("12M", nodes=3, design=design)
    buddy = m.alloc_pages_node_desc(node, 2, 0xFFFF_C900_0000_0000 | MemType.FILEMEM)
    pfn = m.page_to_pfn(m.buddy(buddy).page)
    zone = m.zone(node)
    assert zone.start_pfn <= pfn < zone.end_pfn


def test_without_memory_pages_for_a_descriptor_are_none(design):
    m = Machine("128K", design=design)
    m.alloc_pages_bulk(32)
    before = m.snapshot()
    assert m.alloc_pages_desc(0, 0xFFFF_C900_0000_0000 | MemType.FOLIO) is None
    assert m.snapshot() == before


# buddyinfo


def test_buddyinfo_adds_up_to_the_free_pages(m):
    m.alloc_pages_bulk(37)
    blocks = m.buddyinfo()[NORMAL]
    assert sum(n << order for order, n in enumerate(blocks)) == m.free_pages_count == m.zone().free_pages


def test_buddyinfo_has_a_row_for_each_zone_of_each_node(design):
    m = Machine("8M", nodes=2, dma="1M", highmem="1M", design=design)
    assert list(m.buddyinfo()) == [(0, "DMA"), (0, "Normal"), (1, "Normal"), (1, "HighMem")]
    assert {len(row) for row in m.buddyinfo().values()} == {12}


# GFP_ZERO


def test_zero_clears_what_the_page_held_and_without_it_the_junk_stays(m):
    page, junk = m.get_free_page(), bytes(range(256))
    m.write(page + 100, junk)
    m.free_page(page)
    assert m.get_free_page() == page
    assert m.read(page + 100, 256) == junk
    m.free_page(page)
    assert m.get_free_page(GFP.KERNEL | GFP.ZERO) == page
    assert m.read(page, m.page_size) == bytes(m.page_size)


@pytest.mark.parametrize("order", [1, 3])
def test_zero_clears_every_page_of_a_block(m, order):
    pfn = a_block(m, order)
    address, size = m.page_address(pfn), m.page_size << order
    m.write(address, b"\xaa" * size)
    m.free_pages(pfn)
    assert m.alloc_pages(order, GFP.KERNEL | GFP.ZERO) == pfn
    assert m.read(address, size) == bytes(size)


def test_zero_clears_a_page_that_a_slab_was_in(design):
    m = Machine("64K", page_size=256, max_order=4, design=design)
    cache = m.kmem_cache_create("dirty", 64)
    objects = cache.alloc_bulk(400)
    for address in objects:
        m.write(address, b"\xee" * 64)
    cache.free_bulk(objects)
    m.shrink()
    got = 0
    while (address := m.get_free_page(GFP.KERNEL | GFP.ZERO)) is not None:
        got += 1
        assert not any(m.read(address, 256))
        if got == 200:
            break
    assert got > 100


# Per-CPU lists


@pytest.fixture
def pcp(design):
    machine = Machine("4M", cpus=2, pcp=True, watermarks=None, design=design)
    yield machine
    machine.check()


def a_pcp_page(m):
    """A single page whose buddy is taken, just freed to this CPU's list."""
    low, _ = m.split_page(a_block(m, 1))
    m.drain_all_pages()
    m.free_pages(low)
    return low


def test_a_freed_page_stays_on_the_cpus_list_until_it_is_drained(pcp):
    m = pcp
    page = a_pcp_page(m)
    before, free = m.buddyinfo()[NORMAL], m.free_pages_count
    assert page not in free_list(m, 0)
    assert m.mem_desc(page).type is MemType.FREE
    m.check()
    m.drain_all_pages()
    assert free_list(m, 0)[0] == page
    assert m.buddyinfo()[NORMAL][0] == before[0] + 1
    assert m.free_pages_count == free + 1


def test_the_cpu_that_freed_a_page_gets_it_back_and_another_does_not(pcp):
    m = pcp
    page = a_pcp_page(m)
    with m.on_cpu(1):
        assert m.alloc_pages(0) != page
    assert m.alloc_pages(0) == page


def test_a_double_free_of_a_page_on_a_cpus_list_is_refused(pcp):
    m = pcp
    page = a_pcp_page(m)
    before = m.snapshot()
    for cpu in (0, 1):
        with m.on_cpu(cpu), pytest.raises(KernelBug, match="free already"):
            m.free_pages(page)
        assert m.snapshot() == before


def test_a_page_on_a_cpus_list_does_not_merge_before_the_drain(pcp):
    m = pcp
    low, high = m.split_page(a_block(m, 1))
    take_all_below(m, 3)
    m.drain_all_pages()
    m.free_pages(low)
    m.free_pages(high)
    assert m.mem_desc(low).address != m.mem_desc(high).address
    m.drain_all_pages()
    assert free_list(m, 1)[0] == low
    assert m.mem_desc(low) == m.mem_desc(high)


def test_a_cpus_list_that_grows_long_gives_pages_back_by_itself(pcp):
    m = pcp
    pages = m.alloc_pages_bulk(64)
    m.drain_all_pages()
    free = m.free_pages_count
    for pfn in pages:
        m.free_pages(pfn)
    assert free < m.free_pages_count
    m.drain_all_pages()
    assert m.free_pages_count >= free + 64


def test_pages_on_another_cpus_list_are_drained_before_memory_is_said_to_be_out(design):
    m = Machine("128K", cpus=2, pcp=True, design=design)
    pages = m.alloc_pages_bulk(32)
    with m.on_cpu(1):
        m.free_pages(pages[0])
        m.free_pages(pages[3])
    assert m.free_pages_count == 0
    assert m.alloc_pages(0, GFP.ATOMIC) is None
    assert {m.alloc_pages(0), m.alloc_pages(0)} == {pages[0], pages[3]}
    assert m.alloc_pages(0) is None
    m.check()


def test_draining_changes_nothing_on_a_machine_without_per_cpu_lists(m):
    m.free_pages(m.alloc_pages(0))
    before = m.snapshot()
    m.drain_all_pages()
    assert m.snapshot() == before


def test_bigger_blocks_never_go_through_the_cpus_list(pcp):
    m = pcp
    whole = m.buddyinfo()
    pfn = m.alloc_pages(2)
    m.free_pages(pfn)
    m.drain_all_pages()
    assert m.buddyinfo() == whole
