"""From a struct page to the descriptor of its memory and back: the helpers that replaced casting, for both eras of ``struct page``.

Used by the chapters and by learners; the allocators index words instead.  Imports structs, layout and memdesc only.

    before   64 bytes a page; a user lays its own fields over those of its first page, so its descriptor *is* that page:
                 page_slab(page)  =  the same address, or, of a tail page, that of its head         slab_page(slab)  =  the same address
    after    8 bytes a page; the one word names a descriptor that lies elsewhere, and every page of a block has the same word:
                 page_slab(page)  =  page->mem_desc, if its type is SLAB                            slab_page(slab)  =  slab->buddy->page

Code that calls these helpers need not know which era it runs in: that is what made the change possible.  They take and return views
(``m.page(pfn)``, ``structs.old_page(m, address)``); the era is that of the view they are given.

Source: the email; mm/slab.h, include/linux/page-flags.h and include/linux/mm_types.h for the names.
"""

from __future__ import annotations

from typing import Final, TypeVar, overload

from . import structs
from .layout import Struct
from .memdesc import MemType, untag
from .number import whole

_S = TypeVar("_S", bound=Struct)
_D = TypeVar("_D", bound=structs.memdesc)
_TAIL: Final = 1  # in compound_head: this is a tail page, and the rest of the word is its head's address


def compound_head(page: structs.old_page) -> structs.old_page:
    """Return the head of the block that an old page belongs to: the page itself unless it is marked as a tail.

    ``page``: struct page * of 64 bytes.  ValueError if its head is marked as a tail too; TypeError for anything else, a page of 8 bytes
    included: that has no head, as every page of a block names the descriptor itself.  Source: include/linux/page-flags.h.
    """
    if not isinstance(page, structs.old_page):
        raise TypeError(f"compound_head takes a struct page of 64 bytes (structs.old_page), not {page!r}")
    word = page.compound_head
    if not word & _TAIL:
        return page
    head = structs.old_page(page.memory, word & ~_TAIL)
    if head.compound_head & _TAIL:
        raise ValueError(f"the struct page at {page.address:#x} says that its head is at {head.address:#x}, which is a tail page itself")
    return head


# -- slab


@overload
def page_slab(page: structs.page) -> structs.slab: ...
@overload
def page_slab(page: structs.old_page) -> structs.old_slab: ...
def page_slab(page: structs.page | structs.old_page) -> structs.slab | structs.old_slab:
    """Return the slab that a page belongs to; any page of it will do.

    ``page``: struct page *.  ValueError if the page's mem_desc is of another type or damaged; before, nothing could tell, and nothing does.
    TypeError if it is no page.  The other page_ functions do the same for their own type.  Source: mm/slab.h.
    """
    if isinstance(page, structs.old_page):
        return structs.old_slab(page.memory, compound_head(page).address)
    return _described(page, "slab", structs.slab, MemType.SLAB)


@overload
def slab_page(slab: structs.slab) -> structs.page: ...
@overload
def slab_page(slab: structs.old_slab) -> structs.old_page: ...
def slab_page(slab: structs.slab | structs.old_slab) -> structs.page | structs.old_page:
    """Return the first page of a slab.

    ``slab``: struct slab *.  ValueError if it names no struct buddy, as one that was freed does not.  TypeError if it is no slab.
    The other functions that lead to a page do the same for their own type.  Source: mm/slab.h.
    """
    if isinstance(slab, structs.old_slab):
        return structs.old_page(slab.memory, slab.address)
    return _page_of(slab, structs.slab, 0)


# -- folio


@overload
def page_folio(page: structs.page) -> structs.folio: ...
@overload
def page_folio(page: structs.old_page) -> structs.old_folio: ...
def page_folio(page: structs.page | structs.old_page) -> structs.folio | structs.old_folio:
    """Return the folio that a page belongs to (struct page *); see page_slab.  Source: include/linux/page-flags.h."""
    if isinstance(page, structs.old_page):
        return structs.old_folio(page.memory, compound_head(page).address)
    return _described(page, "folio", structs.folio, MemType.FOLIO)


@overload
def folio_page(folio: structs.folio, n: int = 0) -> structs.page: ...
@overload
def folio_page(folio: structs.old_folio, n: int = 0) -> structs.old_page: ...
def folio_page(folio: structs.folio | structs.old_folio, n: int = 0) -> structs.page | structs.old_page:
    """Return page ``n`` of a folio, counted from 0.

    ``folio``: struct folio *.  ``n``: size_t; ValueError if the folio has no such page (before, its first page alone cannot tell, and only a
    negative one is refused).  Otherwise as slab_page.  Source: include/linux/page-flags.h.
    """
    if isinstance(folio, structs.old_folio):
        return structs.old_page(folio.memory, folio.address + structs.old_page.sizeof * _index(n, folio))
    return _page_of(folio, structs.folio, n)


# -- buddy


@overload
def page_buddy(page: structs.page) -> structs.buddy: ...
@overload
def page_buddy(page: structs.old_page) -> structs.old_buddy: ...
def page_buddy(page: structs.page | structs.old_page) -> structs.buddy | structs.old_buddy:
    """Return the buddy that describes a page (struct page *), free or allocated; see page_slab.

    A page with another descriptor has a buddy too, but it is that descriptor which knows it: ``page_slab(page).buddy``.
    """
    if isinstance(page, structs.old_page):
        return structs.old_buddy(page.memory, compound_head(page).address)
    return _described(page, "buddy", structs.buddy, MemType.FREE, MemType.BUDDY)


@overload
def buddy_page(buddy: structs.buddy) -> structs.page: ...
@overload
def buddy_page(buddy: structs.old_buddy) -> structs.old_page: ...
def buddy_page(buddy: structs.buddy | structs.old_buddy) -> structs.page | structs.old_page:
    """Return the first page of a buddy's block (struct buddy *).  ValueError if it describes none; TypeError if it is no buddy."""
    if isinstance(buddy, structs.old_buddy):
        return structs.old_page(buddy.memory, buddy.address)
    if not isinstance(buddy, structs.buddy):
        raise TypeError(f"buddy_page takes a struct buddy, not {buddy!r}")
    if not buddy.page:
        raise ValueError(f"the struct buddy at {buddy.address:#x} describes no page: its page is NULL")
    return structs.page(buddy.memory, buddy.page)


# -- the users that only the new era has


def page_anonmem(page: structs.page) -> structs.anonmem:
    """Return the anonmem that a page belongs to (struct page *); see page_slab."""
    return _described(page, "anonmem", structs.anonmem, MemType.ANONMEM)


def anonmem_page(anonmem: structs.anonmem, n: int = 0) -> structs.page:
    """Return page ``n`` of anonymous memory (struct anonmem *); see folio_page."""
    return _page_of(anonmem, structs.anonmem, n)


def page_filemem(page: structs.page) -> structs.filemem:
    """Return the filemem that a page belongs to (struct page *); see page_slab."""
    return _described(page, "filemem", structs.filemem, MemType.FILEMEM)


def filemem_page(filemem: structs.filemem, n: int = 0) -> structs.page:
    """Return page ``n`` of page cache (struct filemem *); see folio_page."""
    return _page_of(filemem, structs.filemem, n)


def page_ptdesc(page: structs.page) -> structs.ptdesc:
    """Return the ptdesc of a page of page tables (struct page *); see page_slab.  Source: include/linux/mm_types.h."""
    return _described(page, "ptdesc", structs.ptdesc, MemType.PGTABLE)


def ptdesc_page(ptdesc: structs.ptdesc) -> structs.page:
    """Return the page that a ptdesc describes (struct ptdesc *); see slab_page.  Source: include/linux/mm_types.h."""
    return _page_of(ptdesc, structs.ptdesc, 0)


def page_vmalloc(page: structs.page) -> structs.vmalloc:
    """Return the vmalloc that a page belongs to (struct page *); see page_slab."""
    return _described(page, "vmalloc", structs.vmalloc, MemType.VMALLOC)


def vmalloc_page(vmalloc: structs.vmalloc, n: int = 0) -> structs.page:
    """Return page ``n`` of an area, counted from 0: the page of the n-th buddy on its list.

    ``vmalloc``: struct vmalloc *.  ``n``: unsigned long; ValueError if the area has no such page.  Source: mm/vmalloc.c (vmalloc_to_page).
    """
    _is_a(vmalloc, structs.vmalloc)
    if _index(n, vmalloc) >= vmalloc.nr_pages:
        raise ValueError(f"the vmalloc at {vmalloc.address:#x} has pages 0 to {vmalloc.nr_pages - 1}, not {n}")
    entry = vmalloc.list[0]
    for _ in range(n):
        entry = structs.buddy(vmalloc.memory, entry - structs.buddy.list.offset).list[0]
    return buddy_page(structs.buddy(vmalloc.memory, entry - structs.buddy.list.offset))


# -- helpers


def _described(page: structs.page, what: str, struct: type[_S], *kinds: MemType) -> _S:
    """Return the descriptor that a page's mem_desc names, if it is of one of these types."""
    if not isinstance(page, structs.page):
        raise TypeError(f"page_{what} takes a struct page, such as m.page(pfn), not {page!r}")
    kind, address = untag(page.mem_desc)
    if kind not in kinds:
        found = f"described by the {kind.name} at {address:#x}" if address else "reserved and has no descriptor"
        raise ValueError(f"the page of the struct page at {page.address:#x} has no {what}: it is {found}")
    return struct(page.memory, address)


def _page_of(desc: _D, struct: type[_D], n: int) -> structs.page:
    """Return page ``n`` of the block of a descriptor's buddy."""
    _is_a(desc, struct)
    if not desc.buddy:
        raise ValueError(f"the struct {desc.struct} at {desc.address:#x} describes no pages: its buddy is NULL")
    buddy = structs.buddy(desc.memory, desc.buddy)
    first = buddy_page(buddy)
    if _index(n, desc) >= 1 << buddy.order:
        raise ValueError(f"the struct {desc.struct} at {desc.address:#x} has pages 0 to {(1 << buddy.order) - 1}, not {n}")
    return structs.page(desc.memory, first.address + structs.page.sizeof * n)


def _is_a(view: Struct, struct: type[Struct]) -> None:
    if not isinstance(view, struct):
        raise TypeError(f"this helper takes a struct {struct.struct}, not {view!r}")


def _index(n: int, desc: Struct) -> int:
    n = whole(n, f"which page of the struct {desc.struct} is a whole number")
    if n < 0:
        raise ValueError(f"the pages of the struct {desc.struct} at {desc.address:#x} are counted from 0, not from {n}")
    return n
