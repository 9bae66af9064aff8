"""The Free-list lab: linked lists of descriptors beside radix trees, given the same requests, until a page is freed that cannot hold a node.

Used by notebooks: ``freelist_lab()``.  One declaration on the engine of session, action, lab and view, for the machine pair of
memlab.study.SideBySide.  Imports the core, study, figures and the engine.

The preset's pages are small, 512 bytes, so that a few requests use up what a page holds: 10 descriptors on one side, 2 nodes of 16 slots on the
other.  All HIGHMEM pages are held from the start, so their trees are empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from ..figures.freelist_lab import freelist_lab as draw
from ..figures.freelist_lab import linked_blocks, linked_home, radix_blocks, radix_entry
from ..figures.picture import CellName, Picture, count, shown
from ..gfp import GFP
from ..machine import Stats
from ..study.radix_freelist import RadixMachine
from ..study.radix_tree import Use
from ..study.side_by_side import Recordings, SideBySide
from .action import Action, CellParam, ChoiceParam, Done, IntParam
from .lab import Lab, Look
from .session import Session, Setup
from .view import LabView

_PAGES: Final = 64
_PAGE_SIZE: Final = 512
_SIZES: Final = (256, 512, 1024, 2048, 4096)
_FROM: Final = {"lowmem": GFP.KERNEL, "HIGHMEM first": GFP.KERNEL | GFP.HIGHMEM}
_SIDES: Final = {"linked": "linked lists", "list": "linked lists", "radix": "radix trees"}


def freelist_lab(machine: SideBySide | None = None, pages: int = _PAGES, page_size: int = _PAGE_SIZE) -> LabView:
    """Open a Free-list lab on a pair of machines of your own, or on a fresh one (see freelist_machine).

    Shown when it is the last line of a cell.  Its ``machine`` is the SideBySide; changes by code are seen after the cell that makes them.
    TypeError or ValueError for a bad argument.
    """
    if machine is not None and not isinstance(machine, SideBySide):
        raise TypeError(f"freelist_lab takes a memlab.study.SideBySide, or nothing for a fresh one, not {machine!r}")
    if machine is not None:
        return LabView(FREELIST_LAB, Session.of(cast("Any", machine)))
    setup = FREELIST_LAB.setup(pages=pages, page_size=page_size)
    return LabView(FREELIST_LAB, Session.of(setup.machine, setup))


def freelist_machine(pages: int = _PAGES, page_size: int = _PAGE_SIZE) -> SideBySide:
    """Boot the machines of the Free-list lab; the last quarter of their pages is HIGHMEM, and each page of it is held.

    ``pages``: of each machine, 64 or 128.  ``page_size``: in bytes, a power of two from 256 to 4096.  ValueError or TypeError otherwise.
    """
    for name, value, values in (("pages", pages, (64, 128)), ("page_size", page_size, _SIZES)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} is a whole number, not {value!r}")
        if value not in values:
            raise ValueError(f"{name} is one of {', '.join(map(str, values))}, not {value}")
    high = pages // 4
    m = SideBySide(pages * page_size, page_size, min(high.bit_length() - 1, page_size // 48 - 1), high * page_size)
    for _ in range(high):
        m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM)
    return m


def _setup(pages: int = _PAGES, page_size: int = _PAGE_SIZE) -> Setup:
    m = freelist_machine(pages, page_size)
    call = "freelist_machine()" if (pages, page_size) == (_PAGES, _PAGE_SIZE) else f"freelist_machine({pages}, {page_size})"
    code = f"from memlab import GFP\nfrom memlab.labs import freelist_machine\n\nm = {call}"
    return Setup(cast("Any", m), range(m.nr_pages), code)


# -- actions


def _allocate(session: Session, order: int, zone: str) -> Done:
    m = _machine(session)
    with _watched(m, within=True) as (r, linked, radix):
        number = m.alloc_pages(order, _FROM[zone])
        left, right = _linked_cost(m.linked.stats - linked), _radix_cost(m.radix.stats - radix)
    if number is None:
        return Done(f"Neither the linked lists nor the radix trees have a block of order {order} for this request.")
    pair = m.held[number]
    linked_words = "linked lists had none" if pair.linked is None else f"linked lists gave page {pair.linked}, {left}"
    radix_words = "radix trees had none" if pair.radix is None else f"radix trees gave page {pair.radix}, {right}"
    return Done(f"Allocated block {number} of order {order}: {linked_words}; {radix_words}.", _cell(m, number), cast("Any", r))


def _free(session: Session, cell: str) -> Done:
    m = _machine(session)
    return _freed(m, cast("int", _number(m, cell)))


def _free_highmem(session: Session) -> Done:
    m = _machine(session)
    return _freed(m, _in_highmem(m)[0])


def _freed(m: SideBySide, number: int) -> Done:
    pair, order, cell = m.held[number], _order(m, number), _cell(m, number)
    with _watched(m, within=True) as (r, linked, radix):
        m.free_pages(number)
        left, d = _linked_cost(m.linked.stats - linked), m.radix.stats - radix
    sides = [] if pair.linked is None else [f"linked lists took back page {pair.linked}, {left}"]
    if pair.radix is not None:
        sides.append(_radix_freed(m.radix, pair.radix, order, d))
    return Done(f"Freed block {number} of order {order}: {'; '.join(sides)}.", cell, cast("Any", r))


def _radix_freed(m: RadixMachine, pfn: int, order: int, d: Stats) -> str:
    """Say what became of a block that the radix trees took back, and where nodes came from."""
    last = pfn + (1 << order) - 1
    if m.block(pfn).use == Use.PENDING:
        why = f"no node is left, page {pfn} has no virtual address to hold one, and no lowmem page is free"
        return f"radix trees could not take page {pfn}, which stays pending: {why}"
    if d.pages_allocated_while_freeing and pfn >= m.highmem_pfn:
        pages = count(d.pages_allocated_while_freeing, "lowmem page")
        how = f"radix trees had to allocate {pages} for nodes in order to free page {pfn}"
    elif m.block(last).use == Use.NODES:
        rest = " and the rest of the block was entered" if order else " and is in no tree"
        how = f"radix trees had too few nodes, so page {last} itself was cut into {count(m.nodes_per_page, 'node')}{rest}"
    else:
        how = f"radix trees took back page {pfn}"
    settled = f", then entered {count(d.blocks_settled, 'pending block')}" if d.blocks_settled else ""
    return f"{how}, {_radix_cost(d)}{settled}"


def _fill(session: Session) -> Done:
    m = _machine(session)
    new = []
    with _watched(m) as (r, linked, radix):
        r.mark("Before the first request.")
        while (number := m.alloc_pages(0, _FROM["HIGHMEM first"])) is not None:
            new.append(m.held[number])
            r.mark(f"Block {number}: {_where(m, number)}.")
        left, right = _linked_cost(m.linked.stats - linked), _radix_cost(m.radix.stats - radix)
    gave = [count(sum(pair[side] is not None for pair in new), "page") for side in (0, 1)]
    return Done(
        f"Filled with single pages: linked lists gave {gave[0]}, {left}; radix trees gave {gave[1]}, {right}.", None, cast("Any", r)
    )


def _free_all(session: Session) -> Done:
    m = _machine(session)
    numbers = list(m.held)
    with _watched(m) as (r, linked, radix):
        r.mark("Before the first page is freed.")
        for number in numbers:
            where = _where(m, number)
            m.free_pages(number)
            r.mark(f"Block {number} is freed: {where}.")
        dl, dr = m.linked.stats - linked, m.radix.stats - radix
    left = f"linked lists have {count(m.linked.free_pages_count, 'free page')}, {_linked_cost(dl)}"
    cut = f"cut {count(dr.pages_consumed, 'freed page')} into nodes and allocated {dr.pages_allocated_while_freeing} in order to free"
    right = f"radix trees have {count(m.radix.free_pages_count, 'free page')}, {cut}, {_radix_cost(dr)}"
    return Done(f"Freed {count(len(numbers), 'block')}: {left}; {right}.", None, cast("Any", r))


def _can_free(session: Session, cell: str | None) -> str | None:
    m, (side, pfn) = _machine(session), _place(cell)
    if side is None or pfn >= m.nr_pages:
        return f"{cell} is no page of these machines."
    if _number(m, cell) is not None:
        return None
    drawn = radix_blocks(m.radix) if side == "radix" else linked_blocks(m)
    what = next(b.key for b in drawn if b.start <= pfn < b.start + (1 << b.order))
    reason = "allocated by code, and not held by this lab" if what.letter == "A" else what.meaning
    return f"Page {pfn} of the {_SIDES[side]} is not a block of this lab ({reason}); select an allocated block (A)."


def _can_free_highmem(session: Session, _cell: str | None) -> str | None:
    return None if _in_highmem(_machine(session)) else 'No HIGHMEM page is held; allocate one from "HIGHMEM first".'


def _can_free_all(session: Session, _cell: str | None) -> str | None:
    return None if _machine(session).held else "No block is held: there is nothing to free."


# -- the picture and its words


def _figure(m: Any, look: Look) -> Picture:
    side, pfn = _place(look.cell)
    number = _number(m, look.cell)
    if number is not None:
        return draw(m, m.held[number], look.hexadecimal)
    return draw(m, (None, pfn) if side == "radix" else (pfn if side else None, None), look.hexadecimal)


def _details(m: Any, look: Look) -> list[tuple[str, str]]:
    (side, pfn), number = _place(look.cell), _number(m, look.cell)
    if side is None or pfn >= m.nr_pages:
        return [("Selected", "nothing yet: click a page, or move to one with the arrow keys and press Enter")]
    found = [("Page", f"{shown(pfn, look.hexadecimal)} of the {_SIDES[side]}")]
    if number is not None:
        found.append(("Block", f"{number}, order {_order(m, number)}: {_where(m, number, look)}"))
    address = m.linked.page_address(pfn)
    found.append(("Address", f"{address:#x}" if address is not None else "none: HIGHMEM pages have no virtual address"))
    return found + (_radix_details(m.radix, pfn, look) if side == "radix" else _linked_details(m, pfn, look))


def _linked_details(m: SideBySide, pfn: int, look: Look) -> list[tuple[str, str]]:
    word = m.linked.w[m.linked.MM + pfn]
    found = [("mem_desc", f"{word:#x}")]
    home = linked_home(m, pfn)
    if home is not None:
        found.append(("Described", f"by a descriptor in page {shown(home, look.hexadecimal)}, had when memory was allocated"))
    elif word:
        found.append(("Described", "by the one static descriptor of boot"))
    return found


def _radix_details(m: RadixMachine, pfn: int, look: Look) -> list[tuple[str, str]]:
    block = m.block(pfn)
    view = m.page(pfn)
    found = [("struct page", f"flags {view.flags:#x}, private {view.private:#x}")]
    if block.use == Use.NODES:
        nodes = {n.word: (z, order, n) for z in m.zones for order in range(m.max_order + 1) for n in m.tree_nodes(z, order)}
        for i in range(m.nodes_per_page):
            at = (pfn << m.WS) + i * m.xa_node.sizeof // 8
            words = "not used"
            if at in nodes:
                z, order, n = nodes[at]
                words = f"level {n.level} of the tree of order {order}, zone {z.name}: {count(sum(1 for s in m.slots(at) if m.w[s]), 'slot')} used"
            found.append((f"Node {i + 1}", words))
    elif block.use == Use.FREE:
        slot = radix_entry(m, pfn)
        if slot is not None:
            where = f"page {shown(slot >> m.WS, look.hexadecimal)}, at {m.B + 8 * slot:#x}"
            found.append(("Entry", f"in the tree of order {block.order}: a slot in {where}"))
    elif block.use == Use.PENDING:
        found.append(("Waits", f"for {count(m.levels[block.order], 'node')} at most; private links it to the next that waits"))
    return found


def _machine(session: Session) -> SideBySide:
    return cast("SideBySide", session.machine)


def _place(cell: str | None) -> tuple[str | None, int]:
    """Return side and page of a cell of the picture; (None, 0) for any other text."""
    name = CellName.of(cell)
    pfn = name.of_kind(*_SIDES)
    return (None, 0) if pfn is None else (name.kind, pfn)


def _number(m: SideBySide, cell: str | None) -> int | None:
    """Return the number of the block that is held and that a cell is a page of, or None."""
    side, pfn = _place(cell)
    for number, pair in m.held.items() if side else ():
        start = pair.radix if side == "radix" else pair.linked
        if start is not None and start <= pfn < start + (1 << _order(m, number)):
            return number
    return None


def _order(m: SideBySide, number: int) -> int:
    pair = m.held[number]
    if pair.radix is not None:
        return m.radix.block(pair.radix).order
    return int(m.linked.buddy(m.linked.mem_desc(cast("int", pair.linked)).address).order)


def _in_highmem(m: SideBySide) -> list[int]:
    """Return the numbers of the blocks that lie in HIGHMEM with the radix trees, or with both."""
    return sorted(n for n, pair in m.held.items() if (pair.radix if pair.radix is not None else pair.linked or 0) >= m.highmem_pfn)


def _cell(m: SideBySide, number: int) -> str:
    pair = m.held[number]
    return f"radix-{pair.radix}" if pair.radix is not None else f"linked-{pair.linked}"


def _where(m: SideBySide, number: int, look: Look | None = None) -> str:
    pages = ["none" if pfn is None else f"page {shown(pfn, look is not None and look.hexadecimal)}" for pfn in m.held[number]]
    return f"{pages[0]} of the linked lists, {pages[1]} of the radix trees"


@contextmanager
def _watched(m: SideBySide, within: bool = False) -> Iterator[tuple[Recordings, Stats, Stats]]:
    """Record both machines, and give their counters as they were before."""
    with m.record(within) as r:
        if within:
            r.mark("Before.")
        yield r, m.linked.stats, m.radix.stats


def _linked_cost(d: Stats) -> str:
    """Say what a request cost the linked lists."""
    parts = [f"merged {count(d.merges, 'time')}"] if d.merges else []
    if d.buddies_allocated:
        slabs = f" and built {count(d.slabs_allocated, 'slab')} for them" if d.slabs_allocated else ""
        parts.append(f"took {count(d.buddies_allocated, 'descriptor')}{slabs}")
    if d.buddies_freed:
        slabs = f" and {count(d.slabs_freed, 'slab')}" if d.slabs_freed else ""
        parts.append(f"gave back {count(d.buddies_freed, 'descriptor')}{slabs}")
    parts.append(f"rewrote {count(d.words_typed + d.words_split + d.words_merged + d.words_moved, 'mem_desc word')}")
    return ", ".join(parts if len(parts) > 1 else ["took no descriptor", *parts])


def _radix_cost(d: Stats) -> str:
    """Say what a request cost the radix trees."""
    parts = [f"merged {count(d.merges, 'time')}"] if d.merges else []
    parts += [f"took {count(d.nodes_allocated, 'node')}"] if d.nodes_allocated else []
    parts += [f"gave back {count(d.nodes_freed, 'node')}"] if d.nodes_freed else []
    parts += [] if d.nodes_allocated or d.nodes_freed else ["took no node"]
    if d.pages_returned:
        parts.append(f"made {count(d.pages_returned, 'page')} of unused nodes free")
    parts.append(f"wrote {count(d.words_written, 'word')}")
    return ", ".join(parts)


FREELIST_LAB = Lab(
    name="freelist",
    title="Free-list lab",
    preset=_setup,
    actions=(
        Action(
            "allocate",
            "Allocate",
            run=_allocate,
            code=lambda _session, order, zone: (
                f"m.alloc_pages({order})" if zone == "lowmem" else f"m.alloc_pages({order}, GFP.KERNEL | GFP.HIGHMEM)"
            ),
            params=(
                IntParam(
                    "order",
                    "Order",
                    0,
                    high=lambda session: _machine(session).max_order,
                    words=lambda _s, k: f"{k}: {count(1 << k, 'page')}",
                ),
                ChoiceParam("zone", "From", tuple(_FROM)),
            ),
        ),
        Action(
            "free",
            "Free selected",
            run=_free,
            code=lambda session, cell: f"m.free_pages({_number(_machine(session), cell)})",
            params=(CellParam(),),
            enabled=_can_free,
        ),
        Action(
            "free_highmem",
            "Free a HIGHMEM page",
            run=_free_highmem,
            code=lambda session: f"m.free_pages({_in_highmem(_machine(session))[0]})",
            enabled=_can_free_highmem,
        ),
        Action(
            "fill",
            "Fill",
            run=_fill,
            code=lambda _session: "while m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM) is not None:\n    pass",
        ),
        Action(
            "free_all",
            "Free all",
            run=_free_all,
            code=lambda _session: "for number in list(m.held):\n    m.free_pages(number)",
            enabled=_can_free_all,
        ),
    ),
    figure=_figure,
    details=_details,
    demo=(
        ("free_highmem", {}),
        ("fill", {}),
        ("free_highmem", {}),
        ("free", {"cell": "radix-20"}),
        ("free", {"cell": "radix-21"}),
    ),
)
