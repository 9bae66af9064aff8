"""The picture of the Free-list lab: one machine's pages and its linked free lists, beside another's pages and its radix trees.

Used by the Free-list lab and by hand: ``freelist_lab(m)``.  Imports memlab.study (SideBySide), blocks, free_lists, radix_trees, picture, shapes.
Nothing here raises, whatever RAM holds: blocks that make no sense are drawn as single pages with a question mark.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ..memdesc import MemType
from ..study.radix_freelist import RadixMachine
from ..study.radix_tree import Use
from ..study.side_by_side import SideBySide
from .blocks import KINDS, Block, block_of, kind_of
from .free_lists import free_lists
from .picture import Cell, Key, Picture, count, panels, rect, shown, stack, text
from .radix_trees import radix_trees
from .shapes import selection

_COLUMNS: Final = 16
_LEFT: Final = 40
_WIDE: Final = 34  # pixels of a page
_HIGH: Final = 28
_GAP: Final = 26  # between lowmem and HIGHMEM

# by Use; colours and letters are those of the linked side where the meaning is the same
RADIX_KINDS: Final = (
    Key("ml-unknown", "?", "damaged: no such type"),
    Key("ml-free", "f", "free block"),
    Key("ml-buddy", "A", "allocated block"),
    Key("ml-table", "N", "page of tree nodes"),
    Key("ml-anon", "P", "pending: freed, but in no tree"),
    Key("ml-none", "r", "reserved: the struct pages"),
)
_SLAB: Final = Key("ml-slab", "S", "slab of descriptors")
_HOME: Final = Key("ml-home", "D", "page that holds what describes the selected block: its descriptor, or the node with its entry")


class Drawn(NamedTuple):
    """A block as it is drawn: its first page, its order, how it looks."""

    start: int
    order: int
    key: Key


def freelist_lab(m: SideBySide, selected: tuple[int | None, int | None] = (None, None), hexadecimal: bool = False) -> Picture:
    """Draw both machines side by side.

    ``selected``: the pages of the linked and the radix side whose blocks are marked.  ``hexadecimal``: how page numbers are written.
    """
    linked, radix = selected
    homes = None if linked is None else linked_home(m, linked), None if radix is None else radix_home(m.radix, radix)
    left = stack(
        "Linked lists",
        _pages(m, "linked", linked_blocks(m), (linked, homes[0]), hexadecimal, linked_counts(m)),
        free_lists(m.linked, hexadecimal, linked),
    )
    right = stack(
        "Radix trees",
        _pages(m, "radix", radix_blocks(m.radix), (radix, homes[1]), hexadecimal, radix_counts(m.radix)),
        radix_trees(m.radix, hexadecimal),
    )
    return panels(
        f"{count(m.nr_pages, 'page')} with linked free lists, and {m.nr_pages} pages with radix trees for free lists", left, right
    )


def linked_blocks(m: SideBySide) -> list[Drawn]:
    """Return the blocks of the linked side, in order of their pages."""
    out, pfn = [], 0
    while pfn < m.nr_pages:
        block = block_of(m.linked, pfn)
        if block.start != pfn:
            block = Block(pfn, None, 0)  # damaged: it says that it began before
        kind = KINDS[kind_of(m.linked, pfn)]
        key = _SLAB if kind.letter == "S" else RADIX_KINDS[Use.RESERVED] if kind.letter == "r" else Key(*kind)
        out.append(Drawn(pfn, block.order or 0, key))
        pfn = block.pages.stop
    return out


def radix_blocks(m: RadixMachine) -> list[Drawn]:
    """Return the blocks of the radix side, in order of their pages."""
    return [Drawn(b.start, b.order, RADIX_KINDS[b.use]) for b in m.blocks()]


def linked_home(m: SideBySide, pfn: int) -> int | None:
    """Return the page that holds the descriptor of a page of the linked side, or None."""
    word = m.linked.w[m.linked.MM + pfn]
    home = ((word & ~15) - m.linked.B) >> m.linked.PS
    return home if word and 0 <= home < m.nr_pages else None


def radix_entry(m: RadixMachine, pfn: int) -> int | None:
    """Return the word of the slot that holds the entry of a free block on the radix side, or None."""
    block = m.block(pfn)
    wanted, z = m.V + m.page_bytes * block.start, m.zone_of(pfn)
    slots = (at for n in m.tree_nodes(z, block.order) if not n.level for at in m.slots(n.word))
    return next((at for at in slots if m.w[at] == wanted), None)


def radix_home(m: RadixMachine, pfn: int) -> int | None:
    """Return the page of the node that holds the entry of a free block on the radix side, or None."""
    at = radix_entry(m, pfn)
    return None if at is None else at >> m.WS


def linked_counts(m: SideBySide) -> str:
    """Say what the pages of the linked side are used for, in a line."""
    struct_pages, slabs = (
        m.linked.mem_map_pages,
        sum(word & 15 == MemType.SLAB for word in m.linked.w[m.linked.MM : m.linked.MM + m.nr_pages]),
    )
    said = f"{m.linked.free_pages_count} free, {slabs} with descriptors, {struct_pages} with struct pages"
    return f"{said}; allocated in order to free: {m.linked.stats.pages_allocated_while_freeing}"


def radix_counts(m: RadixMachine) -> str:
    """Say what the pages of the radix side are used for, in a line."""
    pages = {use: sum(len(b.pages) for b in m.blocks() if b.use == use) for use in (Use.NODES, Use.PENDING)}
    said = f"{m.free_pages_count} free, {pages[Use.NODES]} with nodes, {m.mem_map_pages} with struct pages"
    return f"{said}, {pages[Use.PENDING]} pending; allocated in order to free: {m.stats.pages_allocated_while_freeing}"


def _pages(
    m: SideBySide, side: str, drawn: Iterable[Drawn], marked: tuple[int | None, int | None], hexadecimal: bool, counts: str
) -> Picture:
    """Draw the pages of one side: a fragment for each row of cells, the outlines of blocks, and what is marked: selection and home."""
    selected, home = marked
    title = "Linked lists" if side == "linked" else "Radix trees"
    fragments = {f"{side}-heading": text(0, 13, title, "ml-heading", 14) + text(96, 13, counts, "ml-dim", 12)}
    cells: list[Cell] = []
    rows: dict[int, str] = {}
    outlines, mark, keys = "", "", dict[Key, None]()
    for block in drawn:
        keys[block.key] = None
        n = 1 << block.order
        for pfn in range(block.start, min(block.start + n, m.nr_pages)):
            row, column, x, y = _place(m, pfn)
            letter = f"{block.key.letter}{block.order}" if pfn == block.start and block.key.letter in "fAP" else block.key.letter
            weight = "ml-first" if pfn == block.start else "ml-rest"
            rows[row] = rows.get(row, "") + rect(x, y, _WIDE, _HIGH, f"ml-cell {block.key.kind}", f"{side}-{pfn}")
            rows[row] += text(x + _WIDE / 2, y + 18, letter, f"ml-mid {block.key.kind} {weight}", 12)
            order = f", order {block.order} from page {shown(block.start, hexadecimal)}" if block.key.letter in "fAP" else ""
            cells.append(Cell(f"{side}-{pfn}", f"{title}: page {shown(pfn, hexadecimal)}, {block.key.meaning}{order}", row, column))
        outlines += rect(*_box(m, block.start, n), "ml-block")
        if selected is not None and block.start <= selected < block.start + n:
            mark = selection(*_box(m, block.start, n))
    for row, svg in sorted(rows.items()):
        first = row * _COLUMNS
        label = text(_LEFT - 6, _place(m, first)[3] + 18, shown(first, hexadecimal), "ml-end ml-dim", 12)
        fragments[f"{side}-row-{row}"] = label + svg
    bottom = _place(m, m.nr_pages - 1)[3] + _HIGH + 2
    if m.highmem_pfn < m.nr_pages:
        y = _place(m, m.highmem_pfn)[3] - 8
        words = "HIGHMEM: these pages have no virtual address"
        fragments[f"{side}-highmem"] = text(_LEFT, y, words, "ml-dim", 12)
    fragments[f"{side}-blocks"] = outlines
    if home is not None:
        _, _, x, y = _place(m, home)
        mark += rect(x + 2, y + 2, _WIDE - 4, _HIGH - 4, "ml-mark ml-home")
        mark += rect(x + _WIDE - 12, y + 1, 11, 11, "ml-tag") + text(x + _WIDE - 6.5, y + 10, _HOME.letter, "ml-mid ml-tag", 9)
        keys[_HOME] = None
    fragments[f"{side}-selection"] = mark
    return Picture(fragments, _LEFT + _COLUMNS * _WIDE + 2, bottom, title, tuple(keys), tuple(cells))


def _place(m: SideBySide, pfn: int) -> tuple[int, int, float, float]:
    """Return row, column, x and y of a page."""
    row, column = divmod(pfn, _COLUMNS)
    return row, column, _LEFT + column * _WIDE, 22 + row * _HIGH + (_GAP if pfn >= m.highmem_pfn else 0)


def _box(m: SideBySide, start: int, n: int) -> tuple[float, float, float, float]:
    """Return the outline of a block: a part of one row, or whole rows."""
    _, _, x, y = _place(m, start)
    return x, y, min(n, _COLUMNS) * _WIDE, -(-n // _COLUMNS) * _HIGH
