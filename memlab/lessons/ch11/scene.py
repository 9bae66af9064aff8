"""The machines and words that chapter 11's predictions, exercises and notebook share.  Imports the core, linux and study."""

from __future__ import annotations

from functools import cache

from ...cache_table import inuse, slabs_of
from ...linux import SlabCache, read_slabinfo
from ...machine import Machine
from ...memdesc import MemType
from ...study import accounting
from ...study.accounting import DESCRIPTORS, MEM_DESC, Run

BUDDY = MEM_DESC.buddy  # bytes, as DESCRIPTOR
DESCRIPTOR = DESCRIPTORS["anonmem"]


@cache
def single_pages() -> Run:
    """Fill 64 MiB with single pages that have only a struct buddy, free them all and shrink; metadata counted at each stage."""
    return accounting.run(Machine("64M", watermarks=None, design="bounded"), {(0, "buddy"): 1}, used=1, churn=0)


def kernel_caches() -> list[SlabCache]:
    """Return the slab caches of a real Linux 6.18, from the sample that comes with memlab."""
    return read_slabinfo("").caches


def radix_tree_node() -> SlabCache:
    """Return the cache that the email's author later reckoned with: 584 bytes an object, 28 to a slab of four pages, 9,941 slabs."""
    slabs, objects = 9941, 28
    return SlabCache("radix_tree_node", slabs * objects, slabs * objects, 584, objects, 4, 0, 0, 0, slabs, slabs, 0)


def full_of_pages(design: str) -> Machine:
    """Return a machine of 64 MiB of which all memory is allocated in single pages."""
    m = Machine("64M", watermarks=None, design=design)
    while m.alloc_pages(0) is not None:
        pass
    return m


def empty_slabs(m: Machine) -> int:
    """Return how many slabs of struct buddys have no object in use."""
    return sum(not inuse(m, s) for s in slabs_of(m, m.KC_BUDDY))


def slab_runs(m: Machine) -> int:
    """Return in how many places the pages of slabs lie, neighbours being one place."""
    slab = [m.mem_desc(pfn).type is MemType.SLAB for pfn in range(m.nr_pages)]
    return sum(here and not before for before, here in zip([False, *slab], slab, strict=False))


def metadata(m: Machine) -> int:
    """Return the bytes of live metadata in a machine's RAM, without the room in the pages that hold it."""
    account = accounting.of_machine(m)
    return account.total - account.room


def warm_arena() -> Machine:
    """Boot a machine whose only free memory is one block of 16 pages, with free descriptors of every kind at hand."""
    m = Machine("512K", max_order=4, watermarks=None, design="bounded")
    m.folio_put(m.folio_alloc(0) or 0)
    m.anonmem_put(m.anonmem_alloc(0) or 0)
    while m.free_pages_count > 16:
        blocks = m.buddyinfo()[0, "Normal"]
        m.alloc_pages(next(order for order, n in enumerate(blocks) if n))
    return m
