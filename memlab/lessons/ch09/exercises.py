"""Exercises of chapter 09, The worst case, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from ..model import Exercise
from .checks import check_backtrace, check_by_hand, check_fill, check_stack

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
