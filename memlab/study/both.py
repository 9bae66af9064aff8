"""Both: one snapshot of two machines, and of what belongs to neither alone; and Packed, a snapshot in few bytes.

Used by side_by_side and nesting, whose machines stand beside each other in a lab.  Imports the core.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any, Final

from ..ram import Snapshot

_OTHER: Final = 1 << 40  # what is added to the pfns of the second machine, to tell them from those of the first


class Both(Snapshot):
    """A copy of both machines' RAM.  ``beside``: what else there is to remember; ``compared``: what of it tells one snapshot from another."""

    __slots__ = ("_compared", "beside", "one", "other")

    def __init__(self, one: Snapshot, other: Snapshot, beside: Any, compared: str) -> None:
        (k1, m1, p1, _), (k2, m2, p2, _) = one.parts(), other.parts()
        super().__init__(k1 + k2, m1 + m2, p1 | {_OTHER + pfn: data for pfn, data in p2.items()}, 0)
        self.one, self.other, self.beside, self._compared = one, other, beside, compared

    def key(self) -> tuple[bytes, bytes, dict[int, bytes]]:
        """Return what is compared, as a Snapshot of one machine does."""
        (k1, m1, p1), (k2, m2, p2) = self.one.key(), self.other.key()
        return k1 + k2 + self._compared.encode(), m1 + m2, p1 | {_OTHER + pfn: data for pfn, data in p2.items()}


class Packed(Snapshot):
    """A copy of one machine's RAM in few bytes: without what free pages hold, which nobody reads, and the rest compressed.

    A long chain uses hundreds of pages for next to nothing, and a lab keeps hundreds of snapshots.
    """

    __slots__ = ("_data", "_digest", "_pfns")

    def __init__(self, snapshot: Snapshot) -> None:
        kernel, mem_map, _, stat_bytes = snapshot.parts()
        super().__init__(kernel, mem_map, {}, stat_bytes)
        self.config, self.ctors = snapshot.config, snapshot.ctors
        used = snapshot.key()[2]
        self._pfns = sorted(used)
        raw = b"".join(used[pfn] for pfn in self._pfns)
        self._data, self._digest = zlib.compress(raw, 1), hashlib.blake2b(repr(self._pfns).encode() + raw).digest()

    def parts(self) -> tuple[bytes, bytes, dict[int, bytes], int]:
        """Return what it needs room for: all that is compressed counts with the kernel area."""
        kernel, mem_map, _, stat_bytes = super().parts()
        return kernel + self._data, mem_map, {}, stat_bytes

    def key(self) -> tuple[bytes, bytes, dict[int, bytes]]:
        """Return what is compared; a digest stands for the pages."""
        return *super().key()[:2], {0: self._digest}

    def unpacked(self) -> Snapshot:
        """Return the snapshot as a machine takes it."""
        kernel, mem_map, _, stat_bytes = super().parts()
        raw = zlib.decompress(self._data)
        size = len(raw) // max(len(self._pfns), 1)
        snapshot = Snapshot(kernel, mem_map, {pfn: raw[i * size : (i + 1) * size] for i, pfn in enumerate(self._pfns)}, stat_bytes)
        snapshot.config, snapshot.ctors = self.config, self.ctors
        return snapshot
