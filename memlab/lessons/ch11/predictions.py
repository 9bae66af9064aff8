"""Predictions of chapter 11, What it costs, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ...labs.buddy import buddy_machine
from ...machine import Machine
from ...study import accounting
from ...study.accounting import DESCRIPTORS, DESIGNS, MEM_DESC, TODAY
from ..model import Choices, Prediction
from .scene import BUDDY, DESCRIPTOR, kernel_caches, metadata, radix_tree_node, single_pages


def _terabyte(_: object) -> str:
    taken = {row.design: row.nbytes for row in accounting.page_structs(2**40)}
    return f"{taken[TODAY] - taken[MEM_DESC] >> 30} GiB"


def _one_page(_: object) -> str:
    return f"{accounting.block_bytes(MEM_DESC, 0)} bytes"


def _least(_: object) -> str:
    return min(DESIGNS, key=lambda design: accounting.block_bytes(design, 0, "anonmem")).name


def _from_order(_: object) -> str:
    return f"Order {accounting.break_even(MEM_DESC, TODAY, 'anonmem')}"


def _in_ram(_: object) -> str:
    per_page = single_pages()["filled"].per_page
    if per_page < 56:
        return "Less than 56 bytes"
    return "56 to 60 bytes" if per_page < 60 else "60 to 64 bytes" if per_page < 64 else "More than 64 bytes"


def _freed(_: object) -> str:
    done = single_pages()
    left = (done["freed"].total - done["booted"].total) / (done["filled"].total - done["booted"].total)
    return "None of it" if left < 0.05 else "About half of it" if left < 0.9 else "All of it, or nearly"


def _radix(_: object) -> str:
    cost = accounting.slab_caches([radix_tree_node()])["radix_tree_node"]
    return f"{cost.nbytes[MEM_DESC.name]:,} bytes"


def _all_caches(_: object) -> str:
    total = accounting.slab_caches(kernel_caches()).total()
    ratio = total.nbytes[MEM_DESC.name] / total.nbytes[TODAY.name]
    return "About a third" if ratio < 0.5 else "A little less" if ratio < 1 else "A little more" if ratio < 1.1 else "Nearly twice as much"


def _tipping(_: object) -> str:
    return f"About {round(100 * (accounting.tipping_share() or 0), -1):.0f} %"


_RANGES = (10, 16, 24, 40, 64)  # bytes a page


def _range(per_page: float) -> str:
    if per_page >= _RANGES[-1]:
        return f"{_RANGES[-1]} bytes or more"
    above = next(i for i, most in enumerate(_RANGES) if per_page < most)
    return f"Less than {_RANGES[0]} bytes" if above == 0 else f"{_RANGES[above - 1]} to {_RANGES[above]} bytes"


def _bill(m: Machine) -> str:
    return _range(metadata(m) / m.nr_pages)


def _bill_choices(m: Machine) -> Choices:
    account, right = accounting.of_machine(m), _bill(m)
    others = sum(account.number[kind] for kind in DESCRIPTORS)
    why = (
        f"8 bytes for each of {m.nr_pages} pages, {BUDDY} for each of {account.number['buddy']} struct buddys, {DESCRIPTOR} for each of "
        f"{others} other descriptors: {metadata(m):,} bytes, {metadata(m) / m.nr_pages:.1f} a page."
    )
    return {text: None if text == right else why for text in (_range(n) for n in (0, *_RANGES))}


PREDICTIONS = (
    Prediction(
        "11.a",
        question="A machine has 1 TiB of memory, and its struct pages shrink from 64 bytes to 8. How much more is there for everybody else?",
        choices={
            "2 GiB": "So much do struct pages of 8 bytes take; those of 64 bytes took 16 GiB.",
            "14 GiB": None,
            "16 GiB": "So much did struct pages of 64 bytes take (chapter 03); those of 8 bytes still take something.",
            "56 GiB": "That would be 56 bytes in every 1,024; a page has 4096.",
        },
        right=_terabyte,
    ),
    Prediction(
        "11.b",
        question="The new design: one single page that has a struct buddy and no other descriptor. How many bytes of metadata is that?",
        choices={
            "8 bytes": "That is the struct page; the page has a struct buddy as well.",
            "48 bytes": "That is the struct buddy; and there is the struct page.",
            "56 bytes": None,
            "64 bytes": "So much it is today, with everything in the struct page.",
        },
        right=_one_page,
    ),
    Prediction(
        "11.c",
        question="One single page of a process's own memory, described by a struct anonmem of 64 bytes. Which design takes the fewest bytes for it?",
        choices={
            "8-byte pages": "A word, a struct buddy and a struct anonmem: add them up.",
            "16-byte pages": "There is no struct buddy, but 16 + 64 is more than another design takes.",
            "32-byte pages": "There is no struct buddy, but 32 + 64 is more than another design takes.",
            "64-byte pages": None,
        },
        right=_least,
    ),
    Prediction(
        "11.d",
        question="From which order on do blocks with a struct anonmem take fewer bytes in the new design than today?",
        choices={
            "Order 1": "Two pages: 2 × 8 + 48 + 64 are 128 bytes, and 2 × 64 are as many.",
            "Order 2": None,
            "Order 3": "With one order less it is fewer already.",
            "Order 6": "The block has its 112 bytes once, and its pages save 56 each: three pages are enough.",
        },
        right=_from_order,
    ),
    Prediction(
        "11.e",
        question="64 MiB are filled with single pages that have only a struct buddy: 56 bytes each, on paper. What do all pages with metadata come to, for each page of memory?",
        choices={
            "Less than 56 bytes": "Nothing makes it less: each page of memory has its word, and each block its struct buddy.",
            "56 to 60 bytes": None,
            "60 to 64 bytes": "85 struct buddys fit into a page and 16 bytes are left over; a full slab wastes little.",
            "More than 64 bytes": "This machine is bounded: it builds a slab of descriptors only when it needs one, and fills it.",
        },
        right=_in_ram,
    ),
    Prediction(
        "11.f",
        question="Now all these pages are freed, in random order. How much of the memory that descriptors have taken since boot do they still hold?",
        choices={
            "None of it": "A page of descriptors goes back when nothing live is in it; one live descriptor in 85 is enough to keep it.",
            "About half of it": "It would need half of the slabs to be quite empty; the live descriptors are not that tidy.",
            "All of it, or nearly": None,
        },
        right=_freed,
    ),
    Prediction(
        "11.g",
        question="9,941 slabs of four pages, 2,544,896 bytes of struct pages today. How many bytes of metadata do these slabs take in the new design?",
        choices={
            "318,112 bytes": "That is an eighth: the words alone.",
            "954,336 bytes": "That is 4 × 8 + 64 for each slab: words and struct slab. A slab has one more descriptor (chapter 06).",
            "1,431,504 bytes": None,
            "2,544,896 bytes": "A slab of four pages takes 4 × 8 + 48 + 64 bytes, and took 4 × 64.",
        },
        right=_radix,
    ),
    Prediction(
        "11.h",
        question="All 235 caches of a real kernel together, 3,647 slabs: how much metadata do they take in the new design, compared with today?",
        choices={
            "About a third": "For slabs of eight pages that is so; most slabs are smaller.",
            "A little less": "Slabs of four and eight pages gain a good deal; but count those of one page.",
            "A little more": None,
            "Nearly twice as much": "For slabs of one page that is so; but those of four and eight pages gain.",
        },
        right=_all_caches,
    ),
    Prediction(
        "11.i",
        question="Part of memory is in single pages with a struct anonmem, the rest in folios of order 9. Up to which share of single pages does the new design take less than today's?",
        choices={
            "About 10 %": "At 10 % it takes 19 bytes a page, far from 64.",
            "About 30 %": "At 30 % it takes 42 bytes a page, still far from 64.",
            "About 50 %": None,
            "About 90 %": "At 90 % it takes 109 bytes a page.",
        },
        right=_tipping,
    ),
    Prediction(
        "11.j",
        question="Your Buddy lab's machine, as it was when you ran this cell: how many bytes of metadata a page, on paper, in the new design?",
        choices=_bill_choices,
        right=_bill,
        machine=lambda: buddy_machine(256),
    ),
)
