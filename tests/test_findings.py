"""FINDINGS.md: each figure is what its command prints, every question has its answer, and the sequences that show a shortcoming are kept as named cases."""

import re
import subprocess
import sys

import findings as record
import pytest

from memlab import Machine
from memlab.study import findings
from memlab.study.explore import Search, tight
from memlab.study.remedies import MempoolMachine, compare, filled, storm

TEXT = record.RECORD.read_text(encoding="utf-8")
BLOCKS = record.blocks(TEXT)
TINY = {"memory": "8K", "page_size": 256, "max_order": 4}
# DESIGN's bounds; kmem_cache_alloc of an ordinary cache is kmalloc without its own frame
BOUNDS = {
    "alloc_pages": 12,
    "alloc_pages_desc": 12,
    "alloc_pages_bulk": 12,
    "split_page": 12,
    "get_free_page": 13,
    "kmem_cache_alloc(kmem_cache_slab)": 6,
    "kmem_cache_alloc(kmem_cache_buddy)": 11,
    "kmem_cache_alloc_bulk(kmem_cache_buddy)": 11,
    "kmalloc": 18,
    "folio_alloc": 18,
    "anonmem_alloc": 18,
    "filemem_alloc": 18,
    "pgtable_alloc": 18,
    "vmalloc": 18,
    "a free": 2,
}


def table(section):
    """{row: [figures]} of a table of depths in the record."""
    rows = [re.fullmatch(r"(.{42})((?: +\d+)+)", line) for line in BLOCKS[section].splitlines()[3:]]
    return {row[1].strip(): [int(n) for n in row[2].split()] for row in rows}


def free_pages(m):
    return m.free_pages_count


# The record


def test_the_record_has_a_block_for_every_section_and_no_other():
    assert sorted(BLOCKS) == sorted(findings.SECTIONS)


@pytest.mark.parametrize("section", findings.SECTIONS)
def test_the_record_says_what_the_command_prints(section):
    assert BLOCKS[section] == findings.block(section)


@pytest.mark.parametrize(
    "question",
    [
        "Does a free ever allocate?",
        "Does the recursion always end?",
        "How deep can it go?",
        "Can a descriptor be stranded in a page that is free?",
        "Can memory be lost for good?",
        "Does a failed allocation always leave things as they were?",
        "Is the free path's own nesting bounded?",
        "How much memory each design pins after a storm, before and after shrinking",
    ],
)
def test_every_question_is_in_the_record(question):
    assert question in TEXT


def test_the_bounded_design_keeps_its_bounds_with_up_to_three_interrupts():
    assert table("depth-bounded") == {name: [bound] * 4 for name, bound in BOUNDS.items()}


def test_as_written_goes_deeper_than_bounded_at_every_entry_point_that_can_nest():
    deep, bounded = table("depth-as-written"), table("depth-bounded")
    assert deep.keys() == bounded.keys()
    assert {name for name in deep if max(deep[name]) <= max(bounded[name])} == {"kmem_cache_alloc(kmem_cache_slab)", "a free"}
    assert all(row == sorted(row) for row in deep.values())


def test_an_unknown_section_is_refused_with_the_list():
    command = [sys.executable, "-m", "memlab.study.findings", "depths"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == f"there is no section 'depths'; there are {', '.join(findings.SECTIONS)}\n"
    assert run.stdout == ""


# Where the design as written falls short: the shortest sequences


def after(design, work):
    m = Machine(**TINY, design=design)
    fresh = free_pages(m)
    work(m)
    m.check()
    return fresh - free_pages(m)


def four_requests(m):
    live = [m.alloc_pages(order) for order in (0, 0, 1, 0)]
    for pfn in live:
        m.free_pages(pfn)
    m.shrink()


def two_requests_and_a_split(m, order):
    first, second = m.alloc_pages(1), m.alloc_pages(1)
    live = [*m.split_page(first), second]
    for i in order:
        m.free_pages(live[i])
    m.shrink()


def test_as_written_four_requests_keep_two_pages_for_good():
    assert after("as-written", four_requests) == 2
    assert after("bounded", four_requests) <= 0


def test_as_written_the_order_of_frees_decides_whether_a_page_comes_back():
    kept = {
        order: after("as-written", lambda m, order=order: two_requests_and_a_split(m, order)) for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2))
    }
    assert max(kept.values()) == 1
    assert min(kept.values()) == 0
    assert all(after("bounded", lambda m, order=order: two_requests_and_a_split(m, order)) <= 0 for order in kept)


def test_as_written_the_fourth_request_nests_deeper_than_the_bounded_design_ever_does_and_no_third_one():
    reports = Search("as-written", return_every=0).slices(every=1)
    deepest = next(d for r in reports if (d := r.deepest.get(("alloc_pages", 0))) and d.depth > BOUNDS["alloc_pages"])
    assert [(step.operation, step.what) for step in deepest.history] == [("alloc_pages", order) for order in (0, 0, 1, 0)]
    assert deepest.depth == deepest.history.trace().max_depth == 18


# The search behind the figures


def test_the_tight_start_has_nothing_at_hand():
    m = Search(start=tight(), return_every=0).history(0).run()
    assert m.buddyinfo()[0, "Normal"][:2] == [0, 0]
    assert [findings.free_descriptors(m, cache) for cache in ("kmem_cache_buddy", "kmem_cache_slab")] == [0, 0]
    m.check()


def test_pages_that_come_back_in_some_order_are_not_lost_for_good():
    losses = findings.returns("as-written", 3000).losses
    assert findings.for_good(losses[1]) == 0
    assert findings.for_good(losses[2]) == 2


# The reserve


@pytest.mark.parametrize("reserve", [-1, 1.5, "8", True])
def test_a_bad_reserve_is_refused(reserve):
    with pytest.raises(ValueError, match="reserve is a number of struct buddys"):
        MempoolMachine(**TINY, reserve=reserve)


def test_a_reserve_is_full_after_boot_and_before_each_request():
    m = MempoolMachine(memory="64K", page_size=256, max_order=4)
    assert findings.free_descriptors(m, "kmem_cache_buddy") >= m.reserve == 8
    m.alloc_pages_bulk(50)
    m.check()


def test_without_a_reserve_it_is_the_design_as_written():
    plain, mempool = Machine(**TINY), MempoolMachine(**TINY, reserve=0)
    for m in (plain, mempool):
        m.alloc_pages_bulk(9)
    assert plain.snapshot() == mempool.snapshot()


def test_a_request_fails_in_vain_when_an_interrupt_eats_the_reserve_and_not_otherwise():
    assert storm("mempool", 1, 600, interrupts=True).in_vain > 0
    assert storm("mempool", 1, 600).in_vain == 0
    assert storm("bounded", 1, 600, interrupts=True).in_vain == 0


def test_bounded_gives_back_what_the_others_pin():
    outcomes = {kind: filled(kind) for kind in ("as-written", "bounded", "mempool")}
    assert {kind: o.slab_pages[3] <= o.slab_pages[0] for kind, o in outcomes.items()} == {
        "as-written": False,
        "bounded": True,
        "mempool": False,
    }


@pytest.mark.parametrize("call", [lambda: storm("linux"), lambda: filled("linux")])
def test_an_unknown_kind_is_refused_with_the_list(call):
    with pytest.raises(ValueError, match="there is no kind 'linux'; there are as-written, bounded, mempool"):
        call()


def test_a_comparison_without_a_storm_is_refused():
    with pytest.raises(ValueError, match="seeds is how many storms each kind goes through, 1 or more, not 0"):
        compare(0)
