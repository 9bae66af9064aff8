"""A drill: endless seeded questions, graded at once, on the screen and on the command line.

Used by drill(), ``python -m memlab.lessons drill`` and the tests.  Imports model, sheet and results; no widgets.
"""

from __future__ import annotations

from ..labs.refused import Refused
from . import results
from .model import Drill, Verdict
from .sheet import Block, Button, Sheet, text

MOST_SEED = 2**32
_LONGEST = 200  # characters of a reply
_SAME = 9  # questions in a row that may be the same


def grade(drill: Drill, seed: int, reply: str) -> Verdict:
    """Return whether a reply to question ``seed`` is right, with a sentence; whatever the reply is, it never raises."""
    if not reply.strip():
        return Verdict(False, "Type an answer first.")
    if len(reply) > _LONGEST:
        return Verdict(False, f"That is too long for an answer: {_LONGEST} characters will do.")
    question = drill.question(seed)
    try:
        verdict = question.grade(reply)
    except (ValueError, TypeError, ArithmeticError, LookupError):
        return Verdict(False, "That cannot be read as an answer to this question.")
    trouble = results.record("drill", drill.id, verdict.ok, seed)
    return Verdict(verdict.ok, f"{'Right.' if verdict.ok else 'Not so.'} {verdict.sentence} {trouble}".strip())


def after(drill: Drill, seed: int) -> int:
    """Return the number of the question after ``seed``; those that ask the very same again are left out, a few at most."""
    asked = _asked(drill, seed)
    for _ in range(_SAME):
        seed = (seed + 1) % MOST_SEED
        if _asked(drill, seed) != asked:
            break
    return seed


def _asked(drill: Drill, seed: int) -> tuple[str, str]:
    question = drill.question(seed)
    return question.text, "" if question.picture is None else question.picture.html()


class DrillSheet(Sheet):
    """One question of a drill after the other, from ``seed`` on."""

    def __init__(self, drill: Drill, seed: int) -> None:
        self.title = f"Drill {drill.id}"
        self.drill = drill
        self._ask(seed)

    def _ask(self, seed: int) -> None:
        self.seed, self.question = seed, self.drill.question(seed)
        self.note = f"{'★' * self.drill.level} · question {seed}"

    def blocks(self) -> list[Block]:
        """Return the question, its picture if it has one, and the place for the answer."""
        picture = self.question.picture
        shown = [] if picture is None else [{"key": f"picture-{self.seed}", "kind": "picture", "html": picture.html()}]
        return [text(self.question.text, "question"), *shown, {"key": f"reply-{self.seed}", "kind": "input", "label": "Your answer"}]

    def buttons(self) -> list[Button]:
        """Return the two buttons."""
        return [Button("check", "Check", self._check, "reply"), Button("another", "Another one", self._another)]

    def _check(self, reply: object) -> None:
        if not isinstance(reply, str):
            raise Refused("An answer is text.")
        verdict = grade(self.drill, self.seed, reply)
        self.say(verdict.sentence, "right" if verdict.ok else "wrong")

    def _another(self) -> None:
        self._ask(after(self.drill, self.seed))
        self.say(f"Question {self.seed}.")
