"""One run of the benchmark: everything measured, the ratios, whether they reach the goals, and a table of it all.

Used by __main__ and by tests. `run` returns plain data, which is what `--json` prints; `table` turns that into text.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from memlab import Machine
from memlab.bench.costs import boot_cost, import_cost
from memlab.bench.race import Contender, Race, contender
from memlab.bench.references import ListSlab, RamBuddy, SetBuddy
from memlab.bench.workload import page_workload, slab_workload

# The email to the letter ("as-written") nests deeper than the kernel's stack while it fills 65,536 pages.
DESIGN = "bounded"
MAX_ORDER = 10
OBJECT_SIZE = 128
SEED = 20211025
MIB = 2**20
HOW_TO_INSTALL = 'cocotbext-axi is not installed, so it did not run: pip install "memlab[bench]" adds it.'


@dataclass(frozen=True)
class Size:
    """How much is measured. Goals are judged at the full size only: small arenas have other ratios."""

    pages: tuple[int, int, int]  # small, middle, large: powers of two, as cocotbext-axi wants them
    page_operations: tuple[int, int, int]
    slabs: int
    slab_operations: int
    parts: int
    laps: int
    boot_memory: int
    repeats: int
    judged: bool


FULL = Size(
    pages=(1 << 10, 1 << 16, 1 << 20),
    page_operations=(400_000, 400_000, 2_000_000),
    slabs=1024,
    slab_operations=800_000,
    parts=8,
    laps=3,
    boot_memory=64 << 30,
    repeats=5,
    judged=True,
)
QUICK = Size(
    pages=(1 << 10, 1 << 12, 1 << 14),
    page_operations=(3_000, 3_000, 3_000),
    slabs=16,
    slab_operations=3_000,
    parts=3,
    laps=2,
    boot_memory=256 << 20,
    repeats=2,
    judged=False,
)


def run(size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything at a size and return it as plain data. `say` gets a line about each step."""
    say("looking for cocotbext-axi")
    cocotbext = _cocotbext()
    races = [_page_race(pages, ops, size.parts, say) for pages, ops in zip(size.pages, size.page_operations, strict=True)]
    slab_race = _slab_race(size, say)
    for _ in range(size.laps):
        for race in [*races, slab_race]:
            race.start_lap()
        for part in range(size.parts):
            for race in [*races, slab_race]:
                race.play_part(part)
    boot = boot_cost(size.boot_memory, size.repeats, say)
    imports = import_cost(2 * size.repeats, say)
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "design": DESIGN,
        "seed": SEED,
        "max_order": MAX_ORDER,
        "object_size": OBJECT_SIZE,
        "cocotbext-axi": cocotbext,
        "pages": {str(pages): race.result() for pages, race in zip(size.pages, races, strict=True)},
        "slab": {"slabs": size.slabs, **slab_race.result()},
        "boot": boot,
        "import": imports,
        "ratios": _ratios(size, races, slab_race, boot, imports),
    }


def table(report: dict[str, Any]) -> str:
    """Draw what `run` returned as text for people."""
    lines = [f"{report['python']}, {report['system']}; seed {report['seed']}; medians of interleaved laps"]
    lines.append(f"memlab's design is {report['design']!r}")
    if not report["cocotbext-axi"]["installed"]:
        lines.append(HOW_TO_INSTALL)
    for pages, race in report["pages"].items():
        lines += ["", f"{int(pages):,} pages, orders 0 to {report['max_order']}, 70 % full"]
        lines += _race_lines(race)
    lines += ["", f"{report['slab']['slabs']:,} slabs of {report['object_size']}-byte objects, 70 % live"]
    lines += _race_lines(report["slab"])
    lines += ["", *_cost_lines(report["boot"], report["import"]), ""]
    for ratio in report["ratios"].values():
        value = "not measured" if ratio["value"] is None else f"{ratio['value']:.3g}"
        verdict = {True: "reached", False: "MISSED", None: "not judged"}[ratio["met"]]
        lines.append(f"{ratio['what']:<66} {value:>12}   goal {ratio['goal']:<8} {verdict}")
    return "\n".join(lines)


def _page_race(pages: int, operations: int, parts: int, say: Callable[[str], None]) -> Race:
    say(f"{pages:,} pages: drawing {operations:,} operations")
    workload = page_workload(pages, MAX_ORDER, operations, parts, SEED)

    def make() -> list[Contender]:
        machine = Machine(pages * 4096, max_order=MAX_ORDER, design=DESIGN)
        in_sets, in_ram = SetBuddy(pages, MAX_ORDER), RamBuddy(pages, MAX_ORDER)
        orders = range(MAX_ORDER + 1)
        return [
            contender("memlab", machine.alloc_pages, machine.free_pages, orders),
            contender("dict/set buddy", in_sets.alloc, in_sets.free, orders),
            contender("RAM buddy", in_ram.alloc, in_ram.free, orders),
            *_cocotbext_contender(pages, workload.lengths),
        ]

    return Race(f"{pages:,} pages", workload, make, say)


def _slab_race(size: Size, say: Callable[[str], None]) -> Race:
    say(f"slab: drawing {size.slab_operations:,} operations")
    workload = slab_workload(size.slabs, OBJECT_SIZE, size.slab_operations, size.parts, SEED)

    def make() -> list[Contender]:
        cache = Machine(4 * 4096 * size.slabs, design=DESIGN).kmem_cache_create("bench", OBJECT_SIZE)
        if cache is None:
            raise RuntimeError("a fresh machine has no room for one more cache.")
        lists = ListSlab(OBJECT_SIZE)
        return [contender("memlab", cache.alloc, cache.free), contender("list slab", lists.alloc, lists.free)]

    return Race(f"{size.slabs:,} slabs", workload, make, say)


def _cocotbext() -> dict[str, Any]:
    if _cocotbext_buddy() is None:
        return {"installed": False, "how": HOW_TO_INSTALL}
    return {"installed": True, "version": metadata.version("cocotbext-axi")}


def _cocotbext_buddy() -> Any:
    try:
        from cocotbext.axi.buddy_allocator import BuddyAllocator  # noqa: PLC0415 - not everybody has it
    except ImportError:
        return None
    return BuddyAllocator


def _cocotbext_contender(pages: int, lengths: list[int]) -> list[Contender]:
    # It counts in whatever unit its size has, here pages: an allocation names a length, not an order.
    make = _cocotbext_buddy()
    if make is None:
        return []
    buddy = make(pages)
    return [contender("cocotbext-axi", buddy.alloc, buddy.free, lengths, _is_cocotbexts_out_of_memory)]


def _is_cocotbexts_out_of_memory(error: Exception) -> bool:
    return type(error) is Exception and str(error) == "out of memory"


def _ratios(size: Size, races: list[Race], slab_race: Race, boot: dict[str, Any], imports: dict[str, Any]) -> dict[str, dict[str, Any]]:
    small, middle, large = size.pages
    first, second, third = races
    resident = boot.get("resident_bytes")
    extra = None if resident is None else (resident - boot["mem_map_bytes"]) / MIB
    growth = third.cost("memlab") / first.cost("memlab")
    gib = f"{size.boot_memory / 2**30:g} GiB"
    goals: list[tuple[str, str, float | None, str, float]] = [
        ("pages_middle", f"{middle:,} pages: speed, memlab / cocotbext-axi", second.ratio("cocotbext-axi"), ">=", 0.7),
        ("pages_large", f"{large:,} pages: speed, memlab / cocotbext-axi", third.ratio("cocotbext-axi"), ">=", 2),
        ("pages_growth", f"cost of an operation, {large:,} pages / {small:,}", growth, "<=", 1.6),
        ("slab", "slab objects: speed, memlab / lists", slab_race.ratio("list slab"), ">=", 0.25),
        ("boot_time", f"boot of {gib} / writing its mem_map", boot.get("boot_to_write"), "<=", 2),
        ("boot_memory", f"boot of {gib}: resident beyond mem_map, MiB", extra, "<=", 64),
        ("import_seconds", "import memlab, seconds", imports["import_seconds"], "<=", 0.1),
        ("import_pulls_in", "import memlab: large packages pulled in", len(imports["pulled_in"]), "<=", 0),
    ]
    return {
        key: {
            "what": what,
            "value": value,
            "goal": f"{sign} {goal:g}",
            "met": (value >= goal if sign == ">=" else value <= goal) if size.judged and value is not None else None,
        }
        for key, what, value, sign, goal in goals
    }


def _race_lines(race: dict[str, Any]) -> list[str]:
    lines = [f"    {'':<16}{'operations/s':>14}{'µs each':>10}{'memlab / it':>15}   failed allocations"]
    for name, figures in race["contenders"].items():
        speed = figures["operations_per_second"]
        failed = f"{figures['failed']:,} of {figures['allocations']:,}"
        ratio = f"{figures['first_is_faster']:.2f} ×"
        lines.append(f"    {name:<16}{speed:>14,.0f}{1e6 / speed:>10.2f}{ratio:>15}   {failed}")
    return lines


def _cost_lines(boot: dict[str, Any], imports: dict[str, Any]) -> list[str]:
    lines = [f"boot of {boot['memory_bytes'] / 2**30:g} GiB, mem_map of {boot['mem_map_bytes'] / MIB:g} MiB"]
    if "error" in boot:
        lines.append(f"    not measured: {boot['error']}")
    else:
        resident = boot["resident_bytes"]
        lines.append(f"    boot {boot['boot_seconds'] * 1e3:.0f} ms, writing mem_map {boot['write_seconds'] * 1e3:.0f} ms")
        lines.append(f"    resident {'unknown' if resident is None else f'{resident / MIB:.0f} MiB'}")
    lines.append(
        f"import memlab {imports['import_seconds'] * 1e3:.0f} ms beyond a bare interpreter's "
        f"{imports['bare_seconds'] * 1e3:.0f} ms; large packages pulled in: {', '.join(imports['pulled_in']) or 'none'}"
    )
    return lines
