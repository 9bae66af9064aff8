"""What it costs to boot a large machine, and to import memlab: each measured in fresh interpreters.

Used by report. Boot is set beside the least it could be: writing a mem_map of that size, once, into fresh memory.
Must never measure in the interpreter that runs the benchmark, where everything is imported and memory is warm.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from memlab import Machine
from memlab.bench.references import anonymous_memory

PAGE = 4096
UNWANTED = ("numpy", "matplotlib", "ipywidgets")


def boot_cost(memory: int, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Boot a machine of `memory` bytes in `repeats` fresh interpreters, and write as large a mem_map in each.

    Returns medians in seconds, the median ratio, and the most resident bytes (None where there is no
    /proc/self/statm). Where this computer cannot boot such a machine, the result holds "error" and no figures.
    """
    result: dict[str, Any] = {"memory_bytes": memory, "mem_map_bytes": memory // PAGE * 8}
    runs = []
    for number in range(repeats):
        say(f"boot: {memory / 2**30:g} GiB, {number + 1} of {repeats}")
        # Whichever comes first in a process meets colder memory: they take turns.
        code = f"from memlab.bench.costs import boot_once; boot_once({memory}, write_first={number % 2 == 0})"
        try:
            runs.append(json.loads(_python(code)))
        except ChildError as error:
            return {**result, "error": str(error)}
    resident = [run["resident"] for run in runs if run["resident"] is not None]
    return {
        **result,
        "boot_seconds": statistics.median(run["boot"] for run in runs),
        "write_seconds": statistics.median(run["write"] for run in runs),
        "boot_to_write": statistics.median(run["boot"] / run["write"] for run in runs),
        "resident_bytes": max(resident, default=None),
    }


def import_cost(repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Start an interpreter that imports memlab, and one that imports nothing, `repeats` times in turn.

    Returns the medians in seconds, their difference, and which of UNWANTED the import pulled in.
    """
    code = f"import sys; before = set(sys.modules); import memlab; print(*sorted(({set(UNWANTED)} - before) & set(sys.modules)))"
    pulled_in = _python(code).split()  # and memlab's byte code is written now
    bare: list[float] = []
    full: list[float] = []
    for number in range(repeats):
        say(f"import: {number + 1} of {repeats}")
        for seconds, what in ((bare, "pass"), (full, "import memlab")):
            start = perf_counter()
            _python(what)
            seconds.append(perf_counter() - start)
    return {
        "bare_seconds": statistics.median(bare),
        "with_memlab_seconds": statistics.median(full),
        "import_seconds": statistics.median(full) - statistics.median(bare),
        "pulled_in": pulled_in,
    }


def boot_once(memory: int, *, write_first: bool) -> None:
    """Print, as JSON, what one boot in this interpreter took and left resident, and what writing a mem_map took."""
    write = _seconds_to_write(memory // PAGE * 8) if write_first else None
    before = resident_bytes()
    start = perf_counter()
    machine = Machine(memory)
    boot = perf_counter() - start
    after = resident_bytes()
    del machine
    write = write or _seconds_to_write(memory // PAGE * 8)
    resident = None if before is None or after is None else after - before
    print(json.dumps({"boot": boot, "write": write, "resident": resident}))


def resident_bytes() -> int | None:
    """Return how much of this process is in memory; None where /proc does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


class ChildError(RuntimeError):
    """A fresh interpreter failed; the message is its last line."""


def _seconds_to_write(size: int) -> float:
    memory = anonymous_memory(size)
    chunk = b"\x10\x20\x30\x40\x50\x60\x70\x80" * (min(size, 2**20) // 8)
    start = perf_counter()
    for at in range(0, size - len(chunk) + 1, len(chunk)):
        memory[at : at + len(chunk)] = chunk
    return perf_counter() - start


def _python(code: str) -> str:
    # The same memlab as this one, installed or not, and with its byte code kept from one start to the next.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ChildError(lines[-1] if lines else f"the interpreter ended with status {done.returncode}")
    return done.stdout
