"""The Machine lab: nodes, zones, watermarks and GFP flags -- where a request goes, and why; and what is unmade when a call fails.

Used by notebooks: ``machine_lab("tight")``.  One declaration on the engine of session, action, lab and view.  Imports the core, study, figures
and the engine.  What it says of a request before it is done comes from study.request, which only reads the zones' numbers in RAM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ..figures import Picture
from ..figures.blocks import KINDS, block_of, blocks, kind_of
from ..figures.picture import count, shown
from ..figures.zones import machine_lab as machine_lab_figure
from ..figures.zones import request_flags
from ..gfp import GFP
from ..machine import Machine, Stats
from ..memdesc import MemType
from ..recording import Recording
from ..structs import kmem_cache, slab
from ..study.request import Walk, walk_zonelist, zone_words
from ..trace import TRACE_POINTS
from ..zone import Zone, ZoneType
from .action import Action, CellParam, ChoiceParam, Done, IntParam
from .lab import Lab, Look
from .session import Session, Setup
from .steps import steps
from .view import LabView

SHAPES: Final[dict[str, dict[str, Any]]] = {
    "one": {"memory": "1M", "watermarks": "linux"},
    "nodes": {"memory": "1536K", "nodes": 2, "cpus": 2, "watermarks": "linux"},
    "dma": {"memory": "1536K", "dma": "256K", "watermarks": "linux"},
    "highmem": {"memory": "2M", "dma": "256K", "highmem": "512K", "watermarks": "linux"},
    "tight": {"memory": "512K", "nodes": 2, "cpus": 2, "watermarks": (24, 32, 40)},
}
_GFP_OF: Final = {ZoneType.DMA: GFP.DMA, ZoneType.DMA32: GFP.DMA32, ZoneType.NORMAL: 0, ZoneType.HIGHMEM: GFP.HIGHMEM}
# What can be asked for besides pages, as Python says it: (method, argument).
_OBJECTS: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    "kmalloc(64)": ("kmalloc", (64,)),
    "kmalloc(2048)": ("kmalloc", (2048,)),
    "folio_alloc(0)": ("folio_alloc", (0,)),
    "folio_alloc(2)": ("folio_alloc", (2,)),
    "pgtable_alloc()": ("pgtable_alloc", ()),
    "vmalloc(16384)": ("vmalloc", (16384,)),
}
_MAY_FAIL: Final = _OBJECTS | {"alloc_pages(0)": ("alloc_pages", (0,)), "alloc_pages(3)": ("alloc_pages", (3,))}
_POINTS: Final = (
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
_WITH_GFP: Final = "from memlab import GFP\n"  # code begins with it: the machine may be another lab's
_MARK_EVERY: Final = 8  # pages of a Fill between two looks inside


def machine_lab(machine: Machine | str = "highmem") -> LabView:
    """Open a Machine lab on a machine of your own, or on a fresh one of a shape: "one", "nodes", "dma", "highmem" or "tight" (see zoned_machine).

    Shown when it is the last line of a cell.  Its ``machine`` is the Machine; changes by code are seen after the cell that makes them.
    TypeError or ValueError for a bad argument.
    """
    if isinstance(machine, Machine):
        return LabView(MACHINE_LAB, Session.of(machine))
    setup = MACHINE_LAB.setup(shape=machine)
    return LabView(MACHINE_LAB, Session.of(setup.machine, setup))


def zoned_machine(shape: str = "highmem") -> Machine:
    """Boot a machine of the Machine lab.  ``shape``: what it has; TypeError or ValueError for another.

    "one" node with one zone; "nodes", two of them; "dma", zones DMA and Normal; "highmem", HighMem as well; "tight", two small nodes with high
    watermarks.
    """
    if not isinstance(shape, str):
        raise TypeError(f"machine_lab takes a Machine, or the name of a shape: {', '.join(SHAPES)}; not {shape!r}")
    if shape not in SHAPES:
        raise ValueError(f"shape is one of {', '.join(SHAPES)}, not {shape!r}")
    return Machine(**SHAPES[shape], max_order=6, design="bounded")


def _preset(shape: str = "highmem") -> Setup:
    m = zoned_machine(shape)
    return Setup(m, range(m.nr_pages), f"from memlab.labs import zoned_machine\n\nm = zoned_machine({shape!r})")


# -- requests for pages


def _gfp_code(gfp: int) -> str:
    return " | ".join("GFP." + part.removeprefix("__").removeprefix("GFP_") for part in GFP.show(gfp).split("|"))


def _gfp_named(session: Session, name: str) -> int:
    return next(gfp for gfp in request_flags(session.machine) if GFP.show(gfp) == name)


def _request(session: Session, order: int, gfp: str, node: int) -> Done:
    m, before = session.machine, session.machine.stats
    walk = walk_zonelist(m, order, _gfp_named(session, gfp), node)
    pfn = m.alloc_pages(order, walk.gfp, node)
    asked = f"alloc_pages of order {order} with {gfp} on node {node}"
    if pfn is None:
        return Done(f"{asked} returned None: {_refusals(walk) or walk.end.removeprefix('None: ').rstrip('.')}.")
    z, n = _zone_of(m, pfn), len(walk.tries)
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


def _zone_of(m: Machine, pfn: int) -> Zone:
    return next(z for z in m.zones if z.start <= pfn < z.end)


# -- objects and descriptors' users


def _object(session: Session, what: str, flags: str) -> Done:
    m, gfp = session.machine, _gfp_named(session, flags)
    before, free = m.stats, [m.w[z.free] for z in m.zones]
    name, args = _OBJECTS[what]
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


def _owner(m: Machine, pfn: int) -> list[tuple[str, int]]:
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
    if ci in m._kmalloc_slots:
        free = {obj for head in (s.freelist, *m._cpu_heads(ci)) for obj in m._walk_freelist(ci, head)}
        cache = kmem_cache(m, s.slab_cache)
        first = s.virt + cache.red_left_pad
        yield from (obj for obj in range(first, first + s.objects * cache.size, cache.size) if obj not in free)


def _calls_code(calls: list[tuple[str, int]]) -> str:
    """Return Python that makes the calls, in order: a loop where a method is called several times on end."""
    rows: list[tuple[str, list[str]]] = []
    for name, argument in calls:
        if not rows or rows[-1][0] != name:
            rows.append((name, []))
        rows[-1][1].append(str(argument) if name == "free_pages" else f"{argument:#x}")
    return "\n".join(f"m.{name}({args[0]})" if len(args) == 1 else f"for x in ({', '.join(args)}):\n    m.{name}(x)" for name, args in rows)


def _free(session: Session, cell: str) -> Done:
    m = session.machine
    pfn = _pfn(cell) or 0
    start, kind = block_of(m, pfn).start, KINDS[kind_of(m, pfn)].words
    before, calls = m.w[_zone_of(m, pfn).free], _owner(m, pfn)
    for name, argument in calls:
        getattr(m, name)(argument)
    z = _zone_of(m, pfn)
    gone = m.w[z.free] - before
    what = f"{count(len(calls), 'object')} of the slab" if calls[0][0] == "kfree" else f"the {kind}"
    back = (
        f"{zone_words(z)} has {count(gone, 'page')} more, {m.w[z.free]:,} free"
        if gone > 0
        else f"no page of {zone_words(z)} came free by it"
    )
    return Done(f"Freed {what} at page {start} with {calls[0][0]}: {back}.", f"page-{pfn}")


def _can_free(session: Session, cell: str | None) -> str | None:
    m, pfn = session.machine, _pfn(cell)
    if pfn is None or pfn >= m.nr_pages:
        return f"{cell} is no page of this machine; select one in the page map."
    kind = kind_of(m, pfn)
    if kind == MemType.FREE:
        return f"Page {pfn} is free already; select one that was allocated."
    if not _owner(m, pfn):
        what = "holds no object that kmalloc gave" if kind == MemType.SLAB else f"is none to free here ({KINDS[kind].words})"
        return f"Page {pfn} {what}; select one that was allocated."
    return None


def _everything(m: Machine) -> list[tuple[str, int]]:
    """Return the calls that free all that was allocated: each block, descriptor and object once."""
    return list(
        dict.fromkeys(call for block in blocks(m, range(m.nr_pages)) for call in _owner(m, block.start))
    )  # a vmalloc has many blocks


def _free_all(session: Session) -> Done:
    m = session.machine
    calls, before = _everything(m), m.free_pages_count
    for name, argument in calls:
        getattr(m, name)(argument)
    return Done(f"Freed all with {count(len(calls), 'call')}: {count(m.free_pages_count - before, 'page')} came free; {_levels(m)}.")


def _can_free_all(session: Session, _cell: str | None) -> str | None:
    m = session.machine
    return None if any(_owner(m, block.start) for block in blocks(m, range(m.nr_pages))) else "Nothing is allocated."


# -- filling a zone


def _zone_named(session: Session, name: str) -> Zone:
    return next(z for z in session.machine.zones if zone_words(z) == name)


def _fill_flags(z: Zone) -> int:
    return GFP.KERNEL | _GFP_OF[z.type]


def _fill(session: Session, zone: str) -> Done:
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


def _fill_code(session: Session, zone: str) -> str:
    z = _zone_named(session, zone)
    i, request = session.machine.zones.index(z), f"0, {_gfp_code(_fill_flags(z))}, {z.node}"
    again = f"walk_zonelist(m, {request}).zone == m.zones[{i}] and m.alloc_pages({request}) is not None"
    return f"{_WITH_GFP}from memlab.study.request import walk_zonelist\n\nwhile {again}:\n    pass"


# -- making a call fail


def _fail(session: Session, at: str, nth: int, what: str) -> Done:
    m, (name, args) = session.machine, _MAY_FAIL[what]
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


# -- the picture and its words


def _asked(m: Machine, look: Look) -> tuple[int, int, int]:
    """Return (order, gfp, node) of the request that is drawn: the one selected in the table, else the last one made, else the simplest."""
    kind, *numbers = (look.cell or "").split("-")
    flags = request_flags(m)
    if kind == "ask" and len(numbers) == 3 and all(n.isascii() and n.isdecimal() and len(n) < 4 for n in numbers):
        order, row, node = map(int, numbers)
        if order <= m.max_order and row < len(flags) and node < m.config.nodes:
            return order, flags[row], node
    asked = look.asked
    if asked.keys() >= {"order", "gfp", "node"}:
        return asked["order"], next(gfp for gfp in flags if GFP.show(gfp) == asked["gfp"]), asked["node"]
    return 0, GFP.KERNEL, 0


def _figure(m: Machine, look: Look) -> Picture:
    order, gfp, node = _asked(m, look)
    return machine_lab_figure(m, order, gfp, node, look.cell, look.hexadecimal, look.arena)


def _details(m: Machine, look: Look) -> list[tuple[str, str]]:
    kind, _, rest = (look.cell or "").partition("-")
    pfn = _pfn(look.cell)
    if pfn is not None and pfn < m.nr_pages:
        return _page_details(m, pfn, look)
    zone = next((z for z in m.zones if kind == "zone" and rest == f"{z.node}-{z.name}"), None)
    if zone is not None:
        return _zone_details(m, zone, look)
    walk = walk_zonelist(m, *_asked(m, look))
    if kind == "try" and rest.isascii() and rest.isdecimal() and 0 < int(rest[:4]) <= len(walk.tries):
        t = walk.tries[int(rest[:4]) - 1]
        return [("Zone asked", f"{rest}. {zone_words(t.zone)}"), ("Would stay free", t.sum), ("Verdict", t.why)]
    if kind == "ask":
        asked = f"m.alloc_pages({walk.order}, {_gfp_code(walk.gfp)}, {walk.node})"
        return [("Request", asked), ("Zones asked", f"{len(walk.tries)}"), ("Outcome", walk.end)]
    return [("Selected", "nothing yet: click a page, a zone or a request, or move to one with the arrow keys and press Enter")]


def _page_details(m: Machine, pfn: int, look: Look) -> list[tuple[str, str]]:
    kind, block, address = kind_of(m, pfn), block_of(m, pfn), m.page_address(pfn)
    found = [
        ("Page", f"{pfn} ({pfn:#x}), zone {zone_words(_zone_of(m, pfn))}"),
        ("Address", f"{address:#x}" if address is not None else "none: HIGHMEM pages have no virtual address"),
        ("mem_desc", f"{m.w[m.MM + pfn]:#x}: {KINDS[kind].words}"),
    ]
    if block.order is not None:
        span = f"pages {shown(block.start, look.hexadecimal)} to {shown(block.pages.stop - 1, look.hexadecimal)}"
        found.append(("Block", f"order {block.order}: {count(len(block.pages), 'page')}, {span}"))
        host = (block.buddy - m.B) >> m.PS
        if 0 <= host < m.nr_pages:
            found.append(("Described by", f"struct buddy at {block.buddy:#x}, in page {host} of {zone_words(_zone_of(m, host))}"))
    return found


def _zone_details(m: Machine, z: Zone, look: Look) -> list[tuple[str, str]]:
    view = m.zone_view(z)
    least, low, high = view.watermark
    reserve = [f"{n:,} against {kind.name}" for kind, n in zip(ZoneType, view.lowmem_reserve, strict=True) if n]
    return [
        ("Zone", f"{zone_words(z)}, its struct zone at {view.address:#x}"),
        (
            "Pages",
            f"{shown(z.start, look.hexadecimal)} to {shown(z.end - 1, look.hexadecimal)}, {view.managed_pages:,} managed, {view.free_pages:,} free",
        ),
        ("Watermarks", f"min {least:,}, low {low:,}, high {high:,} pages" if m.config.watermarks is not None else "none on this machine"),
        ("lowmem_reserve", f"{', '.join(reserve) or 'none'} (pages, for requests that could go to a higher zone)"),
    ]


def _pfn(cell: str | None) -> int | None:
    """Return the page that a cell of the page map stands for (a tile's first page); None for any other text."""
    kind, _, digits = (cell or "").partition("-")
    return int(digits) if kind in ("page", "tile") and digits.isascii() and digits.isdecimal() and len(digits) < 12 else None


def _pages_of_order(session: Session, order: int) -> str:
    return f"{order}: {count(1 << order, 'page')}, {(session.machine.page_size << order) // 1024:,} KiB"


def _flag_names(session: Session) -> list[str]:
    return [GFP.show(gfp) for gfp in request_flags(session.machine)]


def _object_flag_names(_session: Session) -> list[str]:
    return [GFP.show(gfp) for gfp in (GFP.KERNEL, GFP.ATOMIC, GFP.NOWAIT)]


MACHINE_LAB: Final = Lab(
    name="machine",
    title="Machine lab",
    preset=_preset,
    actions=(
        Action(
            "request",
            "Request pages",
            run=_request,
            code=lambda session, order, gfp, node: f"{_WITH_GFP}m.alloc_pages({order}, {_gfp_code(_gfp_named(session, gfp))}, {node})",
            params=(
                IntParam("order", "Order", high=lambda session: session.machine.max_order, words=_pages_of_order),
                ChoiceParam("gfp", "GFP flags", _flag_names),
                IntParam(
                    "node", "Node", high=lambda session: session.machine.config.nodes - 1, words=lambda _session, node: f"node {node}"
                ),
            ),
        ),
        Action(
            "object",
            "Request an object",
            run=_object,
            code=lambda session, what, flags: (
                f"{_WITH_GFP}m.{what[:-1]}{', ' * (not what.endswith('()'))}gfp={_gfp_code(_gfp_named(session, flags))})"
            ),
            params=(ChoiceParam("what", "What", tuple(_OBJECTS)), ChoiceParam("flags", "Its GFP flags", _object_flag_names)),
        ),
        Action(
            "fill",
            "Fill a zone",
            run=_fill,
            code=_fill_code,
            params=(ChoiceParam("zone", "Zone", lambda session: [zone_words(z) for z in session.machine.zones]),),
        ),
        Action(
            "free",
            "Free selected",
            run=_free,
            code=lambda session, cell: _calls_code(_owner(session.machine, _pfn(cell) or 0)),
            params=(CellParam(),),
            enabled=_can_free,
        ),
        Action(
            "free_all", "Free all", run=_free_all, code=lambda session: _calls_code(_everything(session.machine)), enabled=_can_free_all
        ),
        Action(
            "fail",
            "Fail the n-th call",
            run=_fail,
            code=lambda _session, at, nth, what: f"with m.fail({at!r}, {nth}):\n    m.{what}",
            params=(
                ChoiceParam("at", "Point", _POINTS),
                IntParam("nth", "n", low=1, high=lambda _session: 9),
                ChoiceParam("what", "Operation", tuple(_MAY_FAIL)),
            ),
        ),
    ),
    figure=_figure,
    details=_details,
    demo=(
        ("request", {"order": 2, "gfp": "GFP_KERNEL", "node": 0}),
        ("fill", {"zone": "Normal of node 0"}),
        ("request", {"order": 0, "gfp": "GFP_KERNEL", "node": 0}),
        ("request", {"order": 0, "gfp": "GFP_KERNEL|__GFP_HIGHMEM", "node": 0}),
        ("fail", {"at": "alloc_pages", "nth": 3, "what": "vmalloc(16384)"}, (23, 24, 26)),
    ),
)
