"""Drills of chapter 06, A slab and its buddy.  Used by the chapter's __init__."""

from __future__ import annotations

from random import Random

from ..model import Drill, Question, Verdict

_ARROWS = {
    "the mem_desc of a slab's page": "the struct slab",
    "slab->buddy": "the struct buddy",
    "buddy->page": "the struct page of the first page",
    "slab->virt": "the first byte of the slab's memory",
    "slab->slab_cache": "the cache",
    "a free object's link": "the next free object",
}


def _pointers_question(rng: Random) -> Question:
    places = list(dict.fromkeys(_ARROWS.values()))
    rng.shuffle(places)
    arrow, place = rng.choice(list(_ARROWS.items()))
    answer = "abcdef"[places.index(place)]

    def grade(reply: str) -> Verdict:
        if reply.strip(" ().").lower() == answer:
            return Verdict(True, f"So it is: {arrow} leads to {place}.")
        return Verdict(False, f"It leads to {place}: {answer}.")

    listed = ", ".join(f"({letter}) {text}" for letter, text in zip("abcdef", places, strict=True))
    return Question(f"Where does {arrow} point? {listed}. (One letter.)", None, answer, grade)


DRILLS = (Drill("06.pointers", level=1, make=_pointers_question),)
