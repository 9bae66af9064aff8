"""Chapter 11, What it costs: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, labs and study."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from ..labs import buddy_machine
from ..linux import SlabCache, read_slabinfo
from ..machine import Machine
from ..memdesc import MemType
from ..study import accounting
from ..study.accounting import DESCRIPTORS, DESIGNS, MEM_DESC, TODAY, Run
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

BUDDY = MEM_DESC.buddy  # bytes, as DESCRIPTOR
DESCRIPTOR = DESCRIPTORS["anonmem"]


@cache
def single_pages() -> Run:
    """Fill 64 MiB with single pages that have only a struct buddy, free them all and shrink; metadata counted at each stage."""
    return accounting.run(Machine("64M", watermarks=None, design="bounded"), {(0, "buddy"): 1}, used=1, churn=0)


def kernel_caches() -> list[SlabCache]:
    """Return the slab caches of a real Linux 6.18, from the sample that comes with memlab."""
    return read_slabinfo("").caches


def radix_tree_node() -> SlabCache:
    """Return the cache that the email's author later reckoned with: 584 bytes an object, 28 to a slab of four pages, 9,941 slabs."""
    slabs, objects = 9941, 28
    return SlabCache("radix_tree_node", slabs * objects, slabs * objects, 584, objects, 4, 0, 0, 0, slabs, slabs, 0)


def full_of_pages(design: str) -> Machine:
    """Return a machine of 64 MiB of which all memory is allocated in single pages."""
    m = Machine("64M", watermarks=None, design=design)
    while m.alloc_pages(0) is not None:
        pass
    return m


def slab_runs(m: Machine) -> int:
    """Return in how many places the pages of slabs lie, neighbours being one place."""
    slab = [m.mem_desc(pfn).type is MemType.SLAB for pfn in range(m.nr_pages)]
    return sum(here and not before for before, here in zip([False, *slab], slab, strict=False))


def metadata(m: Machine) -> int:
    """Return the bytes of live metadata in a machine's RAM, without the room in the pages that hold it."""
    account = accounting.of_machine(m)
    return account.total - account.room


def warm_arena() -> Machine:
    """Boot a machine whose only free memory is one block of 16 pages, with free descriptors of every kind at hand."""
    m = Machine("512K", max_order=4, watermarks=None, design="bounded")
    m.folio_put(m.folio_alloc(0) or 0)
    m.anonmem_put(m.anonmem_alloc(0) or 0)
    while m.free_pages_count > 16:
        blocks = m.buddyinfo()[0, "Normal"]
        m.alloc_pages(next(order for order, n in enumerate(blocks) if n))
    return m


# -- predictions


def _terabyte(_: object) -> str:
    taken = {row.design: row.nbytes for row in accounting.page_structs(2**40)}
    return f"{taken[TODAY] - taken[MEM_DESC] >> 30} GiB"


def _one_page(_: object) -> str:
    return f"{accounting.block_bytes(MEM_DESC, 0)} bytes"


def _least(_: object) -> str:
    return min(DESIGNS, key=lambda design: accounting.block_bytes(design, 0, "anonmem")).name


def _from_order(_: object) -> str:
    return f"Order {accounting.break_even(MEM_DESC, TODAY, 'anonmem')}"


def _in_ram(_: object) -> str:
    per_page = single_pages()["filled"].per_page
    if per_page < 56:
        return "Less than 56 bytes"
    return "56 to 60 bytes" if per_page < 60 else "60 to 64 bytes" if per_page < 64 else "More than 64 bytes"


def _freed(_: object) -> str:
    done = single_pages()
    left = (done["freed"].total - done["booted"].total) / (done["filled"].total - done["booted"].total)
    return "None of it" if left < 0.05 else "About half of it" if left < 0.9 else "All of it, or nearly"


def _radix(_: object) -> str:
    cost = accounting.slab_caches([radix_tree_node()])["radix_tree_node"]
    return f"{cost.nbytes[MEM_DESC.name]:,} bytes"


def _all_caches(_: object) -> str:
    total = accounting.slab_caches(kernel_caches()).total()
    ratio = total.nbytes[MEM_DESC.name] / total.nbytes[TODAY.name]
    return "About a third" if ratio < 0.5 else "A little less" if ratio < 1 else "A little more" if ratio < 1.1 else "Nearly twice as much"


def _tipping(_: object) -> str:
    return f"About {round(100 * (accounting.tipping_share() or 0), -1):.0f} %"


_RANGES = (10, 16, 24, 40, 64)  # bytes a page


def _range(per_page: float) -> str:
    if per_page >= _RANGES[-1]:
        return f"{_RANGES[-1]} bytes or more"
    above = next(i for i, most in enumerate(_RANGES) if per_page < most)
    return f"Less than {_RANGES[0]} bytes" if above == 0 else f"{_RANGES[above - 1]} to {_RANGES[above]} bytes"


def _bill(m: Machine) -> str:
    return _range(metadata(m) / m.nr_pages)


def _bill_choices(m: Machine) -> list[tuple[str, str | None]]:
    account, right = accounting.of_machine(m), _bill(m)
    others = sum(account.number[kind] for kind in DESCRIPTORS)
    why = (
        f"8 bytes for each of {m.nr_pages} pages, {BUDDY} for each of {account.number['buddy']} struct buddys, {DESCRIPTOR} for each of "
        f"{others} other descriptors: {metadata(m):,} bytes, {metadata(m) / m.nr_pages:.1f} a page."
    )
    texts = list(dict.fromkeys(_range(n) for n in (0, *_RANGES)))
    return [(text, None if text == right else why) for text in texts]


PREDICTIONS = (
    Prediction(
        "11.a",
        question="A machine has 1 TiB of memory, and its struct pages shrink from 64 bytes to 8. How much more is there for everybody else?",
        choices=(
            ("2 GiB", "So much do struct pages of 8 bytes take; those of 64 bytes took 16 GiB."),
            ("14 GiB", None),
            ("16 GiB", "So much did struct pages of 64 bytes take (chapter 03); those of 8 bytes still take something."),
            ("56 GiB", "That would be 56 bytes in every 1,024; a page has 4096."),
        ),
        right=_terabyte,
    ),
    Prediction(
        "11.b",
        question="The new design: one single page that has a struct buddy and no other descriptor. How many bytes of metadata is that?",
        choices=(
            ("8 bytes", "That is the struct page; the page has a struct buddy as well."),
            ("48 bytes", "That is the struct buddy; and there is the struct page."),
            ("56 bytes", None),
            ("64 bytes", "So much it is today, with everything in the struct page."),
        ),
        right=_one_page,
    ),
    Prediction(
        "11.c",
        question="One single page of a process's own memory, described by a struct anonmem of 64 bytes. Which design takes the fewest bytes for it?",
        choices=(
            ("8-byte pages", "A word, a struct buddy and a struct anonmem: add them up."),
            ("16-byte pages", "There is no struct buddy, but 16 + 64 is more than another design takes."),
            ("32-byte pages", "There is no struct buddy, but 32 + 64 is more than another design takes."),
            ("64-byte pages", None),
        ),
        right=_least,
    ),
    Prediction(
        "11.d",
        question="From which order on do blocks with a struct anonmem take fewer bytes in the new design than today?",
        choices=(
            ("Order 1", "Two pages: 2 × 8 + 48 + 64 are 128 bytes, and 2 × 64 are as many."),
            ("Order 2", None),
            ("Order 3", "With one order less it is fewer already."),
            ("Order 6", "The block has its 112 bytes once, and its pages save 56 each: three pages are enough."),
        ),
        right=_from_order,
    ),
    Prediction(
        "11.e",
        question="64 MiB are filled with single pages that have only a struct buddy: 56 bytes each, on paper. What do all pages with metadata come to, for each page of memory?",
        choices=(
            ("Less than 56 bytes", "Nothing makes it less: each page of memory has its word, and each block its struct buddy."),
            ("56 to 60 bytes", None),
            ("60 to 64 bytes", "85 struct buddys fit into a page and 16 bytes are left over; a full slab wastes little."),
            ("More than 64 bytes", "This machine is bounded: it builds a slab of descriptors only when it needs one, and fills it."),
        ),
        right=_in_ram,
    ),
    Prediction(
        "11.f",
        question="Now all these pages are freed, in random order. How much of the memory that descriptors have taken since boot do they still hold?",
        choices=(
            ("None of it", "A page of descriptors goes back when nothing live is in it; one live descriptor in 85 is enough to keep it."),
            ("About half of it", "It would need half of the slabs to be quite empty; the live descriptors are not that tidy."),
            ("All of it, or nearly", None),
        ),
        right=_freed,
    ),
    Prediction(
        "11.g",
        question="9,941 slabs of four pages, 2,544,896 bytes of struct pages today. How many bytes of metadata do these slabs take in the new design?",
        choices=(
            ("318,112 bytes", "That is an eighth: the words alone."),
            ("954,336 bytes", "That is 4 × 8 + 64 for each slab: words and struct slab. A slab has one more descriptor (chapter 06)."),
            ("1,431,504 bytes", None),
            ("2,544,896 bytes", "A slab of four pages takes 4 × 8 + 48 + 64 bytes, and took 4 × 64."),
        ),
        right=_radix,
    ),
    Prediction(
        "11.h",
        question="All 235 caches of a real kernel together, 3,647 slabs: how much metadata do they take in the new design, compared with today?",
        choices=(
            ("About a third", "For slabs of eight pages that is so; most slabs are smaller."),
            ("A little less", "Slabs of four and eight pages gain a good deal; but count those of one page."),
            ("A little more", None),
            ("Nearly twice as much", "For slabs of one page that is so; but those of four and eight pages gain."),
        ),
        right=_all_caches,
    ),
    Prediction(
        "11.i",
        question="Part of memory is in single pages with a struct anonmem, the rest in folios of order 9. Up to which share of single pages does the new design take less than today's?",
        choices=(
            ("About 10 %", "At 10 % it takes 19 bytes a page, far from 64."),
            ("About 30 %", "At 30 % it takes 42 bytes a page, still far from 64."),
            ("About 50 %", None),
            ("About 90 %", "At 90 % it takes 109 bytes a page."),
        ),
        right=_tipping,
    ),
    Prediction(
        "11.j",
        question="Your Buddy lab's machine, as it was when you ran this cell: how many bytes of metadata a page, on paper, in the new design?",
        choices=_bill_choices,
        right=_bill,
        machine=lambda: buddy_machine(256),
    ),
)


# -- exercises

# States: one block of order 2; the trace after step 3; a slab of one page; memory full of single pages.
_ONE_BLOCK = "memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgiz2tvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussrokkzddkmnrwwajpnejvu.69ff1d85a91c5a1f0ba822af"
_STORY_STATE = (
    "memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussrokkyddkmn23asqy4kjab2uivucqbfnqeqga.a93ceb78c"
    "22eb0bae574e98c"
)
_SLABS = (
    "memlab1.slab.pdna3c6bbkcdadaf77sz242ymvm3bpzcd25buszbyzrnxa4w7253ttoajrb6muqtlsb7va7bwcyzn2ygehd4o7eyi2bjogau5zb5rrmhnskz5swweqp5r5hxewwksgu"
    "n3xdmfslqt3y26ujwkdb4uitwuexuw7ybg2fcica.59b5412138e53f791157cc74"
)
_FULL = "memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgizdlk6vkevc4sjnabzkfi4v2izhg4uuosvjl4ulkjjixffmbrvggy3lahwqsepn.29b5414fbc4f874977be0021"


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
            return f"{name!r}, {slabs} slabs of {pages} page{'s' * (pages > 1)}, is missing: a slab takes {each}."
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


_SAVED = "def saved(order, descriptor):\n    return {}"
_LOSERS = "def losers(caches):\n    lost = [(name, slabs * ({new} - 64 * pages)) for name, pages, slabs in caches]\n    return {result}"
_SORTED = "sorted([pair for pair in lost if pair[1] > 0], key=lambda pair: -pair[1])"
_PIN_ALL = "def pin(m):\n    mine = []\n    while (page := m.{get}) is not None:\n        mine.append(page)\n    for n, page in enumerate(mine):\n        {put}"

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
        wrong=(
            (_SAVED.format("2**order * 56 - 48"), "new 1 × 8 + 48 + 64 = 120"),
            (_SAVED.format("2**order * (56 - descriptor) - 48"), "new 2 × 8 + 48 + 64 = 128"),
            (_SAVED.format("48 + descriptor - 2**order * 56"), "the sign is turned round"),
            (_SAVED.format("2**order * 56 - descriptor"), "new 1 × 8 + 48 = 56"),
        ),
        explanation="56 bytes a page are saved, 48 and the descriptor's are paid once. With 64 bytes that is 112: two pages' savings, and so order 1 is even.",
        state=_ONE_BLOCK,
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
        wrong=(
            ("def metadata():\n    return [48, 112, 112, -112, -48, -112]", "four splits"),
            ("def metadata():\n    return [4, 1, 1, -1, 0, -5]", "RAM says +192; four splits, a struct buddy of 48 bytes each"),
            ("def metadata():\n    return [192, 64, 64, -112, 0, -208]", "both pages of its buddy are in use"),
            ("def metadata():\n    return [192, 112, 112, -112, 0, -256]", "with its struct buddy"),
            ("def metadata():\n    return [192, 64, 64, -64, -48, -208]", "every descriptor stays"),
            ("def metadata():\n    return [192, 64, 64, -64, 0, -64]", "four merges"),
        ),
        explanation="Split and merge change how many blocks there are, at 48 bytes each; users come and go at 64. A page that is free in the middle of others costs as much as one in use.",
        state=_STORY_STATE,
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
        wrong=(
            (_LOSERS.format(new="8 * pages + 64", result=_SORTED), "loses 560 bytes, not 80"),
            (_LOSERS.format(new="8 * pages + 112", result="lost"), "does not lose"),
            (_LOSERS.format(new="8 * pages + 112", result=_SORTED.replace("> 0", ">= 0")), "does not lose"),
            (_LOSERS.format(new="8 * pages + 112", result=_SORTED.replace("-pair[1]", "pair[1]")), "not the largest loss first"),
        ),
        explanation="All losers have slabs of one page, and lose 56 bytes a slab. Were small slabs larger, the kernel would gain; but then it would need larger blocks.",
        state=_SLABS,
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
        wrong=(
            (_PIN_ALL.format(get="anonmem_alloc(0)", put="m.anonmem_put(page)"), "You freed everything"),
            (_PIN_ALL.format(get="anonmem_alloc(0)", put="pass"), "pages are still allocated by you"),
            (_PIN_ALL.format(get="alloc_pages(0)", put="if n % 85:\n            m.free_pages(page)"), "what can move, was moved together"),
            ("def pin(m):\n    for _ in range(40):\n        m.anonmem_alloc(0)", "Only 4 pages held descriptors"),
            (
                "def pin(m):\n    v = [m.vmalloc(4096) for _ in range(900)]\n    for n in range(900):\n        if n % 64:\n            m.vfree(v[n])",
                "Only 27 pages held descriptors",
            ),
        ),
        explanation=(
            "One live descriptor keeps a whole page of them. Struct buddys can be moved together, for RAM shows who names them; a user's descriptor may be named by anybody who has its "
            "address. So in the worst case a page in use holds a page of descriptors: 4096 bytes of metadata, not 120. It is the old trouble of slabs, and Linux has it with every cache."
        ),
        state=_FULL,
    ),
)


# -- drills


def _bytes_question(rng: Random) -> Question:
    return (_block_question if rng.random() < 0.6 else _memory_question)(rng)


def _block_question(rng: Random) -> Question:
    order, descriptor = rng.randrange(0, 7), rng.choice(("buddy", *DESCRIPTORS))
    pages, own = 1 << order, DESCRIPTORS.get(descriptor, 0)
    right = accounting.block_bytes(MEM_DESC, order, descriptor)
    what = f"a struct {descriptor} of {own} bytes" if own else "no descriptor but its struct buddy"
    why = f"{pages} × 8 + {BUDDY}{f' + {own}' if own else ''} = {right}, and today {pages} × 64 = {64 * pages}"
    text = (
        f"8-byte pages: how many bytes of metadata does a block of order {order} take that has {what}? (A struct buddy has {BUDDY} bytes.)"
    )
    return Question(text, None, str(right), _grade(str(right), why))


def _memory_question(rng: Random) -> Question:
    design, gib = rng.choice(DESIGNS), 1 << rng.randrange(2, 11)
    right = accounting.page_structs(gib << 30, designs=(design,))[0].nbytes >> 20
    why = f"{gib} GiB are {gib * 256} × 1,024 pages, times {design.page} bytes: {right} MiB"
    text = f"How many MiB do struct pages of {design.page} bytes take in a machine with {gib} GiB of memory? (Pages of 4096 bytes.)"
    return Question(text, None, str(right), _grade(str(right), why))


def _grade(right: str, why: str) -> Callable[[str], Verdict]:
    def grade(reply: str) -> Verdict:
        numbers = [part for part in reply.replace(",", "").split() if part.isdecimal()]  # "120", "120 bytes" and "1,024"
        if len(numbers) != 1:
            raise ValueError("one number is wanted")
        return Verdict(numbers == [right], f"{why[0].upper()}{why[1:]}.")

    return grade


DRILLS = (Drill("11.bytes", level=1, make=_bytes_question),)

CHAPTER = Chapter(
    number="11",
    title="What it costs",
    notebook="11_costs.ipynb",
    minutes=35,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
