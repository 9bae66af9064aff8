"""What slabs a cache has, where they belong, and what their two free lists hold: read from RAM for the figures and the labs.

RAM may be in the middle of an operation, or damaged: nothing here raises, follows a link out of RAM or loops.
Used by the figures of slabs and the Slab lab.  Imports the core (structs, the table of caches and memdesc).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..machine import Machine
from ..memdesc import MemType
from ..structs import NR_CACHES, kmem_cache, slab
from ..words import CACHE_WORDS, CPU_ROW, LIST, NODE_WORDS, ORDER_SHIFT, PARTIAL
from .picture import CellName

CACHE, COUNTS, FREELIST, VIRT, SLAB_BUDDY = (f.word for f in (slab.slab_cache, slab.inuse, slab.freelist, slab.virt, slab.buddy))


class Chain(NamedTuple):
    """A free list as it is in RAM: the numbers of its objects within their slab, in list order, and how it ends.

    ``end`` is "" for NULL, as it should be; else words for what is wrong.
    """

    objects: tuple[int, ...]
    end: str = ""


class Slab(NamedTuple):
    """A slab: where its struct slab is and what that says.  ``pfn`` is its first page, -1 where ``virt`` leads nowhere.

    ``objects`` of ``size`` bytes lie in it from address ``first`` on.  ``place``: "cpu", "partial", "empty", "full" (on no list); in the middle of an
    operation also "loose", with free objects but on no list, or "new", of no cache yet.  ``cpu``: whose it is, or -1.
    """

    address: int
    pfn: int
    order: int
    objects: int
    inuse: int
    first: int
    size: int
    place: str
    cpu: int
    buddy: int

    @property
    def pages(self) -> range:
        """Its pages."""
        return range(self.pfn, self.pfn + (1 << self.order)) if self.pfn >= 0 else range(0)

    def object_at(self, index: int) -> int:
        """Return the address of an object by its number."""
        return self.first + index * self.size


class Focus(NamedTuple):
    """What a cell of the pictures stands for: a cache by its slot, and perhaps a slab by its address and an object by its number."""

    slot: int
    slab: int = 0
    object: int = -1


def live_caches(m: Machine) -> list[tuple[int, kmem_cache]]:
    """Return (slot, view) of each cache that lives."""
    views = [(slot, cache_at(m, slot)) for slot in range(NR_CACHES)]
    return [(slot, view) for slot, view in views if view.serial]


def cache_at(m: Machine, slot: int) -> kmem_cache:
    """Return the view of a slot of the table of caches, whether a cache lives there or not."""
    return kmem_cache(m, m.B + 8 * (m.kc_at + slot * CACHE_WORDS))


def own_cache(m: Machine) -> int:
    """Return the slot of the newest cache that is not the machine's own; if there is none, that of the newest that has a slab."""
    caches = live_caches(m)
    builtin = {(ci - m.kc_at) // CACHE_WORDS for ci in m.builtin}
    found = [(view.serial, slot) for slot, view in caches if slot not in builtin]
    nodes = m.config.nodes
    found = found or [
        (view.serial, slot) for slot, view in caches if any(m.nr_slabs_of[m.kn_at + (slot * nodes + n) * NODE_WORDS] for n in range(nodes))
    ]
    return max(found, default=(0, 0))[1]


def focus(m: Machine, cell: str | None) -> Focus:
    """Return what a cell stands for: ``cache-SLOT``, ``slab-PFN`` or ``object-PFN-NUMBER``.

    For any other text, and for what is no longer there, it is the machine's newest cache.
    """
    kind, numbers = CellName.of(cell)
    if kind == "cache" and len(numbers) == 1 and numbers[0] < NR_CACHES and cache_at(m, numbers[0]).serial:
        return Focus(numbers[0])
    if (kind, len(numbers)) in (("slab", 1), ("object", 2)) and (found := _slab_of_page(m, numbers[0])):
        slot, slab = found
        if len(numbers) == 1:
            return Focus(slot, slab.address)
        if numbers[1] < slab.objects:
            return Focus(slot, slab.address, numbers[1])
    return Focus(own_cache(m))


def slabs_of(m: Machine, slot: int) -> list[Slab]:
    """Return a cache's slabs: the CPUs' own, then the partial lists in list order, then all that are on no list, by page."""
    w, cache = m.w, m.B + 8 * (m.kc_at + slot * CACHE_WORDS)
    owners: dict[int, tuple[str, int]] = {}  # struct slab -> (place, cpu)
    for cpu in range(m.config.cpus):
        if address := w[cpu_at(m, slot, cpu) + 1]:
            owners.setdefault(address, ("cpu", cpu))
    for node in range(m.config.nodes):
        for address in partial_list(m, slot, node).objects:
            owners.setdefault(address, ("partial", -1))
    for address in _described(m):
        if word(m, address, CACHE) == cache:
            owners.setdefault(address, ("", -1))
    listed = [_read(m, slot, address, place, cpu) for address, (place, cpu) in owners.items()]
    found = [slab for slab in listed if slab]
    return [s for s in found if s.place not in ("full", "loose")] + sorted(
        (s for s in found if s.place in ("full", "loose")), key=lambda s: s.pfn
    )


def unborn_slabs(m: Machine) -> list[Slab]:
    """Return the slabs that pages are described by but that no cache calls its own: half built, or damaged."""
    caches = {view.address for _, view in live_caches(m)}
    found = [_read(m, NR_CACHES, address, "new", -1) for address in _described(m) if word(m, address, CACHE) not in caches]
    return [slab for slab in found if slab]


def partial_list(m: Machine, slot: int, node: int) -> Chain:
    """Return the addresses of a node's partial slabs (struct slab), in list order."""
    w = m.w
    head = m.kn_at + (slot * m.config.nodes + node) * NODE_WORDS + PARTIAL
    found: dict[int, None] = {}
    link = w[head]
    while link != m.B + 8 * head:
        address = link - 8 * LIST
        if not _is_place(m, address):
            return Chain(tuple(found), f"leads to {link:#x}, where no struct slab can be" if link else "ends in NULL, not at its head")
        if address in found:
            return Chain(tuple(found), f"runs in a circle, back to {link:#x}")
        found[address] = None
        link = word(m, address, LIST)
    return Chain(tuple(found))


def cpu_at(m: Machine, slot: int, cpu: int) -> int:
    """Return the word index of a CPU's kmem_cache_cpu: its freelist, then its slab."""
    return m.cc_at + cpu * CPU_ROW + 2 * slot


def slab_freelist(m: Machine, slot: int, slab: Slab) -> Chain:
    """Return a slab's own free list."""
    return _chain(m, slot, slab, word(m, slab.address, FREELIST))


def cpu_freelist(m: Machine, slot: int, slab: Slab) -> Chain:
    """Return the free list of the CPU that a slab belongs to; none of a slab that is no CPU's."""
    return _chain(m, slot, slab, m.w[cpu_at(m, slot, slab.cpu)]) if slab.cpu >= 0 else Chain(())


def allocated(m: Machine, slot: int, slab: Slab) -> list[int]:
    """Return the numbers of a slab's objects that are on neither of its free lists."""
    free = {*slab_freelist(m, slot, slab).objects, *cpu_freelist(m, slot, slab).objects}
    return [i for i in range(slab.objects) if i not in free]


def live_objects(m: Machine, name: str) -> list[int]:
    """Return the addresses of the objects of a cache that are in use, slab by slab.  Empty if there is no cache of that name."""
    slot = next((slot for slot, view in live_caches(m) if view.name == name), None)
    if slot is None:
        return []
    return [s.object_at(i) for s in slabs_of(m, slot) for i in allocated(m, slot, s)]


def word(m: Machine, address: int, index: int = 0) -> int:
    """Return a word of what lies at an address, or 0 if that is not in RAM."""
    i = ((address - m.B) >> 3) + index
    return int(m.w[i]) if address >= m.B and i < len(m.w) and not address & 7 else 0


def _described(m: Machine) -> list[int]:
    """Return the addresses of the struct slabs that describe pages, by page."""
    return list(dict.fromkeys(md & ~15 for md in m.w[m.MM : m.MM + m.nr_pages].tolist() if md & 15 == MemType.SLAB))


def _is_place(m: Machine, address: int) -> bool:
    """Say whether a struct slab can lie at an address: in lowmem, and aligned."""
    return m.B <= address <= m.B + (m.highmem_pfn << m.PS) - slab.sizeof and not address & 15


def _slab_of_page(m: Machine, pfn: int) -> tuple[int, Slab] | None:
    """Return (slot, slab) of the slab that a page is in, if it is in one; its place is not looked for."""
    if pfn >= m.nr_pages or m.w[m.MM + pfn] & 15 != MemType.SLAB:
        return None
    address = int(m.w[m.MM + pfn]) & ~15
    slot, rest = divmod(((word(m, address, CACHE) - m.B) >> 3) - m.kc_at, CACHE_WORDS)
    if rest or not 0 <= slot < NR_CACHES:
        return None
    slab = _read(m, slot, address, "", -1)
    return (slot, slab) if slab else None


def _read(m: Machine, slot: int, address: int, place: str, cpu: int) -> Slab | None:
    """Return what a struct slab says; None if none can be there."""
    if not _is_place(m, address):
        return None
    cache = cache_at(m, slot)
    counts, virt = word(m, address, COUNTS), word(m, address, VIRT)
    inuse, said, order = counts & 0xFFFF, counts >> 16 & 0xFFFF, counts >> ORDER_SHIFT & 0xFF
    pfn, rest = divmod(virt - m.B, m.page_size)
    if rest or order > m.max_order or not 0 <= pfn <= m.highmem_pfn - (1 << order):
        pfn, order, said = -1, 0, 0
    fit = (m.page_size << order) // cache.size if cache.size >= 8 else 0
    if place == "partial" and inuse <= cache.own:
        place = "empty"
    place = place or ("loose" if word(m, address, FREELIST) else "full")
    first = virt + cache.red_left_pad
    return Slab(address, pfn, order, min(said, fit), inuse, first, cache.size, place, cpu, word(m, address, SLAB_BUDDY))


def _chain(m: Machine, slot: int, slab: Slab, obj: int) -> Chain:
    offset = cache_at(m, slot).offset
    found: dict[int, None] = {}
    while obj:
        index, rest = divmod(obj - slab.first, slab.size or 1)
        if rest or not 0 <= index < slab.objects:
            return Chain(tuple(found), f"leads to {obj:#x}, which is no object of this slab")
        if index in found:
            return Chain(tuple(found), f"runs in a circle, back to object {index}")
        found[index] = None
        obj = word(m, obj + offset)
    return Chain(tuple(found))


def of_node(m: Machine, slot: int, slabs: list[Slab]) -> Iterator[tuple[int, list[Slab], str]]:
    """Yield (node, its partial slabs in list order, what is wrong with the list or "") for each node."""
    by_address = {slab.address: slab for slab in slabs}
    for node in range(m.config.nodes):
        chain = partial_list(m, slot, node)
        yield node, [by_address[a] for a in chain.objects if a in by_address and by_address[a].cpu < 0], chain.end
