"""What lies at an address, and hexdumps that name the fields they cross.

Used through ``m.hexdump`` and ``m.whatis``, and by the checker's messages and the labs.  Reads RAM only.  Imports structs and memdesc.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from . import structs
from .kernel import Kernel
from .layout import Struct
from .memdesc import MemType
from .number import whole
from .words import USERS

# structs that lie in the slabs of a cache of their own, by the cache's name
_BY_CACHE: dict[str, type[Struct]] = {"kmem_cache_buddy": structs.buddy, "kmem_cache_slab": structs.slab} | {
    s.struct: s for s, _ in USERS.values()
}


class Place(NamedTuple):
    """What holds an address: a name, the address where it starts, and its struct, if it is one."""

    name: str
    start: int
    struct: type[Struct] | None


def whatis(m: Kernel, address: int) -> Place:
    """Say what lies at a virtual or vmemmap address (unsigned long).  ValueError if nothing does."""
    m.read(address, 1)
    if address >= m.V:
        pfn = (address - m.V) // structs.PAGE_STRUCT_BYTES
        return Place(f"struct page of pfn {pfn}", m.V + pfn * structs.PAGE_STRUCT_BYTES, structs.page)
    if address - m.B >= m.KA << 3:
        return _kernel_area(m, address)
    pfn = (address - m.B) >> m.PS
    if m.mem_map_pfn <= pfn < m.mem_map_pfn + m.mem_map_pages:
        index = (address - m.B - (m.MM << 3)) // structs.PAGE_STRUCT_BYTES
        if index < m.nr_pages:
            return Place(f"struct page of pfn {index}", m.B + (m.MM << 3) + index * structs.PAGE_STRUCT_BYTES, structs.page)
        return Place("the rest of the mem_map's last page", address & ~7, None)
    start = m.B + (pfn << m.PS)
    word = m.w[m.MM + pfn]
    kind = word & 15
    if kind == MemType.SLAB and _in_ram(m, word & ~15):
        return _slab(m, address, word & ~15, pfn)
    name = MemType(kind).name.lower() if kind < len(MemType) else "unknown"
    return Place(f"page {pfn}: {'reserved' if kind == MemType.NONE else name}", start, None)


class _Dumpable(Protocol):
    """What a hexdump needs of a machine."""

    def read(self, address: int, n: int) -> bytes: ...
    def whatis(self, address: int) -> Place: ...


def hexdump(m: _Dumpable, address: int, n: int = 64) -> str:
    """Return ``n`` bytes from ``address`` on as text: a row for each 64-bit word, with its address, its value and what it is.

    ``address``: unsigned long, rounded down to a word.  ``n``: bytes, rounded up.  ValueError if they are not all RAM.
    """
    must = "hexdump takes an address and a number of bytes, whole numbers"
    address, n = whole(address, must), whole(n, must)
    first = address & ~7
    data = m.read(first, -(-(address + n - first) // 8) * 8)
    rows, before = [], ""
    for i in range(0, len(data), 8):
        at = first + i
        place = m.whatis(at)
        label = place.struct.labels().get(at - place.start, "") if place.struct else ""
        where = (
            f"{place.name} + {at - place.start:#x}" if not place.struct else f"{place.name}.{label}" if label else f"{place.name} (padding)"
        )
        shown = where if place.name != before else (f".{label}" if label else "(padding)") if place.struct else ""
        rows.append(f"{at:#018x}  {int.from_bytes(data[i : i + 8], 'little'):016x}  {shown}".rstrip())
        before = place.name
    return "\n".join(rows)


def _in_ram(m: Kernel, address: int) -> bool:
    return m.B <= address < m.B + (m.highmem_pfn << m.PS)


def _slab(m: Kernel, address: int, slab_address: int, pfn: int) -> Place:
    s = structs.slab(m, slab_address)
    size = 0
    if _in_cache_table(m, s.slab_cache):
        cache = structs.kmem_cache(m, s.slab_cache)
        size = cache.size
    if not size:
        return Place(f"page {pfn}: slab of no cache", m.B + (pfn << m.PS), None)
    index = (address - s.virt) // size
    if not 0 <= index < s.objects:
        return Place(f"{cache.name}: rest of the slab", address & ~7, None)
    start = s.virt + index * size + cache.red_left_pad
    if address < start:
        return Place(f"{cache.name}[{index}] left red zone", start - cache.red_left_pad, None)
    return Place(f"{cache.name}[{index}]", start, _BY_CACHE.get(cache.name))


def _in_cache_table(m: Kernel, address: int) -> bool:
    index, rest = divmod((address - m.B >> 3) - m.kc_at, structs.kmem_cache.sizeof // 8)
    return rest == 0 and 0 <= index < structs.NR_CACHES


def _kernel_area(m: Kernel, address: int) -> Place:
    """Find the struct in the kernel area: each table is rows of one struct."""
    word = (address - m.B) >> 3
    for name, start, struct, count in m.kernel_tables:
        words = struct.sizeof // 8
        if start <= word < start + count * words:
            i = (word - start) // words
            return Place(f"{name}[{i}]" if count > 1 else name, m.B + 8 * (start + i * words), struct)
    return Place("kernel area (padding)", address & ~7, None)
