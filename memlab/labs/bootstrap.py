"""The Bootstrap lab: a page that describes itself, and a page that describes its own descriptor, written word by word before your eyes.

Used by notebooks: ``bootstrap_lab()``.  One declaration on the engine of session, action, lab and view, with steps.py for what happens inside
a request.  Imports the core, figures and the engine.

The preset uses everything up: no struct slab, no struct buddy and no page is free, so that a request has to build.  The last 24 pages, the arena,
are blocks that were set aside by order; freeing one of them is choosing what __alloc_slab will find.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..figures.blocks import KINDS, block_of, blocks, kind_of
from ..figures.bootstrap import bootstrap_lab as draw
from ..figures.bootstrap import built_page, name_of, stage_of, value_of
from ..figures.picture import CellName, Picture, count, shown
from ..figures.slab_state import live_objects
from ..machine import Machine
from ..memdesc import MemType
from ..recording import Change
from ..structs import HELD
from .action import Action, Done, IntParam
from .lab import Lab, Look
from .session import Session, Setup
from .steps import steps
from .view import LabView

_MOST_ORDER: Final = 3
_MOST_WORDS: Final = 14  # that the details list one by one
_ARENA: Final = range(40, 64)
_SPLITS: Final = ((40, 44, 46), (48, 56, 60, 62))  # first pages of the blocks that are halved to make the arena's blocks
_DESIGNS: Final = ("as-written", "bounded")
_CACHES: Final = ("kmem_cache_buddy", "kmem_cache_slab")


def bootstrap_lab(machine: Machine | None = None, order: int = 0, design: str = "as-written") -> LabView:
    """Open a Bootstrap lab on a machine of your own, or on a fresh one that has one free block, of that order (see bootstrap_machine).

    Shown when it is the last line of a cell.  Its ``machine`` is the Machine; changes by code are seen after the cell that makes them.
    TypeError or ValueError for a bad argument.
    """
    if machine is not None and not isinstance(machine, Machine):
        raise TypeError(f"bootstrap_lab takes a Machine, or nothing for a fresh one, not {machine!r}")
    if machine is not None:
        return LabView(BOOTSTRAP_LAB, Session.of(machine))
    setup = BOOTSTRAP_LAB.setup(order=order, design=design)
    return LabView(BOOTSTRAP_LAB, Session.of(setup.machine, setup))


def bootstrap_machine(order: int = 0, design: str = "as-written") -> Machine:
    """Boot the machine of the Bootstrap lab: 64 pages of 4096 bytes, all in use but one block; no descriptor is free.

    ``order``: of the free block, 0 to 3.  ``design``: "as-written", or "bounded", where kmem_cache_buddy grows by carving.
    ValueError or TypeError for a bad argument.
    """
    if not isinstance(order, int) or isinstance(order, bool):
        raise TypeError(f"order is a whole number, not {order!r}")
    if not 0 <= order <= _MOST_ORDER:
        raise ValueError(f"order is a whole number from 0 to {_MOST_ORDER}, not {order}")
    if design not in _DESIGNS:
        raise ValueError(f"design is one of {_DESIGNS}, not {design!r}")
    m = Machine("256K", max_order=5, watermarks=None, design=design)
    for k, n in enumerate(m.buddyinfo()[0, "Normal"]):
        for _ in range(n):
            m.alloc_pages(k)
    for pfns in _SPLITS:
        for pfn in pfns:
            m.split_page(pfn)
    use_up_descriptors(m)
    m.free_pages(_set_aside(m, order)[0])
    return m


def use_up_descriptors(m: Machine) -> int:
    """Take all free struct buddies and struct slabs, and hold them.  Returns how many.  The next request for one has to build a slab."""
    taken = 0
    for name in _CACHES:
        cache, n = m.caches[name], _free_objects(m, name)
        taken += len(cache.alloc_bulk(n) or ())
    return taken


def give_back_descriptors(m: Machine) -> int:
    """Free all struct buddies and struct slabs that somebody holds without using them, and shrink all caches.  Returns how many were held."""
    held = 0
    for name in _CACHES:
        objects = _held(m, name)
        m.caches[name].free_bulk(objects)
        held += len(objects)
    m.shrink()
    return held


def _preset(order: int = 0, design: str = "as-written") -> Setup:
    given = [] if order == 0 and design == "as-written" else [str(order)] if design == "as-written" else [str(order), f'"{design}"']
    code = f"from memlab.labs import bootstrap_machine\n\nm = bootstrap_machine({', '.join(given)})"
    return Setup(bootstrap_machine(order, design), _ARENA, code)


# -- actions


def _free_block(session: Session, order: int) -> Done:
    m = session.machine
    pfn, before = _set_aside(m, order, session.setup.arena)[0], m.stats
    m.free_pages(pfn)
    d = m.stats - before
    merged = (
        f"; it merged with its buddy, which gave back {count(d.buddies_freed, 'descriptor')}"
        if d.merges
        else "; nothing was allocated for that"
    )
    return Done(f"Freed {_pages(pfn, order)}, order {order}{merged}.", f"page-{block_of(m, pfn).start}")


def _take_block(session: Session, order: int) -> Done:
    m, before = session.machine, session.machine.stats
    pfn = m.alloc_pages(order)
    if pfn is None:
        return Done(f"alloc_pages({order}) returned None: the zones that may give a block of that order have none.")
    how = "a larger block was split for it" if (m.stats - before).splits else "it had just that order, so no descriptor was needed"
    return Done(f"Took {_pages(pfn, order)}, order {order}: {how}.")


def _ask_struct_slab(session: Session) -> Done:
    m = session.machine
    return _asked(m, "a struct slab", m.caches["kmem_cache_slab"].alloc, lambda address: f"the one at {_place(m, address)}")


def _ask_page(session: Session) -> Done:
    m = session.machine
    return _asked(m, "a page", lambda: m.alloc_pages(0), lambda pfn: f"page {pfn}")


def _asked(m: Machine, what: str, ask: Callable[[], int | None], named: Callable[[int], str]) -> Done:
    before = m.stats
    got, recording = steps(m, ask)
    slabs = (m.stats - before).slabs_allocated
    words = {c.address for k in range(len(recording)) for c in recording.changes(k) if not _is_counter(m, c)}
    built = f"built {count(slabs, 'slab')}" if slabs else "no slab had to be built"
    answer = f"got {named(got)}" if got is not None else "got NULL, for there is no memory for it"
    page = built_page(m, recording)
    sentence = f"Asked for {what} and {answer}: {built}, wrote {count(len(words), 'word')} in {count(len(recording) - 1, 'step')}."
    return Done(sentence, None if page is None else f"page-{page}", recording)


def _use_up(session: Session) -> Done:
    taken = use_up_descriptors(session.machine)
    return Done(f"Took all {count(taken, 'free descriptor')} and held on to them: the next request for one has to build a slab.")


def _give_back(session: Session) -> Done:
    m = session.machine
    before = m.free_pages_count
    held = give_back_descriptors(m)
    came = m.free_pages_count - before
    stay = [p for p in session.setup.arena if kind_of(m, p) == MemType.SLAB]
    if not stay:
        left = "no page of the arena is a slab any more"
    elif m.bounded:
        left = f"{_listed(stay)} of the arena still hold descriptors in use"
    else:
        left = f"{_listed(stay)} of the arena stay slabs: a page cannot go while it holds a descriptor that is in use, if only its own"
    return Done(f"Gave back {count(held, 'descriptor')} and shrank all caches; {count(came, 'page')} became free; {left}.")


def _nothing_to_use_up(session: Session, _cell: str | None) -> str | None:
    return (
        None
        if any(_free_objects(session.machine, name) for name in _CACHES)
        else "No struct buddy and no struct slab is free: the next request has to build."
    )


def _nothing_held(session: Session, _cell: str | None) -> str | None:
    return None if any(_held(session.machine, name) for name in _CACHES) else "Nobody holds a descriptor that describes nothing."


def _nothing_aside(session: Session, _cell: str | None) -> str | None:
    return None if _orders_aside(session) else "No block is set aside any more; Undo or Reset brings some back."


def _nothing_free(session: Session, _cell: str | None) -> str | None:
    return None if _orders_free(session) else "No block is free; free one first."


def _orders_aside(session: Session) -> list[int]:
    return [order for order in range(session.machine.max_order + 1) if _set_aside(session.machine, order, session.setup.arena)]


def _orders_free(session: Session) -> list[int]:
    free = session.machine.buddyinfo().values()
    return [order for order in range(session.machine.max_order + 1) if any(counts[order] for counts in free)]


def _order_words(_session: Session, order: int) -> str:
    return f"{order}: {count(1 << order, 'page')}"


# -- what is in RAM


def _set_aside(m: Machine, order: int, arena: range = _ARENA) -> list[int]:
    """Return the first pages of the allocated blocks of an order."""
    return [b.start for b in blocks(m, arena) if b.order == order and b.start in arena and kind_of(m, b.start) == MemType.BUDDY]


def _free_objects(m: Machine, name: str) -> int:
    row = next(row for row in m.slabinfo() if row["name"] == name)
    return int(row["num_objs"]) - int(row["active_objs"])


def _held(m: Machine, name: str) -> list[int]:
    """Return the descriptors that somebody holds and that describe nothing: those that may be freed."""
    found = [(address, (address - m.B) >> 3) for address in live_objects(m, name)]
    return [a for a, i in found if m.w[i] & HELD and not any(m.w[i + 1 : i + m.caches[name].object_size // 8])]


def _is_counter(m: Machine, change: Change) -> bool:
    return m.B + 8 * m.stat <= change.address < m.V


# -- the picture and its words


def _figure(m: Machine, look: Look) -> Picture:
    return draw(m, _pfn(look.cell), look.arena, look.hexadecimal, look.recording, look.frame, look.cell)


def _details(m: Machine, look: Look) -> list[tuple[str, str]]:
    stage = stage_of(m, _pfn(look.cell), look.recording)
    found = []
    if look.recording is not None and look.frame is not None:
        changes = [c for c in look.recording.changes(look.frame) if not _is_counter(m, c)]
        found.append(("This step", f"wrote {count(len(changes), 'word')}" if changes else "wrote nothing"))
        named = [(name_of(m, stage, c.address), c) for c in changes[:_MOST_WORDS]]
        found += [(name, f"{_both(m, name, c.old)} → {_both(m, name, c.new)}") for name, c in named]
        if len(changes) > _MOST_WORDS:
            found.append(("and more", f"{count(len(changes) - _MOST_WORDS, 'word')} like the last"))
    cell = CellName.of(look.cell)
    if cell.kind in ("w", "desc") and len(cell.numbers) == 2:
        word = cell.numbers[1] + (m.MM if cell.kind == "desc" else 0)
        if word < len(m.w):
            name = name_of(m, stage, m.B + 8 * word)
            found += [("Selected", name), ("Address", f"{m.B + 8 * word:#x}"), ("Value", _both(m, name, m.w[word]))]
    elif not found:
        found.append(("Selected", "nothing yet: click a word or a page, or move to one with the arrow keys and press Enter"))
    found.append(("Pages shown", _shown(m, stage.pfn, look) + (f", and {_shown(m, stage.pfn + 1, look)}" if stage.pair else "")))
    return found


def _shown(m: Machine, pfn: int, look: Look) -> str:
    order = block_of(m, pfn).order
    return f"page {shown(pfn, look.hexadecimal)} ({KINDS[kind_of(m, pfn)].words}{'' if order is None else f', order {order}'})"


def _both(m: Machine, name: str, value: int) -> str:
    """Write a word's value and what it says: the fields that share the word, a mem_desc's type, where an address leads."""
    if ".inuse" in name and value:
        order, cpu = value >> 32 & 0xFF, ", a CPU's" if value >> 40 & 1 else ""
        return f"{value & 0xFFFF} in use of {value >> 16 & 0xFFFF}, order {order}{cpu}"
    if name.endswith(".flags"):
        return f"{value:#x}"
    if value < 1 << 16:
        return str(value)
    kind = value & 15 if name.endswith(".mem_desc") else 0
    words = f"{value_of(m, value - kind)}{f', {MemType(kind).name}' if 0 < kind < len(MemType) else ''}"
    return f"{value:#x}" if words == f"{value:#x}" else f"{value:#x} ({words})"


def _place(m: Machine, address: int) -> str:
    page, at = divmod(address - m.B, m.page_size)
    return f"byte {at} of page {page}"


def _pages(pfn: int, order: int) -> str:
    return f"page {pfn}" if order == 0 else f"pages {pfn} to {pfn + (1 << order) - 1}"


def _listed(pfns: list[int]) -> str:
    return f"page {pfns[0]}" if len(pfns) == 1 else f"pages {', '.join(map(str, pfns[:-1]))} and {pfns[-1]}"


def _pfn(cell: str | None) -> int | None:
    """Return the page that a cell is about.

    "page-40" is of the map, "list-40" of the free lists; "w-40-20488" is a word and "desc-40-43" a mem_desc, both shown with page 40.
    """
    kind, numbers = CellName.of(cell)
    return numbers[0] if len(numbers) == {"page": 1, "tile": 1, "list": 1, "w": 2, "desc": 2}.get(kind) else None


BOOTSTRAP_LAB: Final = Lab(
    name="bootstrap",
    title="Bootstrap lab",
    preset=_preset,
    actions=(
        Action(
            "struct_slab",
            "Ask for a struct slab",
            run=_ask_struct_slab,
            code=lambda _session: 'm.caches["kmem_cache_slab"].alloc()',
        ),
        Action("page", "Ask for a page", run=_ask_page, code=lambda _session: "m.alloc_pages(0)"),
        Action(
            "free_block",
            "Free a block",
            run=_free_block,
            code=lambda session, order: f"m.free_pages({_set_aside(session.machine, order, session.setup.arena)[0]})",
            params=(IntParam("order", "Order to free", values=_orders_aside, words=_order_words),),
            enabled=_nothing_aside,
        ),
        Action(
            "take_block",
            "Take a block",
            run=_take_block,
            code=lambda _session, order: f"m.alloc_pages({order})",
            params=(IntParam("order", "Order to take", values=_orders_free, words=_order_words),),
            enabled=_nothing_free,
        ),
        Action(
            "use_up",
            "Use up descriptors",
            run=_use_up,
            code=lambda _session: "from memlab.labs.bootstrap import use_up_descriptors\n\nuse_up_descriptors(m)",
            enabled=_nothing_to_use_up,
        ),
        Action(
            "give_back",
            "Give back descriptors",
            run=_give_back,
            code=lambda _session: "from memlab.labs.bootstrap import give_back_descriptors\n\ngive_back_descriptors(m)",
            enabled=_nothing_held,
        ),
    ),
    figure=_figure,
    details=_details,
    demo=(
        ("struct_slab", {}, (6, 7, 8, 9, 10, 11)),
        ("use_up", {}),
        ("free_block", {"order": 2}),
        ("struct_slab", {}, (6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)),
        ("use_up", {}),
    ),
)
