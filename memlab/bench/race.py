"""Plays one workload on several allocators, turn by turn, and keeps the times.

Used by report. Each contender goes through the same sequence once. It is cut into rounds; in a round all contenders
play the same part, one after the other, and the next round another one starts: so whatever else the computer is doing
falls on all of them, and the ratio of two times of one round means something even where the times themselves do not.
Must know nothing of any particular allocator.
"""

import gc
import statistics
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

from memlab.bench.workload import Workload


class Contender(NamedTuple):
    """An allocator as the race calls it: directly, with no wrapper of the benchmark in between.

    `alloc` takes `argument[order]` (nothing where `argument` is empty: a slab allocator) and returns what `free` takes.
    An allocation fails by returning None or by raising what `is_out_of_memory` says yes to. `slots` is the outcome of
    each allocation so far, `seconds` the time of each round.
    """

    name: str
    alloc: Callable[..., int | None]
    free: Callable[[int], object]
    argument: Sequence[int]
    is_out_of_memory: Callable[[Exception], bool]
    slots: list[int | None]
    seconds: list[float]


def contender(
    name: str,
    alloc: Callable[..., int | None],
    free: Callable[[int], object],
    argument: Sequence[int] = (),
    is_out_of_memory: Callable[[Exception], bool] = lambda _: False,
) -> Contender:
    """Make a contender that has not played yet."""
    return Contender(name, alloc, free, argument, is_out_of_memory, [], [])


class Race:
    """A workload and its contenders, filled and ready; `play_round` is called with 0, 1, … up to the last round.

    The first contender is the one that the others are compared with.
    """

    def __init__(
        self, name: str, workload: Workload, contenders: Sequence[Contender], say: Callable[[str], None]
    ) -> None:
        """Fill every contender; `say` gets a line about each step."""
        self.name, self.workload, self.contenders, self.say = name, workload, contenders, say
        for one in contenders:
            say(f"{name}: {one.name} fills up, {len(workload.fill):,} operations")
            play(one, workload.fill)

    def play_round(self, number: int) -> None:
        """Have every contender play round `number`, and keep the seconds it took."""
        self.say(f"{self.name}: round {number + 1} of {len(self.workload.rounds)}")
        first = number % len(self.contenders)
        for one in [*self.contenders[first:], *self.contenders[:first]]:
            one.seconds.append(play(one, self.workload.rounds[number]))

    def ratio(self, other: str) -> float | None:
        """Return how many times as fast the first contender is as `other`: the median over the rounds, or None.

        None says that `other` does not take part.
        """
        for one in self.contenders:
            if one.name == other:
                pairs = zip(self.contenders[0].seconds, one.seconds, strict=True)
                return statistics.median(theirs / ours for ours, theirs in pairs)
        return None

    def cost_ratio(self, other: "Race") -> float:
        """Return what an operation costs the first contender here, over what it costs it in another race (a median)."""
        pairs = zip(self.contenders[0].seconds, other.contenders[0].seconds, strict=True)
        here, there = len(self.workload.rounds[0]), len(other.workload.rounds[0])
        return statistics.median((ours / here) / (theirs / there) for ours, theirs in pairs)

    def result(self) -> dict[str, Any]:
        """Return the figures as plain data, after making sure that no contender handed out what was not free."""
        self.say(f"{self.name}: checking what each contender holds")
        everything = [*self.workload.fill, *(op for part in self.workload.rounds for op in part)]
        lengths = [self.workload.lengths[op] for op in everything if op >= 0]
        freed = [~op for op in everything if op < 0]
        held = sorted(set(range(len(lengths))).difference(freed))
        contenders = {}
        for one in self.contenders:
            _refuse_overlaps(one, [(number, lengths[number]) for number in held])
            contenders[one.name] = {
                "operations_per_second": len(self.workload.rounds[0]) / statistics.median(one.seconds),
                "first_is_faster": self.ratio(one.name),
                "allocations": len(one.slots),
                "failed": one.slots.count(None),
                "frees": len(freed),
                "skipped": sum(one.slots[number] is None for number in freed),
                "round_seconds": one.seconds,
            }
        return {
            "operations": sum(map(len, self.workload.rounds)),
            "rounds": len(self.workload.rounds),
            "contenders": contenders,
        }


def play(one: Contender, operations: Sequence[int]) -> float:
    """Play operations on a contender and return the seconds it took."""
    if one.argument:
        operations = [op if op < 0 else one.argument[op] for op in operations]
    run = _play_with_argument if one.argument else _play_without
    gc.disable()
    try:
        start = perf_counter()
        run(one, operations)
        return perf_counter() - start
    finally:
        gc.enable()


def _play_with_argument(one: Contender, operations: Sequence[int]) -> None:
    slots, alloc, free = one.slots, one.alloc, one.free
    keep = slots.append
    for op in operations:
        if op < 0:
            block = slots[~op]
            if block is not None:
                free(block)
        else:
            try:  # costs nothing unless it raises
                block = alloc(op)
            except Exception as error:
                if not one.is_out_of_memory(error):
                    raise
                block = None
            keep(block)


def _play_without(one: Contender, operations: Sequence[int]) -> None:
    slots, alloc, free = one.slots, one.alloc, one.free
    keep = slots.append
    for op in operations:
        if op < 0:
            block = slots[~op]
            if block is not None:
                free(block)
        else:
            keep(alloc())


def _refuse_overlaps(one: Contender, held: Iterable[tuple[int, int]]) -> None:
    # held: (number of the allocation, how long a block it asked for)
    blocks = [(start, length) for number, length in held if (start := one.slots[number]) is not None]
    end = 0
    for start, length in sorted(blocks):
        if start < end:
            raise RuntimeError(f"{one.name} gave out {start:#x} twice: it is in a block that ends at {end:#x}.")
        end = start + length
