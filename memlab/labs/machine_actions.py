"""What the actions of the Machine lab do and say, when they can be done, and the code that does the same.

Used by machine.py, which declares the lab.  Imports the core, study, figures, steps and the engine's action and session; never widgets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..cache_table import cpu_heads, walk_freelist
from ..config import Zone, ZoneType
from ..figures.blocks import KINDS, block_of, blocks, kind_of
from ..figures.picture import CellName, count
from ..figures.zones import request_flags
from ..gfp import GFP
from ..machine import Machine, Stats
from ..memdesc import MemType
from ..points import TRACE_POINTS
from ..recording import Recording
from ..structs import kmem_cache, slab
from ..study.request import Walk, walk_zonelist, zone_words
from .action import Done
from .session import Session
from .steps import steps

_GFP_OF: Final = {ZoneType.DMA: GFP.DMA, ZoneType.DMA32: GFP.DMA32, ZoneType.NORMAL: 0, ZoneType.HIGHMEM: GFP.HIGHMEM}
# What can be asked for besides pages, as Python says it: (method, argument).
OBJECTS: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    "kmalloc(64)": ("kmalloc", (64,)),
    "kmalloc(2048)": ("kmalloc", (2048,)),
    "folio_alloc(0)": ("folio_alloc", (0,)),
    "folio_alloc(2)": ("folio_alloc", (2,)),
    "pgtable_alloc()": ("pgtable_alloc", ()),
    "vmalloc(16384)": ("vmalloc", (16384,)),
}
MAY_FAIL: Final = OBJECTS | {"alloc_pages(0)": ("alloc_pages", (0,)), "alloc_pages(3)": ("alloc_pages", (3,))}
FAIL_POINTS: Final = (
    "alloc_pages",
    "kmem_cache_alloc",
    "kmem_cache_alloc_bulk",
    "___slab_alloc",
    "new_slab",
    "allocate_slab",
    "alloc_slab_page",
    "__alloc_slab",
)
_PUT: Final = {MemType.FOLIO: "folio_put", MemType.ANONMEM: "anonmem_put", MemType.FILEMEM: "filemem_put", MemType.PGTABLE: "pgtable_put"}
WITH_GFP: Final = "from memlab import GFP\n"  # code begins with it: the machine may be another lab's
_MARK_EVERY: Final = 8  # pages of a Fill between two looks inside


# -- requests for pages


def gfp_code(gfp: int) -> str:
    """Return flags as Python."""
    return " | ".join("GFP." + part.removeprefix("__").removeprefix("GFP_") for part in GFP.show(gfp).split("|"))


def gfp_named(session: Session, name: str) -> int:
    """Return the flags whose names a menu shows."""
    return next(gfp for gfp in request_flags(session.machine) if GFP.show(gfp) == name)


def request(session: Session, order: int, gfp: str, node: int) -> Done:
    """Ask for a block, and say which zones refused and which gave it."""
    m, before = session.machine, session.machine.stats
    walk = walk_zonelist(m, order, gfp_named(session, gfp), node)
    pfn = m.alloc_pages(order, walk.gfp, node)
    asked = f"alloc_pages of order {order} with {gfp} on node {node}"
    if pfn is None:
        return Done(f"{asked} returned None: {_refusals(walk) or walk.end.removeprefix('None: ').rstrip('.')}.")
    z, n = zone_of(m, pfn), len(walk.tries)
    which = "" if n < 2 else f" after {count(n - 1, 'refusal')} ({_refusals(walk)})"
    grew = f"; first {_grown(walk)}" if walk.before else ""
    return Done(f"{asked} gave page {pfn} of {zone_words(z)}{which}{grew}; {_costs(m.stats - before)}.", f"page-{pfn}")


def _refusals(walk: Walk) -> str:
    """Say for each zone why its last try was refused."""
    last = {t.zone: t for t in walk.tries if not t.taken}
    return ", ".join(f"{zone_words(z)}: {t.sum if not t.enough else f'no free block of order {t.order} or more'}" for z, t in last.items())


def _grown(walk: Walk) -> str:
    return " and ".join(words.split(": ", 1)[-1].removesuffix(", and the zones are asked again.") for words in walk.before)


def _costs(d: Stats) -> str:
    """Say what it cost the page allocator."""
    if not d.buddies_allocated:
        return f"took no descriptor, changed the type in {count(d.words_typed, 'mem_desc word')}"
    return f"took {count(d.buddies_allocated, 'descriptor')}, rewrote {count(d.words_split + d.words_typed, 'mem_desc word')}"


def zone_of(m: Machine, pfn: int) -> Zone:
    """Return the zone of a page."""
    return next(z for z in m.zones if z.start <= pfn < z.end)


# -- objects and descriptors' users


def request_object(session: Session, what: str, flags: str) -> Done:
    """Ask for one of OBJECTS, and say from which zone its pages came."""
    m, gfp = session.machine, gfp_named(session, flags)
    before, free = m.stats, [m.w[z.free] for z in m.zones]
    name, args = OBJECTS[what]
    address = getattr(m, name)(*args, gfp)
    if address is None:
        return Done(f"{what} with {flags} returned None, and all that was made for it is unmade: {_levels(m)}.")
    took = [f"{count(n - m.w[z.free], 'page')} of {zone_words(z)}" for n, z in zip(free, m.zones, strict=True) if n > m.w[z.free]]
    slabs = (m.stats - before).slabs_allocated
    how = f"took {' and '.join(took)}" if took else "a free object was at hand, no page was needed"
    built = f", {slabs} of them for {'a new slab' if slabs == 1 else f'{slabs} new slabs'}" if slabs and took else ""
    return Done(f"{what} with {flags} gave {address:#x}: {how}{built}.", f"page-{_page_to_show(m, address)}")


def _page_to_show(m: Machine, address: int) -> int:
    """Return the page of an object; of a descriptor, the first page that it describes."""
    word = next((pfn for pfn in range(m.nr_pages) if m.w[m.MM + pfn] & ~15 == address), None)
    return word if word is not None else (address - m.B) >> m.PS


def _levels(m: Machine) -> str:
    return ", ".join(f"{zone_words(z)} has {count(m.w[z.free], 'page')} free" for z in m.zones)


# -- freeing


def owner(m: Machine, pfn: int) -> list[tuple[str, int]]:
    """Return the calls that free what page ``pfn`` is part of, as (method, argument); none if it is free, or the machine's own."""
    kind, word = kind_of(m, pfn), m.w[m.MM + pfn]
    if kind in (MemType.NONE, MemType.FREE):
        return []
    if kind == MemType.BUDDY:
        block = block_of(m, pfn)
        return [("free_pages", block.start)] if block.order is not None else []
    if kind == MemType.VMALLOC:
        return [("vfree", word & ~15)]
    if kind == MemType.SLAB:
        return [("kfree", address) for address in _kmalloced(m, word & ~15)]
    return [(_PUT[MemType(kind)], word & ~15)] if kind in _PUT else []


def _kmalloced(m: Machine, address: int) -> Iterator[int]:
    """Yield the live objects of the slab at ``address``, if it is kmalloc's."""
    s = slab(m, address)
    ci = (s.slab_cache - m.B) >> 3
    if ci in [c for _, c in m.kmalloc_caches]:
        free = {obj for head in (s.freelist, *cpu_heads(m, ci)) for obj in walk_freelist(m, ci, head)}
        cache = kmem_cache(m, s.slab_cache)
        first = s.virt + cache.red_left_pad
        yield from (obj for obj in range(first, first + s.objects * cache.size, cache.size) if obj not in free)


def calls_code(calls: list[tuple[str, int]]) -> str:
    """Return Python that makes the calls, in order: a loop where a method is called several times on end."""
    rows: list[tuple[str, list[str]]] = []
    for name, argument in calls:
        if not rows or rows[-1][0] != name:
            rows.append((name, []))
        rows[-1][1].append(str(argument) if name == "free_pages" else f"{argument:#x}")
    return "\n".join(f"m.{name}({args[0]})" if len(args) == 1 else f"for x in ({', '.join(args)}):\n    m.{name}(x)" for name, args in rows)


def free(session: Session, cell: str) -> Done:
    """Free what the selected page is part of."""
    m = session.machine
    pfn = pfn_of(cell) or 0
    start, kind = block_of(m, pfn).start, KINDS[kind_of(m, pfn)].words
    before, calls = m.w[zone_of(m, pfn).free], owner(m, pfn)
    for name, argument in calls:
        getattr(m, name)(argument)
    z = zone_of(m, pfn)
    gone = m.w[z.free] - before
    what = f"{count(len(calls), 'object')} of the slab" if calls[0][0] == "kfree" else f"the {kind}"
    back = (
        f"{zone_words(z)} has {count(gone, 'page')} more, {m.w[z.free]:,} free"
        if gone > 0
        else f"no page of {zone_words(z)} came free by it"
    )
    return Done(f"Freed {what} at page {start} with {calls[0][0]}: {back}.", f"page-{pfn}")


def can_free(session: Session, cell: str | None) -> str | None:
    """Return why the selected cell cannot be freed, or None."""
    m, pfn = session.machine, pfn_of(cell)
    if pfn is None or pfn >= m.nr_pages:
        return f"{cell} is no page of this machine; select one in the page map."
    kind = kind_of(m, pfn)
    if kind == MemType.FREE:
        return f"Page {pfn} is free already; select one that was allocated."
    if not owner(m, pfn):
        what = "holds no object that kmalloc gave" if kind == MemType.SLAB else f"is none to free here ({KINDS[kind].words})"
        return f"Page {pfn} {what}; select one that was allocated."
    return None


def everything(m: Machine) -> list[tuple[str, int]]:
    """Return the calls that free all that was allocated: each block, descriptor and object once."""
    return list(
        dict.fromkeys(call for block in blocks(m, range(m.nr_pages)) for call in owner(m, block.start))
    )  # a vmalloc has many blocks


def free_all(session: Session) -> Done:
    """Free all that was allocated."""
    m = session.machine
    calls, before = everything(m), m.free_pages_count
    for name, argument in calls:
        getattr(m, name)(argument)
    return Done(f"Freed all with {count(len(calls), 'call')}: {count(m.free_pages_count - before, 'page')} came free; {_levels(m)}.")


def can_free_all(session: Session, _cell: str | None) -> str | None:
    """Return why there is nothing to free, or None."""
    m = session.machine
    return None if any(owner(m, block.start) for block in blocks(m, range(m.nr_pages))) else "Nothing is allocated."


# -- filling a zone


def _zone_named(session: Session, name: str) -> Zone:
    return next(z for z in session.machine.zones if zone_words(z) == name)


def _fill_flags(z: Zone) -> int:
    return GFP.KERNEL | _GFP_OF[z.type]


def fill(session: Session, zone: str) -> Done:
    """Take single pages from a zone until it refuses one."""
    m, z, n = session.machine, _zone_named(session, zone), 0
    gfp = _fill_flags(z)
    with Recording(m) as inside:
        inside.mark(f"Before: {count(m.w[z.free], 'page')} of {zone} free.")
        while (walk := walk_zonelist(m, 0, gfp, z.node)).zone == z and m.alloc_pages(0, gfp, z.node) is not None:
            n += 1
            if n % _MARK_EVERY == 0:
                inside.mark(f"{count(n, 'single page')} taken, {m.w[z.free]:,} of {zone} free.")
    left = f"{m.w[z.free]:,} of {zone} stay free"
    why = _refusals(walk) or walk.end.removeprefix("None: ").rstrip(".")
    if not n:
        return Done(f"{zone} gives no single page: {why}.")
    then = f"the next would come from {zone_words(walk.zone)}" if walk.zone else "the next would be refused"
    return Done(f"Took {count(n, 'single page')} with {GFP.show(gfp)}: {left}, and {then} ({why}).", f"zone-{z.node}-{z.name}", inside)


def fill_code(session: Session, zone: str) -> str:
    """Return Python that does the same."""
    z = _zone_named(session, zone)
    i, request = session.machine.zones.index(z), f"0, {gfp_code(_fill_flags(z))}, {z.node}"
    again = f"walk_zonelist(m, {request}).zone == m.zones[{i}] and m.alloc_pages({request}) is not None"
    return f"{WITH_GFP}from memlab.study.request import walk_zonelist\n\nwhile {again}:\n    pass"


# -- making a call fail


def fail(session: Session, at: str, nth: int, what: str) -> Done:
    """Make the ``nth`` call of a point fail while one of MAY_FAIL runs, and say what was unmade."""
    m, (name, args) = session.machine, MAY_FAIL[what]
    before = _levels(m)
    with m.trace() as t, m.fail(at, nth) as fault:
        result, inside = steps(m, lambda: getattr(m, name)(*args))
    if not fault.fired:
        n = sum(call.name == at for call in t.calls)
        end = "returned None" if result is None else "succeeded"
        return Done(f"{what} called {at} {_times(n)}, so there was no call number {nth} to fail; it {end}.", None, inside)
    called = [i for i, words in enumerate(inside.marks) if words.startswith(f"{at}(") and "is called" in words]
    inside.marks[called[nth - 1]] += " It is made to fail: it does nothing and returns NULL."
    failed = [i for i, call in enumerate(t.calls) if call.name == at][nth - 1]
    undone = [call.name for call in t.calls[failed + 1 :] if not TRACE_POINTS[call.name]]
    unmade = " and ".join(f"{name} {_times(undone.count(name))}" for name in dict.fromkeys(undone))
    how = f"unmade by {unmade}" if unmade else "nothing had been made yet, so nothing was unmade"
    end = f"returned None: {how}" if result is None else "succeeded all the same, as another way was found"
    now = "each zone has as many free pages as before" if _levels(m) == before else _levels(m)
    return Done(f"Call number {nth} of {at} failed, {t.calls[failed].depth} deep, and {what} {end}; {now}.", None, inside)


def _times(n: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(n, f"{n} times")


# -- the selected cell


def pfn_of(cell: str | None) -> int | None:
    """Return the page that a cell of the page map stands for (a tile's first page); None for any other text."""
    return CellName.of(cell).of_kind("page", "tile")
