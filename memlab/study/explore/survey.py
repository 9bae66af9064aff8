"""Survey: one suspicious walk over all of a small machine's RAM, which gives the canonical form of its state, or nothing if a rule is broken.

Used by explore.py, which asks for it after every operation, and so needs it many times faster than ``check()``.  A survey passes an image if and only
if ``check()`` does (the tests hold it to that, on damaged images); which rule was broken is ``check()``'s to say.  Imports the core.

The canonical form holds what decides how the machine goes on: each free list in its order, with the page that each buddy's descriptor lies in; each
slab with its cache, its two hosts and its counts; each allocated block with its hosts.  Left out is what makes no difference: the place of an
object within its page, the contents of free pages, the counters.

    hosts: a page's own number; nr_pages for boot's static buddy
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ...kernel import Kernel
from ...kmem_cache import caches as live_caches
from ...memdesc import MemType
from ...slub_size import SLAB, objects_per_slab
from ...structs import HELD, UNUSED, kmem_cache_node, memdesc, slab
from ...words import CPU_ROW, LIST, NODE_WORDS, PARTIAL, USERS

_FREE, _BUDDY, _SLAB, _FOLIO, _VMALLOC = (int(MemType[kind]) for kind in ("FREE", "BUDDY", "SLAB", "FOLIO", "VMALLOC"))
# words of struct slab, struct kmem_cache_node and struct buddy
SLAB_BUDDY, FREELIST, COUNTS, VIRT, CACHE = (f.word for f in (slab.buddy, slab.freelist, slab.inuse, slab.virt, slab.slab_cache))
NR_SLABS: Final = kmem_cache_node.nr_slabs.word
_BUDDY_PAGE: Final = 4
_BUDDY_ORDER: Final = 3  # and the padding after it, which is 0: the allocators read and write the whole word
_SLAB_OWN: Final = 8 * FREELIST  # bytes of struct slab: what it says of its objects is freelist, counts, virt and slab_cache, to its end
_SLAB_END: Final = slab.sizeof
_COUNTS_USED: Final = (1 << 56) - 1  # the last byte of the word of counts is padding
_MOST_SLABS: Final = 20_000
_REFCOUNT: Final = memdesc.sizeof // 8 + 3  # of a user's descriptor: refcount in the low half, order in the high half


class _BrokenRule(Exception):
    """The image is not in order."""


class _Cache(NamedTuple):
    """What a survey knows of a cache: its number in the form, where its entries are, and its geometry in words."""

    number: int
    ci: int
    name: str
    cpu_slab: int
    node: int
    size: int
    link: int
    orders: tuple[int, ...]
    kind: int  # of the pages that its objects describe; 0 if they describe none


class _Slab(NamedTuple):
    """What a look at one slab found: its cache's address, its part of the form, its live descriptors with their kind, or its live objects."""

    cache: int
    order: int
    is_partial: bool  # where it is no CPU's
    form: tuple[int, ...]
    live: dict[int, int]
    objects: list[tuple[str, int]]


class Survey:
    """Looks at a machine: ``form = Survey(m).look()``; None means that a rule is broken.

    ``m``: a machine of one node without per-CPU page lists; ValueError otherwise.  ``caches``: names of the caches that may be used, besides
    kmem_cache_buddy and kmem_cache_slab; anything else in the kernel area must stay as it is now.
    After a look: ``blocks``, pfn -> (order, type); ``held``, descriptors in consumers' hands; ``objects``, live objects of the other caches; ``users``,
    live users' descriptors -> type.
    """

    def __init__(self, m: Kernel, caches: Iterable[str] = ()) -> None:
        c = m.config
        if c.nodes != 1 or c.pcp or c.highmem or c.dma or c.dma32:
            raise ValueError("a survey looks at machines of one node and one zone, without per-CPU page lists")
        self.m = m
        names = ["kmem_cache_buddy", "kmem_cache_slab", *caches]
        self.caches = {live_caches(m)[name].address: self._cache(i, name) for i, name in enumerate(names)}
        zone = m.zones[0]
        self._free, self._heads, self._flags = zone.free, zone.heads, zone.flags
        self._reserved = [0, *range(m.mem_map_pfn, m.mem_map_pfn + m.mem_map_pages)]
        self._managed = m.nr_pages - len(set(self._reserved))
        # the words of the kernel area that may change: [start, end) pairs, and what lies between them
        spans = [(self._free, self._free + 1), (self._heads, self._heads + 2 * m.max_order + 2), (m.static_at, m.static_at + 6)]
        spans += [(cache.node, cache.node + NODE_WORDS) for cache in self.caches.values()]
        spans += [(at, at + 2) for cache in self.caches.values() for at in self._cpu_entries(cache)]
        spans.sort()
        self.spans = spans
        edges = [m.KA, *(edge for span in spans for edge in span), m.stat]
        self._between = [(a << 3, b << 3) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
        self._fixed = [m.map[a:b] for a, b in self._between]
        self.blocks: dict[int, tuple[int, int]] = {}
        self.held: list[tuple[str, int]] = []
        self.objects: list[tuple[str, int]] = []
        self.users: dict[int, int] = {}
        self._every: dict[tuple[int, int, int], frozenset[int]] = {}
        self._slabs_known: dict[tuple[int, bytes, bytes, int | None], _Slab] = {}

    def look(self) -> bytes | None:
        """Return the canonical form of RAM, or None if a rule is broken.  Ends on any image."""
        try:
            return self._look()
        except (_BrokenRule, IndexError, ValueError, OverflowError):
            return None

    def fixed(self) -> bool:
        """Say whether what must not change in the kernel area is as it was."""
        room = self.m.map
        return [room[a:b] for a, b in self._between] == self._fixed

    def spare_pages(self) -> int:
        """Return free pages, and pages of slabs in which nothing lives but what describes free blocks or other such slabs; after a look.

        A failed allocation may not change that number, whatever else it built and keeps.
        """
        m = self.m
        w, B, PS = m.w, m.B, m.PS
        pinned = {(address - B) >> PS for _, address in (*self.held, *self.objects)}
        for pfn, (_, kind) in self.blocks.items():
            address = w[m.MM + pfn] & ~15
            pinned.add((address - B) >> PS)
            if kind >= _FOLIO:
                pinned.add((w[((address - B) >> 3) + SLAB_BUDDY] - B) >> PS)
        slabs = [
            (pages, [(address - B) >> PS, (w[((address - B) >> 3) + SLAB_BUDDY] - B) >> PS])
            for address, pages in ((address, self._pages(address)) for address in self._slabs)
        ]
        while True:
            more = {host for pages, hosts in slabs if not pinned.isdisjoint(pages) for host in hosts} - pinned
            if not more:
                break
            pinned |= more
        return w[self._free] + sum(len(pages) for pages, _ in slabs if pinned.isdisjoint(pages))

    # -- the walk

    def _look(self) -> bytes:
        m = self.m
        w, B, nr, PS = m.w, m.B, m.nr_pages, m.PS
        if not self.fixed():
            raise _BrokenRule
        words = w[m.MM : m.MM + nr].tolist()
        form: list[int] = []
        frozen = self._look_at_cpus(form)
        live: dict[int, int] = {}  # descriptors: address -> the type of pages it describes, _BUDDY for a struct buddy
        self.objects = []
        partial = self._look_at_slabs(words, frozen, live, form)
        self._look_at_partial_lists(partial, form)
        static = B + 8 * m.static_at
        if not w[m.static_at] & UNUSED:
            live[static] = _BUDDY

        # each block is described by just one live buddy, and each of its pages by one and the same word: so no two blocks overlap
        pages = 0
        blocks: dict[int, tuple[int, int]] = {}
        for address, pfn in self._slabs.items():
            if live.pop(address, 0) != _SLAB:
                raise _BrokenRule
            si = (address - B) >> 3
            buddy = w[si + SLAB_BUDDY]
            order = w[si + COUNTS] >> 32 & 0xFF
            if w[si] != self._flags or live.pop(buddy, 0) != _BUDDY or not self._is_block(buddy, pfn, order):
                raise _BrokenRule
            n = 1 << order
            if pfn & (n - 1) or words[pfn : pfn + n] != [address | _SLAB] * n:
                raise _BrokenRule
            pages += n
            form += (pfn, (address - B) >> PS, nr if buddy == static else (buddy - B) >> PS)
        pages += self._look_at_free_lists(words, live, form)
        rest, held = [], []
        self.users = {}
        for address, kind in live.items():
            at = (address - B) >> 3
            if kind == _BUDDY:
                if w[at] & HELD and not w[at + _BUDDY_PAGE]:
                    held.append(("kmem_cache_buddy", address))
                else:
                    rest.append(address)
            elif kind == _SLAB:
                if not w[at] & HELD:
                    raise _BrokenRule
                held.append(("kmem_cache_slab", address))
            else:
                self.users[address] = kind
        owner = {w[((address - B) >> 3) + SLAB_BUDDY]: address | kind for address, kind in self.users.items()}
        if len(owner) != len(self.users):
            raise _BrokenRule
        for buddy in rest:
            li = (buddy - B) >> 3
            pfn, order = (w[li + _BUDDY_PAGE] - m.V) >> 3, w[li + _BUDDY_ORDER]
            word = owner.pop(buddy, buddy | _BUDDY)
            if not self._is_block(buddy, pfn, order):
                raise _BrokenRule
            n = 1 << order
            if pfn & (n - 1) or words[pfn : pfn + n] != [word] * n:
                raise _BrokenRule
            if word & 15 == _BUDDY:
                if w[li] != self._flags:  # HELD is for descriptors that describe nothing, or somebody else's pages
                    raise _BrokenRule
            else:
                ref = w[((word & ~15) - B >> 3) + _REFCOUNT]
                if ref >> 32 != order or not ref & 0xFFFFFFFF:
                    raise _BrokenRule
            pages += n
            blocks[pfn] = order, word & 15
        if owner or pages != self._managed or any(words[pfn] for pfn in self._reserved):
            raise _BrokenRule
        for pfn in sorted(blocks):
            order, kind = blocks[pfn]
            address = words[pfn] & ~15
            form += (pfn, order)
            if kind == _BUDDY:
                form.append(nr if address == static else (address - B) >> PS)
            else:
                buddy = w[((address - B) >> 3) + SLAB_BUDDY]
                form += (nr + kind, (address - B) >> PS, nr if buddy == static else (buddy - B) >> PS)
        self.blocks, self.held = blocks, held
        return bytes(form) if nr < 240 else b"".join(n.to_bytes(4, "little") for n in form)

    def _look_at_cpus(self, form: list[int]) -> dict[int, int]:
        """Return {active slab: its CPU's freelist, the address of its first object}."""
        w, B, frozen = self.m.w, self.m.B, {}
        for cache in self.caches.values():
            for p in self._cpu_entries(cache):
                slab = w[p + 1]
                if slab:
                    if slab in frozen:
                        raise _BrokenRule
                    frozen[slab] = w[p]
                    form.append(
                        ((w[((slab - B) >> 3) + VIRT] - B) >> self.m.PS) + 1
                    )  # which one: a page may hold the struct slabs of several
                elif w[p]:
                    raise _BrokenRule
                else:
                    form.append(0)
        return frozen

    def _look_at_slabs(self, words: list[int], frozen: dict[int, int], live: dict[int, int], form: list[int]) -> dict[int, set[int]]:
        """Look at each slab's own words; note its live descriptors.  Returns the slabs that belong on each cache's partial list."""
        m = self.m
        w, room, B, PS, limit = m.w, m.map, m.B, m.PS, m.B + (m.nr_pages << m.PS)
        slabs_known = self._slabs_known
        self._slabs: dict[int, int] = {}
        partial: dict[int, set[int]] = {address: set() for address in self.caches}
        count = dict.fromkeys(self.caches, 0)
        left = len(frozen)
        for pfn, word in enumerate(words):
            if word & 15 != _SLAB:
                continue
            address = word & ~15
            if address in self._slabs:
                continue
            if not B <= address < limit:
                raise _BrokenRule
            self._slabs[address] = pfn
            mine = frozen.get(address)
            # all that a slab's look depends on: most slabs are as they were in the state before
            at = address - B
            key = pfn, room[at + _SLAB_OWN : at + _SLAB_END], room[pfn << PS : (pfn + 1) << PS], mine
            known = slabs_known.get(key)
            if known is None:
                known = self._look_at_slab(pfn, at >> 3, mine)
                if known.order == 0:
                    if len(slabs_known) > _MOST_SLABS:
                        slabs_known.clear()
                    slabs_known[key] = known
            which = known.cache
            count[which] += 1
            if mine is not None:
                left -= 1
            elif known.is_partial:
                partial[which].add(address)
            form += known.form
            live |= known.live
            self.objects += known.objects
        if left or any(w[cache.node + NR_SLABS] != count[address] for address, cache in self.caches.items()):
            raise _BrokenRule
        return partial

    def _look_at_slab(self, pfn: int, si: int, mine: int | None) -> _Slab:
        """Look at one slab: its struct slab, the pages, and ``mine``, its CPU's freelist; None if it is no CPU's."""
        w, B = self.m.w, self.m.B
        c, which = w[si + COUNTS], w[si + CACHE]
        cache = self.caches.get(which)
        if cache is None or w[si + VIRT] != B + (pfn << self.m.PS):
            raise _BrokenRule
        order = c >> 32 & 0xFF
        if order not in cache.orders:
            raise _BrokenRule
        every = self._every.get((pfn, cache.number, order))
        if every is None:
            every = self._all_objects(pfn, cache, order)
        free = self._freelist(w[si + FREELIST], every, cache.link)
        on_list, on_cpu = len(free), 0
        if c & _COUNTS_USED != (len(every) - on_list | len(every) << 16 | order << 32 | (mine is not None) << 40):
            raise _BrokenRule
        if mine is not None:
            active = self._freelist(mine, every, cache.link)
            on_cpu = len(active)
            if not free.isdisjoint(active):
                raise _BrokenRule
            free |= active
        live = every - free
        form = cache.number, order, on_list, on_cpu
        if cache.kind:
            return _Slab(which, order, on_list > 0, form, dict.fromkeys(live, cache.kind), [])
        return _Slab(which, order, on_list > 0, form, {}, [(cache.name, obj) for obj in live])

    def _freelist(self, obj: int, every: frozenset[int], link: int) -> set[int]:
        """Return the objects on a freelist of the slab that has ``every`` object."""
        w, B = self.m.w, self.m.B
        found: set[int] = set()
        while obj:
            if obj not in every or obj in found:
                raise _BrokenRule
            found.add(obj)
            obj = w[((obj - B) >> 3) + link]
        return found

    def _look_at_partial_lists(self, partial: dict[int, set[int]], form: list[int]) -> None:
        w, B, PS = self.m.w, self.m.B, self.m.PS
        for which, belong in partial.items():
            ni = self.caches[which].node
            head = before = B + 8 * (ni + PARTIAL)
            entry, n = w[ni + PARTIAL], len(belong)
            form.append(n)
            if w[ni] != n:
                raise _BrokenRule
            while entry != head:
                slab = entry - 8 * LIST
                if slab not in belong or w[((entry - B) >> 3) + 1] != before:
                    raise _BrokenRule
                belong.discard(slab)
                form.append((w[((slab - B) >> 3) + VIRT] - B) >> PS)
                before, entry = entry, w[(entry - B) >> 3]
            if belong or w[ni + PARTIAL + 1] != before:
                raise _BrokenRule

    def _look_at_free_lists(self, words: list[int], live: dict[int, int], form: list[int]) -> int:
        """Walk each free list.  Returns how many pages are free."""
        m = self.m
        w, B, V, nr, PS = m.w, m.B, m.V, m.nr_pages, m.PS
        free_at: dict[int, int] = {}
        total = 0
        for order in range(m.max_order + 1):
            at = self._heads + 2 * order
            head = before = B + 8 * at
            entry, n = w[at], 1 << order
            form.append(255)
            while entry != head:
                li = (entry - B) >> 3
                buddy = entry - 8
                if live.pop(buddy, 0) != _BUDDY or w[li + 1] != before or w[li - 1] != self._flags or w[li + 2] != order:
                    raise _BrokenRule
                pfn, rest = divmod(w[li + 3] - V, 8)
                if rest or pfn & (n - 1) or not 0 <= pfn <= nr - n or words[pfn : pfn + n] != [buddy | _FREE] * n:
                    raise _BrokenRule
                free_at[pfn] = order
                form += (pfn, (buddy - B) >> PS if li < m.KA else nr)
                total += n
                before, entry = entry, w[li]
            if w[at + 1] != before:
                raise _BrokenRule
        if w[self._free] != total:
            raise _BrokenRule
        for pfn, order in free_at.items():
            if order < m.max_order and free_at.get(pfn ^ (1 << order)) == order:
                raise _BrokenRule
        return total

    def _is_block(self, buddy: int, pfn: int, order: int) -> bool:
        """Say whether a buddy's own words describe this block of the zone."""
        m = self.m
        li = (buddy - m.B) >> 3
        w = m.w
        return (
            order <= m.max_order
            and 0 <= pfn <= m.nr_pages - (1 << order)
            and w[li + _BUDDY_PAGE] == m.V + 8 * pfn
            and w[li + _BUDDY_ORDER] == order
            and w[li] & ~HELD == self._flags
        )

    # -- helpers

    def _pages(self, slab: int) -> range:
        pfn = self._slabs[slab]
        return range(pfn, pfn + (1 << (self.m.w[((slab - self.m.B) >> 3) + COUNTS] >> 32 & 0xFF)))

    def _all_objects(self, pfn: int, cache: _Cache, order: int) -> frozenset[int]:
        """Return the addresses of all objects of a slab, which never change, and note them."""
        m, start = self.m, self.m.B + (pfn << self.m.PS)
        n = objects_per_slab(cache.size << 3, order, m.page_size)
        every = self._every[pfn, cache.number, order] = frozenset(range(start, start + n * (cache.size << 3), cache.size << 3))
        return every

    def _cpu_entries(self, cache: _Cache) -> list[int]:
        return [self.m.cc_at + cpu * CPU_ROW + cache.cpu_slab for cpu in range(self.m.config.cpus)]

    def _cache(self, number: int, name: str) -> _Cache:
        m = self.m
        view = live_caches(m)[name].struct
        ci = (view.address - m.B) >> 3
        if view.flags & SLAB.DEBUG:
            raise ValueError(f"a survey cannot look into the debug cache {name}; check() can")
        kinds = {"kmem_cache_buddy": _BUDDY, "kmem_cache_slab": _SLAB} | {struct.struct: int(kind) for struct, kind in USERS.values()}
        kind = kinds.get(name, 0)
        if kind == _VMALLOC:
            raise ValueError("a survey does not follow vmalloc's lists; check() does")
        orders = tuple({view.order, view.min_order})
        return _Cache(number, ci, name, view.cpu_slab, (view.node - m.B) >> 3, view.size >> 3, view.offset >> 3, orders, kind)
