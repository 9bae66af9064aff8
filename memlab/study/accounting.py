"""Accounting: how many bytes of metadata a design of struct page takes, by kind; on paper, over a mix of blocks, and for a real kernel's slabs.

Used by chapter 11, figures.costs and by hand: ``accounting.curve()``, ``accounting.of_mix({(0, "anonmem"): 0.5, (9, "folio"): 0.5})``,
``accounting.slab_caches(read_slabinfo().caches)``.  What a machine's RAM really holds is counted by census.py, whose ``of_machine``, ``of_snapshot``,
``mix_of`` and ``run`` can be had from here as well.  Imports structs and, for these, census.

A block of 2^order pages costs, in bytes: a struct page for each of its pages; a struct buddy, if the design allocates it; and the descriptor
of its user, if the block has one and the design allocates it.  On paper nothing is lost in slabs; census.py counts that, too.

Sources: the email for the 8-byte page and for struct buddy; structs.py for all sizes; LWN, May 2026, for the 32-byte page; mm/slab.h, mm/page_alloc.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from . import census
from .census import DESCRIPTORS, Account, Design, Run, mix_of, of_machine, of_snapshot, run, table

__all__ = [
    "DESCRIPTORS",
    "DESIGNS",
    "EMBEDDED_16",
    "EMBEDDED_32",
    "MEM_DESC",
    "TODAY",
    "Account",
    "CacheCost",
    "Curve",
    "Design",
    "PageStructs",
    "Run",
    "SlabCaches",
    "block_bytes",
    "break_even",
    "curve",
    "mix_of",
    "of_machine",
    "of_mix",
    "of_snapshot",
    "page_structs",
    "per_page",
    "run",
    "slab_caches",
    "tipping_share",
]

TODAY: Final = census.TODAY
MEM_DESC: Final = census.MEM_DESC
EMBEDDED_16: Final = Design("16-byte pages", 16, 0, True)
EMBEDDED_32: Final = Design("32-byte pages", 32, 0, True)
DESIGNS: Final = (TODAY, MEM_DESC, EMBEDDED_16, EMBEDDED_32)
MAX_ORDER: Final = 11

Mix = Mapping[tuple[int, str], float]


# -- one block


def block_bytes(design: Design, order: int, descriptor: str | int = "buddy") -> int:
    """Return the bytes of metadata that one block of 2^order pages takes.

    ``descriptor``: the name of its user's descriptor ("slab", "folio", …), or the bytes of one; "buddy" for a block that has none but its buddy.
    ValueError or TypeError for a bad argument.
    """
    if not isinstance(design, Design):
        raise TypeError(f"a design is one of accounting.DESIGNS, or a Design of your own, not {design!r}")
    if not isinstance(order, int) or isinstance(order, bool) or not 0 <= order < 64:
        raise ValueError(f"an order is a whole number from 0, not {order!r}")
    own = _bytes_of(descriptor)
    return (design.page << order) + design.buddy + (own if design.descriptors else 0)


def per_page(design: Design, order: int, descriptor: str | int = "buddy") -> float:
    """Return the bytes of metadata for each page of a block; exact, and otherwise as block_bytes."""
    return block_bytes(design, order, descriptor) / (1 << order)


def break_even(design: Design, than: Design, descriptor: str | int = "buddy") -> int | None:
    """Return the lowest order from which on ``design`` takes fewer bytes than ``than``, or None if it never does up to order 63.

    What a block has once weighs less and less as the block grows, so from there on it stays so.
    """
    for order in range(64):
        if block_bytes(design, order, descriptor) < block_bytes(than, order, descriptor):
            return order if design.page <= than.page else None
    return None


@dataclass(frozen=True)
class Curve:
    """Bytes of metadata a page by order.  ``rows``: {descriptor: {design: [bytes a page at order 0, 1, …]}}."""

    rows: dict[str | int, dict[Design, list[float]]]

    def __repr__(self) -> str:
        """Return a table for each kind of descriptor, a line an order, a column a design."""
        tables = []
        for descriptor, columns in self.rows.items():
            lines = [["order", *(design.name for design in columns)]]
            for order, values in enumerate(zip(*columns.values(), strict=True)):
                lines.append([str(order), *(f"{value:.3f}" for value in values)])
            tables.append(f"bytes a page, {_words(descriptor)}\n{table(lines)}")
        return "\n\n".join(tables)


def curve(descriptors: Sequence[str | int] = ("buddy", "folio"), designs: Sequence[Design] = DESIGNS, max_order: int = MAX_ORDER) -> Curve:
    """Return the bytes of metadata a page of blocks of order 0 to ``max_order``, for each descriptor and design.  Raises as block_bytes does."""
    orders = range(_order(max_order) + 1)
    return Curve({d: {design: [per_page(design, order, d) for order in orders] for design in designs} for d in descriptors})


# -- memory as a whole


class PageStructs(NamedTuple):
    """What the struct pages of a design take by themselves: bytes, and per cent of the memory that they describe."""

    design: Design
    nbytes: int
    percent: float

    def __repr__(self) -> str:
        return f"{self.design.name}: {_size(self.nbytes)}, {self.percent:.4f} % of memory"


def page_structs(memory: int, page_size: int = 4096, designs: Sequence[Design] = DESIGNS) -> list[PageStructs]:
    """Return what struct pages alone take in ``memory`` bytes, for each design.  ValueError if memory is no number of pages."""
    if not isinstance(memory, int) or not isinstance(page_size, int) or page_size < 1 or memory < 1 or memory % page_size:
        raise ValueError(f"memory is a number of bytes, a multiple of the page size, such as 2**40 with pages of 4096; not {memory!r}")
    pages = memory // page_size
    return [PageStructs(design, pages * design.page, 100 * design.page / page_size) for design in designs]


def of_mix(mix: Mix, designs: Sequence[Design] = DESIGNS) -> dict[str, float]:
    """Return {name of design: bytes of metadata a page} for memory in blocks of several orders and users.

    ``mix``: {(order, descriptor): share of memory}; the shares are 1 together.  ValueError if they are not; else raises as block_bytes does.
    """
    shares = _shares(mix)
    return {design.name: sum(share * per_page(design, *block) for block, share in shares.items()) for design in designs}


def tipping_share(
    single: tuple[int, str] = (0, "anonmem"), rest: tuple[int, str] = (9, "folio"), design: Design = MEM_DESC, than: Design = TODAY
) -> float | None:
    """Return the share of memory in blocks of the kind ``single``, the others being of the kind ``rest``, at which two designs take equally much.

    ``single``, ``rest``: (order, descriptor).  None if one design is the smaller whatever the share.
    """
    at_single, at_rest = (per_page(design, *block) - per_page(than, *block) for block in (single, rest))
    if at_single == at_rest:
        return None
    share = at_rest / (at_rest - at_single)
    return share if 0 <= share <= 1 else None


# -- a real kernel's slabs


class SlabCacheLike(Protocol):
    """What is needed of a line of /proc/slabinfo: as memlab.linux.SlabCache has it."""

    @property
    def name(self) -> str: ...
    @property
    def pagesperslab(self) -> int: ...
    @property
    def num_slabs(self) -> int: ...


class CacheCost(NamedTuple):
    """The metadata of one cache's slabs, in bytes, by name of design."""

    name: str
    pagesperslab: int
    num_slabs: int
    nbytes: dict[str, int]

    def saved(self, design: Design = MEM_DESC, than: Design = TODAY) -> int:
        """Return how many bytes fewer ``design`` takes than ``than``; below 0 if it takes more."""
        return self.nbytes[than.name] - self.nbytes[design.name]


@dataclass(frozen=True)
class SlabCaches:
    """The slab caches of a kernel under several designs.  ``designs``: the first two are compared: today's, and the one that gains or loses."""

    caches: list[CacheCost]
    designs: tuple[Design, ...]

    @property
    def gain(self) -> list[CacheCost]:
        """Caches that take less in the second design than in the first, largest gain first."""
        return [c for c in self._sorted() if self._saved(c) > 0]

    @property
    def lose(self) -> list[CacheCost]:
        """Caches that take more, largest loss first."""
        return [c for c in reversed(self._sorted()) if self._saved(c) < 0]

    def total(self, caches: Iterable[CacheCost] | None = None) -> CacheCost:
        """Return the sum over all caches, or over some."""
        some = list(self.caches if caches is None else caches)
        sums = {d.name: sum(c.nbytes[d.name] for c in some) for d in self.designs}
        return CacheCost(f"all {len(some)}", 0, sum(c.num_slabs for c in some), sums)

    def top(self, n: int = 5) -> str:
        """Return a table, in bytes, of the ``n`` caches that gain most and the ``n`` that lose most, with the sums of all that gain, lose, or neither."""
        if not isinstance(n, int) or n < 0:
            raise ValueError(f"a table shows a number of caches, 0 or more, not {n!r}")
        lines = [["cache", "pages", "slabs", *(d.name.removesuffix(" pages") for d in self.designs), "saved"]]
        for words, some in (("that gain", self.gain), ("that lose", self.lose)):
            lines += map(self._line, [*some[:n], self.total(some)._replace(name=f"the {len(some)} {words}")])
        others = [c for c in self.caches if not self._saved(c)]
        lines += map(self._line, [self.total(others)._replace(name=f"the {len(others)} others"), self.total()])
        return table(lines, left=1)

    def __getitem__(self, name: str) -> CacheCost:
        """Return a cache by its name; KeyError if there is none."""
        for cost in self.caches:
            if cost.name == name:
                return cost
        raise KeyError(f"there is no cache {name!r} among these")

    def __repr__(self) -> str:
        return self.top()

    def _saved(self, cost: CacheCost) -> int:
        return cost.saved(self.designs[1], self.designs[0])

    def _sorted(self) -> list[CacheCost]:
        return sorted(self.caches, key=lambda c: (-self._saved(c), c.name))

    def _line(self, cost: CacheCost) -> list[str]:
        pages = f"{cost.pagesperslab}" if cost.pagesperslab else ""
        return [cost.name, pages, f"{cost.num_slabs:,}", *(f"{cost.nbytes[d.name]:,}" for d in self.designs), f"{self._saved(cost):+,}"]


def slab_caches(caches: Iterable[SlabCacheLike], designs: Sequence[Design] = DESIGNS) -> SlabCaches:
    """Return what the slabs of each cache take in metadata under each design.  The caches are as ``memlab.linux.read_slabinfo().caches`` gives them.

    ValueError if a slab is no power of two of pages, or if there are fewer than two designs to compare.
    """
    if len(designs) < 2:
        raise ValueError("slab_caches compares designs: give it two or more")
    costs = []
    for c in caches:
        if c.pagesperslab < 1 or c.pagesperslab & (c.pagesperslab - 1):
            raise ValueError(f"the slabs of {c.name} have {c.pagesperslab} pages; a slab is a block, a power of two of pages")
        order = c.pagesperslab.bit_length() - 1
        nbytes = {d.name: c.num_slabs * block_bytes(d, order, "slab") for d in designs}
        costs.append(CacheCost(c.name, c.pagesperslab, c.num_slabs, nbytes))
    return SlabCaches(costs, tuple(designs))


# -- helpers


def _bytes_of(descriptor: str | int) -> int:
    if isinstance(descriptor, int) and not isinstance(descriptor, bool) and descriptor >= 0:
        return descriptor
    if not isinstance(descriptor, str) or (descriptor != "buddy" and descriptor not in DESCRIPTORS):
        names = ", ".join(["buddy", *DESCRIPTORS])
        raise ValueError(f"a descriptor is one of {names}, or its size in bytes, not {descriptor!r}")
    return DESCRIPTORS.get(descriptor, 0)  # "buddy": no other than the struct buddy, which the design accounts for


def _order(max_order: int) -> int:
    if not isinstance(max_order, int) or isinstance(max_order, bool) or not 0 <= max_order < 64:
        raise ValueError(f"max_order is a whole number from 0, not {max_order!r}")
    return max_order


def _shares(mix: Mix) -> dict[tuple[int, str], float]:
    """Return a mix that was looked at: shares that are 0 or more, and 1 together."""
    if not isinstance(mix, Mapping) or not mix:
        raise TypeError(f"a mix is a table of shares, such as {{(0, 'anonmem'): 0.4, (9, 'folio'): 0.6}}, not {mix!r}")
    if any(not isinstance(share, (int, float)) or not 0 <= share <= 1 for share in mix.values()):
        raise ValueError(f"each share of a mix is a number from 0 to 1; these are {', '.join(map(repr, mix.values()))}")
    total = sum(mix.values())
    if abs(total - 1) > 1e-9:
        raise ValueError(f"the shares of a mix are 1 together; these are {total:g}")
    return dict(mix)


def _words(descriptor: str | int) -> str:
    if descriptor == "buddy":
        return "no descriptor but the buddy's"
    return f"with a descriptor of {descriptor} bytes" if isinstance(descriptor, int) else f"with a struct {descriptor}"


def _size(nbytes: int) -> str:
    for unit, words in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if nbytes >= unit:
            return f"{nbytes / unit:,.4g} {words}"
    return f"{nbytes:,} bytes"
