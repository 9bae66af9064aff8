"""Drills of chapter 01, Memory by the page.  Used by the chapter's __init__."""

from __future__ import annotations

from random import Random

from ...addresses import B
from ..model import Drill, Question, Verdict


def _pfn_question(rng: Random) -> Question:
    pfn, offset = rng.randrange(16, 4096), rng.randrange(0, 4096)
    address = B + (pfn << 12) + offset

    def grade(reply: str) -> Verdict:
        try:
            right = int(reply.strip(), 0) == pfn
        except ValueError:
            return Verdict(False, f"A page frame number is a number, such as {pfn + 1} or {pfn + 1:#x}.")
        if right:
            return Verdict(True, f"Without the start of page 0 and the last three digits, {pfn:#x} is left: {pfn}.")
        return Verdict(False, f"Take 0xffff888000000000 off and drop the last three digits: {pfn:#x}, that is {pfn}.")

    return Question(
        f"Pages have 0x1000 bytes, and page 0 starts at {B:#x}. In which page is the byte at {address:#x}? (Decimal, or hexadecimal with 0x.)",
        None,
        f"{pfn:#x}",
        grade,
    )


def _list_question(rng: Random) -> Question:
    names = ["A", "B", "C", "D"]
    order = rng.sample(names, 4)
    ring = ["head", *order]
    links = {name: ring[(i + 1) % 5] for i, name in enumerate(ring)}
    table = ", ".join(f"{name}'s next is {links[name]}" for name in ["head", *names])
    answer = " ".join(order)

    def grade(reply: str) -> Verdict:
        letters = [c for c in reply.upper() if c in names]
        if letters == order:
            return Verdict(True, f"From the head: {answer}, and back to the head.")
        return Verdict(False, f"Start at the head and go where next points: {answer}.")

    return Question(f"A circular list: {table}. In which order are A to D on it? (Four letters.)", None, answer, grade)


DRILLS = (Drill("01.pfn", level=1, make=_pfn_question), Drill("01.list", level=1, make=_list_question))
