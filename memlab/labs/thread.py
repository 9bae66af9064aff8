"""Messages from the browser, taken where notebook cells run, so that a click never works on a machine while a cell does.

Used by LabView and by the lessons' panels.  Imports nothing of memlab.

A kernel may deliver the messages of widgets in a thread of their own (JupyterLab 4.4 and later ask for such a subshell).  A machine is words in
RAM without a lock: a cell's ``m.check()`` would see half of an Undo.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


def on_this_thread(receive: Callable[[object], None]) -> Callable[[object, object, object], None]:
    """Return a handler of widget messages that calls ``receive(content)`` in the thread of now, when that is not at work on something else."""
    home = threading.get_ident()
    try:
        loop = asyncio.get_running_loop()  # a notebook cell runs in the kernel's loop
    except RuntimeError:
        loop = None

    def handle(_widget: object, content: object, _buffers: object) -> None:
        if loop is None or threading.get_ident() == home:
            receive(content)
        else:
            loop.call_soon_threadsafe(receive, content)

    return handle
