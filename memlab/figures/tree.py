"""The tree of blocks: each block as wide as its pages, in the row of its order, under the larger blocks that were split for it.

Used by the labs and by hand: ``tree(m)``.  Imports the core, blocks, picture and shapes.

A row holds at most 64 boxes.  Of more pages the tree is drawn in parts: below the first, the part that holds the selected page, and so on.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import Final

from ..machine import Machine
from .blocks import KINDS, Block, Kind, block_of, kind_of
from .picture import Cell, Key, Picture, count, number, shown, text
from .shapes import box, path, selection, target, words

_MOST: Final = 64  # boxes in a row
_LEFT: Final = 57
_ROW: Final = 544
_STEP: Final = 27  # pixels from one order to the next
_HIGH: Final = 19  # of a box


def tree(m: Machine, pages: range | None = None, selected: int | None = None, hexadecimal: bool = False) -> Picture:
    """Draw the blocks of ``pages`` (all, unless given) as a tree.

    ``selected``: a pfn whose block is marked, with the way to it from the top; it also chooses what is drawn in detail where there are many pages.
    ``hexadecimal``: how page numbers are written.  ValueError for pages that do not exist.
    """
    pages = range(m.nr_pages) if pages is None else pages
    if not pages or pages.step != 1 or pages.start < 0 or pages.stop > m.nr_pages:
        raise ValueError(f"pages is a range of this machine's pages, 0 to {m.nr_pages - 1}, not {pages!r}")
    draw = _Drawing(m, pages, selected if selected is not None and selected in pages else None, hexadecimal)
    at = draw.selected if draw.selected is not None else pages.start
    order = ((pages.stop - 1) ^ pages.start).bit_length()  # of the smallest aligned block that would hold all of them
    while True:
        parts = max(-(-order // (_MOST.bit_length() - 1)), 1)
        low = order - -(-order // parts)
        draw.part(at, order, low)
        if low == 0 or (block_of(m, at).order or 0) >= low:
            return draw.picture()
        order = low


class _Drawing:
    """The fragments, cells and legend of a tree while it is drawn."""

    def __init__(self, m: Machine, pages: range, selected: int | None, hexadecimal: bool) -> None:
        self.m, self.arena, self.selected, self.hexadecimal = m, pages, selected, hexadecimal
        self.fragments: dict[str, str] = {}
        self.cells: list[Cell] = []
        self.kinds: set[int] = set()
        self.mark = ""
        self.y, self.row, self.parts = 0.0, 0, 0
        self.cut = self.opened = False

    def part(self, at: int, order: int, low: int) -> None:
        """Draw the orders from ``order`` down to ``low`` of the aligned pages around page ``at``; smaller blocks are only hinted at."""
        start, first = at & -(1 << order), min(order, max(self.m.max_order, low))
        said = f"Below it, pages {self._n(start)} to {self._n(start + (1 << order) - 1)}" if self.parts else "Tree of blocks"
        svg = text(0, self.y + 14, said, "ml-heading", 13)
        self._at, self._start, self._order, self._low = at, start, order, low
        self._unit, self._top, self._first = _ROW / (1 << order), self.y + 22, first
        self.paths: dict[str, str] = defaultdict(str)  # data by class
        self.texts: dict[tuple[int, str], list[tuple[float, str]]] = defaultdict(list)  # by order and class
        self.targets = ""
        for pfn in range(start, start + (1 << order), 1 << first):
            self._node(pfn, first)
        for o in range(first, low - 1, -1):
            svg += text(0, self._y(o) + 14, f"order {o}", "ml-dim", 12)
        below = ("ml-edge", "ml-edge ml-strong", "ml-node")  # in this order, and under the boxes
        svg += "".join(path(self.paths.pop(css, ""), css) for css in below) + "".join(path(data, css) for css, data in self.paths.items())
        svg += "".join(words(placed, self._y(o) + 14, 10, css) for (o, css), placed in self.texts.items())
        self.fragments[f"tree-{self.parts}"] = svg
        self.fragments[f"tree-targets-{self.parts}"] = self.targets
        self.y = self._y(low) + _HIGH + 10
        self.row += first - low + 1
        self.parts += 1

    def picture(self) -> Picture:
        self.fragments["tree-selection"] = self.mark
        legend = [Key(KINDS[k].css, KINDS[k].letter, KINDS[k].words) for k in sorted(self.kinds)]
        if self.cut:
            legend.append(Key("ml-plain", "…", "smaller blocks: select them to have them drawn below"))
        if self.opened:
            legend.append(Key("ml-plain", "▾", "smaller blocks, drawn below"))
        label = f"Tree of the blocks of pages {self._n(self.arena.start)} to {self._n(self.arena.stop - 1)}"
        return Picture(self.fragments, _LEFT + _ROW + 1, self.y, label, tuple(legend), tuple(self.cells))

    def _node(self, pfn: int, order: int, block: Block | None = None) -> None:
        """Draw the aligned pages at ``pfn``: one box if they are one block, else a knot with its two halves below.

        ``block``: the block that page ``pfn`` is in, if that is known.
        """
        pages = range(pfn, pfn + (1 << order))
        if pages.stop <= self.arena.start or pages.start >= self.arena.stop:
            return
        block = block or block_of(self.m, pfn)
        whole = block.order is not None and block.order >= order
        if not whole and order > self._low:
            self._knot(pages, order, block)
        else:
            self._box(pages, order, KINDS[kind_of(self.m, pfn)], block if whole or order == 0 else None)

    def _knot(self, pages: range, order: int, block: Block) -> None:
        x, y, half = self._x(pages.start + len(pages) / 2), self._y(order) + _HIGH / 2, len(pages) // 2
        self.paths["ml-node"] += box(x - 3, y - 3, 6, 6)
        for child in (range(pages.start, pages.start + half), range(pages.start + half, pages.stop)):
            if child.start < self.arena.stop and child.stop > self.arena.start:
                css = "ml-edge ml-strong" if self.selected is not None and self.selected in child else "ml-edge"
                self.paths[css] += _line(x, y, self._x(child.start + half / 2), self._y(order - 1) + _HIGH / 2)  # a box hides the end
            self._node(child.start, order - 1, block if child.start == pages.start else None)

    def _box(self, pages: range, order: int, kind: Kind, block: Block | None) -> None:
        """Draw a block; or, where the rows end, pages that are smaller blocks."""
        place = self._x(pages.start) + 0.5, self._y(order), len(pages) * self._unit - 1, float(_HIGH)
        first, x = self._n(pages.start), place[0] + place[2] / 2
        if block:
            self.kinds.add(KINDS.index(kind))
            sized = f" of {count(len(block.pages), 'page')}, order {block.order}," if block.order is not None else ""
            cell, said, css = f"block-{pages.start}", f"{kind.words}{sized} at page {first}", kind.css
            named = f"{kind.letter} {first}"
            word = named if 7 * len(named) < place[2] else kind.letter
        else:
            cell, said, css = f"blocks-{pages.start}-{order}", f"smaller blocks, in pages {first} to {self._n(pages.stop - 1)}", "ml-plain"
            word = "▾" if self._at in pages else "…"
            self.opened, self.cut = self.opened or word == "▾", self.cut or word == "…"
        self.paths[f"{css} ml-leaf"] += box(*place)
        self.texts[order, css].append((x, word))
        self.targets += target(*place, cell)
        column = (pages.start - self._start) * _MOST >> self._order
        self.cells.append(Cell(cell, said, self.row + self._first - order, column))
        if self.selected is not None and self.selected in pages:
            self.mark += selection(*place)

    def _x(self, pfn: float) -> float:
        return _LEFT + (pfn - self._start) * self._unit

    def _y(self, order: int) -> float:
        return self._top + (self._first - order) * _STEP

    def _n(self, pfn: int) -> str:
        return shown(pfn, self.hexadecimal)


@lru_cache(maxsize=8192)
def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"
