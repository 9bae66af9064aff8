"""Small machines for the tests of the core, and what these look up in any machine.  Used by several of them."""

from memlab import Machine
from memlab.structs import kmem_cache_cpu, kmem_cache_node

DESIGNS = ("as-written", "bounded")


def tiny(**more):
    """A machine of 256 pages of 256 bytes, or with other options."""
    return Machine(**{"memory": "64K", "page_size": 256, "max_order": 4} | more)


def word(m, address):
    """The word at an address."""
    return int.from_bytes(m.read(address, 8), "little")


def pages_of(m, address):
    """The pfns of all pages whose mem_desc names the descriptor at an address."""
    return [pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn).address == address]


def take_all_below(m, order):
    """Take every free block below ``order`` at its exact order, so that nothing is split; returns the pfns."""
    return [m.alloc_pages(k) for blocks in m.buddyinfo().values() for k in range(order) for _ in range(blocks[k])]


def row(m, cache):
    """The row of a cache in slabinfo."""
    return next(r for r in m.slabinfo() if r["name"] == cache)


def spare(m, cache):
    """The number of free objects that a cache has at hand."""
    return row(m, cache)["num_objs"] - row(m, cache)["active_objs"]


def slab_of(m, obj):
    """The view of the struct slab of an object."""
    return m.slab(m.mem_desc(m.virt_to_pfn(obj)).address)


def node_of(cache, node=0):
    """The view of what a node has of a cache."""
    return kmem_cache_node(cache.machine, cache.struct.node + node * kmem_cache_node.sizeof)


def cpu_of(cache, cpu=0):
    """The view of what a CPU holds of a cache."""
    m = cache.machine
    first, count = next((start, count) for name, start, _, count in m.kernel_tables if name == "kmem_cache_cpu")
    return kmem_cache_cpu(m, m.B + 8 * first + cpu * (count // m.config.cpus) * kmem_cache_cpu.sizeof + 8 * cache.struct.cpu_slab)
