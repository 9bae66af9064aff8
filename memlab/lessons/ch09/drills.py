"""Drills of chapter 09, The worst case.  Used by the chapter's __init__."""

from __future__ import annotations

from random import Random

from ...figures.call_chain import STACK_BYTES
from ...figures.picture import count
from ..model import Drill, Question, Verdict


def _depth_question(rng: Random) -> Question:
    slabs, size = rng.randrange(0, 40), 8 * rng.randrange(10, 33)
    deep = 6 * slabs + 12
    state = f"As written: no struct buddy is free, no page of order 0, and {count(slabs, 'struct slab')} {'is' if slabs == 1 else 'are'} free; no interrupt comes."
    sum_ = f"6 x {slabs} + 12 = {deep}"
    most = (STACK_BYTES // size - 12) // 6
    fit = (
        f"As written: no struct buddy is free, and no page of order 0; no interrupt comes. A frame has {size} bytes. With how many free struct slabs, at most, does alloc_pages(0) "
        "stay within a stack of 16 KiB?"
    )
    asked = (
        (f"{state} How many frames deep does alloc_pages(0) nest?", deep, sum_),
        (
            f"{state} A frame has {size} bytes. How many bytes of stack does alloc_pages(0) need?",
            deep * size,
            f"{sum_} frames, times {size}",
        ),
        (fit, most, f"{STACK_BYTES // size} frames fit, and 6 x {most} + 12 = {6 * most + 12}"),
    )
    text, right, why = rng.choice(asked)

    def grade(reply: str) -> Verdict:
        if reply.strip().replace(",", "") == str(right):
            return Verdict(True, f"{why}.")
        rule = "Six for each free struct slab, then six for the round that finds none, and six for kmem_cache_slab."
        return Verdict(False, f"It is {right:,}: {why}. {rule}")

    return Question(text, None, str(right), grade)


DRILLS = (Drill("09.depth", level=2, make=_depth_question),)
