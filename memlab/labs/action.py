"""Action: one thing that a lab can do, declared once; buttons, keyboard, "show code" and random tests all derive from it.

Used by the labs' declarations, by Session (which runs actions) and by LabView (which draws their controls).
Imports nothing of memlab but, for type hints, Session; never widgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .session import Session


class Refused(Exception):
    """An action was not done, and RAM was not touched; the message is a sentence for the learner."""


class Done(NamedTuple):
    """What an action did: a sentence, and the cell to select now (None: leave the selection as it is)."""

    sentence: str
    cell: str | None = None


@dataclass(frozen=True)
class IntParam:
    """A whole number from ``low`` to ``high(session)``; ``words`` says what a value means.  Drawn as a slider."""

    name: str
    label: str
    low: int
    high: Callable[[Session], int]
    words: Callable[[Session, int], str]

    def check(self, session: Session, value: object) -> int:
        """Return the value; Refused if it is none of these."""
        high = self.high(session)
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= high:
            raise Refused(f"{self.label} is a whole number from {self.low} to {high}, not {short(value)}.")
        return value

    def control(self, session: Session) -> dict[str, Any]:
        """Return what the browser needs to draw it."""
        words = [self.words(session, value) for value in range(self.low, self.high(session) + 1)]
        return {"kind": "int", "name": self.name, "label": self.label, "low": self.low, "words": words}


@dataclass(frozen=True)
class ChoiceParam:
    """One of some texts.  Drawn as a drop-down list."""

    name: str
    label: str
    choices: tuple[str, ...]

    def check(self, _session: Session, value: object) -> str:
        """Return the value; Refused if it is none of the choices."""
        if not isinstance(value, str) or value not in self.choices:
            raise Refused(f"{self.label} is one of {', '.join(self.choices)}, not {short(value)}.")
        return value

    def control(self, _session: Session) -> dict[str, Any]:
        """Return what the browser needs to draw it."""
        return {"kind": "choice", "name": self.name, "label": self.label, "choices": list(self.choices)}


@dataclass(frozen=True)
class CellParam:
    """The id of a cell of the picture.  Has no control of its own: a view fills in what is selected there."""

    name: str = "cell"

    def check(self, _session: Session, value: object) -> str:
        """Return the value; Refused if nothing is selected or it is no text."""
        if value is None:
            raise Refused("Select a page in the picture first.")
        if not isinstance(value, str):
            raise Refused(f"A cell of the picture has a name that is text, not {short(value)}.")
        return value

    def control(self, _session: Session) -> None:
        """Return nothing to draw."""


Param = IntParam | ChoiceParam | CellParam


@dataclass(frozen=True)
class Action:
    """``run(session, **params)`` does it and says what it did; ``code(session, **params)`` is Python that does the same to a machine ``m``.

    ``enabled(session, cell)`` returns the reason why it cannot be done now, or None; ``cell`` is what is selected, or None.  It must hold for
    every cell that run and code accept, whatever text that is.  ``code`` is asked before ``run``.
    """

    name: str
    label: str
    run: Callable[..., Done]
    code: Callable[..., str]
    params: tuple[Param, ...] = ()
    enabled: Callable[[Session, str | None], str | None] = lambda _session, _cell: None

    def checked(self, session: Session, params: Mapping[str, object]) -> dict[str, Any]:
        """Return the parameters, each checked; Refused with a sentence if one is missing, unknown or no good, or the action cannot be done now."""
        unknown = params.keys() - {p.name for p in self.params}
        if unknown:
            raise Refused(f"{self.label} has no parameter {short(min(unknown, key=str))}.")
        values: dict[str, Any] = {p.name: p.check(session, params.get(p.name)) for p in self.params}
        reason = self.reason(session, next((values[p.name] for p in self.params if isinstance(p, CellParam)), None))
        if reason:
            raise Refused(reason)
        return values

    def reason(self, session: Session, cell: str | None) -> str | None:
        """Return why the action cannot be done now with this cell selected, or None if it can."""
        if cell is None and any(isinstance(p, CellParam) for p in self.params):
            return "Select a page in the picture first."
        return self.enabled(session, cell)
