"""What a real kernel says of its allocators: /proc/buddyinfo, /proc/slabinfo; records and tables.

Used by notebooks, which set a real machine beside the simulated one, and by tests. Where this
machine's file cannot be read (it is not Linux, or slabinfo is for root only), a sample from a real
kernel takes its place and says so. Must never import anything beyond the standard library, the
simulator included.
"""

import mmap
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

THIS_MACHINE = "this machine"
SAMPLE = "sample from a 2-CPU Linux 6.18"


class BuddyInfo(NamedTuple):
    """The free blocks of one kernel: `source` says whose, `page_size` is in bytes.

    `free` has the form of `Machine.buddyinfo()`: {(node, zone): [free blocks of order 0, of 1, …]}.
    """

    source: str
    page_size: int
    free: dict[tuple[int, str], list[int]]


class SlabCache(NamedTuple):
    """One line of /proc/slabinfo, under the kernel's own column names.

    `objsize` is in bytes and, with SLUB, is `kmem_cache.size`: an object with its padding and its
    free pointer, that is, the distance from one object to the next. `active_objs` is an upper
    bound: SLUB counts every object of a CPU's slab as active. The tunables (`limit`, `batchcount`,
    `sharedfactor`) and `sharedavail` were SLAB's and are 0 with SLUB.
    """

    name: str
    active_objs: int
    num_objs: int
    objsize: int
    objperslab: int
    pagesperslab: int
    limit: int
    batchcount: int
    sharedfactor: int
    active_slabs: int
    num_slabs: int
    sharedavail: int


class SlabInfo(NamedTuple):
    """The slab caches of one kernel: `source` says whose, `page_size` is in bytes."""

    source: str
    page_size: int
    caches: list[SlabCache]


def read_buddyinfo(path: str = "/proc/buddyinfo") -> BuddyInfo:
    """Read this machine's free blocks, or else the shipped sample; `source` says which.

    The sample stands in where `path` is missing, unreadable or empty. Raises ValueError if the file
    can be read but is not a buddyinfo. Source: `frag_show` in mm/vmstat.c.
    """
    text = _text_of_this_machine(path)
    if text is None:
        return BuddyInfo(SAMPLE, 4096, parse_buddyinfo(_sample("buddyinfo-6.18.txt")))
    return BuddyInfo(THIS_MACHINE, mmap.PAGESIZE, parse_buddyinfo(text))


def read_slabinfo(path: str = "/proc/slabinfo") -> SlabInfo:
    """Read this machine's slab caches, or else the shipped sample; `source` says which.

    The sample stands in where `path` is missing, unreadable (Linux lets only root read it) or
    empty. Raises ValueError if the file can be read but is not a slabinfo of version 2. Source:
    `slab_show` in mm/slab_common.c.
    """
    text = _text_of_this_machine(path)
    if text is None:
        return SlabInfo(SAMPLE, 4096, parse_slabinfo(_sample("slabinfo-6.18-2cpu.txt")))
    return SlabInfo(THIS_MACHINE, mmap.PAGESIZE, parse_slabinfo(text))


def parse_buddyinfo(text: str) -> dict[tuple[int, str], list[int]]:
    """Parse the text of /proc/buddyinfo into {(node, zone): [free blocks of order 0, of 1, …]}.

    Raises ValueError, naming the line, if a line does not read "Node 0, zone Normal" and counts,
    names a zone twice, or has another number of orders than the first. Source: `frag_show_print` in
    mm/vmstat.c.
    """
    free: dict[tuple[int, str], list[int]] = {}
    orders = 0
    for number, line in _lines(text, "buddyinfo"):
        match = _ZONE_LINE.fullmatch(line)
        if match is None:
            raise ValueError(f'buddyinfo line {number} is {line!r}: expected "Node N, zone NAME" and a count for each order.')
        node, zone, counts = int(match[1]), match[2], [int(word) for word in match[3].split()]
        orders = orders or len(counts)
        if len(counts) != orders:
            raise ValueError(f"buddyinfo line {number} has {len(counts)} orders, but the first has {orders}.")
        if (node, zone) in free:
            raise ValueError(f"buddyinfo line {number} is the second one for node {node}, zone {zone}.")
        free[node, zone] = counts
    return free


def parse_slabinfo(text: str) -> list[SlabCache]:
    """Parse the text of /proc/slabinfo (version 2): one record a cache, in the order of the file.

    Raises ValueError, naming the line, if the first line is not the version, or another is not a
    cache's twelve columns. Source: `print_slabinfo_header` and `cache_show` in mm/slab_common.c.
    """
    lines = _lines(text, "slabinfo")
    number, version = lines[0]
    if not version.startswith("slabinfo - version: 2."):
        raise ValueError(f'slabinfo line {number} is {version!r}: expected "slabinfo - version: 2.1".')
    caches = []
    for number, line in lines[1:]:
        if line.startswith("#"):
            continue
        match = _CACHE_LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"slabinfo line {number} is {line!r}: expected a cache name and five counts, "
                '": tunables" and three, ": slabdata" and three.'
            )
        caches.append(SlabCache(match[1], *(int(count) for count in match.groups()[1:])))
    return caches


def buddyinfo_table(free: Mapping[tuple[int, str], Sequence[int]], page_size: int = 4096) -> str:
    """Draw free blocks as text: a line an order, a column a zone, and pages and MiB in all.

    `free` is what `parse_buddyinfo`, `read_buddyinfo().free` or `Machine.buddyinfo()` gives;
    `page_size` is in bytes.
    """
    orders = max((len(counts) for counts in free.values()), default=0)
    zones = [f"{node}:{zone}" for node, zone in free]
    rows = [["order", "block", *zones, "blocks", "pages", "MiB"]]
    pages_of = [0] * len(zones)
    blocks = 0
    for order in range(orders):
        counts = [zone[order] if order < len(zone) else 0 for zone in free.values()]
        pages = sum(counts) << order
        rows.append([str(order), _bytes(page_size << order), *map(_count, counts)])
        rows[-1] += [_count(sum(counts)), _count(pages), _mib(pages, page_size)]
        pages_of = [so_far + (n << order) for so_far, n in zip(pages_of, counts, strict=True)]
        blocks += sum(counts)
    total = sum(pages_of)
    rows.append(["pages", "", *map(_count, pages_of), _count(blocks), _count(total), ""])
    mib_of = [_mib(pages, page_size) for pages in pages_of]
    rows.append(["MiB", "", *mib_of, "", "", _mib(total, page_size)])
    return _aligned(rows)


def slabinfo_table(caches: Iterable[SlabCache], top: int = 10, page_size: int = 4096) -> str:
    """Draw the `top` caches that hold the most memory as text, largest first, then all together.

    `page_size` is in bytes. Caches of equal memory stand in alphabetical order. Raises ValueError
    if `top` is below 1.
    """
    if top < 1:
        raise ValueError(f"top is {top}: a table shows at least 1 cache.")
    everything = sorted(caches, key=lambda cache: (-_pages(cache), cache.name))
    columns = ["objsize", "objperslab", "num_objs", "num_slabs"]
    rows = [["name", *columns, "MiB"]]
    for cache in everything[:top]:
        row = [_count(getattr(cache, column)) for column in columns]
        rows.append([cache.name, *row, _mib(_pages(cache), page_size)])
    sums = [sum(getattr(cache, column) for cache in everything) for column in columns[2:]]
    pages = sum(map(_pages, everything))
    rows.append([f"all {len(everything)}", "", "", *map(_count, sums), _mib(pages, page_size)])
    return _aligned(rows, left=1)


_ZONE_LINE = re.compile(r"Node\s+(\d+),\s+zone\s+(\S+)((?:\s+\d+)+)", re.ASCII)
# A cache may have a blank in its name, so the name is whatever stands before the eleven numbers.
_NUMBER = r"\s+(\d+)"
_CACHE_LINE = re.compile(rf"(\S.*?){_NUMBER * 5}\s*: tunables{_NUMBER * 3}\s*: slabdata{_NUMBER * 3}", re.ASCII)


def _text_of_this_machine(path: str) -> str | None:
    # Odd bytes become marks, so that the parser names their line rather than the codec an offset.
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return text if text.strip() else None


def _sample(name: str) -> str:
    return resources.files("memlab.linux").joinpath("data", name).read_text(encoding="ascii")


def _lines(text: str, what: str) -> list[tuple[int, str]]:
    # [(line number from 1, line without outer blanks)], blank lines left out.
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{what} line 1 is missing: the text is empty.")
    return lines


def _pages(cache: SlabCache) -> int:
    return cache.num_slabs * cache.pagesperslab


def _mib(pages: int, page_size: int) -> str:
    return f"{pages * page_size / 2**20:,.2f}"


def _bytes(size: int) -> str:
    return f"{size:,} B" if size % 1024 else f"{size // 1024:,} KiB"


def _count(value: int) -> str:
    return f"{value:,}"


def _aligned(rows: list[list[str]], left: int = 0) -> str:
    # The first `left` columns are words, set to the left; the others are numbers, set to the right.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if at < left else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
