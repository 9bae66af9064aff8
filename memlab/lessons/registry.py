"""Where the chapters are found: chNN folders beside this file, each loaded when it is first asked for.

Used by the rest of the package.  Imports model; never a chapter by name, so that one chapter's mistake stays its own.
"""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from .model import Chapter, Drill, Exercise, Prediction

_HERE = Path(__file__).parent
_PARTS = ("exercises", "predictions", "drills")  # of a chapter's folder, in the order of Chapter's fields
_Thing = TypeVar("_Thing", Exercise, Prediction, Drill)


class LessonError(Exception):
    """There is no such thing in the lessons; the message is a sentence for the learner."""


@cache
def chapters() -> tuple[Chapter, ...]:
    """Return all chapters that ask something, in order; this loads them all."""
    return tuple(map(chapter, _numbers()))


@cache
def chapter(number: str) -> Chapter:
    """Return a chapter by its number, two digits; LessonError if there is none."""
    if number not in _numbers():
        raise LessonError(f"There is no chapter {number!r}; there are {', '.join(_numbers())}.")
    about = importlib.import_module(f".ch{number}", __package__)
    return Chapter(number, about.TITLE, about.NOTEBOOK, about.MINUTES, *(_part(number, name) for name in _PARTS))


def find_exercise(name: str) -> tuple[Chapter, Exercise]:
    """Return an exercise by its id, and its chapter; LessonError if there is none."""
    home = _home(name)
    return home, _named(name, home.exercises, "exercise")


def find_prediction(name: str) -> Prediction:
    """Return a prediction by its id; LessonError if there is none."""
    return _named(name, _home(name).predictions, "prediction")


def find_drill(name: str) -> Drill:
    """Return a drill by its id; LessonError if there is none."""
    return _named(name, _home(name).drills, "drill")


def reference(chapter: Chapter, exercise: Exercise) -> str:
    """Return the source of an exercise's reference answer."""
    answers = importlib.import_module(f".ch{chapter.number}.answers", __package__)
    return inspect.getsource(getattr(answers, function_name(exercise)))


def function_name(exercise: Exercise) -> str:
    """Return the name of the function that an exercise asks for."""
    found = re.search(r"^def (\w+)", exercise.stub, re.MULTILINE)
    if found is None:
        raise ValueError(f"the stub of exercise {exercise.id} defines no function")
    return found[1]


def _part(number: str, name: str) -> Any:
    """Return what a file of a chapter declares, under the file's name; nothing if there is no such file."""
    if not (_HERE / f"ch{number}" / f"{name}.py").is_file():
        return ()
    return getattr(importlib.import_module(f".ch{number}.{name}", __package__), name.upper())


def _numbers() -> list[str]:
    return sorted(path.name.removeprefix("ch") for path in _HERE.glob("ch[0-9][0-9]"))


def _home(name: object) -> Chapter:
    if not isinstance(name, str) or not re.fullmatch(r"\d\d\.\w+", name, re.ASCII):
        raise LessonError(f'The name of an exercise, prediction or drill is text such as "02.1" or "02.a", not {name!r}.')
    return chapter(name[:2])


def _named(name: str, things: tuple[_Thing, ...], kind: str) -> _Thing:
    found = next((thing for thing in things if thing.id == name), None)
    if found is None:
        raise LessonError(f"Chapter {name[:2]} has no {kind} {name}; it has {', '.join(thing.id for thing in things) or 'none'}.")
    return found
