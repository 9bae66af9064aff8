"""mem_desc: the one word that ``struct page`` shrinks to -- a descriptor's address with its type in the low bits.

    63                                                4 3    0
    +--------------------------------------------------+------+
    | address of a descriptor, aligned to 16 bytes     | type |
    +--------------------------------------------------+------+

Used by the page allocator, SLUB, the users of descriptors and by people who read a page's word.
The types are the ones the email names, with free and allocated buddies told apart.  Imports nothing of memlab.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from .number import whole

TYPE_BITS = 4
TYPE_MASK = (1 << TYPE_BITS) - 1


class MemType(IntEnum):
    """What a page's descriptor is: the low four bits of its mem_desc (16 types at most)."""

    NONE = 0  # reserved: no descriptor (the mem_map's own pages)
    FREE = 1  # struct buddy of a free block
    BUDDY = 2  # struct buddy of an allocated block
    SLAB = 3
    FOLIO = 4
    ANONMEM = 5
    FILEMEM = 6
    PGTABLE = 7
    VMALLOC = 8


class MemDesc(NamedTuple):
    """A mem_desc taken apart: the type of the descriptor and its address (0 for type NONE)."""

    type: MemType
    address: int

    def __repr__(self) -> str:
        return f"mem_desc: {self.type.name} at {self.address:#x}" if self.address else f"mem_desc: {self.type.name}"


def tag(address: int, kind: MemType | int) -> int:
    """Pack a descriptor's address and type into a mem_desc word (the email's MEM_DESC).

    ``address``: unsigned long, a multiple of 16, not 0 (0 only with type NONE).  Returns the word.
    ValueError for a misaligned address or an unknown type.
    """
    address = whole(address, "a descriptor's address is a whole number")
    try:
        kind = MemType(kind)
    except ValueError:
        raise ValueError(f"{kind!r} is no type of descriptor; the types are 0 to {len(MemType) - 1}") from None
    if address & TYPE_MASK or not 0 <= address < 1 << 64:
        raise ValueError(f"a descriptor is aligned to {TYPE_MASK + 1} bytes, so that its low bits can hold the type; {address:#x} is not")
    if (address == 0) != (kind is MemType.NONE):
        raise ValueError("a mem_desc has both an address and a type, or (type NONE) neither")
    return address | kind


def untag(word: int) -> MemDesc:
    """Take a mem_desc word apart.  ValueError if its type bits name no type, or if only one half is there."""
    word = whole(word, "a mem_desc is a whole number")
    kind, address = word & TYPE_MASK, word & ~TYPE_MASK
    if kind >= len(MemType):
        raise ValueError(f"{word:#x} is no mem_desc: its type bits say {kind}, and the types are 0 to {len(MemType) - 1}")
    tag(address, kind)
    return MemDesc(MemType(kind), address)
