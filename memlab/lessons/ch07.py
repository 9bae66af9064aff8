"""Chapter 07, Who describes the describer?: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, labs and core."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from ..labs import bootstrap_machine
from ..machine import Machine
from ..memdesc import MemType
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict


def host(m: Machine, address: int) -> int | None:
    """Return the page that an address lies in, or None if it is in the kernel's own area."""
    try:
        return m.virt_to_pfn(address)
    except ValueError:
        return None


def build(m: Machine) -> int:
    """Have kmem_cache_slab build a slab with __alloc_slab, and return the first page that it took."""
    return m.virt_to_pfn(m.caches["kmem_cache_slab"].alloc() or 0)


def slab_table(m: Machine) -> str:
    """Return a table of the slabs of descriptors: which page each is, and the pages that its struct slab and its struct buddy lie in."""
    lines = ["page  cache             struct slab in page  struct buddy in page"]
    for pfn in range(m.nr_pages):
        desc = m.mem_desc(pfn)
        if desc.type is MemType.SLAB:
            slab = m.slab(desc.address)
            name = next(name for name, cache in m.caches.items() if cache.address == slab.slab_cache)
            if name.startswith("kmem_cache_"):
                lines.append(f"{pfn:4}  {name:16}  {host(m, desc.address):19}  {host(m, slab.buddy)!s:>20}")
    return "\n".join(lines)


def descriptor_pages(m: Machine) -> int:
    """Return how many pages hold descriptors, struct buddys and struct slabs."""
    return sum(row["num_slabs"] for row in m.slabinfo() if row["name"] in ("kmem_cache_buddy", "kmem_cache_slab"))


# -- predictions


def _fresh_host(m: Machine) -> str:
    pfn = next(
        p
        for p in range(m.nr_pages)
        if m.mem_desc(p).type is MemType.SLAB and m.slab(m.mem_desc(p).address).slab_cache == m.caches["kmem_cache_slab"].address
    )
    return "In that very page" if host(m, m.mem_desc(pfn).address) == pfn else "In another page"


def _left_for_others(m: Machine) -> str:
    cache = m.caches["kmem_cache_slab"]
    cache.alloc()
    row = next(row for row in m.slabinfo() if row["name"] == cache.name)
    return f"{row['objperslab'] - 1} of {row['objperslab']}" if cache.alloc_bulk(row["num_objs"] - row["active_objs"]) else "none"


def _second_slab(m: Machine) -> str:
    pfn = build(m)
    return {pfn: "On the first page", pfn + 1: "On the second page"}.get(host(m, m.mem_desc(pfn + 1).address) or 0, "Elsewhere")


def _second_buddy(m: Machine) -> str:
    pfn = build(m)
    return {pfn: "On the first page", pfn + 1: "On the second page itself"}.get(
        host(m, m.slab(m.mem_desc(pfn + 1).address).buddy) or 0, "Elsewhere"
    )


def _buddies_needed(m: Machine) -> str:
    pfn = build(m)
    return f"{m.slab(m.mem_desc(pfn + 1).address).inuse} struct buddys"


def _come_back(m: Machine) -> str:
    before = m.free_pages_count
    cache = m.caches["kmem_cache_slab"]
    cache.free(cache.alloc() or 0)
    m.shrink()
    return {0: "Both of them", 1: "One of them", 2: "None of them"}[before - m.free_pages_count]


def _static(m: Machine) -> str:
    fresh = {
        m.slab(m.mem_desc(p).address).buddy if m.mem_desc(p).type is MemType.SLAB else m.mem_desc(p).address for p in range(m.nr_pages)
    }
    n = sum(a != 0 and host(m, a) is None for a in fresh)
    return {1: "One"}.get(n, str(n))


def _pages_of_descriptors(m: Machine) -> str:
    return _pages(descriptor_pages(m))


def _pages(n: int) -> str:
    return f"{n} page{'' if n == 1 else 's'}"


def _pages_choices(m: Machine) -> list[tuple[str, str | None]]:
    right = descriptor_pages(m)
    slabs = sum(row["num_slabs"] for row in m.slabinfo())
    reserved = sum(m.mem_desc(p).type is MemType.NONE for p in range(m.nr_pages))
    whys = {
        right + 1: "One too many: look for pages marked S, and select each.",
        right - 1: "One too few: the page of kmem_cache_slab and those of kmem_cache_buddy both count.",
        slabs if slabs != right else right + 2: "Slabs of other caches hold no descriptors of pages.",
        reserved if reserved not in (right, right + 1, right - 1) else 0: "Those are the reserved pages, which hold the mem_map.",
    }
    return [(_pages(n), whys[n] if n != right else None) for n in sorted({right, *whys})]


PREDICTIONS = (
    Prediction(
        "07.a",
        question="A fresh machine has one slab of struct slabs. Where does the struct slab lie that describes this slab?",
        choices=(
            (
                "In the kernel's own area, outside all pages",
                "That would be a second kind of struct slab, one that is no object of any slab.",
            ),
            ("In that very page", None),
            ("In another page", "That page would have to be a slab of struct slabs too, and we have only one."),
        ),
        right=_fresh_host,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "07.b",
        question="A page of 4096 bytes has described itself, and holds struct slabs of 64 bytes. How many of them are left for others?",
        choices=(
            ("64 of 64", "The first one is in use: it describes the page."),
            ("63 of 64", None),
            ("62 of 64", "One for the page itself; nothing else is needed, its struct buddy lies elsewhere."),
        ),
        right=_left_for_others,
        machine=lambda: bootstrap_machine(0),
    ),
    Prediction(
        "07.c",
        question="Two pages are free, as one block. The first becomes a slab of struct slabs, the second a slab of struct buddys. Where does the SECOND page's struct slab lie?",
        choices=(
            ("On the first page", None),
            ("On the second page", "That one holds struct buddys: 48 bytes apart, not 64."),
            ("Elsewhere", "No other struct slab was free: that is why we are here."),
        ),
        right=_second_slab,
        machine=lambda: bootstrap_machine(1),
    ),
    Prediction(
        "07.d",
        question="There are two blocks now where one was, so one more struct buddy is needed. Where does the second page's struct buddy lie?",
        choices=(
            ("On the first page", "That one holds struct slabs."),
            ("On the second page itself", None),
            ("Elsewhere", "All other struct buddys are in use."),
        ),
        right=_second_buddy,
        machine=lambda: bootstrap_machine(1),
    ),
    Prediction(
        "07.e",
        question="The smallest free block has eight pages. Two are taken as before. How many new struct buddys must the second page hold for this?",
        choices=(
            (
                "1 struct buddy",
                "There are four parts: the first page, the second, a pair, and a block of four. One of them keeps the old descriptor.",
            ),
            ("2 struct buddys", "Do not forget the pair that is left over: it is a block, too."),
            ("3 struct buddys", None),
            ("7 struct buddys", "Blocks need descriptors, not pages."),
        ),
        right=_buddies_needed,
        machine=lambda: bootstrap_machine(3),
    ),
    Prediction(
        "07.f",
        question="The first page holds the second one's struct slab; the second holds its own struct buddy. All else on them is free again, and the caches are shrunk. How many of the two pages come back?",
        choices=(
            (
                "Both of them",
                "The first cannot go while the second one's struct slab is on it, and the second cannot go while its own struct buddy is.",
            ),
            ("One of them", "Which one? Each holds something that is in use."),
            ("None of them", None),
        ),
        right=_come_back,
        machine=lambda: bootstrap_machine(1),
    ),
    Prediction(
        "07.g",
        question="At boot the very first block needs a struct buddy before there is any slab. How many struct buddys of a fresh machine lie outside its pages, in the kernel's own area?",
        choices=(
            ("None: all of them are in slabs", "The first slab was cut from a block, and that block had to be described."),
            ("One", None),
            ("Eleven", "All the others are had in the normal way, once the first block is there."),
        ),
        right=_static,
        machine=lambda: Machine("256K", design="bounded"),
    ),
    Prediction(
        "07.h",
        question="Your lab's machine, as it was when you ran this cell: how many pages hold struct buddys or struct slabs?",
        choices=_pages_choices,
        right=_pages_of_descriptors,
        machine=lambda: bootstrap_machine(0),
    ),
)


# -- exercises


def _check_host(answer: Callable[[int], int]) -> Verdict:
    m = Machine("1M")
    m.folio_alloc(1)
    for pfn in (5, 8, 60, 130, m.nr_pages - 1, m.virt_to_pfn(m.caches["kmem_cache_slab"].alloc() or 0)):
        word = m.page(pfn).mem_desc
        want = host(m, word & ~15)
        if want is None:
            continue
        got = answer(word)
        if got != want:
            if not isinstance(got, int):
                why = "the answer is a whole number"
            elif not 0 <= got < 1 << 40:
                why = "subtract the start of page 0 first"
            else:
                why = "a page has 4096 bytes"
            return Verdict(False, f"host_of({word:#x}) gave {got!r}: {why}. The descriptor lies in page {want}.")
    return Verdict(True, "Five words, one of them of a page that describes itself.")


def _check_trace(answer: Callable[[], list[tuple[str, int | None]]]) -> Verdict:
    m = bootstrap_machine(2)
    pfn = build(m)
    pages = range(pfn, pfn + 4)
    want = [(m.mem_desc(p).type.name, h - pfn if (h := host(m, m.mem_desc(p).address)) in pages and h is not None else None) for p in pages]
    got = answer()
    if not isinstance(got, (list, tuple)) or len(got) != 4 or not all(isinstance(x, (list, tuple)) and len(x) == 2 for x in got):
        return Verdict(False, 'words() returns four pairs (type, page), such as ("SLAB", 0).')
    for n, (mine, right) in enumerate(zip(got, want, strict=True)):
        if tuple(mine) != right:
            if mine[0] != right[0]:
                return Verdict(
                    False, f'Page {n} of the block is not {mine[0]!r}: two pages become slabs, the others stay free ("SLAB", "FREE").'
                )
            if mine[1] not in (0, 1, 2, 3, None):
                why = "pages are counted from the block, and None is for any page outside"
            elif right[0] == "FREE":
                why = "the upper half keeps the descriptor that the whole block had, and that lies outside"
            elif mine[1] is None:
                why = "no struct slab was free outside the block"
            else:
                why = "a struct slab lies on a page of struct slabs, and page 0 is the only one here"
            return Verdict(False, f"The descriptor of page {n} does not lie on page {mine[1]!r}: {why}.")
    return Verdict(True, "Two slabs described on page 0, and a pair that keeps the old descriptor.")


def _parts(m: Machine, pfn: int, order: int) -> list[tuple[int, int, int | None]]:
    """Return the parts of the block that __alloc_slab took: (first page, order, page of its struct buddy or None), counted from the block."""
    parts, p = list[tuple[int, int, int | None]](), pfn
    while p < pfn + (1 << order):
        desc = m.mem_desc(p)
        buddy = m.slab(desc.address).buddy if desc.type is MemType.SLAB else desc.address
        where = host(m, buddy)
        inside = where is not None and pfn <= where < pfn + (1 << order)
        parts.append((p - pfn, m.buddy(buddy).order, where - pfn if inside and where is not None else None))
        p += 1 << m.buddy(buddy).order
    return parts


def _check_plan(answer: Callable[[int], list[tuple[int, int, int | None]]]) -> Verdict:
    for order in (0, 1, 2, 3):
        m = bootstrap_machine(order)
        want, given = _parts(m, build(m), order), answer(order)
        if not isinstance(given, list) or not all(isinstance(x, (list, tuple)) and len(x) == 3 for x in given):
            return Verdict(False, "plan() returns a list of triples (first page, order, page of its struct buddy or None).")
        got = sorted(((x[0], x[1], x[2]) for x in given), key=str)
        if [x[:2] for x in got] != [x[:2] for x in want]:
            return Verdict(
                False,
                f"For a block of order {order} the parts are {[x[:2] for x in want]} as (first page, order); yours are {[x[:2] for x in got]}.",
            )
        for mine, right in zip(got, want, strict=True):
            if mine != right:
                where = "stays where it was: None" if right[2] is None else f"lies on page {right[2]}"
                return Verdict(
                    False, f"Block of order {order}: the struct buddy of the part at page {right[0]} {where}; you say {mine[2]!r}."
                )
    return Verdict(True, "Orders 0 to 3, each compared with the bytes that __alloc_slab writes.")


def _check_capstone(answer: Callable[[Machine, int], Any]) -> Verdict:
    twin, m = bootstrap_machine(1), bootstrap_machine(1)
    pfn = build(twin)
    mine = m.alloc_pages(1)
    if mine != pfn:
        raise RuntimeError("the two machines differ")
    answer(m, pfn)
    first, second = m.page_address(pfn) or 0, m.page_address(pfn + 1) or 0
    for p, name in ((pfn, "first"), (pfn + 1, "second")):
        got, want = m.page(p).mem_desc, twin.page(p).mem_desc
        if got != want:
            return Verdict(
                False, f"The {name} page's mem_desc is {got:#x}; it should be {want:#x}: the struct slab at {want & ~15:#x}, tagged SLAB."
            )
    for address, name in ((first, "the first page's struct slab"), (first + 64, "the second page's struct slab")):
        for field in ("buddy", "flags", "order", "virt"):
            got, want = getattr(m.slab(address), field), getattr(twin.slab(address), field)
            if got != want:
                return Verdict(False, f"In {name}, {field} is {got:#x}; it should be {want:#x}.")
    old = twin.slab(first).buddy
    for address, name in ((old, "the old struct buddy"), (second, "the second page's struct buddy")):
        for field in ("page", "order", "flags"):
            got, want = getattr(m.buddy(address), field), getattr(twin.buddy(address), field)
            if got != want:
                return Verdict(False, f"In {name}, {field} is {got:#x}; it should be {want:#x}.")
    return Verdict(
        True, "Word for word what __alloc_slab writes: two pages that describe themselves and each other. You have built the bootstrap."
    )


_CAPSTONE = (
    "def describe(m, pfn):\n    first, second = m.page_address(pfn), m.page_address(pfn + 1)\n    old = m.buddy(m.mem_desc(pfn).address)\n"
    "    old.order = {order}\n    new = m.buddy(second)\n    new.flags, new.order, new.page = old.flags, 0, m.pfn_to_page(pfn + 1)\n"
    "    for n, buddy in ((0, old), (1, new)):\n        slab = m.slab(first + 64 * n)\n        slab.flags, slab.buddy, slab.order = old.flags, buddy.address, 0\n"
    "        slab.virt = m.page_address(pfn + n)\n        m.page(pfn + n).mem_desc = {word}\n"
)

EXERCISES = (
    Exercise(
        "07.1",
        level=1,
        minutes=5,
        title="Who hosts it?",
        task="`host_of(word)` returns the number of the page in which the descriptor lies that a mem_desc names. Page 0 starts at 0xffff888000000000.",
        stub="def host_of(word):\n    raise NotImplementedError",
        check=_check_host,
        hints=("Take the type out of the word: what is left is an address.", "From an address to its page: chapter 01, three steps."),
        wrong=(
            ("def host_of(word):\n    return (word & ~15) >> 12", "subtract the start of page 0"),
            ("def host_of(word):\n    return (word - 0xFFFF888000000000) // 64", "a page has 4096 bytes"),
            ("def host_of(word):\n    return (word - 0xFFFF888000000000) // 4096 + 1", "a page has 4096 bytes"),
        ),
        explanation="If the answer is the page itself, the page describes itself.",
        state="memlab1.bootstrap.pdna3rrrblacadaf2c57zwkc45oeljgydkfcavusjcd6bxo3g46ypmwnafzdyusyib5uaynno4dsd27wji26hdqvuddegqjr72jxtwnbfwpqrpsslipyfqazg4.6bb4f7ce9d29d835f2c8bcac",
    ),
    Exercise(
        "07.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "__alloc_slab finds a block of order 2: pages 0 to 3, counted from its start. When it is done, what do their four words say? `words()` returns four pairs: the type's "
            "name, and the page (0 to 3) in which the descriptor lies, or None if it lies outside the block."
        ),
        stub="def words():\n    raise NotImplementedError",
        check=_check_trace,
        hints=(
            "Pages 0 and 1 become slabs. On which page are both their struct slabs?",
            "Pages 2 and 3 are left, as a free pair: who describes them?",
        ),
        wrong=(
            (
                'def words():\n    return [("SLAB", 0), ("SLAB", 1), ("FREE", None), ("FREE", None)]',
                "a struct slab lies on a page of struct slabs",
            ),
            ('def words():\n    return [("SLAB", 0), ("SLAB", 0), ("FREE", 1), ("FREE", 1)]', "keeps the descriptor"),
            ('def words():\n    return [("SLAB", 0), ("BUDDY", 0), ("FREE", None), ("FREE", None)]', "is not 'BUDDY'"),
        ),
        explanation="The upper half keeps the old descriptor, as in every split (chapter 05). Only pages 0 and 1 get new ones, and those lie on page 1.",
        state="memlab1.bootstrap.pdnkwvrkjywsslkqwkvfnsrpjjes2uvsgljfcssjfxhezt2twjjeulgwfux4ulbjjhgvhkwvkevc4sjnfbllfcuovucqb6azcjzq.cb064e5b4e86d271652c38e4",
    ),
    Exercise(
        "07.3",
        level=2,
        minutes=15,
        title="The plan",
        task=(
            "`plan(order)`: __alloc_slab finds a block of this order. Return its parts as triples (first page counted from the block, order of the part, page that its struct buddy "
            "lies on), with None for the part that keeps the old struct buddy."
        ),
        stub="def plan(order):\n    raise NotImplementedError",
        check=_check_plan,
        hints=(
            "Order 0: one part, which keeps the old struct buddy. Order 1: two parts; the first page keeps it.",
            "From order 2 on, the upper half keeps it, and every other part has its struct buddy on page 1.",
            "The parts: pages 0 and 1 of order 0, then one part of each order 1, 2, ... up to order - 1, each starting at its own size.",
        ),
        wrong=(
            ("def plan(order):\n    return [(0, order, None)]", "the parts are"),
            (
                "def plan(order):\n    return [(0, 0, 1), (1, 0, 1)] + [(1 << k, k, 1) for k in range(1, order)] if order else [(0, 0, None)]",
                "stays where it was",
            ),
            (
                "def plan(order):\n    return [(0, 0, None)] + ([(1, 0, 1)] if order else []) + [(1 << k, k, 1) for k in range(1, order)]",
                "lies on page 1",
            ),
        ),
        explanation="As many new struct buddys as the order says, and one page of 4096 bytes holds 85: enough for any block there is.",
        state="memlab1.bootstrap.pdnkwvrkjywsslkqwkvfnsrpjjes2uvsgllfcssjfxhezt2twjjeulgwfux4ulbjjhgvhkwvkevc4sjnfbllfcuovucqb6b5cj2a.dd22ce0733bfd6d81ee7456f",
    ),
    Exercise(
        "07.4",
        level=3,
        minutes=30,
        title="Capstone: write the bootstrap",
        task=(
            "`describe(m, pfn)`: a block of order 1 at page pfn is yours, allocated. Write the words that make its first page a slab of struct slabs and its second a slab of struct "
            "buddys, as __alloc_slab does: two struct slabs at the start of the first page (64 bytes apart), one struct buddy at the start of the second, two mem_desc words; the old "
            "struct buddy becomes the first page's. Of a struct slab fill in buddy, flags, order and virt; of a struct buddy page, order and flags."
        ),
        stub="def describe(m, pfn):\n    raise NotImplementedError",
        check=_check_capstone,
        hints=(
            "m.slab(address), m.buddy(address) and m.page(pfn) are views; assigning to a field writes RAM: m.slab(a).order = 0.",
            "The old struct buddy: m.buddy(m.mem_desc(pfn).address), read before you overwrite the word. Its order becomes 0.",
            "The flags say which zone and node: all four structs get those of the old struct buddy. virt is the address of the page itself.",
            "The word: the address of the struct slab, with 3 in its low bits.",
        ),
        wrong=(
            (_CAPSTONE.format(order=1, word="slab.address | 3"), "order is 0x1; it should be 0x0"),
            (_CAPSTONE.format(order=0, word="slab.address"), "tagged SLAB"),
            (
                _CAPSTONE.format(order=0, word="slab.address | 3").replace("buddy.address, 0", "old.address, 0"),
                "second page's struct slab, buddy",
            ),
        ),
        explanation=(
            "What is left out here, __alloc_slab does as well: it links the free objects of both pages, puts the second on its cache's partial list, and takes the block off its free list."
        ),
        state="memlab1.bootstrap.pdna3rrrblacadaf2c57zwiolvzrlelcnmuiewcjeioye53p372bzsrwa7epcsdbahwqdbnv3yoyjlg3fpkyyo2wqana6bof7bh6mzmhwz6cf6cknf6yf5qzha.dcc8073c68aafe756e2d0068",
    ),
)


# -- drills


def _bootstrap_question(rng: Random) -> Question:
    order = rng.randrange(0, 8)
    answers = {
        "How many pages become slabs?": 1 if order == 0 else 2,
        "How many new struct buddys does it need?": order,
        "How many pages of the block stay free?": (1 << order) - (1 if order == 0 else 2),
        "How many struct slabs are in use on the first page when it is done, before anybody asks for one?": 1 if order == 0 else 2,
    }
    text, right = rng.choice(list(answers.items()))
    if order == 0:
        parts = "a single page describes itself; it is split from nothing, and keeps its struct buddy"
    else:
        parts = (
            f"of {_pages(1 << order)}, two become slabs, each with a struct slab on the first of them; "
            f"{order} split{'' if order == 1 else 's'}, each with a new struct buddy"
        )

    def grade(reply: str) -> Verdict:
        if reply.strip() == str(right):
            return Verdict(True, f"{right}: from a block of {_pages(1 << order)}.")
        return Verdict(False, f"It is {right}: {parts}.")

    return Question(f"__alloc_slab finds a smallest free block of order {order}. {text}", None, str(right), grade)


DRILLS = (Drill("07.bootstrap", level=2, make=_bootstrap_question),)

CHAPTER = Chapter(
    number="07",
    title="Who describes the describer?",
    notebook="07_bootstrap.ipynb",
    minutes=40,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
