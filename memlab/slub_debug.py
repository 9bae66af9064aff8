"""SLUB's debug caches: red zones around each object, poison inside free ones, and a search of the freelist at each free.

Used by slub.py for caches created with SLAB.DEBUG (or a part of it).  Such a cache has no active slabs: each call works on a slab's own
freelist and looks at the object's surroundings.  Functions of a machine ``m``, with a view of the cache.  Imports kernel and below.

      left red zone | object                    | right red zone | free pointer | rest
      bb.. or cc..  | 6b 6b .. a5 while free    | bb.. or cc..   | next         |
                      bb: the object is free      cc: it is allocated
Source: mm/slub.c (init_object, check_object), include/linux/poison.h for the bytes.
"""

from __future__ import annotations

from typing import Final

from .addresses import word
from .kernel import Kernel
from .ram import KernelBug
from .slub_size import SLAB
from .structs import kmem_cache
from .words import OBJECTS_SHIFT

RED_INACTIVE: Final = 0xBB
RED_ACTIVE: Final = 0xCC
POISON_FREE: Final = 0x6B
POISON_END: Final = 0xA5


def look_before_free(m: Kernel, cache: kmem_cache, s: int, address: int) -> None:
    """Look for what is wrong with an object that is to be freed.  KernelBug, RAM untouched, if something is."""
    free, seen = m.freelist_of[s], 0
    while free and seen <= m.counts_of[s] >> OBJECTS_SHIFT & 0xFFFF:
        if free == address:
            raise KernelBug(f"double free: the object at {address:#x} of {cache.name} is on its slab's freelist already")
        free, seen = m.w[word(free + cache.offset)], seen + 1
    look(m, cache, address, RED_ACTIVE)


def look(m: Kernel, cache: kmem_cache, address: int, red: int) -> None:
    """Raise KernelBug if a red zone is not filled with ``red`` or if a free object's poison was written over."""
    what = "allocated" if red == RED_ACTIVE else "free"
    if cache.flags & SLAB.RED_ZONE:
        for start, end, side in _zones_of(cache, address):
            found = m.read(start, end - start)
            if found.strip(bytes([red])):
                bad = start + next(i for i, byte in enumerate(found) if byte != red)
                raise KernelBug(
                    f"{side} red zone of the {what} object at {address:#x} of {cache.name} was overwritten: "
                    f"byte {bad:#x} is {found[bad - start]:#04x}, not {red:#04x}"
                )
    if red == RED_INACTIVE and _poisoned(cache):
        found = m.read(address, cache.object_size)
        good = _poison(cache.object_size)
        if found != good:
            bad = next(i for i, byte in enumerate(found) if byte != good[i])
            raise KernelBug(f"use after free: byte {address + bad:#x} of the free object at {address:#x} of {cache.name} was written")


def mark(m: Kernel, cache: kmem_cache, address: int, red: int) -> None:
    """Fill an object's red zones with ``red``, and poison it if that means free."""
    if cache.flags & SLAB.RED_ZONE:
        for start, end, _ in _zones_of(cache, address):
            m.write(start, bytes([red]) * (end - start))
    if red == RED_INACTIVE and _poisoned(cache):
        m.write(address, _poison(cache.object_size))


def _poisoned(cache: kmem_cache) -> bool:
    return bool(cache.flags & SLAB.POISON and not cache.ctor and not cache.flags & SLAB.TYPESAFE_BY_RCU)


def _zones_of(cache: kmem_cache, address: int) -> list[tuple[int, int, str]]:
    left = (address - cache.red_left_pad, address, "the left")
    return [left, (address + cache.object_size, address + cache.inuse, "the right")]


def _poison(n: int) -> bytes:
    return bytes([POISON_FREE]) * (n - 1) + bytes([POISON_END])
