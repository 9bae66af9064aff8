"""Drills of chapter 04, Slabs.  Used by the chapter's __init__."""

from __future__ import annotations

from random import Random

from ..model import Drill, Question, Verdict


def _order_question(rng: Random) -> Question:
    size, order = rng.choice((96, 104, 160, 192, 256, 320, 448, 600, 704, 1000, 1536)), rng.randrange(0, 3)
    fit = (4096 << order) // size
    rest = (4096 << order) - fit * size
    answer = f"{fit} {rest}"

    def grade(reply: str) -> Verdict:
        numbers = [int(part) for part in reply.replace(",", " ").split() if part.isdecimal()]
        if len(numbers) != 2:
            raise ValueError("two numbers are wanted")
        if numbers == [fit, rest]:
            return Verdict(True, f"{fit} times {size} is {fit * size:,}.")
        return Verdict(False, f"{4096 << order:,} bytes hold {fit} objects of {size}, and {rest} bytes are left: {answer}.")

    return Question(
        f"A slab of order {order} ({1 << order} x 4096 bytes) is cut into objects of {size} bytes. How many, and how many bytes are left over? (Two numbers.)",
        None,
        answer,
        grade,
    )


DRILLS = (Drill("04.order", level=1, make=_order_question),)
