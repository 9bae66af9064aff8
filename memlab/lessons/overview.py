"""Progress on the screen: a table of all chapters with what has been done, and a way to take it elsewhere.

Used by progress() in notebooks and by ``python -m memlab.lessons progress``.  Imports registry, results, sheet and figures; no widgets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..figures.picture import count
from ..labs.refused import Refused
from . import results
from .registry import chapters
from .results import Progress
from .sheet import Block, Button, Sheet, text

_MARKS = {True: "done", False: "tried", None: "open"}


class Row(NamedTuple):
    """One chapter: what was done, of how much."""

    chapter: str
    exercises: tuple[tuple[str, str], ...]  # (stars, "done", "tried" or "open")
    predictions: tuple[int, int]  # right, of all
    drills: int  # questions answered right

    @property
    def done(self) -> int:
        """Exercises that are done."""
        return sum(state == "done" for _, state in self.exercises)


def rows(known: Progress) -> list[Row]:
    """Return the table, a row for each chapter that has exercises."""
    return [
        Row(
            f"{c.number} {c.title}",
            tuple((e.stars, _MARKS[known.exercises.get(e.id)]) for e in c.exercises),
            (sum(known.predictions.get(p.id, False) for p in c.predictions), len(c.predictions)),
            sum(len(known.drills.get(d.id, ())) for d in c.drills),
        )
        for c in chapters()
        if c.exercises
    ]


def as_text(known: Progress) -> str:
    """Return the table as text for a terminal."""
    table = rows(known)
    width = max((len(row.chapter) for row in table), default=0)
    lines = [f"{'Chapter':{width}}  exercises  predictions  drills"]
    for row in table:
        right, of = row.predictions
        lines.append(f"{row.chapter:{width}}  {row.done:4} of {len(row.exercises)}  {right:5} of {of:2}  {row.drills:6}")
    return "\n".join([*lines, *filter(None, [_unread(known)])])


class ProgressSheet(Sheet):
    """The table, with buttons to read it again, to save the results as a file and to bring such a file in."""

    title = "Your progress"

    def blocks(self) -> list[Block]:
        """Return the table as it is now."""
        try:
            known = results.read()
        except OSError as error:
            return [text(f"Your progress cannot be read: {error.strerror or error}.")]
        found: list[Block] = [{"key": "table", "kind": "progress", "rows": [_row(row) for row in rows(known)]}]
        return [*found, text(_unread(known), "unread")] if known.unread else found

    def buttons(self) -> list[Button]:
        """Return the three buttons."""
        return [
            Button("refresh", "Refresh", self._refresh),
            Button("export", "Save as a file", self._export),
            Button("import", "Bring in a file", self._import, "file"),
        ]

    def static_html(self) -> str:
        """Return nothing: a slide shows nobody's progress."""
        return ""

    def _refresh(self) -> None:
        self.say("The table is up to date.")

    def _export(self) -> None:
        self._try(self._save)

    def _save(self) -> str:
        saved = results.export()
        if not saved:
            return "There is nothing to save yet."
        self.download = ("memlab-progress.jsonl", saved)
        return "Saved as memlab-progress.jsonl, where your browser puts downloads."

    def _import(self, file: object) -> None:
        if file is None:
            raise Refused("Choose a file first.")
        if not isinstance(file, str):
            raise Refused("A file of progress is text.")
        self._try(lambda: brought(*results.bring_in(file)))

    def _try(self, what: Any) -> None:
        try:
            self.say(what())
        except ValueError as error:
            self.say(str(error), "wrong")
        except OSError as error:
            self.say(f"That failed: {error.strerror or error}.", "wrong")


def brought(news: int, unread: int) -> str:
    """Return a sentence about a file that was brought in: how many results were new, how many lines could not be read."""
    said = f"{count(news, 'new result')} brought in" if news else "Nothing in it was new"
    return f"{said}; left out, as they cannot be read: {count(unread, 'line')}." if unread else f"{said}."


def _row(row: Row) -> dict[str, Any]:
    return {"chapter": row.chapter, "exercises": row.exercises, "predictions": row.predictions, "drills": row.drills}


def _unread(known: Progress) -> str:
    return f"Left as found in progress.jsonl, as they cannot be read: {count(known.unread, 'line')}." if known.unread else ""
