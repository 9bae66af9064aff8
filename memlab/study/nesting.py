"""Nesting: the same call on two machines side by side, one of either design, with interrupts that come where they are told to.

Used by the Nesting lab and by hand: ``m = Nesting(); m.start("no free struct buddy"); m.run("alloc_pages(0)")``.  ``m.written`` and ``m.bounded`` are
Machines; both can be looked at and used as such.  ``m.runs`` has the trace of the last call on each.  Imports the core, both, explore,
planned and starts.

What is planned, what the last call did and what calls gave is the user's knowledge, not an allocator's: it is kept here, and goes with every snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, cast

from ..machine import Machine, Stats
from ..ram import KernelBug
from ..trace import Call, Trace
from .both import Both, Packed
from .explore.choices import HANDLERS, OPERATIONS
from .explore.steps import TINY, Step, code_of, do
from .planned import MEALS, STARTS, TINY_START, AtHand, Planned, at_hand, interrupted, is_overflow

DESIGNS: Final = ("as-written", "bounded")
MOST_INTERRUPTS: Final = 3
_BUDDY: Final = "kmem_cache_buddy"
_SLAB: Final = "kmem_cache_slab"
_SHAPES: Final[dict[str, dict[str, Any]]] = {"1M": {"memory": "1M"}, "tiny": dict(TINY)}
CALLS: Final = {
    **{f"alloc_pages({order})": Step("alloc_pages", order) for order in range(4)},
    "get_free_page()": Step("get_free_page"),
    "kmalloc(64)": Step("kmalloc"),
    "folio_alloc(0)": Step("folio_alloc"),
    f"kmem_cache_alloc({_BUDDY})": Step("take a struct buddy"),
    f"kmem_cache_alloc({_SLAB})": Step("take a struct slab"),
    "shrink()": Step("shrink"),
}
_FREES: Final = {
    "alloc_pages": "free_pages",
    "kmalloc": "kfree",
    "folio_alloc": "folio_put",
    "take a struct buddy": "give back a struct buddy",
    "take a struct slab": "give back a struct slab",
}


class Watched(Trace):
    """A trace that also keeps what was at hand at each call and return: ``hands[k]`` at moment k."""

    def __init__(self, m: Machine) -> None:
        super().__init__(m._probes)
        self.m = m
        self.hands: list[AtHand] = []

    def enter(self, name: str, cache: str, given: dict[str, int | None]) -> None:
        """Note that a call begins."""
        super().enter(name, cache, given)
        self.hands.append(at_hand(self.m))

    def leave(self, result: object, failed: bool) -> None:
        """Note that a call returns."""
        super().leave(result, failed)
        self.hands.append(at_hand(self.m))

    @property
    def depth(self) -> int:
        """Frames of the task at its deepest."""
        return max((call.depth for call in self.calls if not call.context), default=0)


class Run(NamedTuple):
    """What a call did on one machine: ``call`` as C, ``outcome`` in words, its trace, and in words what was done before it since the start."""

    call: str
    outcome: str
    trace: Watched
    before: tuple[str, ...] = ()


class _State(NamedTuple):
    """What goes with a snapshot besides RAM.  ``got``: for each call that gave something its operation, and what it gave on either machine."""

    shape: str = "1M"
    start: str = "fresh"
    planned: tuple[Planned, ...] = ()
    runs: tuple[Run, Run] | None = None
    got: tuple[tuple[str, int | None, int | None], ...] = ()
    frame_bytes: int = 160


class Nesting:
    """Two machines of 1 MiB, or of 32 pages of 256 bytes after some starts, that get the same calls."""

    def __init__(self) -> None:
        self._machines: dict[str, tuple[Machine, Machine]] = {}
        self._starts: dict[str, tuple[Any, Any]] = {}
        self._state = _State()
        self._choose("1M")

    # -- what is done

    def start(self, state: str) -> None:
        """Put both machines into a state to start from: a name in STARTS.  ValueError if there is none such."""
        _known(state, STARTS, "start")
        self._choose("tiny" if state == TINY_START else "1M")
        if state not in self._starts:
            for m in self._fresh():
                STARTS[state](m)
            self._starts[state] = self.written.snapshot(), self.bounded.snapshot()
        for m, snapshot in zip(self.machines, self._starts[state], strict=True):
            m.restore(snapshot)
        self._state = self._state._replace(start=state, runs=None, got=())

    def interrupt(self, at: str, when: str, nth: int, meal: str) -> None:
        """Plan an interrupt for the calls to come: at the ``nth`` "call" or "return" of ``at`` that the task comes by.

        ``at``: a trace point, or one with its cache, such as "new_slab(kmem_cache_buddy)".  ``meal``: what it takes, a name in MEALS.
        ValueError or TypeError for a bad argument, and ValueError when three are planned already.
        """
        self.written._probes.look_at_point(at)
        _known(when, ("call", "return"), "when")
        _known(meal, MEALS, "meal")
        if not isinstance(nth, int) or isinstance(nth, bool):
            raise TypeError(f"nth is a whole number, not {nth!r}")
        if nth < 1:
            raise ValueError(f"nth is 1 for the first {when} of {at}, 2 for the second, and so on; not {nth}")
        if len(self.planned) == MOST_INTERRUPTS:
            raise ValueError(f"{MOST_INTERRUPTS} interrupts are planned already; no_interrupts() forgets them")
        self._state = self._state._replace(planned=(*self.planned, Planned(at, when, nth, meal)))

    def no_interrupts(self) -> None:
        """Plan no interrupts any more."""
        self._state = self._state._replace(planned=())

    def run(self, call: str) -> None:
        """Do a call, a name in CALLS, on both machines, with the interrupts that are planned.  ValueError if there is none such."""
        step = CALLS[_known(call, CALLS, "call")]
        operation = OPERATIONS[step.operation]
        runs, gave = self._both([(call, lambda m: operation.run(m, step.what))] * 2)
        got = self._state.got
        if step.operation in _FREES or step.operation == "get_free_page":
            got = (*got, (step.operation, *gave)) if gave != (None, None) else got
        self._state = self._state._replace(runs=runs, got=got)

    def free(self) -> None:
        """Free what the last call gave that gave something, on both machines, with the interrupts that are planned.  ValueError if there is nothing."""
        if not self._state.got:
            raise ValueError("no call gave anything that was not freed since the start")
        *got, (operation, *gave) = self._state.got
        calls = [_freeing(operation, result) for result in gave]
        runs, _ = self._both(calls)
        self._state = self._state._replace(runs=runs, got=tuple(got))

    def follow(self, written: Sequence[Sequence[Any]], bounded: Sequence[Sequence[Any]]) -> None:
        """Follow a sequence of steps on either machine from the fresh tiny one, as the search of explore does, and keep the trace of the last.

        A step is (operation, what it works on, ((event, handler), ...)), in words of explore's OPERATIONS and HANDLERS.
        ValueError for another; KernelBug, with both machines as they were, if one cannot be done.
        """
        told = [[step_of(step) for step in steps] for steps in (written, bounded)]
        if not all(told):
            raise ValueError("a sequence to follow has at least one step")
        before = self.snapshot()
        self._choose("tiny")
        try:
            runs = [_followed(m, steps) for m, steps in zip(self._fresh(), told, strict=True)]
        except BaseException:
            self.restore(before)
            raise
        self._state = self._state._replace(start=TINY_START, planned=(), runs=(runs[0], runs[1]), got=())

    # -- what is to be seen

    @property
    def machines(self) -> tuple[Machine, Machine]:
        """The machine as written, and the bounded one."""
        return self.written, self.bounded

    @property
    def begun_from(self) -> str:
        """The start that both machines had, a name in STARTS."""
        return self._state.start

    @property
    def planned(self) -> tuple[Planned, ...]:
        """The interrupts that are to come in each call."""
        return self._state.planned

    @property
    def runs(self) -> tuple[Run, Run] | None:
        """What the last call did on either machine; None before the first."""
        return self._state.runs

    @property
    def can_free(self) -> bool:
        """Whether some call gave something that was not freed."""
        return bool(self._state.got)

    @property
    def frame_bytes(self) -> int:
        """Bytes of stack that a frame is taken to need: an assumption, which can be set."""
        return self._state.frame_bytes

    @frame_bytes.setter
    def frame_bytes(self, value: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 16 << 10:
            raise ValueError(f"frame_bytes is a whole number from 1 to 16384, not {value!r}")
        self._state = self._state._replace(frame_bytes=value)

    @property
    def stats(self) -> Stats:
        """The counters of both machines, as they are now: written_... and bounded_..."""
        sides = {"written": self.written.stats, "bounded": self.bounded.stats}
        return Stats({f"{side}_{name}": n for side, stats in sides.items() for name, n in stats.items()})

    def check(self) -> None:
        """Raise Corruption if either machine's RAM is not in order."""
        self.written.check()
        self.bounded.check()

    def snapshot(self) -> Both:
        """Return a copy of all RAM that ``restore`` takes and that can be compared with ``==``."""
        return Both(Packed(self.written.snapshot()), Packed(self.bounded.snapshot()), self._state, repr(self._state))

    def restore(self, snapshot: Both) -> None:
        """Make RAM what it was when the snapshot was taken.  TypeError or ValueError if it is of something else."""
        if not isinstance(snapshot, Both) or not isinstance(snapshot.beside, _State):
            raise TypeError(f"restore takes what snapshot() returned, not {snapshot!r}")
        self._choose(snapshot.beside.shape)
        for m, packed in zip(self.machines, (snapshot.one, snapshot.other), strict=True):
            m.restore(cast("Packed", packed).unpacked())
        self._state = snapshot.beside

    def __repr__(self) -> str:
        return f"<Nesting: started {self.begun_from!r}, {len(self.planned)} interrupts planned>"

    # -- the work behind it

    def _choose(self, shape: str) -> None:
        """Have the machines of a shape be those that are worked on."""
        if shape not in self._machines:
            first, second = (Machine(**_SHAPES[shape], watermarks=None, design=design) for design in DESIGNS)
            self._machines[shape] = first, second
            self._starts[shape] = first.snapshot(), second.snapshot()
        self.written, self.bounded = self._machines[shape]
        self.nr_pages, self.page_size = self.written.nr_pages, self.written.page_size
        self._state = self._state._replace(shape=shape)

    def _fresh(self) -> tuple[Machine, Machine]:
        for m, snapshot in zip(self.machines, self._starts[self._state.shape], strict=True):
            m.restore(snapshot)
        return self.machines

    def _both(self, calls: list[tuple[str, Callable[[Machine], Any]]]) -> tuple[tuple[Run, Run], tuple[Any, Any]]:
        runs, gave = [], []
        for m, (call, work) in zip(self.machines, calls, strict=True):
            with interrupted(m, self.planned):
                run, result = _traced(m, call, work)
            runs.append(run)
            gave.append(result)
        return (runs[0], runs[1]), (gave[0], gave[1])


def step_of(told: object) -> Step:
    """Return a step of explore's from what JSON can hold.  ValueError with a sentence for anything else."""
    match told:
        case [str(operation), int(what), [*interrupts]] if (
            operation in OPERATIONS and 0 <= what < 1 << 64 and len(interrupts) <= MOST_INTERRUPTS
        ):
            return Step(operation, int(what), tuple(map(_event_of, interrupts)))
    raise ValueError(f"a step is an operation ({', '.join(OPERATIONS)}), what it works on, and its interrupts")


def _event_of(told: object) -> tuple[int, str]:
    match told:
        case [int(event), str(handler)] if handler in HANDLERS and 0 < event < 1 << 20:
            return int(event), handler
    raise ValueError(f"an interrupt of a step is an event from 1 on, and one of {', '.join(HANDLERS)}")


# -- calls


def _traced(m: Machine, call: str, work: Callable[[Machine], Any], before: tuple[str, ...] = ()) -> tuple[Run, Any]:
    """Do a call; return what it did, and its result."""
    trace, result, overflow = Watched(m), None, False
    with trace:
        try:
            result = work(m)
        except KernelBug as bug:
            if not is_overflow(bug):
                raise
            overflow = True
    first = trace.calls[0] if trace.calls else None
    return Run(call, "kernel stack overflow" if overflow else _outcome(first, result), trace, before), result


def _freeing(operation: str, result: int | None) -> tuple[str, Callable[[Machine], object]]:
    """Return the call that frees what an operation gave, in words and to be done."""
    if result is None:
        return "nothing to free", lambda _m: None
    step = None if operation == "get_free_page" else Step(_FREES[operation], result)

    def free_or_tell(m: Machine) -> object:
        try:
            return do(m, step) if step else m.free_page(result)
        except KernelBug as bug:
            if is_overflow(bug):
                raise
            return "refused, as an interrupt had freed it"

    return _as_c(step) if step else f"free_page({result:#x})", free_or_tell


def _outcome(call: Call | None, result: object) -> str:
    if isinstance(result, str):
        return result
    if call is not None and call.failed:
        return "NULL"
    match result:
        case int() if result > 1 << 32:
            return f"{result:#x}"
        case int():
            return f"page {result}"
        case (first, second):
            return f"pages {first} and {second}"
    return "done"


def _followed(m: Machine, steps: list[Step]) -> Run:
    before = []
    for step in steps[:-1]:
        told: list[str] = []
        try:
            do(m, step, told)
        except KernelBug as bug:
            if not is_overflow(bug):
                raise
        before += [_as_c(step), *told]
    return _traced(m, _as_c(steps[-1]), lambda m: do(m, steps[-1]), tuple(before))[0]


def _as_c(step: Step) -> str:
    """Return a step as a call in C: "kmem_cache_alloc(kmem_cache_slab)"."""
    for call, same in CALLS.items():
        if step[:2] == same[:2]:
            return call
    cache, _, rest = code_of(step).removeprefix("m.").partition('"].')
    name = cache.removeprefix('caches["')
    return f"kmem_cache_{rest.replace('(', f'({name}, ').replace(', )', ')')}" if rest else cache


def _known(name: object, among: Any, what: str) -> str:
    if not isinstance(name, str) or name not in among:
        raise ValueError(f"there is no {what} {name!r}; there are {', '.join(map(repr, among))}")
    return name
