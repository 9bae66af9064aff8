"""Trace points: call chains with the kernel's names, and calls that are made to fail.

Used through ``m.trace()`` and ``m.fail()``.  Wrappers are installed on the machine while somebody listens, and are gone afterwards: off,
tracing costs nothing.  A failing call does nothing at all and returns the kernel's NULL.  Imports recording only.

Source: the email (its call chain); fault injection as in Documentation/fault-injection (failslab, fail_page_alloc).
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from .recording import Recording

if TYPE_CHECKING:
    from .machine import Machine


class Point(NamedTuple):
    """A function that counts as a call frame: its attribute, what it returns when made to fail, whether its first argument is a cache."""

    attribute: str
    null: object
    cache: bool = False
    may_fail: bool = True


def _frees(attribute: str, cache: bool = False) -> tuple[Point, ...]:
    return (Point(attribute, None, cache, may_fail=False),)


POINTS: Final[dict[str, tuple[Point, ...]]] = {
    "alloc_pages": (Point("alloc_pages", None), Point("_alloc_pages", 0)),
    "get_free_page": (Point("get_free_page", None),),
    "split_page": (Point("split_page", None),),
    "kmem_cache_alloc": (Point("_kmem_cache_alloc", 0, cache=True),),
    "kmem_cache_alloc_bulk": (Point("_kmem_cache_alloc_bulk", None, cache=True),),
    "kmalloc": (Point("kmalloc", None),),
    "folio_alloc": (Point("folio_alloc", None),),
    "anonmem_alloc": (Point("anonmem_alloc", None),),
    "filemem_alloc": (Point("filemem_alloc", None),),
    "pgtable_alloc": (Point("pgtable_alloc", None),),
    "vmalloc": (Point("vmalloc", None),),
    "___slab_alloc": (Point("_slab_alloc", 0, cache=True),),
    "new_slab": (Point("_new_slab", 0, cache=True),),
    "allocate_slab": (Point("_allocate_slab", 0, cache=True),),
    "alloc_slab_page": (Point("_alloc_slab_page", 0, cache=True),),
    "__alloc_slab": (Point("_alloc_slab", 0),),
    "free_pages": (*_frees("free_pages"), *_frees("_free_block")),
    "free_page": _frees("free_page"),
    "kmem_cache_free": _frees("_kmem_cache_free", cache=True),
    "kmem_cache_free_bulk": _frees("_kmem_cache_free_bulk", cache=True),
    "kfree": _frees("kfree"),
    "folio_put": _frees("folio_put"),
    "anonmem_put": _frees("anonmem_put"),
    "filemem_put": _frees("filemem_put"),
    "pgtable_put": _frees("pgtable_put"),
    "vfree": _frees("vfree"),
}
TRACE_POINTS: Final = {name: points[0].may_fail for name, points in POINTS.items()}


class Call(NamedTuple):
    """One call: how deep (1 is the outermost), the kernel's name of the function, and the cache it works on, or ""."""

    depth: int
    name: str
    cache: str

    def __str__(self) -> str:
        return f"{self.name}({self.cache})"


class Trace:
    """The calls of a ``with m.trace() as t:`` block, in order: ``t.calls``, ``t.max_depth``, and ``str(t)``, the chain as a tree.

    ``t.recording``: None; with ``m.trace(frames=True)`` a Recording with a mark at each call and return, such as "new_slab(dentry) called".
    """

    def __init__(self, probes: Probes, frames: bool = False) -> None:
        self._probes = probes
        self._frames = frames
        self._open: list[Call] = []
        self.calls: list[Call] = []
        self.max_depth = 0
        self.recording: Recording | None = None

    def enter(self, name: str, cache: str) -> None:
        """Note that a call begins."""
        call = Call(len(self._open) + 1, name, cache)
        self._open.append(call)
        self.max_depth = max(self.max_depth, call.depth)
        self.calls.append(call)
        if self.recording is not None:
            self.recording.mark(f"{call} called")

    def leave(self) -> None:
        """Note that a call returns."""
        call = self._open.pop()
        if self.recording is not None:
            self.recording.mark(f"{call} returned")

    def __enter__(self) -> Self:
        if self._frames:
            self.recording = Recording(self._probes.machine)
        self._probes.listen(self._probes.traces, self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._probes.ignore(self._probes.traces, self)
        if self.recording is not None:
            self.recording.end()

    def __str__(self) -> str:
        return "\n".join(f"{'  ' * (call.depth - 1)}{call}" for call in self.calls)

    def __repr__(self) -> str:
        return f"<Trace: {len(self.calls)} calls, {self.max_depth} deep>"


class Fault:
    """One call that is to fail: the ``nth`` at a point from now on.  ``fired`` says whether it has; ``cancel()`` or a with block ends it."""

    def __init__(self, probes: Probes, at: str, nth: int) -> None:
        self._probes, self.at, self._left = probes, at, nth
        self.fired = False
        probes.listen(probes.faults, self)

    def hit(self, name: str) -> bool:
        """Say whether this call at ``name`` is the one to fail."""
        if name == self.at and not self.fired:
            self._left -= 1
            self.fired = self._left == 0
            if self.fired:
                self.cancel()
            return self.fired
        return False

    def cancel(self) -> None:
        """Let calls at the point succeed again.  Does nothing the second time."""
        self._probes.ignore(self._probes.faults, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<Fault at {self.at}: {'fired' if self.fired else f'in {self._left} calls'}>"


class Probes:
    """The wrappers of one machine.  ``cache_name``: function from a cache's word index to its name."""

    def __init__(self, machine: Machine, cache_name: Callable[[int], str]) -> None:
        self.machine, self._cache_name = machine, cache_name
        self._before: dict[str, Any] = {}
        self.traces: list[Trace] = []
        self.faults: list[Fault] = []

    def fail(self, at: str, nth: int) -> Fault:
        """Make the ``nth`` call at trace point ``at`` fail.  ValueError or TypeError for a point that does not exist or cannot fail."""
        able = [name for name, may_fail in TRACE_POINTS.items() if may_fail]
        if not isinstance(at, str) or at not in TRACE_POINTS:
            raise ValueError(f"there is no trace point {at!r}; those that may fail are {', '.join(able)}")
        if at not in able:
            raise ValueError(f"{at} frees, and freeing never fails; the points that may fail are {', '.join(able)}")
        if not isinstance(nth, int):
            raise TypeError(f"nth is a whole number, not {nth!r}")
        if nth < 1:
            raise ValueError(f"nth is 1 for the next call at {at}, 2 for the one after it, and so on; not {nth}")
        return Fault(self, at, nth)

    def listen(self, listeners: list[Any], who: object) -> None:
        """Add a listener; the first one installs the wrappers."""
        if not self.traces and not self.faults:
            for name, points in POINTS.items():
                for point in points:
                    self._before[point.attribute] = vars(self.machine).get(point.attribute)
                    setattr(self.machine, point.attribute, self._wrap(name, point))
        listeners.append(who)

    def ignore(self, listeners: list[Any], who: object) -> None:
        """Remove a listener; the last one takes the wrappers away."""
        if who not in listeners:
            return
        listeners.remove(who)
        if not self.traces and not self.faults:
            for attribute, before in self._before.items():
                if before is None:
                    delattr(self.machine, attribute)
                else:
                    setattr(self.machine, attribute, before)

    def _wrap(self, name: str, point: Point) -> Callable[..., object]:
        call = getattr(self.machine, point.attribute)

        def traced(*args: Any, **kwargs: Any) -> object:
            cache = self._cache_name(args[0]) if point.cache else ""
            traces = tuple(self.traces)
            for trace in traces:
                trace.enter(name, cache)
            try:
                for fault in tuple(self.faults):
                    if fault.hit(name):
                        return point.null
                return call(*args, **kwargs)
            finally:
                for trace in traces:
                    trace.leave()

        return traced
