"""The caches of a machine, to choose one: its objects, its slabs, and whether it is in use.

Used by the Slab lab and by hand: ``slab_caches(m)``.  Imports the core, slab_state and picture.
"""

from __future__ import annotations

from typing import Final

from ..machine import Machine
from ..words import NODE_WORDS
from .picture import Cell, Picture, count, rect, text
from .slab_state import live_caches

_COLUMNS: Final = 4
_WIDE: Final = 152
_HIGH: Final = 40


def slab_caches(m: Machine, chosen: int | None = None) -> Picture:
    """Draw a box for each cache, in the order of their slots.  ``chosen``: the slot of one to mark."""
    nodes = m.config.nodes
    fragments = {"slab_caches-heading": text(0, 14, "Caches: bytes of an object × objects in a slab", "ml-heading", 13)}
    cells = []
    for i, (slot, view) in enumerate(live_caches(m)):
        row, column = divmod(i, _COLUMNS)
        x, y = column * _WIDE, 24 + row * _HIGH
        n = sum(m.nr_slabs_of[m.kn_at + (slot * nodes + node) * NODE_WORDS] for node in range(nodes))
        shape, slabs = f"{view.size:,} × {view.objects:,}", count(n, "slab") if n else "no slab"
        svg = rect(x + 1, y, _WIDE - 8, _HIGH - 6, "ml-cell ml-boxed ml-plain", f"cache-{slot}")
        svg += text(x + 7, y + 14, _short(view.name), "ml-heading", 12) + text(x + 7, y + 29, f"{shape}, {slabs}", "ml-dim", 11)
        if slot == chosen:
            svg += rect(x + 1, y, _WIDE - 8, _HIGH - 6, "ml-selected")
        fragments[f"slab_caches-{slot}"] = svg
        mark = ", shown" if slot == chosen else ""
        cells.append(Cell(f"cache-{slot}", f"cache {view.name}, {count(view.size, 'byte')} an object, {slabs}{mark}", row, column))
    height = 24 + -(-len(cells) // _COLUMNS) * _HIGH
    return Picture(fragments, _COLUMNS * _WIDE, height, f"The {len(cells)} caches of this machine", (), tuple(cells))


def _short(name: str) -> str:
    return name if len(name) <= 21 else f"{name[:20]}…"
