"""Chapter 09, The worst case: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, figures, study and core."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from ..figures.call_chain import STACK_BYTES
from ..figures.picture import count
from ..gfp import GFP
from ..machine import Machine
from ..ram import KernelBug
from ..study.consumers import free_descriptors
from .ch09_chains import (
    FITS,
    LEFT_OUT,
    churned,
    conspire,
    first_block,
    frames,
    in_frames,
    roomy,
    scarce,
    stock_of,
    traced,
)
from .ch09_checks import check_backtrace, check_by_hand, check_fill, check_stack
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

# -- predictions


def _depth(m: Machine) -> str:
    return in_frames(frames(traced(m)))


def _taken_away(m: Machine) -> str:
    looked_at = first_block(m, 6)
    with m.interrupt("kmem_cache_alloc_bulk", "return", lambda: m.alloc_pages(6, GFP.ATOMIC), times=1):
        pfn = m.alloc_pages(0)
    if pfn is None:
        return "It fails: None"
    return "It splits the block that it found" if looked_at <= pfn < looked_at + 64 else "It searches again, and splits another block"


def _without(words: str) -> Callable[[Any], str]:
    return lambda _: in_frames(frames(conspire(LEFT_OUT[words])[0]))


def _overflow(m: Machine) -> str:
    m.frame_limit = FITS
    before, failed = m.free_pages_count, False
    try:
        m.alloc_pages(0)
    except KernelBug:
        failed = True
    if not failed:
        return "It gets its page, and the rest is cut short"
    lost = before - m.free_pages_count
    return (
        f"It fails, and {count(lost, 'page')} of half-built slabs are lost"
        if lost
        else "It fails, and all that was built on the way is unmade"
    )


def _free_slabs(_: object) -> str:
    return f"{free_descriptors(churned('as-written'), 'kmem_cache_slab'):,}"


def _yours_question(m: Machine) -> str:
    return (
        f"Your lab's machine, as it is now, of the design {'bounded' if m.bounded else 'as written'}; {stock_of(m)}. A task calls alloc_pages(0), and no interrupt comes. "
        "How many frames deep do the calls nest?"
    )


def _yours_choices(m: Machine) -> list[tuple[str, str | None]]:
    slabs, state = free_descriptors(m, "kmem_cache_slab"), m.snapshot()
    right = frames(traced(m))
    m.restore(state)
    whys = {
        1: "That is enough when a page of order 0 is free; else the block must be split.",
        2: "That is enough when the split finds its struct buddys ready.",
        7: "That is bounded, with a struct slab at hand: one round, and then it is carved.",
        12: "Twelve is one round that finds no struct slab; compare what is free here.",
        18: "That is the email's chain, and it needs an interrupt at the right moment.",
        6 * slabs
        + 12: "Six for each free struct slab and twelve more: that is the design as written, with all struct buddys used up and no page of order 0.",
    }
    return [(in_frames(n), None if n == right else whys[n]) for n in sorted({right, *whys})]


PREDICTIONS = (
    Prediction(
        "09.a",
        question="The free lists of orders 0 and 1 are empty; no struct buddy is free, and no struct slab. A task calls alloc_pages(0). How many frames are on its stack at the deepest point?",
        choices=(
            ("2 frames", "alloc_pages asks for struct buddys; but none is free, so that call needs others in turn."),
            (
                "6 frames",
                "Six is one cache that grows. kmem_cache_buddy grows here, and its new slab needs a struct slab: a second cache grows.",
            ),
            ("12 frames", None),
            ("Without end", "The recursion stops at __alloc_slab, as in chapter 07."),
        ),
        right=_depth,
        machine=scarce,
    ),
    Prediction(
        "09.b",
        question="alloc_pages(0) has found a block of order 6 and asked for struct buddys to split it. As they arrive, an interrupt comes, and its handler allocates just this block. What does alloc_pages do?",
        choices=(
            ("It splits the block that it found", "Then two owners would have the same pages."),
            ("It searches again, and splits another block", None),
            ("It fails: None", "There are other free blocks: it only has to look."),
        ),
        right=_taken_away,
        machine=roomy,
    ),
    Prediction(
        "09.c",
        question="The state of section 1 again. This time an interrupt comes when the struct slab has been had, and eats all struct slabs and struct buddys that are free. How deep does the task nest now?",
        choices=(
            (
                "12 frames",
                "So far without the interrupt. But the new slab's page has yet to be had, and what its split needs has just been eaten.",
            ),
            ("18 frames", None),
            (
                "24 frames",
                "Twelve calls come twice, but not all inside each other: the struct slab had been had, so that call and those in it have returned.",
            ),
            ("Without end", "The interrupt eats once; then nobody disturbs the task, and the recursion stops."),
        ),
        right=_without("nothing"),
    ),
    Prediction(
        "09.d",
        question="The same once more, but the interrupt eats less: only the struct buddys. It leaves the struct slabs alone. How deep does the task nest?",
        choices=(
            ("12 frames", "So it is when the interrupt leaves the struct buddys alone: then the split finds some."),
            ("18 frames", "That was with an interrupt that ate both. What did it change that the struct slabs were gone?"),
            ("24 frames", "A struct slab at hand saves six frames once; but where does the page for the slab come from that it describes?"),
            ("384 frames", None),
        ),
        right=_without("the interrupt eats struct slabs"),
    ),
    Prediction(
        "09.e",
        question="A fresh machine of 64 MiB. No page of order 0 is free, and no struct buddy; 61 struct slabs are. No interrupt comes. How deep does alloc_pages(0) nest?",
        choices=(
            (
                "12 frames",
                "With no free struct slab it would be 12. Here kmem_cache_slab need not grow, so __alloc_slab is not called yet.",
            ),
            ("18 frames", "Each free struct slab leads to another round, not just one of them."),
            (
                "366 frames",
                "61 rounds of six; and then comes the round that finds no struct slab: it has its own six, and six for the growth of kmem_cache_slab.",
            ),
            ("378 frames", None),
        ),
        right=_depth,
        machine=lambda: scarce(slabs=None, below=1),
    ),
    Prediction(
        "09.f",
        question="The state of section 5 on a kernel whose nested allocations fail when the stack of 16 KiB is full. What becomes of alloc_pages(0)?",
        choices=(
            (
                "It gets its page, and the rest is cut short",
                "Each call needs what the call inside it brings: the outermost one can have nothing without it.",
            ),
            ("It fails, and all that was built on the way is unmade", None),
            (
                "It fails, and 17 pages of half-built slabs are lost",
                "Each of the 17 rounds gives back what it has got itself, as in chapter 08; and pages are got only on the way back.",
            ),
        ),
        right=_overflow,
        machine=lambda: scarce(slabs=None, below=1),
    ),
    Prediction(
        "09.g",
        question="The state of section 5 in the bounded design: no page of order 0, no struct buddy, 61 free struct slabs. How deep does alloc_pages(0) nest?",
        choices=(
            ("7 frames", None),
            ("12 frames", "That is when kmem_cache_slab has to grow, too; here struct slabs are at hand."),
            ("18 frames", "The page for the new slab is not asked of alloc_pages any more."),
            ("378 frames", "The rounds came from alloc_pages inside alloc_slab_page; a carved slab does without."),
        ),
        right=_depth,
        machine=lambda: scarce("bounded", slabs=None, below=1),
    ),
    Prediction(
        "09.h",
        question="As written: 61 struct slabs are free on a fresh machine. Somebody allocates 12,000 objects of 2 KiB and frees them all; the caches are shrunk. How many struct slabs are free then?",
        choices=(
            ("0", "All slabs of the objects are gone, and their struct slabs are free again."),
            ("61", "So it would be if the pages that were added for struct slabs had gone again."),
            ("1,487", None),
            ("1,548", "That is 61 and all 1,487; but the 61 were used up first, and are among them."),
        ),
        right=_free_slabs,
    ),
    Prediction("09.i", question=_yours_question, choices=_yours_choices, right=_depth, machine=lambda: scarce(slabs=2)),
)


# -- exercises


_FILL = (
    "def fill_stack(m):\n    from memlab.study.consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty\n"
    "    cache = m.caches['kmem_cache_slab']\n    for address in [cache.alloc() for _ in range({n})]:\n        cache.free(address)\n"
    "    {eat}\n"
)

# States of the Nesting lab: the email's chain; one free struct slab, not yet called; the same, called; the small machine, struct slabs taken.
_EMAIL = (
    "memlab1.nesting.pdne3dwbbkbuadcep5s4tkocd3nox7ukrdcdllosovozelffrd7542bj6skgd4rssmgyjnawbdn64qmurjagqw2tzafh4o4ecicmrk53goirwsjcz5"
    "cvpbv56mw4ywmjxglbg7snssgwks7ebqpletqqnypfbtl5f22piepdiq62nnggzopsccmhyyhbnqtefcqtuy44fdl2r3wyrlbtz7umughogw56b5cahd7oomddri73qihz"
    "fs5vggsnwpydsvhgs.25987dcd6b43e5e7b619e07e"
)
_ONE = (
    "memlab1.nesting.pdnd3sbrb2acadaf2cvti77garoikmea2teqbilfgbg67lronyx46ifmpmrjub4i6ikmjfc6swsqr5sbdeix3ufztbexj3kdvhxnn3saup7sgv5j6c"
    "op2anfoiorg.533b6319a20683846d1b4ed3"
)
_CALLED = (
    "memlab1.nesting.pdnd3czrb2acaeaex5blnuueyknk6eddcbhrwauehmfeh6f3nbq3go4z5q3dasongcwwxmcqmymgwb5zelio2bjbddckjtscurmev5nc6z5bzn2wfh"
    "7ina632flw3yk5bdx7k24dshew7wk5ytjtfd6j3ipv6czikq.b950f8ebe7d69c685deefd7f"
)
_TINY = (
    "memlab1.nesting.pdno3c2bbkbtaecfv4zpzfmfvskhnenlasitddavdiytru2fbg4xxnnl33ai3k7xpdyauvhmtxquw5kqsowpaipmy2n4dfkdjtqdc3ncwor25jomj5"
    "ivuj3k54hrupzgrlnlxagifeo4pdy6v5czmilstrs5rqy2to72bcoh3n2z26hv6uftqkvqgq.8f61e9ca555e62941c89c964"
)

EXERCISES = (
    Exercise(
        "09.1",
        level=1,
        minutes=6,
        title="How much stack?",
        task=(
            "`stack_bytes(calls, context)`: the bytes of stack that one context needs, at 160 bytes a frame: 0 is the task, n the trace's nth interrupt, on a stack of its own. "
            "A call has a depth (1 is the outermost of its context) and a context. A context without calls needs 0 bytes."
        ),
        stub="def stack_bytes(calls, context):\n    raise NotImplementedError",
        check=check_stack,
        hints=(
            "Take the depths of those calls only whose context is the one asked for.",
            "max() of nothing is an error, unless you say what it then is: max(..., default=0).",
        ),
        wrong=(
            ("def stack_bytes(calls, context):\n    return 160 * len([c for c in calls if c.context == context])", "most had returned"),
            ("def stack_bytes(calls, context):\n    return 160 * max(c.depth for c in calls)", "no call of it has context"),
            (
                "def stack_bytes(calls, context):\n    return 160 * max([c.level for c in calls if c.context == context] or [0])",
                "a stack of its own",
            ),
            (
                "def stack_bytes(calls, context):\n    if not any(c.context == context for c in calls):\n        return 0\n    return 160 * max(c.depth for c in calls)",
                "the deepest of all contexts",
            ),
        ),
        explanation="How many calls are made is a question of time; how many are open at once is one of space.",
        state=_EMAIL,
    ),
    Exercise(
        "09.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "As written. The smallest free block has order 2, no struct buddy is free, and one struct slab is. No interrupt comes. A task calls alloc_pages(0). `depths()` returns a list "
            "and a number: the frames, counted from 1, at which alloc_pages is called, in order of time; and the frame of __alloc_slab, which is called once."
        ),
        stub="def depths():\n    raise NotImplementedError",
        check=check_by_hand,
        hints=(
            "Frame 1 is alloc_pages; write down the names below it, as in section 1, until alloc_slab_page(kmem_cache_buddy). It takes a struct slab, and then?",
            "The second round finds no struct slab: there the chain goes on as in section 1, down to __alloc_slab. What does that round still need, when it has its struct slab?",
        ),
        wrong=(
            ("def depths():\n    return [1, 7], 18", "the new slab that it is for"),
            ("def depths():\n    return [1], 12", "that leads to another one"),
            ("def depths():\n    return [1, 2, 3], 4", "six from one to the next"),
            ("def depths():\n    return [1, 7, 13, 19], 18", "nobody calls alloc_pages again"),
            ("def depths():\n    return [1, 7, 13], 12", "six more to __alloc_slab"),
        ),
        explanation="6 x 1 + 12 = 18 frames: as deep as the email's chain, and without an interrupt. The last alloc_pages is not that deep, as all calls for the struct slab have returned.",
        state=_ONE,
    ),
    Exercise(
        "09.3",
        level=2,
        minutes=15,
        title="Call Trace",
        task=(
            "`backtrace(calls, n)`: calls are the calls of one task in order of time, each (depth, name). Return the names of those that are on the stack when call n is made: the outermost "
            "first, call n last. Calls are counted from 0."
        ),
        stub="def backtrace(calls, n):\n    raise NotImplementedError",
        check=check_backtrace,
        hints=(
            "Who called call n? It is one frame less deep, and it is the last such call before n.",
            "Then the same for the caller. Walk back from n, and keep the depth that you look for.",
        ),
        wrong=(
            ("def backtrace(calls, n):\n    return [name for depth, name in calls[: n + 1]]", "calls that had returned"),
            ("def backtrace(calls, n):\n    return [name for depth, name in calls[:n]]", "the stack has 1 frame, and you have 0"),
            (
                (
                    "def backtrace(calls, n):\n    chain = {}\n    for depth, name in calls[:n]:\n        chain.setdefault(depth, name)\n"
                    "    depth, name = calls[n]\n    return [chain[d] for d in range(1, depth)] + [name]"
                ),
                "the last call before it",
            ),
            (
                (
                    "def backtrace(calls, n):\n    depth, name = calls[n]\n    chain = [name]\n    for d, caller in reversed(calls[:n]):\n"
                    "        if d == depth - 1:\n            chain.append(caller)\n            depth = d\n    return chain"
                ),
                "the outermost comes first",
            ),
        ),
        explanation="A kernel does it the other way round: its frames lie on the stack, each with the address of its caller, and it walks from the innermost out.",
        state=_CALLED,
    ),
    Exercise(
        "09.4",
        level=3,
        minutes=25,
        title="Fill the stack",
        task=(
            "`fill_stack(m)`: m is a fresh machine of the design as written with 32 pages of 256 bytes. Bring it into a state, and set one interrupt if you like, so that alloc_pages(0) nests as deep as "
            "possible, but not deeper than the 102 frames that fit. 90 will do; the score is in points of 100."
        ),
        stub="def fill_stack(m):\n    raise NotImplementedError",
        check=check_fill,
        hints=(
            "102 = 6 x 15 + 12. So 15 struct slabs must be free when the request comes, no struct buddy, and no page of order 0.",
            "A fresh machine has one free struct slab. Allocate many from m.caches['kmem_cache_slab'] and free them again: as written, most of the pages that were added for them stay.",
            "Then KeepLowOrdersEmpty(m)() and EatBuddies(m)(); and EatSlabs(m, most)() eats just as many struct slabs as are too many: free_descriptors(m, 'kmem_cache_slab') counts them.",
        ),
        wrong=(
            ("def fill_stack(m):\n    pass", "alloc_pages needs no split here"),
            (
                "def fill_stack(m):\n    from memlab.study.consumers import KeepLowOrdersEmpty\n    KeepLowOrdersEmpty(m)()",
                "the split finds its struct buddys ready",
            ),
            (
                (
                    "def fill_stack(m):\n    from memlab.study.consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty\n"
                    "    KeepLowOrdersEmpty(m)()\n    EatBuddies(m)()\n    EatSlabs(m)()"
                ),
                "no deeper than the email's chain",
            ),
            (_FILL.format(n=31, eat="KeepLowOrdersEmpty(m)(); EatBuddies(m)()"), "The kernel is dead"),
            (_FILL.format(n=8, eat="KeepLowOrdersEmpty(m)(); EatBuddies(m)()"), "there is room"),
            (
                _FILL.format(
                    n=24, eat="KeepLowOrdersEmpty(m)(); EatBuddies(m)(); m.interrupt('new_slab', 'call', EatBuddies(m), times=None)"
                ),
                "give it times=1",
            ),
            (
                _FILL.format(n=24, eat="KeepLowOrdersEmpty(m)(); EatBuddies(m)(); m.interrupt('kmem_cache_alloc', 'return', EatSlabs(m))"),
                "your interrupt changes that on the way",
            ),
        ),
        explanation="No interrupt is needed for it: the number of free struct slabs alone decides. That is why the bounded design takes alloc_pages out of this loop.",
        state=_TINY,
    ),
)


# -- drills


def _depth_question(rng: Random) -> Question:
    slabs, size = rng.randrange(0, 40), 8 * rng.randrange(10, 33)
    deep = 6 * slabs + 12
    state = f"As written: no struct buddy is free, no page of order 0, and {count(slabs, 'struct slab')} {'is' if slabs == 1 else 'are'} free; no interrupt comes."
    sum_ = f"6 x {slabs} + 12 = {deep}"
    most = (STACK_BYTES // size - 12) // 6
    text, right, why = rng.choice(
        (
            (f"{state} How many frames deep does alloc_pages(0) nest?", deep, sum_),
            (
                f"{state} A frame has {size} bytes. How many bytes of stack does alloc_pages(0) need?",
                deep * size,
                f"{sum_} frames, times {size}",
            ),
            (
                (
                    f"As written: no struct buddy is free, and no page of order 0; no interrupt comes. A frame has {size} bytes. With how many free struct slabs, at most, does alloc_pages(0) "
                    "stay within a stack of 16 KiB?"
                ),
                most,
                f"{STACK_BYTES // size} frames fit, and 6 x {most} + 12 = {6 * most + 12}",
            ),
        )
    )

    def grade(reply: str) -> Verdict:
        ok = reply.strip().replace(",", "") == str(right)
        return Verdict(
            ok,
            f"{why}."
            if ok
            else f"It is {right:,}: {why}. Six for each free struct slab, then six for the round that finds none, and six for kmem_cache_slab.",
        )

    return Question(text, None, str(right), grade)


DRILLS = (Drill("09.depth", level=2, make=_depth_question),)

CHAPTER = Chapter(
    number="09",
    title="The worst case",
    notebook="09_worst_case.ipynb",
    minutes=40,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
