"""check(): is a machine's RAM in order?  Every rule that the allocators keep between operations, with a name, tested from RAM alone.

Used through ``m.check()``, by the tests, the labs and the study of the design.  It trusts nothing that it reads: every address is looked at
before it is followed and every walk is bounded, so it ends on any image, however damaged.  Imports check_slabs and below.

The order of work: caches and their slabs (which objects are free?), then descriptors (which are live, and what do they describe?), then
free lists and per-CPU lists, and last every page (who owns it?).
"""

from __future__ import annotations

from . import structs
from .check_rules import RULES, Broken, Corruption
from .check_slabs import SlabChecks
from .kernel import Kernel
from .memdesc import MemType
from .structs import HELD, PCP, UNUSED
from .words import USERS
from .zone import marks_of, zone_view

__all__ = ["RULES", "Broken", "Corruption", "check"]


def check(m: Kernel) -> list[Broken]:
    """Return every broken rule of a machine's RAM; an empty list if all is in order."""
    return _Checker(m).run()


class _Checker(SlabChecks):
    """The checks of descriptors, free lists, blocks and pages, and the order of it all."""

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

    # -- lists of free blocks

    def look_at_zones(self) -> None:
        m = self.m
        for z in m.zones:
            view = zone_view(m, z)
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
            marks = view.watermark, view.lowmem_reserve
            if marks != marks_of(m, z):
                self.say(
                    "zone-watermarks",
                    f"the watermarks and lowmem_reserve of zone {z.name} at {view.address:#x} are {marks}, not {marks_of(m, z)}",
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
        self.owner, self.foreign = [0] * m.nr_pages, set[int]()
        free_at: dict[int, int] = {}
        for address in sorted(live):
            b = structs.buddy(m, address)
            if b.flags & HELD and address not in self.on_list and not b.page:
                continue  # in a consumer's hands, and describes nothing
            pfn, rest = divmod(b.page - m.V, 8)
            if b.order > m.max_order:
                self.say("buddy-order", f"the buddy {address:#x} says order {b.order}; the highest is {m.max_order}", address)
                continue
            if above := self.w[(address - self.B >> 3) + structs.buddy.order.word] >> 32:
                self.say(
                    "buddy-order",
                    f"the buddy {address:#x} has {above:#x} in the padding after its order, which belongs to no order",
                    address,
                )
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
        words = self.words[pfn : pfn + n]
        if words.count(expected) < n:
            wrong = [p for p, word in enumerate(words, pfn) if word != expected]
            rest = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            self.say(
                "block-mem_desc",
                f"page {wrong[0]}{rest} of the block of buddy {b.address:#x} has the mem_desc {self.words[wrong[0]]:#x}, not {expected:#x}",
                *(m.pfn_to_page(p) for p in wrong[:4]),
            )
        if b.flags & HELD:
            self.foreign.update(words)
        mine, other = n, next(filter(None, self.owner[pfn : pfn + n]), 0)
        if other:
            mine = self.owner.index(other, pfn) - pfn
            self.say("page-two-owners", f"page {pfn + mine} belongs to the buddies {other:#x} and {b.address:#x}", other, b.address)
        self.owner[pfn : pfn + mine] = [b.address] * mine

    def look_at_pages(self) -> None:
        m = self.m
        live = {
            MemType.FREE: self.on_list.keys(),
            MemType.BUDDY: {a for a in (*self.live.get("kmem_cache_buddy", ()), self.static) if a not in self.on_list},
            MemType.SLAB: self.slabs.keys(),
        } | {kind: self.live.get(struct.struct, set()) for struct, kind in USERS.values()}
        # pages of which there may be something to say: reserved ones, the first with each mem_desc, and those that lack one or an owner
        reserved, kinds = [0, *range(m.mem_map_pfn, m.mem_map_pfn + m.mem_map_pages)], len(MemType)
        words = list(self.words)
        for pfn in reserved:
            words[pfn] = 0
        first = dict(zip(reversed(words), reversed(range(m.nr_pages)), strict=True)).values()
        odd = [p for p, (word, owner) in enumerate(zip(words, self.owner, strict=True)) if not owner or word & 15 >= kinds or not word]
        seen: set[int] = set()
        for pfn in sorted({*reserved, *first, *odd}):
            word = self.words[pfn]
            kind, page = word & 15, m.V + 8 * pfn
            if self.is_reserved(pfn):
                if word:
                    self.say("page-reserved", f"page {pfn} is reserved, but has the mem_desc {word:#x}", page)
                continue
            if word == 0:
                self.say("page-reserved", f"page {pfn} has no descriptor, but is not reserved", page)
            elif kind >= kinds:
                self.say("page-type", f"page {pfn} has the mem_desc {word:#x}, whose type {kind} does not exist", page)
            elif word not in seen and word not in self.foreign:
                seen.add(word)
                if word & ~15 not in live.get(MemType(kind), ()):
                    what = f"{MemType(kind).name.lower()} at {word & ~15:#x}, where no such live descriptor is"
                    self.say("page-desc", f"the mem_desc of page {pfn} names the {what}", page, word & ~15)
                home = ((word & ~15) - self.B) >> m.PS
                if 0 <= home < m.highmem_pfn and self.words[home] & 15 == MemType.FREE:
                    self.say(
                        "desc-in-free-page", f"the descriptor {word & ~15:#x} of page {pfn} lies in page {home}, which is free", word & ~15
                    )
            if not self.owner[pfn]:
                self.say("page-no-owner", f"page {pfn} belongs to no block", page)
        for name in ("kmem_cache_buddy", "kmem_cache_slab", *(struct.struct for struct, _ in USERS.values())):
            for address in sorted(self.live.get(name, ())):
                home = (address - self.B) >> m.PS
                if self.words[home] & 15 == MemType.FREE or self.on_list.get(self.owner[home]):
                    self.say("desc-in-free-page", f"the live descriptor {address:#x} of {name} lies in page {home}, which is free", address)
