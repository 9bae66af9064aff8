"""Exercises of chapter 10, Does it work?, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from random import Random
from types import FrameType
from typing import Any

from ...addresses import B
from ...check_rules import Corruption
from ...figures.picture import count
from ...machine import Machine
from ...memdesc import MemType
from ...points import POINTS
from ...ram import KernelBug, Snapshot
from ...study.explore.choices import OPERATIONS
from ...study.explore.steps import History, RunsAway, Setup, bounded_call, do
from ...study.explore.survey import Survey
from ...study.zoo import ANIMALS
from ..model import Exercise, Verdict
from .searches import broken_rules, hunted, next_steps

_DESIGNS = ("as-written", "bounded")
_MACHINES = 60  # that an invariant is judged on, half of them damaged
_WALK = 24  # operations, at most, that lead to one of them


@cache
def _walks(seed: int) -> tuple[tuple[Snapshot, str, int], ...]:
    """Return states of tiny machines of both designs, each with its design and how many random operations led to it."""
    rng, found = Random(seed), []
    for n in range(_MACHINES):
        m = Setup(_DESIGNS[n // 2 % 2]).boot()
        survey, steps = Survey(m), rng.randrange(_WALK + 1)
        for _ in range(steps):
            do(m, rng.choice(next_steps(survey)))
        found.append((m.snapshot(), m.config.design, steps))
    return tuple(found)


def _free_pages(m: Machine) -> list[int]:
    return [pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn).type is MemType.FREE]


def _hosts(m: Machine) -> list[int]:
    """Return the pages in which live descriptors of pages lie."""
    return sorted({(a - B) // m.page_size for a in _descriptors(m)} & set(range(m.nr_pages)))


def _descriptors(m: Machine) -> set[int]:
    """Return the addresses of the descriptors that pages' words name, and of the struct buddys that these name."""
    words = {m.mem_desc(pfn) for pfn in range(m.nr_pages)} - {m.mem_desc(0)}
    return {w.address for w in words} | {m.slab(w.address).buddy for w in words if w.type is MemType.SLAB}


def _miscounted(m: Machine, rng: Random) -> str:
    """Make the machine's count of free pages disagree with its pages' words; returns what was done."""
    zone, kind = m.zone_view(m.zones[0]), rng.randrange(3)
    if kind == 0:
        zone.free_pages += 1
        return "the count says one page too many"
    if kind == 1:
        zone.free_pages -= 1
        return "the count says one page too few"
    pfn = rng.choice(_free_pages(m))
    m.page(pfn).mem_desc += MemType.BUDDY - MemType.FREE
    return f"the word of page {pfn}, which is on a free list, says BUDDY"


def _stranded(m: Machine, rng: Random) -> str:
    """Let a live descriptor lie in a free page; returns what was done."""
    free = [pfn for pfn in _free_pages(m) if pfn not in _hosts(m)]
    target = rng.choice(free)
    place = m.page_address(target) or 0
    kind = rng.choice(("free", "slab", "host"))
    if kind == "host":
        host = rng.choice([pfn for pfn in _hosts(m) if m.mem_desc(pfn).type is MemType.SLAB])
        m.page(host).mem_desc = m.page(target).mem_desc
        return f"page {host}, which holds descriptors, was made free"
    if kind == "slab":
        slab = m.slab(rng.choice(sorted({m.mem_desc(p).address for p in range(m.nr_pages) if m.mem_desc(p).type is MemType.SLAB})))
        m.write(place, m.read(slab.buddy, 48))
        slab.buddy = place
        return f"the struct buddy that a struct slab names was moved into page {target}, which is free"
    word = m.mem_desc(rng.choice(free))
    block = [pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn) == word]
    m.write(place, m.read(word.address, 48))
    for pfn in block:
        m.page(pfn).mem_desc = place | MemType.FREE
    return f"the struct buddy of the free block at page {block[0]} was moved into page {target}, which is free"


def _judge_invariant(
    answer: Callable[[Machine], bool],
    holds: Callable[[Machine], bool],
    damage: Callable[[Machine, Random], str],
    seed: int,
    facts: Callable[[Machine], str],
) -> Verdict:
    """Judge a function over a machine on as many machines in order as damaged ones.  ``facts`` says what holds on one in order."""
    rng, name = Random(seed), getattr(answer, "__name__", "your function")
    machines = {design: Setup(design).boot() for design in _DESIGNS}
    answer(machines["bounded"])  # a stub raises here, before there is much to do
    for n, (state, design, steps) in enumerate(_walks(seed)):
        m, good = machines[design], n % 2 == 0
        m.restore(state)
        done = "" if good else damage(m, rng)
        if holds(m) is not good:
            raise AssertionError(f"machine {n} does not have the damage that it should have: {done}")
        before = m.snapshot()
        got = answer(m)
        if m.snapshot() != before:
            return Verdict(False, f"{name}(m) changed the machine; an invariant only looks.")
        if got is not True and got is not False:
            return Verdict(False, f"{name}(m) returns True or False, not {got!r}.")
        if got is not good:
            what = f"machine {n + 1} of {_MACHINES}, {count(steps, 'operation')} after boot, {design}"
            if good:
                return Verdict(False, f"{name}(m) gave False for {what}, which is in order: {facts(m)}.")
            return Verdict(False, f"{name}(m) gave True for {what}, which is damaged: {done}.")
    return Verdict(True, f"True of {_MACHINES // 2} machines in order, False of {_MACHINES // 2} damaged ones.")


def _counts_fit(m: Machine) -> bool:
    return len(_free_pages(m)) == m.free_pages_count


def _count_facts(m: Machine) -> str:
    return f"{len(_free_pages(m))} of its {m.nr_pages} pages have a word of the type FREE, and m.free_pages_count is {m.free_pages_count}"


def check_count(answer: Callable[[Machine], bool]) -> Verdict:
    """Judge 10.1: the words say what the count says."""
    return _judge_invariant(answer, _counts_fit, _miscounted, 101, _count_facts)


def _nothing_stranded(m: Machine) -> bool:
    return not any(m.mem_desc(host).type is MemType.FREE for host in _hosts(m))


def _host_facts(m: Machine) -> str:
    pages = ", ".join(map(str, _hosts(m)))
    return f"a page has {m.page_size} bytes, so its descriptors lie in these pages: {pages}; none of them is free"


def check_stranded(answer: Callable[[Machine], bool]) -> Verdict:
    """Judge 10.3: no live descriptor lies in a free page."""
    return _judge_invariant(answer, _nothing_stranded, _stranded, 103, _host_facts)


@cache
def _lines_run(name: str) -> frozenset[int]:
    """Return the numbers of the lines of an animal's faulty method that run in the last step of the sequence that breaks it."""
    animal = ANIMALS[name]
    broken = animal.hunt().broken
    if broken is None:
        raise AssertionError(f"the {name} got away")
    *steps, last = broken.history
    m = History(broken.history.setup, steps).run()
    code, found = getattr(animal.machine, animal.method).__code__, set()

    def watch(frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code is code and event == "line":
            found.add(frame.f_lineno - code.co_firstlineno + 1)
        return watch if frame.f_code is code or event == "call" else None

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        OPERATIONS[last.operation].run(m, last.what)
    finally:
        sys.settrace(before)
    return frozenset(found)


def check_line(answer: Callable[[], int]) -> Verdict:
    """Judge 10.2: the number of the line of the squirrel that is wrong."""
    animal, got = ANIMALS["squirrel"], answer()
    lines = animal.source().splitlines()
    if not isinstance(got, int) or isinstance(got, bool):
        return Verdict(False, f"wrong_line() returns the number of a line, not {got!r}.")
    if not 1 <= got <= len(lines):
        return Verdict(False, f"The method has lines 1 to {len(lines)}; there is no line {got}.")
    if got in animal.suspects():
        return Verdict(True, f"Line {got}: {animal.fault[0].lower()}{animal.fault[1:]}".replace("it returns", "the squirrel returns", 1))
    said, ran = lines[got - 1].strip(), _lines_run("squirrel")
    if got < min(ran):
        return Verdict(False, f"Line {got} says what the method is, and does nothing; look at the lines from {min(ran)} on.")
    if got not in ran and lines[got - 1].startswith(" " * 8):  # in the loop
        return Verdict(
            False, f"Line {got} does not run in free_pages(19), and need not: page 18 is in use, so there is nothing to merge with."
        )
    if got not in ran:
        return Verdict(False, f"Line {got} does not run at all in free_pages(19); what stands there is not wrong, but should it not run?")
    return Verdict(
        False,
        f"Line {got}, `{said}`, runs in free_pages(19) and does what it should; go on from there to the line after which nothing more is done.",
    )


class _Ended(BaseException):
    """Raised through a learner's code when there is nothing more to do."""


class _Watch:
    """Counts the outermost calls of a machine, with check() after each: ``names`` of the calls; ``broken``: what broke, or "".

    ``by_hand``: a rule broke between two calls.
    """

    def __init__(self, m: Machine) -> None:
        self.m, self.names, self.broken, self.by_hand = m, [], "", False
        self._inside = False
        points = {point.attribute: name for name, several in POINTS.items() for point in several}
        for attribute, name in {**points, "alloc_pages_bulk": "alloc_pages_bulk", "shrink": "shrink", "_shrink": "shrink"}.items():
            setattr(m, attribute, self._wrap(name, getattr(m, attribute)))

    names: list[str]

    def ended(self) -> bool:
        """Say whether a rule is broken; whoever broke it is noted."""
        self.by_hand |= not self.broken and bool(broken_rules(self.m))
        return self.by_hand or bool(self.broken)

    def _wrap(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def watched(*args: Any, **kwargs: Any) -> object:
            if self._inside:
                return call(*args, **kwargs)
            if self.ended():
                raise _Ended
            self._inside = True
            try:
                result = bounded_call(self.m, lambda: call(*args, **kwargs))
            except (KernelBug, ValueError, TypeError):
                raise  # the learner's own mistake, and RAM is as before
            except (RunsAway, LookupError, ArithmeticError, AttributeError) as error:
                self.broken = f"{name} stopped with {type(error).__name__}"
            finally:
                self._inside = False
            self.names.append(name)
            try:
                self.m.check()
            except Corruption as corruption:
                self.broken = self.broken or str(corruption).splitlines()[0]
            if self.broken:
                raise _Ended
            return result

        return watched


def check_break(answer: Callable[[Machine], object]) -> Verdict:
    """Judge 10.4: a sequence of operations that breaks the pelican, and how many more than the search's it has."""
    animal = ANIMALS["pelican"]
    watch = _Watch(animal.machine(**animal.shape, design=animal.design))
    with suppress(_Ended):
        answer(watch.m)
    done = count(len(watch.names), "operation")
    if watch.ended():
        return Verdict(False, _BY_HAND) if watch.by_hand else _scored(len(watch.names), watch.broken)
    if not watch.names:
        return Verdict(False, "break_it(m) did nothing with m: call m.alloc_pages(order), m.split_page(pfn), m.free_pages(pfn).")
    if "free_pages" not in watch.names:
        return Verdict(False, f"{done}, and nothing was freed: the pelican's fault is in how it frees.")
    return Verdict(False, f"{done}, and all rules hold: each time the neighbour was free as a whole, or not at all.")


_BY_HAND = "A rule is broken, but not by the pelican: RAM was changed by hand; break it with operations alone."


def _scored(n: int, words: str) -> Verdict:
    report = hunted("pelican", 20_000)
    if report.broken is None:
        raise AssertionError("the pelican got away")
    best = len(report.broken.history)
    if n > best:
        rank = f"the search's shortest sequence has {best}: can you leave out {n - best}?"
    elif n == best:
        rank = f"just as few as the search's, which tried {report.transitions:,} transitions for it."
    else:
        rank = f"fewer than the search's {best}, with an operation that it does not know."
    return Verdict(True, f"Broken after {count(n, 'operation')} ({words}); {rank}")


# The states: a storm's pages and their words; two buddies in use; a struct slab and its buddy in pages of their own; a block of four pages, halved.
EXERCISES = (
    Exercise(
        "10.1",
        level=1,
        minutes=6,
        title="Words and counts",
        task=(
            "`words_fit(m)` is True if as many pages have a word of the type FREE as the machine says are free (`m.free_pages_count`), and False otherwise. "
            '`m.mem_desc(pfn).type.name` is the name of a type, such as "FREE".'
        ),
        stub="def words_fit(m):\n    raise NotImplementedError",
        check=check_count,
        hints=(
            'Count: sum(m.mem_desc(pfn).type.name == "FREE" for pfn in range(m.nr_pages)).',
            "The result of == is True or False already.",
        ),
        explanation="The count, the free lists and the words say the same thing three times. That costs a little care in each operation, and it is what makes damage visible.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgiz2tvkrfixesliawkr2hanm7srfyjm5nkqlvvaueuvuga5yusiuc3lmnqwqbr72cu4q.e221f7a697616933aa7af23f",
    ),
    Exercise(
        "10.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "The squirrel's `_free_one_page`, as printed above the exercise. Page 19 was allocated, its buddy, page 18, is in use, and free_pages(19) runs. "
            "`wrong_line()` returns the number of the line that is wrong."
        ),
        stub="def wrong_line():\n    raise NotImplementedError",
        check=check_line,
        hints=(
            "pfn is 19 and order 0. What is `other`? Page 18 is no free block, so `near` is 0. Which line comes next?",
            "A freed block must be on a free list when the method ends. Which line puts it there, and is it reached?",
        ),
        explanation="`break` in the place of `return chain`: merging ends at a busy buddy, freeing does not. It is one of the faults that were found in real teaching allocators.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgiz2tvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussrokkyddkmn2xasoe2ybaa6ugdozq.24c1163258399a680597f8f8",
    ),
    Exercise(
        "10.3",
        level=2,
        minutes=15,
        title="Nothing stranded",
        task=(
            "`nothing_stranded(m)` is True if no descriptor that is in use lies in a free page. Look at the descriptor that each page's word names, and, if that is a struct slab, "
            "at its `buddy` too. Page 0 starts at 0xffff888000000000; a page has m.page_size bytes. A word whose type is NONE names nothing, and one descriptor may lie outside all pages."
        ),
        stub="def nothing_stranded(m):\n    raise NotImplementedError",
        check=check_stranded,
        hints=(
            "desc = m.mem_desc(pfn) has .type.name and .address; the page of an address is (address - 0xffff888000000000) // m.page_size.",
            'If desc.type.name is "SLAB", then m.slab(desc.address).buddy is a second address to look at.',
            "Is the page below m.nr_pages? Only then ask for the type of its word.",
        ),
        explanation="This is the rule desc-in-free-page of check(). It answers one of the questions about the email: can a descriptor be stranded in a page that is free? In all states that were searched, none is.",
        state="memlab1.bootstrap.pdna3rrrblacadaf2c57zwiolvzrlelcnmuiewcjeioye53p372bzsrwa7epcsdbahwqdbnv3yoyjlg3fpkyyo2wqana6bof7bh6mzmhwz6cf6cknf6yf5qzha.dcc8073c68aafe756e2d0068",
    ),
    Exercise(
        "10.4",
        level=3,
        minutes=20,
        title="Break the pelican",
        task=(
            "`break_it(m)`: m is a fresh pelican with 32 pages. With calls such as m.alloc_pages(order), m.split_page(pfn) and m.free_pages(pfn), break a rule. "
            "Any sequence counts; then make it shorter: you are told how short the search's is."
        ),
        stub="def break_it(m):\n    raise NotImplementedError",
        check=check_break,
        hints=(
            "The textbook's line is `if not near or self.order_of[near] != order`. What does the pelican not ask about the free block it finds?",
            "Its buddy must BEGIN with a free block that is smaller than itself, while the rest of that buddy is in use.",
            "alloc_pages(2) gives four pages. Split them, and split one half once more: blocks of 2, 1 and 1. Free the one that the large one's buddy begins with.",
        ),
        explanation="Five operations, and no four will do: the search tried them all. The pelican takes pages that somebody uses into a free block, and what described them is lost.",
        state="memlab1.buddy.pdnb3s2lbkadadcf2g63y4i5lbckiwzjduka2iqedkndqkwzxop5tzoadvilew4qa2sj5jci5prac2ren7tyzsw46zviimgq7jar2kl2bemsu7gzu45tci757m2modk6ri777li4te.472bb4a06e0d4fc4bf3eb1cf",
    ),
)
