"""Drills of chapter 02, Buddies.  Used by the chapter's __init__."""

from __future__ import annotations

from random import Random

from ...figures.page_map import page_map
from ...labs.buddy import buddy_machine
from ..model import Drill, Question, Verdict
from .scene import ARENA, blocks_in_words, free_blocks


def _buddy_question(rng: Random) -> Question:
    order = rng.randrange(0, 5)
    pfn = rng.randrange(0, 64) << order
    buddy = pfn ^ (1 << order)

    def grade(reply: str) -> Verdict:
        if _number(reply) == buddy:
            return Verdict(True, f"{pfn} ^ {1 << order} = {buddy}.")
        return Verdict(False, f"It is page {buddy}: flip the bit worth 2^{order} = {1 << order} in {pfn}.")

    return Question(f"A block of order {order} starts at page {pfn}. At which page does its buddy start?", None, str(buddy), grade)


def _split_question(rng: Random) -> Question:
    m = buddy_machine(16)
    for order in rng.sample((0, 1, 2), 2):
        m.alloc_pages(order)
    before, want = free_blocks(m), rng.choice((0, 1, 2))
    picture = page_map(m, ARENA)
    m.alloc_pages(want)
    left = sorted(order for _, order in free_blocks(m))
    answer = " ".join(map(str, left))
    now = f"Free are now {', '.join(f'a block of order {order}' for order in left)}" if left else "Nothing is free now"

    def grade(reply: str) -> Verdict:
        if sorted(int(part) for part in reply.replace(",", " ").split() if part.isdecimal()) == left:
            return Verdict(True, f"{now}.")
        return Verdict(
            False,
            f"{now}: the smallest block that will do is taken, and each split leaves one half free.",
        )

    text = (
        f"The free blocks are: {blocks_in_words(before)}. A block of order {want} is allocated. Of which orders are the free blocks then? "
        "Name each block, the smallest first, such as 0 1 2."
    )
    return Question(text, picture, answer, grade)


def _number(reply: str) -> int | None:
    try:
        return int(reply.strip(), 0)
    except ValueError:
        return None


DRILLS = (Drill("02.buddy", level=1, make=_buddy_question), Drill("02.split", level=2, make=_split_question))
