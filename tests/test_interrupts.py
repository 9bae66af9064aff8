"""Interrupts at trace points, what a trace records of each call, faults that come again and again, and the consumers."""

# ruff: noqa: PLW0108 - m.alloc_pages is another function while somebody listens, so a handler looks it up when it runs
import random
import sys
import traceback
from contextlib import nullcontext, suppress
from functools import partial

import pytest

from memlab import GFP, SLAB, KernelBug, Machine
from memlab.study import CONSUMERS, EatBuddies, EatSlabs, KeepLowOrdersEmpty, free_descriptors
from memlab.study.equivalence import differences, essence
from memlab.study.operations import OPERATIONS, Work


@pytest.fixture
def m():
    machine = Machine("1M", cpus=2)
    yield machine
    machine.check()


def installed(m):
    return {name: value for name, value in vars(m).items() if callable(value)}


def no_spares(m):
    EatBuddies(m)()
    EatSlabs(m)()
    KeepLowOrdersEmpty(m, below=2)()


# Where and when a handler runs


@pytest.mark.parametrize(("when", "free"), [("call", 0), ("return", 1)])
def test_a_handler_runs_at_the_call_or_at_the_return(m, when, free):
    before, seen = m.free_pages_count, []
    with m.interrupt("alloc_pages", when, lambda: seen.append(before - m.free_pages_count)):
        m.alloc_pages(0)
    assert seen == [free]


def test_it_runs_once_unless_told_otherwise(m):
    with m.interrupt("alloc_pages", "call", lambda: None) as interrupt:
        m.alloc_pages_bulk(5)
    assert interrupt.fired == 1


@pytest.mark.parametrize(("times", "fired"), [(1, 1), (3, 3), (9, 5), (None, 5)])
def test_it_runs_at_most_so_many_times(m, times, fired):
    with m.interrupt("alloc_pages", "call", lambda: None, times=times) as interrupt:
        m.alloc_pages_bulk(5)
    assert interrupt.fired == fired
    assert repr(interrupt).endswith(f"fired {fired}{'' if times is None else f' of {times}'} times>")


def test_it_may_take_the_machine(m):
    seen = []
    with m.interrupt("alloc_pages", "call", seen.append):
        m.alloc_pages(0)
    assert seen == [m]


def test_it_runs_on_the_cpu_that_is_interrupted_or_on_the_one_asked_for(m):
    seen = []
    with m.interrupt("alloc_pages", "call", lambda: seen.append(m.cpu), times=None), m.on_cpu(1):
        m.alloc_pages(0)
    with m.interrupt("alloc_pages", "return", lambda: seen.append(m.cpu), cpu=1):
        m.alloc_pages(0)
        seen.append(m.cpu)
    assert seen == [1, 1, 0]


def test_a_point_may_be_that_of_one_cache(m):
    seen = []
    no_spares(m)
    with m.trace() as trace, m.interrupt("new_slab(kmem_cache_buddy)", "call", lambda: seen.append(str(trace.calls[-1]))):
        m.alloc_pages(0)
    assert seen == ["new_slab(kmem_cache_buddy)"]
    assert sum(call.name == "new_slab" for call in trace.calls) > 1


def test_a_cache_created_later_counts_and_one_of_another_name_does_not(m):
    m.kmem_cache_create("dentry", 64)
    other = m.kmem_cache_create("inode", 64)
    with m.interrupt("kmem_cache_alloc(dentry)", "call", lambda: None, times=None) as interrupt:
        other.alloc()
        m.caches["dentry"].alloc()
    assert interrupt.fired == 1


def test_handlers_at_one_point_run_in_the_order_they_were_set(m):
    seen = []
    with m.interrupt("alloc_pages", "call", lambda: seen.append(1)), m.interrupt("alloc_pages", "call", lambda: seen.append(2)):
        m.alloc_pages(0)
    assert seen == [1, 2]


def test_a_handler_may_cancel_itself(m):
    interrupt = m.interrupt("alloc_pages", "call", lambda: interrupt.cancel(), times=None)
    m.alloc_pages_bulk(3)
    assert interrupt.fired == 1


def test_a_handler_that_was_cancelled_by_one_before_it_does_not_run(m):
    with m.interrupt("alloc_pages", "call", lambda: second.cancel()), m.interrupt("alloc_pages", "call", lambda: None) as second:
        m.alloc_pages(0)
    assert second.fired == 0


def test_a_handler_may_set_another(m):
    seen = []

    def first():
        m.interrupt("alloc_pages", "return", lambda: seen.append("second"))

    with m.interrupt("get_free_page", "call", first):
        m.get_free_page()
    assert seen == ["second"]


def test_as_a_with_block_it_ends_with_the_block(m):
    with m.interrupt("alloc_pages", "call", lambda: None, times=None) as interrupt:
        pass
    m.alloc_pages(0)
    assert interrupt.fired == 0


def test_interrupts_of_two_machines_are_apart(m):
    other = Machine("1M")
    with (
        m.interrupt("alloc_pages", "call", lambda: other.alloc_pages(3), times=None) as mine,
        other.interrupt("alloc_pages", "call", lambda: m.get_free_page()) as theirs,
    ):
        other.alloc_pages(0)
    assert (mine.fired, theirs.fired) == (1, 1)
    other.check()


def test_nothing_is_installed_afterwards(m):
    before = installed(m)
    with m.interrupt("alloc_pages", "call", lambda: None):
        assert set(installed(m)) > set(before)
    assert installed(m) == before
    m.interrupt("alloc_pages", "call", lambda: None)
    m.alloc_pages(0)  # that was the last time
    assert installed(m) == before
    with pytest.raises(ZeroDivisionError), m.interrupt("alloc_pages", "call", lambda: 1 // 0):
        m.alloc_pages(0)
    assert installed(m) == before


def test_an_interrupt_that_does_nothing_changes_nothing():
    ends = []
    for interrupted in (False, True):
        m = Machine("1M", undo=2)
        listening = [m.interrupt(at, when, lambda: None, times=None) for at in m.TRACE_POINTS for when in ("call", "return")] * interrupted
        with m.trace():
            folios = [m.folio_alloc(order % 3) for order in range(30)]
            objects = m.caches["kmalloc-64"].alloc_bulk(200)
            m.caches["kmalloc-64"].free_bulk(objects[50:])
            for folio in folios[::2]:
                m.folio_put(folio)
        assert sum(i.fired for i in listening) > 400 * interrupted or not interrupted
        ends.append(m.snapshot())
    assert ends[0] == ends[1]


def test_an_interrupted_call_is_one_undo_step():
    m = Machine("1M", undo=8)
    before = m.snapshot()
    for when in ("call", "return"):
        with m.interrupt("alloc_pages", when, lambda: m.kmalloc(100)):
            m.alloc_pages(0)
        assert m.undo()
        assert m.snapshot() == before
    assert not m.undo()


def test_arguments_are_recorded_with_undo_as_well():
    m = Machine("1M", undo=8)
    with m.trace() as trace:
        m.alloc_pages(2, GFP.ATOMIC)
    assert (trace.calls[0].order, trace.calls[0].gfp) == (2, GFP.ATOMIC)


# Contexts


def test_the_frames_of_a_handler_are_a_context_of_their_own(m):
    with m.trace() as trace, m.interrupt("alloc_pages", "call", lambda: m.get_free_page()):
        m.get_free_page()
    assert [(c.context, c.depth, c.level, c.name) for c in trace.calls] == [
        (0, 1, 1, "get_free_page"),
        (0, 2, 2, "alloc_pages"),
        (1, 1, 3, "get_free_page"),
        (1, 2, 4, "alloc_pages"),
    ]
    assert trace.max_depth == 2
    assert str(trace).splitlines() == [
        "get_free_page()",
        "  alloc_pages()",
        "    -- interrupt 1 on CPU 0 at the call of alloc_pages()",
        "    get_free_page()",
        "      alloc_pages()",
    ]


def test_an_interrupt_that_calls_nothing_is_printed_too(m):
    with m.trace() as trace, m.interrupt("alloc_pages", "return", lambda: None, cpu=1):
        m.alloc_pages(0)
    assert str(trace) == "alloc_pages()\n  -- interrupt 1 on CPU 1 at the return of alloc_pages()"


def test_interrupts_nest_as_real_ones_do(m):
    with (
        m.trace() as trace,
        m.interrupt("alloc_pages", "call", lambda: m.kmalloc(8)),
        m.interrupt("kmem_cache_alloc(kmalloc-8)", "return", lambda: m.get_free_page(), cpu=1),
    ):
        m.alloc_pages(0)
    assert [(c.context, c.depth, c.name) for c in trace.calls if c.name in ("alloc_pages", "kmalloc", "get_free_page")] == [
        (0, 1, "alloc_pages"),
        (1, 1, "kmalloc"),
        (1, 7, "alloc_pages"),  # for kmalloc-8's first slab
        (2, 1, "get_free_page"),
        (2, 2, "alloc_pages"),
    ]
    assert [(a.number, str(a.call), a.call.context, a.when, a.cpu) for a in trace.interrupts] == [
        (1, "alloc_pages()", 0, "call", 0),
        (2, "kmem_cache_alloc(kmalloc-8)", 1, "return", 1),
    ]


def test_a_trace_begun_in_a_handler_sees_what_comes_from_there_on(m):
    inner = []

    def handler():
        with m.trace() as trace:
            m.get_free_page()
        inner.append(trace)

    with m.trace() as outer, m.interrupt("alloc_pages", "call", handler):
        m.alloc_pages(0)
    assert str(inner[0]) == "get_free_page()\n  alloc_pages()"
    assert len(outer.calls) == 3


def test_what_is_counted_of_a_context_is_put_back_after_the_handler():
    m = Machine("1M")
    m.frame_limit = 24
    no_spares(m)
    seen = []

    def handler():
        seen.append((m._nesting, m._overflow, m._freeing))
        m.kmalloc(5000)

    with m.interrupt("__alloc_slab", "return", handler):
        m.alloc_pages(0)
    assert set(seen) == {(0, False, False)}
    assert (m._nesting, m._overflow, m._freeing) == (0, False, False)
    m.check()


def test_a_handler_may_free_what_another_call_holds(m):
    pfns = m.alloc_pages_bulk(8)
    with m.interrupt("alloc_pages", "call", lambda: m.free_pages(pfns.pop()), times=8):
        assert len(m.alloc_pages_bulk(8)) == 8
    assert pfns == []


@pytest.mark.parametrize("seed", range(12))
def test_any_work_at_any_point_leaves_a_machine_without_fault(design, seed):
    """Shrinking at that moment found descriptors moved, in the bounded design, under the feet of the call that was interrupted."""
    dice = random.Random(seed)
    m = Machine("16K", page_size=256, max_order=4, cpus=2, design=design)
    work, other = Work(m), Work.__new__(Work)
    other.m, other.held = m, []
    fresh = essence(m)
    names = [name for name in OPERATIONS if not name.startswith("split")]
    busy = []

    def handler():
        if len(busy) > 2:
            return
        busy.append(1)
        if dice.random() < 0.4:
            m.shrink()
        elif other.held and dice.random() < 0.5:
            other.free(*other.held.pop(dice.randrange(len(other.held))))
        elif (got := other.call(name := dice.choice(names))) is not None:
            other.held.append((name, got))
        busy.pop()

    for _ in range(60):
        with m.interrupt(
            dice.choice(list(m.TRACE_POINTS)), dice.choice(("call", "return")), handler, times=4, cpu=dice.choice((None, 0, 1))
        ):
            if work.held and dice.random() < 0.4:
                work.free(*work.held.pop(dice.randrange(len(work.held))))
            elif (got := work.call(name := dice.choice(names))) is not None:
                work.held.append((name, got))
        m.check()
    for one in (work, other):
        while one.held:
            one.free(*one.held.pop())
    m.check()
    assert differences(fresh, essence(m)) == []


@pytest.mark.parametrize("at", ["__alloc_slab", "alloc_slab_page", "allocate_slab", "new_slab", "___slab_alloc", "alloc_pages"])
def test_no_descriptor_moves_while_an_interrupt_is_served(at):
    m = Machine("16K", page_size=256, max_order=4, design="bounded")
    no_spares(m)
    folios = [m.folio_alloc(0) for _ in range(9)]
    for folio in folios[::2]:
        m.folio_put(folio)
    before = m.stats
    with m.interrupt(at, "return", lambda: m.shrink(), times=None) as interrupt:
        while m.folio_alloc(1):
            pass
    assert interrupt.fired
    assert (m.stats - before).buddies_moved == 0
    m.check()


# What is recorded of a call


def recorded(m, work):
    with m.trace() as trace:
        result = work()
    first = trace.calls[0]
    return result, first, {what: getattr(first, what) for what in ("order", "gfp", "n", "size") if getattr(first, what) is not None}


@pytest.mark.parametrize(
    ("name", "work", "given"),
    [
        ("alloc_pages", lambda m: m.alloc_pages(3), {"order": 3, "gfp": GFP.KERNEL}),
        ("alloc_pages", lambda m: m.alloc_pages(order=1, gfp=GFP.ATOMIC), {"order": 1, "gfp": GFP.ATOMIC}),
        ("get_free_page", lambda m: m.get_free_page(GFP.NOWAIT), {"gfp": GFP.NOWAIT}),
        ("kmalloc", lambda m: m.kmalloc(40), {"size": 40, "gfp": GFP.KERNEL}),
        ("kmem_cache_alloc", lambda m: m.caches["kmalloc-64"].alloc(), {"gfp": GFP.KERNEL}),
        ("kmem_cache_alloc_bulk", lambda m: m.caches["kmalloc-64"].alloc_bulk(3), {"n": 3, "gfp": GFP.KERNEL}),
        ("kmem_cache_alloc_bulk", lambda m: m.caches["kmalloc-64"].alloc_bulk(0), {"n": 0, "gfp": GFP.KERNEL}),
        ("folio_alloc", lambda m: m.folio_alloc(2), {"order": 2, "gfp": GFP.KERNEL}),
        ("anonmem_alloc", lambda m: m.anonmem_alloc(1), {"order": 1, "gfp": GFP.KERNEL}),
        ("filemem_alloc", lambda m: m.filemem_alloc(0), {"order": 0, "gfp": GFP.KERNEL}),
        ("pgtable_alloc", lambda m: m.pgtable_alloc(), {"gfp": GFP.KERNEL}),
        ("vmalloc", lambda m: m.vmalloc(9000), {"size": 9000, "gfp": GFP.KERNEL}),
        ("split_page", lambda m: m.split_page(m.alloc_pages(1)), {}),
        ("new_slab", lambda m: m.caches["kmalloc-64"].grow(), {"gfp": GFP.KERNEL}),
    ],
)
def test_a_calls_arguments_and_its_result_are_recorded(m, name, work, given):
    with m.trace() as trace:
        result = work(m)
    call = next(call for call in trace.calls if call.name == name)
    assert {what: getattr(call, what) for what in ("order", "gfp", "n", "size") if getattr(call, what) is not None} == given
    assert call.result == result
    assert not call.failed
    assert call.start < call.end


def test_the_desc_forms_are_recorded_with_the_pfn(m):
    with m.trace() as trace:
        buddy = m.alloc_pages_desc(1, 0xFFFF_C900_0000_0008)
    assert (trace.calls[0].order, trace.calls[0].result) == (1, (m.buddy(buddy).page - m.V) // 8)


def test_nested_calls_show_struct_slabs_by_their_addresses(m):
    no_spares(m)
    with m.trace() as trace:
        m.alloc_pages(0)
    found = next(call for call in trace.calls if call.name == "__alloc_slab")
    assert m.slab(found.result).virt == found.result  # it describes its own page


def test_frees_are_recorded_as_calls_that_cannot_fail(m):
    pfn = m.alloc_pages(0)
    _, call, _ = recorded(m, lambda: m.free_pages(pfn))
    assert (call.result, call.failed) == (None, False)


@pytest.mark.parametrize("at", [at for at, may_fail in Machine.TRACE_POINTS.items() if may_fail])
def test_a_call_that_failed_is_recorded_as_failed_with_result_none(m, at):
    no_spares(m)
    block = m.alloc_pages(1)
    work = {
        "split_page": lambda: m.split_page(block),
        "kmem_cache_alloc": lambda: m.caches["kmalloc-64"].alloc(),
        "kmalloc": lambda: m.kmalloc(3),
        "vmalloc": lambda: m.vmalloc(3),
        "pgtable_alloc": lambda: m.pgtable_alloc(),
        "get_free_page": lambda: m.get_free_page(),
        "__alloc_slab": lambda: (EatSlabs(m)(), m.caches["kmem_cache_slab"].alloc()),
        "kmem_cache_alloc_bulk": lambda: m.caches["kmalloc-64"].alloc_bulk(2),
    }.get(at) or (lambda: getattr(m, at)(0) if at.endswith("alloc") and not at.startswith("_") else m.folio_alloc(0))
    with m.trace() as trace, m.fail(at) as fault:
        work()
    assert fault.fired
    call = next(call for call in trace.calls if call.name == at)
    assert (call.failed, call.result) == (True, None)


def test_the_list_of_a_bulk_call_is_the_traces_own(m):
    with m.trace() as trace:
        objects = m.caches["kmalloc-64"].alloc_bulk(3)
    kept = list(objects)
    objects.clear()
    assert trace.calls[0].result == kept


# Faults that come again


@pytest.mark.parametrize(("nth", "every"), [(1, 1), (2, 2), (1, 3), (4, 2)])
def test_from_the_nth_on_each_kth_call_fails(m, nth, every):
    with m.fail("alloc_pages", nth, every) as fault:
        got = [m.alloc_pages(0) is None for _ in range(12)]
    assert got == [i >= nth and (i - nth) % every == 0 for i in range(1, 13)]
    assert fault.count == sum(got)
    assert m.alloc_pages(0) is not None


def test_two_faults_at_one_point_count_each_call(m):
    with m.fail("alloc_pages", 1), m.fail("alloc_pages", 2):
        assert [m.alloc_pages(0) is None for _ in range(3)] == [True, True, False]


# Bad input


def test_a_function_that_wants_more_than_the_machine_is_no_handler(m):
    for handler in (m.alloc_pages, partial(m.alloc_pages, gfp=GFP.ATOMIC), lambda _m, _alloc_pages: None):
        with pytest.raises(TypeError, match=r"handler takes the machine, or nothing; .* wants more"):
            m.interrupt("kmalloc", "call", handler)


@pytest.mark.parametrize("undo", [0, 2])
@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize(
    "handler", [lambda m: m.get_free_page, lambda m: partial(m.get_free_page, GFP.ATOMIC), lambda m: partial(m.kmalloc, 8)]
)
def test_a_function_of_the_machine_itself_is_a_handler_whose_own_frame_counts(undo, listening, handler):
    m = Machine("1M", undo=undo)
    mine = handler(m)
    with m.trace() if listening else nullcontext(), m.interrupt("alloc_pages", "return", mine), m.trace() as trace:
        m.alloc_pages(0)
    assert next((c.depth, c.name) for c in trace.calls if c.context) in ((1, "get_free_page"), (1, "kmalloc"))
    assert len(trace.interrupts) == 1


@pytest.mark.parametrize("back", ["restore", "undo", "redo"])
def test_a_handler_cannot_put_ram_back_as_the_call_that_it_interrupted_goes_on(back):
    m = Machine("1M", undo=4)
    start = m.snapshot()
    m.alloc_pages(1)
    m.alloc_pages(1)
    m.undo()
    before, steps = m.snapshot(), (len(m._undo), len(m._redo))
    work = {"restore": lambda: m.restore(start), "undo": m.undo, "redo": m.redo}[back]
    with m.interrupt("alloc_pages", "call", work), pytest.raises(KernelBug, match="the handler of an interrupt cannot put RAM back"):
        m.alloc_pages(0)
    assert m.snapshot() == before
    assert (len(m._undo), len(m._redo)) == steps
    work()
    m.check()


@pytest.mark.parametrize(("order", "does", "words"), [(2, "free_pages", "is free already"), (1, "split_page", "is a block of order 0")])
def test_a_block_that_a_handler_frees_or_splits_is_split_no_more_and_no_descriptor_is_lost(order, does, words, design):
    m = Machine("1M", design=design)
    pfn = m.alloc_pages(order)
    with (
        m.interrupt("kmem_cache_alloc(kmem_cache_buddy)", "return", lambda: getattr(m, does)(pfn)),
        pytest.raises(KernelBug, match=words),
    ):
        m.split_page(pfn)
    m.check()


# Handlers that raise


def held(m):
    """One of everything, so that every point is passed by a call below."""
    m.kmem_cache_create("debug", 40, flags=SLAB.DEBUG)
    return {
        "block": m.alloc_pages(2),
        "page": m.get_free_page(),
        "desc": m.alloc_pages_desc(1, 0xFFFF_C900_0000_0008),
        "object": m.caches["kmalloc-64"].alloc(),
        "objects": m.caches["kmalloc-64"].alloc_bulk(5),
        "memory": m.kmalloc(20),
        "folio": m.folio_alloc(1),
        "vmalloc": m.vmalloc(9000),
        "buddys": m.caches["kmem_cache_buddy"].alloc_bulk(3),
    }


CALLS = {
    "alloc_pages": lambda m, _h: m.alloc_pages(0),
    "alloc_pages_bulk": lambda m, _h: m.alloc_pages_bulk(4),
    "alloc_pages_desc": lambda m, _h: m.alloc_pages_desc(0, 0xFFFF_C900_0000_0008),
    "get_free_page": lambda m, _h: m.get_free_page(),
    "split_page": lambda m, h: m.split_page(h["block"]),
    "free_pages": lambda m, h: m.free_pages(h["block"]),
    "free_page": lambda m, h: m.free_page(h["page"]),
    "free_pages_desc": lambda m, h: m.free_pages_desc(h["desc"]),
    "alloc": lambda m, _h: m.caches["kmalloc-128"].alloc(GFP.KERNEL | GFP.ZERO),
    "debug alloc": lambda m, _h: m.caches["debug"].alloc(),
    "alloc_bulk": lambda m, _h: m.caches["kmalloc-128"].alloc_bulk(40),
    "grow": lambda m, _h: m.caches["kmalloc-128"].grow(),
    "free": lambda m, h: m.caches["kmalloc-64"].free(h["object"]),
    "free_bulk": lambda m, h: m.caches["kmalloc-64"].free_bulk(h["objects"]),
    "buddys alloc": lambda m, _h: m.caches["kmem_cache_buddy"].alloc_bulk(2),
    "buddys free": lambda m, h: m.caches["kmem_cache_buddy"].free_bulk(h["buddys"]),
    "kmalloc": lambda m, _h: m.kmalloc(30000),
    "kfree": lambda m, h: m.kfree(h["memory"]),
    "folio_alloc": lambda m, _h: m.folio_alloc(1),
    "folio_put": lambda m, h: m.folio_put(h["folio"]),
    "vmalloc": lambda m, _h: m.vmalloc(9000),
    "vfree": lambda m, h: m.vfree(h["vmalloc"]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_handler_that_raises_anywhere_leaves_ram_as_it_was(call, design):
    m = Machine("1M", undo=3, design=design)
    things = held(m)
    no_spares(m)
    start = m.snapshot()
    with m.trace() as trace:
        CALLS[call](m, things)
    moments = {(str(c).removesuffix("()"), when) for c in trace.calls for when in ("call", "return")}
    m.restore(start)
    steps = len(m._undo)
    for at, when in sorted(moments):
        with pytest.raises(ZeroDivisionError) as caught, m.interrupt(at, when, lambda: 1 // 0, times=None):
            CALLS[call](m, things)
        assert at in "".join(caught.value.__notes__)
        assert m.snapshot() == start
    assert len(m._undo) == steps
    assert (m._nesting, m._overflow, m._freeing, m._interrupted, m.cpu) == (0, False, False, 0, 0)
    CALLS[call](m, things)
    m.check()


def test_the_error_shows_the_chain_that_it_came_from(m):
    no_spares(m)
    with pytest.raises(ValueError, match="my own") as caught, m.interrupt("__alloc_slab", "call", lambda: int("my own")):
        m.get_free_page()
    assert "".join(traceback.format_exception(caught.value)).endswith("""
It came from the last of these, outermost first; RAM is as it was before the first:
  get_free_page()
    alloc_pages()
      kmem_cache_alloc_bulk(kmem_cache_buddy)
        ___slab_alloc(kmem_cache_buddy)
          new_slab(kmem_cache_buddy)
            allocate_slab(kmem_cache_buddy)
              alloc_slab_page(kmem_cache_buddy)
                kmem_cache_alloc(kmem_cache_slab)
                  ___slab_alloc(kmem_cache_slab)
                    new_slab(kmem_cache_slab)
                      allocate_slab(kmem_cache_slab)
                        alloc_slab_page(kmem_cache_slab)
                          __alloc_slab()
                            -- interrupt at the call of __alloc_slab()
""")


def test_a_handler_within_a_handler_that_raises_ends_the_outermost_call(m):
    before = m.snapshot()
    with (
        m.interrupt("get_free_page", "call", lambda: m.kmalloc(64)),
        m.interrupt("kmalloc", "return", lambda: 1 // 0),
        pytest.raises(ZeroDivisionError) as caught,
    ):
        m.get_free_page()
    (note,) = caught.value.__notes__
    assert [line.strip() for line in note.splitlines()[1:]] == [
        "get_free_page()",
        "-- interrupt at the call of get_free_page()",
        "kmalloc()",
        "-- interrupt at the return of kmalloc()",
    ]
    assert m.snapshot() == before


def test_an_error_that_an_outer_handler_caught_still_ends_the_outermost_call(m):
    """What the inner one interrupted has ended midway: to go on as if nothing had been would lose what it held."""
    no_spares(m)
    before = m.snapshot()

    def outer():
        with suppress(ZeroDivisionError):
            m.alloc_pages(0)

    with (
        m.interrupt("get_free_page", "call", outer),
        m.interrupt("new_slab", "return", lambda: 1 // 0),
        pytest.raises(ZeroDivisionError),
    ):
        m.get_free_page()
    assert m.snapshot() == before


def test_a_refusal_that_a_handler_deals_with_is_its_own_affair(m):
    def handler():
        with pytest.raises(KernelBug):
            m.free_pages(0)

    with m.interrupt("alloc_pages", "call", handler):
        assert m.alloc_pages(0) is not None


def test_an_error_of_the_call_itself_is_as_it_is_without_interrupts(m):
    before = m.snapshot()
    with m.interrupt("free_pages", "call", lambda: None), pytest.raises(KernelBug, match="page 0") as caught:
        m.free_pages(0)
    assert not hasattr(caught.value, "__notes__")
    assert m.snapshot() == before


def test_traces_are_right_after_a_handler_raised(m):
    with m.trace() as trace:
        with m.interrupt("alloc_pages", "return", lambda: 1 // 0), pytest.raises(ZeroDivisionError):
            m.get_free_page()
        m.alloc_pages(0)
    assert [(c.context, c.depth, c.name, c.failed) for c in trace.calls] == [
        (0, 1, "get_free_page", True),
        (0, 2, "alloc_pages", True),
        (0, 1, "alloc_pages", False),
    ]
    assert all(call.end for call in trace.calls)


# Handlers that recurse


RECURSE = {
    "its own point": ("alloc_pages", "call", lambda m: m.alloc_pages(0)),
    "through other points": ("kmem_cache_alloc", "return", lambda m: m.kmalloc(64)),
    "deep in a chain": ("__alloc_slab", "return", lambda m: (EatSlabs(m)(), m.caches["kmem_cache_slab"].alloc())),
    "while freeing": ("free_pages", "call", lambda m: m.free_pages(m.alloc_pages(0))),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("how", RECURSE)
def test_a_handler_that_recurses_for_ever_ends_in_kernel_stack_overflow_with_the_chain(how, traced, design):
    m = Machine("1M", design=design)
    assert m.frame_limit == 4096
    no_spares(m)
    at, when, handler = RECURSE[how]
    before, there = m.snapshot(), installed(m)
    with (
        m.trace() if traced else nullcontext(),
        m.interrupt(at, when, handler, times=None),
        pytest.raises(KernelBug, match=r"^kernel stack overflow") as caught,
    ):
        handler(m)
    (note,) = caught.value.__notes__
    assert f"-- interrupt at the {when} of {at}(" in note
    assert note.count("\n") <= 31  # of a long chain its ends
    m.check()
    assert installed(m) == there
    if how not in {"while freeing", "deep in a chain"}:  # there the handler, called directly, takes something first
        assert m.snapshot() == before
    m.alloc_pages(0)
    m.check()


def test_a_handler_that_recurses_in_python_ends_so_too(m):
    def handler():
        handler()

    before = m.snapshot()
    with pytest.raises(KernelBug, match="kernel stack overflow") as caught, m.interrupt("alloc_pages", "call", handler):
        m.alloc_pages(0)
    assert "alloc_pages()" in caught.value.__notes__[0]
    assert m.snapshot() == before
    assert sys.getrecursionlimit() == 4 * m.frame_limit


def test_a_chain_that_overflows_in_a_handler_is_unmade_with_the_call_it_interrupted():
    m = Machine("1M")
    m.frame_limit = 12
    KeepLowOrdersEmpty(m, below=2)()
    EatBuddies(m)()
    before = m.snapshot()
    with pytest.raises(KernelBug, match="kernel stack overflow"), m.interrupt("get_free_page", "call", lambda: m.alloc_pages(0)):
        m.get_free_page()
    assert m.snapshot() == before
    m.check()


# Consumers


@pytest.mark.parametrize("kind", [EatSlabs, EatBuddies])
def test_a_consumer_of_descriptors_takes_all_there_are_and_grows_nothing(m, kind):
    cache = m.caches[kind.cache]
    there, free = free_descriptors(m, kind.cache), m.free_pages_count
    eater = kind(m)
    eater()
    assert len(eater.held) == there > 0
    assert free_descriptors(m, kind.cache) == 0
    assert m.free_pages_count == free
    assert repr(eater) == f"<{kind.__name__}: holds {there}>"
    m.check()  # what is held is no leak
    eater()
    assert len(eater.held) == there
    eater.give_back()
    assert eater.held == []
    assert free_descriptors(m, kind.cache) == there
    assert cache.alloc() is not None


@pytest.mark.parametrize("kind", [EatSlabs, EatBuddies])
def test_a_consumer_takes_no_more_than_most_each_time(m, kind):
    there = free_descriptors(m, kind.cache)
    eater = kind(m, 2)
    eater()
    eater()
    assert len(eater.held) == 4
    assert free_descriptors(m, kind.cache) == there - 4


def test_free_descriptors_are_those_that_the_running_cpu_can_take(m):
    cache = m.caches["kmem_cache_buddy"]
    cache.shrink()
    here = free_descriptors(m, "kmem_cache_buddy")
    cache.free(cache.alloc())  # the slab is CPU 0's now
    with m.on_cpu(1):
        assert free_descriptors(m, "kmem_cache_buddy") < here
    assert free_descriptors(m, "kmem_cache_buddy") == here


def test_keep_low_orders_empty_takes_each_block_at_its_own_order_in_every_zone():
    m = Machine("4M", nodes=2, dma="512K", highmem="1M", watermarks=None)
    splits, high = m.stats.splits, m.buddyinfo()[1, "HighMem"]
    keeper = KeepLowOrdersEmpty(m, below=5)
    there = keeper.on_hand()
    keeper()
    assert len(keeper.held) == there > 0
    assert all(blocks[:5] == [0] * 5 for (_, zone), blocks in m.buddyinfo().items() if zone != "HighMem")
    assert m.buddyinfo()[1, "HighMem"] == high
    assert m.stats.splits == splits
    m.check()
    keeper.give_back()
    assert (keeper.held, keeper.on_hand()) == ([], there)
    m.check()


def test_keep_low_orders_empty_stops_at_a_watermark():
    m = Machine("256K", watermarks=(40, 50, 60))
    keeper = KeepLowOrdersEmpty(m, below=5)
    keeper()
    assert keeper.on_hand() > 0
    m.check()


def test_keep_low_orders_empty_takes_the_lowest_first(m):
    keeper = KeepLowOrdersEmpty(m, 1, below=4)
    keeper()
    assert len(keeper.held) == 1
    assert m.buddy(m.mem_desc(keeper.held[0]).address).order == 0


def test_a_consumer_with_nothing_to_take_is_content(m):
    for kind in CONSUMERS.values():
        kind(m)()
        again = kind(m)
        again()
        assert again.held == []
        again.give_back()


@pytest.mark.parametrize("kind", CONSUMERS.values())
@pytest.mark.parametrize(("most", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (1.5, TypeError), (True, TypeError)])
def test_most_is_a_whole_number_from_1_or_none(m, kind, most, error):
    with pytest.raises(error, match="most is"):
        kind(m, most)


@pytest.mark.parametrize("kind", CONSUMERS.values())
def test_a_consumer_is_for_a_machine(kind):
    with pytest.raises(TypeError, match="a consumer works on a Machine, not 'm'"):
        kind("m")


@pytest.mark.parametrize("below", [0, 12, -1, "1", 1.0, True])
def test_below_is_an_order_of_the_machine(m, below):
    with pytest.raises(ValueError, match="below is the lowest order that is left alone, 1 to 11"):
        KeepLowOrdersEmpty(m, below=below)


@pytest.mark.parametrize("cache", ["dentry", "", None, ["kmem_cache_slab"]])
def test_free_descriptors_of_an_unknown_cache_are_refused_with_the_list(m, cache):
    with pytest.raises(ValueError, match=r"there is no cache .* of descriptors; there are kmem_cache_buddy, kmem_cache_slab$"):
        free_descriptors(m, cache)
