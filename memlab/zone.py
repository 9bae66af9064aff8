"""Nodes and zones: which pages belong to which, which zones a request may use and in which order, and watermarks.

Used by the page allocator.  The structs are in RAM; what is kept here is their geometry, which never changes after boot.
Imports config, gfp, ram and structs.

Sources: include/linux/mmzone.h (struct zone), mm/page_alloc.c (build_zonelists, setup_per_zone_wmarks, __zone_watermark_ok).
"""

from __future__ import annotations

from enum import IntEnum
from math import isqrt
from typing import Any, Final, NamedTuple

from . import structs
from .config import Config
from .gfp import GFP
from .list_head import init_list_head
from .ram import Ram

_NO_LIMIT: Final = -(1 << 62)
# How many pages of a higher zone keep one page of a lower zone in reserve (sysctl vm.lowmem_reserve_ratio).
_RESERVE_RATIO: Final = (256, 256, 32, 0)


class ZoneType(IntEnum):
    """The zones of a node, from the most to the least precious."""

    DMA = 0
    DMA32 = 1
    NORMAL = 2
    HIGHMEM = 3


ZONE_NAMES: Final = ("DMA", "DMA32", "Normal", "HighMem")


class Zone(NamedTuple):
    """Where one zone lies: its pages [start, end), its struct at word ``at``, its free lists, its count of free pages."""

    node: int
    type: ZoneType
    start: int
    end: int
    flags: int
    at: int
    heads: int
    free: int

    @property
    def name(self) -> str:
        """The kernel's name of the zone, as in /proc/buddyinfo."""
        return ZONE_NAMES[self.type]


class Entry(NamedTuple):
    """A zone in a zonelist, with what a request of that list must leave free, in pages."""

    heads: int
    free: int
    low: int  # the low watermark plus lowmem_reserve: what the first try must leave
    min: int
    reserve: int
    zone: Zone


Zonelist = tuple[Entry, ...]


def plan_zones(c: Config) -> list[tuple[int, ZoneType, int, int]]:
    """Return (node, type, start pfn, end pfn) for each zone, in order of pfn."""
    pages, per_node = c.nr_pages, c.nr_pages // c.nodes
    dma = c.dma // c.page_size
    edges = [0, dma, dma + c.dma32 // c.page_size, pages - c.highmem // c.page_size, pages]
    plan = []
    for node in range(c.nodes):
        first, last = node * per_node, (node + 1) * per_node if node < c.nodes - 1 else pages
        for kind in ZoneType:
            start, end = max(first, edges[kind]), min(last, edges[kind + 1])
            if start < end:
                plan.append((node, kind, start, end))
    return plan


class Zones(Ram):
    """RAM divided into zones.  Adds to Ram: ``zones`` in order of pfn, ``zone_of`` by flags word, and the zonelists."""

    def __init__(self, config: Config, kernel_bytes: int, stat_bytes: int) -> None:
        self.config = c = config
        self.max_order = c.max_order
        struct = structs.zone(c.max_order)
        plan = plan_zones(c)
        normal = next(start for _, kind, start, _ in plan if kind is ZoneType.NORMAL)
        highmem = c.nr_pages - c.highmem // c.page_size
        zones_bytes = len(plan) * struct.sizeof
        super().__init__(c.nr_pages, c.page_size, zones_bytes + kernel_bytes, stat_bytes, normal, highmem)
        self.zones: list[Zone] = []
        for i, (node, kind, start, end) in enumerate(plan):
            at = self.KA + i * struct.sizeof // 8
            flags = node << structs.NODE_SHIFT | kind << structs.ZONE_SHIFT
            heads, free = at + struct.free_area.word, at + struct.free_pages.word  # type: ignore[attr-defined]  # declared in a function
            self.zones.append(Zone(node, kind, start, end, flags, at, heads, free))
        self.zone_of = {z.flags: z for z in self.zones}
        # what hot paths need of each free list, by the zone's flags and the order: its head's word and address, pages, the word of the count
        self.lists_of = {
            z.flags: [(h := z.heads + 2 * order, self.B + 8 * h, 1 << order, z.free) for order in range(c.max_order + 1)]
            for z in self.zones
        }
        self.after_zones = self.KA + zones_bytes // 8
        self.cpu_node = [cpu % c.nodes for cpu in range(c.cpus)]
        self._build_zonelists(None)

    def _boot_zones(self) -> None:
        """Write each struct zone: its span and empty free lists.  Its free pages are added later."""
        for z in self.zones:
            view = self.zone_view(z)
            view.name, view.flags, view.start_pfn, view.end_pfn = z.name, z.flags, z.start, z.end
            for order in range(self.max_order + 1):
                init_list_head(self, z.heads + 2 * order)

    def _set_watermarks(self) -> None:
        """Compute watermarks and lowmem_reserve from the managed pages and write them to the zones (setup_per_zone_wmarks).

        They are fixed from boot on, so the zonelists keep them at hand; the words in RAM are for people, and check() holds them to it.
        Locks in Linux: zone->lock of each zone in turn.
        """
        if self.config.watermarks is None:
            return
        for z in self.zones:
            view = self.zone_view(z)
            view.watermark, view.lowmem_reserve = self.marks_of(z)
        self._build_zonelists(self._managed())

    def marks_of(self, z: Zone) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return a zone's (min, low, high) watermarks and its lowmem_reserve for each type of zone, in pages; zeros without watermarks."""
        if self.config.watermarks is None:
            return (0, 0, 0), (0,) * len(ZoneType)
        managed = self._managed()
        return self._marks(z, managed), tuple(self._reserve_for(z, kind, managed) for kind in ZoneType)

    def _managed(self) -> dict[int, int]:
        return {z.flags: self.zone_view(z).managed_pages for z in self.zones}

    def zone_view(self, z: Zone) -> Any:
        """Return the view of a zone's struct; Any, because the struct is declared for each max_order."""
        return structs.zone(self.max_order)(self, self.B + 8 * z.at)

    def _request_zonelist(self, gfp: int, node: int | None) -> Zonelist:
        """Return the zones that a request may use, in order: by distance from the node, then from its highest zone down."""
        kind = 0 if gfp & GFP.DMA else 1 if gfp & GFP.DMA32 else 3 if gfp & GFP.HIGHMEM else 2
        return self._zonelists[bool(gfp & GFP.THISNODE), self.node if node is None else node, kind]

    cpu = 0  # the CPU that runs now
    node = 0  # and its node

    def _watermark_ok(self, e: Entry, n: int, gfp: int) -> bool:
        """Say whether a zone may give ``n`` pages down to its min watermark, as the slow path asks (__zone_watermark_ok)."""
        mark = e.min
        if gfp & GFP.MEMALLOC:
            mark = _NO_LIMIT
        elif mark > 0 and gfp & GFP.HIGH:
            mark -= mark // 2
            if not gfp & GFP.DIRECT_RECLAIM:
                mark -= mark // 4
        return self.w[e.free] - n >= mark + e.reserve

    def _marks(self, z: Zone, managed: dict[int, int]) -> tuple[int, ...]:
        if isinstance(self.config.watermarks, tuple):
            return self.config.watermarks
        # min_free_kbytes = sqrt(16 * lowmem in KiB), shared out by size; HIGHMEM keeps a token amount
        lowmem = sum(managed[x.flags] for x in self.zones if x.type is not ZoneType.HIGHMEM)
        own, kib = managed[z.flags], self.page_size / 1024
        all_min = int(min(max(isqrt(int(lowmem * kib) * 16), 128), 262144) / kib)
        low_min = min(max(own // 1024, 32), 128) if z.type is ZoneType.HIGHMEM else all_min * own // max(lowmem, 1)
        gap = max(all_min * own // max(lowmem, 1) // 4, own * 10 // 10000)
        return low_min, low_min + gap, low_min + 2 * gap

    def _reserve_for(self, z: Zone, kind: ZoneType, managed: dict[int, int]) -> int:
        if kind <= z.type or not _RESERVE_RATIO[z.type]:
            return 0
        above = sum(managed[x.flags] for x in self.zones if x.node == z.node and z.type < x.type <= kind)
        return above // _RESERVE_RATIO[z.type]

    def _build_zonelists(self, managed: dict[int, int] | None) -> None:
        self._zonelists: dict[tuple[bool, int, int], Zonelist] = {}
        for node in range(self.config.nodes):
            by_distance = sorted(
                range(self.config.nodes), key=lambda other: (self.config.distance[node][other], (other - node) % self.config.nodes)
            )
            for kind in ZoneType:
                order = [z for n in by_distance for z in reversed(self.zones) if z.node == n and z.type <= kind]
                entries = tuple(self._entry(z, kind, managed) for z in order)
                self._zonelists[False, node, kind] = entries
                self._zonelists[True, node, kind] = tuple(e for e in entries if e.zone.node == node)
        self._on_cpu_changed()

    def _entry(self, z: Zone, kind: ZoneType, managed: dict[int, int] | None) -> Entry:
        if managed is None:  # boot, and machines without watermarks
            return Entry(z.heads, z.free, _NO_LIMIT, _NO_LIMIT, 0, z)
        low_min, low, _ = self._marks(z, managed)
        reserve = self._reserve_for(z, kind, managed)
        return Entry(z.heads, z.free, low + reserve, low_min, reserve, z)

    def _on_cpu_changed(self) -> None:
        """Set what hot paths keep about the CPU that runs now: its node's zonelist for GFP_KERNEL."""
        self.node = self.cpu_node[self.cpu]
        self.kernel_zonelist = self._zonelists[False, self.node, ZoneType.NORMAL]
