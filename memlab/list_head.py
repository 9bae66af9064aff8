"""struct list_head in RAM: circular doubly linked lists whose links are addresses of other list_heads.

Used by the allocators, the checker and the labs.  Each function takes ``m``, any RAM, and works on word indices: a list_head at index i has
next at w[i] and prev at w[i+1].  fast.py writes the same three or four words in line.  Imports addresses and ram.

Source: include/linux/list.h for the names.
"""

from __future__ import annotations

from collections.abc import Iterator

from .addresses import B
from .ram import Ram


def init_list_head(m: Ram, head: int) -> None:
    """Make the list_head at word ``head`` an empty list: both links point at itself."""
    m.w[head] = m.w[head + 1] = B + 8 * head


def list_empty(m: Ram, head: int) -> bool:
    """Say whether the list with this head holds nothing."""
    return m.w[head] == B + 8 * head


def list_first(m: Ram, head: int) -> int:
    """Return the word index of the first entry's list_head; the head's own if the list is empty."""
    return (m.w[head] - B) >> 3


def list_add(m: Ram, new: int, head: int) -> None:
    """Link the list_head at word ``new`` in after ``head``: at the front of the list."""
    w = m.w
    first = w[head]
    w[new], w[new + 1] = first, B + 8 * head
    w[head] = w[((first - B) >> 3) + 1] = B + 8 * new


def list_add_tail(m: Ram, new: int, head: int) -> None:
    """Link the list_head at word ``new`` in before ``head``: at the end of the list."""
    w = m.w
    last = w[head + 1]
    w[new], w[new + 1] = B + 8 * head, last
    w[head + 1] = w[(last - B) >> 3] = B + 8 * new


def list_del(m: Ram, entry: int) -> None:
    """Take the list_head at word ``entry`` out of its list; its own links keep their old values."""
    w = m.w
    after, before = w[entry], w[entry + 1]
    w[(before - B) >> 3] = after
    w[((after - B) >> 3) + 1] = before


def list_replace(m: Ram, old: int, new: int) -> None:
    """Put the list_head at word ``new`` into the place of the one at word ``old``."""
    w = m.w
    after, before = w[old], w[old + 1]
    w[new], w[new + 1] = after, before
    w[(before - B) >> 3] = w[((after - B) >> 3) + 1] = B + 8 * new


def chain_add(m: Ram, entry: int, chain: int) -> int:
    """Put a descriptor, by its list_head, in front of those that are to be given back, chained by next alone.  Returns the new first one's address."""
    m.w[entry] = chain
    return B + 8 * entry


def list_for_each(m: Ram, head: int) -> Iterator[int]:
    """Yield the word index of each entry's list_head, in list order.  The entry may be unlinked meanwhile."""
    w = m.w
    entry = (w[head] - B) >> 3
    while entry != head:
        after = (w[entry] - B) >> 3
        yield entry
        entry = after
