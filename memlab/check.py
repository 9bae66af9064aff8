"""check(): is a machine's RAM in order?  Every rule that the allocators keep between operations, with a name, tested from RAM alone.

Used through ``m.check()``, by the tests, the labs and the study of the design.  It trusts nothing that it reads: every address is looked at
before it is followed and every walk is bounded, so it ends on any image, however damaged.  Imports structs, memdesc and the geometry.

The order of work: caches and their slabs (which objects are free?), then descriptors (which are live, and what do they describe?), then
free lists and per-CPU lists, and last every page (who owns it?).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from . import structs
from .memdesc import MemType
from .slub import CPU_ROW, CPU_WORDS
from .slub_debug import POISON_END, POISON_FREE, RED_ACTIVE, RED_INACTIVE
from .slub_size import SLAB
from .structs import HELD, NODE_SHIFT, NR_CACHES, PCP, UNUSED
from .users import USERS

if TYPE_CHECKING:
    from .machine import Machine

RULES: Final = {
    "zone-shape": "a struct zone says its name, flags and span as the machine was booted",
    "zone-managed": "a zone's managed_pages is its span less what is reserved",
    "zone-watermarks": "a zone's watermarks rise: min, low, high",
    "zone-free-count": "a zone's free_pages is the sum of its free blocks",
    "free-list-link": "each link of a free list points to the list member of a live struct buddy, or to the list's head",
    "free-list-prev": "prev undoes next on every free list",
    "free-list-loop": "a free list comes back to its head",
    "free-list-order": "a free block is on the list of its own order",
    "free-list-zone": "a free block is on a list of its own zone",
    "free-block-merged": "two free buddies of one order are never left unmerged",
    "pcp-link": "each link of a per-CPU page list points to a live struct buddy, both ways",
    "pcp-count": "a per-CPU page list holds as many pages as it says",
    "pcp-page": "a page on a per-CPU list is a single free page of that zone, marked PCP",
    "buddy-page": "a struct buddy's page is a struct page of this machine",
    "buddy-order": "a struct buddy's order is 0 to max_order",
    "buddy-alignment": "a block of order k starts at a multiple of 2^k",
    "buddy-zone": "a block lies in one zone, and its buddy's flags name it",
    "buddy-leak": "a live struct buddy describes a block: it is on a list, or its pages or their descriptor name it",
    "block-mem_desc": "the mem_desc words of all pages of a block agree with its descriptor",
    "page-type": "a mem_desc has one of the known types",
    "page-desc": "a mem_desc points to a live descriptor of its type",
    "page-reserved": "just the mem_map's pages, and page 0, have no descriptor",
    "page-two-owners": "no page belongs to two blocks",
    "page-no-owner": "every page belongs to a block",
    "desc-in-free-page": "no live descriptor lies in a free page",
    "cache-shape": "a kmem_cache's sizes, orders, node and cpu_slab fit each other",
    "cache-nr_slabs": "a kmem_cache_node counts the cache's slabs of its node",
    "partial-link": "each link of a partial list points to a slab of that cache and node, both ways",
    "partial-count": "a partial list holds nr_partial slabs",
    "partial-missing": "a slab with free objects that is no CPU's is on its node's partial list",
    "partial-full": "a full slab, and a CPU's slab, is on no list",
    "cpu-slab": "a CPU's active slab is a frozen slab of that cache",
    "cpu-freelist": "a CPU's freelist runs through free objects of its slab and ends",
    "slab-leak": "a live struct slab describes a slab",
    "slab-place": "a struct slab is a live object of kmem_cache_slab",
    "slab-cache": "a slab belongs to a live cache",
    "slab-virt": "a slab's virt is the address of its first page",
    "slab-flags": "a slab's flags name the zone of its pages",
    "slab-buddy": "a slab's buddy is the live struct buddy of its pages",
    "slab-order": "a slab's order is its buddy's",
    "slab-objects": "a slab has as many objects as fit",
    "slab-freelist": "a slab's freelist runs through objects of the slab and ends",
    "slab-inuse": "a slab's inuse is its objects less those on its freelist",
    "slab-frozen": "a slab is frozen while it is a CPU's, and only then",
    "slab-lowmem": "slabs and descriptors lie in lowmem",
    "red-zone": "the red zones around a debug cache's objects are whole",
    "poison": "the poison in a debug cache's free objects is whole",
    "user-leak": "a live folio, anonmem, filemem, ptdesc or vmalloc describes pages",
    "user-buddy": "a user's buddy is the live struct buddy of its pages",
    "user-refcount": "a live user has a reference count above 0",
    "vmalloc-list": "a vmalloc's list links nr_pages buddies of single pages, both ways",
}


class Broken(NamedTuple):
    """A rule that is broken: its name, what is wrong in words, and the addresses concerned."""

    rule: str
    sentence: str
    addresses: tuple[int, ...]


class Corruption(Exception):
    """RAM is not in order.  ``broken``: every broken rule found; ``rules``: their names."""

    def __init__(self, broken: list[Broken]) -> None:
        self.broken = broken
        self.rules = sorted({b.rule for b in broken})
        lines = [f"{b.rule}: {b.sentence}" for b in broken[:20]]
        if len(broken) > 20:
            lines.append(f"... and {len(broken) - 20} more")
        super().__init__("\n".join(lines))


def check(m: Machine) -> list[Broken]:
    """Return every broken rule of a machine's RAM; an empty list if all is in order."""
    return _Checker(m).run()


class _Slab(NamedTuple):
    """What is known of a slab after it was looked at: its view, its cache, and which of its objects are free."""

    view: structs.slab
    cache: structs.kmem_cache
    pfn: int
    objects: range
    free: frozenset[int]


class _Checker:
    def __init__(self, m: Machine) -> None:
        self.m, self.w, self.B = m, m.w, m.B
        self.broken: list[Broken] = []
        self.words = m.w[m.MM : m.MM + m.nr_pages].tolist()
        self.caches: dict[int, structs.kmem_cache] = {}
        self.slabs: dict[int, _Slab] = {}
        self.cpu_slabs: dict[int, list[int]] = {}  # active slab -> the objects on its CPU's freelist
        self.on_partial: dict[int, int] = {}  # slab -> the kmem_cache_node on whose list it is
        self.on_list: dict[int, str] = {}  # free buddies: "free" or "pcp"
        self.holders: dict[int, int] = {}  # buddy -> the mem_desc that its pages should have, for slabs and users
        self.live: dict[str, set[int]] = {}  # cache name -> live objects

    def say(self, rule: str, sentence: str, *addresses: int) -> None:
        self.broken.append(Broken(rule, sentence, addresses))

    def run(self) -> list[Broken]:
        self.look_at_caches()
        self.look_at_cpus()
        self.look_at_slabs()
        self.look_at_partial_lists()
        self.look_at_debug_objects()
        self.look_at_struct_slabs()
        self.look_at_users()
        self.look_at_zones()
        self.look_at_pcp()
        self.look_at_blocks()
        self.look_at_pages()
        return self.broken

    # -- caches and slabs

    def look_at_caches(self) -> None:
        m = self.m
        for i in range(NR_CACHES):
            address = self.B + 8 * m.kc_at + i * structs.kmem_cache.sizeof
            c = structs.kmem_cache(m, address)
            if not c.serial:
                continue
            good = (
                8 <= c.object_size <= c.size
                and c.size % 8 == 0
                and c.order <= m.max_order
                and c.min_order <= c.order
                and c.objects == (m.page_size << c.order) // c.size > 0
                and c.min_objects == (m.page_size << c.min_order) // c.size > 0
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

    def look_at_cpus(self) -> None:
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
            self.look_at_slab(address, pfn, counts)
        for c in self.caches.values():
            for node in range(m.config.nodes):
                ni = c.node + node * structs.kmem_cache_node.sizeof
                said = structs.kmem_cache_node(m, ni).nr_slabs
                if said != counts.get(ni, 0):
                    self.say("cache-nr_slabs", f"{c.name} on node {node} has {counts.get(ni, 0)} slabs, and its node says {said}", ni)

    def look_at_slab(self, address: int, pfn: int, counts: dict[int, int]) -> None:
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
        if s.order > m.max_order or s.objects != (m.page_size << s.order) // c.size:
            fit = (m.page_size << min(s.order, m.max_order)) // c.size
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
        self.slabs[address] = _Slab(s, c, pfn, range(start, start + s.objects * c.size, c.size), frozenset(free) | frozenset(cpu))

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

    # -- descriptors

    def look_at_struct_slabs(self) -> None:
        """Sort out live objects by cache, then ask of each struct slab whether it is one, whose, and whose its buddy is."""
        m = self.m
        for s in self.slabs.values():
            self.live.setdefault(s.cache.name, set()).update(obj for obj in s.objects if obj not in s.free)
        structs_slab = self.live.get("kmem_cache_slab", set())
        for slab in structs_slab - self.slabs.keys():
            if structs.slab(m, slab).flags & HELD == 0:
                self.say("slab-leak", f"the struct slab {slab:#x} is allocated, but no page's mem_desc names it", slab)
        for slab, s in self.slabs.items():
            if slab not in structs_slab:
                self.say(
                    "slab-place", f"the slab {slab:#x} of {s.cache.name} is described by what is no live object of kmem_cache_slab", slab
                )
            if self.is_live_buddy(s.view.buddy):
                b = structs.buddy(m, s.view.buddy)
                if b.page != m.pfn_to_page(s.pfn):
                    self.say(
                        "slab-buddy",
                        f"the slab {slab:#x} of {s.cache.name} names the buddy {b.address:#x}, which is of another block",
                        slab,
                        b.address,
                    )
                    continue
                if b.order != s.view.order:
                    self.say("slab-order", f"the slab {slab:#x} says order {s.view.order}, and its buddy {b.order}", slab, b.address)
                if b.flags & ~HELD != s.view.flags & ~HELD:
                    self.say("slab-flags", f"the slab {slab:#x} has flags {s.view.flags:#x}, and its buddy {b.flags:#x}", slab, b.address)
                self.holders[b.address] = slab | MemType.SLAB
            else:
                self.say("slab-buddy", f"the slab {slab:#x} of {s.cache.name} names {s.view.buddy:#x}, which is no live struct buddy", slab)

    def look_at_users(self) -> None:
        m = self.m
        for user, (struct, kind) in USERS.items():
            for address in sorted(self.live.get(struct.struct, ())):
                view = struct(m, address)
                if not view.refcount:  # type: ignore[attr-defined]  # every user has one
                    self.say("user-refcount", f"the {user} {address:#x} is live, but its reference count is 0", address)
                if user == "vmalloc":
                    self.look_at_vmalloc(structs.vmalloc(m, address))
                    continue
                buddy = view.buddy
                if not self.is_live_buddy(buddy):
                    self.say("user-buddy", f"the {user} {address:#x} names {buddy:#x}, which is no live struct buddy", address)
                    continue
                b = structs.buddy(m, buddy)
                pfn = (b.page - m.V) // 8
                if b.order != view.order or not 0 <= pfn < m.nr_pages or self.words[pfn] != address | kind:  # type: ignore[attr-defined]
                    pages = [p for p, word in enumerate(self.words) if word == address | kind]
                    rule = "user-buddy" if pages else "user-leak"
                    self.say(
                        rule, f"the {user} {address:#x} names the buddy {buddy:#x}, whose pages are not described by it", address, buddy
                    )
                    continue
                self.holders[buddy] = address | kind

    def look_at_vmalloc(self, v: structs.vmalloc) -> None:
        n = 0
        head = v.address + structs.memdesc.list.offset
        for entry, buddy in self.walk(head, structs.buddy.list.offset):
            if isinstance(entry, str) or not self.is_live_buddy(buddy):
                what = entry if isinstance(entry, str) else f"leads to {buddy:#x}, which is no live struct buddy"
                self.say("vmalloc-list", f"the list of the vmalloc {v.address:#x} {what}", v.address)
                return
            n += 1
            self.holders[buddy] = v.address | MemType.VMALLOC
        if n != v.nr_pages:
            rule = "vmalloc-list" if n else "user-leak"
            self.say(rule, f"the vmalloc {v.address:#x} says {v.nr_pages} pages, and its list holds {n}", v.address)

    def is_live_buddy(self, address: int) -> bool:
        return address in self.live.get("kmem_cache_buddy", ()) or (address == self.static and not self.w[self.m.static_at] & UNUSED)

    @property
    def static(self) -> int:
        return self.B + 8 * self.m.static_at

    # -- lists of free blocks

    def look_at_zones(self) -> None:
        m = self.m
        for z in m.zones:
            view = m.zone_view(z)
            told = (view.name, view.flags, view.start_pfn, view.end_pfn)
            if told != (z.name, z.flags, z.start, z.end):
                self.say(
                    "zone-shape",
                    f"the zone {z.name} of node {z.node} says {told}, and was booted as {(z.name, z.flags, z.start, z.end)}",
                    view.address,
                )
            edge = m.mem_map_pfn + m.mem_map_pages
            reserved = max(0, min(z.end, edge) - max(z.start, m.mem_map_pfn)) + (z.start == 0 < m.mem_map_pfn)
            if view.managed_pages != z.end - z.start - reserved:
                self.say(
                    "zone-managed",
                    f"the zone {z.name} of node {z.node} says {view.managed_pages} managed pages of {z.end - z.start}",
                    view.address,
                )
            marks = view.watermark
            if list(marks) != sorted(marks):
                self.say(
                    "zone-watermarks",
                    f"the watermarks of zone {z.name} on node {z.node} are {marks}: min, low, high must rise",
                    view.address,
                )
            total = sum(
                self.look_at_free_list(z.name, z.flags, order, self.B + 8 * (z.heads + 2 * order)) for order in range(m.max_order + 1)
            )
            if total != view.free_pages:
                self.say(
                    "zone-free-count",
                    f"zone {z.name} of node {z.node} says {view.free_pages} free pages; its lists hold {total}",
                    view.address,
                )

    def look_at_free_list(self, name: str, flags: int, order: int, head: int) -> int:
        total = 0
        for entry, buddy in self.walk(head, structs.buddy.list.offset):
            if isinstance(entry, str):
                rule = "free-list-prev" if "prev" in entry else "free-list-loop" if "circle" in entry else "free-list-link"
                self.say(rule, f"the free list of order {order} of zone {name} {entry}", head)
                break
            if not self.is_live_buddy(buddy):
                self.say(
                    "free-list-link",
                    f"the free list of order {order} of zone {name} leads to {buddy:#x}, which is no live struct buddy",
                    head,
                    buddy,
                )
                break
            b = structs.buddy(self.m, buddy)
            if buddy in self.on_list:
                self.say("free-list-loop", f"the buddy {buddy:#x} is on two free lists", head, buddy)
                break
            self.on_list[buddy] = "free"
            if b.order != order:
                self.say("free-list-order", f"the buddy {buddy:#x} of order {b.order} is on the free list of order {order}", buddy)
            if b.flags != flags:
                self.say(
                    "free-list-zone",
                    f"the buddy {buddy:#x} with flags {b.flags:#x} is on a free list of zone {name}, whose flags are {flags:#x}",
                    buddy,
                )
            total += 1 << order
        return total

    def look_at_pcp(self) -> None:
        m = self.m
        for cpu in range(m.config.cpus):
            for i, z in enumerate(m.zones):
                address = self.B + 8 * m.pcp_at + (cpu * len(m.zones) + i) * structs.per_cpu_pages.sizeof
                n, end = 0, False
                for entry, buddy in self.walk(address + structs.per_cpu_pages.list.offset, structs.buddy.list.offset):
                    end = isinstance(entry, str) or not self.is_live_buddy(buddy) or buddy in self.on_list
                    if end:
                        what = entry if isinstance(entry, str) else f"leads to {buddy:#x}, which is no struct buddy of its own"
                        self.say("pcp-link", f"CPU {cpu}'s page list of zone {z.name} {what}", address)
                        break
                    b = structs.buddy(m, buddy)
                    self.on_list[buddy] = "pcp"
                    n += 1
                    if b.order or b.flags != z.flags | PCP:
                        self.say("pcp-page", f"the buddy {buddy:#x} on CPU {cpu}'s list has order {b.order} and flags {b.flags:#x}", buddy)
                said = structs.per_cpu_pages(m, address).count
                if not end and said != n:
                    self.say("pcp-count", f"CPU {cpu}'s page list of zone {z.name} says {said} pages and holds {n}", address)

    # -- blocks and pages

    def look_at_blocks(self) -> None:
        """Every live struct buddy: its block, and the mem_desc words of the block's pages."""
        m = self.m
        live = self.live.get("kmem_cache_buddy", set()) | ({self.static} if not self.w[m.static_at] & UNUSED else set())
        self.owner: dict[int, int] = {}
        free_at: dict[int, int] = {}
        for address in sorted(live):
            b = structs.buddy(m, address)
            if b.flags & HELD and address not in self.on_list and not b.page:
                continue  # in a consumer's hands, and describes nothing
            pfn, rest = divmod(b.page - m.V, 8)
            if b.order > m.max_order:
                self.say("buddy-order", f"the buddy {address:#x} says order {b.order}; the highest is {m.max_order}", address)
                continue
            if rest or not 0 <= pfn <= m.nr_pages - (1 << b.order):
                self.say("buddy-page", f"the buddy {address:#x} of order {b.order} says page {b.page:#x}, where no such block is", address)
                continue
            expected = self.expected(address, b, pfn)
            if not expected:
                self.say(
                    "buddy-leak",
                    f"the buddy {address:#x} is allocated, but is on no list, and neither pages nor a descriptor name it",
                    address,
                )
                continue
            self.look_at_block(b, pfn, expected)
            if expected & 15 == MemType.FREE and self.on_list.get(address) == "free":
                free_at[pfn] = b.order
        for pfn, order in free_at.items():
            other = pfn ^ (1 << order)
            if pfn < other and order < m.max_order and free_at.get(other) == order and self.zone_flags(pfn) == self.zone_flags(other):
                self.say(
                    "free-block-merged",
                    f"the free buddies at pages {pfn} and {other}, both of order {order}, were not merged",
                    m.pfn_to_page(pfn),
                )

    def expected(self, address: int, b: structs.buddy, pfn: int) -> int:
        """Return the mem_desc word that the pages of a live buddy's block should have; 0 if the buddy describes nothing."""
        if address in self.on_list:
            return address | MemType.FREE
        if address in self.holders:
            return self.holders[address]
        words = self.words[pfn : pfn + (1 << b.order)]
        if b.flags & HELD:
            return next((word for word in words if word & 15 > MemType.BUDDY), 0)
        if address | MemType.BUDDY in words:
            return address | MemType.BUDDY
        if address | MemType.FREE in words:
            return address | MemType.BUDDY  # on no list, so it should not be free
        return 0

    def look_at_block(self, b: structs.buddy, pfn: int, expected: int) -> None:
        m, n = self.m, 1 << b.order
        if pfn % n:
            self.say(
                "buddy-alignment",
                f"the buddy {b.address:#x} of order {b.order} starts at page {pfn}, which is no multiple of {n}",
                b.address,
            )
        first, last = self.zone_flags(pfn), self.zone_flags(pfn + n - 1)
        if first != last or b.flags & ~(HELD | PCP) != first:
            self.say(
                "buddy-zone",
                f"the buddy {b.address:#x} has flags {b.flags:#x}; its block is in zones with flags {first:#x} and {last:#x}",
                b.address,
            )
        wrong = [p for p in range(pfn, pfn + n) if self.words[p] != expected]
        if wrong:
            rest = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            self.say(
                "block-mem_desc",
                f"page {wrong[0]}{rest} of the block of buddy {b.address:#x} has the mem_desc {self.words[wrong[0]]:#x}, not {expected:#x}",
                *(m.pfn_to_page(p) for p in wrong[:4]),
            )
        for p in range(pfn, pfn + n):
            if p in self.owner:
                self.say(
                    "page-two-owners", f"page {p} belongs to the buddies {self.owner[p]:#x} and {b.address:#x}", self.owner[p], b.address
                )
                break
            self.owner[p] = b.address

    def look_at_pages(self) -> None:
        m = self.m
        live = {
            MemType.FREE: self.on_list.keys(),
            MemType.BUDDY: {a for a in (*self.live.get("kmem_cache_buddy", ()), self.static) if a not in self.on_list},
            MemType.SLAB: self.slabs.keys(),
        } | {kind: self.live.get(struct.struct, set()) for struct, kind in USERS.values()}
        foreign = {self.words[p] for p, owner in self.owner.items() if self.w[(owner - self.B) >> 3] & HELD}
        seen: set[int] = set()
        for pfn, word in enumerate(self.words):
            kind = word & 15
            page = m.V + 8 * pfn
            if self.is_reserved(pfn):
                if word:
                    self.say("page-reserved", f"page {pfn} is reserved, but has the mem_desc {word:#x}", page)
                continue
            if word == 0:
                self.say("page-reserved", f"page {pfn} has no descriptor, but is not reserved", page)
            elif kind >= len(MemType):
                self.say("page-type", f"page {pfn} has the mem_desc {word:#x}, whose type {kind} does not exist", page)
            elif word not in seen and word not in foreign:
                seen.add(word)
                if word & ~15 not in live.get(MemType(kind), ()):
                    what = f"{MemType(kind).name.lower()} at {word & ~15:#x}, where no such live descriptor is"
                    self.say("page-desc", f"the mem_desc of page {pfn} names the {what}", page, word & ~15)
                home = ((word & ~15) - self.B) >> m.PS
                if 0 <= home < m.highmem_pfn and self.words[home] & 15 == MemType.FREE:
                    self.say(
                        "desc-in-free-page", f"the descriptor {word & ~15:#x} of page {pfn} lies in page {home}, which is free", word & ~15
                    )
            if pfn not in self.owner:
                self.say("page-no-owner", f"page {pfn} belongs to no block", page)
        for name in ("kmem_cache_buddy", "kmem_cache_slab", *(struct.struct for struct, _ in USERS.values())):
            for address in sorted(self.live.get(name, ())):
                home = (address - self.B) >> m.PS
                if self.words[home] & 15 == MemType.FREE or self.on_list.get(self.owner.get(home, 0)):
                    self.say("desc-in-free-page", f"the live descriptor {address:#x} of {name} lies in page {home}, which is free", address)

    # -- helpers

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
        return self.B <= address < self.B + (self.m.highmem_pfn << self.m.PS) and address % 8 == 0

    def is_reserved(self, pfn: int) -> bool:
        m = self.m
        return pfn == 0 or m.mem_map_pfn <= pfn < m.mem_map_pfn + m.mem_map_pages

    def zone_flags(self, pfn: int) -> int:
        return next(z.flags for z in self.m.zones if z.start <= pfn < z.end)
