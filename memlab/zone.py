"""Nodes and zones: which zones a request may use and in which order, and their watermarks.

Used by machine.py at boot, by check.py and by people who look at a zone; page_alloc.py goes by the zonelists that are made here.
Functions of a machine ``m``.  Imports kernel and below.

Sources: mm/page_alloc.c (build_zonelists, setup_per_zone_wmarks), include/linux/mmzone.h.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, Final

from . import structs
from .addresses import address
from .config import Entry, Zone, ZoneType
from .kernel import Kernel
from .list_head import init_list_head

_NO_LIMIT: Final = -(1 << 62)
# How many pages of a higher zone keep one page of a lower zone in reserve (sysctl vm.lowmem_reserve_ratio).
_RESERVE_RATIO: Final = (256, 256, 32, 0)


def zone_view(m: Kernel, z: Zone) -> Any:
    """Return the view of a zone's struct; Any, because the struct is declared for each max_order."""
    return structs.zone(m.max_order)(m, address(z.at))


def boot_zones(m: Kernel) -> None:
    """Write each struct zone: its span and empty free lists.  Its free pages are added later."""
    for z in m.zones:
        view = zone_view(m, z)
        view.name, view.flags, view.start_pfn, view.end_pfn = z.name, z.flags, z.start, z.end
        for order in range(m.max_order + 1):
            init_list_head(m, z.heads + 2 * order)


def set_watermarks(m: Kernel) -> None:
    """Compute watermarks and lowmem_reserve from the managed pages and write them to the zones (setup_per_zone_wmarks).

    They are fixed from boot on, so the zonelists keep them at hand; the words in RAM are for people, and check() holds them to it.
    Locks in Linux: zone->lock of each zone in turn.
    """
    if m.config.watermarks is not None:
        for z in m.zones:
            view = zone_view(m, z)
            view.watermark, view.lowmem_reserve = marks_of(m, z)
        build_zonelists(m)


def marks_of(m: Kernel, z: Zone) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a zone's (min, low, high) watermarks and its lowmem_reserve for each type of zone, in pages; zeros without watermarks."""
    if m.config.watermarks is None:
        return (0, 0, 0), (0,) * len(ZoneType)
    managed = _managed(m)
    return _marks(m, z, managed), tuple(_reserve_for(m, z, kind, managed) for kind in ZoneType)


def build_zonelists(m: Kernel) -> None:
    """Make the list of zones for each kind of request, by distance from its node, with the watermarks that hold now (none while booting)."""
    nodes = range(m.config.nodes)
    managed = _managed(m) if m.config.watermarks is not None else {}
    marked = any(managed.values())
    for node in nodes:
        for kind in ZoneType:
            order = [z for n in m.node_order[node] for z in reversed(m.zones) if z.node == n and z.type <= kind]
            entries = tuple(_entry(m, z, kind, managed) if marked else Entry(z.heads, z.free, _NO_LIMIT, _NO_LIMIT, 0, z) for z in order)
            m.zonelists[False, node, kind] = entries
            m.zonelists[True, node, kind] = tuple(e for e in entries if e.zone.node == node)
    m.run_on(m.cpu)


def _managed(m: Kernel) -> dict[int, int]:
    return {z.flags: zone_view(m, z).managed_pages for z in m.zones}


def _entry(m: Kernel, z: Zone, kind: ZoneType, managed: dict[int, int]) -> Entry:
    low_min, low, _ = _marks(m, z, managed)
    reserve = _reserve_for(m, z, kind, managed)
    return Entry(z.heads, z.free, low + reserve, low_min, reserve, z)


def _marks(m: Kernel, z: Zone, managed: dict[int, int]) -> tuple[int, ...]:
    if isinstance(m.config.watermarks, tuple):
        return m.config.watermarks
    # min_free_kbytes = sqrt(16 * lowmem in KiB), shared out by size; HIGHMEM keeps a token amount
    lowmem = sum(managed[x.flags] for x in m.zones if x.type is not ZoneType.HIGHMEM)
    own, kib = managed[z.flags], m.page_size / 1024
    all_min = int(min(max(isqrt(int(lowmem * kib) * 16), 128), 262144) / kib)
    low_min = min(max(own // 1024, 32), 128) if z.type is ZoneType.HIGHMEM else all_min * own // max(lowmem, 1)
    gap = max(all_min * own // max(lowmem, 1) // 4, own * 10 // 10000)
    return low_min, low_min + gap, low_min + 2 * gap


def _reserve_for(m: Kernel, z: Zone, kind: ZoneType, managed: dict[int, int]) -> int:
    if kind <= z.type or not _RESERVE_RATIO[z.type]:
        return 0
    above = sum(managed[x.flags] for x in m.zones if x.node == z.node and z.type < x.type <= kind)
    return above // _RESERVE_RATIO[z.type]
