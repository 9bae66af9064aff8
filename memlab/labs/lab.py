"""Lab: the declaration that a lab is; and Look, how one view of it looks at the machine.

Used by buddy.py and its kin (which declare), and by LabView (which shows).  Imports the core, figures, action and session; never widgets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..figures import Picture
from ..machine import Machine
from .action import Action
from .session import Setup

# What every lab has besides its own actions.
VIEW_ACTIONS = frozenset({"show", "select", "hexadecimal", "code", "undo", "redo", "reset"})


class Look(NamedTuple):
    """How a view looks at a machine: the pages it is about, the selected cell's id, and how numbers are written."""

    arena: range
    cell: str | None = None
    hexadecimal: bool = False


@dataclass(frozen=True)
class Lab:
    """``preset()`` boots its machine; ``figure(machine, look)`` draws it; ``details(machine, look)`` tells of the selected cell in (name, words).

    ``demo``: (action's name, parameters) of a few steps that show what the lab is about, for slides and static pages.
    """

    name: str
    title: str
    preset: Callable[[], Setup]
    actions: tuple[Action, ...]
    figure: Callable[[Machine, Look], Picture]
    details: Callable[[Machine, Look], list[tuple[str, str]]]
    demo: tuple[tuple[str, dict[str, Any]], ...]

    def __post_init__(self) -> None:
        names = [a.name for a in self.actions]
        taken = VIEW_ACTIONS & set(names)
        if taken or len(set(names)) < len(names):
            raise ValueError(
                f"each action of a lab has a name of its own, and not one of {', '.join(sorted(VIEW_ACTIONS))}; these are {names}"
            )

    def action(self, name: str) -> Action:
        """Return an action by its name; KeyError if the lab has none such."""
        return {a.name: a for a in self.actions}[name]
