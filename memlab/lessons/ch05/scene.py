"""The machines and words that chapter 05's predictions, exercises and notebook share.  Imports the core, labs and study."""

from __future__ import annotations

from ...gfp import GFP
from ...machine import Machine
from ...study.radix_freelist import RadixMachine

ANYWHERE = GFP.KERNEL | GFP.HIGHMEM


def only_large_blocks() -> Machine:
    """Boot 64 MiB and take every smaller block, so that only blocks of order 11 are free; more than eleven descriptors are at hand."""
    m = Machine("64M")
    for order, blocks in enumerate(m.buddyinfo()[0, "Normal"][:-1]):
        for _ in range(blocks):
            m.alloc_pages(order)
    return m


def full_radix() -> RadixMachine:
    """Boot a machine with radix trees for free lists, whose pages 12 to 15 are HIGHMEM, and take every page."""
    r = RadixMachine("64K", max_order=4, highmem="16K")
    while r.alloc_pages(0, ANYWHERE) is not None:
        pass
    return r
