"""What the cells of a notebook call: begin, exercise, predict, drill and progress.

Used through ``from memlab.lessons import ...``.  Imports the rest of the package.  Whatever a learner gives them, the answer is a sentence.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FunctionType
from typing import TypeVar

from ..machine import Machine
from . import guide
from .drill import MOST_SEED, DrillSheet
from .exercise import ExerciseSheet
from .overview import ProgressSheet
from .panel import Panel
from .prediction import PredictionSheet
from .registry import LessonError, chapter, find_drill, find_exercise, find_prediction

_Answer = TypeVar("_Answer")
_sheets: dict[str, ExerciseSheet] = {}  # by id, so that a cell that is run again shows what had been revealed
_panels: dict[str, Panel] = {}  # the last one of each exercise
_REMINDER = (
    "Binder forgets everything when it stops. Before you leave: progress() shows a button that saves yours as a file,\n"
    "or run !python -m memlab.lessons export progress.jsonl and download that; import brings it back."
)


def begin(number: str) -> None:
    """Begin a chapter (its number, two digits): the first cell of its notebook.  From now on a name that is missing is explained."""
    try:
        this = chapter(number)
    except LessonError as error:
        _say(str(error))
        return
    guide.install(this)
    _say(f"Chapter {this.number}, {this.title}: ready.")
    if "BINDER_SERVICE_HOST" in os.environ or "BINDER_REPO_URL" in os.environ:
        _say(_REMINDER)


def exercise(name: str) -> Callable[[_Answer], _Answer]:
    """Have the function below judged: ``@exercise("02.1")``.  It is returned as it is; one line says how it did, a panel has the rest."""
    if isinstance(name, FunctionType):  # @exercise without its number
        _say(f'Which exercise is {name.__name__} for? Write its number, such as @exercise("02.1"), in the line above def.')
        return name

    def judged(answer: _Answer) -> _Answer:
        try:
            home, found = find_exercise(name)
        except LessonError as error:
            _say(str(error))
            return answer
        if isinstance(answer, FunctionType) and answer.__qualname__ == answer.__name__:
            answer.__globals__[answer.__name__] = answer  # a function that calls itself means this one, not what had its name before
        sheet = _sheets.setdefault(name, ExerciseSheet(home, found))
        _say(sheet.line(sheet.judge(answer)))
        if name in _panels:
            _panels[name].close()
        _panels[name] = Panel(sheet)
        _display(_panels[name])
        return answer

    return judged


def predict(name: str, machine: Machine | None = None) -> Panel | None:
    """Ask a prediction (its id, such as "02.a"), about a copy of ``machine`` if one is given.  Shown when it is the last line of a cell."""
    try:
        found = find_prediction(name)
    except LessonError as error:
        return _say(str(error))
    if machine is not None and not isinstance(machine, Machine):
        return _say(f"predict takes the name of a prediction and, if you like, a Machine; {type(machine).__name__} is none.")
    return Panel(PredictionSheet(found, machine))


def drill(name: str, seed: int = 1) -> Panel | None:
    """Ask question ``seed`` (0 to 2^32 - 1) of a drill (its id, such as "02.buddy").  Shown when it is the last line of a cell."""
    try:
        found = find_drill(name)
    except LessonError as error:
        return _say(str(error))
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < MOST_SEED:
        return _say(f"A drill's seed is a whole number from 0 to {MOST_SEED - 1}, not {seed!r}.")
    return Panel(DrillSheet(found, seed))


def progress() -> Panel:
    """Return the table of what you have done in all chapters.  Shown when it is the last line of a cell."""
    return Panel(ProgressSheet())


def _say(sentence: str) -> None:
    """Print a sentence in the notebook."""
    print(sentence)


def _display(panel: Panel) -> None:
    """Show a panel below the cell that runs; where there is no notebook, nothing."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        sys.modules["IPython"].display.display(panel)
