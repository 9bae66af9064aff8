"""Gauge: how deep an operation goes, at which events an interrupt would matter, and interrupts at those events; the quick way, for a search.

Used by expand.py.  Imports choices and the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...machine import Machine
from ...points import POINTS
from ...ram import KernelBug
from .choices import HANDLERS, HandlerKind, on_hand


class Gauge:
    """Lean wrappers on a machine's trace points, for a search: the depth of the chain, numbered events, allocation within a free.

    ``depth``: frames of the deepest chain since ``reset()``; ``events``: how many; ``allocations``: calls of points that may fail.
    ``chances``: (event, handler) for each of ``handlers`` that would have been of use at an event after the last interrupt.
    """

    def __init__(self, m: Machine) -> None:
        self.m = m
        self.depth = self.events = self.allocations = self._now = 0
        self.chances: list[tuple[int, str]] = []
        self._due: dict[int, str] = {}
        self._last = 0
        self._handlers: list[tuple[str, Callable[[Machine, int, int, int], bool]]] = []
        self._busy = -1
        self._inside = self._watched = False
        m._listened = True
        m.write_in_line()
        for points in POINTS.values():
            for point in points:
                setattr(m, point.attribute, self._wrap(getattr(m, point.attribute), point.may_fail))

    def reset(self, interrupts: Sequence[tuple[int, str]] = (), busy: int = -1, handlers: tuple[str, ...] = ()) -> None:
        """Begin to count for a step: its interrupts, and the block that it is busy with.  ``handlers``: whose chances are of interest."""
        self.depth = self.events = self.allocations = self._now = 0
        self.chances.clear()
        self._due = dict(interrupts)
        self._handlers = [(name, HANDLERS[name].of_use) for name in handlers]
        self._last = interrupts[-1][0] if interrupts else 0
        self._watched = bool(interrupts or handlers)
        self._busy = busy

    def _wrap(self, call: Callable[..., object], may_fail: bool) -> Callable[..., object]:
        def gauged(*args: Any, **kwargs: Any) -> object:
            if self._inside:
                return call(*args, **kwargs)
            now = self._now + 1
            self._now = now
            if now > self.depth:  # noqa: PLR1730 - a call of max() costs more than all else here
                self.depth = now
            if may_fail:
                self.allocations += 1
            if now > 1 and self._watched:
                self._event()
                result = call(*args, **kwargs)
                self._event()
            else:
                result = call(*args, **kwargs)
            self._now = now - 1
            return result

        return gauged

    def _event(self) -> None:
        self.events = event = self.events + 1
        if event in self._due:
            self._interrupt(HANDLERS[self._due[event]])
        elif self._handlers and event > self._last:
            m, busy = self.m, self._busy
            slabs, buddys = on_hand(m, m.KC_SLAB), on_hand(m, m.KC_BUDDY)
            self.chances += [(event, name) for name, of_use in self._handlers if of_use(m, busy, slabs, buddys)]

    def _interrupt(self, handler: HandlerKind) -> None:
        m = self.m
        kept = m._nesting, m._overflow, m._freeing
        m._nesting, m._overflow, m._freeing = 0, False, False
        m._interrupted += 1
        self._inside = True
        try:
            handler.run(m, self._busy)
        except KernelBug as bug:
            if "kernel stack overflow" not in str(bug):  # it got nothing, as a handler may
                raise
        finally:
            self._inside = False
            m._interrupted -= 1
            m._nesting, m._overflow, m._freeing = kept
