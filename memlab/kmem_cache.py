"""KmemCache: a slab cache as its users hold it, and kmalloc above a row of such caches.

Used by the users of descriptors and by everybody through ``m.kmem_cache_create``, ``m.caches`` and ``m.kmalloc``.
A KmemCache is a name for a slot of the table in RAM; it holds nothing else.  Functions of a machine ``m``; ``c`` is a cache's first word.
Imports cache_table and below.

Source: mm/slab_common.c (kmem_cache_create, kmalloc's size classes), mm/slub.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from . import gfp as gfp_flags
from .addresses import B, V, address, word
from .cache_table import (
    add_partial,
    bad_object,
    double_free,
    free_near,
    free_objects,
    inuse,
    know_shapes,
    live_objects,
    new_cache,
    node_of,
    slabs_by_cache,
    slots,
    still_live,
    view_of,
)
from .gfp import GFP
from .kernel import KERNEL, Kernel
from .number import shown, whole
from .ram import KernelBug, changes
from .slub_debug import RED_ACTIVE, look
from .slub_size import ALL_FLAGS, SLAB, calculate_sizes, get_order
from .structs import HELD, NR_CACHES, kmem_cache
from .words import BUDDY, CACHE_WORDS, SLAB_TYPE, USERS

_NO_OBJECT_FLAGS: Final = GFP.HIGHMEM | GFP.DMA | GFP.DMA32
_MOST_BYTES: Final = (1 << 32) - 8  # of an object: its size is an unsigned int


class KmemCache:
    """A slab cache: ``alloc`` and ``free`` objects of one size.  Attributes are read from its struct kmem_cache in RAM."""

    def __init__(self, machine: Kernel, c: int) -> None:
        self.machine, self._c, self._home = machine, c, c
        self._is = _identity(machine, c)
        self.write_in_line()

    @property
    def struct(self) -> kmem_cache:
        """The view of its struct kmem_cache."""
        return kmem_cache(self.machine, address(self._c))

    @property
    def address(self) -> int:
        """The address of its struct kmem_cache."""
        return address(self._c)

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
            return m._kmem_cache_alloc(self._c, gfp, None) or m.null_or_overflow()
        gfp = self._check(gfp)
        obj = m._kmem_cache_alloc(self._c, gfp, None)
        if not obj:
            return m.null_or_overflow()
        if gfp & GFP.ZERO:
            _clear(m, obj, self.object_size)
        return obj

    def free(self, address: int) -> None:
        """Free an object.  KernelBug, and RAM untouched, if ``address`` (void *) is no live object of this cache.

        A double free is found when the object is at the head of its freelist, and always in a cache with SLAB.DEBUG.
        """
        self.machine._kmem_cache_free(self._c, whole(address, "the address of an object is a whole number"))

    def alloc_bulk(self, n: int, gfp: int = KERNEL) -> list[int] | None:
        """Allocate ``n`` objects, all or nothing; returns their addresses, or None.  ``n``: size_t.  Raises as alloc does."""
        n = whole(n, "the number of objects is a whole number")
        if n < 0:
            raise ValueError(f"the number of objects is 0 or more, not {n}")
        if gfp != KERNEL:
            gfp = self._check(gfp)
        m = self.machine
        objs = m._kmem_cache_alloc_bulk(self._c, n, gfp, None)
        if objs is None:
            return m.null_or_overflow()
        if gfp & GFP.ZERO:
            for obj in objs:
                _clear(m, obj, self.object_size)
        return objs

    def free_bulk(self, addresses: Iterable[int]) -> None:
        """Free every object of a list.  KernelBug, with nothing freed, if one is no live object of this cache or is there twice."""
        objs = _addresses(addresses)
        self._may_go(objs)
        self.machine._kmem_cache_free_bulk(self._c, objs)

    def _may_go(self, objs: list[int]) -> None:
        """Raise KernelBug unless every address is of an object of this cache that is in use, and none is there twice."""
        m = self.machine
        for obj in objs:
            if not m._is_object(obj, self._c):
                raise bad_object(m, self._c, obj)
        if len(set(objs)) < len(objs):
            raise KernelBug("double free: an object is in the list more than once")
        _look_before_bulk(m, self._c, objs)

    def grow(self, gfp: int = KERNEL) -> int | None:
        """Give the cache one more slab, last on its node's partial list; returns the address of its struct slab, or None.

        ``gfp``: gfp_t.  What alloc does when no object is free, but nothing is taken from it.  Raises as alloc does.  Source: mm/slub.c (new_slab).
        """
        self._live()
        return self.machine._kmem_cache_grow(self._c, self._check(gfp)) or self.machine.null_or_overflow()

    def shrink(self) -> int:
        """Give back the cache's empty slabs; returns how many slabs went.  Source: mm/slub.c (kmem_cache_shrink)."""
        self._live()
        return self.machine._shrink(self._c)

    def destroy(self) -> None:
        """Remove the cache.  KernelBug if objects are live, or if it is one of the machine's own.  Source: mm/slab_common.c."""
        self._live()
        m = self.machine
        if self._c in m.builtin:
            raise KernelBug(f"{self.name} is one of the machine's own caches; only caches from kmem_cache_create can be destroyed")
        live = live_objects(m, self._c)
        if live:
            raise still_live(m, self._c, live)
        m._kmem_cache_destroy(self._c)

    def rebind(self) -> None:
        """Follow RAM after a restore: the slot of the table if it still (or again) holds this cache, else a slot that is always empty."""
        m = self.machine
        self._c = self._home if _identity(m, self._home) == self._is else m.kc_at + NR_CACHES * CACHE_WORDS
        self.write_in_line()

    def write_in_line(self) -> None:
        """Have alloc and free of fast.py while the cache lives and the machine runs in line, or the plain ones."""
        for name in ("alloc", "free"):
            vars(self).pop(name, None)
        if self.machine._runs_in_line and type(self) is KmemCache and self.machine.serial_of[self._c]:
            vars(self).update(self.machine._in_line_of(self))

    def _live(self) -> None:
        if not self.machine.serial_of[self._c]:
            raise KernelBug("this cache was destroyed; create it again to use it")

    def _check(self, gfp: int) -> int:
        gfp = gfp_flags.check(gfp)
        if gfp & _NO_OBJECT_FLAGS:
            raise ValueError(
                f"objects live in lowmem of the cache's zone: {GFP.show(gfp & _NO_OBJECT_FLAGS)} is for pages (or see SLAB.CACHE_DMA)"
            )
        if gfp & GFP.ZERO and self.struct.ctor:
            raise ValueError(f"__GFP_ZERO would undo what the constructor of {self.name} did; allocate without it")
        return gfp

    def __repr__(self) -> str:
        if not self.machine.serial_of[self._c]:
            return "<KmemCache: destroyed>"
        s = self.struct
        return f"<KmemCache {s.name}: objects of {s.size} bytes, {s.objects} to a slab of {1 << s.order} page{'s' * (s.order > 0)}>"


class DescriptorCache(KmemCache):
    """kmem_cache_buddy or kmem_cache_slab in the hands of a consumer: what it takes is marked HELD, so that it counts as no leak."""

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
        address = whole(address, "the address of an object is a whole number")
        self._may_go([address])
        super().free(address)

    def _hold(self, address: int) -> None:
        m = self.machine
        at, n = address - B, m.object_size_of[self._c]
        m.map[at : at + n] = HELD.to_bytes(8, "little") + bytes(n - 8)

    def _may_go(self, objs: list[int]) -> None:
        """Refuse also a descriptor that is in use: only what a consumer took may be given back here."""
        super()._may_go(objs)
        m = self.machine
        describes = m.page_of if self._c == m.KC_BUDDY else m.buddy_of  # not NULL while it describes a block
        for obj in objs:
            if not m.flags_of[word(obj)] & HELD or describes[word(obj)]:
                raise KernelBug(
                    f"the descriptor at {obj:#x} of {self.name} was not allocated through this cache's alloc; it goes when its block goes"
                )


class OwnedCache(KmemCache):
    """A user's cache of descriptors, such as folio's: to look at, and used through the user's own functions only."""

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


def _addresses(objs: Iterable[int]) -> list[int]:
    if not isinstance(objs, Iterable):
        raise TypeError(f"free_bulk takes a list of addresses, not {shown(objs)}")
    return [whole(obj, "the address of an object is a whole number") for obj in objs]


def caches(m: Kernel) -> dict[str, KmemCache]:
    """Return the live caches by name, in the order of their slots."""
    return {view.name: view for c in slots(m) if m.serial_of[c] for view in (view_for(m, c),)}


@changes
def kmem_cache_create(
    m: Kernel, name: str, size: int, align: int = 0, flags: int = 0, ctor: Callable[[int], object] | None = None
) -> KmemCache | None:
    """Create a cache of objects of ``size`` bytes.

    ``name``: const char *, at most 31 bytes.  ``size``, ``align``: unsigned int, bytes.  ``flags``: slab_flags_t, made of SLAB's.
    ``ctor``: called with each object's address when its slab is set up.  Returns the KmemCache, or None when the table of caches is full.
    ValueError or TypeError for a bad argument.  Source: mm/slab_common.c.
    """
    largest = min(m.page_size << m.max_order, _MOST_BYTES)
    if not isinstance(name, str) or not 1 <= len(name) <= 31 or not (name.isascii() and name.isprintable()):
        raise ValueError(f"the name of a cache is plain text of 1 to 31 bytes, not {name!r}")
    if name in caches(m):
        raise ValueError(f"there is a cache named {name!r} already; m.caches[{name!r}] is it")
    must = f"the size of an object is 8 to {largest} bytes on this machine"
    if not 8 <= (size := whole(size, must, ValueError)) <= largest:
        raise ValueError(f"{must}, not {size}")
    must = f"align is 0 or a power of two up to {m.page_size} bytes"
    if (align := whole(align, must, ValueError)) < 0 or align & (align - 1) or align > m.page_size:
        raise ValueError(f"{must}, not {align}")
    must = "flags is made of SLAB.RED_ZONE, SLAB.POISON, SLAB.DEBUG, SLAB.HWCACHE_ALIGN and so on"
    if (flags := whole(flags, must, ValueError)) & ~ALL_FLAGS:
        raise ValueError(f"{must}, not {flags}")
    if ctor is not None and not callable(ctor):
        raise TypeError(f"ctor is a function that is called with an object's address, not {ctor!r}")
    sizes = calculate_sizes(size, align, flags, ctor is not None)
    if sizes.size > largest:
        raise ValueError(f"with its red zones and alignment an object takes {sizes.size} bytes, more than the largest block of {largest}")
    c = new_cache(m, name, size, sizes, flags, ctor, single_pages=False)
    if not c:
        return None
    rebind(m)  # it may be one that a restore took away, made again
    return view_for(m, c)


@changes
def kmalloc(m: Kernel, size: int, gfp: int = KERNEL) -> int | None:
    """Allocate ``size`` bytes from the smallest fitting kmalloc cache, or pages when none fits; returns the address, or None.

    ``size``: size_t, 1 or more.  ``gfp``: gfp_t.  ValueError or TypeError for a bad argument.  Source: mm/slab_common.c.
    """
    size = whole(size, "a size is a whole number of bytes")
    largest = m.page_size << m.max_order
    if not 1 <= size <= largest:
        raise ValueError(f"kmalloc takes 1 to {largest} bytes on this machine, not {size}")
    c = next((c for limit, c in m.kmalloc_caches if size <= limit), None)
    if c is not None:
        return view_for(m, c).alloc(gfp)
    gfp = view_for(m, m.kmalloc_caches[0][1])._check(gfp)
    pfn = m.alloc_pages(get_order(size, m.page_size), gfp | GFP.COMP)
    return None if pfn is None else B + (pfn << m.PS)


@changes
def kfree(m: Kernel, address: int | None) -> None:
    """Free what kmalloc returned; None is allowed, as NULL is.  KernelBug, and RAM untouched, for anything else."""
    if address is None:
        return
    address = whole(address, "an address is a whole number")
    pfn = (address - B) >> m.PS
    if not 0 <= pfn < m.highmem_pfn:
        raise KernelBug(f"{address:#x} is no virtual address of this machine's memory, so kmalloc did not return it")
    desc = m.desc_of[pfn]
    d = word(desc)
    if desc & 15 == SLAB_TYPE:
        c = word(m.cache_of[d])
        if c not in (mine for _, mine in m.kmalloc_caches):
            known = c in m.shape_of
            owner = f"an object of the cache {view_of(m, c).name}" if known else "in a slab that belongs to no cache"
            raise KernelBug(f"{address:#x} is {owner}; free it there, not with kfree")
        view_for(m, c).free(address)
        return
    whole_block = desc & 15 == BUDDY and m.page_of[d] == V + 8 * pfn
    largest_object = m.kmalloc_caches[-1][0]
    if whole_block and (address & (m.page_size - 1) or m.page_size << m.order_of[d] <= largest_object):
        raise KernelBug(f"{address:#x} was not returned by kmalloc: its page {pfn} is a block of order {m.order_of[d]} of its own")
    m.free_pages(pfn)


def slabinfo(m: Kernel) -> list[dict[str, Any]]:
    """Return a row for each cache with the main columns of /proc/slabinfo: objects and slabs in use and in all, sizes in bytes."""
    rows: list[dict[str, Any]] = []
    found = slabs_by_cache(m)
    for name, cache in caches(m).items():
        s, slabs = cache.struct, found.get(cache._c, [])
        total = sum(inuse(m, slab) + free_objects(m, slab) for slab in slabs)
        rows.append(
            {
                "name": name,
                "active_objs": live_objects(m, cache._c, slabs),
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


@changes
def kmem_cache_destroy(m: Kernel, c: int) -> None:
    """Empty the slot of a cache that has no live object."""
    m._shrink(c)
    m.ctors.pop(m.serial_of[c], None)
    m.map[c << 3 : (c + CACHE_WORDS) << 3] = bytes(kmem_cache.sizeof)
    rebind(m)


@changes
def kmem_cache_grow(m: Kernel, c: int, gfp: int) -> int:
    """Build a slab and put it on its node's partial list.  Returns the address of its struct slab, or 0."""
    s = m._new_slab(c, gfp, m.node)
    if not s:
        return 0
    add_partial(m, s, node_of(m, c, s))
    return address(s)


def _look_before_bulk(m: Kernel, c: int, objs: list[int]) -> None:
    """Raise KernelBug if one of several objects is free already, or if a debug cache finds something else wrong with it."""
    cache, free = view_of(m, c), free_near(m, c, objs)
    for obj in objs:
        if obj in free:
            raise double_free(m, c, obj)
        if cache.flags & SLAB.DEBUG:
            look(m, cache, obj, RED_ACTIVE)


def _clear(m: Kernel, address: int, n: int) -> None:
    """Zero an object; not ``write``, which would be an undo step of its own."""
    m.map[address - B : address - B + n] = bytes(n)


def view_for(m: Kernel, c: int) -> KmemCache:
    """Return the KmemCache of a live cache: always the same."""
    view: KmemCache | None = m.views.get(c)
    if view is None:
        kind = DescriptorCache if c in (m.KC_BUDDY, m.KC_SLAB) else OwnedCache if c in m.user_caches.values() else KmemCache
        view = m.handles.get(_identity(m, c)) or kind(m, c)
        m.views[c] = m.handles[view._is] = view
    return view


def _identity(m: Kernel, c: int) -> tuple[int, str]:
    """Return what tells a cache from all others of its machine, in any history: serial number and name."""
    return m.serial_of[c], view_of(m, c).name


def rebind(m: Kernel) -> None:
    """Make every KmemCache follow RAM after it was put back, or after a cache was destroyed."""
    know_shapes(m)
    m.views.clear()
    for view in tuple(m.handles.values()):
        view.rebind()


def boot_kmalloc(m: Kernel) -> None:
    """Create kmalloc's caches: powers of two from 8 bytes to two pages, and 96 and 192 where they fit."""
    for name, size in _kmalloc_names(m):
        kmem_cache_create(m, name, size, align=min(size, m.page_size) if size & (size - 1) == 0 else 0)


def boot_users(m: Kernel) -> None:
    """Create the cache of each user's descriptors."""
    for struct, _ in USERS.values():
        kmem_cache_create(m, struct.struct, struct.sizeof, align=16)


def find_builtin(m: Kernel) -> None:
    """Find the machine's own caches in the table: boot fills the slots in order, the two caches of descriptors, kmalloc's, the users'."""
    own = slots(m)[2:]
    m.kmalloc_caches = [(size, c) for (_, size), c in zip(_kmalloc_names(m), own, strict=False)]
    m.user_caches = dict(zip(USERS, own[len(m.kmalloc_caches) :], strict=False))
    m.builtin = frozenset({m.KC_BUDDY, m.KC_SLAB, *(c for _, c in m.kmalloc_caches), *m.user_caches.values()})
    m.views.clear()
    m.handles.clear()


def _kmalloc_names(m: Kernel) -> list[tuple[str, int]]:
    sizes = sorted({1 << i for i in range(3, m.PS + 2)} | {96, 192})
    return [(f"kmalloc-{size >> 10}k" if size >= 1024 else f"kmalloc-{size}", size) for size in sizes]
