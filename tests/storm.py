"""A storm: seeded random work on every face of a machine at once, with what it must never break looked at on the way.

Used by test_property_pages.py and test_descriptors.py, which run short storms, and by hand for long ones::

    python -m tests.storm --ops 1000000 --design bounded --seed 1

Each block and object that has a virtual address is stamped at both ends when it is got, and its stamps are read when it is freed: two owners of
one byte do not go unseen, whatever check() says.
"""

import argparse
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

from memlab import GFP, SLAB, KernelBug, Machine, MemType

HIGH_ORDER = 3  # blocks of this order and above are what fragmentation costs first

# What a storm rages on: small enough that memory runs out, and every option of a machine is on somewhere.
SHAPES = {
    "2 nodes, all zones": {"memory": "8M", "nodes": 2, "cpus": 3, "highmem": "1M", "dma": "512K", "dma32": "1M"},
    "watermarks": {"memory": "6M", "cpus": 2, "max_order": 8},
    "256-byte pages": {"memory": "64K", "page_size": 256, "max_order": 4, "cpus": 2},
    "32 pages": {"memory": "8K", "page_size": 256, "max_order": 4},
    "3 nodes, per-CPU pages": {"memory": "192K", "page_size": 512, "max_order": 6, "nodes": 3, "cpus": 3, "pcp": True},
    "32 pages, per-CPU pages": {"memory": "8K", "page_size": 256, "max_order": 4, "cpus": 2, "pcp": True},
}

# Operations between two checks on each of them: a check reads all of RAM, so the larger machines are checked less often.
CHECK_EVERY = (2000, 1500, 200, 50, 200, 50)

FLAGS = (
    GFP.KERNEL,
    GFP.KERNEL,
    GFP.ATOMIC,
    GFP.NOWAIT,
    GFP.KERNEL | GFP.ZERO,
    GFP.KERNEL | GFP.HIGHMEM,
    GFP.KERNEL | GFP.HIGHMEM | GFP.THISNODE,
    GFP.KERNEL | GFP.DMA,
    GFP.KERNEL | GFP.DMA32,
)
LOWMEM_FLAGS = (GFP.KERNEL, GFP.ATOMIC, GFP.NOWAIT, GFP.KERNEL | GFP.ZERO)


def slab_pages(m):
    """The number of pages in slabs of any cache, by their mem_desc."""
    return sum(m.mem_desc(pfn).type is MemType.SLAB for pfn in range(m.nr_pages))


def descriptor_slabs(m):
    """The number of slabs of kmem_cache_buddy and kmem_cache_slab together."""
    return sum(row["num_slabs"] for row in m.slabinfo() if row["name"] in ("kmem_cache_buddy", "kmem_cache_slab"))


def high_order_blocks(m):
    """{(node, zone): number of free blocks of order 3, 4, ...}."""
    return {zone: blocks[HIGH_ORDER:] for zone, blocks in m.buddyinfo().items()}


def room(blocks):
    """How many blocks of each order could be had, splitting larger ones, from the numbers of free blocks of each order."""
    return [sum(n << larger for larger, n in enumerate(blocks[order:])) for order in range(len(blocks))]


def no_less_room(fresh, after):
    """Whether every zone has room for at least as many blocks of each order as it had when fresh."""
    return all(f <= a for zone in fresh for f, a in zip(room(fresh[zone]), room(after[zone]), strict=True))


@dataclass
class Outcome:
    """What a storm on one machine left behind."""

    operations: int = 0
    checks: int = 0
    failed: int = 0  # returned None
    overflows: int = 0
    pages_allocated_while_freeing: int = 0
    slab_pages: tuple[int, int] = (0, 0)  # fresh, after everything was freed and shrunk
    high_order: tuple[dict, dict] = field(default_factory=lambda: ({}, {}))

    def __str__(self):
        fresh, after = (sum(map(sum, blocks.values())) for blocks in self.high_order)
        return (
            f"{self.operations:,} operations, {self.checks:,} checks clean, {self.failed:,} found no memory, "
            f"{self.overflows:,} outgrew the stack; pages allocated while freeing: {self.pages_allocated_while_freeing}; "
            f"slab pages fresh {self.slab_pages[0]}, after shrink {self.slab_pages[1]}; "
            f"blocks of order {HIGH_ORDER} and above fresh {fresh}, after {after}"
        )


class Storm:
    """Random work on the machine ``m``: ``step()`` does one operation, ``finish()`` frees everything and returns the Outcome."""

    def __init__(self, m, seed, phase=6000):
        self.m, self.dice, self.phase = m, random.Random(seed), phase
        self.outcome = Outcome(slab_pages=(slab_pages(m), 0), high_order=(high_order_blocks(m), {}))
        self.live = []  # (name of the call that frees it, a pfn, address or list, its stamps)
        self.kinds = Counter()
        big = m.page_size // 2 + 8
        sizes = {"storm-24": (24, 0), "storm-192": (192, 0), "storm-debug": (64, SLAB.DEBUG), "storm-big": (big, 0)}
        self.caches = [m.kmem_cache_create(name, size, flags=flags) for name, (size, flags) in sizes.items()]
        self.consumed = [m.caches["kmem_cache_buddy"], m.caches["kmem_cache_slab"]]
        self.ways = {
            self.pages: 30,
            self.user: 18,
            self.vmalloc: 3,
            self.object: 20,
            self.bulk: 3,
            self.kmalloc: 8,
            self.free_page: 3,
            self.split: 4,
            self.desc: 2,
            self.descriptors: 2,
            self.maintenance: 1,
        }

    def step(self):
        """Do one operation on a random CPU: free something, or try one way to get something."""
        growing = self.outcome.operations // self.phase % 2 == 0
        self.outcome.operations += 1
        with self.m.on_cpu(self.dice.randrange(self.m.config.cpus)):
            if self.live and self.dice.random() < (0.35 if growing else 0.65):
                self.free_one()
                return
            (way,) = self.dice.choices(list(self.ways), self.ways.values())
            self.kinds[way.__name__] += 1
            try:
                way()
            except KernelBug as bug:
                if "kernel stack overflow" not in str(bug):
                    raise
                self.outcome.overflows += 1

    def check(self):
        self.m.check()
        self.outcome.checks += 1

    def finish(self):
        """Free everything, shrink and look at what is left."""
        while self.live:
            self.free_one()
        self.check()
        self.m.shrink()
        self.check()
        self.outcome.pages_allocated_while_freeing = self.m.stats.pages_allocated_while_freeing
        self.outcome.slab_pages = (self.outcome.slab_pages[0], slab_pages(self.m))
        self.outcome.high_order = (self.outcome.high_order[0], high_order_blocks(self.m))
        return self.outcome

    # -- ways to get something

    def pages(self):
        order = self.order()
        pfn = self.m.alloc_pages(order, self.dice.choice(FLAGS), self.node())
        self.got(self.m.free_pages, pfn, self.span_of_block(pfn, order))

    def free_page(self):
        address = self.m.get_free_page(self.dice.choice(FLAGS[:5]))
        self.got(self.m.free_page, address, (address, self.m.page_size))

    def user(self):
        name = self.dice.choice(("folio", "anonmem", "filemem", "pgtable"))
        args = () if name == "pgtable" else (self.order(),)
        descriptor = getattr(self.m, f"{name}_alloc")(*args, self.dice.choice(FLAGS))
        self.got(getattr(self.m, f"{name}_put"), descriptor, None)

    def vmalloc(self):
        self.got(self.m.vfree, self.m.vmalloc(self.dice.randrange(1, 6 * self.m.page_size), self.dice.choice(FLAGS)), None)

    def object(self):
        cache = self.dice.choice(self.caches)
        address = cache.alloc(self.dice.choice(LOWMEM_FLAGS))
        self.got(cache.free, address, (address, cache.object_size))

    def bulk(self):
        cache = self.dice.choice(self.caches)
        self.got(cache.free_bulk, cache.alloc_bulk(self.dice.randrange(1, 40), self.dice.choice(LOWMEM_FLAGS)), None)

    def kmalloc(self):
        size = self.dice.randrange(16, 4 * self.m.page_size)
        address = self.m.kmalloc(size, self.dice.choice(LOWMEM_FLAGS))
        self.got(self.m.kfree, address, (address, size))

    def split(self):
        """Split a block that is held, if its turn comes up and it has more than one page."""
        if not self.live:
            return
        at = self.dice.randrange(len(self.live))
        free, pfn, stamps = self.live[at]
        if free != self.m.free_pages or not (order := self.m.buddy(self.m.mem_desc(pfn).address).order):
            return
        halves = self.m.split_page(pfn)
        if halves is None:
            self.outcome.failed += 1
            return
        self.read_stamps(stamps)
        del self.live[at]
        for half in halves:
            self.got(free, half, self.span_of_block(half, order - 1))

    def desc(self):
        """Take pages for a descriptor of the caller's own, here one that lies in no memory of the machine."""
        word = 0xFFFF_C900_0000_0000 + 16 * self.dice.randrange(1 << 20) | 4
        if self.dice.random() < 0.5:
            buddy = self.m.alloc_pages_desc(self.order(), word, self.dice.choice(FLAGS))
        else:
            buddy = self.m.alloc_pages_node_desc(self.node(), self.order(), word, self.dice.choice(FLAGS))
        self.got(self.m.free_pages_desc, buddy, None)

    def descriptors(self):
        """Take a descriptor itself, as a consumer does."""
        cache = self.dice.choice(self.consumed)
        self.got(cache.free, cache.alloc(self.dice.choice(LOWMEM_FLAGS[:3])), None)

    def maintenance(self):
        call = self.dice.choice((self.m.shrink, self.m.drain_all_pages, *(cache.shrink for cache in self.caches)))
        call()

    # -- helpers

    def order(self):
        return min(int(self.dice.expovariate(1)), self.m.max_order)

    def node(self):
        return self.dice.choice((None, *range(self.m.config.nodes)))

    def span_of_block(self, pfn, order):
        address = None if pfn is None else self.m.page_address(pfn)
        return None if address is None else (address, self.m.page_size << order)

    def got(self, free, what, span):
        """Remember what was got, if anything; ``span`` is (address, bytes) of memory that is the caller's to write, or None."""
        if what is None:
            self.outcome.failed += 1
            return
        stamps = []
        if span is not None:
            address, size = span
            for at in (address, address + size - 8):
                stamps.append((at, self.dice.randbytes(8)))
                self.m.write(*stamps[-1])
            if size < 16:
                del stamps[0]
        self.live.append((free, what, stamps))

    def read_stamps(self, stamps):
        for at, stamp in stamps:
            found = self.m.read(at, 8)
            assert found == stamp, f"{at:#x} was written by its owner with {stamp.hex()} and holds {found.hex()}"

    def free_one(self):
        at = self.dice.randrange(len(self.live))
        self.live[at], self.live[-1] = self.live[-1], self.live[at]
        free, what, stamps = self.live.pop()
        self.read_stamps(stamps)
        free(what)


def rage(shape, design, operations, seed, every, progress=None):
    """Run a storm of ``operations`` on one of SHAPES, with a check() each ``every`` operations; returns (machine, storm, Outcome)."""
    m = Machine(**SHAPES[shape], design=design)
    storm = Storm(m, seed)
    for i in range(operations):
        storm.step()
        if i % every == 0:
            storm.check()
            if progress:
                progress(i)
    return m, storm, storm.finish()


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--ops", type=int, default=1_000_000, help="operations in all, shared out to the machines")
    parser.add_argument("--design", choices=("as-written", "bounded"), default="bounded")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    total = Counter()
    share = -(-args.ops // len(SHAPES))
    for n, (shape, every) in enumerate(zip(SHAPES, CHECK_EVERY, strict=True)):
        done = n * share
        operations = max(0, min(share, args.ops - done))

        def progress(i, shape=shape, done=done):
            say(f"\r\x1b[K{100 * (done + i) // args.ops:3} %  {shape}", sys.stderr)

        _, _, outcome = rage(shape, args.design, operations, args.seed + n, every, progress if sys.stderr.isatty() else None)
        say(f"\r{shape}: {outcome}\n")
        fresh, after = outcome.high_order
        for node, zone in fresh:
            less = "" if no_less_room({0: fresh[node, zone]}, {0: after[node, zone]}) else "   <- less than fresh"
            say(
                f"    node {node} {zone:<8} blocks of order {HIGH_ORDER} and above: fresh {fresh[node, zone]}, after {after[node, zone]}{less}\n"
            )
        total.update(operations=outcome.operations, checks=outcome.checks, freeing=outcome.pages_allocated_while_freeing)
        total.update(fresh=outcome.slab_pages[0], after=outcome.slab_pages[1])
    say(
        f"{args.design}, seed {args.seed}: {total['operations']:,} operations, {total['checks']:,} checks clean, "
        f"pages allocated while freeing {total['freeing']}, slab pages fresh {total['fresh']}, after everything was freed {total['after']}\n"
    )


def say(text, where=sys.stdout):
    where.write(text)
    where.flush()


if __name__ == "__main__":
    main()
