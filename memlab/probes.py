"""Probes: what happens at the trace points of one machine. Traces listen, faults make calls fail, interrupts run other work.

Used through ``m.trace()``, ``m.fail()`` and ``m.interrupt()``.  Wrappers are installed on the machine while somebody listens, and are gone
afterwards: off, all of this costs nothing.  Imports trace, undo and below.

Sources: Documentation/fault-injection (failslab, fail_page_alloc) for faults; the email for what else goes on while an allocation nests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from types import TracebackType
from typing import Any, Final, Self

from .addresses import address, pfn_of
from .cache_table import slots, view_of
from .kernel import Kernel
from .number import whole
from .points import OF_SEVERAL, POINTS, TRACE_POINTS, Point
from .ram import KernelBug, Snapshot
from .trace import Trace
from .undo import undoable

Handler = Callable[..., object]
WHEN: Final = ("call", "return")
INTERRUPTS_NEST: Final = (
    256  # handlers that may be at work at once, each interrupted by the next; more are a handler that recurses for ever
)
_OVERFLOW: Final = "kernel stack overflow"
_NULL: Final[tuple[object, ...]] = (None, 0)  # what a failed allocation returns


class Listener:
    """Something that listens at the trace points, as a with block or until ``cancel()``.  ``at``: the point's name."""

    at: str

    def __init__(self, probes: Probes, among: list[Any]) -> None:
        self._probes, self._among = probes, among
        probes.listen(among, self)

    def cancel(self) -> None:
        """Listen no longer.  Does nothing the second time."""
        self._probes.ignore(self._among, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.cancel()


class Fault(Listener):
    """Calls that are to fail: the ``nth`` at a point from now on, and, with ``every``, each ``every``-th after it.

    ``fired`` says whether one has; ``count``, how many; ``cancel()`` or a with block ends it.
    """

    def __init__(self, probes: Probes, at: str, nth: int, every: int | None) -> None:
        self.at, self._left, self._every, self.count = at, nth, every, 0
        super().__init__(probes, probes.faults)

    @property
    def fired(self) -> bool:
        """Whether a call was made to fail."""
        return self.count > 0

    def hit(self, name: str) -> bool:
        """Say whether this call at ``name`` is one to fail."""
        if name != self.at or not self._left:
            return False
        self._left -= 1
        if self._left:
            return False
        self.count += 1
        if self._every is None:
            self.cancel()
        else:
            self._left = self._every
        return True

    def __repr__(self) -> str:
        if self._every is not None:
            return f"<Fault at {self.at}: fired {self.count} times, next in {self._left} calls>"
        return f"<Fault at {self.at}: {'fired' if self.fired else f'in {self._left} calls'}>"


class Interrupt(Listener):
    """Other work that runs at a trace point: ``handler``, at most ``times`` times.

    ``fired``: how often it ran; ``cancel()`` or a with block ends it.
    """

    def __init__(self, probes: Probes, at: str, when: str, handler: Handler, times: int | None, cpu: int | None) -> None:
        self.at, self.when, self.handler, self.times, self.cpu = at, when, handler, times, cpu
        self.fired = 0
        super().__init__(probes, probes.interrupts)

    def due(self, name: str, cache: str, when: str) -> bool:
        """Say whether the handler is to run now; it then counts as run."""
        if when != self.when or self.at not in (name, f"{name}({cache})") or self not in self._probes.interrupts:
            return False  # another point, or a handler that ran just now cancelled it
        self.fired += 1
        if self.fired == self.times:
            self.cancel()
        return True

    def __repr__(self) -> str:
        most = "" if self.times is None else f" of {self.times}"
        return f"<Interrupt at the {self.when} of {self.at}: fired {self.fired}{most} times>"


class Probes:
    """The wrappers of one machine."""

    def __init__(self, machine: Kernel) -> None:
        self.machine = machine
        self._before: dict[str, Any] = {}
        self.traces: list[Trace] = []
        self.faults: list[Fault] = []
        self.interrupts: list[Interrupt] = []
        self._chain: list[str] = []  # the open calls of all contexts, and the interrupts between them
        self._start: Snapshot | None = None  # RAM before the outermost call, while one runs with interrupts set
        self._raised: BaseException | None = None  # by a handler, on its way out

    def fail(self, at: str, nth: int, every: int | None) -> Fault:
        """Make calls at trace point ``at`` fail.  ValueError or TypeError for a point that does not exist or cannot fail."""
        able = [name for name, may_fail in TRACE_POINTS.items() if may_fail]
        if not isinstance(at, str) or at not in TRACE_POINTS:
            raise ValueError(f"there is no trace point {at!r}; those that may fail are {', '.join(able)}")
        if at not in able:
            raise ValueError(f"{at} frees, and freeing never fails; the points that may fail are {', '.join(able)}")
        if every is not None:
            _from_1(every, "every", "1 to fail every call from the nth on, 2 for every other one, and so on")
        return Fault(self, at, _from_1(nth, "nth", f"1 for the next call at {at}, 2 for the one after it, and so on"), every)

    def interrupt(self, at: str, when: str, handler: Handler, times: int | None, cpu: int | None) -> Interrupt:
        """Run ``handler`` at trace point ``at``.  ValueError or TypeError for a bad argument."""
        self.look_at_point(at)
        if when not in WHEN:
            raise ValueError(f'when is "call" or "return", not {when!r}')
        if times is not None:
            _from_1(times, "times", "1 or more, or None for every time")
        cpus = self.machine.config.cpus
        must = f"cpu is None for the CPU that is interrupted, or 0 to {cpus - 1}"
        if cpu is not None and not 0 <= (cpu := whole(cpu, must, ValueError)) < cpus:
            raise ValueError(f"{must}, not {cpu}")
        return Interrupt(self, at, when, self._with_machine(handler), times, cpu)

    def look_at_point(self, at: str) -> None:
        """Raise ValueError if ``at`` is no trace point, alone or with a live cache that it takes."""
        name, bracket, rest = at.partition("(") if isinstance(at, str) else ("", "", "")
        if name not in TRACE_POINTS:
            raise ValueError(f"there is no trace point {at!r}; there are {', '.join(TRACE_POINTS)}")
        m, takes = self.machine, POINTS[name][0].cache
        caches = [view_of(m, c).name for c in slots(m) if m.serial_of[c]]
        if bracket and not (takes and rest[-1:] == ")" and rest[:-1] in caches):
            raise ValueError(
                f"{at!r} is no trace point: " + (f"the caches are {', '.join(caches)}" if takes else f"{name} takes no cache, say {name!r}")
            )

    def listen(self, listeners: list[Any], who: object) -> None:
        """Add a listener; the first one installs the wrappers."""
        if not (self.traces or self.faults or self.interrupts):
            self.machine._listened = True
            self.machine.write_in_line()
            for name, points in POINTS.items():
                for point in points:
                    self._install(point.attribute, partial(self._probed, name, point))
            for attribute in OF_SEVERAL:
                self._install(attribute, self._of_several)
        listeners.append(who)

    def ignore(self, listeners: list[Any], who: object) -> None:
        """Remove a listener; the last one takes the wrappers away."""
        if who not in listeners:
            return
        listeners.remove(who)
        if not (self.traces or self.faults or self.interrupts):
            for attribute, before in self._before.items():
                if before is None:
                    delattr(self.machine, attribute)
                else:
                    setattr(self.machine, attribute, before)
            self.machine._listened = False
            self.machine.write_in_line()

    def _install(self, attribute: str, wrap: Callable[[Callable[..., object]], Callable[..., object]]) -> None:
        """Wrap a function of the machine; beneath undo, so that a call and what interrupted it are one step."""
        m = self.machine
        before = self._before[attribute] = vars(m).get(attribute)
        bare = getattr(before, "__wrapped__", None)
        setattr(m, attribute, undoable(m, wrap(bare)) if bare else wrap(getattr(m, attribute)))

    def _with_machine(self, handler: Handler) -> Handler:
        """Return the handler as a function without parameters: it may take the machine, or nothing."""
        if not callable(handler):
            raise TypeError(f"handler is a function that takes the machine, or nothing, not {handler!r}")
        run = self._looked_up(handler)
        for args in ((),) if run is not handler else ((), (self.machine,)):
            try:
                inspect.signature(handler).bind(*args)
            except TypeError:
                continue
            except ValueError:  # a builtin that does not tell
                return handler
            return partial(run, *args)
        raise TypeError(f"handler takes the machine, or nothing; {handler!r} wants more")

    def _looked_up(self, handler: Handler) -> Handler:
        """Return what looks a function of the machine itself up when it runs, as another stands in its place by then; else the handler."""
        if isinstance(handler, partial):
            function = self._looked_up(handler.func)
            return handler if function is handler.func else partial(function, *handler.args, **handler.keywords)
        m, name = self.machine, getattr(handler, "__name__", "")
        own = getattr(handler, "__self__", None) is m and getattr(type(m), name, None) is getattr(handler, "__func__", None)
        if not own and handler not in (vars(m).get(name), self._before.get(name), m._in_line.get(name)):
            return handler

        def looked_up(*args: Any, **kwargs: Any) -> object:
            return getattr(m, name)(*args, **kwargs)

        return looked_up

    # -- at a trace point

    def _probed(self, name: str, point: Point, call: Callable[..., object]) -> Callable[..., object]:
        m = self.machine
        names, defaults = _parameters(getattr(type(m), point.attribute))

        def probed(*args: Any, **kwargs: Any) -> object:
            if self.interrupts and self._start is None and not self._chain:
                return self._as_one(probed, args, kwargs)
            cache = str(view_of(m, args[0]).name) if point.cache else ""
            traces = tuple(self.traces)
            if traces:
                given = defaults | dict(zip(names, args, strict=False)) | kwargs
                for trace in traces:
                    trace.enter(name, cache, given)
            result, failed = point.null, point.may_fail
            self._chain.append(f"{name}({cache})")
            try:
                if self.interrupts:
                    self._interrupt(name, cache, "call", traces)
                hits = [fault.hit(name) for fault in tuple(self.faults)]  # each counts each call
                if not any(hits):
                    result = call(*args, **kwargs)
                    failed = point.may_fail and result in _NULL
                if self.interrupts:
                    self._interrupt(name, cache, "return", traces)
            except BaseException:
                result, failed = point.null, point.may_fail
                raise
            finally:
                self._chain.pop()
                for trace in traces:
                    trace.leave(self._seen(result, point), failed)
            return result

        return probed

    def _of_several(self, call: Callable[..., object]) -> Callable[..., object]:
        def outer(*args: Any, **kwargs: Any) -> object:
            if self.interrupts and self._start is None and not self._chain:
                return self._as_one(call, args, kwargs)
            return call(*args, **kwargs)

        return outer

    def _as_one(self, call: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        """Make an outermost call; when the handler of an interrupt raises in it, put RAM back to before it.

        The handler's error comes out of it even if other handlers caught it: what was interrupted has ended midway.
        """
        m, result = self.machine, None
        start = self._start = m.snapshot()
        kept = m._nesting, m._overflow, m._freeing
        try:
            result = call(*args, **kwargs)
        except BaseException:
            if self._raised is None:
                raise
        finally:
            raised, self._start, self._raised = self._raised, None, None
        if raised is not None:
            m.restore(start)
            m._nesting, m._overflow, m._freeing = kept
            raise raised.with_traceback(None) if str(raised).startswith(_OVERFLOW) else raised  # of thousands of frames that are all alike
        return result

    def _interrupt(self, name: str, cache: str, when: str, traces: tuple[Trace, ...]) -> None:
        """Run the handlers that are due, each in a context of its own."""
        m = self.machine
        for interrupt in tuple(self.interrupts):
            if not interrupt.due(name, cache, when):
                continue
            cpu = m.cpu if interrupt.cpu is None else interrupt.cpu
            for trace in traces:
                trace.interrupted(when, cpu)
            kept, interrupted = (m._nesting, m._overflow, m._freeing), m.cpu
            m._nesting, m._overflow, m._freeing = 0, False, False
            self._chain.append(f"-- interrupt at the {when} of {name}({cache})")
            m._interrupted += 1
            try:
                self._not_too_deep()
                m.run_on(cpu)
                interrupt.handler()
            except RecursionError:
                self._raised = self._explained(KernelBug(f"{_OVERFLOW}: the handler's calls nest without end"))
                raise self._raised from None
            except BaseException as error:
                if error is not self._raised:
                    self._raised = self._explained(error)
                raise
            finally:
                m.run_on(interrupted)
                m._interrupted -= 1
                self._chain.pop()
                m._nesting, m._overflow, m._freeing = kept
                for trace in traces:
                    trace.resumed()

    def _not_too_deep(self) -> None:
        if (nested := self.machine._interrupted) > INTERRUPTS_NEST:
            raise KernelBug(f"{_OVERFLOW}: {nested} interrupts, each come in while the one before was served")

    def _explained(self, error: BaseException) -> BaseException:
        """Add to what a handler raised the chain of calls that it came from: of a long one, its ends."""
        lines = [f"  {'  ' * min(i, 20)}{call}" for i, call in enumerate(self._chain)]
        if len(lines) > 30:
            lines[20:-8] = [f"    ... {len(lines) - 28} more"]
        error.add_note("It came from the last of these, outermost first; RAM is as it was before the first:\n" + "\n".join(lines))
        return error

    def _seen(self, result: object, point: Point) -> object:
        """Return a result as its caller in the kernel sees it: a pfn or an address instead of a word index, None for NULL."""
        m = self.machine
        if isinstance(result, list):
            return list(result)  # the caller goes on with its own
        if result == 0 or not isinstance(result, int):
            return None if result == 0 else result
        if point.word == "buddy":
            return pfn_of(m.page_of[result])
        return address(result) if point.word == "slab" else result


@cache
def _parameters(function: Callable[..., object]) -> tuple[list[str], dict[str, int]]:
    """Return the names of the parameters of a function of a machine, and the defaults that are numbers."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return [p.name for p in parameters], {p.name: p.default for p in parameters if isinstance(p.default, int)}


def _from_1(value: int, what: str, means: str) -> int:
    value = whole(value, f"{what} is a whole number")
    if value < 1:
        raise ValueError(f"{what} is {means}; not {value}")
    return value
