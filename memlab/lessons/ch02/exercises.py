"""Exercises of chapter 02, Buddies, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ...figures.picture import count
from ...labs.buddy import buddy_machine
from ...machine import Machine
from ..model import Exercise, Verdict
from .scene import ARENA, Block, blocks_in_words, free_blocks, full_arena, largest_request


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
    want, got = free_blocks(m), answer()
    if not isinstance(got, (list, tuple, set)) or not all(isinstance(x, (list, tuple)) and len(x) == 2 for x in got):
        return Verdict(False, "free_blocks() returns a list of pairs (first page, order), such as [(32, 4)].")
    for start, order in got:
        if not isinstance(start, int) or start not in ARENA or not isinstance(order, int) or not 0 <= order <= m.max_order:
            return Verdict(
                False, f"({start!r}, {order!r}) is no block: first a page from 32 to 47, then an order from 0 to 4, such as (32, 4)."
            )
    mine = sorted(tuple(x) for x in got)
    if mine == want:
        return Verdict(True, f"Page {b} is in use; free are {blocks_in_words(want)}.")
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
        free = set(free_blocks(m))

        def is_free(pfn: int, order: int, free: set[Block] = free) -> bool:
            return (pfn, order) in free

        is_free.__qualname__ = "is_free"  # what Python calls it when it is called wrongly
        got = answer(pfn, order, is_free)
        if not isinstance(got, (list, tuple)) or [type(x) for x in got] != [int, int]:
            return Verdict(False, f"merge({pfn}, {order}, is_free) returns a pair (first page, order), such as (32, 4).")
        m.free_pages(pfn)
        want = next((p, k) for p, k in free_blocks(m) if p <= pfn < p + (1 << k))
        if tuple(got) != want:
            return Verdict(
                False,
                f"Free were {blocks_in_words(sorted(free))}. Freeing page {pfn} of order {order} makes the block at {blocks_in_words([want])}; yours is {got!r}."
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
    m = full_arena()
    got = answer()
    if not isinstance(got, (list, tuple, set, range)) or len(got) > 1000 or not all(isinstance(x, int) for x in got):
        return Verdict(False, "pages_to_keep() returns a list of page numbers, such as [32, 40].")
    keep = set(got)
    if not keep <= set(ARENA):
        return Verdict(False, f"The pages are {ARENA.start} to {ARENA.stop - 1}; {min(keep - set(ARENA))} is none of them.")
    for pfn in ARENA:
        if pfn not in keep:
            m.free_pages(pfn)
    largest = largest_request(m)
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
        explanation="A quarter of the pages is enough. Real kernels fight this by grouping pages that can be moved or freed together.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfosgjzxffduvkk7fc2skkfzjlamnjrwg2yb35ardny.40bc1b9a8954935659ccbe90",
    ),
)
