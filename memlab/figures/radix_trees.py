"""Free lists as radix trees: for each order the nodes of its tree, the page that each lies in, and which of its slots are used.

Used by freelist_lab.py and by hand: ``radix_trees(m)``.  Imports memlab.study (a RadixMachine), picture and shapes.  Damaged trees are drawn
as far as they can be reached.
"""

from __future__ import annotations

from typing import Final

from ..study.radix_tree import Node, RadixTrees, Zone
from .picture import Key, Picture, count, number, rect, shown, text
from .shapes import box, path

_MOST: Final = 4  # nodes drawn of one tree
_ROW: Final = 36  # pixels from one tree to the next
_LEFT: Final = 56
_STRIP: Final = 112  # pixels for the slots of a node
_STEP: Final = 140
_HIGH: Final = 14
_WIDTH: Final = 602
_KEYS: Final = (
    Key("ml-vmalloc", "", "slot of a node that is used: by a node below, or by a free block"),
    Key("ml-plain", "", "slot that is empty"),
)


def radix_trees(m: RadixTrees, hexadecimal: bool = False) -> Picture:
    """Draw each zone's trees, lowest order first: one fragment for each.  A click on a node selects the page that it lies in (cell radix-pfn).

    ``hexadecimal``: how page numbers are written.
    """
    fragments, y = dict[str, str](), 0.0
    for z in m.zones:
        where = f" of zone {z.name}" if len(m.zones) > 1 else ""
        fragments[f"radix_trees-{z.name}"] = text(0, y + 14, f"Radix trees{where}: the nodes, and where they lie", "ml-heading", 13)
        y += 22
        for order in range(m.max_order + 1):
            fragments[f"radix_trees-{z.name}-{order}"] = _row(m, z, order, y, hexadecimal)
            y += _ROW
        y += 4
    return Picture(fragments, _WIDTH, y - 8, f"Radix trees of {count(len(m.zones), 'zone')}: a row for each order", _KEYS)


def _row(m: RadixTrees, z: Zone, order: int, y: float, hexadecimal: bool) -> str:
    nodes = list(m.tree_nodes(z, order))
    svg = text(0, y + 12, f"order {order}", "", 13)
    if not nodes:
        return svg + text(_LEFT, y + 12, "empty: no node" if not m.w[z.trees + order] else "? a root that leads nowhere", "ml-dim", 12)
    links = ""
    for i, node in enumerate(nodes[:_MOST]):
        x = _LEFT + i * _STEP
        pfn = node.word >> m.WS
        svg += _node(m, node, x, y)
        first = node.prefix << m.shift + order  # of the pages whose blocks it has slots for
        span = f"{shown(first, hexadecimal)} to {shown(min(first + (1 << m.shift + order), m.nr_pages) - 1, hexadecimal)}: " if i else ""
        svg += text(x, y + _HIGH + 12, f"{span}in page {shown(pfn, hexadecimal)}", "ml-dim", 10.5)
        if i:
            links += f"M{number(x - 20)} {number(y + _HIGH / 2)}h14m-4.5 -3.5l4.5 3.5l-4.5 3.5"
    if len(nodes) > _MOST:
        svg += text(_LEFT + _MOST * _STEP - 22, y + 12, f"+{len(nodes) - _MOST:,}", "ml-dim", 12)
    return svg + path(links, "ml-arrow ml-dim")


def _node(m: RadixTrees, node: Node, x: float, y: float) -> str:
    """Draw the slots of one node."""
    slots = m.slots(node.word)
    wide = _STRIP / len(slots)
    used = "".join(box(x + i * wide, y, wide, _HIGH) for i, at in enumerate(slots) if m.w[at])
    ticks = "".join(f"M{number(x + i * wide)} {number(y)}v{_HIGH}" for i in range(1, len(slots)))
    cell = f"radix-{node.word >> m.WS}"
    rim = rect(x, y, _STRIP, _HIGH, "ml-cell ml-boxed ml-plain")
    return rim + path(used, "ml-vmalloc") + path(ticks, "ml-tick") + rect(x, y, _STRIP, _HIGH, "ml-hit", cell)
