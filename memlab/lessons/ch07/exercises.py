"""Exercises of chapter 07, Who describes the describer?, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...labs.bootstrap import bootstrap_machine
from ...machine import Machine
from ..model import Exercise, Verdict
from .scene import buddy_of, build, host


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
        buddy = buddy_of(m, p)
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
    for kind, address, name, fields in (
        ("slab", first, "the first page's struct slab", "buddy flags order virt"),
        ("slab", first + 64, "the second page's struct slab", "buddy flags order virt"),
        ("buddy", twin.slab(first).buddy, "the old struct buddy", "page order flags"),
        ("buddy", second, "the second page's struct buddy", "page order flags"),
    ):
        for field in fields.split():
            got, want = (getattr(getattr(machine, kind)(address), field) for machine in (m, twin))
            if got != want:
                return Verdict(False, f"In {name}, {field} is {got:#x}; it should be {want:#x}.")
    return Verdict(
        True, "Word for word what __alloc_slab writes: two pages that describe themselves and each other. You have built the bootstrap."
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
        explanation="What is left out here, __alloc_slab does as well: it links the free objects of both pages, puts the second on its cache's partial list, and takes the block off its free list.",
        state="memlab1.bootstrap.pdna3rrrblacadaf2c57zwiolvzrlelcnmuiewcjeioye53p372bzsrwa7epcsdbahwqdbnv3yoyjlg3fpkyyo2wqana6bof7bh6mzmhwz6cf6cknf6yf5qzha.dcc8073c68aafe756e2d0068",
    ),
)
