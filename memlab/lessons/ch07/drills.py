"""Drills of chapter 07, Who describes the describer?.  Used by the chapter's __init__."""

from __future__ import annotations

from random import Random

from ...figures.picture import count
from ..model import Drill, Question, Verdict


def _bootstrap_question(rng: Random) -> Question:
    order = rng.randrange(0, 8)
    answers = {
        "How many pages become slabs?": 1 if order == 0 else 2,
        "How many new struct buddys does it need?": order,
        "How many pages of the block stay free?": (1 << order) - (1 if order == 0 else 2),
        "How many struct slabs are in use on the first page when it is done, before anybody asks for one?": 1 if order == 0 else 2,
    }
    text, right = rng.choice(list(answers.items()))
    if order == 0:
        parts = "a single page describes itself; it is split from nothing, and keeps its struct buddy"
    else:
        parts = (
            f"of {count(1 << order, 'page')}, two become slabs, each with a struct slab on the first of them; "
            f"{count(order, 'split')}, each with a new struct buddy"
        )

    def grade(reply: str) -> Verdict:
        if reply.strip() == str(right):
            return Verdict(True, f"{right}: from a block of {count(1 << order, 'page')}.")
        return Verdict(False, f"It is {right}: {parts}.")

    return Question(f"__alloc_slab finds a smallest free block of order {order}. {text}", None, str(right), grade)


DRILLS = (Drill("07.bootstrap", level=2, make=_bootstrap_question),)
