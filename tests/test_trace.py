"""m.trace() and m.fail(): call chains with the kernel's names, calls that are made to fail, and nothing left behind when both are off."""

from itertools import pairwise

import pytest
from machines import DESIGNS, spare

from memlab import KernelBug, Machine
from memlab.points import POINTS

MAY_FAIL = [name for name, may_fail in Machine.TRACE_POINTS.items() if may_fail]


@pytest.fixture(params=DESIGNS)
def m(request):
    machine = Machine("1M", design=request.param)
    yield machine
    machine.check()


def nothing_at_hand(m, least):
    """Take all free descriptors, struct slabs, and blocks below order ``least``."""
    blocks = m.buddyinfo()[0, "Normal"]
    for order in range(least):
        for _ in range(blocks[order]):
            m.alloc_pages(order)
    for name in ("kmem_cache_buddy", "kmem_cache_slab"):
        m.caches[name].alloc_bulk(spare(m, name))


# What a trace shows


def test_a_call_that_needs_nothing_is_one_line(m):
    with m.trace() as trace:
        m.alloc_pages(0)
    assert str(trace) == "alloc_pages()"
    assert [(call.depth, call.name, call.cache) for call in trace.calls] == [(1, "alloc_pages", "")]
    assert trace.max_depth == 1


def test_caches_are_named_in_brackets(m):
    cache = m.kmem_cache_create("dentry", 192)
    with m.trace() as trace:
        obj = cache.alloc()
        cache.free(obj)
    assert trace.calls[0] == (1, "kmem_cache_alloc", "dentry")
    assert str(trace).splitlines()[0] == "kmem_cache_alloc(dentry)"
    assert str(trace).splitlines()[-1] == "kmem_cache_free(dentry)"


def test_the_chain_of_the_email_is_printed_as_a_tree_with_the_kernels_names(m):
    nothing_at_hand(m, 3)
    with m.trace() as trace:
        m.alloc_pages(0)
    assert str(trace).splitlines()[:12] == [
        "alloc_pages()",
        "  kmem_cache_alloc_bulk(kmem_cache_buddy)",
        "    ___slab_alloc(kmem_cache_buddy)",
        "      new_slab(kmem_cache_buddy)",
        "        allocate_slab(kmem_cache_buddy)",
        "          alloc_slab_page(kmem_cache_buddy)",
        "            kmem_cache_alloc(kmem_cache_slab)",
        "              ___slab_alloc(kmem_cache_slab)",
        "                new_slab(kmem_cache_slab)",
        "                  allocate_slab(kmem_cache_slab)",
        "                    alloc_slab_page(kmem_cache_slab)",
        "                      __alloc_slab()",
    ]
    assert trace.max_depth >= 12


def test_calls_come_in_order_and_each_is_at_most_one_deeper_than_the_one_before(m):
    nothing_at_hand(m, 3)
    with m.trace() as trace:
        m.folio_alloc(1)
        m.kmalloc(50)
        m.vmalloc(9000)
    depths = [call.depth for call in trace.calls]
    assert depths[0] == 1
    assert max(depths) == trace.max_depth
    assert all(after <= before + 1 for before, after in pairwise(depths))
    assert [call.name for call in trace.calls if call.depth == 1] == ["folio_alloc", "kmalloc", "vmalloc"]


def test_every_trace_point_is_seen_by_some_call(m):
    nothing_at_hand(m, 2)
    cache = m.kmem_cache_create("things", 64)
    with m.trace() as trace:
        m.free_pages(m.split_page(m.alloc_pages(1))[0])
        m.free_page(m.get_free_page())
        cache.free(cache.alloc())
        cache.free_bulk(cache.alloc_bulk(3))
        m.kfree(m.kmalloc(8))
        for user in ("folio", "anonmem", "filemem"):
            getattr(m, f"{user}_put")(getattr(m, f"{user}_alloc")(0))
        m.pgtable_put(m.pgtable_alloc())
        m.vfree(m.vmalloc(1))
    assert {call.name for call in trace.calls} == set(m.TRACE_POINTS)


def test_get_free_page_is_a_frame_above_alloc_pages(m):
    with m.trace() as trace:
        m.get_free_page()
    assert str(trace) == "get_free_page()\n  alloc_pages()"


@pytest.mark.parametrize("call", ["alloc_pages_desc", "alloc_pages_node_desc"])
def test_the_desc_forms_count_as_alloc_pages(m, call):
    args = (0, 0, 0xFFFF_C900_0000_0004) if "node" in call else (0, 0xFFFF_C900_0000_0004)
    with m.trace() as trace:
        getattr(m, call)(*args)
    assert str(trace) == "alloc_pages()"


def test_tracing_changes_nothing_that_happens():
    snapshots = []
    for traced in (False, True):
        m = Machine("1M")
        if traced:
            with m.trace():
                work(m)
        else:
            work(m)
        snapshots.append(m.snapshot())
    assert snapshots[0] == snapshots[1]


def work(m):
    folios = [m.folio_alloc(order % 3) for order in range(40)]
    objects = m.caches["kmalloc-64"].alloc_bulk(200)
    for folio in folios[::3]:
        m.folio_put(folio)
    m.caches["kmalloc-64"].free_bulk(objects[50:])


def test_repr_is_short_whatever_was_recorded(m):
    with m.trace() as trace:
        m.alloc_pages_bulk(100)
    assert repr(trace) == f"<Trace: {len(trace.calls)} calls, {trace.max_depth} deep>"


def test_an_exception_in_a_call_leaves_the_depth_right(m):
    with m.trace() as trace:
        with pytest.raises(KernelBug):
            m.free_pages(0)
        with pytest.raises(ValueError):
            m.get_free_page(1 << 40)
        m.alloc_pages(0)
    assert [(call.depth, call.name) for call in trace.calls] == [(1, "free_pages"), (1, "get_free_page"), (1, "alloc_pages")]


# Nothing is left when it is off


def test_nothing_is_installed_before_and_after_a_trace(m):
    before = dict(vars(m))
    with m.trace():
        assert set(vars(m)) > set(before)
        m.alloc_pages(0)
    assert vars(m) == before
    assert {point.attribute for points in POINTS.values() for point in points} & set(vars(m)) == set(m._in_line)


def test_nothing_is_installed_after_an_exception(m):
    before = set(vars(m))
    with pytest.raises(KernelBug), m.trace():
        m.free_pages(0)
    assert set(vars(m)) == before


def test_nothing_is_installed_after_a_fault_was_cancelled_or_fired(m):
    before = set(vars(m))
    fault = m.fail("alloc_pages", 2)
    assert set(vars(m)) > before
    fault.cancel()
    assert set(vars(m)) == before
    m.fail("alloc_pages")
    assert m.alloc_pages(0) is None
    assert set(vars(m)) == before


def test_a_trace_goes_together_with_undo():
    m = Machine("1M", undo=4)
    before, installed = m.snapshot(), dict(vars(m))
    with m.trace() as trace:
        m.alloc_pages(3)
    assert {name for name in vars(m) if vars(m)[name] is not installed.get(name)} == set()
    assert [call.name for call in trace.calls] == ["alloc_pages"]
    m.alloc_pages(2)
    assert m.undo()
    assert m.undo()
    assert m.snapshot() == before


def test_calls_after_the_trace_are_not_recorded(m):
    with m.trace() as trace:
        m.alloc_pages(0)
    m.alloc_pages(0)
    assert len(trace.calls) == 1


def test_traces_nest_and_each_counts_its_own_depth(m):
    with m.trace() as outer:
        m.alloc_pages(0)
        with m.trace() as inner:
            m.get_free_page()
        m.alloc_pages(1)
    assert [call.name for call in outer.calls if call.depth == 1] == ["alloc_pages", "get_free_page", "alloc_pages"]
    assert str(inner) == "get_free_page()\n  alloc_pages()"


def test_two_machines_are_traced_apart():
    one, other = Machine("1M"), Machine("1M")
    with one.trace() as trace:
        other.alloc_pages(0)
        one.get_free_page()
    assert [call.name for call in trace.calls] == ["get_free_page", "alloc_pages"]


# fail()


@pytest.mark.parametrize("nth", [1, 2, 5])
def test_the_nth_call_fails_once_and_no_other(m, nth):
    with m.fail("alloc_pages", nth) as fault:
        got = [m.alloc_pages(0) is None for _ in range(8)]
        assert fault.fired
    assert got == [i == nth for i in range(1, 9)]


def test_calls_are_counted_from_when_the_fault_was_set(m):
    m.alloc_pages_bulk(3)
    with m.fail("alloc_pages", 2):
        assert m.alloc_pages(0) is not None
        assert m.alloc_pages(0) is None


def test_nested_calls_count_too(m):
    with m.fail("alloc_pages", 2):
        assert m.get_free_page() is not None
        assert m.get_free_page() is None


def test_as_a_with_block_the_fault_ends_with_the_block(m):
    with m.fail("alloc_pages", 2) as fault:
        m.alloc_pages(0)
    assert not fault.fired
    assert m.alloc_pages_bulk(5) != []
    assert not fault.fired


def test_cancel_lets_calls_succeed_and_may_be_called_again(m):
    fault = m.fail("alloc_pages")
    fault.cancel()
    fault.cancel()
    assert m.alloc_pages(0) is not None
    assert not fault.fired


def test_two_faults_are_counted_each_by_itself(m):
    with m.fail("alloc_pages", 1) as first, m.fail("get_free_page", 2) as second:
        assert m.alloc_pages(0) is None
        assert m.get_free_page() is not None
        assert m.get_free_page() is None
    assert (first.fired, second.fired) == (True, True)


def test_a_failed_call_is_in_the_trace_and_calls_nothing(m):
    with m.trace() as trace, m.fail("get_free_page"):
        assert m.get_free_page() is None
    assert str(trace) == "get_free_page()"


def test_a_faults_repr_says_whether_it_fired(m):
    with m.fail("alloc_pages", 2) as fault:
        assert repr(fault) == "<Fault at alloc_pages: in 2 calls>"
        m.alloc_pages_bulk(1)
        m.alloc_pages(0)
        assert repr(fault) == "<Fault at alloc_pages: fired>"


CALLS = {
    "alloc_pages": lambda m: m.alloc_pages(0),
    "get_free_page": lambda m: m.get_free_page(),
    "split_page": lambda m: m.split_page(m.big),
    "kmem_cache_alloc": lambda m: m.caches["kmalloc-64"].alloc(),
    "kmem_cache_alloc_bulk": lambda m: m.caches["kmalloc-64"].alloc_bulk(4),
    "kmalloc": lambda m: m.kmalloc(3),
    "folio_alloc": lambda m: m.folio_alloc(0),
    "anonmem_alloc": lambda m: m.anonmem_alloc(0),
    "filemem_alloc": lambda m: m.filemem_alloc(0),
    "pgtable_alloc": lambda m: m.pgtable_alloc(),
    "vmalloc": lambda m: m.vmalloc(1),
    "___slab_alloc": lambda m: m.caches["kmalloc-128"].alloc(),
    "new_slab": lambda m: m.caches["kmalloc-128"].alloc(),
    "allocate_slab": lambda m: m.caches["kmalloc-128"].alloc(),
    "alloc_slab_page": lambda m: m.caches["kmalloc-128"].alloc(),
    "__alloc_slab": lambda m: m.caches["kmem_cache_slab"].alloc(),
}


def test_every_point_that_may_fail_has_a_call_here():
    assert list(CALLS) == MAY_FAIL


@pytest.mark.parametrize("point", MAY_FAIL)
def test_a_point_that_may_fail_does_and_its_caller_gets_none(m, point):
    m.big = m.alloc_pages(2)
    if point == "__alloc_slab":
        m.caches["kmem_cache_slab"].alloc_bulk(spare(m, "kmem_cache_slab"))
    with m.fail(point) as fault:
        assert CALLS[point](m) is None
    assert fault.fired
    before = m.snapshot()  # the first time, a CPU may still have let go of a slab that was full
    with m.fail(point):
        assert CALLS[point](m) is None
    assert m.snapshot() == before
    assert CALLS[point](m) is not None
