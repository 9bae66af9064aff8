"""Accounting: what each design of page metadata costs, on paper, in RAM, over a mix of blocks and for a real kernel's slabs."""

import re
from fractions import Fraction
from random import Random

import pytest

from memlab import Machine, structs
from memlab.linux import SlabCache, parse_slabinfo, read_slabinfo
from memlab.study import accounting
from memlab.study.accounting import DESCRIPTORS, DESIGNS, EMBEDDED_16, EMBEDDED_32, MEM_DESC, TODAY, Design
from memlab.study.radix_freelist import RadixMachine

SAMPLE = read_slabinfo("").caches
USERS = [name for name in DESCRIPTORS if name != "slab"]


def cache(name, pagesperslab, num_slabs, objsize=64):
    each = pagesperslab * 4096 // objsize
    return SlabCache(name, each * num_slabs, each * num_slabs, objsize, each, pagesperslab, 0, 0, 0, num_slabs, num_slabs, 0)


# --- On paper: one block


def test_the_sizes_are_those_of_the_structs_in_ram():
    assert (
        (TODAY.page, MEM_DESC.page, MEM_DESC.buddy) == (structs.old_page.sizeof, structs.page.sizeof, structs.buddy.sizeof) == (64, 8, 48)
    )
    assert {name: getattr(structs, name).sizeof for name in DESCRIPTORS} == DESCRIPTORS
    assert list(DESCRIPTORS) == ["slab", "folio", "anonmem", "filemem", "ptdesc", "vmalloc"]
    assert [d.page for d in DESIGNS] == [64, 8, 16, 32]


def test_struct_pages_alone_take_an_eighth_of_what_they_took():
    tib = {s.design: s for s in accounting.page_structs(2**40)}
    assert (tib[TODAY].percent, tib[MEM_DESC].percent) == (1.5625, 0.1953125)
    assert (tib[TODAY].nbytes, tib[MEM_DESC].nbytes) == (16 * 2**30, 2 * 2**30)
    assert (tib[EMBEDDED_16].nbytes, tib[EMBEDDED_32].nbytes) == (4 * 2**30, 8 * 2**30)
    assert repr(tib[TODAY]) == "64-byte pages: 16 GiB, 1.5625 % of memory"
    assert repr(tib[MEM_DESC]) == "8-byte pages: 2 GiB, 0.1953 % of memory"


def test_a_single_page_with_only_a_buddy_takes_less_than_before_and_with_a_users_descriptor_more():
    assert accounting.block_bytes(MEM_DESC, 0) == 8 + 48 == 56 < accounting.block_bytes(TODAY, 0) == 64
    for user in DESCRIPTORS:
        assert accounting.block_bytes(MEM_DESC, 0, user) == 8 + 48 + 64 == 120
        assert accounting.block_bytes(TODAY, 0, user) == 64


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("descriptor", ["buddy", "folio", 0, 200])
def test_a_block_pays_for_its_pages_and_once_for_itself(design, descriptor):
    once = {"buddy": 0, "folio": 64}.get(descriptor, descriptor)
    for order in range(12):
        extra = (48 if design is MEM_DESC else 0) + (0 if design is TODAY else once)
        assert accounting.block_bytes(design, order, descriptor) == design.page * 2**order + extra
        assert Fraction(accounting.per_page(design, order, descriptor)) == design.page + Fraction(extra, 2**order)


@pytest.mark.parametrize(
    ("design", "than", "descriptor", "order"),
    [
        (MEM_DESC, TODAY, "buddy", 0),
        (MEM_DESC, TODAY, "anonmem", 2),  # equal at order 1: 2 × 8 + 48 + 64 = 2 × 64
        (EMBEDDED_16, TODAY, "anonmem", 1),
        (EMBEDDED_32, TODAY, "anonmem", 2),
        (MEM_DESC, EMBEDDED_16, "buddy", 3),
        (MEM_DESC, EMBEDDED_16, "folio", 3),
        (MEM_DESC, EMBEDDED_32, "buddy", 2),
        (MEM_DESC, TODAY, 56 * 1024 - 48, 11),
        (TODAY, MEM_DESC, "buddy", None),
        (TODAY, MEM_DESC, "folio", None),  # smaller at order 0, but not from there on
        (MEM_DESC, MEM_DESC, "folio", None),
        (Design("a lighter buddy", 8, 40, True), MEM_DESC, "buddy", 0),
    ],
)
def test_the_break_even_is_the_lowest_order_from_which_on_a_design_is_the_smaller(design, than, descriptor, order):
    assert accounting.break_even(design, than, descriptor) == order
    smaller = [accounting.block_bytes(design, k, descriptor) < accounting.block_bytes(than, k, descriptor) for k in range(20)]
    assert next((k for k in range(20) if all(smaller[k:])), None) == order


def test_the_curve_holds_what_each_block_takes_and_prints_as_a_table():
    curve = accounting.curve()
    assert list(curve.rows) == ["buddy", "folio"]
    for descriptor, columns in curve.rows.items():
        for design, values in columns.items():
            assert values == [accounting.per_page(design, order, descriptor) for order in range(12)]
    lines = repr(curve).splitlines()
    assert lines[0] == "bytes a page, no descriptor but the buddy's"
    assert lines[1].split("  ")[0] == "order"
    assert lines[2].split() == ["0", "64.000", "56.000", "16.000", "32.000"]
    assert lines[15] == "bytes a page, with a struct folio"
    assert lines[17].split() == ["0", "64.000", "120.000", "80.000", "96.000"]
    assert lines[18].split() == ["1", "64.000", "64.000", "48.000", "64.000"]
    assert repr(accounting.curve((200,), (TODAY,), 0)).startswith("bytes a page, with a descriptor of 200 bytes")


# --- On paper: a mix


def test_a_mix_takes_the_mean_of_its_blocks():
    half = accounting.of_mix({(0, "anonmem"): 0.5, (9, "folio"): 0.5})
    assert half == {"64-byte pages": 64, "8-byte pages": (120 + 8.21875) / 2, "16-byte pages": 48.0625, "32-byte pages": 64.0625}


@pytest.mark.parametrize("rest", [(2, "folio"), (9, "folio"), (11, "buddy")])
def test_at_the_tipping_share_both_designs_take_the_same_and_beyond_it_the_new_one_takes_more(rest):
    share = accounting.tipping_share((0, "anonmem"), rest)
    at, beyond = (accounting.of_mix({(0, "anonmem"): x, rest: 1 - x}) for x in (share, share + 0.01))
    assert at["8-byte pages"] == pytest.approx(64)
    assert beyond["8-byte pages"] > 64
    assert 0 < share < 0.5


def test_there_is_no_tipping_share_where_one_design_is_always_the_smaller():
    assert accounting.tipping_share((0, "buddy"), (9, "folio")) is None  # 56 and 8.2 bytes, never 64
    assert accounting.tipping_share((0, "anonmem"), (1, "anonmem")) == 0  # 120, and 64 against 64
    assert accounting.tipping_share((3, "folio"), (3, "folio")) is None


# --- In RAM


@pytest.fixture
def all_types():
    """A machine on which every kind of descriptor is live."""
    m = Machine("1M", max_order=6)
    m.alloc_pages(3)
    for order in (2, 0, 0):
        m.folio_alloc(order)
    m.anonmem_alloc(1)
    m.filemem_alloc(0)
    m.pgtable_alloc()
    m.vmalloc(3 * 4096)
    m.kmalloc(100)
    return m


def test_a_fresh_machine_has_a_mem_map_and_a_few_descriptors():
    m = Machine("64M")
    account = accounting.of_machine(m)
    assert account.number["page"] == 16384
    assert account.number["buddy"] == sum(map(sum, m.buddyinfo().values())) + 3  # a free block each, and three slabs
    assert account.number["slab"] == 3
    assert account.nbytes["page"] == 32 * 4096
    assert all(account.number[user] == 0 for user in USERS)
    assert account.percent == pytest.approx(0.2137, abs=1e-4)


def test_every_kind_is_counted_and_all_of_it_is_whole_pages(all_types):
    account = accounting.of_machine(all_types)
    assert {kind: account.number[kind] for kind in USERS} == {"folio": 3, "anonmem": 1, "filemem": 1, "ptdesc": 1, "vmalloc": 1}
    assert account.number["slab"] == sum(row["num_slabs"] for row in all_types.slabinfo())
    in_no_page = 0 if all_types.w[all_types.static_at] & structs.UNUSED else 48  # boot's one static descriptor
    assert account.total == sum(account.nbytes.values()) + account.room == account.pages_held * 4096 + in_no_page
    assert account.room > 0


def test_counting_changes_nothing(all_types):
    before, counters = all_types.snapshot(), all_types.stats
    accounting.of_machine(all_types)
    accounting.mix_of(all_types)
    assert all_types.snapshot() == before
    assert all_types.stats == counters


def test_a_snapshot_holds_what_its_machine_held(all_types):
    account, snapshot = accounting.of_machine(all_types), all_types.snapshot()
    all_types.alloc_pages(0)
    all_types.folio_alloc(0)
    assert accounting.of_snapshot(snapshot) == account != accounting.of_machine(all_types)


@pytest.mark.parametrize("design", ["as-written", "bounded"])
@pytest.mark.parametrize("seed", range(3))
def test_the_count_agrees_with_the_counters_and_with_the_pages_of_the_mem_map_after_random_work(design, seed):
    m = Machine("2M", max_order=8, cpus=2, pcp=True, design=design)
    fresh, dice, held = accounting.of_machine(m), Random(seed), []
    users = {
        "folio": (m.folio_alloc, m.folio_put),
        "anonmem": (m.anonmem_alloc, m.anonmem_put),
        "filemem": (m.filemem_alloc, m.filemem_put),
    }
    for _ in range(400):
        with m.on_cpu(dice.randrange(2)):
            if held and dice.random() < 0.4:
                user, what = held.pop(dice.randrange(len(held)))
                users[user][1](what)
            else:
                user = dice.choice(list(users))
                if (what := users[user][0](dice.choice((0, 0, 0, 1, 2)))) is not None:
                    held.append((user, what))
    account, since = accounting.of_machine(m), m.stats
    static = not m.w[m.static_at] & structs.UNUSED
    assert account.number["buddy"] == since.buddies_allocated - since.buddies_freed + static
    assert account.number["slab"] == since.slabs_allocated - since.slabs_freed
    assert {user: account.number[user] for user in users} == {user: sum(u == user for u, _ in held) for user in users}
    names = {"kmem_cache_buddy", "kmem_cache_slab", *USERS}
    described = [m.mem_desc(pfn) for pfn in range(m.nr_pages)]
    pages = [d for d in described if d.type.name == "SLAB" and structs.kmem_cache(m, m.slab(d.address).slab_cache).name in names]
    assert account.pages_held == len(pages) + m.mem_map_pages
    assert account.total == account.pages_held * m.page_size + 48 * static
    assert account.room >= 0
    assert fresh.total < account.total


def test_a_consumers_descriptors_are_counted_and_are_no_blocks():
    m = Machine("1M")
    before, mix = accounting.of_machine(m), accounting.mix_of(m)
    m.caches["kmem_cache_buddy"].alloc_bulk(3)
    assert accounting.of_machine(m).number["buddy"] == before.number["buddy"] + 3
    assert accounting.mix_of(m) == mix


def test_the_mix_of_a_machine_takes_on_paper_what_its_live_descriptors_take_in_ram():
    m = Machine("4M", design="bounded")
    for order in (0, 0, 0, 1, 3, 4):
        m.folio_alloc(order)
        m.anonmem_alloc(order)
    m.pgtable_alloc()
    mix, account = accounting.mix_of(m), accounting.of_machine(m)
    assert sum(mix.values()) == pytest.approx(1)
    assert {kind for _, kind in mix} == {"buddy", "slab", "folio", "anonmem", "ptdesc"}
    managed = sum(m.zone_view(z).managed_pages for z in m.zones)
    assert mix[0, "folio"] == pytest.approx(3 / managed)
    descriptors = sum(n for kind, n in account.nbytes.items() if kind != "page")
    assert accounting.of_mix(mix)["8-byte pages"] * managed == pytest.approx(8 * managed + descriptors)


def test_under_another_design_the_same_blocks_need_what_that_design_allocates(all_types):
    account = accounting.of_machine(all_types)
    today, embedded = account.under(TODAY), account.under(EMBEDDED_16)
    assert today.total == 64 * 256
    buddy_slabs = next(row["num_slabs"] for row in all_types.slabinfo() if row["name"] == "kmem_cache_buddy")
    others = sum(account.number[kind] for kind in DESCRIPTORS) - buddy_slabs
    assert embedded.total == 16 * 256 + 64 * others
    assert account.under(MEM_DESC).total == account.total - account.room


def test_an_account_prints_as_a_table_of_the_kinds_that_there_are():
    lines = repr(accounting.of_machine(Machine("64M"))).splitlines()
    assert lines[0] == "8-byte pages: 8.753 bytes of metadata a page"
    assert [re.split(r"\s{2,}", line)[0] for line in lines[1:]] == ["", "struct page", "struct buddy", "struct slab", "room", "all"]
    assert lines[2].split() == ["struct", "page", "16,384", "8", "131,072", "0.1953"]


# --- A workload


def test_single_pages_cost_on_a_machine_what_they_cost_on_paper_and_a_little_more():
    run = accounting.run(Machine("16M", watermarks=None, design="bounded"), {(0, "buddy"): 1}, used=1, churn=0)
    assert run.free["filled"] == 0
    assert 56 < run["filled"].per_page < 56 * 1.04
    assert run["filled"].per_page < 64


def test_single_pages_with_a_users_descriptor_cost_more_than_before():
    run = accounting.run(Machine("16M", watermarks=None, design="bounded"), {(0, "anonmem"): 1}, used=1, churn=0)
    assert 120 < run["filled"].per_page < 120 * 1.04
    assert run["filled"].number["anonmem"] > 3900


@pytest.mark.parametrize("design", ["as-written", "bounded"])
def test_a_run_ends_as_it_began_but_for_what_descriptors_pin(design):
    m = Machine("8M", design=design)
    mix = {(0, "anonmem"): 0.4, (2, "filemem"): 0.2, (4, "folio"): 0.2, (0, "ptdesc"): 0.1, (1, "buddy"): 0.05, (3, "vmalloc"): 0.05}
    run = accounting.run(m, mix, churn=300)
    m.check()
    assert list(run.accounts) == ["booted", "filled", "churned", "freed", "shrunk"]
    assert 0.68 < 1 - run.free["filled"] / m.nr_pages < 0.75
    assert all(run["filled"].number[user] for user in USERS)
    for stage in ("freed", "shrunk"):
        assert all(run[stage].number[user] == 0 for user in USERS)
    assert run["freed"].total > run["shrunk"].total
    if design == "bounded":
        assert run["shrunk"].total <= run["booted"].total


def test_a_run_is_the_same_for_the_same_seed_and_prints_a_line_a_stage():
    runs = [accounting.run(Machine("4M"), {(0, "folio"): 0.5, (3, "folio"): 0.5}, churn=50, seed=seed) for seed in (3, 3, 4)]
    assert repr(runs[0]) == repr(runs[1]) != repr(runs[2])
    assert [line.split("  ")[0] for line in repr(runs[0]).splitlines()[1:]] == list(runs[0].accounts)


def test_the_table_of_a_run_fits_a_narrow_window():
    run = accounting.run(Machine("64M", watermarks=None), {(0, "buddy"): 1}, used=1, churn=0)
    assert max(map(len, repr(run).splitlines())) <= 77


# --- A real kernel's slabs


def test_radix_tree_node_as_its_author_reckoned_and_with_the_buddy_that_each_slab_keeps():
    node = cache("radix_tree_node", 4, 9941, 584)
    assert node.objperslab == 28
    reckoned = Design("the author's later reckoning", 8, 0, True)
    cost = accounting.slab_caches([node], (TODAY, MEM_DESC, reckoned))["radix_tree_node"]
    assert cost.nbytes == {"64-byte pages": 2_544_896, "8-byte pages": 1_431_504, "the author's later reckoning": 954_336}
    assert cost.saved() == 2_544_896 - 1_431_504
    assert 9941 * 4 * 64 == 2_544_896
    assert 9941 * (4 * 8 + 64) == 954_336
    assert 9941 * (4 * 8 + 64 + 48) == 1_431_504


def test_of_a_real_kernels_caches_those_with_slabs_of_one_page_lose_and_from_four_pages_on_they_gain():
    table = accounting.slab_caches(SAMPLE)
    assert {c.pagesperslab for c in table.lose} == {1}
    assert {c.pagesperslab for c in table.gain} == {4, 8}
    assert all(c.saved() == 0 for c in table.caches if c.pagesperslab == 2 or c.num_slabs == 0)
    assert len(table.caches) == len(SAMPLE) == 235
    total = table.total()
    for design in DESIGNS:
        extra = 0 if design is TODAY else 64 + design.buddy
        assert total.nbytes[design.name] == sum(c.num_slabs * (c.pagesperslab * design.page + extra) for c in SAMPLE)
    assert total.saved() == sum(c.saved() for c in table.gain) + sum(c.saved() for c in table.lose) < 0  # this kernel as a whole loses
    assert total.saved(EMBEDDED_16) > 0


def test_the_table_of_caches_shows_gains_first_then_losses_largest_first_and_the_sums():
    caches = [
        cache("one", 1, 10),
        cache("two", 2, 10),
        cache("four", 4, 10),
        cache("eight", 8, 1),
        cache("single", 1, 30),
        cache("none", 4, 0),
    ]
    table = accounting.slab_caches(caches)
    assert [c.name for c in table.gain] == ["four", "eight"]
    assert [c.name for c in table.lose] == ["single", "one"]
    rows = [re.split(r"\s{2,}", line) for line in table.top(1).splitlines()]
    assert [row[0] for row in rows[1:]] == ["four", "the 2 that gain", "single", "the 2 that lose", "the 2 others", "all 6"]
    assert [row[-1] for row in rows[1:]] == ["+1,120", "+1,456", "-1,680", "-2,240", "+0", "-784"]
    assert repr(table) == table.top()


def test_the_smallest_text_of_a_slabinfo_will_do():
    text = "slabinfo - version: 2.1\ndentry 8568 8569 192 21 1 : tunables 0 0 0 : slabdata 408 408 0\n"
    assert accounting.slab_caches(parse_slabinfo(text))["dentry"].nbytes["8-byte pages"] == 408 * 120


# --- Bad input gets one sentence


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: accounting.block_bytes("8", 0), "a design is one of accounting.DESIGNS"),
        (lambda: accounting.block_bytes(TODAY, -1), "an order is a whole number from 0, not -1"),
        (lambda: accounting.block_bytes(TODAY, 1.5), "an order is a whole number from 0, not 1.5"),
        (lambda: accounting.per_page(TODAY, 0, "struct folio"), "a descriptor is one of buddy, slab, folio"),
        (lambda: accounting.per_page(TODAY, 0, -1), "or its size in bytes, not -1"),
        (lambda: accounting.curve(max_order=-1), "max_order is a whole number from 0, not -1"),
        (lambda: accounting.page_structs(5000), "memory is a number of bytes, a multiple of the page size"),
        (lambda: accounting.page_structs("64M"), "not '64M'"),
        (lambda: accounting.of_mix({}), "a mix is a table of shares"),
        (lambda: accounting.of_mix({(0, "folio"): 0.5}), "the shares of a mix are 1 together; these are 0.5"),
        (lambda: accounting.of_mix({(0, "folio"): 2, (1, "folio"): -1}), "each share of a mix is a number from 0 to 1; these are 2, -1"),
        (lambda: accounting.of_machine(RadixMachine("64K")), "of_machine takes a Machine, not"),
        (lambda: accounting.of_snapshot(Machine("64K")), "of_snapshot takes what m.snapshot() returned"),
        (lambda: accounting.of_snapshot(RadixMachine("64K").snapshot()), "of_snapshot takes what m.snapshot() returned"),
        (lambda: accounting.run("64K", {(0, "buddy"): 1}), "run takes a Machine, not '64K'"),
        (lambda: accounting.run(Machine("1M"), {}), "a mix is a table of weights"),
        (lambda: accounting.run(Machine("1M"), {(0, "buddy"): 0}), "not all are 0; these are 0"),
        (lambda: accounting.run(Machine("1M"), {(12, "folio"): 1}), "an order is a whole number from 0 to 11 on this machine, not 12"),
        (lambda: accounting.run(Machine("1M"), {(0, "slab"): 1}), "not 'slab' of order 0"),
        (lambda: accounting.run(Machine("1M"), {(1, "ptdesc"): 1}), "not 'ptdesc' of order 1"),
        (
            lambda: accounting.run(Machine("1M"), {(0, "buddy"): 1}, used=0),
            "used is the part of memory to fill, above 0 and up to 1, not 0",
        ),
        (lambda: accounting.run(Machine("1M"), {(0, "buddy"): 1}, churn=-1), "churn is how many blocks to replace, 0 or more, not -1"),
        (lambda: accounting.slab_caches([cache("odd", 3, 1)]), "the slabs of odd have 3 pages; a slab is a block"),
        (lambda: accounting.slab_caches(SAMPLE, (TODAY,)), "slab_caches compares designs"),
        (lambda: accounting.slab_caches(SAMPLE).top(-1), "a table shows a number of caches, 0 or more, not -1"),
        (lambda: accounting.slab_caches(SAMPLE)["no"], "there is no cache 'no' among these"),
    ],
)
def test_bad_input_is_told_in_a_sentence(call, said):
    with pytest.raises((ValueError, TypeError, KeyError)) as caught:
        call()
    assert said in str(caught.value)


def test_a_refused_run_leaves_ram_untouched():
    m = Machine("1M")
    before = m.snapshot()
    with pytest.raises(ValueError, match="not 'slab'"):
        accounting.run(m, {(0, "buddy"): 0.5, (0, "slab"): 0.5})
    assert m.snapshot() == before
