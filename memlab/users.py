"""Users of descriptors: folio, anonmem, filemem, pgtable and vmalloc, as small as they can be and still real.

Each allocates its own descriptor from its own cache and has its pages' mem_desc point at it, so that every type of descriptor is live.
Used through Machine.  Functions of a machine ``m``; ``d`` is a descriptor's first word, ``b`` a buddy's (words.py).  Imports page_bugs and below.

Source: the email (the list of types); the names follow include/linux/mm_types.h.
"""

from __future__ import annotations

from typing import Any

from . import page_bugs, structs
from .addresses import B, address, pfn_of, word
from .gfp import nested
from .kernel import KERNEL, Kernel
from .list_head import init_list_head, list_add_tail, list_first, list_for_each
from .memdesc import MemType
from .number import whole
from .ram import KernelBug, changes
from .words import LIST, USERS


@changes
def folio_alloc(m: Kernel, order: int, gfp: int = KERNEL) -> int | None:
    """Allocate a folio of 2^order pages.  ``order``: unsigned int; ``gfp``: gfp_t.  Returns the address of its struct folio, or None.

    ValueError or TypeError for a bad argument.  The other users' functions do the same for their own type.
    """
    return _alloc(m, "folio", order, gfp)


@changes
def folio_put(m: Kernel, folio: int) -> None:
    """Drop a reference (struct folio *); the last one frees pages and descriptor.  KernelBug if it is no live folio."""
    _put(m, "folio", folio)


@changes
def anonmem_alloc(m: Kernel, order: int, gfp: int = KERNEL) -> int | None:
    """Allocate anonymous memory; see folio_alloc.  Returns the address of its struct anonmem, or None."""
    return _alloc(m, "anonmem", order, gfp)


@changes
def anonmem_put(m: Kernel, anonmem: int) -> None:
    """Drop a reference (struct anonmem *); see folio_put."""
    _put(m, "anonmem", anonmem)


@changes
def filemem_alloc(m: Kernel, order: int, gfp: int = KERNEL) -> int | None:
    """Allocate page cache; see folio_alloc.  Returns the address of its struct filemem, or None."""
    return _alloc(m, "filemem", order, gfp)


@changes
def filemem_put(m: Kernel, filemem: int) -> None:
    """Drop a reference (struct filemem *); see folio_put."""
    _put(m, "filemem", filemem)


@changes
def pgtable_alloc(m: Kernel, gfp: int = KERNEL) -> int | None:
    """Allocate one page for page tables; see folio_alloc.  Returns the address of its struct ptdesc, or None."""
    return _alloc(m, "pgtable", 0, gfp)


@changes
def pgtable_put(m: Kernel, ptdesc: int) -> None:
    """Drop a reference (struct ptdesc *); see folio_put."""
    _put(m, "pgtable", ptdesc)


@changes
def vmalloc(m: Kernel, size: int, gfp: int = KERNEL) -> int | None:
    """Allocate ``size`` bytes (unsigned long) as single pages, whose buddies hang on a list.

    Returns the address of the struct vmalloc, or None, with nothing kept.  ValueError or TypeError for a bad argument.
    """
    size = whole(size, "a size is a whole number of bytes")
    if not 1 <= size <= m.config.memory:
        raise ValueError(f"vmalloc takes 1 to {m.config.memory} bytes on this machine, not {size}")
    _, gfp, _ = page_bugs.check_request(m, 0, gfp, None)
    area = _new_descriptor(m, "vmalloc", gfp)
    if not area:
        return m.null_or_overflow()
    view, head = structs.vmalloc(m, area), word(area) + LIST
    view.nbytes, view.refcount = size, 1
    init_list_head(m, head)
    for _ in range(-(-size // m.page_size)):
        b = m._alloc_pages(0, gfp, None, area | MemType.VMALLOC)
        if not b:
            _free_vmalloc(m, area)
            return m.null_or_overflow()
        list_add_tail(m, b + LIST, head)
        view.nr_pages += 1
    return area


@changes
def vfree(m: Kernel, address: int) -> None:
    """Free what vmalloc returned (struct vmalloc *), pages and descriptor.  KernelBug if it is no live struct vmalloc."""
    address = whole(address, "the address of a descriptor is a whole number")
    _live(m, "vmalloc", address)
    _free_vmalloc(m, address)


# -- the work behind it


def _new_descriptor(m: Kernel, user: str, gfp: int) -> int:
    desc = m._kmem_cache_alloc(m.user_caches[user], nested(gfp), None)
    if desc:
        size = USERS[user][0].sizeof
        m.map[desc - B : desc - B + size] = bytes(size)
    return desc


def _alloc(m: Kernel, user: str, order: int, gfp: int) -> int | None:
    order, gfp, _ = page_bugs.check_request(m, order, gfp, None)
    desc = _new_descriptor(m, user, gfp)
    if not desc:
        return m.null_or_overflow()
    b = m._alloc_pages(order, gfp, None, desc | USERS[user][1])
    if not b:
        m._kmem_cache_free(m.user_caches[user], desc)
        return m.null_or_overflow()
    view: Any = USERS[user][0](m, desc)
    view.flags, view.buddy = m.flags_of[b], address(b)
    view.refcount, view.order = 1, order
    return desc


def _put(m: Kernel, user: str, desc: int) -> None:
    desc = whole(desc, "the address of a descriptor is a whole number")
    b = _live(m, user, desc)
    view: Any = USERS[user][0](m, desc)
    view.refcount -= 1
    if view.refcount == 0:
        m._free_block(b)
        m._kmem_cache_free(m.user_caches[user], desc)


def _free_vmalloc(m: Kernel, area: int) -> None:
    for entry in list(list_for_each(m, word(area) + LIST)):
        m._free_block(entry - LIST)
    m._kmem_cache_free(m.user_caches["vmalloc"], area)


def _live(m: Kernel, user: str, desc: int) -> int:
    """Return a live descriptor's (first) buddy: the one whose page's mem_desc names the descriptor.

    KernelBug if there is none, which is so for a descriptor that was put, whatever its bytes still say.
    """
    if m._is_object(desc, m.user_caches[user]):
        d = word(desc)
        b = list_first(m, d + LIST) - LIST if user == "vmalloc" else word(m.buddy_of[d])
        if 0 <= b < len(m.page_of):
            pfn = pfn_of(m.page_of[b])
            if 0 <= pfn < m.nr_pages and m.desc_of[pfn] == desc | USERS[user][1]:
                return b
    raise KernelBug(f"{desc:#x} is no live {user}: it was put already, or it is not an address that the {user} functions returned")
