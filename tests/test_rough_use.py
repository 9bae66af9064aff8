"""What a caller does that nobody should: numbers that are none, descriptors that are somebody's, two histories.  A sentence, and RAM as it was."""

import random
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from memlab import GFP, SLAB, KernelBug, Machine, MemType
from memlab.addresses import address
from memlab.cache_table import slabs_by_cache
from memlab.memdesc import tag, untag


class Raises:
    """A thing that can be shown by nothing and is no number."""

    def __repr__(self):
        raise RuntimeError("no repr")

    def __index__(self):
        raise TypeError("no index")


WRONG = {
    "bool": True,
    "float": 1.0,
    "nan": float("nan"),
    "infinite": float("inf"),
    "complex": 1j,
    "text": "1",
    "long text": "x" * 5000,
    "bytes": b"1",
    "list": [1],
    "tuple": (1,),
    "set": {1},
    "table": {1: 1},
    "thing": object(),
    "type": int,
    "function": len,
    "Decimal": Decimal(1),
    "Fraction": Fraction(1),
    "numpy float": np.float64(1),
    "numpy bool": np.bool_(True),
    "array of one": np.array([1]),
    "array": np.array([1, 2]),
    "raises": Raises(),
}


def face():
    """(machine, {name: a call with one number of it given}) over all public calls that take a number."""
    m = Machine("4M", dma="512K", highmem="512K", cpus=2)
    cache = m.kmem_cache_create("thing", 64)
    pfn, big, obj = m.alloc_pages(0), m.alloc_pages(2), cache.alloc()
    held, folio, area = m.alloc_pages_desc(1, tag(0xFFFF_C900_0000_0000, MemType.FOLIO)), m.folio_alloc(0), m.vmalloc(9000)
    page, at, desc = m.get_free_page(), m.kmalloc(100), m.mem_desc(pfn)
    return m, {
        "alloc_pages(order)": (m.alloc_pages, 0),
        "alloc_pages(gfp)": (lambda x: m.alloc_pages(0, x), GFP.KERNEL),
        "alloc_pages(node)": (lambda x: m.alloc_pages(0, GFP.KERNEL, x), 0),
        "alloc_pages_bulk": (m.alloc_pages_bulk, 3),
        "get_free_page": (m.get_free_page, GFP.KERNEL),
        "alloc_pages_desc(order)": (lambda x: m.alloc_pages_desc(x, tag(0xFFFF_C900_0000_0000, MemType.FOLIO)), 1),
        "alloc_pages_desc(desc)": (lambda x: m.alloc_pages_desc(1, x), tag(0xFFFF_C900_0000_0000, MemType.FOLIO)),
        "split_page": (m.split_page, big),
        "free_pages": (m.free_pages, pfn),
        "free_page": (m.free_page, page),
        "free_pages_desc": (m.free_pages_desc, held),
        "kmalloc": (m.kmalloc, 40),
        "kfree": (m.kfree, at),
        "kmem_cache_create(size)": (lambda x: m.kmem_cache_create("other", x), 40),
        "kmem_cache_create(align)": (lambda x: m.kmem_cache_create("third", 40, x), 64),
        "kmem_cache_create(flags)": (lambda x: m.kmem_cache_create("fourth", 40, flags=x), SLAB.RED_ZONE),
        "cache.alloc": (cache.alloc, GFP.KERNEL),
        "cache.alloc_bulk": (cache.alloc_bulk, 3),
        "cache.free": (cache.free, obj),
        "cache.free_bulk": (lambda x: cache.free_bulk([x]), cache.alloc()),
        "cache.grow": (cache.grow, GFP.KERNEL),
        "folio_alloc": (m.folio_alloc, 1),
        "folio_put": (m.folio_put, folio),
        "vmalloc": (m.vmalloc, 5000),
        "vfree": (m.vfree, area),
        "mem_desc": (m.mem_desc, pfn),
        "page": (m.page, pfn),
        "buddy": (m.buddy, desc.address),
        "read": (lambda x: m.read(m.B, x), 16),
        "read(address)": (lambda x: m.read(x, 16), m.B),
        "write": (lambda x: m.write(x, b"memlab"), page),
        "hexdump": (m.hexdump, m.B),
        "whatis": (m.whatis, m.B),
        "page_address": (m.page_address, pfn),
        "virt_to_pfn": (m.virt_to_pfn, m.B),
        "pfn_to_page": (m.pfn_to_page, pfn),
        "page_to_pfn": (m.page_to_pfn, m.V),
        "on_cpu": (lambda x: m.on_cpu(x).__enter__(), 0),
        "fail(nth)": (lambda x: m.fail("alloc_pages", x).cancel(), 1),
        "interrupt(times)": (lambda x: m.interrupt("alloc_pages", "call", m.shrink, x).cancel(), 1),
        "tag": (lambda x: tag(x, MemType.FOLIO), 64),
        "untag": (untag, 68),
        "GFP.show": (GFP.show, GFP.ATOMIC),
    }


FACE = list(face()[1])


@pytest.mark.parametrize("name", FACE)
def test_what_is_no_whole_number_is_refused_in_one_sentence(name):
    m, calls = face()
    before = m.snapshot()
    for value in WRONG.values():
        with pytest.raises((TypeError, ValueError)) as refused:
            calls[name][0](value)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 300
        assert m.snapshot() == before
    m.check()


@pytest.mark.parametrize("name", FACE)
@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.int32], ids=lambda kind: kind.__name__)
def test_numpys_whole_numbers_are_numbers(name, kind):
    (m, calls), (other, same) = face(), face()
    call, right = calls[name]
    if right > np.iinfo(kind).max:
        right = int(np.iinfo(kind).max)
        for f, value in ((call, kind(right)), (same[name][0], right)):
            with pytest.raises((ValueError, KernelBug)):
                f(value)
    else:
        one, two = call(kind(right)), same[name][0](right)
        assert type(one) is type(two)
    assert m.snapshot() == other.snapshot()
    m.check()


# -- descriptors that are somebody's


def test_a_descriptor_of_a_block_in_a_zone_without_flags_is_not_taken_for_an_unused_one():
    m = Machine("4M", dma="1M")
    held = m.alloc_pages_desc(0, tag(0xFFFF_C900_0000_0000, MemType.FOLIO), GFP.KERNEL | GFP.DMA)
    for give_back in (m.caches["kmem_cache_buddy"].free, lambda a: m.caches["kmem_cache_buddy"].free_bulk([a])):
        with pytest.raises(KernelBug, match="goes when its block goes"):
            give_back(held)
    m.free_pages_desc(held)
    m.check()


def test_a_struct_slab_describes_one_block_at_a_time_and_none_once_it_is_freed():
    m = Machine("4M", highmem="512K")
    slabs = m.caches["kmem_cache_slab"]
    mine = slabs.alloc()
    with pytest.raises(ValueError, match="without __GFP_HIGHMEM"):
        m.alloc_pages_desc(0, tag(mine, MemType.SLAB), GFP.KERNEL | GFP.HIGHMEM)
    held = m.alloc_pages_desc(1, tag(mine, MemType.SLAB))
    for call, words in (
        (lambda: m.alloc_pages_desc(0, tag(mine, MemType.SLAB)), "describes a block already"),
        (lambda: slabs.free(mine), "its block"),
    ):
        with pytest.raises((ValueError, KernelBug), match=words):
            call()
    m.free_pages_desc(held)
    again = m.alloc_pages_desc(0, tag(mine, MemType.SLAB))
    m.free_pages_desc(again)
    slabs.free(mine)
    with pytest.raises(ValueError, match="no struct slab of yours"):
        m.alloc_pages_desc(0, tag(mine, MemType.SLAB))
    m.check()


def test_a_struct_slab_of_the_machines_own_is_nobodys():
    m = Machine("4M")
    own = m.mem_desc(m.virt_to_pfn(m.caches["kmalloc-64"].alloc())).address
    before = m.snapshot()
    with pytest.raises(ValueError, match="no struct slab of yours"):
        m.alloc_pages_desc(0, tag(own, MemType.SLAB))
    assert m.snapshot() == before


def test_a_promised_struct_slab_is_free_again_when_there_are_no_pages():
    m = Machine("1M")
    mine = m.caches["kmem_cache_slab"].alloc()
    with m.fail("alloc_pages"):
        assert m.alloc_pages_desc(0, tag(mine, MemType.SLAB)) is None
    m.caches["kmem_cache_slab"].free(mine)
    m.check()


# -- two histories


def test_handles_of_caches_follow_ram_into_another_history_and_back():
    m = Machine("1M")
    start = m.snapshot()
    b = m.kmem_cache_create("b", 64)
    obj = b.alloc()
    one = m.snapshot()
    m.restore(start)
    c = m.kmem_cache_create("c", 32)
    other = m.snapshot()
    for _ in range(2):
        m.restore(one)
        assert m.caches["b"] is b
        assert "c" not in m.caches
        with pytest.raises(KernelBug, match="destroyed"):
            c.alloc()
        m.restore(other)
        assert m.caches["c"] is c
        with pytest.raises(KernelBug, match="destroyed"):
            b.free(obj)
    m.restore(one)
    b.free(obj)
    b.destroy()
    m.check()


def test_the_tables_beside_ram_do_not_grow_with_caches_that_come_and_go():
    m = Machine("1M")
    for n in range(300):
        m.kmem_cache_create(f"cache {n}", 64, ctor=lambda _: None).destroy()
    assert len(m.views) + len(m.handles) + len(m.ctors) < 100


# -- before anything is written


@pytest.mark.parametrize("size", [(1 << 32) - 8, 1 << 32])
def test_an_object_that_an_unsigned_int_cannot_measure_is_refused_before_the_table_is_written(size):
    m = Machine("32G", max_order=21)
    before = m.snapshot()
    with pytest.raises(ValueError, match="bytes"):
        m.kmem_cache_create("huge", size, flags=SLAB.RED_ZONE)
    assert m.snapshot() == before
    assert "huge" not in m.caches


# -- what is looked at on a large machine


@pytest.mark.parametrize("seed", range(6))
def test_slabs_that_are_found_block_by_block_are_all_there_are(seed):
    dice = random.Random(seed)
    m = Machine("2M", nodes=1 + seed % 2, highmem="256K", dma="128K", design=("as-written", "bounded")[seed % 2], pcp=seed % 3 == 0)
    caches = [m.kmem_cache_create(f"c{size}", size) for size in (40, 700, 3000, 9000)]
    for _ in range(300):
        dice.choice(
            (
                lambda: dice.choice(caches).alloc(),
                lambda: m.alloc_pages(dice.randrange(3)),
                lambda: m.folio_alloc(dice.randrange(3)),
                lambda: m.vmalloc(9000),
            )
        )()
    brute = {}
    for pfn in range(m.nr_pages):
        kind, at = m.mem_desc(pfn)
        if kind is MemType.SLAB:
            brute.setdefault(m.slab(at).slab_cache, dict[int, None]())[at] = None
    assert {address(c): [address(s) for s in slabs] for c, slabs in slabs_by_cache(m).items()} == {
        c: list(slabs) for c, slabs in brute.items()
    }


# -- a wild word


@pytest.mark.parametrize("kind", [Machine, type("Plain", (Machine,), {})], ids=["in line", "plain"])
@pytest.mark.parametrize(
    "wild", [0xCCCC_CCCC_CCCC_CCCC, 8, 0xFFFF_8880_0000_0000 - 8, 0xFFFF_8880_0000_0000 - 64, 0xFFFF_8880_4000_0000, (1 << 64) - 1], ids=hex
)
def test_a_free_pointer_that_leads_out_of_ram_is_named_and_never_handed_out(kind, wild):
    m = kind("1M")
    cache = m.kmem_cache_create("thing", 64)
    used = [cache.alloc() for _ in range(3)]
    cache.free(used[1])
    m.write(used[1] + cache.struct.offset, wild.to_bytes(8, "little"))
    assert cache.alloc() == used[1]
    before = m.snapshot()
    for call in (cache.alloc, lambda: cache.alloc_bulk(2)):
        with pytest.raises(KernelBug, match=f"^general protection fault: a freelist of thing leads to {wild:#x}"):
            call()
    assert m.snapshot() == before


@pytest.mark.parametrize("to", ["itself", "nowhere"])
def test_a_list_is_walked_no_further_than_there_are_pages(to):
    m = Machine("1M")
    pages = [m.alloc_pages(0) for _ in range(8)]
    for pfn in pages[::2]:
        m.free_pages(pfn)
    first = (m.w[m.zones[0].heads] - m.B) >> 3
    m.w[first] = m.B + 8 * first if to == "itself" else 0xCCCC_CCCC_CCCC_CCCC
    with pytest.raises(KernelBug, match=r"the list at 0x[0-9a-f]+ (runs in a circle|leads to 0xcccc)"):
        m.buddyinfo()
