"""The table of caches in RAM: where each struct of SLUB lies, how a slot is filled, and what bad objects get.

Used by slub.py, which is built on it, and for its word offsets by whoever reads slabs.  Imports page_alloc and below.

Source: mm/slab_common.c, mm/slub.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .config import Config
from .list_head import init_list_head
from .memdesc import MemType
from .page_alloc import PageAllocator
from .ram import KernelBug
from .slub_debug import SlubDebug
from .slub_size import MAX_OBJECTS, MAX_SLAB_ORDER, SLAB, Sizes, calculate_order, get_order, objects_per_slab
from .slub_size import min_partial as default_min_partial
from .structs import NR_CACHES, kmem_cache, kmem_cache_cpu, kmem_cache_node, slab

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
RED_LEFT_PAD: Final = kmem_cache.red_left_pad.word  # in the high half of this word
CTOR: Final = kmem_cache.ctor.word  # likewise
C_ORDER: Final = kmem_cache.order.word  # likewise, objects in the low half
C_MIN_ORDER: Final = kmem_cache.min_order.word  # likewise, min_objects in the low half
CACHE_WORDS: Final = kmem_cache.sizeof // 8
# words of struct kmem_cache_cpu and kmem_cache_node
CPU_WORDS: Final = kmem_cache_cpu.sizeof // 8
CPU_ROW: Final = (NR_CACHES + 1) * CPU_WORDS  # one CPU's part of the table; the extra entry serves destroyed caches
NODE_WORDS: Final = kmem_cache_node.sizeof // 8
PARTIAL: Final = kmem_cache_node.partial.word  # nr_partial is word 0
NR_SLABS: Final = kmem_cache_node.nr_slabs.word

SLAB_TYPE: Final = int(MemType.SLAB)


class CacheTable(SlubDebug, PageAllocator):
    """The page allocator with a table of caches; ``shape_of`` and ``ordinary`` are what the hot paths note of it."""

    def __init__(self, config: Config, kernel_bytes: int, stat_bytes: int) -> None:
        self.kc_at = self.kn_at = self.cc_at = self.serial_at = 0
        self._ctors: dict[int, Callable[[int], object]] = {}
        self.shape_of: dict[int, tuple[int, int, frozenset[int], int, int]] = {}
        self.ordinary: set[int] = set()  # caches that live and have no debug flag
        super().__init__(config, kernel_bytes, stat_bytes)

    def _boot_caches(self) -> None:
        """Make the heads of all partial lists empty lists: the table of caches is ready."""
        for i in range(NR_CACHES * self.config.nodes):
            init_list_head(self, self.kn_at + i * NODE_WORDS + PARTIAL)
        self.w[self.kc_at + NR_CACHES * CACHE_WORDS + CPU_SLAB] = NR_CACHES * CPU_WORDS
        self._know_shapes()

    def _new_cache(
        self, name: str, object_size: int, sizes: Sizes, flags: int, ctor: Callable[[int], object] | None, single_pages: bool
    ) -> int:
        """Fill a slot of the table.  Returns ci, or 0 when all are taken."""
        slots = [self.kc_at + i * CACHE_WORDS for i in range(NR_CACHES)]
        free = [i for i, ci in enumerate(slots) if not self.w[ci + SERIAL]]
        if not free:
            return 0
        ci = slots[free[0]]
        order = 0 if single_pages else calculate_order(sizes.size, self.config.cpus, self.page_size, min(MAX_SLAB_ORDER, self.max_order))
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
        self._know_shape(ci)
        return ci

    def _know_shapes(self) -> None:
        """Note what never changes while a cache lives, for the hot paths.

        That is its per-CPU word; its link: what to subtract from an object's address to have the byte offset in RAM of its free pointer;
        where in a page objects start, if its slabs are single pages; its address; and its nodes' word.
        """
        for ci in range(self.kc_at, self.kc_at + (NR_CACHES + 1) * CACHE_WORDS, CACHE_WORDS):
            self._know_shape(ci)

    def _know_shape(self, ci: int) -> None:
        w, B = self.w, self.B
        (self.ordinary.add if w[ci + SERIAL] and not w[ci + C_FLAGS] & SLAB.DEBUG else self.ordinary.discard)(ci)
        size = w[ci + SIZE] or self.page_size
        starts = frozenset(range(0, objects_per_slab(size, 0, self.page_size) * size, size))
        self.shape_of[ci] = (w[ci + CPU_SLAB], B - w[ci + OFFSET], starts, B + 8 * ci, (w[ci + NODE] - B) >> 3)

    def _slabs_of(self, ci: int) -> list[int]:
        """Return the addresses of all struct slabs of a cache, found through the mem_map: a full slab is on no list."""
        found: dict[int, None] = {}
        words = self.w[self.MM : self.MM + self.nr_pages]
        cache = self.B + 8 * ci
        for md in words:
            if md & 15 == MemType.SLAB and md & ~15 not in found and self.w[((md & ~15) - self.B >> 3) + CACHE] == cache:
                found[md & ~15] = None
        return list(found)

    def _walk_freelist(self, ci: int, obj: int) -> list[int]:
        """Return the objects of a freelist in order.  KernelBug if it runs in a circle, as an undetected double free can leave it."""
        w, B, offset = self.w, self.B, self.w[ci + OFFSET]
        found: list[int] = []
        while obj:
            found.append(obj)
            if len(found) > MAX_OBJECTS:
                raise KernelBug(f"the freelist that holds {obj:#x} runs in a circle: an object was freed twice; check() tells more")
            obj = w[(obj - B + offset) >> 3]
        return found

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
        index, rest = divmod(address - w[si + VIRT] - (w[ci + RED_LEFT_PAD] >> 32), w[ci + SIZE] or 1)
        return w[si + CACHE] == self.B + 8 * ci and rest == 0 and 0 <= index < w[si + COUNTS] >> 16 & 0xFFFF

    def _bad_object(self, ci: int, address: int) -> Exception:
        """Say why ``address`` cannot be freed into the cache at ``ci``."""
        w, B = self.w, self.B
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
        if (view.slab_cache - B) >> 3 not in self.shape_of:
            return KernelBug(f"{address:#x} is in page {pfn}, whose slab belongs to no cache, so it is no object of {name}")
        other = kmem_cache(self, view.slab_cache)
        if view.slab_cache != self.B + 8 * ci:
            return KernelBug(f"{address:#x} is an object of the cache {other.name}, not of {name}; free it there")
        index, rest = divmod(address - view.virt - other.red_left_pad, other.size)
        if 0 <= index < view.objects:
            return KernelBug(f"{address:#x} is {rest} bytes into an object of {name}; the object starts at {address - rest:#x}")
        return KernelBug(f"{address:#x} is in a slab of {name}, but not in one of its {view.objects} objects")
