"""The page map: each page a cell that tells what describes it, each block an outline with its order.

Used by the labs and by hand: ``page_map(m)``.  Imports the core, blocks, picture and shapes.

Up to 2,048 pages are drawn one by one.  Of more, an overview of at most 512 tiles stands above at most 512 pages in detail.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ..machine import Machine
from ..memdesc import MemType
from .blocks import KINDS, block_of, blocks, kind_of, kinds_of
from .picture import Cell, Key, Picture, count, number, rect, shown, text
from .shapes import box, path, selection, target, target_grid, words

MOST_PAGES: Final = 2048
MOST_TILES: Final = 512
WIDTH: Final = 602
_LEFT: Final = 57  # pixels for the page numbers
_ROW: Final = 544  # pixels for the cells of a row
_TOP: Final = 22  # pixels for a heading
_SHOWN: Final = bytes((MemType.NONE, MemType.SLAB, len(KINDS) - 1))  # what is shown of the pages outside the map, by kinds_of
_ASIDE: Final = bytes(kind not in _SHOWN for kind in range(256))


class Mark(NamedTuple):
    """An outline on the page map around ``pages``, of the style ``css``, with a letter or two; ``meaning`` is for the legend.

    ``edge``: whether it runs along the edge of the pages, and not within it.
    """

    pages: range
    css: str
    letter: str
    meaning: str
    edge: bool = False


class _Grid(NamedTuple):
    """Where the cells of some pages stand: ``columns`` to a row, the first at ``top``."""

    pages: range
    top: float
    columns: int
    wide: float
    high: float

    def place(self, pages: range) -> tuple[float, float, float, float]:
        """Return x, y, width and height of the smallest box that holds those of ``pages`` that are in the grid: in one row, or whole rows."""
        first, stop = max(pages.start, self.pages.start) - self.pages.start, min(pages.stop, self.pages.stop) - self.pages.start
        y = self.top + first // self.columns * self.high
        if first // self.columns == (stop - 1) // self.columns:
            return _LEFT + first % self.columns * self.wide, y, (stop - first) * self.wide, self.high
        return _LEFT, y, self.columns * self.wide, ((stop - 1) // self.columns - first // self.columns + 1) * self.high

    def outline(self, pages: range) -> str:
        """Return path data around pages that are all in the grid: one box if they fill one row or whole rows, else one in each row."""
        first, last = pages.start - self.pages.start, pages.stop - 1 - self.pages.start
        if first // self.columns == last // self.columns or not (first % self.columns or (last + 1) % self.columns):
            return box(*self.place(pages))
        split = pages.start + self.columns - first % self.columns
        return box(*self.place(range(pages.start, split))) + self.outline(range(split, pages.stop))

    def bottom(self) -> float:
        return self.top + -(-len(self.pages) // self.columns) * self.high


class _Piece(NamedTuple):
    """A block as far as it is in a grid, or a page of no block (``order`` None): ``n`` pages from the grid's page ``first`` on."""

    first: int
    n: int
    kind: int
    order: int | None


def page_map(
    m: Machine, pages: range | None = None, selected: int | None = None, hexadecimal: bool = False, marks: Sequence[Mark] = ()
) -> Picture:
    """Draw the pages of ``pages`` (all, unless given), and what the machine keeps outside them on one line below.

    ``selected``: a pfn whose block is marked.  ``hexadecimal``: how page numbers are written.  ``marks``: outlines more.
    ValueError for pages that do not exist.
    """
    pages = range(m.nr_pages) if pages is None else pages
    if not pages or pages.step != 1 or pages.start < 0 or pages.stop > m.nr_pages:
        raise ValueError(f"pages is a range of this machine's pages, 0 to {m.nr_pages - 1}, not {pages!r}")
    draw = _Drawing(m, hexadecimal)
    if len(pages) <= MOST_PAGES:
        columns = 16 if len(pages) <= 64 else 32 if len(pages) <= 1024 else 64
        high = 38 if columns == 16 else 22 if len(pages) <= 512 else 14
        draw.heading(14, f"{count(len(pages), 'page')} of {m.page_size} bytes")
        draw.pages(_Grid(pages, _TOP, columns, _ROW / columns, high), selected, marks)
    else:
        at = selected if selected is not None and selected in pages else pages.start
        first = at - (at - pages.start) % MOST_TILES
        detail = range(first, min(first + MOST_TILES, pages.stop))
        each = 1 << (-(-len(pages) // MOST_TILES) - 1).bit_length()
        tiles = _Grid(range(-(-len(pages) // each)), _TOP, 64, _ROW / 64, 16)
        draw.heading(14, f"Overview: {count(len(pages), 'page')}, {each} to a tile")
        draw.tiles(pages, each, tiles, detail)
        draw.heading(tiles.bottom() + 24, f"Detail: pages {draw.n(detail.start)} to {draw.n(detail.stop - 1)}")
        draw.pages(_Grid(detail, tiles.bottom() + 32, 32, _ROW / 32, 18), selected, marks)
    draw.outside(pages, selected, marks)
    return draw.picture(pages)


class _Drawing:
    """The fragments, cells and legend of one page map while it is drawn."""

    def __init__(self, m: Machine, hexadecimal: bool) -> None:
        self.m, self.hexadecimal = m, hexadecimal
        self.fragments: dict[str, str] = {"page_map-heading": ""}
        self.cells: list[Cell] = []
        self.kinds: set[int] = set()
        self.more: list[Key] = []
        self.bottom = 0.0
        self.rows = 0  # of cells

    def heading(self, y: float, said: str) -> None:
        self.fragments["page_map-heading"] += text(0, y, said, "ml-heading", 13)

    def pages(self, grid: _Grid, selected: int | None, marks: Sequence[Mark]) -> None:
        """Draw pages one by one: a fragment for each row, then what can be clicked, the marks and the selection."""
        pieces: list[list[_Piece]] = [[] for _ in range(0, len(grid.pages), grid.columns)]
        at = grid.pages.start
        for block in blocks(self.m, grid.pages):
            stop = min(block.pages.stop, grid.pages.stop)
            piece = _Piece(at - grid.pages.start, stop - at, kind_of(self.m, at), block.order)  # what block.start says may be damaged
            self.kinds.add(piece.kind)
            self.cells += _cells_of(piece, grid, block.start, self.rows, self.hexadecimal)
            for row in range(piece.first // grid.columns, (piece.first + piece.n - 1) // grid.columns + 1):
                pieces[row].append(piece)
            at = stop
        for row, here in enumerate(pieces):
            y = grid.top + (row + 0.5) * grid.high + 4
            svg = _colours(tuple(piece for piece in here if piece.first // grid.columns == row), grid)
            if row % (2 if grid.high < 16 else 1) == 0:  # else the page numbers would touch each other
                svg += text(_LEFT - 6, y, self.n(grid.pages.start + row * grid.columns), "ml-end ml-dim", 11)
            self.fragments[f"page_map-row-{row}"] = svg
            self.fragments[f"page_map-letters-{row}"] = _letters(tuple(here), grid, row)
        self.fragments["page_map-ticks"] = _ticks(grid)
        self.fragments["page_map-targets"] = _targets(grid, grid.pages, "page")
        self.more += [Key(f"ml-mark {mark.css}", mark.letter, mark.meaning) for mark in marks]
        inside = [mark for mark in marks if mark.pages.start < grid.pages.stop and grid.pages.start < mark.pages.stop]
        self.fragments["page_map-marks"] = _outlined([(mark, *grid.place(mark.pages)) for mark in inside])
        if selected is not None and selected in grid.pages:
            block = block_of(self.m, selected)
            x, y, wide, high = grid.place(range(selected, selected + 1))
            page = rect(x + 4, y + 4, wide - 8, high - 8, "ml-selected-page") if len(block.pages) > 1 else ""
            self.fragments["page_map-selection"] = selection(*grid.place(block.pages)) + page
        self.bottom = grid.bottom() + 2
        self.rows += len(pieces)

    def tiles(self, pages: range, each: int, grid: _Grid, detail: range) -> None:
        """Draw the overview: a tile has the colour of most of its pages, and a "+" when they are of several kinds."""
        kinds = kinds_of(self.m, pages)
        for row in range(0, len(grid.pages), grid.columns):
            here = range(row * each, min((row + grid.columns) * each, len(pages)))
            drawn = _tiles(kinds[here.start : here.stop], each, grid, row // grid.columns, pages.start + here.start, self.hexadecimal)
            self.fragments[f"page_map-tiles-{row // grid.columns}"] = drawn.svg
            self.cells += drawn.cells
            self.kinds |= drawn.kinds
            self.rows += 1
        self.fragments["page_map-tile-targets"] = _targets(grid, range(pages.start, pages.stop, each), "tile")
        first = (detail.start - pages.start) // each
        self.fragments["page_map-detail"] = selection(*grid.place(range(first, first + -(-len(detail) // each))))
        self.more.append(Key("", "+", "tile with pages of several kinds, in the colour of most"))

    def outside(self, pages: range, selected: int | None, marks: Sequence[Mark]) -> None:
        """Draw what the machine keeps outside ``pages``: reserved pages and slabs as boxes, all other pages as one number."""
        boxes: list[tuple[int, range]] = []  # (kind, pages): neighbours that are reserved share a box
        aside = 0
        for part in (range(pages.start), range(pages.stop, self.m.nr_pages)):
            kinds = kinds_of(self.m, part)
            aside += len(kinds)
            for run in _runs(kinds):
                mine = part[run.start() : run.end()]
                aside -= len(mine)
                if kinds[run.start()] == MemType.NONE:
                    boxes.append((MemType.NONE, mine))
                else:
                    boxes += ((kind_of(self.m, b.start), _within(b.pages, mine)) for b in blocks(self.m, mine))
        if boxes or aside:
            self._outside(boxes, aside, selected, marks)

    def picture(self, pages: range) -> Picture:
        legend = [Key(KINDS[k].css, KINDS[k].letter, KINDS[k].words) for k in sorted(self.kinds)]
        legend += [Key("", "3", "number on a block's first page: its order; 2^3 pages = 8 pages"), *self.more]
        for name in ("page_map-selection", "page_map-marks"):  # painted last
            self.fragments[name] = self.fragments.pop(name, "")
        label = f"Page map of pages {self.n(pages.start)} to {self.n(pages.stop - 1)}"
        return Picture(self.fragments, WIDTH, self.bottom, label, tuple(legend), tuple(self.cells))

    def n(self, pfn: int) -> str:
        return shown(pfn, self.hexadecimal)

    def _outside(self, boxes: list[tuple[int, range]], aside: int, selected: int | None, marks: Sequence[Mark]) -> None:
        y = self.bottom + 12
        svg, x = text(0, y + 16, "Elsewhere:", "ml-heading", 13), 84.0
        for i, (kind, pages) in enumerate(boxes):
            said = f"{KINDS[kind].letter} {self.n(pages.start)}" + (f" to {self.n(pages.stop - 1)}" if len(pages) > 1 else "")
            here = [mark for mark in marks if mark.pages.start in pages]
            room = 20 * len(here)  # for the letters of marks
            wide = max(44, 7 * len(said) + 8) + room
            if x + wide > WIDTH - 250:
                svg += text(x, y + 16, f"and {sum(len(p) for _, p in boxes[i:]):,} more", "ml-dim", 12)
                x += 90
                break
            self.kinds.add(kind)
            svg += rect(x, y, wide, 24, f"ml-cell ml-boxed {KINDS[kind].css}", f"page-{pages.start}")
            svg += text(x + (wide - room) / 2, y + 16, said, f"ml-mid {KINDS[kind].css}", 12)
            self.cells.append(Cell(f"page-{pages.start}", f"page {self.n(pages.start)}, {KINDS[kind].words}", self.rows, i))
            svg += _outlined([(mark, x, y, wide, 24) for mark in here])
            if selected in pages:
                self.fragments["page_map-selection"] = selection(x, y, wide, 24)
            x += wide + 6
        if aside:
            svg += rect(x, y, 160, 24, "ml-cell ml-boxed ml-aside") + text(
                x + 80, y + 16, f"{count(aside, 'page')} set aside", "ml-mid", 12
            )
            self.more.append(Key("ml-aside", " ", "set aside before the lab began"))
        self.fragments["page_map-outside"] = svg
        self.bottom = y + 28


# -- pieces of the drawing, kept: most of them are the same after a click


@lru_cache(maxsize=4096)
def _cells_of(piece: _Piece, grid: _Grid, start: int, row0: int, hexadecimal: bool) -> tuple[Cell, ...]:
    """Return the cells of a piece of the block that starts at page ``start``."""
    kind = KINDS[piece.kind].words + (f", order {piece.order}" if piece.order is not None else "")
    from_ = f" from page {shown(start, hexadecimal)}"
    return tuple(
        Cell(
            f"page-{pfn}",
            f"page {shown(pfn, hexadecimal)}, {kind}{from_ if pfn != start else ''}",
            row0 + (pfn - grid.pages.start) // grid.columns,
            (pfn - grid.pages.start) % grid.columns,
        )
        for pfn in grid.pages[piece.first : piece.first + piece.n]
    )


@lru_cache(maxsize=512)
def _colours(pieces: tuple[_Piece, ...], grid: _Grid) -> str:
    """Return the boxes of the pieces that start in a row."""
    paths: dict[str, str] = defaultdict(str)
    for piece in pieces:
        css = f"{KINDS[piece.kind].css} {'ml-cell' if piece.order is None else 'ml-block'}"
        paths[css] += grid.outline(grid.pages[piece.first : piece.first + piece.n])
    return "".join(path(data, css) for css, data in paths.items())


@lru_cache(maxsize=512)
def _letters(pieces: tuple[_Piece, ...], grid: _Grid, row: int) -> str:
    """Return the letters of a row's pages, with the order on the first page of a block."""
    size, tiny = 15 if grid.wide > 20 else 10, grid.wide < 10
    placed: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for piece in pieces:
        css, letter = KINDS[piece.kind].css, KINDS[piece.kind].letter
        for i in range(max(piece.first, row * grid.columns), min(piece.first + piece.n, (row + 1) * grid.columns)):
            first = i == piece.first and piece.order is not None
            word = f"{letter}{piece.order}" if first else letter
            if tiny and piece.order:  # one character in each of the first pages
                word = f"{letter}{piece.order}".ljust(i - piece.first + 1, letter)[i - piece.first]
                first = i - piece.first < len(f"{letter}{piece.order}")
            if tiny and not first and (i + row % 2 * 4) % 8:
                continue  # thousands of letters would be slow to paint, and no help
            x = _LEFT + (i % grid.columns + 0.5) * grid.wide
            placed[f"{css} {'ml-first' if first else 'ml-rest'}"].append((x, letter if tiny and not piece.order else word))
    y = grid.top + (row + 0.5) * grid.high + size * 0.36
    return "".join(words(texts, y, size, css) for css, texts in placed.items())


@lru_cache(maxsize=32)
def _targets(grid: _Grid, pages: range, cell: str) -> str:
    """Return what is clicked: a box for each cell of the grid, or one for all if they are many; ``pages`` are the cells' numbers."""
    if len(pages) >= 512:
        rows = -(-len(pages) // grid.columns)
        return target_grid(*grid.place(grid.pages), grid.columns, rows, cell, pages.start, pages.step)
    return "".join(target(*grid.place(range(i, i + 1)), f"{cell}-{n}") for i, n in zip(grid.pages, pages, strict=True))


@lru_cache(maxsize=32)
def _ticks(grid: _Grid) -> str:
    """Return short lines between neighbouring pages."""
    rows, columns = range(-(-len(grid.pages) // grid.columns)), range(min(grid.columns, len(grid.pages)))
    data = "".join(
        f"M{number(_LEFT + c * grid.wide)} {number(grid.top + (r + 0.36) * grid.high)}v{number(0.28 * grid.high)}"
        for r in rows
        for c in columns[1:]
    )
    data += "".join(
        f"M{number(_LEFT + (c + 0.36) * grid.wide)} {number(grid.top + r * grid.high)}h{number(0.28 * grid.wide)}"
        for r in rows[1:]
        for c in columns
    )
    return path(data, "ml-tick")


class _Tiles(NamedTuple):
    """One row of the overview."""

    svg: str
    cells: tuple[Cell, ...]
    kinds: frozenset[int]


@lru_cache(maxsize=128)
def _tiles(kinds: bytes, each: int, grid: _Grid, row: int, start: int, hexadecimal: bool) -> _Tiles:
    """Return a row of tiles: ``kinds`` are those of its pages, ``each`` to a tile, from page ``start`` on."""
    paths: dict[str, str] = defaultdict(str)
    texts: dict[str, list[tuple[float, str]]] = defaultdict(list)
    cells, y = [], grid.top + (row + 0.5) * grid.high
    for column, first in enumerate(range(0, len(kinds), each)):
        here = kinds[first : first + each]
        kind, letter, parts = _counted(here)
        i = row * grid.columns + column
        x, _, wide, _ = place = grid.place(range(i, i + 1))
        paths[f"{KINDS[kind].css} ml-cell"] += box(*place)
        texts[KINDS[kind].css].append((x + wide / 2, letter))
        span = f"{shown(start + first, hexadecimal)} to {shown(start + first + len(here) - 1, hexadecimal)}"
        cells.append(Cell(f"tile-{start + first}", f"tile of pages {span}: {parts}", row, column))
    svg = "".join(path(data, css) for css, data in paths.items())
    svg += text(_LEFT - 6, y + 4, shown(start, hexadecimal), "ml-end ml-dim", 11)
    svg += "".join(words(placed, y + 3.6, 10, css) for css, placed in texts.items())
    return _Tiles(svg, tuple(cells), frozenset(kinds))


@lru_cache(maxsize=1024)
def _counted(kinds: bytes) -> tuple[int, str, str]:
    """Return the kind of most of the pages, the letter of their tile, and in words how many there are of each kind."""
    counted = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    most = max(counted, key=lambda kind: (counted[kind], kind))
    letter = KINDS[most].letter if len(counted) == 1 else "+"
    return most, letter, ", ".join(f"{n} {KINDS[k].words}" for k, n in counted.items())


def _runs(kinds: bytes) -> Iterator[re.Match[bytes]]:
    """Yield the runs of reserved pages and those of slabs and pages of no known type; there are few, among many that were set aside."""
    aside, at = kinds.translate(_ASIDE), 0
    while (at := aside.find(0, at)) >= 0:
        stop = aside.find(1, at)
        stop = stop if stop >= 0 else len(kinds)
        yield from re.compile(rb"\0+|[^\0]+").finditer(kinds, at, stop)
        at = stop


def _within(pages: range, others: range) -> range:
    return range(max(pages.start, others.start), min(pages.stop, others.stop))


def _outlined(marks: Sequence[tuple[Mark, float, float, float, float]]) -> str:
    """Return marks around boxes, each with its letter in the lower right corner, beside the letters that are there already."""
    svg, taken = "", Counter[tuple[float, float]]()
    for mark, x, y, wide, high in marks:
        corner = x + wide, y + high
        right, bottom = corner[0] - 1 - 20 * taken[corner], corner[1] - 1
        taken[corner] += 1
        inset = 0 if mark.edge else 4 if high > 24 else 2
        svg += rect(x + inset, y + inset, wide - 2 * inset, high - 2 * inset, f"ml-mark {mark.css}")
        svg += rect(right - 19, bottom - 13, 19, 13, "ml-tag") + text(right - 9.5, bottom - 3, mark.letter, "ml-mid ml-tag", 10)
    return svg
