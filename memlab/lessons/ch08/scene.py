"""The machines and words that chapter 08's predictions, exercises and notebook share.  Imports the core, labs and study."""

from __future__ import annotations

from ...gfp import GFP
from ...labs.machine import zoned_machine
from ...machine import Machine
from ...study.request import walk_zonelist, zone_words

ANYWHERE = GFP.KERNEL | GFP.HIGHMEM
AREA = 4 * 4096  # bytes of the area that is asked of vmalloc


def two_nodes() -> Machine:
    """Boot the chapter's machine: 32 MiB on two nodes, the first 2 MiB zone DMA, the last 8 MiB HighMem."""
    return Machine("32M", nodes=2, cpus=2, dma="2M", highmem="8M", design="bounded")


def used_up(*flags: int) -> Machine:
    """Boot the chapter's machine, and with each of the GFP ``flags`` in turn take single pages until there are none."""
    m = two_nodes()
    for gfp in flags:
        while m.alloc_pages(0, gfp) is not None:
            pass
    return m


def zone_of(m: Machine, pfn: int) -> str:
    """Return the zone of a page in words, e.g. ``Normal of node 0``."""
    return next(zone_words(z) for z in m.zones if z.start <= pfn < z.end)


def levels(m: Machine) -> str:
    """Return a table of the zones: pages that are free, and the three watermarks."""
    lines = ["zone                free   min   low  high"]
    for z in m.zones:
        view = m.zone_view(z)
        lines.append(f"{zone_words(z):18}{view.free_pages:6,}" + "".join(f"{mark:6,}" for mark in view.watermark))
    return "\n".join(lines)


def nearly_empty() -> Machine:
    """Boot the Machine lab's machine with HighMem, and take single pages as its action Fill a zone does: of HighMem, of Normal, then of DMA."""
    m = zoned_machine("highmem")
    for z, gfp in zip(reversed(m.zones), (ANYWHERE, GFP.KERNEL, GFP.KERNEL | GFP.DMA), strict=True):
        while walk_zonelist(m, 0, gfp, z.node).zone == z and m.alloc_pages(0, gfp, z.node) is not None:
            pass
    return m


def warm_machine() -> Machine:
    """Boot 1 MiB, and have vmalloc's cache build its first slab."""
    m = Machine("1M", design="bounded")
    m.vfree(m.vmalloc(AREA) or 0)
    return m


def lowered(least: int, gfp: int) -> tuple[int, str]:
    """Return the min watermark as it counts for a request, and how it came about."""
    if not gfp & GFP.HIGH:
        return least, f"min {least}"
    half = least - least // 2
    if gfp & GFP.DIRECT_RECLAIM:
        return half, f"min {least} halved to {half}"
    return half - half // 4, f"min {least} halved to {half} and less a quarter of that, {half - half // 4}"
