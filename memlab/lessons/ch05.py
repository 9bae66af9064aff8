"""Chapter 05, Eleven descriptors: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, labs and study."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from ..gfp import GFP
from ..labs import buddy_machine
from ..machine import Machine
from ..study.radix_freelist import RadixMachine
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

ANYWHERE = GFP.KERNEL | GFP.HIGHMEM


def only_large_blocks() -> Machine:
    """Boot 64 MiB and take every smaller block, so that only blocks of order 11 are free; more than eleven descriptors are at hand."""
    m = Machine("64M")
    for order, blocks in enumerate(m.buddyinfo()[0, "Normal"][:-1]):
        for _ in range(blocks):
            m.alloc_pages(order)
    return m


def full_radix() -> RadixMachine:
    """Boot a machine with radix trees for free lists, whose pages 12 to 15 are HIGHMEM, and take every page."""
    r = RadixMachine("64K", max_order=4, highmem="16K")
    while r.alloc_pages(0, ANYWHERE) is not None:
        pass
    return r


# -- predictions


def _keeper(m: Machine) -> str:
    old = [m.mem_desc(pfn).address for pfn in range(m.nr_pages)]
    first = m.alloc_pages(0) or 0
    kept = next(now for pfn in range(first, m.nr_pages) if (now := m.mem_desc(pfn).address) == old[pfn])
    return {0: "The page that is handed out", 10: "The part of order 10"}[m.buddy(kept).order]


def _rewritten(m: Machine) -> str:
    before = m.stats
    m.alloc_pages(0)
    return f"{(m.stats - before).words_split:,} words"


def _second_page(m: Machine) -> str:
    m.alloc_pages(0)
    before = m.stats
    m.alloc_pages(0)
    d = m.stats - before
    return f"{d.buddies_allocated} descriptors, {d.words_split + d.words_typed} word"


def _failed(m: Machine) -> str:
    free, before = m.free_pages_count, m.snapshot()
    with m.fail("kmem_cache_alloc_bulk"):
        pfn = m.alloc_pages(0)
    if pfn is None and m.snapshot() == before:
        return "None, and nothing has changed"
    return f"None, and {free - m.free_pages_count} pages are lost"


def _given_back(m: Machine) -> str:
    pfn = m.alloc_pages(0)
    before = m.stats
    m.free_pages(pfn or 0)
    d = m.stats - before
    return f"{d.buddies_freed} descriptors"


def _node_from(_: object) -> str:
    r = full_radix()
    before = r.stats
    r.free_pages(5)
    return "From page 5 itself" if (r.stats - before).pages_consumed else "From another page"


def _high_page(_: object) -> str:
    r = full_radix()
    r.free_pages(12)
    return "It can be put into no tree: it is neither free nor in use" if r.stats.blocks_pending else "The same: it is consumed"


def _cost_choices(m: Machine) -> list[tuple[str, str | None]]:
    right = _cost_right(m)
    top = max((k for k, n in enumerate(m.buddyinfo()[0, "Normal"]) if n), default=0)
    texts = {right, *(_descriptors(n) for n in range(top + 1)), "It fails"}
    why = "Find the smallest free block. Each split down from its order takes one descriptor."
    return [(text, None if text == right else why) for text in sorted(texts)]


def _cost_right(m: Machine) -> str:
    before = m.stats
    pfn = m.alloc_pages(0)
    d = m.stats - before
    if pfn is None:
        return "It fails"
    m.free_pages(pfn)
    return _descriptors(d.splits if d.slabs_allocated == 0 else d.buddies_allocated)


def _descriptors(n: int) -> str:
    return f"{n} descriptor{'' if n == 1 else 's'}"


PREDICTIONS = (
    Prediction(
        "05.a",
        question="Twelve parts, eleven new descriptors and the old one of the whole block. Which part should keep the old one?",
        choices=(
            ("The page that is handed out", "Then the words of all the other pages must name another descriptor than before."),
            ("The other single page", "Then the words of all pages but this one must name another descriptor than before."),
            ("The part of order 10", None),
            (
                "It makes no difference",
                "A page whose part gets a new descriptor needs a new word. The parts have very different numbers of pages.",
            ),
        ),
        right=_keeper,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.b",
        question="And how many words of the mem_map must say something new?",
        choices=(
            ("11 words", "Each PAGE of a part has a word, not each part."),
            ("1,024 words", None),
            ("2,047 words", "All but one? The upper half keeps its descriptor, so its words can stay."),
            ("2,048 words", "The upper half, 1,024 pages, keeps the old descriptor: its words can stay."),
        ),
        right=_rewritten,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.c",
        question="Now there is a free block of one page on its list. What does the next request for one page cost?",
        choices=(
            ("11 descriptors, 1024 words", "That was the worst case; no split is needed any more."),
            ("1 descriptor, 1 word", "A free block has a descriptor already, and keeps it."),
            ("0 descriptors, 1 word", None),
            ("0 descriptors, 0 words", "The page was FREE and is now BUDDY: its type changes."),
        ),
        right=_second_page,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.d",
        question="The page from the worst-case split is freed, and the block of 2,048 pages is whole again. How many descriptors come back to their cache?",
        choices=(
            ("None: the next split will need them", "A block has one descriptor. Nothing points to the others any more."),
            ("1 descriptor", "Each merge makes one block of two, and one descriptor too many."),
            ("11 descriptors", None),
            ("12 descriptors", "One goes on describing the whole block."),
        ),
        right=_given_back,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.e",
        question="Only large blocks are free, and the cache of descriptors cannot give any. What does alloc_pages(0) return, and what is different afterwards?",
        choices=(
            ("A page without a descriptor", "Then freeing it would have to allocate one, and that must never be."),
            ("None, and 2048 pages are lost", "The large block must not be touched before all descriptors are there."),
            ("None, and nothing has changed", None),
        ),
        right=_failed,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.f",
        question="Free lists are radix trees, and no unused node is left. Page 5 is freed and must be entered in a tree. Where does the node come from?",
        choices=(
            ("From another page", "All other pages are in use, and we are freeing because we need memory."),
            ("From page 5 itself", None),
            ("From the mem_map", "It has a word or two for each page, and no room for nodes."),
        ),
        right=_node_from,
    ),
    Prediction(
        "05.g",
        question="The same, but the page that is freed is page 12, and that is HIGHMEM. What now?",
        choices=(
            ("The same: it is consumed", "Nodes must be read and written by the kernel, and a HIGHMEM page has no address."),
            ("It can be put into no tree: it is neither free nor in use", None),
            ("It is entered without a node", "The tree is made of nodes; there is no other place to write it down."),
        ),
        right=_high_page,
    ),
    Prediction(
        "05.h",
        question="Your Buddy lab's machine, as it was when you ran this cell: how many descriptors would a request for one page take?",
        choices=_cost_choices,
        right=_cost_right,
        machine=lambda: buddy_machine(64),
    ),
)


# -- exercises


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


_PREPARE_LEAK = (
    "def prepare(have, want, get, put):\n    taken = []\n    for _ in range(have - want):\n        d = get()\n        if d is None:\n            return None\n"
    "        taken.append(d)\n    return taken"
)
_PREPARE_FORWARD = (
    "def prepare(have, want, get, put):\n    taken = []\n    for _ in range(have - want):\n        d = get()\n        if d is None:\n            for t in taken:\n"
    "                put(t)\n            return None\n        taken.append(d)\n    return taken"
)

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
        wrong=(
            ("def words_rewritten(have, want):\n    return 2 ** have", "the upper half"),
            ("def words_rewritten(have, want):\n    return 2 ** have - 2 ** want", "the upper half"),
            ("def words_rewritten(have, want):\n    return 2 ** (have - 1)", "without a split"),
        ),
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
        wrong=(
            ("def descriptors():\n    return [4, 0, 0, 0, -4]", "Step 5"),
            ("def descriptors():\n    return [5, 0, 0, 0, -1]", "Step 1"),
            ("def descriptors():\n    return [4, 3, 0, 0, -1]", "Step 2"),
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
        wrong=(
            ("def cost(free, order):\n    return max(k for k, n in enumerate(free) if n) - order if any(free) else None", "you gave"),
            (
                "def cost(free, order):\n    return next(k for k in range(order, len(free) + 1) if k == len(free) or free[k]) - order",
                "the answer is None",
            ),
            ("def cost(free, order):\n    return 0 if free[order] else None", "you gave"),
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
        wrong=(
            (_PREPARE_LEAK, "leaked"),
            (_PREPARE_FORWARD, "Undo the last step first"),
            ("def prepare(have, want, get, put):\n    return [get() for _ in range(have - want)]", "that is too few"),
        ),
        explanation="C has no exceptions. Every function that can fail undoes its own steps; chapter 06 has a longer ladder of them.",
        state="memlab1.buddy.pdncldcbbkacafaf57zfmbjobkrikv4jscp7ymsscm2fvcdxj5wdomgdmrce4t4azqehi4eetstseeatq7fmwash3koj4inq2nuscmriihrhf3euv2hbkwl3no2t35vksfhqm4qupbg4w7wxz3o5bi5mnp4qbb74ex3q.a2b9fc79f490627cd49fd4f2",
    ),
)


# -- drills


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

CHAPTER = Chapter(
    number="05",
    title="Eleven descriptors",
    notebook="05_descriptors.ipynb",
    minutes=40,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
