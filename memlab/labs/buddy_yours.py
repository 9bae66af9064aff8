"""The learner's code in the Buddy lab: what buddy_of, merge and order_for say to the selected block, beside what the machine does.

Used by buddy.py only.  Their answers are outlines on the page map and sentences; the machine goes its own way, so RAM and history stay right
whatever they say.  Imports the core, figures, and what asks a learner's function; never widgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from ..figures.blocks import Block, block_of, kind_of
from ..figures.page_map import Mark
from ..figures.picture import count
from ..machine import Machine
from ..memdesc import MemType
from ..structs import buddy
from .lab import Look
from .yours import ask, short

NAMES: Final = ("buddy_of", "merge", "order_for")


class Verdict(NamedTuple):
    """What a function of the learner's says beside the machine: a sentence, and both answers as pages (None: not pages of this machine)."""

    name: str
    sentence: str
    yours: range | None
    machine: range


def order_for(m: Machine, size: int) -> int:
    """Return the order of the smallest block that holds ``size`` bytes (get_order)."""
    return (-(-size // m.page_size) - 1).bit_length()


def on_block(m: Machine, look: Look, block: Block) -> list[Verdict]:
    """Ask the learner's functions about the block: who is its buddy, what would become of it if freed, and was its order right."""
    if block.order is None:
        return []
    verdicts, size = [], look.asked.get("size")
    if "buddy_of" in look.yours and block.order < m.max_order:
        verdicts.append(_buddy_of(m, look.yours["buddy_of"], block.start, block.order))
    if kind_of(m, block.start) == MemType.BUDDY:
        if "merge" in look.yours:
            verdicts.append(_merge(m, look.yours["merge"], block))
        if "order_for" in look.yours and isinstance(size, int) and order_for(m, size) == block.order:
            verdicts.append(_order_for(m, look.yours["order_for"], size, block.start))
    return verdicts


def on_action(m: Machine, look: Look, name: str, params: Mapping[str, Any], block: Block | None) -> str:
    """Say what the learner's functions say to an action on the block that is about to be done; "" if they have nothing to say to it."""
    if name == "allocate_bytes":
        size = params.get("size")
        if "order_for" in look.yours and isinstance(size, int) and 0 < size <= m.page_size << m.max_order:
            return _order_for(m, look.yours["order_for"], size, 0).sentence
        return ""
    if block is None or name not in ("free", "select"):
        return ""
    wanted = ("merge",) if name == "free" else NAMES
    return " ".join(v.sentence for v in on_block(m, look, block) if v.name in wanted)


def marks(verdicts: list[Verdict]) -> tuple[Mark, ...]:
    """Return outlines for the page map: one where both agree, else one for each."""
    found = []
    for v in verdicts:
        letter = v.name[0]
        if v.yours == v.machine:
            found.append(Mark(v.machine, "ml-agreed", f"={letter}", f"your {v.name} and the machine agree"))
            continue
        found.append(Mark(v.machine, "ml-machine", f"M{letter}", f"the machine's answer, where your {v.name} differs"))
        if v.yours:
            found.append(Mark(v.yours, "ml-yours", f"Y{letter}", f"your {v.name}'s answer"))
    return tuple(found)


def machine_merge(m: Machine, block: Block) -> tuple[int, int]:
    """Return (first page, order) of the free block that freeing ``block`` makes on this machine; nothing is freed."""
    start, order = block.start, block.order or 0
    if m.pcp and order == 0:
        return start, order
    is_free = _is_free(m, block)
    while order < m.max_order and is_free(start ^ (1 << order), order):
        start, order = start & ~(1 << order), order + 1
    return start, order


# -- one function each


def _buddy_of(m: Machine, function: Callable[..., Any], start: int, order: int) -> Verdict:
    answer, right = ask(function, start, order, name="buddy_of"), start ^ (1 << order)
    pages = range(right, right + (1 << order))
    if answer.sentence:
        return Verdict("buddy_of", f"Your {answer.sentence}", None, pages)
    said = f"Your buddy_of({start}, {order}) gives {short(answer.value)}"
    if _equal(answer.value, right):
        return Verdict("buddy_of", f"{said}, as the machine does.", pages, pages)
    why = f"its buddy is page {right}, where the bit worth {1 << order} of the page number is flipped"
    return Verdict("buddy_of", f"{said}; the machine differs: {why}.", _pages(m, answer.value, order), pages)


def _merge(m: Machine, function: Callable[..., Any], block: Block) -> Verdict:
    answer = ask(function, block.start, block.order, _is_free(m, block), name="merge")
    start, order = machine_merge(m, block)
    pages = range(start, start + (1 << order))
    if answer.sentence:
        return Verdict("merge", f"Your {answer.sentence}", None, pages)
    said = f"Your merge({block.start}, {block.order}, is_free) gives {short(answer.value)}"
    pair = answer.value if isinstance(answer.value, tuple) and len(answer.value) == 2 else (None, None)
    if _equal(pair[0], start) and _equal(pair[1], order):
        return Verdict("merge", f"{said}, as the machine does.", pages, pages)
    what = f"freed, the block becomes ({start}, {order}), {count(len(pages), 'page')} from page {start} on"
    return Verdict("merge", f"{said}; the machine differs: {what}.", _pages(m, *pair), pages)


def _order_for(m: Machine, function: Callable[..., Any], size: int, start: int) -> Verdict:
    answer, right = ask(function, size, name="order_for"), order_for(m, size)
    pages = range(start, start + (1 << right))
    if answer.sentence:
        return Verdict("order_for", f"Your {answer.sentence}", None, pages)
    said = f"Your order_for({size}) gives {short(answer.value)}"
    if _equal(answer.value, right):
        return Verdict("order_for", f"{said}, as the machine does.", pages, pages)
    why = f"order {right} is the smallest that holds {size:,} bytes, with {m.page_size << right:,}"
    return Verdict("order_for", f"{said}; the machine differs: {why}.", _pages(m, start, answer.value), pages)


def _is_free(m: Machine, block: Block) -> Callable[[int, int], bool]:
    """Return the function that tells the learner's merge whether a whole free block of an order starts at a page, in the zone of ``block``."""
    flags = m.w[(block.buddy - m.B >> 3) + buddy.flags.word]

    def is_free(pfn: int, order: int) -> bool:
        if not isinstance(pfn, int) or not isinstance(order, int):
            raise TypeError(f"is_free takes a page number and an order, not {short(pfn)} and {short(order)}")
        if not 0 <= pfn < m.nr_pages or kind_of(m, pfn) != MemType.FREE:
            return False
        other = block_of(m, pfn)
        same_zone = other.order is not None and m.w[(other.buddy - m.B >> 3) + buddy.flags.word] == flags
        return same_zone and (other.start, other.order) == (pfn, order)

    return is_free


def _equal(value: object, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number


def _pages(m: Machine, start: object, order: object) -> range | None:
    """Return the pages that an answer means, as far as the machine has them; None if they make no sense."""
    if not isinstance(start, int) or not isinstance(order, int) or not 0 <= order <= m.nr_pages.bit_length():
        return None
    pages = range(max(start, 0), min(start + (1 << order), m.nr_pages))
    return pages or None
