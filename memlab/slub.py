"""SLUB: caches of equal objects, cut from slabs of pages; a slab's ``struct slab`` lives elsewhere in RAM.

Used by the page allocator (for its descriptors), by the users of descriptors and through KmemCache by everybody.  Where a slab's pages and
its descriptors come from is descriptors.py's business; fast.py has the most common cases written out in line.  Functions of a machine ``m``:
``c`` is a cache, ``s`` a slab, ``p`` a kmem_cache_cpu, ``n`` a kmem_cache_node, each by its first word (words.py); 0 is NULL.
Imports cache_table and slub_debug.

    kmem_cache ---node--> kmem_cache_node: partial <-> slab <-> slab      a partial slab is on its node's list,
        `-----cpu_slab--> kmem_cache_cpu: slab (frozen), freelist         an active one belongs to a CPU,
                                                                          a full one is on no list
Source: mm/slub.c.
"""

from __future__ import annotations

from typing import Final

from . import slub_debug
from .addresses import B, address, word
from .cache_table import (
    add_partial,
    bad_object,
    cpu_heads,
    discard,
    double_free,
    each_cpu,
    next_free,
    node_of,
    partial_slabs,
    percpu,
    remove_partial,
    slab_order,
    slab_pfn,
    view_of,
    walk_freelist,
)
from .kernel import Kernel
from .list_head import list_del, list_first
from .ram import KernelBug, changes
from .slub_size import SLAB, objects_per_slab
from .structs import HELD
from .words import DEBUG, FROZEN, INUSE, LIST, NODE_WORDS, OBJECTS_SHIFT, ORDER_SHIFT, PARTIAL

FRAMES_PER_NESTING: Final = 6  # alloc_pages, kmem_cache_alloc_bulk, ___slab_alloc, new_slab, allocate_slab, alloc_slab_page

# -- allocation


@changes
def kmem_cache_alloc(m: Kernel, c: int, gfp: int, node: int | None) -> int:
    """Take an object from the CPU's freelist, or make one ready.  Returns its address or 0.

    Locks in Linux: none on the fast path (a compare-and-exchange).
    """
    return _pop(m, c, percpu(m, c)) or m.___slab_alloc(c, gfp, node)


@changes
def kmem_cache_alloc_bulk(m: Kernel, c: int, n: int, gfp: int, node: int | None) -> list[int] | None:
    """Take ``n`` objects, all or nothing.  Returns their addresses or None.  Locks in Linux: as kmem_cache_alloc."""
    objs: list[int] = []
    while len(objs) < n:
        try:
            obj = _pop(m, c, percpu(m, c)) or m.___slab_alloc(c, gfp, node)
        except BaseException:  # the cache's constructor, which is the caller's code, raised
            m._kmem_cache_free_bulk(c, objs)
            raise
        if not obj:
            m._kmem_cache_free_bulk(c, objs)
            return None
        objs.append(obj)
    return objs


def ___slab_alloc(m: Kernel, c: int, gfp: int, node: int | None) -> int:
    """Take from the active slab what other CPUs freed, else activate a partial slab, else a new one.

    Returns an object's address or 0.  When a new slab cannot be had, looks again: getting one may have brought free objects about.
    Locks in Linux: list_lock while the partial list is searched.
    """
    node = m.node if node is None else node
    if c not in m.ordinary:
        if not m.serial_of[c]:
            raise KernelBug("this cache was destroyed; create it again before you allocate from it")
        return _debug_alloc(m, c, gfp, node)
    obj = refill(m, c, node)
    if obj:
        return obj
    s = m._new_slab(c, gfp, node)
    if not s:
        return 0 if m._overflow else refill(m, c, node)
    p = percpu(m, c)
    if m.cpu_slab_of[p]:  # a nested allocation or an interrupt activated another slab meanwhile: that one is used up first
        add_partial(m, s, node_of(m, c, s))
        return refill(m, c, node)
    return activate(m, c, s, p)


def refill(m: Kernel, c: int, node: int) -> int:
    """Take an object from the CPU's own slab or from the first partial slab, which becomes the CPU's.  Returns it, or 0."""
    p = percpu(m, c)
    if obj := _pop(m, c, p):
        return obj
    if m.cpu_slab_of[p]:
        s = word(m.cpu_slab_of[p])
        if m.freelist_of[s]:
            return activate(m, c, s, p)
        m.counts_of[s] -= FROZEN  # full: on no list from now on
        m.cpu_slab_of[p] = 0
    for near in m.node_order[node]:
        n = m.shape_of[c].nodes + near * NODE_WORDS
        if m.nr_partial_of[n]:
            entry = list_first(m, n + PARTIAL)
            list_del(m, entry)
            m.nr_partial_of[n] -= 1
            return activate(m, c, entry - LIST, p)
    return 0


def activate(m: Kernel, c: int, s: int, p: int) -> int:
    """Make a slab with free objects the CPU's: its freelist moves to the CPU, less the first object, which is returned."""
    obj: int = m.freelist_of[s]
    m.freelist_of[s] = 0
    counts = m.counts_of[s]
    m.counts_of[s] = counts & ~INUSE | counts >> OBJECTS_SHIFT & 0xFFFF | FROZEN
    m.cpu_slab_of[p] = address(s)
    m.cpu_freelist_of[p] = next_free(m, c, obj)
    return obj


def _pop(m: Kernel, c: int, p: int) -> int:
    """Take the first object of a CPU's freelist.  Returns its address, or 0."""
    obj: int = m.cpu_freelist_of[p]
    if obj:
        m.cpu_freelist_of[p] = next_free(m, c, obj)
    return obj


def new_slab(m: Kernel, c: int, gfp: int, node: int | None) -> int:
    """Call allocate_slab, unless the call chain is deeper than the kernel's stack would be.  Returns s or 0."""
    if (m._nesting + 1) * FRAMES_PER_NESTING > m.frame_limit:
        m._overflow = True
        return 0
    m._nesting += 1
    try:
        return m._allocate_slab(c, gfp, node)
    finally:
        m._nesting -= 1


def allocate_slab(m: Kernel, c: int, gfp: int, node: int | None) -> int:
    """Get pages and a struct slab, and cut the pages into objects.  Returns s or 0."""
    s = m._alloc_slab_page(c, gfp, node)
    if s:
        try:
            init_slab(m, c, s)
        except BaseException:  # the cache's constructor, which is the caller's code, raised
            if chain := discard(m, c, s, 0):
                m._give_back(chain)
            raise
    return s


def init_slab(m: Kernel, c: int, s: int) -> None:
    """Cut a slab's pages into objects and thread its freelist through them.  ``inuse`` leading objects are in use already."""
    w = m.w
    used, order, size = m.counts_of[s] & INUSE, slab_order(m, s), m.size_of[c]
    objects = objects_per_slab(size, order, m.page_size)
    m.cache_of[s] = address(c)
    m.freelist_of[s] = 0
    debug = DEBUG if m.cache_flags_of[c] & SLAB.DEBUG else 0
    m.counts_of[s] = used | objects << OBJECTS_SHIFT | order << ORDER_SHIFT | debug
    m.nr_slabs_of[node_of(m, c, s)] += 1
    pfn = slab_pfn(m, s)
    m.touched[pfn : pfn + (1 << order)] = b"\1" * (1 << order)
    first = m.virt_of[s] + (m.red_left_pad_of[c] >> 32)
    if debug:
        cache = view_of(m, c)
        for i in range(objects):
            slub_debug.mark(m, cache, first + i * size, slub_debug.RED_INACTIVE)
    if m.ctor_of[c] >> 32:
        _construct(m, c, s, range(first + used * size, first + objects * size, size))
    o, step, link = word(first + used * size), size >> 3, m.offset_of[c] >> 3
    if used < objects:
        m.freelist_of[s] = address(o)
        for _ in range(objects - used - 1):
            w[o + link] = B + 8 * (o + step)
            o += step
        w[o + link] = 0


def _construct(m: Kernel, c: int, s: int, objects: range) -> None:
    view = view_of(m, c)
    ctor = m.ctors.get(view.serial)
    if ctor is None:
        raise KernelBug(
            f"the constructor of {view.name} was not given again after load: Machine.load(path, ctors={{{view.name!r}: function}})"
        )
    m.flags_of[s] |= HELD  # the constructor is the caller's code: whatever it does, this slab's descriptor stays where it is
    try:
        for obj in objects:
            ctor(obj)
    finally:
        m.flags_of[s] &= ~HELD


# -- freeing


@changes
def kmem_cache_free(m: Kernel, c: int, address: int) -> None:
    """Give an object back.  KernelBug, and RAM untouched, if it is no live object of this cache.

    Locks in Linux: none into the CPU's own slab; list_lock when a slab joins or leaves the partial list.
    """
    if not m._is_object(address, c):
        raise bad_object(m, c, address)
    s = word(m.desc_of[(address - B) >> m.PS])
    if address == m.freelist_of[s] or address in cpu_heads(m, c):
        raise double_free(m, c, address)
    if m.counts_of[s] & DEBUG:
        cache = view_of(m, c)
        slub_debug.look_before_free(m, cache, s, address)
        slub_debug.mark(m, cache, address, slub_debug.RED_INACTIVE)
    if chain := slab_free(m, c, s, word(address), 0):
        m._give_back(chain)


@changes
def kmem_cache_free_bulk(m: Kernel, c: int, objs: list[int]) -> None:
    """Give back every object of a list."""
    for obj in objs:
        m._kmem_cache_free(c, obj)


def slab_free(m: Kernel, c: int, s: int, o: int, chain: int) -> int:
    """Put an object on its CPU's or its slab's freelist.  Returns ``chain``, with the descriptors of a slab that went in front."""
    p, link = percpu(m, c), o + (m.offset_of[c] >> 3)
    if m.cpu_slab_of[p] == address(s):
        m.w[link] = m.cpu_freelist_of[p]
        m.cpu_freelist_of[p] = address(o)
        return chain
    prior = m.freelist_of[s]
    m.w[link] = prior
    m.freelist_of[s] = address(o)
    m.counts_of[s] -= 1
    if m.counts_of[s] & FROZEN:
        return chain
    if m.counts_of[s] & INUSE <= 1:
        return _nearly_empty(m, c, s, bool(prior), chain)
    if not prior:
        add_partial(m, s, node_of(m, c, s))
    return chain


def _nearly_empty(m: Kernel, c: int, s: int, on_list: bool, chain: int) -> int:
    """Release a slab that is empty, if its node keeps enough; else see that it is on the partial list."""
    n = node_of(m, c, s)
    if m.nr_partial_of[n] >= m.min_partial_of[c] and _emptied(m, c, s):
        if on_list:
            remove_partial(m, s, n)
        return discard(m, c, s, chain)
    if not on_list:
        add_partial(m, s, n)
    return chain


def _emptied(m: Kernel, c: int, s: int) -> bool:
    """Say whether nothing but a slab's own descriptor is in it; in the bounded design, move that descriptor out."""
    live = m.counts_of[s] & INUSE
    return live <= m.own_of[c] or (live == 1 and m.bounded and c == m.KC_BUDDY and m._evacuate_own(s))


def deactivate(m: Kernel, c: int, p: int) -> None:
    """Take the slab from a CPU: its freelist goes back to the slab, and the slab to where it belongs."""
    s = word(m.cpu_slab_of[p])
    free = walk_freelist(m, c, m.cpu_freelist_of[p])
    m.cpu_freelist_of[p] = m.cpu_slab_of[p] = 0
    if free:
        m.w[word(free[-1] + m.offset_of[c])] = m.freelist_of[s]
        m.freelist_of[s] = free[0]
    m.counts_of[s] = (m.counts_of[s] - len(free)) & ~FROZEN
    if not m.freelist_of[s]:
        return  # full
    if m.counts_of[s] & INUSE <= 1:
        if chain := _nearly_empty(m, c, s, False, 0):
            m._give_back(chain)
    else:
        add_partial(m, s, node_of(m, c, s))


def flush_all(m: Kernel, c: int) -> None:
    """Take the active slab from every CPU."""
    for p in each_cpu(m, c):
        if m.cpu_slab_of[p]:
            m._deactivate(c, p)


def _debug_alloc(m: Kernel, c: int, gfp: int, node: int | None) -> int:
    """Take the first free object of a debug cache's first partial slab, looked at and marked active.  Returns its address or 0."""
    slabs = partial_slabs(m, c)
    if not slabs:
        s = m._new_slab(c, gfp, node)
        if not s:
            return 0
        add_partial(m, s, node_of(m, c, s))
        slabs = [s]
    s = slabs[0]
    cache, obj = view_of(m, c), m.freelist_of[s]
    slub_debug.look(m, cache, obj, slub_debug.RED_INACTIVE)
    m.freelist_of[s] = next_free(m, c, obj)
    m.counts_of[s] += 1
    if not m.freelist_of[s]:
        remove_partial(m, s, node_of(m, c, s))
    slub_debug.mark(m, cache, obj, slub_debug.RED_ACTIVE)
    return int(obj)
