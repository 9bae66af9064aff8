"""Predictions of chapter 07, Who describes the describer?, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ...figures.picture import count
from ...labs.bootstrap import bootstrap_machine
from ...machine import Machine
from ...memdesc import MemType
from ...study.consumers import free_descriptors
from ..model import Choices, Prediction
from .scene import buddy_of, build, descriptor_pages, host


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
    objects = next(row["objperslab"] for row in m.slabinfo() if row["name"] == cache.name)
    return f"{objects - 1} of {objects}" if cache.alloc_bulk(free_descriptors(m, cache.name)) else "none"


def _second_slab(m: Machine) -> str:
    pfn = build(m)
    return {pfn: "On the first page", pfn + 1: "On the second page"}.get(host(m, m.mem_desc(pfn + 1).address) or 0, "Elsewhere")


def _second_buddy(m: Machine) -> str:
    pfn = build(m)
    return {pfn: "On the first page", pfn + 1: "On the second page itself"}.get(host(m, buddy_of(m, pfn + 1)) or 0, "Elsewhere")


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
    n = sum(a != 0 and host(m, a) is None for a in {buddy_of(m, p) for p in range(m.nr_pages)})
    return {1: "One"}.get(n, str(n))


def _pages_of_descriptors(m: Machine) -> str:
    return count(descriptor_pages(m), "page")


def _pages_choices(m: Machine) -> Choices:
    right = descriptor_pages(m)
    slabs = sum(row["num_slabs"] for row in m.slabinfo())
    reserved = sum(m.mem_desc(p).type is MemType.NONE for p in range(m.nr_pages))
    whys = {
        right + 1: "One too many: look for pages marked S, and select each.",
        right - 1: "One too few: the page of kmem_cache_slab and those of kmem_cache_buddy both count.",
        slabs if slabs != right else right + 2: "Slabs of other caches hold no descriptors of pages.",
        reserved if reserved not in (right, right + 1, right - 1) else 0: "Those are the reserved pages, which hold the mem_map.",
    }
    return {count(n, "page"): whys[n] if n != right else None for n in sorted({right, *whys})}


PREDICTIONS = (
    Prediction(
        "07.a",
        question="A fresh machine has one slab of struct slabs. Where does the struct slab lie that describes this slab?",
        choices={
            "In the kernel's own area, outside all pages": "That would be a second kind of struct slab, one that is no object of any slab.",
            "In that very page": None,
            "In another page": "That page would have to be a slab of struct slabs too, and we have only one.",
        },
        right=_fresh_host,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "07.b",
        question="A page of 4096 bytes has described itself, and holds struct slabs of 64 bytes. How many of them are left for others?",
        choices={
            "64 of 64": "The first one is in use: it describes the page.",
            "63 of 64": None,
            "62 of 64": "One for the page itself; nothing else is needed, its struct buddy lies elsewhere.",
        },
        right=_left_for_others,
        machine=lambda: bootstrap_machine(0),
    ),
    Prediction(
        "07.c",
        question="Two pages are free, as one block. The first becomes a slab of struct slabs, the second a slab of struct buddys. Where does the SECOND page's struct slab lie?",
        choices={
            "On the first page": None,
            "On the second page": "That one holds struct buddys: 48 bytes apart, not 64.",
            "Elsewhere": "No other struct slab was free: that is why we are here.",
        },
        right=_second_slab,
        machine=lambda: bootstrap_machine(1),
    ),
    Prediction(
        "07.d",
        question="There are two blocks now where one was, so one more struct buddy is needed. Where does the second page's struct buddy lie?",
        choices={
            "On the first page": "That one holds struct slabs.",
            "On the second page itself": None,
            "Elsewhere": "All other struct buddys are in use.",
        },
        right=_second_buddy,
        machine=lambda: bootstrap_machine(1),
    ),
    Prediction(
        "07.e",
        question="The smallest free block has eight pages. Two are taken as before. How many new struct buddys must the second page hold for this?",
        choices={
            "1 struct buddy": "There are four parts: the first page, the second, a pair, and a block of four. One of them keeps the old descriptor.",
            "2 struct buddys": "Do not forget the pair that is left over: it is a block, too.",
            "3 struct buddys": None,
            "7 struct buddys": "Blocks need descriptors, not pages.",
        },
        right=_buddies_needed,
        machine=lambda: bootstrap_machine(3),
    ),
    Prediction(
        "07.f",
        question="The first page holds the second one's struct slab; the second holds its own struct buddy. All else on them is free again, and the caches are shrunk. How many of the two pages come back?",
        choices={
            "Both of them": "The first cannot go while the second one's struct slab is on it, and the second cannot go while its own struct buddy is.",
            "One of them": "Which one? Each holds something that is in use.",
            "None of them": None,
        },
        right=_come_back,
        machine=lambda: bootstrap_machine(1),
    ),
    Prediction(
        "07.g",
        question="At boot the very first block needs a struct buddy before there is any slab. How many struct buddys of a fresh machine lie outside its pages, in the kernel's own area?",
        choices={
            "None: all of them are in slabs": "The first slab was cut from a block, and that block had to be described.",
            "One": None,
            "Eleven": "All the others are had in the normal way, once the first block is there.",
        },
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
