"""The picture of the Nesting lab: the call chain of the last call as written, beside that of the bounded design.

Used by the Nesting lab and by hand: ``nesting_lab(m)``.  Imports memlab.study (Nesting), call_chain and picture.
"""

from __future__ import annotations

from typing import Final

from ..study.nesting import Nesting, Run
from .call_chain import call_chain
from .picture import Picture, panels, text

SIDES: Final = {"written": "As written", "bounded": "Bounded"}


def nesting_lab(m: Nesting, moment: int | None = None, selected: str | None = None) -> Picture:
    """Draw the chains of both machines' last calls.

    ``moment``: show what was so up to then, in calls and returns since the call began; a chain that is shorter is shown as it ended.
    ``selected``: the id of a cell to mark, such as "written-call-3".
    """
    if m.runs is None:
        words = "No call was made since the start. The chains of the next one will stand here, side by side."
        none = [Picture({f"{side}-call_chain-heading": _none(title)}, 540, 50, title) for side, title in SIDES.items()]
        return panels(words, *none)
    both = [_chain(m, side, run, moment, selected) for side, run in zip(SIDES, m.runs, strict=True)]
    return panels(f"{both[0].label}. {both[1].label}", *both)


def _chain(m: Nesting, side: str, run: Run, moment: int | None, selected: str | None) -> Picture:
    at = None if moment is None else min(moment, max(2 * len(run.trace.calls) - 1, 0))
    ended = moment is None or moment >= 2 * len(run.trace.calls) - 1
    title = f"{SIDES[side]}: {run.call}" + (f" → {run.outcome}" if ended else "")
    return call_chain(run.trace, at, selected, m.frame_bytes, side, title)


def _none(title: str) -> str:
    return text(0, 13, title, "ml-heading", 14) + text(0, 36, "No call was made since the start: press Call.", "ml-dim", 12)
