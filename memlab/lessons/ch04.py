"""Chapter 04, Slabs: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, labs and core."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..check_rules import Corruption
from ..kmem_cache import KmemCache
from ..labs import slab_machine
from ..linux import SlabCache, read_slabinfo
from ..machine import Machine
from ..ram import KernelBug
from ..slub_size import SLAB, calculate_order, objects_per_slab
from ..structs import kmem_cache_node
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict


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


# -- predictions


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


def _partial_choices(m: Machine) -> list[tuple[str, str | None]]:
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
    return [(_slabs(n), whys[n] if n != right else None) for n in sorted({right, *whys})]


def _own(m: Machine) -> str:
    """Return the name of the cache that the learner works with: the last one that was created."""
    return list(m.caches)[-1]


def _slabs(n: int) -> str:
    return "1 slab" if n == 1 else f"{n} slabs"


PREDICTIONS = (
    Prediction(
        "04.a",
        question="A slab is one page of 4096 bytes, cut into objects of 192 bytes. How many are there, and how much is left over?",
        choices=(
            ("20 objects, 256 bytes left over", "One more fits."),
            ("21 objects, 64 bytes left over", None),
            ("21 objects, 0 bytes left over", "21 times 192 is 4032."),
            ("22 objects, 0 bytes left over", "22 times 192 is 4224: more than a page."),
        ),
        right=_objects,
        machine=two_cpus,
    ),
    Prediction(
        "04.b",
        question="Objects of 700 bytes (704 with padding), two CPUs: slabs of which order does Linux's rule choose?",
        choices=(
            ("Order 0", "Five objects to a slab: too few, a CPU would need a new slab all the time."),
            ("Order 1", "Eleven objects to a slab; the rule wants at least twelve for two CPUs."),
            ("Order 2", None),
            ("Order 3", "The rule takes the smallest order that is good enough."),
        ),
        right=_order_picked,
        machine=two_cpus,
    ),
    Prediction(
        "04.c",
        question="A real kernel's 235 caches, recorded on a machine with two CPUs. For how many does memlab's rule give the order that the kernel has chosen?",
        choices=(
            ("About half", "It is not a rule of thumb: it is the kernel's own arithmetic."),
            ("All but a handful", "What would the exceptions be? The rule knows size and number of CPUs, and the kernel nothing else."),
            ("All of them", None),
        ),
        right=_predicted,
    ),
    Prediction(
        "04.d",
        question="A slab has 20 free objects, and the cache must find the next one. Where is it written down which object comes next?",
        choices=(
            ("In the struct slab", "There is room for one address there: the first."),
            ("In the free object itself", None),
            ("In a table at the start of the slab", "That was an older allocator (SLAB); it cost memory even for free objects."),
        ),
        right=_link_at,
        machine=two_cpus,
    ),
    Prediction(
        "04.e",
        question="CPU 0 allocated three objects from its slab. Now CPU 1 frees one of them. On which list does it go?",
        choices=(
            ("The free list of CPU 0", "That one belongs to CPU 0 alone, so that it needs no lock."),
            ("The free list of CPU 1", "CPU 1 has no slab here; and its list may only hold objects of its own slab."),
            ("The free list of the slab", None),
        ),
        right=_which_list,
        machine=two_cpus,
    ),
    Prediction(
        "04.f",
        question="All 21 objects of two slabs are in use, and the CPU has gone on to a third. On which list are the two full slabs?",
        choices=(
            ("On the partial list", "A full slab has nothing to give: looking at it would be a waste of time."),
            ("On a list of full slabs", "Who would read it?"),
            ("On no list", None),
        ),
        right=_full_slab,
        machine=two_cpus,
    ),
    Prediction(
        "04.g",
        question="A cache of 100-byte objects was created with red zones. Somebody writes one byte too many, at offset 100. What does the checker find?",
        choices=(
            ("Nothing: it is padding", "Without red zones, yes: the object takes 104 bytes, and the last four are nobody's."),
            ("The next object is damaged", "That would need four bytes more."),
            ("The red zone behind the object is damaged", None),
        ),
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


# -- exercises


def _check_waste(answer: Callable[[int, int], int]) -> Verdict:
    for size, order in ((192, 0), (704, 1), (192, 3), (4096, 0), (1000, 2), (8, 0)):
        want = (4096 << order) - objects_per_slab(size, order) * size
        got = answer(size, order)
        if got != want:
            if not isinstance(got, int):
                why = "the answer is a whole number of bytes: of the objects, only whole ones count"
            elif got < 0:
                why = "the objects that fit take at most the whole slab"
            else:
                why = f"{objects_per_slab(size, order)} objects fit into {4096 << order:,} bytes"
            return Verdict(False, f"waste({size}, {order}) gave {got!r}; {why}, so {want} are left over.")
    return Verdict(True, "Six slabs, one of them without any waste.")


_STORY = ("alloc", "alloc", "alloc", 1, 0, "alloc", "alloc", "alloc")


def _check_trace(answer: Callable[[], list[int]]) -> Verdict:
    m = two_cpus()
    cache = new_cache(m, "dentry", 192)
    objects = list[int]()
    for step in _STORY:
        if step == "alloc":
            objects.append(cache.alloc() or 0)
        else:
            cache.free(objects[int(step)])
    want = [(address - objects[0]) // cache.size for address in objects]
    got = answer()
    if not isinstance(got, (list, tuple)) or len(got) != len(want):
        return Verdict(
            False,
            f"handed_out() returns {len(want)} numbers, one for each allocation: 0 for the slab's first object, 1 for the second, and so on.",
        )
    if list(got) != want:
        at = next(i for i, (mine, right) in enumerate(zip(got, want, strict=True)) if mine != right)
        why = (
            "the first three come in the order of the slab"
            if at < 3
            else "what was freed last is handed out first"
            if at < 5
            else "then the list goes on where it was"
        )
        return Verdict(False, f"Allocation {at + 1} gets object {want[at]}, not {got[at]!r}: {why}.")
    return Verdict(True, f"Objects {', '.join(map(str, want))}: last in, first out.")


def _cut(size: int, order: int) -> str:
    slab = 4096 << order
    left = slab % size
    share = f", about 1/{slab // left}" if left else ""
    return f"a slab of order {order} has {slab // size}, and {left:,} of its {slab:,} bytes are left over{share}"


def _check_order(answer: Callable[[int, int], int]) -> Verdict:
    sizes = sorted({c.objsize for c in real_caches()})
    for cpus in (2, 1, 16):
        for size in sizes:
            want, got = calculate_order(size, cpus), answer(size, cpus)
            if got != want:
                most = max(1, (4096 << 3) // size)
                enough = min(4 * (cpus.bit_length() + 1), most)
                shown = [
                    _cut(size, order) for order in (got, want) if isinstance(order, int) and 0 <= order <= 9
                ]  # 3, or what one object needs
                return Verdict(
                    False,
                    f"calculate_order({size}, {cpus}) gave {got!r}, and Linux chooses {want}: at least {enough} objects are wanted; {'; '.join(shown)}.",
                )
    return Verdict(True, f"{len(sizes)} sizes of a real kernel's caches, for 1, 2 and 16 CPUs.")


def _check_hijack(answer: Callable[[Machine, KmemCache, int], object]) -> Verdict:
    m = two_cpus()
    cache = new_cache(m, "token", 96)
    mine = cache.alloc() or 0
    target = (m.page_address(m.alloc_pages(0) or 0) or 0) + 0x140
    if answer(m, cache, target) is not None:
        return Verdict(False, "hijack() writes to RAM and returns nothing.")
    try:
        got = [cache.alloc() or 0 for _ in range(2)]
    except (IndexError, KernelBug, ValueError):
        return Verdict(
            False, "A link now names a place that is not in RAM, and the cache ran into it. Is the small end of the address first?"
        )
    if got[1] == target:
        return Verdict(
            True,
            f"The cache handed out {target:#x}, which was never one of its objects. Kernels hide this link (CONFIG_SLAB_FREELIST_HARDENED).",
        )
    if got[0] == target:
        return Verdict(
            False,
            "The very next allocation gets the target; the second should. Leave the head of the list alone: write into a free object.",
        )
    if got == [mine + cache.size, mine + 2 * cache.size]:
        return Verdict(
            False, "The next two allocations are the ones that would have come anyway: the link of the next free object has not changed."
        )
    return Verdict(
        False,
        f"The second allocation gave {got[1]:#x}, and the target is {target:#x}. The link is cache.struct.offset bytes into the free object.",
    )


_ORDER_FIRST = "def calculate_order(size, cpus):\n    for order in range(4):\n        if (4096 << order) % size <= (4096 << order) // 16:\n            return order\n    return 3"
_ORDER_NO_CAP = (
    "def calculate_order(size, cpus):\n    enough = 4 * (cpus.bit_length() + 1)\n    first = 0\n    while (4096 << first) < enough * size:\n        first += 1\n"
    "    for fraction in (16, 8, 4, 2):\n        for order in range(first, 4):\n            if (4096 << order) % size <= (4096 << order) // fraction:\n                return order\n"
    "    return first"
)

EXERCISES = (
    Exercise(
        "04.1",
        level=1,
        minutes=4,
        title="What is left over?",
        task="`waste(size, order)` returns how many bytes of a slab of 2**order pages are used by no object of `size` bytes. A page has 4096 bytes.",
        stub="def waste(size, order):\n    raise NotImplementedError",
        check=_check_waste,
        hints=("The worked example says how many objects fit.", "The rest of a division: %."),
        wrong=(
            ("def waste(size, order):\n    return 4096 % size", "are left over"),
            ("def waste(size, order):\n    return (4096 << order) // size", "are left over"),
            ("def waste(size, order):\n    return (4096 << order) - ((4096 << order) // size + 1) * size", "at most the whole slab"),
        ),
        explanation="For some sizes a larger slab wastes less in proportion; that is why the rule tries several orders.",
        state="memlab1.slab.pdna3c6bbkacaeaf77sz2pmuisil6eq5s3nejmcnkihsl7t3ponydgmgzsssnoagugf6c4fqsttykqiot75lqwadrlaqxxdaobdpewjlxgc3kspelf2z4dhwkskwzv5robjfzn76aoc7khlw.9cea73cff111a51d993858e1",
    ),
    Exercise(
        "04.2",
        level=1,
        minutes=6,
        title="Trace by hand",
        task=(
            "A fresh cache. Three allocations; then the second object is freed, then the first; then three allocations more. `handed_out()` returns six numbers: which object of the "
            "slab each allocation gets, 0 for the first in the slab."
        ),
        stub="def handed_out():\n    raise NotImplementedError",
        check=_check_trace,
        hints=("A fresh slab's free list runs through the objects in their order.", "A freed object becomes the first of the list."),
        wrong=(
            ("def handed_out():\n    return [0, 1, 2, 3, 4, 5]", "handed out first"),
            ("def handed_out():\n    return [0, 1, 2, 1, 0, 3]", "handed out first"),
            ("def handed_out():\n    return [0, 1, 2, 0, 1, 4]", "goes on where it was"),
        ),
        explanation="Last in, first out, as with the page allocator's lists: what was used last is likely to be in the processor's cache.",
        state="memlab1.slab.pdna3c6bbkacaeaf77sz2pmuisil6eq5s3nejmcnkihsl7t3ponydgmgzsssnoagugf6c4fqsttykqiot75lqwadrlaqxxdaobdpewjlxgc3kspelf2z4dhwkskwzv5robjfzn76aoc7khlw.9cea73cff111a51d993858e1",
    ),
    Exercise(
        "04.3",
        level=2,
        minutes=15,
        title="Linux's rule",
        task=(
            "`calculate_order(size, cpus)`: wanted are 4 * (cpus.bit_length() + 1) objects to a slab, but no more than fit into order 3 (and at least 1). Start at the smallest order that "
            "holds so many. For a fraction of 16, 8, 4, 2 in turn: the first order up to 3 that wastes at most 1/fraction of the slab. If none does: the smallest order that holds one object."
        ),
        stub="def calculate_order(size, cpus):\n    raise NotImplementedError",
        check=_check_order,
        hints=(
            "The smallest order for n bytes is your order_for from chapter 02.",
            "Two loops: the outer one over the fractions, the inner one over the orders from the first to 3.",
            "Very large objects: if not even one fits into order 3, the inner loop has nothing to do, and the last sentence of the task applies.",
        ),
        wrong=(
            (_ORDER_FIRST, "Linux chooses"),
            (_ORDER_NO_CAP, "Linux chooses"),
            ("def calculate_order(size, cpus):\n    return 0", "Linux chooses"),
        ),
        explanation="More CPUs want larger slabs, as each CPU keeps one for itself. Your function can drive the lab below.",
        state="memlab1.slab.pdnblc6bbkacaeaf77sz2pkeisa36eq5s3nejmdniesur7hxw3nqztbumqxflyi3qqxinrytb6dehdvp3ezayduumiihriztkhennsbnp6rrjwdutyohnlkgmo33dma2vzn76abtw4oii.c80a1742069537c1db7b5359",
    ),
    Exercise(
        "04.4",
        level=3,
        minutes=15,
        title="Hand out what is not yours",
        task=(
            "One object of `cache` has been allocated, the slab's first. `hijack(m, cache, target)` writes to RAM, with m.write(address, bytes), so that the SECOND allocation from now on "
            "returns the address `target`, which is no object of the cache at all. (m.read, cache.size and cache.struct.offset help.)"
        ),
        stub="def hijack(m, cache, target):\n    raise NotImplementedError",
        check=_check_hijack,
        hints=(
            "The next free object holds the address of the one after it. Where in the object is it?",
            "Find the next free object: allocate it and free it again; it is still the first of the list.",
            "target.to_bytes(8, 'little') are the bytes to write.",
        ),
        wrong=(
            ("def hijack(m, cache, target):\n    pass", "would have come anyway"),
            (
                "def hijack(m, cache, target):\n    free = cache.alloc()\n    cache.free(free)\n    m.write(free, target.to_bytes(8, 'little'))",
                "would have come anyway",
            ),
            ("def hijack(m, cache, target):\n    return target", "returns nothing"),
            (
                "def hijack(m, cache, target):\n    free = cache.alloc()\n    cache.free(free)\n    m.write(free + cache.struct.offset, target.to_bytes(8, 'big'))",
                "Is the small end",
            ),
        ),
        explanation="A write beyond the end of an object before it, or after it was freed, is all that it takes: a classic attack on kernels. That is why the link lies in the middle.",
        state="memlab1.slab.pdnb3czrblbtaeaex4jlmvtbiiyejlj7satjk4lrrcftbekpaleu3bh65ys52dgmorkg2z4b54ydsfa6fv75lycq64p7koj3jdnkhqkpb2psjmnswfwmvjciktvpy4ai4usn2b57u2c3rlx4kihnewdwargysi76evqxtplpcpdlndiln3ksqci.93c165a3efde059e1bcc627f",
    ),
)


# -- drills


def _order_question(rng: Random) -> Question:
    size, order = rng.choice((96, 104, 160, 192, 256, 320, 448, 600, 704, 1000, 1536)), rng.randrange(0, 3)
    fit = (4096 << order) // size
    rest = (4096 << order) - fit * size
    answer = f"{fit} {rest}"

    def grade(reply: str) -> Verdict:
        numbers = [int(part) for part in reply.replace(",", " ").split() if part.isdecimal()]
        if len(numbers) != 2:
            raise ValueError("two numbers are wanted")
        if numbers == [fit, rest]:
            return Verdict(True, f"{fit} times {size} is {fit * size:,}.")
        return Verdict(False, f"{4096 << order:,} bytes hold {fit} objects of {size}, and {rest} bytes are left: {answer}.")

    return Question(
        f"A slab of order {order} ({1 << order} x 4096 bytes) is cut into objects of {size} bytes. How many, and how many bytes are left over? (Two numbers.)",
        None,
        answer,
        grade,
    )


DRILLS = (Drill("04.order", level=1, make=_order_question),)

CHAPTER = Chapter(
    number="04",
    title="Slabs",
    notebook="04_slabs.ipynb",
    minutes=40,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
