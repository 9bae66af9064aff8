"""Predictions of chapter 06, A slab and its buddy, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ...labs.slab import slab_machine
from ...machine import Machine
from ...memdesc import MemType
from ..model import Choices, Prediction
from .scene import chain_machine, growing_slabs, live, no_pairs, small_machine


def _who_knows(m: Machine) -> str:
    pfn = m.virt_to_pfn(m.kmalloc(100) or 0)
    desc = m.mem_desc(pfn)
    return "Its struct slab" if desc.type is MemType.SLAB and m.buddy(m.slab(desc.address).buddy).page == m.pfn_to_page(pfn) else "Its page"


def _first_call(m: Machine) -> str:
    cache = m.kmem_cache_create("dentry", 192)
    with m.trace() as trace:
        if cache is not None:
            cache.alloc()
    names = [f"{call.name}({call.cache})" for call in trace.calls]
    after = names[names.index("alloc_slab_page(dentry)") + 1]
    return {"kmem_cache_alloc(kmem_cache_slab)": "A struct slab", "alloc_pages()": "The pages"}[after]


def _instead(m: Machine) -> str:
    calls = growing_slabs(m).calls
    at = next(i for i, call in enumerate(calls) if (call.name, call.cache) == ("alloc_slab_page", "kmem_cache_slab"))
    return {"__alloc_slab": "Neither, but a function for this case alone: __alloc_slab()"}[calls[at + 1].name]


def _after_failure(m: Machine) -> str:
    cache = m.kmem_cache_create("dentry", 192)
    before = live(m, "kmem_cache_slab")
    with m.fail("alloc_pages"):
        if cache is not None:
            cache.alloc()
    return {0: "As many as before", 1: "One more"}[live(m, "kmem_cache_slab") - before]


def _fallback(_: object) -> str:
    m, cache = no_pairs()
    address = cache.alloc()
    if address is None:
        return "The allocation fails"
    return f"A slab of {1 << m.slab(m.mem_desc(m.virt_to_pfn(address)).address).order} page"


def _chain(_: object) -> str:
    m, page = chain_machine(40)
    before = m.stats
    with m.trace() as trace:
        m.free_pages(page)
    freed = (m.stats - before).slabs_freed
    return "40 or more slabs, in one call" if freed >= 40 and len(trace.calls) == 1 else f"{freed} slabs, in {len(trace.calls)} calls"


def _slabs_choices(m: Machine) -> Choices:
    right = live(m, "kmem_cache_slab")
    pages = sum(m.mem_desc(pfn).type is MemType.SLAB for pfn in range(m.nr_pages))
    objects = sum(int(row["active_objs"]) for row in m.slabinfo())
    whys = {
        pages: "That is the number of pages; a slab of several pages has one struct slab.",
        objects: "That is the number of objects in use, in all caches.",
        len(m.caches): "That is the number of caches; a cache can have many slabs, or none.",
        right + 1: "One too many: each slab has exactly one, those of struct slabs included.",
    }
    return {f"{n} struct slabs": whys[n] if n != right else None for n in sorted({right, *whys})}


PREDICTIONS = (
    Prediction(
        "06.a",
        question="The words of a slab's pages name its struct slab. Who names the struct buddy of these pages?",
        choices={
            "Its page": "A page has one word, and that names the struct slab.",
            "Its struct slab": None,
            "Nobody: it was given back when the pages became a slab": "Then the pages could never be freed: their order would be forgotten.",
            "The first object": "Objects belong to whoever allocates them, every byte of them.",
        },
        right=_who_knows,
        machine=small_machine,
    ),
    Prediction(
        "06.b",
        question="A new slab needs pages and a struct slab. Which does alloc_slab_page() get first?",
        choices={
            "The pages": "Then their words would have to be written twice: once for the buddy, once for the slab.",
            "A struct slab": None,
        },
        right=_first_call,
        machine=small_machine,
    ),
    Prediction(
        "06.c",
        question="The slab that is to be built is one of kmem_cache_slab itself. What does alloc_slab_page() call first?",
        choices={
            "kmem_cache_alloc(kmem_cache_slab), as always": "That would call itself again, and again: there is no struct slab left, or we would not be here.",
            "alloc_pages(), and sees to the struct slab later": "What would the words of these pages say? And where would the struct slab come from later?",
            "Neither, but a function for this case alone: __alloc_slab()": None,
        },
        right=_instead,
        machine=small_machine,
    ),
    Prediction(
        "06.d",
        question="The struct slab is there, and then the pages cannot be had. How many struct slabs are in use after the failure?",
        choices={
            "One more": "That would be a leak: nobody would ever give it back.",
            "As many as before": None,
            "One less": "Only what was taken is given back.",
        },
        right=_after_failure,
        machine=small_machine,
    ),
    Prediction(
        "06.e",
        question="A cache would like slabs of two pages, but only single pages are free. One object of 704 bytes fits into a page. What happens?",
        choices={
            "The allocation fails": "Not yet: a smaller slab will do, if an object fits into it.",
            "A slab of 1 page": None,
            "A slab of two single pages that are not neighbours": "A slab is one block.",
        },
        right=_fallback,
    ),
    Prediction(
        "06.f",
        question="40 slabs of descriptors hold one live descriptor each: that of the next slab's page; the last one that of an ordinary page, which is freed now. Which slabs go, and in how many traced calls?",
        choices={
            "The last one, in one call": "When it goes, its page gives back its own descriptor, and that was the last one in the slab before.",
            "40 or more slabs, each in a call inside the call before": "The kernel's stack is 16 KiB: a chain that grows with the data must not be recursion.",
            "40 or more slabs, in one call": None,
        },
        right=_chain,
    ),
    Prediction(
        "06.g",
        question="Your Slab lab's machine, as it was when you ran this cell: how many struct slabs were in use?",
        choices=_slabs_choices,
        right=lambda m: f"{live(m, 'kmem_cache_slab')} struct slabs",
        machine=slab_machine,
    ),
)
