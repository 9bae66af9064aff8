"""The free lists: for each order the free blocks in list order, which is not address order, with the links that RAM holds.

Used by the labs and by hand: ``free_lists(m)``.  Imports the core, picture and shapes.  Links that lead astray are said so; they never raise.

Each arrow is the ``next`` pointer of what it starts from: the head's, or that of the ``list`` member of a free block's struct buddy.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from ..config import Zone
from ..machine import Machine
from ..structs import buddy
from .blocks import block_of
from .picture import Cell, Picture, count, number, rect, shown, text
from .shapes import path, selection

_MOST: Final = 5  # blocks drawn of one list
_ROW: Final = 28  # pixels from one list to the next
_HIGH: Final = 19  # of a box
_HEAD: Final = (128.0, 38.0)  # where a list's head starts, and its width
_BOX: Final = 50
_ARROW: Final = 17  # pixels for the arrow before a box
_WIDTH: Final = 602


class _List(NamedTuple):
    """A free list as its links tell it: the first pages of its blocks, and what is wrong with it, or ""."""

    pfns: list[int]
    wrong: str


def free_lists(m: Machine, hexadecimal: bool = False, selected: int | None = None) -> Picture:
    """Draw each zone's free lists, lowest order first: one fragment for each list, its blocks named by their first page.

    ``selected``: a pfn, whose block is marked.  ``hexadecimal``: how page numbers are written.
    """
    fragments: dict[str, str] = {}
    cells: dict[str, Cell] = {}  # by id; in damaged RAM a block may be on two lists
    y, mark, row = 0.0, "", 0
    start = block_of(m, selected).start if selected is not None else None
    for z in m.zones:
        where = f" of node {z.node}, zone {z.name}" if len(m.zones) > 1 else ""
        said = f"Free lists{where}: each free block, by its first page"
        fragments[f"free_lists-{z.node}-{z.name}"] = text(0, y + 14, said, "ml-heading", 13)
        y += 22
        for order in range(m.max_order + 1):
            found = _walk(m, z, order)
            fragments[f"free_lists-{z.node}-{z.name}-{order}"] = _row(
                tuple(found.pfns[:_MOST]), len(found.pfns), found.wrong, order, y, hexadecimal
            )
            for i, pfn in enumerate(found.pfns[:_MOST]):
                words = f"free block at page {shown(pfn, hexadecimal)}, number {i + 1} of {len(found.pfns)} on the list of order {order}"
                cells.setdefault(f"list-{pfn}", Cell(f"list-{pfn}", words, row, i))
                if pfn == start:
                    mark = selection(_x(i), y, _BOX, _HIGH)
            y, row = y + _ROW, row + 1
        y += 8
    fragments["free_lists-selection"] = mark
    label = f"Free lists of {count(len(m.zones), 'zone')}: a row for each order, its blocks as they are linked"
    return Picture(fragments, _WIDTH, y - 8, label, cells=tuple(cells.values()))


def _x(i: int) -> float:
    """Return where box ``i`` of a list starts."""
    return sum(_HEAD) + _ARROW + i * (_BOX + _ARROW)


@lru_cache(maxsize=512)  # a click changes one list, or two
def _row(pfns: tuple[int, ...], n: int, wrong: str, order: int, y: float, hexadecimal: bool) -> str:
    """Return a list of ``n`` blocks, of which ``pfns`` are drawn."""
    middle, left = y + _HIGH / 2, _HEAD[0] + _HEAD[1]
    svg = text(0, y + 14, f"order {order}", "", 13) + text(58 if order < 10 else 63, y + 14, count(1 << order, "page"), "ml-dim", 10)
    svg += rect(_HEAD[0], y, _HEAD[1], _HIGH, "ml-cell ml-boxed ml-plain") + text(
        _HEAD[0] + _HEAD[1] / 2, y + 14, "head", "ml-mid ml-dim", 11
    )
    arrows, x = "", left
    for i, pfn in enumerate(pfns):
        arrows += _to_right(x, _x(i), middle)
        x = _x(i)
        svg += rect(x, y, _BOX, _HIGH, "ml-cell ml-boxed ml-free", f"list-{pfn}") + text(
            x + _BOX / 2, y + 14, shown(pfn, hexadecimal), "ml-mid ml-free", 11
        )
        x += _BOX
    if n > len(pfns):
        arrows += _to_right(x, x + 15, middle)
        more = f"{n - len(pfns):,} more"
        svg += text(x + 18, y + 14, more, "ml-dim", 11)
        x += 22 + 6.6 * len(more)
    if wrong:
        arrows += _to_right(x, x + 15, middle)
        svg += text(x + 18, y + 14, wrong, "ml-first", 11)
    elif not pfns:
        arrows += _back(left, left + 10, _HEAD[0] + 19, y)
        svg += text(left + 18, y + 14, "empty: the head points to itself", "ml-dim", 11)
    else:
        arrows += _back(x, x + 7, _HEAD[0] + 19, y)
    return svg + path(arrows, "ml-arrow")


def _to_right(x1: float, x2: float, y: float) -> str:
    return f"M{number(x1)} {number(y)}H{number(x2)}m-5 -3.5l5 3.5l-5 3.5"


def _back(x: float, turn: float, head: float, y: float) -> str:
    """Return the arrow from the last block of a list back to its head, below the boxes."""
    return f"M{number(x)} {number(y + _HIGH / 2)}H{number(turn)}V{number(y + _HIGH + 6)}H{number(head)}V{number(y + _HIGH)}m-3.5 5l3.5 -5l3.5 5"


def _walk(m: Machine, z: Zone, order: int) -> _List:
    """Follow a list's ``next`` pointers from its head until they lead back to it, or astray."""
    w, pfns = m.w, list[int]()
    before = li = head = z.heads + 2 * order
    back = ""
    while len(pfns) <= m.nr_pages:
        link = w[li] - m.B
        before, li = li, link >> 3
        if link & 7 or not 0 <= li < len(w) - 4:
            return _List(pfns, "? a link that leads nowhere")
        if w[li + 1] != m.B + 8 * before and not back:
            back = "? a prev link that disagrees"
        if li == head:
            return _List(pfns, back)
        pfns.append(w[li + buddy.page.word - buddy.list.word] - m.V >> 3)
    return _List(pfns[:_MOST], "? a circle that misses the head")
