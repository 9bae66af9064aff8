"""The picture of a trace: the stack of calls as it grows and shrinks, and how much of a kernel stack that would be.

Used by the Nesting lab, chapter 09 and by hand: ``with m.trace() as t: m.alloc_pages(0)``, then ``call_chain(t)``.  Imports the core (gfp, trace),
call_rows, picture and shapes.

Time runs down, a row for each call; the stack grows to the right, a column for each frame.  A call is a bar in its frame's column, from the row in
which it was called to the last row before it returned, so that the bars that a row crosses are the stack at that time.  Its name stands beside
the bar's top, where nothing deeper can be.

Sources: arch/x86/include/asm/page_64_types.h for the sizes of stacks; Documentation/trace/ftrace.rst, "Stack trace", for the bytes of a frame.
"""

from __future__ import annotations

from typing import Final

from ..gfp import GFP
from ..trace import Arrival, Call, Trace
from .call_rows import Row, rows
from .picture import Cell, Key, Picture, count, rect, text
from .shapes import selection, target

STACK_BYTES: Final = 16 << 10  # THREAD_SIZE and IRQ_STACK_SIZE of x86-64, without KASAN
FRAME_BYTES: Final = 160  # assumed: the 18 frames in ftrace.rst have 2,928 bytes, 163 on average
_PAGES: Final = Key("ml-folio", "P", "page allocator")
_BUDDY: Final = Key("ml-buddy", "B", "cache of struct buddys")
_SLAB: Final = Key("ml-slab", "S", "cache of struct slabs")
_OTHER: Final = Key("ml-table", "U", "other caches, and users of pages")
_INTERRUPT: Final = Key("ml-anon", "I", "interrupt: its frames are on a stack of its own")
_RETURNED: Final = Key("ml-plain", "", "has returned")
_FOLDED: Final = Key("ml-free", "…", "folded: the same calls over and over")
_OF_PAGES: Final = frozenset({"alloc_pages", "get_free_page", "split_page", "free_pages", "free_page", "__alloc_slab"})
_OF_CACHE: Final = {"kmem_cache_buddy": _BUDDY, "kmem_cache_slab": _SLAB}

_STEP: Final = 18  # pixels from row to row
_WIDE: Final = 14  # of a column, where there are few
_BARS: Final = 380  # of all columns, at most
_GAUGE: Final = 340  # of 16 KiB
_OVER: Final = 60  # of what is beyond them
_LETTER: Final = 6.65  # of a row's words, of equal width


def call_chain(
    trace: Trace, moment: int | None = None, selected: str | None = None, frame_bytes: int = FRAME_BYTES, name: str = "", title: str = ""
) -> Picture:
    """Draw the calls of a trace, and a gauge of the kernel stack that they need.

    ``moment``: show what was so up to then, in calls and returns since the trace began (``Call.start``); None for all of it.  ``selected``: the id of
    a cell to mark and to tell more of, such as "call-0".  ``frame_bytes``: bytes of stack that a frame is taken to need, 1 to 16384.
    ``name``: begins the ids of fragments and cells, where two such pictures stand side by side.  ``title``: a heading.
    TypeError or ValueError for a bad argument.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"call_chain draws a trace, as m.trace() gives it, not {trace!r}")
    for what, value, most in (("moment", moment, 2 * len(trace.calls)), ("frame_bytes", frame_bytes, STACK_BYTES)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise TypeError(f"{what} is a whole number, not {value!r}")
        least = int(what == "frame_bytes")
        if value is not None and not least <= value <= most:
            raise ValueError(f"{what} is {least} to {most}, not {value}")
    return _Drawing(trace, moment, selected, frame_bytes, f"{name}-" if name else "", title).picture()


def call_words(call: Call) -> str:
    """Say what a call was asked for: "order 0, GFP_KERNEL"."""
    asked = [] if call.order is None else [f"order {call.order}"]
    try:
        asked += [] if call.n is None else [count(call.n, "object")]
        asked += [] if call.size is None else [count(call.size, "byte")]
        asked += [] if call.gfp is None else [GFP.show(call.gfp)]
    except (TypeError, ValueError):  # the call was refused for it
        return "what cannot be asked for"
    return ", ".join(asked)


def result_words(call: Call, moment: int | None = None) -> str:
    """Say what a call returned, if it has by a moment."""
    if not call.end or (moment is not None and call.end > moment):
        return "has not returned"
    if call.failed:
        return "returned NULL"
    match call.result:
        case None:
            return "returned"
        case list() as got:
            return f"returned {count(len(got), 'object')}"
        case tuple() as got:
            return f"returned pages {' and '.join(map(str, got))}"
        case int() as got if call.name in ("alloc_pages", "split_page"):
            return f"returned page {got}"
        case got:
            return f"returned {got:#x}" if isinstance(got, int) else f"returned {got}"


def depths(trace: Trace, moment: int | None = None) -> tuple[list[int], list[int]]:
    """Return the frames of the task and of interrupts on their stacks: [now, most so far] of each; ``moment`` as in call_chain."""
    events = sorted([(c.start, 1, c.context > 0) for c in trace.calls] + [(c.end, -1, c.context > 0) for c in trace.calls if c.end])
    now, most = [0, 0], [0, 0]
    for time, step, interrupt in events:
        if moment is not None and time > moment:
            break
        now[interrupt] += step
        most[interrupt] = max(most[interrupt], now[interrupt])
    return [now[0], most[0]], [now[1], most[1]]


class _Drawing:
    """The fragments and cells of a call chain while it is drawn."""

    def __init__(self, trace: Trace, moment: int | None, selected: str | None, frame_bytes: int, prefix: str, title: str) -> None:
        self.trace, self.moment, self.selected = trace, moment, selected
        self.frame_bytes, self.prefix, self.title = frame_bytes, prefix, title
        self.rows = rows(trace)
        self.columns = _columns(self.rows)
        self.wide = min(_WIDE, _BARS / max(len(set(self.columns.values())), 1))
        self.fragments: dict[str, str] = {}
        self.cells: list[Cell] = []
        self.keys: dict[Key, None] = {}
        self.mark = ""
        self.told = (
            ["Select a call to see what it was asked for.", ""] if prefix or selected else []
        )  # where it stands by itself, nobody can
        self.width = _GAUGE + _OVER + 140.0

    def picture(self) -> Picture:
        top = self._gauges(self._heading())
        for i, row in enumerate(self.rows):
            self._row(row, i, top)
        bottom = top + len(self.rows) * _STEP
        self._now(top)
        self.fragments[f"{self.prefix}call_chain-selection"] = self.mark
        told = "".join(text(0, bottom + 19 + 17 * i, line, "", 12) for i, line in enumerate(self.told))
        self.fragments[f"{self.prefix}call_chain-told"] = told
        order = (_PAGES, _BUDDY, _SLAB, _OTHER, _INTERRUPT, _RETURNED, _FOLDED)
        legend = tuple(key for key in order if key in self.keys)
        return Picture(self.fragments, self.width, bottom + (42 if self.told else 4), self._label(), legend, tuple(self.cells))

    # -- above the rows

    def _heading(self) -> float:
        if not self.title:
            return 0
        calls, interrupts = count(len(self.trace.calls), "call"), self.trace.interrupts
        words = calls + (f", {count(len(interrupts), 'interrupt')}" if interrupts else "")
        self.fragments[f"{self.prefix}call_chain-heading"] = text(0, 13, self.title, "ml-heading", 14) + text(
            14 + 9.2 * len(self.title), 13, words, "ml-dim", 12
        )
        return 24

    def _gauges(self, y: float) -> float:
        """Draw a gauge of the task's stack, and one of interrupts' if any came; return where they end."""
        task, interrupt = depths(self.trace, self.moment)
        y = self._gauge("task", "Task's stack", task, y)
        if self.trace.interrupts:
            y = self._gauge("interrupts", "Interrupts' stack", interrupt, y)
        scale = "".join(
            rect(_GAUGE * k / 4 - 0.5, y - 4, 1, 5, "ml-mark-min")
            + text(_GAUGE * k / 4, y + 12, f"{4 * k} KiB", "ml-dim" + " ml-mid" * (k > 0), 11)
            for k in range(5)
        )
        source = " (163 on average in ftrace's documentation)" if self.frame_bytes == FRAME_BYTES else ""
        assumed = text(0, y + 29, f"Assumed: {self.frame_bytes:,} bytes a frame{source}; compilers differ.", "ml-dim", 11)
        self.fragments[f"{self.prefix}call_chain-scale"] = scale + assumed
        return y + 44

    def _gauge(self, which: str, words: str, frames: list[int], y: float) -> float:
        now, most = frames
        shown = most if self.moment is None else now
        used, deepest = shown * self.frame_bytes, most * self.frame_bytes
        said = (
            f"{words}, {'at its deepest' if self.moment is None else 'now'}: {count(shown, 'frame')} × {self.frame_bytes} = {used:,} bytes"
        )
        said += f", {100 * used / STACK_BYTES:.0f} %"
        svg = text(0, y + 12, said, "", 12)
        y += 17
        svg += rect(0, y, _GAUGE, 14, "ml-cell ml-boxed ml-free")
        kind = _INTERRUPT.kind if which == "interrupts" else "ml-vmalloc"
        svg += rect(0, y, _GAUGE * min(used / STACK_BYTES, 1), 14, f"ml-cell ml-boxed {kind}") if used else ""
        if deepest > STACK_BYTES:
            over = "overflow" if used > STACK_BYTES else "overflowed"
            if used > STACK_BYTES:
                svg += rect(_GAUGE, y, _OVER, 14, "ml-over")
                svg += "".join(rect(_GAUGE + x, y, 4, 14, "ml-over-stripe") for x in range(4, _OVER, 10))
            svg += text(_GAUGE + _OVER + 6, y + 12, over, "ml-heading", 12)
        if self.moment is not None and most > now and deepest <= STACK_BYTES:
            x = _GAUGE * deepest / STACK_BYTES
            svg += rect(x - 1, y - 3, 2, 20, "ml-mark-min") + text(
                max(x, 4) + 5, y + 12, f"deepest so far: {most}", "ml-dim" if x > _GAUGE * used / STACK_BYTES else "", 11
            )
        self.fragments[f"{self.prefix}call_chain-gauge-{which}"] = svg
        return y + 22

    # -- rows

    def _row(self, row: Row, i: int, top: float) -> None:
        y = top + i * _STEP
        first, last = self.columns[row.level], self.columns[row.deepest]
        x, right = 1 + first * self.wide, 1 + (last + 1) * self.wide
        key, returned, words, dim, long = self._told_of(row)
        cell = f"{self.prefix}{_cell(row)}"
        svg = ""
        if self._happened(row.start):
            shown = _RETURNED if returned else key
            self.keys[key] = self.keys[shown] = None
            kind = f"ml-cell ml-boxed {shown.kind}" + (" ml-dashed" if row.folded or key is _INTERRUPT else "")
            for column, end in self._bars(row).items():
                svg += rect(1 + column * self.wide, y, self.wide, self._height(i, end), kind)
            if self.wide > 7:
                svg += text(x + self.wide / 2, y + 13, key.letter, f"ml-mid {shown.kind}", 11)
            svg += text(right + 5, y + 13, words, "ml-mono" + " ml-heading" * (row.arrival is not None), 11)
            svg += text(right + 12 + _LETTER * len(words), y + 13, dim, "ml-mono ml-dim", 11) if dim else ""
            svg += target(x, y, right - x + 8 + _LETTER * len(words), _STEP - 2, cell)
            self.cells.append(Cell(cell, long, i, first))
            if cell == self.selected:
                self.mark = selection(x, y, right - x, self._height(i, self._bars(row).get(first, row.start)))
                self.told = [*long.split("; ", 1), ""][:2]
        self.width = max(self.width, right + 16 + _LETTER * (len(words) + len(dim)))
        self.fragments[f"{self.prefix}call_chain-{_cell(row)}"] = svg

    def _bars(self, row: Row) -> dict[int, float]:
        """Return {column: when its bar ends} of a row."""
        if row.arrival is not None:
            ends = [call.end or float("inf") for call in self.trace.calls if call.context == row.arrival.number]
            return {self.columns[row.level]: max(ends, default=row.start)}
        bars: dict[int, float] = {}
        for call in self.trace.calls[row.first : row.first + row.n]:
            column = self.columns[call.level]
            bars[column] = max(bars.get(column, 0), call.end or float("inf"))
        return bars

    def _height(self, i: int, end: float) -> float:
        """Return the height of a bar that begins in row ``i`` and ends at a time."""
        below = [k for k in range(i + 1, len(self.rows)) if self.rows[k].start < end and self._happened(self.rows[k].start)]
        return (max(below, default=i) - i + 1) * _STEP - 2

    def _told_of(self, row: Row) -> tuple[Key, bool, str, str, str]:
        """Return how a row looks, whether what it tells of has returned, and its words: beside the bar, dim after these, and by themselves."""
        if row.arrival is not None:
            words = str(row.arrival)
            return _INTERRUPT, self._back(row.arrival), words, "", f"{words[0].upper()}{words[1:]}"
        calls = self.trace.calls[row.first : row.first + row.n]
        if row.folded:
            n = sum(1 for c in calls if self._happened(c.start))
            began = "" if n == len(calls) else f"; {n} so far"
            deep = f", frames {row.level} to {row.deepest}"
            if not row.times:
                words = f"{count(len(calls), 'more call')}{deep}{began}"
            else:
                each = len(calls) // row.times
                same = "the same call" if each == 1 else f"the same {each} calls"
                further = f", {abs(row.shift)} frames {'deeper' if row.shift > 0 else 'higher'} each time" if row.shift else ""
                words = f"{row.times} × {same}{further}{began}"
            return _FOLDED, self._returned(calls), words, "", f"Folded: {words}{deep if row.times else ''}"
        call = calls[0]
        key = _INTERRUPT if call.context else _OF_CACHE.get(call.cache) or (_PAGES if call.name in _OF_PAGES else _OTHER)
        small = next((w for w in call_words(call).split(", ") if w and not w.startswith(("GFP", "_"))), "")
        null = "→ NULL" if call.failed and self._happened(call.end) else ""
        where = f"of interrupt {call.context}" if call.context else "of the task"
        asked = f"{call_words(call)}: " if call_words(call) else ""
        long = f"{call}, frame {call.depth} {where}; {asked}{result_words(call, self.moment)}"
        return key, self._returned(calls), str(call), " ".join(filter(None, (small, null))), long

    def _returned(self, calls: list[Call]) -> bool:
        return self.moment is not None and all(call.end and call.end <= self.moment for call in calls)

    def _back(self, arrival: Arrival) -> bool:
        """Whether an interrupt's handler is done, as far as its calls tell."""
        mine = [call for call in self.trace.calls if call.context == arrival.number]
        if self.moment is None:
            return False
        after = min(
            (c.start for c in self.trace.calls if c.start >= arrival.start and c.context != arrival.number), default=arrival.call.end
        )
        return self._returned(mine) if mine else self.moment >= min(after, arrival.call.end or after)

    def _happened(self, time: int) -> bool:
        return self.moment is None or time <= self.moment

    def _now(self, top: float) -> None:
        """Draw the line between what has happened and what has not."""
        svg = ""
        if self.moment is not None and self.rows:
            y = top + sum(self._happened(row.start) for row in self.rows) * _STEP - 1
            svg = rect(0, y - 1, self.width, 2, "ml-now")
        self.fragments[f"{self.prefix}call_chain-now"] = svg

    def _label(self) -> str:
        task, interrupt = depths(self.trace, self.moment)
        k = int(self.moment is None)
        title = f"{self.title}: " if self.title else ""
        when = "at its deepest" if k else "now"
        frames = count(task[k], "frame") + (f" and {interrupt[k]} of interrupts" if self.trace.interrupts else "")
        used = max(task[k], interrupt[k]) * self.frame_bytes
        over = ", more than there is" if used > STACK_BYTES else ""
        said = f"{title}{count(len(self.trace.calls), 'call')}, {when} {frames} deep; at {self.frame_bytes} bytes a frame that is {used:,} bytes of a 16 KiB stack{over}"
        return said if self.trace.calls else f"{title}no call was made"


def _cell(row: Row) -> str:
    if row.arrival is not None:
        return f"interrupt-{row.arrival.number}"
    return f"{'calls' if row.folded else 'call'}-{row.first}"


def _columns(found: list[Row]) -> dict[int, int]:
    """Return the column of each level: those of rows that are drawn get one each, those between two of them share one."""
    drawn = sorted({row.level for row in found if not row.folded})
    folded = [row for row in found if row.folded]
    columns: dict[int, int] = {}
    column, last = 0, 0
    deepest = max([*drawn, *(row.deepest for row in folded)], default=0)
    for level in [*drawn, deepest + 1]:
        if level > last + 1:
            columns |= dict.fromkeys(range(last + 1, level), column)
            column += 1
        columns[level], last = column, level
        column += 1
    del columns[deepest + 1]
    return columns
