"""The picture of the Buddy lab: counters and page map, the tree of blocks, the free lists, and the descriptor of what is selected.

Used by the lab of the same name, by slides and by hand: ``buddy_lab(m)``.  Imports the core and the other figures; never labs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..machine import Machine
from .descriptor import descriptor, home_of
from .free_lists import free_lists
from .page_map import WIDTH, Mark, page_map
from .picture import Picture, panels, rect, stack, text
from .tree import tree

_COUNTERS: Final = (
    ("descriptors taken", ("buddies_allocated",)),
    ("descriptors given back", ("buddies_freed",)),
    ("mem_desc words rewritten", ("words_split", "words_merged", "words_moved")),
    ("splits", ("splits",)),
    ("merges", ("merges",)),
)


def buddy_lab(
    m: Machine,
    pages: range | None = None,
    selected: int | None = None,
    hexadecimal: bool = False,
    since: Mapping[str, int] | None = None,
    marks: Sequence[Mark] = (),
) -> Picture:
    """Draw what the Buddy lab shows of ``pages`` (all, unless given).

    ``selected``: a pfn; its block is marked everywhere and its descriptor is opened.  ``hexadecimal``: how page numbers are written.
    ``since``: ``m.stats`` of the moment from which the counters count; boot, unless given.  ``marks``: outlines more on the page map.
    ValueError for pages that do not exist.
    """
    home = home_of(m, selected) if selected is not None else None
    if home is not None:
        marks = (*marks, Mark(range(home, home + 1), "ml-home", "D", "page that the descriptor of the selected block lies in"))
    left = page_map(m, pages, selected, hexadecimal, marks)
    counted = counters(m, since)
    label = f"{left.label}, with their tree of blocks, the free lists and the selected block's descriptor"
    return panels(
        label,
        stack(f"{counted.label}. {left.label}", counted, left, gap=12),
        tree(m, pages, selected, hexadecimal),
        free_lists(m, hexadecimal, selected),
        descriptor(m, selected, hexadecimal),
    )


def counters(m: Machine, since: Mapping[str, int] | None = None) -> Picture:
    """Draw what the counters in RAM have counted since ``since`` (``m.stats`` of that moment; boot, unless given)."""
    now = m.stats
    found = [(words, sum(now[name] - (since or {}).get(name, 0) for name in names)) for words, names in _COUNTERS]
    svg = text(0, 12, "Since the lab began" if since is not None else "Since boot", "ml-heading", 13)
    x, letters = 0.5, sum(len(words) for words, _ in found)
    room = WIDTH - 1 - 5 * (len(found) - 1) - 20 * len(found)  # for the words
    for words, n in found:
        wide = 20 + room * len(words) / letters
        svg += rect(x, 18, wide, 42, "ml-cell ml-boxed ml-plain")
        svg += text(x + wide / 2, 37, f"{n:,}", "ml-mid ml-first", 16) + text(x + wide / 2, 53, words, "ml-mid ml-dim", 11)
        x += wide + 5
    label = "Counted: " + ", ".join(f"{n:,} {words}" for words, n in found)
    return Picture({"counters": svg}, WIDTH, 62, label)
