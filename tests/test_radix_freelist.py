"""Free lists as radix trees: where nodes come from, what HIGHMEM does to that, and all of it against a small model."""

import contextlib
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from memlab import GFP, Corruption, KernelBug, Machine
from memlab.study import RadixMachine, SideBySide, Use
from memlab.study.radix_check import RULES
from memlab.study.radix_tree import node_pool, xa_node

HIGH = GFP.KERNEL | GFP.HIGHMEM


def small(highmem="8K"):
    return RadixMachine("32K", page_size=512, max_order=4, highmem=highmem)


def fill(m, gfp=HIGH):
    """Allocate every page, one by one."""
    pfns = []
    while (pfn := m.alloc_pages(0, gfp)) is not None:
        pfns.append(pfn)
    return pfns


def pages_of(m, use):
    return [pfn for b in m.blocks() if b.use == use for pfn in b.pages]


# --- The machine


def test_a_struct_page_is_two_words_and_a_node_is_the_kernels():
    m = small()
    assert m.page_bytes == 16
    assert m.mem_map_pages == 64 * 16 // 512
    assert xa_node(64).sizeof == 576
    assert xa_node(16).sizeof == 192
    assert (m.nodes_per_page, RadixMachine("1M").nodes_per_page) == (512 // 192, 4096 // 576)


def test_boot_leaves_all_pages_free_but_the_mem_map_and_the_nodes_that_this_takes():
    m = small()
    m.check()
    assert m.buddyinfo() == {(0, "Normal"): [0, 0, 1, 1, 2], (0, "HighMem"): [0, 0, 0, 0, 1]}
    assert pages_of(m, Use.RESERVED) == [0, 1]
    assert pages_of(m, Use.NODES) == [2, 3]
    assert m.free_pages_count == 60
    assert set(m.stats.values()) == {0}


@pytest.mark.parametrize(
    "bad",
    [
        {"memory": "32K", "page_size": 100},
        {"memory": "32K", "page_size": 512, "max_order": 99},
        {"memory": "1K", "page_size": 512, "max_order": 4},
        {"memory": "32K", "page_size": 512, "max_order": 4, "highmem": "32K"},
    ],
)
def test_a_machine_that_cannot_be_is_refused_with_a_sentence(bad):
    with pytest.raises(ValueError, match=r".{20}"):
        RadixMachine(**bad)


@pytest.mark.parametrize(("order", "kind"), [(5, ValueError), (-1, ValueError), ("0", TypeError), (True, TypeError), (None, TypeError)])
def test_a_bad_order_is_refused(order, kind):
    m = small()
    before = m.snapshot()
    with pytest.raises(kind, match="0 to 4"):
        m.alloc_pages(order)
    assert m.snapshot() == before


def test_what_cannot_be_freed_is_refused_with_the_reason_and_ram_untouched():
    m = small()
    block = m.alloc_pages(2)
    m.free_pages(m.alloc_pages(0))
    full = fill(m)
    m.free_pages(48)  # waits: no page of lowmem is left
    for pfn in full[-2:]:
        m.free_pages(pfn)
    before = m.snapshot()
    free = next(b.start for b in m.blocks() if b.use == Use.FREE)
    nodes = pages_of(m, Use.NODES)[0]
    for pfn, reason in [
        (0, "reserved"),
        (block + 1, f"tail page of the block of order 2 that starts at page {block}"),
        (free, "free already"),
        (nodes, "holds nodes"),
        (64, "there is no page 64"),
        (-1, "there is no page -1"),
    ]:
        with pytest.raises(KernelBug, match=reason):
            m.free_pages(pfn)
    for pfn in ("4", True, None, 4.0):
        with pytest.raises(TypeError, match="a pfn is a whole number"):
            m.free_pages(pfn)
    assert m.snapshot() == before


def test_the_first_words_of_ram_are_named_in_a_hexdump():
    m = small()
    node = m.B + (pages_of(m, Use.NODES)[0] << m.PS)
    assert "shift" in m.hexdump(node, 64)
    assert m.node(node).count >= 1
    assert "flags" in m.hexdump(m.pfn_to_page(5), 16)
    assert "tree[0]" in m.hexdump(m.B + 8 * m.low.trees, 8)
    assert "private" in repr(m.page(5))
    with pytest.raises(ValueError, match="there is no tree node"):
        m.node(node + 8)


def test_a_snapshot_goes_back_exactly_and_fits_no_other_machine():
    m = small()
    before = m.snapshot()
    pfns = fill(m)
    full = m.snapshot()
    for pfn in pfns:
        m.free_pages(pfn)
    m.restore(full)
    assert m.snapshot() == full != before
    m.check()
    m.restore(before)
    assert m.snapshot() == before
    with pytest.raises(ValueError, match="another shape"):
        m.restore(Machine("32K", page_size=512, max_order=4).snapshot())


# --- Where nodes come from


def test_all_pages_can_be_handed_out_for_full_trees_are_empty_trees():
    m = small()
    assert len(fill(m)) == 64 - m.mem_map_pages
    m.check()
    assert pages_of(m, Use.NODES) == []


def test_a_page_that_is_freed_into_an_empty_tree_is_consumed_itself():
    m = small(highmem=0)
    first, second = fill(m)[10:12]
    told = []
    m.told = told.append
    before = m.stats
    m.free_pages(first)
    assert m.block(first).use == Use.NODES
    assert ((m.stats - before).pages_consumed, m.free_pages_count) == (1, 0)
    assert told == [f"The pool has too few nodes: page {first} itself is cut into nodes."]
    m.free_pages(second)  # and the next one finds its nodes there
    assert m.block(second).use == Use.FREE
    assert m.node(m.B + (first << m.PS) + m.xa_node.sizeof).count == 1
    assert m.free_pages_count == 1
    m.check()


def test_a_page_of_unused_nodes_can_be_had_when_no_other_page_is_left():
    m = small(highmem=0)
    pfn = fill(m)[10]
    m.free_pages(pfn)
    assert m.buddyinfo()[0, "Normal"] == [0] * 5
    assert m.alloc_pages(1) is None
    assert m.alloc_pages(0) == pfn
    m.check()


def test_without_highmem_freeing_never_allocates_and_nothing_waits():
    m, rng = small(highmem=0), random.Random(5)
    held = []
    for _ in range(600):
        if rng.random() < 0.5 and (pfn := m.alloc_pages(rng.choice([0, 0, 1, 2]))) is not None:
            held.append(pfn)
        elif held:
            m.free_pages(held.pop(rng.randrange(len(held))))
    m.check()
    assert m.stats.pages_consumed > 10
    assert (m.stats.pages_allocated_while_freeing, m.stats.blocks_pending) == (0, 0)


def test_a_block_that_is_consumed_in_part_is_entered_in_smaller_blocks():
    m = small(highmem=0)
    block = m.alloc_pages(4)
    rest = fill(m)
    assert len(rest) == 46
    m.free_pages(block)
    m.check()
    own = [m.block(pfn).use for pfn in range(block, block + 16)]
    assert own[-1] == Use.NODES
    assert set(own) == {Use.NODES, Use.FREE}
    assert m.buddyinfo()[0, "Normal"][4] == 0


# --- HIGHMEM


def test_a_highmem_page_with_no_lowmem_left_stays_pending_until_a_lowmem_page_is_freed():
    m = small()
    low = next(pfn for pfn in fill(m) if pfn < m.highmem_pfn)
    m.free_pages(50)
    m.check()
    assert m.block(50).use == Use.PENDING
    assert (m.stats.blocks_pending, m.stats.pages_allocated_while_freeing, m.free_pages_count) == (1, 0, 0)
    assert m.alloc_pages(0, HIGH) is None  # neither allocated nor free
    with pytest.raises(KernelBug, match="page 50 was freed already, and waits for a node"):
        m.free_pages(50)
    m.free_pages(low)
    assert m.block(low).use == Use.NODES
    assert m.block(50).use == Use.FREE
    assert m.stats.blocks_settled == 1
    m.check()


def test_a_highmem_page_with_lowmem_left_makes_freeing_allocate():
    m = small()
    for _ in range(16):
        m.alloc_pages(0, HIGH)
    free = m.free_pages_count
    m.free_pages(50)
    assert m.block(50).use == Use.FREE
    assert m.stats.pages_allocated_while_freeing == 1
    assert m.free_pages_count == free  # one came, and one went
    m.check()


def test_several_blocks_that_wait_are_entered_oldest_first_and_merge():
    m = small()
    low = [pfn for pfn in fill(m) if pfn < m.highmem_pfn]
    for pfn in (48, 49, 51):
        m.free_pages(pfn)
    m.check()
    assert pages_of(m, Use.PENDING) == [48, 49, 51]
    assert m.entry_at(m.w[m.pool + node_pool.pending.word]) == 51
    m.free_pages(low[0])
    m.check()
    assert m.buddyinfo()[0, "HighMem"] != [0] * 5
    for pfn in low[1:]:
        m.free_pages(pfn)
        m.check()
    assert pages_of(m, Use.PENDING) == []
    assert m.buddyinfo()[0, "HighMem"] == [1, 1, 0, 0, 0]


def test_an_allocation_that_would_need_nodes_for_highmem_gets_them_from_lowmem_or_goes_there():
    m = small()
    low = []
    while (pfn := m.alloc_pages(0)) is not None:
        low.append(pfn)
    assert m.buddyinfo()[0, "HighMem"] == [0, 0, 0, 0, 1]
    assert m.alloc_pages(0, HIGH) is None  # to split that block takes nodes, and there is no memory for them
    m.check()
    m.free_pages(low[3])
    m.check()


def test_a_linked_list_needs_nothing_where_trees_need_memory():
    m = SideBySide()
    while m.alloc_pages(0, HIGH) is not None:
        pass
    number = next(n for n, pair in m.held.items() if pair.radix == pair.linked == 55)
    m.free_pages(number)
    assert m.linked.buddyinfo()[0, "HighMem"] == [1, 0, 0, 0, 0]
    assert m.radix.buddyinfo()[0, "HighMem"] == [0] * 5
    assert m.radix.block(55).use == Use.PENDING
    assert m.linked.stats.pages_allocated_while_freeing == 0


# --- Against a model


class Trees(RuleBasedStateMachine):
    """A machine, and what its caller holds."""

    shape: dict

    @initialize()
    def boot(self):
        self.m = RadixMachine(**self.shape)
        self.held = {}  # first pfn -> order
        self.orders = st.integers(0, self.m.max_order)

    @rule(order=st.integers(0, 4), high=st.booleans())
    def alloc(self, order, high):
        ready = sum(n for info in list(self.m.buddyinfo().values())[:1] for n in info[order:])
        pfn = self.m.alloc_pages(order, HIGH if high else GFP.KERNEL)
        if pfn is None:
            assert not ready
            return
        assert pfn % (1 << order) == 0
        assert high or pfn < self.m.highmem_pfn
        mine = set(range(pfn, pfn + (1 << order)))
        assert not any(mine & set(range(p, p + (1 << k))) for p, k in self.held.items())
        assert min(mine) >= self.m.mem_map_pages
        self.held[pfn] = order

    @rule(pick=st.integers(0, 1 << 16))
    def free(self, pick):
        if self.held:
            pfn = sorted(self.held)[pick % len(self.held)]
            del self.held[pfn]
            self.m.free_pages(pfn)

    @rule(pick=st.integers(0, 1 << 16))
    def free_what_is_not_held(self, pick):
        pfn = pick % self.m.nr_pages
        before = self.m.snapshot()
        if pfn not in self.held:
            with pytest.raises(KernelBug):
                self.m.free_pages(pfn)
            assert self.m.snapshot() == before

    @rule()
    def free_all(self):
        for pfn in self.held:
            self.m.free_pages(pfn)
        self.held.clear()
        self.m.check()
        assert pages_of(self.m, Use.PENDING) == []  # with memory free, nothing waits

    @invariant()
    def ram_is_in_order(self):
        m = self.m
        m.check()
        assert {b.start: b.order for b in m.blocks() if b.use == Use.ALLOCATED} == self.held
        everything = sum(1 << k for k in self.held.values()) + m.free_pages_count + m.mem_map_pages
        assert everything + len(pages_of(m, Use.NODES)) + len(pages_of(m, Use.PENDING)) == m.nr_pages
        if m.highmem_pfn == m.nr_pages:
            assert (m.stats.pages_allocated_while_freeing, m.stats.blocks_pending) == (0, 0)


@pytest.mark.parametrize(
    "shape",
    [
        {"memory": "32K", "page_size": 512, "max_order": 4, "highmem": "8K"},
        {"memory": "16K", "page_size": 256, "max_order": 4, "highmem": "4K"},
        {"memory": "24K", "page_size": 512, "max_order": 4},
        {"memory": "22K", "page_size": 512, "max_order": 4, "highmem": "13K"},
        {"memory": "512K", "page_size": 4096, "max_order": 5, "highmem": "128K"},
    ],
    ids=["512 bytes", "one node a page", "no HIGHMEM", "odd zones", "4 KiB"],
)
def test_the_trees_hold_what_a_model_says(shape):
    class Machine_(Trees):
        pass

    Machine_.shape = shape
    run_state_machine_as_test(Machine_, settings=settings(max_examples=15, stateful_step_count=40))


# --- check()


def busy():
    """A machine with trees of two levels, a pool, and a block that waits."""
    m = small()
    pfns = fill(m)
    m.free_pages(60)
    for pfn in pfns[::3]:
        if pfn < m.highmem_pfn:
            m.free_pages(pfn)
    for pfn in fill(m, GFP.KERNEL):
        del pfn
    low = [b.start for b in m.blocks() if b.use == Use.ALLOCATED and b.start < m.highmem_pfn]
    for pfn in (low[2], low[9], low[30]):
        m.free_pages(pfn)
    return m


def leaf(m):
    return next(n for n in m.tree_nodes(m.low, 0) if n.level == 0).word


def waiting():
    m = small()
    fill(m)
    m.free_pages(60)
    m.free_pages(62)
    return m


def high_free():
    m = small()
    fill(m)
    m.free_pages(20)
    m.free_pages(60)
    return m


DAMAGE = {
    "zone-shape": (busy, lambda m: m.KA + 2, lambda _: 7),
    "zone-free-count": (busy, lambda m: m.low.free, lambda n: n + 1),
    "page-use": (busy, lambda m: m.MM + 2 * 10, lambda _: 15),
    "page-zone": (lambda: RadixMachine("22K", 512, 4, "13K"), lambda m: m.MM + 2 * 16, lambda _: Use.ALLOCATED | 2 << 4),
    "page-reserved": (busy, lambda m: m.MM, lambda _: int(Use.ALLOCATED)),
    "page-private": (busy, lambda m: m.MM + 2 * m.alloc_pages(0, HIGH) + 1, lambda _: 9),
    "free-block-merged": (busy, lambda m: m.MM + 2 * (next(b.start for b in m.blocks() if b.use == Use.FREE) ^ 1), lambda _: int(Use.FREE)),
    "tree-entry": (busy, lambda m: next(at for at in m.slots(leaf(m)) if m.w[at]), lambda v: v + 16),
    "tree-node": (busy, lambda m: leaf(m) + 1, lambda v: v + 8),
    "tree-count": (busy, leaf, lambda v: v + (1 << 16)),
    "pool-link": (busy, lambda m: m.pool, lambda v: v + 8),
    "pool-count": (busy, lambda m: m.pool + node_pool.nr_free.word, lambda v: v + 1),
    "nodes-lowmem": (busy, lambda m: m.MM + 2 * 55, lambda _: int(Use.NODES)),
    "pending-link": (waiting, lambda m: m.pool + node_pool.pending.word, lambda _: 0),
}


def test_every_rule_has_its_damage():
    assert DAMAGE.keys() == RULES.keys()


@pytest.mark.parametrize("rule", DAMAGE)
def test_damage_is_told_by_the_name_of_the_rule(rule):
    boot, where, what = DAMAGE[rule]
    m = boot()
    at = where(m)
    m.check()
    m.w[at] = what(m.w[at])
    with pytest.raises(Corruption) as caught:
        m.check()
    assert rule in caught.value.rules


def test_check_and_the_walks_end_on_any_image():
    rng = random.Random(11)
    for boot in (busy, waiting, high_free):
        m = boot()
        whole = m.snapshot()
        words = [*range(m.KA, m.KA + (m.stat - m.KA)), *range(m.MM, m.MM + 2 * m.nr_pages)]
        words += [(pfn << m.WS) + i for pfn in pages_of(m, Use.NODES) for i in range(1 << m.WS)]
        for _ in range(400):
            for _ in range(rng.choice([1, 1, 3])):
                m.w[rng.choice(words)] = rng.choice(
                    [0, 1, 2, m.B + 8, m.B + (rng.randrange(64) << m.PS) + 2, m.V + 16, rng.getrandbits(64)]
                )
            with contextlib.suppress(Corruption):
                m.check()
            m.buddyinfo()
            for z in m.zones:
                for order in range(m.max_order + 1):
                    list(m.tree_nodes(z, order))
            m.restore(whole)
        m.check()


# --- Side by side


def test_blocks_are_held_by_number_on_both_machines_and_go_with_snapshots():
    m = SideBySide()
    start = m.snapshot()
    one, two = m.alloc_pages(0), m.alloc_pages(2)
    assert (one, two) == (1, 2)
    held = m.held
    assert all(None not in pair for pair in held.values())
    there = m.snapshot()
    m.free_pages(one)
    assert m.snapshot() != there
    assert m.alloc_pages(1) == 1
    m.restore(there)
    assert m.held == held
    assert m.snapshot() == there
    m.restore(start)
    assert m.held == {}
    m.check()
    for number in (1, "1", None):
        with pytest.raises(KernelBug, match="no block has the number"):
            m.free_pages(number)
    with pytest.raises(TypeError, match=r"restore takes what snapshot\(\) returned"):
        m.restore(m.linked.snapshot())


def test_what_was_freed_behind_its_back_is_held_no_more():
    m = SideBySide()
    number = m.alloc_pages(0)
    pair = m.held[number]
    m.radix.free_pages(pair.radix)
    assert m.held[number] == (pair.linked, None)
    m.linked.free_pages(pair.linked)
    assert m.held == {}
    m.check()


def test_when_one_machine_has_no_more_the_other_goes_on():
    m = SideBySide()
    last = None
    while (n := m.alloc_pages(0, HIGH)) is not None:
        last = n
    assert m.held[last].linked is None  # descriptors take more room than trees that are empty
    assert m.held[last].radix is not None
    for n in list(m.held):
        m.free_pages(n)
        m.check()
    assert m.held == {}


def test_both_machines_are_recorded_together():
    m = SideBySide()
    with m.record() as r:
        r.mark("start")
        number = m.alloc_pages(0)
        r.mark("allocated")
        m.free_pages(number)
        r.mark("freed")
    end = m.snapshot()
    with r.at(1):
        assert m.linked.free_pages_count < 60
        assert m.radix.block(m.radix.low.start + 4).use == Use.ALLOCATED
        m.check()
    assert m.snapshot() == end
    assert r.marks == ["start", "allocated", "freed"]
    assert len(r) == 3
