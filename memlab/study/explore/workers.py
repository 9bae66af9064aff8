"""Expanding states on several processes: what explore.py does in one, shared out.

Used by explore.py where there are processes.  What comes out is what one process would give, in the same order.  Imports explore.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from .search import Edge, Expander, Plan

_mine: list[Expander] = []  # of a worker process: one


def _start(plan: Plan) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started the search ends it
    _mine[:] = [Expander(plan)]


def _expand(images: list[bytes]) -> list[list[Edge]]:
    return [list(_mine[0].expand(image)) for image in images]


def expanded(
    plan: Plan, processes: int, image: Callable[[int], bytes | None], first: int, chunk: int
) -> Iterator[tuple[int, Iterable[Edge]]]:
    """Yield (state, its transitions) in order of states, from ``first`` on.  ``image``: of a state, None if there is no such state yet."""
    with ProcessPoolExecutor(processes, initializer=_start, initargs=(plan,)) as pool:
        waiting: deque[tuple[list[int], Future[list[list[Edge]]]]] = deque()
        try:
            while True:
                while len(waiting) < 2 * processes:
                    ids: list[int] = []
                    while len(ids) < chunk and image(first) is not None:
                        ids.append(first)
                        first += 1
                    if not ids:
                        break
                    waiting.append((ids, pool.submit(_expand, [image(i) or b"" for i in ids])))
                if not waiting:
                    return
                ids, future = waiting.popleft()
                yield from zip(ids, future.result(), strict=True)
        finally:
            for _, future in waiting:
                future.cancel()
