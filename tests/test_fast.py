"""The common cases in line do what the plain text does: same results, same RAM, same counters, and fewer calls."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlab import GFP, KernelBug, Machine
from memlab.recording import Recording

SHAPES = (
    {"memory": "8K", "page_size": 256, "max_order": 4},
    {"memory": "8K", "page_size": 256, "max_order": 4, "design": "bounded"},
    {"memory": "16K", "page_size": 512, "max_order": 5, "cpus": 2, "nodes": 2, "dma": "4K", "design": "bounded"},
    {"memory": "16K", "page_size": 512, "max_order": 5, "highmem": "4K", "watermarks": (2, 3, 4)},
    {"memory": "16K", "page_size": 512, "max_order": 5, "pcp": True},
)
IN_LINE = ("alloc_pages", "free_pages", "_kmem_cache_alloc")


class Plain(Machine):
    """A derived class may replace any step, so it runs the plain text."""


sys.setrecursionlimit(max(sys.getrecursionlimit(), 4 * Machine("1M").frame_limit))  # as a Machine does: hypothesis minds a change


def both(shape):
    fast, plain = Machine(**shape), Plain(**shape)
    assert set(IN_LINE) & set(vars(fast)) == set(IN_LINE[2:] if shape.get("pcp") else IN_LINE)
    assert not set(IN_LINE) & set(vars(plain))
    return fast, plain


def done(m, call):
    """What a call returns or says."""
    try:
        return call(m)
    except (KernelBug, ValueError, TypeError) as error:
        return type(error), str(error)


OPERATION = st.one_of(
    st.tuples(st.just("alloc"), st.integers(-1, 6), st.sampled_from((GFP.KERNEL, GFP.KERNEL, GFP.ATOMIC, GFP.KERNEL | GFP.HIGHMEM))),
    st.tuples(st.just("free"), st.integers(0, 10**6), st.booleans()),
    st.tuples(st.just("object"), st.sampled_from(("kmalloc-8", "kmalloc-64", "kmem_cache_buddy", "kmem_cache_slab")), st.integers(1, 9)),
    st.tuples(st.just("give back"), st.integers(0, 10**6), st.integers(0, 3)),
    st.tuples(st.just("cpu"), st.integers(0, 1), st.none()),
    st.tuples(st.just("shrink"), st.none(), st.none()),
)


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@settings(max_examples=60, deadline=None)
@given(operations=st.lists(OPERATION, max_size=60))
def test_in_line_and_plain_text_give_the_same_results_ram_and_counters(shape, operations):
    pair = both(shape)
    pages, objects = [], []
    for name, a, b in operations:
        if name == "alloc":
            one, other = (done(m, lambda m, a=a, b=b: m.alloc_pages(a, b)) for m in pair)
            pages += [one] if isinstance(one, int) else []
        elif name == "free":  # one that is allocated, or any page at all
            pfn = pages.pop(a % len(pages)) if pages and not b else a % (pair[0].nr_pages + 2)
            one, other = (done(m, lambda m, pfn=pfn: m.free_pages(pfn)) for m in pair)
            pages = [page for page in pages if page != pfn or one is not None]
        elif name == "object":
            one, other = (done(m, lambda m, a=a, b=b: m.caches[a].alloc() if b == 1 else m.caches[a].alloc_bulk(b)) for m in pair)
            objects += [(a, obj) for obj in ([one] if isinstance(one, int) else one or ())]
        elif name == "give back" and objects:  # an object, a byte into it, or one that is still there
            cache, obj = objects[a % len(objects)]
            one, other = (done(m, lambda m, cache=cache, obj=obj + b % 2: m.caches[cache].free(obj)) for m in pair)
            objects = [pair for pair in objects if pair != (cache, obj) or one is not None]
        elif name == "cpu":
            for m in pair:
                m.run_on(a % m.config.cpus)
            continue
        elif name == "shrink":
            one, other = (m.shrink() for m in pair)
        else:
            continue
        assert one == other
        assert pair[0].snapshot() == pair[1].snapshot()
        assert pair[0].stats == pair[1].stats
    assert pair[0].snapshot().parts() == pair[1].snapshot().parts()  # what free pages hold, too
    for m in pair:
        m.check()


def calls_of(m, work):
    """How many functions of Python some work calls."""
    n = 0

    def told(_frame, event, _argument):
        nonlocal n
        n += event == "call"

    sys.setprofile(told)
    try:
        work(m)
    finally:
        sys.setprofile(None)
    return n


def split_and_merge(m):
    m.free_pages(m.alloc_pages(0))


def exact_order(m):
    m.free_pages(m.alloc_pages(1))


def objects(m):
    m.cache.free(m.cache.alloc())


@pytest.mark.parametrize("work", [split_and_merge, exact_order, objects], ids=lambda work: work.__name__)
def test_a_common_case_in_line_takes_fewer_calls(work):
    fast, plain = both({"memory": "1M", "design": "bounded"})
    for m in (fast, plain):
        m.alloc_pages(0)  # the caches are warm, and the lower orders have a block
        m.cache = m.caches["kmalloc-64"]
        work(m)
    assert calls_of(fast, work) * 2 < calls_of(plain, work)


def test_a_machine_with_undo_runs_the_plain_text_and_a_watched_one_too():
    assert all(hasattr(vars(Machine("1M", undo=1))[name], "__wrapped__") for name in IN_LINE)
    m, writes = Machine("1M"), []
    cache = m.caches["kmalloc-64"]
    with Recording(m) as recording, recording.watch(writes.append):
        assert not set(IN_LINE) & set(vars(m))
        assert "alloc" not in vars(cache)
        m.alloc_pages(0)
    assert writes
    assert set(IN_LINE) <= set(vars(m))
    assert "alloc" in vars(cache)


def test_a_call_of_a_cache_that_somebody_listens_to_is_seen():
    m = Machine("1M")
    cache = m.caches["kmalloc-64"]
    cache.free(cache.alloc())
    with m.trace() as t:
        cache.free(cache.alloc())
    assert [call.name for call in t.calls] == ["kmem_cache_alloc", "kmem_cache_free"]


def test_what_is_kept_of_a_cache_for_speed_goes_with_it():
    m = Machine("1M")
    fresh, old = m.snapshot(), m.kmem_cache_create("old", 64)
    obj = old.alloc()
    old.free(obj)
    old.destroy()
    new = m.kmem_cache_create("new", 32)  # in the same slot of the table
    taken = new.alloc()
    for call in (old.alloc, lambda: old.free(taken)):
        with pytest.raises(KernelBug, match="destroyed"):
            call()
    m.restore(fresh)
    with pytest.raises(KernelBug, match="destroyed"):
        new.alloc()
    m.check()


def test_a_function_that_somebody_put_on_a_machine_stays_there():
    m = Machine("1M")
    m.free_pages = own = lambda _pfn: None
    with m.trace():
        m.alloc_pages(0)
    assert vars(m)["free_pages"] is own
