"""Each call that allocates fails in turn, from many states: nothing is lost.  ``--sample`` and ``--seeds`` of the command line run it larger."""

import ast
from collections import Counter
from inspect import getsource
from pathlib import Path
from types import FunctionType

import pytest

import memlab
from memlab import Machine
from memlab.points import POINTS
from memlab.study import EatBuddies, EatSlabs, faults
from memlab.study.equivalence import differences, essence
from memlab.study.faults import DESIGNS, MAY_FAIL, SHAPES, State, states, storm, sweep
from memlab.study.operations import OPERATIONS, Step, Work, steps

CORE = Path(memlab.__file__).parent
TINY = "32 pages of 256 bytes"


# The sweep


@pytest.mark.parametrize("design", DESIGNS)
def test_no_fault_at_any_point_in_any_operation_loses_anything(design):
    report = sweep(states(designs=[design]), sample=2)
    assert report.leaks == [], str(report)
    assert set(report.points) == set(MAY_FAIL)
    assert all(report.points[at] > 0 for at in MAY_FAIL)
    assert set(report.operations) == set(OPERATIONS)
    assert [name for name, n in report.operations.items() if not n] == ["kmem_cache_create()"]  # the table of caches is memory of its own
    assert report.states == 108
    assert report.faults > 1000
    assert report.survived > 50
    assert report.retried > 700
    assert len(report.spent) <= 3  # of some thousand; one is made by hand below
    assert str(report).splitlines()[-1] == "0 leaks"


def test_the_states_are_of_every_shape_design_and_pressure():
    found = list(states())
    assert Counter(state.shape for state in found) == dict.fromkeys(SHAPES, 36)
    assert Counter(state.design for state in found) == dict.fromkeys(DESIGNS, 108)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("at", MAY_FAIL)
def test_when_every_third_call_fails_or_each_of_a_rare_kind_all_work_goes_on_and_all_comes_back(at, design):
    rare = at in ("split_page", "get_free_page", "kmalloc", "pgtable_alloc", "vmalloc") or at.endswith("mem_alloc")
    found = [storm(State(TINY, design, ()), seed, 160, at, 1 if rare else 3) for seed in range(1, 7 if rare else 2)]
    assert [wrong for _, wrong in found if wrong] == []
    assert sum(count for count, _ in found) > 0


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != TINY])
def test_so_it_is_on_other_machines_and_for_every_kth_call(shape, every):
    for design in DESIGNS:
        count, wrong = storm(State(shape, design, ()), every, 60, "alloc_slab_page", every)
        assert wrong == []
        assert count > 0


# It finds what it is for


class ForgetsTheStructSlab(Machine):
    """On the path where no pages can be had for a slab, its struct slab is not given back."""

    def _alloc_slab_page(self, ci, gfp, node):
        had = self._kmem_cache_alloc(self.KC_SLAB, gfp, node) if ci != self.KC_SLAB else 0
        if had:
            self._kmem_cache_free(self.KC_SLAB, had)
        si = super()._alloc_slab_page(ci, gfp, node)
        if not si and had:
            self._kmem_cache_alloc(self.KC_SLAB, gfp, node)
        return si


class ForgetsTheFolio(Machine):
    """A folio whose pages cannot be had keeps its descriptor."""

    def folio_alloc(self, order, gfp=memlab.GFP.KERNEL):
        address = super().folio_alloc(order, gfp)
        if address is None:
            self._kmem_cache_alloc(self.user_caches["folio"], gfp, None)
        return address


class ForgetsThePages(Machine):
    """vmalloc keeps its last page when a later one cannot be had."""

    def vmalloc(self, size, gfp=memlab.GFP.KERNEL):
        address = super().vmalloc(size, gfp)
        if address is None:
            self.alloc_pages(0)
        return address


class WritesToAnothersPage(Machine):
    """A failed bulk allocation scribbles on a page that somebody holds."""

    def _kmem_cache_alloc_bulk(self, ci, n, gfp, node):
        got = super()._kmem_cache_alloc_bulk(ci, n, gfp, node)
        if got is None:
            pfn = next((pfn for pfn in range(self.nr_pages) if self.w[self.MM + pfn] & 15 == 2), None)
            if pfn is not None:
                self.w[(pfn << self.WS) + 3] ^= 1
        return got


def first_leak(kind):
    """Sweep until something is found, or everything was looked at."""
    reports = []

    def over():
        for state in states(moments=(8, 20), designs=["as-written"]):
            if state.shape == TINY:
                yield state
                if reports[-1].leaks:
                    return

    return sweep(over(), kind=kind, progress=reports.append)


@pytest.mark.parametrize("broken", [ForgetsTheStructSlab, ForgetsTheFolio, ForgetsThePages, WritesToAnothersPage])
def test_a_planted_leak_is_found_and_shown_by_a_short_sequence_that_can_be_run_again(broken):
    report = first_leak(broken)
    example = report.example
    assert report.leaks
    assert len(example.state.steps) <= 6
    told = str(example)
    assert told.startswith(f"{TINY}, as-written:\n")
    assert f"of which call {example.nth} at {example.at} fails\n  -> " in told
    assert told in str(report)
    for kind, wrong in ((broken, True), (Machine, False)):
        work = example.state.work(kind)
        before = essence(work.m)
        with work.m.fail(example.at, example.nth) as fault:
            assert work.call(example.operation) is None
        assert fault.fired
        assert bool(differences(before, essence(work.m))) is wrong


# What a failed allocation may do: the smallest case that the sweep has led to


def one_pair(design):
    """One block of two pages and one struct slab are free, and no struct buddy is; a cache likes slabs of two pages and puts up with one."""
    m = Machine("8K", page_size=256, max_order=4, design=design)
    cache = m.kmem_cache_create("pairs", 64)
    assert (cache.struct.order, cache.struct.min_order) == (1, 0)
    spare = m.caches["kmem_cache_slab"].alloc()
    pfns = m.alloc_pages_bulk(m.nr_pages)
    first = next(pfn for pfn in pfns if pfn % 2 == 0 and pfn + 1 in pfns)
    m.free_pages(first)
    m.free_pages(first + 1)
    EatBuddies(m)()
    EatSlabs(m)()
    m.caches["kmem_cache_slab"].free(spare)
    assert m.buddyinfo() == {(0, "Normal"): [0, 1, 0, 0, 0]}
    return m, cache


@pytest.mark.parametrize(("design", "back"), [("as-written", 0), ("bounded", 1)])
def test_a_fault_may_turn_the_free_pages_into_empty_slabs_so_that_a_retry_fails_even_after_shrink(design, back):
    m, cache = one_pair(design)
    before, start = essence(m), m.snapshot()
    assert cache.grow() is not None
    m.restore(start)
    with m.fail("alloc_pages"):  # for the pair: so one page is tried, whose split wants a descriptor, and getting that takes the pair
        assert cache.grow() is None
    m.check()
    assert (
        differences(before, essence(m)) == []
    )  # the pair is pages 1 and 2 of an __alloc_slab, with nothing on them but what describes them
    assert m.free_pages_count == 0
    assert cache.grow() is None
    m.shrink()
    assert m.free_pages_count == back  # of two: the other page holds the descriptors of both
    assert cache.grow() is None


# Equivalence is no empty word


def state(design="bounded"):
    work = Work(Machine("8K", page_size=256, max_order=4, design=design))
    for step in steps(work.m, 3, 40):
        work.do(step)
    work.do(Step("alloc_pages(1)", 0, 5))
    work.do(Step("kmem_cache_alloc(small)", 0, 5))
    return work


CHANGES = {
    "a page is allocated": lambda m, _h: m.alloc_pages(0),
    "a block is freed": lambda m, h: m.free_pages(h["alloc_pages(1)"]),
    "an object is allocated": lambda m, _h: m.caches["small"].alloc(),
    "an object is freed": lambda m, h: m.caches["small"].free(h["kmem_cache_alloc(small)"]),
    "a block is split": lambda m, h: m.split_page(h["alloc_pages(1)"]),
    "a byte of a block": lambda m, h: m.write(m.page_address(h["alloc_pages(1)"]) + 9, b"!"),
    "a byte of an object": lambda m, h: m.write(h["kmem_cache_alloc(small)"] + 9, b"!"),
    "a struct buddy is taken": lambda m, _h: m.caches["kmem_cache_buddy"].alloc(),
    "a struct slab is taken": lambda m, _h: m.caches["kmem_cache_slab"].alloc(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_states_that_differ_for_their_users_are_not_equivalent(change):
    work = state()
    before = essence(work.m)
    CHANGES[change](work.m, dict(work.held))
    assert differences(before, essence(work.m)) != []


@pytest.mark.parametrize("design", DESIGNS)
def test_shrinking_growing_and_taking_and_giving_back_make_no_difference(design):
    work = state(design)
    m = work.m
    before = essence(m)
    for change in (m.shrink, m.caches["middle"].grow, lambda: m.free_pages(m.alloc_pages(0) or m.alloc_pages(1)), m.caches["small"].shrink):
        change()
        assert differences(before, essence(m)) == []


def test_on_a_machine_where_nothing_is_held_every_page_is_nobodys():
    for design in DESIGNS:
        for shape in SHAPES.values():
            m = Machine(**shape, design=design)
            found = essence(m)
            assert (found.pages, found.objects) == ((), ())
            assert found.room == sum(z.managed_pages for z in map(m.zone_view, m.zones))


# No point can be forgotten


# functions that take memory and are no trace point of their own
NO_POINT = {
    "take": "inside alloc_pages, __alloc_slab and carve: takes the block that was found, and cannot fail",
    "get_pages": "all of alloc_pages, whose two forms call it",
    "get": "inside alloc_pages: a page of the CPU's list",
    "_refill": "inside alloc_pages: fills the CPU's list",
    "_carve": "inside alloc_slab_page, which fails when it finds nothing",
    "refill": "inside ___slab_alloc",
    "activate": "inside ___slab_alloc: takes an object that is there",
    "_pop": "inside kmem_cache_alloc and ___slab_alloc: takes an object that is there",
    "_debug_alloc": "all of ___slab_alloc, for a debug cache",
    "_new_descriptor": "one call of kmem_cache_alloc, for a user",
    "_alloc": "all of folio_alloc and its kin",
    "alloc": "KmemCache's face of kmem_cache_alloc",
    "alloc_bulk": "KmemCache's face of kmem_cache_alloc_bulk",
    "grow": "KmemCache's face of new_slab",
    "kmem_cache_grow": "one call of new_slab",
    "alloc_pages_bulk": "one call of alloc_pages for each page",
    "alloc_pages_desc": "one call of alloc_pages_node_desc",
    "alloc_pages_node_desc": "one call of alloc_pages",
    "_spare": "moves descriptors: takes one on hand in place of the one that moves, and does nothing when there is none",
    "_migrate": "moves a page of descriptors: takes a page in place of the one it frees",
    "boot_descriptor": "boot, which is over before a fault can be set",
    "_add_memory": "boot",
    "_boot": "boot",
}
# functions that write a free count or the head of a freelist, and take nothing
GIVES = {"add_free_block", "_merge", "init_slab", "slab_free", "deactivate"}
MOVES = {"_spare", "_migrate"}  # nobody who calls these allocates
NAMES = {name: function.__name__ for name, function in vars(Machine).items() if isinstance(function, FunctionType)}


def core_functions():
    """Every function of the core, less what fast.py has in line, which does what the plain text does: (name, its syntax tree)."""
    for path in sorted(CORE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and path.stem != "fast":
                yield node.name, node


def takes_memory(node):
    """Whether a function writes a count of free pages, or the head of a CPU's or a slab's freelist."""
    for statement in ast.walk(node):
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target] if isinstance(statement, ast.AugAssign) else []
        )
        for part in (part for target in targets for part in ast.walk(target) if isinstance(part, ast.Subscript)):
            column, index = ast.unparse(part.value), ast.unparse(part.slice)
            if column.endswith("freelist_of") or (column in ("w", "m.w") and index.endswith(".free")):
                return True
    return False


def calls_of(node):
    """The names of the functions that a function calls, plainly or through a machine or itself."""
    functions = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
    through = ("self", "m", "self.machine", "super()", "page_alloc", "pcp", "descriptors")
    return {f.id for f in functions if isinstance(f, ast.Name)} | {
        NAMES.get(f.attr, f.attr) for f in functions if isinstance(f, ast.Attribute) and ast.unparse(f.value) in through
    }


def who_allocates():
    functions = list(core_functions())
    found = {name for name, node in functions if takes_memory(node)} - GIVES
    while more := {name for name, node in functions if calls_of(node) & (found - MOVES)} - found - {"__init__"}:
        found |= more
    return found


def test_every_function_of_the_core_that_allocates_is_a_trace_point_or_is_named_here_with_the_reason():
    points = {NAMES[point.attribute] for among in POINTS.values() for point in among if point.may_fail}
    found = who_allocates()
    assert found - points == set(NO_POINT)
    assert points - found == set()


def test_what_is_named_as_giving_does_write_such_words():
    writers = {name for name, node in core_functions() if takes_memory(node)}
    assert writers >= GIVES


def test_a_new_allocating_function_would_be_found():
    source = "def fresh(m):\n    return _later(m)\ndef _later(m):\n    m.w[z.free] -= 1\n"
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    assert [takes_memory(node) for node in functions] == [False, True]
    assert calls_of(functions[0]) == {"_later"}


def test_every_public_function_that_allocates_is_an_operation():
    public = {name for name in who_allocates() if name in NAMES and not name.startswith("_")}
    source = getsource(faults.OPERATIONS["alloc_pages(0)"].run) + Path(faults.__file__).with_name("operations.py").read_text()
    assert {name for name in public if f".{name}(" not in source and f'_user("{name.removesuffix("_alloc")}"' not in source} == set()


# The command line


def test_the_command_line_prints_the_report_and_says_by_its_status_whether_there_is_a_leak(monkeypatch, capsys):
    monkeypatch.setattr(faults, "SHAPES", {TINY: SHAPES[TINY]})
    assert faults.main(["--sample", "1", "--design", "bounded"]) == 0
    told = capsys.readouterr().out
    assert "operations from 18 states" in told
    assert told.endswith("0 leaks\n")


@pytest.mark.parametrize("bad", [["--seeds", "0"], ["--sample", "0"], ["--sample", "999"], ["--design", "mine"], ["--seeds", "x"]])
def test_the_command_line_refuses_what_it_cannot_do(bad, capsys):
    with pytest.raises(SystemExit) as end:
        faults.main(bad)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err
