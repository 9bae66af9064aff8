"""Exercises of chapter 05, Eleven descriptors, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from ...labs.buddy import buddy_machine
from ..model import Exercise, Verdict
from .scene import only_large_blocks


def _check_words(answer: Callable[[int, int], int]) -> Verdict:
    m = only_large_blocks()
    for have, want in ((11, 0), (11, 10), (11, 11), (11, 5), (11, 3)):
        state, before = m.snapshot(), m.stats
        m.alloc_pages(want)
        words = (m.stats - before).words_split
        m.restore(state)
        got = answer(have, want)
        if got != words:
            why = (
                "without a split no word changes its descriptor"
                if have == want
                else "the upper half of the block keeps its descriptor; every page of the lower half gets another"
            )
            return Verdict(False, f"words_rewritten({have}, {want}) gave {got!r}, and the machine counts {words}: {why}.")
    return Verdict(True, "Five splits of order 11, each counted by the machine. However far the split goes, it is half of the block.")


_STORY = (("alloc", 0), ("alloc", 1), ("alloc", 0), ("free", 0), ("free", 2))


def _check_trace(answer: Callable[[], list[int]]) -> Verdict:
    m = buddy_machine(16)
    pages, want = list[int](), list[int]()
    for what, n in _STORY:
        before = m.stats
        if what == "alloc":
            pages.append(m.alloc_pages(n) or 0)
        else:
            m.free_pages(pages[n])
        d = m.stats - before
        want.append(d.buddies_allocated - d.buddies_freed)
    got = answer()
    if not isinstance(got, (list, tuple)) or len(got) != len(want):
        return Verdict(
            False, f"descriptors() returns {len(want)} numbers, one for each step; a step that gives some back has a negative number."
        )
    for i, (mine, right) in enumerate(zip(got, want, strict=True)):
        if mine != right:
            what, n = _STORY[i]
            step = f"alloc_pages({n})" if what == "alloc" else f"freeing what step {n + 1} got"
            why = (
                "each split takes one" if right > 0 else "each merge gives one back" if right < 0 else "nothing is split and nothing merges"
            )
            return Verdict(False, f"Step {i + 1}, {step}: you say {mine!r}, and the machine says {_signed(right)}; {why}.")
    return Verdict(
        True, f"The steps take {', '.join(map(_signed, want))}: {_signed(sum(want))} in all, for the blocks that are left in pieces."
    )


def _signed(n: int) -> str:
    return f"{n:+d}" if n else "0"


def _check_cost(answer: Callable[[list[int], int], int | None]) -> Verdict:
    rng = Random(5)
    for _ in range(60):
        m = buddy_machine(64)
        taken = [pfn for _ in range(rng.randrange(0, 12)) if (pfn := m.alloc_pages(rng.choice((0, 0, 1, 2, 3, 4)))) is not None]
        for pfn in taken:
            if rng.random() < 0.3:
                m.free_pages(pfn)
        counts, order = m.buddyinfo()[0, "Normal"], rng.randrange(0, 7)
        before = m.stats
        pfn = m.alloc_pages(order)
        want = None if pfn is None else (m.stats - before).splits
        got = answer(list(counts), order)
        if got != want:
            if want is None:
                return Verdict(False, f"With free blocks {counts} order {order} cannot be had: the answer is None, not {got!r}.")
            halved = {0: "not split", 1: "split once"}.get(want, f"split {want} times")
            return Verdict(
                False,
                f"With free blocks {counts}, order {order} takes {want}: the smallest block that will do is {halved}; you gave {got!r}.",
            )
    return Verdict(True, "Sixty random machines agree.")


class _Stock:
    """Descriptors to be had, up to a number; notes what is given back, and in which order."""

    def __init__(self, most: int) -> None:
        self.most, self.made, self.back = most, 0, list[int | None]()

    def get(self) -> int | None:
        if self.made - len(self.back) >= self.most:
            return None
        self.made += 1
        return self.made

    def put(self, descriptor: int | None) -> None:
        self.back.append(descriptor)


def _check_prepare(answer: Callable[..., Any]) -> Verdict:
    for have, want, most in ((11, 0, 11), (11, 0, 20), (3, 3, 0), (11, 0, 0), (11, 0, 10), (5, 1, 3), (5, 2, 2)):
        stock = _Stock(most)
        got = answer(have, want, stock.get, stock.put)
        case = f"prepare({have}, {want}) with {most} descriptors to be had"
        if most >= have - want:
            if isinstance(got, tuple):
                return Verdict(False, f"{case} gave a tuple; the descriptors are returned as a list.")
            if not isinstance(got, list) or len(got) != have - want or set(got) != set(range(1, have - want + 1)) or stock.back:
                return Verdict(False, f"{case} gave {got!r}; {have - want} are needed, no more and no fewer, and they could be had.")
        elif got is not None:
            return Verdict(False, f"{case} gave {got!r}; that is too few, and the answer is None.")
        elif None in stock.back:
            return Verdict(False, f"{case}: put(None) was called. Only descriptors that get() gave are given back.")
        elif len(stock.back) < stock.made:
            return Verdict(
                False, f"{case}: {stock.made} were taken and {len(stock.back)} given back, so {stock.made - len(stock.back)} leaked."
            )
        elif stock.back != list(range(stock.made, 0, -1)):
            return Verdict(
                False, f"{case}: taken were 1 to {stock.made}, given back {stock.back}. Undo the last step first, and each step once."
            )
    return Verdict(True, "Seven cases, four of them failures: nothing is left behind.")


EXERCISES = (
    Exercise(
        "05.1",
        level=1,
        minutes=5,
        title="How many words?",
        task="`words_rewritten(have, want)`: a block of order `have` is split for one of order `want`. How many pages of it get a word that names another descriptor?",
        stub="def words_rewritten(have, want):\n    raise NotImplementedError",
        check=_check_words,
        hints=("Which half of the block keeps the old descriptor? The words of that half stay.", "And if have == want, nothing is split."),
        explanation="Giving the old descriptor to the LARGEST part saves the most words. Had the page itself kept it, 2,047 words would change.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgizdbmni2visulsjfuapfitdnma5ffqlru.7ed9aa81fb7a8221bcade2a3",
    ),
    Exercise(
        "05.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "Sixteen free pages in one block. Steps: alloc_pages(0); alloc_pages(1); alloc_pages(0); the block of step 1 is freed; the block of step 3 is freed. "
            "`descriptors()` returns five numbers: how many descriptors each step takes (+) or gives back (-)."
        ),
        stub="def descriptors():\n    raise NotImplementedError",
        check=_check_trace,
        hints=(
            "After step 1 there are free blocks of order 0, 1, 2 and 3. What does step 2 need to split?",
            "Each merge gives one descriptor back.",
        ),
        explanation="The block of step 2 is still in use, so the last merge stops at order 1: one descriptor comes back, three more only when step 2's block is freed.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkrwg2ybx6jqwjq.37ee9e454f9c9d61b71696b5",
    ),
    Exercise(
        "05.3",
        level=2,
        minutes=10,
        title="What would it cost?",
        task=(
            "`cost(free, order)`: `free` lists the number of free blocks of each order, from 0 on. Return how many descriptors a request of `order` takes, or None if it must fail."
        ),
        stub="def cost(free, order):\n    raise NotImplementedError",
        check=_check_cost,
        hints=(
            "Look at the orders from the wanted one upwards: the first with a free block is the one that is split.",
            "Its order less the wanted one: so many splits, so many descriptors.",
        ),
        explanation="This is the number that the allocator asks its cache for, all at once, before it touches any block.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgiz2tvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussrokkyddkmn23asqy4gjdblenrwwqkaew4asbc.d4a107d1df766f11fc9f3607",
    ),
    Exercise(
        "05.4",
        level=3,
        minutes=15,
        title="Fail cleanly",
        task=(
            "`prepare(have, want, get, put)` gets the descriptors for a split of order `have` down to `want`, and returns them as a list. `get()` gives one, or None if there are no more; "
            "then everything is undone, the last step first, with `put(descriptor)`, and the answer is None."
        ),
        stub="def prepare(have, want, get, put):\n    raise NotImplementedError",
        check=_check_prepare,
        hints=(
            "How many are needed? One for each split.",
            "When get() returns None, give back what you have, from the end of the list: reversed(taken).",
        ),
        explanation="C has no exceptions. Every function that can fail undoes its own steps; chapter 06 has a longer ladder of them.",
        state="memlab1.buddy.pdncldcbbkacafaf57zfmbjobkrikv4jscp7ymsscm2fvcdxj5wdomgdmrce4t4azqehi4eetstseeatq7fmwash3koj4inq2nuscmriihrhf3euv2hbkwl3no2t35vksfhqm4qupbg4w7wxz3o5bi5mnp4qbb74ex3q.a2b9fc79f490627cd49fd4f2",
    ),
)
