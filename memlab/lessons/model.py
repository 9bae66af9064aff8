"""What a chapter is made of, as data: exercises, predictions and drills.

Declared by the chNN folders beside this file; run by the rest of the package, which knows no chapter.
Imports the core and figures for type hints, never the engine or widgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

from ..figures.picture import Picture
from ..machine import Machine

LEVELS: Final = (1, 1, 2, 3)  # of a chapter's four exercises, in order
Choices = Mapping[str, str | None]  # text -> why it is wrong; None for the right one


class Verdict(NamedTuple):
    """Whether an answer is right, and one sentence that teaches: of a wrong answer it names the case and says what was expected and why."""

    ok: bool
    sentence: str


@dataclass(frozen=True)
class Exercise:
    """A function for the learner to write; ``stub`` is how it stands in the notebook, below its decorator.

    ``level``: 1 to 3 stars.  ``check(answer)`` judges a function, on fresh machines and seeded cases.  ``state``: the code of a lab's state
    that helps, or None.  The reference answer is the function of the same name in chNN/answers.py.
    """

    id: str
    level: int
    minutes: int
    title: str
    task: str
    stub: str
    check: Callable[[Callable[..., Any]], Verdict]
    hints: tuple[str, ...]
    explanation: str
    state: str | None = None

    @property
    def stars(self) -> str:
        """The level as stars."""
        return "★" * self.level

    def cell(self, source: str | None = None) -> str:
        """Return the text of its cell in a notebook, with the stub or, given its ``source``, with an answer."""
        return f'@exercise("{self.id}")\n{(source or self.stub).strip()}'


@dataclass(frozen=True)
class Prediction:
    """A question to answer before the run.  ``right(m)`` gets the text of the right choice by a run of the simulator.

    ``question`` and ``choices`` may be functions of the machine too.  ``machine()`` makes the machine that is asked about when the learner
    brings none; without it, ``right`` is called with None.
    """

    id: str
    question: str | Callable[[Any], str]
    choices: Choices | Callable[[Any], Choices]
    right: Callable[[Any], str]
    machine: Callable[[], Machine] | None = None


class Question(NamedTuple):
    """One question of a drill.  ``answer``: a reply that ``grade`` finds right."""

    text: str
    picture: Picture | None
    answer: str
    grade: Callable[[str], Verdict]


@dataclass(frozen=True)
class Drill:
    """A maker of endless questions: ``make(rng)`` returns one that depends on the random generator alone."""

    id: str
    level: int
    make: Callable[[Random], Question]

    def question(self, seed: int) -> Question:
        """Return question number ``seed``, always the same."""
        return self.make(Random(f"{self.id} {seed}"))  # noqa: S311  # the same questions for everybody are meant


@dataclass(frozen=True)
class Chapter:
    """A notebook and what it asks.  ``minutes``: without the exercises."""

    number: str
    title: str
    notebook: str
    minutes: int
    exercises: tuple[Exercise, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    drills: tuple[Drill, ...] = ()
