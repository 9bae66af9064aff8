"""Action: one thing that a lab can do, declared once; buttons, keyboard, "show code" and random tests all derive from it.

Used by the labs' declarations, by Session (which runs actions) and by LabView (which draws their controls).
Imports refused and, for type hints, recording; never widgets.  ``session`` is a Session in all of it, which lies above this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any, Final, NamedTuple

from ..recording import Recording
from .refused import Refused

_MOST_WORDS: Final = 256  # values of a slider; a range of more is drawn as a field for a number


class Done(NamedTuple):
    """What an action did: a sentence, the cell to select now (None: leave the selection as it is), and how it went on inside, if recorded."""

    sentence: str
    cell: str | None = None
    recording: Recording | None = None


@dataclass(frozen=True)
class IntParam:
    """A whole number from ``low`` to ``high(session)``, or one of ``values``; ``words(session, value)`` says what a value means.

    ``default``: what the control shows at first; the least value unless given.  Drawn as a slider, or as a field where the range is long.
    """

    name: str
    label: str
    low: int = 0
    high: Callable[..., int] | None = None
    words: Callable[..., str] = lambda _session, value: f"{value:,}"
    default: int | None = None
    values: Sequence[int] | Callable[..., Sequence[int]] | None = None

    def __post_init__(self) -> None:
        if (self.high is None) == (self.values is None):
            raise ValueError(f"{self.name} has a high or values: one of the two, not both")

    def accepts(self, session: Any) -> Sequence[int]:
        """Return the values that can be had now; there may be none."""
        if self.high is not None:
            return range(self.low, self.high(session) + 1)
        return _now(self.values, session)

    def check(self, session: Any, value: object) -> int:
        """Return the value; Refused if it is none of these."""
        values = self.accepts(session)
        if not isinstance(value, int) or isinstance(value, bool) or value not in values:
            if not values:
                raise Refused(f"{self.label} has no value that is possible now.")
            which = f"a whole number from {values[0]} to {values[-1]}" if isinstance(values, range) else f"one of {_listed(values)}"
            raise Refused(f"{self.label} is {which}, not {short(value)}.")
        return value

    def control(self, session: Any) -> dict[str, Any]:
        """Return what the browser needs to draw it."""
        values = self.accepts(session)
        first = self.default if self.default is not None and self.default in values else values[0] if values else 0
        shown: dict[str, Any] = {"name": self.name, "label": self.label, "value": first}
        if isinstance(values, range) and len(values) > _MOST_WORDS:
            return {"kind": "number", **shown, "low": values[0], "high": values[-1]}
        return {"kind": "int", **shown, "values": list(values), "words": [self.words(session, value) for value in values]}


@dataclass(frozen=True)
class ChoiceParam:
    """One of some texts, ``choices`` or ``choices(session)``.  Drawn as a drop-down list."""

    name: str
    label: str
    choices: Sequence[str] | Callable[..., Sequence[str]]

    def accepts(self, session: Any) -> Sequence[str]:
        """Return the choices that can be had now; there may be none."""
        return _now(self.choices, session)

    def check(self, session: Any, value: object) -> str:
        """Return the value; Refused if it is none of the choices."""
        choices = self.accepts(session)
        if not isinstance(value, str) or value not in choices:
            which = f"one of {_listed(choices)}, not {short(value)}" if choices else "not to be had: there is nothing to choose from"
            raise Refused(f"{self.label} is {which}.")
        return value

    def control(self, session: Any) -> dict[str, Any]:
        """Return what the browser needs to draw it."""
        return {"kind": "choice", "name": self.name, "label": self.label, "choices": list(self.accepts(session))}


@dataclass(frozen=True)
class TextParam:
    """A name of at most ``most`` characters: letters, digits, and ``_``, ``-``, ``.`` after the first.  ``words`` tells what it is for.

    Drawn as a field for text.
    """

    name: str
    label: str
    most: int
    words: str
    default: str = ""

    def check(self, _session: Any, value: object) -> str:
        """Return the value; Refused if it is no such name."""
        if not isinstance(value, str) or len(value) > self.most or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value):
            raise Refused(f"{self.label} is a name of 1 to {self.most} letters, digits, '_', '-' and '.', not {short(value)}.")
        return value

    def control(self, _session: Any) -> dict[str, Any]:
        """Return what the browser needs to draw it."""
        return {"kind": "text", "name": self.name, "label": self.label, "most": self.most, "words": self.words, "value": self.default}


@dataclass(frozen=True)
class CellParam:
    """The id of a cell of the picture.  Has no control of its own: a view fills in what is selected there.

    ``what``: what should be selected, in words.  ``needed``: whether it must be; if not, the id is "" while nothing is selected.
    """

    name: str = "cell"
    what: str = "a page"
    needed: bool = True

    def check(self, _session: Any, value: object) -> str:
        """Return the value; Refused if nothing is selected or it is no text."""
        if value is None and not self.needed:
            return ""
        if value is None:
            raise Refused(f"Select {self.what} in the picture first.")
        if not isinstance(value, str):
            raise Refused(f"A cell of the picture has a name that is text, not {short(value)}.")
        return value

    def control(self, _session: Any) -> None:
        """Return nothing to draw."""


@dataclass(frozen=True)
class DataParam:
    """Something that a search found, as JSON can hold it.  ``checked(value)`` raises ValueError with a sentence if it is none.  Has no control."""

    name: str
    label: str
    checked: Callable[[object], object]

    def check(self, _session: Any, value: object) -> object:
        """Return the value; Refused if it is none such."""
        try:
            self.checked(value)
        except ValueError as error:
            raise Refused(f"{self.label} cannot be taken: {error}.") from None
        return value

    def control(self, _session: Any) -> None:
        """Return nothing to draw."""


Param = IntParam | ChoiceParam | TextParam | CellParam | DataParam


@dataclass(frozen=True)
class Action:
    """``run(session, **params)`` does it and says what it did; ``code(session, **params)`` is Python that does the same to a machine ``m``.

    ``enabled(session, cell)`` returns the reason why it cannot be done now, or None; ``cell`` is what is selected, or None.  It must hold for
    every cell that run and code accept, whatever text that is.  ``code`` is asked before ``run``.  ``hidden``: has no button; a search does it.
    """

    name: str
    label: str
    run: Callable[..., Done]
    code: Callable[..., str]
    params: tuple[Param, ...] = ()
    enabled: Callable[..., str | None] = lambda _session, _cell: None
    hidden: bool = False

    def checked(self, session: Any, params: Mapping[str, object]) -> dict[str, Any]:
        """Return the parameters, each checked; Refused with a sentence if one is missing, unknown or no good, or the action cannot be done now."""
        unknown = params.keys() - {p.name for p in self.params}
        if unknown:
            raise Refused(f"{self.label} has no parameter {short(min(unknown, key=str))}.")
        values: dict[str, Any] = {p.name: p.check(session, params.get(p.name)) for p in self.params}
        reason = self.reason(session, next((values[p.name] for p in self.params if isinstance(p, CellParam)), None))
        if reason:
            raise Refused(reason)
        return values

    def reason(self, session: Any, cell: str | None) -> str | None:
        """Return why the action cannot be done now with this cell selected, or None if it can."""
        param = next((p for p in self.params if isinstance(p, CellParam)), None)
        if cell is None and param is not None and param.needed:
            return f"Select {param.what} in the picture first."
        return self.enabled(session, cell)


def _now(values: Any, session: Any) -> Any:
    """Return values that are given, or told by a function of the session."""
    return values(session) if callable(values) else values


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:12])) + (f" and {len(values) - 12} more" if len(values) > 12 else "")
