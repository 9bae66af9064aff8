"""The half of check() that looks at caches and slabs: shapes, freelists, partial lists, CPUs' slabs, red zones and poison.

Used by check.py, whose class is built on this one.  What it finds out on the way (``slabs``, and which objects are free) is what the other
half asks of descriptors.  Imports structs, check_rules and the geometry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from . import structs
from .check_rules import Broken
from .kernel import Kernel
from .memdesc import MemType
from .slub_debug import POISON_END, POISON_FREE, RED_ACTIVE, RED_INACTIVE
from .slub_size import SLAB, objects_per_slab
from .structs import HELD, NODE_SHIFT, NR_CACHES
from .words import CPU_ROW, CPU_WORDS, NODE_WORDS, PARTIAL


class Slab(NamedTuple):
    """What is known of a slab after it was looked at: its view, its cache, and which of its objects are free."""

    view: structs.slab
    cache: structs.kmem_cache
    pfn: int
    objects: range
    free: frozenset[int]


class SlabChecks:
    """What is known of a machine so far, and the checks of its caches and slabs."""

    def __init__(self, m: Kernel) -> None:
        self.m, self.w, self.B = m, m.w, m.B
        self.broken: list[Broken] = []
        self.words = m.w[m.MM : m.MM + m.nr_pages].tolist()
        self.caches: dict[int, structs.kmem_cache] = {}
        self.slabs: dict[int, Slab] = {}
        self.cpu_slabs: dict[int, list[int]] = {}  # active slab -> the objects on its CPU's freelist
        self.on_partial: dict[int, int] = {}  # slab -> the kmem_cache_node on whose list it is
        self.on_list: dict[int, str] = {}  # free buddies: "free" or "pcp"
        self.holders: dict[int, int] = {}  # buddy -> the mem_desc that its pages should have, for slabs and users
        self.live: dict[str, set[int]] = {}  # cache name -> live objects

    def say(self, rule: str, sentence: str, *addresses: int) -> None:
        """Note a broken rule."""
        self.broken.append(Broken(rule, sentence, addresses))

    def look_at_caches(self) -> None:
        """Look at each live kmem_cache's own fields."""
        m = self.m
        for i in range(NR_CACHES):
            address = self.B + 8 * m.kc_at + i * structs.kmem_cache.sizeof
            c = structs.kmem_cache(m, address)
            if not c.serial:
                self.look_at_empty_slot(i)
                continue
            if c.serial > self.w[m.serial_at]:
                self.say("cache-slot", f"the kmem_cache at {address:#x} has the serial {c.serial}, higher than any given out", address)
            good = (
                8 <= c.object_size <= c.size
                and c.size % 8 == 0
                and c.order <= m.max_order
                and c.min_order <= c.order
                and c.objects == objects_per_slab(c.size, c.order, m.page_size) > 0
                and c.min_objects == objects_per_slab(c.size, c.min_order, m.page_size) > 0
                and c.offset % 8 == 0
                and c.offset <= c.size - 8
                and c.object_size <= c.inuse <= c.size - c.red_left_pad
                and c.node == self.B + 8 * m.kn_at + i * m.config.nodes * structs.kmem_cache_node.sizeof
                and c.cpu_slab == i * CPU_WORDS
                and c.own == (address == self.B + 8 * m.KC_SLAB)
                and c.min_partial <= 10
                and c.align & (c.align - 1) == 0
            )
            if not good:
                self.say("cache-shape", f"the kmem_cache {c.name!r} at {address:#x} has fields that do not fit each other: {c!r}", address)
            elif c.size:
                self.caches[address] = c

    def look_at_empty_slot(self, i: int) -> None:
        """See that nothing is left of a cache in the tables of slot ``i``."""
        m, w = self.m, self.w
        for cpu in range(m.config.cpus):
            p = m.cc_at + cpu * CPU_ROW + i * CPU_WORDS
            if w[p] or w[p + 1]:
                self.say(
                    "cache-slot",
                    f"slot {i} of the caches is unused, but CPU {cpu}'s entry at {self.B + 8 * p:#x} is not empty",
                    self.B + 8 * p,
                )
        for node in range(m.config.nodes):
            ni = m.kn_at + (i * m.config.nodes + node) * NODE_WORDS
            head = self.B + 8 * (ni + PARTIAL)
            if m.nr_partial_of[ni] or m.nr_slabs_of[ni] or w[ni + PARTIAL] != head or w[ni + PARTIAL + 1] != head:
                self.say(
                    "cache-slot",
                    f"slot {i} of the caches is unused, but node {node}'s entry at {self.B + 8 * ni:#x} is not empty",
                    self.B + 8 * ni,
                )

    def look_at_cpus(self) -> None:
        """Follow each CPU's active slabs and freelists."""
        m, w = self.m, self.w
        for cpu in range(m.config.cpus):
            for address, c in self.caches.items():
                p = m.cc_at + cpu * CPU_ROW + c.cpu_slab
                slab, obj = w[p + 1], w[p]
                where = f"CPU {cpu}'s slot of {c.name} at {self.B + 8 * p:#x}"
                if slab and (not self.in_lowmem(slab) or structs.slab(m, slab).slab_cache != address):
                    self.say("cpu-slab", f"{where} names {slab:#x} as its slab, which is no slab of {c.name}", self.B + 8 * p, slab)
                    continue
                if slab in self.cpu_slabs:
                    self.say("cpu-slab", f"{where} names the slab {slab:#x}, which is another CPU's too", self.B + 8 * p, slab)
                    continue
                if not slab:
                    if obj:
                        self.say("cpu-freelist", f"{where} has a freelist, {obj:#x}, but no slab", self.B + 8 * p, obj)
                    continue
                s = structs.slab(m, slab)
                objs, end = self.freelist(obj, c, s)
                if end:
                    self.say("cpu-freelist", f"the freelist of {where} {end}", self.B + 8 * p, slab)
                self.cpu_slabs[slab] = objs

    def look_at_slabs(self) -> None:
        """Find all slabs through the mem_map, for a full one is on no list."""
        m = self.m
        first: dict[int, int] = {}
        for pfn, word in enumerate(self.words):
            if word & 15 == MemType.SLAB:
                first.setdefault(word & ~15, pfn)
        counts: dict[int, int] = {}
        for address, pfn in first.items():
            if not self.in_lowmem(address):
                self.say(
                    "page-desc",
                    f"the mem_desc of page {pfn} names a slab at {address:#x}, where no struct slab can be",
                    m.pfn_to_page(pfn),
                    address,
                )
                continue
            if pfn >= m.highmem_pfn:
                self.say("slab-lowmem", f"page {pfn} is HIGHMEM, but the slab {address:#x} claims it", address)
                continue
            if structs.slab(m, address).flags & HELD == 0:  # else its pages are in the hands of whoever holds it
                self.look_at_slab(address, pfn, counts)
        for c in self.caches.values():
            for node in range(m.config.nodes):
                ni = c.node + node * structs.kmem_cache_node.sizeof
                said = structs.kmem_cache_node(m, ni).nr_slabs
                if said != counts.get(ni, 0):
                    self.say("cache-nr_slabs", f"{c.name} on node {node} has {counts.get(ni, 0)} slabs, and its node says {said}", ni)

    def look_at_slab(self, address: int, pfn: int, counts: dict[int, int]) -> None:
        """Look at one struct slab, and note which of its objects are free."""
        m, s = self.m, structs.slab(self.m, address)
        c = self.caches.get(s.slab_cache)
        if c is None:
            self.say(
                "slab-cache", f"the slab {address:#x} of page {pfn} names the cache {s.slab_cache:#x}, which is no live cache", address
            )
            return
        node = s.flags >> NODE_SHIFT & 0xFF
        counts[c.node + node * structs.kmem_cache_node.sizeof] = counts.get(c.node + node * structs.kmem_cache_node.sizeof, 0) + 1
        if s.virt != self.B + (pfn << m.PS):
            self.say("slab-virt", f"the slab {address:#x} of {c.name} starts at page {pfn}, but its virt is {s.virt:#x}", address)
            return
        if s.order > m.max_order or s.objects != objects_per_slab(c.size, s.order, m.page_size):
            fit = objects_per_slab(c.size, min(s.order, m.max_order), m.page_size)
            rule = "slab-objects" if s.order <= m.max_order and s.order in (c.order, c.min_order) else "slab-order"
            self.say(rule, f"the slab {address:#x} of {c.name} says order {s.order} and {s.objects} objects; {fit} fit", address)
            return
        if pfn + (1 << s.order) > m.highmem_pfn:
            self.say(
                "slab-lowmem",
                f"the slab {address:#x} of {c.name} says order {s.order}: from page {pfn} on, that is more than lowmem has",
                address,
            )
            return
        if s.order not in (c.order, c.min_order):
            self.say(
                "slab-order",
                f"the slab {address:#x} is of order {s.order}; those of {c.name} are of order {c.order} or {c.min_order}",
                address,
            )
        if bool(s.frozen) != (address in self.cpu_slabs) or s.frozen > 1:
            kind = "frozen, but no CPU's" if s.frozen else "a CPU's, but not frozen"
            self.say("slab-frozen", f"the slab {address:#x} of {c.name} is {kind}", address)
        if bool(s.debug) != bool(c.flags & SLAB.DEBUG):
            self.say(
                "slab-frozen",
                f"the slab {address:#x} of {c.name} has the debug mark {s.debug}, which its cache's flags do not give",
                address,
            )
        free, end = self.freelist(s.freelist, c, s)
        if end:
            self.say("slab-freelist", f"the freelist of the slab {address:#x} of {c.name} {end}", address)
        if s.inuse != s.objects - len(free) and not end:
            self.say(
                "slab-inuse",
                f"the slab {address:#x} of {c.name} says {s.inuse} in use, but {len(free)} of its {s.objects} objects are free",
                address,
            )
        cpu = self.cpu_slabs.get(address, [])
        if set(free) & set(cpu):
            self.say("cpu-freelist", f"objects of the slab {address:#x} of {c.name} are on its own freelist and on a CPU's", address)
        start = s.virt + c.red_left_pad
        self.slabs[address] = Slab(s, c, pfn, range(start, start + s.objects * c.size, c.size), frozenset(free) | frozenset(cpu))

    def freelist(self, obj: int, c: structs.kmem_cache, s: structs.slab) -> tuple[list[int], str]:
        """Follow a freelist.  Returns its objects, and "" or what is wrong with its end."""
        found: list[int] = []
        seen: set[int] = set()
        start, size, objects, offset = s.virt + c.red_left_pad, c.size, s.objects, c.offset
        while obj:
            index, rest = divmod(obj - start, size)
            if rest or not 0 <= index < objects:
                return found, f"leaves the slab: it points to {obj:#x}"
            if obj in seen:
                return found, f"runs in a circle: it comes back to {obj:#x}"
            if not 0 <= obj - self.B < self.m.highmem_pfn << self.m.PS:
                return found, f"leaves lowmem: it points to {obj:#x}"
            found.append(obj)
            seen.add(obj)
            obj = self.w[(obj + offset - self.B) >> 3]
        return found, ""

    def look_at_partial_lists(self) -> None:
        """Walk every partial list, and see that each slab is on one if it should be."""
        m = self.m
        for c in self.caches.values():
            for node in range(m.config.nodes):
                address = c.node + node * structs.kmem_cache_node.sizeof
                head = address + structs.kmem_cache_node.partial.offset
                n, end = 0, ""
                for entry, slab in self.walk(head, structs.slab.list.offset):
                    known = self.slabs.get(slab)
                    if isinstance(entry, str):
                        end = entry
                    elif known is None or known.cache.address != c.address or known.view.flags >> NODE_SHIFT != node:
                        end = f"leads to {entry:#x}, which is no slab of {c.name} on node {node}"
                    if end:
                        self.say("partial-link", f"the partial list of {c.name} on node {node} {end}", address)
                        break
                    n += 1
                    self.on_partial[slab] = address
                said = structs.kmem_cache_node(m, address).nr_partial
                if not end and said != n:
                    self.say("partial-count", f"{c.name} on node {node} says {said} partial slabs, and its list holds {n}", address)
        for slab, s in self.slabs.items():
            belongs = bool(s.view.freelist) and not s.view.frozen
            if belongs and slab not in self.on_partial:
                self.say("partial-missing", f"the slab {slab:#x} of {s.cache.name} has free objects, but is on no partial list", slab)
            if not belongs and slab in self.on_partial:
                kind = "a CPU's" if s.view.frozen else "full"
                self.say("partial-full", f"the slab {slab:#x} of {s.cache.name} is {kind}, but is on a partial list", slab)

    def look_at_debug_objects(self) -> None:
        """Look at the red zones and the poison of debug caches."""
        m = self.m
        for slab, s in self.slabs.items():
            c = s.cache
            if not c.flags & SLAB.DEBUG:
                continue
            for obj in s.objects:
                red = RED_INACTIVE if obj in s.free else RED_ACTIVE
                if c.flags & SLAB.RED_ZONE:
                    around = m.read(obj - c.red_left_pad, c.red_left_pad) + m.read(obj + c.object_size, c.inuse - c.object_size)
                    if around.strip(bytes([red])):
                        self.say("red-zone", f"a red zone of the object {obj:#x} of {c.name} was written over", obj, slab)
                if obj in s.free and c.flags & SLAB.POISON and not c.ctor and not c.flags & SLAB.TYPESAFE_BY_RCU:
                    body = m.read(obj, c.object_size)
                    if body[:-1].strip(bytes([POISON_FREE])) or body[-1] != POISON_END:
                        self.say("poison", f"the free object {obj:#x} of {c.name} was written to", obj, slab)

    # -- helpers for all checks

    def walk(self, head: int, offset: int) -> Iterator[tuple[int | str, int]]:
        """Yield (entry's list member, the struct it is in) along a list; last, if it does not come back, (what is wrong, 0)."""
        w, B = self.w, self.B
        seen: set[int] = set()
        before, entry = head, w[(head - B) >> 3]
        while entry != head:
            if (entry - offset) & 15 or not (self.in_lowmem(entry) or entry - offset == self.static):
                yield f"leads from {before:#x} to {entry:#x}, where no list member can be", 0
                return
            if entry in seen:
                yield f"runs in a circle: it comes back to {entry:#x}", 0
                return
            if w[((entry - B) >> 3) + 1] != before:
                yield f"has a prev at {entry + 8:#x} that does not undo next: it is {w[((entry - B) >> 3) + 1]:#x}, not {before:#x}", 0
                return
            seen.add(entry)
            following = w[(entry - B) >> 3]
            yield entry, entry - offset
            before, entry = entry, following
        if w[((head - B) >> 3) + 1] != before:
            yield f"has a prev at its head {head:#x} that does not undo next: it is {w[((head - B) >> 3) + 1]:#x}, not {before:#x}", 0

    def in_lowmem(self, address: int) -> bool:
        """Say whether an address is a word of lowmem."""
        return self.B <= address < self.B + (self.m.highmem_pfn << self.m.PS) and address % 8 == 0

    def is_reserved(self, pfn: int) -> bool:
        """Say whether a page has no descriptor by rights."""
        m = self.m
        return pfn == 0 or m.mem_map_pfn <= pfn < m.mem_map_pfn + m.mem_map_pages

    def zone_flags(self, pfn: int) -> int:
        """Return the flags of the zone that a page lies in."""
        return next(z.flags for z in self.m.zones if z.start <= pfn < z.end)

    @property
    def static(self) -> int:
        """The address of boot's static struct buddy."""
        return self.B + 8 * self.m.static_at
