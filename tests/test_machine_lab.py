"""Where a request goes: what is told before is what alloc_pages then does; and the Machine lab, which shows it."""

import random
import re
from collections import Counter
from contextlib import suppress

import pytest
from fake_browser import Browser

from memlab import GFP, KernelBug, Machine, MemType
from memlab.figures import machine_lab as figure
from memlab.figures import zonelist_walk, zones
from memlab.figures.zones import request_flags
from memlab.labs import MACHINE_LAB, Refused, machine_lab, zoned_machine
from memlab.labs.lab import Look
from memlab.labs.machine import SHAPES
from memlab.study.request import walk_zonelist, zone_words

REQUEST, OBJECT, FILL, FREE, FREE_ALL, FAIL = (MACHINE_LAB.action(n) for n in ("request", "object", "fill", "free", "free_all", "fail"))


def zone_of(m, pfn):
    return None if pfn is None else next(z for z in m.zones if z.start <= pfn < z.end)


def names(tries):
    return [zone_words(t.zone) for t in tries]


# --- What is told before is what happens

MACHINES = {
    "one zone": {"memory": "2M", "watermarks": "linux", "max_order": 6},
    "two nodes": {"memory": "2M", "nodes": 2, "cpus": 2, "watermarks": (8, 12, 16), "max_order": 6},
    "all zones": {"memory": "2M", "dma": "256K", "dma32": "256K", "highmem": "512K", "watermarks": "linux", "max_order": 6},
    "two nodes with zones": {
        "memory": "1M",
        "nodes": 2,
        "cpus": 2,
        "dma": "128K",
        "highmem": "256K",
        "watermarks": (24, 32, 40),
        "max_order": 6,
    },
    "small pages": {"memory": "64K", "page_size": 256, "max_order": 4, "nodes": 2, "highmem": "8K", "watermarks": (2, 4, 6)},
    "no watermarks": {"memory": "16K", "page_size": 256, "max_order": 4},
    "three nodes": {
        "memory": "64K",
        "page_size": 256,
        "max_order": 4,
        "nodes": 3,
        "dma": "4K",
        "dma32": "8K",
        "cpus": 2,
        "watermarks": (1, 3, 5),
    },
    "far nodes": {"memory": "96K", "page_size": 256, "max_order": 4, "nodes": 3, "distance": [[10, 40, 20], [40, 10, 30], [20, 30, 10]]},
    "per-CPU pages": {
        "memory": "64K",
        "page_size": 256,
        "max_order": 4,
        "nodes": 2,
        "highmem": "8K",
        "watermarks": (2, 4, 6),
        "pcp": True,
        "cpus": 2,
    },
}
FLAGS = (
    GFP.KERNEL,
    GFP.ATOMIC,
    GFP.NOWAIT,
    GFP.KERNEL | GFP.HIGHMEM,
    GFP.ATOMIC | GFP.HIGHMEM,
    GFP.KERNEL | GFP.DMA,
    GFP.KERNEL | GFP.DMA32,
    GFP.KERNEL | GFP.THISNODE,
    GFP.KERNEL | GFP.HIGHMEM | GFP.THISNODE,
    GFP.KERNEL | GFP.HIGH,
    GFP.ATOMIC | GFP.MEMALLOC,
    GFP.NOWAIT | GFP.DMA,
)


class Crowd:
    """Others who use the machine: they allocate and free at random, and now and then leave few descriptors."""

    def __init__(self, m, dice):
        self.m, self.dice, self.held, self.eager = m, dice, [], dice.random()

    def act(self):
        m, dice = self.m, self.dice
        if dice.random() < 0.02:
            self.eager = dice.random()
        if dice.random() < self.eager * 0.6 and self.held:
            give_back, what = self.held.pop(dice.randrange(len(self.held)))
            give_back(what)
        elif dice.random() < 0.1:
            self.hold(m.folio_put, m.folio_alloc(dice.randrange(3)))
        elif dice.random() < 0.1:
            self.hold(m.kfree, m.kmalloc(dice.choice((16, 64, 100))))
        elif dice.random() < 0.01:
            m.shrink()
        elif dice.random() < 0.05:
            cache = m.caches[dice.choice(("kmem_cache_buddy", "kmem_cache_slab"))]
            row = next(row for row in m.slabinfo() if row["name"] == cache.name)
            cache.alloc_bulk(max(0, min(200, row["num_objs"] - row["active_objs"] - dice.randrange(4))))

    def hold(self, give_back, what):
        if what is not None:
            self.held.append((give_back, what))


@pytest.mark.parametrize("design", ["as-written", "bounded"])
@pytest.mark.parametrize("shape", MACHINES.values(), ids=MACHINES)
def test_the_zone_that_the_walk_tells_is_the_zone_that_the_page_comes_from(shape, design):
    seen = Counter()
    for seed in range(4):
        dice = random.Random(f"{shape} {seed}")
        m = Machine(design=design, **shape)
        crowd = Crowd(m, dice)
        for step in range(250):
            crowd.act()
            order = min(dice.choice((0, 0, 0, 0, 1, 1, 2, 3, 4)), m.max_order)
            gfp, node = dice.choice(FLAGS), dice.choice([None, *range(m.config.nodes)])
            with m.on_cpu(dice.randrange(m.config.cpus)):
                before = m.snapshot()
                walk = walk_zonelist(m, order, gfp, node)
                assert m.snapshot() == before, (seed, step)
                pfn = None
                with suppress(KernelBug):  # the kernel's stack overflowed
                    pfn = m.alloc_pages(order, gfp, node)
            if walk.certain:
                assert walk.zone == zone_of(m, pfn), f"seed {seed}, step {step}: {walk}"
            crowd.hold(m.free_pages, pfn)
            seen += Counter(all=1, none=pfn is None, grew=bool(walk.before), unsure=not walk.certain)
        m.check()
    assert seen["none"] > 50
    assert seen["grew"] > 0  # descriptors had to be made first
    assert seen["unsure"] < seen["all"] * (0.15 if shape.get("pcp") else 0.01)


def lowmem_taken(m):
    """Take all lowmem and all free descriptors, so that a split of HIGHMEM needs what cannot be had."""
    while m.alloc_pages(0) is not None:
        pass
    row = next(row for row in m.slabinfo() if row["name"] == "kmem_cache_buddy")
    m.caches["kmem_cache_buddy"].alloc_bulk(row["num_objs"] - row["active_objs"])


HIGHMEM = {"memory": "64K", "page_size": 256, "max_order": 4, "highmem": "16K", "watermarks": None}


def test_an_empty_slab_that_reclaim_would_free_makes_the_answer_unsure():
    m = Machine(design="bounded", **HIGHMEM)
    m.kfree(m.kmalloc(64))
    lowmem_taken(m)
    walk = walk_zonelist(m, 0, GFP.KERNEL | GFP.HIGHMEM)
    assert not walk.certain
    assert "only doing it tells" in walk.end
    assert walk_zonelist(m, 0, GFP.ATOMIC | GFP.HIGHMEM).certain  # which may not wait, so nothing is reclaimed
    assert m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM) is not None


# --- Each step of the walk


@pytest.fixture
def lowmem_full():
    """The "highmem" machine with Normal down to its low watermark."""
    lab = machine_lab("highmem")
    lab.session.run(FILL, zone="Normal of node 0")
    return lab.machine


def test_a_walk_compares_what_would_stay_with_the_watermark_in_ram(lowmem_full):
    m = lowmem_full
    walk = walk_zonelist(m, 2)
    normal, dma = m.zone(0, "Normal"), m.zone(0, "DMA")
    assert names(walk.tries) == ["Normal of node 0", "DMA of node 0"]
    first, second = walk.tries
    assert (first.free, first.mark, first.reserve) == (normal.free_pages, normal.watermark[1], 0)
    assert (second.free, second.mark, second.reserve) == (dma.free_pages, dma.watermark[1], dma.lowmem_reserve[2])
    assert first.sum == "40 free − 4 = 36 < low 40"
    assert first.why == "refused: too few would stay"
    assert second.sum == "63 free − 4 = 59 ≥ low 7 + reserve 1 = 8"
    assert second.why == "taken: a block of order 2"
    assert walk.zone == second.zone
    assert walk.end == "A block of DMA of node 0 is taken."


def test_highmem_requests_find_a_reserve_in_normal(lowmem_full):
    m = lowmem_full
    while walk_zonelist(m, 0, GFP.KERNEL | GFP.HIGHMEM).zone.name == "HighMem":
        m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM)
    tries = walk_zonelist(m, 0, GFP.KERNEL | GFP.HIGHMEM).tries
    assert names(tries) == ["HighMem of node 0", "Normal of node 0", "DMA of node 0"]
    assert tries[1].sum == "40 free − 1 = 39 < low 40 + reserve 4 = 44"


def exhausted(m):
    """Take pages until GFP_KERNEL gets none; return the last two tries of each of some requests."""
    while m.alloc_pages(0) is not None:
        pass
    return {gfp: [t for t in walk_zonelist(m, 0, gfp).tries if t.second] for gfp in FLAGS}


def test_flags_lower_the_min_watermark_as_linux_does():
    m = zoned_machine("one")  # min 32
    marks = {gfp: (tries[-1].mark, tries[-1].lowered) for gfp, tries in exhausted(m).items() if tries}
    assert marks[GFP.KERNEL] == (32, "")
    assert marks[GFP.NOWAIT] == (32, "")
    assert marks[GFP.KERNEL | GFP.HIGH] == (16, "min 32 halved by __GFP_HIGH")
    assert marks[GFP.ATOMIC] == (12, "min 32 halved by __GFP_HIGH, and less a quarter as it may not wait")
    assert marks[GFP.ATOMIC | GFP.MEMALLOC] == (None, "__GFP_MEMALLOC: no watermark counts")
    assert walk_zonelist(m).end == "None: every zone that may serve it has refused."
    assert m.alloc_pages(0, GFP.NOWAIT) is None
    assert m.alloc_pages(0, GFP.ATOMIC) is not None


def test_the_first_round_keeps_low_in_every_zone_before_the_second_goes_down_to_min():
    m = zoned_machine("tight")
    for node in (0, 1):
        while (t := walk_zonelist(m, 0, GFP.KERNEL, node)).zone.node == node and not t.tries[-1].second:
            m.alloc_pages(0, GFP.KERNEL, node)
    walk = walk_zonelist(m)
    assert [(zone_words(t.zone), t.second) for t in walk.tries] == [
        ("Normal of node 0", False),
        ("Normal of node 1", False),
        ("Normal of node 0", True),
    ]


def test_enough_free_pages_are_no_block():
    m = Machine("1M", max_order=6, watermarks="linux")
    pages = m.alloc_pages_bulk(m.free_pages_count - 60)
    for pfn in pages[::2]:
        m.free_pages(pfn)
    walk = walk_zonelist(m, 6)
    assert walk.tries[0].enough
    assert walk.tries[0].why == "refused: no free block of order 6 or more"
    assert walk.zone is None


def test_zones_that_a_request_may_not_use_are_named_with_the_reason():
    m = Machine("2M", nodes=2, dma="256K", highmem="512K", max_order=6)
    left_out = {(zone_words(z), why) for z, why in walk_zonelist(m, 0, GFP.KERNEL | GFP.THISNODE).left_out}
    assert left_out == {
        ("Normal of node 1", "__GFP_THISNODE allows node 0 only"),
        ("HighMem of node 1", "__GFP_THISNODE allows node 0 only"),
    }
    assert dict(walk_zonelist(m).left_out)[m.zones[-1]] == "its pages have no address, and __GFP_HIGHMEM is not set"
    assert [why for _, why in walk_zonelist(m, 0, GFP.KERNEL | GFP.DMA).left_out] == ["it lies above DMA"] * 3
    assert walk_zonelist(m, 0, GFP.KERNEL | GFP.HIGHMEM).left_out == ()
    assert walk_zonelist(zoned_machine("one"), 0, GFP.KERNEL | GFP.DMA).end == "None: this machine has no zone that the request may use."


@pytest.mark.parametrize("design", ["as-written", "bounded"])
def test_descriptors_that_must_be_made_first_are_told_of(design):
    m = Machine("1M", max_order=6, watermarks=None, design=design)
    row = next(row for row in m.slabinfo() if row["name"] == "kmem_cache_buddy")
    m.caches["kmem_cache_buddy"].alloc_bulk(row["num_objs"] - row["active_objs"])
    slabs = m.stats.slabs_allocated
    walk = walk_zonelist(m, 3, GFP.ATOMIC)
    while not walk.before:
        m.alloc_pages(3)
        walk = walk_zonelist(m, 3, GFP.ATOMIC)
    assert re.fullmatch(
        r"The split needs \d descriptors? and 0 are free: kmem_cache_buddy gets a page of Normal of node 0, and the zones are asked again\.",
        walk.before[0],
    )
    assert m.alloc_pages(3, GFP.ATOMIC) is not None
    assert m.stats.slabs_allocated > slabs


def test_no_page_for_descriptors_means_none_though_there_is_a_block():
    m = Machine(**HIGHMEM)
    lowmem_taken(m)
    walk = walk_zonelist(m, 0, GFP.ATOMIC | GFP.HIGHMEM)
    assert walk.tries[-1].taken
    assert walk.zone is None
    assert re.match(
        r"None: HighMem of node 0 has a block, but its split needs \d descriptors, 0 are free, and no page can be had", walk.end
    )
    assert m.alloc_pages(0, GFP.ATOMIC | GFP.HIGHMEM) is None


@pytest.mark.parametrize(
    ("bad", "kind"),
    [((7,), ValueError), ((-1,), ValueError), (("0",), TypeError), ((0, 1 << 30), ValueError), ((0, GFP.KERNEL, 2), ValueError)],
)
def test_a_bad_request_is_refused_as_alloc_pages_refuses_it(bad, kind):
    m = zoned_machine("tight")
    with pytest.raises(kind) as from_alloc_pages:
        m.alloc_pages(*bad, **({"gfp": GFP.ATOMIC} if len(bad) == 1 else {}))
    with pytest.raises(kind) as from_walk:
        walk_zonelist(m, *bad)
    assert str(from_walk.value) == str(from_alloc_pages.value)


def test_a_walk_prints_as_text():
    m = zoned_machine("highmem")
    assert str(walk_zonelist(m)).splitlines() == [
        "order 0, GFP_KERNEL, node 0",
        "1. Normal of node 0: 316 free − 1 = 315 ≥ low 40: taken: a block of order 0",
        "-  HighMem of node 0: its pages have no address, and __GFP_HIGHMEM is not set",
        "A block of Normal of node 0 is taken.",
    ]


# --- The pictures


def test_pictures_of_damaged_ram_are_drawn_all_the_same():
    dice = random.Random(3)
    m = zoned_machine("highmem")
    m.kmalloc(64)
    whole = m.snapshot()
    words = [*range(m.KA, m.kc_at), *range(m.MM, m.MM + 140), *range(m.kn_at, m.pcp_at)]
    for _ in range(60):
        for at in dice.sample(words, 6):
            m.w[at] = dice.choice((0, 1, m.B + 8, m.B + (m.highmem_pfn << m.PS), (1 << 64) - 8, m.w[dice.choice(words)]))
        figure(m, dice.randrange(7), dice.choice(request_flags(m)))
        m.restore(whole)


def test_the_zones_show_free_pages_and_watermarks():
    picture = zones(zoned_machine("highmem"))
    assert [cell.label for cell in picture.cells] == [
        "zone DMA of node 0, 63 pages free of 63, min 6, low 7, high 8",
        "zone Normal of node 0, 316 pages free of 319, min 32, low 40, high 48",
        "zone HighMem of node 0, 128 pages free of 128, min 32, low 35, high 38",
    ]
    assert "no watermarks" in zones(Machine("1M")).html()


def test_a_walk_is_drawn_with_a_cell_for_each_try(lowmem_full):
    picture = zonelist_walk(lowmem_full, 2)
    assert [cell.label for cell in picture.cells] == [
        "1. Normal of node 0, refused: too few would stay; 40 free − 4 = 36 < low 40",
        "2. DMA of node 0, taken: a block of order 2; 63 free − 4 = 59 ≥ low 7 + reserve 1 = 8",
    ]
    assert picture.label == "The way of a request for order 2, GFP_KERNEL, node 0: A block of DMA of node 0 is taken."


def test_the_table_of_requests_says_for_each_where_it_would_go(lowmem_full):
    m = lowmem_full
    asked = {cell.label for cell in figure(m, 2).cells if cell.id.startswith("ask-")}
    assert asked == {
        "GFP_KERNEL, node 0: DMA 0, from another zone, further down the list",
        "GFP_ATOMIC, node 0: DMA 0, from another zone, further down the list",
        "GFP_NOWAIT, node 0: DMA 0, from another zone, further down the list",
        "GFP_KERNEL|__GFP_HIGHMEM, node 0: HighMem 0, from the zone that is asked first",
        "GFP_KERNEL|__GFP_DMA, node 0: DMA 0, from the zone that is asked first",
        "GFP_ATOMIC|__GFP_MEMALLOC, node 0: DMA 0, from another zone, further down the list",
    }
    exhausted(m)
    after = {cell.label for cell in figure(m).cells if cell.id.startswith("ask-")}
    assert "GFP_KERNEL, node 0: None, refused: None" in after
    assert "GFP_ATOMIC, node 0: Normal 0, in the second round, below a low watermark" in after


@pytest.mark.parametrize("selected", ["page-³", "page-", "page-99999999999999", "zone-7-Normal", "ask-9-9-9", "<script>", "tile-x", ""])
def test_a_cell_that_is_not_there_selects_nothing(selected):
    m = zoned_machine("tight")
    assert figure(m, selected=selected) == figure(m)


# --- The lab


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_boots_in_order_and_its_code_makes_an_equal_machine(shape):
    lab = machine_lab(shape)
    lab.machine.check()
    namespace = {}
    exec(lab.session.code(), namespace)
    assert namespace["m"].snapshot() == lab.machine.snapshot()


@pytest.mark.parametrize(("bad", "kind"), [("huge", ValueError), (3, TypeError), (None, TypeError)])
def test_another_shape_is_refused_with_the_list_of_those_there_are(bad, kind):
    with pytest.raises(kind, match="one, nodes, dma, highmem, tight"):
        machine_lab(bad)


@pytest.fixture
def session():
    return machine_lab("highmem").session


def test_a_request_says_where_the_page_came_from_and_who_refused_before(session):
    assert session.run(REQUEST, order=3, gfp="GFP_KERNEL", node=0).sentence == (
        "alloc_pages of order 3 with GFP_KERNEL on node 0 gave page 136 of Normal of node 0; took no descriptor, changed the type in 8 mem_desc words."
    )
    session.run(FILL, zone="Normal of node 0")
    done = session.run(REQUEST, order=2, gfp="GFP_KERNEL", node=0)
    assert done.sentence == (
        "alloc_pages of order 2 with GFP_KERNEL on node 0 gave page 4 of DMA of node 0 after 1 refusal (Normal of node 0: 40 free − 4 = 36 < low 40); "
        "took no descriptor, changed the type in 4 mem_desc words."
    )
    assert done.cell == "page-4"


def test_a_request_that_fails_says_what_each_zone_answered(session):
    sentence = session.run(REQUEST, order=6, gfp="GFP_KERNEL|__GFP_DMA", node=0).sentence
    assert sentence == "alloc_pages of order 6 with GFP_KERNEL|__GFP_DMA on node 0 returned None: DMA of node 0: 63 free − 64 = −1 < min 6."
    assert session.steps == []
    sentence = session.run(REQUEST, order=5, gfp="GFP_KERNEL|__GFP_DMA", node=0).sentence
    assert "gave page 32 of DMA of node 0" in sentence


def test_fill_stops_where_the_next_page_would_come_from_elsewhere(session):
    m = session.machine
    done = session.run(FILL, zone="HighMem of node 0")
    assert done.sentence == (
        "Took 93 single pages with GFP_KERNEL|__GFP_HIGHMEM: 35 of HighMem of node 0 stay free, "
        "and the next would come from Normal of node 0 (HighMem of node 0: 35 free − 1 = 34 < low 35)."
    )
    assert m.zone(0, "HighMem").free_pages == m.zone(0, "HighMem").watermark[1]
    assert len(session.steps) == 1  # one step, with frames
    assert done.recording.marks[0] == "Before: 128 pages of HighMem of node 0 free."
    assert done.recording.marks[1] == "8 single pages taken, 120 of HighMem of node 0 free."
    session.run(FILL, zone="DMA of node 0")
    assert session.run(FILL, zone="DMA of node 0").sentence == "DMA of node 0 gives no single page: DMA of node 0: 6 free − 1 = 5 < min 6."


@pytest.mark.parametrize("what", ["kmalloc(64)", "kmalloc(2048)", "folio_alloc(0)", "folio_alloc(2)", "pgtable_alloc()", "vmalloc(16384)"])
@pytest.mark.parametrize("flags", ["GFP_KERNEL", "GFP_ATOMIC"])
def test_an_object_is_given_and_free_gives_it_back(session, what, flags):
    m, before = session.machine, session.machine.free_pages_count
    done = session.run(OBJECT, what=what, flags=flags)
    took = before - m.free_pages_count
    assert re.match(re.escape(f"{what} with {flags} gave 0xffff8880"), done.sentence)
    assert f"took {took} page" in done.sentence
    assert m.mem_desc(int(done.cell.split("-")[1])).type in (MemType.SLAB, MemType.FOLIO, MemType.PGTABLE, MemType.VMALLOC)
    session.run(FREE, cell=done.cell)
    assert MACHINE_LAB.action("free_all").reason(session, None) == "Nothing is allocated."
    m.check()


def test_a_second_small_object_needs_no_page(session):
    session.run(OBJECT, what="kmalloc(64)", flags="GFP_KERNEL")
    assert session.run(OBJECT, what="kmalloc(64)", flags="GFP_NOWAIT").sentence.endswith("a free object was at hand, no page was needed.")


def test_an_object_that_cannot_be_had_leaves_all_as_it_was(session):
    m = session.machine
    exhausted(m)
    session.notice()
    sentence = session.run(OBJECT, what="kmalloc(2048)", flags="GFP_NOWAIT").sentence
    assert sentence.startswith(
        "kmalloc(2048) with GFP_NOWAIT returned None, and all that was made for it is unmade: DMA of node 0 has 7 pages free"
    )
    m.check()


def test_free_all_gives_back_what_was_taken_and_no_more(session):
    m = session.machine
    for order in (0, 3, 1):
        session.run(REQUEST, order=order, gfp="GFP_KERNEL", node=0)
    for what in ("kmalloc(64)", "folio_alloc(2)", "vmalloc(16384)", "pgtable_alloc()"):
        session.run(OBJECT, what=what, flags="GFP_KERNEL")
    assert session.run(FREE_ALL).sentence.startswith("Freed all with 7 calls: 20 pages came free")  # 1 + 8 + 2, 4, 4 and 1; slabs stay
    assert {m.mem_desc(pfn).type for pfn in range(m.nr_pages)} == {MemType.NONE, MemType.FREE, MemType.SLAB}
    m.check()


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("page-8", "Page 8 is free already; select one that was allocated."),
        ("page-0", "Page 0 is none to free here (reserved: no descriptor); select one that was allocated."),
        ("page-128", "Page 128 holds no object that kmalloc gave; select one that was allocated."),
        ("page-99999", "page-99999 is no page of this machine; select one in the page map."),
        ("zone-0-DMA", "zone-0-DMA is no page of this machine; select one in the page map."),
        (None, "Select a page in the picture first."),
    ],
)
def test_what_cannot_be_freed_is_refused_with_the_reason(session, cell, reason):
    ram = session.machine.snapshot()
    with pytest.raises(Refused, match=re.escape(reason)):
        session.run(FREE, cell=cell)
    assert session.machine.snapshot() == ram


# --- The n-th call fails


def test_what_was_made_before_the_failure_is_unmade_step_by_step(session):
    m = session.machine
    session.run(OBJECT, what="vmalloc(16384)", flags="GFP_KERNEL")  # so that the cache of struct vmalloc has its slab
    ram, free = m.snapshot(), m.free_pages_count
    done = session.run(FAIL, at="alloc_pages", nth=4, what="vmalloc(16384)")
    assert done.sentence == (
        "Call number 4 of alloc_pages failed, 2 deep, and vmalloc(16384) returned None: unmade by free_pages 3 times and kmem_cache_free once; "
        "each zone has as many free pages as before."
    )
    assert m.free_pages_count == free
    marks = done.recording.marks
    assert marks.count("alloc_pages() is called.") == 3
    assert marks.index("alloc_pages() is called. It is made to fail: it does nothing and returns NULL.") < marks.index(
        "free_pages() is called."
    )
    seen = []
    for k in range(len(marks)):
        with done.recording.at(k):
            seen.append(m.free_pages_count)
            figure(m)
    assert (min(seen), seen[-1]) == (free - 3, free)
    assert len(session.steps) == 2  # a step, though RAM may be as before, for a look inside
    session.undo()
    assert m.snapshot() == ram


@pytest.mark.parametrize("what", ["kmalloc(64)", "folio_alloc(2)", "pgtable_alloc()", "alloc_pages(3)", "vmalloc(16384)"])
@pytest.mark.parametrize("at", ["alloc_pages", "kmem_cache_alloc", "___slab_alloc", "new_slab", "alloc_slab_page", "__alloc_slab"])
def test_no_failure_leaves_anything_behind(session, at, what):
    m = session.machine
    for nth in (1, 2, 3):
        before, live = m.free_pages_count, len(session.steps)
        sentence = session.run(FAIL, at=at, nth=nth, what=what).sentence
        m.check()
        if "returned None" in sentence:
            assert m.free_pages_count == before or "has" in sentence
        else:
            assert "succeeded" in sentence
            assert len(session.steps) > live


def test_a_call_that_is_never_made_cannot_fail(session):
    sentence = session.run(FAIL, at="__alloc_slab", nth=2, what="alloc_pages(0)").sentence
    assert sentence == "alloc_pages(0) called __alloc_slab never, so there was no call number 2 to fail; it succeeded."
    assert session.code().endswith("with m.fail('__alloc_slab', 2):\n    m.alloc_pages(0)")


# --- What a view shows


def test_the_picture_follows_the_last_request_and_a_selected_one():
    lab = machine_lab("tight")
    asked = {"order": 1, "gfp": "GFP_ATOMIC", "node": 1}
    look = lab.look._replace(asked=asked, cell="page-100")
    assert "The way of a request for order 1, GFP_ATOMIC, node 1" in MACHINE_LAB.figure(lab.machine, look).html()
    look = look._replace(cell="ask-2-3-1")
    assert "The way of a request for order 2, GFP_KERNEL|__GFP_THISNODE, node 1" in MACHINE_LAB.figure(lab.machine, look).html()
    assert MACHINE_LAB.details(lab.machine, look)[0] == ("Request", "m.alloc_pages(2, GFP.KERNEL | GFP.THISNODE, 1)")


def test_each_cell_has_details(session):
    m = session.machine
    look = Look(session.setup.arena)
    found = {cell.id: dict(MACHINE_LAB.details(m, look._replace(cell=cell.id))) for cell in MACHINE_LAB.figure(m, look).cells}
    assert found["page-400"]["Page"] == "400 (0x190), zone HighMem of node 0"
    assert found["page-400"]["Address"] == "none: HIGHMEM pages have no virtual address"
    assert found["page-400"]["Described by"].endswith("of Normal of node 0")
    assert found["zone-0-Normal"]["Watermarks"] == "min 32, low 40, high 48 pages"
    assert found["zone-0-Normal"]["lowmem_reserve"] == "4 against HIGHMEM (pages, for requests that could go to a higher zone)"
    assert found["try-1"] == {
        "Zone asked": "1. Normal of node 0",
        "Would stay free": "316 free − 1 = 315 ≥ low 40",
        "Verdict": "taken: a block of order 0",
    }
    assert all(details and "Selected" not in details for details in found.values())


def test_a_machine_of_your_own_can_have_the_lab():
    m = Machine("16M", nodes=2, dma="1M", pcp=True, cpus=2)
    lab = machine_lab(m)
    lab.session.run(REQUEST, order=0, gfp="GFP_KERNEL|__GFP_DMA", node=1)
    lab.session.run(FREE_ALL)
    assert "CPU 0 has a free page of" in str(walk_zonelist(m, 0, GFP.KERNEL | GFP.DMA))
    assert lab.picture().html()
    m.check()


def test_a_view_keeps_the_last_request_in_sight_while_pages_are_selected(monkeypatch):
    browser = Browser(machine_lab("tight"), monkeypatch)

    def heading():
        return re.search(r"If asked now: ([^<]+)<", "".join(browser.drawn().values()))[1]

    assert heading() == "order 0, GFP_KERNEL, node 0"
    browser.press("request", order=5, gfp="GFP_NOWAIT", node=1)
    assert heading() == "order 5, GFP_NOWAIT, node 1"
    browser.press("request", order=6, gfp="GFP_NOWAIT", node=1)  # which gives None, so that RAM is as it was
    assert heading() == "order 6, GFP_NOWAIT, node 1"
    browser.press("select", cell="page-40")
    browser.press("fail", at="alloc_pages", nth=1, what="folio_alloc(2)")
    assert heading() == "order 6, GFP_NOWAIT, node 1"
    browser.press("select", cell="ask-6-0-0")
    assert heading() == "order 6, GFP_KERNEL, node 0"


def test_a_large_machine_is_drawn_too():
    m = Machine("64M", nodes=2, dma="1M")
    while m.alloc_pages(4) is not None:
        pass
    browsed = machine_lab(m)
    sentence = browsed.session.run(FILL, zone="DMA of node 0").sentence
    assert "DMA of node 0 stay free" in sentence or "gives no single page" in sentence
    assert "Overview: 16,384 pages" in browsed.picture().html()


def test_the_demo_shows_the_moments_around_the_failure():
    said = re.findall(r'<div class="fragment"><p>([^<]*)</p>', machine_lab().static_html())
    moments = [i for i, words in enumerate(said) if words.endswith("It is made to fail: it does nothing and returns NULL.")]
    assert len(moments) == 1
    assert said[moments[0] + 1] == "The block of order 0 at page 3 is free again, and goes on free list 0."
    assert said[moments[0] + 2].startswith("Call number 3 of alloc_pages failed")
