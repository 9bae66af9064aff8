"""Predictions of chapter 10, Does it work?, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ...figures.picture import count
from ...labs.bootstrap import bootstrap_machine
from ...labs.buddy import buddy_machine
from ...machine import Machine
from ...memdesc import MemType
from ...study.explore.choices import OPERATIONS
from ...study.explore.search import Search
from ...study.explore.survey import Survey
from ...study.findings import for_good
from ...study.zoo import ANIMALS
from ..model import Choices, Prediction
from .searches import broken_rules, hunted, levels, searched, undisturbed


def _one_wrong_word(m: Machine) -> str:
    block = m.buddy(m.mem_desc(8).address)
    block.order -= 1
    return count(len(broken_rules(m)), "rule")


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


def _successor_choices(m: Machine) -> Choices:
    blocks, larger = _arena(m)
    right = 3 + blocks + larger
    found: dict[int, str | None] = {}
    for n, why in (
        (3 + blocks, f"{larger} of the blocks can also be split."),
        (blocks + larger, "There are three orders to be asked for as well."),
        (3, "An allocated block can be freed, and split if it has more than one page."),
        (right + 3, "Each allocation, free and split counts once: there are 3 orders, and no more."),
        (2 * right + 4, "A page that is inside a block cannot be freed or split by itself."),
    ):
        if n != right and n not in found and len(found) < 3:
            found[n] = why
    return {f"{n} operations": why for n, why in sorted([*found.items(), (right, None)])}


_GONE = ("None: all come back", "One of them", "Both of them")
PREDICTIONS = (
    Prediction(
        "10.a",
        question="Pages 8 to 15 are a free block of order 3. We write one wrong number: its struct buddy now says order 2. How many different rules does check() find broken?",
        choices={
            "0 rules": "The block is on the free list of order 3, for one, and its descriptor says something else.",
            "1 rule": "It is on the wrong list now; but there is something else: who speaks for pages 12 to 15?",
            "2 rules": None,
            "5 rules": "Five sentences, but four of them say the same of four pages.",
        },
        right=_one_wrong_word,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "10.b",
        question="Two pages are free, as one block; no descriptor is. Somebody asks for one page. What do they get, and how many pages are free then?",
        choices={
            "A page; then 1 is free": "For that the block must be split, and a split needs a struct buddy for one of the halves.",
            "None; then 2 pages are free": "It cannot know beforehand: it looks for a struct buddy first, and has to build a slab for it.",
            "None; then no page is free": None,
        },
        right=_pair_free,
        machine=lambda: bootstrap_machine(1),
    ),
    Prediction(
        "10.c",
        question="There are 6 sequences of one operation, 43 of two and 348 of three. With the empty sequence that makes 398. To how many distinct states do they lead?",
        choices={
            "21 states": "That would be few: four levels of a tree, and each operation does something else.",
            "129 states": None,
            "398 states": "Then no two sequences would lead to the same state. Take a page and give it back, for example.",
        },
        right=_states,
    ),
    Prediction(
        "10.d",
        question="A thousand states of the design as written, each of them surveyed. Which of these does the search find?",
        choices={
            "A rule breaks": "Each of the thousand states keeps all 52 rules.",
            "A free allocates": "Each free gets along with what is there; as the email demands.",
            "A failed allocation leaks": "What had been got before the failure was given back, each time.",
            "None of them": None,
        },
        right=_as_written,
    ),
    Prediction(
        "10.e",
        question="Four allocations; then two pages stayed away when all was freed in the order of addresses, and shrunk. There are other orders, and one may shrink in between. How many pages stay away in the best of them?",
        choices={
            _GONE[0]: "All blocks are free, and all objects; but where do the descriptors of free blocks lie?",
            _GONE[1]: "Both pages hold a descriptor, and the one does not go without the other.",
            _GONE[2]: None,
        },
        right=_stays_away,
    ),
    Prediction(
        "10.f",
        question="Now the bounded design, with an interrupt at any trace point, that may eat descriptors, take a page or free a block. How deep does alloc_pages nest then, at most?",
        choices={
            "12 frames": None,
            "18 frames": "So deep goes the email's chain; but here kmem_cache_buddy grows without a nested call to alloc_pages.",
            "30 frames": "That is the design as written; here each growth of kmem_cache_buddy calls nothing.",
        },
        right=_bounded_interrupted,
    ),
    Prediction(
        "10.g",
        question="Nine allocators, each with one fault in one method, and each is searched until a thousand states are found. How many of them get away?",
        choices={
            "0 of 9": "Two faults need longer sequences than a thousand states reach.",
            "2 of 9": None,
            "5 of 9": "Most faults show within a few operations: the shortest sequence has two.",
            "9 of 9": "Then the search would be blind, and what it said of the real design would mean nothing.",
        },
        right=_got_away,
    ),
    Prediction(
        "10.h",
        question="The cuckoo was caught after two operations with one interrupt each. The same search without interrupts, a thousand states: what does it find?",
        choices={
            "The same rule, broken a little later": "What the cuckoo overlooks comes about during a call; and without interrupts, who should bring it about?",
            "Another rule, broken by a free": "Its fault is in how it allocates, and its frees are the textbook's.",
            "Nothing": None,
        },
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
