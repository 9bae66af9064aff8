"""Where descriptors lie: what chapter 07's predictions, exercises and notebook share.  Imports the core."""

from __future__ import annotations

from ...machine import Machine
from ...memdesc import MemType


def host(m: Machine, address: int) -> int | None:
    """Return the page that an address lies in, or None if it is in the kernel's own area."""
    try:
        return m.virt_to_pfn(address)
    except ValueError:
        return None


def buddy_of(m: Machine, pfn: int) -> int:
    """Return the address of the struct buddy of a page: its word names it, or the struct slab that does; 0 for a page that has none."""
    desc = m.mem_desc(pfn)
    return m.slab(desc.address).buddy if desc.type is MemType.SLAB else desc.address


def build(m: Machine) -> int:
    """Have kmem_cache_slab build a slab with __alloc_slab, and return the first page that it took."""
    return m.virt_to_pfn(m.caches["kmem_cache_slab"].alloc() or 0)


def slab_table(m: Machine) -> str:
    """Return a table of the slabs of descriptors: which page each is, and the pages that its struct slab and its struct buddy lie in."""
    lines = ["page  cache             struct slab in page  struct buddy in page"]
    for pfn in range(m.nr_pages):
        desc = m.mem_desc(pfn)
        if desc.type is MemType.SLAB:
            slab = m.slab(desc.address)
            name = next(name for name, cache in m.caches.items() if cache.address == slab.slab_cache)
            if name.startswith("kmem_cache_"):
                lines.append(f"{pfn:4}  {name:16}  {host(m, desc.address):19}  {host(m, slab.buddy)!s:>20}")
    return "\n".join(lines)


def descriptor_pages(m: Machine) -> int:
    """Return how many pages hold descriptors, struct buddys and struct slabs."""
    return sum(row["num_slabs"] for row in m.slabinfo() if row["name"] in ("kmem_cache_buddy", "kmem_cache_slab"))
