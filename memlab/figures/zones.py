"""Zones and requests: how full each zone is against its watermarks, and which way a request would go, zone by zone.

Used by the Machine lab, the slides and by hand: ``zones(m)``, ``zonelist_walk(m, 2, GFP.ATOMIC)``, ``machine_lab(m)``.
Imports the core, study (which works the way out), page_map and picture.
"""

from __future__ import annotations

from textwrap import wrap
from typing import Final

from ..config import Zone, ZoneType
from ..gfp import GFP
from ..machine import Machine
from ..study.request import Try, Walk, walk_zonelist, zone_words
from .page_map import Mark, page_map
from .picture import Cell, CellName, Key, Picture, count, panels, rect, shown, stack, text

WIDTH: Final = 602
_MOST: Final = 16  # zones, tries and nodes drawn of more
_BAR: Final = 120  # pixels of a try's own bar
_LETTERS: Final = {ZoneType.DMA: "D", ZoneType.DMA32: "d", ZoneType.NORMAL: "N", ZoneType.HIGHMEM: "H"}
_FLAGS: Final = (
    GFP.KERNEL,
    GFP.ATOMIC,
    GFP.NOWAIT,
    GFP.KERNEL | GFP.HIGHMEM,
    GFP.KERNEL | GFP.DMA32,
    GFP.KERNEL | GFP.DMA,
    GFP.KERNEL | GFP.THISNODE,
    GFP.ATOMIC | GFP.MEMALLOC,
)
_FIRST, _OTHER, _RESERVES, _NONE, _UNSURE = (
    Key("ml-free", " ", "from the zone that is asked first"),
    Key("ml-folio", "→", "from another zone, further down the list"),
    Key("ml-file", "↓", "in the second round, below a low watermark"),
    Key("ml-anon", "✗", "refused: None"),
    Key("ml-plain", "?", "hangs on what reclaim gives back"),
)


def request_flags(m: Machine) -> tuple[int, ...]:
    """Return the GFP flags that are worth comparing on a machine: a flag that asks for a zone only if there is such a zone."""
    types = {z.type for z in m.zones}
    useless = sum(bit for kind, bit in ((0, GFP.DMA), (1, GFP.DMA32), (3, GFP.HIGHMEM)) if kind not in types)
    if m.config.nodes == 1:
        useless |= GFP.THISNODE
    return tuple(gfp for gfp in _FLAGS if not gfp & useless)


def machine_lab(
    m: Machine,
    order: int = 0,
    gfp: int = GFP.KERNEL,
    node: int | None = None,
    selected: str | None = None,
    hexadecimal: bool = False,
    pages: range | None = None,
) -> Picture:
    """Draw a machine with zones: pages and watermarks, where requests of ``order`` would go now, and the way of this one, zone by zone.

    ``gfp``, ``node``: of the request, as alloc_pages takes them.  ``selected``: a cell's id, ``page-...`` or ``zone-...``.
    ``pages``: those of the page map, all unless given.  ValueError or TypeError for a bad request.
    """
    walk = walk_zonelist(m, order, gfp, node)
    marks = [Mark(range(z.start, z.end), "ml-zone", _letter(z), f"zone {zone_words(z)}", edge=True) for z in m.zones[:_MOST]]
    pfn = CellName.of(selected).of_kind("page", "tile")
    at = pfn if pfn is not None and pfn < m.nr_pages else None
    found = page_map(m, pages, at, hexadecimal, marks if len(m.zones) > 1 else ())
    way = _steps(m, walk)
    here = stack("The zones and their pages", zones(m, selected, hexadecimal), found)
    there = stack(f"Where requests would go. {way.label}", requests(m, walk), way)
    return panels(f"Machine of {count(len(m.zones), 'zone')} and how full they are. {way.label}", here, there)


def zones(m: Machine, selected: str | None = None, hexadecimal: bool = False) -> Picture:
    """Draw each zone as a bar filled to its free pages, with its min, low and high watermarks.  ``selected``: a cell's id, ``zone-...``."""
    fragments, cells, y = {"zones-heading": text(0, 14, "Free pages of each zone, and its watermarks", "ml-heading", 13)}, [], 24.0
    wide = WIDTH - 12.0
    for row, z in enumerate(m.zones[:_MOST]):
        view = m.zone_view(z)
        least, low, high = view.watermark
        whole, free = max(view.managed_pages, 1), view.free_pages
        first, last = shown(z.start, hexadecimal), shown(z.end - 1, hexadecimal)
        svg = text(6, y + 14, zone_words(z), "ml-first", 13) + text(170, y + 14, f"pages {first} to {last}", "ml-dim", 12)
        svg += text(WIDTH - 6, y + 14, f"{count(free, 'page')} free of {view.managed_pages:,}", "ml-end", 12)
        svg += rect(6, y + 32, wide, 16, "ml-cell ml-boxed ml-plain")
        svg += rect(6, y + 32, wide * min(free / whole, 1), 16, "ml-level")
        marks = [] if m.config.watermarks is None else [("min", least), ("low", low), ("high", high)]
        for name, mark in marks:
            x = 6 + wide * min(mark / whole, 1)
            svg += rect(x - 1, y + 28, 2, 24, f"ml-mark-{name}")
        words = ", ".join(f"{name} {mark:,}" for name, mark in marks) or "no watermarks"
        svg += text(6, y + 27, words, "ml-dim", 11)
        cell = f"zone-{z.node}-{z.name}"
        svg += rect(0, y - 2, WIDTH, 56, "ml-target", cell)
        if selected == cell:
            svg += rect(2, y - 1, WIDTH - 4, 54, "ml-selected")
        fragments[cell] = svg
        cells.append(Cell(cell, f"zone {zone_words(z)}, {count(free, 'page')} free of {view.managed_pages:,}, {words}", row, 0))
        y += 60
    if len(m.zones) > _MOST:
        fragments["zones-more"] = text(0, y + 14, f"and {len(m.zones) - _MOST} zones more", "ml-dim", 12)
        y += 22
    legend = (
        (Key("ml-level", " ", "free pages"),)
        if m.config.watermarks is None
        else (Key("ml-level", " ", "free pages"), Key("", "|", "watermarks, from the left: min, low, high"))
    )
    return Picture(fragments, WIDTH, y - 6, f"Free pages of {count(len(m.zones), 'zone')}, against their watermarks", legend, tuple(cells))


def requests(m: Machine, walk: Walk) -> Picture:
    """Draw a table of where requests would go now, of a walk's order: a row for each choice of GFP flags, a column for each preferred node."""
    nodes = range(min(m.config.nodes, 4))
    wide, left, y = 96.0, 210.0, 40.0
    heading = text(0, 14, f"Where a request for order {walk.order} ({count(1 << walk.order, 'page')}) would go now", "ml-heading", 13)
    heading += text(0, 34, "GFP flags", "ml-dim", 12)
    heading += "".join(text(left + (node + 0.5) * wide, 34, f"node {node}", "ml-mid ml-dim", 12) for node in nodes)
    fragments, cells, legend = {"requests-heading": heading}, [], dict.fromkeys((_FIRST,))
    for row, gfp in enumerate(request_flags(m)):
        svg = text(0, y + 15, GFP.show(gfp), "", 12)
        for node in nodes:
            way = walk_zonelist(m, walk.order, gfp, node)
            key, said = _outcome(way)
            legend[key] = None
            x, cell = left + node * wide, f"ask-{walk.order}-{row}-{node}"
            svg += rect(x, y, wide - 3, 20, f"ml-cell ml-boxed {key.kind}", cell)
            svg += text(x + wide / 2 - 1.5, y + 14.5, f"{key.letter} {said}".strip(), f"ml-mid {key.kind}", 12)
            if (gfp, node) == (walk.gfp, walk.node):
                svg += rect(x, y, wide - 3, 20, "ml-selected-rim") + rect(x, y, wide - 3, 20, "ml-selected")
            cells.append(Cell(cell, f"{GFP.show(gfp)}, node {node}: {said}, {key.meaning}", row, node))
        fragments[f"requests-{row}"] = svg
        y += 24
    label = f"Where requests for order {walk.order} would go, by GFP flags and preferred node"
    return Picture(
        fragments, WIDTH, y, label, tuple(key for key in (_FIRST, _OTHER, _RESERVES, _NONE, _UNSURE) if key in legend), tuple(cells)
    )


def zonelist_walk(m: Machine, order: int = 0, gfp: int = GFP.KERNEL, node: int | None = None) -> Picture:
    """Draw the way that ``m.alloc_pages(order, gfp, node)`` would take now: each zone asked, what would stay free and what must, the verdict.

    ValueError or TypeError for a bad request.
    """
    return _steps(m, walk_zonelist(m, order, gfp, node))


def _steps(m: Machine, walk: Walk) -> Picture:
    what = f"order {walk.order}, {GFP.show(walk.gfp)}, node {walk.node}"
    draw = _Lines()
    draw.line(f"If asked now: {what}", "ml-heading", 13)
    for words in walk.before:
        draw.line(words, "", 12)
    for i, t in enumerate(walk.tries[:_MOST], 1):
        if i == 1 or t.second != walk.tries[i - 2].second:
            draw.line(_round(m, walk, t.second), "ml-dim", 12)
        draw.a_try(i, t)
    if len(walk.tries) > _MOST:
        draw.line(f"and {len(walk.tries) - _MOST} tries more, the last of them: {walk.tries[-1].why}", "ml-dim", 12)
    for z, why in walk.left_out[:_MOST]:
        draw.line(f"Not asked: {zone_words(z)}; {why}.", "ml-dim", 12)
    draw.end(walk)
    return Picture(draw.fragments, WIDTH, draw.y, f"The way of a request for {what}: {walk.end}", (), tuple(draw.cells))


class _Lines:
    """The lines of a walk, one below the other, each a fragment."""

    def __init__(self) -> None:
        self.fragments: dict[str, str] = {}
        self.cells: list[Cell] = []
        self.y = 0.0

    def line(self, words: str, kind: str, size: float) -> None:
        svg = ""
        for part in wrap(words, 92):
            svg += text(0, self.y + 14, part, kind, size)
            self.y += 18
        self.add(svg, 4)

    def a_try(self, i: int, t: Try) -> None:
        y, key = self.y, Key("ml-slab", "✓", "") if t.taken else Key("ml-anon", "✗", "")
        svg = rect(1, y + 2, 24, 32, f"ml-cell ml-boxed {key.kind}") + text(13, y + 23, key.letter, f"ml-mid {key.kind}", 14)
        svg += text(34, y + 15, f"{i}. {zone_words(t.zone)}", "ml-first", 13) + text(200, y + 15, t.why, "", 12)
        svg += text(34, y + 32, t.sum, "ml-dim", 12)
        if t.mark is not None:  # the line stands in the middle: how much must stay
            must, x = t.mark + t.reserve, WIDTH - _BAR
            svg += rect(x, y + 22, _BAR - 1, 10, "ml-cell ml-boxed ml-plain")
            svg += rect(x, y + 22, (_BAR - 1) * max(0, min(t.left / (2 * must or 1), 1)), 10, "ml-level")
            svg += rect(x + _BAR / 2 - 1, y + 19, 2, 16, "ml-mark-low")
        cell = f"try-{i}"
        svg += rect(0, y, WIDTH, 36, "ml-target", cell)
        self.cells.append(Cell(cell, f"{i}. {zone_words(t.zone)}, {t.why}; {t.sum}", len(self.cells), 0))
        self.y += 36
        self.add(svg, 4)

    def end(self, walk: Walk) -> None:
        kind = "ml-slab" if walk.zone else "ml-anon" if walk.certain else "ml-plain"
        lines = wrap(walk.end, 84)
        high = 10 + 17 * len(lines)
        svg = rect(1, self.y + 2, WIDTH - 2, high, f"ml-cell ml-boxed {kind}")
        for i, part in enumerate(lines):
            svg += text(10, self.y + 18 + 17 * i, part, f"{kind} ml-first", 13)
        self.y += high
        self.add(svg, 6)

    def add(self, svg: str, gap: float) -> None:
        self.fragments[f"walk-{len(self.fragments)}"] = svg
        self.y += gap


def _round(m: Machine, walk: Walk, second: bool) -> str:
    if m.config.watermarks is None:
        return "This machine has no watermarks: a zone gives as long as it has a block."
    if not second:
        return "First round: each zone asked must keep its low watermark."
    lowered = next((t.lowered for t in walk.tries if t.second and t.lowered), "")
    return "Second round: now down to the min watermark" + (f", {lowered}." if lowered else ".")


def _letter(z: Zone) -> str:
    return f"{_LETTERS[z.type]}{z.node if z.node < 10 else ''}"


def _outcome(walk: Walk) -> tuple[Key, str]:
    if not walk.certain:
        return _UNSURE, "reclaim"
    if walk.zone is None:
        return _NONE, "None"
    said = f"{walk.zone.name} {walk.zone.node}"
    if not walk.tries or len(walk.tries) == 1:
        return _FIRST, said
    return (_RESERVES if walk.tries[-1].second else _OTHER), said
