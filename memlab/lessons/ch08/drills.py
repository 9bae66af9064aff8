"""Drills of chapter 08, Zones, nodes and GFP.  Used by the chapter's __init__."""

from __future__ import annotations

from random import Random

from ...gfp import GFP
from ..model import Drill, Question, Verdict
from .scene import lowered


def _zone_question(rng: Random) -> Question:
    return (_how_many if rng.random() < 0.5 else _which)(rng)


def _how_many(rng: Random) -> Question:
    least, reserve, gfp = 4 * rng.randrange(4, 25), rng.choice((0, rng.randrange(1, 20))), rng.choice((GFP.KERNEL, GFP.ATOMIC))
    free = least + reserve + rng.randrange(5, 60)
    mark, how = lowered(least, gfp)
    right = str(free - mark - reserve)

    def grade(reply: str) -> Verdict:
        why = f"{how}, and {reserve} in reserve: {mark + reserve} pages must stay, and {free} - {mark + reserve} = {right} can go"
        return Verdict(reply.strip() == right, f"{why[0].upper()}{why[1:]}.")

    text = f"A zone has {free} free pages, min {least}, and a lowmem_reserve of {reserve} against the request. How many single pages can {GFP.show(gfp)} get from it?"
    return Question(text, None, right, grade)


def _which(rng: Random) -> Question:
    order, zones = rng.randrange(0, 4), [(n, n * 5 // 4) for n in (4 * rng.randrange(4, 20), 4 * rng.randrange(4, 20))]
    free = [rng.choice((low, least)) + (1 << order) + rng.randrange(-3, 2) for least, low in zones]
    marks = [
        (name, n, left, zones[n - 1][i])
        for i, name in ((1, "low"), (0, "min"))
        for n, left in enumerate((f - (1 << order) for f in free), 1)
    ]
    taken = next(((name, n, left, mark) for name, n, left, mark in marks if left >= mark), None)
    right = str(taken[1]) if taken else "none"

    def grade(reply: str) -> Verdict:
        if taken:
            why = f"zone {right} is the first that keeps enough, {taken[2]} pages, and {taken[0]} is {taken[3]}"
        else:
            why = "both would go below min, so none gives it"
        if reply.strip().lower() == right:
            return Verdict(True, f"{why[0].upper()}{why[1:]}.")
        return Verdict(False, f"Take {1 << order} off, ask both to keep low, then both to keep min: {why}.")

    said = " and ".join(f"{n}. {f} free, min {least}, low {low}" for n, (f, (least, low)) in enumerate(zip(free, zones, strict=True), 1))
    return Question(
        f"A zonelist of two zones: {said}. Which gives a block of order {order} for GFP_KERNEL: 1, 2 or none?", None, right, grade
    )


DRILLS = (Drill("08.zone", level=2, make=_zone_question),)
