"""An exercise on the screen: hints one by one, solution, explanation, the stub as it was, and a lab in the state it is about.

Used by the exercise decorator and the tests.  Imports model, registry, sheet and labs; makes no widget but the lab that is asked for.
"""

from __future__ import annotations

from ..labs.view import LabView, open_lab
from . import results
from .judge import Outcome, judge
from .model import Chapter, Exercise
from .registry import reference
from .sheet import Block, Button, Sheet, code, text

_TONES = {"correct": "right", "wrong": "wrong", "failed": "wrong", "stub": ""}


class ExerciseSheet(Sheet):
    """An exercise.  What has been revealed stays so when its cell is run again."""

    def __init__(self, chapter: Chapter, exercise: Exercise) -> None:
        self.chapter, self.exercise = chapter, exercise
        self.title = f"{exercise.id} {exercise.title}"
        self.note = f"{exercise.stars} · about {exercise.minutes} minutes"
        self.hints = 0
        self.widget: LabView | None = None
        self.open: set[str] = set()  # of "solution", "explanation", "stub" and "state"

    def judge(self, answer: object) -> Outcome:
        """Check an answer and write the result down; never raises."""
        outcome = judge(self.exercise, answer)
        trouble = "" if outcome.kind == "stub" else results.record("exercise", self.exercise.id, outcome.kind == "correct")
        self.say(f"{'' if outcome.kind != 'correct' else 'Correct. '}{outcome.sentence} {trouble}".strip(), _TONES[outcome.kind])
        return outcome

    def line(self, outcome: Outcome) -> str:
        """Return what the cell prints: one line, and below it what only the learner's code can tell."""
        name = self.exercise.id
        said = {
            "stub": f"{name} {self.exercise.stars} not started: write the function, then run this cell again.",
            "correct": f"{name}: correct",
        }.get(outcome.kind, f"{name}: not yet. {outcome.sentence}")
        return "\n".join(filter(None, [said, outcome.details]))

    def blocks(self) -> list[Block]:
        """Return nothing: the task stands above the cell."""
        return []

    def buttons(self) -> list[Button]:
        """Return a button for the next hint, and one for each thing that can be shown or hidden."""
        there = len(self.exercise.hints)
        label = f"Hint {self.hints + 1} of {there}" if self.hints < there else "No more hints"
        off = None if self.hints < there else "All hints are shown below."
        found = [Button("hint", label, self._hint, off=off)]
        for name, what in (("solution", "solution"), ("explanation", "explanation"), ("stub", "original stub"), ("state", "lab")):
            if name != "state" or self.exercise.state is not None:
                found.append(Button(name, f"{'Hide' if name in self.open else 'Show'} {what}", lambda name=name: self._toggle(name)))
        return found

    def more(self) -> list[Block]:
        """Return what has been revealed."""
        e = self.exercise
        found = [text(hint, f"hint-{n}", f"Hint {n}") for n, hint in enumerate(e.hints[: self.hints], 1)]
        if "solution" in self.open:
            found.append(code(e.cell(reference(self.chapter, e)), "solution", "One good answer"))
        if "explanation" in self.open:
            found.append(text(e.explanation, "explanation", "Explanation"))
        if "stub" in self.open:
            found.append(code(e.cell(), "stub", "The cell as it was"))
        if "state" in self.open:
            found.append(code(f'from memlab.labs import open_lab\n\nopen_lab("{e.state}")', "state", "The lab below, as code for a cell"))
        return found

    def static_html(self) -> str:
        """Return nothing: slides and static pages leave exercises out."""
        return ""

    def _hint(self) -> None:
        self.hints += 1
        self.say(f"Hint {self.hints} is shown below.")

    def _toggle(self, name: str) -> None:
        if name in self.open:
            self.open.remove(name)
            if name == "state" and self.widget is not None:
                self.widget.close()
                self.widget = None
            self.say("Hidden.")
            return
        if name == "state":
            self.widget = open_lab(self.exercise.state or "")
        self.open.add(name)
        self.say("Shown below.")
