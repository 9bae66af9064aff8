"""What the actions of the Buddy lab do and say, when they can be done, and what the code of the compound ones calls.

Used by buddy.py, which declares the lab; ``allocated`` and ``storm`` also by the code that the lab shows.  Imports the core, figures' reading
of RAM, recording and the engine's action and session; never widgets.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from ..figures.blocks import KINDS, Block, block_of, blocks, kind_of, kinds_of
from ..figures.picture import CellName, count
from ..machine import Machine, Stats
from ..memdesc import MemType
from ..recording import Recording
from . import buddy_yours
from .action import Done
from .session import Session

_MOST_FRAMES: Final = 64  # of Fill and Free all
_CELLS: Final = ("page", "tile", "list", "block", "blocks")  # what a cell's id begins with; then comes its first page


def pages_of_order(session: Session, order: int) -> str:
    """Return what an order means, for its slider."""
    return f"{order}: {count(1 << order, 'page')}, {bytes_of(session.machine.page_size << order)}"


def allocate(session: Session, order: int) -> Done:
    """Do alloc_pages."""
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


def split(session: Session, cell: str) -> Done:
    """Do split_page with the block that a cell stands for."""
    m, block, before = session.machine, selected_block(session, cell), session.machine.stats
    halves = m.split_page(block.start)
    if halves is None:
        return Done(f"split_page({block.start}) returned None: it needs a descriptor, and there is no memory for one.")
    costs = _costs(d := m.stats - before, took=d.buddies_allocated, words=d.words_split)
    parts = f"two of order {(block.order or 1) - 1}, at pages {halves[0]} and {halves[1]}"
    return Done(f"Split the block at page {block.start} into {parts}; {costs}.", f"page-{block.start}")


def free(session: Session, cell: str) -> Done:
    """Do free_pages with the block that a cell stands for."""
    m, block, before = session.machine, selected_block(session, cell), session.machine.stats
    m.free_pages(block.start)
    d = m.stats - before
    if d.merges:
        order = (block.order or 0) + d.merges
        start = block.start & -(1 << order)
        how = f"merged {_times(d.merges)} into a free block of order {order} at page {start}; {_costs(d, gave=d.buddies_freed, words=d.words_merged)}"
    else:
        how = f"{_why_alone(m, block)}; gave back no descriptor, {_changed(d)}"
    return Done(f"Freed order {block.order} at page {block.start}: {how}.", f"page-{block.start}")


def allocate_bytes(session: Session, size: int) -> Done:
    """Do alloc_pages with the order that so many bytes need."""
    m = session.machine
    order = buddy_yours.order_for(m, size)
    done = allocate(session, order)
    if done.cell is None:
        return done
    waste = (m.page_size << order) - size
    share = min(round(100 * waste / (m.page_size << order)), 99)  # never all of it
    lost = f"{count(waste, 'byte')} of {bytes_of(m.page_size << order)} ({share} %) lost inside the block"
    return done._replace(sentence=f"{count(size, 'byte')} {'needs' if size == 1 else 'need'} order {order}: {lost}. {done.sentence}")


def fill(session: Session, order: int) -> Done:
    """Do alloc_pages until it returns None."""
    m, before, got = session.machine, session.machine.stats, 0
    every = max(1, (m.free_pages_count >> order) // _MOST_FRAMES)
    with Recording(m) as recording:
        while (pfn := m.alloc_pages(order)) is not None:
            got += 1
            if got % every == 0:
                recording.mark(f"Filling: block {got:,}, at page {pfn}.")
    if not got:
        return allocate(session, order)
    costs = _costs(d := m.stats - before, took=d.buddies_allocated, words=d.words_split)
    return Done(f"Filled memory with {count(got, 'block')} of order {order}; {costs}.", None, recording)


def free_all(session: Session) -> Done:
    """Free each allocated block of the lab's pages."""
    m, before = session.machine, session.machine.stats
    starts = allocated(m, session.setup.arena)
    every = max(1, len(starts) // _MOST_FRAMES)
    with Recording(m) as recording:
        for i, pfn in enumerate(starts, 1):
            m.free_pages(pfn)
            if i % every == 0:
                recording.mark(f"Freeing: block {i:,} of {len(starts):,}, at page {pfn}.")
    d = m.stats - before
    costs = f"{count(d.merges, 'merge')}; {_costs(d, gave=d.buddies_freed, words=d.words_merged)}"
    return Done(f"Freed {count(len(starts), 'block')} with {costs}.", None, recording)


def can_free_all(session: Session, _cell: str | None) -> str | None:
    """Return why there is nothing to free, or None."""
    m, arena = session.machine, session.setup.arena
    if MemType.BUDDY in kinds_of(m, arena):
        return None
    return f"No block of pages {arena.start} to {arena.stop - 1} is allocated."


def stormed(session: Session, seed: int, steps: int) -> Done:
    """Do a storm."""
    m, before = session.machine, session.machine.stats
    with Recording(m) as recording:
        took, freed, failed = storm(m, session.setup.arena, seed, steps, recording.mark)
    d = m.stats - before
    what = f"{count(took, 'block')} allocated, {freed:,} freed" + (f", {count(failed, 'request')} refused" if failed else "")
    costs = f"took {count(d.buddies_allocated, 'descriptor')} and gave back {d.buddies_freed:,}"
    words = f"rewrote {count(d.words_split + d.words_merged, 'mem_desc word')}"
    return Done(f"Storm {seed} of {count(steps, 'step')}: {what}; {costs}, {words}, {count(d.merges, 'merge')}.", None, recording)


# -- what the code of compound actions calls


def allocated(m: Machine, pages: range) -> list[int]:
    """Return the first pages of the blocks among ``pages`` that are from alloc_pages, in address order."""
    return [b.start for b in blocks(m, pages) if b.order is not None and kind_of(m, b.start) == MemType.BUDDY and b.start in pages]


def storm(m: Machine, pages: range, seed: int, steps: int, told: Callable[[str], object] = lambda _words: None) -> tuple[int, int, int]:
    """Allocate blocks of random orders, small ones most often, and free random ones of those among ``pages``; the same for the same seed.

    ``steps``: how many allocations and frees.  ``told`` is given a sentence after each.  Returns how many blocks were allocated, how many were
    freed, and how many requests were refused.
    """
    rng, mine = random.Random(seed), allocated(m, pages)  # noqa: S311  # a storm, and no secret
    took = freed = failed = 0
    for i in range(1, steps + 1):
        if mine and rng.random() < 0.45:
            start = mine.pop(int(rng.random() * len(mine)))
            m.free_pages(start)
            freed += 1
            told(f"Storm {seed}, step {i} of {steps}: freed the block at page {start}.")
            continue
        order = min(int(rng.expovariate(0.8)), m.max_order)
        start_or_none = m.alloc_pages(order)
        if start_or_none is None:
            failed += 1
            told(f"Storm {seed}, step {i} of {steps}: alloc_pages({order}) returned None.")
            continue
        took += 1
        if start_or_none in pages:
            mine.append(start_or_none)
        told(f"Storm {seed}, step {i} of {steps}: allocated order {order} at page {start_or_none}.")
    return took, freed, failed


# -- when an action can be done


def can_free(session: Session, cell: str | None) -> str | None:
    """Return why the block that a cell stands for cannot be freed, or None."""
    m, pfn = session.machine, pfn_of(cell)
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


def can_split(session: Session, cell: str | None) -> str | None:
    """Return why the block that a cell stands for cannot be split, or None."""
    reason = can_free(session, cell)
    if reason is None and selected_block(session, cell).order == 0:
        return f"The block at page {pfn_of(cell)} is a single page, which cannot be split."
    return reason


# -- words


def pfn_of(cell: str | None) -> int | None:
    """Return the (first) page that a cell of the picture stands for; None for any other text."""
    kind, numbers = CellName.of(cell)
    return numbers[0] if kind in _CELLS and numbers and (kind == "blocks" or len(numbers) == 1) else None


def selected_block(session: Session, cell: str | None) -> Block:
    """Return the block that a cell stands for."""
    return block_of(session.machine, pfn_of(cell) or 0)


def bytes_of(n: int) -> str:
    """Return a number of bytes in words."""
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
