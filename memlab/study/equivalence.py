"""When two states of a machine are the same to those who use it, whatever the allocators did inside.

Used by the fault sweep and the tests.  Reads RAM only, between operations.  Imports the core.

The same must be: every block and object that somebody holds (its pages, order, type, cache, address), all bytes of them, and the pages that nobody
holds anything in.  Those are the free pages and the pages of empty slabs; a slab of descriptors counts as empty when all it holds describes free
blocks, itself, or slabs that are empty by the same rule, such as the page beside it.
May differ: in which of these a page that nobody holds is, how free memory is cut into blocks, the order of free lists, partial lists and freelists,
which slab is a CPU's, how many slabs are kept empty, where the descriptor of a block lies (if its holder does not know the address), and the counters.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from ..addresses import B, V, address, pfn_of, word
from ..cache_table import each_cpu, free_objects, inuse, view_of, walk_freelist
from ..machine import Machine
from ..memdesc import MemType
from ..structs import HELD

_TAIL: Final = -1  # in place of the order: a page of a block that is not its first


class Essence(NamedTuple):
    """``pages``: (pfn, type, what it is of) of those in use.  ``objects``: (cache, address).  ``contents``: a digest.  ``room``: pages nobody holds.  ``bounded``: the design."""

    pages: tuple[tuple[int, int, int], ...]
    objects: tuple[tuple[str, int], ...]
    contents: bytes
    room: int
    bounded: bool


def essence(m: Machine) -> Essence:
    """Return what of a machine's state matters to those who use it.  Valid between operations."""
    PS = m.PS
    digest = blake2b(digest_size=16)
    pages: list[tuple[int, int, int]] = []
    slabs: dict[int, list[int]] = {}
    room = 0
    for pfn, desc in enumerate(m.desc_of):
        kind, d = desc & 15, word(desc)
        if kind == MemType.FREE:
            room += 1
        elif kind == MemType.SLAB and not m.flags_of[d] & HELD:
            slabs.setdefault(d, []).append(pfn)
        elif kind != MemType.NONE:
            block = (m.order_of[d] if m.page_of[d] == V + 8 * pfn else _TAIL) if kind == MemType.BUDDY else desc
            pages.append((pfn, kind, block))
            digest.update(m.map[pfn << PS : (pfn + 1) << PS])
    live = {s: _live(m, s) for s in slabs}
    empty = _empty(m, live)
    private = m.user_caches.values()  # these descriptors name their block's buddy, which may move
    objects: list[tuple[str, int]] = []
    for s in sorted(slabs, key=lambda s: slabs[s]):
        if s in empty:
            room += len(slabs[s])
            continue
        c = word(m.cache_of[s])
        own = c in (m.KC_BUDDY, m.KC_SLAB)
        if not own:
            pages += [(pfn, MemType.SLAB, c) for pfn in slabs[s]]
        for obj in live[s]:
            if not own or m.flags_of[word(obj)] & HELD:
                objects.append((view_of(m, c).name, obj))
            if not own and c not in private:
                digest.update(m.map[obj - B : obj - B + m.object_size_of[c]])
    return Essence(tuple(pages), tuple(sorted(objects)), digest.digest(), room, m.bounded)


def differences(before: Essence, after: Essence) -> list[str]:
    """Say in words in what two states of a machine differ; an empty list when they are equivalent.

    In the bounded design the second may have more pages in which nobody holds anything: descriptors move, and free the pages that they pinned.
    """
    found = []
    for what, old, new in (("pages in use", before.pages, after.pages), ("objects", before.objects, after.objects)):
        gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
        if gone or come:
            found.append(f"{what}: {len(gone)} went {gone[:3]}, {len(come)} came {come[:3]}")
    if not found and before.contents != after.contents:
        found.append("bytes of a block or object that is held changed")
    if after.room < before.room or (after.room > before.room and not after.bounded):
        found.append(f"pages that nobody holds anything in: {before.room} before, {after.room} after")
    return found


def _live(m: Machine, s: int) -> list[int]:
    """Return the addresses of a slab's objects that are on no freelist, its own or a CPU's."""
    c = word(m.cache_of[s])
    heads = [m.freelist_of[s], *(m.cpu_freelist_of[p] for p in each_cpu(m, c) if m.cpu_slab_of[p] == address(s))]
    free = {obj for head in heads for obj in walk_freelist(m, c, head)}
    first, step = m.virt_of[s] + (m.red_left_pad_of[c] >> 32), m.size_of[c]
    return [obj for obj in range(first, first + (inuse(m, s) + free_objects(m, s)) * step, step) if obj not in free]


def _empty(m: Machine, live: dict[int, list[int]]) -> set[int]:
    """Return the slabs in which nothing is held, not even the descriptor of something that is."""

    def held(c: int, d: int) -> bool:
        if c == m.KC_SLAB:
            return bool(m.flags_of[d] & HELD) or d not in empty
        pfn = pfn_of(m.page_of[d])
        if c != m.KC_BUDDY or m.flags_of[d] & HELD or not 0 <= pfn < m.nr_pages:
            return True
        return m.desc_of[pfn] & 15 != MemType.FREE and word(m.desc_of[pfn]) not in empty

    empty = set(live)
    while True:
        pinned = {s for s in empty if any(held(word(m.cache_of[s]), word(obj)) for obj in live[s])}
        if not pinned:
            return empty
        empty -= pinned
