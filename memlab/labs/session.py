"""Session: what all views of one machine share -- how it was set up, the steps done, one undo and redo, and who is told of changes.

Used by LabView, by state.py and by tests.  The machine knows nothing of it.  Imports the core and action; never widgets, and IPython only if
it runs already.

    position           0        1        2        3
    RAM                start    |        |        |        a snapshot after each step; undo and redo move between them
    steps                 step 0   step 1   step 2         an action, its parameters, sentence and code; or "changed by code"
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from reprlib import repr as short
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from ..machine import Machine
from ..ram import KernelBug, Snapshot
from ..recording import Recording
from .action import Action, Done
from .refused import Refused

MOST_STEPS = 500  # that undo can take back
MOST_BYTES = 64 << 20  # of their snapshots; and of what was recorded inside them

_CODE_STEP = "RAM was changed by code in a notebook cell."
_sessions: WeakValueDictionary[int, Session] = WeakValueDictionary()  # by id(machine), which its session keeps alive


class Setup(NamedTuple):
    """A machine that is ready for a lab: the pages that the lab is about, and Python that makes an equal machine ``m``.

    ``params``: those of the preset that made it, None for a machine of one's own.  ``lab``: the lab whose preset that was (Lab.setup fills it in).
    """

    machine: Machine
    arena: range
    code: str
    params: dict[str, Any] | None = None
    lab: str = ""


class Step(NamedTuple):
    """One step of the history.  ``action`` is None for what code did; ``recording`` is how it went on inside, if that was recorded."""

    sentence: str
    code: str
    action: Action | None = None
    params: Mapping[str, Any] = {}
    recording: Recording | None = None


class Session:
    """The history of one machine.  ``position``: how many of ``steps`` RAM has behind it; the others were undone."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.machine = setup, setup.machine
        self.began = self.machine.stats  # the counters at the start
        self.steps: list[Step] = []
        self.position = 0
        self._states: list[Snapshot | None] = [self.machine.snapshot()]  # after 0, 1, 2, ... steps; None once forgotten
        self._told: list[Callable[[], None]] = []

    @classmethod
    def of(cls, machine: Machine, setup: Setup | None = None) -> Session:
        """Return the machine's session, the same for all views of it; made, with ``setup``, when there is none yet."""
        session = _sessions.get(id(machine))
        if session is None:
            code = "# m is your own machine, as it was when its first lab was opened"
            session = cls(setup or Setup(machine, range(machine.nr_pages), code))
            _sessions[id(machine)] = session
            _watch_cells()
        return session

    def run(self, action: Action, /, **params: object) -> Done:
        """Do an action: one step of the history, unless RAM is the same after it and nothing was recorded.  What had been undone is dropped.

        Refused, with RAM untouched, when a parameter is no good or the action cannot be done now.  Whatever else is raised: RAM is as before.
        """
        before = self._look()
        values = action.checked(self, params)
        code = action.code(self, **values)
        try:
            done = action.run(self, **values)
        except KernelBug as bug:
            self.machine.restore(before)
            raise Refused(f"{bug}.") from None
        except BaseException:
            self.machine.restore(before)
            raise
        after = self.machine.snapshot()
        if after != before or done.recording is not None:  # what was made and unmade again is worth a look inside
            self._append(Step(done.sentence, code, action, values, done.recording), after)
            self._tell()
        return done

    def undo(self) -> str:
        """Take the last step back; returns a sentence.  Refused if there is none, or if it was forgotten."""
        self._look()
        if self.position == 0:
            raise Refused("There is nothing to undo.")
        self._go(self.position - 1)
        return f"Undone: {self.steps[self.position].sentence}"

    def redo(self) -> str:
        """Do again what was undone; returns a sentence.  Refused if nothing was."""
        self._look()
        if self.position == len(self.steps):
            raise Refused("There is nothing to redo.")
        self._go(self.position + 1)
        return f"Redone: {self.steps[self.position - 1].sentence}"

    def reset(self) -> str:
        """Undo all steps at once; returns a sentence.  Redo brings them back, one by one."""
        self._look()
        if self.position == 0:
            raise Refused("There is nothing to undo: the machine is as it was when the lab was opened.")
        taken = self.position
        self._go(0)
        if self._states[1] is None:
            return f"Undid all {taken} steps. The first of them are forgotten; Time leads to the newest."
        return f"Undid all {taken} steps; Redo does them again." if taken > 1 else "Undid the one step; Redo does it again."

    def go(self, position: object) -> str:
        """Go to a position of the history; returns a sentence.  Refused if there is none such, or if it was forgotten."""
        self._look()
        if not isinstance(position, int) or isinstance(position, bool) or not 0 <= position <= len(self.steps):
            raise Refused(f"A position of the history is a whole number from 0 to {len(self.steps)}, not {short(position)}.")
        if position != self.position:
            self._go(position)
        if not position:
            return f"The start, before the first of {len(self.steps)} steps." if len(self.steps) > 1 else "The start, before the only step."
        return f"After step {position} of {len(self.steps)}: {self.steps[position - 1].sentence}"

    def repeat(self, steps: Iterable[tuple[Action, Mapping[str, Any]]]) -> None:
        """Go to the start and do other steps than those of the history, which they replace.  Whatever is raised: RAM and history are as before."""
        now = self._look()
        before = list(self.steps), list(self._states), self.position
        told, self._told = self._told, []
        try:
            self._go(0)
            for action, params in steps:
                self.run(action, **params)
            self.steps, self._states = self.steps[: self.position], self._states[: self.position + 1]
        except BaseException:
            self.steps, self._states, self.position = before
            self.machine.restore(now)
            raise
        finally:
            self._told = told
        self._tell()

    def notice(self) -> bool:
        """Compare RAM with the history; if code outside the labs changed it, that becomes a step.  Says whether it did."""
        position = self.position
        self._look()
        return self.position != position

    def code(self) -> str:
        """Return Python that makes a machine ``m`` with equal RAM: the set-up, then each step so far."""
        lines = "\n".join([self.setup.code, *(step.code for step in self.steps[: self.position])]).split("\n")
        imports = dict.fromkeys(line for line in lines if line.startswith("from memlab"))  # each once, and first
        return "\n".join([*imports, *(line for line in lines if line not in imports)])

    def recording(self) -> Recording | None:
        """Return how the step that led to this position went on inside, if that was recorded."""
        return self.steps[self.position - 1].recording if self.position else None

    def subscribe(self, told: Callable[[], None]) -> None:
        """Have a function called after each change of RAM or of the position."""
        self._told.append(told)

    def unsubscribe(self, told: Callable[[], None]) -> None:
        """Call the function no more."""
        if told in self._told:
            self._told.remove(told)

    # -- the work behind it

    def _look(self) -> Snapshot:
        """Return RAM as it is now.  What the counters say belongs to it, so the newest copy replaces an equal older one."""
        now = self.machine.snapshot()
        if now == self._states[self.position]:
            self._states[self.position] = now
        else:
            self._append(Step(_CODE_STEP, f"# here: {_CODE_STEP}"), now)
            self._tell()
        return now

    def _append(self, step: Step, after: Snapshot) -> None:
        del self.steps[self.position :], self._states[self.position + 1 :]
        self.steps.append(step)
        self._states.append(after)
        self.position += 1
        kernel, mem_map, pages, _ = after.parts()
        most = max(2, min(MOST_STEPS, MOST_BYTES // (len(kernel) + len(mem_map) + len(pages) * self.machine.page_size)))
        for i in range(1, len(self._states) - most):  # the start is kept, for Reset
            self._states[i] = None
            self.steps[i - 1] = self.steps[i - 1]._replace(recording=None)
        room = MOST_BYTES
        for i in range(len(self.steps) - 1, -1, -1):
            recording = self.steps[i].recording
            room -= recording.nbytes if recording is not None else 0
            if room < 0 and i < len(self.steps) - 1:  # the newest is kept, however long
                self.steps[i] = self.steps[i]._replace(recording=None)

    def _go(self, position: int) -> None:
        state = self._states[position]
        if state is None:
            raise Refused("That step was too long ago and is forgotten; Reset goes back to the start, Time to the newest steps.")
        self.machine.restore(state)
        self.position = position
        self._tell()

    def _tell(self) -> None:
        for told in list(self._told):
            told()


def _watch_cells() -> None:
    """Have every notebook cell followed by a look at the machines that have labs."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and _after_cell not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _after_cell)


def _after_cell(_result: object) -> None:
    for session in list(_sessions.values()):
        session.notice()
