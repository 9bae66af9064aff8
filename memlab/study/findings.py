"""The figures of FINDINGS.md, computed: ``python -m memlab.study.findings`` prints them all, with a name only those.

Used by people who doubt a figure, and by tests/test_findings.py, which holds the record to what is printed here.  Every figure has a bound, given with
it: searches end at a number of states, so that they print the same on every machine.  Imports explore, remedies, worst_chain and the zoo.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from ..machine import Machine
from .consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty, free_descriptors
from .explore.choices import EVERYTHING, OPERATIONS
from .explore.report import Report
from .explore.search import Search
from .explore.steps import History, tight
from .remedies import KINDS, MempoolMachine, compare, filled
from .worst_chain import EMAIL_CHAIN, email_chain
from .zoo import ANIMALS

# for so many interrupts in an operation, that many states from the fresh machine, and as many from the tight one
DEPTH_STATES: Final = (2000, 600, 120, 40)
EATERS: Final = ("eat all struct slabs", "eat all struct buddys", "eat all struct slabs and struct buddys")
# what is measured -> the entry point that it stands for
ENTRY_POINTS: Final = {
    "alloc_pages": "alloc_pages",
    "alloc_pages_desc": "alloc_pages_desc",
    "alloc_pages_bulk": "alloc_pages_bulk",
    "split_page": "split_page",
    "get_free_page": "get_free_page",
    "take a struct slab": "kmem_cache_alloc(kmem_cache_slab)",
    "take a struct buddy": "kmem_cache_alloc(kmem_cache_buddy)",
    "kmem_cache_alloc_bulk": "kmem_cache_alloc_bulk(kmem_cache_buddy)",
    "kmalloc": "kmalloc",
    "folio_alloc": "folio_alloc",
    "anonmem_alloc": "anonmem_alloc",
    "filemem_alloc": "filemem_alloc",
    "pgtable_alloc": "pgtable_alloc",
    "vmalloc": "vmalloc",
}
FREES: Final = tuple(name for name, operation in OPERATIONS.items() if operation.frees and name != "shrink")
RETURN_STATES: Final = 3000
_BACK: Final = ("free_pages", "give back a struct slab", "give back a struct buddy", "shrink")


def depths(design: str, machine: type[Machine] = Machine, states: Iterable[int] = DEPTH_STATES) -> dict[str, list[int]]:
    """Return for each entry point, and for "a free", the deepest chain with at most 0, 1, 2, ... interrupts that a search finds.

    ``design``: "as-written" or "bounded".  ``machine``: Machine, or a class derived from it.  ``states``: for each number of interrupts, how many
    states are reached from the fresh machine, and how many from the tight one.  AssertionError if a rule breaks.
    """
    found: dict[str, list[int]] = {name: [] for name in (*ENTRY_POINTS.values(), "a free")}
    most = dict.fromkeys(found, 0)
    for interrupts, n in enumerate(states):
        for start in ((), tight(design)):
            report = Search(design, interrupts, EVERYTHING, EATERS, return_every=0, machine=machine, start=start).run(n)
            if report.broken:
                raise AssertionError(str(report.broken))
            for operation, name in (*ENTRY_POINTS.items(), *((free, "a free") for free in FREES)):
                most[name] = max(most[name], report.depth(operation))
        for name, depth in most.items():
            found[name].append(depth)
    return found


def returns(design: str, states: int = RETURN_STATES) -> Report:
    """Return the report of a search that frees everything and shrinks from every state it reaches.

    ``design``: "as-written" or "bounded".  ``states``: int, where it ends.
    """
    return Search(design, return_every=1).run(states)


def for_good(history: History) -> int:
    """Return how many pages stay away after a sequence at the least, in whatever order all is freed, with shrinking in between or not.

    ``history``: from a report's ``losses``.  AssertionError if the orders are too many to be tried.
    """
    search = Search(history.setup.design, operations=_BACK, return_every=1, start=history.steps)
    report = search.run(20_000)
    if not report.complete:
        raise AssertionError("too many orders to try them all")
    return 0 if report.lossy < report.returned else min(report.losses)


def _depth(design: str, machine: type[Machine] = Machine, states: tuple[int, ...] = DEPTH_STATES) -> str:
    rows = depths(design, machine, states)
    head = f"{'frames at most, with up to':<42}" + "".join(f"{n:>5}" for n in range(len(states))) + "  interrupts"
    bound = f"{'(states reached from each of two starts)':<42}" + "".join(f"{n:>5}" for n in states)
    return "\n".join([head, bound, *(f"{name:<42}" + "".join(f"{depth:>5}" for depth in row) for name, row in rows.items())])


def _formula() -> str:
    lines = ["64 MiB, low orders and struct buddys taken     free struct slabs s   frames of alloc_pages(0)   6 s + 12"]
    for what, churn, leave in (
        ("all struct slabs taken too", 0, 0),
        ("all but 10", 0, 10),
        ("as booted", 0, None),
        ("after 600 slabs came and went, all but 10", 600, None),
    ):
        m = Machine("64M", watermarks=None, design="as-written")
        _churn(m, churn)
        KeepLowOrdersEmpty(m, below=4)()
        EatBuddies(m)()
        if leave is not None:
            EatSlabs(m, free_descriptors(m, "kmem_cache_slab") - leave)()
        free = free_descriptors(m, "kmem_cache_slab")
        with m.trace() as t:
            m.alloc_pages(0)
        lines.append(f"{what:<45}{free:>21}{t.max_depth:>27}{6 * free + 12:>11}")
    return "\n".join(lines)


def _churn(m: Machine, slabs: int) -> None:
    """Build slabs and give most of them back, so that their struct slabs are free, one of 60 keeping each page of struct slabs where it is."""
    if slabs:
        cache = m.caches["kmalloc-4k"]
        per_slab = cache.struct.objects
        objects = cache.alloc_bulk(slabs * per_slab) or []
        cache.free_bulk([obj for i, obj in enumerate(objects) if i // per_slab % 60])
        cache.shrink()


def _email() -> str:
    chain = email_chain()
    return (
        f"the email's list has {len(EMAIL_CHAIN)} calls; the first {chain.same} calls of the run are the same, names, caches and depths\n"
        f"deepest {max(call.depth for call in chain.trace.calls if not call.context)} frames; the one interrupt took "
        f"{chain.slabs} struct slabs and {chain.buddies} struct buddys"
    )


def _returns(design: str) -> str:
    report = returns(design)
    lines = [
        f"{report.states:,} states, {report.transitions:,} transitions, all sequences of {report.level} operations; from each state all is freed, then shrunk",
        f"from {report.lossy:,} of {report.returned:,} states not all pages came back; at most {report.lost} of 28 stayed away",
    ]
    for pages, history in sorted(report.losses.items()):
        lines.append(
            f"\nshortest found that keeps {pages} away, and in whatever order all is freed, at least {for_good(history)}:\n{history}"
        )
    if report.broken:
        lines.append(str(report.broken))
    return "\n".join(lines)


def _remedies() -> str:
    parts: tuple[tuple[str, list[Any]], ...] = (
        ("256 pages of 256 bytes, filled with single pages, all freed", [filled(kind) for kind in KINDS]),
        ("64 MiB, filled with single pages, all freed", [filled(kind, {"memory": "64M", "watermarks": None}) for kind in KINDS]),
        ("256 pages of 256 bytes, 2 storms of 1,000 operations", compare(2, 1000, interrupts=False)),
        ("the same; in every other request an interrupt eats all free descriptors", compare(2, 1000)),
    )
    return "\n".join(f"{title}\n" + "\n".join(f"  {outcome}" for outcome in outcomes) for title, outcomes in parts)


def _zoo() -> str:
    lines = [f"{'animal':<12}  {'what broke':<16}  {'operations':>10}  {'states':>6}   the real allocator, searched as far"]
    for name, animal in ANIMALS.items():
        report = animal.hunt()
        if report.broken is None:
            lines.append(f"{name:<12}  got away after {report.states:,} states")
            continue
        rules = report.broken.rules
        rule = animal.rule if animal.rule in rules else rules[0]
        real = animal.search(Machine).run(report.states)
        outcome = "no rule broke" if real.broken is None else f"BROKE: {real.broken.sentence()}"
        lines.append(f"{name:<12}  {rule:<16}  {len(report.broken.history):>10}  {report.states:>6,}   {real.states:,} states, {outcome}")
    return "\n".join(lines)


SECTIONS: Final[dict[str, Callable[[], str]]] = {
    "email": _email,
    "depth-as-written": lambda: _depth("as-written"),
    "depth-bounded": lambda: _depth("bounded"),
    "depth-mempool": lambda: _depth("as-written", MempoolMachine, (100, 40, 10)),
    "formula": _formula,
    "returns-as-written": lambda: _returns("as-written"),
    "returns-bounded": lambda: _returns("bounded"),
    "remedies": _remedies,
    "zoo": _zoo,
}


def block(name: str) -> str:
    """Return a section as it stands in FINDINGS.md: the command, and what it prints.  ``name``: in SECTIONS."""
    return f"# python -m memlab.study.findings {name}\n{SECTIONS[name]()}"


def main(names: list[str]) -> int:
    """Print the sections of these names, or all; returns the exit status."""
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        sys.stderr.write(f"there is no section {unknown[0]!r}; there are {', '.join(SECTIONS)}\n")
        return 2
    for name in names or SECTIONS:
        sys.stdout.write(f"{block(name)}\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
