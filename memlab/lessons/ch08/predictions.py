"""Predictions of chapter 08, Zones, nodes and GFP, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ...gfp import GFP
from ...labs.machine import zoned_machine
from ...machine import Machine
from ...study.request import walk_zonelist, zone_words
from ..model import Choices, Prediction
from .scene import ANYWHERE, AREA, two_nodes, used_up, warm_machine, zone_of


def _count_zones(m: Machine) -> str:
    return f"{len(m.zones)} zones"


_BITS = {
    "0x020, __GFP_HIGH: may take of the last pages": "0xcc0 has no 0x20 in it: who can wait does not need the last pages.",
    "0x400, __GFP_DIRECT_RECLAIM: may wait": "0x820 has no 0x400 in it: an interrupt handler cannot wait.",
    "0x800, __GFP_KSWAPD_RECLAIM: may wake the daemon that frees memory": None,
}


def _common(_: object) -> str:
    return next(words for words in _BITS if words.startswith(f"{GFP.KERNEL & GFP.ATOMIC:#05x}"))


def _after_normal(m: Machine) -> str:
    while (pfn := m.alloc_pages(0)) is not None and zone_of(m, pfn) == "Normal of node 0":
        pass
    return "Nowhere: None" if pfn is None else zone_of(m, pfn)


def _left(m: Machine) -> str:
    return f"{m.free_pages_count:,} pages"


def _atomic(m: Machine) -> str:
    normal = m.zone_view(m.zones[1])
    before = normal.free_pages
    while m.alloc_pages(0, GFP.ATOMIC) is not None:
        pass
    return f"{before - normal.free_pages} pages"


def _from_highmem(m: Machine) -> str:
    n = 0
    while m.alloc_pages(0, ANYWHERE) is not None:
        n += 1
    return f"{n:,} pages"


def _after_failure(m: Machine) -> str:
    before = m.free_pages_count
    with m.fail("alloc_pages", 3):
        area = m.vmalloc(AREA)
    lost = before - m.free_pages_count
    if area is not None:
        return "An area of two pages"
    return f"None, and {lost} pages are lost" if lost else "None, and as many pages are free as before"


def _who_gives(m: Machine) -> str:
    pfn = m.alloc_pages(2, GFP.ATOMIC, 0)
    return "None: the request fails" if pfn is None else zone_of(m, pfn)


def _who_gives_choices(m: Machine) -> Choices:
    walk, state = walk_zonelist(m, 2, GFP.ATOMIC, 0), m.snapshot()
    right = _who_gives(m)
    m.restore(state)
    said = {zone_words(t.zone): f"It refuses, {t.why.removeprefix('refused: ')}: {t.sum}." for t in walk.tries if not t.taken}
    said |= {zone_words(z): f"It is not asked: {why}." for z, why in walk.left_out}
    texts = [*map(zone_words, m.zones), "None: the request fails"]
    return {text: None if text == right else said.get(text, f"It does not come to that: {right} gives a block.") for text in texts}


PREDICTIONS = (
    Prediction(
        "08.a",
        question="Two nodes of 16 MiB each. The first 2 MiB of all are DMA, the last 8 MiB are HighMem, the rest is Normal. How many zones has the machine?",
        choices={
            "3 zones": "There are three kinds; but a zone belongs to one node, and Normal pages are on both.",
            "4 zones": None,
            "6 zones": "A node has only the zones that it has pages for: the first 2 MiB are all on node 0.",
        },
        right=_count_zones,
        machine=two_nodes,
    ),
    Prediction(
        "08.b",
        question="GFP_KERNEL is 0xcc0 and GFP_ATOMIC is 0x820. Which one bit have they in common?",
        choices=_BITS,
        right=_common,
    ),
    Prediction(
        "08.c",
        question="Single pages are taken on node 0 with GFP_KERNEL, again and again, until Normal of node 0 gives no more. Where does the next page come from?",
        choices={
            "DMA of node 0": None,
            "Normal of node 1": "The nearest node is asked first, with all its zones.",
            "HighMem of node 1": "GFP_KERNEL does not allow HighMem, at any distance.",
            "Nowhere: None": "There is a list of zones to ask, and this was only the first.",
        },
        right=_after_normal,
        machine=two_nodes,
    ),
    Prediction(
        "08.d",
        question="We go on with GFP_KERNEL until the answer is None. How many of the 8,192 pages are free then?",
        choices={
            "0 pages": "Two kinds of pages are not for GFP_KERNEL: those of HighMem, and the last ones of each zone.",
            "168 pages": "So many are kept back in DMA and Normal; and what of HighMem?",
            "2,048 pages": "HighMem has so many, and GFP_KERNEL gets none of them; but the other zones keep some back, too.",
            "2,216 pages": None,
        },
        right=_left,
        machine=lambda: used_up(GFP.KERNEL),
    ),
    Prediction(
        "08.e",
        question="Normal of node 0 has 90 free pages: its min watermark, and GFP_KERNEL gets no more. Now single pages are asked for with GFP_ATOMIC. How many of the 90 do they get?",
        choices={
            "0 pages": "GFP_ATOMIC contains __GFP_HIGH: an interrupt handler cannot wait until somebody frees memory.",
            "45 pages": "Half of them because of __GFP_HIGH; and as GFP_ATOMIC cannot wait, some more.",
            "56 pages": None,
            "90 pages": "The very last ones are for those who free memory: they need some in order to get more.",
        },
        right=_atomic,
        machine=lambda: used_up(GFP.KERNEL),
    ),
    Prediction(
        "08.f",
        question="All 2,048 pages of HighMem are free; DMA and Normal are used up, down to their last pages. We take single pages with GFP_KERNEL|__GFP_HIGHMEM until None. How many do we get?",
        choices={
            "2,048 pages": "HighMem has a min watermark, too; and each split needs something that is not in HighMem.",
            "2,016 pages": "All but the min watermark, if there were nothing else; but each split needs something that is not in HighMem.",
            "52 pages": None,
            "0 pages": "A few descriptors are still at hand, in slabs that lowmem gave earlier.",
        },
        right=_from_highmem,
        machine=lambda: used_up(GFP.KERNEL, GFP.ATOMIC),
    ),
    Prediction(
        "08.g",
        question="vmalloc is asked for an area of four pages. It gets a descriptor, then page after page; at the third page alloc_pages fails. What does vmalloc return, and what is free afterwards?",
        choices={
            "An area of two pages": "The caller wanted four and could not tell; it would write beyond the end.",
            "None, and 2 pages are lost": "A function that fails gives back what it has got itself; nobody else knows of it.",
            "None, and as many pages are free as before": None,
        },
        right=_after_failure,
        machine=warm_machine,
    ),
    Prediction(
        "08.h",
        question="Your lab's machine, as it is now: where does a request for order 2 with GFP_ATOMIC on node 0 get its block?",
        choices=_who_gives_choices,
        right=_who_gives,
        machine=zoned_machine,
    ),
)
