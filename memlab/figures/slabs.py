"""The slabs of a cache, grouped by where they belong, with their objects and both free lists: a CPU's, and the slab's own.

Used by the Slab lab and by hand: ``slabs(m, "dentry")``.  Imports the core, slab_state and picture.
An object in use is told from a free one by the free lists alone, as in the kernel; arrows follow the words that link free objects.
"""

from __future__ import annotations

from typing import Final

from ..machine import Machine
from ..slub_size import SLAB
from .picture import Cell, Key, Picture, arrow, count, number, rect, shown, text
from .slab_state import Chain, Slab, cache_at, cpu_freelist, focus, live_caches, of_node, slab_freelist, slabs_of, unborn_slabs

OBJECTS: Final = {
    "a": ("ml-live", "allocated"),
    "c": ("ml-oncpu", "free, on its CPU's freelist"),
    "s": ("ml-onslab", "free, on its slab's freelist"),
}
PLACES: Final = {
    "cpu": "a CPU's own",
    "partial": "on the partial list",
    "empty": "on the partial list, nothing in use",
    "full": "full: on no list",
    "new": "of no cache (yet)",
    "loose": "free objects, but on no list: in the middle of something, or damaged",
}
_LEFT: Final = 116  # pixels for labels
_WIDE: Final = 500  # pixels for a slab
_ROW: Final = 32  # objects in a row, where one row does not do
_MOST_CELLS: Final = 640  # objects that are drawn in all
_MOST_SLABS: Final = 12
_MOST_LINKS: Final = 8  # objects that are drawn of a free list


def slabs(m: Machine, cache: str | None = None, cell: str | None = None, hexadecimal: bool = False) -> Picture:
    """Draw the slabs of a cache.  ``cache``: its name; the one that ``cell`` belongs to, or the newest, unless given.

    ``cell``: what is selected, ``slab-PFN`` or ``object-PFN-NUMBER``.  ValueError if there is no such cache.
    """
    at = focus(m, cell)
    slot = at.slot
    if cache is not None:
        slot = next((slot for slot, view in live_caches(m) if view.name == cache), -1)
        if slot < 0:
            raise ValueError(f"there is no cache named {cache!r}; there are {', '.join(view.name for _, view in live_caches(m))}")
    draw = _Drawing(m, slot, hexadecimal)
    found = slabs_of(m, slot)
    draw.chosen = next((s for s in found if s.address == at.slab), None)
    draw.chosen_object = at.object
    draw.plan(found)
    draw.cpus(found)
    for node, mine, end in of_node(m, slot, found):
        draw.partial(node, mine, end)
    for place, words in (("full", "Full slabs: on no list"), ("loose", "Slabs with free objects, but on no list")):
        if mine := [s for s in found if s.place == place]:
            draw.group(place, words, mine)
    if mine := unborn_slabs(m):
        draw.group("new", "Slabs of no cache (yet)", mine)
    return draw.picture()


class _Drawing:
    """The fragments and cells of one picture while it is drawn, from the top down."""

    def __init__(self, m: Machine, slot: int, hexadecimal: bool) -> None:
        self.m, self.slot, self.hexadecimal = m, slot, hexadecimal
        self.cache = cache_at(m, slot)
        self.fragments: dict[str, str] = {}
        self.cells: list[Cell] = []
        self.y = 0.0
        self.row = 0
        self.chosen: Slab | None = None
        self.chosen_object = -1
        self.open: set[int] = set()
        self.left_out = 0
        self.letters: set[str] = set()

    def plan(self, found: list[Slab]) -> None:
        """Choose the slabs whose objects are drawn: the selected one, the CPUs', and then as many as there is room for."""
        room = _MOST_CELLS
        for slab in sorted(found, key=lambda s: (s is not self.chosen, s.place != "cpu")):
            if slab.objects <= room and len(self.open) < _MOST_SLABS:
                room -= slab.objects
                self.open.add(slab.address)

    def cpus(self, found: list[Slab]) -> None:
        """Draw each CPU with its freelist and its slab."""
        self.heading("cpus", "Each CPU's own slab and freelist")
        if self.cache.flags & SLAB.DEBUG:
            self.line("cpus-debug", "none: a cache with debug flags works on its slabs' own freelists")
            return
        for cpu in range(min(self.m.config.cpus, 8)):
            slab = next((s for s in found if s.cpu == cpu), None)
            if slab is None:
                self.fragments[f"slabs-cpu-{cpu}"] = self.badge(self.y, f"CPU {cpu}") + text(
                    _LEFT, self.y + 15, "no slab, no freelist", "ml-dim", 12
                )
                self.y += 26
            else:
                self.slab(slab, f"CPU {cpu}")

    def partial(self, node: int, mine: list[Slab], end: str) -> None:
        """Draw a node's partial list, in list order."""
        where = f" of node {node}" if self.m.config.nodes > 1 else ""
        self.heading(f"partial-{node}", f"Partial list{where}: {count(len(mine), 'slab') if mine or end else 'no slab'}")
        top, drawn, before = self.y, self.some(mine), -1
        for i in drawn:
            at = self.y
            self.slab(mine[i], mine[i].place)
            kind = "ml-arrow" if i == before + 1 else "ml-arrow ml-dim"  # dashed: the list leads there, but by way of others
            link = f"M12 {number(top - 4)}V{number(at + 9)}H26m-6 -3.5l6 3.5l-6 3.5"
            self.fragments[f"slabs-next-{mine[i].address:x}"] = f'<path class="{kind}" d="{link}"/>'
            top, before = at + 13, i
        if len(mine) > len(drawn):
            self.line(f"partial-more-{node}", f"and {len(mine) - len(drawn):,} more")
        if end:
            self.line(f"partial-end-{node}", f"! the list {end}")

    def group(self, name: str, words: str, mine: list[Slab]) -> None:
        """Draw slabs that are on no list."""
        self.heading(name, f"{words}: {count(len(mine), 'slab')}")
        drawn = self.some(mine)
        for i in drawn:
            self.slab(mine[i], mine[i].place)
        if len(mine) > len(drawn):
            self.line(f"{name}-more", f"and {len(mine) - len(drawn):,} more")

    def some(self, mine: list[Slab]) -> list[int]:
        """Return which slabs of a group are drawn: the first ones, and the selected one."""
        return [i for i, slab in enumerate(mine) if i < _MOST_SLABS or slab is self.chosen]

    def heading(self, name: str, words: str) -> None:
        self.y += 6 if self.y else 0
        self.fragments[f"slabs-heading-{name}"] = text(0, self.y + 14, words, "ml-heading", 13)
        self.y += 24

    def line(self, name: str, words: str) -> None:
        self.fragments[f"slabs-{name}"] = text(_LEFT, self.y + 13, words, "ml-dim", 12)
        self.y += 22

    def badge(self, y: float, words: str, place: str = "") -> str:
        return rect(28, y, 60, 19, f"ml-place ml-place-{place}") + text(58, y + 14, words, "ml-mid ml-heading", 12)

    def slab(self, slab: Slab, badge: str) -> None:
        """Draw a slab: what it is, its objects, and its two free lists."""
        m, y = self.m, self.y
        mine, others = slab_freelist(m, self.slot, slab), cpu_freelist(m, self.slot, slab)
        letters = ["a"] * slab.objects
        for chain, letter in ((mine, "s"), (others, "c")):
            for i in chain.objects:
                letters[i] = letter
        self.letters |= set(letters)
        name = f"slab-{slab.pfn}"
        live = letters.count("a")
        words = f"slab at page {shown(slab.pfn, self.hexadecimal)}, order {slab.order}: {live} of {count(slab.objects, 'object')} allocated"
        if slab.place == "new":
            words = f"slab at page {shown(slab.pfn, self.hexadecimal)}, order {slab.order}: not cut into objects"
        if slab.pfn < 0:
            words = f"struct slab at {slab.address:#x}, which leads to no page (yet)"
        key = f"{slab.address:x}"
        self.fragments[f"slabs-head-{key}"] = self.badge(y, badge, slab.place) + text(_LEFT, y + 14, words, "", 12)
        named = slab.pfn >= 0 and m.w[m.MM + slab.pfn] & ~15 == slab.address and name not in {c.id for c in self.cells}
        if named:
            self.fragments[f"slabs-head-{key}"] += rect(28, y, _WIDE + _LEFT - 28, 19, "ml-hit", name)
            self.cells.append(Cell(name, f"{words}; {PLACES[slab.place]}", self.row, 0))
            self.row += 1
        self.y += 24
        if slab.address in self.open and slab.pfn >= 0:
            self.objects(slab, letters, {"s": mine, "c": others}, key, named)
            if slab is self.chosen and self.chosen_object < 0:
                self.fragments["slabs-selection"] = rect(26, y - 3, _LEFT + _WIDE - 24, self.y - y, "ml-selected")
        if slab.address not in self.open:
            return
        if slab.place == "cpu":
            self.chain(f"slabs-cpulist-{key}", f"CPU {slab.cpu}'s freelist", others, "c")
        if mine.objects or mine.end or slab.place not in ("full", "loose"):
            self.chain(f"slabs-slablist-{key}", "slab's freelist", mine, "s")
        self.y += 8

    def objects(self, slab: Slab, letters: list[str], chains: dict[str, Chain], key: str, named: bool) -> None:
        """Draw a slab's objects to scale: in one row with arrows from each free object to the next, or in rows of 32.

        ``named``: whether the pages' mem_desc leads to this slab, so that its objects are cells.
        """
        one_row = slab.objects <= _ROW
        total = self.m.page_size << slab.order
        wide = slab.size * _WIDE / total if one_row else _WIDE / _ROW
        high = 34 if one_row else 20
        if one_row:
            self.y += self.arcs(chains, wide, key)
        top = self.y
        columns = max(slab.objects, 1) if one_row else _ROW
        for row, first in enumerate(range(0, slab.objects, columns)):
            svg = "" if one_row else text(_LEFT - 6, self.y + 14, str(first), "ml-end ml-dim", 11)
            for i in range(first, min(first + columns, slab.objects)):
                x, letter = _LEFT + (i - first) * wide, letters[i]
                kind, meaning = OBJECTS[letter]
                cell = f"object-{slab.pfn}-{i}"
                svg += rect(x, self.y, wide, high, f"ml-cell {kind}", cell if named else "")
                svg += text(x + wide / 2, self.y + 14, letter, f"ml-mid {kind}", 12)
                if one_row and wide >= 15:
                    svg += text(x + wide / 2, self.y + 28, str(i), f"ml-mid {kind}", 10)
                if named:
                    self.cells.append(Cell(cell, f"object {i} of the slab at page {slab.pfn}, {meaning}", self.row, i - first))
                if slab is self.chosen and i == self.chosen_object:
                    ring = (x + 1, self.y + 1, max(wide - 2, 2), high - 2)
                    self.fragments["slabs-selection"] = rect(*ring, "ml-selected-rim") + rect(*ring, "ml-selected")
            self.fragments[f"slabs-objects-{key}-{row}"] = svg
            self.row += 1
            self.y += high
        waste = total - slab.objects * slab.size
        svg = ""
        if one_row and waste:
            x = _LEFT + slab.objects * wide
            svg += rect(x, top, _LEFT + _WIDE - x, high, "ml-cell ml-boxed ml-aside")
        svg += rect(_LEFT, top, _WIDE, self.y - top, f"ml-place ml-place-{slab.place}")
        if slab.order and one_row:
            each = _WIDE / len(slab.pages)
            for i, pfn in enumerate(slab.pages):
                svg += rect(_LEFT + i * each, self.y + 3, each, 4, "ml-tick")
                if i < 4 and each > 100:
                    svg += text(_LEFT + (i + 0.5) * each, self.y + 17, f"page {shown(pfn, self.hexadecimal)}", "ml-mid ml-dim", 11)
            self.y += 18
        elif not one_row and waste:
            svg += text(_LEFT + _WIDE, self.y + 13, f"unused: {count(waste, 'byte')}", "ml-end ml-dim", 11)
            self.y += 14
        self.fragments[f"slabs-box-{key}"] = svg
        self.y += 5

    def arcs(self, chains: dict[str, Chain], wide: float, key: str) -> float:
        """Draw an arrow from each free object to the next one of its list; return how much room they take."""
        jumps = [(letter, a, b) for letter, chain in chains.items() for a, b in zip(chain.objects, chain.objects[1:], strict=False)]
        if not jumps:
            return 2
        most = max(_rise(a, b) for _, a, b in jumps)
        y, svg = self.y + most, ""
        for letter, a, b in jumps:
            x1, x2, rise = _LEFT + (a + 0.6) * wide, _LEFT + (b + 0.4) * wide, _rise(a, b)
            svg += (
                f'<path class="ml-arc {OBJECTS[letter][0]}" d="M{number(x1)} {number(y)}Q{number((x1 + x2) / 2)} {number(y - 1.8 * rise)} '
                f'{number(x2)} {number(y - 1)}m-3 -5l3 5l3 -5"/>'
            )
        self.fragments[f"slabs-arcs-{key}"] = svg
        return most

    def chain(self, name: str, label: str, chain: Chain, letter: str) -> None:
        """Draw a free list as a list: a box for each object, in list order."""
        y, x = self.y, float(_LEFT)
        svg = text(_LEFT - 8, y + 14, label, "ml-end", 12)
        for i in chain.objects[:_MOST_LINKS]:
            svg += arrow(x, y + 10, x + 16, y + 10) + rect(x + 18, y + 1, 28, 18, f"ml-cell ml-boxed {OBJECTS[letter][0]}")
            svg += text(x + 32, y + 14, str(i), f"ml-mid {OBJECTS[letter][0]}", 12)
            x += 46
        if len(chain.objects) > _MOST_LINKS:
            end = f"and {len(chain.objects) - _MOST_LINKS} more"
        elif chain.end:
            end = f"! {chain.end}"
        else:
            end = "NULL"
        svg += arrow(x, y + 10, x + 16, y + 10) + text(x + 20, y + 14, end, "" if chain.end else "ml-dim", 12)
        self.fragments[name] = svg
        self.y += 23

    def picture(self) -> Picture:
        self.fragments["slabs-selection"] = self.fragments.pop("slabs-selection", "")  # painted last
        name = self.cache.name
        keys = [Key(kind, letter, words) for letter, (kind, words) in OBJECTS.items() if letter in self.letters]
        keys.append(Key("ml-aside", "", "unused end of a slab"))
        return Picture(
            self.fragments,
            _LEFT + _WIDE + 4,
            self.y,
            f"Slabs of the cache {name}, with their objects and free lists",
            tuple(keys),
            tuple(self.cells),
        )


def _rise(a: int, b: int) -> float:
    """Return how high an arrow over |b - a| objects goes, in pixels."""
    return min(10 + 2.5 * abs(b - a), 40)
