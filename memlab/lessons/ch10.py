"""Chapter 10, Does it work?: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, labs and study.

What its notebook prints is made in ch10_searches.py, how exercises are judged is in ch10_checks.py.
"""

from __future__ import annotations

from random import Random

from ..labs import bootstrap_machine, buddy_machine
from ..machine import Machine
from ..memdesc import MemType
from ..study.explore import OPERATIONS, Search, Survey
from ..study.findings import for_good
from ..study.zoo import ANIMALS
from .ch10_checks import check_break, check_count, check_line, check_stranded
from .ch10_searches import broken_rules, hunted, levels, searched, undisturbed
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

# -- predictions


def _one_wrong_word(m: Machine) -> str:
    block = m.buddy(m.mem_desc(8).address)
    block.order -= 1
    n = len(broken_rules(m))
    return f"{n} rule{'s' * (n != 1)}"


def _pair_free(m: Machine) -> str:
    pfn = m.alloc_pages(0)
    if pfn is not None:
        return f"A page; then {m.free_pages_count} is free"
    return f"None; then {m.free_pages_count or 'no'} page{'s are' if m.free_pages_count else ' is'} free"


def _states(_: object) -> str:
    search = Search("as-written")
    while search.report.level < 3:
        search.run(search.report.states + 1)
    return f"{sum(levels(search)[:4])} states"


def _as_written(_: object) -> str:
    report = searched("as-written")
    if report.broken:
        return {"allocating free": "A free allocates", "failure": "A failed allocation leaks"}.get(report.broken.kind, "A rule breaks")
    return "None of them"


def _stays_away(_: object) -> str:
    return _GONE[for_good(searched("as-written").losses[2])]


def _bounded_interrupted(_: object) -> str:
    return f"{searched('bounded', 1).depth('alloc_pages', 1)} frames"


def _got_away(_: object) -> str:
    return f"{sum(hunted(name).broken is None for name in ANIMALS)} of 9"


def _cuckoo_alone(_: object) -> str:
    broken = undisturbed("cuckoo").broken
    if broken is None:
        return "Nothing"
    frees = OPERATIONS[broken.history[-1].operation].frees
    return "Another rule, broken by a free" if frees else "The same rule, broken a little later"


def _arena(m: Machine) -> tuple[int, int]:
    """Return how many allocated blocks of the Buddy lab's pages there are, and how many of them can be split."""
    survey = Survey(m)
    survey.look()
    orders = [o for pfn, (o, kind) in survey.blocks.items() if pfn >= m.nr_pages * 2 // 3 and kind == MemType.BUDDY]
    return len(orders), sum(order > 0 for order in orders)


def _successors(m: Machine) -> str:
    blocks, larger = _arena(m)
    return f"{3 + blocks + larger} operations"


def _successor_choices(m: Machine) -> list[tuple[str, str | None]]:
    blocks, larger = _arena(m)
    right = 3 + blocks + larger
    found: list[tuple[int, str | None]] = []
    for n, why in (
        (3 + blocks, f"{larger} of the blocks can also be split."),
        (blocks + larger, "There are three orders to be asked for as well."),
        (3, "An allocated block can be freed, and split if it has more than one page."),
        (right + 3, "Each allocation, free and split counts once: there are 3 orders, and no more."),
        (2 * right + 4, "A page that is inside a block cannot be freed or split by itself."),
    ):
        if n not in (right, *(m for m, _ in found)) and len(found) < 3:
            found.append((n, why))
    return [(f"{n} operations", why) for n, why in sorted([*found, (right, None)])]


_GONE = ("None: all come back", "One of them", "Both of them")

PREDICTIONS = (
    Prediction(
        "10.a",
        question="Pages 8 to 15 are a free block of order 3. We write one wrong number: its struct buddy now says order 2. How many different rules does check() find broken?",
        choices=(
            ("0 rules", "The block is on the free list of order 3, for one, and its descriptor says something else."),
            (
                "1 rule",
                "It is on the wrong list now; but there is something else: who speaks for pages 12 to 15?",
            ),
            ("2 rules", None),
            ("5 rules", "Five sentences, but four of them say the same of four pages."),
        ),
        right=_one_wrong_word,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "10.b",
        question="Two pages are free, as one block; no descriptor is. Somebody asks for one page. What do they get, and how many pages are free then?",
        choices=(
            ("A page; then 1 is free", "For that the block must be split, and a split needs a struct buddy for one of the halves."),
            (
                "None; then 2 pages are free",
                "It cannot know beforehand: it looks for a struct buddy first, and has to build a slab for it.",
            ),
            ("None; then no page is free", None),
        ),
        right=_pair_free,
        machine=lambda: bootstrap_machine(1),
    ),
    Prediction(
        "10.c",
        question="There are 6 sequences of one operation, 43 of two and 348 of three. With the empty sequence that makes 398. To how many distinct states do they lead?",
        choices=(
            ("21 states", "That would be few: four levels of a tree, and each operation does something else."),
            ("129 states", None),
            ("398 states", "Then no two sequences would lead to the same state. Take a page and give it back, for example."),
        ),
        right=_states,
    ),
    Prediction(
        "10.d",
        question="A thousand states of the design as written, each of them surveyed. Which of these does the search find?",
        choices=(
            ("A rule breaks", "Each of the thousand states keeps all 52 rules."),
            ("A free allocates", "Each free gets along with what is there; as the email demands."),
            ("A failed allocation leaks", "What had been got before the failure was given back, each time."),
            ("None of them", None),
        ),
        right=_as_written,
    ),
    Prediction(
        "10.e",
        question="Four allocations; then two pages stayed away when all was freed in the order of addresses, and shrunk. There are other orders, and one may shrink in between. How many pages stay away in the best of them?",
        choices=(
            (_GONE[0], "All blocks are free, and all objects; but where do the descriptors of free blocks lie?"),
            (_GONE[1], "Both pages hold a descriptor, and the one does not go without the other."),
            (_GONE[2], None),
        ),
        right=_stays_away,
    ),
    Prediction(
        "10.f",
        question="Now the bounded design, with an interrupt at any trace point, that may eat descriptors, take a page or free a block. How deep does alloc_pages nest then, at most?",
        choices=(
            ("12 frames", None),
            ("18 frames", "So deep goes the email's chain; but here kmem_cache_buddy grows without a nested call to alloc_pages."),
            ("30 frames", "That is the design as written; here each growth of kmem_cache_buddy calls nothing."),
        ),
        right=_bounded_interrupted,
    ),
    Prediction(
        "10.g",
        question="Nine allocators, each with one fault in one method, and each is searched until a thousand states are found. How many of them get away?",
        choices=(
            ("0 of 9", "Two faults need longer sequences than a thousand states reach."),
            ("2 of 9", None),
            ("5 of 9", "Most faults show within a few operations: the shortest sequence has two."),
            ("9 of 9", "Then the search would be blind, and what it said of the real design would mean nothing."),
        ),
        right=_got_away,
    ),
    Prediction(
        "10.h",
        question="The cuckoo was caught after two operations with one interrupt each. The same search without interrupts, a thousand states: what does it find?",
        choices=(
            (
                "The same rule, broken a little later",
                "What the cuckoo overlooks comes about during a call; and without interrupts, who should bring it about?",
            ),
            ("Another rule, broken by a free", "Its fault is in how it allocates, and its frees are the textbook's."),
            ("Nothing", None),
        ),
        right=_cuckoo_alone,
    ),
    Prediction(
        "10.i",
        question="Your lab's machine, as it is now. A search may ask for a block of order 0, 1 or 2, free an allocated block of the lab's pages, or split one. How many operations has it to try here?",
        choices=_successor_choices,
        right=_successors,
        machine=buddy_machine,
    ),
)


# -- exercises

# States of labs: a storm's pages and their words; two buddies in use; a struct slab and its buddy in pages of their own; a block of four pages, halved.
_STORM = (
    "memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgiz2tvkrfixesliawkr2hanm7srfyjm5nkqlvvaueuvuga5yusiuc3lmnqwqbr72cu4q."
    "e221f7a697616933aa7af23f"
)
_IN_USE = (
    "memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgiz2tvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussrokkyddkmn2xasoe2ybaa6ugdozq."
    "24c1163258399a680597f8f8"
)
_HOSTS = (
    "memlab1.bootstrap.pdna3rrrblacadaf2c57zwiolvzrlelcnmuiewcjeioye53p372bzsrwa7epcsdbahwqdbnv3yoyjlg3fpkyyo2wqana6bof7bh6mzmhwz6cf6"
    "cknf6yf5qzha.dcc8073c68aafe756e2d0068"
)
_HALVED = (
    "memlab1.buddy.pdnb3s2lbkadadcf2g63y4i5lbckiwzjduka2iqedkndqkwzxop5tzoadvilew4qa2sj5jci5prac2ren7tyzsw46zviimgq7jar2kl2bemsu7gzu"
    "45tci757m2modk6ri777li4te.472bb4a06e0d4fc4bf3eb1cf"
)
_SQUIRREL = "def wrong_line():\n    return {}"

EXERCISES = (
    Exercise(
        "10.1",
        level=1,
        minutes=6,
        title="Words and counts",
        task=(
            "`words_fit(m)` is True if as many pages have a word of the type FREE as the machine says are free (`m.free_pages_count`), and False otherwise. "
            '`m.mem_desc(pfn).type.name` is the name of a type, such as "FREE".'
        ),
        stub="def words_fit(m):\n    raise NotImplementedError",
        check=check_count,
        hints=(
            'Count: sum(m.mem_desc(pfn).type.name == "FREE" for pfn in range(m.nr_pages)).',
            "The result of == is True or False already.",
        ),
        wrong=(
            ("def words_fit(m):\n    return m.free_pages_count >= 0", "which is damaged"),
            (
                'def words_fit(m):\n    return sum(m.mem_desc(p).type.name == "FREE" for p in range(m.nr_pages)) <= m.free_pages_count',
                "which is damaged",
            ),
            ("def words_fit(m):\n    return m.free_pages_count == m.nr_pages", "which is in order"),
            (
                'def words_fit(m):\n    return sum(m.mem_desc(p).type == "FREE" for p in range(m.nr_pages)) == m.free_pages_count',
                "have a word of the type FREE, and m.free_pages_count is",
            ),
            ("def words_fit(m):\n    return m.free_pages_count", "returns True or False"),
        ),
        explanation=(
            "The count, the free lists and the words say the same thing three times. That costs a little care in each operation, and it is what makes damage visible."
        ),
        state=_STORM,
    ),
    Exercise(
        "10.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "The squirrel's `_free_one_page`, as printed above the exercise. Page 19 was allocated, its buddy, page 18, is in use, and free_pages(19) runs. "
            "`wrong_line()` returns the number of the line that is wrong."
        ),
        stub="def wrong_line():\n    raise NotImplementedError",
        check=check_line,
        hints=(
            "pfn is 19 and order 0. What is `other`? Page 18 is no free block, so `near` is 0. Which line comes next?",
            "A freed block must be on a free list when the method ends. Which line puts it there, and is it reached?",
        ),
        wrong=(
            (_SQUIRREL.format(8), "does what it should"),
            (_SQUIRREL.format(16), "should it not run"),
            (_SQUIRREL.format(11), "nothing to merge with"),
            (_SQUIRREL.format(2), "does nothing"),
            (_SQUIRREL.format(40), "there is no line 40"),
        ),
        explanation="`break` in the place of `return chain`: merging ends at a busy buddy, freeing does not. It is one of the faults that were found in real teaching allocators.",
        state=_IN_USE,
    ),
    Exercise(
        "10.3",
        level=2,
        minutes=15,
        title="Nothing stranded",
        task=(
            "`nothing_stranded(m)` is True if no descriptor that is in use lies in a free page. Look at the descriptor that each page's word names, and, if that is a struct slab, "
            "at its `buddy` too. Page 0 starts at 0xffff888000000000; a page has m.page_size bytes. A word whose type is NONE names nothing, and one descriptor may lie outside all pages."
        ),
        stub="def nothing_stranded(m):\n    raise NotImplementedError",
        check=check_stranded,
        hints=(
            "desc = m.mem_desc(pfn) has .type.name and .address; the page of an address is (address - 0xffff888000000000) // m.page_size.",
            'If desc.type.name is "SLAB", then m.slab(desc.address).buddy is a second address to look at.',
            "Is the page below m.nr_pages? Only then ask for the type of its word.",
        ),
        wrong=(
            ("def nothing_stranded(m):\n    return True", "which is damaged"),
            (
                (
                    "def nothing_stranded(m):\n    for pfn in range(m.nr_pages):\n        desc = m.mem_desc(pfn)\n        home = (desc.address - 0xFFFF888000000000) // m.page_size\n"
                    '        if desc.type.name != "NONE" and home < m.nr_pages and m.mem_desc(home).type.name == "FREE":\n            return False\n    return True'
                ),
                "that a struct slab names",
            ),
            (
                'def nothing_stranded(m):\n    return not any(m.mem_desc(p).type.name == "FREE" for p in range(m.nr_pages))',
                "its descriptors lie in these pages",
            ),
        ),
        explanation=(
            "This is the rule desc-in-free-page of check(). It answers one of the questions about the email: can a descriptor be stranded in a page that is free? In all states that were searched, none is."
        ),
        state=_HOSTS,
    ),
    Exercise(
        "10.4",
        level=3,
        minutes=20,
        title="Break the pelican",
        task=(
            "`break_it(m)`: m is a fresh pelican with 32 pages. With calls such as m.alloc_pages(order), m.split_page(pfn) and m.free_pages(pfn), break a rule. "
            "Any sequence counts; then make it shorter: you are told how short the search's is."
        ),
        stub="def break_it(m):\n    raise NotImplementedError",
        check=check_break,
        hints=(
            "The textbook's line is `if not near or self.order_of[near] != order`. What does the pelican not ask about the free block it finds?",
            "Its buddy must BEGIN with a free block that is smaller than itself, while the rest of that buddy is in use.",
            "alloc_pages(2) gives four pages. Split them, and split one half once more: blocks of 2, 1 and 1. Free the one that the large one's buddy begins with.",
        ),
        wrong=(
            ("def break_it(m):\n    m.free_pages(m.alloc_pages(2))", "all rules hold"),
            ("def break_it(m):\n    m.alloc_pages(2)", "nothing was freed"),
            ("def break_it(m):\n    m.page(31).mem_desc = 0", "by hand"),
            ("def break_it(m):\n    pass", "did nothing"),
        ),
        explanation=(
            "Five operations, and no four will do: the search tried them all. The pelican takes pages that somebody uses into a free block, and what described them is lost."
        ),
        state=_HALVED,
    ),
)


# -- drills

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

CHAPTER = Chapter(
    number="10",
    title="Does it work?",
    notebook="10_does_it_work.ipynb",
    minutes=40,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
