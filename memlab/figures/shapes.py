"""Many boxes and letters in few bytes: one path and one text element for all cells that look alike.

Used by the figures that draw hundreds of pages: a lab sends its browser at most 64 KiB for a click.  Pure; imports picture only.
What can be clicked is drawn apart, as see-through ``target``s that stay the same while colours and letters change.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from .picture import number, rect

_ADVANCE: Final = 0.64  # width of a letter or digit, in font sizes


@lru_cache(maxsize=8192)  # after a click most boxes are where they were
def box(x: float, y: float, width: float, height: float) -> str:
    """Return a rectangle as path data."""
    return f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z"


def path(data: str, kind: str) -> str:
    """Return a path of a class, or nothing if it has no data."""
    return f'<path class="{kind}" d="{data}"/>' if data else ""


@lru_cache(maxsize=8192)
def target(x: float, y: float, width: float, height: float, cell: str) -> str:
    """Return a see-through box that stands for a cell: what a click and the ring of the keyboard find."""
    return f'<path class="ml-target" d="{box(x, y, width, height)}" data-cell="{cell}"/>'


def target_grid(x: float, y: float, width: float, height: float, columns: int, rows: int, cell: str, first: int, each: int) -> str:
    """Return one see-through box that stands for many cells of equal size: "cell-first", "cell-(first + each)" and so on, row by row.

    A page with thousands of targets would be slow to paint; view.js finds which cell of a grid is meant.
    """
    numbers = f'data-columns="{columns}" data-rows="{rows}" data-first="{first}" data-each="{each}"'
    return rect(x, y, width, height, "ml-target").replace("/>", f' data-grid="{cell}" {numbers}/>')


def selection(x: float, y: float, width: float, height: float) -> str:
    """Return the mark of what is selected: a line with a rim, to be seen on any colour; a thin one where there is little room."""
    thin = " ml-thin" if min(width, height) < 24 else ""
    return rect(x, y, width, height, f"ml-selected-rim{thin}") + rect(x, y, width, height, f"ml-selected{thin}")


def words(placed: Iterable[tuple[float, str]], y: float, size: float, kind: str) -> str:
    """Return short words on one baseline, each centred on its x, as one text element; nothing if there are none."""
    xs, letters = [], []
    for x, word in placed:
        xs.append(_letters_at(x, len(word), size))
        letters.append(word)
    if not xs:
        return ""
    return f'<text class="ml-text ml-mid {kind}" y="{number(y)}" font-size="{number(size)}" x="{" ".join(xs)}">{"".join(letters)}</text>'


@lru_cache(maxsize=8192)
def _letters_at(x: float, n: int, size: float) -> str:
    """Return where each letter of a word of ``n`` letters stands that is centred on x."""
    start = x - (n - 1) / 2 * _ADVANCE * size
    return " ".join(number(start + i * _ADVANCE * size) for i in range(n))
