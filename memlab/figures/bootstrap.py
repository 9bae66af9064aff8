"""The two pages of the bootstrap, word by word: the structs that they hold, and which of them each page's mem_desc names.

    page 1: its first bytes as struct slab     the page may describe itself
    mem_desc of eight pages, and arrows to what they name
    page 2: its first bytes as struct buddy    and, beside it, the descriptor that the block had before

Used by the Bootstrap lab and by hand: ``bootstrap_lab(m)``.  Imports the core and other figures.
RAM may be in the middle of an operation: nothing here raises, or follows a link out of RAM.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..hexdump import whatis
from ..layout import Struct
from ..machine import Machine
from ..memdesc import MemType
from ..recording import Recording
from ..structs import NR_CACHES, PAGE_STRUCT_BYTES, buddy, kmem_cache, slab
from .blocks import KINDS, block_of, kind_of
from .free_lists import free_lists
from .page_map import page_map
from .picture import Cell, Key, Picture, arrow, count, panels, rect, shown, stack, text
from .slab_state import allocated, cache_at, live_caches, slabs_of

_LEFT: Final = 92  # pixels for the names of the fields
_WIDE: Final = 568  # pixels for a page's words
_ROW: Final = 20
_SLABS: Final = 3  # struct slabs of page 1 that are drawn in full
_BUDDIES: Final = 3  # struct buddies of page 2
_STRIP: Final = 8  # pages whose mem_desc is drawn
_WORD: Final = (1 << 64) - 1


class Stage(NamedTuple):
    """What the picture is about: page 1, whether page 2 belongs to it, and the word index of the block's old struct buddy, or 0."""

    pfn: int
    pair: bool
    old: int


def bootstrap_lab(
    m: Machine,
    pfn: int | None = None,
    pages: range | None = None,
    hexadecimal: bool = False,
    recording: Recording | None = None,
    frame: int | None = None,
    cell: str | None = None,
) -> Picture:
    """Draw the page ``pfn`` of kmem_cache_slab with the page that came with it, beside a map of the pages and the free lists.

    ``pfn``: None for the page that __alloc_slab would take now.  ``pages``: of the map; all, unless given.  ``recording``, ``frame``: how the page
    came about, and the mark at which RAM is; the words that the step wrote are marked.  ``cell``: the id of the selected cell.
    """
    stage = stage_of(m, pfn, recording)
    drawing = _Drawing(m, stage, hexadecimal, recording, frame, cell)
    around = stack(
        "The pages around, and the free lists", page_map(m, pages, stage.pfn, hexadecimal), free_lists(m, hexadecimal, stage.pfn)
    )
    return panels(f"{drawing.label()}; the pages around, and the free lists", drawing.picture(), around)


def stage_of(m: Machine, pfn: int | None, recording: Recording | None = None) -> Stage:
    """Find the page that holds the struct slabs, and its companions, from any page of theirs; None for the page that comes next."""
    changes = [c for k in range(len(recording) if recording else 0) for c in recording.changes(k)] if recording else []
    first = {c.address: c.old for c in reversed(changes)}
    last = {c.address: c.new for c in changes}

    def desc(page: int, values: dict[int, int]) -> int:
        at = m.MM + page
        return values.get(m.B + 8 * at, m.w[at]) if 0 <= page < m.nr_pages else 0

    if pfn is None or not 0 <= pfn < m.nr_pages:
        pfn = _next(m)
    before = m.B + (pfn - 1 << m.PS)
    if desc(pfn, last) == before + slab.sizeof | MemType.SLAB and desc(pfn - 1, last) == before | MemType.SLAB:
        pfn -= 1
    if kind_of(m, pfn) == MemType.FREE and desc(pfn, last) & 15 == MemType.FREE:
        pfn = block_of(m, pfn).start
    own = m.B + (pfn << m.PS)
    described = desc(pfn, last) == own | MemType.SLAB
    if described:
        pair = desc(pfn + 1, last) == own + slab.sizeof | MemType.SLAB
    else:
        pair = kind_of(m, pfn) == MemType.FREE and bool(block_of(m, pfn).order)
    candidates = [desc(pfn, first) & ~15 if desc(pfn, first) & 15 == MemType.FREE else 0]
    candidates += [block_of(m, p).buddy for p in range(pfn, min(pfn + _STRIP, m.nr_pages))]
    page2 = range(own + m.page_size, own + 2 * m.page_size) if pair else range(0)
    old = next((a for a in candidates if _in_ram(m, a, buddy) and a not in page2), 0)
    return Stage(pfn, pair, (old - m.B >> 3) if old else 0)


def built_page(m: Machine, recording: Recording) -> int | None:
    """Return the last page that came to describe itself while something was recorded, or None."""
    found = None
    for k in range(len(recording)):
        for address, _, new in recording.changes(k):
            pfn = (address - m.B >> 3) - m.MM
            if 0 <= pfn < m.nr_pages and new == m.B + (pfn << m.PS) | MemType.SLAB:
                found = pfn
    return found


def name_of(m: Machine, stage: Stage, address: int) -> str:
    """Name a word of RAM: a field of a struct on the stage's pages, or what m.whatis says."""
    page, at = divmod(address - m.B, m.page_size)
    struct = {stage.pfn: slab, stage.pfn + 1: buddy if stage.pair else None}.get(page) if address < m.V else None
    if struct is not None:
        i, rest = divmod(at, struct.sizeof)
        return f"page {page}, struct {struct.struct}[{i}].{_label(struct, rest)}"
    place = whatis(m, address)
    if place.struct is None:
        return f"page {page} + {at:#x}" if 0 <= page < m.nr_pages else place.name
    label = _label(place.struct, address - place.start)
    where = f"page {page}, " if 0 <= page < m.nr_pages and not m.mem_map_pfn <= page < m.mem_map_pfn + m.mem_map_pages else ""
    if place.struct is kmem_cache or place.name.startswith("kmem_cache_"):
        table, _, row = place.name.partition("[")
        if table in ("kmem_cache_node", "kmem_cache_cpu"):
            number = int(row[:-1])
            slot = number // m.config.nodes if table == "kmem_cache_node" else number % (NR_CACHES + 1)
            return f"{table} of {_cache_name(m, slot)}: {label}"
    return f"{where}{place.name}.{label}"


def value_of(m: Machine, value: int, hexadecimal: bool = False) -> str:
    """Say in a few characters what a word's value is: where it points to, or a number."""
    if value in (0, _WORD):
        return "0" if not value else f"{value:#x}"
    pfn, at = divmod(value - m.B, m.page_size)
    if value >= m.V:
        page, rest = divmod(value - m.V, PAGE_STRUCT_BYTES)
        return f"struct page {shown(page, hexadecimal)}" if not rest and page < m.nr_pages else f"{value:#x}"
    if 0 <= pfn < m.nr_pages:
        return f"{shown(pfn, hexadecimal)}+{at:#x}"
    if m.KA << 3 <= value - m.B < len(m.w) << 3:
        return _kernel_place(m, value)
    return f"{value:#x}" if hexadecimal or value >= 1 << 32 else str(value)


def _label(struct: type[Struct], offset: int) -> str:
    """Name the word of a struct; of several fields that share one, the first two."""
    names = struct.labels().get(offset, "padding").split(", ")
    return ", ".join(names[:2]) + (" …" if len(names) > 2 else "")


class _Drawing:
    """The pages' words.  ``written``: the addresses of the words that the step wrote."""

    def __init__(
        self, m: Machine, stage: Stage, hexadecimal: bool, recording: Recording | None, frame: int | None, cell: str | None
    ) -> None:
        self.m, self.stage, self.hexadecimal, self.cell = m, stage, hexadecimal, cell
        self.frame = frame
        self.written = {c.address for c in recording.changes(frame)} if recording is not None and frame is not None else set()
        self.cells: list[Cell] = []
        self.selection = ""
        self.targets: dict[int, tuple[float, float]] = {}  # address of a struct -> where arrows to it end
        self.keys: dict[Key, None] = {}
        self.named = [m.w[m.MM + p] for p in self._strip_pages()]
        self.links: dict[int, int] = {}  # page -> the word of its free objects that links them
        self.used: set[int] = set()  # addresses of the objects that are in use, on pages that are cut into descriptors
        self.free: set[int] = set()  # and of those that are free
        for slot, _cache in live_caches(m)[:2]:  # the first two are the caches of descriptors
            for s in slabs_of(m, slot):
                self.links[s.pfn] = cache_at(m, slot).offset >> 3
                self.used |= {s.object_at(i) for i in allocated(m, slot, s)}
                self.free |= {s.object_at(i) for i in range(s.objects)} - self.used

    def label(self) -> str:
        both = (
            f"Pages {self._n(self.stage.pfn)} and {self._n(self.stage.pfn + 1)}" if self.stage.pair else f"Page {self._n(self.stage.pfn)}"
        )
        return f"{both}, word by word" + ("" if self.frame is None else f", at step {self.frame}")

    def picture(self) -> Picture:
        m, stage = self.m, self.stage
        rows1, rows2 = slab.sizeof // 8, buddy.used // 8
        fragments = {"bootstrap-page1": self._heading(stage.pfn, 14) + self._fields(slab, 44)}
        start = stage.pfn << m.WS
        widths = [150.0] * _SLABS
        fragments["bootstrap-page1"] += self._structs(slab, start, widths, 24, 0, below=True)
        self._rest(fragments, "bootstrap-rest1", slab, stage.pfn, _SLABS, _LEFT + sum(widths), 24 + _ROW * (rows1 + 1))
        strip = 24 + _ROW * (rows1 + 1) + 46
        fragments["bootstrap-mem_desc"] = self._strip(strip, rows1)
        top = strip + 40 + 46
        svg = self._fields(buddy, top + _ROW)
        row = rows1 + 1
        if stage.pair:
            widths = [116.0] * _BUDDIES
            svg += self._structs(buddy, (stage.pfn + 1) << m.WS, widths, top, row)
            self._rest(fragments, "bootstrap-rest2", buddy, stage.pfn + 1, _BUDDIES, _LEFT + sum(widths), top + _ROW * (rows2 + 1))
            svg += self._heading(stage.pfn + 1, top + _ROW * (rows2 + 1) + 18)
        if stage.old:
            x = _LEFT + _WIDE - 124.0
            svg += self._structs(buddy, stage.old, [124.0], top, row, x, 3 if stage.pair else 0)
            host = stage.old >> m.WS
            where = f"on page {self._n(host)}" if host < m.nr_pages else "static, of boot"
            svg += text(_LEFT + _WIDE, top + _ROW * (rows2 + 1) + 18, f"old descriptor, {where}", "ml-end ml-heading", 12)
        fragments["bootstrap-page2"] = svg
        fragments["bootstrap-arrows"] = self._arrows(strip)
        fragments["bootstrap-selection"] = self.selection
        if self.written:
            self.keys[Key("ml-written", "●", "word written in this step")] = None
        height = top + _ROW * (rows2 + 1) + 24
        return Picture(fragments, _LEFT + _WIDE + 2, height, self.label(), tuple(self.keys), tuple(self.cells))

    # -- parts

    def _heading(self, pfn: int, y: float) -> str:
        m, kind = self.m, KINDS[kind_of(self.m, pfn)]
        words = kind.words
        if kind_of(m, pfn) == MemType.SLAB:
            si = (m.w[m.MM + pfn] & ~15) - m.B >> 3
            cache = m.w[si + slab.slab_cache.word] if _in_ram(m, m.w[m.MM + pfn] & ~15, slab) else 0
            words = f"slab of {_kernel_place(m, cache)}" if cache else "slab, not yet of any cache"
        return text(0, y, f"Page {self._n(pfn)}: {words}", "ml-heading", 13)

    def _fields(self, struct: type[Struct], y: float) -> str:
        short = {"inuse, objects, order, frozen, debug": "inuse/objects"}
        labels = [struct.labels().get(8 * i, "") for i in range(struct.used // 8)]
        return "".join(text(_LEFT - 6, y + _ROW * i + 14, short.get(label, label), "ml-end ml-dim", 11) for i, label in enumerate(labels))

    def _structs(
        self,
        struct: type[Struct],
        first: int,
        widths: list[float],
        y: float,
        row: int,
        left: float = _LEFT,
        column: int = 0,
        below: bool = False,
    ) -> str:
        """Draw structs that lie one after the other from word ``first`` on: a head each, and a row for each word."""
        m, svg, x = self.m, "", left
        for i, wide in enumerate(widths):
            at = first + i * (struct.sizeof // 8)
            address = m.B + 8 * at
            key, words = self._role(struct, at)
            self.keys[key] = None
            n = at % (1 << m.WS) // (struct.sizeof // 8)
            svg += text(x + 4, y + 14, f"{key.letter}[{n}] {words}", "ml-heading", 11)
            self.targets[address] = (x + wide / 2, y + _ROW * (struct.used // 8 + 1) + 2 if below else y)
            for word in range(struct.used // 8):
                top = y + _ROW * (word + 1)
                svg += self._word(struct, at, word, x, top, wide, key.kind)
                name = f"w-{self.stage.pfn}-{at + word}"
                said = f"{name_of(m, self.stage, m.B + 8 * (at + word))}: {self._value(struct, at, word, key.kind)}"
                self._cell(name, said + self._new(at + word), row + word, column + i, (x, top, wide, _ROW))
            x += wide
        return svg

    def _word(self, struct: type[Struct], at: int, word: int, x: float, y: float, wide: float, kind: str) -> str:
        svg = rect(x, y, wide, _ROW, f"ml-cell {kind}", f"w-{self.stage.pfn}-{at + word}")
        svg += text(x + 5, y + 14, self._value(struct, at, word, kind), f"ml-mono {kind}", 11)
        return svg + (self._mark(x, y, wide, kind) if self.m.B + 8 * (at + word) in self.written else "")

    def _mark(self, x: float, y: float, wide: float, kind: str, high: float = _ROW) -> str:
        return rect(x + 1.5, y + 1.5, wide - 3, high - 3, "ml-mark ml-written") + text(x + wide - 13, y + 14, "●", kind, 10)

    def _value(self, struct: type[Struct], at: int, word: int, kind: str) -> str:
        m, value = self.m, self.m.w[at + word]
        if kind == "ml-free" and word == self.links.get(at >> m.WS):
            return f"next: {value_of(m, value, self.hexadecimal)}" if value else "next: none"
        if word == 0:
            return f"{value:#x}"
        if struct is slab and word == slab.inuse.word and kind == "ml-slab":
            order, cpu = value >> 32 & 0xFF, ", the CPU's" if value >> 40 & 1 else ""
            return f"{value & 0xFFFF} of {value >> 16 & 0xFFFF}" + (f", order {order}" if order else "") + cpu
        if struct is slab and word == slab.slab_cache.word and value:
            return _kernel_place(m, value)
        return value_of(m, value, self.hexadecimal)

    def _role(self, struct: type[Struct], at: int) -> tuple[Key, str]:
        """Say what a struct is for now: it describes pages, somebody holds it, or it is free."""
        m, address = self.m, self.m.B + 8 * at
        if struct is slab:
            pages = [p for p, word in zip(self._strip_pages(), self.named, strict=True) if word == address | MemType.SLAB]
            if pages:
                return Key("ml-slab", "S", "struct slab, and the page that it describes"), f"for page {self._n(pages[0])}"
        else:
            pages = [p for p in self._strip_pages() if block_of(m, p).buddy == address]
            if not pages and self.frame is not None and at >> m.WS == self.stage.pfn + 1 and address not in self.free:
                pages = self._being_written(at)
            if pages:
                span = f"page {self._n(pages[0])}" if len(pages) == 1 else f"pages {self._n(pages[0])}–{self._n(pages[-1])}"
                return Key("ml-buddy", "B", "struct buddy, and the pages that it describes"), span
        if address in self.used and at >> m.WS in self.links:
            return Key("ml-table", "H", "held by whoever asked for it"), "handed out"
        return Key("ml-free", "f", "free object, or bytes of a free page"), "free" if at >> m.WS in self.links else "not in use"

    def _being_written(self, at: int) -> list[int]:
        """Return the pages of a struct buddy that no mem_desc leads to yet."""
        page, rest = divmod(self.m.w[at + buddy.page.word] - self.m.V, PAGE_STRUCT_BYTES)
        order = self.m.w[at + buddy.order.word] & 0xFFFF_FFFF
        return [p for p in self._strip_pages() if page <= p < page + (1 << order)] if not rest and order < _STRIP else []

    def _rest(self, fragments: dict[str, str], name: str, struct: type[Struct], pfn: int, drawn: int, x: float, bottom: float) -> None:
        """Draw the structs of a page that are not drawn one by one as one box that says how many they are."""
        m, n = self.m, self.m.page_size // struct.sizeof - drawn
        start = m.B + (pfn << m.PS)
        words = sum(start + drawn * struct.sizeof <= a < start + m.page_size for a in self.written)
        high = _ROW * (struct.used // 8)
        wide = _LEFT + _WIDE - x if struct is slab else 84
        svg = rect(x, bottom - high, wide, high, "ml-cell ml-free")
        svg += text(x + 6, bottom - high + 14, f"{n} more:", "ml-free", 11)
        svg += text(x + 6, bottom - high + 32, f"[{drawn}] to [{drawn + n - 1}]", "ml-free", 11)
        if words:
            svg += text(x + 6, bottom - high + 54, count(words, "word"), "ml-heading ml-free", 11)
            svg += text(x + 6, bottom - high + 70, "written", "ml-heading ml-free", 11)
            svg += self._mark(x, bottom - high, wide, "ml-free", high)
        fragments[name] = svg

    def _strip(self, y: float, row: int) -> str:
        m, wide = self.m, _WIDE / _STRIP
        svg = text(_LEFT - 6, y + 16, "mem_desc", "ml-end ml-heading", 12) + text(_LEFT - 6, y + 32, "of page", "ml-end ml-dim", 11)
        for i, (pfn, word) in enumerate(zip(self._strip_pages(), self.named, strict=True)):
            x, kind = _LEFT + i * wide, KINDS[kind_of(m, pfn)]
            name = f"desc-{self.stage.pfn}-{pfn}"
            svg += rect(x, y, wide, 40, f"ml-cell {kind.css}", name)
            svg += text(x + 5, y + 16, f"{kind.letter} {self._n(pfn)}", f"ml-heading {kind.css}", 12)
            svg += text(x + 5, y + 33, value_of(m, word & ~15, self.hexadecimal), f"ml-mono {kind.css}", 10)
            if m.B + 8 * (m.MM + pfn) in self.written:
                svg += self._mark(x, y, wide, kind.css, 40)
            self.keys[Key(kind.css, kind.letter, kind.words)] = None
            said = f"mem_desc of page {self._n(pfn)}: {kind.words}, at {value_of(m, word & ~15, self.hexadecimal)}{self._new(m.MM + pfn)}"
            self._cell(name, said, row, i, (x, y, wide, 40))
        return svg

    def _arrows(self, strip: float) -> str:
        svg = ""
        for i, (pfn, word) in enumerate(zip(self._strip_pages(), self.named, strict=True)):
            end = self.targets.get(word & ~15)
            if end:
                x = _LEFT + (i + 0.5) * _WIDE / _STRIP
                strong = "ml-strong" if self.m.B + 8 * (self.m.MM + pfn) in self.written else ""
                svg += arrow(x, strip if end[1] < strip else strip + 40, *end, strong)
        return svg

    def _strip_pages(self) -> range:
        first = self.stage.pfn & -_STRIP
        return range(first, min(first + _STRIP, self.m.nr_pages))

    def _cell(self, name: str, words: str, row: int, column: int, place: tuple[float, float, float, float]) -> None:
        self.cells.append(Cell(name, words, row, column))
        if name == self.cell:
            self.selection = rect(*place, "ml-selected-rim") + rect(*place, "ml-selected")

    def _new(self, word: int) -> str:
        return ", written in this step" if self.m.B + 8 * word in self.written else ""

    def _n(self, pfn: int) -> str:
        return shown(pfn, self.hexadecimal)


def _next(m: Machine) -> int:
    """Return the first page of the block that __alloc_slab would take now; if none is free, a page that describes itself, or page 0."""
    for order in range(m.max_order + 1):
        for z in m.zones:
            li = m.w[z.heads + 2 * order] - m.B >> 3
            if li != z.heads + 2 * order and 0 <= li < len(m.w) - 4:
                pfn = m.w[li - buddy.list.word + buddy.page.word] - m.V >> 3
                if 0 <= pfn < m.highmem_pfn:
                    return pfn
    own = (p for p in reversed(range(m.highmem_pfn)) if m.w[m.MM + p] == m.B + (p << m.PS) | MemType.SLAB)
    return next(own, 0)


def _in_ram(m: Machine, address: int, struct: type[Struct]) -> bool:
    return not address & 7 and m.B <= address <= m.B + 8 * len(m.w) - struct.sizeof


def _kernel_place(m: Machine, value: int) -> str:
    """Name what lies at an address of the kernel area: a list, a cache, a table."""
    if not m.KA << 3 <= value - m.B < len(m.w) << 3:
        return f"{value:#x}"
    place = whatis(m, value & ~7)
    if place.struct is None:
        return place.name
    table = place.name.partition("[")[0]
    label = place.struct.labels().get((value & ~7) - place.start, "")
    if table == "zone" and label.startswith("free_area"):
        return f"free list {label[label.index('[') + 1 : label.index(']')]}"
    if table == "kmem_cache" and place.start == value:
        return str(kmem_cache(m, value).name)
    return {"kmem_cache_node": "partial list", "static_buddy": "static buddy"}.get(table, place.name)


def _cache_name(m: Machine, slot: int) -> str:
    return str(kmem_cache(m, m.B + 8 * m.kc_at + slot * kmem_cache.sizeof).name)
