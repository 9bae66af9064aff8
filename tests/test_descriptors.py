"""Descriptors: where struct buddy and struct slab come from and go to, the point at which two allocators need each other, and what makes that end.

Checked here: boot from one static descriptor, __alloc_slab in both its cases, unwinding at every point that can fail, freeing that never
allocates and runs at constant depth, how deep each design nests, and what each leaves behind when all memory was used and freed.
"""

import random
import sys

import pytest
from machines import DESIGNS, spare, take_all_below
from storm import Storm, descriptor_slabs, no_less_room, slab_pages

from memlab import GFP, KernelBug, Machine, MemType
from memlab.structs import UNUSED, memdesc

TINY = {"memory": "8K", "page_size": 256, "max_order": 4}  # 32 pages; 5 buddies or 4 struct slabs to a page
SMALL = {"memory": "64K", "page_size": 256, "max_order": 4}
MAY_FAIL = [point for point, may_fail in Machine.TRACE_POINTS.items() if may_fail]


def high_order(m, least=3):
    return {zone: blocks[least:] for zone, blocks in m.buddyinfo().items()}


# Boot


def static_descriptors(m):
    """The addresses of descriptors that lie behind the last page: in the kernel's own data."""
    end = m.page_address(0) + m.nr_pages * m.page_size
    found = {m.mem_desc(pfn) for pfn in range(m.nr_pages)}
    return {desc.address for desc in found if desc.type in (MemType.FREE, MemType.BUDDY) and desc.address >= end}


@pytest.mark.parametrize("shape", [{"memory": "64M"}, {"memory": "16K"}, TINY, {"memory": "8M", "nodes": 2, "dma": "1M", "highmem": "2M"}])
def test_one_static_descriptor_is_enough_to_boot(shape, design):
    m = Machine(**shape, design=design)
    assert len(static_descriptors(m)) <= 1
    m.check()


def test_the_static_descriptor_describes_what_is_left_of_the_largest_lowmem_block(design):
    m = Machine("8M", max_order=9, highmem="4M", design=design)
    (address,) = static_descriptors(m)
    largest = max(order for order, blocks in enumerate(m.buddyinfo()[0, "Normal"]) if blocks)
    assert m.buddy(address).order == largest
    assert m.page_to_pfn(m.buddy(address).page) < m.zone(0, "HighMem").start_pfn


def test_four_pages_can_boot_and_three_cannot(design):
    m = Machine(4 * 4096, design=design)
    m.check()
    assert m.free_pages_count == 1
    assert m.alloc_pages(0) is not None
    assert m.alloc_pages(0) is None
    with pytest.raises(ValueError, match="too little"):
        Machine(3 * 4096, design=design)


@pytest.mark.parametrize("page_size", [256, 4096])
def test_thirty_two_pages_leave_twenty_eight_free(page_size, design):
    assert Machine(32 * page_size, page_size=page_size, max_order=4, design=design).free_pages_count == 28


def merge_static_away(m):
    """Split the static descriptor's block, and free its upper half last; returns the address of the descriptor."""
    (address,) = static_descriptors(m)
    order, pfn = m.buddy(address).order, m.page_to_pfn(m.buddy(address).page)
    while m.mem_desc(pfn).type is MemType.FREE:
        m.alloc_pages(order)
    low, high = m.split_page(pfn)
    assert m.mem_desc(high).address == address
    m.free_pages(low)
    m.free_pages(high)
    return address


@pytest.mark.parametrize("shape", [{"memory": "1M"}, SMALL])
def test_once_merged_away_the_static_descriptor_is_never_used_again(shape, design):
    m = Machine(**shape, design=design)
    address = merge_static_away(m)
    assert m.buddy(address).flags & UNUSED
    assert static_descriptors(m) == set()
    m.check()
    dice = random.Random(2)
    for _ in range(20):
        pages = m.alloc_pages_bulk(200)
        m.check()
        for pfn in dice.sample(pages, len(pages)):
            m.free_pages(pfn)
        assert static_descriptors(m) == set()
        m.check()


# __alloc_slab


def drain_struct_slabs(m):
    """Take every free struct slab, as a consumer: the next one makes kmem_cache_slab grow."""
    cache = m.caches["kmem_cache_slab"]
    return cache.alloc_bulk(spare(m, "kmem_cache_slab"))


def test_an_order_0_page_describes_itself_by_its_first_bytes(design):
    m = Machine("4M", design=design)
    drain_struct_slabs(m)
    assert m.buddyinfo()[0, "Normal"][0] > 0
    stats = m.stats
    obj = m.caches["kmem_cache_slab"].alloc()
    page = m.virt_to_pfn(obj)
    slab = m.slab(m.page_address(page))
    assert m.mem_desc(page) == (MemType.SLAB, m.page_address(page))
    assert obj == m.page_address(page) + 64  # its own struct slab is the first object, the next is ours
    assert (slab.virt, slab.order, slab.objects) == (m.page_address(page), 0, 64)
    assert slab.slab_cache == m.caches["kmem_cache_slab"].address
    assert m.buddy(slab.buddy).page == m.pfn_to_page(page)
    assert (m.stats - stats).buddies_allocated == 0
    assert (m.stats - stats).slabs_allocated == 1
    m.check()


@pytest.mark.parametrize("order", [1, 2, 3, 6, 9])
def test_of_a_higher_order_page_1_describes_both_pages_and_page_2_the_buddies(order, design):
    m = Machine("8M", watermarks=None, design=design)
    only = m.alloc_pages(order)
    take_all_below(m, 12)
    drain_struct_slabs(m)
    m.free_pages(only)
    old = m.mem_desc(only).address
    stats, blocks = m.stats, m.buddyinfo()[0, "Normal"]
    obj = m.caches["kmem_cache_slab"].alloc()
    page1 = m.virt_to_pfn(obj)
    page2 = page1 + 1
    at1, at2 = m.page_address(page1), m.page_address(page2)
    assert page1 == only
    # who describes page 1, and who page 2: two struct slabs that lie on page 1
    assert m.mem_desc(page1) == (MemType.SLAB, at1)
    assert m.mem_desc(page2) == (MemType.SLAB, at1 + 64)
    assert obj == at1 + 128
    slab1, slab2 = m.slab(at1), m.slab(at1 + 64)
    assert (slab1.slab_cache, slab1.virt) == (m.caches["kmem_cache_slab"].address, at1)
    assert (slab2.slab_cache, slab2.virt) == (m.caches["kmem_cache_buddy"].address, at2)
    # page 2 holds the buddies of all the parts but the one that keeps the old descriptor
    assert slab2.inuse == order
    parts = [slab1.buddy, slab2.buddy, *(m.mem_desc(page1 + (1 << k)).address for k in range(1, order))]
    kept = 0 if order == 1 else order  # page 1 itself, or the upper half
    assert parts.pop(kept) == old
    assert {m.virt_to_pfn(address) for address in parts} == {page2}
    assert len(set(parts)) == order
    after = m.buddyinfo()[0, "Normal"]
    assert [a - b for a, b in zip(after, blocks, strict=True)] == [int(0 < k < order) - int(k == order) for k in range(12)]
    assert (m.stats - stats).slabs_allocated == 2
    m.check()


def test_growing_kmem_cache_slab_calls_nothing_that_allocates(design):
    for order in (0, 1, 4):
        m = Machine("4M", watermarks=None, design=design)
        take_all_below(m, order)
        drain_struct_slabs(m)
        with m.trace() as trace:
            assert m.caches["kmem_cache_slab"].alloc() is not None
        chain = ["kmem_cache_alloc", "___slab_alloc", "new_slab", "allocate_slab", "alloc_slab_page", "__alloc_slab"]
        assert [call.name for call in trace.calls] == chain
        assert trace.max_depth == 6


def test_an_order_0_request_that_finds_one_order_1_block_turns_it_into_slabs_and_is_none(design):
    m = Machine("128K", design=design)
    take_all_below(m, 12)
    pfn = next(p for p in range(m.nr_pages) if m.mem_desc(p).type is MemType.BUDDY and m.buddy(m.mem_desc(p).address).order == 1)
    drain_struct_slabs(m)
    m.caches["kmem_cache_buddy"].alloc_bulk(spare(m, "kmem_cache_buddy"))
    m.free_pages(pfn)
    assert m.buddyinfo()[0, "Normal"] == [0, 1] + [0] * 10
    got = m.alloc_pages(0)
    assert (got, m.free_pages_count) in ((None, 0), (pfn + 1, 0)) if design == "bounded" else got is None
    m.check()


# Unwinding


def spare_pages(m, held=()):
    """Free pages, and pages of slabs in which nothing lives but what describes free blocks or other such slabs.

    ``held``: addresses of objects that somebody has.  This is what a failed allocation may not change.
    """
    base, size = m.page_address(0), m.page_size
    end = base + m.nr_pages * size
    slabs, pinned, inside = {}, set(), {}  # struct slab -> its view; what lies where: page -> descriptors of slabs
    lively = {(address - base) // size for address in held}
    for pfn in range(m.nr_pages):
        kind, address = m.mem_desc(pfn)
        if kind is MemType.SLAB:
            slabs[address] = m.slab(address)
        elif kind in (MemType.BUDDY, MemType.VMALLOC):
            lively.add((address - base) // size)
        elif kind not in (MemType.NONE, MemType.FREE) and address < end:
            lively |= {(address - base) // size, (memdesc(m, address).buddy - base) // size}
    pages = {address: range((s.virt - base) // size, (s.virt - base) // size + (1 << s.order)) for address, s in slabs.items()}
    for address, slab in slabs.items():
        for where in (address, slab.buddy):
            inside.setdefault((where - base) // size, set()).add(address)
    todo = [address for address in slabs if lively & set(pages[address])]
    while todo:
        address = todo.pop()
        if address in pinned:
            continue
        pinned.add(address)
        # what describes a pinned slab is live, so the slabs in which its descriptors lie are pinned too
        hosts = {(address - base) // size, (slabs[address].buddy - base) // size}
        todo += [other for other in slabs if hosts & set(pages[other])]
    return m.free_pages_count + sum(len(pages[address]) for address in slabs if address not in pinned)


def on_the_edge(design, **shape):
    """A machine that is about to need new slabs of both kinds: few free descriptors, no order-0 page, and two CPUs."""
    m = Machine(**{"memory": "32K", "page_size": 256, "max_order": 4, "cpus": 2, "design": design} | shape)
    m.kmem_cache_create("objects", 48)
    held = [m.alloc_pages(2), m.alloc_pages(2)]  # something to split and to free in between
    take_all_below(m, 2)
    taken = [m.caches[name].alloc_bulk(spare(m, name)) for name in ("kmem_cache_buddy", "kmem_cache_slab")]
    return m, held, taken[0] + taken[1]


WORK = {
    "alloc_pages": lambda m, _: m.alloc_pages(0),
    "alloc_pages of order 2": lambda m, _: m.alloc_pages(2),
    "alloc_pages of HIGHMEM": lambda m, _: m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM),
    "alloc_pages_desc": lambda m, _: m.alloc_pages_desc(0, 0xFFFF_C900_0000_0004),
    "get_free_page": lambda m, _: m.get_free_page(GFP.ATOMIC),
    "split_page": lambda m, held: m.split_page(held[0]),
    "kmem_cache_alloc": lambda m, _: m.caches["objects"].alloc(),
    "kmem_cache_alloc_bulk": lambda m, _: m.caches["objects"].alloc_bulk(30),
    "kmem_cache_alloc of a buddy": lambda m, _: m.caches["kmem_cache_buddy"].alloc(),
    "kmem_cache_alloc of a slab": lambda m, _: m.caches["kmem_cache_slab"].alloc(),
    "kmalloc": lambda m, _: m.kmalloc(100),
    "kmalloc of pages": lambda m, _: m.kmalloc(1024),
    "folio_alloc": lambda m, _: m.folio_alloc(1),
    "anonmem_alloc": lambda m, _: m.anonmem_alloc(0),
    "filemem_alloc": lambda m, _: m.filemem_alloc(2),
    "pgtable_alloc": lambda m, _: m.pgtable_alloc(),
    "vmalloc": lambda m, _: m.vmalloc(5 * m.page_size),
}


def live_things(m):
    """Every allocated block and every object count: what a failed call may not change."""
    blocks = {pfn: m.mem_desc(pfn).type for pfn in range(m.nr_pages) if m.mem_desc(pfn).type not in (MemType.FREE, MemType.SLAB)}
    objects = {r["name"]: r["active_objs"] for r in m.slabinfo() if not r["name"].startswith("kmem_cache_")}
    return blocks, objects


@pytest.mark.parametrize("work", WORK)
def test_a_failure_at_any_point_leaves_what_was_there_and_the_retry_succeeds(work, design):
    m, held, taken = on_the_edge(design)
    fired, start = set(), m.snapshot()
    for point in MAY_FAIL:
        for nth in range(1, 40):
            m.restore(start)
            before, pages = live_things(m), spare_pages(m, taken)
            with m.fail(point, nth) as fault:
                got = WORK[work](m, held)
            if not fault.fired:
                assert got is not None  # the work makes fewer calls than that at this point, and so was not disturbed
                break
            fired.add(point)
            m.check()
            if got is None:
                assert live_things(m) == before, (point, nth)
                assert spare_pages(m, taken) == pages, (point, nth)
                assert WORK[work](m, held) is not None
                m.check()
        else:
            pytest.fail(f"{point} was called without end")
    assert len(fired) >= 3, f"only {fired} were reached: this set-up tests too little"


def test_a_failure_at_each_point_is_felt_somewhere(design):
    m, held, _ = on_the_edge(design)
    felt, start = set(), m.snapshot()
    for call in WORK.values():
        for point in MAY_FAIL:
            m.restore(start)
            with m.fail(point) as fault:
                if call(m, held) is None and fault.fired:
                    felt.add(point)
    assert felt == set(MAY_FAIL)


def test_running_out_while_a_slab_is_half_built_leaves_nothing_of_it(design):
    cache_name = "big"
    for spare_blocks in range(6):
        m = Machine(**SMALL, design=design)
        cache = m.kmem_cache_create(cache_name, 200)
        pages = m.alloc_pages_bulk(1000)
        for pfn in pages[: spare_blocks * 2 : 2]:
            m.free_pages(pfn)
        got = []
        while (obj := cache.alloc()) is not None:
            got.append(obj)
        m.check()
        before = spare_pages(m, got)
        for _ in range(3):
            assert cache.alloc() is None
            m.check()
        assert spare_pages(m, got) == before


# Freeing


def test_freeing_never_calls_what_allocates(design):
    m = Machine(**SMALL, cpus=2, design=design)
    storm = Storm(m, seed=5, phase=400)
    for _ in range(2000):
        storm.step()
    with m.trace() as trace:
        while storm.live:
            storm.free_one()
    called = {call.name for call in trace.calls}
    assert called & {"free_pages", "kmem_cache_free", "folio_put", "vfree"}
    assert not called & set(MAY_FAIL)
    assert m.stats.pages_allocated_while_freeing == 0
    m.check()


def test_everything_can_be_freed_when_there_is_not_a_page_left(design):
    m = Machine(**SMALL, design=design)
    pages = m.alloc_pages_bulk(10_000)
    folios = []
    while (folio := m.folio_alloc(0)) is not None:
        folios.append(folio)
    assert m.free_pages_count == 0
    with m.trace() as trace:
        for pfn in pages[::2] + pages[1::2]:
            m.free_pages(pfn)
            assert m.stats.pages_allocated_while_freeing == 0
    assert {call.name for call in trace.calls} == {"free_pages"}
    m.check()


def chain(m, links):
    """Build a chain of slabs of kmem_cache_buddy, each of which holds one live descriptor: that of the page of the one built after it.

    The last one's is that of a single page, which is returned: freeing it merges it, which gives back its descriptor, which empties the last
    slab, whose page merges, which gives back its descriptor, which empties the slab before, and so on.
    """
    buddies, slabs = m.caches["kmem_cache_buddy"], m.caches["kmem_cache_slab"]
    slabs.free_bulk(slabs.alloc_bulk(2 * links))  # so that no struct slab has to be made on the way
    singles = halves(m, m.alloc_pages(2))
    pairs = [m.alloc_pages(1) for _ in range(links + 1)]
    take_all_below(m, 1)
    buddies.alloc_bulk(spare(m, "kmem_cache_buddy"))
    m.free_pages(singles[0])
    fillers, uppers = [], []
    for pair in pairs:
        fillers.append(buddies.alloc())  # grows: the only free single page becomes a slab
        low, high = m.split_page(pair)  # the descriptor of ``low`` is in that slab
        fillers += buddies.alloc_bulk(spare(m, "kmem_cache_buddy"))
        uppers.append(high)
        if pair != pairs[-1]:
            m.free_pages(low)
    m.free_pages(singles[2])
    buddies.alloc()  # another slab is the CPU's now
    for high in uppers:
        m.free_pages(high)
    for address in fillers:
        buddies.free(address)
    m.check()
    return low


def halves(m, pfn):
    low, high = m.split_page(pfn)
    return [*m.split_page(low), *m.split_page(high)]


def python_depth(call):
    """How many Python frames a call nests."""
    depth = deepest = 0

    def profile(_frame, event, _arg):
        nonlocal depth, deepest
        if event == "call":
            depth += 1
            deepest = max(deepest, depth)
        elif event == "return":
            depth -= 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return deepest


def released_by_one_free(design, links):
    m = Machine("2M", page_size=1024, watermarks=None, design=design)
    page = chain(m, links)
    stats = m.stats
    depth = python_depth(lambda: m.free_pages(page))
    spent = m.stats - stats
    m.check()
    assert spent.pages_allocated_while_freeing == 0
    return spent.slabs_freed, depth


def test_one_free_that_releases_60_slabs_nests_no_deeper_than_one_that_releases_10(design):
    few, shallow = released_by_one_free(design, 15)
    many, deep = released_by_one_free(design, 70)
    assert few >= 10
    assert many >= 60
    assert max(shallow, deep) <= 12


def test_a_free_that_releases_60_slabs_is_one_call_in_the_trace(design):
    m = Machine("2M", page_size=1024, watermarks=None, design=design)
    page, stats = chain(m, 70), m.stats
    with m.trace() as trace:
        m.free_pages(page)
    assert str(trace) == "free_pages()"
    assert (m.stats - stats).slabs_freed >= 60


# How deep it nests


def test_as_written_nests_six_frames_for_each_free_struct_slab_and_twelve_more():
    m = Machine("64M", design="as-written")
    deepest, at = 0, 0
    with m.trace() as trace:
        for i in range(1000):
            assert m.alloc_pages(0) is not None
            if trace.max_depth > deepest:
                deepest, at = trace.max_depth, i
            trace.calls.clear()
    m = Machine("64M", design="as-written")
    for _ in range(at):
        m.alloc_pages(0)
    free = spare(m, "kmem_cache_slab")
    with m.trace() as trace:
        m.alloc_pages(0)
    assert (free, trace.max_depth, deepest) == (61, 6 * 61 + 12, 378)
    names = [call.name for call in trace.calls if call.depth == len(trace.calls[: trace.calls.index(call) + 1])]
    once = ["alloc_pages", "kmem_cache_alloc_bulk", "___slab_alloc", "new_slab", "allocate_slab", "alloc_slab_page"]
    assert names[:6] == once
    m.check()


@pytest.mark.parametrize("take", [0, 20, 60])
def test_as_written_depth_follows_the_number_of_free_struct_slabs(take):
    m = Machine("16M", watermarks=None, design="as-written")
    take_all_below(m, 5)
    m.caches["kmem_cache_slab"].alloc_bulk(take)
    m.caches["kmem_cache_buddy"].alloc_bulk(spare(m, "kmem_cache_buddy"))
    free = spare(m, "kmem_cache_slab")
    with m.trace() as trace:
        assert m.alloc_pages(0) is not None
    assert trace.max_depth == 6 * free + 12
    m.check()


def test_bounded_grows_by_carving_so_the_same_request_stays_shallow():
    m = Machine("64M", design="bounded")
    with m.trace() as trace:
        m.alloc_pages_bulk(16_000)
    assert 6 < trace.max_depth <= 12


# DESIGN's bounds for each outermost call
BOUNDS = {
    "alloc_pages": 12,
    "split_page": 12,
    "get_free_page": 13,
    "kmem_cache_alloc": 17,
    "kmem_cache_alloc_bulk": 17,
    "kmalloc": 18,
    "folio_alloc": 18,
    "anonmem_alloc": 18,
    "filemem_alloc": 18,
    "pgtable_alloc": 18,
    "vmalloc": 18,
}


@pytest.mark.parametrize(
    ("shape", "operations"),
    [
        (TINY, 15_000),
        (SMALL | {"cpus": 2, "nodes": 2}, 15_000),
        ({"memory": "2M"}, 8_000),
        ({"memory": "4M", "max_order": 8, "cpus": 2, "highmem": "256K"}, 8_000),
        ({"memory": "16K", "page_size": 512, "max_order": 5, "pcp": True}, 8_000),
    ],
)
def test_bounded_never_nests_deeper_than_its_bounds(shape, operations):
    m = Machine(**shape, design="bounded")
    storm = Storm(m, seed=operations, phase=500)
    deepest = dict.fromkeys(BOUNDS, 0)
    with m.trace() as trace:
        for i in range(operations):
            storm.step()
            outermost = ""
            for call in trace.calls:
                outermost = call.name if call.depth == 1 else outermost
                if outermost in deepest:
                    deepest[outermost] = max(deepest[outermost], call.depth)
            trace.calls.clear()
            if i % 500 == 0:
                m.check()
    assert {name: depth for name, depth in deepest.items() if depth > BOUNDS[name]} == {}
    assert min(deepest.values()) >= 1
    assert max(deepest.values()) >= 8  # the storm did make descriptors' caches grow inside other calls
    storm.finish()


def test_the_depth_test_makes_fifty_thousand_operations():
    (mark,) = (mark for mark in test_bounded_never_nests_deeper_than_its_bounds.pytestmark if mark.name == "parametrize")
    assert sum(operations for _, operations in mark.args[1]) >= 50_000


# The frame limit


def near_the_deepest(limit):
    m = Machine("16M", watermarks=None, design="as-written")
    m.frame_limit = limit
    take_all_below(m, 5)
    taken = m.caches["kmem_cache_buddy"].alloc_bulk(spare(m, "kmem_cache_buddy"))
    return m, taken


def test_a_chain_past_the_frame_limit_is_a_kernel_bug_and_unmakes_all_of_it():
    m, taken = near_the_deepest(60)
    live, pages = live_things(m), spare_pages(m, taken)
    with pytest.raises(KernelBug, match="kernel stack overflow"):
        m.alloc_pages(0)
    m.check()
    assert live_things(m) == live
    assert spare_pages(m, taken) == pages


@pytest.mark.parametrize(
    "work",
    [
        lambda m: m.get_free_page(),
        lambda m: m.split_page(
            next(p for p in range(m.nr_pages) if m.mem_desc(p).type is MemType.BUDDY and m.buddy(m.mem_desc(p).address).order)
        ),
        lambda m: m.folio_alloc(0),
        lambda m: m.vmalloc(1),
        lambda m: m.kmalloc(64),
        lambda m: m.caches["kmalloc-64"].alloc_bulk(9),
        lambda m: m.alloc_pages_desc(0, 0xFFFF_C900_0000_0004),
        lambda m: m.alloc_pages_bulk(3),
        lambda m: m.caches["kmem_cache_buddy"].alloc(),
    ],
)
def test_every_public_call_says_that_the_stack_overflowed(work):
    m, taken = near_the_deepest(60)
    live, pages = live_things(m), spare_pages(m, taken)
    with pytest.raises(KernelBug, match="kernel stack overflow"):
        work(m)
    m.check()
    assert live_things(m) == live
    assert spare_pages(m, taken) == pages


def test_later_operations_work_after_an_overflow():
    m, _ = near_the_deepest(60)
    for _ in range(3):
        with pytest.raises(KernelBug, match="kernel stack overflow"):
            m.alloc_pages(0)
    exact = m.alloc_pages(5)  # needs no descriptor
    assert exact is not None
    m.free_pages(exact)
    m.frame_limit = 4096
    page = m.alloc_pages(0)
    assert page is not None
    m.free_pages(page)
    assert m.alloc_pages(11) is None  # plain lack of memory is None again
    m.check()


def test_the_frame_limit_is_reached_neither_by_default_nor_by_bounded():
    m = Machine("64M", design="as-written")
    assert m.frame_limit == 4096
    assert len(m.alloc_pages_bulk(16_000)) > 15_000
    m = Machine("4M", design="bounded")
    m.frame_limit = 18
    assert len(m.alloc_pages_bulk(1000)) > 800


# What is left when all memory was used and freed


def used_and_freed(m, seed):
    """Fill the machine with single pages, free all in random order, shrink."""
    pages = m.alloc_pages_bulk(m.nr_pages)
    assert len(pages) > 0.8 * m.nr_pages
    for pfn in random.Random(seed).sample(pages, len(pages)):
        m.free_pages(pfn)
    assert m.stats.pages_allocated_while_freeing == 0
    m.shrink()
    m.check()


def test_bounded_comes_back_with_no_more_slab_pages_and_no_less_room_for_high_orders():
    m = Machine("64M", design="bounded")
    slabs, blocks, free = slab_pages(m), high_order(m), m.free_pages_count
    for seed in range(2):
        used_and_freed(m, seed)
        assert slab_pages(m) <= slabs
        assert m.free_pages_count >= free
        assert no_less_room(blocks, high_order(m))


def test_as_written_dozens_of_slab_pages_stay_and_largest_blocks_are_lost():
    m = Machine("64M", design="as-written")
    blocks = high_order(m, 11)[0, "Normal"]
    used_and_freed(m, 0)
    assert descriptor_slabs(m) >= 24
    assert high_order(m, 11)[0, "Normal"] < blocks


def test_as_written_pages_1_and_2_of_alloc_slab_pin_each_other_and_bounded_lets_go():
    left = {}
    for design in DESIGNS:
        m = Machine("4M", watermarks=None, design=design)
        take_all_below(m, 6)
        taken = drain_struct_slabs(m)
        cache = m.caches["kmem_cache_slab"]
        obj = cache.alloc()  # page 1 and page 2
        page = m.virt_to_pfn(obj)
        cache.free(obj)
        cache.free_bulk(taken)
        m.shrink()
        m.check()
        left[design] = [m.mem_desc(pfn).type for pfn in (page, page + 1)]
    assert left == {"as-written": [MemType.SLAB] * 2, "bounded": [MemType.FREE] * 2}


def test_moved_descriptors_are_counted_and_only_bounded_moves_them():
    moved = {}
    for design in DESIGNS:
        m = Machine("4M", design=design)
        used_and_freed(m, 3)
        moved[design] = m.stats.buddies_moved
    assert moved["as-written"] == 0
    assert moved["bounded"] > 0


def test_a_descriptor_whose_address_a_caller_holds_does_not_move():
    m = Machine("4M", design="bounded")
    pages = m.alloc_pages_bulk(900)
    kept = [m.alloc_pages_desc(0, 0xFFFF_C900_0000_0004) for _ in range(40)]
    before = {address: (m.buddy(address).page, m.buddy(address).order) for address in kept}
    for pfn in pages:
        m.free_pages(pfn)
    m.shrink()
    m.check()
    assert m.stats.buddies_moved > 0
    assert {address: (m.buddy(address).page, m.buddy(address).order) for address in kept} == before
    for address in kept:
        m.free_pages_desc(address)
    m.check()
