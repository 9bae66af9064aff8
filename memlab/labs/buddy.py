"""The Buddy lab: page map and tree of blocks on which you allocate, split, free, fill and storm, and see what each step costs.

Used by notebooks: ``buddy_lab()``.  One declaration on the engine of session, action, lab and view; what its actions do is in
buddy_actions.py, the learner's code in buddy_yours.py.  Imports these, the core, figures and the engine.

The preset keeps the metadata out of the picture's way.  Its machine has three times the pages of the arena.  Booting takes the first of the two
largest blocks for its own descriptors; what is left outside the second one is then allocated, so that the second block is the arena.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..figures.blocks import KINDS, block_of, kind_of
from ..figures.buddy_lab import buddy_lab as figure
from ..figures.picture import Picture, count, shown
from ..machine import Machine
from ..memdesc import MemType
from ..structs import slab
from . import buddy_actions, buddy_yours
from .action import Action, CellParam, IntParam
from .lab import Lab, Look
from .session import Session, Setup
from .view import LabView

_PAGES: Final = 64


def buddy_lab(machine: Machine | None = None, pages: int = _PAGES, yours: Mapping[str, Callable[..., Any]] | None = None) -> LabView:
    """Open a Buddy lab on a machine of your own, or on a fresh one with an arena of ``pages`` aligned free pages (see buddy_machine).

    Shown when it is the last line of a cell.  Its ``machine`` is the Machine; changes by code are seen after the cell that makes them.
    ``yours``: functions of your own, by name, to see beside the machine's: ``buddy_of(pfn, order)`` returns the first page of the buddy,
    ``merge(pfn, order, is_free)`` the (first page, order) of the block that freeing makes, ``order_for(size)`` the order for that many bytes.
    TypeError or ValueError for a bad argument.
    """
    if machine is not None and not isinstance(machine, Machine):
        raise TypeError(f"buddy_lab takes a Machine, or nothing for a fresh one, not {machine!r}")
    if machine is not None:
        return LabView(BUDDY_LAB, Session.of(machine), yours)
    setup = BUDDY_LAB.setup(pages=pages)
    return LabView(BUDDY_LAB, Session.of(setup.machine, setup), yours)


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
    return Setup(
        buddy_machine(pages), range(2 * pages, 3 * pages), f"from memlab.labs import buddy_machine\n\nm = {call}", {"pages": pages}
    )


# -- the picture and its words


def _figure(m: Machine, look: Look) -> Picture:
    pfn = _selected(m, look)
    verdicts = buddy_yours.on_block(m, look, block_of(m, pfn)) if pfn is not None and look.yours else []
    return figure(m, look.arena, pfn, look.hexadecimal, look.began or None, buddy_yours.marks(verdicts))


def _says(m: Machine, look: Look, name: str, params: Mapping[str, Any]) -> str:
    pfn = _selected(m, look)
    return buddy_yours.on_action(m, look, name, params, block_of(m, pfn) if pfn is not None else None)


def _details(m: Machine, look: Look) -> list[tuple[str, str]]:
    pfn = _selected(m, look)
    if pfn is None:
        return [("Selected", "nothing yet: click a page or a block, or move to one with the arrow keys and press Enter")]
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
        found.append(("Block", f"order {block.order}: {count(n, 'page')}, {buddy_actions.bytes_of(n * m.page_size)}; {span}"))
        host = (block.buddy - m.B) >> m.PS
        where = f"in page {_n(host, look)}" if 0 <= host < m.nr_pages else "outside the pages: the one static descriptor of boot"
        found.append(("Described by", f"struct buddy at {block.buddy:#x}, {where}"))
    if kind == MemType.SLAB:
        s = slab(m, m.w[m.MM + pfn] & ~15)
        name = next((name for name, c in m.caches.items() if c.address == s.slab_cache), "no cache that is known")
        found.append(("Slab of", f"{name}, described by the struct slab at {s.address:#x}"))
    found += [("Your code", v.sentence) for v in (buddy_yours.on_block(m, look, block) if look.yours else [])]
    return found


def _selected(m: Machine, look: Look) -> int | None:
    pfn = buddy_actions.pfn_of(look.cell)
    return pfn if pfn is not None and pfn < m.nr_pages else None


def _n(pfn: int, look: Look) -> str:
    return shown(pfn, look.hexadecimal)


BUDDY_LAB = Lab(
    name="buddy",
    title="Buddy lab",
    preset=_setup,
    actions=(
        Action(
            "allocate",
            "Allocate",
            run=buddy_actions.allocate,
            code=lambda _session, order: f"m.alloc_pages({order})",
            params=(IntParam("order", "Order", 0, high=lambda session: session.machine.max_order, words=buddy_actions.pages_of_order),),
        ),
        Action(
            "allocate_bytes",
            "Allocate bytes",
            run=buddy_actions.allocate_bytes,
            code=lambda session, size: f"m.alloc_pages({buddy_yours.order_for(session.machine, size)})  # {size} bytes",
            params=(
                IntParam("size", "Bytes", 1, high=lambda session: session.machine.page_size << session.machine.max_order, default=5000),
            ),
        ),
        Action(
            "split",
            "Split",
            run=buddy_actions.split,
            code=lambda session, cell: f"m.split_page({buddy_actions.selected_block(session, cell).start})",
            params=(CellParam(),),
            enabled=buddy_actions.can_split,
        ),
        Action(
            "free",
            "Free",
            run=buddy_actions.free,
            code=lambda session, cell: f"m.free_pages({buddy_actions.selected_block(session, cell).start})",
            params=(CellParam(),),
            enabled=buddy_actions.can_free,
        ),
        Action(
            "fill",
            "Fill",
            run=buddy_actions.fill,
            code=lambda _session, order: f"while m.alloc_pages({order}) is not None:\n    pass",
            params=(
                IntParam("order", "Fill order", 0, high=lambda session: session.machine.max_order, words=buddy_actions.pages_of_order),
            ),
        ),
        Action(
            "free_all",
            "Free all",
            run=buddy_actions.free_all,
            code=lambda session: (
                f"from memlab.labs.buddy_actions import allocated\n\nfor pfn in allocated(m, {session.setup.arena}):\n    m.free_pages(pfn)"
            ),
            enabled=buddy_actions.can_free_all,
        ),
        Action(
            "storm",
            "Storm",
            run=buddy_actions.stormed,
            code=lambda session, seed, steps: (
                f"from memlab.labs.buddy_actions import storm\n\nstorm(m, {session.setup.arena}, seed={seed}, steps={steps})"
            ),
            params=(
                IntParam("seed", "Seed", 0, high=lambda _session: 9999, default=1),
                IntParam("steps", "Steps", values=(5, 10, 20, 50, 100), words=lambda _session, n: f"{n} steps", default=20),
            ),
        ),
    ),
    figure=_figure,
    details=_details,
    demo=(
        ("allocate", {"order": 0}),
        ("allocate", {"order": 2}),
        ("split", {"cell": f"page-{2 * _PAGES + 4}"}),
        ("free", {"cell": f"page-{2 * _PAGES}"}),
        ("fill", {"order": 0}),
        ("free_all", {}),
    ),
    yours=buddy_yours.NAMES,
    says=_says,
)
