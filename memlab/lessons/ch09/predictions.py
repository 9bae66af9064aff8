"""Predictions of chapter 09, The worst case, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...figures.picture import count
from ...gfp import GFP
from ...machine import Machine
from ...ram import KernelBug
from ...study.consumers import free_descriptors
from ..model import Choices, Prediction
from .chains import (
    FITS,
    LEFT_OUT,
    churned,
    conspire,
    first_block,
    frames,
    roomy,
    scarce,
    stock_of,
    traced,
)


def _depth(m: Machine) -> str:
    return count(frames(traced(m)), "frame")


def _taken_away(m: Machine) -> str:
    looked_at = first_block(m, 6)
    with m.interrupt("kmem_cache_alloc_bulk", "return", lambda: m.alloc_pages(6, GFP.ATOMIC), times=1):
        pfn = m.alloc_pages(0)
    if pfn is None:
        return "It fails: None"
    return "It splits the block that it found" if looked_at <= pfn < looked_at + 64 else "It searches again, and splits another block"


def _without(words: str) -> Callable[[Any], str]:
    return lambda _: count(frames(conspire(LEFT_OUT[words])[0]), "frame")


def _overflow(m: Machine) -> str:
    m.frame_limit = FITS
    before, failed = m.free_pages_count, False
    try:
        m.alloc_pages(0)
    except KernelBug:
        failed = True
    if not failed:
        return "It gets its page, and the rest is cut short"
    lost = before - m.free_pages_count
    return (
        f"It fails, and {count(lost, 'page')} of half-built slabs are lost"
        if lost
        else "It fails, and all that was built on the way is unmade"
    )


def _free_slabs(_: object) -> str:
    return f"{free_descriptors(churned('as-written'), 'kmem_cache_slab'):,}"


def _yours_question(m: Machine) -> str:
    return (
        f"Your lab's machine, as it is now, of the design {'bounded' if m.bounded else 'as written'}; {stock_of(m)}. A task calls alloc_pages(0), and no interrupt comes. "
        "How many frames deep do the calls nest?"
    )


def _yours_choices(m: Machine) -> Choices:
    slabs, state = free_descriptors(m, "kmem_cache_slab"), m.snapshot()
    right = frames(traced(m))
    m.restore(state)
    whys = {
        1: "That is enough when a page of order 0 is free; else the block must be split.",
        2: "That is enough when the split finds its struct buddys ready.",
        7: "That is bounded, with a struct slab at hand: one round, and then it is carved.",
        12: "Twelve is one round that finds no struct slab; compare what is free here.",
        18: "That is the email's chain, and it needs an interrupt at the right moment.",
        6 * slabs
        + 12: "Six for each free struct slab and twelve more: that is the design as written, with all struct buddys used up and no page of order 0.",
    }
    return {count(n, "frame"): None if n == right else whys[n] for n in sorted({right, *whys})}


PREDICTIONS = (
    Prediction(
        "09.a",
        question="The free lists of orders 0 and 1 are empty; no struct buddy is free, and no struct slab. A task calls alloc_pages(0). How many frames are on its stack at the deepest point?",
        choices={
            "2 frames": "alloc_pages asks for struct buddys; but none is free, so that call needs others in turn.",
            "6 frames": "Six is one cache that grows. kmem_cache_buddy grows here, and its new slab needs a struct slab: a second cache grows.",
            "12 frames": None,
            "Without end": "The recursion stops at __alloc_slab, as in chapter 07.",
        },
        right=_depth,
        machine=scarce,
    ),
    Prediction(
        "09.b",
        question="alloc_pages(0) has found a block of order 6 and asked for struct buddys to split it. As they arrive, an interrupt comes, and its handler allocates just this block. What does alloc_pages do?",
        choices={
            "It splits the block that it found": "Then two owners would have the same pages.",
            "It searches again, and splits another block": None,
            "It fails: None": "There are other free blocks: it only has to look.",
        },
        right=_taken_away,
        machine=roomy,
    ),
    Prediction(
        "09.c",
        question="The state of section 1 again. This time an interrupt comes when the struct slab has been had, and eats all struct slabs and struct buddys that are free. How deep does the task nest now?",
        choices={
            "12 frames": "So far without the interrupt. But the new slab's page has yet to be had, and what its split needs has just been eaten.",
            "18 frames": None,
            "24 frames": "Twelve calls come twice, but not all inside each other: the struct slab had been had, so that call and those in it have returned.",
            "Without end": "The interrupt eats once; then nobody disturbs the task, and the recursion stops.",
        },
        right=_without("nothing"),
    ),
    Prediction(
        "09.d",
        question="The same once more, but the interrupt eats less: only the struct buddys. It leaves the struct slabs alone. How deep does the task nest?",
        choices={
            "12 frames": "So it is when the interrupt leaves the struct buddys alone: then the split finds some.",
            "18 frames": "That was with an interrupt that ate both. What did it change that the struct slabs were gone?",
            "24 frames": "A struct slab at hand saves six frames once; but where does the page for the slab come from that it describes?",
            "384 frames": None,
        },
        right=_without("the interrupt eats struct slabs"),
    ),
    Prediction(
        "09.e",
        question="A fresh machine of 64 MiB. No page of order 0 is free, and no struct buddy; 61 struct slabs are. No interrupt comes. How deep does alloc_pages(0) nest?",
        choices={
            "12 frames": "With no free struct slab it would be 12. Here kmem_cache_slab need not grow, so __alloc_slab is not called yet.",
            "18 frames": "Each free struct slab leads to another round, not just one of them.",
            "366 frames": "61 rounds of six; and then comes the round that finds no struct slab: it has its own six, and six for the growth of kmem_cache_slab.",
            "378 frames": None,
        },
        right=_depth,
        machine=lambda: scarce(slabs=None, below=1),
    ),
    Prediction(
        "09.f",
        question="The state of section 5 on a kernel whose nested allocations fail when the stack of 16 KiB is full. What becomes of alloc_pages(0)?",
        choices={
            "It gets its page, and the rest is cut short": "Each call needs what the call inside it brings: the outermost one can have nothing without it.",
            "It fails, and all that was built on the way is unmade": None,
            "It fails, and 17 pages of half-built slabs are lost": "Each of the 17 rounds gives back what it has got itself, as in chapter 08; and pages are got only on the way back.",
        },
        right=_overflow,
        machine=lambda: scarce(slabs=None, below=1),
    ),
    Prediction(
        "09.g",
        question="The state of section 5 in the bounded design: no page of order 0, no struct buddy, 61 free struct slabs. How deep does alloc_pages(0) nest?",
        choices={
            "7 frames": None,
            "12 frames": "That is when kmem_cache_slab has to grow, too; here struct slabs are at hand.",
            "18 frames": "The page for the new slab is not asked of alloc_pages any more.",
            "378 frames": "The rounds came from alloc_pages inside alloc_slab_page; a carved slab does without.",
        },
        right=_depth,
        machine=lambda: scarce("bounded", slabs=None, below=1),
    ),
    Prediction(
        "09.h",
        question="As written: 61 struct slabs are free on a fresh machine. Somebody allocates 12,000 objects of 2 KiB and frees them all; the caches are shrunk. How many struct slabs are free then?",
        choices={
            "0": "All slabs of the objects are gone, and their struct slabs are free again.",
            "61": "So it would be if the pages that were added for struct slabs had gone again.",
            "1,487": None,
            "1,548": "That is 61 and all 1,487; but the 61 were used up first, and are among them.",
        },
        right=_free_slabs,
    ),
    Prediction("09.i", question=_yours_question, choices=_yours_choices, right=_depth, machine=lambda: scarce(slabs=2)),
)
