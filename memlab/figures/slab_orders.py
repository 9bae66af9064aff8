"""How many objects a slab of each order holds, what is left over, and which order Linux's rule picks.

Used by the Slab lab and by hand: ``slab_orders(192, cpus=2)``.  Imports the core's arithmetic (slub_size) and picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ..slub_size import MAX_OBJECTS, MAX_SLAB_ORDER, calculate_order, get_order, objects_per_slab
from .picture import Key, Picture, count, rect, text

FRACTIONS: Final = (16, 8, 4, 2)
_WIDE: Final = 616
_BAR: Final = 116  # pixels for a whole slab
_COLUMNS: Final = {"order": 40, "slab": 118, "objects": 186, "unused": 276}  # right edges
_BAR_AT: Final = 292
_WORDS_AT: Final = 420


class Rule(NamedTuple):
    """Why Linux's rule picks ``order``.

    ``enough``: the objects that so many CPUs want in a slab; ``first``: the order at which the search starts;
    ``fraction``: the picked order leaves at most 1/fraction of a slab unused, or None where no order up to ``highest`` wastes little enough.
    """

    order: int
    enough: int
    first: int
    fraction: int | None
    highest: int


def order_rule(size: int, cpus: int, page_size: int = 4096, highest: int = MAX_SLAB_ORDER) -> Rule:
    """Return which order calculate_order picks for objects of ``size`` bytes, and why."""
    order = calculate_order(size, cpus, page_size, highest)
    enough = min(4 * (cpus.bit_length() + 1), max(1, (page_size << highest) // size))
    first = get_order(enough * size, page_size)
    total = page_size << order
    fits = first <= order <= highest and total // size <= MAX_OBJECTS
    fraction = next((f for f in FRACTIONS if total % size <= total // f), None) if fits else None
    return Rule(order, enough, first, fraction, highest)


def slab_orders(
    size: int,
    cpus: int = 1,
    page_size: int = 4096,
    highest: int = MAX_SLAB_ORDER,
    order: int | None = None,
    yours: Callable[[int], tuple[int | None, str]] | None = None,
    your_order: tuple[int | None, str] | None = None,
) -> Picture:
    """Draw a row for each order: objects in a slab, bytes left over, and what the rule says.

    ``size``: bytes that an object takes.  ``highest``: the largest order that the rule likes.  ``order``: what the cache has, if not by the rule.
    ``yours``: a function from an order to a learner's number of objects, or None and what was wrong; ``your_order``: a learner's pick, in the
    same form.  Both are compared with what is right.
    """
    rule = order_rule(size, cpus, page_size, highest)
    picked = rule.order if order is None else order
    fragments = {"slab_orders-heading": _heading(size)}
    y = 44.0
    for k in range(max(highest, picked, get_order(size, page_size)) + 1):
        total = page_size << k
        objects = objects_per_slab(size, k, page_size)
        waste = total - objects * size
        words = _verdict(rule, k, objects, waste, total, by_rule=order is None)
        mark = "ml-heading" if k == picked else ""
        svg = rect(0, y, _WIDE, 22, "ml-picked") if k == picked else ""
        values = {"order": k, "slab": total, "objects": objects, "unused": waste}
        svg += "".join(text(_COLUMNS[name], y + 15, f"{value:,}", f"ml-end {mark}", 12) for name, value in values.items())
        used = _BAR * (objects * size) / total
        svg += rect(_BAR_AT, y + 4, used, 13, "ml-cell ml-slab") + rect(_BAR_AT, y + 4, _BAR, 13, "ml-cell ml-boxed ml-aside")
        svg += text(_WORDS_AT, y + 15, words, mark, 12)
        if yours is not None:
            answer, said = yours(k)
            right = "yours: the same" if answer == objects else f"! yours: {answer:,}" if answer is not None else f"! yours: {said}"
            svg += text(_WORDS_AT, y + 31, right, "" if answer == objects else "ml-heading", 12)
        if your_order is not None and k == your_order[0]:
            svg += rect(1, y + 1, _WIDE - 2, 20 if yours is None else 36, "ml-yours")
        fragments[f"slab_orders-{k}"] = svg
        y += 40 if yours is not None else 24
    for line in _why(rule, size, cpus, picked, order is None, your_order):
        fragments[f"slab_orders-why-{len(fragments)}"] = text(0, y + 14, line, "", 12)
        y += 18
    keys = (Key("ml-slab", "", "room for objects"), Key("ml-aside", "", "unused end of a slab"))
    return Picture(fragments, _WIDE, y + 4, f"Slabs of each order for objects of {count(size, 'byte')}", keys)


def _heading(size: int) -> str:
    svg = text(0, 14, f"Orders for objects that take {count(size, 'byte')}", "ml-heading", 13)
    for name, x in _COLUMNS.items():
        svg += text(x, 36, {"slab": "slab, bytes", "unused": "unused, bytes"}.get(name, name), "ml-end ml-dim", 12)
    return svg + text(_WORDS_AT, 36, "Linux's rule", "ml-dim", 12)


def _verdict(rule: Rule, k: int, objects: int, waste: int, total: int, by_rule: bool) -> str:
    """Say in a few words what the rule makes of order ``k``."""
    if not objects:
        return "an object does not fit"
    if not by_rule:
        return "what this cache has" if k == 0 else "not for descriptors"
    if k == rule.order:
        return f"picked: at most 1/{rule.fraction} unused" if rule.fraction else "picked: holds an object"
    if k < rule.first:
        return f"too few: {rule.enough} are wanted"
    if k > rule.highest or rule.fraction is None:
        return "larger than need be"
    return "would do, but is larger" if waste <= total // rule.fraction else f"more than 1/{rule.fraction} unused"


def _why(rule: Rule, size: int, cpus: int, picked: int, by_rule: bool, your_order: tuple[int | None, str] | None) -> list[str]:
    """Return sentences that give the rule's reasons."""
    if not by_rule:
        return [f"A cache of descriptors has slabs of order {picked} by decree: __alloc_slab makes no others."]
    wish = 4 * (cpus.bit_length() + 1)
    capped = f", but order {rule.highest} holds only {rule.enough}" if rule.enough < wish else ""
    lines = [
        f"{count(cpus, 'CPU')}: {wish} objects or more are wanted, 4 × ({count(cpus.bit_length(), 'bit')} of {cpus} + 1){capped}.",
        f"{count(rule.enough, 'object')} of {size:,} need order {rule.first}: there the search begins.",
    ]
    if rule.fraction is None:
        lines.append(f"No order up to {rule.highest} will do, so the slab is the smallest block for one object: order {picked}.")
    elif rule.fraction == FRACTIONS[0]:
        lines.append(f"The first order that leaves at most 1/16 of the slab unused is {picked}.")
    else:
        tried = " or ".join(f"1/{f}" for f in FRACTIONS[: FRACTIONS.index(rule.fraction)])
        lines.append(f"None up to {rule.highest} leaves at most {tried} unused; with 1/{rule.fraction}, order {picked} is the first.")
    if your_order is not None:
        answer, said = your_order
        mine = f"! Your rule: {said}" if answer is None else f"Your rule picks order {answer}, as Linux's does."
        lines.append(mine if answer in (None, picked) else f"! Your rule picks order {answer}; Linux's picks {picked}.")
    return lines
