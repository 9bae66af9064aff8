"""Exercises of chapter 08, Zones, nodes and GFP, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ...check_rules import Corruption
from ...config import ZoneType
from ...gfp import BITS, GFP, nested
from ...labs.machine import zoned_machine
from ...machine import Machine
from ...page_alloc import watermark_ok, zonelist_of
from ...study.request import walk_zonelist
from ..model import Exercise, Verdict
from .scene import ANYWHERE, lowered, nearly_empty, zone_of

_WHY_NOT = {
    GFP.HIGHMEM: "a descriptor in a page without an address could not be read",
    GFP.DMA: "a descriptor can be in any lowmem page, and DMA pages are precious",
    GFP.DMA32: "a descriptor can be in any lowmem page, and DMA32 pages are precious",
    GFP.MOVABLE: "many words hold the address of a descriptor, so its page does not move",
    GFP.ZERO: "it is the caller's page that is to be zeros; a descriptor is written anyway",
    GFP.COMP: "that is about the caller's block",
    GFP.THISNODE: "a descriptor on another node is better than none",
}


def _check_descriptor(answer: Callable[[int], int]) -> Verdict:
    rng = Random(8)
    singles = [GFP.KERNEL | bit for bit in _WHY_NOT]
    several = [sum(bit for bit in BITS.values() if rng.random() < 0.4) for _ in range(20)]
    for gfp in (*singles, GFP.KERNEL, GFP.ATOMIC, GFP.NOWAIT, *several):
        got, want = answer(gfp), nested(gfp)
        if not isinstance(got, int):
            return Verdict(False, f"for_descriptor({gfp:#x}) returns flags, a whole number, not {got!r}.")
        for name, bit in BITS.items():
            if (got ^ want) & bit:
                case = f"for_descriptor({gfp:#x}) gave {got:#x}: __GFP_{name}, {bit:#x}, "
                if want & bit:
                    return Verdict(
                        False, f"{case}is missing; what the caller may do, wait or take of the last pages, holds for the descriptor too."
                    )
                if gfp & bit:
                    return Verdict(False, f"{case}is still there; {_WHY_NOT[bit]}.")
                return Verdict(False, f"{case}is in it, and was not in the request; to take a bit out is not to turn it over.")
        if got != want:
            return Verdict(False, f"for_descriptor({gfp:#x}) gave {got:#x}, with bits that are no GFP flag; only take flags out.")
    return Verdict(True, "Thirty requests: a descriptor may be anywhere in lowmem, and is asked for under the caller's own rules.")


def _check_trace(answer: Callable[[], list[str]]) -> Verdict:
    tries = walk_zonelist(nearly_empty(), 2, ANYWHERE, 0).tries
    got = answer()
    if not isinstance(got, (list, tuple)) or not all(isinstance(name, str) for name in got):
        return Verdict(False, 'zones_asked() returns a list of names, such as ["Normal", "DMA"].')
    for n, t in enumerate(tries):
        if n == len(got):
            why = (
                "after the first round comes a second one, down to min" if t.second else "it has refused, and the next on the list is asked"
            )
            before = tries[n - 1]
            return Verdict(False, f"You stop at {before.zone.name}; but there {before.sum}: {why}." if n else "At least one zone is asked.")
        if got[n] != t.zone.name:
            way = "from the highest zone down, then the same once more"
            return Verdict(False, f"Zone number {n + 1} to be asked is not {got[n]!r}: the list goes {way}.")
        if t.taken and n + 1 < len(got):
            return Verdict(False, f"{t.zone.name} gives the block, and nobody is asked after it: {t.sum}; as many as must stay is enough.")
    return Verdict(True, f"Five zones asked; the last has just enough: {tries[-1].sum}.")


_CASES = (
    (100, 0, 90, 0, GFP.KERNEL),
    (97, 3, 90, 0, GFP.KERNEL),
    (98, 3, 90, 0, GFP.KERNEL),
    (102, 0, 90, 13, GFP.KERNEL),
    (46, 0, 90, 0, GFP.KERNEL | GFP.HIGH),
    (45, 0, 90, 0, GFP.KERNEL | GFP.HIGH),
    (35, 0, 90, 0, GFP.ATOMIC),
    (34, 0, 90, 0, GFP.ATOMIC),
    (90, 0, 90, 0, GFP.NOWAIT),
    (1, 0, 90, 13, GFP.ATOMIC | GFP.MEMALLOC),
)


def _check_watermark(answer: Callable[[int, int, int, int, int], bool]) -> Verdict:
    rng = Random(8)
    m = Machine("1M", watermarks=(8, 10, 12))
    for case in (*_CASES, *(_random_case(rng) for _ in range(200))):
        free, order, least, reserve, gfp = case
        entry = zonelist_of(m, gfp, None)[0]  # the machine's own rule, asked with the numbers of the case
        m.zone_view(entry.zone).free_pages = free
        want = watermark_ok(m, entry._replace(min=least, reserve=reserve), 1 << order, gfp)
        got = answer(*case)
        if got is not want and got != want:
            left, (mark, how) = free - (1 << order), lowered(least, gfp)
            said = f"watermark_ok({free}, {order}, {least}, {reserve}, {gfp:#x}) gave {got!r}"
            if gfp & GFP.MEMALLOC:
                return Verdict(False, f"{said}: with __GFP_MEMALLOC no watermark counts, and no reserve.")
            must = mark + reserve
            enough = "that is too few" if left < must else "that is enough" if left > must else "as many as must stay is enough"
            how += f", and {reserve} in reserve" if reserve else ""
            return Verdict(False, f"{said}: {free} - {1 << order} = {left} would stay, and {must} must ({how}); {enough}.")
    return Verdict(True, "Ten chosen and 200 random cases, each answered as the machine's own rule does.")


def _random_case(rng: Random) -> tuple[int, int, int, int, int]:
    order, least, reserve = rng.randrange(0, 4), rng.randrange(4, 100), rng.choice((0, 0, rng.randrange(1, 30)))
    gfp = rng.choice((GFP.KERNEL, GFP.ATOMIC, GFP.NOWAIT, GFP.KERNEL | GFP.HIGH))
    return (1 << order) + max(0, lowered(least, gfp)[0] + reserve + rng.randrange(-3, 4)), order, least, reserve, gfp


def _check_strand(answer: Callable[[Machine], object]) -> Verdict:
    m = zoned_machine("highmem")
    high = next(z for z in m.zones if z.type is ZoneType.HIGHMEM)
    answer(m)
    try:
        m.check()
    except Corruption as error:
        return Verdict(False, f"The machine is damaged ({str(error).splitlines()[0].rstrip('.')}); it can be done with alloc_pages alone.")
    free = m.zone_view(high).free_pages
    pfn = m.alloc_pages(0, ANYWHERE)
    if pfn is not None:
        if zone_of(m, pfn).startswith("HighMem"):
            return Verdict(
                False, f"The request was given page {pfn} of HighMem: a descriptor was still at hand, or could be had; {_lowmem(m)}."
            )
        return Verdict(False, f"The request fell back to page {pfn} of {zone_of(m, pfn)}; {_lowmem(m)}.")
    most = m.zone_view(high).managed_pages
    if free <= m.zone_view(high).watermark[0]:
        return Verdict(
            False,
            f"The request fails, but HighMem is down to {free} pages, its min watermark: it was pages that were wanting, not descriptors.",
        )
    if 2 * free <= most:
        return Verdict(
            False,
            f"The request fails with {free} of {most} pages of HighMem free, not more than half: "
            "too many descriptors were left over when lowmem was used up, and HighMem's splits could live on them.",
        )
    return Verdict(True, f"{free} of {most} pages of HighMem are free, and not one of them can be had: for want of 48 bytes in lowmem.")


def _lowmem(m: Machine) -> str:
    free = [f"{z.name} {m.zone_view(z).free_pages}" for z in m.zones if z.type is not ZoneType.HIGHMEM]
    return f"free lowmem pages: {', '.join(free)}"


# The states: a block of HighMem; the trace's zones; two nodes with their last pages; lowmem used up and HighMem whole.
EXERCISES = (
    Exercise(
        "08.1",
        level=1,
        minutes=5,
        title="What a descriptor's request says",
        task=(
            "`for_descriptor(gfp)` returns the flags of the nested request for a descriptor: those of the caller without __GFP_DMA (0x1), __GFP_HIGHMEM (0x2), __GFP_DMA32 (0x4), "
            "__GFP_MOVABLE (0x8), __GFP_ZERO (0x100), __GFP_COMP (0x40000) and __GFP_THISNODE (0x200000)."
        ),
        stub="def for_descriptor(gfp):\n    raise NotImplementedError",
        check=_check_descriptor,
        hints=("Put the seven flags into one number with |.", "Then take them all out at once: & ~ as in the worked example."),
        explanation="What is stripped says where and how the caller wants ITS pages. What stays says what the caller may do for them: wait, start disk traffic, take of the last pages.",
        state="memlab1.machine.pdnbltf5bzadagcg4f5xtzyomlwf4p7rcoyyunasd422b6wvks6xpddhpbhabe57fvsabg6jcismznu2tv3eiapwmqmxegha5c5ispkeyduwm4uqvhalu7aqphlossxvvwvb7lp7fdfly2cuaoa6hhf7mmjmomn6h26cd5i.e603c38e4689921a115a6129",
    ),
    Exercise(
        "08.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "One node; its zones have, as free / min / low / reserve against this request: HighMem 35 / 32 / 35 / 0, Normal 40 / 32 / 40 / 4, DMA 6 / 6 / 7 / 1. "
            "A request for order 2 with GFP_KERNEL|__GFP_HIGHMEM comes. `zones_asked()` returns the names of the zones in the order in which they are asked, the one that gives last."
        ),
        stub="def zones_asked():\n    raise NotImplementedError",
        check=_check_trace,
        hints=(
            "Order 2 is four pages. In the first round a zone must keep low + reserve; write down what would stay.",
            "Nobody gives in the first round. In the second a zone must keep min + reserve; GFP_KERNEL does not lower it.",
        ),
        explanation="36 pages would stay in Normal, and 32 + 4 must. One page less, and DMA would be asked again, and refuse; then the answer would be None.",
        state="memlab1.machine.pdnkwvrkjywsslkqwkvfmkwojaweqvnsklfmqtgpzbg42vnk2visulsjfuufnmukrzlevs6mzfi5fkkwvlfm6a5j6eakv4knzvk4qt2tzdfu6skvgbikvdovyfiolf27ssnzqq2asgf26i4krlmfuab6muyak.dd9217efe6c1a42e4ada521e",
    ),
    Exercise(
        "08.3",
        level=2,
        minutes=12,
        title="Enough left?",
        task=(
            "`watermark_ok(free, order, least, reserve, gfp)` says whether a zone with `free` pages may give a block of `order` in the second round: at least `least` (the min "
            "watermark) and `reserve` must stay. With __GFP_HIGH (0x20) half of min is taken off; without __GFP_DIRECT_RECLAIM (0x400) then a quarter of the rest; both rounded down. "
            "With __GFP_MEMALLOC (0x20000) nothing must stay."
        ),
        stub="def watermark_ok(free, order, least, reserve, gfp):\n    raise NotImplementedError",
        check=_check_watermark,
        hints=(
            "A flag is there if `gfp & 0x20` is not 0. A block of order k has 2**k pages.",
            "mark = least; with __GFP_HIGH: mark -= mark // 2; if it may not wait, either: mark -= mark // 4.",
            "The quarter is only for those who have __GFP_HIGH: GFP_NOWAIT cannot wait, but need not have it either.",
        ),
        explanation="Only the min watermark is lowered, never lowmem_reserve: the reserve keeps pages for others, however urgent it is here.",
        state="memlab1.machine.pdnkwvrkjywsslkqwkvfmkwojaweqvnskivmstgpfbi2vvkrfixesljik2zivdswjlf4zskr2kuvnkwkz4b2t4glf7fe3tcrzbhvhsglj5evkmcqvkg5kinezaikqkfwcyab3vzeym.c14f4fd7364c3f843b4cdd5d",
    ),
    Exercise(
        "08.4",
        level=3,
        minutes=20,
        title="Stranded",
        task=(
            "`strand(m)`: a fresh machine with DMA, Normal and 128 pages of HighMem. With calls of m.alloc_pages(order, gfp) alone, bring it to the point where a request for one page "
            "with GFP_KERNEL|__GFP_HIGHMEM fails, while more than half of HighMem is free."
        ),
        stub="def strand(m):\n    raise NotImplementedError",
        check=_check_strand,
        hints=(
            "As in section 6: first use up lowmem with 0xcc0, then take pages with 0xcc2, both until None. This leaves 52 of the 128 pages free.",
            "What HighMem's splits live on are descriptors left over in slabs when lowmem ends. So use up lowmem in a way that leaves few of them.",
            "64 single pages need 64 descriptors, and so slabs of them; one block of order 6 needs one. m.slabinfo()[0] shows num_objs and active_objs.",
        ),
        explanation=(
            "Large blocks first: 120 pages are stranded. GFP_ATOMIC, which uses up more of lowmem, strands 74. The email does not speak of this, and on 64-bit machines there is no "
            "HIGHMEM; but it is a price of descriptors that lie apart."
        ),
        state="memlab1.machine.pdnkwvrkjywsslkqwkvfmkwojaweqvnsklfmqtgpzbg42vnk2visulsjfuufnmukrzlevs6mzfi5fkkwvlfm6a5j6hfs7ssnzri4qt2tzdfu6skvgbikvdovyfiojyxljbaakftdmjvqcagyf7hq.e7363e398d9b601a684b6193",
    ),
)
