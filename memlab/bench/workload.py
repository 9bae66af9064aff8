"""What the benchmark has the allocators do: sequences of operations, drawn from a seed before any clock runs.

Used by report, and played by race. An operation is a number, so that a list of them costs each contender the same
little time:

    op >= 0     allocate; op is the order
    op <  0     free what the allocation number ~op returned (counted from 0), or nothing if it failed

Every allocation is freed at most once. Imports only the reference buddy, which tells how full the arena is.
"""

import random
from typing import NamedTuple, TypeVar

from memlab.bench.references import SetBuddy

T = TypeVar("T")

FULL_PERCENT = 70


class Workload(NamedTuple):
    """Operations that fill an arena, then parts of the same number of operations that keep it that full.

    `lengths` gives for each order how much of the arena an allocation covers, in the units that `alloc` returns.
    """

    fill: list[int]
    parts: list[list[int]]
    lengths: list[int]


def page_workload(pages: int, max_order: int, operations: int, parts: int, seed: int) -> Workload:
    """Draw allocations of order 0 (half of them), 1 (a quarter), … and frees of random blocks, 70 % of `pages` held.

    The rest of all orders above `max_order` is drawn as `max_order`. `operations` is the number in all parts
    together. How full the arena is, and so what comes next, is read off a reference buddy that plays along: an
    allocation that finds no block there is in the workload, too. ValueError if a number is too small to make sense.
    """
    _at_least_one(pages=pages, max_order=max_order, operations=operations, parts=parts)
    dice = random.Random(seed)
    buddy = SetBuddy(pages, max_order)
    target = pages * FULL_PERCENT // 100
    live: list[tuple[int, int, int]] = []  # (allocation number, pfn, order)
    allocations = used = 0

    def allocate() -> int:
        nonlocal allocations, used
        bits = dice.getrandbits(max_order) | 1 << max_order
        order = (bits & -bits).bit_length() - 1  # trailing zeros: k with probability 1/2^(k+1)
        pfn = buddy.alloc(order)
        if pfn is not None:
            live.append((allocations, pfn, order))
            used += 1 << order
        allocations += 1
        return order

    def free() -> int:
        nonlocal used
        number, pfn, order = _take_random(live, dice)
        buddy.free(pfn)
        used -= 1 << order
        return ~number

    fill = []
    while used < target:
        fill.append(allocate())
    churn = [allocate() if used < target or not live else free() for _ in range(operations)]
    return Workload(fill, _split(churn, parts), [1 << order for order in range(max_order + 1)])


def slab_workload(slabs: int, size: int, operations: int, parts: int, seed: int) -> Workload:
    """Draw a workload of objects of `size` bytes: fill `slabs` pages, free random ones down to 70 %, then churn.

    In the churn an allocation and a random free alternate, `operations` in all. An allocation's order is 0.
    ValueError if a number is too small to make sense.
    """
    _at_least_one(slabs=slabs, size=size, operations=operations, parts=parts)
    dice = random.Random(seed)
    objects = slabs * (4096 // size)
    live = list(range(objects))
    fill = [0] * objects
    while len(live) > objects * FULL_PERCENT // 100:
        fill.append(~_take_random(live, dice))
    churn = []
    for number in range(operations):
        if number % 2 and live:
            churn.append(~_take_random(live, dice))
        else:
            churn.append(0)
            live.append(objects)
            objects += 1
    return Workload(fill, _split(churn, parts), [size])


def _take_random(live: list[T], dice: random.Random) -> T:
    # The last one takes the place of the one that goes: order does not matter, and nothing has to move up.
    at = dice.randrange(len(live))
    live[at], live[-1] = live[-1], live[at]
    return live.pop()


def _split(operations: list[int], parts: int) -> list[list[int]]:
    if len(operations) % parts:
        raise ValueError(f"{len(operations)} operations cannot be split into {parts} parts of the same length.")
    size = len(operations) // parts
    return [operations[at : at + size] for at in range(0, len(operations), size)]


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}: a workload needs at least 1.")
