"""The Buddy lab: a page map on which you allocate, split and free blocks, and see what each step costs.

Used by notebooks: ``buddy_lab()``.  One declaration on the engine of session, action, lab and view.  Imports the core, figures and the engine.

The preset keeps the metadata out of the picture's way.  Its machine has three times the pages of the arena.  Booting takes the first of the two
largest blocks for its own descriptors; what is left outside the second one is then allocated, so that the second block is the arena.
"""

from __future__ import annotations

from ..figures import Picture, free_lists, page_map, stack
from ..figures.blocks import KINDS, Block, block_of, kind_of
from ..figures.picture import count, shown
from ..machine import Machine, Stats
from ..memdesc import MemType
from ..structs import slab
from .action import Action, CellParam, Done, IntParam
from .lab import Lab, Look
from .session import Session, Setup
from .view import LabView

_PAGES = 64


def buddy_lab(machine: Machine | None = None, pages: int = _PAGES) -> LabView:
    """Open a Buddy lab on a machine of your own, or on a fresh one with an arena of ``pages`` aligned free pages (see buddy_machine).

    Shown when it is the last line of a cell.  Its ``machine`` is the Machine; changes by code are seen after the cell that makes them.
    TypeError or ValueError for a bad argument.
    """
    if machine is not None and not isinstance(machine, Machine):
        raise TypeError(f"buddy_lab takes a Machine, or nothing for a fresh one, not {machine!r}")
    if machine is not None:
        return LabView(BUDDY_LAB, Session.of(machine))
    setup = _setup(pages)
    return LabView(BUDDY_LAB, Session.of(setup.machine, setup))


def buddy_machine(pages: int = _PAGES) -> Machine:
    """Boot the machine of the Buddy lab: its last ``pages`` pages are one free block, and free descriptors are at hand.

    ``pages``: a power of two from 16 to 65,536; ValueError or TypeError otherwise.
    """
    if not isinstance(pages, int) or isinstance(pages, bool):
        raise TypeError(f"pages is a whole number, not {pages!r}")
    if not 16 <= pages <= 65536 or pages & (pages - 1):
        raise ValueError(f"pages is a power of two from 16 to 65,536, not {pages}")
    m = Machine(3 * pages * 4096, max_order=pages.bit_length() - 1, watermarks=None, design="bounded")
    for order, blocks in enumerate(m.buddyinfo()[0, "Normal"][:-1]):
        for _ in range(blocks):
            m.alloc_pages(order)
    return m


def _setup(pages: int = _PAGES) -> Setup:
    call = "buddy_machine()" if pages == _PAGES else f"buddy_machine({pages})"
    return Setup(buddy_machine(pages), range(2 * pages, 3 * pages), f"from memlab.labs import buddy_machine\n\nm = {call}")


# -- actions


def _pages_of_order(session: Session, order: int) -> str:
    return f"{order}: {count(1 << order, 'page')}, {_bytes(session.machine.page_size << order)}"


def _allocate(session: Session, order: int) -> Done:
    m, before = session.machine, session.machine.stats
    pfn = m.alloc_pages(order)
    if pfn is None:
        free = [order for counts in m.buddyinfo().values() for order, n in enumerate(counts) if n]
        why = f"the largest free block has order {max(free)}, and order {order} was asked for" if free else "no page is free"
        return Done(f"alloc_pages({order}) returned None: {why}.")
    d = m.stats - before
    if d.splits:
        what = "larger blocks" if d.slabs_allocated else f"a block of order {order + d.splits}"  # with a slab, some splits made room for it
        how = f"split {what} down; {_costs(d, took=d.buddies_allocated, words=d.words_split)}"
    else:
        how = f"a block of that order was free; took no descriptor, {_changed(d)}"
    return Done(f"Allocated order {order} at page {pfn}: {how}.", f"page-{pfn}")


def _split(session: Session, cell: str) -> Done:
    m, block, before = session.machine, _block(session, cell), session.machine.stats
    halves = m.split_page(block.start)
    if halves is None:
        return Done(f"split_page({block.start}) returned None: it needs a descriptor, and there is no memory for one.")
    costs = _costs(d := m.stats - before, took=d.buddies_allocated, words=d.words_split)
    parts = f"two of order {(block.order or 1) - 1}, at pages {halves[0]} and {halves[1]}"
    return Done(f"Split the block at page {block.start} into {parts}; {costs}.", f"page-{block.start}")


def _free(session: Session, cell: str) -> Done:
    m, block, before = session.machine, _block(session, cell), session.machine.stats
    m.free_pages(block.start)
    d = m.stats - before
    if d.merges:
        order = (block.order or 0) + d.merges
        start = block.start & -(1 << order)
        how = f"merged {_times(d.merges)} into a free block of order {order} at page {start}; {_costs(d, gave=d.buddies_freed, words=d.words_merged)}"
    else:
        how = f"{_why_alone(m, block)}; gave back no descriptor, {_changed(d)}"
    return Done(f"Freed order {block.order} at page {block.start}: {how}.", f"page-{block.start}")


def _can_free(session: Session, cell: str | None) -> str | None:
    m, pfn = session.machine, _pfn(cell)
    if pfn is None or pfn >= m.nr_pages:
        return f"{cell} is no page of this machine."
    kind, block = kind_of(m, pfn), block_of(m, pfn)
    if kind == MemType.FREE:
        return f"Page {pfn} is in a free block; select an allocated one (A)."
    if kind != MemType.BUDDY or block.order is None:
        return f"Page {pfn} is not from alloc_pages ({KINDS[kind].words}); select an allocated block (A)."
    if pfn not in session.setup.arena:
        return f"Page {pfn} was set aside before the lab began; the lab works on pages {session.setup.arena.start} to {session.setup.arena.stop - 1}."
    return None


def _can_split(session: Session, cell: str | None) -> str | None:
    reason = _can_free(session, cell)
    if reason is None and _block(session, cell).order == 0:
        return f"The block at page {_pfn(cell)} is a single page, which cannot be split."
    return reason


# -- the picture and its words


def _figure(m: Machine, look: Look) -> Picture:
    pfn = _pfn(look.cell)
    pages = page_map(m, look.arena, pfn, look.hexadecimal)
    return stack(f"{pages.label}, and the free lists", pages, free_lists(m, look.hexadecimal))


def _details(m: Machine, look: Look) -> list[tuple[str, str]]:
    pfn = _pfn(look.cell)
    if pfn is None:
        return [("Selected", "nothing yet: click a page, or move to one with the arrow keys and press Enter")]
    kind, block = kind_of(m, pfn), block_of(m, pfn)
    address = m.page_address(pfn)
    found = [
        ("Page", f"{pfn} ({pfn:#x})"),
        ("Address", f"{address:#x}" if address is not None else "none: HIGHMEM pages have no virtual address"),
        ("mem_desc", f"{m.w[m.MM + pfn]:#x}: {KINDS[kind].words}"),
    ]
    if kind == MemType.NONE and m.mem_map_pfn <= pfn < m.mem_map_pfn + m.mem_map_pages:
        found.append(("Holds", f"the mem_map: one word for each of {count(m.nr_pages, 'page')}"))
    if block.order is not None:
        last, n = block.pages.stop - 1, len(block.pages)
        span = f"page {_n(block.start, look)} alone" if n == 1 else f"pages {_n(block.start, look)} to {_n(last, look)}"
        found.append(("Block", f"order {block.order}: {count(n, 'page')}, {_bytes(n * m.page_size)}; {span}"))
        host = (block.buddy - m.B) >> m.PS
        where = f"in page {_n(host, look)}" if 0 <= host < m.nr_pages else "outside the pages: the one static descriptor of boot"
        found.append(("Described by", f"struct buddy at {block.buddy:#x}, {where}"))
    if kind == MemType.SLAB:
        s = slab(m, m.w[m.MM + pfn] & ~15)
        name = next((name for name, c in m.caches.items() if c.address == s.slab_cache), "no cache that is known")
        found.append(("Slab of", f"{name}, described by the struct slab at {s.address:#x}"))
    return found


def _pfn(cell: str | None) -> int | None:
    """Return the page that a cell of the page map stands for (a tile's first page); None for any other text."""
    kind, _, digits = (cell or "").partition("-")
    return int(digits) if kind in ("page", "tile") and digits.isascii() and digits.isdecimal() and len(digits) < 12 else None


def _block(session: Session, cell: str | None) -> Block:
    return block_of(session.machine, _pfn(cell) or 0)


def _n(pfn: int, look: Look) -> str:
    return shown(pfn, look.hexadecimal)


def _bytes(n: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= size and n % size == 0:
            return f"{n // size:,} {unit}"
    return f"{n:,} bytes"


def _costs(d: Stats, words: int, took: int = 0, gave: int = 0) -> str:
    """Say what a split or merge cost; ``took`` and ``gave`` are descriptors."""
    moved = f"took {count(took, 'descriptor')}" if took else f"gave back {count(gave, 'descriptor')}"
    slabs = f" and built {count(d.slabs_allocated, 'slab')} to hold them" if d.slabs_allocated else ""
    return f"{moved}{slabs}, rewrote {count(words, 'mem_desc word')}"


def _changed(d: Stats) -> str:
    return f"changed the type in {count(d.words_typed, 'mem_desc word')}"


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


def _why_alone(m: Machine, block: Block) -> str:
    order = block.order or 0
    other = block.start ^ (1 << order)
    if m.pcp and order == 0:
        return "it stays on this CPU's own list of free pages"
    if order == m.max_order:
        return "it has the largest order that there is"
    if other >= m.nr_pages:
        return "it has no buddy on this machine"
    if kind_of(m, other) != MemType.FREE:
        return f"no merge, since its buddy at page {other} is in use"
    if block_of(m, other).order != order:
        return f"no merge, since its buddy at page {other} is free only in part"
    return f"no merge, since its buddy at page {other} is in another zone"


BUDDY_LAB = Lab(
    name="buddy",
    title="Buddy lab",
    preset=_setup,
    actions=(
        Action(
            "allocate",
            "Allocate",
            run=_allocate,
            code=lambda _session, order: f"m.alloc_pages({order})",
            params=(IntParam("order", "Order", 0, high=lambda session: session.machine.max_order, words=_pages_of_order),),
        ),
        Action(
            "split",
            "Split",
            run=_split,
            code=lambda session, cell: f"m.split_page({_block(session, cell).start})",
            params=(CellParam(),),
            enabled=_can_split,
        ),
        Action(
            "free",
            "Free",
            run=_free,
            code=lambda session, cell: f"m.free_pages({_block(session, cell).start})",
            params=(CellParam(),),
            enabled=_can_free,
        ),
    ),
    figure=_figure,
    details=_details,
    demo=(
        ("allocate", {"order": 0}),
        ("allocate", {"order": 2}),
        ("split", {"cell": f"page-{2 * _PAGES + 4}"}),
        ("free", {"cell": f"page-{2 * _PAGES}"}),
    ),
)
