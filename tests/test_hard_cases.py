"""Cases in which several parts meet, each of which once went wrong: the shortest sequence that shows it."""

import array

import pytest

from memlab import GFP, Corruption, KernelBug, Machine, MemType
from memlab.memdesc import tag


@pytest.fixture(params=["as-written", "bounded"])
def m(request):
    return Machine("1M", max_order=6, design=request.param)


def circular(m):
    """Free two objects so that the freelist runs in a circle: the double free that only a debug cache finds."""
    cache = m.kmem_cache_create("thing", 64)
    a, b = cache.alloc(), cache.alloc()
    cache.free(a)
    cache.free(b)
    cache.free(a)
    return cache


@pytest.mark.parametrize("look", [lambda m, c: m.shrink(), lambda m, c: m.slabinfo(), lambda m, c: c.shrink(), lambda m, c: c.destroy()])
def test_a_circular_freelist_ends_in_a_sentence(m, look):
    cache = circular(m)
    with pytest.raises(KernelBug, match="runs in a circle"):
        look(m, cache)
    with pytest.raises(Corruption) as caught:
        m.check()
    assert "cpu-freelist" in caught.value.rules


def test_a_bulk_allocation_that_overflows_the_stack_is_unmade():
    m = Machine("1M", max_order=6)
    free = m.free_pages_count + sum(r["num_slabs"] for r in m.slabinfo())
    m.frame_limit = 12
    with pytest.raises(KernelBug, match="kernel stack overflow"):
        m.alloc_pages_bulk(200)
    m.check()
    assert m.free_pages_count + sum(r["num_slabs"] for r in m.slabinfo()) == free


def test_a_constructor_may_shrink_the_machine():
    m = Machine("1M", max_order=6, design="bounded")
    folios = [m.folio_alloc(0) for _ in range(100)]
    for folio in folios[::2]:
        m.folio_put(folio)
    cache = m.kmem_cache_create("thing", 64, ctor=lambda address: m.shrink())
    assert cache.alloc() is not None
    m.check()


def test_a_learner_can_write_the_emails_alloc_slab_page_by_hand(m):
    slabs = m.caches["kmem_cache_slab"]
    s = slabs.alloc()
    held = m.alloc_pages_desc(0, tag(s, MemType.SLAB))
    m.check()
    view, buddy = m.slab(s), m.buddy(held)
    view.buddy, view.virt = held, m.page_address(m.page_to_pfn(buddy.page))
    m.check()
    with pytest.raises(KernelBug, match="goes when its block goes"):
        slabs.free(s)
    with pytest.raises(KernelBug, match="not with kfree"):
        m.kfree(view.virt)
    m.free_pages_desc(held)
    slabs.free(s)
    m.check()


@pytest.mark.parametrize("cache", ["kmem_cache_slab", "kmem_cache_buddy"])
def test_a_double_free_of_a_descriptor_is_called_one(m, cache):
    a = m.caches[cache].alloc()
    m.caches[cache].free(a)
    with pytest.raises(KernelBug, match="double free"):
        m.caches[cache].free(a)


def test_a_slab_type_needs_a_struct_slab(m):
    before = m.snapshot()
    with pytest.raises(ValueError, match="names no struct slab of yours"):
        m.alloc_pages_desc(0, tag(0x1000, MemType.SLAB))
    assert m.snapshot() == before


@pytest.mark.parametrize("name", ["folio", "anonmem", "filemem", "ptdesc", "vmalloc"])
def test_a_users_cache_is_used_through_the_users_functions_only(m, name):
    folio = m.folio_alloc(0)
    before = m.snapshot()
    cache = m.caches[name]
    for call in (cache.alloc, lambda: cache.alloc_bulk(1), lambda: cache.free(folio), lambda: cache.free_bulk([folio])):
        with pytest.raises(KernelBug, match="folio_alloc"):
            call()
    assert m.snapshot() == before


def test_a_snapshot_of_a_machine_booted_otherwise_is_refused():
    x, y = Machine("1M", max_order=6, dma="64K"), Machine("1M", max_order=6, dma="128K")
    before = y.snapshot()
    with pytest.raises(ValueError, match="another shape"):
        y.restore(x.snapshot())
    assert y.snapshot() == before


def test_a_machine_with_a_damaged_cache_name_loads(m, tmp_path):
    m.write(m.caches["kmalloc-8"].address, b"x")
    m.save(tmp_path / "m")
    other = Machine.load(tmp_path / "m")
    assert other.snapshot() == m.snapshot()
    assert other.kmalloc(8) is not None


def test_loading_changes_nothing(tmp_path):
    m = Machine("8M")
    m.zone().watermark = (1, 2, 3)
    m.save(tmp_path / "m")
    assert Machine.load(tmp_path / "m").snapshot() == m.snapshot()


@pytest.mark.parametrize("name", ["kmalloc-8\0", "\ud800", "a\nb", "ä"])
def test_a_cache_has_a_plain_name(m, name):
    with pytest.raises(ValueError, match="plain text"):
        m.kmem_cache_create(name, 64)


def test_a_restored_cache_has_its_own_constructor_again(m):
    calls = []
    start = m.snapshot()
    m.kmem_cache_create("a", 64, ctor=lambda address: calls.append("a"))
    with_a = m.snapshot()
    m.restore(start)
    m.kmem_cache_create("b", 64, ctor=lambda address: calls.append("b"))
    m.restore(with_a)
    m.caches["a"].alloc()
    assert set(calls) == {"a"}


def test_what_a_raising_constructor_left_is_an_undo_step():
    m = Machine("1M", max_order=6, undo=5)

    def ctor(address):
        m.write(m.page_address(mine), b"here")
        raise RuntimeError

    cache = m.kmem_cache_create("thing", 64, ctor=ctor)
    mine = m.alloc_pages(0)
    before = m.snapshot()
    with pytest.raises(RuntimeError):
        cache.alloc()
    assert m.snapshot() != before
    assert m.undo()
    assert m.snapshot() == before


def test_ram_takes_a_memoryview_of_words(m):
    address = m.get_free_page()
    m.write(address, memoryview(array.array("Q", [1, 2])))
    assert m.read(address, 16) == (1).to_bytes(8, "little") + (2).to_bytes(8, "little")


def test_a_mem_map_that_would_reach_into_highmem_is_too_little_lowmem():
    with pytest.raises(ValueError, match="too little to boot"):
        Machine(4096 * 256, page_size=256, max_order=4, dma=1000 * 256, highmem=3000 * 256)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.hexdump("x"),
        lambda m: m.hexdump(1.5),
        lambda m: tag("x", 1),
        lambda m: Machine("1M", pcp="no"),
        lambda m: m.caches["kmalloc-8"].free_bulk(5),
        lambda m: setattr(m.zone(), "watermark", 5),
        lambda m: m.alloc_pages_bulk(0, "x"),
    ],
)
def test_a_thing_of_the_wrong_kind_is_refused_in_a_sentence(m, call):
    with pytest.raises(TypeError, match="not "):
        call(m)


@pytest.mark.parametrize("call", [lambda m: m.fail([1]), lambda m: Machine("1M", undo=10**30), lambda m: Machine("9" * 5000)])
def test_a_value_beyond_measure_is_refused_in_a_sentence(m, call):
    with pytest.raises(ValueError, match=r"[a-z]{3}"):
        call(m)


def test_gfp_zero_clears_what_the_page_held_before(m):
    address = m.get_free_page()
    m.write(address, b"\xff" * 64)
    m.free_page(address)
    assert m.get_free_page(GFP.KERNEL | GFP.ZERO) == address
    assert m.read(address, 64) == bytes(64)
