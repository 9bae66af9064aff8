"""What bad input gets: for every misuse the right exception with a sentence, and RAM exactly as it was, by comparing snapshots.

KernelBug for breaking a rule of the allocator (double free, somebody else's page), ValueError and TypeError for what is no sensible argument.
The misuses are the lines below; what each gets is in tests/golden/refusals.txt.
"""

import ast
import re
from itertools import product

import pytest

from memlab import GFP, SLAB, KernelBug, Machine, MemType
from memlab.gfp import check
from memlab.memdesc import tag, untag

BASE = 0xFFFF_8880_0000_0000

# A line is an expression with the names of World's attributes, and may end in "for BAD in ...": one expression for each of these.
MISUSE = {
    "free_pages": """
        m.free_pages(BAD) for BAD in freed, free_page, block + 1, block + 7, highmem + 1, slab_page, desc_page, 0, m.mem_map_pfn, m.nr_pages
        m.free_pages(BAD) for BAD in -1, 1 << 70, address, None, "7", 1.0, [7]
        CALL(BAD) for CALL in m.free_pages, m.split_page for BAD in folio_page, anonmem_page, filemem_page, ptdesc_page, vm_page
    """,
    "free_page": """
        m.free_page(BAD) for BAD in freed_address, address + 8, m.page_address(pair), m.page_address(block + 2), m.page_address(slab_page)
        m.free_page(BAD) for BAD in 0, BASE + highmem * m.page_size, BASE + (1 << 40), BASE - m.page_size, page, None, "0xffff888000001000"
        m.free_page(m.page_address(BAD)) for BAD in folio_page, desc_page
    """,
    "split_page": """
        m.split_page(BAD) for BAD in page, freed, block + 4, slab_page, desc_page, m.nr_pages, -8, "8", None
    """,
    "a request for pages": """
        m.alloc_pages(BAD) for BAD in -1, 9, 1 << 80, "0", None, 0.5, 1.0, [0]
        CALL(BAD) for CALL in m.folio_alloc, m.anonmem_alloc, m.filemem_alloc for BAD in -1, 9, "1", None, 1.0
        CALL(0, BAD) for CALL in m.alloc_pages, m.folio_alloc for BAD in 1 << 9, -1, GFP.DMA | GFP.HIGHMEM, "GFP_KERNEL", None
        CALL(1, BAD) for CALL in m.vmalloc, m.alloc_pages_bulk for BAD in 1 << 9, -1, GFP.DMA | GFP.HIGHMEM, "GFP_KERNEL"
        CALL(BAD) for CALL in m.get_free_page, m.pgtable_alloc for BAD in 1 << 9, -1, GFP.DMA | GFP.HIGHMEM, "GFP_KERNEL"
        m.filemem_alloc(0, 1 << 30)
        m.alloc_pages(9, GFP.ATOMIC)
        m.alloc_pages(0, GFP.KERNEL, BAD) for BAD in 2, -1, "0"
        m.alloc_pages_bulk(BAD) for BAD in -1, "3"
        m.vmalloc(BAD) for BAD in 0, -1, 1 << 40, "4096", 4096.0, None
    """,
    "users of descriptors": """
        CALL(BAD) for CALL in m.folio_put, m.anonmem_put, m.filemem_put, m.pgtable_put, m.vfree for BAD in 0, 16, -16, 1 << 64, address, obj
        CALL(BAD) for CALL in m.folio_put, m.anonmem_put, m.filemem_put, m.pgtable_put, m.vfree for BAD in address + 64, m.pfn_to_page(3)
        CALL(BAD) for CALL in m.folio_put, m.anonmem_put, m.filemem_put, m.pgtable_put, m.vfree for BAD in descriptor, cache.address
        CALL(BAD) for CALL in m.folio_put, m.anonmem_put, m.filemem_put, m.pgtable_put, m.vfree for BAD in None, "folio", 1.0, b"x"
        m.folio_put(BAD) for BAD in put_folio, anonmem, filemem, ptdesc, vm, folio + 8, folio + 16, folio + 64
        m.anonmem_put(BAD) for BAD in put_anonmem, folio, filemem, ptdesc, vm, anonmem + 8, anonmem + 16, anonmem + 64
        m.filemem_put(BAD) for BAD in put_filemem, folio, anonmem, ptdesc, vm, filemem + 8, filemem + 16, filemem + 64
        m.pgtable_put(BAD) for BAD in put_ptdesc, folio, anonmem, filemem, vm, ptdesc + 8, ptdesc + 16, ptdesc + 64
        m.vfree(BAD) for BAD in put_vm, folio, anonmem, filemem, ptdesc, vm + 8, vm + 16, vm + 64
    """,
    "pages for a descriptor": """
        m.free_pages_desc(BAD) for BAD in BASE, BASE + 16, desc + 16, desc + 1, m.mem_desc(block).address, m.mem_desc(free_page).address
        m.free_pages_desc(BAD) for BAD in m.slab(m.mem_desc(slab_page).address).buddy, descriptor, kmalloced, put_desc
        m.free_pages_desc(BAD) for BAD in m.page_address(block), m.page_address(block) + 16, 0, -16, None
        m.alloc_pages_desc(0, BAD) for BAD in BASE, BASE | 15, 4, 0, BASE | 1, BASE | 2, "folio", 1 << 64 | 4, -12
        m.alloc_pages_desc(9, BASE | 4)
        m.alloc_pages_node_desc(2, 0, BASE | 4)
    """,
    "objects of a cache": """
        CALL.free(BAD) for CALL in cache, debug for BAD in other_obj, address, m.page_address(free_page), m.page_address(m.mem_map_pfn)
        CALL.free(BAD) for CALL in cache, debug for BAD in m.pfn_to_page(9), BASE + highmem * m.page_size, BASE + m.nr_pages * m.page_size
        CALL.free(BAD) for CALL in cache, debug for BAD in BASE - 32, BASE + (1 << 50), 0, -32, 1 << 80, None, "obj", 1.5
        CALL.free_bulk([BAD]) for CALL in cache, debug for BAD in other_obj, address, m.page_address(free_page), m.page_address(m.mem_map_pfn)
        CALL.free_bulk([BAD]) for CALL in cache, debug for BAD in m.pfn_to_page(9), BASE + m.nr_pages * m.page_size, BASE - 32, 0, -32, 1 << 80
        CALL.free_bulk([BAD]) for CALL in cache, debug for BAD in None, "obj", 1.5
        cache.free(BAD) for BAD in freed_obj, debug_objs[2], obj + 8, obj + 1, rest_of_slab
        cache.free_bulk([obj, BAD]) for BAD in other_obj, obj, None, freed_obj, obj2 + 8
        cache.free_bulk([obj, BAD, obj2]) for BAD in freed_obj, obj2 + 8
        debug.free(BAD) for BAD in debug_objs[1], debug_objs[0], obj, debug_objs[2] + 8
        debug.free_bulk([BAD]) for BAD in debug_objs[1], obj, debug_objs[2] + 8
        other.free(BAD) for BAD in obj, freed_obj
        cache.destroy()
        m.caches[BAD].destroy() for BAD in "kmem_cache_buddy", "kmem_cache_slab", "kmalloc-64", "folio"
        gone.alloc()
        gone.alloc_bulk(3)
        gone.free(obj)
        gone.shrink()
        gone.destroy()
        m.caches["kmem_cache_buddy"].CALL for CALL in free(m.mem_desc(page).address), free_bulk([m.mem_desc(page).address])
        m.caches["kmem_cache_slab"].CALL for CALL in free(m.mem_desc(slab_page).address), free_bulk([m.mem_desc(slab_page).address])
        cache.alloc_bulk(BAD) for BAD in -1, "2"
        cache.alloc(BAD) for BAD in GFP.KERNEL | GFP.HIGHMEM, GFP.KERNEL | GFP.DMA, 1 << 25, 1 << 40, "x"
        cache.alloc_bulk(2, BAD) for BAD in GFP.KERNEL | GFP.HIGHMEM, GFP.KERNEL | GFP.DMA, 1 << 40, "x"
    """,
    "a new cache": """
        m.kmem_cache_create(BAD, 40) for BAD in "cache", "folio", "", "x" * 32, "ü" * 16, 7, None
        m.kmem_cache_create("new", BAD) for BAD in 7, 0, -32, (1024 << 8) + 1, "40"
        m.kmem_cache_create("new", 1024 << 8, flags=SLAB.DEBUG)
        m.kmem_cache_create("new", 40, align=BAD) for BAD in 24, -8, 2048
        m.kmem_cache_create("new", 40, flags=BAD) for BAD in 1, None
        m.kmem_cache_create("new", 40, ctor=BAD) for BAD in 3, "memset"
    """,
    "kmalloc and kfree": """
        m.kfree(BAD) for BAD in kfreed, kfreed_pages, obj, descriptor, m.mem_desc(page).address, folio, kmalloced + 4, address, 0, -8, "0x10"
        m.kfree(BAD) for BAD in kmalloced_pages + 8, kmalloced_pages + 1024, BASE + (1 << 45), m.pfn_to_page(3)
        m.kfree(m.page_address(BAD)) for BAD in pair, free_page, folio_page, m.mem_map_pfn
        m.kmalloc(BAD) for BAD in 0, -1, (1024 << 8) + 1, "8", 8.0
        m.kmalloc(SIZE, BAD) for SIZE in 8, 8000 for BAD in 1 << 25, -1, GFP.DMA | GFP.HIGHMEM, "x", None, GFP.KERNEL | GFP.HIGHMEM
    """,
    "looking at what is not there": """
        CALL(BAD) for CALL in m.mem_desc, m.page, m.page_address, m.pfn_to_page for BAD in m.nr_pages, -1, 1 << 70, "1", None, 1.0
        CALL(BAD) for CALL in m.buddy, m.slab for BAD in BASE + 8, BASE + 1, "0xffff888000001000", None, 0, BASE - 16, 1 << 90
        CALL(BAD) for CALL in m.virt_to_pfn, m.page_to_pfn for BAD in 7, BASE - 1, BASE + m.nr_pages * m.page_size, m.V - 8, "7", None, 1.0
        m.virt_to_pfn(BAD) for BAD in BASE + highmem * m.page_size, m.V, 0
        m.page_to_pfn(BAD) for BAD in BASE, m.V + 4, m.V + 8 * m.nr_pages
        m.read(BAD, 8) for BAD in 0, -8, BASE - 1, m.V - 8, BASE + highmem * m.page_size, "0", None, 1.0
        m.read(BASE, BAD) for BAD in 1 << 40, -1, "1", None, 1.0
        m.read(m.pfn_to_page(1023), 16)
        m.write(BAD, b"12345678") for BAD in 16, BASE - 4, BASE + highmem * m.page_size, BASE + m.highmem_pfn * m.page_size - 4
        m.write(address, BAD) for BAD in "x", 7, None
        CALL(BAD) for CALL in m.whatis, m.hexdump for BAD in 0, 1 << 63, (1 << 64) - 1, BASE - 1
        m.hexdump(BASE, -9)
        m.zone(BAD) for BAD in 2, "Normal"
        m.zone(0, BAD) for BAD in "HighMem", "normal"
        m.on_cpu(BAD).__enter__() for BAD in 2, -1, "0", 1.0
        m.restore(BAD) for BAD in b"snapshot", Machine("2M").snapshot()
        m.undo()
        m.redo()
        m.stats.kittens
    """,
    "words that are no mem_desc": """
        tag(BASE + 8, MemType.SLAB)
        tag(BAD, MemType.SLAB) for BAD in -16, 1 << 64, 1 << 80
        tag(BASE, BAD) for BAD in 9, 15, 16, -1, 1 << 20, "SLAB", None, MemType.NONE
        tag(0, MemType.SLAB)
        untag(BAD) for BAD in 3, BASE, BASE | 9, BASE | 15, -1, -16 | 3, 1 << 64 | 3
    """,
    "flags that are none": """
        CALL(BAD) for CALL in check, GFP.show for BAD in 1 << 9, -1, "GFP_KERNEL", None, 3.0, [GFP.KERNEL]
        check(BAD) for BAD in GFP.DMA | GFP.DMA32, GFP.DMA | GFP.HIGHMEM, GFP.DMA32 | GFP.HIGHMEM, GFP.DMA | GFP.DMA32 | GFP.HIGHMEM
    """,
    "faults": """
        m.fail(BAD) for BAD in "malloc", "", "Alloc_pages", "_alloc_pages", "alloc_slab", None, 3
        m.fail(BAD) for BAD in "free_pages", "free_page", "kmem_cache_free", "kmem_cache_free_bulk", "kfree", "vfree"
        m.fail(BAD) for BAD in "folio_put", "anonmem_put", "filemem_put", "pgtable_put"
        m.fail("alloc_pages", BAD) for BAD in 0, -1, "1", 1.5, True, None
        m.fail("alloc_pages", 1, BAD) for BAD in 0, -2, "2", 1.5, True
    """,
    "interrupts": """
        m.interrupt(BAD, "call", print) for BAD in "malloc", "", "Alloc_pages", "_alloc_pages", "alloc_slab(kmalloc-8)", None, 3, ["alloc_pages"]
        m.interrupt(BAD, "call", print) for BAD in "new_slab(dentry)", "new_slab()", "new_slab(", "new_slab(kmem_cache_buddy", "kfree(x)"
        m.interrupt(BAD, "call", print) for BAD in "kmem_cache_free(x)", "alloc_pages()", "alloc_pages(", "alloc_pages(kmem_cache_buddy)"
        m.interrupt("__alloc_slab(kmem_cache_slab)", "call", print)
        m.interrupt("alloc_pages", BAD, print) for BAD in "before", "", None, 1, "Call", ["call"]
        m.interrupt("alloc_pages", "call", print, times=BAD) for BAD in 0, -1, "1", 2.0, True
        m.interrupt("alloc_pages", "call", print, cpu=BAD) for BAD in -1, 2, "0", 1.0, True
        m.interrupt("alloc_pages", "call", BAD) for BAD in None, 3, "print"
    """,
    "a machine": """
        Machine(BAD) for BAD in 0, -4096, "0", 4097, "5K", "-64M", "64X", "", "M", "sixty-four", "1.5M", "64 M B", None, 64.0, b"64M", True, [64]
        Machine(page_size=BAD) for BAD in 0, -4096, 128, 255, 300, 4095, "3K"
        Machine(dma=BAD) for BAD in -4096, 100, "1023", "7X"
        Machine(dma32=BAD) for BAD in -4096, 100, "1023", "7X"
        Machine(highmem=BAD) for BAD in -4096, 100, "1023", "7X", "64M", "65M"
        Machine(highmem="33M", nodes=2)
        Machine(dma="32M", dma32="32M")
        Machine(dma="40M", highmem="40M")
        Machine(max_order=BAD) for BAD in 0, -1, 85, "11", 2.0
        Machine(page_size=256, max_order=5)
        Machine(nodes=BAD) for BAD in 0, 65, None, True
        Machine("128K", nodes=33)
        Machine(cpus=BAD) for BAD in 0, 65, "2"
        Machine(design=BAD) for BAD in "unbounded", None
        Machine(watermarks=BAD) for BAD in "windows", (1, 2), (3, 2, 1), (-1, 2, 3), 7, (1, 2, "3")
        Machine(nodes=2, distance=BAD) for BAD in [[10]], [[10, 20], [20]], 20
        Machine(undo=BAD) for BAD in -1, "many", None, 1.5
        Machine(BAD, design=m.config.design) for BAD in 4096, 2 * 4096, 3 * 4096
        Machine("1M", highmem=253 * 4096, design=m.config.design)
        Machine(8 * 256, page_size=256, max_order=4, highmem=5 * 256, design=m.config.design)
    """,
}
NAMES = {"GFP": GFP, "SLAB": SLAB, "MemType": MemType, "Machine": Machine, "BASE": BASE, "check": check, "tag": tag, "untag": untag}


class World:
    """A machine with one of everything, live and freed, by name."""

    def __init__(self, design):
        self.m = m = Machine("1M", page_size=1024, max_order=8, nodes=2, cpus=2, dma="64K", highmem="128K", design=design)
        self.page, self.pair, self.block = m.alloc_pages(0), m.alloc_pages(1), m.alloc_pages(3)
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
        self.kfreed_pages = m.kmalloc(8000)
        self.folio, self.anonmem, self.filemem = m.folio_alloc(1), m.anonmem_alloc(0), m.filemem_alloc(0)
        self.ptdesc, self.vm = m.pgtable_alloc(), m.vmalloc(1)
        users = {m.mem_desc(pfn).address: pfn for pfn in reversed(range(m.nr_pages))}
        for name in ("folio", "anonmem", "filemem", "ptdesc", "vm"):
            setattr(self, f"{name}_page", users[getattr(self, name)])
        self.desc, self.put_desc = (m.alloc_pages_desc(1, tag(0xFFFF_C900_0000_0000, MemType.FOLIO)) for _ in range(2))
        self.descriptor = m.caches["kmem_cache_buddy"].alloc()
        self.desc_page = m.page_to_pfn(m.buddy(self.desc).page)
        self.slab_page = m.virt_to_pfn(self.obj)
        slab = m.slab(m.mem_desc(self.slab_page).address)
        self.rest_of_slab = slab.virt + self.cache.size * slab.objects
        self.put_folio, self.put_anonmem, self.put_filemem = m.folio_alloc(0), m.anonmem_alloc(0), m.filemem_alloc(0)
        self.put_ptdesc, self.put_vm = m.pgtable_alloc(), m.vmalloc(1)
        m.folio_put(self.put_folio)
        m.anonmem_put(self.put_anonmem)
        m.filemem_put(self.put_filemem)
        m.pgtable_put(self.put_ptdesc)
        m.vfree(self.put_vm)
        m.free_pages_desc(self.put_desc)
        m.free_pages(self.freed)
        m.free_page(self.freed_address)
        self.cache.free(self.freed_obj)
        self.debug.free(self.debug_objs[0])
        self.debug.free(self.debug_objs[1])
        m.kfree(self.kfreed)
        m.kfree(self.kfreed_pages)
        self.gone.destroy()
        self.free_page = next(pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn).type is MemType.FREE)
        m.check()


@pytest.fixture(params=["as-written", "bounded"])
def world(request):
    return World(request.param)


def expressions(text):
    """Some lines of MISUSE as (expression, what stands for BAD in it)."""
    for line in filter(None, map(str.strip, text.splitlines())):
        call, *each = re.split(r" for (?=[A-Z]+ in )", line)
        names, values = zip(*(loop.split(" in ", 1) for loop in each), strict=True) if each else ((), ())
        for chosen in product(*([ast.unparse(v) for v in ast.parse(f"({v},)", mode="eval").body.elts] for v in values)):
            given = dict(zip(names, chosen, strict=True))
            yield re.sub(r"\b(CALL|SIZE|BAD)\b", lambda name, given=given: given[name[0]], call), given.get("BAD", "")


def refusal(world, expression, bad):
    """What an expression raises, with its page or address as it is written there; RAM and what hangs on the machine must be as before."""
    m, names = world.m, NAMES | vars(world)
    before, installed = m.snapshot(), dict(vars(m))
    with pytest.raises((KernelBug, ValueError, TypeError, AttributeError)) as caught:
        eval(expression, names)
    said = f"{caught.type.__name__}: {caught.value}"
    assert m.snapshot() == before, f"RAM is not as it was before {expression}"
    assert vars(m) == installed, f"the machine is not as it was before {expression}"
    value = eval(bad, names) if bad else None
    if isinstance(value, int) and bad[0].isalpha():  # where things lie is not the same in both designs
        said = said.replace(f"{value:#x} ", f"[{bad}] ").replace(f"page {value} ", f"page [{bad}] ")
    known = {f"{at:#x}": name for name, at in vars(world).items() if isinstance(at, int)}
    return re.sub(r"\b0x\w+", lambda at: f"[{known[at[0]]}]" if at[0] in known else at[0], said)


def test_every_misuse_is_refused_with_its_sentence_and_leaves_ram_untouched(world, golden):
    told = ""
    for title, text in MISUSE.items():
        told += f"# {title}\n\n"
        told += "".join(f"{expression}\n    {refusal(world, expression, bad)}\n" for expression, bad in expressions(text)) + "\n"
    world.m.check()
    golden("refusals.txt", told)


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


def test_each_trace_point_that_frees_is_among_those_that_cannot_be_made_to_fail():
    asked = {expression for expression, _ in expressions(MISUSE["faults"])}
    assert asked >= {f"m.fail({point!r})" for point, may_fail in Machine.TRACE_POINTS.items() if not may_fail}
