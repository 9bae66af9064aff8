"""struct list_head in RAM: circular doubly linked lists whose links are addresses of other list_heads.

Used by the allocators, the checker and the labs.  Each function takes ``m``, any RAM in columns, and a list_head by its first word.  fast.py
writes the same three or four words in line.  Imports addresses and words.

Source: include/linux/list.h for the names.
"""

from __future__ import annotations

from collections.abc import Iterator

from .addresses import B
from .ram import KernelBug
from .words import Columns


def init_list_head(m: Columns, head: int) -> None:
    """Make the list_head at word ``head`` an empty list: both links point at itself."""
    m.next_of[head] = m.prev_of[head] = B + 8 * head


def list_empty(m: Columns, head: int) -> bool:
    """Say whether the list with this head holds nothing."""
    return m.next_of[head] == B + 8 * head


def list_first(m: Columns, head: int) -> int:
    """Return the word index of the first entry's list_head; the head's own if the list is empty."""
    return (m.next_of[head] - B) >> 3


def list_add(m: Columns, new: int, head: int) -> None:
    """Link the list_head at word ``new`` in after ``head``: at the front of the list."""
    next_of, prev_of = m.next_of, m.prev_of
    first = next_of[head]
    next_of[new], prev_of[new] = first, B + 8 * head
    next_of[head] = prev_of[(first - B) >> 3] = B + 8 * new


def list_add_tail(m: Columns, new: int, head: int) -> None:
    """Link the list_head at word ``new`` in before ``head``: at the end of the list."""
    next_of, prev_of = m.next_of, m.prev_of
    last = prev_of[head]
    next_of[new], prev_of[new] = B + 8 * head, last
    prev_of[head] = next_of[(last - B) >> 3] = B + 8 * new


def list_del(m: Columns, entry: int) -> None:
    """Take the list_head at word ``entry`` out of its list; its own links keep their old values."""
    after, before = m.next_of[entry], m.prev_of[entry]
    m.next_of[(before - B) >> 3] = after
    m.prev_of[(after - B) >> 3] = before


def list_replace(m: Columns, old: int, new: int) -> None:
    """Put the list_head at word ``new`` into the place of the one at word ``old``."""
    next_of, prev_of = m.next_of, m.prev_of
    after, before = next_of[old], prev_of[old]
    next_of[new], prev_of[new] = after, before
    next_of[(before - B) >> 3] = prev_of[(after - B) >> 3] = B + 8 * new


def chain_add(m: Columns, entry: int, chain: int) -> int:
    """Put a descriptor, by its list_head, in front of those that are to be given back, chained by next alone.  Returns the new first one's address."""
    m.next_of[entry] = chain
    return B + 8 * entry


def list_for_each(m: Columns, head: int) -> Iterator[int]:
    """Yield the word index of each entry's list_head, in list order.  The entry may be unlinked meanwhile.

    KernelBug if the list leads out of RAM, or comes to no end: none has more entries than there are pages.
    """
    next_of, end = m.next_of, len(m.prev_of)
    entry = (next_of[head] - B) >> 3
    for _ in range(m.nr_pages + 1):
        if entry == head:
            return
        if not 0 <= entry < end:
            raise KernelBug(
                f"general protection fault: the list at {B + 8 * head:#x} leads to {B + 8 * entry:#x}, where no memory is; check() tells more"
            )
        after = (next_of[entry] - B) >> 3
        yield entry
        entry = after
    raise KernelBug(f"the list at {B + 8 * head:#x} runs in a circle that does not come back to it; check() tells more")
