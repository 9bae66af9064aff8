"""Chapter 02, Buddies: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine and the labs."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..figures import page_map
from ..figures.picture import count
from ..labs import buddy_machine
from ..machine import Machine
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

ARENA = range(32, 48)  # the free pages of buddy_machine(16)
Block = tuple[int, int]  # (first page, order)


def _free_blocks(m: Machine) -> list[Block]:
    """Return the free blocks by address, as RAM says."""
    found, pfn = list[Block](), 0
    while pfn < m.nr_pages:
        desc = m.mem_desc(pfn)
        order = m.buddy(desc.address).order if desc.type.name in ("FREE", "BUDDY") else 0
        if desc.type.name == "FREE":
            found.append((pfn, order))
        pfn += 1 << order
    return found


def _words(blocks: list[Block]) -> str:
    return ", ".join(f"page {pfn} of order {order}" for pfn, order in blocks) or "none"


# -- predictions


def _full() -> Machine:
    """Return the machine with all sixteen pages handed out one by one."""
    m = buddy_machine(16)
    m.alloc_pages_bulk(16)
    return m


def _pages_for_five(m: Machine) -> str:
    pfn = m.virt_to_pfn(m.kmalloc(5 * m.page_size) or 0)
    return f"{1 << m.buddy(m.mem_desc(pfn).address).order} pages"


def _buddy_of_38(m: Machine) -> str:
    blocks = [m.alloc_pages(1) for _ in range(8)]
    m.free_pages(38)
    for block in blocks:
        state, before = m.snapshot(), m.stats
        if block not in (38, None):
            m.free_pages(block)
            if (m.stats - before).merges:
                return f"The block at page {block}"
        m.restore(state)
    return "None of them"


def _after_one_page(m: Machine) -> str:
    m.alloc_pages(0)
    counts = m.buddyinfo()[0, "Normal"]
    return "One block each of " + ", ".join(str(1 << order) for order, n in enumerate(counts) if n == 1) + " pages"


def _merges_of_the_last(m: Machine) -> str:
    pfn = m.alloc_pages(0)
    before = m.stats
    m.free_pages(pfn or 0)
    return f"{(m.stats - before).merges} merges"


def _next_page(m: Machine) -> str:
    for pfn in (33, 41, 37):
        m.free_pages(pfn)
    return f"Page {m.alloc_pages(0)}"


def _mended_by(m: Machine) -> str:
    for pfn in ARENA[1::2]:
        m.free_pages(pfn)
    state, mended = m.snapshot(), []
    for pfn in ARENA[::2]:
        m.free_pages(pfn)
        if m.alloc_pages(1) is not None:
            mended.append(pfn)
        m.restore(state)
    return "Any one of the even pages" if mended == [*ARENA[::2]] else f"Only {mended}"


def _largest_choices(m: Machine) -> list[tuple[str, str | None]]:
    counts = m.buddyinfo()[0, "Normal"]
    free = sum(n << order for order, n in enumerate(counts))
    why = f"There are {free} free pages in all, but one request is served from one block: look at the largest."
    right = _largest_request(m)
    return [(f"Order {k}", None if f"Order {k}" == right else why) for k in range(m.max_order + 1)] + [
        ("None at all", None if right == "None at all" else "Some block is free, so order 0 at least can be served.")
    ]


def _largest_request(m: Machine) -> str:
    for order in range(m.max_order, -1, -1):
        pfn = m.alloc_pages(order)
        if pfn is not None:
            m.free_pages(pfn)
            return f"Order {order}"
    return "None at all"


PREDICTIONS = (
    Prediction(
        "02.a",
        question="A program needs 5 pages in a row. How many pages does the buddy allocator hand out?",
        choices=(
            ("5 pages", "Five is no power of two, and a block always has 2^k pages."),
            ("6 pages", "Six is no power of two either."),
            ("8 pages", None),
            ("16 pages", "That would do, but the allocator takes the smallest order that is large enough."),
        ),
        right=_pages_for_five,
        machine=lambda: buddy_machine(16),
    ),
    Prediction(
        "02.b",
        question="Eight blocks of order 1 lie side by side from page 32 on. Which of them is the buddy of the block at page 38?",
        choices=(
            ("The block at page 36", None),
            (
                "The block at page 40",
                "It is a neighbour, but it was never one block with 38: merged, the two would start at page 38, which no block of 4 pages can.",
            ),
            ("Both", "A block has only one other half."),
            ("The block at page 46", "Far away: buddies always touch."),
        ),
        right=_buddy_of_38,
        machine=lambda: buddy_machine(16),
    ),
    Prediction(
        "02.c",
        question="All 16 pages are one free block. We ask for a single page. Which free blocks are left?",
        choices=(
            ("One block of 15 pages", "Fifteen is no power of two, so that is no block."),
            ("Fifteen single pages", "Only one half is split further each time; the other half stays whole."),
            ("One block each of 1, 2, 4, 8 pages", None),
            ("Two blocks of 4 and one of 7 pages", "Each split makes two equal halves."),
        ),
        right=_after_one_page,
        machine=lambda: buddy_machine(16),
    ),
    Prediction(
        "02.d",
        question="Now we free that page again. How many times are two blocks merged into one?",
        choices=(
            ("0 merges", "Its buddy is free and of the same size, so the two merge at once."),
            ("1 merge", "The merged block looks for its own buddy, and finds it free."),
            ("4 merges", None),
            ("15 merges", "Whole blocks merge, not pages: 1 and 1, 2 and 2, 4 and 4, 8 and 8."),
        ),
        right=_merges_of_the_last,
        machine=lambda: buddy_machine(16),
    ),
    Prediction(
        "02.e",
        question="All pages are taken. We free page 33, then 41, then 37. Which page does the next request for one page get?",
        choices=(
            ("Page 33", "It has the lowest address, but a free list is not sorted."),
            ("Page 41", "Neither first nor last: there is no reason to take it."),
            ("Page 37", None),
        ),
        right=_next_page,
        machine=_full,
    ),
    Prediction(
        "02.f",
        question="All pages are taken, then every odd page is freed. A request for two pages in a row fails. Which page must be freed to mend that?",
        choices=(
            ("Any one of the even pages", None),
            (
                "Only page 32, 36, 40 or 44 will do",
                "These begin a block of order 2. For two pages it is enough that the buddy, one page on, is free.",
            ),
            ("Two more pages: one is not enough", "One half of every pair is free already."),
            ("All even pages", "Two buddies merge as soon as both are free, whatever the others do."),
        ),
        right=_mended_by,
        machine=_full,
    ),
    Prediction(
        "02.g",
        question="Look at your own machine, as it is now. What is the largest order that one request can get?",
        choices=_largest_choices,
        right=_largest_request,
        machine=lambda: buddy_machine(64),
    ),
)


# -- exercises


def _check_order_for(answer: Callable[[int], int]) -> Verdict:
    for size in (1, 4096, 4097, 8192, 5 * 4096, 8 * 4096 + 1, 65536, 100_000):
        want = (-(-size // 4096) - 1).bit_length()
        got = answer(size)
        if got != want:
            pages = f"{count(1 << want, 'page')}, {(1 << want) * 4096:,} bytes"
            why = f"it takes order {want}: {pages}"
            if isinstance(got, int) and got > want:
                why = f"a block of order {want} has {pages}, and that is enough"
            return Verdict(False, f"order_for({size}) gave {got!r}; {why}.")
    return Verdict(True, "Eight sizes, the edges between two orders among them.")


def _check_trace(answer: Callable[[], list[Block]]) -> Verdict:
    m = buddy_machine(16)
    a, b = m.alloc_pages(1), m.alloc_pages(0)
    m.free_pages(a or 0)
    want, got = _free_blocks(m), answer()
    if not isinstance(got, (list, tuple, set)) or not all(isinstance(x, (list, tuple)) and len(x) == 2 for x in got):
        return Verdict(False, "free_blocks() returns a list of pairs (first page, order), such as [(32, 4)].")
    for start, order in got:
        if not isinstance(start, int) or start not in ARENA or not isinstance(order, int) or not 0 <= order <= m.max_order:
            return Verdict(
                False, f"({start!r}, {order!r}) is no block: first a page from 32 to 47, then an order from 0 to 4, such as (32, 4)."
            )
    mine = sorted(tuple(x) for x in got)
    if mine == want:
        return Verdict(True, f"Page {b} is in use; free are {_words(want)}.")
    pages = [pfn for start, order in mine for pfn in range(start, start + (1 << order))]
    if b in pages:
        return Verdict(False, f"Page {b} is in one of your free blocks, but it is in use: the second request got it.")
    if len(pages) != 15 or len(set(pages)) != 15:
        return Verdict(False, f"Your blocks have {len(set(pages))} different pages; 16 pages less the one in use leaves 15.")
    return Verdict(
        False, f"Your blocks cover the right 15 pages, but they are not these: {len(want)} blocks, the largest of order {want[-1][1]}."
    )


def _check_merge(answer: Callable[[int, int, Callable[[int, int], bool]], Block]) -> Verdict:
    rng = Random(2)
    for _ in range(60):
        m = buddy_machine(16)
        taken = _storm(m, rng)
        if not taken:
            continue
        pfn, order = taken[rng.randrange(len(taken))]
        free = set(_free_blocks(m))

        def is_free(pfn: int, order: int, free: set[Block] = free) -> bool:
            return (pfn, order) in free

        is_free.__qualname__ = "is_free"  # what Python calls it when it is called wrongly
        got = answer(pfn, order, is_free)
        if not isinstance(got, (list, tuple)) or [type(x) for x in got] != [int, int]:
            return Verdict(False, f"merge({pfn}, {order}, is_free) returns a pair (first page, order), such as (32, 4).")
        m.free_pages(pfn)
        want = next((p, k) for p, k in _free_blocks(m) if p <= pfn < p + (1 << k))
        if tuple(got) != want:
            return Verdict(
                False,
                f"Free were {_words(sorted(free))}. Freeing page {pfn} of order {order} makes the block at {_words([want])}; yours is {got!r}."
                + (f" (The largest order is {m.max_order}.)" if want[1] == m.max_order else ""),
            )
    return Verdict(True, "Sixty random machines, each compared with what free_pages does. Now let it drive the lab below.")


def _storm(m: Machine, rng: Random) -> list[Block]:
    """Allocate and free at random; return the blocks that are in use, sometimes all but one freed."""
    taken = list[Block]()
    for _ in range(rng.randrange(1, 14)):
        if taken and rng.random() < 0.4:
            m.free_pages(taken.pop(rng.randrange(len(taken)))[0])
        else:
            order = rng.choice((0, 0, 0, 1, 2))
            pfn = m.alloc_pages(order)
            if pfn is not None:
                taken.append((pfn, order))
    if rng.random() < 0.3:
        while len(taken) > 1:
            m.free_pages(taken.pop()[0])
    return taken


def _check_fragment(answer: Callable[[], list[int]]) -> Verdict:
    m = _full()
    got = answer()
    if not isinstance(got, (list, tuple, set, range)) or len(got) > 1000 or not all(isinstance(x, int) for x in got):
        return Verdict(False, "pages_to_keep() returns a list of page numbers, such as [32, 40].")
    keep = set(got)
    if not keep <= set(ARENA):
        return Verdict(False, f"The pages are {ARENA.start} to {ARENA.stop - 1}; {min(keep - set(ARENA))} is none of them.")
    for pfn in ARENA:
        if pfn not in keep:
            m.free_pages(pfn)
    largest = _largest_request(m)
    if largest in ("Order 2", "Order 3", "Order 4"):
        return Verdict(False, f"You keep {len(keep)} pages, and a request of {largest.lower()} can still be served.")
    if len(keep) > 4:
        return Verdict(False, f"No request for 4 pages can be served, but you keep {len(keep)} pages. It can be done with fewer.")
    return Verdict(True, "Four pages out of sixteen, one in each block of order 2: twelve pages are free, and no four of them together.")


EXERCISES = (
    Exercise(
        "02.1",
        level=1,
        minutes=5,
        title="From pages to orders",
        task="`order_for(size)` returns the smallest order whose block holds `size` bytes (1 or more). Pages have 4096 bytes.",
        stub="def order_for(size):\n    raise NotImplementedError",
        check=_check_order_for,
        hints=(
            "Start as the worked example does: how many pages does `size` need, rounded up?",
            "Then start at order 0 and go up while the block, 2**order pages, is too small.",
        ),
        wrong=(
            ("def order_for(size):\n    return size // 4096", "order_for(4096) gave 1"),
            ("def order_for(size):\n    return (size // 4096).bit_length()", "order_for(4096) gave 1"),
            ("def order_for(size):\n    return max(0, (size // 4096).bit_length() - 1)", "order_for(4097) gave 0; it takes order 1"),
        ),
        explanation="The kernel calls this get_order(). The usual mistakes are at the edges: exactly one page is still order 0, and one byte more is order 1.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkrwg2ybx6jqwjq.37ee9e454f9c9d61b71696b5",
    ),
    Exercise(
        "02.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "Pages 32 to 47 are one free block of order 4. On paper: a block of order 1 is allocated, then one of order 0, then the block of order 1 is "
            "freed. `free_blocks()` returns the free blocks that are left, as pairs (first page, order)."
        ),
        stub="def free_blocks():\n    raise NotImplementedError",
        check=_check_trace,
        hints=(
            "Draw the tree: 16 pages split into 8 and 8, the lower 8 into 4 and 4, the lower 4 into 2 and 2. The lower half is always the one split further.",
            "The single page comes from the smallest free block that there is: the one of order 1 at page 34.",
        ),
        wrong=(
            ("def free_blocks():\n    return [(32, 4)]", "but it is in use"),
            ("def free_blocks():\n    return [(36, 2), (40, 3)]", "different pages"),
            ("def free_blocks():\n    return [(1, 32), (0, 35), (2, 36), (3, 40)]", "is no block"),
            ("def free_blocks():\n    return [(32, 0), (33, 0), (35, 0), (36, 2), (40, 3)]", "not these"),
        ),
        explanation="The block at page 32 cannot merge: its buddy, pages 34 and 35, is free only in part.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkrwg2ybx6jqwjq.37ee9e454f9c9d61b71696b5",
    ),
    Exercise(
        "02.3",
        level=2,
        minutes=15,
        title="Merge",
        task=(
            "A block is freed. `merge(pfn, order, is_free)` returns the block that results, as (first page, order). `is_free(pfn, order)` says whether "
            "exactly this block is free as a whole. The largest order is 4."
        ),
        stub="def merge(pfn, order, is_free):\n    raise NotImplementedError",
        check=_check_merge,
        hints=(
            "The buddy is pfn ^ (1 << order). If it is free as a block of the same order, the two become one of the next order.",
            "The merged block starts at the lower of the two: pfn & ~(1 << order). Then ask again, with the new pfn and order.",
            "Stop at order 4.",
        ),
        wrong=(
            ("def merge(pfn, order, is_free):\n    return pfn, order", "makes the block at"),
            (
                "def merge(pfn, order, is_free):\n    while is_free(pfn + (1 << order), order):\n        order += 1\n    return pfn, order",
                "makes the block at",
            ),
            (
                "def merge(pfn, order, is_free):\n    buddy = pfn ^ (1 << order)\n    return (min(pfn, buddy), order + 1) if is_free(buddy, order) else (pfn, order)",
                "makes the block at",
            ),
        ),
        explanation=(
            "The question must be whether the buddy is free AS A BLOCK OF THIS ORDER. Asking only whether its first page is free merges with a part of it: "
            "a mistake found in several allocators that people have published."
        ),
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussroacu2tdowyeughas5ecwsqfbmtkpzxefbmyd3otgu3fdkunrwwqkah344wi2.7b70d89e2e215cc34a547d86",
    ),
    Exercise(
        "02.4",
        level=3,
        minutes=12,
        title="Few pages, badly placed",
        task=(
            "All of the pages 32 to 47 are handed out one by one. You choose which stay in use, all others are freed. `pages_to_keep()` returns as few pages "
            "as you can so that no request for 4 pages in a row can be served."
        ),
        stub="def pages_to_keep():\n    raise NotImplementedError",
        check=_check_fragment,
        hints=(
            "Where can a block of 4 pages start? How many such places are there among 16 pages?",
            "One page in use spoils one such block.",
        ),
        wrong=(
            ("def pages_to_keep():\n    return [40]", "can still be served"),
            ("def pages_to_keep():\n    return range(32, 48, 2)", "It can be done with fewer"),
            ("def pages_to_keep():\n    return [0, 4, 8, 12]", "is none of them"),
        ),
        explanation="A quarter of the pages is enough. Real kernels fight this by grouping pages that can be moved or freed together.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfosgjzxffduvkk7fc2skkfzjlamnjrwg2yb35ardny.40bc1b9a8954935659ccbe90",
    ),
)


# -- drills


def _buddy_question(rng: Random) -> Question:
    order = rng.randrange(0, 5)
    pfn = rng.randrange(0, 64) << order
    buddy = pfn ^ (1 << order)

    def grade(reply: str) -> Verdict:
        if _number(reply) == buddy:
            return Verdict(True, f"{pfn} ^ {1 << order} = {buddy}.")
        return Verdict(False, f"It is page {buddy}: flip the bit worth 2^{order} = {1 << order} in {pfn}.")

    return Question(f"A block of order {order} starts at page {pfn}. At which page does its buddy start?", None, str(buddy), grade)


def _split_question(rng: Random) -> Question:
    m = buddy_machine(16)
    for order in rng.sample((0, 1, 2), 2):
        m.alloc_pages(order)
    before, want = _free_blocks(m), rng.choice((0, 1, 2))
    picture = page_map(m, ARENA)
    m.alloc_pages(want)
    left = sorted(order for _, order in _free_blocks(m))
    answer = " ".join(map(str, left))
    now = f"Free are now {', '.join(f'a block of order {order}' for order in left)}" if left else "Nothing is free now"

    def grade(reply: str) -> Verdict:
        if sorted(int(part) for part in reply.replace(",", " ").split() if part.isdecimal()) == left:
            return Verdict(True, f"{now}.")
        return Verdict(
            False,
            f"{now}: the smallest block that will do is taken, and each split leaves one half free.",
        )

    text = (
        f"The free blocks are: {_words(before)}. A block of order {want} is allocated. Of which orders are the free blocks then? "
        "Name each block, the smallest first, such as 0 1 2."
    )
    return Question(text, picture, answer, grade)


def _number(reply: str) -> int | None:
    try:
        return int(reply.strip(), 0)
    except ValueError:
        return None


DRILLS = (Drill("02.buddy", level=1, make=_buddy_question), Drill("02.split", level=2, make=_split_question))

CHAPTER = Chapter(
    number="02",
    title="Buddies",
    notebook="02_buddies.ipynb",
    minutes=35,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
