"""The email's longest call chain, call by call; and with how little interference it can be had."""

from itertools import count

import pytest

from memlab import GFP, Machine
from memlab.study.consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty, free_descriptors
from memlab.study.worst_chain import EMAIL_CHAIN, HERE, Chain, email_chain

# the email's calls, as they stand in its list
NAMES = [
    "alloc_pages",
    "kmem_cache_alloc_bulk(kmem_cache_buddy)",
    "___slab_alloc(kmem_cache_buddy)",
    "new_slab(kmem_cache_buddy)",
    "allocate_slab(kmem_cache_buddy)",
    "alloc_slab_page(kmem_cache_buddy)",
    "kmem_cache_alloc(kmem_cache_slab)",
    "___slab_alloc(kmem_cache_slab)",
    "new_slab(kmem_cache_slab)",
    "allocate_slab(kmem_cache_slab)",
    "alloc_slab_page(kmem_cache_slab)",
    "__alloc_slab",
    "alloc_pages",
    "kmem_cache_alloc_bulk(kmem_cache_buddy)",
    "___slab_alloc(kmem_cache_buddy)",
    "new_slab(kmem_cache_buddy)",
    "allocate_slab(kmem_cache_buddy)",
    "alloc_slab_page(kmem_cache_buddy)",
    "kmem_cache_alloc(kmem_cache_slab)",
    "___slab_alloc(kmem_cache_slab)",
    "new_slab(kmem_cache_slab)",
    "allocate_slab(kmem_cache_slab)",
    "alloc_slab_page(kmem_cache_slab)",
    "__alloc_slab",
]
DEPTHS = [*range(1, 13), *range(7, 19)]  # call 13 hangs under call 6


def tiny(memory="8K"):
    """A machine whose pages hold five struct buddys or four struct slabs."""
    return Machine(memory, page_size=256, max_order=4)


# The chain


def test_the_chain_as_data_is_the_emails():
    assert [f"{name}({cache})" if cache else name for _, name, cache in EMAIL_CHAIN] == NAMES
    assert [depth for depth, _, _ in EMAIL_CHAIN] == DEPTHS


def test_the_emails_24_calls_in_its_order_and_18_deep():
    chain = email_chain()
    assert list(chain.calls[:24]) == list(
        zip(DEPTHS, [n.partition("(")[0] for n in NAMES], [n.partition("(")[2][:-1] for n in NAMES], strict=True)
    )
    assert chain.same == 24
    assert chain.trace.max_depth == 18
    assert chain.pfn is not None
    chain.machine.check()


def test_it_takes_one_interrupt_with_frames_of_its_own():
    trace = email_chain().trace
    assert [(str(a.call), a.when) for a in trace.interrupts] == [(HERE, "return")]
    assert max(call.depth for call in trace.calls if call.context == 1) == 2
    assert next(call for call in trace.calls if call.context == 1).level == 8  # on top of seven frames of the task


def test_call_13_is_made_by_call_6():
    calls = [call for call in email_chain().trace.calls if call.context == 0]
    assert calls[5].start < calls[12].start < calls[12].end < calls[5].end
    assert calls[6].end < calls[12].start


def test_the_run_goes_on_after_the_24_calls():
    assert [name for _, name, _ in email_chain().calls[24:]] == ["alloc_pages", "kmem_cache_alloc_bulk", "___slab_alloc"]


def test_the_bounded_design_ends_after_12_calls():
    chain = email_chain(Machine("1M", design="bounded"))
    assert chain.same == 12
    assert chain.trace.max_depth == 12


# With less interference


def test_without_an_interrupt_the_chain_parts_from_the_emails_at_call_16():
    chain = email_chain(slabs=0, buddies=0)
    assert chain.same == 15
    assert (chain.slabs, chain.buddies) == (0, 0)


def test_on_4_kib_pages_it_must_take_all_61_struct_slabs_and_all_83_struct_buddys():
    chain = email_chain()
    assert (chain.slabs, chain.buddies) == (61, 83)  # 64 less its own, page 2's and call 7's; 85 less two for the block of order 2
    assert email_chain(slabs=61, buddies=83).same == 24
    assert email_chain(slabs=60, buddies=83).same == 19  # call 19 finds one
    assert email_chain(slabs=61, buddies=82).same == 14  # call 14 finds one


@pytest.mark.parametrize("below", [1, 2, 3, 4])
def test_on_256_byte_pages_one_struct_slab_and_as_many_buddys_as_leave_call_14_one_short(below):
    most = email_chain(tiny("32K"), below=below)
    enough = {(s, b) for s in range(most.slabs + 1) for b in range(most.buddies + 1) if email_chain(tiny("32K"), s, b, below).same == 24}
    assert most.slabs == 1
    assert {s for s, _ in enough} == {1}
    least = min(b for _, b in enough)
    assert least == {1: 3, 2: 3, 3: 2, 4: 1}[below]
    assert enough == {(1, b) for b in range(least, most.buddies + 1)}


def test_one_struct_slab_and_one_struct_buddy_are_the_least():
    chain = email_chain(tiny("32K"), slabs=1, buddies=1, below=4)
    assert (chain.same, chain.slabs, chain.buddies) == (24, 1, 1)
    for slabs, buddies in ((0, 1), (1, 0), (0, 0)):
        assert email_chain(tiny("32K"), slabs, buddies, below=4).same < 24


@pytest.mark.parametrize("page_size", [256, 512, 1024, 2048, 4096, 8192])
@pytest.mark.parametrize("below", [1, 2, 3])
def test_without_taking_a_struct_slab_it_is_never_reached_as_call_12_leaves_one(page_size, below):
    m = Machine(1024 * page_size, page_size=page_size, max_order=4)
    left = []
    KeepLowOrdersEmpty(m, below=below)()
    EatBuddies(m)()
    EatSlabs(m)()
    with m.interrupt(HERE, "return", lambda: left.append(free_descriptors(m, "kmem_cache_slab"))):
        m.alloc_pages(0)
    assert left == [page_size // 64 - 3]  # never 0: a page holds four at the least
    assert email_chain(Machine(1024 * page_size, page_size=page_size, max_order=4), slabs=0, below=below).same == 19


def highmem_chain(slabs):
    """One lowmem page is free and the request is for HIGHMEM: call 12 finds an order-0 page, and brings no struct buddys about."""
    m = Machine("2M", highmem="1M")
    KeepLowOrdersEmpty(m, below=3)()
    page = m.alloc_pages(0)
    KeepLowOrdersEmpty(m, below=3)()
    EatBuddies(m)()
    EatSlabs(m)()
    m.free_pages(page)
    eat = EatSlabs(m, slabs)
    with m.trace() as trace, m.interrupt(HERE, "return", eat):
        pfn = m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM)
    m.check()
    return Chain(m, trace, pfn, len(eat.held), 0)


def test_struct_slabs_alone_are_enough_when_the_request_is_for_highmem_and_one_lowmem_page_is_free():
    chain = highmem_chain(None)
    assert (chain.same, chain.slabs) == (24, 62)
    assert chain.pfn is not None
    assert highmem_chain(61).same == 19


def two_cpu_chain(shrink=True, slabs=1, buddies=1):
    """The interrupt runs on CPU 1: what it takes one of is then that CPU's slab, and hidden from CPU 0."""
    m = Machine("1M", cpus=2)
    eaters = [kind(m, most) for kind, most in ((EatSlabs, slabs), (EatBuddies, buddies)) if most]

    def eat():
        if shrink:
            m.caches["kmem_cache_slab"].shrink()
        for eater in eaters:
            eater()

    KeepLowOrdersEmpty(m, below=2)()
    EatBuddies(m)()
    EatSlabs(m)()
    with m.trace() as trace, m.interrupt(HERE, "return", eat, cpu=1):
        pfn = m.alloc_pages(0)
    m.check()
    return Chain(m, trace, pfn, slabs, buddies)


def test_on_another_cpu_one_of_each_is_enough_on_4_kib_pages_as_well():
    assert two_cpu_chain().same == 24
    assert two_cpu_chain(shrink=False).same < 24  # the struct slabs are in CPU 0's own slab
    assert two_cpu_chain(slabs=0).same < 24
    assert two_cpu_chain(buddies=0).same < 24


# At another point


def points_that_do():
    """Every moment of the run without an interrupt, as (call, when, how often it came before), at which one that takes all it can does it."""
    found = []
    moments = [(str(call).removesuffix("()"), when) for call in email_chain(slabs=0, buddies=0).trace.calls for when in ("call", "return")]
    for at, when in dict.fromkeys(moments):
        for nth in range(moments.count((at, when))):
            m = Machine("1M")
            KeepLowOrdersEmpty(m, below=2)()
            EatBuddies(m)()
            EatSlabs(m)()
            number = count()

            def eat(m=m, number=number, nth=nth):
                if next(number) == nth:
                    EatSlabs(m)()
                    EatBuddies(m)()

            with m.trace() as trace, m.interrupt(at, when, eat, times=None):
                pfn = m.alloc_pages(0)
            m.check()
            if Chain(m, trace, pfn, 0, 0).same == 24:
                found.append((at, when, nth))
    return found


def test_the_interrupt_may_come_from_the_return_of_call_8_to_the_call_of_call_15_and_at_no_other_point():
    assert points_that_do() == [
        ("alloc_pages", "call", 1),  # 13
        ("kmem_cache_alloc_bulk(kmem_cache_buddy)", "call", 1),  # 14
        ("___slab_alloc(kmem_cache_buddy)", "call", 1),  # 15
        ("kmem_cache_alloc(kmem_cache_slab)", "return", 0),  # 7
        ("___slab_alloc(kmem_cache_slab)", "return", 0),  # 8
    ]


@pytest.mark.parametrize("bad", [{"slabs": -1}, {"buddies": "2"}, {"slabs": True}, {"buddies": 1.5}])
def test_a_bad_number_of_descriptors_is_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} is how many the interrupt takes"):
        email_chain(**bad)
