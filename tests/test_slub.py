"""SLUB through its public face: objects, their slabs and their lists as RAM shows them, debug caches, kmalloc, and what misuse gets.

Every refusal is followed by a comparison of snapshots: RAM is as it was before the call.
"""

from contextlib import contextmanager

import pytest
from machines import cpu_of, node_of, row, slab_of, tiny, word

from memlab import GFP, SLAB, Corruption, KernelBug, Machine, MemType
from memlab.structs import kmem_cache_node

TINY = {"memory": "64K", "page_size": 256, "max_order": 4}
PER_SLAB = 8  # objects of 32 bytes in a page of 256


def things(m=None, size=32, **options):
    """Return a cache of objects of 32 bytes, eight to a slab of one page, on a tiny machine."""
    return (m or tiny()).kmem_cache_create("thing", size, **options)


def freelist(cache, first):
    """Follow a freelist through RAM from its first object to NULL."""
    found = []
    while first:
        assert first not in found
        found.append(first)
        first = word(cache.machine, first + cache.struct.offset)
    return found


@contextmanager
def refused(m, kind, match):
    """Expect an exception, and RAM untouched by what raised it."""
    before = m.snapshot()
    with pytest.raises(kind, match=match):
        yield
    assert m.snapshot() == before


# -- objects and their freelist


def test_objects_are_distinct_aligned_and_inside_their_slab():
    cache = things()
    m = cache.machine
    objects = [cache.alloc() for _ in range(3 * PER_SLAB)]
    assert len(set(objects)) == len(objects)
    assert {obj % 32 for obj in objects} == {0}
    for obj in objects:
        s = slab_of(m, obj)
        assert s.slab_cache == cache.address
        assert s.virt <= obj < s.virt + m.page_size
    assert m.check() is None


def test_a_new_slabs_freelist_runs_through_its_objects_in_order_of_address():
    cache = things()
    first = cache.alloc()
    assert freelist(cache, cpu_of(cache).freelist) == [first + 32 * i for i in range(1, PER_SLAB)]


def test_the_link_lies_in_the_middle_of_a_free_object():
    cache = things(size=64)
    assert cache.struct.offset == 32
    a, b = cache.alloc(), cache.alloc()
    cache.free(a)
    cache.free(b)
    assert word(cache.machine, b + 32) == a


def test_the_last_object_freed_is_the_first_allocated_again():
    cache = things()
    a, b, c = (cache.alloc() for _ in range(3))
    for obj in (a, c, b):
        cache.free(obj)
    assert [cache.alloc() for _ in range(3)] == [b, c, a]


def test_what_a_live_object_holds_survives_the_freeing_of_its_neighbours():
    cache = things()
    m = cache.machine
    objects = [cache.alloc() for _ in range(2 * PER_SLAB)]
    for i, obj in enumerate(objects):
        m.write(obj, bytes([i]) * 32)
    for obj in objects[::2]:
        cache.free(obj)
    assert [m.read(obj, 32) for obj in objects[1::2]] == [bytes([i]) * 32 for i in range(1, 2 * PER_SLAB, 2)]


def test_an_object_keeps_its_old_bytes_unless_zeroes_were_asked_for():
    cache = things()
    m = cache.machine
    obj = cache.alloc()
    for gfp, expected in ((GFP.KERNEL, b"\xab"), (GFP.KERNEL | GFP.ZERO, b"\0")):
        m.write(obj, b"\xab" * 32)
        cache.free(obj)
        assert cache.alloc(gfp) == obj
        assert m.read(obj, 8) == expected * 8  # the link was written further on
    assert m.read(obj, 32) == bytes(32)


def test_zero_clears_every_object_of_a_bulk_and_no_more_than_the_object():
    cache = things(size=24, align=32)
    m = cache.machine
    objects = cache.alloc_bulk(PER_SLAB)
    for obj in objects:
        m.write(obj, b"\xff" * 32)
    cache.free_bulk(objects)
    again = cache.alloc_bulk(PER_SLAB, GFP.KERNEL | GFP.ZERO)
    assert sorted(again) == sorted(objects)
    assert {m.read(obj, 32) for obj in again} == {bytes(24) + b"\xff" * 8}


# -- bulk


def test_alloc_bulk_gives_as_many_objects_as_were_asked_for():
    cache = things()
    objects = cache.alloc_bulk(20)
    assert len(set(objects)) == 20
    assert row(cache.machine, "thing")["active_objs"] == 20
    assert cache.alloc_bulk(0) == []


def test_alloc_bulk_is_all_or_nothing():
    cache = things()
    m = cache.machine
    assert cache.alloc_bulk(m.nr_pages * PER_SLAB) is None
    assert row(m, "thing")["active_objs"] == 0
    assert m.check() is None
    assert cache.alloc() is not None


def test_free_bulk_frees_all_of_its_objects():
    cache = things()
    objects = cache.alloc_bulk(20)
    cache.free_bulk(objects[5:])
    assert row(cache.machine, "thing")["active_objs"] == 5
    assert cache.machine.check() is None


# -- the active slab, CPUs and lists


def test_the_active_slab_is_frozen_counts_all_its_objects_as_used_and_is_on_no_list():
    cache = things()
    m = cache.machine
    s = slab_of(m, cache.alloc())
    assert cpu_of(cache).slab == s.address
    assert (s.frozen, s.inuse, s.objects, s.freelist) == (1, PER_SLAB, PER_SLAB, 0)
    assert node_of(cache).nr_partial == 0
    assert row(m, "thing")["active_objs"] == 1


def test_each_cpu_has_a_slab_of_its_own():
    m = tiny(cpus=2)
    cache = things(m)
    a = cache.alloc()
    with m.on_cpu(1):
        b = cache.alloc()
    assert slab_of(m, a) != slab_of(m, b)
    assert (cpu_of(cache, 0).slab, cpu_of(cache, 1).slab) == (slab_of(m, a).address, slab_of(m, b).address)


def test_a_free_from_another_cpu_goes_to_the_slabs_own_freelist():
    m = tiny(cpus=2)
    cache = things(m)
    a, b = cache.alloc(), cache.alloc()
    mine = cpu_of(cache).freelist
    with m.on_cpu(1):
        cache.free(a)
        cache.free(b)
    s = slab_of(m, a)
    assert freelist(cache, s.freelist) == [b, a]
    assert s.inuse == s.objects - 2
    assert cpu_of(cache).freelist == mine
    assert node_of(cache).nr_partial == 0  # it is still a CPU's
    assert m.check() is None


def test_what_other_cpus_freed_is_used_before_a_new_slab_is_made():
    m = tiny(cpus=2)
    cache = things(m)
    objects = cache.alloc_bulk(cache.struct.objects)
    with m.on_cpu(1):
        cache.free(objects[3])
        cache.free(objects[5])
    assert [cache.alloc(), cache.alloc()] == [objects[5], objects[3]]
    assert row(m, "thing")["num_slabs"] == 1
    assert cache.alloc() not in objects


def test_a_full_slab_is_on_no_list_and_joins_the_partial_list_when_an_object_is_freed():
    cache = things()
    m = cache.machine
    objects = [cache.alloc() for _ in range(PER_SLAB + 1)]
    s = slab_of(m, objects[0])
    assert (s.frozen, s.freelist, node_of(cache).nr_partial) == (0, 0, 0)
    cache.free(objects[4])
    assert node_of(cache).nr_partial == 1
    assert node_of(cache).partial == (s.address + 8, s.address + 8)
    assert (s.freelist, s.inuse) == (objects[4], PER_SLAB - 1)


def test_a_partial_slab_is_used_before_a_new_one_is_made():
    cache = things()
    objects = [cache.alloc() for _ in range(2 * PER_SLAB)]
    cache.free(objects[0])
    assert cache.alloc() == objects[0]
    assert node_of(cache).nr_partial == 0
    assert row(cache.machine, "thing")["num_slabs"] == 2


def test_min_partial_empty_slabs_are_kept_and_the_next_is_released():
    m = tiny(memory="256K")
    cache = things(m, size=2048)  # one object to a slab, so that a full slab becomes empty at once
    assert (cache.struct.objects, cache.struct.min_partial) == (1, 5)
    objects = [cache.alloc() for _ in range(8)]
    kept = []
    for obj in objects[:-1]:
        cache.free(obj)
        kept.append(node_of(cache).nr_partial)
    assert kept == [1, 2, 3, 4, 5, 5, 5]
    assert [m.mem_desc(m.virt_to_pfn(obj)).type for obj in objects] == [MemType.SLAB] * 5 + [MemType.FREE] * 2 + [MemType.SLAB]
    assert m.check() is None


def test_a_slab_that_becomes_empty_on_a_long_enough_list_is_released():
    cache = things()
    m = cache.machine
    objects = [cache.alloc() for _ in range(10 * PER_SLAB)]
    free = m.free_pages_count
    for obj in objects:
        cache.free(obj)
    slabs = 10 - row(m, "thing")["num_slabs"]
    assert slabs > 3
    assert m.free_pages_count >= free + slabs
    assert node_of(cache).nr_slabs == row(m, "thing")["num_slabs"] <= cache.struct.min_partial
    assert m.check() is None


def test_slabs_and_partial_lists_belong_to_a_node():
    m = tiny(nodes=2, cpus=2)
    cache = things(m)
    objects = {}
    for cpu in (0, 1):
        with m.on_cpu(cpu):
            objects[cpu] = cache.alloc_bulk(cache.struct.objects + 1)
    assert [slab_of(m, objects[cpu][0]).flags >> 8 for cpu in (0, 1)] == [0, 1]
    assert [node_of(cache, n).nr_slabs for n in (0, 1)] == [2, 2]
    cache.free(objects[1][0])
    assert [node_of(cache, n).nr_partial for n in (0, 1)] == [0, 1]


def test_a_dma_cache_has_its_slabs_in_the_dma_zone():
    m = tiny(dma="16K")
    cache = things(m, flags=SLAB.CACHE_DMA)
    assert m.virt_to_pfn(cache.alloc()) < 64
    assert m.virt_to_pfn(m.folio_alloc(0)) >= 64


# -- orders: oo, then min


def fragmented():
    """Return a machine of 4 KiB pages on which no two free pages are neighbours, and a cache whose slabs have two pages, or one."""
    m = Machine("1M", max_order=8)
    cache = m.kmem_cache_create("thing", 700)
    assert (cache.struct.order, cache.struct.min_order) == (1, 0)
    spare = m.caches["kmem_cache_slab"].alloc()  # so that the slab needs pages only
    m.caches["kmem_cache_slab"].free(spare)
    pfns = m.alloc_pages_bulk(m.nr_pages)
    for pfn in pfns:
        if pfn % 2:
            m.free_pages(pfn)
    assert sum(m.buddyinfo()[0, "Normal"][1:]) == 0 < m.buddyinfo()[0, "Normal"][0]
    return m, cache


def test_a_slab_has_the_preferred_order_where_it_can():
    m = Machine("1M", max_order=8)
    cache = m.kmem_cache_create("thing", 700)
    s = slab_of(m, cache.alloc())
    assert (s.order, s.objects) == (cache.struct.order, cache.struct.objects) == (1, 11)
    assert [m.mem_desc(m.virt_to_pfn(s.virt) + i).address for i in (0, 1)] == [s.address, s.address]


def test_when_the_preferred_order_fails_the_smallest_is_tried():
    m, cache = fragmented()
    with m.trace() as t:
        obj = cache.alloc()
    s = slab_of(m, obj)
    assert (s.order, s.objects) == (0, 5)
    assert [str(call) for call in t.calls if call.depth == 6] == ["kmem_cache_alloc(kmem_cache_slab)", "alloc_pages()", "alloc_pages()"]
    assert m.check() is None


def test_when_both_orders_fail_the_struct_slab_is_given_back():
    m, cache = fragmented()
    while m.alloc_pages(0) is not None:
        pass
    before = row(m, "kmem_cache_slab")["active_objs"], m.free_pages_count
    assert cache.alloc() is None
    assert (row(m, "kmem_cache_slab")["active_objs"], m.free_pages_count) == before
    assert m.check() is None


@pytest.mark.parametrize("at", ["alloc_slab_page", "allocate_slab", "new_slab", "___slab_alloc", "kmem_cache_alloc"])
def test_a_failure_at_any_step_of_a_new_slab_is_none_and_leaves_nothing(at):
    cache = things()
    m = cache.machine
    with m.fail(at), refused_nothing(m):
        assert cache.alloc() is None
    assert cache.alloc() is not None


@contextmanager
def refused_nothing(m):
    """Expect no exception and no change to RAM."""
    before = m.snapshot()
    yield
    assert m.snapshot() == before


# -- shrink and destroy


def test_shrink_gives_back_empty_slabs_and_says_how_many():
    cache = things()
    m = cache.machine
    objects = [cache.alloc() for _ in range(4 * PER_SLAB)]
    for obj in objects[PER_SLAB:]:
        cache.free(obj)
    assert row(m, "thing")["num_slabs"] == 4
    assert cache.shrink() == 3
    assert cache.shrink() == 0
    assert row(m, "thing")["num_slabs"] == 1
    assert m.check() is None


def test_shrink_takes_the_active_slab_from_every_cpu():
    m = tiny(cpus=2)
    cache = things(m)
    for cpu in (0, 1):
        with m.on_cpu(cpu):
            cache.free(cache.alloc())
    assert cache.shrink() == 2
    assert [(cpu_of(cache, cpu).slab, cpu_of(cache, cpu).freelist) for cpu in (0, 1)] == [(0, 0), (0, 0)]


def test_shrink_sorts_the_partial_list_fullest_first():
    cache = things()
    m = cache.machine
    objects = [cache.alloc() for _ in range(3 * PER_SLAB + 1)]
    for i, n in enumerate((5, 1, 3)):  # so many objects of slab i are freed
        for obj in objects[i * PER_SLAB : i * PER_SLAB + n]:
            cache.free(obj)
    cache.shrink()
    first = m.slab(node_of(cache).partial[0] - 8)
    order = [first.inuse]
    while (following := first.list[0]) != node_of(cache).address + kmem_cache_node.partial.offset:
        first = m.slab(following - 8)
        order.append(first.inuse)
    assert order == sorted(order, reverse=True)
    assert sorted(order) == [1, 3, 5, 7]


def test_shrinking_all_caches_returns_the_memory_of_freed_objects():
    m = tiny(design="bounded")
    m.shrink()
    before = m.buddyinfo()
    caches = [m.kmem_cache_create(f"c{size}", size) for size in (24, 64, 200)]
    objects = [(cache, cache.alloc()) for cache in caches for _ in range(40)]
    for cache, obj in objects:
        cache.free(obj)
    m.shrink()
    assert [row(m, cache.name)["num_slabs"] for cache in caches] == [0, 0, 0]
    assert m.buddyinfo()[0, "Normal"][4] == before[0, "Normal"][4]


def test_a_destroyed_cache_gives_back_its_slabs_and_its_name():
    m = tiny()
    cache = things(m)
    cache.free(cache.alloc())
    cache.destroy()
    assert "thing" not in m.caches
    assert repr(cache) == "<KmemCache: destroyed>"
    assert m.check() is None
    again = things(m, size=64)
    assert m.caches["thing"] is again
    assert m.virt_to_pfn(again.alloc()) > 0


def test_a_destroyed_cache_refuses_everything_even_when_its_slot_is_used_again():
    m = tiny()
    cache = things(m)
    obj = cache.alloc()
    cache.free(obj)
    cache.destroy()
    other = things(m)
    mine = other.alloc()
    for call in (
        cache.alloc,
        lambda: cache.alloc_bulk(2),
        lambda: cache.free(mine),
        lambda: cache.free_bulk([mine]),
        cache.shrink,
        cache.destroy,
    ):
        with refused(m, KernelBug, "destroyed"):
            call()


def test_a_cache_with_live_objects_is_not_destroyed():
    cache = things()
    obj = cache.alloc()
    other = cache.alloc()
    with refused(cache.machine, KernelBug, f"thing has 2 live objects, at {obj:#x}, {other:#x}; free them"):
        cache.destroy()
    cache.free(obj)
    with refused(cache.machine, KernelBug, "thing has 1 live object"):
        cache.destroy()


# -- creating caches


def test_a_cache_is_a_view_of_a_struct_in_ram():
    m = tiny()
    cache = m.kmem_cache_create("thing", 30, align=16)
    assert (cache.name, cache.object_size, cache.size, cache.struct.align) == ("thing", 30, 32, 16)
    assert m.caches["thing"] is cache
    assert repr(cache) == "<KmemCache thing: objects of 32 bytes, 8 to a slab of 1 page>"
    m.write(cache.address, b"renamed\0")
    assert cache.name == "renamed"


@pytest.mark.parametrize(
    ("options", "step"),
    [({"align": 128}, 128), ({"flags": SLAB.HWCACHE_ALIGN}, 64), ({"flags": SLAB.DEBUG, "align": 64}, 64)],
    ids=["align", "HWCACHE_ALIGN", "align and DEBUG"],
)
def test_objects_are_aligned_as_asked(options, step):
    cache = Machine("1M").kmem_cache_create("thing", 40, **options)
    assert {cache.alloc() % step for _ in range(50)} == {0}


def test_the_table_of_caches_has_64_slots_and_then_there_is_none():
    m = tiny()
    n = 64 - len(m.caches)
    caches = [m.kmem_cache_create(f"c{i}", 32) for i in range(n)]
    assert None not in caches
    with refused_nothing(m):
        assert m.kmem_cache_create("one too many", 32) is None
    caches[7].destroy()
    assert m.kmem_cache_create("now it fits", 32) is not None
    assert len(m.caches) == 64
    assert m.check() is None


def test_the_largest_object_is_a_block_of_the_highest_order():
    m = tiny(memory="256K")
    obj = things(m, size=4096).alloc()
    assert slab_of(m, obj).order == 4


# -- constructors


def test_a_constructor_is_called_once_for_each_object_when_its_slab_is_set_up():
    calls = []
    cache = things(ctor=calls.append, size=24)
    obj = cache.alloc()
    assert calls == [obj + cache.size * i for i in range(PER_SLAB)]
    for _ in range(3):
        cache.free(obj)
        obj = cache.alloc()
    assert len(calls) == PER_SLAB


def test_what_a_constructor_wrote_is_there_at_every_allocation():
    m = tiny()
    cache = things(m, ctor=lambda obj: m.write(obj, b"constructed object, 32 bytes...."))
    first = [cache.alloc() for _ in range(PER_SLAB)]
    for obj in first:
        cache.free(obj)  # the link does not overwrite it: it lies behind the object
    assert {m.read(cache.alloc(), 32) for _ in range(PER_SLAB)} == {b"constructed object, 32 bytes...."}
    assert cache.struct.offset == 32
    assert m.check() is None


def test_zeroes_and_a_constructor_exclude_each_other():
    cache = things(ctor=lambda _: None)
    with refused(cache.machine, ValueError, "would undo what the constructor of thing did"):
        cache.alloc(GFP.KERNEL | GFP.ZERO)


@pytest.mark.parametrize("nth", [1, 3, 5])
def test_a_constructor_that_raises_leaves_no_slab_behind(nth):
    m = tiny()
    calls = []

    def ctor(obj):
        calls.append(obj)
        if len(calls) == nth:
            raise ZeroDivisionError

    m.caches["kmem_cache_slab"].free(m.caches["kmem_cache_slab"].alloc())
    cache = things(m, ctor=ctor)
    before = m.buddyinfo(), row(m, "kmem_cache_slab")["active_objs"]
    with pytest.raises(ZeroDivisionError):
        cache.alloc()
    assert m.check() is None
    assert row(m, "thing")["num_slabs"] == node_of(cache).nr_slabs == 0
    assert (m.buddyinfo(), row(m, "kmem_cache_slab")["active_objs"]) == before
    assert cache.alloc() is not None
    assert m.check() is None


def test_a_constructor_that_raises_in_the_middle_of_a_bulk_leaves_no_objects_behind():
    m = tiny()
    calls = []

    def ctor(obj):
        calls.append(obj)
        if len(calls) > 2 * PER_SLAB:
            raise ZeroDivisionError

    cache = things(m, ctor=ctor, size=24)
    with pytest.raises(ZeroDivisionError):
        cache.alloc_bulk(3 * PER_SLAB)
    assert row(m, "thing")["active_objs"] == 0
    assert m.check() is None


# -- debug caches


def debug(flags=SLAB.DEBUG, size=30, **more):
    return things(size=size, flags=flags, **more)


def test_a_debug_object_lies_between_red_zones_that_say_whether_it_is_free():
    cache = debug()
    m = cache.machine
    obj = cache.alloc()
    zones = lambda: (m.read(obj - 8, 8), m.read(obj + 30, 2))  # noqa: E731  # the two zones, read anew each time
    assert zones() == (b"\xcc" * 8, b"\xcc" * 2)
    cache.free(obj)
    assert zones() == (b"\xbb" * 8, b"\xbb" * 2)


def test_a_word_sized_debug_object_still_has_a_right_red_zone():
    cache = debug(size=32)
    obj = cache.alloc()
    assert cache.struct.inuse == 40
    assert cache.machine.read(obj + 32, 8) == b"\xcc" * 8


def test_a_free_debug_object_is_poisoned_and_a_live_one_may_hold_anything():
    cache = debug()
    m = cache.machine
    obj = cache.alloc()
    m.write(obj, b"\x11" * 30)
    cache.free(obj)
    assert m.read(obj, 30) == b"\x6b" * 29 + b"\xa5"
    assert m.check() is None


def test_debug_objects_that_were_never_allocated_are_poisoned_too():
    cache = debug()
    obj = cache.alloc()
    assert cache.machine.read(obj + cache.size, 30) == b"\x6b" * 29 + b"\xa5"


def test_a_debug_cache_has_no_active_slabs():
    cache = debug()
    s = slab_of(cache.machine, cache.alloc())
    assert (cpu_of(cache).slab, s.frozen, s.inuse) == (0, 0, 1)
    assert node_of(cache).nr_partial == 1


@pytest.mark.parametrize(("where", "side"), [(30, "right"), (31, "right"), (-1, "left"), (-8, "left")])
@pytest.mark.parametrize("flags", [SLAB.DEBUG, SLAB.RED_ZONE], ids=["DEBUG", "RED_ZONE"])
def test_a_write_beyond_an_object_is_found_when_it_is_freed(where, side, flags):
    cache = debug(flags)
    m = cache.machine
    obj = cache.alloc()
    m.write(obj + where, b"!")
    with refused(
        m,
        KernelBug,
        f"the {side} red zone of the allocated object at {obj:#x} of thing was overwritten: byte {obj + where:#x} is 0x21, not 0xcc",
    ):
        cache.free(obj)


@pytest.mark.parametrize("where", [0, 7, 29])
@pytest.mark.parametrize("flags", [SLAB.DEBUG, SLAB.POISON], ids=["DEBUG", "POISON"])
def test_a_write_to_a_freed_object_is_found_when_it_is_allocated_again(where, flags):
    cache = debug(flags)
    m = cache.machine
    obj = cache.alloc()
    cache.free(obj)
    m.write(obj + where, b"!")
    with refused(m, KernelBug, f"use after free: byte {obj + where:#x} of the free object at {obj:#x} of thing was written"):
        cache.alloc()


def test_without_debug_the_same_mistakes_go_unseen():
    cache = things(size=30)
    m = cache.machine
    obj = cache.alloc()
    m.write(obj + 30, b"!")
    cache.free(obj)
    m.write(obj, b"!")
    assert cache.alloc() == obj
    assert m.check() is None


@pytest.mark.parametrize("flags", [SLAB.DEBUG, SLAB.CONSISTENCY_CHECKS, SLAB.POISON], ids=["DEBUG", "CONSISTENCY_CHECKS", "POISON"])
@pytest.mark.parametrize("between", range(4))
def test_a_debug_cache_finds_every_double_free(flags, between):
    cache = debug(flags)
    objects = [cache.alloc() for _ in range(6)]
    for obj in objects[: between + 1]:
        cache.free(obj)
    with refused(cache.machine, KernelBug, f"double free: the object at {objects[0]:#x}"):
        cache.free(objects[0])


def test_free_bulk_of_a_debug_cache_frees_nothing_if_one_object_was_overrun():
    cache = debug()
    m = cache.machine
    objects = cache.alloc_bulk(3)
    m.write(objects[2] + 30, b"!")
    with refused(m, KernelBug, "right red zone"):
        cache.free_bulk(objects)


def test_debug_objects_with_a_constructor_have_red_zones_but_no_poison():
    m = tiny()
    cache = things(m, flags=SLAB.DEBUG, ctor=lambda obj: m.write(obj, b"c" * 32))
    obj = cache.alloc()
    cache.free(obj)
    assert m.read(obj, 32) == b"c" * 32
    assert m.read(obj - 8, 8) == b"\xbb" * 8
    assert cache.alloc() == obj
    assert m.check() is None


def test_objects_that_rcu_may_still_read_keep_their_bytes_when_freed():
    cache = things(flags=SLAB.TYPESAFE_BY_RCU)
    m = cache.machine
    a, b = cache.alloc(), cache.alloc()
    m.write(b, b"r" * 32)
    cache.free(a)
    cache.free(b)
    assert m.read(b, 32) == b"r" * 32
    assert word(m, b + 32) == a


def test_a_debug_cache_runs_dry_and_recovers():
    cache = debug()
    m = cache.machine
    objects = []
    while (obj := cache.alloc()) is not None:
        objects.append(obj)
    assert m.check() is None
    for obj in objects:
        cache.free(obj)
    cache.shrink()
    assert row(m, "thing")["num_slabs"] == 0
    assert m.check() is None


# -- misuse


def test_a_double_free_is_found_at_the_head_of_the_cpus_freelist():
    cache = things()
    a = cache.alloc()
    cache.free(a)
    with refused(cache.machine, KernelBug, f"double free: the object at {a:#x} of thing is free already"):
        cache.free(a)


def test_a_double_free_is_found_at_the_head_of_a_slabs_freelist():
    cache = things()
    objects = [cache.alloc() for _ in range(PER_SLAB + 1)]
    cache.free(objects[0])
    cache.free(objects[1])
    with refused(cache.machine, KernelBug, "double free"):
        cache.free(objects[1])


def test_a_double_free_from_another_cpu_is_found_at_the_head_of_the_first_cpus_freelist():
    m = tiny(cpus=2)
    cache = things(m)
    a = cache.alloc()
    cache.free(a)
    with m.on_cpu(1), refused(m, KernelBug, "double free"):
        cache.free(a)


def test_a_double_free_further_down_is_for_the_debug_flag_to_find_and_leaves_a_circle():
    cache = things()
    m = cache.machine
    a, b = cache.alloc(), cache.alloc()
    for obj in (a, b, a):
        cache.free(obj)
    with pytest.raises(Corruption, match="runs in a circle"):
        m.check()


def test_descriptors_taken_by_hand_are_given_back_by_hand():
    m = tiny()
    cache = m.caches["kmem_cache_buddy"]
    objects = [cache.alloc(), *cache.alloc_bulk(3)]
    assert m.check() is None
    cache.free(objects[0])
    cache.free_bulk(objects[1:])
    assert m.check() is None
    with refused(m, KernelBug, "double free"):
        cache.free(objects[-1])


# -- kmalloc


@pytest.mark.parametrize(
    ("size", "cache"),
    [
        *((1, "kmalloc-8"), (8, "kmalloc-8"), (9, "kmalloc-16"), (33, "kmalloc-64"), (65, "kmalloc-96"), (97, "kmalloc-128")),
        *(
            (129, "kmalloc-192"),
            (193, "kmalloc-256"),
            (1000, "kmalloc-1k"),
            (1025, "kmalloc-2k"),
            (4096, "kmalloc-4k"),
            (8192, "kmalloc-8k"),
        ),
    ],
)
def test_kmalloc_takes_the_smallest_class_that_fits(size, cache):
    m = Machine("1M")
    obj = m.kmalloc(size)
    assert slab_of(m, obj).slab_cache == m.caches[cache].address
    m.kfree(obj)
    assert row(m, cache)["active_objs"] == 0


def test_kmallocs_classes_are_powers_of_two_up_to_two_pages_with_96_and_192():
    sizes = sorted(c.object_size for name, c in Machine("1M").caches.items() if name.startswith("kmalloc-"))
    assert sizes == [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192]
    sizes = sorted(c.object_size for name, c in tiny().caches.items() if name.startswith("kmalloc-"))
    assert sizes == [8, 16, 32, 64, 96, 128, 192, 256, 512]


def test_kmalloc_of_a_power_of_two_is_aligned_to_it():
    m = Machine("1M")
    for size in (8, 64, 512, 4096):
        assert {m.kmalloc(size) % size for _ in range(5)} == {0}


def test_kmalloc_of_more_than_two_pages_takes_pages():
    m = Machine("1M")
    address = m.kmalloc(3 * 4096)
    pfn = m.virt_to_pfn(address)
    assert m.mem_desc(pfn).type is MemType.BUDDY
    assert m.buddy(m.mem_desc(pfn).address).order == 2
    m.kfree(address)
    assert m.mem_desc(pfn).type is MemType.FREE
    assert m.check() is None


def test_kmalloc_clears_what_it_was_asked_to_clear():
    m = Machine("1M")
    for size in (100, 20000):
        address = m.kmalloc(size)
        m.write(address, b"\xff" * size)
        m.kfree(address)
        assert m.kmalloc(size, GFP.KERNEL | GFP.ZERO) == address
        assert m.read(address, size) == bytes(size)


def test_kmalloc_until_nothing_is_left_is_none_and_nothing_leaks():
    m = tiny()
    objects = []
    while (obj := m.kmalloc(100)) is not None:
        objects.append(obj)
    assert m.kmalloc(4096) is None
    assert m.check() is None
    for obj in objects:
        m.kfree(obj)
    m.shrink()
    assert row(m, "kmalloc-128")["num_slabs"] == 0
    assert m.check() is None


def test_kfree_of_none_does_nothing():
    m = tiny()
    with refused_nothing(m):
        m.kfree(None)


# -- slabinfo


def test_slabinfo_has_the_columns_of_proc_slabinfo():
    m = tiny()
    cache = things(m)
    objects = [cache.alloc() for _ in range(PER_SLAB + 3)]
    cache.free(objects[0])
    assert row(m, "thing") == {
        "name": "thing",
        "active_objs": PER_SLAB + 2,
        "num_objs": 2 * PER_SLAB,
        "objsize": 32,
        "objperslab": PER_SLAB,
        "pagesperslab": 1,
        "active_slabs": 2,
        "num_slabs": 2,
    }
    assert [r["name"] for r in m.slabinfo()] == list(m.caches)


def test_slabinfo_and_caches_read_ram():
    m = tiny()
    before = m.slabinfo()
    cache = things(m)
    obj = cache.alloc()
    assert len(m.slabinfo()) == len(before) + 1
    cache.free(obj)
    cache.destroy()
    assert [r["name"] for r in m.slabinfo()] == [r["name"] for r in before]
