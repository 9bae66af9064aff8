"""Exercises of chapter 06, A slab and its buddy, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import structs
from ...check_rules import Corruption
from ...machine import Machine
from ...memdesc import MemType
from ..model import Exercise, Verdict
from .scene import no_pairs, small_machine


def _check_buddy(answer: Callable[[Callable[[int], int], int], int]) -> Verdict:
    m = small_machine()
    addresses = [m.kmalloc(100), m.kmalloc(3000), m.kmalloc(2000)]

    def read(address: int) -> int:
        return int.from_bytes(m.read(address, 8), "little")

    for address in addresses:
        pfn = m.virt_to_pfn(address or 0)
        slab = m.slab(m.mem_desc(pfn).address)
        got = answer(read, m.pfn_to_page(pfn))
        if got != slab.buddy:
            shown = f"{got:#x}" if isinstance(got, int) else repr(got)
            if got == slab.address:
                why = "that is the struct slab; one step more"
            elif got == slab.address + 24:
                why = "there the struct slab keeps it; read the word that is there"
            elif got == read(m.page(pfn).mem_desc + 24):
                why = "take the type out of the word before you add the offset"
            elif got in (m.page(pfn).mem_desc, read(slab.address)):
                why = "take the type out of the word, and mind the offset"
            else:
                why = "a struct slab names its buddy at offset 24"
            return Verdict(False, f"buddy_of({m.pfn_to_page(pfn):#x}) gave {shown}: {why}. It is {slab.buddy:#x}.")
    return Verdict(True, "Pages of three slabs, and the struct buddy of each.")


_LETTERS = {"kmem_cache_alloc": "A", "alloc_pages": "B", "kmem_cache_free": "C", "free_pages": "D"}


def _check_calls(answer: Callable[[], str]) -> Verdict:
    m, cache = no_pairs()
    while m.alloc_pages(0) is not None:
        pass
    with m.trace() as trace:
        cache.alloc()
    depth = next(call.depth for call in trace.calls if call.name == "alloc_slab_page")
    want = "".join(_LETTERS[call.name] for call in trace.calls if call.depth == depth + 1)
    got = answer()
    if not isinstance(got, str) or set(got) - set("ABCD"):
        return Verdict(False, f'calls() returns letters from A to D, such as "AB"; not {got!r}.')
    if got == want:
        return Verdict(True, f"{want}: the preferred order, the smallest order, and then the struct slab goes back.")
    if "A" not in got or got.index("A"):
        return Verdict(False, "The struct slab comes first: the pages are to get its address at once.")
    if got == "ABCABC":
        return Verdict(False, "That would do, but a struct slab is as good for the smaller order: it is kept for the second attempt.")
    if got.count("B") != 2:
        return Verdict(False, "How often are pages asked for? The cache prefers order 1, but order 0 would do.")
    if "D" in got:
        return Verdict(False, "There are no pages to free: that is what failed.")
    if got.count("A") > 1:
        return Verdict(False, "One struct slab will do, whatever the order.")
    if "C" in got:
        return Verdict(False, "The struct slab goes back once, at the end: while a smaller order is tried, it is still needed.")
    return Verdict(False, "The pages cannot be had, and the struct slab was taken for nothing. What becomes of it?")


class _Kernel:
    """What exercise 06.3's function is given; notes its calls."""

    def __init__(self, slab: int | None, buddy: int | None) -> None:
        self.slab, self.buddy, self.calls = slab, buddy, list[tuple[Any, ...]]()

    def alloc_slab(self) -> int | None:
        self.calls.append(("alloc_slab",))
        return self.slab

    def free_slab(self, slab: int) -> None:
        self.calls.append(("free_slab", slab))

    def alloc_pages(self, desc: int) -> int | None:
        self.calls.append(("alloc_pages", desc))
        return self.buddy

    def set_buddy(self, slab: int, buddy: int) -> None:
        self.calls.append(("set_buddy", slab, buddy))


def _check_alloc_slab_page(answer: Callable[..., Any]) -> Verdict:
    slab, buddy = 0xFFFF888000080100, 0xFFFF888000081030
    cases: tuple[tuple[_Kernel, int | None, list[tuple[Any, ...]], str], ...] = (
        (_Kernel(slab, buddy), slab, [("alloc_slab",), ("alloc_pages", slab | 3), ("set_buddy", slab, buddy)], "all goes well"),
        (_Kernel(None, buddy), None, [("alloc_slab",)], "there is no struct slab"),
        (_Kernel(slab, None), None, [("alloc_slab",), ("alloc_pages", slab | 3), ("free_slab", slab)], "there are no pages"),
    )
    for kernel, want, calls, case in cases:
        got = answer(kernel.alloc_slab, kernel.free_slab, kernel.alloc_pages, kernel.set_buddy)
        names, right = [call[0] for call in kernel.calls], [call[0] for call in calls]
        if names != right:
            return Verdict(False, f"When {case}, you call {', '.join(names) or 'nothing'}; needed are {', '.join(right)}.")
        wrong = next((mine for mine, call in zip(kernel.calls, calls, strict=True) if mine != call), None)
        if wrong is not None:
            args = ", ".join(f"{a:#x}" if isinstance(a, int) else repr(a) for a in wrong[1:])
            why = {
                "alloc_pages": "a mem_desc is the slab's address with the type SLAB, 3, in its low bits",
                "set_buddy": f"it takes the slab, {slab:#x}, and then the buddy, {buddy:#x}",
                "free_slab": f"what goes back is the struct slab, {slab:#x}",
            }[wrong[0]]
            return Verdict(False, f"When {case}, {wrong[0]} is called with {args}; {why}.")
        if got != want:
            shown = f"{got:#x}" if isinstance(got, int) and not isinstance(got, bool) else repr(got)
            return Verdict(False, f"When {case}, the answer is {'None' if want is None else f'the slab, {slab:#x}'}, not {shown}.")
    return Verdict(True, "All three ways through it: success, no struct slab, no pages.")


def _check_vandal(answer: Callable[[Machine, int], tuple[int, int]]) -> Verdict:
    m = small_machine()
    one, two = m.kmem_cache_create("one", 1024), m.kmem_cache_create("two", 1024)
    address, other = (one.alloc() or 0, two.alloc() or 0) if one and two else (0, 0)
    m.alloc_pages(0)  # a block that is no slab: pages of somebody else as well
    slab = m.mem_desc(m.virt_to_pfn(address)).address
    before = m.slab(slab)
    fields = {f.name: getattr(before, f.name) for f in structs.slab.fields if f.name != "buddy"}
    got = answer(m, slab)
    if not isinstance(got, tuple) or len(got) != 2 or not all(isinstance(x, int) for x in got):
        return Verdict(False, f"vandalise() returns a pair (address, value), not {got!r}.")
    try:
        m.write(got[0], got[1].to_bytes(8, "little"))
    except (ValueError, OverflowError, TypeError) as error:
        return Verdict(False, f"That cannot be written: {error}.")
    if {name: getattr(before, name) for name in fields} != fields:
        return Verdict(False, "Another field of the struct slab has changed; only its buddy may lie.")
    try:
        m.check()
    except Corruption as found:
        wrong = m.slab(slab).buddy
        held = m.whatis(wrong).name if _readable(m, wrong) else "nothing"
        if "slab-buddy" not in found.rules:
            return Verdict(False, f"The checker finds {', '.join(found.rules)}, but the slab still names its own buddy.")
        if not held.startswith("kmem_cache_buddy"):
            return Verdict(
                False, f"The slab's buddy is now {wrong:#x}, where {held} lies: a kernel might notice. Choose a real struct buddy."
            )
        if m.buddy(wrong).page not in (m.pfn_to_page(pfn) for pfn in range(m.nr_pages)):
            return Verdict(
                False, f"The struct buddy at {wrong:#x} describes no page: nobody would use it unseen. Choose one that is in use."
            )
        victim = m.page_to_pfn(m.buddy(wrong).page)
        if m.mem_desc(victim).type is MemType.FREE:
            return Verdict(
                False, f"That struct buddy describes page {victim}, which is free: nobody would lose it. Choose one that is in use."
            )
        if m.mem_desc(victim).address == slab:
            return Verdict(False, f"Page {victim} is this slab's own. Choose a struct buddy of somebody else's pages.")
        note = " (the other cache's slab)" if victim == m.virt_to_pfn(other) else ""
        return Verdict(
            True,
            f"When this slab is given back, page {victim}{note} would be freed, and its own page would be lost. The checker says slab-buddy.",
        )
    return Verdict(False, "The checker finds nothing wrong: the slab still names its own buddy.")


def _readable(m: Machine, address: int) -> bool:
    try:
        m.read(address, 8)
    except ValueError:
        return False
    return not address & 7


EXERCISES = (
    Exercise(
        "06.1",
        level=1,
        minutes=5,
        title="One step further",
        task="`buddy_of(read, page)`: `page` is the address of the struct page of a slab's page. Return the address of its struct buddy. A struct slab names it at offset 24.",
        stub="def buddy_of(read, page):\n    raise NotImplementedError",
        check=_check_buddy,
        hints=("The worked example ends at the struct slab.", "Read the word at offset 24 of it."),
        explanation="Page, slab, buddy: two steps. It is the path that a slab's pages take on their way back to the page allocator.",
        state="memlab1.slab.pdnb3c5rblbdafcfp5c65hfbcyizvvi7obysuhi66emqv4jvtb2nbed767jo2hbyu6qwrxjtpsb4sw7b6fkkxhzpdtfpvi47u7iuduq2bv7ha6bfrgczk3ngnszejjk6f4hcd35ewfz2zguj6pgc63kbflfynibjohcfceto67dwsqc7s37aprc7fcvq.89bdf650f0d8a63c327a33f0",
    ),
    Exercise(
        "06.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "A cache prefers slabs of order 1; order 0 would do. No page at all is free. alloc_slab_page() calls, in some order, A: kmem_cache_alloc(kmem_cache_slab), "
            'B: alloc_pages, C: kmem_cache_free(kmem_cache_slab), D: free_pages. `calls()` returns the letters in the order of the calls, such as "AD".'
        ),
        stub="def calls():\n    raise NotImplementedError",
        check=_check_calls,
        hints=("What is had first? What is tried next, and how often?", "What was taken must go back; what was not had cannot."),
        explanation="You can see it: m.trace() around the allocation prints these calls. Linux, too, tries the preferred order first and the minimum then.",
        state="memlab1.slab.pdnbldcbbkacafaf57znmltmkpqfljef4vlqim6jerfly6673ugmy6ynqxxjvii2si4qqcspwacicer6wzcuuaitqnhvatbodjp3qslhdjgtnhsyu5mwbt3vkdt6ctmzkfvwzvo2s4zroyuena4c6syx772hl3j7z47clgi.df58cea2ecd646e6e0188a1f",
    ),
    Exercise(
        "06.3",
        level=2,
        minutes=12,
        title="alloc_slab_page",
        task=(
            "Write the heart of it. `alloc_slab()` gives a struct slab's address or None; `alloc_pages(desc)` gives pages whose words are `desc`, as the address of their "
            "struct buddy, or None; `set_buddy(slab, buddy)` stores it; `free_slab(slab)` gives a struct slab back. The type SLAB is 3. Return the slab, or None."
        ),
        stub="def alloc_slab_page(alloc_slab, free_slab, alloc_pages, set_buddy):\n    raise NotImplementedError",
        check=_check_alloc_slab_page,
        hints=("Slab first; then the word for the pages is slab | 3.", "Two things can fail. Which of them leaves something to give back?"),
        explanation="With cache, flags and node added, this is the function as the email has it, but for one special case: chapter 07.",
        state="memlab1.slab.pdna3c6bbkcdadaf77sz242ymvm3bpzcd25buszbyzrnxa4w7253ttoajrb6muqtlsb7va7bwcyzn2ygehd4o7eyi2bjogau5zb5rrmhnskz5swweqp5r5hxewwksgun3xdmfslqt3y26ujwkdb4uitwuexuw7ybg2fcica.59b5412138e53f791157cc74",
    ),
    Exercise(
        "06.4",
        level=3,
        minutes=15,
        title="The lie that is found too late",
        task=(
            "`vandalise(m, slab)`: `slab` is the address of a struct slab on machine `m`. Choose ONE word of RAM and a value, and return them as (address, value), so that the slab works "
            "as before, but on the day when it is given back, the kernel frees somebody else's pages. No other field of the struct slab may change."
        ),
        stub="def vandalise(m, slab):\n    raise NotImplementedError",
        check=_check_vandal,
        hints=(
            "Which field decides what is freed when the slab goes? m.slab(slab) shows them all.",
            "The value must be the address of another struct buddy in use, such as that of another slab: m.slab(m.mem_desc(pfn).address).buddy for a page of type SLAB that is not yours.",
        ),
        explanation="A pointer that is read once, at the very end, can lie for years. That is why memlab's check() follows every pointer both ways after every test.",
        state="memlab1.slab.pdni3drrbibdcfcev4rfhj4irnmkj5icgzlgdcyqx3fueteczerbq4xxdxlk3rgcnydn5637dkfnijodgrcpoeayuqufakhttps2rb4tqif7gfdbwtbd3ofjscer6kf3jfmm6zd4l2mimtvtjjtljfs6jdpfleqnlzbkbcenms4fy3yhru7cuc77sqo5uf6uk75l2aa2l4n3ma777qm7wcux55dga.dcf37fd083b561b3672a69a7",
    ),
)
