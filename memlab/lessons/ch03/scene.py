"""The machines and words that chapter 03's predictions, exercises and notebook share.  Imports the core, labs and study."""

from __future__ import annotations

from collections.abc import Callable

from ... import structs
from ...labs.buddy import buddy_machine
from ...machine import Machine
from ...memdesc import MemType

Read = Callable[[int], int]  # the word at an address


def owners_machine() -> Machine:
    """Boot the chapter's machine: 256 pages, with one page or block of every type, and free ones."""
    m = Machine("1M")
    m.alloc_pages(1)
    m.folio_alloc(2)
    m.anonmem_alloc(0)
    m.filemem_alloc(1)
    m.pgtable_alloc()
    m.vmalloc(2 * m.page_size)
    m.kmalloc(100)
    return m


def typical_page(m: Machine, kind: MemType) -> int:
    """Return the first page whose mem_desc has a type; ValueError if there is none."""
    for pfn in range(m.nr_pages):
        if m.mem_desc(pfn).type is kind:
            return pfn
    raise ValueError(f"this machine has no page of type {kind.name}")


def metadata_bytes(m: Machine) -> int:
    """Return what a machine's pages cost in notes: its mem_map, and every live descriptor."""
    live = sum(
        row["active_objs"] * row["objsize"] for row in m.slabinfo() if row["name"].startswith("kmem_cache_") or row["name"] in _DESCRIPTORS
    )
    return m.nr_pages * structs.PAGE_STRUCT_BYTES + int(live)


_DESCRIPTORS = ("folio", "anonmem", "filemem", "ptdesc", "vmalloc")


def traced_words() -> tuple[Machine, range]:
    """Return the machine of exercise 03.2, and the pages that are looked at."""
    m = buddy_machine(16)
    m.alloc_pages(2)
    m.folio_alloc(1)
    m.alloc_pages(0)
    return m, range(32, 48)


def word_table(m: Machine, pages: range) -> str:
    """Return the mem_map's words of some pages as text, two to a line."""
    lines = [f"{pfn}: " + "  ".join(f"{m.page(p).mem_desc:#x}" for p in range(pfn, pfn + 2)) for pfn in pages[::2]]
    return "\n".join(lines)
