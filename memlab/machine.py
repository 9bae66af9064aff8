"""Machine: a simulated computer, booted, with everything a person does with it.

Used by everybody (``from memlab import Machine``).  Imports the whole core and nothing else.
The allocators are in the modules it is built from: ram, zone, page_alloc, slub, descriptors, kmem_cache, users.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from . import image, structs
from .cache_table import CPU_ROW, CPU_WORDS
from .check import Corruption, check
from .config import Config, make_config
from .hexdump import Place, hexdump, whatis
from .layout import Struct
from .memdesc import MemDesc, untag
from .probes import Fault, Handler, Interrupt, Probes
from .ram import KernelBug, Snapshot
from .slub_size import calculate_sizes
from .trace import TRACE_POINTS, Trace
from .users import Users
from .zone import ZoneType, plan_zones

_CHANGING: Final = [
    "alloc_pages",
    "alloc_pages_bulk",
    "get_free_page",
    "alloc_pages_desc",
    "alloc_pages_node_desc",
    "split_page",
    "free_pages",
    "free_page",
    "free_pages_desc",
    "drain_all_pages",
    "kmem_cache_create",
    "_kmem_cache_destroy",
    "_kmem_cache_grow",
    "_kmem_cache_alloc",
    "_kmem_cache_alloc_bulk",
    "_kmem_cache_free",
    "_kmem_cache_free_bulk",
    "_shrink",
    "shrink",
    "kmalloc",
    "kfree",
    "folio_alloc",
    "folio_put",
    "anonmem_alloc",
    "anonmem_put",
    "filemem_alloc",
    "filemem_put",
    "pgtable_alloc",
    "pgtable_put",
    "vmalloc",
    "vfree",
    "write",
]


class Stats(dict[str, int]):
    """Counters since boot, by name and as attributes; ``later - earlier`` gives what happened between."""

    def __getattr__(self, name: str) -> int:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no counter {name!r}; there are {', '.join(self)}") from None

    def __sub__(self, earlier: Stats) -> Stats:
        return Stats({name: n - earlier[name] for name, n in self.items()})


class Machine(Users):
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
        _check_undo(undo)
        config = make_config(memory, page_size, max_order, nodes, cpus, dma, dma32, highmem, watermarks, pcp, distance, design)
        self._power_on(config)
        self._boot()
        self._remember(undo)

    # -- looking

    def mem_desc(self, pfn: int) -> MemDesc:
        """Return the mem_desc of page ``pfn`` taken apart.  ValueError if there is no such page, or the word is damaged."""
        return untag(self.w[self.MM + self._pfn(pfn)])

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
        if not isinstance(cpu, int) or not 0 <= cpu < self.config.cpus:
            raise ValueError(f"this machine has CPUs 0 to {self.config.cpus - 1}, not {cpu!r}")
        before, self.cpu = self.cpu, cpu
        self._on_cpu_changed()
        try:
            yield
        finally:
            self.cpu = before
            self._on_cpu_changed()

    def _on_cpu_changed(self) -> None:
        """Set what hot paths keep about the CPU that runs now."""
        super()._on_cpu_changed()
        self.percpu = self.cc_at + self.cpu * CPU_ROW

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
        snapshot.config, snapshot.ctors = self.config, dict(self._ctors)
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Make RAM what it was when ``snapshot`` was taken; caches follow.

        TypeError if it is no snapshot; ValueError if it is of a machine that was booted otherwise; KernelBug in the handler of an interrupt.
        """
        self._not_interrupted()
        if isinstance(snapshot, Snapshot) and snapshot.config != self.config:
            raise ValueError("this snapshot is of a machine of another shape; restore it on the machine it was taken from")
        super().restore(snapshot)
        self._ctors = dict(snapshot.ctors)
        self.rebind()

    def undo(self) -> bool:
        """Take the last step back.  Returns False if there is none left; raises ValueError if undo was not asked for at boot, and as restore."""
        return self._step(self._undo, self._redo)

    def redo(self) -> bool:
        """Do again what was undone.  Returns False if nothing was; raises as undo."""
        return self._step(self._redo, self._undo)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the machine to a file that ``Machine.load`` reads; OSError if it cannot be written."""
        image.save(path, self.config, self.snapshot())

    @classmethod
    def load(cls, path: str | os.PathLike[str], undo: int = 0, ctors: dict[str, Callable[[int], object]] | None = None) -> Machine:
        """Return the machine that a file holds.  ``ctors``: the constructors of its caches by name, for those that have one.

        ValueError with one sentence for a file that is foreign, newer, truncated or damaged; OSError if there is none.
        """
        _check_undo(undo)
        config, snapshot = image.load(path)
        m = cls.__new__(cls)
        m._power_on(config)
        snapshot.config = config
        m.restore(snapshot)
        m._build_zonelists(m._managed() if config.watermarks is not None else None)
        m._know_caches()
        if not isinstance(ctors, (dict, type(None))) or not all(callable(ctor) for ctor in (ctors or {}).values()):
            raise TypeError(f"ctors is a table of functions by the names of their caches, not {ctors!r}")
        for name, ctor in (ctors or {}).items():
            if name not in m.caches:
                raise ValueError(f"{path} has no cache {name!r} to give a constructor to; it has {', '.join(m.caches)}")
            m._ctors[m.caches[name].struct.serial] = ctor
        m._remember(undo)
        return m

    # -- boot

    def _power_on(self, c: Config) -> None:
        """Lay out the kernel area and reserve the RAM; nothing in it is written."""
        zones = len(plan_zones(c))
        sizes = [
            ("static_buddy", structs.buddy, 1),
            ("slab_caches", structs.slab_caches, 1),
            ("kmem_cache", structs.kmem_cache, structs.NR_CACHES + 1),
            ("kmem_cache_node", structs.kmem_cache_node, structs.NR_CACHES * c.nodes),
            ("kmem_cache_cpu", structs.kmem_cache_cpu, c.cpus * CPU_ROW // CPU_WORDS),
            ("per_cpu_pages", structs.per_cpu_pages, c.cpus * zones),
            ("vm_stat", structs.vm_stat, 1),
        ]
        self.bounded = c.design == "bounded"
        self._views = {}
        stat_bytes = structs.vm_stat.sizeof
        super().__init__(c, 8 + sum(struct.sizeof * count for _, struct, count in sizes), stat_bytes)
        tables: list[tuple[str, int, type[Struct], int]] = [("zone", self.KA, structs.zone(c.max_order), zones)]
        at = self.after_zones + (self.after_zones & 1)  # descriptors are aligned to 16 bytes
        for name, struct, count in sizes:
            if name == "vm_stat":
                at = (self._kernel_end - stat_bytes) >> 3  # last, so that it is easily left out of comparisons
            tables.append((name, at, struct, count))
            at += struct.sizeof // 8 * count
        self.kernel_tables = tables  # (name, first word, struct, rows)
        where = {name: start for name, start, _, _ in tables}
        self.static_at, self.kc_at, self.kn_at = where["static_buddy"], where["kmem_cache"], where["kmem_cache_node"]
        self.serial_at = where["slab_caches"] + structs.slab_caches.serial.word
        self.cc_at, self.pcp_at = where["kmem_cache_cpu"], where["per_cpu_pages"]
        self._plan_stats(where["vm_stat"])
        self.KC_BUDDY, self.KC_SLAB = self.kc_at, self.kc_at + structs.kmem_cache.sizeof // 8
        self._on_cpu_changed()
        self._probes = Probes(self, lambda ci: str(structs.kmem_cache(self, self.B + 8 * ci).name))
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 4 * self.frame_limit))

    def _boot(self) -> None:
        """Bring the machine up: zones, the two caches of descriptors, free memory, then all other caches."""
        self._boot_zones()
        self._boot_caches()
        for struct in (structs.buddy, structs.slab):
            sizes = calculate_sizes(struct.used, align=16)
            ci = self._new_cache(f"kmem_cache_{struct.struct}", struct.used, sizes, 0, None, single_pages=True)
            structs.kmem_cache(self, self.B + 8 * ci).own = int(struct is structs.slab)
        for i in range(self.config.cpus * len(self.zones)):
            at = self.pcp_at + i * structs.per_cpu_pages.sizeof // 8 + structs.per_cpu_pages.list.word
            self.w[at] = self.w[at + 1] = self.B + 8 * at
        self._add_memory()
        self._set_watermarks()
        self._boot_kmalloc()
        self._boot_users()
        self._know_caches()

    def _add_memory(self) -> None:
        """Hand the pages to the page allocator: one block by the static descriptor, the others by descriptors had the normal way."""
        blocks = [(z, pfn, order) for z in self.zones for pfn, order in self._free_blocks(z.start, z.end)]
        for z in self.zones:
            self.zone_view(z).managed_pages = sum(1 << order for zone, _, order in blocks if zone is z)
        lowmem = [b for b in blocks if b[0].type is not ZoneType.HIGHMEM]
        first = max(lowmem, key=lambda b: b[2], default=None)
        if first is None or first[2] < 1 or self.mem_map_pfn + self.mem_map_pages > self.highmem_pfn:
            raise self._too_little()
        self._add_free_block(*first, self.static_at + structs.buddy.list.word)
        lowmem.remove(first)
        for z, pfn, order in lowmem + [b for b in blocks if b[0].type is ZoneType.HIGHMEM]:
            self._add_free_block(z, pfn, order, self._boot_descriptor(z.node))
        self._count(buddies_allocated=len(blocks) - 1)

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

    def _know_caches(self) -> None:
        self._find_kmalloc()
        self._find_users()
        self.builtin = frozenset({self.KC_BUDDY, self.KC_SLAB, *self._kmalloc_slots, *self._user_ci.values()})

    # -- undo

    def _remember(self, steps: int) -> None:
        self._undo: deque[Snapshot] = deque(maxlen=steps)
        self._redo: deque[Snapshot] = deque(maxlen=steps)
        self._in_step = False
        for name in _CHANGING if steps else ():
            setattr(self, name, self._undoable(getattr(self, name)))

    def _undoable(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def step(*args: Any, **kwargs: Any) -> Any:
            if self._in_step:
                return call(*args, **kwargs)
            before = self.snapshot()
            self._in_step = True
            try:
                result = call(*args, **kwargs)
            except BaseException:
                if self.snapshot() != before:  # a constructor raised, say: what it did is a step as well
                    self._undo.append(before)
                    self._redo.clear()
                raise
            finally:
                self._in_step = False
            self._undo.append(before)
            self._redo.clear()
            return result

        return step

    def _step(self, taken: deque[Snapshot], other: deque[Snapshot]) -> bool:
        if not self._undo.maxlen:
            raise ValueError("undo is off on this machine; boot it with Machine(..., undo=100) to keep the last 100 steps")
        self._not_interrupted()
        if not taken:
            return False
        other.append(self.snapshot())
        self.restore(taken.pop())
        return True

    # -- the rest

    def _not_interrupted(self) -> None:
        """Refuse to put RAM back in a handler: the call that was interrupted would go on in the midst of what is not there any more."""
        if self._interrupted:
            raise KernelBug("the handler of an interrupt cannot put RAM back: the call that it interrupted is in the midst of it")

    def _nothing(self) -> None:
        """Return the kernel's NULL, unless the reason for it is that the call chain outgrew the kernel's stack."""
        if self._overflow:
            self._overflow = False
            raise KernelBug(
                f"kernel stack overflow: this allocation nested deeper than {self.frame_limit} call frames; all of it was unmade. "
                'The design "bounded" does not nest so'
            )

    def _aligned(self, address: int) -> int:
        if not isinstance(address, int) or address & 15:
            raise ValueError(f"a descriptor's address is a multiple of 16, not {address!r}")
        self.read(address, 8)
        return address

    def __repr__(self) -> str:
        c = self.config
        return f"<Machine: {self.nr_pages} pages of {c.page_size} bytes, {self.free_pages_count} free, {c.nodes} node{'s' * (c.nodes > 1)}, {c.design}>"


def _check_undo(undo: int) -> None:
    if not isinstance(undo, int) or undo < 0:
        raise ValueError(f"undo is the number of steps that can be taken back, 0 or more, not {undo!r}")
    if undo > 1_000_000:
        raise ValueError(f"undo keeps a copy of RAM for each step; ask for fewer than {undo}")
