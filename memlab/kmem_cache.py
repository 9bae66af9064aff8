"""KmemCache: a slab cache as its users hold it, and kmalloc above a row of such caches.

Used by the users of descriptors and by everybody through ``m.kmem_cache_create``, ``m.caches`` and ``m.kmalloc``.
A KmemCache is a name for a slot of the table in RAM; it holds nothing else.  Imports descriptors and below.

Source: mm/slab_common.c (kmem_cache_create, kmalloc's size classes), mm/slub.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from . import gfp as gfp_flags
from .cache_table import CACHE_WORDS, CPU_ROW, SERIAL, VIRT
from .descriptors import Descriptors
from .gfp import GFP
from .memdesc import MemType
from .page_alloc import KERNEL
from .page_bugs import BUDDY, ORDER, PAGE
from .ram import KernelBug
from .slub_debug import RED_ACTIVE
from .slub_size import ALL_FLAGS, SLAB, calculate_sizes, get_order
from .structs import HELD, NR_CACHES, kmem_cache, slab

_OBJECT_SIZE: Final = kmem_cache.object_size.word
_NO_OBJECT_FLAGS: Final = GFP.HIGHMEM | GFP.DMA | GFP.DMA32


class KmemCache:
    """A slab cache: ``alloc`` and ``free`` objects of one size.  Attributes are read from its struct kmem_cache in RAM."""

    __slots__ = ("_ci", "_home", "_serial", "machine")

    def __init__(self, machine: Caches, ci: int) -> None:
        self.machine, self._ci, self._home = machine, ci, ci
        self._serial = machine.w[ci + SERIAL]

    @property
    def struct(self) -> kmem_cache:
        """The view of its struct kmem_cache."""
        return kmem_cache(self.machine, self.machine.B + 8 * self._ci)

    @property
    def address(self) -> int:
        """The address of its struct kmem_cache."""
        return self.machine.B + 8 * self._ci

    @property
    def name(self) -> str:
        """The cache's name."""
        return str(self.struct.name)

    @property
    def size(self) -> int:
        """Bytes that one object takes in its slab."""
        return int(self.struct.size)

    @property
    def object_size(self) -> int:
        """Bytes of one object that its user may use."""
        return int(self.struct.object_size)

    def alloc(self, gfp: int = KERNEL) -> int | None:
        """Allocate an object; returns its address, or None.

        ``gfp``: gfp_t.  ValueError or TypeError for bad flags; KernelBug if the cache was destroyed.  Source: mm/slub.c (kmem_cache_alloc).
        """
        m = self.machine
        if gfp == KERNEL:
            return m._kmem_cache_alloc(self._ci, gfp, None) or m._nothing()
        self._check(gfp)
        obj = m._kmem_cache_alloc(self._ci, gfp, None)
        if not obj:
            return m._nothing()
        if gfp & GFP.ZERO:
            m._clear(obj, self.object_size)
        return obj

    def free(self, address: int) -> None:
        """Free an object.  KernelBug, and RAM untouched, if ``address`` (void *) is no live object of this cache.

        A double free is found when the object is at the head of its freelist, and always in a cache with SLAB.DEBUG.
        """
        self.machine._kmem_cache_free(self._ci, address)

    def alloc_bulk(self, n: int, gfp: int = KERNEL) -> list[int] | None:
        """Allocate ``n`` objects, all or nothing; returns their addresses, or None.  ``n``: size_t.  Raises as alloc does."""
        if not isinstance(n, int):
            raise TypeError(f"the number of objects is a whole number, not {n!r}")
        if n < 0:
            raise ValueError(f"the number of objects is 0 or more, not {n}")
        if gfp != KERNEL:
            self._check(gfp)
        m = self.machine
        objs = m._kmem_cache_alloc_bulk(self._ci, n, gfp, None)
        if objs is None:
            return m._nothing()
        if gfp & GFP.ZERO:
            for obj in objs:
                m._clear(obj, self.object_size)
        return objs

    def free_bulk(self, addresses: Iterable[int]) -> None:
        """Free every object of a list.  KernelBug, with nothing freed, if one is no live object of this cache or is there twice."""
        if not isinstance(addresses, Iterable):
            raise TypeError(f"free_bulk takes a list of addresses, not {addresses!r}")
        objs = list(addresses)
        m = self.machine
        for obj in objs:
            if not isinstance(obj, int):
                raise TypeError(f"the address of an object is a whole number, not {obj!r}")
            if not m._is_object(obj, self._ci):
                raise m._bad_object(self._ci, obj)
        if len(set(objs)) < len(objs):
            raise KernelBug("double free: an object is in the list more than once")
        m._look_before_bulk(self._ci, objs)
        m._kmem_cache_free_bulk(self._ci, objs)

    def grow(self, gfp: int = KERNEL) -> int | None:
        """Give the cache one more slab, last on its node's partial list; returns the address of its struct slab, or None.

        ``gfp``: gfp_t.  What alloc does when no object is free, but nothing is taken from it.  Raises as alloc does.  Source: mm/slub.c (new_slab).
        """
        self._live()
        self._check(gfp)
        return self.machine._kmem_cache_grow(self._ci, gfp) or self.machine._nothing()

    def shrink(self) -> int:
        """Give back the cache's empty slabs; returns how many slabs went.  Source: mm/slub.c (kmem_cache_shrink)."""
        self._live()
        return self.machine._shrink(self._ci)

    def destroy(self) -> None:
        """Remove the cache.  KernelBug if objects are live, or if it is one of the machine's own.  Source: mm/slab_common.c."""
        self._live()
        m = self.machine
        if self._ci in m.builtin:
            raise KernelBug(f"{self.name} is one of the machine's own caches; only caches from kmem_cache_create can be destroyed")
        live = m._live_objects(self._ci)
        if live:
            raise KernelBug(f"{self.name} has {live} live objects; free them before you destroy it")
        m._kmem_cache_destroy(self._ci)

    def rebind(self) -> None:
        """Follow RAM after a restore: the slot of the table if it still (or again) holds this cache, else a slot that is always empty."""
        m = self.machine
        self._ci = self._home if m.w[self._home + SERIAL] == self._serial else m.kc_at + NR_CACHES * CACHE_WORDS

    def _live(self) -> None:
        if not self.machine.w[self._ci + SERIAL]:
            raise KernelBug("this cache was destroyed; create it again to use it")

    def _check(self, gfp: int) -> None:
        gfp_flags.check(gfp)
        if gfp & _NO_OBJECT_FLAGS:
            raise ValueError(
                f"objects live in lowmem of the cache's zone: {GFP.show(gfp & _NO_OBJECT_FLAGS)} is for pages (or see SLAB.CACHE_DMA)"
            )
        if gfp & GFP.ZERO and self.struct.ctor:
            raise ValueError(f"__GFP_ZERO would undo what the constructor of {self.name} did; allocate without it")

    def __repr__(self) -> str:
        if not self.machine.w[self._ci + SERIAL]:
            return "<KmemCache: destroyed>"
        s = self.struct
        return f"<KmemCache {s.name}: objects of {s.size} bytes, {s.objects} to a slab of {1 << s.order} page{'s' * (s.order > 0)}>"


class DescriptorCache(KmemCache):
    """kmem_cache_buddy or kmem_cache_slab in the hands of a consumer: what it takes is marked HELD, so that it counts as no leak."""

    __slots__ = ()

    def alloc(self, gfp: int = KERNEL) -> int | None:
        """Allocate a descriptor, marked HELD."""
        obj = super().alloc(gfp)
        if obj is not None:
            self._hold(obj)
        return obj

    def alloc_bulk(self, n: int, gfp: int = KERNEL) -> list[int] | None:
        """Allocate ``n`` descriptors, marked HELD."""
        objs = super().alloc_bulk(n, gfp)
        for obj in objs or ():
            self._hold(obj)
        return objs

    def free(self, address: int) -> None:
        """Free a descriptor that alloc returned; KernelBug for one that describes something."""
        self._let_go(address)
        super().free(address)

    def free_bulk(self, addresses: Iterable[int]) -> None:
        """Free descriptors that alloc or alloc_bulk returned."""
        objs = list(addresses)
        for obj in objs:
            self._let_go(obj)
        super().free_bulk(objs)

    def _hold(self, address: int) -> None:
        m = self.machine
        at, n = address - m.B, m.w[self._ci + _OBJECT_SIZE]
        m.map[at : at + n] = HELD.to_bytes(8, "little") + bytes(n - 8)

    def _let_go(self, address: int) -> None:
        """Refuse a descriptor that is in use: only what a consumer took may be given back here."""
        m = self.machine
        if isinstance(address, int) and m._is_object(address, self._ci):
            oi = (address - m.B) >> 3
            m._look_before_bulk(self._ci, [address])
            if not m.w[oi] & HELD or m._describes(self._ci, oi):
                raise KernelBug(
                    f"the descriptor at {address:#x} of {self.name} was not allocated through this cache's alloc; it goes when its block goes"
                )


class OwnedCache(KmemCache):
    """A user's cache of descriptors, such as folio's: to look at, and used through the user's own functions only."""

    __slots__ = ()

    def alloc(self, gfp: int = KERNEL) -> int | None:  # noqa: ARG002 - a KmemCache's signature
        """Refused: KernelBug."""
        raise self._refusal()

    def alloc_bulk(self, n: int, gfp: int = KERNEL) -> list[int] | None:  # noqa: ARG002 - as alloc
        """Refused: KernelBug."""
        raise self._refusal()

    def free(self, address: int) -> None:  # noqa: ARG002 - as alloc
        """Refused: KernelBug."""
        raise self._refusal()

    def free_bulk(self, addresses: Iterable[int]) -> None:  # noqa: ARG002 - as alloc
        """Refused: KernelBug."""
        raise self._refusal()

    def _refusal(self) -> KernelBug:
        return KernelBug(f"descriptors of the cache {self.name} come and go with their pages: use folio_alloc, folio_put and their kin")


class Caches(Descriptors):
    """All caches of a machine, and kmalloc.  ``builtin``: the slots that cannot be destroyed."""

    builtin: frozenset[int] = frozenset()
    _views: dict[int, KmemCache]

    @property
    def caches(self) -> dict[str, KmemCache]:
        """The live caches by name, in the order of their slots."""
        live = (self.kc_at + i * CACHE_WORDS for i in range(NR_CACHES))
        return {view.name: view for ci in live if self.w[ci + SERIAL] for view in (self._view(ci),)}

    def kmem_cache_create(
        self, name: str, size: int, align: int = 0, flags: int = 0, ctor: Callable[[int], object] | None = None
    ) -> KmemCache | None:
        """Create a cache of objects of ``size`` bytes.

        ``name``: const char *, at most 31 bytes.  ``size``, ``align``: unsigned int, bytes.  ``flags``: slab_flags_t, made of SLAB's.
        ``ctor``: called with each object's address when its slab is set up.  Returns the KmemCache, or None when the table of caches is full.
        ValueError or TypeError for a bad argument.  Source: mm/slab_common.c.
        """
        largest = self.page_size << self.max_order
        if not isinstance(name, str) or not 1 <= len(name) <= 31 or not (name.isascii() and name.isprintable()):
            raise ValueError(f"the name of a cache is plain text of 1 to 31 bytes, not {name!r}")
        if name in self.caches:
            raise ValueError(f"there is a cache named {name!r} already; m.caches[{name!r}] is it")
        if not isinstance(size, int) or not 8 <= size <= largest:
            raise ValueError(f"the size of an object is 8 to {largest} bytes on this machine, not {size!r}")
        if not isinstance(align, int) or align < 0 or align & (align - 1) or align > self.page_size:
            raise ValueError(f"align is 0 or a power of two up to {self.page_size} bytes, not {align!r}")
        if not isinstance(flags, int) or flags & ~ALL_FLAGS:
            raise ValueError(f"flags is made of SLAB.RED_ZONE, SLAB.POISON, SLAB.DEBUG, SLAB.HWCACHE_ALIGN and so on, not {flags!r}")
        if ctor is not None and not callable(ctor):
            raise TypeError(f"ctor is a function that is called with an object's address, not {ctor!r}")
        sizes = calculate_sizes(size, align, flags, ctor is not None)
        if sizes.size > largest:
            raise ValueError(
                f"with its red zones and alignment an object takes {sizes.size} bytes, more than the largest block of {largest}"
            )
        ci = self._new_cache(name, size, sizes, flags, ctor, single_pages=False)
        if not ci:
            return None
        self._views.pop(self.w[ci + SERIAL], None)  # of a cache that a restore took away: its handle stays dead
        return self._view(ci)

    def kmalloc(self, size: int, gfp: int = KERNEL) -> int | None:
        """Allocate ``size`` bytes from the smallest fitting kmalloc cache, or pages when none fits; returns the address, or None.

        ``size``: size_t, 1 or more.  ``gfp``: gfp_t.  ValueError or TypeError for a bad argument.  Source: mm/slab_common.c.
        """
        if not isinstance(size, int):
            raise TypeError(f"a size is a whole number of bytes, not {size!r}")
        largest = self.page_size << self.max_order
        if not 1 <= size <= largest:
            raise ValueError(f"kmalloc takes 1 to {largest} bytes on this machine, not {size}")
        cache = next((c for limit, c in self._kmalloc_classes if size <= limit), None)
        if cache is not None:
            return cache.alloc(gfp)
        self._kmalloc_classes[0][1]._check(gfp)
        pfn = self.alloc_pages(get_order(size, self.page_size), gfp | GFP.COMP)
        return None if pfn is None else self.B + (pfn << self.PS)

    def kfree(self, address: int | None) -> None:
        """Free what kmalloc returned; None is allowed, as NULL is.  KernelBug, and RAM untouched, for anything else."""
        if address is None:
            return
        if not isinstance(address, int):
            raise TypeError(f"an address is a whole number, not {address!r}")
        pfn = (address - self.B) >> self.PS
        if not 0 <= pfn < self.highmem_pfn:
            raise KernelBug(f"{address:#x} is no virtual address of this machine's memory, so kmalloc did not return it")
        md = self.w[self.MM + pfn]
        if md & 15 == MemType.SLAB:
            ci = (slab(self, md & ~15).slab_cache - self.B) >> 3
            if ci not in self._kmalloc_slots:
                known = ci in self.shape_of
                owner = (
                    f"an object of the cache {kmem_cache(self, self.B + 8 * ci).name}" if known else "in a slab that belongs to no cache"
                )
                raise KernelBug(f"{address:#x} is {owner}; free it there, not with kfree")
            self._kmem_cache_free(ci, address)
            return
        li = ((md - self.B) >> 3) + 1
        whole_block = md & 15 == BUDDY and self.w[li + PAGE] == self.V + 8 * pfn
        largest_object = self._kmalloc_classes[-1][0]
        if whole_block and (address & (self.page_size - 1) or self.page_size << self.w[li + ORDER] <= largest_object):
            raise KernelBug(f"{address:#x} was not returned by kmalloc: its page {pfn} is a block of order {self.w[li + ORDER]} of its own")
        self.free_pages(pfn)

    def slabinfo(self) -> list[dict[str, Any]]:
        """Return a row for each cache with the main columns of /proc/slabinfo: objects and slabs in use and in all, sizes in bytes."""
        rows: list[dict[str, Any]] = []
        for name, cache in self.caches.items():
            s = cache.struct
            slabs = self._slabs_of(cache._ci)
            total = sum(slab(self, si).objects for si in slabs)
            rows.append(
                {
                    "name": name,
                    "active_objs": self._live_objects(cache._ci, slabs),
                    "num_objs": total,
                    "objsize": s.size,
                    "objperslab": s.objects,
                    "pagesperslab": 1 << s.order,
                    "active_slabs": len(slabs),
                    "num_slabs": len(slabs),
                }
            )
        return rows

    # -- the work behind it

    def _kmem_cache_destroy(self, ci: int) -> None:
        self._shrink(ci)
        self.map[ci << 3 : (ci + CACHE_WORDS) << 3] = bytes(kmem_cache.sizeof)
        self.rebind()

    def _kmem_cache_grow(self, ci: int, gfp: int) -> int:
        """Build a slab and put it on its node's partial list.  Returns the address of its struct slab, or 0."""
        si = self._new_slab(ci, gfp, self.node)
        if not si:
            return 0
        self._add_partial(si, self._node_of(ci, si))
        return self.B + 8 * si

    def _describes(self, ci: int, oi: int) -> bool:
        """Say whether a page's mem_desc names the descriptor at word ``oi``, or its block is still allocated through it."""
        w, B = self.w, self.B
        if ci == self.KC_BUDDY:
            return w[oi] != HELD
        pfn = (w[oi + VIRT] - B) >> self.PS
        return 0 <= pfn < self.highmem_pfn and w[self.MM + pfn] == B + 8 * oi | MemType.SLAB

    def _look_before_bulk(self, ci: int, objs: list[int]) -> None:
        """Raise KernelBug if one of several objects is free already, or if a debug cache finds something else wrong with it."""
        w, cache = self.w, kmem_cache(self, self.B + 8 * ci)
        slabs = {w[self.MM + ((obj - self.B) >> self.PS)] & ~15 for obj in objs}
        heads = [slab(self, address).freelist for address in slabs] + self._cpu_heads(ci)
        free = {obj for head in heads for obj in self._walk_freelist(ci, head)}
        for obj in objs:
            if obj in free:
                raise self._double_free(obj)
            if cache.flags & SLAB.DEBUG:
                self._look(cache, obj, RED_ACTIVE)

    def _view(self, ci: int) -> KmemCache:
        serial = self.w[ci + SERIAL]
        if serial not in self._views:
            kind = DescriptorCache if ci in (self.KC_BUDDY, self.KC_SLAB) else KmemCache
            self._views[serial] = kind(self, ci)
        return self._views[serial]

    def rebind(self) -> None:
        """Make every KmemCache follow RAM after it was restored, or after a cache was destroyed."""
        self._know_shapes()
        for view in self._views.values():
            view.rebind()

    def _boot_kmalloc(self) -> None:
        """Create kmalloc's caches: powers of two from 8 bytes to two pages, and 96 and 192 where they fit."""
        for name, size in self._kmalloc_names():
            self.kmem_cache_create(name, size, align=min(size, self.page_size) if size & (size - 1) == 0 else 0)

    def _find_kmalloc(self) -> None:
        """Collect kmalloc's caches from the table, smallest first."""
        first = self.kc_at + 2 * CACHE_WORDS  # boot fills the slots in order: the two caches of descriptors, then these
        self._kmalloc_classes = [(size, self._view(first + i * CACHE_WORDS)) for i, (_, size) in enumerate(self._kmalloc_names())]
        self._kmalloc_slots = frozenset(cache._ci for _, cache in self._kmalloc_classes)

    def _kmalloc_names(self) -> list[tuple[str, int]]:
        sizes = sorted({1 << i for i in range(3, self.PS + 2)} | {96, 192})
        return [(f"kmalloc-{size >> 10}k" if size >= 1024 else f"kmalloc-{size}", size) for size in sizes]

    def _clear(self, address: int, n: int) -> None:
        """Zero an object; not ``write``, which would be an undo step of its own."""
        self.map[address - self.B : address - self.B + n] = bytes(n)

    def _live_objects(self, ci: int, slabs: list[int] | None = None) -> int:
        """Count the objects of a cache that are in use: what its slabs say, less what is on the CPUs' freelists."""
        w, B = self.w, self.B
        live = sum(slab(self, s).inuse for s in (self._slabs_of(ci) if slabs is None else slabs))
        for cpu in range(self.config.cpus):
            p = self.cc_at + cpu * CPU_ROW + kmem_cache(self, B + 8 * ci).cpu_slab
            live -= len(self._walk_freelist(ci, w[p]))
        return live
