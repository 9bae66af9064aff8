"""Users of descriptors: folio, anonmem, filemem, pgtable and vmalloc, as small as they can be and still real.

Each allocates its own descriptor from its own cache and has its pages' mem_desc point at it, so that every type of descriptor is live.
Used through Machine.  Imports kmem_cache and below.

Source: the email (the list of types); the names follow include/linux/mm_types.h.
"""

from __future__ import annotations

from typing import Final

from . import structs
from .cache_table import CACHE_WORDS, SERIAL
from .gfp import NESTED_STRIP
from .kmem_cache import Caches, OwnedCache
from .list_head import init_list_head, list_add_tail, list_for_each
from .memdesc import MemType
from .page_alloc import KERNEL
from .page_bugs import PAGE
from .ram import KernelBug

# user -> its struct and the type of its pages; the cache has the struct's name
USERS: Final = {
    "folio": (structs.folio, MemType.FOLIO),
    "anonmem": (structs.anonmem, MemType.ANONMEM),
    "filemem": (structs.filemem, MemType.FILEMEM),
    "pgtable": (structs.ptdesc, MemType.PGTABLE),
    "vmalloc": (structs.vmalloc, MemType.VMALLOC),
}
_LIST: Final = structs.memdesc.list.word
_BUDDY: Final = structs.memdesc.buddy.word


class Users(Caches):
    """Caches with the users of descriptors."""

    def folio_alloc(self, order: int, gfp: int = KERNEL) -> int | None:
        """Allocate a folio of 2^order pages.  ``order``: unsigned int; ``gfp``: gfp_t.  Returns the address of its struct folio, or None.

        ValueError or TypeError for a bad argument.  The other users' functions do the same for their own type.
        """
        return self._user_alloc("folio", order, gfp)

    def folio_put(self, folio: int) -> None:
        """Drop a reference (struct folio *); the last one frees pages and descriptor.  KernelBug if it is no live folio."""
        self._user_put("folio", folio)

    def anonmem_alloc(self, order: int, gfp: int = KERNEL) -> int | None:
        """Allocate anonymous memory; see folio_alloc.  Returns the address of its struct anonmem, or None."""
        return self._user_alloc("anonmem", order, gfp)

    def anonmem_put(self, anonmem: int) -> None:
        """Drop a reference (struct anonmem *); see folio_put."""
        self._user_put("anonmem", anonmem)

    def filemem_alloc(self, order: int, gfp: int = KERNEL) -> int | None:
        """Allocate page cache; see folio_alloc.  Returns the address of its struct filemem, or None."""
        return self._user_alloc("filemem", order, gfp)

    def filemem_put(self, filemem: int) -> None:
        """Drop a reference (struct filemem *); see folio_put."""
        self._user_put("filemem", filemem)

    def pgtable_alloc(self, gfp: int = KERNEL) -> int | None:
        """Allocate one page for page tables; see folio_alloc.  Returns the address of its struct ptdesc, or None."""
        return self._user_alloc("pgtable", 0, gfp)

    def pgtable_put(self, ptdesc: int) -> None:
        """Drop a reference (struct ptdesc *); see folio_put."""
        self._user_put("pgtable", ptdesc)

    def vmalloc(self, size: int, gfp: int = KERNEL) -> int | None:
        """Allocate ``size`` bytes (unsigned long) as single pages, whose buddies hang on a list.

        Returns the address of the struct vmalloc, or None, with nothing kept.  ValueError or TypeError for a bad argument.
        """
        if not isinstance(size, int):
            raise TypeError(f"a size is a whole number of bytes, not {size!r}")
        if not 1 <= size <= self.config.memory:
            raise ValueError(f"vmalloc takes 1 to {self.config.memory} bytes on this machine, not {size}")
        self._check_request(0, gfp, None)
        address = self._new_descriptor("vmalloc", gfp)
        if not address:
            return self._nothing()
        view = structs.vmalloc(self, address)
        view.nbytes, view.refcount = size, 1
        di = (address - self.B) >> 3
        init_list_head(self, di + _LIST)
        for _ in range(-(-size // self.page_size)):
            li = self._alloc_pages(0, gfp, None, address | MemType.VMALLOC)
            if not li:
                self._free_vmalloc(address)
                return self._nothing()
            list_add_tail(self, li, di + _LIST)
            view.nr_pages += 1
        return address

    def vfree(self, address: int) -> None:
        """Free what vmalloc returned (struct vmalloc *), pages and descriptor.  KernelBug if it is no live struct vmalloc."""
        self._live_user("vmalloc", address)
        self._free_vmalloc(address)

    # -- the work behind it

    def _boot_users(self) -> None:
        """Create each user's cache."""
        for struct, _ in USERS.values():
            self.kmem_cache_create(struct.struct, struct.sizeof, align=16)
        self._find_users()

    def _find_users(self) -> None:
        """Find the users' caches in the table."""
        first = self.kc_at + (2 + len(self._kmalloc_names())) * CACHE_WORDS  # boot creates them after kmalloc's
        self._user_ci = {user: first + i * CACHE_WORDS for i, user in enumerate(USERS)}
        for ci in self._user_ci.values():
            self._views[self.w[ci + SERIAL]] = OwnedCache(self, ci)

    def _new_descriptor(self, user: str, gfp: int) -> int:
        address = self._kmem_cache_alloc(self._user_ci[user], gfp & ~NESTED_STRIP, None)
        if address:
            size = USERS[user][0].sizeof
            at = address - self.B
            self.map[at : at + size] = bytes(size)
        return address

    def _user_alloc(self, user: str, order: int, gfp: int) -> int | None:
        self._check_request(order, gfp, None)
        address = self._new_descriptor(user, gfp)
        if not address:
            return self._nothing()
        li = self._alloc_pages(order, gfp, None, address | USERS[user][1])
        if not li:
            self._kmem_cache_free(self._user_ci[user], address)
            return self._nothing()
        view = USERS[user][0](self, address)
        view.flags, view.buddy = self.w[li - 1], self.B + 8 * (li - 1)
        view.refcount, view.order = 1, order
        return address

    def _user_put(self, user: str, address: int) -> None:
        li = self._live_user(user, address)
        view = USERS[user][0](self, address)
        view.refcount -= 1  # type: ignore[attr-defined]
        if view.refcount == 0:  # type: ignore[attr-defined]
            self._free_block(li)
            self._kmem_cache_free(self._user_ci[user], address)

    def _free_vmalloc(self, address: int) -> None:
        for li in list(list_for_each(self, ((address - self.B) >> 3) + _LIST)):
            self._free_block(li)
        self._kmem_cache_free(self._user_ci["vmalloc"], address)

    def _live_user(self, user: str, address: int) -> int:
        """Return the ``list`` word of a live descriptor's (first) buddy: the one whose page's mem_desc names the descriptor.

        KernelBug if there is none, which is so for a descriptor that was put, whatever its bytes still say.
        """
        if not isinstance(address, int):
            raise TypeError(f"the address of a descriptor is a whole number, not {address!r}")
        if self._is_object(address, self._user_ci[user]):
            w, di = self.w, (address - self.B) >> 3
            li = (w[di + _LIST] - self.B) >> 3 if user == "vmalloc" else ((w[di + _BUDDY] - self.B) >> 3) + _LIST
            if 0 <= li < len(w) - PAGE:
                pfn = (w[li + PAGE] - self.V) >> 3
                if 0 <= pfn < self.nr_pages and w[self.MM + pfn] == address | USERS[user][1]:
                    return li
        raise self._not_live(user, address)

    def _not_live(self, user: str, address: int) -> KernelBug:
        return KernelBug(f"{address:#x} is no live {user}: it was put already, or it is not an address that the {user} functions returned")
