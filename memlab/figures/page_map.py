"""The page map: each page a cell that tells what describes it, each block an outline with its order.

Used by the labs and by hand: ``page_map(m)``.  Imports the core, blocks and picture.

Up to 2,048 pages are drawn one by one.  Of more, an overview of at most 1,024 tiles stands beside at most 1,024 pages in detail.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from ..machine import Machine
from ..memdesc import MemType
from .blocks import KINDS, Block, block_of, blocks, kind_of
from .picture import Cell, Key, Picture, count, number, rect, rows, shown, text

MOST_PAGES: Final = 2048
MOST_TILES: Final = 1024
_GUTTER: Final = 64  # pixels for the page numbers on the left
_WIDTH: Final = 640  # pixels for the cells of a row
_TOP: Final = 22  # pixels for a heading


def page_map(m: Machine, pages: range | None = None, selected: int | None = None, hexadecimal: bool = False) -> Picture:
    """Draw the pages of ``pages`` (all, unless given), and what the machine keeps outside them on one line below.

    ``selected``: a pfn whose block is marked.  ``hexadecimal``: how page numbers are written.  ValueError for pages that do not exist.
    """
    pages = range(m.nr_pages) if pages is None else pages
    if not pages or pages.step != 1 or pages.start < 0 or pages.stop > m.nr_pages:
        raise ValueError(f"pages is a range of this machine's pages, 0 to {m.nr_pages - 1}, not {pages!r}")
    draw = _Drawing(m, hexadecimal)
    if len(pages) <= MOST_PAGES:
        columns = 16 if len(pages) <= 64 else 32 if len(pages) <= 512 else 64
        wide, high = _WIDTH / columns, {16: 38, 32: 22, 64: 14}[columns]
        draw.heading(0, f"{count(len(pages), 'page')} of {m.page_size} bytes")
        draw.pages(0, pages, columns, wide, high, selected)
        draw.width = _GUTTER + _WIDTH + 2
    else:
        at = selected if selected is not None and selected in pages else pages.start
        first = at - (at - pages.start) % MOST_TILES
        detail = range(first, min(first + MOST_TILES, pages.stop))
        each = 1 << (-(-len(pages) // MOST_TILES) - 1).bit_length()
        draw.heading(0, f"Overview: {count(len(pages), 'page')}, {each} to a tile")
        draw.tiles(0, pages, each, detail)
        draw.heading(_GUTTER + 32 * 12 + 20, f"Detail: pages {shown(detail.start, hexadecimal)} to {shown(detail.stop - 1, hexadecimal)}")
        draw.pages(_GUTTER + 32 * 12 + 20, detail, 32, 12, 14, selected)
        draw.width = 2 * (_GUTTER + 32 * 12) + 22
    draw.outside(pages, selected)
    draw.fragments["page_map-selection"] = draw.fragments.pop("page_map-selection", "")  # painted last
    return draw.picture(pages)


class _Drawing:
    """The fragments, cells and legend of one page map while it is drawn."""

    def __init__(self, m: Machine, hexadecimal: bool) -> None:
        self.m, self.hexadecimal = m, hexadecimal
        self.fragments: dict[str, str] = {}
        self.cells: list[Cell] = []
        self.kinds: set[int] = set()
        self.aside = False
        self.width = self.height = 0.0

    def heading(self, x: float, words: str) -> None:
        self.fragments["page_map-heading"] = self.fragments.get("page_map-heading", "") + text(x, 14, words, "ml-heading", 13)

    def pages(self, x: float, pages: range, columns: int, wide: float, high: float, selected: int | None) -> None:
        """Draw pages one by one: a fragment for each row of cells, one for the blocks that start in it, and the selection."""
        m, left = self.m, x + _GUTTER
        found = list(blocks(m, pages))
        block_at = {pfn: b for b in found for pfn in b.pages if pfn in pages}
        column = max((c.column + 1 for c in self.cells), default=0)
        svg = []
        for i, pfn in enumerate(pages):
            kind, block = kind_of(m, pfn), block_at[pfn]
            self.kinds.add(kind)
            cx, cy = left + i % columns * wide, _TOP + i // columns * high
            svg.append(self._page(cx, cy, wide, high, pfn, kind, block, pages))
            self.cells.append(Cell(f"page-{pfn}", self._words(pfn, kind, block), i // columns, column + i % columns))
        for row, cells in rows(svg, columns):
            y = _TOP + (row + 0.5) * high + 4
            skip = 2 if high < 16 else 1  # page numbers would touch each other
            number_ = (
                text(left - 6, y, shown(pages.start + row * columns, self.hexadecimal), "ml-end ml-dim", 12) if row % skip == 0 else ""
            )
            self.fragments[f"page_map-row-{row}"] = number_ + "".join(cells)
        outlines: dict[int, str] = dict.fromkeys(range(-(-len(pages) // columns)), "")
        for b in found:
            if b.order is not None:
                outlines[max(b.start - pages.start, 0) // columns] += rect(*_place(b, pages, left, columns, wide, high), "ml-block")
        self.fragments |= {f"page_map-blocks-{row}": svg for row, svg in outlines.items()}
        if selected is not None and selected in pages:
            i = selected - pages.start
            self.fragments["page_map-selection"] = _selected(*_place(block_at[selected], pages, left, columns, wide, high)) + rect(
                left + i % columns * wide + 4, _TOP + i // columns * high + 4, wide - 8, high - 8, "ml-selected-page"
            )
        self.height = max(self.height, _TOP + -(-len(pages) // columns) * high + 2)

    def tiles(self, x: float, pages: range, each: int, detail: range) -> None:
        """Draw the overview: a tile has the colour of most of its pages, and a mark when they are of several kinds."""
        m, left, columns, wide, high = self.m, x + _GUTTER, 32, 12.0, 14.0
        svg = []
        for i, first in enumerate(range(pages.start, pages.stop, each)):
            stop = min(first + each, pages.stop)
            kinds = Counter(min(word & 15, len(KINDS) - 1) for word in m.w[m.MM + first : m.MM + stop].tolist())
            kind = max(kinds, key=lambda k: (kinds[k], k))
            self.kinds |= kinds.keys()
            cx, cy = left + i % columns * wide, _TOP + i // columns * high
            mark = KINDS[kind].letter if len(kinds) == 1 else "+"
            svg.append(
                rect(cx, cy, wide, high, f"ml-cell {KINDS[kind].css}", f"tile-{first}") + _letter(cx, cy, wide, high, mark, KINDS[kind].css)
            )
            parts = ", ".join(f"{n} {KINDS[k].words}" for k, n in sorted(kinds.items()))
            self.cells.append(
                Cell(f"tile-{first}", f"tile of pages {self._n(first)} to {self._n(stop - 1)}: {parts}", i // columns, i % columns)
            )
        for row, cells in rows(svg, columns):
            label = text(left - 6, _TOP + (row + 0.5) * high + 4, self._n(pages.start + row * columns * each), "ml-end ml-dim", 12)
            self.fragments[f"page_map-tiles-{row}"] = (label if row % 2 == 0 else "") + "".join(cells)
        i, n = (detail.start - pages.start) // each, -(-len(detail) // each)
        place = _place(Block(i, (n - 1).bit_length(), 0), range(len(svg)), left, columns, wide, high)
        self.fragments["page_map-detail"] = _selected(*place)
        self.height = _TOP + -(-len(pages) // each // columns) * high + 2

    def outside(self, pages: range, selected: int | None) -> None:
        """Draw what the machine keeps outside ``pages``: reserved pages and slabs as boxes, all other pages as one number."""
        m = self.m
        boxes: list[tuple[int, range]] = []  # (kind, pages): neighbours that are reserved share a box
        aside = 0
        for part in (range(pages.start), range(pages.stop, m.nr_pages)):
            for block in blocks(m, part):
                kind = kind_of(m, block.start)
                mine = range(max(block.pages.start, part.start), min(block.pages.stop, part.stop))
                if kind not in (MemType.NONE, MemType.SLAB, len(KINDS) - 1):
                    aside += len(mine)
                elif kind == MemType.NONE and boxes and boxes[-1] == (kind, range(boxes[-1][1].start, mine.start)):
                    boxes[-1] = (kind, range(boxes[-1][1].start, mine.stop))
                else:
                    boxes.append((kind, mine))
        if not boxes and not aside:
            return
        y, row = self.height + 14, max(c.row for c in self.cells) + 1
        svg, x = text(0, y + 14, "Elsewhere:", "ml-heading", 13), float(_GUTTER)
        for i, (kind, box) in enumerate(boxes):
            words = f"{KINDS[kind].letter} {self._n(box.start)}" + (f" to {self._n(box.stop - 1)}" if len(box) > 1 else "")
            wide = max(44, 7 * len(words) + 8)
            if x + wide > _GUTTER + 340:
                svg += text(x, y + 14, f"and {sum(len(b) for _, b in boxes[i:]):,} more", "ml-dim", 12)
                x += 90
                break
            self.kinds.add(kind)
            svg += rect(x, y - 4, wide, 26, f"ml-cell ml-boxed {KINDS[kind].css}", f"page-{box.start}")
            svg += text(x + wide / 2, y + 14, words, f"ml-mid {KINDS[kind].css}", 12)
            self.cells.append(Cell(f"page-{box.start}", self._words(box.start, kind, block_of(m, box.start)), row, i))
            if selected in box:
                self.fragments["page_map-selection"] = _selected(x, y - 4, wide, 26)
            x += wide + 6
        if aside:
            svg += rect(x, y - 4, 190, 26, "ml-cell ml-boxed ml-aside") + text(
                x + 95, y + 14, f"{count(aside, 'page')} set aside", "ml-mid", 12
            )
            self.aside = True
        self.fragments["page_map-outside"] = svg
        self.height = y + 26

    def picture(self, pages: range) -> Picture:
        legend = [Key(KINDS[k].css, KINDS[k].letter, KINDS[k].words) for k in sorted(self.kinds)]
        if len(pages) > MOST_PAGES:
            legend.append(Key("", "+", "tile with pages of several kinds, in the colour of most"))
        legend.append(Key("", "3", "number on a block's first page: its order; 2^3 pages = 8 pages"))
        if self.aside:
            legend.append(Key("ml-aside", " ", "set aside before the lab began"))
        label = f"Page map of pages {self._n(pages.start)} to {self._n(pages.stop - 1)}"
        return Picture(self.fragments, self.width, self.height, label, tuple(legend), tuple(self.cells))

    def _page(self, x: float, y: float, wide: float, high: float, pfn: int, kind: int, block: Block, pages: range) -> str:
        css, letter = KINDS[kind].css, KINDS[kind].letter
        words, weight = letter, "ml-rest"
        if block.order is not None:
            first = max(block.start, pages.start)
            narrow = wide < 16 and block.order > 0  # the order stands in the second cell
            if pfn == first:
                words, weight = letter if narrow else f"{letter}{block.order}", "ml-first"
            elif pfn == first + 1 and narrow:
                words, weight = str(block.order), "ml-first"
        return rect(x, y, wide, high, f"ml-cell {css}", f"page-{pfn}") + _letter(x, y, wide, high, words, f"{css} {weight}")

    def _words(self, pfn: int, kind: int, block: Block) -> str:
        if block.order is None:
            return f"page {self._n(pfn)}, {KINDS[kind].words}"
        return f"page {self._n(pfn)}, {KINDS[kind].words}, order {block.order} from page {self._n(block.start)}"

    def _n(self, pfn: int) -> str:
        return shown(pfn, self.hexadecimal)


def _letter(x: float, y: float, wide: float, high: float, letter: str, kind: str) -> str:
    size = min(high * 0.42, 15) if wide >= 16 else 8.5 if len(letter) == 1 else 7.5
    return f'<text class="ml-text ml-mid {kind}" x="{number(x + wide / 2)}" y="{number(y + high / 2 + size * 0.36)}" font-size="{number(size)}">{letter}</text>'


def _selected(x: float, y: float, width: float, height: float) -> str:
    """Return the mark of a selection: a line with a rim, to be seen on any colour."""
    return rect(x, y, width, height, "ml-selected-rim") + rect(x, y, width, height, "ml-selected")


def _place(block: Block, pages: range, left: float, columns: int, wide: float, high: float) -> tuple[float, float, float, float]:
    """Return x, y, width and height of a block: a part of one row, or whole rows."""
    first, stop = max(block.start, pages.start) - pages.start, min(block.pages.stop, pages.stop) - pages.start
    n = stop - first
    if n <= columns:
        return left + first % columns * wide, _TOP + first // columns * high, n * wide, high
    return left, _TOP + first // columns * high, columns * wide, -(-n // columns) * high
