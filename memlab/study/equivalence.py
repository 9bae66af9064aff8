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

from ..cache_table import CACHE, CACHE_WORDS, COUNTS, CPU_ROW, CPU_SLAB, FREELIST, SERIAL, SIZE, VIRT
from ..machine import Machine
from ..memdesc import MemType
from ..page_bugs import FLAGS, ORDER, PAGE
from ..structs import HELD, NR_CACHES, kmem_cache
from ..users import USERS

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
    w, B, V, PS = m.w, m.B, m.V, m.PS
    digest = blake2b(digest_size=16)
    pages: list[tuple[int, int, int]] = []
    slabs: dict[int, list[int]] = {}
    room = 0
    for pfn, md in enumerate(w[m.MM : m.MM + m.nr_pages]):
        kind, address = md & 15, md & ~15
        if kind == MemType.FREE:
            room += 1
        elif kind == MemType.SLAB and not w[(address - B) >> 3] & HELD:
            slabs.setdefault(address, []).append(pfn)
        elif kind != MemType.NONE:
            li = ((address - B) >> 3) + 1
            block = (w[li + ORDER] if w[li + PAGE] == V + 8 * pfn else _TAIL) if kind == MemType.BUDDY else md
            pages.append((pfn, kind, block))
            digest.update(m.map[pfn << PS : (pfn + 1) << PS])
    live = {address: _live(m, (address - B) >> 3) for address in slabs}
    empty = _empty(m, live)
    names = {ci: str(kmem_cache(m, B + 8 * ci).name) for ci in _caches(m)}
    private = {m._user_ci[user] for user in USERS}  # these descriptors name their block's buddy, which may move
    objects: list[tuple[str, int]] = []
    for address in sorted(slabs, key=lambda address: slabs[address]):
        if address in empty:
            room += len(slabs[address])
            continue
        ci = (w[((address - B) >> 3) + CACHE] - B) >> 3
        own = ci in (m.KC_BUDDY, m.KC_SLAB)
        if not own:
            pages += [(pfn, MemType.SLAB, ci) for pfn in slabs[address]]
        for obj in live[address]:
            if not own or w[(obj - B) >> 3] & HELD:
                objects.append((names[ci], obj))
            if not own and ci not in private:
                digest.update(m.map[obj - B : obj - B + kmem_cache(m, B + 8 * ci).object_size])
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


def _caches(m: Machine) -> list[int]:
    return [ci for ci in range(m.kc_at, m.kc_at + NR_CACHES * CACHE_WORDS, CACHE_WORDS) if m.w[ci + SERIAL]]


def _live(m: Machine, si: int) -> list[int]:
    """Return the addresses of a slab's objects that are on no freelist, its own or a CPU's."""
    w, B = m.w, m.B
    ci = (w[si + CACHE] - B) >> 3
    heads = [w[si + FREELIST]]
    for cpu in range(m.config.cpus):
        p = m.cc_at + cpu * CPU_ROW + w[ci + CPU_SLAB]
        if w[p + 1] == B + 8 * si:
            heads.append(w[p])
    free = {obj for head in heads for obj in m._walk_freelist(ci, head)}
    first, step = w[si + VIRT] + kmem_cache(m, B + 8 * ci).red_left_pad, w[ci + SIZE]
    return [obj for obj in range(first, first + (w[si + COUNTS] >> 16 & 0xFFFF) * step, step) if obj not in free]


def _empty(m: Machine, live: dict[int, list[int]]) -> set[int]:
    """Return the slabs in which nothing is held, not even the descriptor of something that is."""
    w, B = m.w, m.B

    def held(ci: int, obj: int) -> bool:
        oi = (obj - B) >> 3
        if ci == m.KC_SLAB:
            return bool(w[oi] & HELD) or obj not in empty
        pfn = (w[oi + 1 + PAGE] - m.V) >> 3
        if ci != m.KC_BUDDY or w[oi + 1 + FLAGS] & HELD or not 0 <= pfn < m.nr_pages:
            return True
        md = w[m.MM + pfn]
        return md & 15 != MemType.FREE and md & ~15 not in empty

    empty = set(live)
    while True:
        pinned = {s for s in empty if any(held((w[((s - B) >> 3) + CACHE] - B) >> 3, obj) for obj in live[s])}
        if not pinned:
            return empty
        empty -= pinned
