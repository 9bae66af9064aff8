"""Where each member of each struct lies, once: RAM in columns, sizes in words, and the bits of words that several members share.

Used by every file of the core that reads or writes RAM word by word.  Imports structs.

A *column* is RAM seen from a field's word on, so that the index of a struct's first word gives the struct's field: ``order_of[b] = k`` is the
kernel's ``buddy->order = k``.  All indices are those of first words, and 0 is NULL:

    b   a struct buddy              c   a struct kmem_cache                 head, entry   a struct list_head; that of a buddy
    s   a struct slab               n   a struct kmem_cache_node                          or slab is at b + LIST, s + LIST
    d   another descriptor          p   a struct kmem_cache_cpu
    o   an object                   q   a struct per_cpu_pages

The counts of a slab are one word:

    63        56 55    48 47     40 39    32 31             16 15              0
    +-----------+--------+---------+--------+-----------------+----------------+
    | 0         | debug  | frozen  | order  | objects         | inuse          |
    +-----------+--------+---------+--------+-----------------+----------------+
"""

from __future__ import annotations

from typing import Final

from .memdesc import MemType
from .structs import (
    NR_CACHES,
    anonmem,
    buddy,
    filemem,
    folio,
    kmem_cache,
    kmem_cache_cpu,
    kmem_cache_node,
    memdesc,
    per_cpu_pages,
    ptdesc,
    slab,
    vmalloc,
)

FREE: Final = int(MemType.FREE)  # the type bits of a mem_desc
BUDDY: Final = int(MemType.BUDDY)
SLAB_TYPE: Final = int(MemType.SLAB)

LIST: Final = memdesc.list.word  # of the list member, from the start of any descriptor
BUDDY_WORDS: Final = buddy.sizeof // 8
SLAB_WORDS: Final = slab.sizeof // 8
CACHE_WORDS: Final = kmem_cache.sizeof // 8
NODE_WORDS: Final = kmem_cache_node.sizeof // 8
PARTIAL: Final = kmem_cache_node.partial.word
CPU_WORDS: Final = kmem_cache_cpu.sizeof // 8
CPU_ROW: Final = (NR_CACHES + 1) * CPU_WORDS  # one CPU's part of the table; the extra entry serves destroyed caches
PCP_WORDS: Final = per_cpu_pages.sizeof // 8
PCP_LIST: Final = per_cpu_pages.list.word

INUSE: Final = 0xFFFF
OBJECTS_SHIFT: Final = 16
ORDER_SHIFT: Final = 32
FROZEN: Final = 1 << 40
DEBUG: Final = 1 << 48
ORDER_0: Final = 1 << ORDER_SHIFT  # the counts of an ordinary slab of order 0 that is no CPU's are below this

# user of descriptors -> its struct, after which its cache is named, and the type of its pages
USERS: Final[dict[str, tuple[type[memdesc], MemType]]] = {
    "folio": (folio, MemType.FOLIO),
    "anonmem": (anonmem, MemType.ANONMEM),
    "filemem": (filemem, MemType.FILEMEM),
    "pgtable": (ptdesc, MemType.PGTABLE),
    "vmalloc": (vmalloc, MemType.VMALLOC),
}


# their pages are one block, whose buddy they name
ONE_BLOCK: Final = frozenset(kind for _, kind in USERS.values() if kind is not MemType.VMALLOC)


class Columns:
    """The columns of one machine's RAM.  ``see`` sets them all, and is the one place that does."""

    nr_pages: int  # of that RAM

    def see(self, w: memoryview[int]) -> None:
        """Lay the columns over RAM's words, or over what stands in for them while somebody watches what is written."""
        self.w = w
        self.next_of, self.prev_of = w, w[1:]  # head, entry
        self.flags_of = buddy.flags.column(w)  # b, s and d
        self.order_of, self.page_of = buddy.order.column(w), buddy.page.column(w)  # b
        self.buddy_of = memdesc.buddy.column(w)  # s and d
        self.freelist_of, self.counts_of = slab.freelist.column(w), slab.inuse.column(w)  # s
        self.virt_of, self.cache_of = slab.virt.column(w), slab.slab_cache.column(w)  # s
        self.nr_partial_of, self.nr_slabs_of = kmem_cache_node.nr_partial.column(w), kmem_cache_node.nr_slabs.column(w)  # n
        self.cpu_freelist_of, self.cpu_slab_of = kmem_cache_cpu.freelist.column(w), kmem_cache_cpu.slab.column(w)  # p
        self.count_of = per_cpu_pages.count.column(w)  # q
        self.cache_flags_of, self.serial_of = kmem_cache.flags.column(w), kmem_cache.serial.column(w)  # c, and all below
        self.size_of, self.object_size_of, self.offset_of = (
            f.column(w) for f in (kmem_cache.size, kmem_cache.object_size, kmem_cache.offset)
        )
        self.oo_of, self.min_of = kmem_cache.objects.column(w), kmem_cache.min_objects.column(w)  # objects; the order in the high half
        self.min_partial_of, self.own_of = kmem_cache.min_partial.column(w), kmem_cache.own.column(w)
        self.percpu_of, self.node_of = kmem_cache.cpu_slab.column(w), kmem_cache.node.column(w)
        self.red_left_pad_of, self.ctor_of = kmem_cache.inuse.column(w), kmem_cache.align.column(w)  # both in the high half
