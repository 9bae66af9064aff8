"""Predictions of chapter 02, Buddies, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ...labs.buddy import buddy_machine
from ...machine import Machine
from ..model import Choices, Prediction
from .scene import ARENA, full_arena, largest_request


def _pages_for_five(m: Machine) -> str:
    pfn = m.virt_to_pfn(m.kmalloc(5 * m.page_size) or 0)
    return f"{1 << m.buddy(m.mem_desc(pfn).address).order} pages"


def _buddy_of_38(m: Machine) -> str:
    blocks = [m.alloc_pages(1) for _ in range(8)]
    m.free_pages(38)
    for block in blocks:
        state, before = m.snapshot(), m.stats
        if block not in (38, None):
            m.free_pages(block)
            if (m.stats - before).merges:
                return f"The block at page {block}"
        m.restore(state)
    return "None of them"


def _after_one_page(m: Machine) -> str:
    m.alloc_pages(0)
    counts = m.buddyinfo()[0, "Normal"]
    return "One block each of " + ", ".join(str(1 << order) for order, n in enumerate(counts) if n == 1) + " pages"


def _merges_of_the_last(m: Machine) -> str:
    pfn = m.alloc_pages(0)
    before = m.stats
    m.free_pages(pfn or 0)
    return f"{(m.stats - before).merges} merges"


def _next_page(m: Machine) -> str:
    for pfn in (33, 41, 37):
        m.free_pages(pfn)
    return f"Page {m.alloc_pages(0)}"


def _mended_by(m: Machine) -> str:
    for pfn in ARENA[1::2]:
        m.free_pages(pfn)
    state, mended = m.snapshot(), []
    for pfn in ARENA[::2]:
        m.free_pages(pfn)
        if m.alloc_pages(1) is not None:
            mended.append(pfn)
        m.restore(state)
    return "Any one of the even pages" if mended == [*ARENA[::2]] else f"Only {mended}"


def _largest_choices(m: Machine) -> Choices:
    counts = m.buddyinfo()[0, "Normal"]
    free = sum(n << order for order, n in enumerate(counts))
    why = f"There are {free} free pages in all, but one request is served from one block: look at the largest."
    right = largest_request(m)
    whys = {f"Order {k}": why for k in range(m.max_order + 1)}
    return whys | {"None at all": "Some block is free, so order 0 at least can be served."} | {right: None}


PREDICTIONS = (
    Prediction(
        "02.a",
        question="A program needs 5 pages in a row. How many pages does the buddy allocator hand out?",
        choices={
            "5 pages": "Five is no power of two, and a block always has 2^k pages.",
            "6 pages": "Six is no power of two either.",
            "8 pages": None,
            "16 pages": "That would do, but the allocator takes the smallest order that is large enough.",
        },
        right=_pages_for_five,
        machine=lambda: buddy_machine(16),
    ),
    Prediction(
        "02.b",
        question="Eight blocks of order 1 lie side by side from page 32 on. Which of them is the buddy of the block at page 38?",
        choices={
            "The block at page 36": None,
            "The block at page 40": "It is a neighbour, but it was never one block with 38: merged, the two would start at page 38, which no block of 4 pages can.",
            "Both": "A block has only one other half.",
            "The block at page 46": "Far away: buddies always touch.",
        },
        right=_buddy_of_38,
        machine=lambda: buddy_machine(16),
    ),
    Prediction(
        "02.c",
        question="All 16 pages are one free block. We ask for a single page. Which free blocks are left?",
        choices={
            "One block of 15 pages": "Fifteen is no power of two, so that is no block.",
            "Fifteen single pages": "Only one half is split further each time; the other half stays whole.",
            "One block each of 1, 2, 4, 8 pages": None,
            "Two blocks of 4 and one of 7 pages": "Each split makes two equal halves.",
        },
        right=_after_one_page,
        machine=lambda: buddy_machine(16),
    ),
    Prediction(
        "02.d",
        question="Now we free that page again. How many times are two blocks merged into one?",
        choices={
            "0 merges": "Its buddy is free and of the same size, so the two merge at once.",
            "1 merge": "The merged block looks for its own buddy, and finds it free.",
            "4 merges": None,
            "15 merges": "Whole blocks merge, not pages: 1 and 1, 2 and 2, 4 and 4, 8 and 8.",
        },
        right=_merges_of_the_last,
        machine=lambda: buddy_machine(16),
    ),
    Prediction(
        "02.e",
        question="All pages are taken. We free page 33, then 41, then 37. Which page does the next request for one page get?",
        choices={
            "Page 33": "It has the lowest address, but a free list is not sorted.",
            "Page 41": "Neither first nor last: there is no reason to take it.",
            "Page 37": None,
        },
        right=_next_page,
        machine=full_arena,
    ),
    Prediction(
        "02.f",
        question="All pages are taken, then every odd page is freed. A request for two pages in a row fails. Which page must be freed to mend that?",
        choices={
            "Any one of the even pages": None,
            "Only page 32, 36, 40 or 44 will do": "These begin a block of order 2. For two pages it is enough that the buddy, one page on, is free.",
            "Two more pages: one is not enough": "One half of every pair is free already.",
            "All even pages": "Two buddies merge as soon as both are free, whatever the others do.",
        },
        right=_mended_by,
        machine=full_arena,
    ),
    Prediction(
        "02.g",
        question="Look at your own machine, as it is now. What is the largest order that one request can get?",
        choices=_largest_choices,
        right=largest_request,
        machine=lambda: buddy_machine(64),
    ),
)
