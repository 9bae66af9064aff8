"""Predictions of chapter 03, One word, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ... import structs
from ...labs.buddy import buddy_machine
from ...machine import Machine
from ...memdesc import MemType, tag, untag
from ...page import page_slab
from ..model import Choices, Prediction
from .scene import owners_machine, typical_page


def _gib(pages: int, each: int) -> str:
    return f"{pages * each / (1 << 30):g} GiB"


def _as_a_buddy(m: Machine) -> str:
    base = m.page_address(m.alloc_pages(0) or 0) or 0
    structs.old_slab(m, base).slab_cache = m.caches["kmem_cache_slab"].address
    nxt = structs.old_buddy(m, base).list[0]
    return "The address of the slab's cache" if nxt == m.caches["kmem_cache_slab"].address else "Zero"


def _slab_of_a_tail(m: Machine) -> str:
    base = m.page_address(m.alloc_pages(0) or 0) or 0
    tail = structs.old_page(m, base + 6 * structs.old_page.sizeof)
    tail.compound_head = base + 5 * structs.old_page.sizeof + 1
    return f"To the address of entry {(page_slab(tail).address - base) // structs.old_page.sizeof}"


def _types(_: object) -> str:
    fits = 0
    while True:
        address = (fits + 1) << 4
        if untag(tag(address, min(fits, 8) or 1)).address != address or fits == 16:
            return f"{fits} types"
        fits += 1


def _word_choices(m: Machine) -> Choices:
    word = m.page(typical_page(m, MemType.SLAB)).mem_desc
    kind, address = untag(word)
    return {
        f"{kind.name}, described at {address:#x}": None,
        f"{kind.name}, described at {word:#x}": "The type bits are still in this address; take them out.",
        f"{MemType(int(kind) + 1).name}, described at {address:#x}": f"The last digit is {int(kind)}; count the list of types from 0.",
        "It is free": "FREE would have the digit 1 at the end.",
    }


def _word_right(m: Machine) -> str:
    found = m.mem_desc(typical_page(m, MemType.SLAB))
    return f"{found.type.name}, described at {found.address:#x}"


def _same_words(m: Machine) -> str:
    folio = m.folio_alloc(2) or 0
    page = m.buddy(structs.folio(m, folio).buddy).page
    words = {int.from_bytes(m.read(page + 8 * n, 8), "little") for n in range(4)}
    return "All four have the same word" if len(words) == 1 else "Each has a word of its own"


def _buddy_size(_: object) -> str:
    return f"{structs.buddy.sizeof} bytes"


def _words_in_arena(m: Machine) -> int:
    return len({m.page(pfn).mem_desc for pfn in range(m.nr_pages * 2 // 3, m.nr_pages)})


def _words_choices(m: Machine) -> Choices:
    right, pages = _words_in_arena(m), m.nr_pages // 3
    wrong = {n for n in (1, right + 1, pages, max(1, right - 1), right * 2) if n != right}
    why = "Count the blocks, free or not: all pages of a block have the same word."
    return {f"{n} different words" if n > 1 else "1 word": None if n == right else why for n in sorted({right, *wrong})[:5]}


def _words_right(m: Machine) -> str:
    n = _words_in_arena(m)
    return f"{n} different words" if n > 1 else "1 word"


PREDICTIONS = (
    Prediction(
        "03.a",
        question="A server has 1 TiB of RAM in pages of 4 KiB, and a note of 64 bytes for each. How much memory do the notes take?",
        choices={
            "16 MiB": "There are 256 million pages; even one byte for each is more than that.",
            "1 GiB": "That would be 4 bytes a page.",
            "16 GiB": None,
            "64 GiB": "That would be one sixteenth of it all; 64 of 4096 bytes is one sixty-fourth.",
        },
        right=lambda _: _gib((1 << 40) // 4096, structs.old_page.sizeof),
    ),
    Prediction(
        "03.b",
        question="A struct page was filled in as a slab. Some code takes it for a free block and follows list.next. What does it get?",
        choices={
            "Zero": "The word was written: by the slab, for a purpose of its own.",
            "An error": "Nothing in these 64 bytes says what they are, so nothing can notice.",
            "The address of the slab's cache": None,
            "The next free block": "There is none: the page is in use.",
        },
        right=_as_a_buddy,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "03.c",
        question="Entry 6 of the old mem_map is the second page of the slab at entry 5. To which address does page_slab(entry 6) lead?",
        choices={
            "To the address of entry 6": "Entry 6 is a tail page: its compound_head leads to the head first.",
            "To the address of entry 5": None,
            "To the first byte of the slab's memory": "That is the page; the slab's description is in the page's struct page.",
        },
        right=_slab_of_a_tail,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "03.d",
        question="Descriptors are aligned to 16 bytes. How many different types can the free low bits of their addresses tell apart?",
        choices={
            "4 types": "Four BITS are free; each has two values.",
            "8 types": "That would be three bits, for an alignment of 8.",
            "16 types": None,
            "64 types": "The size of the old struct page has nothing to do with it.",
        },
        right=_types,
    ),
    Prediction(
        "03.e",
        question=lambda m: f"On your machine a page has the word {m.page(typical_page(m, MemType.SLAB)).mem_desc:#x}. What does it say?",
        choices=_word_choices,
        right=_word_right,
        machine=owners_machine,
    ),
    Prediction(
        "03.f",
        question="A folio of four pages is allocated. What do the four words in the mem_map say?",
        choices={
            "The first names the descriptor, the others the first page": "That is how compound pages work today (compound_head); here no page is special.",
            "Each has a word of its own": "There is only one descriptor for the four.",
            "All four have the same word": None,
        },
        right=_same_words,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "03.g",
        question="flags, two list pointers, order (4 bytes), page: 36 bytes and some padding. How long is a struct buddy, aligned to 16?",
        choices={
            "36 bytes": "A pointer must lie at a multiple of 8, and the next struct at a multiple of 16.",
            "40 bytes": "These are used; but 40 is no multiple of 16.",
            "48 bytes": None,
            "64 bytes": "That is the old struct page, and our struct slab.",
        },
        right=_buddy_size,
    ),
    Prediction(
        "03.h",
        question="A single page is in use as a folio. With one word for the page, how many bytes of notes are there about it in all?",
        choices={
            "8 bytes": "That is only the word; what it points to takes memory as well.",
            "56 bytes": "The word and its struct buddy: but the folio has a descriptor of its own.",
            "64 bytes": "That was the old design.",
            "120 bytes": None,
        },
        right=lambda _: f"{structs.page.sizeof + structs.buddy.sizeof + structs.folio.sizeof} bytes",
    ),
    Prediction(
        "03.i",
        question="Your lab's pages, as they are now: how many different words have they in the mem_map?",
        choices=_words_choices,
        right=_words_right,
        machine=lambda: buddy_machine(16),
    ),
)
