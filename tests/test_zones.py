"""Nodes, zones and watermarks: which page a request may have, in which order zones are asked, how far each may be emptied.

The "linux" watermarks are computed here a second time, from Linux's formulas, and compared.
"""

from itertools import groupby
from math import isqrt

import pytest

from memlab import GFP, Machine, MemType


def zone_of(m, pfn):
    """(node, zone name) of a page, from the spans in RAM."""
    return next(key for key in m.buddyinfo() if m.zone(*key).start_pfn <= pfn < m.zone(*key).end_pfn)


def zones_asked(m, gfp, node=None):
    """The zones that single pages come from until no more come, in order."""
    pages = []
    while (pfn := m.alloc_pages(0, gfp, node)) is not None:
        pages.append(pfn)
    m.check()
    return [zone for zone, _ in groupby(zone_of(m, pfn) for pfn in pages)]


# Which pages are whose


def test_nodes_share_the_memory_evenly_and_zones_cover_each_page_once(design):
    m = Machine("8M", nodes=4, dma="512K", dma32="3M", highmem="1M", design=design)
    spans = sorted((m.zone(*key).start_pfn, m.zone(*key).end_pfn, key) for key in m.buddyinfo())
    assert [key for _, _, key in spans] == [
        (0, "DMA"),
        (0, "DMA32"),
        (1, "DMA32"),
        (1, "Normal"),
        (2, "Normal"),
        (3, "Normal"),
        (3, "HighMem"),
    ]
    assert [start for start, _, _ in spans] == [0, *(end for _, end, _ in spans[:-1])]
    assert spans[-1][1] == m.nr_pages == 2048
    assert {end for _, end, _ in spans} >= {512, 1024, 1536, 2048}
    m.check()


def test_memory_that_does_not_divide_evenly_leaves_the_rest_to_the_last_node(design):
    m = Machine(1003 * 4096, nodes=4, design=design)
    assert [m.zone(node).end_pfn - m.zone(node).start_pfn for node in range(4)] == [250, 250, 250, 253]


def test_managed_pages_are_the_zones_pages_less_the_mem_map_and_page_0(design):
    m = Machine("8M", nodes=2, dma="1M", highmem="1M", design=design)
    reserved = [pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn).type is MemType.NONE]
    assert len(reserved) == 1 + 4  # page 0, and 2,048 struct pages of 8 bytes
    for key in m.buddyinfo():
        zone = m.zone(*key)
        mine = [pfn for pfn in reserved if zone.start_pfn <= pfn < zone.end_pfn]
        assert zone.managed_pages == zone.end_pfn - zone.start_pfn - len(mine)


def test_the_mem_map_lies_in_normal_so_that_dma_stays_for_devices(design):
    m = Machine("8M", dma="1M", design=design)
    reserved = [pfn for pfn in range(1, m.nr_pages) if m.mem_desc(pfn).type is MemType.NONE]
    assert {zone_of(m, pfn) for pfn in reserved} == {(0, "Normal")}


# The order in which zones are asked


def test_a_request_goes_from_its_own_zone_down_never_up(design):
    shape = {"memory": "2M", "dma": "256K", "dma32": "512K", "highmem": "512K", "design": design}
    names = {
        GFP.KERNEL | GFP.HIGHMEM: ["HighMem", "Normal", "DMA32", "DMA"],
        GFP.KERNEL: ["Normal", "DMA32", "DMA"],
        GFP.KERNEL | GFP.DMA32: ["DMA32", "DMA"],
        GFP.KERNEL | GFP.DMA: ["DMA"],
    }
    for gfp, zones in names.items():
        assert zones_asked(Machine(**shape), gfp) == [(0, name) for name in zones]


def test_nodes_are_asked_by_distance_starting_at_the_one_given(design):
    distance = [[10, 40, 20, 30], [40, 10, 30, 20], [20, 30, 10, 40], [30, 20, 40, 10]]
    shape = {"memory": "2M", "nodes": 4, "distance": distance, "design": design}
    for node, order in enumerate(([0, 2, 3, 1], [1, 3, 2, 0], [2, 0, 1, 3], [3, 1, 0, 2])):
        assert zones_asked(Machine(**shape), GFP.KERNEL, node) == [(n, "Normal") for n in order]


def test_nodes_at_one_distance_are_asked_round_robin_from_the_first(design):
    assert [node for node, _ in zones_asked(Machine("2M", nodes=4, design=design), GFP.KERNEL, 2)] == [2, 3, 0, 1]


def test_all_zones_of_a_node_come_before_another_node(design):
    m = Machine("2M", nodes=2, dma="128K", highmem="512K", design=design)
    asked = zones_asked(m, GFP.KERNEL | GFP.HIGHMEM, 1)
    assert asked == [(1, "HighMem"), (1, "Normal"), (0, "Normal"), (0, "DMA")]


def test_without_a_node_the_running_cpus_node_comes_first(design):
    m = Machine("2M", nodes=2, cpus=4, design=design)
    for cpu in range(4):
        with m.on_cpu(cpu):
            assert zone_of(m, m.alloc_pages(0)) == (cpu % 2, "Normal")
            assert zone_of(m, m.alloc_pages(3, GFP.ATOMIC)) == (cpu % 2, "Normal")


def test_thisnode_is_none_when_the_node_is_full_though_others_have_memory(design):
    m = Machine("2M", nodes=2, design=design)
    assert zones_asked(m, GFP.KERNEL | GFP.THISNODE, 1) == [(1, "Normal")]
    before = m.snapshot()
    assert m.alloc_pages(0, GFP.KERNEL | GFP.THISNODE, 1) is None
    assert m.snapshot() == before
    assert m.zone(0).free_pages > 200
    assert m.alloc_pages(0, GFP.KERNEL, 1) is not None


def fill_lowmem(m, node):
    """Take all pages of a node's Normal zone, and all free descriptors; returns the pfns."""
    pages = []
    while (pfn := m.alloc_pages(0, GFP.KERNEL | GFP.THISNODE, node)) is not None:
        pages.append(pfn)
    for name in ("kmem_cache_buddy", "kmem_cache_slab"):
        row = next(row for row in m.slabinfo() if row["name"] == name)
        m.caches[name].alloc_bulk(row["num_objs"] - row["active_objs"])
    assert m.zone(node).free_pages == 0
    return pages


def test_thisnode_does_not_bind_the_descriptors_that_a_split_needs(design):
    m = Machine("64K", page_size=256, max_order=4, nodes=2, highmem="8K", design=design)
    fill_lowmem(m, 1)
    before = m.zone(0).free_pages
    assert sum(m.buddyinfo()[1, "HighMem"][:4]) == 0  # so a split it must be
    pfn = m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM | GFP.THISNODE, 1)
    assert zone_of(m, pfn) == (1, "HighMem")
    assert zone_of(m, m.virt_to_pfn(m.mem_desc(pfn).address)) == (0, "Normal")
    assert m.zone(0).free_pages < before
    m.check()


def test_thisnode_binds_the_pages_of_a_folio_and_not_its_descriptor(design):
    m = Machine("64K", page_size=256, max_order=4, nodes=2, cpus=2, highmem="8K", design=design)
    with m.on_cpu(1):
        fill_lowmem(m, 1)
        folio = m.folio_alloc(0, GFP.KERNEL | GFP.HIGHMEM | GFP.THISNODE)
    (pfn,) = (pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn).address == folio)
    assert zone_of(m, pfn) == (1, "HighMem")
    assert zone_of(m, m.virt_to_pfn(folio)) == (0, "Normal")


def test_a_dma_request_on_a_machine_without_that_zone_is_none(design):
    m = Machine("2M", design=design)
    before = m.snapshot()
    assert m.alloc_pages(0, GFP.KERNEL | GFP.DMA) is None
    assert m.snapshot() == before


# Watermarks


def linux_marks(managed, lowmem, is_highmem=False, kib_per_page=4):
    """(min, low, high) of a zone as __setup_per_zone_wmarks computes them, from pages managed by the zone and by all of lowmem."""
    min_free_kbytes = min(max(isqrt(lowmem * kib_per_page * 16), 128), 262144)
    pages_min = min_free_kbytes // kib_per_page
    share = pages_min * managed // lowmem
    low = min(max(managed // 1024, 32), 128) if is_highmem else share
    gap = max(share // 4, managed * 10 // 10000)
    return low, low + gap, low + 2 * gap


@pytest.mark.parametrize("memory", ["4M", "16M", "64M", "1G", "8G"])
def test_linux_watermarks_of_one_zone(memory, design):
    m = Machine(memory, design=design)
    managed = m.zone().managed_pages
    assert m.zone().watermark == linux_marks(managed, managed)


def test_linux_watermarks_of_a_known_machine():
    # 16,384 pages less 32 of mem_map and page 0 are 16,351 or 65,404 KiB; isqrt(16 * 65404) = 1022 KiB are 255 pages
    assert Machine("64M").zone().watermark == (255, 318, 381)


@pytest.mark.parametrize(
    "shape",
    [
        {"memory": "64M", "dma": "1M"},
        {"memory": "64M", "dma": "16M", "dma32": "20M"},
        {"memory": "64M", "nodes": 3},
        {"memory": "256M", "dma": "16M", "highmem": "128M"},
        {"memory": "1G", "nodes": 2, "dma": "16M", "dma32": "256M", "highmem": "300M"},
    ],
)
def test_linux_watermarks_are_shared_out_by_the_size_of_each_zone(shape, design):
    m = Machine(**shape, design=design)
    lowmem = sum(m.zone(*key).managed_pages for key in m.buddyinfo() if key[1] != "HighMem")
    for key in m.buddyinfo():
        zone = m.zone(*key)
        assert (key, zone.watermark) == (key, linux_marks(zone.managed_pages, lowmem, key[1] == "HighMem"))


def test_lowmem_reserve_is_the_memory_above_by_linuxs_ratios(design):
    m = Machine("256M", dma="16M", dma32="64M", highmem="96M", design=design)
    dma, dma32, normal, highmem = (m.zone(0, name) for name in ("DMA", "DMA32", "Normal", "HighMem"))
    above = [zone.managed_pages for zone in (dma32, normal, highmem)]
    assert dma.lowmem_reserve == (0, above[0] // 256, sum(above[:2]) // 256, sum(above) // 256)
    assert dma32.lowmem_reserve == (0, 0, above[1] // 256, sum(above[1:]) // 256)
    assert normal.lowmem_reserve == (0, 0, 0, above[2] // 32)
    assert highmem.lowmem_reserve == (0, 0, 0, 0)


def test_machines_below_4_mib_have_no_watermarks_unless_asked(design):
    assert Machine("3M", design=design).zone().watermark == (0, 0, 0)
    assert Machine("4M", design=design).zone().watermark != (0, 0, 0)
    assert Machine("3M", watermarks="linux", design=design).zone().watermark != (0, 0, 0)
    assert Machine("64M", watermarks=None, design=design).zone().watermark == (0, 0, 0)


def test_watermarks_given_as_a_tuple_are_those_of_every_zone(design):
    m = Machine("8M", nodes=2, dma="1M", watermarks=(3, 5, 8), design=design)
    assert {m.zone(*key).watermark for key in m.buddyinfo()} == {(3, 5, 8)}


def emptied(m, gfp):
    """The number of free pages at which single pages are refused."""
    while m.alloc_pages(0, gfp) is not None:
        pass
    m.check()
    return m.free_pages_count


def test_without_watermarks_the_last_page_can_be_had(design):
    for gfp in (GFP.KERNEL, GFP.ATOMIC, GFP.NOWAIT):
        assert emptied(Machine("1M", design=design), gfp) == 0


def test_each_kind_of_request_stops_at_its_own_mark(design):
    m = Machine("1M", watermarks=(64, 80, 96), design=design)
    assert emptied(m, GFP.KERNEL) == 64
    assert emptied(m, GFP.NOWAIT) == 64
    assert emptied(m, GFP.KERNEL | GFP.HIGH) == 32  # __GFP_HIGH: half
    assert emptied(m, GFP.ATOMIC) == 24  # and three quarters of that for who may not wait
    assert emptied(m, GFP.KERNEL | GFP.MEMALLOC) == 0


def test_atomic_dips_below_the_min_watermark_where_kernel_is_refused(design):
    m = Machine("64M", design=design)
    assert emptied(m, GFP.KERNEL) == m.zone().watermark[0] == 255
    before = m.snapshot()
    assert m.alloc_pages(0, GFP.KERNEL) is None
    assert m.snapshot() == before
    assert m.alloc_pages(0, GFP.ATOMIC) is not None


def test_a_block_is_refused_if_it_would_take_the_zone_below_the_mark(design):
    m = Machine("1M", watermarks=(100, 100, 100), design=design)
    while m.free_pages_count >= 100 + 16:
        assert m.alloc_pages(0) is not None
    assert sum(m.buddyinfo()[0, "Normal"][4:]) > 0
    left = m.free_pages_count
    assert m.alloc_pages(4) is None
    assert m.free_pages_count == left
    assert m.alloc_pages(2) is not None


def test_the_lower_zone_is_asked_before_any_zone_goes_below_low(design):
    m = Machine("2M", dma="512K", watermarks=(10, 40, 50), design=design)
    while zone_of(m, m.alloc_pages(0)) == (0, "Normal"):
        pass
    assert m.zone().free_pages == 40
    while m.alloc_pages(0) is not None:
        pass
    assert m.zone().free_pages == 10


def test_lowmem_reserve_keeps_dma_pages_from_requests_that_do_not_need_them(design):
    m = Machine("16M", dma="1M", watermarks=(4, 8, 12), design=design)
    reserve = m.zone(0, "DMA").lowmem_reserve[2]
    assert reserve == m.zone().managed_pages // 256 > 10
    while m.alloc_pages(0) is not None:
        pass
    assert m.zone(0, "DMA").free_pages == 4 + reserve
    while m.alloc_pages(0, GFP.KERNEL | GFP.DMA) is not None:
        pass
    assert m.zone(0, "DMA").free_pages == 4
    m.check()


def test_boot_ignores_watermarks(design):
    m = Machine("128K", watermarks=(1000, 1000, 1000), design=design)
    assert m.free_pages_count == 28
    assert m.alloc_pages(0) is None
    assert m.alloc_pages(0, GFP.KERNEL | GFP.MEMALLOC) is not None


# HIGHMEM


def test_highmem_pages_have_no_virtual_address(design):
    m = Machine("2M", highmem="1M", design=design)
    pfn = m.alloc_pages(2, GFP.KERNEL | GFP.HIGHMEM)
    assert zone_of(m, pfn) == (0, "HighMem")
    assert m.page_address(pfn) is None
    direct = m.page_address(0) + pfn * m.page_size
    for refused in (lambda: m.read(direct, 8), lambda: m.write(direct, b"x"), lambda: m.virt_to_pfn(direct)):
        with pytest.raises(ValueError):
            refused()
    assert m.page(pfn).mem_desc == m.mem_desc(pfn).address | MemType.BUDDY  # but they have a struct page


def test_highmem_never_holds_a_descriptor_or_a_slab(design):
    m = Machine("128K", page_size=256, max_order=4, highmem="64K", design=design)
    cache = m.kmem_cache_create("objects", 40)
    for _ in range(50):
        assert None not in (m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM), m.folio_alloc(0, GFP.KERNEL | GFP.HIGHMEM))
    while cache.alloc() is not None:
        pass
    while m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM) is not None or m.folio_alloc(0, GFP.KERNEL | GFP.HIGHMEM) is not None:
        pass
    highmem = m.zone(0, "HighMem")
    direct = m.page_address(0)
    kinds = set()
    for pfn in range(m.nr_pages):
        desc = m.mem_desc(pfn)
        assert not highmem.start_pfn <= (desc.address - direct) // m.page_size < highmem.end_pfn
        if pfn >= highmem.start_pfn:
            kinds.add(desc.type)
    assert kinds <= {MemType.FREE, MemType.BUDDY, MemType.FOLIO}
    assert kinds >= {MemType.BUDDY, MemType.FOLIO}
    m.check()


def test_free_highmem_is_no_use_to_a_split_that_needs_a_descriptor(design):
    m = Machine("32K", page_size=256, max_order=4, highmem="16K", design=design)
    while m.kmalloc(256) is not None:
        pass
    while m.get_free_page() is not None:
        pass
    while m.free_pages_count and (pfn := m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM)) is not None:
        assert zone_of(m, pfn) == (0, "HighMem")
    assert sum(m.buddyinfo()[0, "HighMem"]) > 0  # blocks are left, and no descriptor to split them
    before = m.free_pages_count
    assert m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM) is None
    assert m.free_pages_count == before
    m.check()


# Bad configurations: the right exception, with a sentence


@pytest.mark.parametrize("memory", ["64M", "64MB", "64MiB", " 64m ", 64 << 20, "65536K", f"{64 << 20}"])
def test_memory_is_understood_as_people_write_it(memory):
    assert Machine(memory).nr_pages == 16384
