"""Chapter 09, The worst case: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, figures, study and core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final, NamedTuple

from ..check_rules import Corruption
from ..figures.call_chain import FRAME_BYTES, STACK_BYTES
from ..figures.picture import count
from ..gfp import GFP
from ..machine import Machine
from ..ram import KernelBug
from ..study.consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty, free_descriptors
from ..study.explore import TINY, Search
from ..study.worst_chain import EMAIL_CHAIN, HERE, email_chain
from ..trace import Call, Trace
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

FITS: Final = STACK_BYTES // FRAME_BYTES  # frames of the assumed size on a stack
ASKED: Final = {  # what the search is asked about -> how the chapter calls it
    "alloc_pages": "alloc_pages",
    "split_page": "split_page",
    "get_free_page": "get_free_page",
    "take a struct buddy": "alloc from kmem_cache_buddy",
    "take a struct slab": "alloc from kmem_cache_slab",
    "kmalloc": "kmalloc",
    "folio_alloc": "folio_alloc",
}


def scarce(design: str = "as-written", slabs: int | None = 0, below: int = 2) -> Machine:
    """Boot 64 MiB, and use up the free blocks of the orders below ``below``, all free struct buddys, and all free struct slabs but ``slabs`` (None: leave all)."""
    m = Machine("64M", design=design)
    KeepLowOrdersEmpty(m, below=below)()
    EatBuddies(m)()
    left = free_descriptors(m, "kmem_cache_slab")
    if slabs is not None and left > slabs:
        EatSlabs(m, left - slabs)()
    return m


def roomy() -> Machine:
    """Boot 64 MiB, and use up the free blocks below order 6; struct buddys and struct slabs are at hand."""
    m = Machine("64M")
    KeepLowOrdersEmpty(m, below=6)()
    return m


def first_block(m: Machine, order: int) -> int:
    """Return the block of ``order`` that a request for it would get, and leave it free."""
    pfn = m.alloc_pages(order) or 0
    m.free_pages(pfn)
    return pfn


def churned(design: str) -> Machine:
    """Boot 64 MiB, allocate 12,000 objects of 2 KiB, free them, and shrink the caches."""
    m = Machine("64M", design=design)
    for address in [m.kmalloc(2048) or 0 for _ in range(12_000)]:
        m.kfree(address)
    m.shrink()
    return m


class Plot(NamedTuple):
    """Who takes part in the conspiracy against one ``alloc_pages(0)``."""

    low: bool = True
    high: bool = True
    buddies: bool = True
    slabs: bool = True
    later_buddies: bool = True
    later_slabs: bool = True


LEFT_OUT: Final = {
    "nothing": Plot(),
    "low orders are kept empty": Plot(low=False),
    "high orders are left alone": Plot(high=False),
    "struct buddys are used up before": Plot(buddies=False),
    "struct slabs are used up before": Plot(slabs=False),
    "the interrupt eats struct buddys": Plot(later_buddies=False),
    "the interrupt eats struct slabs": Plot(later_slabs=False),
}


def conspire(plot: Plot, design: str = "as-written") -> tuple[Trace, int | None]:
    """Run the email's recipe with those of ``plot``, and return the trace of alloc_pages(0) and the page that it gave."""
    m = Machine("64M", design=design, watermarks=None)
    if plot.low:
        KeepLowOrdersEmpty(m, below=2)()
    if not plot.high:
        for order in range(m.max_order + 1):
            for _ in range(m.buddyinfo()[0, "Normal"][order]):
                m.alloc_pages(order)
    before = [kind(m) for kind, eaten in ((EatBuddies, plot.buddies), (EatSlabs, plot.slabs)) if eaten]
    during = [kind(m) for kind, eaten in ((EatSlabs, plot.later_slabs), (EatBuddies, plot.later_buddies)) if eaten]
    for eat in before:
        eat()
    with m.interrupt(HERE, "return", lambda: [eat() for eat in during]), m.trace() as trace:
        pfn = m.alloc_pages(0)
    return trace, pfn


def conspiracies() -> str:
    """Return a table: without which condition the chain gets how deep."""
    lines = [f"{'without this:':34}frames  alloc_pages(0)"]
    for words, plot in LEFT_OUT.items():
        trace, pfn = conspire(plot)
        lines.append(f"{words:34}{frames(trace):6}  {'None' if pfn is None else 'a page'}")
    return "\n".join(lines)


def frames(trace: Trace, context: int = 0) -> int:
    """Return how many frames one context of a trace had at the same time, at most."""
    return max((call.depth for call in trace.calls if call.context == context), default=0)


def depths_found(states: int) -> str:
    """Return a table: how deep each operation nests in all ``states`` first states of a small machine, in each design."""
    reports = [Search(design, operations=tuple(ASKED), return_every=0).run(states, processes=1) for design in ("as-written", "bounded")]
    lines = [f"{states:,} states:                as written  bounded"]
    lines += [f"{words:28}" + "".join(f"{report.depth(name):10}" for report in reports) for name, words in ASKED.items()]
    return "\n".join(lines)


def traced(m: Machine, order: int = 0) -> Trace:
    """Return the trace of ``alloc_pages(order)``, which may fail or overflow the stack."""
    with m.trace() as trace, suppress(KernelBug):
        m.alloc_pages(order)
    return trace


# -- predictions


def _frames(n: int) -> str:
    return f"{n:,} frame{'' if n == 1 else 's'}"


def _depth(m: Machine) -> str:
    return _frames(frames(traced(m)))


def _taken_away(m: Machine) -> str:
    looked_at = first_block(m, 6)
    with m.interrupt("kmem_cache_alloc_bulk", "return", lambda: m.alloc_pages(6, GFP.ATOMIC), times=1):
        pfn = m.alloc_pages(0)
    if pfn is None:
        return "It fails: None"
    return "It splits the block that it found" if looked_at <= pfn < looked_at + 64 else "It searches again, and splits another block"


def _without(words: str) -> Callable[[Any], str]:
    return lambda _: _frames(frames(conspire(LEFT_OUT[words])[0]))


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
        f"Your lab's machine, as it is now, of the design {'bounded' if m.bounded else 'as written'}; {_stock(m)}. A task calls alloc_pages(0), and no interrupt comes. "
        "How many frames deep do the calls nest?"
    )


def _stock(m: Machine) -> str:
    slabs, buddies = (free_descriptors(m, f"kmem_cache_{kind}") for kind in ("slab", "buddy"))
    least = next((k for k in range(m.max_order + 1) if sum(row[k] for row in m.buddyinfo().values())), None)
    block = "no block is free" if least is None else f"the smallest free block has order {least}"
    return f"{block}, {count(slabs, 'struct slab')} and {count(buddies, 'struct buddy')} are free"


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
    return [(_frames(n), None if n == right else whys[n]) for n in sorted({right, *whys})]


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


def _traces() -> tuple[tuple[str, Trace], ...]:
    """The traces that exercise 09.1 is judged with, in words."""
    ending = Machine("1M")
    EatBuddies(ending)()
    with ending.interrupt("___slab_alloc", "call", lambda: ending.kmalloc(64), times=2), ending.trace() as twice:
        ending.folio_alloc(0)
    return (
        ("of section 1", traced(scarce())),
        ("of the email's chain", email_chain().trace),
        ("of section 5", traced(scarce(slabs=None, below=1))),
        ("with two interrupts", twice),
    )


def _check_stack(answer: Callable[[list[Call], int], int]) -> Verdict:
    for words, trace in _traces():
        for context in range(len(trace.interrupts) + 2):
            mine = [call for call in trace.calls if call.context == context]
            want, got = FRAME_BYTES * frames(trace, context), answer(list(trace.calls), context)
            if got == want:
                continue
            said = f"The trace {words}: stack_bytes(calls, {context}) gave {got!r}; "
            if not isinstance(got, int) or isinstance(got, bool):
                return Verdict(False, f"{said}it returns a whole number of bytes.")
            if not mine:
                return Verdict(False, f"{said}no call of it has context {context}, so that one needs 0 bytes.")
            deepest = f"the deepest call of context {context} is frame {frames(trace, context)}, so it needs {want:,} bytes"
            if got == FRAME_BYTES * len(mine) and len(mine) != frames(trace, context):
                return Verdict(False, f"{said}it makes {len(mine)} calls, but most had returned when the next was made: {deepest}.")
            if got == FRAME_BYTES * max(call.level for call in mine):
                return Verdict(False, f"{said}an interrupt has a stack of its own, and level counts the frames below it too: {deepest}.")
            if got == FRAME_BYTES * trace.max_depth:
                return Verdict(False, f"{said}that is the deepest of all contexts: {deepest}.")
            return Verdict(False, f"{said}{deepest}.")
    return Verdict(True, "Four traces, with up to two interrupts: each context judged by its own stack.")


def _by_hand() -> tuple[list[int], int]:
    trace = traced(scarce(slabs=1))
    return [call.depth for call in trace.calls if call.name == "alloc_pages"], next(
        c.depth for c in trace.calls if c.name == "__alloc_slab"
    )


def _check_by_hand(answer: Callable[[], tuple[list[int], int]]) -> Verdict:
    (pages, last), got = _by_hand(), answer()
    if not isinstance(got, (list, tuple)) or len(got) != 2 or not isinstance(got[0], (list, tuple)) or not isinstance(got[1], int):
        return Verdict(False, "depths() returns a list and a number, such as ([1, 2], 3).")
    mine = list(got[0])
    if mine == pages and got[1] == last:
        return Verdict(
            True, f"Two rounds of six, then six more for the slab of struct slabs, and alloc_pages once more beside them: {last} frames."
        )
    for n, depth in enumerate(pages):
        if n == len(mine):
            if n == len(pages) - 1:
                return Verdict(
                    False,
                    f"After {mine[-1]} alloc_pages is called once more: __alloc_slab brings a struct slab, and that one's slab needs its page, too.",
                )
            return Verdict(False, f"You have {count(n, 'call')} of alloc_pages; a struct slab is free, and that leads to another one.")
        if mine[n] != depth:
            return Verdict(
                False,
                f"Call number {n + 1} of alloc_pages is not frame {mine[n]!r}: it hangs under alloc_slab_page, so there are six from one to the next.",
            )
    if len(mine) > len(pages):
        return Verdict(
            False, f"After frame {pages[-1]} nobody calls alloc_pages again: __alloc_slab has brought a page full of struct buddys."
        )
    return Verdict(
        False,
        f"__alloc_slab is not frame {got[1]}: the second alloc_pages is frame {pages[1]}, five more lead to alloc_slab_page(kmem_cache_buddy), six more to __alloc_slab.",
    )


def _stack_at(calls: Sequence[tuple[int, str]], n: int) -> list[str]:
    """Return the names of the calls that are open when call ``n`` is made, outermost first, itself last."""
    depth, name = calls[n]
    chain = [name]
    for above, caller in reversed(calls[:n]):
        if above == depth - 1:
            chain.append(caller)
            depth = above
    return chain[::-1]


def _check_backtrace(answer: Callable[[list[tuple[int, str]], int], list[str]]) -> Verdict:
    rng = Random(9)
    tries = [[(1, "alloc_pages")], [(c.depth, c.name) for c in traced(scarce()).calls], [(depth, name) for depth, name, _ in EMAIL_CHAIN]]
    tries += [[(c.depth, str(c)) for c in traced(m).calls] for m in (scarce(slabs=2), scarce("bounded"), scarce(slabs=None, below=1))]
    for calls in tries:
        for n in range(len(calls)) if len(calls) < 60 else rng.sample(range(len(calls)), 20):
            want, got = _stack_at(calls, n), answer(list(calls), n)
            if got == want:
                continue
            said = f"Call {n} is {calls[n][1]}, frame {calls[n][0]}; "
            if not isinstance(got, (list, tuple)):
                return Verdict(False, f"{said}backtrace() returns a list of names, not {str(got)[:60]!r}.")
            if list(got) == want[::-1]:
                return Verdict(False, f"{said}your names are right, but they begin with the innermost: the outermost comes first.")
            if len(got) != len(want):
                which = "calls that had returned are not on the stack" if len(got) > len(want) else "its callers are, and the call itself"
                return Verdict(False, f"{said}so {count(len(want), 'frame')} are on the stack, and you have {len(got)}: {which}.")
            at = next(i for i, (a, b) in enumerate(zip(got, want, strict=True)) if a != b)
            return Verdict(
                False,
                f"{said}its frame {at + 1} is {want[at]}, and you say {str(got[at])[:40]}: the caller is the last call before it that is one frame less deep.",
            )
    return Verdict(True, "Six traces, one of them 378 frames deep: so a kernel prints its Call Trace, from the stack alone.")


def small() -> Machine:
    """Boot the machine of exercise 09.4: 32 pages of 256 bytes."""
    return Machine(**TINY)


_ENOUGH: Final = 90  # frames


def _check_fill(answer: Callable[[Machine], object]) -> Verdict:
    m = small()
    answer(m)
    try:
        m.check()
    except Corruption as error:
        return Verdict(
            False, f"The machine is damaged ({str(error).splitlines()[0].rstrip('.')}); allocate and free, and leave RAM to the allocators."
        )
    stock = _stock(m)
    trace = traced(m)
    if len(trace.interrupts) > 1:
        return Verdict(False, f"There were {len(trace.interrupts)} interrupts; one is allowed: give it times=1.")
    deep = frames(trace)
    used = f"{deep} of {FITS} frames, {FRAME_BYTES * deep:,} of {STACK_BYTES:,} bytes"
    if deep > FITS:
        return Verdict(
            False,
            f"{_frames(deep)} deep: {FRAME_BYTES * deep:,} bytes on a stack of {STACK_BYTES:,}. The kernel is dead; fill its stack, and no more.",
        )
    if deep == 1:
        return Verdict(False, f"1 frame: alloc_pages needs no split here, or has nothing to split ({stock}).")
    if deep == 2:
        return Verdict(False, f"2 frames: the split finds its struct buddys ready ({stock}).")
    if deep < _ENOUGH:
        reach = (
            "no deeper than the email's chain"
            if deep <= max(depth for depth, *_ in EMAIL_CHAIN)
            else "deeper than the email's chain, but there is room"
        )
        return Verdict(False, f"{used}: {reach}. Each free struct slab is worth six frames ({stock}).")
    end = "not one more fits" if deep + 6 > FITS else f"there is room for {count((FITS - deep) // 6, 'more free struct slab')}"
    return Verdict(True, f"{used}: {end}. {100 * deep // FITS} points of 100.")


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
        check=_check_stack,
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
        check=_check_by_hand,
        hints=(
            "Frame 1 is alloc_pages; write down the names below it, as in section 1, until alloc_slab_page(kmem_cache_buddy). It takes a struct slab, and then?",
            "The second round finds no struct slab: there the chain goes on as in section 1, down to __alloc_slab. What does that round still need, when it has its struct slab?",
        ),
        wrong=(
            ("def depths():\n    return [1, 7], 18", "called once more"),
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
        check=_check_backtrace,
        hints=(
            "Who called call n? It is one frame less deep, and it is the last such call before n.",
            "Then the same for the caller. Walk back from n, and keep the depth that you look for.",
        ),
        wrong=(
            ("def backtrace(calls, n):\n    return [name for depth, name in calls[: n + 1]]", "calls that had returned"),
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
        check=_check_fill,
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
