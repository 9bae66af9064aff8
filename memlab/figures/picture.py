"""Picture: SVG in named fragments, with a label, a legend and the cells that can be selected.

Made by the figures; shown by itself in a notebook, and by the labs, which send a browser only the fragments that changed.
Pure: equal arguments give equal text.  Standard library only; imports nothing of memlab.

All colours are classes of picture.css, so that one picture serves light and dark themes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

CSS: Final = (Path(__file__).parent / "picture.css").read_text(encoding="utf-8")


class Cell(NamedTuple):
    """A place in a picture that can be selected: an id, words for it, and where arrow keys find it."""

    id: str
    label: str
    row: int
    column: int


class Key(NamedTuple):
    """One entry of a legend: the class that colours it, its letter, and what it means."""

    kind: str
    letter: str
    meaning: str


@dataclass(frozen=True)
class Picture:
    """``fragments``: {id: SVG elements}, painted in this order.  ``width``, ``height``: in pixels at normal size.

    ``label``: one sentence that says what is to be seen, used as caption and as text alternative.
    """

    fragments: dict[str, str]
    width: float
    height: float
    label: str
    legend: tuple[Key, ...] = ()
    cells: tuple[Cell, ...] = field(default=(), repr=False)

    def html(self) -> str:
        """Return the picture as HTML that stands by itself: style, inline SVG, legend and caption."""
        body = "".join(f'<g data-fragment="{name}">{svg}</g>' for name, svg in self.fragments.items())
        keys = "".join(f'<li><span class="ml-key {k.kind}">{escape(k.letter)}</span>{escape(k.meaning)}</li>' for k in self.legend)
        legend = f'<ul class="ml-legend">{keys}</ul>' if keys else ""
        return (
            f'<figure class="memlab-picture"><style>{CSS}</style>'
            f'<svg viewBox="0 0 {number(self.width)} {number(self.height)}" width="{number(self.width)}" role="img" '
            f'aria-label="{escape(self.label)}">{body}</svg>{legend}<figcaption>{escape(self.label)}</figcaption></figure>'
        )

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return f"<Picture: {self.label}>"


def stack(label: str, *pictures: Picture, gap: float = 18) -> Picture:
    """Return one picture that shows several, each below the one before.  Their fragments' ids must differ."""
    fragments: dict[str, str] = {}
    keys: dict[Key, None] = {}  # each once, in order
    cells: list[Cell] = []
    y, row = 0.0, 0
    for picture in pictures:
        for name, svg in picture.fragments.items():
            if name in fragments:
                raise ValueError(f"two of the pictures have a fragment {name!r}")
            fragments[name] = f'<g transform="translate(0 {number(y)})">{svg}</g>' if y else svg
        keys |= dict.fromkeys(picture.legend)
        cells += [c._replace(row=c.row + row) for c in picture.cells]
        row = max((c.row + 1 for c in cells), default=0)
        y += picture.height + gap
    return Picture(fragments, max(p.width for p in pictures), y - gap, label, tuple(keys), tuple(cells))


# -- what figures draw with


def number(value: float) -> str:
    """Return a length as short text, without the noise of binary fractions."""
    return f"{value:.1f}".removesuffix(".0")


def rect(x: float, y: float, width: float, height: float, kind: str, cell: str = "") -> str:
    """Return an SVG rectangle of a class; with ``cell`` it can be clicked."""
    select = f' data-cell="{cell}"' if cell else ""
    return f'<rect class="{kind}" x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"{select}/>'


def text(x: float, y: float, words: str, kind: str = "", size: float = 13) -> str:
    """Return SVG text whose baseline starts at (x, y)."""
    return f'<text class="ml-text {kind}" x="{number(x)}" y="{number(y)}" font-size="{number(size)}">{escape(words)}</text>'


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
