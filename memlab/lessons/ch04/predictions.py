"""Predictions of chapter 04, Slabs, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ...check_rules import Corruption
from ...labs.slab import slab_machine
from ...machine import Machine
from ...slub_size import SLAB, calculate_order
from ..model import Choices, Prediction
from .scene import new_cache, nr_partial, real_caches, two_cpus


def _objects(m: Machine) -> str:
    cache = new_cache(m, "dentry", 192)
    cache.alloc()
    row = next(row for row in m.slabinfo() if row["name"] == "dentry")
    return f"{row['objperslab']} objects, {m.page_size - row['objperslab'] * row['objsize']} bytes left over"


def _order_picked(m: Machine) -> str:
    return f"Order {new_cache(m, 'wide', 700).struct.order}"


def _predicted(_: object) -> str:
    real = real_caches()
    right = sum(1 << calculate_order(c.objsize, 2) == c.pagesperslab for c in real)
    return "All of them" if right == len(real) else f"{right} of {len(real)}"


def _link_at(m: Machine) -> str:
    cache = new_cache(m, "dentry", 192)
    first = cache.alloc() or 0
    link = int.from_bytes(m.read(first + cache.size + cache.struct.offset, 8), "little")
    return "In the free object itself" if link == first + 2 * cache.size else "In the struct slab"


def _which_list(m: Machine) -> str:
    cache = new_cache(m, "dentry", 192)
    objects = [cache.alloc() or 0 for _ in range(3)]
    with m.on_cpu(1):
        cache.free(objects[1])
    slab = m.slab(m.mem_desc(m.virt_to_pfn(objects[0])).address)
    return "The free list of the slab" if slab.freelist == objects[1] else "The free list of CPU 1"


def _full_slab(m: Machine) -> str:
    cache = new_cache(m, "dentry", 192)
    for _ in range(2 * 21 + 1):
        cache.alloc()
    return "On no list" if nr_partial(m, "dentry") == 0 else "On the partial list"


def _one_byte(m: Machine) -> str:
    cache = new_cache(m, "checked", 100, SLAB.RED_ZONE)
    m.write((cache.alloc() or 0) + 100, b"!")
    try:
        m.check()
    except Corruption as found:
        return {"red-zone": "The red zone behind the object is damaged"}[found.rules[0]]
    return "Nothing: it is padding"


def _partial_choices(m: Machine) -> Choices:
    right, name = nr_partial(m, _own(m)), _own(m)
    slabs = next(row["num_slabs"] for row in m.slabinfo() if row["name"] == name)
    whys = {
        slabs: "That is the number of its slabs; the CPU's own slab and full slabs are on no list.",
        right + 1: "The CPU's own slab is not on the partial list.",
        right + 2: "Count only slabs that have free objects and belong to no CPU.",
        0 if right else right + 3: "At least one slab is there with both free and used objects, or empty."
        if right
        else "A slab must have free objects and belong to no CPU to be there.",
    }
    return {_slabs(n): whys[n] if n != right else None for n in sorted({right, *whys})}


def _own(m: Machine) -> str:
    """Return the name of the cache that the learner works with: the last one that was created."""
    return list(m.caches)[-1]


def _slabs(n: int) -> str:
    return "1 slab" if n == 1 else f"{n} slabs"


PREDICTIONS = (
    Prediction(
        "04.a",
        question="A slab is one page of 4096 bytes, cut into objects of 192 bytes. How many are there, and how much is left over?",
        choices={
            "20 objects, 256 bytes left over": "One more fits.",
            "21 objects, 64 bytes left over": None,
            "21 objects, 0 bytes left over": "21 times 192 is 4032.",
            "22 objects, 0 bytes left over": "22 times 192 is 4224: more than a page.",
        },
        right=_objects,
        machine=two_cpus,
    ),
    Prediction(
        "04.b",
        question="Objects of 700 bytes (704 with padding), two CPUs: slabs of which order does Linux's rule choose?",
        choices={
            "Order 0": "Five objects to a slab: too few, a CPU would need a new slab all the time.",
            "Order 1": "Eleven objects to a slab; the rule wants at least twelve for two CPUs.",
            "Order 2": None,
            "Order 3": "The rule takes the smallest order that is good enough.",
        },
        right=_order_picked,
        machine=two_cpus,
    ),
    Prediction(
        "04.c",
        question="A real kernel's 235 caches, recorded on a machine with two CPUs. For how many does memlab's rule give the order that the kernel has chosen?",
        choices={
            "About half": "It is not a rule of thumb: it is the kernel's own arithmetic.",
            "All but a handful": "What would the exceptions be? The rule knows size and number of CPUs, and the kernel nothing else.",
            "All of them": None,
        },
        right=_predicted,
    ),
    Prediction(
        "04.d",
        question="A slab has 20 free objects, and the cache must find the next one. Where is it written down which object comes next?",
        choices={
            "In the struct slab": "There is room for one address there: the first.",
            "In the free object itself": None,
            "In a table at the start of the slab": "That was an older allocator (SLAB); it cost memory even for free objects.",
        },
        right=_link_at,
        machine=two_cpus,
    ),
    Prediction(
        "04.e",
        question="CPU 0 allocated three objects from its slab. Now CPU 1 frees one of them. On which list does it go?",
        choices={
            "The free list of CPU 0": "That one belongs to CPU 0 alone, so that it needs no lock.",
            "The free list of CPU 1": "CPU 1 has no slab here; and its list may only hold objects of its own slab.",
            "The free list of the slab": None,
        },
        right=_which_list,
        machine=two_cpus,
    ),
    Prediction(
        "04.f",
        question="All 21 objects of two slabs are in use, and the CPU has gone on to a third. On which list are the two full slabs?",
        choices={
            "On the partial list": "A full slab has nothing to give: looking at it would be a waste of time.",
            "On a list of full slabs": "Who would read it?",
            "On no list": None,
        },
        right=_full_slab,
        machine=two_cpus,
    ),
    Prediction(
        "04.g",
        question="A cache of 100-byte objects was created with red zones. Somebody writes one byte too many, at offset 100. What does the checker find?",
        choices={
            "Nothing: it is padding": "Without red zones, yes: the object takes 104 bytes, and the last four are nobody's.",
            "The next object is damaged": "That would need four bytes more.",
            "The red zone behind the object is damaged": None,
        },
        right=_one_byte,
        machine=two_cpus,
    ),
    Prediction(
        "04.h",
        question=lambda m: f"Your lab's machine, as it is now: how many slabs of {_own(m)} are on the partial list?",
        choices=_partial_choices,
        right=lambda m: _slabs(nr_partial(m, _own(m))),
        machine=slab_machine,
    ),
)
