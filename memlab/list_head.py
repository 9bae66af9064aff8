"""struct list_head in RAM: circular doubly linked lists whose links are addresses of other list_heads.

Used by the allocators' slow paths, the checker and the labs.  Each function takes ``ram`` (any object with the words
``w`` and the base address ``B``) and works on word indices: a list_head at index i has next at w[i] and prev at w[i+1].
Hot paths write the same three or four words in line.  Imports nothing of memlab but ram's types.

Source: include/linux/list.h for the names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ram import Ram


def init_list_head(ram: Ram, i: int) -> None:
    """Make the list_head at word i an empty list: both links point at itself."""
    ram.w[i] = ram.w[i + 1] = ram.B + 8 * i


def list_add(ram: Ram, new: int, head: int) -> None:
    """Link the list_head at word ``new`` in after ``head``: at the front of the list."""
    w, B = ram.w, ram.B
    first = w[head]
    w[new], w[new + 1] = first, B + 8 * head
    w[head] = w[((first - B) >> 3) + 1] = B + 8 * new


def list_add_tail(ram: Ram, new: int, head: int) -> None:
    """Link the list_head at word ``new`` in before ``head``: at the end of the list."""
    w, B = ram.w, ram.B
    last = w[head + 1]
    w[new], w[new + 1] = B + 8 * head, last
    w[head + 1] = w[(last - B) >> 3] = B + 8 * new


def list_del(ram: Ram, i: int) -> None:
    """Take the list_head at word i out of its list; its own links keep their old values."""
    w, B = ram.w, ram.B
    after, before = w[i], w[i + 1]
    w[(before - B) >> 3] = after
    w[((after - B) >> 3) + 1] = before


def list_replace(ram: Ram, old: int, new: int) -> None:
    """Put the list_head at word ``new`` into the place of the one at word ``old``."""
    w, B = ram.w, ram.B
    after, before = w[old], w[old + 1]
    w[new], w[new + 1] = after, before
    w[(before - B) >> 3] = w[((after - B) >> 3) + 1] = B + 8 * new


def list_for_each(ram: Ram, head: int) -> Iterator[int]:
    """Yield the word index of each entry's list_head, in list order.  The entry may be unlinked meanwhile."""
    w, B = ram.w, ram.B
    i = (w[head] - B) >> 3
    while i != head:
        after = (w[i] - B) >> 3
        yield i
        i = after
