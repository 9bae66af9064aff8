"""The benchmark: its references are right, its contenders do the same work, and its report is whole. No clock is judged."""

import json
import random
import sys
from dataclasses import replace
from functools import partial

import bench_browser as browser
import pytest

from memlab.bench import costs
from memlab.bench.__main__ import main
from memlab.bench.costs import ChildError, boot_cost, import_cost, resident_bytes
from memlab.bench.race import Race, contender
from memlab.bench.references import ListSlab, RamBuddy, SetBuddy, aligned_blocks
from memlab.bench.report import QUICK, run, table
from memlab.bench.workload import Workload, page_workload, slab_workload

BUDDIES = ("memlab", "dict/set buddy", "RAM buddy")
SILENT = [].append  # a `say` that tells nobody


# The references


@pytest.mark.parametrize("make", [SetBuddy, RamBuddy])
@pytest.mark.parametrize(("pages", "max_order"), [(256, 4), (256, 8), (250, 4), (1, 3), (37, 0)])
def test_a_reference_buddy_finds_a_block_exactly_where_one_is_free(make, pages, max_order):
    buddy, dice = make(pages, max_order), random.Random(pages)
    owner = [None] * pages
    live = {}
    outcomes = set()
    for _ in range(3000):
        if live and dice.random() < 0.5:
            pfn = dice.choice(list(live))
            length = live.pop(pfn)
            buddy.free(pfn)
            assert owner[pfn : pfn + length] == [pfn] * length
            owner[pfn : pfn + length] = [None] * length
            continue
        length = 1 << dice.randrange(max_order + 1)
        pfn = buddy.alloc(length.bit_length() - 1)
        outcomes.add(pfn is None)
        if pfn is None:
            # As free buddies always merge, an aligned free stretch would have been a free block.
            assert all(any_owned(owner[at : at + length]) for at in range(0, pages - length + 1, length))
        else:
            assert pfn % length == 0
            assert pfn + length <= pages
            assert not any_owned(owner[pfn : pfn + length])
            owner[pfn : pfn + length] = [pfn] * length
            live[pfn] = length
    assert outcomes == {True, False}
    for pfn in live:
        buddy.free(pfn)
    assert whole_again(buddy) == aligned_blocks(pages, max_order)


def any_owned(owners):
    return any(owner is not None for owner in owners)


def whole_again(buddy):
    """Take every free block, largest first: (pfn, order) in order of address."""
    blocks = []
    for order in reversed(range(buddy.max_order + 1)):
        while (pfn := buddy.alloc(order)) is not None:
            blocks.append((pfn, order))
    return sorted(blocks)


def test_an_arena_is_cut_into_the_largest_aligned_blocks():
    assert aligned_blocks(22, 3) == [(0, 3), (8, 3), (16, 2), (20, 1)]
    assert aligned_blocks(0, 3) == []


@pytest.mark.parametrize("size", [8, 128, 192, 4096])
def test_the_reference_slab_gives_out_no_object_twice_and_no_slab_too_many(size):
    slab, dice = ListSlab(size), random.Random(size)
    live, peak = set(), 0
    for _ in range(5000):
        if live and dice.random() < 0.45:
            address = dice.choice(sorted(live)) if len(live) < 50 else live.pop()
            live.discard(address)
            slab.free(address)
        else:
            address = slab.alloc()
            assert address not in live
            assert address % 4096 % size == 0
            assert address % 4096 + size <= 4096
            live.add(address)
            peak = max(peak, len(live))
    assert len(slab.free_objects) == -(-peak // (4096 // size))


# The workloads


def test_a_page_workload_depends_on_its_seed_alone():
    assert page_workload(256, 4, 500, 5, seed=1) == page_workload(256, 4, 500, 5, seed=1)
    assert page_workload(256, 4, 500, 5, seed=1) != page_workload(256, 4, 500, 5, seed=2)


def test_half_the_allocations_are_single_pages_a_quarter_pairs_and_the_rest_of_the_tail_is_the_maximum():
    fill, parts, lengths = page_workload(1 << 14, 3, 20_000, 1, seed=3)
    orders = [op for op in [*fill, *parts[0]] if op >= 0]
    shares = [orders.count(order) / len(orders) for order in range(4)]
    assert shares == pytest.approx([1 / 2, 1 / 4, 1 / 8, 1 / 8], abs=0.02)
    assert lengths == [1, 2, 4, 8]


def test_a_page_workload_keeps_the_arena_70_percent_full_and_frees_nothing_twice():
    pages = 1 << 12
    workload = page_workload(pages, 6, 4000, 4, seed=4)
    buddy = SetBuddy(pages, 6)
    held, used = [], 0
    fullness = []
    for part in [workload.fill, *workload.parts]:
        for op in part:
            if op >= 0:
                pfn = buddy.alloc(op)
                held.append((pfn, op))
                used += pfn is not None and 1 << op
            else:
                pfn, order = held[~op]
                held[~op] = None  # a second free would fail to unpack it
                buddy.free(pfn)
                used -= 1 << order
            fullness.append(used)
    assert max(fullness) < 0.7 * pages + (1 << 6)
    assert min(fullness[len(workload.fill) :]) > 0.7 * pages - 2 * (1 << 6)
    assert [len(part) for part in workload.parts] == [1000] * 4


def test_a_slab_workload_fills_every_slab_and_then_keeps_70_percent_of_the_objects():
    fill, parts, lengths = slab_workload(16, 128, 600, 3, seed=5)
    assert fill[: 16 * 32] == [0] * (16 * 32)
    operations = [*fill, *parts[0], *parts[1], *parts[2]]
    freed = [op for op in operations if op < 0]
    assert len(freed) == len(set(freed))
    assert sum(1 if op == 0 else -1 for op in operations) == 16 * 32 * 70 // 100
    assert lengths == [128]


@pytest.mark.parametrize("wrong", ["pages", "max_order", "operations", "parts"])
def test_a_page_workload_of_nothing_is_refused(wrong):
    arguments = {"pages": 64, "max_order": 3, "operations": 10, "parts": 2, wrong: 0}
    with pytest.raises(ValueError, match=f"{wrong} is 0: a workload needs at least 1"):
        page_workload(**arguments, seed=1)


@pytest.mark.parametrize("wrong", ["slabs", "size", "operations", "parts"])
def test_a_slab_workload_of_less_than_nothing_is_refused(wrong):
    arguments = {"slabs": 4, "size": 128, "operations": 10, "parts": 2, wrong: -1}
    with pytest.raises(ValueError, match=f"{wrong} is -1: a workload needs at least 1"):
        slab_workload(**arguments, seed=1)


def test_parts_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="10 operations cannot be split into 3 parts"):
        page_workload(64, 3, 10, 3, seed=1)


# The race


def test_every_part_and_every_lap_starts_with_another_contender():
    started = []

    def note(name):
        started.append(name)
        return 8 * len(started)

    def make():
        return [contender(name, partial(note, name), None) for name in "abc"]

    race = Race("turns", Workload(fill=[], parts=[[0], [0]], lengths=[8]), make, SILENT)
    for _ in range(3):
        race.start_lap()
        race.play_part(0)
        race.play_part(1)
    assert "".join(started) == "abcbcabcacabcababc"
    assert {name: [len(laps) for laps in parts] for name, parts in race.seconds.items()} == {
        "a": [3, 3],
        "b": [3, 3],
        "c": [3, 3],
    }


def test_a_cost_is_the_sum_over_the_parts_of_the_median_over_the_laps():
    race = Race("costs", Workload(fill=[], parts=[[0, 0], [0, 0]], lengths=[8]), list, SILENT)
    race.contenders = [contender("ours", None, None)]
    race.seconds = {"ours": [[1, 100, 3], [5, 4, 0]], "theirs": [[14, 14, 14], [14, 0, 99]]}
    assert race.cost("ours") == (3 + 4) / 4
    assert race.ratio("theirs") == 4
    assert race.ratio("ours") == 1
    assert race.ratio("another") is None


def a_lap(workload, *contenders):
    """Race the contenders for a lap, and return the race."""
    race = Race("test", workload, lambda: contenders, SILENT)
    race.start_lap()
    for part in range(len(workload.parts)):
        race.play_part(part)
    return race


SMALL = page_workload(64, 3, 10, 2, seed=1)


def test_each_lap_starts_from_fresh_contenders():
    made = []

    def make():
        made.append(SetBuddy(64, 3))
        return [contender("it", made[-1].alloc, made[-1].free, range(4))]

    race = Race("laps", SMALL, make, SILENT)
    race.start_lap()
    race.play_part(0)
    race.start_lap()
    assert len(made) == 2
    assert len(race.contenders[0].slots) == len(SMALL.fill)
    assert made[0].live != made[1].live


def test_a_contender_that_gives_out_a_block_twice_is_found_out():
    race = a_lap(SMALL, contender("liar", lambda _order: 8, lambda _pfn: None, range(4)))
    with pytest.raises(RuntimeError, match="liar gave out 0x8 twice"):
        race.result()


def test_running_out_of_memory_by_raising_counts_as_failing():
    def full(_order):
        raise LookupError("full")

    def is_full(error):
        return isinstance(error, LookupError)

    figures = a_lap(SMALL, contender("full", full, None, range(4), is_full)).result()["contenders"]["full"]
    assert figures["failed"] == figures["allocations"] > 0
    assert figures["skipped"] == figures["frees"] > 0


def test_any_other_error_of_a_contender_ends_the_race():
    def broken(_order):
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        a_lap(SMALL, contender("it", broken, None, range(4)))


# Costs, in fresh interpreters


def test_importing_memlab_pulls_in_no_large_package():
    cost = import_cost(1, SILENT)
    assert cost["pulled_in"] == []
    assert cost["with_memlab_seconds"] > 0


def test_a_package_that_memlab_does_pull_in_is_named(monkeypatch):
    monkeypatch.setattr("memlab.bench.costs.UNWANTED", ("mmap", "no_such_package"))
    assert import_cost(1, SILENT)["pulled_in"] == ["mmap"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise ValueError('no luck')", "ValueError: no luck"),
        ("raise SystemExit(3)", "the interpreter ended with status 3"),
    ],
)
def test_an_interpreter_that_fails_says_why(code, why):
    with pytest.raises(ChildError, match=f"^{why}$"):
        costs._python(code)


def test_a_machine_that_cannot_boot_is_reported_and_stops_nothing():
    cost = boot_cost(6000, 1, SILENT)  # not whole pages
    assert "ValueError" in cost["error"]
    assert "boot_seconds" not in cost


def test_a_booted_machine_is_resident_at_least_by_its_mem_map():
    cost = boot_cost(1 << 30, 1, SILENT)
    assert cost["mem_map_bytes"] == 2 << 20
    if resident_bytes() is None:
        assert cost["resident_bytes"] is None
    else:
        assert 2 << 20 <= cost["resident_bytes"] < 66 << 20


# The whole run


@pytest.fixture(scope="module")
def judged():
    """A very short run whose goals are judged all the same, and the lines it said."""
    said = []
    size = replace(QUICK, page_operations=(900, 900, 900), slab_operations=900, repeats=1, judged=True)
    return run(size, said.append), said


def test_every_contender_plays_the_same_operations(judged):
    report, _ = judged
    races = [*report["pages"].values(), report["slab"]]
    assert list(report["pages"]) == ["1024", "4096", "16384"]
    for race in races:
        assert (race["operations"], race["laps"]) == (900, 2)
        figures = race["contenders"].values()
        assert len({(one["allocations"], one["frees"]) for one in figures}) == 1
        assert all([len(laps) for laps in one["part_seconds"]] == [2, 2, 2] for one in figures)
        assert all(one["operations_per_second"] > 0 for one in figures)
    for race in report["pages"].values():
        assert tuple(race["contenders"])[:3] == BUDDIES
    assert tuple(report["slab"]["contenders"]) == ("memlab", "list slab")


def test_every_contender_succeeds_alike_where_the_arena_is_large_beside_the_blocks(judged):
    report, _ = judged
    for figures in [*report["pages"]["16384"]["contenders"].values(), *report["slab"]["contenders"].values()]:
        assert (figures["failed"], figures["skipped"]) == (0, 0)
    for figures in report["pages"]["1024"]["contenders"].values():
        assert 0 < figures["failed"] < figures["allocations"] / 10


def test_every_ratio_is_judged_by_its_goal(judged):
    report, _ = judged
    reached = {}
    for key, ratio in report["ratios"].items():
        sign, goal = ratio["goal"].split()
        if ratio["value"] is None:
            assert ratio["met"] is None
        else:
            reached[key] = ratio["value"] >= float(goal) if sign == ">=" else ratio["value"] <= float(goal)
            assert ratio["met"] is reached[key]
    assert {"pages_growth", "slab", "boot_time", "import_seconds", "import_pulls_in"} <= set(reached)
    assert reached["import_pulls_in"]
    goals = {key: ratio["goal"] for key, ratio in report["ratios"].items()}
    assert goals == {
        "pages_middle": ">= 0.7",
        "pages_large": ">= 2",
        "pages_growth": "<= 1.6",
        "slab": ">= 0.25",
        "boot_time": "<= 2",
        "boot_memory": "<= 64",
        "import_seconds": "<= 0.1",
        "import_pulls_in": "<= 0",
    }


def test_progress_tells_each_step_in_a_line(judged):
    _, said = judged
    for step in (
        "1,024 pages: lap 2, part 3 of 3",
        "16 slabs: lap 1, filling",
        "boot: 0.25 GiB, 1 of 1",
        "import: 2 of 2",
    ):
        assert any(line.startswith(step) for line in said), step
    assert not any("\n" in line for line in said)


def test_the_table_shows_each_contender_ratio_and_verdict(judged):
    report, _ = judged
    text = table(report)
    assert text.count("RAM buddy") == 3
    for ratio in report["ratios"].values():
        assert ratio["what"] in text
    assert text.count("reached") + text.count("MISSED") + text.count("not judged") == len(report["ratios"])


def test_the_table_of_a_run_without_boot_says_why(judged):
    report, _ = judged
    failed = {"memory_bytes": 1 << 36, "mem_map_bytes": 1 << 27, "error": "MemoryError: no room"}
    text = table({**report, "boot": failed})
    assert "boot of 64 GiB, mem_map of 128 MiB\n    not measured: MemoryError: no room\n" in text


def test_quick_json_is_one_object_whose_goals_are_not_judged(capsys, monkeypatch):
    # None in sys.modules is how Python says that there is no such module.
    monkeypatch.setitem(sys.modules, "cocotbext.axi.buddy_allocator", None)
    main(["--json", "--quick"])
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert [ratio["met"] for ratio in report["ratios"].values()] == [None] * 8
    assert report["cocotbext-axi"]["installed"] is False
    assert "pip install" in report["cocotbext-axi"]["how"]
    assert report["ratios"]["pages_middle"]["value"] is None
    assert all(tuple(race["contenders"]) == BUDDIES for race in report["pages"].values())
    assert "cocotbext-axi is not installed" in table(report).splitlines()[2]
    assert "lap 1, part 1 of 3" in err


@pytest.mark.parametrize("arguments", [["--jsn"], ["fast"], ["--quick", "--json=yes"]])
def test_a_bad_argument_is_named_and_nothing_runs(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capsys.readouterr()
    assert (stopped.value.code, out) == (2, "")
    assert "usage: python -m memlab.bench [-h] [--json] [--quick]" in err
    assert arguments[-1].split("=")[-1] in err


# A click in the browser


def clicks(ms, size):
    return {
        "median": ms,
        "ratio": ms / 20,
        "goal": 1.5,
        "met": ms <= 30,
        "most_bytes": size,
        "few_bytes": size <= browser.MOST_BYTES,
        "by_click": {"Allocate": ms},
    }


def test_the_browsers_table_names_each_size_with_its_goals():
    text = browser.table({"empty": 20.0, "labs": {"2048": clicks(28, 9000), "65536": clicks(50, 70_000)}})
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "an empty ipywidgets button takes 20.0 ms" in lines[0]
    assert "2,048 pages: 28.0 ms, in empty round trips 1.40 goal at most 1.5 reached" in lines
    assert "65,536 pages: 50.0 ms, in empty round trips 2.50 goal at most 1.5 MISSED" in lines
    assert "65,536 pages: most bytes that a click brought 70,000 goal at most 65,536 MISSED" in lines
    assert "Allocate 50.0 ms" in lines


def test_without_a_chromium_the_browsers_part_says_what_to_do(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"^This needs Chromium: install it, or name one with CHROMIUM=/path/to/it\.$"):
        browser.main([])
