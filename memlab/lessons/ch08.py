"""Chapter 08, Zones, nodes and GFP: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, labs and study."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..check_rules import Corruption
from ..config import ZoneType
from ..gfp import GFP, nested
from ..labs import zoned_machine
from ..machine import Machine
from ..page_alloc import _zonelist, watermark_ok
from ..study.request import walk_zonelist, zone_words
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

ANYWHERE = GFP.KERNEL | GFP.HIGHMEM
AREA = 4 * 4096  # bytes of the area that is asked of vmalloc


def two_nodes() -> Machine:
    """Boot the chapter's machine: 32 MiB on two nodes, the first 2 MiB zone DMA, the last 8 MiB HighMem."""
    return Machine("32M", nodes=2, cpus=2, dma="2M", highmem="8M", design="bounded")


def used_up(*flags: int) -> Machine:
    """Boot the chapter's machine, and with each of the GFP ``flags`` in turn take single pages until there are none."""
    m = two_nodes()
    for gfp in flags:
        while m.alloc_pages(0, gfp) is not None:
            pass
    return m


def zone_of(m: Machine, pfn: int) -> str:
    """Return the zone of a page in words, e.g. ``Normal of node 0``."""
    return next(zone_words(z) for z in m.zones if z.start <= pfn < z.end)


def levels(m: Machine) -> str:
    """Return a table of the zones: pages that are free, and the three watermarks."""
    lines = ["zone                free   min   low  high"]
    for z in m.zones:
        view = m.zone_view(z)
        lines.append(f"{zone_words(z):18}{view.free_pages:6,}" + "".join(f"{mark:6,}" for mark in view.watermark))
    return "\n".join(lines)


def nearly_empty() -> Machine:
    """Boot the Machine lab's machine with HighMem, and take single pages as its action Fill a zone does: of HighMem, of Normal, then of DMA."""
    m = zoned_machine("highmem")
    for z, gfp in zip(reversed(m.zones), (ANYWHERE, GFP.KERNEL, GFP.KERNEL | GFP.DMA), strict=True):
        while walk_zonelist(m, 0, gfp, z.node).zone == z and m.alloc_pages(0, gfp, z.node) is not None:
            pass
    return m


def warm_machine() -> Machine:
    """Boot 1 MiB, and have vmalloc's cache build its first slab."""
    m = Machine("1M", design="bounded")
    m.vfree(m.vmalloc(AREA) or 0)
    return m


def lowered(least: int, gfp: int) -> tuple[int, str]:
    """Return the min watermark as it counts for a request, and how it came about."""
    if not gfp & GFP.HIGH:
        return least, f"min {least}"
    half = least - least // 2
    if gfp & GFP.DIRECT_RECLAIM:
        return half, f"min {least} halved to {half}"
    return half - half // 4, f"min {least} halved to {half} and less a quarter of that, {half - half // 4}"


# -- predictions


def _count_zones(m: Machine) -> str:
    return f"{len(m.zones)} zones"


_BITS = (
    ("0x020, __GFP_HIGH: may take of the last pages", "0xcc0 has no 0x20 in it: who can wait does not need the last pages."),
    ("0x400, __GFP_DIRECT_RECLAIM: may wait", "0x820 has no 0x400 in it: an interrupt handler cannot wait."),
    ("0x800, __GFP_KSWAPD_RECLAIM: may wake the daemon that frees memory", None),
)


def _common(_: object) -> str:
    return next(words for words, _ in _BITS if words.startswith(f"{GFP.KERNEL & GFP.ATOMIC:#05x}"))


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


def _who_gives_choices(m: Machine) -> list[tuple[str, str | None]]:
    walk, state = walk_zonelist(m, 2, GFP.ATOMIC, 0), m.snapshot()
    right = _who_gives(m)
    m.restore(state)
    said = {zone_words(t.zone): f"It refuses, {t.why.removeprefix('refused: ')}: {t.sum}." for t in walk.tries if not t.taken}
    said |= {zone_words(z): f"It is not asked: {why}." for z, why in walk.left_out}
    texts = [*map(zone_words, m.zones), "None: the request fails"]
    return [(text, None if text == right else said.get(text, f"It does not come to that: {right} gives a block.")) for text in texts]


PREDICTIONS = (
    Prediction(
        "08.a",
        question="Two nodes of 16 MiB each. The first 2 MiB of all are DMA, the last 8 MiB are HighMem, the rest is Normal. How many zones has the machine?",
        choices=(
            ("3 zones", "There are three kinds; but a zone belongs to one node, and Normal pages are on both."),
            ("4 zones", None),
            ("6 zones", "A node has only the zones that it has pages for: the first 2 MiB are all on node 0."),
        ),
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
        choices=(
            ("DMA of node 0", None),
            ("Normal of node 1", "The nearest node is asked first, with all its zones."),
            ("HighMem of node 1", "GFP_KERNEL does not allow HighMem, at any distance."),
            ("Nowhere: None", "There is a list of zones to ask, and this was only the first."),
        ),
        right=_after_normal,
        machine=two_nodes,
    ),
    Prediction(
        "08.d",
        question="We go on with GFP_KERNEL until the answer is None. How many of the 8,192 pages are free then?",
        choices=(
            ("0 pages", "Two kinds of pages are not for GFP_KERNEL: those of HighMem, and the last ones of each zone."),
            ("168 pages", "So many are kept back in DMA and Normal; and what of HighMem?"),
            ("2,048 pages", "HighMem has so many, and GFP_KERNEL gets none of them; but the other zones keep some back, too."),
            ("2,216 pages", None),
        ),
        right=_left,
        machine=lambda: used_up(GFP.KERNEL),
    ),
    Prediction(
        "08.e",
        question="Normal of node 0 has 90 free pages: its min watermark, and GFP_KERNEL gets no more. Now single pages are asked for with GFP_ATOMIC. How many of the 90 do they get?",
        choices=(
            ("0 pages", "GFP_ATOMIC contains __GFP_HIGH: an interrupt handler cannot wait until somebody frees memory."),
            ("45 pages", "Half of them because of __GFP_HIGH; and as GFP_ATOMIC cannot wait, some more."),
            ("56 pages", None),
            ("90 pages", "The very last ones are for those who free memory: they need some in order to get more."),
        ),
        right=_atomic,
        machine=lambda: used_up(GFP.KERNEL),
    ),
    Prediction(
        "08.f",
        question="All 2,048 pages of HighMem are free; DMA and Normal are used up, down to their last pages. We take single pages with GFP_KERNEL|__GFP_HIGHMEM until None. How many do we get?",
        choices=(
            ("2,048 pages", "HighMem has a min watermark, too; and each split needs something that is not in HighMem."),
            (
                "2,016 pages",
                "All but the min watermark, if there were nothing else; but each split needs something that is not in HighMem.",
            ),
            ("52 pages", None),
            ("0 pages", "A few descriptors are still at hand, in slabs that lowmem gave earlier."),
        ),
        right=_from_highmem,
        machine=lambda: used_up(GFP.KERNEL, GFP.ATOMIC),
    ),
    Prediction(
        "08.g",
        question="vmalloc is asked for an area of four pages. It gets a descriptor, then page after page; at the third page alloc_pages fails. What does vmalloc return, and what is free afterwards?",
        choices=(
            ("An area of two pages", "The caller wanted four and could not tell; it would write beyond the end."),
            ("None, and 2 pages are lost", "A function that fails gives back what it has got itself; nobody else knows of it."),
            ("None, and as many pages are free as before", None),
        ),
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


# -- exercises

# States of the Machine lab: a block of HighMem; the trace's zones; two nodes with their last pages; lowmem used up and HighMem whole.
_DESCRIPTOR = (
    "memlab1.machine.pdnbltf5bzadagcg4f5xtzyomlwf4p7rcoyyunasd422b6wvks6xpddhpbhabe57fvsabg6jcismznu2tv3eiapwmqmxegha5c5ispkeyduwm4uqvhalu7aqphlo"
    "ssxvvwvb7lp7fdfly2cuaoa6hhf7mmjmomn6h26cd5i.e603c38e4689921a115a6129"
)
_TRACE = (
    "memlab1.machine.pdnkwvrkjywsslkqwkvfmkwojaweqvnsklfmqtgpzbg42vnk2visulsjfuufnmukrzlevs6mzfi5fkkwvlfm6a5j6eakv4knzvk4qt2tzdfu6skvgbikvdovyfio"
    "lf27ssnzqq2asgf26i4krlmfuab6muyak.dd9217efe6c1a42e4ada521e"
)
_TIGHT = (
    "memlab1.machine.pdnkwvrkjywsslkqwkvfmkwojaweqvnskivmstgpfbi2vvkrfixesljik2zivdswjlf4zskr2kuvnkwkz4b2t4glf7fe3tcrzbhvhsglj5evkmcqvkg5kinezaik"
    "qkfwcyab3vzeym.c14f4fd7364c3f843b4cdd5d"
)
_LOWMEM_GONE = (
    "memlab1.machine.pdnkwvrkjywsslkqwkvfmkwojaweqvnsklfmqtgpzbg42vnk2visulsjfuufnmukrzlevs6mzfi5fkkwvlfm6a5j6hfs7ssnzri4qt2tzdfu6skvgbikvdovyfio"
    "jyxljbaakftdmjvqcagyf7hq.e7363e398d9b601a684b6193"
)
_FLAGS = {name: bit for name, bit in vars(GFP).items() if isinstance(bit, int) and bit.bit_count() == 1}
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
    singles = [GFP.KERNEL | bit for bit in (GFP.HIGHMEM, GFP.DMA, GFP.DMA32, GFP.MOVABLE, GFP.ZERO, GFP.COMP, GFP.THISNODE)]
    several = [sum(bit for bit in _FLAGS.values() if rng.random() < 0.4) for _ in range(20)]
    for gfp in (*singles, GFP.KERNEL, GFP.ATOMIC, GFP.NOWAIT, *several):
        got, want = answer(gfp), nested(gfp)
        if not isinstance(got, int):
            return Verdict(False, f"for_descriptor({gfp:#x}) returns flags, a whole number, not {got!r}.")
        for name, bit in _FLAGS.items():
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
        entry = _zonelist(m, gfp, None)[0]  # the machine's own rule, asked with the numbers of the case
        m.zone_view(entry.zone).free_pages = free
        want = watermark_ok(m, entry._replace(min=least, reserve=reserve), 1 << order, gfp)
        got = answer(*case)
        if got is not want and got != want:
            left, (mark, how) = free - (1 << order), lowered(least, gfp)
            said = f"watermark_ok({free}, {order}, {least}, {reserve}, {gfp:#x}) gave {got!r}"
            if gfp & GFP.MEMALLOC:
                return Verdict(False, f"{said}: with __GFP_MEMALLOC no watermark counts, and no reserve.")
            enough = (
                "that is too few"
                if left < mark + reserve
                else "as many as must stay is enough"
                if left == mark + reserve
                else "that is enough"
            )
            how += f", and {reserve} in reserve" if reserve else ""
            return Verdict(False, f"{said}: {free} - {1 << order} = {left} would stay, and {mark + reserve} must ({how}); {enough}.")
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


_WATERMARK = (
    "def watermark_ok(free, order, least, reserve, gfp):\n    if gfp & 0x20000:\n        return True\n    mark = least\n    if gfp & 0x20:\n        mark -= mark // 2\n"
    "        if not gfp & 0x400:\n            mark -= {quarter}\n    return {rule}"
)

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
        wrong=(
            ("def for_descriptor(gfp):\n    return gfp & ~0x2", "can be in any lowmem page"),
            ("def for_descriptor(gfp):\n    return gfp ^ 0x24010F", "was not in the request"),
            ("def for_descriptor(gfp):\n    return 0xCC0", "is missing"),
        ),
        explanation=(
            "What is stripped says where and how the caller wants ITS pages. What stays says what the caller may do for them: wait, start disk traffic, take of the last pages."
        ),
        state=_DESCRIPTOR,
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
        wrong=(
            ('def zones_asked():\n    return ["HighMem"]', "31 < low 35"),
            ('def zones_asked():\n    return ["HighMem", "Normal", "DMA"]', "a second one, down to min"),
            ('def zones_asked():\n    return ["HighMem", "Normal", "DMA", "HighMem", "Normal", "DMA"]', "as many as must stay is enough"),
            ('def zones_asked():\n    return ["DMA", "Normal"]', "from the highest zone down"),
        ),
        explanation="36 pages would stay in Normal, and 32 + 4 must. One page less, and DMA would be asked again, and refuse; then the answer would be None.",
        state=_TRACE,
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
        wrong=(
            (_WATERMARK.format(quarter="mark // 4", rule="free - 2**order > mark + reserve"), "as many as must stay is enough"),
            (_WATERMARK.format(quarter="mark // 4", rule="free >= mark + reserve"), "that is too few"),
            (_WATERMARK.format(quarter="least // 4", rule="free - 2**order >= mark + reserve"), "less a quarter of that"),
            ("def watermark_ok(free, order, least, reserve, gfp):\n    return free - 2**order >= least + reserve", "halved to 45"),
        ),
        explanation="Only the min watermark is lowered, never lowmem_reserve: the reserve keeps pages for others, however urgent it is here.",
        state=_TIGHT,
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
        wrong=(
            ("def strand(m):\n    while m.alloc_pages(0, 0xCC2) is not None:\n        pass", "it was pages that were wanting"),
            ("def strand(m):\n    while m.alloc_pages(0, 0xCC0) is not None:\n        pass", "still at hand"),
            (
                "def strand(m):\n    for gfp in (0xCC0, 0xCC2):\n        while m.alloc_pages(0, gfp) is not None:\n            pass",
                "too many descriptors were left over",
            ),
            ("def strand(m):\n    m.zone_view(m.zones[-1]).lowmem_reserve = (0, 0, 0, 500)", "The machine is damaged"),
        ),
        explanation=(
            "Large blocks first: 120 pages are stranded. GFP_ATOMIC, which uses up more of lowmem, strands 74. The email does not speak of this, and on 64-bit machines there is no "
            "HIGHMEM; but it is a price of descriptors that lie apart."
        ),
        state=_LOWMEM_GONE,
    ),
)


# -- drills


def _zone_question(rng: Random) -> Question:
    return (_how_many if rng.random() < 0.5 else _which)(rng)


def _how_many(rng: Random) -> Question:
    least, reserve, gfp = 4 * rng.randrange(4, 25), rng.choice((0, rng.randrange(1, 20))), rng.choice((GFP.KERNEL, GFP.ATOMIC))
    free = least + reserve + rng.randrange(5, 60)
    mark, how = lowered(least, gfp)
    right = str(free - mark - reserve)

    def grade(reply: str) -> Verdict:
        why = f"{how}, and {reserve} in reserve: {mark + reserve} pages must stay, and {free} - {mark + reserve} = {right} can go"
        return Verdict(reply.strip() == right, f"{why[0].upper()}{why[1:]}.")

    text = f"A zone has {free} free pages, min {least}, and a lowmem_reserve of {reserve} against the request. How many single pages can {GFP.show(gfp)} get from it?"
    return Question(text, None, right, grade)


def _which(rng: Random) -> Question:
    order, zones = rng.randrange(0, 4), [(n, n * 5 // 4) for n in (4 * rng.randrange(4, 20), 4 * rng.randrange(4, 20))]
    free = [rng.choice((low, least)) + (1 << order) + rng.randrange(-3, 2) for least, low in zones]
    marks = [
        (name, n, left, zones[n - 1][i])
        for i, name in ((1, "low"), (0, "min"))
        for n, left in enumerate((f - (1 << order) for f in free), 1)
    ]
    taken = next(((name, n, left, mark) for name, n, left, mark in marks if left >= mark), None)
    right = str(taken[1]) if taken else "none"

    def grade(reply: str) -> Verdict:
        if taken:
            why = f"zone {right} is the first that keeps enough, {taken[2]} pages, and {taken[0]} is {taken[3]}"
        else:
            why = "both would go below min, so none gives it"
        if reply.strip().lower() == right:
            return Verdict(True, f"{why[0].upper()}{why[1:]}.")
        return Verdict(False, f"Take {1 << order} off, ask both to keep low, then both to keep min: {why}.")

    said = " and ".join(f"{n}. {f} free, min {least}, low {low}" for n, (f, (least, low)) in enumerate(zip(free, zones, strict=True), 1))
    return Question(
        f"A zonelist of two zones: {said}. Which gives a block of order {order} for GFP_KERNEL: 1, 2 or none?", None, right, grade
    )


DRILLS = (Drill("08.zone", level=2, make=_zone_question),)

CHAPTER = Chapter(
    number="08",
    title="Zones, nodes and GFP",
    notebook="08_zones.ipynb",
    minutes=30,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
