"""GFP flags: what a caller allows the allocator to do, with Linux's bits and composition.

Used by everybody who allocates.  Plain ints, not an IntFlag: the hot paths test them.  Imports nothing of memlab.

Source: include/linux/gfp_types.h (Linux 6.x); in kernel C the single bits are written __GFP_ZERO and so on, the compositions GFP_KERNEL.
"""

from __future__ import annotations

from typing import Final

from .number import whole


class GFP:
    """The flags, and ``GFP.show(flags)`` that names them."""

    DMA: Final = 1 << 0
    HIGHMEM: Final = 1 << 1
    DMA32: Final = 1 << 2
    MOVABLE: Final = 1 << 3
    RECLAIMABLE: Final = 1 << 4
    HIGH: Final = 1 << 5
    IO: Final = 1 << 6
    FS: Final = 1 << 7
    ZERO: Final = 1 << 8
    DIRECT_RECLAIM: Final = 1 << 10
    KSWAPD_RECLAIM: Final = 1 << 11
    NOWARN: Final = 1 << 13
    NORETRY: Final = 1 << 16
    MEMALLOC: Final = 1 << 17
    COMP: Final = 1 << 18
    THISNODE: Final = 1 << 21

    RECLAIM: Final = DIRECT_RECLAIM | KSWAPD_RECLAIM
    KERNEL: Final = RECLAIM | IO | FS
    ATOMIC: Final = HIGH | KSWAPD_RECLAIM
    NOWAIT: Final = KSWAPD_RECLAIM | NOWARN

    @staticmethod
    def show(flags: int) -> str:
        """Return the flags as kernel C writes them, e.g. ``GFP_KERNEL|__GFP_ZERO``; ValueError for an unknown bit."""
        flags = check(flags)
        names, rest = [], flags
        for name in ("KERNEL", "ATOMIC", "NOWAIT"):
            whole = getattr(GFP, name)
            if rest & whole == whole:
                names.append(f"GFP_{name}")
                rest &= ~whole
                break
        names += [f"__GFP_{name}" for name, bit in BITS.items() if rest & bit]
        return "|".join(names) or "0"


BITS: Final = {name: bit for name, bit in vars(GFP).items() if isinstance(bit, int) and bit.bit_count() == 1}
ALL: Final = sum(BITS.values())
_NOT_NESTED: Final = GFP.ZERO | GFP.HIGHMEM | GFP.DMA | GFP.DMA32 | GFP.MOVABLE | GFP.COMP | GFP.THISNODE


def nested(flags: int) -> int:
    """Return the flags for the allocation of a descriptor within a request: without what says where and how the request's own pages lie."""
    return flags & ~_NOT_NESTED


def check(flags: int) -> int:
    """Return ``flags`` if they are GFP flags; TypeError or ValueError with a sentence if not."""
    flags = whole(flags, "gfp is a whole number made of GFP flags, such as GFP.KERNEL | GFP.ZERO")
    if flags & ~ALL or flags < 0:
        raise ValueError(f"gfp has bits that are no GFP flag: {flags & ~ALL:#x}; the flags are {', '.join(BITS)}")
    if (flags & (GFP.DMA | GFP.DMA32 | GFP.HIGHMEM)).bit_count() > 1:
        raise ValueError("gfp names more than one zone; give at most one of DMA, DMA32 and HIGHMEM")
    return flags
