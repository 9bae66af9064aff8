"""Functions of the learner's, asked for an answer: an endless loop or an exception becomes a sentence.

Used by labs that let the learner's code drive the picture, and by the lessons, which judge it.  Standard library only; imports nothing of memlab.

Only lines of the learner's own code count against the budget: what memlab or Python's library do for them does not.
"""

from __future__ import annotations

import dis
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from reprlib import Repr
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

MOST_STEPS: Final = 100_000  # lines; well under a second

_OTHERS: Final = (
    str(Path(__file__).resolve().parents[1]),
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    "<frozen ",
)


class Short(Repr):
    """What learners' functions are given and return, short enough for a sentence.  ``Short().repr(value)``: whatever the value is, never raises."""

    def repr_int(self, number: int, level: int) -> str:
        """Write a number; one of hundreds of digits as the number of its bits, since Python refuses to write out thousands."""
        return super().repr_int(number, level) if number.bit_length() < 1024 else f"a number of {number.bit_length():,} bits"


short: Final = Short().repr


class TooLong(BaseException):
    """The learner's code took more steps than its budget; the message is a sentence.  No Exception, so that `except Exception` lets it pass."""


class Answer(NamedTuple):
    """What a function of the learner's returned, or a sentence that says why it returned nothing."""

    value: Any
    sentence: str | None = None


def ask(function: Callable[..., Any], *args: Any, steps: int = MOST_STEPS, name: str = "") -> Answer:
    """Call a function of the learner's with a budget of ``steps`` lines; whatever it does, this returns an Answer.

    ``name``: what its sentence calls the function; its own name unless given.
    """
    name = name or getattr(function, "__name__", "your function")
    return run(function, *args, steps=steps, name=name)[0]


def run(
    function: Callable[..., Any], *args: Any, steps: int = MOST_STEPS, name: str = "your function", call: object = None
) -> tuple[Answer, BaseException | None]:
    """Do what ask does; returns the Answer, and what the function raised, if it did.  KeyboardInterrupt comes through.

    ``call``: what the sentence begins with, written out when the call is over; name and arguments unless given.
    """
    call = call or f"{name}({', '.join(getattr(arg, '__name__', '') or short(arg) for arg in args)})"
    try:
        with budget(steps):
            return Answer(function(*args)), None
    except NotImplementedError as error:  # an exercise's stub: not begun, so not a mistake
        return Answer(None, f"{name} is not written yet."), error
    except (TooLong, RecursionError) as error:
        how = str(error) if isinstance(error, TooLong) else "it calls itself without end."
        return Answer(None, f"{call} did not end: {how}"), error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # whatever a learner's function raises is an answer
        return Answer(None, f"{call} raised {type(error).__name__}{_where(error)}: {_said(error)}"), error


@contextmanager
def budget(steps: int = MOST_STEPS) -> Iterator[None]:
    """Raise TooLong when functions of the learner's that the with block calls have done more than ``steps`` lines."""
    left = steps

    def line(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal left
        if event in ("line", "opcode"):
            left -= 1
            if left < 0:
                raise _Again(
                    f"it was stopped after {steps:,} lines of your code; look for a loop whose condition never becomes false.", again
                )
        return line

    def call(frame: FrameType, _event: str, _arg: object) -> Any:
        nonlocal left
        if not learners(frame.f_code):
            return None
        left -= 1
        frame.f_trace_opcodes = _spins(frame.f_code)
        return line

    def again() -> None:
        """Go on counting: Python stops tracing when a trace function raises, and a bare `except:` would then loop for ever."""
        if counting:
            here: FrameType | None = sys._getframe(1)
            while here is not None:
                if learners(here.f_code):
                    here.f_trace = line
                here = here.f_back
            sys.settrace(call)

    before, counting = sys.gettrace(), True
    sys.settrace(call)
    try:
        yield
    finally:
        counting = False
        sys.settrace(before)


def learners(code: CodeType) -> bool:
    """Say whether code is the learner's: neither memlab's nor Python's library's."""
    return not code.co_filename.startswith(_OTHERS)


class _Again(TooLong):
    """A TooLong that, when it is swallowed, has the count go on, so that the next line raises it again."""

    def __init__(self, words: str, swallowed: Callable[[], None]) -> None:
        super().__init__(words)
        self._swallowed = swallowed

    def __del__(self) -> None:
        self._swallowed()


@cache
def _spins(code: CodeType) -> bool:
    """Say whether code has an instruction that jumps to itself (`while True: pass`), of which a trace function hears no lines."""
    return any(i.argval == i.offset for i in dis.get_instructions(code) if i.opname == "JUMP_BACKWARD")


def _said(error: BaseException) -> str:
    try:
        return str(error) or "it says no more."
    except Exception:  # noqa: BLE001  # the exception is a class of the learner's, too
        return "and cannot say what is wrong."


def _where(error: BaseException) -> str:
    """Return " in line N" for the learner's last line that an exception came through."""
    found, tb = "", error.__traceback__
    while tb is not None:
        if learners(tb.tb_frame.f_code):
            found = f" in its line {tb.tb_lineno - tb.tb_frame.f_code.co_firstlineno + 1}"
        tb = tb.tb_next
    return found
