"""A slab's struct slab, its struct buddy and its pages' mem_desc words, joined by lines: who points where.

Used by the Slab lab and by hand: ``slab_links(m, pfn)``.  Imports the core, slab_state and picture.  Every value is read from RAM; a
pointer that leads elsewhere than it should has no line.
"""

from __future__ import annotations

from typing import Final

from .. import structs
from ..hexdump import whatis
from ..machine import Machine
from ..memdesc import MemType
from .picture import Picture, arrow, count, number, rect, shown, text
from .slab_state import live_caches

_LEFT: Final = 18  # pixels that a line needs on the left
_WIDE: Final = 264  # of a box on the left
_RIGHT: Final = 336  # where the boxes on the right begin
_WIDE_RIGHT: Final = 270
_HIGH: Final = 18
_MOST_PAGES: Final = 4


def slab_links(m: Machine, address: int, hexadecimal: bool = False) -> Picture:
    """Draw the struct slab at ``address`` with what it points to and what points to it.  ValueError if no descriptor can be there."""
    slab = m.slab(address)
    owner = slab.buddy if _readable(m, slab.buddy, structs.buddy.sizeof) else 0
    cache = _name(m, slab.slab_cache)
    rows = [
        ("flags", f"{slab.flags:#x}"),
        ("list.next", _pointer(slab.list[0])),
        ("list.prev", _pointer(slab.list[1])),
        ("buddy", _pointer(slab.buddy)),
        ("freelist", _pointer(slab.freelist)),
        ("inuse, objects", f"{slab.inuse}, {slab.objects}"),
        ("order, frozen", f"{slab.order}, {slab.frozen}"),
        ("virt", _pointer(slab.virt)),
        ("slab_cache", _pointer(slab.slab_cache)),
    ]
    fragments = {
        "slab_links-slab": _box(
            _LEFT, 0, _WIDE, f"struct slab of {cache if len(cache) < 21 else cache[:19] + '…'}", f"{address:#x}, {_where(m, address)}", rows
        )
    }
    top = 42 + _HIGH * len(rows) + 34
    lines, where = "", {name: 42 + _HIGH * i + 9 for i, (name, _) in enumerate(rows)}
    first, pages = _pages(m, slab)
    if owner:
        b = m.buddy(owner)
        target = b.page - m.V >> 3
        # its list member is as the free list left it, and would mislead: a block in use is on no list
        parts = [("flags", f"{b.flags:#x}"), ("list", "on none: in use"), ("order", str(b.order)), ("page", _pointer(b.page))]
        fragments["slab_links-buddy"] = _box(_RIGHT, 0, _WIDE_RIGHT, "struct buddy", f"{owner:#x}, {_where(m, owner)}", parts)
        lines += arrow(_LEFT + _WIDE, where["buddy"], _RIGHT, 12, "ml-strong")
        if pages and target == first and b.page & 7 == 0:
            lines += _bent(
                [(_RIGHT, 42 + 3 * _HIGH + 9), (_RIGHT - 30, 42 + 3 * _HIGH + 9), (_RIGHT - 30, top + 51), (_LEFT + _WIDE, top + 51)]
            )
    else:
        fragments["slab_links-buddy"] = text(_RIGHT, 26, "slab->buddy leads to no struct buddy (yet)", "ml-dim", 12)
    shown_pages = pages[:_MOST_PAGES] if len(pages) <= _MOST_PAGES else [*pages[: _MOST_PAGES - 1], pages[-1]]
    words = [(f"page {shown(pfn, hexadecimal)}", _mem_desc(m, pfn)) for pfn in shown_pages]
    title = f"mem_desc of {count(len(pages), 'page')}" + (f", {_MOST_PAGES} of them shown" if len(pages) > _MOST_PAGES else "")
    if pages:
        fragments["slab_links-words"] = _box(_LEFT, top, _WIDE, title, "in the mem_map, a word for each", words)
        places = [(f"page {shown(pfn, hexadecimal)}", _held(m, pfn, address, owner) or f"{m.B + (pfn << m.PS):#x}") for pfn in shown_pages]
        fragments["slab_links-pages"] = _box(_RIGHT, top, _WIDE_RIGHT, "the pages themselves", "cut into objects", places)
        lines += arrow(_LEFT + _WIDE, where["virt"], _RIGHT, top + 42)
        for i, pfn in enumerate(shown_pages):
            if m.w[m.MM + pfn] == address | MemType.SLAB:
                y = top + 42 + _HIGH * i + 9
                lines += f'<path class="ml-arrow" d="M{_LEFT} {number(y)}H6V14"/>'
        if "H6V14" in lines:
            lines += arrow(6, 14, _LEFT, 14)
    else:
        fragments["slab_links-pages"] = text(_LEFT, top + 16, "slab->virt leads to no page (yet)", "ml-dim", 12)
    fragments["slab_links-lines"] = lines
    label = f"The struct slab at {address:#x}, its struct buddy, and the mem_desc of {count(len(pages), 'page')}"
    return Picture(fragments, _RIGHT + _WIDE_RIGHT + 2, top + 48 + _HIGH * max(len(shown_pages), 2), label)


def _pages(m: Machine, slab: structs.slab) -> tuple[int, range]:
    """Return a slab's first page and all its pages; (-1, none) where virt leads nowhere."""
    pfn, rest = divmod(slab.virt - m.B, m.page_size)
    order = slab.order
    if rest or order > m.max_order or not 0 <= pfn <= m.highmem_pfn - (1 << order):
        return -1, range(0)
    return pfn, range(pfn, pfn + (1 << order))


def _box(x: float, y: float, wide: float, title: str, under: str, rows: list[tuple[str, str]]) -> str:
    """Return a box with a title and a row for each (name, value)."""
    svg = rect(x, y, wide, 42 + _HIGH * len(rows), "ml-cell ml-boxed ml-plain") + rect(x, y, wide, 38, "ml-cell ml-boxed ml-free")
    svg += text(x + 8, y + 16, title, "ml-heading", 13) + text(x + 8, y + 31, under, "ml-dim", 11)
    for i, (name, value) in enumerate(rows):
        at = y + 42 + _HIGH * i + 13
        svg += text(x + 8, at, name, "ml-dim", 12) + text(x + wide - 8, at, value, "ml-end", 12)
    return svg


def _bent(points: list[tuple[float, float]]) -> str:
    """Return a line with corners and a head at its end."""
    path = "L".join(f"{number(x)} {number(y)}" for x, y in points[:-1])
    return f'<path class="ml-arrow" d="M{path}"/>' + arrow(*points[-2], *points[-1])


def _readable(m: Machine, address: int, n: int) -> bool:
    try:
        m.read(address, n)
    except ValueError:
        return False
    return not address & 15


def _where(m: Machine, address: int) -> str:
    """Say what holds an address."""
    try:
        return whatis(m, address).name
    except ValueError:
        return "nowhere"


def _name(m: Machine, address: int) -> str:
    return next((view.name for _, view in live_caches(m) if view.address == address), "no cache")


def _pointer(value: int) -> str:
    return f"{value:#x}" if value else "NULL"


def _mem_desc(m: Machine, pfn: int) -> str:
    value = m.w[m.MM + pfn]
    kind = value & 15
    return f"{value & ~15:#x} | {MemType(kind).name if kind < len(MemType) else kind}"


def _held(m: Machine, pfn: int, *described: int) -> str:
    """Say which of its own descriptors a page holds."""
    names = [name for name, address in zip(("struct slab", "buddy"), described, strict=True) if (address - m.B) >> m.PS == pfn]
    return f"holds its own {' and '.join(names)}" if names else ""
