"""A prediction on the screen: a question with choices, and the reason at once when the choice was wrong.

Used by predict() and the tests.  Imports model, sheet, results and the core; no widgets.

What is right is found by a run, each on a machine of its own: a copy of the learner's, or a fresh one.
"""

from __future__ import annotations

from dataclasses import asdict
from reprlib import repr as short
from typing import NamedTuple

from ..labs.refused import Refused
from ..machine import Machine
from . import results
from .model import Prediction
from .sheet import Block, Button, Sheet, html, text

_OTHER = "Your machine is not in a state that this question fits, so it is asked about a fresh one."


class Posed(NamedTuple):
    """A prediction about one machine: the question, the choices with the reasons why they are wrong, and the number of the right one."""

    question: str
    choices: tuple[tuple[str, str | None], ...]
    right: int


def pose(prediction: Prediction, machine: Machine | None = None) -> Posed:
    """Ask about a machine, or about the prediction's own, neither of which changes; ValueError unless exactly one choice is right."""

    def fresh() -> Machine | None:
        if machine is not None:
            return copy_of(machine)
        return prediction.machine() if prediction.machine is not None else None

    question = prediction.question(fresh()) if callable(prediction.question) else prediction.question
    choices = (prediction.choices(fresh()) if callable(prediction.choices) else prediction.choices).items()
    answer = prediction.right(fresh())
    right = [i for i, (words, _) in enumerate(choices) if words == answer]
    wrong = [i for i, (_, why) in enumerate(choices) if why is not None]
    if len(right) != 1 or len(wrong) != len(choices) - 1 or right[0] in wrong:
        raise ValueError(f"prediction {prediction.id}: the run says {answer!r}, and exactly that choice, without a reason, must be there")
    return Posed(question, tuple(choices), right[0])


def copy_of(machine: Machine) -> Machine:
    """Return another machine with the same RAM."""
    copy = Machine(**asdict(machine.config))
    copy.restore(machine.snapshot())
    return copy


class PredictionSheet(Sheet):
    """A prediction about a machine of the learner's, or about a fresh one.  Choosing again is allowed; what was right once stays so."""

    def __init__(self, prediction: Prediction, machine: Machine | None = None) -> None:
        self.title = f"Prediction {prediction.id}"
        self.prediction = prediction
        try:
            self.posed = pose(prediction, machine)
        except Exception:  # whatever goes wrong on a learner's machine, a fresh one will do
            if machine is None:
                raise
            self.posed = pose(prediction)
            self.note = _OTHER

    def blocks(self) -> list[Block]:
        """Return the question with its choices."""
        return [{"key": "choices", "kind": "choices", "label": self.posed.question, "choices": [words for words, _ in self.posed.choices]}]

    def buttons(self) -> list[Button]:
        """Return the one button."""
        return [Button("answer", "Answer", self._answer, "choice")]

    def _answer(self, choice: object) -> None:
        if choice is None:
            raise Refused("Choose an answer first.")
        if not isinstance(choice, int) or isinstance(choice, bool) or not 0 <= choice < len(self.posed.choices):
            raise Refused(f"There is no choice {short(choice)}.")
        words, why = self.posed.choices[choice]
        trouble = results.record("prediction", self.prediction.id, choice == self.posed.right)
        if choice == self.posed.right:
            self.say(f"Right: {words}. {trouble}".strip(), "right")
        else:
            self.say(f"Not so. {why} {trouble}".strip(), "wrong")

    def static_html(self) -> str:
        """Return the question, and the answer as a fragment of the slide."""
        answer = html(text(f"Answer: {self.posed.choices[self.posed.right][0]}"))
        return super().static_html().replace("</section>", f'<div class="fragment">{answer}</div></section>')
