"""Running a learner's function against an exercise's check, so that whatever it does ends in a sentence.

Used by the exercise decorator and by the tests.  Imports model, and from labs how a learner's function is asked; no widgets.
"""

from __future__ import annotations

import functools
import io
import linecache
import sys
import traceback
from contextlib import redirect_stdout
from types import FunctionType
from typing import Any, Final, NamedTuple

from ..labs.yours import Short, TooLong, learners, run
from .model import Exercise

STEPS: Final = 1_000_000  # lines of the learner's own code that one check may run
_LINES: Final = 20  # of what a learner's function prints, and of its traceback
_WIDE: Final = 200  # characters of a list among the arguments: those after it are to be seen, too
_LONGEST: Final = 1000  # characters of a check's sentence, which may hold all that a function returned


class Outcome(NamedTuple):
    """How an answer did.  ``kind``: "stub", "correct", "wrong" or "failed".  ``details``: text to show below, or ""."""

    kind: str
    sentence: str
    details: str = ""


def judge(exercise: Exercise, answer: object, steps: int = STEPS) -> Outcome:
    """Check an answer; never raises.  ``steps``: lines of the learner's own code that may run."""
    if not isinstance(answer, FunctionType):
        return Outcome("wrong", "This exercise asks for a function, written with def.")
    call, printed = _Call(answer), _Printed()
    try:
        with redirect_stdout(printed):
            (verdict, sentence), error = run(exercise.check, call.watched, steps=steps, call=call)
    except KeyboardInterrupt:
        return Outcome("wrong", "The check was interrupted.", printed.text())
    if isinstance(error, NotImplementedError):
        return Outcome("stub", "Not started.", printed.text())
    if isinstance(error, (TooLong, RecursionError)):
        return Outcome("wrong", str(sentence), printed.text())
    if error is not None:
        return _failed(call, error, printed.text())
    said = verdict.sentence if len(verdict.sentence) <= _LONGEST else f"{verdict.sentence[:_LONGEST]} ..."
    return Outcome("correct" if verdict.ok else "wrong", said, printed.text())


def _failed(call: _Call, error: BaseException, printed: str) -> Outcome:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if not call.running:
        return Outcome("wrong", f"{call} returned {_short.repr(call.value)}, and the check can do nothing with that ({said}).", printed)
    frames = list(traceback.walk_tb(error.__traceback__))
    while frames and frames.pop(0)[0].f_code is not call.code:
        pass  # what the check did before
    frames = [(frame, line) for frame, line in frames if learners(frame.f_code)]
    if not frames:
        return Outcome("wrong", f"The check called {call}, and your function does not take that ({said}).", printed)
    lines = ["Your lines, the last call last:"]
    for frame, line in frames[-_LINES:]:
        lines.append(f"  {_place(frame.f_code.co_filename)}line {line}, in {frame.f_code.co_name}")
        lines.append(f"    {linecache.getline(frame.f_code.co_filename, line).strip()}".rstrip())
    return Outcome("failed", f"{call} stopped with an error.", "\n".join([*filter(None, [printed]), *lines, said]))


def _place(filename: str) -> str:
    """Return which notebook cell a file is, for the beginning of a traceback's line."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    name = shell.compile.format_code_name(filename) if shell is not None else None
    return f"{name[0]} {name[1]}, " if name else ""


class _Short(Short):
    """Arguments and results, short enough for a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.maxother = self.maxstring = self.maxlong = 60

    def repr_int(self, number: int, level: int) -> str:
        return f"{number:#x}" if 0 < number >> 32 < 1 << 32 else super().repr_int(number, level)  # an address

    def repr_list(self, values: list[Any], level: int) -> str:
        said = super().repr_list(values, level)
        return said if len(said) <= _WIDE else f"[{self.repr1(values[0], level - 1)}, ... {len(values)} in all]"

    def repr_function(self, function: FunctionType, _level: int) -> str:
        return "a function" if "<" in function.__name__ else function.__name__

    repr_method = repr_function


_short = _Short()


class _Call:
    """The last call of a learner's function: str() of it is what a sentence begins with."""

    def __init__(self, answer: FunctionType) -> None:
        self.name, self.arguments, self.value = answer.__name__, "", None
        self.running = False

        def watched(*args: Any, **kwargs: Any) -> Any:
            said = [_short.repr(a) for a in args] + [f"{name}={_short.repr(a)}" for name, a in kwargs.items()]
            self.arguments, self.value, self.running = ", ".join(said), None, True
            self.value = answer(*args, **kwargs)
            self.running = False
            return self.value

        self.code = watched.__code__
        self.watched = functools.update_wrapper(watched, answer)

    def __str__(self) -> str:
        return f"{self.name}({self.arguments})"


class _Printed(io.StringIO):
    """What a learner's function prints: the beginning is kept."""

    def __init__(self) -> None:
        super().__init__()
        self._all = True

    def write(self, text: str) -> int:
        room = 80 * _LINES - self.tell()
        super().write(text[:room])
        self._all &= len(text) <= room
        return len(text)

    def text(self) -> str:
        """Return it, cut after some lines."""
        lines = self.getvalue().splitlines()
        cut = "" if self._all and len(lines) <= _LINES else "\n... (your function printed more)"
        return "\n".join(lines[:_LINES]) + cut
