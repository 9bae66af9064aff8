"""Both: one snapshot of two machines, and of what belongs to neither alone.

Used by side_by_side and nesting, whose machines stand beside each other in a lab.  Imports the core.
"""

from __future__ import annotations

from typing import Any, Final

from ..ram import Snapshot

_OTHER: Final = 1 << 40  # what is added to the pfns of the second machine, to tell them from those of the first


class Both(Snapshot):
    """A copy of both machines' RAM.  ``beside``: what else there is to remember, told apart by its repr."""

    __slots__ = ("beside", "one", "other")

    def __init__(self, one: Snapshot, other: Snapshot, beside: Any) -> None:
        (k1, m1, p1, _), (k2, m2, p2, _) = one.parts(), other.parts()
        super().__init__(k1 + k2, m1 + m2, p1 | {_OTHER + pfn: data for pfn, data in p2.items()}, 0)
        self.one, self.other, self.beside = one, other, beside

    def key(self) -> tuple[bytes, bytes, dict[int, bytes]]:
        """Return what is compared, as a Snapshot of one machine does."""
        (k1, m1, p1), (k2, m2, p2) = self.one.key(), self.other.key()
        return k1 + k2 + repr(self.beside).encode(), m1 + m2, p1 | {_OTHER + pfn: data for pfn, data in p2.items()}
