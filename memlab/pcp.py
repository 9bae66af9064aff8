"""Per-CPU page lists: free single pages that a CPU keeps at hand, an option of the machine (``pcp=True``).

Used by page_alloc.py, which also drains them.  A page on such a list is a free block of order 0 whose buddy is marked PCP, so that nothing
merges with it.  Functions of a machine ``m``; ``q`` is the first word of a struct per_cpu_pages.  Imports kernel and below.

Source: mm/page_alloc.c (rmqueue_pcplist, free_unref_page).
"""

from __future__ import annotations

from .addresses import address, word
from .config import Entry, Zone, Zonelist
from .kernel import Kernel
from .list_head import list_add, list_del, list_empty, list_first
from .structs import PCP
from .words import FREE, LIST, PCP_LIST, PCP_WORDS


def lists(m: Kernel) -> list[int]:
    """Return all per-CPU lists of all CPUs."""
    return [m.pcp_at + i * PCP_WORDS for i in range(len(m.zones) * m.config.cpus)]


def list_of(m: Kernel, zone: Zone) -> int:
    """Return the running CPU's list of a zone."""
    return m.pcp_at + (m.cpu * len(m.zones) + m.zones.index(zone)) * PCP_WORDS


def batch(zone: Zone) -> int:
    """Return how many pages go to and from a zone's list at a time."""
    return max(1, min(63, (zone.end - zone.start) >> 10))


def get(m: Kernel, zonelist: Zonelist) -> int:
    """Take a page from this CPU's lists, refilled with single pages that need no split.  Returns its buddy, or 0."""
    for e in zonelist:
        q = list_of(m, e.zone)
        may_give = m.w[e.free] - 1 >= e.low
        if m.count_of[q] == 0 and may_give:
            _refill(m, e, q)
        if m.count_of[q]:
            b = list_first(m, q + PCP_LIST) - LIST
            unlink(m, b, q)
            return b
        if may_give:
            return 0  # this zone is to give a page, by a split
    return 0


def put(m: Kernel, b: int, pfn: int, zone: Zone) -> tuple[int, int]:
    """Keep a freed page on this CPU's list.  Returns the list and its batch, which is drained when the list holds more than six of it."""
    m.desc_of[pfn] = address(b) | FREE
    m.count(words_typed=1)
    q = list_of(m, zone)
    _link(m, b, q)
    return q, batch(zone)


def last(m: Kernel, q: int) -> int:
    """Return the buddy that is on a list for the longest time."""
    return word(m.prev_of[q + PCP_LIST]) - LIST


def unlink(m: Kernel, b: int, q: int) -> None:
    """Take a page off a list."""
    list_del(m, b + LIST)
    m.flags_of[b] &= ~PCP
    m.count_of[q] -= 1


def _link(m: Kernel, b: int, q: int) -> None:
    list_add(m, b + LIST, q + PCP_LIST)
    m.flags_of[b] |= PCP
    m.count_of[q] += 1


def _refill(m: Kernel, e: Entry, q: int) -> None:
    for _ in range(batch(e.zone)):
        if list_empty(m, e.heads):
            return
        b = list_first(m, e.heads) - LIST
        list_del(m, b + LIST)
        m.w[e.free] -= 1
        _link(m, b, q)
