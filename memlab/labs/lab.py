"""Lab: the declaration that a lab is; and Look, how one view of it looks at the machine.

Used by buddy.py and its kin (which declare), by LabView (which shows), and by state.py.  Imports the core, figures and session; never widgets.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from reprlib import repr as short
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from ..figures.picture import Picture
from ..machine import Machine
from ..recording import Recording
from .action import Action, Param
from .session import Setup

# What every lab has besides its own actions, and the one parameter that each takes, if any; LabView has a method for each, and a search its own.
VIEW_ACTIONS: Final = {
    **dict.fromkeys(("show", "save_picture", "undo", "redo", "reset", "search", "search_on", "stop"), ""),
    **dict.fromkeys(("hexadecimal", "code", "state_code"), "on"),
    "select": "cell",
    "open": "code",
    "go": "position",
    "frame": "frame",
}
LABS: dict[str, Lab] = {}  # by name: all labs of memlab, for state codes; filled by the package's __init__


class Look(NamedTuple):
    """How a view looks at a machine: the pages it is about, the selected cell's id, how numbers are written, and what follows.

    ``recording``: how the last step went on inside, if it was recorded; while the machine is drawn as it was at one of its marks, ``frame`` is
    that mark's number, else None.  ``yours``: functions of the learner's, by name, that the lab asks (see yours.py).
    ``asked``: the newest value of each parameter of the actions that this view did, RAM changed or not.  ``began``: ``m.stats`` of when the lab began.
    """

    arena: range
    cell: str | None = None
    hexadecimal: bool = False
    frame: int | None = None
    recording: Recording | None = None
    yours: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    asked: Mapping[str, Any] = MappingProxyType({})
    began: Mapping[str, int] = MappingProxyType({})


class Searching(Iterator[str], Protocol):
    """A search that goes on: each ``next()`` does a short slice and returns a sentence of progress.  It can be dropped at any time."""

    def found(self) -> tuple[str, str, dict[str, Any]] | None:
        """Return what was found so far: a sentence, and the lab's action that shows it with its parameters; None if nothing was."""


@dataclass(frozen=True)
class Search:
    """A button of a lab that begins a search.  ``begin(session, **params)`` returns it; the lab's machine is not touched before it is done."""

    label: str
    begin: Callable[..., Searching]
    params: tuple[Param, ...] = ()


@dataclass(frozen=True)
class Lab:
    """``preset(**params)`` boots its machine; ``figure(machine, look)`` draws it; ``details(machine, look)`` tells of the selected cell in (name, words).

    The preset's parameters have defaults and can be written as JSON; its Setup is given the lab's name and all parameters, for state codes.
    ``demo``: (action's name, parameters) of a few steps that show what the lab is about, for slides and static pages; a third item names marks
    of the step's recording to show before its end.  ``yours``: names of the functions that a learner may bring;
    ``says(machine, look, name, params)``, asked before an action (or "select") with any parameters at all, what they say to it, in sentences.
    ``search``: what can be searched for, in slices with a Stop between them.
    """

    name: str
    title: str
    preset: Callable[..., Setup]
    actions: tuple[Action, ...]
    figure: Callable[[Machine, Look], Picture]
    details: Callable[[Machine, Look], list[tuple[str, str]]]
    demo: tuple[tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], tuple[int, ...]], ...]
    yours: tuple[str, ...] = ()
    says: Callable[[Machine, Look, str, Mapping[str, Any]], str] = lambda _machine, _look, _name, _params: ""
    search: Search | None = None

    def __post_init__(self) -> None:
        names = [a.name for a in self.actions]
        taken = VIEW_ACTIONS.keys() & names
        if taken or len(set(names)) < len(names):
            raise ValueError(
                f"each action of a lab has a name of its own, and not one of {', '.join(sorted(VIEW_ACTIONS))}; these are {names}"
            )

    def action(self, name: str) -> Action:
        """Return an action by its name; KeyError if the lab has none such."""
        return {a.name: a for a in self.actions}[name]

    def setup(self, **params: Any) -> Setup:
        """Boot the lab's machine; the Setup knows the lab and all parameters.  TypeError or ValueError for a bad parameter."""
        known = inspect.signature(self.preset).parameters
        for name in params:
            if name not in known:
                raise TypeError(f"the set-up of the {self.title} has no {short(name)}; it has {', '.join(known) or 'no parameters'}")
        values = {name: p.default for name, p in known.items()} | params
        if json.loads(json.dumps(values)) != values:
            raise TypeError(f"the set-up of the {self.title} takes numbers, text, lists and tables by name, not {short(values)}")
        return self.preset(**params)._replace(lab=self.name, params=values)
