"""The descriptor of one page, opened: its fields and bytes, and where in RAM it lives itself.

Used by the labs and by hand: ``descriptor(m, pfn)``.  Imports the core, blocks, picture and shapes.
RAM may be in the middle of an operation, or damaged: a pointer that leads nowhere is said so, and nothing raises.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from .. import structs
from ..layout import Struct
from ..machine import Machine
from ..memdesc import MemType
from .blocks import KINDS, block_of, kind_of
from .picture import Key, Picture, count, rect, shown, text
from .shapes import box, path, selection, words

_STRUCTS: Final[dict[int, type[Struct]]] = {
    MemType.FREE: structs.buddy,
    MemType.BUDDY: structs.buddy,
    MemType.SLAB: structs.slab,
    MemType.FOLIO: structs.folio,
    MemType.ANONMEM: structs.anonmem,
    MemType.FILEMEM: structs.filemem,
    MemType.PGTABLE: structs.ptdesc,
    MemType.VMALLOC: structs.vmalloc,
}
_BUDDY_PAGE: Final = structs.buddy.page.word  # looked up once: a slab holds dozens of descriptors
_SLAB_VIRT: Final = structs.slab.virt.word
_USER_BUDDY: Final = structs.memdesc.buddy.word
_WIDTH: Final = 602
_ROW: Final = 19  # pixels from one field to the next
_COLUMNS: Final = 43  # objects of a slab in a row


def descriptor(m: Machine, pfn: int | None, hexadecimal: bool = False) -> Picture:
    """Draw what describes page ``pfn``: the struct that its mem_desc names, and the slab that this struct is in.

    ``pfn``: None draws a request to select a page.  ``hexadecimal``: how page numbers are written.  ValueError for a page that does not exist.
    """
    if pfn is not None and not 0 <= pfn < m.nr_pages:
        raise ValueError(f"pfn is a page of this machine, 0 to {m.nr_pages - 1}, not {pfn!r}")
    draw = _Drawing(m, hexadecimal)
    if pfn is None:
        draw.head("Descriptor", "Select a page or a block: its descriptor is opened here.")
        return draw.picture("Descriptor: no page is selected")
    word, kind = m.w[m.MM + pfn], kind_of(m, pfn)
    struct, address = _STRUCTS.get(kind), word & ~15
    if struct is None:
        why = "reserved: it has no descriptor" if kind == MemType.NONE else f"damaged: there is no type {word & 15}"
        draw.head(f"Descriptor of page {draw.n(pfn)}", f"mem_desc is {word:#x}: the page is {why}.")
        return draw.picture(f"Page {draw.n(pfn)} has no descriptor")
    draw.head(
        f"Descriptor of page {draw.n(pfn)}: struct {struct.struct}, {struct.sizeof} bytes",
        f"mem_desc {word:#x} = its address {address:#x} + type {word & 15}, {KINDS[kind].words}",
    )
    if not m.B <= address <= m.B + 8 * len(m.w) - struct.sizeof:
        draw.line("That address is not in RAM: the word is damaged.")
    else:
        draw.fields(struct, address, kind)
        draw.home(address)
    return draw.picture(f"The struct {struct.struct} that describes page {draw.n(pfn)}, byte by byte, and where it lives")


def home_of(m: Machine, pfn: int) -> int | None:
    """Return the page that the descriptor of page ``pfn`` lies in; None if it has none, or one outside the pages."""
    host = ((m.w[m.MM + pfn] & ~15) - m.B) >> m.PS
    return host if kind_of(m, pfn) in _STRUCTS and 0 <= host < m.nr_pages else None


class _Drawing:
    """The fragments and the legend of one descriptor while it is drawn."""

    def __init__(self, m: Machine, hexadecimal: bool) -> None:
        self.m, self.hexadecimal = m, hexadecimal
        self.fragments: dict[str, str] = dict.fromkeys(("descriptor-head", "descriptor-fields", "descriptor-home"), "")
        self.legend: list[Key] = []
        self.y = 0.0

    def head(self, title: str, said: str) -> None:
        self.fragments["descriptor-head"] = text(0, 14, title, "ml-heading", 13) + text(0, 33, said, "", 12)
        self.y = 42

    def line(self, said: str) -> None:
        self.fragments["descriptor-fields"] += text(0, self.y + 14, said, "", 12)
        self.y += _ROW

    def fields(self, struct: type[Struct], address: int, kind: int) -> None:
        """Draw a line for each field: offset, name, bytes in RAM, meaning."""
        parts = [part for field in struct.fields for part in field.parts()]
        if struct.sizeof > struct.used:
            parts.append((struct.used, struct.sizeof - struct.used, "(unused)"))
        svg = "".join(
            text(x, self.y + 12, name, "ml-dim", 11)
            for x, name in ((0, "byte"), (40, "field"), (112, "bytes in RAM, lowest first"), (284, "meaning"))
        )
        at = 8 * _word(self.m, address)
        for i, (offset, width, name) in enumerate(parts):
            y = self.y + 18 + i * _ROW
            raw = bytes(self.m.map[at + offset : at + offset + width])
            if i % 2 == 0:
                svg += rect(0, y, _WIDTH, _ROW, "ml-stripe")
            svg += text(6, y + 14, f"+{offset}", "ml-dim", 11) + text(40, y + 14, name, "", 12)
            svg += text(112, y + 14, raw.hex(" "), "ml-mono", 11) + text(
                284, y + 14, self._meaning(name, int.from_bytes(raw, "little"), kind), "", 12
            )
        self.fragments["descriptor-fields"] += svg
        self.y += 18 + len(parts) * _ROW + 8

    def home(self, address: int) -> None:
        """Draw where the descriptor lies: the slab, with each of its objects and what that describes."""
        m, host = self.m, (address - self.m.B) >> self.m.PS
        if not 0 <= host < m.nr_pages:
            said = "It lies outside the pages, in the kernel's own image: the one static descriptor of boot."
            self.fragments["descriptor-home"] = text(0, self.y + 14, said, "", 12)
            self.y += 20
            return
        said = f"It lies in page {self.n(host)}, {address - m.B & m.page_size - 1:,} bytes from its start"
        s = structs.slab(m, m.w[m.MM + host] & ~15)
        size, start, struct = self._objects(s.address) if kind_of(m, host) == MemType.SLAB else (0, 0, None)
        if struct is None or not 0 <= address - start < (m.page_size // size) * size:
            self.fragments["descriptor-home"] = text(0, self.y + 14, f"{said}, which is no slab of descriptors.", "", 12)
            self.y += 20
            return
        n, mine = m.page_size // size, (address - start) // size
        said += f": object {mine} of {n} in a slab of kmem_cache_{struct.struct}"
        svg, wide = text(0, self.y + 14, said, "", 12), _WIDTH / _COLUMNS
        paths: dict[str, str] = defaultdict(str)
        letters: dict[tuple[int, str], list[tuple[float, str]]] = defaultdict(list)
        mark = ""
        for i in range(n):
            row, column = divmod(i, _COLUMNS)
            kind = KINDS[k] if (k := self._describes(struct, start + i * size)) else None
            place = column * wide + 1, self.y + 22 + row * 20, wide - 2, 16.0
            css = kind.css if kind else "ml-plain"
            paths[f"{css} ml-leaf"] += box(*place)
            if kind:
                letters[row, css].append((place[0] + place[2] / 2, kind.letter))
            if i == mine:
                mark = selection(*place)
        svg += "".join(path(data, css) for css, data in paths.items())
        svg += "".join(words(placed, self.y + 33.6 + row * 20, 10, css) for (row, css), placed in letters.items())
        self.fragments["descriptor-home"] = svg + mark
        self.legend.append(Key("ml-plain", " ", "in a slab of descriptors: one to spare; the others have the letter of what they describe"))
        self.y += 22 + 20 * -(-n // _COLUMNS) + 4

    def picture(self, label: str) -> Picture:
        return Picture(self.fragments, _WIDTH, self.y + 4, label, tuple(self.legend))

    def n(self, pfn: int) -> str:
        return shown(pfn, self.hexadecimal)

    def _meaning(self, name: str, value: int, kind: int) -> str:
        """Say what a field's value means here."""
        m = self.m
        if name == "flags":
            return self._flags(value)
        if name.startswith("list."):
            return "an allocated block is on no list; this was left here" if kind == MemType.BUDDY else self._link(value)
        if name == "order":
            return f"order {value}: {count(1 << value, 'page')}" if value <= m.max_order else "damaged: no such order"
        if name == "page":
            pfn, rest = divmod(value - m.V, 8)
            return f"struct page of page {self.n(pfn)}" if not rest and 0 <= pfn < m.nr_pages else "damaged: no struct page"
        if name == "(unused)":
            return "to the next multiple of 16 bytes"
        if name in ("inuse", "objects"):
            return count(value, "object")
        if name in ("buddy", "virt", "slab_cache", "freelist") and value:
            page = (value - m.B) >> m.PS
            return f"in page {self.n(page)}" if 0 <= page < m.nr_pages else self._cache(value)
        return f"{value:,}" if value < 1 << 32 else f"{value:#x}"

    def _flags(self, value: int) -> str:
        zone = next((f"node {z.node}, zone {z.name}" for z in self.m.zones if z.flags == value & ~7), "damaged: no such zone")
        bits = ((structs.HELD, "held by code outside"), (structs.PCP, "on a CPU's own list"), (structs.UNUSED, "unused"))
        return ", ".join([zone, *(name for bit, name in bits if value & bit)])

    def _link(self, value: int) -> str:
        """Say what a link of a list leads to: a head, or the list member of a descriptor."""
        m = self.m
        for z in m.zones:
            order, rest = divmod(value - m.B - 8 * z.heads, 16)
            if not rest and 0 <= order <= m.max_order:
                return f"to the head of the free list of order {order}"
        address = value - structs.buddy.list.offset
        if not m.B <= address <= m.B + 8 * (len(m.w) - 6) or address & 7:
            return "to no list" if value else "NULL: on no list"
        page = (m.w[_word(m, address) + structs.buddy.page.word] - m.V) >> 3
        if 0 <= page < m.nr_pages and m.w[m.MM + page] & ~15 == address:
            return f"to the struct buddy of page {self.n(page)}"
        return (
            f"to a list_head in page {self.n(address - m.B >> m.PS)}"
            if (address - m.B) >> m.PS < m.nr_pages
            else "to a list_head of the kernel"
        )

    def _cache(self, value: int) -> str:
        return next((name for name, cache in self.m.caches.items() if cache.address == value), "outside the pages")

    def _objects(self, slab: int) -> tuple[int, int, type[Struct] | None]:
        """Return an object's size, the first object's address, and what the objects are, for a slab of descriptors; (0, 0, None) otherwise."""
        m = self.m
        if not m.B <= slab <= m.B + 8 * len(m.w) - structs.slab.sizeof:
            return 0, 0, None
        s = structs.slab(m, slab)
        for name, cache in m.caches.items():
            struct = next((t for t in _STRUCTS.values() if name in (f"kmem_cache_{t.struct}", t.struct)), None)
            if struct and cache.address == s.slab_cache and cache.size >= struct.used:
                return cache.size, s.virt, struct
        return 0, 0, None

    def _describes(self, struct: type[Struct], address: int) -> int:
        """Return the kind of the page that the descriptor at ``address`` describes, if the page agrees; 0 for one to spare."""
        m = self.m
        if struct is structs.slab:
            pfn = (m.w[_word(m, address) + _SLAB_VIRT] - m.B) >> m.PS
        else:
            buddy = address if struct is structs.buddy else m.w[_word(m, address) + _USER_BUDDY]
            if not m.B <= buddy <= m.B + 8 * len(m.w) - structs.buddy.sizeof:
                return 0
            pfn = (m.w[_word(m, buddy) + _BUDDY_PAGE] - m.V) >> 3
        if not 0 <= pfn < m.nr_pages:
            return 0
        kind, names = kind_of(m, pfn), m.w[m.MM + pfn] & ~15
        if struct is structs.buddy and (names == address or kind not in (MemType.FREE, MemType.BUDDY)):  # else the page names another
            names = block_of(m, pfn).buddy
        return kind if names == address else 0


def _word(m: Machine, address: int) -> int:
    """Return the index in ``m.w`` of the word at an address."""
    return address - m.B >> 3
