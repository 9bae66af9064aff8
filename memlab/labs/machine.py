"""The Machine lab: nodes, zones, watermarks and GFP flags -- where a request goes, and why; and what is unmade when a call fails.

Used by notebooks: ``machine_lab("tight")``.  One declaration on the engine of session, action, lab and view.  Imports the core, study, figures
and the engine.  What it says of a request before it is done comes from study.request, which only reads the zones' numbers in RAM.
"""

from __future__ import annotations

from typing import Any, Final

from ..config import Zone, ZoneType
from ..figures.blocks import KINDS, block_of, kind_of
from ..figures.picture import CellName, Picture, count, shown
from ..figures.zones import machine_lab as machine_lab_figure
from ..figures.zones import request_flags
from ..gfp import GFP
from ..machine import Machine
from ..study.request import walk_zonelist, zone_words
from .action import Action, CellParam, ChoiceParam, IntParam
from .lab import Lab, Look
from .machine_actions import (
    FAIL_POINTS,
    MAY_FAIL,
    OBJECTS,
    WITH_GFP,
    calls_code,
    can_free,
    can_free_all,
    everything,
    fail,
    fill,
    fill_code,
    free,
    free_all,
    gfp_code,
    gfp_named,
    owner,
    pfn_of,
    request,
    request_object,
    zone_of,
)
from .session import Session, Setup
from .view import LabView

SHAPES: Final[dict[str, dict[str, Any]]] = {
    "one": {"memory": "1M", "watermarks": "linux"},
    "nodes": {"memory": "1536K", "nodes": 2, "cpus": 2, "watermarks": "linux"},
    "dma": {"memory": "1536K", "dma": "256K", "watermarks": "linux"},
    "highmem": {"memory": "2M", "dma": "256K", "highmem": "512K", "watermarks": "linux"},
    "tight": {"memory": "512K", "nodes": 2, "cpus": 2, "watermarks": (24, 32, 40)},
}


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


# -- the picture and its words


def _asked(m: Machine, look: Look) -> tuple[int, int, int]:
    """Return (order, gfp, node) of the request that is drawn: the one selected in the table, else the last one made, else the simplest."""
    kind, numbers = CellName.of(look.cell)
    flags = request_flags(m)
    if kind == "ask" and len(numbers) == 3:
        order, row, node = numbers
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
    cell, pfn = CellName.of(look.cell), pfn_of(look.cell)
    if pfn is not None and pfn < m.nr_pages:
        return _page_details(m, pfn, look)
    zone = next((z for z in m.zones if look.cell == f"zone-{z.node}-{z.name}"), None)
    if zone is not None:
        return _zone_details(m, zone, look)
    walk = walk_zonelist(m, *_asked(m, look))
    n = cell.of_kind("try")
    if n is not None and 0 < n <= len(walk.tries):
        t = walk.tries[n - 1]
        return [("Zone asked", f"{n}. {zone_words(t.zone)}"), ("Would stay free", t.sum), ("Verdict", t.why)]
    if cell.kind == "ask":
        asked = f"m.alloc_pages({walk.order}, {gfp_code(walk.gfp)}, {walk.node})"
        return [("Request", asked), ("Zones asked", f"{len(walk.tries)}"), ("Outcome", walk.end)]
    return [("Selected", "nothing yet: click a page, a zone or a request, or move to one with the arrow keys and press Enter")]


def _page_details(m: Machine, pfn: int, look: Look) -> list[tuple[str, str]]:
    kind, block, address = kind_of(m, pfn), block_of(m, pfn), m.page_address(pfn)
    found = [
        ("Page", f"{pfn} ({pfn:#x}), zone {zone_words(zone_of(m, pfn))}"),
        ("Address", f"{address:#x}" if address is not None else "none: HIGHMEM pages have no virtual address"),
        ("mem_desc", f"{m.w[m.MM + pfn]:#x}: {KINDS[kind].words}"),
    ]
    if block.order is not None:
        span = f"pages {shown(block.start, look.hexadecimal)} to {shown(block.pages.stop - 1, look.hexadecimal)}"
        found.append(("Block", f"order {block.order}: {count(len(block.pages), 'page')}, {span}"))
        host = (block.buddy - m.B) >> m.PS
        if 0 <= host < m.nr_pages:
            found.append(("Described by", f"struct buddy at {block.buddy:#x}, in page {host} of {zone_words(zone_of(m, host))}"))
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
            run=request,
            code=lambda session, order, gfp, node: f"{WITH_GFP}m.alloc_pages({order}, {gfp_code(gfp_named(session, gfp))}, {node})",
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
            run=request_object,
            code=lambda session, what, flags: (
                f"{WITH_GFP}m.{what[:-1]}{', ' * (not what.endswith('()'))}gfp={gfp_code(gfp_named(session, flags))})"
            ),
            params=(ChoiceParam("what", "What", tuple(OBJECTS)), ChoiceParam("flags", "Its GFP flags", _object_flag_names)),
        ),
        Action(
            "fill",
            "Fill a zone",
            run=fill,
            code=fill_code,
            params=(ChoiceParam("zone", "Zone", lambda session: [zone_words(z) for z in session.machine.zones]),),
        ),
        Action(
            "free",
            "Free selected",
            run=free,
            code=lambda session, cell: calls_code(owner(session.machine, pfn_of(cell) or 0)),
            params=(CellParam(),),
            enabled=can_free,
        ),
        Action("free_all", "Free all", run=free_all, code=lambda session: calls_code(everything(session.machine)), enabled=can_free_all),
        Action(
            "fail",
            "Fail the n-th call",
            run=fail,
            code=lambda _session, at, nth, what: f"with m.fail({at!r}, {nth}):\n    m.{what}",
            params=(
                ChoiceParam("at", "Point", FAIL_POINTS),
                IntParam("nth", "n", low=1, high=lambda _session: 9),
                ChoiceParam("what", "Operation", tuple(MAY_FAIL)),
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
