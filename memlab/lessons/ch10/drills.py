"""Drills of chapter 10, Does it work?.  Used by the chapter's __init__."""

from __future__ import annotations

from random import Random

from ..model import Drill, Question, Verdict

_FAULTS = ("start", "merge", "overlap", "none")


def _rule_question(rng: Random) -> Question:
    kind = rng.choice(_FAULTS)
    blocks, said = _lists(rng, kind)
    by_order = {order: sorted(pfn for pfn, k in blocks if k == order) for order in sorted({k for _, k in blocks})}
    told = "; ".join(f"order {order}: {', '.join(map(str, pfns))}" for order, pfns in by_order.items())

    def grade(reply: str) -> Verdict:
        return Verdict(reply.strip().lower() == kind, f"{said[0].upper()}{said[1:]}.")

    text = (
        f"A machine of 32 pages, max_order 4. Its free blocks, by first page: {told}. Which invariant is broken? "
        "start (a block starts at no multiple of its size), merge (two free buddies are not merged), overlap (a page is in two blocks), or none:"
    )
    return Question(text, None, kind, grade)


def _lists(rng: Random, kind: str) -> tuple[list[tuple[int, int]], str]:
    """Return free blocks as (first page, order) with that fault and no other, and what is to be said about them."""
    while True:
        blocks: list[tuple[int, int]] = []
        said = "every block starts at a multiple of its size, no page is in two, and no two free buddies of one order are there"
        for _ in range(rng.randrange(3, 6)):
            order = rng.randrange(0, 4)
            blocks.append((rng.randrange(0, 32 >> order) << order, order))
        before = blocks.copy()
        if kind == "start":
            order = rng.randrange(1, 4)
            pfn = (rng.randrange(0, 32 >> order) << order) + rng.randrange(1, 1 << order)
            blocks.append((pfn, order))
            said = f"a block of order {order} starts at a multiple of {1 << order}, and {pfn} is none"
        elif kind == "merge":
            order = rng.randrange(0, 4)
            pfn = rng.randrange(0, 16 >> order) << order + 1
            blocks += [(pfn, order), (pfn + (1 << order), order)]
            said = (
                f"the buddies {pfn} and {pfn + (1 << order)} of order {order} are both free, and should be one block of order {order + 1}"
            )
        elif kind == "overlap":
            order = rng.randrange(1, 4)
            pfn = rng.randrange(0, 32 >> order) << order
            inner = pfn + rng.randrange(0, 1 << order)
            blocks += [(pfn, order), (inner, 0)]
            said = f"page {inner} is a block by itself, and also in the block of order {order} at {pfn}"
        if (
            not _faults(before)
            and len(set(blocks)) == len(blocks)
            and _faults(blocks) == {kind} - {"none"}
            and all(pfn + (1 << order) <= 32 for pfn, order in blocks)
        ):
            rng.shuffle(blocks)
            return blocks, said


def _faults(blocks: list[tuple[int, int]]) -> set[str]:
    pages = [page for pfn, order in blocks for page in range(pfn, pfn + (1 << order))]
    found = {"start"} if any(pfn % (1 << order) for pfn, order in blocks) else set()
    if len(set(pages)) < len(pages):
        found.add("overlap")
    if any((pfn ^ (1 << order), order) in blocks for pfn, order in blocks if order < 4):
        found.add("merge")
    return found


DRILLS = (Drill("10.rule", level=2, make=_rule_question),)
