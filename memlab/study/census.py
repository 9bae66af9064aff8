"""Census: the metadata that is live in a machine's RAM, counted by kind; and a workload on a machine, with a census at each stage.

Used through accounting.py: ``accounting.of_machine(m)``, ``accounting.run(m, mix)``.  Reads RAM, and changes none of it but in ``run``, which does
the work that it is asked to do.  Imports the core.

What is counted: the words of the mem_map; live objects of the two caches of descriptors and of the users' caches, a struct each; and the *room*,
bytes of the pages that are held for all these and in which none of them lies.  Tables that do not grow with memory or its use (zones,
caches, free-list heads) are left out, as they are the same in every design.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final, NamedTuple

from .. import structs
from ..addresses import address
from ..cache_table import cpu_heads, slab_order, slabs_of, walk_freelist
from ..machine import Machine
from ..memdesc import MemType
from ..ram import Snapshot
from ..structs import UNUSED
from ..words import USERS


class Design(NamedTuple):
    """A design of page metadata.  ``page``: bytes of a struct page.

    ``buddy``: bytes of the struct buddy that each block has allocated for it; 0 where what it says is kept in struct page.
    ``descriptors``: whether users' descriptors are allocated; if not, they are laid over struct page.
    """

    name: str
    page: int
    buddy: int
    descriptors: bool

    def __repr__(self) -> str:
        return f"<Design {self.name}>"


TODAY: Final = Design("64-byte pages", structs.old_page.sizeof, 0, False)
MEM_DESC: Final = Design("8-byte pages", structs.page.sizeof, structs.buddy.sizeof, True)
# a descriptor's name -> its bytes: struct slab, and those of the users
DESCRIPTORS: Final = {"slab": structs.slab.sizeof} | {s.struct: s.sizeof for s, _ in USERS.values()}

_CACHES: Final = {"buddy": "kmem_cache_buddy", "slab": "kmem_cache_slab"} | {s.struct: s.struct for s, _ in USERS.values()}
_NAMES: Final = {MemType.SLAB: "slab"} | {kind: s.struct for s, kind in USERS.values() if kind is not MemType.VMALLOC}
_KINDS: Final = ("page", "buddy", *DESCRIPTORS)


@dataclass(frozen=True)
class Account:
    """Metadata by kind.  ``number``: {kind: how many}, the kinds being "page", "buddy" and those of DESCRIPTORS; ``room``: bytes held for them and unused.

    ``buddy_slabs``: of the struct slabs, those of kmem_cache_buddy, which a design without it has not.  ``pages_held``: pages in which metadata lies.
    """

    design: Design
    page_size: int
    number: dict[str, int]
    room: int
    buddy_slabs: int
    pages_held: int

    @property
    def each(self) -> dict[str, int]:
        """Bytes of one struct of each kind; 0 where the design allocates none."""
        sizes = DESCRIPTORS if self.design.descriptors else dict.fromkeys(DESCRIPTORS, 0)
        return {"page": self.design.page, "buddy": self.design.buddy, **sizes}

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes by kind, the room not among them."""
        return {kind: n * self.each[kind] for kind, n in self.number.items()}

    @property
    def total(self) -> int:
        """All bytes, the room among them."""
        return sum(self.nbytes.values()) + self.room

    @property
    def per_page(self) -> float:
        """All bytes, for each page of memory."""
        return self.total / self.number["page"]

    @property
    def percent(self) -> float:
        """All bytes, in per cent of memory."""
        return 100 * self.per_page / self.page_size

    def under(self, design: Design) -> Account:
        """Return what the same blocks would take under another design: on paper, so without room."""
        number = dict(self.number)
        if not design.buddy:
            number["slab"] -= self.buddy_slabs
        return Account(design, self.page_size, number, 0, 0 if not design.buddy else self.buddy_slabs, 0)

    def __repr__(self) -> str:
        """Return a table: a line for each kind that there is, with number, bytes each, bytes and per cent of memory."""
        memory, each, nbytes = self.number["page"] * self.page_size, self.each, self.nbytes
        lines = [["", "number", "each", "bytes", "% of memory"]]
        for kind in filter(nbytes.get, _KINDS):
            share = _percent(nbytes[kind], memory)
            lines.append([f"struct {kind}", f"{self.number[kind]:,}", str(each[kind]), f"{nbytes[kind]:,}", share])
        if self.room:
            lines.append(["room", "", "", f"{self.room:,}", _percent(self.room, memory)])
        lines.append(["all", "", "", f"{self.total:,}", f"{self.percent:.4f}"])
        return f"{self.design.name}: {self.per_page:.3f} bytes of metadata a page\n{table(lines, left=1)}"


def of_machine(m: Machine) -> Account:
    """Count the metadata in a machine's RAM.  Valid between operations; RAM stays as it is.  TypeError for what is no Machine."""
    if not isinstance(m, Machine):
        raise TypeError(f"of_machine takes a Machine, not {m!r}; of a snapshot, of_snapshot tells the same")
    rows = {row["name"]: row for row in m.slabinfo()}
    number = {"page": m.nr_pages} | {kind: rows[_CACHES[kind]]["active_objs"] for kind in _KINDS[1:]}
    slabs = sum(_pages_of(m, name) for name in _CACHES.values())
    objects = sum(number[kind] * size for kind, size in _sizes().items())
    room = (m.mem_map_pages + slabs) * m.page_size - m.nr_pages * MEM_DESC.page - objects
    number["buddy"] += not m.w[m.static_at] & UNUSED  # boot's one static descriptor lies in no slab
    return Account(MEM_DESC, m.page_size, number, room, rows["kmem_cache_buddy"]["num_slabs"], m.mem_map_pages + slabs)


def of_snapshot(snapshot: Snapshot) -> Account:
    """Count the metadata in a snapshot's RAM, on a machine booted for it.  TypeError for what is no snapshot of a Machine."""
    config = snapshot.config if isinstance(snapshot, Snapshot) else None
    if config is None:
        raise TypeError(f"of_snapshot takes what m.snapshot() returned, not {snapshot!r}")
    m = Machine(**asdict(config))
    m.restore(snapshot)
    return of_machine(m)


def mix_of(m: Machine) -> dict[tuple[int, str], float]:
    """Return {(order, descriptor): share} of the memory that a machine's page allocator manages, as RAM has it: what of_mix takes.

    "buddy" stands for blocks that have no other descriptor, free or allocated; vmalloc's pages are among them, as they share one.
    """
    pages: dict[tuple[int, str], int] = {}
    for at in _live_buddys(m):
        b = structs.buddy(m, at)
        if b.page:  # else it is in a consumer's hands, and describes nothing
            kind = MemType(m.w[m.MM + m.page_to_pfn(b.page)] & 15)
            key = b.order, _NAMES.get(kind, "buddy")
            pages[key] = pages.get(key, 0) + (1 << b.order)
    total = sum(pages.values())
    return {key: pages[key] / total for key in sorted(pages)}


# -- a workload


@dataclass(frozen=True)
class Run:
    """The census at each stage of a workload.  ``accounts``: {stage: Account}; ``free``: {stage: free pages}."""

    accounts: dict[str, Account]
    free: dict[str, int]

    def __getitem__(self, stage: str) -> Account:
        """Return the Account of a stage: "booted", "filled", "churned" (if it did), "freed" or "shrunk"."""
        return self.accounts[stage]

    def __repr__(self) -> str:
        """Return a table, a line a stage; bytes are of metadata.  "others" are all descriptors but the struct buddys."""
        lines = [["", "free pages", "mem_map", "buddys", "others", "room", "all", "a page"]]
        for stage, a in self.accounts.items():
            n = a.nbytes
            others = sum(n[kind] for kind in DESCRIPTORS)
            values = (self.free[stage], n["page"], n["buddy"], others, a.room, a.total)
            lines.append([stage, *(f"{value:,}" for value in values), f"{a.per_page:.2f}"])
        return table(lines, left=1)


def run(m: Machine, mix: Mapping[tuple[int, str], float], used: float = 0.7, churn: int = 1000, seed: int = 1) -> Run:
    """Fill a machine, churn, free what was allocated and shrink; and count the metadata at each stage.

    ``mix``: {(order, descriptor): weight}, the weights being shares of the memory that is allocated; descriptors are "buddy" (alloc_pages alone),
    "folio", "anonmem", "filemem", "ptdesc" (order 0) and "vmalloc" (2^order single pages).  ``used``: the part of memory at which filling ends, if
    memory does not end sooner.  ``churn``: how often a random block is then freed and another allocated.  ValueError or TypeError for a bad argument.
    """
    ways = {key: _way(m, *key) for key in _looked_at(m, mix, used, churn)}
    dice = Random(seed)  # noqa: S311 - the same workload for everybody is meant
    weights = [share / (1 << order) for (order, _), share in mix.items()]  # shares of memory -> how often
    held: list[tuple[Callable[[int], object], int]] = []

    def allocate() -> bool:
        (key,) = dice.choices(list(ways), weights)
        get, put = ways[key]
        got = get()
        if got is not None:
            held.append((put, got))
        return got is not None

    def free(at: int) -> None:
        put, got = held.pop(at)
        put(got)

    done = Run({}, {})

    def count(stage: str) -> None:
        done.accounts[stage], done.free[stage] = of_machine(m), m.free_pages_count

    count("booted")
    target = round(m.nr_pages * (1 - used))
    while m.free_pages_count > target and allocate():
        pass
    count("filled")
    for _ in range(churn):
        if held:
            free(dice.randrange(len(held)))
        while m.free_pages_count > target and allocate():
            pass
    if churn:
        count("churned")
    while held:
        free(dice.randrange(len(held)))
    count("freed")
    m.shrink()
    count("shrunk")
    return done


def table(rows: list[list[str]], left: int = 0) -> str:
    """Return rows of text in columns: the first ``left`` set to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if at < left else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


# -- helpers


def _sizes() -> dict[str, int]:
    return {"buddy": MEM_DESC.buddy, **DESCRIPTORS}


def _pages_of(m: Machine, name: str) -> int:
    """Return how many pages a cache's slabs have."""
    return sum(1 << slab_order(m, s) for s in slabs_of(m, m.caches[name]._c))


def _live_buddys(m: Machine) -> list[int]:
    """Return the addresses of all live struct buddys, read from slabs and freelists."""
    c = m.KC_BUDDY
    free = {obj for head in cpu_heads(m, c) for obj in walk_freelist(m, c, head)}
    live = [] if m.flags_of[m.static_at] & UNUSED else [address(m.static_at)]
    for slab in slabs_of(m, c):
        s = structs.slab(m, address(slab))
        free |= set(walk_freelist(m, c, s.freelist))
        size = m.caches["kmem_cache_buddy"].size
        live += [obj for obj in range(s.virt, s.virt + s.objects * size, size) if obj not in free]
    return live


def _looked_at(m: Machine, mix: Mapping[tuple[int, str], float], used: float, churn: int) -> list[tuple[int, str]]:
    """Return the kinds of blocks of a mix; ValueError or TypeError for a bad argument."""
    if not isinstance(m, Machine):
        raise TypeError(f"run takes a Machine, not {m!r}")
    if not isinstance(used, (int, float)) or not 0 < used <= 1:
        raise ValueError(f"used is the part of memory to fill, above 0 and up to 1, not {used!r}")
    if not isinstance(churn, int) or churn < 0:
        raise ValueError(f"churn is how many blocks to replace, 0 or more, not {churn!r}")
    if not isinstance(mix, Mapping) or not mix:
        raise TypeError(f"a mix is a table of weights, such as {{(0, 'anonmem'): 0.4, (9, 'folio'): 0.6}}, not {mix!r}")
    if any(not isinstance(share, (int, float)) or share < 0 for share in mix.values()) or not sum(mix.values()):
        raise ValueError(f"each weight of a mix is a number from 0, and not all are 0; these are {', '.join(map(repr, mix.values()))}")
    return list(mix)


def _way(m: Machine, order: Any, descriptor: Any) -> tuple[Callable[[], int | None], Callable[[int], object]]:
    """Return how a block of a kind is allocated and how it is freed."""
    if not isinstance(order, int) or not 0 <= order <= m.max_order:
        raise ValueError(f"an order is a whole number from 0 to {m.max_order} on this machine, not {order!r}")
    if descriptor == "buddy":
        return lambda: m.alloc_pages(order), m.free_pages
    if descriptor in ("folio", "anonmem", "filemem"):
        return lambda: getattr(m, f"{descriptor}_alloc")(order), getattr(m, f"{descriptor}_put")
    if descriptor == "ptdesc" and order == 0:
        return m.pgtable_alloc, m.pgtable_put
    if descriptor == "vmalloc":
        return lambda: m.vmalloc(m.page_size << order), m.vfree
    raise ValueError(f"run allocates buddy, folio, anonmem, filemem, ptdesc (of order 0) and vmalloc, not {descriptor!r} of order {order}")


def _percent(nbytes: int, memory: int) -> str:
    return f"{100 * nbytes / memory:.4f}"
