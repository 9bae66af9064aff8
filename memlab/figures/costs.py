"""What designs of page metadata cost, drawn: as curves over the order or over a mix, and as the bill of one machine, by kind.

Used by chapter 11 and by hand: ``cost_curve()``, ``cost_mix()``, ``cost_bars(m)``.  Imports study.accounting, the core and picture.

In the curves a box with the number of bytes of its struct page stands for a design; boxes that would cover each other stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ..machine import Machine
from ..study import accounting
from ..study.accounting import DESIGNS, MEM_DESC, TODAY, Account, Design
from .picture import Key, Picture, number, panels, rect, text

_COLOURS: Final = ("ml-none", "ml-buddy", "ml-folio", "ml-file", "ml-slab", "ml-table", "ml-anon")  # of designs, in order
_KINDS: Final = {  # of metadata: colour, letter
    "page": ("ml-none", "P"),
    "buddy": ("ml-buddy", "B"),
    "slab": ("ml-slab", "S"),
    "folio": ("ml-folio", "F"),
    "anonmem": ("ml-anon", "A"),
    "filemem": ("ml-file", "f"),
    "ptdesc": ("ml-table", "T"),
    "vmalloc": ("ml-vmalloc", "V"),
}
_LEFT: Final = 40.0  # pixels: where the plot begins, below its y axis's numbers
_TOP: Final = 44.0
_STEPS: Final = {"order": 46.0, "mix": 58.0}  # from one place on the x axis to the next
_HIGH: Final = 280.0
_BOX: Final = (18.0, 15.0)
_NAMES: Final = 106.0  # of the bars: room for the designs' names
_BAR: Final = 330.0


class Line(NamedTuple):
    """One design in a chart: a value for each place on the x axis."""

    design: Design
    values: list[float]


def cost_curve(
    descriptors: Sequence[str | int] = ("buddy", "anonmem"), designs: Sequence[Design] = DESIGNS, max_order: int = 11
) -> Picture:
    """Draw bytes of metadata a page over the order of blocks, a chart for each kind of descriptor.  Raises as accounting.curve does."""
    rows = accounting.curve(descriptors, designs, max_order).rows
    most = max(value for columns in rows.values() for values in columns.values() for value in values)
    charts, ticks, blocks = [], [str(k) for k in range(max_order + 1)], f"blocks of order 0 to {max_order}"
    for descriptor, columns in rows.items():
        lines = [Line(*column) for column in columns.items()]
        charts.append(_chart(f"cost_curve-{descriptor}", f"{blocks}, {_of(descriptor)}", "order", ticks, lines, most))
    label = f"Bytes of metadata a page, {blocks}: {'; '.join(map(_of, rows))}"
    return charts[0] if len(charts) == 1 else panels(label, *charts)


def cost_mix(
    single: tuple[int, str] = (0, "anonmem"), rest: tuple[int, str] = (9, "folio"), designs: Sequence[Design] = DESIGNS
) -> Picture:
    """Draw bytes of metadata a page over the share of memory that is in blocks of the kind ``single``, all else being of the kind ``rest``.

    ``single``, ``rest``: (order, descriptor).  A dashed line shows where the first two designs take equally much.  Raises as accounting.of_mix does.
    """
    shares = range(0, 101, 10)
    mixes = [accounting.of_mix({single: s / 100, rest: 1 - s / 100} if single != rest else {rest: 1}, designs) for s in shares]
    lines = [Line(design, [mix[design.name] for mix in mixes]) for design in designs]
    one, other = (f"order {order}, {_of(descriptor)}" for order, descriptor in (single, rest))
    at = accounting.tipping_share(single, rest, designs[1], designs[0]) if len(designs) > 1 else None
    marks = [] if at is None else [(at * 10, f"equal at {100 * at:.1f} %")]
    most = max(value for line in lines for value in line.values)
    return _chart(
        "cost_mix", f"the rest is {other}", f"per cent of memory in blocks of {one}", [str(s) for s in shares], lines, most, marks
    )


def cost_bars(of: Machine | Account, designs: Sequence[Design] = DESIGNS) -> Picture:
    """Draw the metadata of a machine by kind: as RAM has it, with the room in its pages, and what the same blocks take on paper under each design."""
    if not isinstance(of, (Machine, Account)):
        raise TypeError(f"cost_bars takes a Machine or an Account of one, not {of!r}")
    account = accounting.of_machine(of) if isinstance(of, Machine) else of
    bars = [("in RAM", account), *((design.name, account.under(design)) for design in designs)]
    scale = _BAR / max(a.total for _, a in bars)
    fragments, used = (
        {"cost_bars-heading": text(0, 14, f"Metadata for {account.number['page']:,} pages", "ml-heading", 13)},
        dict[str, None](),
    )
    for i, (name, a) in enumerate(bars):
        y, x = 26.0 + 30 * i + (8 if i else 0), _NAMES
        svg = text(0, y + 16, name, "ml-heading" if not i else "", 12)
        for kind, n in [*a.nbytes.items(), ("room", a.room)]:
            if not n:
                continue
            used[kind] = None
            css, letter = _KINDS.get(kind, ("ml-free", "r"))
            svg += rect(x, y, n * scale, 22, f"ml-cell {css}")
            svg += text(x + n * scale / 2, y + 15, letter, f"ml-mid {css}", 12) if n * scale >= 12 else ""
            x += n * scale
        svg += rect(_NAMES, y, a.total * scale, 22, "ml-block")
        svg += text(_NAMES + a.total * scale + 8, y + 15, f"{a.total:,} bytes, {a.per_page:.1f} a page", "", 12)
        fragments[f"cost_bars-{i}"] = svg
    keys = [Key(*_KINDS[kind], f"struct {kind}") for kind in _KINDS if kind in used]
    keys += [Key("ml-free", "r", "room: bytes of these pages with nothing in them")] if "room" in used else []
    label = f"{account.number['page']:,} pages: {account.per_page:.2f} bytes of metadata a page in RAM, beside the designs on paper"
    return Picture(fragments, _NAMES + _BAR + 190, 26 + 30 * len(bars) + 10, label, tuple(keys))


# -- charts


def _chart(
    name: str, of: str, x_words: str, ticks: list[str], lines: list[Line], most: float, marks: Sequence[tuple[float, str]] = ()
) -> Picture:
    """Draw lines over equally spaced places.  ``of``: what they are about; ``most``: the largest value; ``marks``: (place, words) of dashed lines."""
    grid = next(n for n in (16, 32, 64, 128, 256, 512, 1 << 40) if most <= 8.5 * n)
    top = (most // grid + (0.5 if most % grid == 0 else 1)) * grid  # room for a box above the largest value
    step = _STEPS["order" if x_words == "order" else "mix"]
    right = _LEFT + step * len(ticks)

    def height(value: float) -> float:
        return _TOP + _HIGH * (1 - value / top)

    def place(i: float) -> float:
        return _LEFT + step * (i + 0.5)

    svg = text(0, 14, "Bytes of metadata a page", "ml-heading", 13) + text(0, 31, of, "ml-dim", 12)
    for value in range(0, int(top) + 1, grid):
        svg += f'<path class="ml-tick" d="M{number(_LEFT)} {number(height(value))}H{number(right)}"/>'
        svg += text(_LEFT - 6, height(value) + 4, str(value), "ml-end ml-dim", 12)
    for i, tick in enumerate(ticks):
        svg += text(place(i), _TOP + _HIGH + 18, tick, "ml-mid ml-dim", 12)
    svg += text((_LEFT + right) / 2, _TOP + _HIGH + 36, x_words, "ml-mid ml-dim", 12)
    for at, words in marks:
        x = place(at)
        svg += f'<path class="ml-arrow ml-dim" d="M{number(x)} {number(_TOP)}V{number(_TOP + _HIGH)}"/>'
        svg += text(x + 5, _TOP + _HIGH - 8, words, "ml-heading", 12)
    fragments = {f"{name}-axes": svg}
    for line in lines:
        points = "L".join(f"{number(place(i))} {number(height(value))}" for i, value in enumerate(line.values))
        fragments[f"{name}-line-{line.design.name}"] = f'<path class="ml-edge{" ml-strong" * (line.design is MEM_DESC)}" d="M{points}"/>'
    for i in range(len(ticks)):
        fragments[f"{name}-{i}"] = _boxes(place(i), [(height(line.values[i]), n, line.design) for n, line in enumerate(lines)])
    keys = tuple(Key(_colour(n), str(line.design.page), _words(line.design)) for n, line in enumerate(lines))
    label = f"Bytes of metadata a page, {of}" if x_words == "order" else f"Bytes of metadata a page by {x_words}; {of}"
    return Picture(fragments, right + 4, _TOP + _HIGH + 42, label, keys)


def _boxes(x: float, there: list[tuple[float, int, Design]]) -> str:
    """Draw the boxes of one place: (y, number of the design, design).  Those that would cover each other stand side by side."""
    wide, high = _BOX
    groups: list[list[tuple[float, int, Design]]] = []
    for box in sorted(there, key=lambda box: box[:2]):
        if groups and box[0] - groups[-1][-1][0] < high - 1:
            groups[-1].append(box)
        else:
            groups.append([box])
    svg = ""
    for group in groups:
        for i, (y, n, design) in enumerate(sorted(group, key=lambda box: box[1])):
            at = x + (i - (len(group) - 1) / 2) * wide
            svg += rect(at - wide / 2, y - high / 2, wide, high, f"ml-cell ml-boxed {_colour(n)}")
            svg += text(at, y + 4, str(design.page), f"ml-mid {_colour(n)}", 10.5)
    return svg


def _of(descriptor: str | int) -> str:
    if descriptor == "buddy":
        return "only a struct buddy"
    return f"with a descriptor of {descriptor} bytes" if isinstance(descriptor, int) else f"with a struct {descriptor}"


def _colour(n: int) -> str:
    return _COLOURS[n % len(_COLOURS)]


def _words(design: Design) -> str:
    what = "today's, everything in it" if design == TODAY else "struct buddy allocated" if design.buddy else "buddy data in it"
    return f"{design.name}: {what}"
