"""The rows in which a call chain is drawn: one for each call and interrupt, in order of time; repeated groups of calls folded into one.

Used by call_chain.  Imports the core's trace.  Standard library only; draws nothing.

A chain that recurs makes the same few calls over and over, each time some frames deeper.  Of such groups the first and the last are drawn, and
the others are one row between them.  What is still too long is cut in the middle.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..trace import Arrival, Call, Trace

_UNFOLDED: Final = 44  # rows that are never folded
_MOST: Final = 96  # rows that are ever drawn
_TAIL: Final = 24  # of these after a cut
_LONGEST: Final = 16  # calls of a group
_REPEATS: Final = 4  # of a group, at least, for some of them to be folded


class Row(NamedTuple):
    """One row: a call, an interrupt that comes, or calls ``first`` to ``first + n - 1`` folded into one.

    ``times``: how often the folded group was called, 0 for a cut; ``shift``: frames that each is deeper than the one before.
    """

    start: int
    level: int
    deepest: int
    first: int = -1
    n: int = 1
    times: int = 1
    shift: int = 0
    arrival: Arrival | None = None

    @property
    def folded(self) -> bool:
        """Whether it stands for several calls."""
        return self.times != 1


def rows(trace: Trace) -> list[Row]:
    """Return the rows of a trace, in order of time."""
    single = _single(trace)
    found = single if len(single) <= _UNFOLDED else _fold(single, trace.calls)
    if len(found) <= _MOST:
        return found
    head = _MOST - _TAIL - 1
    return [*found[:head], _one(found[head:-_TAIL], 0, 0), *found[-_TAIL:]]


def _single(trace: Trace) -> list[Row]:
    """Return a row for each call and each interrupt."""
    out, waiting = [], list(trace.interrupts)
    for i, call in enumerate(trace.calls):
        while waiting and waiting[0].start <= call.start:
            out.append(_arrived(waiting.pop(0)))
        out.append(Row(call.start, call.level, call.level, i))
    return out + [_arrived(arrival) for arrival in waiting]


def _arrived(arrival: Arrival) -> Row:
    level = arrival.call.level + 1
    return Row(arrival.start, level, level, n=0, arrival=arrival)


def _fold(single: list[Row], calls: list[Call]) -> list[Row]:
    keys = [_key(row, calls) for row in single]
    out, i = [], 0
    while i < len(single):
        period, times = _repeated(single, keys, i)
        if times < _REPEATS:
            out.append(single[i])
            i += 1
            continue
        first, last = i + period, i + period * (times - 1)
        out += [*single[i:first], _one(single[first:last], times - 2, single[first].level - single[i].level), *single[last : last + period]]
        i = last + period
    return out


def _key(row: Row, calls: list[Call]) -> object:
    if row.arrival is not None:
        return row.start  # like no other
    call = calls[row.first]
    return call.name, call.cache, call.context


def _repeated(single: list[Row], keys: list[object], i: int) -> tuple[int, int]:
    """Return the length of the group at ``i`` that is repeated in most rows, and how often."""
    best = 1, 1
    for period in range(1, _LONGEST + 1):
        if i + period >= len(single) or keys[i] != keys[i + period]:
            continue
        shift = single[i + period].level - single[i].level
        j = i
        while j + period < len(single) and keys[j] == keys[j + period] and single[j + period].level - single[j].level == shift:
            j += 1
        times = (j - i) // period + 1
        if times >= _REPEATS and period * times > best[0] * best[1]:
            best = period, times
    return best


def _one(folded: list[Row], times: int, shift: int) -> Row:
    """Return one row for several."""
    calls = [row for row in folded if row.arrival is None]
    levels = [level for row in folded for level in (row.level, row.deepest)]
    return Row(folded[0].start, min(levels), max(levels), calls[0].first if calls else -1, sum(row.n for row in calls), times, shift)
