"""The machines and words that chapter 02's predictions, exercises and notebook share.  Imports the core, labs and study."""

from __future__ import annotations

from ...labs.buddy import buddy_machine
from ...machine import Machine

ARENA = range(32, 48)  # the free pages of buddy_machine(16)


Block = tuple[int, int]  # (first page, order)


def free_blocks(m: Machine) -> list[Block]:
    """Return the free blocks by address, as RAM says."""
    found, pfn = list[Block](), 0
    while pfn < m.nr_pages:
        desc = m.mem_desc(pfn)
        order = m.buddy(desc.address).order if desc.type.name in ("FREE", "BUDDY") else 0
        if desc.type.name == "FREE":
            found.append((pfn, order))
        pfn += 1 << order
    return found


def blocks_in_words(blocks: list[Block]) -> str:
    """List blocks in a sentence."""
    return ", ".join(f"page {pfn} of order {order}" for pfn, order in blocks) or "none"


def full_arena() -> Machine:
    """Return the machine with all sixteen pages handed out one by one."""
    m = buddy_machine(16)
    m.alloc_pages_bulk(16)
    return m


def largest_request(m: Machine) -> str:
    """Say of which order the largest block is that can be had."""
    for order in range(m.max_order, -1, -1):
        pfn = m.alloc_pages(order)
        if pfn is not None:
            m.free_pages(pfn)
            return f"Order {order}"
    return "None at all"
