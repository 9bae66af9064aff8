"""Exercises of chapter 09, The worst case, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from ...check_rules import Corruption
from ...figures.call_chain import FRAME_BYTES, STACK_BYTES
from ...figures.picture import count
from ...machine import Machine
from ...study.consumers import EatBuddies
from ...study.worst_chain import EMAIL_CHAIN, email_chain
from ...trace import Call, Trace
from ..model import Exercise, Verdict
from .answers import backtrace
from .chains import FITS, frames, scarce, small, stock_of, traced


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


def check_stack(answer: Callable[[list[Call], int], int]) -> Verdict:
    """Judge exercise 09.1: the bytes of stack that each context of a trace needs."""
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


def check_by_hand(answer: Callable[[], tuple[list[int], int]]) -> Verdict:
    """Judge exercise 09.2: at which frames alloc_pages and __alloc_slab are called."""
    trace = traced(scarce(slabs=1))
    pages, (last,) = ([call.depth for call in trace.calls if call.name == name] for name in ("alloc_pages", "__alloc_slab"))
    got = answer()
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
                    f"After {mine[-1]} alloc_pages is called once more: __alloc_slab brings a struct slab, and the new slab that it is for still needs its page.",
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


def check_backtrace(answer: Callable[[list[tuple[int, str]], int], list[str]]) -> Verdict:
    """Judge exercise 09.3: the calls that are open when a call is made."""
    rng = Random(9)
    tries = [[(1, "alloc_pages")], [(c.depth, c.name) for c in traced(scarce()).calls], [(depth, name) for depth, name, _ in EMAIL_CHAIN]]
    tries += [[(c.depth, str(c)) for c in traced(m).calls] for m in (scarce(slabs=2), scarce("bounded"), scarce(slabs=None, below=1))]
    for calls in tries:
        for n in range(len(calls)) if len(calls) < 60 else rng.sample(range(len(calls)), 20):
            want, got = backtrace(calls, n), answer(list(calls), n)
            if got == want:
                continue
            said = f"Call {n} is {calls[n][1]}, frame {calls[n][0]}; "
            if not isinstance(got, (list, tuple)):
                return Verdict(False, f"{said}backtrace() returns a list of names, not {str(got)[:60]!r}.")
            if list(got) == want[::-1]:
                return Verdict(False, f"{said}your names are right, but they begin with the innermost: the outermost comes first.")
            if len(got) != len(want):
                which = "calls that had returned are not on the stack" if len(got) > len(want) else "its callers are, and the call itself"
                return Verdict(False, f"{said}so the stack has {count(len(want), 'frame')}, and you have {len(got)}: {which}.")
            at = next(i for i, (a, b) in enumerate(zip(got, want, strict=True)) if a != b)
            return Verdict(
                False,
                f"{said}its frame {at + 1} is {want[at]}, and you say {str(got[at])[:40]}: the caller is the last call before it that is one frame less deep.",
            )
    return Verdict(True, "Six traces, one of them 378 frames deep: so a kernel prints its Call Trace, from the stack alone.")


_ENOUGH: Final = 90  # frames


def check_fill(answer: Callable[[Machine], object]) -> Verdict:
    """Judge exercise 09.4: how full one chain of calls makes the stack."""
    m = small()
    answer(m)
    try:
        m.check()
    except Corruption as error:
        return Verdict(
            False, f"The machine is damaged ({str(error).splitlines()[0].rstrip('.')}); allocate and free, and leave RAM to the allocators."
        )
    stock = stock_of(m)
    trace = traced(m)
    if len(trace.interrupts) > 1:
        return Verdict(False, f"There were {len(trace.interrupts)} interrupts; one is allowed: give it times=1.")
    deep = frames(trace)
    used = f"{deep} of {FITS} frames, {FRAME_BYTES * deep:,} of {STACK_BYTES:,} bytes"
    if deep > FITS:
        return Verdict(
            False,
            f"{count(deep, 'frame')} deep: {FRAME_BYTES * deep:,} bytes on a stack of {STACK_BYTES:,}. The kernel is dead; fill its stack, and no more.",
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
        eaten = "; your interrupt changes that on the way" if trace.interrupts else ""
        return Verdict(False, f"{used}: {reach}. Each free struct slab is worth six frames ({stock}{eaten}).")
    end = "not one more fits" if deep + 6 > FITS else f"there is room for {count((FITS - deep) // 6, 'more free struct slab')}"
    return Verdict(True, f"{used}: {end}. {100 * deep // FITS} points of 100.")


# The states: the email's chain; one free struct slab, not yet called; the same, called; the small machine, struct slabs taken.
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
        explanation="How many calls are made is a question of time; how many are open at once is one of space.",
        state="memlab1.nesting.pdne3dwbbkbuadcep5s4tkocd3nox7ukrdcdllosovozelffrd7542bj6skgd4rssmgyjnawbdn64qmurjagqw2tzafh4o4ecicmrk53goirwsjcz5cvpbv56mw4ywmjxglbg7snssgwks7ebqpletqqnypfbtl5f22piepdiq62nnggzopsccmhyyhbnqtefcqtuy44fdl2r3wyrlbtz7umughogw56b5cahd7oomddri73qihzfs5vggsnwpydsvhgs.25987dcd6b43e5e7b619e07e",
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
        explanation="6 x 1 + 12 = 18 frames: as deep as the email's chain, and without an interrupt. The last alloc_pages is not that deep, as all calls for the struct slab have returned.",
        state="memlab1.nesting.pdnd3sbrb2acadaf2cvti77garoikmea2teqbilfgbg67lronyx46ifmpmrjub4i6ikmjfc6swsqr5sbdeix3ufztbexj3kdvhxnn3saup7sgv5j6cop2anfoiorg.533b6319a20683846d1b4ed3",
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
        explanation="A kernel does it the other way round: its frames lie on the stack, each with the address of its caller, and it walks from the innermost out.",
        state="memlab1.nesting.pdnd3czrb2acaeaex5blnuueyknk6eddcbhrwauehmfeh6f3nbq3go4z5q3dasongcwwxmcqmymgwb5zelio2bjbddckjtscurmev5nc6z5bzn2wfh7ina632flw3yk5bdx7k24dshew7wk5ytjtfd6j3ipv6czikq.b950f8ebe7d69c685deefd7f",
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
        explanation="No interrupt is needed for it: the number of free struct slabs alone decides. That is why the bounded design takes alloc_pages out of this loop.",
        state="memlab1.nesting.pdno3c2bbkbtaecfv4zpzfmfvskhnenlasitddavdiytru2fbg4xxnnl33ai3k7xpdyauvhmtxquw5kqsowpaipmy2n4dfkdjtqdc3ncwor25jomj5ivuj3k54hrupzgrlnlxagifeo4pdy6v5czmilstrs5rqy2to72bcoh3n2z26hv6uftqkvqgq.8f61e9ca555e62941c89c964",
    ),
)
