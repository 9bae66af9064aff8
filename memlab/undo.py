"""Undo: copies of RAM from before each step, kept by the machine that was asked to, and taken back.

Used by machine.py and, so that a call and what interrupted it are one step, by probes.py.  Functions of a machine ``m``.  Imports kernel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Any

from .kernel import Kernel
from .number import whole
from .ram import KernelBug, Snapshot


def check_undo(steps: int) -> int:
    """Return a number of steps.  ValueError or TypeError for what is none."""
    must = "undo is the number of steps that can be taken back, 0 or more"
    if (steps := whole(steps, must, ValueError)) < 0:
        raise ValueError(f"{must}, not {steps}")
    if steps > 1_000_000:
        raise ValueError(f"undo keeps a copy of RAM for each step; ask for fewer than {steps}")
    return steps


def remember(m: Kernel, steps: int) -> None:
    """Keep the last ``steps`` steps from now on: each call of a function that is marked as changing RAM is one."""
    m._undo, m._redo = deque(maxlen=steps), deque(maxlen=steps)
    for name in dir(type(m)) if steps else ():
        if getattr(getattr(type(m), name), "changes", False):
            setattr(m, name, undoable(m, getattr(m, name)))


def undoable(m: Kernel, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``call`` as one step of the machine, whatever it calls in turn."""

    @wraps(call)
    def step(*args: Any, **kwargs: Any) -> Any:
        if m._in_step:
            return call(*args, **kwargs)
        before = m.snapshot()
        m._in_step = True
        try:
            result = call(*args, **kwargs)
        except BaseException:
            if m.snapshot() != before:  # a constructor raised, say: what it did is a step as well
                m._undo.append(before)
                m._redo.clear()
            raise
        finally:
            m._in_step = False
        m._undo.append(before)
        m._redo.clear()
        return result

    return step


def take_back(m: Kernel, taken: deque[Snapshot], other: deque[Snapshot]) -> bool:
    """Put RAM back to the last copy of one history, and note where it was in the other.  Says whether there was a copy."""
    if not m._undo.maxlen:
        raise ValueError("undo is off on this machine; boot it with Machine(..., undo=100) to keep the last 100 steps")
    not_interrupted(m)
    if not taken:
        return False
    other.append(m.snapshot())
    m.restore(taken.pop())
    return True


def not_interrupted(m: Kernel) -> None:
    """Refuse to put RAM back in a handler: the call that was interrupted would go on in the midst of what is not there any more."""
    if m._interrupted:
        raise KernelBug("the handler of an interrupt cannot put RAM back: the call that it interrupted is in the midst of it")
