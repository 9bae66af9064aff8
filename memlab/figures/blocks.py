"""What describes each page, and which block it is in: read from RAM for the figures and the labs.

RAM may be in the middle of an operation, or damaged: nothing here raises, follows a link out of RAM or loops.
Used by the figures and labs.  Imports the core (structs and memdesc).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from ..machine import Machine
from ..memdesc import MemType
from ..structs import buddy, memdesc, slab

_PAGE: Final = buddy.page.word  # looked up once: a picture asks for hundreds of blocks
_ORDER: Final = buddy.order.word


class Kind(NamedTuple):
    """How pages of one type look and are spoken of: CSS class, letter, words."""

    css: str
    letter: str
    words: str


# by the type bits of the page's mem_desc; the last serves bits that name no type
KINDS: Final = (
    Kind("ml-none", "r", "reserved: no descriptor"),
    Kind("ml-free", "f", "free block"),
    Kind("ml-buddy", "A", "allocated block"),
    Kind("ml-slab", "S", "slab"),
    Kind("ml-folio", "F", "folio"),
    Kind("ml-anon", "N", "anonymous memory"),
    Kind("ml-file", "L", "file memory"),
    Kind("ml-table", "T", "page table"),
    Kind("ml-vmalloc", "V", "vmalloc"),
    Kind("ml-unknown", "?", "damaged: no such type"),
)

_LOW: Final = 0 if sys.byteorder == "little" else 7  # the byte of a word that has the type bits
_KIND_OF_BYTE: Final = bytes(min(byte & 15, len(KINDS) - 1) for byte in range(256))


class Block(NamedTuple):
    """A block of 2^order pages from page ``start`` on; ``buddy`` is the address of its struct buddy.

    ``order`` is None, and the block one page, where RAM does not (or not yet) say which block a page is in.
    """

    start: int
    order: int | None
    buddy: int

    @property
    def pages(self) -> range:
        """The block's pages."""
        return range(self.start, self.start + (1 << (self.order or 0)))


def kind_of(m: Machine, pfn: int) -> int:
    """Return the index into KINDS for page ``pfn``."""
    return min(m.w[m.MM + pfn] & 15, len(KINDS) - 1)


def kinds_of(m: Machine, pages: range) -> bytes:
    """Return the index into KINDS of each of ``pages``, a byte for a page: a quick way to look through many."""
    return m.map[8 * (m.MM + pages.start) + _LOW : 8 * (m.MM + pages.stop) : 8].translate(_KIND_OF_BYTE)


def block_of(m: Machine, pfn: int) -> Block:
    """Return the block that page ``pfn`` is in, by its mem_desc and the descriptors that this leads to."""
    word = m.w[m.MM + pfn]
    kind, address = word & 15, word & ~15
    if MemType.SLAB <= kind <= MemType.PGTABLE:
        address = _word(m, address, memdesc.buddy.word)
    elif kind == MemType.VMALLOC:  # single pages, each with a buddy on the descriptor's list
        return Block(pfn, 0, _vmalloc_buddy(m, address, pfn))
    elif kind not in (MemType.FREE, MemType.BUDDY):
        return Block(pfn, None, 0)
    w, i = m.w, address - m.B >> 3
    if 0 <= i < len(w) - _PAGE and not address & 7:
        start, order = w[i + _PAGE] - m.V, w[i + _ORDER] & 0xFFFF_FFFF
        if not start & 7 and order <= m.max_order and start >> 3 <= pfn < (start >> 3) + (1 << order) <= m.nr_pages and start >= 0:
            return Block(start >> 3, order, address)
    return Block(pfn, None, 0)


def blocks(m: Machine, pages: range) -> Iterator[Block]:
    """Yield the blocks that cover a range of pages; the first and last may reach beyond it."""
    pfn = pages.start
    while pfn < pages.stop:
        block = block_of(m, pfn)
        yield block
        pfn = block.pages.stop


def _word(m: Machine, address: int, word: int) -> int:
    """Return a word of the struct at ``address``, or 0 if that is no place for a struct."""
    i = (address - m.B >> 3) + word
    return int(m.w[i]) if address >= m.B and i < len(m.w) and not address & 7 else 0


def _vmalloc_buddy(m: Machine, address: int, pfn: int) -> int:
    head = address + slab.list.offset
    li = _word(m, head, 0)
    for _ in range(m.nr_pages):
        if li in (0, head):
            break
        if _word(m, li - buddy.list.offset, buddy.page.word) == m.V + 8 * pfn:
            return li - buddy.list.offset
        li = _word(m, li, 0)
    return 0
