"""The table of caches in RAM: how a slot is filled, what can be read of its slabs and lists, and what bad objects get.

Used by slub.py, descriptors.py, evacuate.py and kmem_cache.py.  Functions of a machine ``m``; ``c`` is a cache's first word, ``s`` a slab's, ``n``
a kmem_cache_node's (words.py).  Imports kernel and below.

Source: mm/slab_common.c, mm/slub.c.
"""

from __future__ import annotations

from collections.abc import Callable

from .addresses import B, address, word
from .gfp import GFP
from .kernel import Kernel, Shape
from .list_head import chain_add, init_list_head, list_add_tail, list_del, list_for_each
from .memdesc import MemType
from .ram import KernelBug
from .slub_size import MAX_OBJECTS, MAX_SLAB_ORDER, SLAB, Sizes, calculate_order, get_order, objects_per_slab
from .slub_size import min_partial as default_min_partial
from .structs import HELD, NODE_SHIFT, NR_CACHES, kmem_cache, slab
from .words import (
    BUDDY,
    CACHE_WORDS,
    CPU_ROW,
    CPU_WORDS,
    FREE,
    INUSE,
    LIST,
    NODE_WORDS,
    OBJECTS_SHIFT,
    ONE_BLOCK,
    ORDER_SHIFT,
    PARTIAL,
    SLAB_TYPE,
    SLAB_WORDS,
)

# -- the table


def boot_caches(m: Kernel) -> None:
    """Make the heads of all partial lists empty lists: the table of caches is ready."""
    for i in range(NR_CACHES * m.config.nodes):
        init_list_head(m, m.kn_at + i * NODE_WORDS + PARTIAL)
    m.percpu_of[m.kc_at + NR_CACHES * CACHE_WORDS] = NR_CACHES * CPU_WORDS
    know_shapes(m)


def slots(m: Kernel) -> list[int]:
    """Return all slots of the table, live or not."""
    return [m.kc_at + i * CACHE_WORDS for i in range(NR_CACHES)]


def view_of(m: Kernel, c: int) -> kmem_cache:
    """Return the view of a cache's struct."""
    return kmem_cache(m, address(c))


def new_cache(
    m: Kernel, name: str, object_size: int, sizes: Sizes, flags: int, ctor: Callable[[int], object] | None, single_pages: bool
) -> int:
    """Fill a slot of the table.  Returns c, or 0 when all are taken."""
    free = next(((i, c) for i, c in enumerate(slots(m)) if not m.serial_of[c]), None)
    if free is None:
        return 0
    slot, c = free
    order = 0 if single_pages else calculate_order(sizes.size, m.config.cpus, m.page_size, min(MAX_SLAB_ORDER, m.max_order))
    least = get_order(sizes.size, m.page_size)
    view = view_of(m, c)
    view.name, view.flags, view.size, view.object_size = name, flags, sizes.size, object_size
    view.offset, view.align, view.inuse, view.red_left_pad = sizes.offset, sizes.align, sizes.inuse, sizes.red_left_pad
    view.order, view.objects = order, objects_per_slab(sizes.size, order, m.page_size)
    view.min_order, view.min_objects = least, objects_per_slab(sizes.size, least, m.page_size)
    view.min_partial, view.own, view.ctor = default_min_partial(sizes.size), 0, int(ctor is not None)
    view.cpu_slab = slot * CPU_WORDS
    view.node = address(m.kn_at + slot * m.config.nodes * NODE_WORDS)
    m.w[m.serial_at] += 1
    view.serial = m.w[m.serial_at]
    if ctor is not None:
        m.ctors[view.serial] = ctor
    _know_shape(m, c)
    return c


def know_shapes(m: Kernel) -> None:
    """Note what never changes while a cache lives, for the hot paths; again after RAM was put back."""
    for c in range(m.kc_at, m.kc_at + (NR_CACHES + 1) * CACHE_WORDS, CACHE_WORDS):
        _know_shape(m, c)


def _know_shape(m: Kernel, c: int) -> None:
    (m.ordinary.add if m.serial_of[c] and not m.cache_flags_of[c] & SLAB.DEBUG else m.ordinary.discard)(c)
    size = m.size_of[c] or m.page_size
    starts = frozenset(range(0, objects_per_slab(size, 0, m.page_size) * size, size))
    m.shape_of[c] = Shape(m.percpu_of[c], B - m.offset_of[c], starts, address(c), word(m.node_of[c]))


# -- slabs, their lists and their objects


def inuse(m: Kernel, s: int) -> int:
    """Return how many objects of a slab are in use."""
    return m.counts_of[s] & INUSE


def free_objects(m: Kernel, s: int) -> int:
    """Return how many objects of a slab are free."""
    return (m.counts_of[s] >> OBJECTS_SHIFT & 0xFFFF) - inuse(m, s)


def slab_order(m: Kernel, s: int) -> int:
    """Return the order of a slab's block."""
    return m.counts_of[s] >> ORDER_SHIFT & 0xFF


def slab_pfn(m: Kernel, s: int) -> int:
    """Return the first page of a slab."""
    return (m.virt_of[s] - B) >> m.PS


def percpu(m: Kernel, c: int) -> int:
    """Return the running CPU's kmem_cache_cpu of a cache."""
    return m.percpu + m.shape_of[c].percpu


def each_cpu(m: Kernel, c: int) -> list[int]:
    """Return every CPU's kmem_cache_cpu of a cache."""
    return [m.cc_at + cpu * CPU_ROW + m.percpu_of[c] for cpu in range(m.config.cpus)]


def node_of(m: Kernel, c: int, s: int) -> int:
    """Return the kmem_cache_node that a slab of a cache belongs to."""
    return word(m.node_of[c]) + (m.flags_of[s] >> NODE_SHIFT) * NODE_WORDS


def nodes(m: Kernel, c: int) -> list[int]:
    """Return the kmem_cache_nodes of a cache."""
    first = word(m.node_of[c])
    return [first + i * NODE_WORDS for i in range(m.config.nodes)]


def nr_slabs(m: Kernel, c: int) -> int:
    """Return how many slabs a cache has."""
    first, n = m.shape_of[c].nodes, m.config.nodes
    return m.nr_slabs_of[first] if n == 1 else sum(m.nr_slabs_of[first : first + n * NODE_WORDS : NODE_WORDS])


def add_partial(m: Kernel, s: int, n: int) -> None:
    """Put a slab last on a node's partial list."""
    list_add_tail(m, s + LIST, n + PARTIAL)
    m.nr_partial_of[n] += 1


def remove_partial(m: Kernel, s: int, n: int) -> None:
    """Take a slab off a node's partial list."""
    list_del(m, s + LIST)
    m.nr_partial_of[n] -= 1


def partial_slabs(m: Kernel, c: int) -> list[int]:
    """Return the slabs on a cache's partial lists, in order, node by node."""
    return [entry - LIST for n in nodes(m, c) for entry in list_for_each(m, n + PARTIAL)]


def slabs_of(m: Kernel, c: int) -> list[int]:
    """Return all slabs of a cache, found through the mem_map: a full slab is on no list."""
    return slabs_by_cache(m).get(c, [])


def slabs_by_cache(m: Kernel) -> dict[int, list[int]]:
    """Return all slabs of all caches, each block of pages looked at once, by what its first page's mem_desc says."""
    found: dict[int, list[int]] = {}
    pfn, end = 0, len(m.w) - SLAB_WORDS
    while pfn < m.nr_pages:
        kind, d = m.desc_of[pfn] & 15, word(m.desc_of[pfn] & ~15)
        order = 0
        if not 0 <= d < end:
            pfn += m.mem_map_pages if pfn == m.mem_map_pfn else 1
            continue
        if kind == SLAB_TYPE:
            slabs, order = found.setdefault(word(m.cache_of[d]), []), slab_order(m, d)
            if d not in slabs[-1:]:
                slabs.append(d)
        elif kind in (FREE, BUDDY):
            order = m.order_of[d]
        elif kind in ONE_BLOCK and 0 <= word(m.buddy_of[d]) < end:
            order = m.order_of[word(m.buddy_of[d])]
        pfn += 1 << order if order <= m.max_order and not pfn & (1 << order) - 1 else 1
    return found


def next_free(m: Kernel, c: int, obj: int) -> int:
    """Return what a free object of a cache links to, 0 after the last.  KernelBug if there is no RAM where the object should be."""
    if not B <= obj < B + (m.highmem_pfn << m.PS):
        raise KernelBug(
            f"general protection fault: a freelist of {view_of(m, c).name} leads to {obj:#x}, which is no address of an object; "
            "an object was written to after it was freed, and check() tells more"
        )
    return m.w[word(obj + m.offset_of[c])]


def walk_freelist(m: Kernel, c: int, obj: int) -> list[int]:
    """Return the objects of a freelist in order.  KernelBug if it runs in a circle, as an undetected double free can leave it, or out of RAM."""
    found: list[int] = []
    while obj:
        found.append(obj)
        if len(found) > MAX_OBJECTS:
            raise KernelBug(f"the freelist that holds {obj:#x} runs in a circle: an object was freed twice; check() tells more")
        obj = next_free(m, c, obj)
    return found


def free_near(m: Kernel, c: int, objs: list[int]) -> set[int]:
    """Return the free objects of the slabs that some objects of a cache lie in, and those on the CPUs' freelists."""
    heads = [m.freelist_of[s] for s in {word(m.desc_of[(obj - B) >> m.PS]) for obj in objs}]
    return {obj for head in heads + cpu_heads(m, c) for obj in walk_freelist(m, c, head)}


def live_objects(m: Kernel, c: int, slabs: list[int] | None = None) -> int:
    """Count the objects of a cache that are in use: what its slabs say, less what is on the CPUs' freelists."""
    live = sum(inuse(m, s) for s in (slabs_of(m, c) if slabs is None else slabs))
    return live - sum(len(walk_freelist(m, c, head)) for head in cpu_heads(m, c))


def cpu_heads(m: Kernel, c: int) -> list[int]:
    """Return the first free object of each CPU, or 0."""
    return [m.cpu_freelist_of[p] for p in each_cpu(m, c)]


def discard(m: Kernel, c: int, s: int, chain: int) -> int:
    """Free an empty slab's pages; returns ``chain`` with its struct slab, and what merging freed, in front."""
    m.nr_slabs_of[node_of(m, c, s)] -= 1
    pfn = slab_pfn(m, s)
    m.count(slabs_freed=1)
    chain = m._free_one_page(word(m.buddy_of[s]), pfn, slab_order(m, s), chain)
    if s >> m.WS != pfn:  # a self-describing slab went with its page
        chain = chain_add(m, s + LIST, chain)
    return chain


# -- what bad input gets


def is_object(m: Kernel, address: int, c: int) -> bool:
    """Say whether ``address`` is where an object of the cache starts, in a slab of the cache (live or free)."""
    pfn = (address - B) >> m.PS
    if not 0 <= pfn < m.highmem_pfn or m.desc_of[pfn] & 15 != SLAB_TYPE:
        return False
    s = word(m.desc_of[pfn])
    index, rest = divmod(address - m.virt_of[s] - (m.red_left_pad_of[c] >> 32), m.size_of[c] or 1)
    return m.cache_of[s] == B + 8 * c and rest == 0 and 0 <= index < m.counts_of[s] >> OBJECTS_SHIFT & 0xFFFF


def held_slab(m: Kernel, address: int, gfp: int) -> int:
    """Return the struct slab that a consumer took, at ``address``, for pages that ``gfp`` asks for; ValueError if it has pages, or cannot have these."""
    s = word(address)
    if not m._is_object(address, m.KC_SLAB) or m.flags_of[s] != HELD or address in free_near(m, m.KC_SLAB, [address]):
        raise ValueError(f"desc names no struct slab of yours, {address:#x}; take one with m.caches['kmem_cache_slab'].alloc() first")
    if m.buddy_of[s]:
        raise ValueError(f"the struct slab at {address:#x} describes a block already; free that with free_pages_desc, or take another")
    if gfp & GFP.HIGHMEM:
        raise ValueError("a slab's objects need addresses, which HIGHMEM has not; allocate its pages without __GFP_HIGHMEM")
    return s


def double_free(m: Kernel, c: int, address: int) -> KernelBug:
    """Say that an object is free already."""
    return KernelBug(f"double free: the object at {address:#x} of {view_of(m, c).name} is free already")


def still_live(m: Kernel, c: int, live: int) -> KernelBug:
    """Say that a cache has ``live`` objects in use, and where the first of them are."""
    free, found = {obj for head in cpu_heads(m, c) for obj in walk_freelist(m, c, head)}, list[str]()
    for s in slabs_of(m, c):
        first, n = m.virt_of[s] + (m.red_left_pad_of[c] >> 32), inuse(m, s) + free_objects(m, s)
        free.update(walk_freelist(m, c, m.freelist_of[s]))
        found += [f"{obj:#x}" for obj in range(first, first + n * m.size_of[c], m.size_of[c]) if obj not in free]
        if len(found) > 3:
            break
    where = ", ".join(found[:3]) + (" and so on" if live > 3 else "")
    return KernelBug(
        f"{view_of(m, c).name} has {live} live object{'s' * (live > 1)}, at {where}; free {'them' if live > 1 else 'it'} before you destroy it"
    )


def bad_object(m: Kernel, c: int, address: int) -> KernelBug:
    """Say why ``address`` cannot be freed into the cache."""
    if not m.serial_of[c]:
        return KernelBug("this cache was destroyed, and with it went its objects")
    name = view_of(m, c).name
    pfn = (address - B) >> m.PS
    if not 0 <= pfn < m.highmem_pfn:
        return KernelBug(f"{address:#x} is no virtual address of this machine's memory, so no object of {name}")
    if m.desc_of[pfn] & 15 != MemType.SLAB:
        return KernelBug(f"{address:#x} is in page {pfn}, which is no slab's, so it is no object of {name}")
    view = slab(m, m.desc_of[pfn] & ~15)
    if word(view.slab_cache) not in m.shape_of:
        return KernelBug(f"{address:#x} is in page {pfn}, whose slab belongs to no cache, so it is no object of {name}")
    other = kmem_cache(m, view.slab_cache)
    if view.slab_cache != B + 8 * c:
        return KernelBug(f"{address:#x} is an object of the cache {other.name}, not of {name}; free it there")
    index, rest = divmod(address - view.virt - other.red_left_pad, other.size)
    if 0 <= index < view.objects:
        return KernelBug(f"{address:#x} is {rest} bytes into an object of {name}; the object starts at {address - rest:#x}")
    return KernelBug(f"{address:#x} is in a slab of {name}, but not in one of its {view.objects} objects")
