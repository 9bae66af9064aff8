"""Evacuation: descriptors that move to another page, so that the page they pin can be freed.  Bounded design only.

Used by descriptors.py and, through ``m.``, by slub.py.  The email does not go into it: a page of descriptors cannot be freed while one of them is
live, and the descriptor of a free block is live too.  But RAM shows who holds most descriptors, and what is known to be named in few places can move.
Never grows a cache; ``_migrate`` takes one free page for the one it frees.  Nothing moves while an interrupt is served: what it interrupted may
be about to use a descriptor that it knows the address of.  (In Linux: allocating and freeing take a lock shared, moving only tries to take it
alone.)  Functions of a machine ``m``; indices as in words.py.  Imports cache_table and below.
"""

from __future__ import annotations

from .addresses import address, pfn_of, word
from .cache_table import (
    discard,
    each_cpu,
    free_objects,
    next_free,
    node_of,
    partial_slabs,
    percpu,
    remove_partial,
    slab_order,
    slab_pfn,
    slabs_of,
    walk_freelist,
)
from .config import Entry, ZoneType
from .kernel import Kernel
from .list_head import list_add, list_del, list_for_each, list_replace
from .structs import HELD
from .words import BUDDY, BUDDY_WORDS, FREE, FROZEN, LIST, OBJECTS_SHIFT, ONE_BLOCK, SLAB_TYPE, SLAB_WORDS


def evacuate_own(m: Kernel, s: int) -> bool:
    """Move a slab's own descriptor out of its page, if it lies there, to a free one on hand.  Says whether it did."""
    own = word(m.buddy_of[s])
    if m._interrupted or own >> m.WS != slab_pfn(m, s):
        return False
    spare = _spare(m, m.KC_BUDDY, s)
    if not spare:
        return False
    _move_buddy(m, own, spare)
    m.counts_of[s] -= 1
    return True


def evacuate(m: Kernel, c: int, s: int) -> bool:
    """Move all live descriptors of a slab to free ones of other slabs, its own last, and release it.  Says whether it did.

    ``c`` is kmem_cache_buddy or kmem_cache_slab; a struct slab in its own page stays, and goes with the page.
    """
    movable, move = (buddy_movable, _move_buddy) if c == m.KC_BUDDY else (slab_movable, _move_slab)
    live = [o for o in _live_in(m, c, s) if o != s]
    others = sum(free_objects(m, other) for other in partial_slabs(m, c) if other != s)
    if others < len(live) or not all(movable(m, o) for o in live):
        return False
    own = word(m.buddy_of[s])
    for o in sorted(live, key=lambda o: o == own):
        move(m, o, _spare(m, c, s))
        m.counts_of[s] -= 1
    remove_partial(m, s, node_of(m, c, s))
    if chain := discard(m, c, s, 0):
        m._give_back(chain)
    return True


def _live_in(m: Kernel, c: int, s: int) -> list[int]:
    """Return a slab's objects that are not on its freelist, by their first words."""
    free = {word(obj) for obj in walk_freelist(m, c, m.freelist_of[s])}
    first, step = word(m.virt_of[s]), m.size_of[c] >> 3
    return [o for o in range(first, first + (m.counts_of[s] >> OBJECTS_SHIFT & 0xFFFF) * step, step) if o not in free]


def _spare(m: Kernel, c: int, but: int) -> int:
    """Take a free descriptor that lies in another slab than ``but``, without growing.  Returns its first word, or 0."""
    p = percpu(m, c)
    obj = m.cpu_freelist_of[p]
    if obj and m.cpu_slab_of[p] != address(but):
        m.cpu_freelist_of[p] = next_free(m, c, obj)
        return word(obj)
    for s in partial_slabs(m, c):
        if s != but:
            obj = m.freelist_of[s]
            m.freelist_of[s] = next_free(m, c, obj)
            m.counts_of[s] += 1
            if not m.freelist_of[s]:
                remove_partial(m, s, node_of(m, c, s))
            return word(obj)
    return 0


def buddy_movable(m: Kernel, b: int) -> bool:
    """Say whether RAM shows who holds a live struct buddy: its block's mem_desc words, or the descriptor that they name."""
    pfn = pfn_of(m.page_of[b])
    if m.flags_of[b] & HELD or not 0 <= pfn < m.nr_pages:
        return False
    kind, d = m.desc_of[pfn] & 15, word(m.desc_of[pfn])
    if kind in (FREE, BUDDY):
        return d == b
    return (kind == SLAB_TYPE or kind in ONE_BLOCK) and m.buddy_of[d] == address(b)


def _move_buddy(m: Kernel, old: int, new: int) -> None:
    """Copy a movable struct buddy to ``new`` and tell its holder: list neighbours and mem_desc words, or a descriptor."""
    pfn = pfn_of(m.page_of[old])
    kind, d = m.desc_of[pfn] & 15, word(m.desc_of[pfn])
    _copy(m, old, new, BUDDY_WORDS)
    if kind in (FREE, BUDDY):
        n = 1 << m.order_of[new]
        if kind == FREE:
            list_replace(m, old + LIST, new + LIST)
        m.fill(pfn, n, address(new) | kind)
        m.count(words_moved=n)
    else:
        m.buddy_of[d] = address(new)
    m.count(buddies_moved=1)


def slab_movable(m: Kernel, s: int) -> bool:
    """Say whether a live struct slab describes pages: then the mem_desc words, a list and a CPU are all that name it."""
    pfn = slab_pfn(m, s)
    return not m.flags_of[s] & HELD and 0 <= pfn < m.highmem_pfn and m.desc_of[pfn] == address(s) | SLAB_TYPE


def _move_slab(m: Kernel, old: int, new: int) -> None:
    """Copy a movable struct slab to ``new`` and tell its pages, its partial list and its CPU."""
    frozen, c = m.counts_of[old] & FROZEN, word(m.cache_of[old])
    if m.freelist_of[old] and not frozen:
        list_replace(m, old + LIST, new + LIST)
    _copy(m, old, new, SLAB_WORDS)
    for p in each_cpu(m, c) if frozen else ():
        if m.cpu_slab_of[p] == address(old):
            m.cpu_slab_of[p] = address(new)
    n = 1 << slab_order(m, new)
    m.fill(slab_pfn(m, new), n, address(new) | SLAB_TYPE)
    m.count(words_moved=n, slabs_moved=1)


def _copy(m: Kernel, old: int, new: int, words: int) -> None:
    for i in range(words):
        m.w[new + i] = m.w[old + i]


# -- moving whole pages


def migrate_all(m: Kernel, c: int) -> bool:
    """Move each slab of descriptors, full ones too, to a better page, where there is one.  Says whether any moved."""
    return sum(_migrate(m, c, s) for s in slabs_of(m, c)) > 0


def _migrate(m: Kernel, c: int, s: int) -> bool:
    """Move a slab of descriptors, a single page, to a better page if there is one, and free its page.  Says whether it did."""
    WS, old = m.WS, slab_pfn(m, s)
    if m.desc_of[old] != address(s) | SLAB_TYPE:  # it went when an earlier one moved
        return False
    movable = buddy_movable if c == m.KC_BUDDY else slab_movable
    if not all(movable(m, o) for o in _live_in(m, c, s) if o != s):
        return False
    target = _better_page(m, old, s)
    if target is None:
        return False
    e, block, order = target
    hand = [_spare(m, m.KC_BUDDY, s if c == m.KC_BUDDY else 0) for _ in range(order)]
    list_del(m, block + LIST)
    list_add(m, block + LIST, e.heads + 2 * order)
    b = m._take(e, order, 0, hand, address(s) | SLAB_TYPE)
    new = pfn_of(m.page_of[b])
    by = (new - old) << WS
    own = word(m.buddy_of[s])
    live = _live_in(m, c, s)
    m.map[new << m.PS : (new + 1) << m.PS] = m.map[old << m.PS : (old + 1) << m.PS]
    m.touched[new] = 1
    for o in live:
        if o not in (s, b, own):
            (_move_buddy if c == m.KC_BUDDY else _move_slab)(m, o, o + by)
    b, own = (i + by if i >> WS == old else i for i in (b, own))  # where the two pages' own buddies are now
    if s >> WS == old:
        if m.freelist_of[s]:
            list_replace(m, s + LIST, s + by + LIST)
        s += by
    m.flags_of[s] = m.flags_of[b]  # which name the zone
    m.virt_of[s], m.buddy_of[s] = address(new << WS), address(b)
    m.desc_of[new] = address(s) | SLAB_TYPE
    if obj := m.freelist_of[s]:
        m.freelist_of[s] = obj + 8 * by
    while obj:  # where it was; its link was copied, and points to where the next was
        at = word(obj + m.offset_of[c]) + by
        if obj := m.w[at]:
            m.w[at] = obj + 8 * by
    m.count(words_moved=1)
    if chain := m._free_one_page(own, old, 0, 0):
        m._give_back(chain)
    return True


def _better_page(m: Kernel, pfn: int, s: int) -> tuple[Entry, int, int] | None:
    """Find the lowest free block that the descriptors on hand can split and that is a better home than page ``pfn``.

    That is one in the node's NORMAL zone for a page of its DMA zones, else one below it in its own zone.  Returns zone, buddy, order.
    """
    z = m.zone_of[m.flags_of[s]]
    normal = next((other for other in m.zones if other.node == z.node and other.type is ZoneType.NORMAL), z)
    if z.type < ZoneType.NORMAL and normal is not z:
        z, pfn = normal, normal.end
    spare = sum(free_objects(m, other) for other in partial_slabs(m, m.KC_BUDDY) if other != s)
    found = [
        (m.page_of[entry - LIST], order, entry - LIST)
        for order in range(min(m.max_order, spare) + 1)
        for entry in list_for_each(m, z.heads + 2 * order)
        if pfn_of(m.page_of[entry - LIST]) < pfn
    ]
    if not found:
        return None
    _, order, b = min(found)
    return Entry(z.heads, z.free, 0, 0, 0, z), b, order
