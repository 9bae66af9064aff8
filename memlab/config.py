"""The shape of a simulated computer: what ``Machine(...)`` was asked for, checked and in plain numbers; and the zones that follow from it.

Used by kernel.py and machine.py (to boot), image.py (to save) and by who asks where a zone lies.  Imports structs.

Source: include/linux/mmzone.h (enum zone_type, struct zone, struct zoneref).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from .number import whole
from .structs import buddy

DESIGNS: Final = ("as-written", "bounded")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
Watermarks = tuple[int, int, int] | str | None


@dataclass(frozen=True)
class Config:
    """Everything that decides how a machine boots.  Sizes are bytes; the names are those of ``Machine``'s parameters."""

    memory: int
    page_size: int
    max_order: int
    nodes: int
    cpus: int
    dma: int
    dma32: int
    highmem: int
    watermarks: Watermarks
    pcp: bool
    distance: tuple[tuple[int, ...], ...]
    design: str

    @property
    def nr_pages(self) -> int:
        """Pages in all."""
        return self.memory // self.page_size


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


def size_in_bytes(value: int | str, what: str) -> int:
    """Return a size given as bytes or as text such as "64M"; TypeError or ValueError with a sentence if it is neither."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d{1,20})\s*([KMGT]?)(?:i?B)?\s*", value, re.IGNORECASE)
        if not found:
            raise ValueError(f'{what} is a number of bytes or text such as "64M", "8K" or "1G", not {value!r}')
        return int(found[1]) * _UNITS[found[2].upper()]
    return whole(value, f'{what} is a number of bytes or text such as "64M"')


def make_config(
    memory: int | str,
    page_size: int | str,
    max_order: int,
    nodes: int,
    cpus: int,
    dma: int | str,
    dma32: int | str,
    highmem: int | str,
    watermarks: object,
    pcp: bool,
    distance: object,
    design: str,
) -> Config:
    """Check every parameter and return the Config; TypeError or ValueError says what was wrong and what would be right."""
    size = size_in_bytes(page_size, "page_size")
    if size < 256 or size & (size - 1):
        raise ValueError(f"page_size is a power of two of at least 256 bytes, not {size}")
    bytes_of = {"memory": size_in_bytes(memory, "memory"), "dma": size_in_bytes(dma, "dma")}
    bytes_of |= {"dma32": size_in_bytes(dma32, "dma32"), "highmem": size_in_bytes(highmem, "highmem")}
    for what, n in bytes_of.items():
        if n < 0 or n % size:
            raise ValueError(f"{what} is a whole number of pages of {size} bytes, not {n} bytes")
    total = bytes_of["memory"]
    if total == 0:
        raise ValueError(f"memory is at least a few pages of {size} bytes, not 0")
    max_order, nodes, cpus = (
        whole(value, f"{what} is a whole number") for value, what in ((max_order, "max_order"), (nodes, "nodes"), (cpus, "cpus"))
    )
    if not 1 <= max_order < size // buddy.sizeof:
        raise ValueError(
            f"max_order is 1 to {size // buddy.sizeof - 1}: a page of {size} bytes must hold more than max_order descriptors; not {max_order}"
        )
    if not 1 <= nodes <= min(64, total // size):
        raise ValueError(f"nodes is 1 to 64, and each needs memory; not {nodes}")
    if not 1 <= cpus <= 64:
        raise ValueError(f"cpus is 1 to 64, not {cpus}")
    if bytes_of["highmem"] >= total:
        raise ValueError(f"highmem ({bytes_of['highmem']} bytes) must be less than the memory ({total} bytes): the descriptors need lowmem")
    last_node = total - (total // size // nodes) * (nodes - 1) * size
    if bytes_of["highmem"] > last_node:
        raise ValueError(f"highmem is taken from the last node, which has {last_node} bytes; {bytes_of['highmem']} are too many")
    if bytes_of["dma"] + bytes_of["dma32"] + bytes_of["highmem"] >= total:
        raise ValueError("dma, dma32 and highmem together must leave memory for the NORMAL zone, where the mem_map lives")
    if design not in DESIGNS:
        raise ValueError(f"design is {' or '.join(map(repr, DESIGNS))}, not {design!r}")
    if not isinstance(pcp, bool):
        raise TypeError(f"pcp is True or False, not {pcp!r}")
    return Config(
        **bytes_of,
        page_size=size,
        max_order=max_order,
        nodes=nodes,
        cpus=cpus,
        watermarks=_watermarks(watermarks, total),
        pcp=pcp,
        distance=_distance(distance, nodes),
        design=design,
    )


def _watermarks(value: object, memory: int) -> Watermarks:
    if value is ...:
        return "linux" if memory >= 4 << 20 else None
    if value is None:
        return None
    if value == "linux":
        return "linux"
    if isinstance(value, (tuple, list)) and len(value) == 3:
        least, low, high = (whole(v, "a watermark is a whole number") for v in value)
        if 0 <= least <= low <= high:
            return least, low, high
    raise ValueError(f'watermarks is "linux", None or (min, low, high) in pages and in that order, not {value!r}')


def _distance(value: object, nodes: int) -> tuple[tuple[int, ...], ...]:
    if value is None:
        return tuple(tuple(10 if a == b else 20 for b in range(nodes)) for a in range(nodes))
    if isinstance(value, (tuple, list)) and len(value) == nodes and all(isinstance(r, (tuple, list)) and len(r) == nodes for r in value):
        return tuple(tuple(whole(d, "a distance is a whole number") for d in row) for row in value)
    raise ValueError(f"distance is a table of {nodes} rows of {nodes} numbers, one for each pair of nodes, not {value!r}")
