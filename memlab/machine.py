"""Machine: a simulated computer, booted, with everything a person does with it.

Used by everybody (``from memlab import Machine``).  Imports the whole core and nothing else.  The allocators are files of functions over one
machine; here they are bound to it, and what is public, or can be traced, failed, interrupted or replaced, is called through it (kernel.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from . import cache_table, descriptors, evacuate, fast, image, kmem_cache, page_alloc, pcp, slub, structs, users
from . import zone as _zone
from .cache_table import boot_caches, new_cache, view_of
from .check import check
from .check_rules import Corruption
from .config import ZoneType, make_config
from .hexdump import Place, hexdump, whatis
from .kernel import Kernel, bind
from .list_head import init_list_head
from .memdesc import MemDesc, untag
from .number import whole
from .points import TRACE_POINTS
from .probes import Fault, Handler, Interrupt, Probes
from .ram import Snapshot
from .slub_size import calculate_sizes
from .trace import Trace
from .undo import check_undo, not_interrupted, remember, take_back
from .words import PCP_LIST


class Stats(dict[str, int]):
    """Counters since boot, by name and as attributes; ``later - earlier`` gives what happened between."""

    def __getattr__(self, name: str) -> int:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no counter {name!r}; there are {', '.join(self)}") from None

    def __sub__(self, earlier: Stats) -> Stats:
        return Stats({name: n - earlier[name] for name, n in self.items()})


class Machine(Kernel):
    """A computer with ``memory`` bytes of simulated RAM (a number, or text such as "64M").

    ``page_size``: bytes, a power of two from 256.  ``max_order``: the largest block has 2^max_order pages.  ``nodes``: NUMA nodes, which share
    the memory evenly.  ``cpus``: CPUs, dealt out to the nodes in turn.  ``dma``, ``dma32``, ``highmem``: bytes of these zones.
    ``watermarks``: "linux", None, or (min, low, high) in pages; as a default "linux" from 4 MiB on.  ``pcp``: per-CPU lists of free pages.
    ``undo``: how many steps ``undo()`` can take back; 0 costs nothing.  ``distance``: table of distances between nodes.
    ``design``: "as-written", the email to the letter, or "bounded", with memlab's remedies.

    ValueError or TypeError for a bad argument, ValueError when too little lowmem is left to boot, MemoryError when this computer has no room.
    """

    TRACE_POINTS: Final = TRACE_POINTS

    def __init__(
        self,
        memory: int | str = "64M",
        page_size: int | str = 4096,
        max_order: int = 11,
        nodes: int = 1,
        cpus: int = 1,
        dma: int | str = 0,
        dma32: int | str = 0,
        highmem: int | str = 0,
        watermarks: object = ...,
        pcp: bool = False,
        undo: int = 0,
        distance: object = None,
        design: str = "as-written",
    ) -> None:
        undo = check_undo(undo)
        super().__init__(make_config(memory, page_size, max_order, nodes, cpus, dma, dma32, highmem, watermarks, pcp, distance, design))
        self._probes = Probes(self)
        self._boot()
        self._remember(undo)

    # -- the page allocator

    alloc_pages = page_alloc.alloc_pages
    alloc_pages_bulk = page_alloc.alloc_pages_bulk
    get_free_page = page_alloc.get_free_page
    alloc_pages_desc = page_alloc.alloc_pages_desc
    alloc_pages_node_desc = page_alloc.alloc_pages_node_desc
    split_page = page_alloc.split_page
    free_pages = page_alloc.free_pages
    free_page = page_alloc.free_page
    free_pages_desc = page_alloc.free_pages_desc
    drain_all_pages = page_alloc.drain_all_pages
    buddyinfo = page_alloc.buddyinfo
    _alloc_pages = page_alloc.alloc_pages_for
    _get_pages = page_alloc.get_pages
    _smallest = page_alloc.smallest
    _take = page_alloc.take
    _free_block = page_alloc.free_block
    _free_one_page = page_alloc.free_one_page

    # -- SLUB, and where the two meet

    kmem_cache_create = kmem_cache.kmem_cache_create
    kmalloc = kmem_cache.kmalloc
    kfree = kmem_cache.kfree
    slabinfo = kmem_cache.slabinfo
    shrink = descriptors.shrink
    _kmem_cache_alloc = slub.kmem_cache_alloc
    _kmem_cache_alloc_bulk = slub.kmem_cache_alloc_bulk
    _kmem_cache_free = slub.kmem_cache_free
    _kmem_cache_free_bulk = slub.kmem_cache_free_bulk
    _kmem_cache_grow = kmem_cache.kmem_cache_grow
    _kmem_cache_destroy = kmem_cache.kmem_cache_destroy
    _new_slab = slub.new_slab
    _allocate_slab = slub.allocate_slab
    _deactivate = slub.deactivate
    _is_object = cache_table.is_object
    _alloc_slab_page = descriptors.alloc_slab_page
    _give_back = descriptors.give_back
    _shrink = descriptors.shrink_cache
    _evacuate_own = evacuate.evacuate_own

    # -- users of descriptors

    folio_alloc, folio_put = users.folio_alloc, users.folio_put
    anonmem_alloc, anonmem_put = users.anonmem_alloc, users.anonmem_put
    filemem_alloc, filemem_put = users.filemem_alloc, users.filemem_put
    pgtable_alloc, pgtable_put = users.pgtable_alloc, users.pgtable_put
    vmalloc, vfree = users.vmalloc, users.vfree

    # -- looking

    zone_view, marks_of = _zone.zone_view, _zone.marks_of

    def mem_desc(self, pfn: int) -> MemDesc:
        """Return the mem_desc of page ``pfn`` taken apart.  ValueError if there is no such page, or the word is damaged."""
        return untag(self.desc_of[self._pfn(pfn)])

    def page(self, pfn: int) -> structs.page:
        """Return the view of page ``pfn``'s struct page."""
        return structs.page(self, self.pfn_to_page(pfn))

    def buddy(self, address: int) -> structs.buddy:
        """Return the view of the struct buddy at ``address``.  ValueError if that is no place for one."""
        return structs.buddy(self, self._aligned(address))

    def slab(self, address: int) -> structs.slab:
        """Return the view of the struct slab at ``address``.  ValueError if that is no place for one."""
        return structs.slab(self, self._aligned(address))

    def zone(self, node: int = 0, name: str = "Normal") -> Any:
        """Return the view of a zone.  ValueError if the machine has no such zone."""
        for z in self.zones:
            if (z.node, z.name) == (node, name):
                return self.zone_view(z)
        raise ValueError(f"there is no zone {name!r} on node {node!r}; there are {[(z.node, z.name) for z in self.zones]}")

    def hexdump(self, address: int, n: int = 64) -> str:
        """Return ``n`` bytes of RAM as text that names the fields it crosses; see memlab.hexdump."""
        return hexdump(self, address, n)

    def whatis(self, address: int) -> Place:
        """Say what lies at an address; see memlab.hexdump."""
        return whatis(self, address)

    @property
    def caches(self) -> dict[str, kmem_cache.KmemCache]:
        """The live caches by name, in the order of their slots."""
        return kmem_cache.caches(self)

    @property
    def stats(self) -> Stats:
        """The counters in RAM (struct vm_stat), as they are now."""
        return Stats({f.name: self.w[self.stat + f.word] for f in structs.vm_stat.fields})

    @property
    def free_pages_count(self) -> int:
        """Pages on the free lists of all zones (per-CPU lists not among them)."""
        return sum(self.w[z.free] for z in self.zones)

    def check(self) -> None:
        """Read all of RAM and raise Corruption, which names every broken rule and its addresses, if any is broken.

        Valid between operations.  Reads RAM only, and ends on any image however damaged.
        """
        broken = check(self)
        if broken:
            raise Corruption(broken)

    # -- CPUs, traces, faults

    @contextmanager
    def on_cpu(self, cpu: int) -> Iterator[None]:
        """Run what is in the with block on another CPU.  ValueError if there is no such CPU."""
        must = f"this machine has CPUs 0 to {self.config.cpus - 1}"
        if not 0 <= (cpu := whole(cpu, must, ValueError)) < self.config.cpus:
            raise ValueError(f"{must}, not {cpu}")
        before = self.cpu
        self.run_on(cpu)
        try:
            yield
        finally:
            self.run_on(before)

    def trace(self, frames: bool = False) -> Trace:
        """Record call chains: ``with m.trace() as t: ...``; then ``t.calls``, ``t.max_depth`` and ``print(t)``.  Free when off.

        ``frames``: keep also the words of RAM that changed from each call and return to the next, in ``t.recording`` (see memlab.recording).
        """
        return Trace(self._probes, frames)

    def fail(self, at: str, nth: int = 1, every: int | None = None) -> Fault:
        """Make the ``nth`` call at a trace point fail, as fault injection does: from now on, once; as a with block, no longer than that.

        ``at``: a name from TRACE_POINTS that may fail.  ``nth``: int, 1 for the next call.  ``every``: int, after the nth, each
        ``every``-th call fails too, until it is cancelled; None for none.  ValueError or TypeError for a bad argument.
        """
        return self._probes.fail(at, nth, every)

    def interrupt(self, at: str, when: str, handler: Handler, times: int | None = 1, cpu: int | None = None) -> Interrupt:
        """Run other work at a trace point, as an interrupt or another CPU would; as a with block, no longer than that.

        ``at``: a name from TRACE_POINTS, or one with its cache, such as "new_slab(kmem_cache_buddy)".  ``when``: "call" or "return".
        ``handler``: a function of no parameters, or of the machine; its calls may be interrupted in turn.  ``times``: int, how often it runs at
        most; None for every time.  ``cpu``: int, where it runs; None for the CPU that is interrupted.  Frames of a handler are a context of their
        own, with a stack of its own.  If a handler raises, RAM is put back to before the outermost call, which raises the same; what the handler keeps in
        Python, such as a consumer's ``held``, is its own affair.  A handler cannot restore, undo or redo.
        KernelBug("kernel stack overflow") when interrupts nest without end; ValueError or TypeError for a bad argument.
        """
        return self._probes.interrupt(at, when, handler, times, cpu)

    # -- copies, undo, files

    def snapshot(self) -> Snapshot:
        """Return a copy of RAM that ``restore`` takes and that can be compared with ``==``."""
        snapshot = super().snapshot()
        snapshot.config, snapshot.ctors = self.config, dict(self.ctors)
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Make RAM what it was when ``snapshot`` was taken; caches follow.

        TypeError if it is no snapshot; ValueError if it is of a machine that was booted otherwise; KernelBug in the handler of an interrupt.
        """
        not_interrupted(self)
        if isinstance(snapshot, Snapshot) and snapshot.config != self.config:
            raise ValueError("this snapshot is of a machine of another shape; restore it on the machine it was taken from")
        super().restore(snapshot)
        self.ctors = dict(snapshot.ctors)
        kmem_cache.rebind(self)

    def follow(self, words: Iterable[int]) -> None:
        """Have the caches follow RAM, if their table is among the words that were put back."""
        if any(self.kc_at <= i < self.kn_at for i in words):
            kmem_cache.rebind(self)

    def undo(self) -> bool:
        """Take the last step back.  Returns False if there is none left; raises ValueError if undo was not asked for at boot, and as restore."""
        return take_back(self, self._undo, self._redo)

    def redo(self) -> bool:
        """Do again what was undone.  Returns False if nothing was; raises as undo."""
        return take_back(self, self._redo, self._undo)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the machine to a file that ``Machine.load`` reads; OSError if it cannot be written."""
        image.save(path, self.config, self.snapshot())

    @classmethod
    def load(cls, path: str | os.PathLike[str], undo: int = 0, ctors: dict[str, Callable[[int], object]] | None = None) -> Machine:
        """Return the machine that a file holds.  ``ctors``: the constructors of its caches by name, for those that have one.

        ValueError with one sentence for a file that is foreign, newer, truncated or damaged; OSError if there is none.
        """
        undo = check_undo(undo)
        config, snapshot = image.load(path)
        snapshot.config = config
        m = cls._of(snapshot)
        if not isinstance(ctors, (dict, type(None))) or not all(callable(ctor) for ctor in (ctors or {}).values()):
            raise TypeError(f"ctors is a table of functions by the names of their caches, not {ctors!r}")
        for name, ctor in (ctors or {}).items():
            if name not in m.caches:
                raise ValueError(f"{path} has no cache {name!r} to give a constructor to; it has {', '.join(m.caches)}")
            m.ctors[m.caches[name].struct.serial] = ctor
        m._remember(undo)
        return m

    @classmethod
    def _of(cls, snapshot: Snapshot) -> Machine:
        """Return another machine, with the shape and the RAM of a snapshot."""
        m = cls.__new__(cls)
        Kernel.__init__(m, snapshot.config)
        m._probes = Probes(m)
        m.restore(snapshot)
        _zone.build_zonelists(m)
        kmem_cache.find_builtin(m)
        return m

    def _twin(self) -> Machine:
        """Return another machine like this one, on the same CPU and with the same room on the stack, to try something on."""
        m = self._of(self.snapshot())
        m.run_on(self.cpu)
        m.frame_limit = self.frame_limit
        return m

    # -- boot

    def _boot(self) -> None:
        """Bring the machine up: zones, the two caches of descriptors, free memory, then all other caches."""
        _zone.boot_zones(self)
        _zone.build_zonelists(self)
        boot_caches(self)
        for struct in (structs.buddy, structs.slab):
            sizes = calculate_sizes(struct.used, align=16)
            c = new_cache(self, f"kmem_cache_{struct.struct}", struct.used, sizes, 0, None, single_pages=True)
            view_of(self, c).own = int(struct is structs.slab)
        for q in pcp.lists(self):
            init_list_head(self, q + PCP_LIST)
        self._add_memory()
        _zone.set_watermarks(self)
        kmem_cache.boot_kmalloc(self)
        kmem_cache.boot_users(self)
        kmem_cache.find_builtin(self)

    def _add_memory(self) -> None:
        """Hand the pages to the page allocator: one block by the static descriptor, the others by descriptors had the normal way."""
        blocks = [(z, pfn, order) for z in self.zones for pfn, order in self._free_blocks(z.start, z.end)]
        for z in self.zones:
            self.zone_view(z).managed_pages = sum(1 << order for zone, _, order in blocks if zone is z)
        lowmem = [b for b in blocks if b[0].type is not ZoneType.HIGHMEM]
        first = max(lowmem, key=lambda b: b[2], default=None)
        if first is None or first[2] < 1 or self.mem_map_pfn + self.mem_map_pages > self.highmem_pfn:
            raise self._too_little()
        page_alloc.add_free_block(self, *first, self.static_at)
        lowmem.remove(first)
        for z, pfn, order in lowmem + [b for b in blocks if b[0].type is ZoneType.HIGHMEM]:
            b = descriptors.boot_descriptor(self, z.node)
            if not b:
                raise self._too_little()
            page_alloc.add_free_block(self, z, pfn, order, b)
        self.count(buddies_allocated=len(blocks) - 1)

    def _free_blocks(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (pfn, order) of the largest aligned blocks in [start, end), without page 0 and the mem_map."""
        mem_map_end = self.mem_map_pfn + self.mem_map_pages
        pfn = max(start, 1)
        while pfn < end:
            if self.mem_map_pfn <= pfn < mem_map_end:
                pfn = mem_map_end
                continue
            stop = min(end, self.mem_map_pfn) if pfn < self.mem_map_pfn else end
            order = min((pfn & -pfn).bit_length() - 1, (stop - pfn).bit_length() - 1, self.max_order)
            yield pfn, order
            pfn += 1 << order

    def _too_little(self) -> ValueError:
        return ValueError(
            f"{self.config.memory} bytes of memory, {self.highmem_pfn * self.page_size} of them lowmem, are too little to boot: "
            "the descriptors do not fit; give a few pages more, or less HIGHMEM"
        )

    # -- the rest

    def _remember(self, steps: int) -> None:
        """Keep copies for undo; without, and unless a derived class may have replaced a step, have the common cases in line."""
        remember(self, steps)
        if not steps and type(self) is Machine:
            self._in_line, self._in_line_of = fast.in_line(self)
            self.write_in_line()

    def _aligned(self, address: int) -> int:
        must = "a descriptor's address is a multiple of 16"
        if (address := whole(address, must, ValueError)) & 15:
            raise ValueError(f"{must}, not {address}")
        self.read(address, 8)
        return address

    def __repr__(self) -> str:
        c = self.config
        return f"<Machine: {self.nr_pages} pages of {c.page_size} bytes, {self.free_pages_count} free, {c.nodes} node{'s' * (c.nodes > 1)}, {c.design}>"


bind(Machine, slub.___slab_alloc, descriptors.__alloc_slab)
