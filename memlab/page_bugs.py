"""What the page allocator says to bad input: every refusal, before RAM is touched, in one sentence.

Used by pcp.py and page_alloc.py, which are built on it.  Here too is where the members of a struct buddy lie, as all three index them.
Imports zone and below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import gfp as gfp_flags
from .memdesc import MemType
from .ram import KernelBug
from .structs import HELD, buddy
from .zone import Zones

FREE: Final = int(MemType.FREE)
BUDDY: Final = int(MemType.BUDDY)
# members of struct buddy, in words from its list member
FLAGS: Final = buddy.flags.word - buddy.list.word
ORDER: Final = buddy.order.word - buddy.list.word
PAGE: Final = buddy.page.word - buddy.list.word


class PageBugs(Zones):
    """Zones with the checks that come before work on pages.  ``li`` is the word index of a buddy's ``list`` member."""

    if TYPE_CHECKING:  # what the layers above provide
        KC_BUDDY: int
        KC_SLAB: int
        static_at: int

        def _is_object(self, address: int, ci: int) -> bool: ...

    def _bad_order(self, order: object) -> Exception:
        if not isinstance(order, int):
            return TypeError(f"order is a whole number from 0 to {self.max_order}, not {order!r}")
        return ValueError(f"order is 0 to {self.max_order} on this machine, not {order}")

    def _check_request(self, order: int, gfp: int, node: int | None) -> None:
        if not isinstance(order, int) or not 0 <= order <= self.max_order:
            raise self._bad_order(order)
        gfp_flags.check(gfp)
        if node is not None and not (isinstance(node, int) and 0 <= node < self.config.nodes):
            raise ValueError(f"node is None or 0 to {self.config.nodes - 1} on this machine, not {node!r}")

    def _allocated(self, pfn: int, done: str) -> int:
        """Return li of the block from alloc_pages that starts at ``pfn``; KernelBug if none does."""
        if isinstance(pfn, int) and 0 <= pfn < self.nr_pages:
            md = self.w[self.MM + pfn]
            li = ((md - self.B) >> 3) + 1
            if md & 15 == BUDDY and self.w[li + PAGE] == self.V + 8 * pfn:
                return li
        raise self._bad_page(pfn, done)

    def _bad_page(self, pfn: object, done: str) -> Exception:
        """Say why the block at ``pfn`` cannot be freed or split."""
        if not isinstance(pfn, int):
            return TypeError(f"a pfn is a whole number, not {pfn!r}")
        if not 0 <= pfn < self.nr_pages:
            return KernelBug(f"there is no page {pfn} to be {done}; this machine has pages 0 to {self.nr_pages - 1}")
        kind, address = self.w[self.MM + pfn] & 15, self.w[self.MM + pfn] & ~15
        if kind == MemType.NONE:
            return KernelBug(f"page {pfn} is reserved: it was never allocated, so it cannot be {done}")
        if kind == FREE:
            return KernelBug(f"page {pfn} is free already; a block can be {done} only while it is allocated")
        if kind == BUDDY:
            view = buddy(self, address)
            head = (view.page - self.V) >> 3
            return KernelBug(
                f"page {pfn} is a tail page of the block of order {view.order} that starts at page {head}; only the whole block can be {done}"
            )
        if kind < len(MemType):
            owner = MemType(kind).name.lower()
            return KernelBug(f"page {pfn} belongs to the {owner} at {address:#x}; it can be {done} only through its owner")
        return KernelBug(f"page {pfn} has a damaged mem_desc, {self.w[self.MM + pfn]:#x}; check() tells more")

    def _bad_buddy(self, li: int, pfn: int) -> KernelBug:
        flags, order = self.w[li + FLAGS], self.w[li + ORDER]
        return KernelBug(
            f"the buddy of page {pfn} is damaged: flags {flags:#x} and order {order} fit no zone of this machine; check() tells more"
        )

    def _held_buddy(self, address: int) -> int:
        if not isinstance(address, int):
            raise TypeError(f"the address of a struct buddy is a whole number, not {address!r}")
        li = ((address - self.B) >> 3) + buddy.list.word
        if address & 15 == 0 and (self._is_object(address, self.KC_BUDDY) or address == self.B + 8 * self.static_at):
            w = self.w
            pfn = (w[li + PAGE] - self.V) >> 3
            if w[li + FLAGS] & HELD and 0 <= pfn < self.nr_pages and w[self.MM + pfn] & 15 > BUDDY:
                return li
        raise KernelBug(f"{address:#x} is not a struct buddy that alloc_pages_desc returned and that is still allocated")
