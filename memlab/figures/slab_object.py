"""The bytes of one object of a slab: red zones, the object, poison, the free pointer, and what is left.

Used by the Slab lab and by hand: ``slab_object(m, address)``.  Imports the core, slab_state and picture.
A byte that debug flags would complain about is marked with an outline and an exclamation mark.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..machine import Machine
from ..slub_debug import POISON_END, POISON_FREE, RED_ACTIVE, RED_INACTIVE
from ..slub_size import SLAB
from ..structs import kmem_cache
from .picture import Picture, count, rect, text
from .slab_state import Slab, allocated, cache_at

_LEFT: Final = 140
_BYTE: Final = 28
_HIGH: Final = 20
_A_ROW: Final = 16
_MOST_ROWS: Final = 4  # of one part


class Part(NamedTuple):
    """A run of bytes in an object's place: its words, class, first address and length, and what each byte should be, if that is set."""

    words: str
    kind: str
    start: int
    n: int
    good: bytes | None = None


def object_parts(cache: kmem_cache, address: int, free: bool) -> list[Part]:
    """Return the parts of the place of an object, in the order in which they lie in RAM; those of no bytes are left out.

    ``free``: whether the object is, by the free lists; it sets what the red zones and the object should hold.
    """
    red = RED_INACTIVE if free else RED_ACTIVE
    zoned = bool(cache.flags & SLAB.RED_ZONE)
    poisoned = bool(cache.flags & SLAB.POISON and not cache.ctor and not cache.flags & SLAB.TYPESAFE_BY_RCU)
    size, left, inuse, link = cache.object_size, cache.red_left_pad, cache.inuse, cache.offset
    end = address - left + cache.size
    poison = bytes([POISON_FREE]) * (size - 1) + bytes([POISON_END]) if poisoned and free else None
    body = "object: poison" if poison else "object"
    parts = [Part("left red zone", "ml-red", address - left, left, bytes([red]) * left)]
    if free and link < size:
        parts.append(Part(body, "ml-plain", address, link))
        parts.append(Part("free pointer", "ml-pointer", address + link, 8))
        parts.append(Part(body, "ml-plain", address + link + 8, size - link - 8))
    else:
        parts.append(Part(body, "ml-poison" if poison else "ml-plain", address, size, poison))
    after = inuse - size
    words = "right red zone" if zoned else "padding"
    parts.append(Part(words, "ml-red" if zoned else "ml-pad", address + size, after, bytes([red]) * after if zoned else None))
    at = address + inuse
    if link >= inuse:
        parts.append(Part("free pointer", "ml-pointer", address + link, 8))
        at = address + link + 8
    parts.append(Part("padding", "ml-pad", at, end - at))
    return [part for part in parts if part.n > 0]


def slab_object(m: Machine, slot: int, slab: Slab, index: int) -> Picture:
    """Draw the bytes of object ``index`` of a slab of the cache in ``slot``."""
    cache, address = cache_at(m, slot), slab.object_at(index)
    free = index not in allocated(m, slot, slab)
    state = "free" if free else "allocated"
    fragments = {
        "slab_object-heading": text(
            0, 14, f"Object {index} at {address:#x}, {state}: {count(cache.size, 'byte')} in its slab", "ml-heading", 13
        )
    }
    y = 26.0
    for i, part in enumerate(object_parts(cache, address, free)):
        data = _bytes(m, part.start, part.n)
        svg = text(_LEFT - 8, y + 14, f"{part.words}, {part.n:,} B", "ml-end", 12)
        wrong = sum(a != b for a, b in zip(data, part.good or data, strict=False))
        rows = -(-part.n // _A_ROW)
        for row in range(min(rows, _MOST_ROWS)):
            at = row if rows <= _MOST_ROWS or row < _MOST_ROWS - 1 else rows - 1  # of a long part the first rows and the last
            if at != row:
                svg += text(_LEFT, y + 12, f"… {(rows - _MOST_ROWS) * _A_ROW:,} bytes more …", "ml-dim", 11)
                y += 18
            for column, byte in enumerate(data[at * _A_ROW : (at + 1) * _A_ROW]):
                x, good = _LEFT + column * _BYTE, part.good
                svg += rect(x, y, _BYTE, _HIGH, f"ml-cell {part.kind}") + text(
                    x + _BYTE / 2, y + 14, f"{byte:02x}", f"ml-mid {part.kind}", 12
                )
                if good is not None and byte != good[at * _A_ROW + column]:
                    svg += rect(x + 1, y + 1, _BYTE - 2, _HIGH - 2, "ml-wrong")
            y += _HIGH
        if wrong:
            y += 18
            svg += text(_LEFT, y - 5, f"! {count(wrong, 'byte')} written over: {_should(part, free)}", "ml-heading", 12)
        fragments[f"slab_object-{i}"] = svg
        y += 5
    return Picture(fragments, _LEFT + _A_ROW * _BYTE + 2, y, f"Bytes of object {index} at {address:#x}, {state}")


def _bytes(m: Machine, address: int, n: int) -> bytes:
    """Return bytes of RAM, or as many zeros where there is none."""
    try:
        return m.read(address, n)
    except ValueError:
        return bytes(n)


def _should(part: Part, free: bool) -> str:
    good = part.good or b"\0"
    if part.kind == "ml-poison":
        return f"poison is {POISON_FREE:02x} and, at its end, {POISON_END:02x}"
    return f"around {'a free' if free else 'an allocated'} object it is all {good[0]:02x}"
