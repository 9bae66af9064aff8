"""SLUB: caches of equal objects, cut from slabs of pages; a slab's ``struct slab`` lives elsewhere in RAM.

Used by the page allocator (for its descriptors), by the users of descriptors and through KmemCache by everybody.  Where a slab's pages and
its descriptors come from is descriptors.py's business; red zones and poison are slub_debug.py's.  Imports cache_table and below.

Conventions of the hot paths: ``ci``, ``si`` and ``oi`` are the word indices of a kmem_cache, a struct slab and an object, ``p`` that of
the running CPU's kmem_cache_cpu, ``ni`` that of a kmem_cache_node.  0 is NULL.

    kmem_cache ---node--> kmem_cache_node: partial <-> slab <-> slab      a partial slab is on its node's list,
        `-----cpu_slab--> kmem_cache_cpu: slab (frozen), freelist         an active one belongs to a CPU,
                                                                          a full one is on no list
Source: mm/slub.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .cache_table import (
    C_FLAGS,
    CACHE,
    COUNTS,
    CPU_ROW,
    CPU_SLAB,
    CTOR,
    DEBUG,
    FREELIST,
    FROZEN,
    LIST,
    MIN_PARTIAL,
    NODE,
    NODE_WORDS,
    NR_SLABS,
    OFFSET,
    ORDER_0,
    ORDER_SHIFT,
    OWN,
    PARTIAL,
    RED_LEFT_PAD,
    SERIAL,
    SIZE,
    SLAB_BUDDY,
    VIRT,
    CacheTable,
)
from .config import Config
from .list_head import list_del, list_for_each
from .ram import KernelBug
from .slub_size import SLAB, objects_per_slab
from .structs import HELD, NODE_SHIFT, kmem_cache

FRAMES_PER_NESTING: Final = 6  # alloc_pages, kmem_cache_alloc_bulk, ___slab_alloc, new_slab, allocate_slab, alloc_slab_page


class Slub(CacheTable):
    """The page allocator with slab caches.  ``frame_limit``: call frames after which nested allocation fails."""

    if TYPE_CHECKING:  # what the layer above provides
        KC_SLAB: int
        bounded: bool

        def _alloc_slab_page(self, ci: int, gfp: int, node: int | None) -> int: ...
        def _evacuate_own(self, si: int) -> bool: ...

    def __init__(self, config: Config, kernel_bytes: int, stat_bytes: int) -> None:
        self.percpu = 0
        self.frame_limit = 4096
        self._nesting = 0
        self._overflow = False
        self._interrupted = 0  # handlers of interrupts at work: what they interrupted is in the midst of a call
        nodes = range(config.nodes)
        super().__init__(config, kernel_bytes, stat_bytes)
        near = config.distance
        self._node_order = [sorted(nodes, key=lambda other: (near[node][other], (other - node) % config.nodes)) for node in nodes]

    # -- allocation

    def _kmem_cache_alloc(self, ci: int, gfp: int, node: int | None) -> int:
        """Take an object from the CPU's freelist, or make one ready.  Returns its address or 0.

        Locks in Linux: none on the fast path (a compare-and-exchange).
        """
        w = self.w
        cpu_slab, link, _, _, _ = self.shape_of[ci]
        p = self.percpu + cpu_slab
        obj = w[p]
        if not obj:
            return self._slab_alloc(ci, gfp, node)
        w[p] = w[(obj - link) >> 3]
        return obj

    def _kmem_cache_alloc_bulk(self, ci: int, n: int, gfp: int, node: int | None) -> list[int] | None:
        """Take ``n`` objects, all or nothing.  Returns their addresses or None.  Locks in Linux: as _kmem_cache_alloc."""
        w = self.w
        cpu_slab, link, _, _, _ = self.shape_of[ci]
        objs: list[int] = []
        while True:
            p = self.percpu + cpu_slab
            obj = w[p]
            while obj and n:
                objs.append(obj)
                obj = w[(obj - link) >> 3]
                n -= 1
            w[p] = obj
            if not n:
                return objs
            try:
                obj = self._slab_alloc(ci, gfp, node)
            except BaseException:  # the cache's constructor, which is the caller's code, raised
                self._kmem_cache_free_bulk(ci, objs)
                raise
            if not obj:
                self._kmem_cache_free_bulk(ci, objs)
                return None
            objs.append(obj)
            n -= 1

    def _slab_alloc(self, ci: int, gfp: int, node: int | None) -> int:
        """___slab_alloc: take from the active slab what other CPUs freed, else activate a partial slab, else a new one.

        Returns an object's address or 0.  When a new slab cannot be had, looks again: getting one may have brought free objects about.
        Locks in Linux: list_lock while the partial list is searched.
        """
        node = self.node if node is None else node
        if ci not in self.ordinary:
            if not self.w[ci + SERIAL]:
                raise KernelBug("this cache was destroyed; create it again before you allocate from it")
            return self._debug_alloc(ci, gfp, node)
        obj = self._refill(ci, node)
        if obj:
            return obj
        si = self._new_slab(ci, gfp, node)
        if not si:
            return 0 if self._overflow else self._refill(ci, node)
        p = self.percpu + self.shape_of[ci][0]
        if self.w[p + 1]:  # a nested allocation or an interrupt activated another slab meanwhile: that one is used up first
            self._add_partial(si, self._node_of(ci, si))
            return self._refill(ci, node)
        return self._activate(si, p, self.shape_of[ci][1])

    def _refill(self, ci: int, node: int) -> int:
        """Take an object from the CPU's own slab or from the first partial slab, which becomes the CPU's.  Returns it, or 0."""
        w, B = self.w, self.B
        cpu_slab, link, _, _, nodes = self.shape_of[ci]
        p = self.percpu + cpu_slab
        obj = w[p]
        if obj:
            w[p] = w[(obj - link) >> 3]
            return obj
        active = w[p + 1]
        if active:
            si = (active - B) >> 3
            if w[si + FREELIST]:
                return self._activate(si, p, link)
            w[si + COUNTS] -= FROZEN  # full: on no list from now on
            w[p + 1] = 0
        for n in self._node_order[node]:
            ni = nodes + n * NODE_WORDS
            partial = w[ni]
            if partial:
                first = w[ni + PARTIAL]
                li = (first - B) >> 3
                after = w[li]
                w[ni + PARTIAL] = after
                w[(after - self.B8) >> 3] = w[li + 1]
                w[ni] = partial - 1
                return self._activate(li - LIST, p, link)
        return 0

    def _activate(self, si: int, p: int, link: int) -> int:
        """Make a slab with free objects the CPU's: its freelist moves to the CPU, less the first object, which is returned."""
        w = self.w
        obj: int = w[si + FREELIST]
        w[si + FREELIST] = 0
        c = w[si + COUNTS]
        w[si + COUNTS] = c & ~0xFFFF | c >> 16 & 0xFFFF | FROZEN
        w[p + 1] = self.B + 8 * si
        w[p] = w[(obj - link) >> 3]
        return obj

    def _new_slab(self, ci: int, gfp: int, node: int | None) -> int:
        """new_slab: allocate_slab, unless the call chain is deeper than the kernel's stack would be.  Returns si or 0."""
        if (self._nesting + 1) * FRAMES_PER_NESTING > self.frame_limit:
            self._overflow = True
            return 0
        self._nesting += 1
        try:
            return self._allocate_slab(ci, gfp, node)
        finally:
            self._nesting -= 1

    def _allocate_slab(self, ci: int, gfp: int, node: int | None) -> int:
        """allocate_slab: get pages and a struct slab, and cut the pages into objects.  Returns si or 0."""
        si = self._alloc_slab_page(ci, gfp, node)
        if si:
            try:
                self._init_slab(ci, si)
            except BaseException:  # the cache's constructor, which is the caller's code, raised
                if chain := self._discard(ci, si, 0):
                    self._give_back(chain)
                raise
        return si

    def _init_slab(self, ci: int, si: int) -> None:
        """Cut a slab's pages into objects and thread its freelist through them.  ``inuse`` leading objects are in use already."""
        w, B = self.w, self.B
        c = w[si + COUNTS]
        used, order = c & 0xFFFF, c >> ORDER_SHIFT & 0xFF
        size = w[ci + SIZE]
        objects = objects_per_slab(size, order, self.page_size)
        w[si + CACHE] = B + 8 * ci
        w[si + FREELIST] = 0
        debug = DEBUG if w[ci + C_FLAGS] & SLAB.DEBUG else 0
        w[si + COUNTS] = used | objects << 16 | order << ORDER_SHIFT | debug
        w[self._node_of(ci, si) + NR_SLABS] += 1
        pfn = (w[si + VIRT] - B) >> self.PS
        self.touched[pfn : pfn + (1 << order)] = b"\1" * (1 << order)
        first = w[si + VIRT] + (w[ci + RED_LEFT_PAD] >> 32)
        if debug:
            self._debug_init(ci, [first + i * size for i in range(objects)])
        if w[ci + CTOR] >> 32:
            self._construct(ci, si, range(first + used * size, first + objects * size, size))
        oi, step, link = ((first - B) >> 3) + used * (size >> 3), size >> 3, w[ci + OFFSET] >> 3
        if used < objects:
            w[si + FREELIST] = B + 8 * oi
            for _ in range(objects - used - 1):
                w[oi + link] = B + 8 * (oi + step)
                oi += step
            w[oi + link] = 0

    def _construct(self, ci: int, si: int, objects: range) -> None:
        view = kmem_cache(self, self.B + 8 * ci)
        ctor = self._ctors.get(view.serial)
        if ctor is None:
            raise KernelBug(
                f"the constructor of {view.name} was not given again after load: Machine.load(path, ctors={{{view.name!r}: function}})"
            )
        w = self.w
        w[si] |= HELD  # the constructor is the caller's code: whatever it does, this slab's descriptor stays where it is
        try:
            for address in objects:
                ctor(address)
        finally:
            w[si] &= ~HELD

    # -- freeing

    def _kmem_cache_free(self, ci: int, address: int) -> None:
        """Give an object back.  KernelBug, and RAM untouched, if it is no live object of this cache.

        Locks in Linux: none into the CPU's own slab; list_lock when a slab joins or leaves the partial list.
        """
        w = self.w
        try:
            at = address - self.B
            pfn = at >> self.PS
            if not 0 <= pfn < self.highmem_pfn:
                raise self._bad_object(ci, address)
            si = (w[self.MM + pfn] - self.B) >> 3
            c = w[si + COUNTS]
        except (TypeError, IndexError):  # no number at all; or a page without descriptor, whose mem_desc 0 leads nowhere
            raise self._bad_object(ci, address) from None
        _, link, starts, cache, nodes = self.shape_of[ci]
        # only a struct slab has a cache's address in this word, so this asks for the page's type as well
        if c >= ORDER_0 or w[si + CACHE] != cache:
            self._free_elsewhere(ci, si, address)
            return
        # the common case in line: an ordinary slab of order 0, which is no CPU's
        prior = w[si + FREELIST]
        if at & self.page_mask not in starts:
            raise self._bad_object(ci, address)
        if prior == address:
            raise self._double_free(address)
        c -= 1
        if c & 0xFFFF <= 1:
            if chain := self._slab_free(ci, si, at >> 3, 0):
                self._give_back(chain)
            return
        w[(address - link) >> 3] = prior
        w[si + FREELIST] = address
        w[si + COUNTS] = c
        if not prior:
            self._add_partial(si, nodes + (w[si] >> NODE_SHIFT) * NODE_WORDS)

    def _kmem_cache_free_bulk(self, ci: int, objs: list[int]) -> None:
        """Give back every object of a list."""
        for obj in objs:
            self._kmem_cache_free(ci, obj)

    def _free_elsewhere(self, ci: int, si: int, address: int) -> None:
        """Free an object of a slab that is a CPU's, or of a higher order, or of a debug cache; refuse one of another cache."""
        w = self.w
        if not self._is_object(address, ci):
            raise self._bad_object(ci, address)
        if address == w[si + FREELIST] or address in self._cpu_heads(ci):
            raise self._double_free(address)
        if w[si + COUNTS] & DEBUG:
            self._debug_free(ci, si, address)
        if chain := self._slab_free(ci, si, (address - self.B) >> 3, 0):
            self._give_back(chain)

    def _slab_free(self, ci: int, si: int, oi: int, chain: int) -> int:
        """Put an object on its CPU's or its slab's freelist.  Returns ``chain``, with the descriptors of a slab that went in front."""
        w, B = self.w, self.B
        p = self.percpu + w[ci + CPU_SLAB]
        link = oi + (w[ci + OFFSET] >> 3)
        if w[p + 1] == B + 8 * si:
            w[link] = w[p]
            w[p] = B + 8 * oi
            return chain
        prior = w[si + FREELIST]
        w[link] = prior
        w[si + FREELIST] = B + 8 * oi
        c = w[si + COUNTS] - 1
        w[si + COUNTS] = c
        if c & FROZEN:
            return chain
        if c & 0xFFFF <= 1:
            return self._nearly_empty(ci, si, bool(prior), chain)
        if not prior:
            self._add_partial(si, self._node_of(ci, si))
        return chain

    def _nearly_empty(self, ci: int, si: int, on_list: bool, chain: int) -> int:
        """Release a slab that is empty, if its node keeps enough; else see that it is on the partial list."""
        w = self.w
        ni = self._node_of(ci, si)
        if w[ni] >= w[ci + MIN_PARTIAL] and self._emptied(ci, si):
            if on_list:
                self._remove_partial(si, ni)
            return self._discard(ci, si, chain)
        if not on_list:
            self._add_partial(si, ni)
        return chain

    def _emptied(self, ci: int, si: int) -> bool:
        """Say whether nothing but a slab's own descriptor is in it; in the bounded design, move that descriptor out."""
        live = self.w[si + COUNTS] & 0xFFFF
        return live <= self.w[ci + OWN] or (live == 1 and self.bounded and ci == self.KC_BUDDY and self._evacuate_own(si))

    def _discard(self, ci: int, si: int, chain: int) -> int:
        """Free an empty slab's pages; returns ``chain`` with its struct slab, and what merging freed, in front."""
        w, B = self.w, self.B
        w[self._node_of(ci, si) + NR_SLABS] -= 1
        li = ((w[si + SLAB_BUDDY] - B) >> 3) + 1
        pfn = (w[si + VIRT] - B) >> self.PS
        order = w[si + COUNTS] >> ORDER_SHIFT & 0xFF
        self._count(slabs_freed=1)
        chain = self._free_one_page(li, pfn, order, chain)
        if si >> self.WS != pfn:  # a self-describing slab went with its page
            w[si + LIST] = chain
            chain = B + 8 * (si + LIST)
        return chain

    def _deactivate(self, ci: int, p: int) -> None:
        """Take the slab from a CPU: its freelist goes back to the slab, and the slab to where it belongs."""
        w, B = self.w, self.B
        si = (w[p + 1] - B) >> 3
        free = self._walk_freelist(ci, w[p])
        w[p] = w[p + 1] = 0
        if free:
            w[(free[-1] - B + w[ci + OFFSET]) >> 3] = w[si + FREELIST]
            w[si + FREELIST] = free[0]
        c = (w[si + COUNTS] - len(free)) & ~FROZEN
        w[si + COUNTS] = c
        if not w[si + FREELIST]:
            return  # full
        if c & 0xFFFF <= 1:
            if chain := self._nearly_empty(ci, si, False, 0):
                self._give_back(chain)
        else:
            self._add_partial(si, self._node_of(ci, si))

    def _flush_all(self, ci: int) -> None:
        """Take the active slab from every CPU."""
        for cpu in range(self.config.cpus):
            p = self.cc_at + cpu * CPU_ROW + self.w[ci + CPU_SLAB]
            if self.w[p + 1]:
                self._deactivate(ci, p)

    # -- partial lists

    def _node_of(self, ci: int, si: int) -> int:
        return ((self.w[ci + NODE] - self.B) >> 3) + (self.w[si] >> NODE_SHIFT) * NODE_WORDS

    def _nodes(self, ci: int) -> list[int]:
        first = (self.w[ci + NODE] - self.B) >> 3
        return [first + n * NODE_WORDS for n in range(self.config.nodes)]

    def _nr_slabs(self, ci: int) -> int:
        first, n = self.shape_of[ci][4] + NR_SLABS, self.config.nodes
        return self.w[first] if n == 1 else sum(self.w[first : first + n * NODE_WORDS : NODE_WORDS])

    def _add_partial(self, si: int, ni: int) -> None:
        w, B = self.w, self.B
        head = ni + PARTIAL
        last = w[head + 1]
        w[si + LIST], w[si + LIST + 1] = B + 8 * head, last
        w[head + 1] = w[(last - B) >> 3] = B + 8 * (si + LIST)
        w[ni] += 1

    def _remove_partial(self, si: int, ni: int) -> None:
        list_del(self, si + LIST)
        self.w[ni] -= 1

    def _partial_slabs(self, ci: int) -> list[int]:
        return [li - LIST for ni in self._nodes(ci) for li in list_for_each(self, ni + PARTIAL)]
