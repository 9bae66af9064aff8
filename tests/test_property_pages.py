"""The whole stack against a small independent model, by hypothesis and by seeded storms.

The model knows only what a caller knows: which pages and bytes it was given.  It claims: nothing is given twice, everything has the size that
was asked for, what is freed comes back, a block that is free can be had, and check() is clean all along.  Both designs, on tiny machines.
"""

from itertools import pairwise

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from storm import SHAPES, Storm, descriptor_slabs, no_less_room, rage, slab_pages

from memlab import GFP, KernelBug, Machine, MemType

GFPS = st.sampled_from([GFP.KERNEL, GFP.ATOMIC, GFP.KERNEL | GFP.ZERO, GFP.KERNEL | GFP.HIGHMEM, GFP.KERNEL | GFP.THISNODE])
PICK = st.integers(0, 1 << 16)


class Pages(RuleBasedStateMachine):
    """One machine and what its caller holds.  Subclasses say which machine."""

    shape: dict

    @initialize()
    def boot(self):
        self.m = Machine(**self.shape)
        self.cache = self.m.kmem_cache_create("objects", 24)
        self.free_when_fresh = self.pages_to_be_had()
        self.fresh = self.m.buddyinfo()
        self.owner = {}  # pfn -> first pfn of the block it was given in
        self.blocks = {}  # first pfn -> order
        self.folios = {}  # address -> order
        self.objects = set()

    # what the model needs to know of the machine

    def pages_to_be_had(self):
        self.m.drain_all_pages()
        return self.m.free_pages_count + slab_pages(self.m)

    def gives_exactly(self, order):
        """Whether a block of this order lies ready, for anybody: then no descriptor is needed."""
        return any(blocks[order] for (_, zone), blocks in self.m.buddyinfo().items() if zone != "HighMem")

    def attempt(self, call, *args):
        """Call; a nested chain that outgrew the stack counts as out of memory."""
        try:
            return call(*args)
        except KernelBug as bug:
            if "kernel stack overflow" not in str(bug):
                raise
            return None

    def own(self, pfn, order):
        for page in range(pfn, pfn + (1 << order)):
            assert page not in self.owner, f"page {page} was given twice"
            assert 0 < page < self.m.nr_pages
            self.owner[page] = pfn
        assert pfn % (1 << order) == 0

    def disown(self, pfn, order):
        for page in range(pfn, pfn + (1 << order)):
            assert self.owner.pop(page) == pfn

    # rules

    @rule(order=st.integers(0, 4), gfp=GFPS, node=st.sampled_from([None, 0]))
    def alloc_pages(self, order, gfp, node):
        ready = self.gives_exactly(order) and not gfp & GFP.THISNODE
        pfn = self.attempt(self.m.alloc_pages, order, gfp, node)
        if pfn is None:
            assert not ready, f"a free block of order {order} was not given"
            return
        self.own(pfn, order)
        self.blocks[pfn] = order

    @rule(n=st.integers(0, 12))
    def alloc_pages_bulk(self, n):
        pfns = self.attempt(self.m.alloc_pages_bulk, n) or []
        assert len(pfns) <= n
        for pfn in pfns:
            self.own(pfn, 0)
            self.blocks[pfn] = 0

    @precondition(lambda self: self.blocks)
    @rule(pick=PICK)
    def free_pages(self, pick):
        pfn = sorted(self.blocks)[pick % len(self.blocks)]
        self.m.free_pages(pfn)
        self.disown(pfn, self.blocks.pop(pfn))

    @precondition(lambda self: any(self.blocks.values()))
    @rule(pick=PICK)
    def split_page(self, pick):
        large = sorted(pfn for pfn, order in self.blocks.items() if order)
        pfn = large[pick % len(large)]
        order = self.blocks[pfn]
        halves = self.attempt(self.m.split_page, pfn)
        if halves is not None:
            assert halves == (pfn, pfn + (1 << (order - 1)))
            self.disown(pfn, order)
            del self.blocks[pfn]
            for half in halves:
                self.own(half, order - 1)
                self.blocks[half] = order - 1

    @precondition(lambda self: self.blocks)
    @rule(pick=PICK, tail=st.booleans())
    def misuse(self, pick, tail):
        """Free a tail page, or free a block twice: refused, whatever the state."""
        pfn = sorted(self.blocks)[pick % len(self.blocks)]
        if tail and self.blocks[pfn]:
            wrong = pfn + 1
        else:
            wrong = pfn
            self.m.free_pages(pfn)
            self.disown(pfn, self.blocks.pop(pfn))
        before = self.m.snapshot()
        with pytest.raises(KernelBug):
            self.m.free_pages(wrong)
        assert self.m.snapshot() == before

    @rule(order=st.integers(0, 2), gfp=GFPS)
    def folio_alloc(self, order, gfp):
        folio = self.attempt(self.m.folio_alloc, order, gfp)
        if folio is None:
            return
        pages = [pfn for pfn in range(self.m.nr_pages) if self.m.mem_desc(pfn) == (MemType.FOLIO, folio)]
        assert len(pages) == 1 << order
        self.own(pages[0], order)
        self.folios[folio] = (pages[0], order)

    @precondition(lambda self: self.folios)
    @rule(pick=PICK)
    def folio_put(self, pick):
        folio = sorted(self.folios)[pick % len(self.folios)]
        self.m.folio_put(folio)
        self.disown(*self.folios.pop(folio))

    @rule(n=st.integers(1, 12))
    def alloc_objects(self, n):
        got = self.attempt(self.cache.alloc_bulk, n)
        if got is not None:
            assert len(set(got)) == n
            assert not self.objects & set(got)
            self.objects |= set(got)

    @precondition(lambda self: self.objects)
    @rule(pick=PICK, n=st.integers(1, 12))
    def free_objects(self, pick, n):
        objects = sorted(self.objects)
        some = set(objects[pick % len(objects) :][:n])
        self.cache.free_bulk(some)
        self.objects -= some

    @rule()
    def shrink(self):
        self.m.shrink()

    @rule()
    def drain(self):
        self.m.drain_all_pages()

    @precondition(lambda self: self.shape.get("cpus", 1) > 1)
    @rule(pick=PICK)
    def on_another_cpu(self, pick):
        with self.m.on_cpu(1):
            pfn = self.attempt(self.m.alloc_pages, 0)
            if pfn is not None:
                self.own(pfn, 0)
                self.blocks[pfn] = 0
            if self.blocks:
                self.free_pages(pick)

    # what is always true

    @invariant()
    def ram_is_in_order(self):
        if hasattr(self, "m"):
            self.m.check()
            assert self.m.stats.pages_allocated_while_freeing == 0

    @invariant()
    def pages_held_are_what_ram_says(self):
        if hasattr(self, "m"):
            for pfn, order in self.blocks.items():
                kind, address = self.m.mem_desc(pfn)
                assert kind is MemType.BUDDY
                assert self.m.buddy(address).order == order
            held = {pfn for pfn in range(self.m.nr_pages) if self.m.mem_desc(pfn).type in (MemType.BUDDY, MemType.FOLIO)}
            assert held == set(self.owner)

    @invariant()
    def objects_lie_in_slabs_and_overlap_nothing(self):
        if hasattr(self, "m"):
            for address in self.objects:
                assert self.m.virt_to_pfn(address) not in self.owner
            objects = sorted(self.objects)
            assert all(after - before >= 24 for before, after in pairwise(objects))

    def teardown(self):
        if not hasattr(self, "m"):
            return
        for pfn in list(self.blocks):
            self.m.free_pages(pfn)
        for folio in list(self.folios):
            self.m.folio_put(folio)
        self.cache.free_bulk(self.objects)
        self.m.check()
        assert self.pages_to_be_had() == self.free_when_fresh
        self.m.shrink()
        self.m.check()
        assert self.pages_to_be_had() == self.free_when_fresh
        descriptors = descriptor_slabs(self.m)
        assert slab_pages(self.m) == descriptors  # the slabs of all other caches went
        self.cache.destroy()
        self.m.check()


VARIANTS = {
    "256-byte pages": {"memory": "8K", "page_size": 256, "max_order": 4},
    "256-byte pages, 2 CPUs, 2 nodes": {"memory": "16K", "page_size": 256, "max_order": 4, "cpus": 2, "nodes": 2},
    "256-byte pages, per-CPU lists": {"memory": "8K", "page_size": 256, "max_order": 4, "cpus": 2, "pcp": True},
    "4 KiB pages, HIGHMEM": {"memory": "256K", "highmem": "64K", "dma": "32K"},
    "4 KiB pages, watermarks": {"memory": "160K", "watermarks": (3, 5, 7), "max_order": 5},
}


@pytest.mark.parametrize("design", ["as-written", "bounded"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_caller_is_given_what_it_asked_for_and_nobody_elses(variant, design):
    class Here(Pages):
        shape = VARIANTS[variant] | {"design": design}

        def gives_exactly(self, order):
            return "watermarks" not in self.shape and super().gives_exactly(order)

    Machine(**Here.shape)  # raises Python's recursion limit for good, which hypothesis would complain about in its run
    # no shrinking, which may take minutes: a failing run is shown as it was found (add Phase.shrink to have it made shorter)
    limits = settings(max_examples=12, stateful_step_count=40, phases=[Phase.explicit, Phase.generate], database=None)
    run_state_machine_as_test(Here, settings=limits)


# Storms

OPERATIONS = 24_000  # of each design


@pytest.mark.parametrize("design", ["as-written", "bounded"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_storm_over_pages_slabs_users_and_nodes_leaves_ram_in_order(shape, design):
    m, storm, outcome = rage(shape, design, OPERATIONS // len(SHAPES), seed=11, every=100)
    assert outcome.operations >= OPERATIONS // len(SHAPES)
    assert outcome.checks >= 40
    assert set(storm.kinds) == {way.__name__ for way in storm.ways}  # nothing was left out
    assert outcome.failed > 0  # memory did run out
    assert outcome.pages_allocated_while_freeing == 0
    assert {row["name"] for row in m.slabinfo() if row["num_slabs"]} == {"kmem_cache_buddy", "kmem_cache_slab"}
    assert m.free_pages_count + slab_pages(m) == sum(m.zone(*key).managed_pages for key in m.buddyinfo())


@pytest.mark.parametrize("memory", ["6M", "24M"])
def test_after_a_storm_bounded_has_no_more_slab_pages_and_no_less_room_than_fresh(memory):
    m = Machine(memory, cpus=2, design="bounded")
    storm = Storm(m, seed=4, phase=2000)
    for _ in range(8000):
        storm.step()
    outcome = storm.finish()
    fresh, after = outcome.slab_pages
    assert after <= fresh
    assert no_less_room(*outcome.high_order)


def test_after_a_storm_as_written_has_more_slab_pages_than_fresh():
    _, _, outcome = rage("256-byte pages", "as-written", 4000, seed=4, every=500)
    fresh, after = outcome.slab_pages
    assert after > 2 * fresh


def test_a_storm_is_the_same_each_time_it_is_run():
    outcomes = [rage("32 pages", "as-written", 500, seed=9, every=100) for _ in range(2)]
    assert outcomes[0][0].snapshot() == outcomes[1][0].snapshot()
    assert outcomes[0][2] == outcomes[1][2]
    assert rage("32 pages", "as-written", 500, seed=10, every=100)[0].snapshot() != outcomes[0][0].snapshot()


def test_a_storm_notices_two_owners_of_one_byte():
    m = Machine("64K", page_size=256, max_order=4)
    storm = Storm(m, seed=1)
    for _ in range(300):
        storm.step()
    address, _ = next(stamps[-1] for _, _, stamps in storm.live if stamps)
    m.write(address, bytes(8))
    with pytest.raises(AssertionError, match="was written by its owner"):
        storm.finish()
