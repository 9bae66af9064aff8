"""Picture: SVG in named fragments, with a label, a legend and the cells that can be selected.

Made by the figures; shown by itself in a notebook, and by the labs, which send a browser only the fragments that changed.
Pure: equal arguments give equal text.  Standard library only; imports nothing of memlab.

All colours are classes of picture.css, so that one picture serves light and dark themes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

CSS: Final = (Path(__file__).parent / "picture.css").read_text(encoding="utf-8")
SCRIPT: Final = (Path(__file__).parent / "widget.js").read_text(encoding="utf-8")  # what all widgets' browser halves begin with
_GAP: Final = 24  # pixels between panels that stand side by side
_PAGE: Final = 1300  # pixels; a saved picture with wider panels has some of them below the others
_COLUMNS: Final = 1000  # for arrow keys, each panel begins at a multiple of this column (view.js divides by it)


class Cell(NamedTuple):
    """A place in a picture that can be selected: an id, words for it, and where arrow keys find it."""

    id: str
    label: str
    row: int
    column: int


class CellName(NamedTuple):
    """What the id of a cell says: a kind and numbers, ``object-40-3`` is ("object", (40, 3)).  Of any other text, nothing: a browser may send any."""

    kind: str = ""
    numbers: tuple[int, ...] = ()

    @classmethod
    def of(cls, cell: str | None) -> CellName:
        """Return what a cell's id says."""
        kind, *rest = (cell or "").split("-")
        whole = all(text.isascii() and text.isdecimal() and len(text) < 12 for text in rest)
        return cls(kind, tuple(map(int, rest))) if whole else cls()

    def of_kind(self, *kinds: str) -> int | None:
        """Return the one number of a cell of one of these kinds; None for any other."""
        return self.numbers[0] if self.kind in kinds and len(self.numbers) == 1 else None


class Key(NamedTuple):
    """One entry of a legend: the class that colours it, its letter, and what it means."""

    kind: str
    letter: str
    meaning: str


@dataclass(frozen=True)
class Picture:
    """``fragments``: {id: SVG elements}, painted in this order.  ``width``, ``height``: in pixels at normal size.

    ``label``: one sentence that says what is to be seen, used as caption and as text alternative.
    ``panels``: the pictures that it shows side by side, if it is made by ``panels()``; its fragments and cells are then theirs.
    """

    fragments: dict[str, str]
    width: float
    height: float
    label: str
    legend: tuple[Key, ...] = ()
    cells: tuple[Cell, ...] = field(default=(), repr=False)
    panels: tuple[Picture, ...] = ()

    @property
    def parts(self) -> tuple[Picture, ...]:
        """The panels, or the picture itself if it has none: what is drawn as one SVG each."""
        return self.panels or (self,)

    def html(self) -> str:
        """Return the picture as HTML that stands by itself: style, inline SVG, legend and caption.  Panels are side by side where there is room."""
        svgs = "".join(
            f'<svg viewBox="0 0 {number(p.width)} {number(p.height)}" width="{number(p.width)}" role="img" '
            f'style="--ml-width: {number(p.width)}px" aria-label="{escape(p.label)}">{p.groups()}</svg>'
            for p in self.parts
        )
        keys = "".join(f'<li><span class="ml-key {k.kind}">{escape(k.letter)}</span>{escape(k.meaning)}</li>' for k in self.legend)
        legend = f'<ul class="ml-legend">{keys}</ul>' if keys else ""
        body = f'<div class="ml-panels">{svgs}</div>' if self.panels else svgs
        return f'<figure class="memlab-picture"><style>{CSS}</style>{body}{legend}<figcaption>{escape(self.label)}</figcaption></figure>'

    def svg(self) -> str:
        """Return the picture as the text of one SVG file: panels as on a wide page, legend below, in the colours of a light theme."""
        x = y = bottom = width = 0.0
        body = ""
        for p in self.parts:
            if x and x + p.width > _PAGE:
                x, y = 0.0, bottom + _GAP
            body += f'<g transform="translate({number(x)} {number(y)})">{p.groups()}</g>'
            x += p.width + _GAP
            width, bottom = max(width, x - _GAP), max(bottom, y + p.height)
        x, y = 0.0, bottom + 12
        for key in self.legend:
            wide = 44 + 7 * len(key.meaning)
            if x and x + wide > width:
                x, y = 0.0, y + 28
            body += rect(x + 1, y, 20, 20, f"ml-cell ml-boxed {key.kind or 'ml-plain'}") + text(
                x + 11, y + 15, key.letter, f"ml-mid {key.kind}", 12
            )
            body += text(x + 28, y + 15, key.meaning, "", 12)
            x += wide
        height = y + 28 if self.legend else y
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 -12 {number(width + 24)} {number(height + 24)}" width="{number(width + 24)}" '
            f'height="{number(height + 24)}" role="img"><title>{escape(self.label)}</title><style>{_light_style()}</style>'
            f'<rect class="ml-paper" x="-12" y="-12" width="100%" height="100%"/>{body}</svg>'
        )

    def groups(self) -> str:
        """Return all fragments as SVG groups."""
        return "".join(f'<g data-fragment="{name}">{svg}</g>' for name, svg in self.fragments.items())

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return f"<Picture: {self.label}>"


def stack(label: str, *pictures: Picture, gap: float = 18) -> Picture:
    """Return one picture that shows several, each below the one before.  ValueError if ids of their fragments or cells are the same."""
    _told_apart(pictures)
    fragments: dict[str, str] = {}
    cells: list[Cell] = []
    y, row = 0.0, 0
    for picture in pictures:
        if picture.panels:
            raise ValueError(f"pictures side by side cannot be stacked: {picture.label}")
        fragments |= {name: f'<g transform="translate(0 {number(y)})">{svg}</g>' if y else svg for name, svg in picture.fragments.items()}
        if cells and picture.cells:
            row = max(c.row for c in cells) + 1
        cells += [Cell(id_, words, r + row, column) for id_, words, r, column in picture.cells] if row else picture.cells
        y += picture.height + gap
    return Picture(fragments, max(p.width for p in pictures), y - gap, label, _keys(pictures), tuple(cells))


def panels(label: str, *pictures: Picture) -> Picture:
    """Return one picture that shows several side by side, or below each other where there is no room.

    Each stays an SVG of its own; arrow keys go from one to the next.  ValueError if ids of their fragments or cells are the same.
    """
    parts = tuple(part for picture in pictures for part in picture.parts)
    _told_apart(parts)
    fragments: dict[str, str] = {}
    cells: list[Cell] = []
    for i, part in enumerate(parts):
        fragments |= part.fragments
        cells += [Cell(id_, words, row, column + _COLUMNS * i) for id_, words, row, column in part.cells] if i else part.cells
    width = sum(p.width for p in parts) + _GAP * (len(parts) - 1)
    return Picture(fragments, width, max(p.height for p in parts), label, _keys(parts), tuple(cells), parts)


def _told_apart(pictures: tuple[Picture, ...]) -> None:
    """Raise ValueError if two fragments of the pictures have the same id, or two cells of different pictures."""
    celled = [p for p in pictures if p.cells]
    for what, ids in (
        ("fragment", [i for p in pictures for i in p.fragments]),
        ("cell", [c.id for p in celled for c in p.cells] if len(celled) > 1 else []),
    ):
        if len(set(ids)) < len(ids):
            raise ValueError(f"two of the pictures have a {what} {next(i for i, n in Counter(ids).items() if n > 1)!r}")


def _keys(pictures: tuple[Picture, ...]) -> tuple[Key, ...]:
    """Return the entries of all legends, each once, in order."""
    return tuple(dict.fromkeys(key for p in pictures for key in p.legend))


@cache
def _light_style() -> str:
    """Return the rules of picture.css that colour shapes, with each variable replaced by what it is in a light theme."""
    rules = re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL)
    colours = dict(re.findall(r"(--ml-[a-z]+): (?:var\([^,]+, )?([^;)]+)\)?;", rules.split("}")[0]))
    colours = {name: re.sub(r"var\([^,]+, ", "", value) for name, value in colours.items()}
    shapes = [rule for rule in re.findall(r"[^{}]+\{[^}]*\}", rules) if ".ml-key" not in rule and "memlab-" not in rule]
    style = "".join(" ".join(rule.split()) for rule in shapes)
    style = re.sub(r"var\((--ml-[a-z]+)\)", lambda found: colours[found[1]], style)
    return re.sub(r"var\(--jp-[a-z-]+, ([^)]*)\)", r"\1", style)


# -- what figures draw with


@lru_cache(maxsize=8192)
def number(value: float) -> str:
    """Return a length as short text, without the noise of binary fractions."""
    return f"{value:.1f}".removesuffix(".0")


@lru_cache(maxsize=8192)  # after a click most shapes are as they were
def rect(x: float, y: float, width: float, height: float, kind: str, cell: str = "") -> str:
    """Return an SVG rectangle of a class; with ``cell`` it can be clicked."""
    select = f' data-cell="{cell}"' if cell else ""
    return f'<rect class="{kind}" x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"{select}/>'


@lru_cache(maxsize=8192)
def text(x: float, y: float, words: str, kind: str = "", size: float = 13) -> str:
    """Return SVG text whose baseline starts at (x, y)."""
    return f'<text class="ml-text {kind}" x="{number(x)}" y="{number(y)}" font-size="{number(size)}">{escape(words)}</text>'


def arrow(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    """Return an SVG line of a class from (x1, y1) to (x2, y2), with a head at its end."""
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    dx, dy = (x2 - x1) / length * 7, (y2 - y1) / length * 7
    head = f"{number(x2 - dx + dy / 2)} {number(y2 - dy - dx / 2)}L{number(x2)} {number(y2)}L{number(x2 - dx - dy / 2)} {number(y2 - dy + dx / 2)}"
    return f'<path class="ml-arrow {kind}" d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}M{head}"/>'


def shown(value: int, hexadecimal: bool) -> str:
    """Return a page frame number as the reader wants it."""
    return f"{value:#x}" if hexadecimal else str(value)


def count(n: int, thing: str) -> str:
    """Return a number with its unit: "1 page", "8 pages"."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def rows(cells: list[str], columns: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (row number, its SVG) for a list of cells, one string for each."""
    for at in range(0, len(cells), columns):
        yield at // columns, cells[at : at + columns]
