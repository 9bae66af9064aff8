"""What chapter 09 runs: its machines, the conspiracy with one condition left out, and tables of how deep calls nest.

Used by the chapter's other files and its notebook.  Imports study, figures and the core.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, NamedTuple

from ...figures.call_chain import FRAME_BYTES, STACK_BYTES
from ...figures.picture import count
from ...machine import Machine
from ...ram import KernelBug
from ...study.consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty, free_descriptors
from ...study.explore.search import Search
from ...study.explore.steps import TINY
from ...study.worst_chain import HERE
from ...trace import Trace

FITS: Final = STACK_BYTES // FRAME_BYTES  # frames of the assumed size on a stack
ASKED: Final = {  # what the search is asked about -> how the chapter calls it
    "alloc_pages": "alloc_pages",
    "split_page": "split_page",
    "get_free_page": "get_free_page",
    "take a struct buddy": "alloc from kmem_cache_buddy",
    "take a struct slab": "alloc from kmem_cache_slab",
    "kmalloc": "kmalloc",
    "folio_alloc": "folio_alloc",
}


def scarce(design: str = "as-written", slabs: int | None = 0, below: int = 2) -> Machine:
    """Boot 64 MiB, and use up the free blocks of the orders below ``below``, all free struct buddys, and all free struct slabs but ``slabs`` (None: leave all)."""
    m = Machine("64M", design=design)
    KeepLowOrdersEmpty(m, below=below)()
    EatBuddies(m)()
    left = free_descriptors(m, "kmem_cache_slab")
    if slabs is not None and left > slabs:
        EatSlabs(m, left - slabs)()
    return m


def roomy() -> Machine:
    """Boot 64 MiB, and use up the free blocks below order 6; struct buddys and struct slabs are at hand."""
    m = Machine("64M")
    KeepLowOrdersEmpty(m, below=6)()
    return m


def first_block(m: Machine, order: int) -> int:
    """Return the block of ``order`` that a request for it would get, and leave it free."""
    pfn = m.alloc_pages(order) or 0
    m.free_pages(pfn)
    return pfn


def churned(design: str) -> Machine:
    """Boot 64 MiB, allocate 12,000 objects of 2 KiB, free them, and shrink the caches."""
    m = Machine("64M", design=design)
    for address in [m.kmalloc(2048) or 0 for _ in range(12_000)]:
        m.kfree(address)
    m.shrink()
    return m


class Plot(NamedTuple):
    """Who takes part in the conspiracy against one ``alloc_pages(0)``."""

    low: bool = True
    high: bool = True
    buddies: bool = True
    slabs: bool = True
    later_buddies: bool = True
    later_slabs: bool = True


LEFT_OUT: Final = {
    "nothing": Plot(),
    "low orders are kept empty": Plot(low=False),
    "high orders are left alone": Plot(high=False),
    "struct buddys are used up before": Plot(buddies=False),
    "struct slabs are used up before": Plot(slabs=False),
    "the interrupt eats struct buddys": Plot(later_buddies=False),
    "the interrupt eats struct slabs": Plot(later_slabs=False),
}


def conspire(plot: Plot, design: str = "as-written") -> tuple[Trace, int | None]:
    """Run the email's recipe with those of ``plot``, and return the trace of alloc_pages(0) and the page that it gave."""
    m = Machine("64M", design=design, watermarks=None)
    if plot.low:
        KeepLowOrdersEmpty(m, below=2)()
    if not plot.high:
        for order in range(m.max_order + 1):
            for _ in range(m.buddyinfo()[0, "Normal"][order]):
                m.alloc_pages(order)
    before = [kind(m) for kind, eaten in ((EatBuddies, plot.buddies), (EatSlabs, plot.slabs)) if eaten]
    during = [kind(m) for kind, eaten in ((EatSlabs, plot.later_slabs), (EatBuddies, plot.later_buddies)) if eaten]
    for eat in before:
        eat()
    with m.interrupt(HERE, "return", lambda: [eat() for eat in during]), m.trace() as trace:
        pfn = m.alloc_pages(0)
    return trace, pfn


def conspiracies() -> str:
    """Return a table: without which condition the chain gets how deep."""
    lines = [f"{'without this:':34}frames  alloc_pages(0)"]
    for words, plot in LEFT_OUT.items():
        trace, pfn = conspire(plot)
        lines.append(f"{words:34}{frames(trace):6}  {'None' if pfn is None else 'a page'}")
    return "\n".join(lines)


def frames(trace: Trace, context: int = 0) -> int:
    """Return how many frames one context of a trace had at the same time, at most."""
    return max((call.depth for call in trace.calls if call.context == context), default=0)


def depths_found(states: int) -> str:
    """Return a table: how deep each operation nests in all ``states`` first states of a small machine, in each design."""
    reports = [Search(design, operations=tuple(ASKED), return_every=0).run(states, processes=1) for design in ("as-written", "bounded")]
    lines = [f"{states:,} states:                as written  bounded"]
    lines += [f"{words:28}" + "".join(f"{report.depth(name):10}" for report in reports) for name, words in ASKED.items()]
    return "\n".join(lines)


def traced(m: Machine, order: int = 0) -> Trace:
    """Return the trace of ``alloc_pages(order)``, which may fail or overflow the stack."""
    with m.trace() as trace, suppress(KernelBug):
        m.alloc_pages(order)
    return trace


def small() -> Machine:
    """Boot the machine of exercise 09.4: 32 pages of 256 bytes."""
    return Machine(**TINY)


def stock_of(m: Machine) -> str:
    """Return in words what is free of that on which the depth of the next chain depends."""
    slabs, buddies = (free_descriptors(m, f"kmem_cache_{kind}") for kind in ("slab", "buddy"))
    least = next((k for k in range(m.max_order + 1) if sum(row[k] for row in m.buddyinfo().values())), None)
    block = "no block is free" if least is None else f"the smallest free block has order {least}"
    return f"{block}, {count(slabs, 'struct slab')} and {count(buddies, 'struct buddy')} are free"
