"""Chapter 06, A slab and its buddy: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, labs and core."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from .. import structs
from ..check_rules import Corruption
from ..kmem_cache import KmemCache
from ..labs import slab_machine
from ..machine import Machine
from ..memdesc import MemType
from ..trace import Trace
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

Read = Callable[[int], int]  # the word at an address
Fault = Callable[..., Any]


def small_machine() -> Machine:
    """Boot the chapter's machine: 1 MiB."""
    return Machine("1M")


def live(m: Machine, name: str) -> int:
    """Return how many objects of a cache are in use."""
    return int(next(row["active_objs"] for row in m.slabinfo() if row["name"] == name))


def no_pairs() -> tuple[Machine, KmemCache]:
    """Return a machine on which no block of order 1 can be had any more, and a new cache whose slabs would like to have that order."""
    m = Machine("256K")
    cache = m.kmem_cache_create("wide", 700)
    assert cache is not None  # noqa: S101  # the table of a fresh machine has room
    while m.alloc_pages(1) is not None:
        pass
    return m, cache


def chain_machine(links: int) -> tuple[Machine, int]:
    """Return a machine and a page whose free empties a slab of descriptors, whose page's free empties another, and so on, ``links`` times.

    Each of these slabs holds one live descriptor: that of the page of the slab that was built after it.
    """
    m = Machine("2M", page_size=1024, watermarks=None)
    links += 1  # the slab that is the CPU's at the end is not in the chain
    buddies, slabs = m.caches["kmem_cache_buddy"], m.caches["kmem_cache_slab"]

    def spare() -> int:
        return int(next(row["num_objs"] - row["active_objs"] for row in m.slabinfo() if row["name"] == buddies.name))

    slabs.free_bulk(slabs.alloc_bulk(2 * links) or [])
    singles = [page for half in m.split_page(m.alloc_pages(2) or 0) or () for page in m.split_page(half) or ()]
    pairs = [m.alloc_pages(1) or 0 for _ in range(links + 1)]
    for order in (0,):
        for _ in range(m.buddyinfo()[0, "Normal"][order]):
            m.alloc_pages(order)
    buddies.alloc_bulk(spare())
    m.free_pages(singles[0])
    fillers, uppers, low = list[int | None](), list[int](), 0
    for pair in pairs:
        fillers.append(buddies.alloc())  # the only free single page becomes a slab
        low, high = m.split_page(pair) or (0, 0)  # the descriptor of ``low`` is in that slab
        fillers += buddies.alloc_bulk(spare()) or []
        uppers.append(high)
        if pair != pairs[-1]:
            m.free_pages(low)
    m.free_pages(singles[2])
    buddies.alloc()  # another slab is the CPU's now
    for high in uppers:
        m.free_pages(high)
    for address in fillers:
        buddies.free(address or 0)
    return m, low


# -- predictions


def _who_knows(m: Machine) -> str:
    pfn = m.virt_to_pfn(m.kmalloc(100) or 0)
    desc = m.mem_desc(pfn)
    return "Its struct slab" if desc.type is MemType.SLAB and m.buddy(m.slab(desc.address).buddy).page == m.pfn_to_page(pfn) else "Its page"


def _first_call(m: Machine) -> str:
    cache = m.kmem_cache_create("dentry", 192)
    with m.trace() as trace:
        if cache is not None:
            cache.alloc()
    names = [f"{call.name}({call.cache})" for call in trace.calls]
    after = names[names.index("alloc_slab_page(dentry)") + 1]
    return {"kmem_cache_alloc(kmem_cache_slab)": "A struct slab", "alloc_pages()": "The pages"}[after]


def growing_slabs(m: Machine) -> Trace:
    """Use up the struct slabs of a machine, then have a new cache build its first slab; return the trace of that."""
    slabs, cache = m.caches["kmem_cache_slab"], m.kmem_cache_create("dentry", 192)
    row = next(row for row in m.slabinfo() if row["name"] == slabs.name)
    slabs.alloc_bulk(row["num_objs"] - row["active_objs"])
    with m.trace() as trace:
        if cache is not None:
            cache.alloc()
    return trace


def _instead(m: Machine) -> str:
    calls = growing_slabs(m).calls
    at = next(i for i, call in enumerate(calls) if (call.name, call.cache) == ("alloc_slab_page", "kmem_cache_slab"))
    return {"__alloc_slab": "Neither, but a function for this case alone: __alloc_slab()"}[calls[at + 1].name]


def _after_failure(m: Machine) -> str:
    cache = m.kmem_cache_create("dentry", 192)
    before = live(m, "kmem_cache_slab")
    with m.fail("alloc_pages"):
        if cache is not None:
            cache.alloc()
    return {0: "As many as before", 1: "One more"}[live(m, "kmem_cache_slab") - before]


def _fallback(_: object) -> str:
    m, cache = no_pairs()
    address = cache.alloc()
    if address is None:
        return "The allocation fails"
    return f"A slab of {1 << m.slab(m.mem_desc(m.virt_to_pfn(address)).address).order} page"


def _chain(_: object) -> str:
    m, page = chain_machine(40)
    before = m.stats
    with m.trace() as trace:
        m.free_pages(page)
    freed = (m.stats - before).slabs_freed
    return "40 or more slabs, in one call" if freed >= 40 and len(trace.calls) == 1 else f"{freed} slabs, in {len(trace.calls)} calls"


def _slabs_choices(m: Machine) -> list[tuple[str, str | None]]:
    right = live(m, "kmem_cache_slab")
    pages = sum(m.mem_desc(pfn).type is MemType.SLAB for pfn in range(m.nr_pages))
    objects = sum(int(row["active_objs"]) for row in m.slabinfo())
    whys = {
        pages: "That is the number of pages; a slab of several pages has one struct slab.",
        objects: "That is the number of objects in use, in all caches.",
        len(m.caches): "That is the number of caches; a cache can have many slabs, or none.",
        right + 1: "One too many: each slab has exactly one, those of struct slabs included.",
    }
    return [(f"{n} struct slabs", whys[n] if n != right else None) for n in sorted({right, *whys})]


PREDICTIONS = (
    Prediction(
        "06.a",
        question="The words of a slab's pages name its struct slab. Who names the struct buddy of these pages?",
        choices=(
            ("Its page", "A page has one word, and that names the struct slab."),
            ("Its struct slab", None),
            (
                "Nobody: it was given back when the pages became a slab",
                "Then the pages could never be freed: their order would be forgotten.",
            ),
            ("The first object", "Objects belong to whoever allocates them, every byte of them."),
        ),
        right=_who_knows,
        machine=small_machine,
    ),
    Prediction(
        "06.b",
        question="A new slab needs pages and a struct slab. Which does alloc_slab_page() get first?",
        choices=(
            ("The pages", "Then their words would have to be written twice: once for the buddy, once for the slab."),
            ("A struct slab", None),
        ),
        right=_first_call,
        machine=small_machine,
    ),
    Prediction(
        "06.c",
        question="The slab that is to be built is one of kmem_cache_slab itself. What does alloc_slab_page() call first?",
        choices=(
            (
                "kmem_cache_alloc(kmem_cache_slab), as always",
                "That would call itself again, and again: there is no struct slab left, or we would not be here.",
            ),
            (
                "alloc_pages(), and sees to the struct slab later",
                "What would the words of these pages say? And where would the struct slab come from later?",
            ),
            ("Neither, but a function for this case alone: __alloc_slab()", None),
        ),
        right=_instead,
        machine=small_machine,
    ),
    Prediction(
        "06.d",
        question="The struct slab is there, and then the pages cannot be had. How many struct slabs are in use after the failure?",
        choices=(
            ("One more", "That would be a leak: nobody would ever give it back."),
            ("As many as before", None),
            ("One less", "Only what was taken is given back."),
        ),
        right=_after_failure,
        machine=small_machine,
    ),
    Prediction(
        "06.e",
        question="A cache would like slabs of two pages, but only single pages are free. One object of 704 bytes fits into a page. What happens?",
        choices=(
            ("The allocation fails", "Not yet: a smaller slab will do, if an object fits into it."),
            ("A slab of 1 page", None),
            ("A slab of two single pages that are not neighbours", "A slab is one block."),
        ),
        right=_fallback,
    ),
    Prediction(
        "06.f",
        question="40 slabs of descriptors hold one live descriptor each: that of the next slab's page; the last one that of an ordinary page, which is freed now. Which slabs go, and in how many traced calls?",
        choices=(
            (
                "The last one, in one call",
                "When it goes, its page gives back its own descriptor, and that was the last one in the slab before.",
            ),
            (
                "40 or more slabs, each in a call inside the call before",
                "The kernel's stack is 16 KiB: a chain that grows with the data must not be recursion.",
            ),
            ("40 or more slabs, in one call", None),
        ),
        right=_chain,
    ),
    Prediction(
        "06.g",
        question="Your Slab lab's machine, as it was when you ran this cell: how many struct slabs were in use?",
        choices=_slabs_choices,
        right=lambda m: f"{live(m, 'kmem_cache_slab')} struct slabs",
        machine=slab_machine,
    ),
)


# -- exercises


def _check_buddy(answer: Callable[[Read, int], int]) -> Verdict:
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


def _check_alloc_slab_page(answer: Fault) -> Verdict:
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


_PAGES_FIRST = (
    "def alloc_slab_page(alloc_slab, free_slab, alloc_pages, set_buddy):\n    buddy = alloc_pages(3)\n    if buddy is None:\n        return None\n"
    "    slab = alloc_slab()\n    set_buddy(slab, buddy)\n    return slab"
)
_LEAKS = (
    "def alloc_slab_page(alloc_slab, free_slab, alloc_pages, set_buddy):\n    slab = alloc_slab()\n    if slab is None:\n        return None\n"
    "    buddy = alloc_pages(slab | 3)\n    if buddy is None:\n        return None\n    set_buddy(slab, buddy)\n    return slab"
)
_NO_TAG = (
    "def alloc_slab_page(alloc_slab, free_slab, alloc_pages, set_buddy):\n    slab = alloc_slab()\n    if slab is None:\n        return None\n"
    "    buddy = alloc_pages(slab)\n    if buddy is None:\n        free_slab(slab)\n        return None\n    set_buddy(slab, buddy)\n    return slab"
)

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
        wrong=(
            ("def buddy_of(read, page):\n    return read(page) & ~15", "one step more"),
            ("def buddy_of(read, page):\n    return read(page)", "take the type out"),
            ("def buddy_of(read, page):\n    return read((read(page) & ~15) + 32)", "at offset 24"),
        ),
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
        wrong=(
            ('def calls():\n    return "AB"', "How often are pages asked for?"),
            ('def calls():\n    return "BBAC"', "The struct slab comes first"),
            ('def calls():\n    return "ABB"', "What becomes of it?"),
            ('def calls():\n    return "ABBCD"', "no pages to free"),
        ),
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
        wrong=((_PAGES_FIRST, "needed are alloc_slab"), (_LEAKS, "needed are alloc_slab, alloc_pages, free_slab"), (_NO_TAG, "low bits")),
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
        wrong=(
            ("def vandalise(m, slab):\n    return slab + 24, 0x1000", "a kernel might notice"),
            ("def vandalise(m, slab):\n    return slab + 24, m.slab(slab).buddy", "finds nothing wrong"),
            ("def vandalise(m, slab):\n    return slab + 48, 0x1000", "Another field"),
            (
                "def vandalise(m, slab):\n    return slab + 24, next(d.address for pfn in range(m.nr_pages) if (d := m.mem_desc(pfn)).type.name == 'FREE')",
                "which is free",
            ),
        ),
        explanation="A pointer that is read once, at the very end, can lie for years. That is why memlab's check() follows every pointer both ways after every test.",
        state="memlab1.slab.pdni3drrbibdcfcev4rfhj4irnmkj5icgzlgdcyqx3fueteczerbq4xxdxlk3rgcnydn5637dkfnijodgrcpoeayuqufakhttps2rb4tqif7gfdbwtbd3ofjscer6kf3jfmm6zd4l2mimtvtjjtljfs6jdpfleqnlzbkbcenms4fy3yhru7cuc77sqo5uf6uk75l2aa2l4n3ma777qm7wcux55dga.dcf37fd083b561b3672a69a7",
    ),
)


# -- drills


_ARROWS = {
    "the mem_desc of a slab's page": "the struct slab",
    "slab->buddy": "the struct buddy",
    "buddy->page": "the struct page of the first page",
    "slab->virt": "the first byte of the slab's memory",
    "slab->slab_cache": "the cache",
    "a free object's link": "the next free object",
}


def _pointers_question(rng: Random) -> Question:
    places = list(dict.fromkeys(_ARROWS.values()))
    rng.shuffle(places)
    arrow, place = rng.choice(list(_ARROWS.items()))
    answer = "abcdef"[places.index(place)]

    def grade(reply: str) -> Verdict:
        if reply.strip(" ().").lower() == answer:
            return Verdict(True, f"So it is: {arrow} leads to {place}.")
        return Verdict(False, f"It leads to {place}: {answer}.")

    listed = ", ".join(f"({letter}) {text}" for letter, text in zip("abcdef", places, strict=True))
    return Question(f"Where does {arrow} point? {listed}. (One letter.)", None, answer, grade)


DRILLS = (Drill("06.pointers", level=1, make=_pointers_question),)

CHAPTER = Chapter(
    number="06",
    title="A slab and its buddy",
    notebook="06_slab_and_buddy.ipynb",
    minutes=35,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
