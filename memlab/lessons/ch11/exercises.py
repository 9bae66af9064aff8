"""Exercises of chapter 11, What it costs, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from ...figures.picture import count
from ...linux import SlabCache
from ...machine import Machine
from ...study import accounting
from ...study.accounting import MEM_DESC, TODAY
from ..model import Exercise, Verdict
from .scene import BUDDY, DESCRIPTOR, kernel_caches, metadata, warm_arena


def _check_saved(answer: Callable[[int, int], int]) -> Verdict:
    cases = [(0, 0), (0, 64), (1, 64), (2, 64), (9, 64), (11, 0), (0, 200), (3, 400), (5, 24)]
    for order, descriptor in cases:
        today, new = (accounting.block_bytes(design, order, descriptor) for design in (TODAY, MEM_DESC))
        got = answer(order, descriptor)
        if got != today - new:
            pages, said = 1 << order, f"saved({order}, {descriptor}) gave {got!r}"
            own = f" + {descriptor}" if descriptor else ""
            reckoned = f"today {pages} × 64 = {today}, new {pages} × 8 + {BUDDY}{own} = {new}, so {today - new}"
            if got == new - today:
                return Verdict(False, f"{said}: the sign is turned round; {reckoned}, below 0 when the new design takes more.")
            return Verdict(False, f"{said}: {reckoned}.")
    return Verdict(True, "Nine blocks: what a block saves, it saves on its words; what it pays, it pays once.")


_STEPS = (
    ("alloc_pages(0)", f"four splits, a struct buddy of {BUDDY} bytes each"),
    ("folio_alloc(1)", f"a free block of order 1 is there with its struct buddy; the folio needs a descriptor of {DESCRIPTOR} bytes"),
    ("anonmem_alloc(0)", f"a free page is there with its struct buddy; it needs a struct anonmem of {DESCRIPTOR} bytes"),
    ("folio_put(), of the folio", "the struct folio goes; the block cannot merge, as both pages of its buddy are in use"),
    ("free_pages(), of the first page", "the page cannot merge, as its buddy is in use: every descriptor stays"),
    ("anonmem_put()", "the struct anonmem goes, and four merges give back a struct buddy each"),
)


def _check_trace(answer: Callable[[], list[int]]) -> Verdict:
    m = warm_arena()
    state: dict[str, int] = {}
    want = []
    calls: tuple[Callable[[], Any], ...] = (
        lambda: state.update(page=m.alloc_pages(0) or 0),
        lambda: state.update(folio=m.folio_alloc(1) or 0),
        lambda: state.update(anon=m.anonmem_alloc(0) or 0),
        lambda: m.folio_put(state["folio"]),
        lambda: m.free_pages(state["page"]),
        lambda: m.anonmem_put(state["anon"]),
    )
    for call in calls:
        before = metadata(m)
        call()
        want.append(metadata(m) - before)
    got = answer()
    if not isinstance(got, (list, tuple)) or len(got) != len(want):
        return Verdict(False, f"metadata() returns {len(want)} numbers, the bytes that each step adds; below 0 if it gives some back.")
    for n, (mine, right, (step, why)) in enumerate(zip(got, want, _STEPS, strict=True), 1):
        if mine != right:
            return Verdict(False, f"Step {n}, {step}: you say {mine!r}, RAM says {_signed(right)}; {why}.")
    return Verdict(True, f"The steps add {', '.join(map(_signed, want))} bytes: {sum(want)} in all, as it should be.")


def _signed(n: int) -> str:
    return f"{n:+d}" if n else "0"


def _check_losers(answer: Callable[[list[tuple[str, int, int]]], list[tuple[str, int]]]) -> Verdict:
    rng = Random(11)
    real = [(c.name, c.pagesperslab, c.num_slabs) for c in kernel_caches()]
    small = [("one", 1, 10), ("two", 2, 10), ("four", 4, 10), ("many", 1, 30), ("none", 1, 0)]
    made = [[(f"cache-{n}", 1 << rng.randrange(4), rng.randrange(50)) for n in range(rng.randrange(12))] for _ in range(20)]
    for caches in (small, *made, real):
        rows = [SlabCache(name, 0, 0, 0, 0, pages, 0, 0, 0, slabs, slabs, 0) for name, pages, slabs in caches]
        want = [(c.name, -c.saved()) for c in accounting.slab_caches(rows).lose]
        got = answer(list(caches))
        if not isinstance(got, (list, tuple)) or not all(_is_pair(pair) for pair in got):
            return Verdict(False, "losers(caches) returns a list of pairs, a cache's name and the bytes that it loses.")
        said = _wrong_loser({pair[0]: pair[1] for pair in got}, dict(want), {c[0]: c for c in caches})
        if said:
            return Verdict(False, said)
        if [n for _, n in got] != [n for _, n in want]:
            return Verdict(False, f"The right caches, but not the largest loss first: {[n for _, n in got][:6]}.")
    return Verdict(True, f"Twenty made-up kernels and a real one: {len(want)} of its {len(real)} caches lose, all with slabs of one page.")


def _is_pair(pair: object) -> bool:
    return isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)


def _wrong_loser(got: dict[Any, Any], want: dict[str, int], caches: dict[str, tuple[str, int, int]]) -> str | None:
    """Return a sentence about the first cache that is missing, too many or reckoned wrong, if there is one."""
    for name, (_, pages, slabs) in caches.items():
        each = f"{pages} × 8 + {BUDDY} + {DESCRIPTOR} = {pages * 8 + BUDDY + DESCRIPTOR} bytes against {pages} × 64 = {pages * 64}"
        if name in want and name not in got:
            return f"{name!r}, {slabs} slabs of {count(pages, 'page')}, is missing: a slab takes {each}."
        if name in got and name not in want:
            why = "it has no slab, so it loses nothing" if not slabs else f"a slab takes {each}"
            return f"{name!r} does not lose: {why}."
        if name in got and got[name] != want[name]:
            return f"{name!r}, {slabs} slabs, loses {want[name]} bytes, not {got[name]!r}: a slab takes {each}."
    strange = next((name for name in got if name not in caches), None)
    return f"There is no cache {strange!r} among these." if strange is not None else None


_MINE, _HELD = 40, 30  # pages that the learner may keep, and that descriptors must then hold


def _check_pin(answer: Callable[[Machine], object]) -> Verdict:
    m = Machine("8M", watermarks=None, design="bounded")
    answer(m)
    m.check()
    full = accounting.of_machine(m).pages_held - m.mem_map_pages
    m.shrink()
    held = accounting.of_machine(m).pages_held - m.mem_map_pages
    mine = sum(m.mem_desc(pfn).type.name not in ("NONE", "FREE", "SLAB") for pfn in range(m.nr_pages))
    if mine > _MINE:
        return Verdict(False, f"{mine:,} pages are still allocated by you, and {_MINE} may be: free most of what you allocated.")
    if held >= _HELD:
        each = f"{mine} pages in use hold {held} pages of descriptors, {held / (mine or 1):.1f} for each"
        none = f"{held} pages are held by descriptors that belong to no page of yours"
        return Verdict(True, f"{each if mine else none}, and shrink cannot help it.")
    if full < _HELD // 2 or (mine and held == full):
        return Verdict(
            False,
            f"Only {full} pages held descriptors at the end, even before shrink, and {_HELD} must: first allocate very many single pages.",
        )
    if not mine:
        return Verdict(
            False,
            f"You freed everything: {full} pages held descriptors, and shrink got them back, all but {held}. Something must keep them.",
        )
    return Verdict(
        False,
        f"{full} pages held descriptors, and after shrink only {held} do: what can move, was moved together. Whose descriptors can shrink not move?",
    )


# The states: one block of order 2; the trace after step 3; a slab of one page; memory full of single pages.
EXERCISES = (
    Exercise(
        "11.1",
        level=1,
        minutes=5,
        title="What does a block save?",
        task="`saved(order, descriptor)`: how many bytes of metadata the new design saves on a block of `order` whose user has a descriptor of `descriptor` bytes; below 0 if it takes more.",
        stub="def saved(order, descriptor):\n    raise NotImplementedError",
        check=_check_saved,
        hints=(
            "The worked example is the case descriptor == 0. Today the descriptor is laid over the struct page, and takes nothing.",
            "The descriptor is there once for a block, however many pages it has.",
        ),
        explanation="56 bytes a page are saved, 48 and the descriptor's are paid once. With 64 bytes that is 112: two pages' savings, and so order 1 is even.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgiz2tvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussrokkzddkmnrwwajpnejvu.69ff1d85a91c5a1f0ba822af",
    ),
    Exercise(
        "11.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "16 pages are one free block, and free descriptors of every kind are at hand. Six steps: alloc_pages(0); folio_alloc(1); anonmem_alloc(0); folio_put() of the "
            "folio; free_pages() of the page of step 1; anonmem_put() of the anonmem. `metadata()` returns the bytes of live descriptors that each step adds (+) or gives back (-)."
        ),
        stub="def metadata():\n    raise NotImplementedError",
        check=_check_trace,
        hints=(
            "48 bytes for each split, 64 for each user's descriptor; the words are there all the time. After step 1 there is a free block of each order from 0 to 3.",
            "A block merges only if its buddy is free. Which pages are in use when the folio's are freed? And when that of step 1 is?",
        ),
        explanation="Split and merge change how many blocks there are, at 48 bytes each; users come and go at 64. A page that is free in the middle of others costs as much as one in use.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussrokkyddkmn23asqy4kjab2uivucqbfnqeqga.a93ceb78c22eb0bae574e98c",
    ),
    Exercise(
        "11.3",
        level=2,
        minutes=12,
        title="Who loses?",
        task=(
            "`losers(caches)`: `caches` is a list of (name, pages in a slab, number of slabs). Return a list of (name, bytes) of the caches whose slabs take more metadata in the new "
            "design than today, with the bytes that they lose, the largest loss first. A slab has a struct buddy (48 bytes) and a struct slab (64)."
        ),
        stub="def losers(caches):\n    raise NotImplementedError",
        check=_check_losers,
        hints=(
            "What does one slab of p pages take today, and what in the new design? The difference, times the number of slabs, is the loss, if it is more than 0.",
            "`sorted(pairs, key=lambda pair: -pair[1])` puts the largest first.",
        ),
        explanation="All losers have slabs of one page, and lose 56 bytes a slab. Were small slabs larger, the kernel would gain; but then it would need larger blocks.",
        state="memlab1.slab.pdna3c6bbkcdadaf77sz242ymvm3bpzcd25buszbyzrnxa4w7253ttoajrb6muqtlsb7va7bwcyzn2ygehd4o7eyi2bjogau5zb5rrmhnskz5swweqp5r5hxewwksgun3xdmfslqt3y26ujwkdb4uitwuexuw7ybg2fcica.59b5412138e53f791157cc74",
    ),
    Exercise(
        "11.4",
        level=3,
        minutes=20,
        title="A page for a page",
        task=(
            f"`pin(m)`: on a bounded machine of 8 MiB, allocate and free, so that at the end at most {_MINE} pages are allocated by you, but {_HELD} pages or more hold descriptors, even "
            "after m.shrink()."
        ),
        stub="def pin(m):\n    raise NotImplementedError",
        check=_check_pin,
        hints=(
            "First fill memory with single pages: very many descriptors. Then free nearly all, so that in each page of descriptors one stays live.",
            "shrink moves struct buddys and struct slabs, since it finds all words that name them. It moves no user's descriptor: use anonmem_alloc(0) and anonmem_put().",
            "anonmem_alloc returns the address of the descriptor; address // 4096 is the same for all in one page. Keep one for each such number.",
        ),
        explanation=(
            "One live descriptor keeps a whole page of them. Struct buddys can be moved together, for RAM shows who names them; a user's descriptor may be named by anybody who has its "
            "address. So in the worst case a page in use holds a page of descriptors: 4096 bytes of metadata, not 120. It is the old trouble of slabs, and Linux has it with every cache."
        ),
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgizdlk6vkevc4sjnabzkfi4v2izhg4uuosvjl4ulkjjixffmbrvggy3lahwqsepn.29b5414fbc4f874977be0021",
    ),
)
