"""Plays one workload on several allocators, turn by turn, and keeps the times.

Used by report. The workload is cut into parts, and all contenders play a part, one after the other, before any goes on:
so whatever else the computer is doing falls on all of them. The whole is run in several laps, each on fresh allocators,
with another one first each time. A part's time is its median over the laps; a contender's, the sum of its parts' (parts
differ: some meet a more fragmented arena). Must know nothing of any particular allocator.
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
    each allocation so far.
    """

    name: str
    alloc: Callable[..., int | None]
    free: Callable[[int], object]
    argument: Sequence[int]
    is_out_of_memory: Callable[[Exception], bool]
    slots: list[int | None]


def contender(
    name: str,
    alloc: Callable[..., int | None],
    free: Callable[[int], object],
    argument: Sequence[int] = (),
    is_out_of_memory: Callable[[Exception], bool] = lambda _: False,
) -> Contender:
    """Make a contender that has not played yet."""
    return Contender(name, alloc, free, argument, is_out_of_memory, [])


class Race:
    """A workload and those who play it. Call `start_lap`, then `play_part` with 0, 1, …, then the next lap's `start_lap`.

    `make` makes fresh contenders; the first is the one that the others are compared with. `say` gets a line about each
    step. `seconds` is {name: [for each part, its time in each lap]}.
    """

    def __init__(self, name: str, workload: Workload, make: Callable[[], Sequence[Contender]], say: Callable[[str], None]) -> None:
        """Prepare a race in which nobody has played yet."""
        self.name, self.workload, self.make, self.say = name, workload, make, say
        self.laps = 0
        self.contenders: Sequence[Contender] = ()
        self.seconds: dict[str, list[list[float]]] = {}

    def start_lap(self) -> None:
        """Make fresh contenders and fill them, which is not part of the times."""
        self.laps += 1
        self.contenders = self.make()
        self.say(f"{self.name}: lap {self.laps}, filling with {len(self.workload.fill):,} operations")
        for one in self.contenders:
            self.seconds.setdefault(one.name, [[] for _ in self.workload.parts])
            play(one, self.workload.fill)

    def play_part(self, part: int) -> None:
        """Have every contender play a part, and keep the seconds it took."""
        self.say(f"{self.name}: lap {self.laps}, part {part + 1} of {len(self.workload.parts)}")
        first = (self.laps - 1 + part) % len(self.contenders)
        for one in [*self.contenders[first:], *self.contenders[:first]]:
            self.seconds[one.name][part].append(play(one, self.workload.parts[part]))

    def cost(self, name: str) -> float:
        """Return the seconds that an operation costs a contender."""
        return sum(map(statistics.median, self.seconds[name])) / sum(map(len, self.workload.parts))

    def ratio(self, other: str) -> float | None:
        """Return how many times as fast the first contender is as `other`; None if that one does not take part."""
        return self.cost(other) / self.cost(self.contenders[0].name) if other in self.seconds else None

    def result(self) -> dict[str, Any]:
        """Return the figures as plain data, after making sure that no contender handed out what was not free."""
        self.say(f"{self.name}: checking what each contender holds")
        everything = [*self.workload.fill, *(op for part in self.workload.parts for op in part)]
        lengths = [self.workload.lengths[op] for op in everything if op >= 0]
        freed = [~op for op in everything if op < 0]
        held = sorted(set(range(len(lengths))).difference(freed))
        contenders = {}
        for one in self.contenders:
            _refuse_overlaps(one, [(number, lengths[number]) for number in held])
            contenders[one.name] = {
                "operations_per_second": 1 / self.cost(one.name),
                "first_is_faster": self.ratio(one.name),
                "allocations": len(one.slots),
                "failed": one.slots.count(None),
                "frees": len(freed),
                "skipped": sum(one.slots[number] is None for number in freed),
                "part_seconds": self.seconds[one.name],
            }
        return {"operations": sum(map(len, self.workload.parts)), "laps": self.laps, "contenders": contenders}


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
