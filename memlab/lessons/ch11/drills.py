"""Drills of chapter 11, What it costs.  Used by the chapter's __init__."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ...study import accounting
from ...study.accounting import DESCRIPTORS, DESIGNS, MEM_DESC
from ..model import Drill, Question, Verdict
from .scene import BUDDY


def _bytes_question(rng: Random) -> Question:
    return (_block_question if rng.random() < 0.6 else _memory_question)(rng)


def _block_question(rng: Random) -> Question:
    order, descriptor = rng.randrange(0, 7), rng.choice(("buddy", *DESCRIPTORS))
    pages, own = 1 << order, DESCRIPTORS.get(descriptor, 0)
    right = accounting.block_bytes(MEM_DESC, order, descriptor)
    what = f"a struct {descriptor} of {own} bytes" if own else "no descriptor but its struct buddy"
    why = f"{pages} × 8 + {BUDDY}{f' + {own}' if own else ''} = {right}, and today {pages} × 64 = {64 * pages}"
    text = (
        f"8-byte pages: how many bytes of metadata does a block of order {order} take that has {what}? (A struct buddy has {BUDDY} bytes.)"
    )
    return Question(text, None, str(right), _grade(str(right), why))


def _memory_question(rng: Random) -> Question:
    design, gib = rng.choice(DESIGNS), 1 << rng.randrange(2, 11)
    right = accounting.page_structs(gib << 30, designs=(design,))[0].nbytes >> 20
    why = f"{gib} GiB are {gib * 256} × 1,024 pages, times {design.page} bytes: {right} MiB"
    text = f"How many MiB do struct pages of {design.page} bytes take in a machine with {gib} GiB of memory? (Pages of 4096 bytes.)"
    return Question(text, None, str(right), _grade(str(right), why))


def _grade(right: str, why: str) -> Callable[[str], Verdict]:
    def grade(reply: str) -> Verdict:
        numbers = [part for part in reply.replace(",", "").split() if part.isdecimal()]  # "120", "120 bytes" and "1,024"
        if len(numbers) != 1:
            raise ValueError("one number is wanted")
        return Verdict(numbers == [right], f"{why[0].upper()}{why[1:]}.")

    return grade


DRILLS = (Drill("11.bytes", level=1, make=_bytes_question),)
