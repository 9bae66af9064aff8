"""SLUB: caches of equal objects, cut from slabs of pages; a slab's ``struct slab`` lives elsewhere in RAM.

Used by the page allocator (for its descriptors), by the users of descriptors and through KmemCache by everybody.  Where a slab's pages and
its descriptors come from is descriptors.py's business; red zones and poison are slub_debug.py's.  Imports page_alloc and below.

Conventions of the hot paths: ``ci``, ``si`` and ``oi`` are the word indices of a kmem_cache, a struct slab and an object, ``p`` that of
the running CPU's kmem_cache_cpu, ``ni`` that of a kmem_cache_node.  0 is NULL.

    kmem_cache ---node--> kmem_cache_node: partial <-> slab <-> slab      a partial slab is on its node's list,
        `-----cpu_slab--> kmem_cache_cpu: slab (frozen), freelist         an active one belongs to a CPU,
                                                                          a full one is on no list
Source: mm/slub.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .config import Config
from .list_head import init_list_head, list_del, list_for_each
from .memdesc import MemType
from .page_alloc import PageAllocator
from .ram import KernelBug
from .slub_debug import SlubDebug
from .slub_size import SLAB, Sizes, calculate_order, get_order, objects_per_slab
from .slub_size import min_partial as default_min_partial
from .structs import NODE_SHIFT, NR_CACHES, kmem_cache, kmem_cache_cpu, kmem_cache_node, slab

# words of struct slab
LIST: Final = slab.list.word
SLAB_BUDDY: Final = slab.buddy.word
FREELIST: Final = slab.freelist.word
COUNTS: Final = slab.inuse.word  # inuse: bits 0-15, objects: 16-31, order: 32-39, frozen: 40-47, debug: 48-55
VIRT: Final = slab.virt.word
CACHE: Final = slab.slab_cache.word
ORDER_SHIFT: Final = 32
FROZEN: Final = 1 << 40
DEBUG: Final = 1 << 48
ORDER_0: Final = 1 << ORDER_SHIFT  # the counts of an ordinary slab of order 0 that is no CPU's are below this
# words of struct kmem_cache
C_FLAGS: Final = kmem_cache.flags.word
SIZE: Final = kmem_cache.size.word
OFFSET: Final = kmem_cache.offset.word
MIN_PARTIAL: Final = kmem_cache.min_partial.word
OWN: Final = kmem_cache.own.word
CPU_SLAB: Final = kmem_cache.cpu_slab.word
NODE: Final = kmem_cache.node.word
SERIAL: Final = kmem_cache.serial.word
CACHE_WORDS: Final = kmem_cache.sizeof // 8
# words of struct kmem_cache_cpu and kmem_cache_node
CPU_WORDS: Final = kmem_cache_cpu.sizeof // 8
CPU_ROW: Final = (NR_CACHES + 1) * CPU_WORDS  # one CPU's part of the table; the extra entry serves destroyed caches
NODE_WORDS: Final = kmem_cache_node.sizeof // 8
PARTIAL: Final = kmem_cache_node.partial.word  # nr_partial is word 0
NR_SLABS: Final = kmem_cache_node.nr_slabs.word

SLAB_TYPE: Final = int(MemType.SLAB)
FRAMES_PER_NESTING: Final = 6  # alloc_pages, kmem_cache_alloc_bulk, ___slab_alloc, new_slab, allocate_slab, alloc_slab_page


class Slub(SlubDebug, PageAllocator):
    """The page allocator with slab caches.  ``frame_limit``: call frames after which nested allocation fails."""

    if TYPE_CHECKING:  # what the layer above provides
        KC_SLAB: int
        bounded: bool

        def _alloc_slab_page(self, ci: int, gfp: int, node: int | None) -> int: ...
        def _evacuate_own(self, si: int) -> bool: ...

    def __init__(self, config: Config, kernel_bytes: int, stat_bytes: int) -> None:
        self.kc_at = self.kn_at = self.cc_at = self.percpu = self.serial_at = 0
        self.frame_limit = 4096
        self._nesting = 0
        self._overflow = False
        self._ctors: dict[int, Callable[[int], object]] = {}
        self.ordinary: set[int] = set()  # caches that live and have no debug flag
        self.shape_of: dict[int, tuple[int, int, frozenset[int], int, int]] = {}
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
        first = w[si + VIRT] + kmem_cache(self, B + 8 * ci).red_left_pad
        if debug:
            self._debug_init(ci, [first + i * size for i in range(objects)])
        self._construct(ci, range(first + used * size, first + objects * size, size))
        oi, step, link = ((first - B) >> 3) + used * (size >> 3), size >> 3, w[ci + OFFSET] >> 3
        if used < objects:
            w[si + FREELIST] = B + 8 * oi
            for _ in range(objects - used - 1):
                w[oi + link] = B + 8 * (oi + step)
                oi += step
            w[oi + link] = 0

    def _construct(self, ci: int, objects: range) -> None:
        view = kmem_cache(self, self.B + 8 * ci)
        if not view.ctor:
            return
        ctor = self._ctors.get(view.serial)
        if ctor is None:
            raise KernelBug(
                f"the constructor of {view.name} was not given again after load: Machine.load(path, ctors={{{view.name!r}: function}})"
            )
        for address in objects:
            ctor(address)

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
        si, obj, link = (w[p + 1] - B) >> 3, w[p], w[ci + OFFSET] >> 3
        w[p] = w[p + 1] = 0
        n, head = 0, obj
        while obj:
            n += 1
            last = (obj - B >> 3) + link
            obj = w[last]
        if n:
            w[last] = w[si + FREELIST]
            w[si + FREELIST] = head
        c = w[si + COUNTS] - n & ~FROZEN
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

    # -- caches

    def boot_caches(self) -> None:
        """Make the heads of all partial lists empty lists: the table of caches is ready."""
        for i in range(NR_CACHES * self.config.nodes):
            init_list_head(self, self.kn_at + i * NODE_WORDS + PARTIAL)
        self.w[self.kc_at + NR_CACHES * CACHE_WORDS + CPU_SLAB] = NR_CACHES * CPU_WORDS
        self.know_shapes()

    def _new_cache(
        self, name: str, object_size: int, sizes: Sizes, flags: int, ctor: Callable[[int], object] | None, single_pages: bool
    ) -> int:
        """Fill a slot of the table.  Returns ci, or 0 when all are taken."""
        slots = [self.kc_at + i * CACHE_WORDS for i in range(NR_CACHES)]
        free = [i for i, ci in enumerate(slots) if not self.w[ci + SERIAL]]
        if not free:
            return 0
        ci = slots[free[0]]
        order = 0 if single_pages else calculate_order(sizes.size, self.config.cpus, self.page_size, min(3, self.max_order))
        least = get_order(sizes.size, self.page_size)
        view = kmem_cache(self, self.B + 8 * ci)
        view.name, view.flags, view.size, view.object_size = name, flags, sizes.size, object_size
        view.offset, view.align, view.inuse, view.red_left_pad = sizes.offset, sizes.align, sizes.inuse, sizes.red_left_pad
        view.order, view.objects = order, objects_per_slab(sizes.size, order, self.page_size)
        view.min_order, view.min_objects = least, objects_per_slab(sizes.size, least, self.page_size)
        view.min_partial, view.own, view.ctor = default_min_partial(sizes.size), 0, int(ctor is not None)
        view.cpu_slab = free[0] * CPU_WORDS
        view.node = self.B + 8 * (self.kn_at + free[0] * self.config.nodes * NODE_WORDS)
        self.w[self.serial_at] += 1
        view.serial = self.w[self.serial_at]
        if ctor is not None:
            self._ctors[view.serial] = ctor
        self.know_shapes()
        return ci

    def know_shapes(self) -> None:
        """Note what never changes while a cache lives, for the hot paths.

        That is its per-CPU word; its link: what to subtract from an object's address to have the byte offset in RAM of its free pointer;
        where in a page objects start, if its slabs are single pages; its address; and its nodes' word.
        """
        slots = range(self.kc_at, self.kc_at + (NR_CACHES + 1) * CACHE_WORDS, CACHE_WORDS)
        w, B = self.w, self.B
        self.ordinary = {ci for ci in slots if w[ci + SERIAL] and not w[ci + C_FLAGS] & SLAB.DEBUG}
        self.shape_of = {}
        for ci in slots:
            size = w[ci + SIZE] or self.page_size
            starts = frozenset(range(0, objects_per_slab(size, 0, self.page_size) * size, size))
            self.shape_of[ci] = (w[ci + CPU_SLAB], B - w[ci + OFFSET], starts, B + 8 * ci, (w[ci + NODE] - B) >> 3)

    def _kmem_cache_free_bulk(self, ci: int, objs: list[int]) -> None:
        """Give back every object of a list."""
        for obj in objs:
            self._kmem_cache_free(ci, obj)

    # -- what bad input gets

    def _cpu_heads(self, ci: int) -> list[int]:
        return [self.w[self.cc_at + cpu * CPU_ROW + self.w[ci + CPU_SLAB]] for cpu in range(self.config.cpus)]

    def _double_free(self, address: int) -> KernelBug:
        return KernelBug(f"double free: the object at {address:#x} is free already")

    def _is_object(self, address: int, ci: int) -> bool:
        """Say whether ``address`` is where an object of the cache starts, in a slab of the cache (live or free)."""
        w = self.w
        pfn = (address - self.B) >> self.PS
        if not 0 <= pfn < self.highmem_pfn or w[self.MM + pfn] & 15 != SLAB_TYPE:
            return False
        si = (w[self.MM + pfn] - self.B) >> 3
        index, rest = divmod(address - w[si + VIRT] - (kmem_cache(self, self.B + 8 * ci).red_left_pad), w[ci + SIZE] or 1)
        return w[si + CACHE] == self.B + 8 * ci and rest == 0 and 0 <= index < w[si + COUNTS] >> 16 & 0xFFFF

    def _bad_object(self, ci: int, address: int) -> Exception:
        """Say why ``address`` cannot be freed into the cache at ``ci``."""
        w = self.w
        if not isinstance(address, int):
            return TypeError(f"the address of an object is a whole number, not {address!r}")
        if not w[ci + SERIAL]:
            return KernelBug("this cache was destroyed, and with it went its objects")
        name = kmem_cache(self, self.B + 8 * ci).name
        pfn = (address - self.B) >> self.PS
        if not 0 <= pfn < self.highmem_pfn:
            return KernelBug(f"{address:#x} is no virtual address of this machine's memory, so no object of {name}")
        if w[self.MM + pfn] & 15 != SLAB_TYPE:
            return KernelBug(f"{address:#x} is in page {pfn}, which is no slab's, so it is no object of {name}")
        view = slab(self, w[self.MM + pfn] & ~15)
        other = kmem_cache(self, view.slab_cache)
        if view.slab_cache != self.B + 8 * ci:
            return KernelBug(f"{address:#x} is an object of the cache {other.name}, not of {name}; free it there")
        index, rest = divmod(address - view.virt - other.red_left_pad, other.size)
        if 0 <= index < view.objects:
            return KernelBug(f"{address:#x} is {rest} bytes into an object of {name}; the object starts at {address - rest:#x}")
        return KernelBug(f"{address:#x} is in a slab of {name}, but not in one of its {view.objects} objects")
