"""The free lists: for each order the free blocks, in list order, which is not address order.

Used by the labs and by hand: ``free_lists(m)``.  Imports the core and picture.  Bad links end a list with a mark; they never raise.
"""

from __future__ import annotations

from typing import Final

from ..machine import Machine
from ..structs import buddy
from ..zone import Zone
from .picture import Picture, count, rect, shown, text

_MOST: Final = 6  # blocks drawn of one list
_ROW: Final = 26
_BOX: Final = 52
_LEFT: Final = 150


def free_lists(m: Machine, hexadecimal: bool = False) -> Picture:
    """Draw each zone's free lists, lowest order first: one fragment for each list, its blocks named by their first page."""
    fragments, y = {}, 0.0
    for z in m.zones:
        where = f" of node {z.node}, zone {z.name}" if len(m.zones) > 1 else ""
        fragments[f"free_lists-{z.node}-{z.name}"] = text(
            0, y + 14, f"Free lists{where}: each free block, by its first page", "ml-heading", 13
        )
        y += 22
        for order in range(m.max_order + 1):
            fragments[f"free_lists-{z.node}-{z.name}-{order}"] = _row(m, z, order, y, hexadecimal)
            y += _ROW
        y += 8
    label = f"Free lists of {count(len(m.zones), 'zone')}: a row for each order, its blocks as they are linked"
    return Picture(fragments, _LEFT + _MOST * (_BOX + 24) + 90, y - 8, label)


def _row(m: Machine, z: Zone, order: int, y: float, hexadecimal: bool) -> str:
    pfns, whole = _walk(m, z, order)
    svg = text(0, y + 16, f"order {order}", "", 13) + text(66, y + 16, count(1 << order, "page"), "ml-dim", 12)
    x = float(_LEFT)
    for i, pfn in enumerate(pfns[:_MOST]):
        if i:
            svg += text(x + 5, y + 16, "→", "ml-dim", 13)
            x += 24
        svg += rect(x, y + 1, _BOX, 20, "ml-cell ml-boxed ml-free") + text(
            x + _BOX / 2, y + 15, shown(pfn, hexadecimal), "ml-mid ml-free", 12
        )
        x += _BOX
    if len(pfns) > _MOST:
        svg += text(x + 8, y + 16, f"and {len(pfns) - _MOST:,} more", "ml-dim", 12)
    elif not whole:
        svg += text(x + 8, y + 16, "→ ? (a link that leads nowhere)", "", 12)
    elif not pfns:
        svg += text(_LEFT, y + 16, "empty", "ml-dim", 12)
    return svg


def _walk(m: Machine, z: Zone, order: int) -> tuple[list[int], bool]:
    """Return the first pages of a list's blocks, and whether the list led back to its head."""
    w, pfns = m.w, list[int]()
    li = head = z.heads + 2 * order
    while len(pfns) <= m.nr_pages:
        link = w[li] - m.B
        li = link >> 3
        if link & 7 or not 0 <= li < len(w) - 4:
            return pfns, False
        if li == head:
            return pfns, True
        pfns.append(w[li + buddy.page.word - buddy.list.word] - m.V >> 3)
    return pfns, False
