"""What the page allocator says to bad input: every refusal, before RAM is touched, in one sentence.

Used by page_alloc.py, fast.py and users.py.  Functions of a machine ``m``; ``b`` is a buddy's first word.  Imports kernel and below.
"""

from __future__ import annotations

from . import gfp as gfp_flags
from .addresses import V, pfn_of, word
from .kernel import Kernel
from .memdesc import MemType
from .number import whole
from .ram import KernelBug
from .structs import HELD, buddy
from .words import BUDDY, FREE


def check_request(m: Kernel, order: int, gfp: int, node: int | None) -> tuple[int, int, int | None]:
    """Return an order, flags and a node as numbers.  ValueError or TypeError for what this machine does not know."""
    if type(order) is not int:
        order = whole(order, f"order is a whole number from 0 to {m.max_order}")
    if not 0 <= order <= m.max_order:
        raise ValueError(f"order is 0 to {m.max_order} on this machine, not {order}")
    gfp = gfp_flags.check(gfp)
    if node is not None:
        must = f"node is None or 0 to {m.config.nodes - 1} on this machine"
        if not 0 <= (node := whole(node, must, ValueError)) < m.config.nodes:
            raise ValueError(f"{must}, not {node}")
    return order, gfp, node


def allocated(m: Kernel, pfn: int, done: str) -> int:
    """Return the buddy of the block from alloc_pages that starts at ``pfn``; KernelBug if none does."""
    pfn = whole(pfn, "a pfn is a whole number")
    if 0 <= pfn < m.nr_pages:
        desc = m.desc_of[pfn]
        if desc & 15 == BUDDY and m.page_of[word(desc)] == V + 8 * pfn:
            return word(desc)
    raise bad_page(m, pfn, done)


def to_split(m: Kernel, pfn: int) -> int:
    """Return the buddy of the allocated block that starts at ``pfn`` and has two halves; KernelBug if none does."""
    b = allocated(m, pfn, "split")
    if m.order_of[b] == 0:
        raise KernelBug(f"page {pfn} is a block of order 0, a single page, which cannot be split; a block to split has order 1 or more")
    return b


def held_buddy(m: Kernel, address: int) -> int:
    """Return the buddy that alloc_pages_desc returned, at ``address``; KernelBug if it is none such."""
    address = whole(address, "the address of a struct buddy is a whole number")
    b = word(address)
    if address & 15 == 0 and (m._is_object(address, m.KC_BUDDY) or b == m.static_at):
        pfn = pfn_of(m.page_of[b])
        if m.flags_of[b] & HELD and 0 <= pfn < m.nr_pages and m.desc_of[pfn] & 15 > BUDDY:
            return b
    raise KernelBug(f"{address:#x} is not a struct buddy that alloc_pages_desc returned and that is still allocated")


def bad_page(m: Kernel, pfn: int, done: str) -> KernelBug:
    """Say why the block at ``pfn`` cannot be freed or split."""
    if not 0 <= pfn < m.nr_pages:
        return KernelBug(f"there is no page {pfn} to be {done}; this machine has pages 0 to {m.nr_pages - 1}")
    kind, owner = m.desc_of[pfn] & 15, m.desc_of[pfn] & ~15
    if kind == MemType.NONE:
        return KernelBug(f"page {pfn} is reserved: it was never allocated, so it cannot be {done}")
    if kind == FREE:
        return KernelBug(f"page {pfn} is free already; a block can be {done} only while it is allocated")
    if kind == BUDDY:
        view = buddy(m, owner)
        return KernelBug(
            f"page {pfn} is a tail page of the block of order {view.order} that starts at page {pfn_of(view.page)}; "
            f"only the whole block can be {done}"
        )
    if kind < len(MemType):
        return KernelBug(f"page {pfn} belongs to the {MemType(kind).name.lower()} at {owner:#x}; it can be {done} only through its owner")
    return KernelBug(f"page {pfn} has a damaged mem_desc, {m.desc_of[pfn]:#x}; check() tells more")


def bad_buddy(m: Kernel, b: int, pfn: int) -> KernelBug:
    """Say that a buddy fits no zone of the machine."""
    return KernelBug(
        f"the buddy of page {pfn} is damaged: flags {m.flags_of[b]:#x} and order {m.order_of[b]} fit no zone of this machine; "
        "check() tells more"
    )
