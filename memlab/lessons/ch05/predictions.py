"""Predictions of chapter 05, Eleven descriptors, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ...labs.buddy import buddy_machine
from ...machine import Machine
from ..model import Choices, Prediction
from .scene import full_radix, only_large_blocks


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


def _cost_choices(m: Machine) -> Choices:
    right = _cost_right(m)
    top = max((k for k, n in enumerate(m.buddyinfo()[0, "Normal"]) if n), default=0)
    texts = {right, *(_descriptors(n) for n in range(top + 1)), "It fails"}
    why = "Find the smallest free block. Each split down from its order takes one descriptor."
    return {text: None if text == right else why for text in sorted(texts)}


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
        choices={
            "The page that is handed out": "Then the words of all the other pages must name another descriptor than before.",
            "The other single page": "Then the words of all pages but this one must name another descriptor than before.",
            "The part of order 10": None,
            "It makes no difference": "A page whose part gets a new descriptor needs a new word. The parts have very different numbers of pages.",
        },
        right=_keeper,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.b",
        question="And how many words of the mem_map must say something new?",
        choices={
            "11 words": "Each PAGE of a part has a word, not each part.",
            "1,024 words": None,
            "2,047 words": "All but one? The upper half keeps its descriptor, so its words can stay.",
            "2,048 words": "The upper half, 1,024 pages, keeps the old descriptor: its words can stay.",
        },
        right=_rewritten,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.c",
        question="Now there is a free block of one page on its list. What does the next request for one page cost?",
        choices={
            "11 descriptors, 1024 words": "That was the worst case; no split is needed any more.",
            "1 descriptor, 1 word": "A free block has a descriptor already, and keeps it.",
            "0 descriptors, 1 word": None,
            "0 descriptors, 0 words": "The page was FREE and is now BUDDY: its type changes.",
        },
        right=_second_page,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.d",
        question="The page from the worst-case split is freed, and the block of 2,048 pages is whole again. How many descriptors come back to their cache?",
        choices={
            "None: the next split will need them": "A block has one descriptor. Nothing points to the others any more.",
            "1 descriptor": "Each merge makes one block of two, and one descriptor too many.",
            "11 descriptors": None,
            "12 descriptors": "One goes on describing the whole block.",
        },
        right=_given_back,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.e",
        question="Only large blocks are free, and the cache of descriptors cannot give any. What does alloc_pages(0) return, and what is different afterwards?",
        choices={
            "A page without a descriptor": "Then freeing it would have to allocate one, and that must never be.",
            "None, and 2048 pages are lost": "The large block must not be touched before all descriptors are there.",
            "None, and nothing has changed": None,
        },
        right=_failed,
        machine=only_large_blocks,
    ),
    Prediction(
        "05.f",
        question="Free lists are radix trees, and no unused node is left. Page 5 is freed and must be entered in a tree. Where does the node come from?",
        choices={
            "From another page": "All other pages are in use, and we are freeing because we need memory.",
            "From page 5 itself": None,
            "From the mem_map": "It has a word or two for each page, and no room for nodes.",
        },
        right=_node_from,
    ),
    Prediction(
        "05.g",
        question="The same, but the page that is freed is page 12, and that is HIGHMEM. What now?",
        choices={
            "The same: it is consumed": "Nodes must be read and written by the kernel, and a HIGHMEM page has no address.",
            "It can be put into no tree: it is neither free nor in use": None,
            "It is entered without a node": "The tree is made of nodes; there is no other place to write it down.",
        },
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
