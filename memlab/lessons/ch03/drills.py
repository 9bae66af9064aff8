"""Drills of chapter 03, One word.  Used by the chapter's __init__."""

from __future__ import annotations

import re
from random import Random

from ...addresses import B
from ...memdesc import MemType, tag
from ..model import Drill, Question, Verdict


def _tag_question(rng: Random) -> Question:
    kind = MemType(rng.randrange(1, len(MemType)))
    address = B + rng.randrange(1, 1 << 18) * 16
    word = tag(address, kind)
    names = ", ".join(f"{int(k)} {k.name}" for k in MemType)

    def grade(reply: str) -> Verdict:
        parts = [part for part in re.findall(r"\w+", reply.upper()) if part != "AT"]
        if len(parts) != 2:
            return Verdict(False, "Give the type's name and the address, such as FREE 0x1230.")
        try:
            right = parts[0] in (kind.name, str(int(kind))) and int(parts[1], 16) == address
        except ValueError:
            right = False
        if right:
            return Verdict(True, f"{word:#x} is {address:#x} with the digit {int(kind)}.")
        return Verdict(False, f"The last digit, {int(kind)}, says {kind.name}; with 0 in its place the address is {address:#x}.")

    return Question(
        f"The types are {names}. Take the word {word:#x} apart: which type, and which address? (Such as FREE 0x1230.)",
        None,
        f"{kind.name} {address:#x}",
        grade,
    )


DRILLS = (Drill("03.tag", level=1, make=_tag_question),)
