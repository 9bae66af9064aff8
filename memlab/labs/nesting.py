"""The Nesting lab: how deep does one call go?  The chain of calls as written beside the bounded design, with interrupts where you want them.

Used by notebooks: ``nesting_lab()``.  One declaration on the engine of session, action, lab and view, for the machine pair of
memlab.study.Nesting; its search is memlab.study.worst_case.  Imports the core, study, figures and the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from ..figures.call_chain import FRAME_BYTES, STACK_BYTES, call_words, result_words
from ..figures.nesting_lab import SIDES
from ..figures.nesting_lab import nesting_lab as draw
from ..figures.picture import CellName, Picture, count
from ..study.nesting import CALLS, MOST_INTERRUPTS, Nesting, Run, step_of
from ..study.planned import AT, LOW_ORDERS, MEALS, STARTS, TINY_START, AtHand, Planned, at_hand
from ..study.worst_case import WorstCase, steps_of
from .action import Action, ChoiceParam, DataParam, Done, IntParam
from .lab import Lab, Look, Search
from .session import Session, Setup
from .view import LabView

_FIRST: Final = "no free struct buddy"  # where the lab starts, so what its list of starts shows
_CALL_BYTES: Final = 1000  # that a call of a trace needs, about
_FRAME_BYTES: Final = (32, 64, 96, 128, FRAME_BYTES, 192, 256, 384, 512, 1024)
_MOST_NTH: Final = 9
_MOST_STEPS: Final = 24  # of a sequence that a search found
_SEARCHED: Final = {
    "alloc_pages": "alloc_pages",
    "split_page": "split_page",
    "get_free_page": "get_free_page",
    "kmalloc": "kmalloc",
    "folio_alloc": "folio_alloc",
    "kmem_cache_alloc(kmem_cache_buddy)": "take a struct buddy",
    "kmem_cache_alloc(kmem_cache_slab)": "take a struct slab",
}
_STATES: Final = (250, 1000, 4000, 16_000, 64_000)


def nesting_lab(machine: Nesting | None = None) -> LabView:
    """Open a Nesting lab on a pair of machines of your own, or on a fresh one (see nesting_machine).

    Shown when it is the last line of a cell.  Its ``machine`` is the Nesting; changes by code are seen after the cell that makes them.
    TypeError for a bad argument.
    """
    if machine is not None and not isinstance(machine, Nesting):
        raise TypeError(f"nesting_lab takes a memlab.study.Nesting, or nothing for a fresh one, not {machine!r}")
    if machine is not None:
        return LabView(NESTING_LAB, Session.of(cast("Any", machine)))
    setup = NESTING_LAB.setup()
    return LabView(NESTING_LAB, Session.of(setup.machine, setup))


def nesting_machine() -> Nesting:
    """Boot the machines of the Nesting lab: two of 1 MiB, one as written and one bounded, low orders and free struct buddys used up."""
    m = Nesting()
    m.start(_FIRST)
    return m


def _preset() -> Setup:
    m = nesting_machine()
    return Setup(cast("Any", m), range(m.nr_pages), "from memlab.labs import nesting_machine\n\nm = nesting_machine()")


class Moments:
    """The calls and returns of the last call on both machines, for the slider inside a step.  RAM is left as it is: the traces tell it all."""

    def __init__(self, runs: tuple[Run, Run]) -> None:
        told = [_moments(run) for run in runs]
        self._n = max(map(len, told))
        self.nbytes = _CALL_BYTES * sum(len(run.trace.calls) for run in runs)
        self.marks = [
            "; ".join(
                f"{title}: {words[min(k, len(words) - 1)] if words else 'nothing'}"
                for title, words in zip(SIDES.values(), told, strict=True)
            )
            + "."
            for k in range(self._n)
        ]

    @contextmanager
    def at(self, k: int) -> Iterator[None]:
        """Look at a moment.  IndexError if there is none such."""
        if not 0 <= k < self._n:
            raise IndexError(f"there are moments 0 to {self._n - 1}, not {k!r}")
        yield

    def __len__(self) -> int:
        return self._n


def _moments(run: Run) -> list[str]:
    """Return what happens at each moment of a chain."""
    words = [""] * (2 * len(run.trace.calls))
    for call in run.trace.calls:
        words[call.start] = f"{call} is called, {count(call.depth, 'frame')} deep"
        words[call.end] = f"{call} returns"
    return words


# -- actions


def _start(session: Session, state: str) -> Done:
    m = _machine(session)
    m.start(state)
    return Done(f"Both machines start anew, {state}: {_hands_now(m)}.")


def _interrupt(session: Session, at: str, when: str, nth: int, meal: str) -> Done:
    m = _machine(session)
    m.interrupt(at, when, nth, meal)
    return Done(f"Planned for the calls to come, {len(m.planned)} of {MOST_INTERRUPTS} at most: {_planned_words(m.planned[-1])}.")


def _no_interrupts(session: Session) -> Done:
    m = _machine(session)
    n = len(m.planned)
    m.no_interrupts()
    return Done(f"Forgot {count(n, 'interrupt')}: the calls to come run undisturbed.")


def _call(session: Session, call: str) -> Done:
    m = _machine(session)
    m.run(call)
    return _told(m, call)


def _free(session: Session) -> Done:
    m = _machine(session)
    m.free()
    return _told(m, "Freeing")


def _told(m: Nesting, what: str) -> Done:
    """Say how deep the last call went."""
    runs = cast("tuple[Run, Run]", m.runs)
    sides = [_side_words(title, run) for title, run in zip(SIDES.values(), runs, strict=True)]
    never = [len(m.planned) - len(run.trace.interrupts) for run in runs]
    places = ("on either",) if never[0] == never[1] else ("as written", "bounded")
    missed = "".join(f"; {count(n, 'planned interrupt')} never came {where}" for n, where in zip(never, places, strict=False) if n > 0)
    deepest = max(run.trace.depth for run in runs) * m.frame_bytes
    fits = "fits" if deepest <= STACK_BYTES else "does not fit"
    gauge = f"at {m.frame_bytes} bytes a frame the deeper one needs {deepest:,} bytes, which {fits} into a stack of {STACK_BYTES:,}"
    sentence = f"{what}: {'; '.join(sides)}{missed}; {gauge}."
    return Done(sentence, "written-call-0", cast("Any", Moments(runs)))


def _side_words(title: str, run: Run) -> str:
    came = len(run.trace.interrupts)
    interrupts = f" with {count(came, 'interrupt')}" if came else ""
    how = f"{count(run.trace.depth, 'frame')} deep in {count(len(run.trace.calls), 'call')}{interrupts}"
    return f"{title.lower()} {how} ({run.outcome})"


def _frame_bytes(session: Session, frame_bytes: int) -> Done:
    m = _machine(session)
    m.frame_bytes = frame_bytes
    return Done(
        f"A frame is taken to need {frame_bytes} bytes of stack: {STACK_BYTES // frame_bytes:,} frames fit into {STACK_BYTES:,} bytes."
    )


def _follow(session: Session, written: list[Any], bounded: list[Any]) -> Done:
    m = _machine(session)
    m.follow(written, bounded)
    return _told(m, "The sequences that were found")


def _follow_code(_session: Session, written: list[Any], bounded: list[Any]) -> str:
    return f"m.follow(\n    {written!r},\n    {bounded!r},\n)"


def _steps(value: object) -> None:
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_STEPS:
        raise ValueError(f"it is a list of 1 to {_MOST_STEPS} steps")
    for step in value:
        step_of(step)


def _full(session: Session, _cell: str | None) -> str | None:
    n = len(_machine(session).planned)
    return None if n < MOST_INTERRUPTS else f"There are {n} interrupts already; No interrupts forgets them."


def _none_planned(session: Session, _cell: str | None) -> str | None:
    return None if _machine(session).planned else "No interrupt is planned."


def _nothing_to_free(session: Session, _cell: str | None) -> str | None:
    return None if _machine(session).can_free else "No call has given anything that was not freed since the start."


# -- the search


class _Searching(WorstCase):
    """A WorstCase that tells how to show what it found."""

    def found(self) -> tuple[str, str, dict[str, Any]] | None:
        written, bounded = self.deepest()
        if written is None or bounded is None:
            return None
        return self.told(), "follow", {"written": steps_of(written), "bounded": steps_of(bounded)}


def _begin(_session: Session, operation: str, interrupts: int, states: int) -> _Searching:
    return _Searching(_SEARCHED[operation], interrupts, states)


# -- the picture and its words


def _figure(m: Any, look: Look) -> Picture:
    return draw(m, look.frame, look.cell)


def _details(m: Any, look: Look) -> list[tuple[str, str]]:
    found = [("Start", m.begun_from)]
    found += [(f"Interrupt {i}", _planned_words(plan)) for i, plan in enumerate(m.planned, 1)] or [("Interrupts", "none planned")]
    if m.runs is None:
        return [*found, ("At hand", _hands_now(m))]
    for side, run in zip(SIDES, m.runs, strict=True):
        found += _side_details(side, run, look)
    return found


def _side_details(side: str, run: Run, look: Look) -> list[tuple[str, str]]:
    title, trace = SIDES[side], run.trace
    found = [(title, f"after {'; '.join(run.before)}: {run.call}" if run.before else run.call)]
    if trace.hands:
        last = len(trace.hands) - 1
        k = last if look.frame is None else min(look.frame, last)
        when = "at the end" if k == last else f"at moment {k}"
        found.append((f"At hand {when}", _hand_words(trace.hands[k])))
    n = CellName.of((look.cell or "").removeprefix(f"{side}-")).of_kind("call")
    if n is not None and n < len(trace.calls):
        call = trace.calls[n]
        found.append(("Selected", f"{call}, frame {call.depth} {'of interrupt ' + str(call.context) if call.context else 'of the task'}"))
        found.append(("Asked for", call_words(call) or "nothing more"))
        found.append(("Result", result_words(call, look.frame)))
    return found


def _hands_now(m: Nesting) -> str:
    hands = [at_hand(machine) for machine in m.machines]
    if hands[0] == hands[1]:
        return _hand_words(hands[0])
    return "; ".join(f"{title.lower()} {_hand_words(hand)}" for title, hand in zip(SIDES.values(), hands, strict=True))


def _hand_words(hand: AtHand) -> str:
    low = f"below order {LOW_ORDERS}"
    return f"{count(hand.buddies, 'free struct buddy')}, {count(hand.slabs, 'free struct slab')}, {count(hand.blocks, 'free block')} {low}"


def _planned_words(plan: Planned) -> str:
    return f"{plan.when} {plan.nth} of {plan.at} is followed by an interrupt that will {plan.meal}"


def _machine(session: Session) -> Nesting:
    return cast("Nesting", session.machine)


NESTING_LAB: Final = Lab(
    name="nesting",
    title="Nesting lab",
    preset=_preset,
    actions=(
        Action(
            "start",
            "Start anew",
            run=_start,
            code=lambda _session, state: f"m.start({state!r})",
            params=(ChoiceParam("state", "Start", (_FIRST, *(state for state in STARTS if state != _FIRST))),),
        ),
        Action(
            "call",
            "Call",
            run=_call,
            code=lambda _session, call: f"m.run({call!r})",
            params=(ChoiceParam("call", "What", tuple(CALLS)),),
        ),
        Action("free", "Free it again", run=_free, code=lambda _session: "m.free()", enabled=_nothing_to_free),
        Action(
            "interrupt",
            "Add interrupt",
            run=_interrupt,
            code=lambda _session, at, when, nth, meal: f"m.interrupt({at!r}, {when!r}, {nth}, {meal!r})",
            params=(
                ChoiceParam("when", "Interrupt at", ("return", "call")),
                IntParam("nth", "number", low=1, high=lambda _session: _MOST_NTH),
                ChoiceParam("at", "of", (AT[5], *AT[:5], *AT[6:])),
                ChoiceParam("meal", "to", (MEALS[2], *MEALS[:2], *MEALS[3:])),
            ),
            enabled=_full,
        ),
        Action("no_interrupts", "No interrupts", run=_no_interrupts, code=lambda _session: "m.no_interrupts()", enabled=_none_planned),
        Action(
            "frame_bytes",
            "Set",
            run=_frame_bytes,
            code=lambda _session, frame_bytes: f"m.frame_bytes = {frame_bytes}",
            params=(IntParam("frame_bytes", "Bytes of a frame", values=_FRAME_BYTES, default=FRAME_BYTES),),
        ),
        Action(
            "follow",
            "Follow",
            run=_follow,
            code=_follow_code,
            params=(DataParam("written", "The sequence as written", _steps), DataParam("bounded", "The bounded sequence", _steps)),
            hidden=True,
        ),
    ),
    figure=_figure,
    details=_details,
    demo=(
        ("call", {"call": "alloc_pages(0)"}, (6, 13, 60)),
        ("start", {"state": "no free descriptor"}),
        ("interrupt", {"at": AT[5], "when": "return", "nth": 1, "meal": MEALS[2]}),
        ("call", {"call": "alloc_pages(0)"}, (11, 17, 25, 41)),
    ),
    search=Search(
        "Find the worst case",
        begin=_begin,
        params=(
            ChoiceParam("operation", f"Worst case ({TINY_START}) of", tuple(_SEARCHED)),
            IntParam(
                "interrupts", "Interrupts", high=lambda _session: MOST_INTERRUPTS, words=lambda _session, n: f"up to {n}" if n else "none"
            ),
            IntParam("states", "States to try", values=_STATES, default=1000, words=lambda _session, n: f"{n:,}"),
        ),
    ),
)
