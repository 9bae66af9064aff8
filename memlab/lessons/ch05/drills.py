"""Drills of chapter 05, Eleven descriptors.  Used by the chapter's __init__."""

from __future__ import annotations

from random import Random

from ..model import Drill, Question, Verdict


def _count_question(rng: Random) -> Question:
    have = rng.randrange(2, 12)
    want = rng.randrange(0, have)
    descriptors, words = have - want, 1 << (have - 1)
    answer = f"{descriptors} {words}"

    def grade(reply: str) -> Verdict:
        texts = (reply.replace(",", " "), reply.replace(",", ""))  # "4, 128" and "11 1,024"
        readings = [[int(part) for part in text.split() if part.isdecimal()] for text in texts]
        if all(len(numbers) != 2 for numbers in readings):
            raise ValueError("two numbers are wanted")
        if [descriptors, words] in readings:
            return Verdict(True, f"{descriptors} splits, and half of {1 << have} pages.")
        return Verdict(
            False,
            f"{have} - {want} = {descriptors} splits, a descriptor each; the lower half has 2^{have - 1} = {words} pages. So: {answer}.",
        )

    return Question(
        f"A block of order {have} is split to get one of order {want}. How many new descriptors does it take, and how many mem_desc words change? (Two numbers.)",
        None,
        answer,
        grade,
    )


DRILLS = (Drill("05.count", level=2, make=_count_question),)
