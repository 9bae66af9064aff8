"""What all files of the core share: the state of one machine, and the header -- what one file may call in another, each with its contract.

Used by every file of functions over a machine ``m: Kernel`` (page_alloc, slub, descriptors, evacuate, users, ...), as mm/ is files over one
kernel; machine.py binds them: ``class Machine(Kernel): alloc_pages = page_alloc.alloc_pages``.  Imports ram, words and config.

The rule: **a call through** ``m.`` **can be traced, failed, interrupted or replaced; every other call is plain.**  What the page allocator and
SLUB call in each other goes through ``m.``; a function keeps its kernel name, less a leading underscore where it is for the core alone.

Legend of the short names: ``w`` RAM's words and ``map`` its bytes; ``B``, ``V`` the addresses of word 0 and of the first struct page; ``MM`` the
first word of the mem_map, ``KA`` of the kernel area; ``PS``, ``WS`` the shifts from a pfn to a byte and to a word; ``b``, ``s``, ``c`` and so on
as in words.py.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from . import structs
from .addresses import B
from .config import Config, Entry, Zone, Zonelist, ZoneType, plan_zones
from .gfp import GFP
from .layout import Struct
from .ram import KernelBug, Ram, Snapshot
from .words import CPU_ROW, CPU_WORDS, Columns

KERNEL: Final = GFP.KERNEL
_COUNTERS: Final = {field.name: field.word for field in structs.vm_stat.fields}


class Shape(NamedTuple):
    """What never changes while a cache lives, noted for hot paths."""

    percpu: int  # its words in a CPU's part of the table
    link: int  # an object's address less this is the byte offset in RAM of its free pointer
    starts: frozenset[int]  # where in a page its objects start, if its slabs are single pages
    address: int  # of its struct kmem_cache
    nodes: int  # the word of its first kmem_cache_node


class Kernel(Columns, Ram, ABC):
    """The state of one machine, powered on but not booted.  ``config``: its shape.  MemoryError if the computer that runs this has not the room."""

    def __init__(self, config: Config) -> None:
        self.config = c = config
        # fast.py's functions by the names that they replace, once the machine is booted, and what makes those of one KmemCache
        self._in_line: dict[str, Callable[..., Any]] = {}
        self._in_line_of: Callable[[Any], dict[str, Callable[..., Any]]] = lambda _cache: {}
        self._runs_in_line = False
        self._listened = False  # somebody is to see every call (probes.py, or a search)
        self.views: dict[int, Any] = {}  # each live cache's KmemCache
        self.handles: WeakValueDictionary[tuple[int, str], Any] = WeakValueDictionary()  # all that somebody has, by serial number and name
        self.max_order, self.pcp, self.bounded = c.max_order, c.pcp, c.design == "bounded"
        plan, zone = plan_zones(c), structs.zone(c.max_order)
        tables: list[tuple[str, type[Struct], int]] = [
            ("zone", zone, len(plan)),
            ("static_buddy", structs.buddy, 1),
            ("slab_caches", structs.slab_caches, 1),
            ("kmem_cache", structs.kmem_cache, structs.NR_CACHES + 1),
            ("kmem_cache_node", structs.kmem_cache_node, structs.NR_CACHES * c.nodes),
            ("kmem_cache_cpu", structs.kmem_cache_cpu, c.cpus * CPU_ROW // CPU_WORDS),
            ("per_cpu_pages", structs.per_cpu_pages, c.cpus * len(plan)),
            ("vm_stat", structs.vm_stat, 1),
        ]
        normal = next(start for _, kind, start, _ in plan if kind is ZoneType.NORMAL)
        size = 8 + sum(struct.sizeof * rows for _, struct, rows in tables)
        Ram.__init__(self, c.nr_pages, c.page_size, size, structs.vm_stat.sizeof, normal, c.nr_pages - c.highmem // c.page_size)

        # where each table of the kernel area lies: (name, first word, struct, rows)
        self.kernel_tables: list[tuple[str, int, type[Struct], int]] = []
        at = self.KA
        for name, struct, rows in tables:
            if name == "static_buddy":
                at += at & 1  # descriptors are aligned to 16 bytes
            if name == "vm_stat":
                at = (self._kernel_end - structs.vm_stat.sizeof) >> 3  # last, so that it is easily left out of comparisons
            self.kernel_tables.append((name, at, struct, rows))
            at += struct.sizeof // 8 * rows
        where = {name: start for name, start, _, _ in self.kernel_tables}
        self.static_at, self.kc_at, self.kn_at = where["static_buddy"], where["kmem_cache"], where["kmem_cache_node"]
        self.cc_at, self.pcp_at, self.stat = where["kmem_cache_cpu"], where["per_cpu_pages"], where["vm_stat"]
        self.serial_at = where["slab_caches"] + structs.slab_caches.serial.word
        self.KC_BUDDY, self.KC_SLAB = self.kc_at, self.kc_at + structs.kmem_cache.sizeof // 8
        self.WORDS_TYPED = self.stat + structs.vm_stat.words_typed.word

        # nodes and zones: geometry, which never changes after boot
        self.zones: list[Zone] = []
        for i, (node, kind, start, end) in enumerate(plan):
            z, flags = self.KA + i * zone.sizeof // 8, node << structs.NODE_SHIFT | kind << structs.ZONE_SHIFT
            self.zones.append(Zone(node, kind, start, end, flags, z, z + zone.free_area.word, z + zone.free_pages.word))  # type: ignore[attr-defined]  # declared in a function
        self.zone_of = {z.flags: z for z in self.zones}
        # what fast.py needs of each free list, by the zone's flags and the order: its head's word and address, pages, the word of the count
        self.lists_of = {
            z.flags: [(h := z.heads + 2 * order, B + 8 * h, 1 << order, z.free) for order in range(c.max_order + 1)] for z in self.zones
        }
        nodes, near = range(c.nodes), c.distance
        self.node_order = [sorted(nodes, key=lambda other: (near[node][other], (other - node) % c.nodes)) for node in nodes]
        self.cpu_node = [cpu % c.nodes for cpu in range(c.cpus)]
        self.zonelists: dict[tuple[bool, int, int], Zonelist] = {}  # by __GFP_THISNODE, node and highest zone; zone.py makes them

        # the CPU that runs now, and what follows from it; run_on sets them
        self.cpu = self.node = self.percpu = 0
        self.kernel_zonelist: Zonelist = ()  # for GFP_KERNEL
        self.here: tuple[list[tuple[int, int, int, int]], int, int] = (
            [],
            0,
            0,
        )  # of its first zone: lists_of, the count's word, low watermark

        # caches, beside their table in RAM: what hot paths note of each, and what is Python's
        self.shape_of: dict[int, Shape] = {}
        self.ordinary: set[int] = set()  # caches that live and have no debug flag
        self.ctors: dict[int, Callable[[int], object]] = {}  # by the cache's serial number
        self.kmalloc_caches: list[tuple[int, int]] = []  # (largest size, cache), smallest first
        self.user_caches: dict[str, int] = {}
        self.builtin: frozenset[int] = frozenset()  # these and the two of descriptors, which cannot be destroyed

        # the context that runs now: a task, or an interrupt in its midst (probes.py keeps the task's meanwhile)
        self.frame_limit = 4096  # call frames after which nested allocation fails
        self._nesting = 0  # new_slab within new_slab
        self._overflow = False  # it outgrew the stack
        self._freeing = False  # a free is at work, which must not allocate
        self._interrupted = 0  # handlers of interrupts at work: what they interrupted is in the midst of a call

        # undo: copies of RAM from before each step, and from before each that was taken back (undo.py)
        self._undo: deque[Snapshot] = deque(maxlen=0)
        self._redo: deque[Snapshot] = deque(maxlen=0)
        self._in_step = False
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 4 * self.frame_limit))

    def see(self, w: memoryview[int]) -> None:
        """Lay RAM's words and all columns over ``w``."""
        Columns.see(self, w)
        self.desc_of = w[self.MM : self.MM + self.mem_map_words]  # desc_of[pfn] is a page's mem_desc
        self.write_in_line()

    def write_in_line(self) -> None:
        """Have the common cases in line, where the machine has that at all; the plain text while somebody is to see every call or every write."""
        on = isinstance(self.w, memoryview) and not self._listened
        for name, function in self._in_line.items():
            if on:
                vars(self).setdefault(name, function)
            elif vars(self).get(name) is function:
                delattr(self, name)
        self._runs_in_line = on
        for view in tuple(self.handles.values()):
            view.write_in_line()

    def run_on(self, cpu: int) -> None:
        """Let another CPU run: set what is kept about it."""
        self.cpu, self.node = cpu, self.cpu_node[cpu]
        self.percpu = self.cc_at + cpu * CPU_ROW
        self.kernel_zonelist = self.zonelists[False, self.node, ZoneType.NORMAL]
        first = self.kernel_zonelist[0]
        self.here = self.lists_of[first.zone.flags], first.free, first.low

    def count(self, **by: int) -> None:
        """Add to counters of vm_stat by name."""
        for name, n in by.items():
            self.w[self.stat + _COUNTERS[name]] += n

    def fill(self, pfn: int, n: int, desc: int) -> None:
        """Write the mem_desc word ``desc`` for ``n`` pages."""
        if n == 1:
            self.desc_of[pfn] = desc
        else:
            at = self.MM + pfn
            self.map[at << 3 : (at + n) << 3] = desc.to_bytes(8, "little") * n

    def null_or_overflow(self) -> None:
        """Return the kernel's NULL, unless the reason for it is that the call chain outgrew the kernel's stack."""
        if self._overflow:
            self._overflow = False
            raise KernelBug(
                f"kernel stack overflow: this allocation nested deeper than {self.frame_limit} call frames; all of it was unmade. "
                'The design "bounded" does not nest so'
            )

    # -- the header, the page allocator's half (page_alloc.py): descriptors.py calls it for slabs, users.py for its pages

    @abstractmethod
    def alloc_pages(self, order: int, gfp: int = KERNEL, node: int | None = None) -> int | None:
        """The public call, which kmalloc and get_free_page make too.  A pfn, or None.  Locks: as _get_pages."""

    @abstractmethod
    def _alloc_pages(self, order: int, gfp: int, node: int | None, desc: int) -> int:
        """THE RECURSION, downward: alloc_slab_page and the users get pages whose mem_desc is ``desc``.  Their b, or 0.  Locks: as _get_pages."""

    @abstractmethod
    def _get_pages(self, order: int, gfp: int, zonelist: Zonelist, desc: int) -> int:
        """Behind both of these: find, have descriptors in hand, take.  b, or 0.  Locks: zone->lock, dropped while descriptors are allocated."""

    @abstractmethod
    def _smallest(self, gfp: int, node: int | None) -> tuple[Entry, int] | None:
        """The email's new interface, for __alloc_slab and carve: the zone and order of the smallest lowmem block.  Locks: zone->lock, held by the caller."""

    @abstractmethod
    def _take(self, e: Entry, k: int, order: int, hand: list[int], desc: int) -> int:
        """Take the block that was found, with descriptors from ``hand``; also for __alloc_slab, carve and evacuate.py.  b.  Locks: zone->lock, held."""

    @abstractmethod
    def free_pages(self, pfn: int) -> None:
        """The public call, which free_page, kfree and alloc_pages_bulk make too.  Locks: zone->lock, then list_lock in _give_back."""

    @abstractmethod
    def _free_block(self, b: int) -> None:
        """Free the block of a buddy that a user kept, whatever its pages' mem_desc say.  Locks: as free_pages."""

    @abstractmethod
    def _free_one_page(self, b: int, pfn: int, order: int, chain: int) -> int:
        """Put a block among the free ones; for slabs that go, too.  ``chain`` with the descriptors of merged blocks in front.  Locks: zone->lock."""

    @abstractmethod
    def drain_all_pages(self) -> None:
        """Give per-CPU free pages back; also before a shrink.  Locks: pcp->lock, then zone->lock."""

    # -- the header, SLUB's half (slub.py): page_alloc.py calls it for descriptors

    @abstractmethod
    def _kmem_cache_alloc(self, c: int, gfp: int, node: int | None) -> int:
        """THE RECURSION, upward: split_page gets its struct buddy, alloc_slab_page its struct slab.  An object's address, or 0.  Locks: none."""

    @abstractmethod
    def _kmem_cache_alloc_bulk(self, c: int, n: int, gfp: int, node: int | None) -> list[int] | None:
        """THE RECURSION, upward: _get_pages gets the struct buddys that a split takes.  Addresses, all ``n`` or None.  Locks: none."""

    @abstractmethod
    def _kmem_cache_free(self, c: int, address: int) -> None:
        """Give an object back.  KernelBug, and RAM untouched, if it is none of ``c``.  Locks: list_lock when a slab joins or leaves its list."""

    @abstractmethod
    def _kmem_cache_free_bulk(self, c: int, objs: list[int]) -> None:
        """Give objects back, for a bulk allocation that is unmade.  Locks: as _kmem_cache_free."""

    ___slab_alloc: Callable[[int, int, int | None], int]  # the slow path of both allocations.  An object's address, or 0.  Locks: list_lock

    @abstractmethod
    def _new_slab(self, c: int, gfp: int, node: int | None) -> int:
        """A slab for a cache that has no free object, unless the stack would overflow.  s, or 0.  Locks: none."""

    @abstractmethod
    def _allocate_slab(self, c: int, gfp: int, node: int | None) -> int:
        """Pages and a struct slab, cut into objects.  s, or 0.  Locks: none."""

    @abstractmethod
    def _deactivate(self, c: int, p: int) -> None:
        """Take the slab from a CPU.  Locks: list_lock."""

    @abstractmethod
    def _is_object(self, address: int, c: int) -> bool:
        """Say whether an object of a cache starts at an address (cache_table.py); the page allocator asks it of descriptors that callers name."""

    # -- the header, where the two meet (descriptors.py)

    @abstractmethod
    def _alloc_slab_page(self, c: int, gfp: int, node: int | None) -> int:
        """THE RECURSION: slub.allocate_slab gets a struct slab, and the pages that it describes.  s, or 0.  Locks: none."""

    __alloc_slab: Callable[[int, int | None], int]  # where it stops: a slab for kmem_cache_slab itself.  s, or 0.  Locks: zone->lock

    @abstractmethod
    def _give_back(self, chain: int) -> None:
        """Free descriptors and struct slabs that a free, or a surplus, left over.  Never allocates.  Locks: list_lock, zone->lock in turn."""

    @abstractmethod
    def _evacuate_own(self, s: int) -> bool:
        """Move the descriptor of an otherwise empty slab of kmem_cache_buddy out of it (evacuate.py).  Whether it did.  Locks: list_lock."""

    @abstractmethod
    def _shrink(self, c: int) -> int:
        """Release a cache's empty slabs.  How many went.  Locks: list_lock of each node."""

    # -- the header, what a KmemCache calls beside these (kmem_cache.py)

    @abstractmethod
    def _kmem_cache_grow(self, c: int, gfp: int) -> int:
        """Build a slab in advance.  The address of its struct slab, or 0.  Locks: list_lock."""

    @abstractmethod
    def _kmem_cache_destroy(self, c: int) -> None:
        """Empty a cache's slot.  Locks: slab_mutex."""


def bind(machine: type[Kernel], *functions: Callable[..., Any]) -> None:
    """Bind functions to a class of machines under their kernel names: in a class body, Python changes names that begin with two underscores."""
    for function in functions:
        setattr(machine, function.__name__, function)
