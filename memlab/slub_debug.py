"""SLUB's debug caches: red zones around each object, poison inside free ones, and a search of the freelist at each free.

Used by slub.py for caches created with SLAB.DEBUG (or a part of it).  Such a cache has no active slabs: each call works on a slab's own
freelist and looks at the object's surroundings.  Imports structs and slub_size.

      left red zone | object                    | right red zone | free pointer | rest
      bb.. or cc..  | 6b 6b .. a5 while free    | bb.. or cc..   | next         |
                      bb: the object is free      cc: it is allocated
Source: mm/slub.c (init_object, check_object), include/linux/poison.h for the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .ram import KernelBug, Ram
from .slub_size import SLAB
from .structs import kmem_cache, slab

RED_INACTIVE: Final = 0xBB
RED_ACTIVE: Final = 0xCC
POISON_FREE: Final = 0x6B
POISON_END: Final = 0xA5
_SLAB_COUNTS: Final = slab.inuse.word
_SLAB_FREELIST: Final = slab.freelist.word


class SlubDebug(Ram):
    """The debug half of SLUB.  Every method takes ``ci`` and ``si`` as slub.py does, and objects by address."""

    if TYPE_CHECKING:  # what slub.py provides

        def _new_slab(self, ci: int, gfp: int, node: int | None) -> int: ...
        def _partial_slabs(self, ci: int) -> list[int]: ...
        def _add_partial(self, si: int, ni: int) -> None: ...
        def _remove_partial(self, si: int, ni: int) -> None: ...
        def _node_of(self, ci: int, si: int) -> int: ...

    def _debug_init(self, ci: int, objects: list[int]) -> None:
        """Write red zones and poison of a new slab's objects."""
        for address in objects:
            self._mark(self._cache(ci), address, RED_INACTIVE)

    def _debug_alloc(self, ci: int, gfp: int, node: int | None) -> int:
        """Take the first free object of the first partial slab, looked at and marked active.  Returns its address or 0."""
        w, B = self.w, self.B
        slabs = self._partial_slabs(ci)
        if not slabs:
            si = self._new_slab(ci, gfp, node)
            if not si:
                return 0
            self._add_partial(si, self._node_of(ci, si))
            slabs = [si]
        si = slabs[0]
        cache, address = self._cache(ci), w[slabs[0] + _SLAB_FREELIST]
        self._look(cache, address, RED_INACTIVE)
        w[si + _SLAB_FREELIST] = w[((address - B) >> 3) + (cache.offset >> 3)]
        w[si + _SLAB_COUNTS] += 1
        if not w[si + _SLAB_FREELIST]:
            self._remove_partial(si, self._node_of(ci, si))
        self._mark(cache, address, RED_ACTIVE)
        return address

    def _debug_free(self, ci: int, si: int, address: int) -> None:
        """Look for what is wrong with an object that is being freed, then mark it free.  KernelBug, RAM untouched, if something is."""
        cache, w = self._cache(ci), self.w
        free, seen = w[si + _SLAB_FREELIST], 0
        while free and seen <= w[si + _SLAB_COUNTS] >> 16 & 0xFFFF:
            if free == address:
                raise KernelBug(f"double free: the object at {address:#x} of {cache.name} is on its slab's freelist already")
            free, seen = w[((free - self.B) >> 3) + (cache.offset >> 3)], seen + 1
        self._look(cache, address, RED_ACTIVE)
        self._mark(cache, address, RED_INACTIVE)

    def _look(self, cache: kmem_cache, address: int, red: int) -> None:
        """Raise KernelBug if a red zone is not filled with ``red`` or if a free object's poison was written over."""
        what = "allocated" if red == RED_ACTIVE else "free"
        if cache.flags & SLAB.RED_ZONE:
            for start, end, side in self._zones_of(cache, address):
                found = self.read(start, end - start)
                if found.strip(bytes([red])):
                    bad = start + next(i for i, byte in enumerate(found) if byte != red)
                    raise KernelBug(
                        f"{side} red zone of the {what} object at {address:#x} of {cache.name} was overwritten: "
                        f"byte {bad:#x} is {found[bad - start]:#04x}, not {red:#04x}"
                    )
        if red == RED_INACTIVE and self._poisoned(cache):
            found = self.read(address, cache.object_size)
            good = _poison(cache.object_size)
            if found != good:
                bad = next(i for i, byte in enumerate(found) if byte != good[i])
                raise KernelBug(f"use after free: byte {address + bad:#x} of the free object at {address:#x} of {cache.name} was written")

    def _mark(self, cache: kmem_cache, address: int, red: int) -> None:
        """Fill an object's red zones with ``red``, and poison it if that means free."""
        if cache.flags & SLAB.RED_ZONE:
            for start, end, _ in self._zones_of(cache, address):
                self.write(start, bytes([red]) * (end - start))
        if red == RED_INACTIVE and self._poisoned(cache):
            self.write(address, _poison(cache.object_size))

    @staticmethod
    def _poisoned(cache: kmem_cache) -> bool:
        return bool(cache.flags & SLAB.POISON and not cache.ctor and not cache.flags & SLAB.TYPESAFE_BY_RCU)

    @staticmethod
    def _zones_of(cache: kmem_cache, address: int) -> list[tuple[int, int, str]]:
        left = (address - cache.red_left_pad, address, "the left")
        return [left, (address + cache.object_size, address + cache.inuse, "the right")]

    def _cache(self, ci: int) -> kmem_cache:
        return kmem_cache(self, self.B + 8 * ci)


def _poison(n: int) -> bytes:
    return bytes([POISON_FREE]) * (n - 1) + bytes([POISON_END])
