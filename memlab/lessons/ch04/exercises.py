"""Exercises of chapter 04, Slabs, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable

from ...kmem_cache import KmemCache
from ...machine import Machine
from ...ram import KernelBug
from ...slub_size import calculate_order, objects_per_slab
from ..model import Exercise, Verdict
from .scene import new_cache, real_caches, two_cpus


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
        explanation="A write beyond the end of an object before it, or after it was freed, is all that it takes: a classic attack on kernels. That is why the link lies in the middle.",
        state="memlab1.slab.pdnb3czrblbtaeaex4jlmvtbiiyejlj7satjk4lrrcftbekpaleu3bh65ys52dgmorkg2z4b54ydsfa6fv75lycq64p7koj3jdnkhqkpb2psjmnswfwmvjciktvpy4ai4usn2b57u2c3rlx4kihnewdwargysi76evqxtplpcpdlndiln3ksqci.93c165a3efde059e1bcc627f",
    ),
)
