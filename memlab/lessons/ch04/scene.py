"""The machines and words that chapter 04's predictions, exercises and notebook share.  Imports the core, labs and study."""

from __future__ import annotations

from ...kmem_cache import KmemCache
from ...linux import SlabCache, read_slabinfo
from ...machine import Machine
from ...structs import kmem_cache_node


def two_cpus() -> Machine:
    """Boot the chapter's machine: 1 MiB and two CPUs."""
    return Machine("1M", cpus=2)


def new_cache(m: Machine, name: str, size: int, flags: int = 0) -> KmemCache:
    """Create a cache on a machine that has room for it."""
    cache = m.kmem_cache_create(name, size, flags=flags)
    if cache is None:
        raise ValueError("the table of caches is full")
    return cache


def real_caches() -> list[SlabCache]:
    """Return the caches of a real kernel, recorded on a machine with two CPUs."""
    return read_slabinfo("").caches


def nr_partial(m: Machine, name: str) -> int:
    """Return how many slabs are on a cache's partial list (node 0)."""
    return int(kmem_cache_node(m, m.caches[name].struct.node).nr_partial)
