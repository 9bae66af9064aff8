"""The Slab lab and its pictures: what they say of caches is what RAM says, whatever RAM says."""

import random
import re

import pytest

from memlab import SLAB, KernelBug, Machine
from memlab.figures import slab_lab as figure
from memlab.figures import slab_links, slab_orders, slabs
from memlab.figures.slab_object import object_parts, slab_object
from memlab.figures.slab_orders import FRACTIONS, order_rule
from memlab.figures.slab_state import (
    allocated,
    cpu_freelist,
    focus,
    live_caches,
    live_objects,
    slab_freelist,
    slabs_of,
    unborn_slabs,
)
from memlab.labs import SLAB_LAB, LabView, Look, Refused, Session, open_lab, slab_lab, slab_machine
from memlab.labs.state import state_code
from memlab.recording import Recording
from memlab.slub_size import calculate_order, calculate_sizes, objects_per_slab

LETTERS = {"ml-live": "a", "ml-oncpu": "c", "ml-onslab": "s"}


def slot_of(m, name):
    return next(slot for slot, view in live_caches(m) if view.name == name)


def drawn(picture, pfn):
    """The letters of a slab's objects as they are drawn."""
    found = re.findall(rf'class="ml-cell (ml-\w+)"[^>]*data-cell="object-{pfn}-(\d+)"', "".join(picture.fragments.values()))
    return "".join(LETTERS[kind] for kind, _ in sorted(found, key=lambda pair: int(pair[1])))


def listed(picture, label):
    """The objects of each free list that is drawn with this label, in list order."""
    return [
        [int(i) for i in re.findall(r'ml-mid ml-on\w+"[^>]*>(\d+)<', svg)]
        for name, svg in picture.fragments.items()
        if "list-" in name and f">{label}<" in svg
    ]


@pytest.fixture
def session():
    """The session of a fresh Slab lab."""
    return slab_lab().session


def run(session, action, /, **params):
    """Do an action; RAM is in order afterwards."""
    done = session.run(SLAB_LAB.action(action), **params)
    session.machine.check()
    return done


def words_changed(session, action, /, **params):
    """The number of words of RAM that an action changed, counters not among them."""
    m = session.machine
    before = m.w.tolist()
    run(session, action, **params)
    return sum(a != b for a, b in zip(before[: m.stat], m.w.tolist()[: m.stat], strict=True))


# --- What is read from RAM


def test_a_slab_is_a_cpus_or_partial_or_empty_or_full_and_each_object_on_one_list_or_allocated():
    m = slab_machine()
    cache = m.caches["dentry"]
    objects = cache.alloc_bulk(21 * 4 + 5)
    for i in (3, 10, 7):
        cache.free(objects[i])  # the first slab was full
    for i in range(21, 42):
        cache.free(objects[i])
    with m.on_cpu(1):
        cache.free(objects[84])
    cache.free(objects[85])
    found = slabs_of(m, slot_of(m, "dentry"))
    assert [(s.place, s.cpu, s.pfn) for s in found] == [
        ("cpu", 0, 132),
        ("partial", -1, 128),
        ("empty", -1, 129),
        ("full", -1, 130),
        ("full", -1, 131),
    ]
    slot = slot_of(m, "dentry")
    assert slab_freelist(m, slot, found[1]).objects == (7, 10, 3)  # the last freed is the first
    assert slab_freelist(m, slot, found[0]).objects == (0,)  # another CPU's free
    assert cpu_freelist(m, slot, found[0]).objects == (1, *range(5, 21))
    assert allocated(m, slot, found[0]) == [2, 3, 4]
    assert len(live_objects(m, "dentry")) == 21 * 4 + 5 - 3 - 21 - 2
    m.check()


@pytest.mark.parametrize("flags", [0, SLAB.DEBUG, SLAB.RED_ZONE, SLAB.POISON, SLAB.HWCACHE_ALIGN, SLAB.TYPESAFE_BY_RCU])
def test_live_objects_are_those_that_were_allocated_and_not_freed(flags):
    m, rng = Machine("1M", max_order=6, cpus=2), random.Random(flags)
    cache, mine = m.kmem_cache_create("mine", 200, flags=flags), set()
    for _ in range(300):
        with m.on_cpu(rng.randrange(2)):
            if mine and rng.random() < 0.45:
                cache.free(mine.pop())
            else:
                mine.add(cache.alloc())
        assert set(live_objects(m, "mine")) == mine
    assert live_objects(m, "nobody's") == []


def test_the_newest_cache_is_looked_at_unless_a_cell_names_another():
    m = slab_machine()
    pfn = (m.caches["kmalloc-64"].alloc() - m.B) >> m.PS
    dentry, kmalloc = slot_of(m, "dentry"), slot_of(m, "kmalloc-64")
    for cell in (
        None,
        "",
        "nonsense",
        "cache-63",
        "cache-999",
        "object-1-0",
        f"object-{pfn}-64",
        "slab-130",
        f"cache-{dentry}",
        "cache-²",
        "slab-1-2",
    ):
        assert focus(m, cell).slot == dentry, cell
    assert focus(m, f"cache-{kmalloc}").slot == focus(m, f"slab-{pfn}").slot == kmalloc
    assert (focus(m, f"object-{pfn}-5").slot, focus(m, f"object-{pfn}-5").object) == (kmalloc, 5)
    m.caches["dentry"].destroy()
    assert focus(m, f"cache-{dentry}").slot == focus(m, None).slot == kmalloc  # the newest that has a slab


# --- The rule for orders


def test_the_explained_order_is_calculate_orders_for_every_size():
    for cpus in (1, 2, 8, 64):
        for size in range(8, 40_000, 8):
            rule = order_rule(size, cpus)
            assert rule.order == calculate_order(size, cpus)
            total = 4096 << rule.order
            if rule.fraction is None:
                assert rule.order > 3 or total // size >= 1
                continue
            assert rule.first <= rule.order <= 3
            assert total % size <= total // rule.fraction
            stricter = FRACTIONS[: FRACTIONS.index(rule.fraction)]
            for k in range(rule.first, 4):  # no order would do with a stricter fraction, and no smaller one with this
                waste = (4096 << k) % size
                assert all(waste > (4096 << k) // f for f in stricter)
                assert k >= rule.order or waste > (4096 << k) // rule.fraction


@pytest.mark.parametrize(
    ("size", "cpus", "said"),
    [
        (192, 2, "2 CPUs: 12 objects or more are wanted, 4 × (2 bits of 2 + 1)."),
        (584, 2, "12 objects of 584 need order 1: there the search begins."),
        (584, 2, "The first order that leaves at most 1/16 of the slab unused is 1."),
        (3000, 2, "None up to 3 leaves at most 1/16 unused; with 1/8, order 3 is the first."),
        (3000, 2, "12 objects or more are wanted, 4 × (2 bits of 2 + 1), but order 3 holds only 10."),
        (20480, 1, "with 1/2, order 3 is the first"),
        (40960, 1, "No order up to 3 will do, so the slab is the smallest block for one object: order 4."),
    ],
)
def test_the_rule_is_given_in_sentences(size, cpus, said):
    assert said in slab_orders(size, cpus).html()


def test_the_table_of_orders_gives_objects_and_waste():
    picture = slab_orders(584, cpus=2)
    for order in range(4):
        objects = objects_per_slab(584, order)
        row = picture.fragments[f"slab_orders-{order}"]
        for value in (order, 4096 << order, objects, (4096 << order) - objects * 584):
            assert f">{value:,}</text>" in row
    assert [k for k in range(4) if "ml-picked" in picture.fragments[f"slab_orders-{k}"]] == [1]
    assert "too few: 12 are wanted" in picture.fragments["slab_orders-0"]


def test_a_learners_numbers_stand_beside_the_right_ones():
    picture = slab_orders(584, 2, yours=lambda k: (7 << k, "") if k < 2 else (None, "it raised"), your_order=(2, ""))
    assert [("yours: the same" in picture.fragments[f"slab_orders-{k}"]) for k in range(4)] == [True, True, False, False]
    assert "! yours: it raised" in picture.fragments["slab_orders-3"]
    assert "ml-yours" in picture.fragments["slab_orders-2"]
    assert "! Your rule picks order 2; Linux&#x27;s picks 1." in picture.html()
    assert "Your rule picks order 1, as Linux&#x27;s does." in slab_orders(584, 2, your_order=(1, "")).html()


# --- The pictures


def test_objects_are_drawn_by_the_free_list_that_they_are_on():
    m = slab_machine()
    cache = m.caches["dentry"]
    objects = cache.alloc_bulk(6)
    with m.on_cpu(1):
        for i in (1, 4):
            cache.free(objects[i])
    cache.free(objects[0])
    picture = slabs(m)
    assert drawn(picture, 128) == "csaasa" + 15 * "c"
    assert listed(picture, "CPU 0&#x27;s freelist") == [[0, *range(6, 13)]]  # the first eight of a list
    assert listed(picture, "slab&#x27;s freelist") == [[4, 1]]
    assert "and 8 more" in picture.html()


def test_links_are_drawn_as_they_are_in_ram_not_as_they_should_be():
    m = slab_machine()
    cache = m.caches["dentry"]
    objects = cache.alloc_bulk(3)
    with m.on_cpu(1):
        for obj in objects:
            cache.free(obj)
    offset = cache.struct.offset
    m.write(objects[2] + offset, objects[0].to_bytes(8, "little"))  # leaves one out
    assert listed(slabs(m), "slab&#x27;s freelist") == [[2, 0]]
    m.write(objects[0] + offset, objects[2].to_bytes(8, "little"))
    assert "! runs in a circle, back to object 2" in slabs(m).html()
    m.write(objects[0] + offset, (12345).to_bytes(8, "little"))
    assert "! leads to 0x3039, which is no object of this slab" in slabs(m).html()


def test_the_groups_of_slabs_are_told_apart_and_a_full_one_is_on_no_list():
    m = slab_machine()
    cache = m.caches["dentry"]
    objects = cache.alloc_bulk(21 * 3 + 1)
    for obj in [objects[0], *objects[21:42]]:
        cache.free(obj)
    html = slabs(m).html()
    order = [
        html.index(words)
        for words in (
            "Each CPU&#x27;s own",
            ">CPU 0<",
            "Partial list: 2 slabs",
            ">partial<",
            ">empty<",
            "Full slabs: on no list: 1 slab",
            ">full<",
        )
    ]
    assert order == sorted(order)
    assert html.count('class="ml-arrow" d="M12') == 2  # the partial list's two links, and none to the full slab


def test_a_debug_cache_has_no_cpus_slab_and_a_slab_of_many_objects_stands_in_rows():
    m = slab_machine(flags="DEBUG", size=64)
    m.caches["dentry"].alloc_bulk(3)
    picture = slabs(m)
    assert "a cache with debug flags works on its slabs" in picture.html()
    assert drawn(picture, 128)[:5] == "aaass"
    assert len({c.row for c in picture.cells if c.id.startswith("object-128")}) == 2


def test_a_cache_of_many_slabs_is_drawn_in_part_with_what_is_selected():
    m = Machine("8M")
    objects = m.caches["kmalloc-8"].alloc_bulk(512 * 40)
    m.caches["kmalloc-8"].free(objects[-1])
    pfn = (objects[512 * 30] - m.B) >> m.PS
    picture = slabs(m, "kmalloc-8", f"object-{pfn}-17")
    cells = [c for c in picture.cells if c.id.startswith("object-")]
    assert f"object-{pfn}-17" in {c.id for c in cells}
    assert len(cells) <= 640
    assert "more" in picture.html()
    assert len(picture.html()) < 400_000


def test_a_cache_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="there is no cache named 'inode'; there are kmem_cache_buddy, "):
        slabs(slab_machine(), "inode")


def test_struct_slab_buddy_and_mem_desc_are_joined_where_ram_joins_them():
    m = slab_machine(size=584)
    m.caches["dentry"].alloc()
    slab = slabs_of(m, slot_of(m, "dentry"))[0]
    assert len(slab.pages) == 2
    picture = slab_links(m, slab.address)
    for value in (slab.address, slab.buddy, m.pfn_to_page(slab.pfn), m.page_address(slab.pfn)):
        assert f"{value:#x}" in picture.html()
    assert picture.fragments["slab_links-words"].count(f"{slab.address:#x} | SLAB") == 2
    lines = picture.fragments["slab_links-lines"]
    assert lines.count("H6V14") == 2  # both pages' words lead to the struct slab
    m.w[m.MM + slab.pages[1]] ^= 1 << 40
    damaged = slab_links(m, slab.address).fragments["slab_links-lines"]
    assert damaged.count("H6V14") == 1
    m.slab(slab.address).buddy = 0
    assert "leads to no struct buddy" in slab_links(m, slab.address).html()


def test_a_slab_of_struct_slabs_holds_its_own():
    m = slab_machine()
    slab = slabs_of(m, slot_of(m, "kmem_cache_slab"))[0]
    assert "holds its own struct slab" in slab_links(m, slab.address).fragments["slab_links-pages"]


def test_red_zones_and_poison_are_shown_byte_by_byte():
    m = slab_machine(size=100, flags="DEBUG")
    cache = m.caches["dentry"]
    objects = cache.alloc_bulk(3)
    cache.free(objects[2])
    slot = slot_of(m, "dentry")
    slab = slabs_of(m, slot)[0]
    live, free = (slab_object(m, slot, slab, i).html() for i in (0, 2))
    assert (live.count(">cc<"), live.count(">bb<")) == (12, 0)
    assert (free.count(">bb<"), free.count(">cc<"), free.count(">a5<")) == (12, 0, 1)
    assert "48 bytes more" in free
    assert "!" not in re.sub(r"<style>.*</style>", "", live + free, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("index", "at", "said"),
    [
        (0, 100, "! 2 bytes written over: around an allocated object it is all cc"),
        (2, -8, "! 2 bytes written over: around a free object it is all bb"),
        (2, 50, "! 2 bytes written over: poison is 6b and, at its end, a5"),
    ],
)
def test_what_debug_flags_would_complain_about_is_marked(index, at, said):
    m = slab_machine(size=100, flags="DEBUG")
    cache = m.caches["dentry"]
    objects = cache.alloc_bulk(3)
    cache.free(objects[2])
    m.write(objects[index] + at, b"!!")
    slot = slot_of(m, "dentry")
    assert said in slab_object(m, slot, slabs_of(m, slot)[0], index).html()


@pytest.mark.parametrize("flags", [0, *(SLAB.RED_ZONE, SLAB.POISON, SLAB.DEBUG, SLAB.TYPESAFE_BY_RCU, SLAB.HWCACHE_ALIGN)])
@pytest.mark.parametrize(("size", "align"), [(8, 0), (100, 0), (192, 64), (584, 0), (33, 16)])
@pytest.mark.parametrize("free", [False, True])
def test_the_parts_of_an_object_fill_its_place_without_gap_or_overlap(flags, size, align, free):
    m = Machine("1M", max_order=6)
    cache = m.kmem_cache_create("mine", size, align, flags).struct
    address = m.B + 8192
    at = address - cache.red_left_pad
    for part in object_parts(cache, address, free):
        assert part.start == at
        at += part.n
        assert part.good is None or len(part.good) == part.n
    assert at == address - cache.red_left_pad + calculate_sizes(size, align, flags).size


# --- Any RAM at all


def test_the_picture_can_be_drawn_at_every_moment_of_a_slabs_making(session):
    m = session.machine
    pictures = set()
    for cell in ("", "", "cache-0", "cache-1"):
        recording = run(session, "build", cell=cell).recording
        assert len(recording) > 5
        for k in range(len(recording)):
            with recording.at(k):
                pictures.add(figure(m, cell).html())
                SLAB_LAB.details(m, Look(range(1), cell))
    assert len(pictures) > 15


def test_a_slab_in_the_making_is_shown_before_it_is_any_caches(session):
    recording = run(session, "build", cell="").recording
    m = session.machine
    seen = []
    for k in range(len(recording)):
        with recording.at(k):
            seen.append([s.address for s in unborn_slabs(m)])
    slab = slabs_of(m, slot_of(m, "dentry"))[0]
    assert [slab.address] in seen
    assert seen[0] == seen[-1] == []


@pytest.mark.parametrize("seed", range(8))
def test_no_damage_keeps_the_picture_from_being_drawn(seed):
    rng = random.Random(seed)
    m = slab_machine(size=300, flags=("none", "DEBUG")[seed % 2], pages=16)
    with m.on_cpu(1):
        m.caches["dentry"].alloc()
    objects = m.caches["dentry"].alloc_bulk(30)
    m.caches["dentry"].free_bulk(objects[3:20])
    slot = slot_of(m, "dentry")
    places = [*range(m.MM, m.MM + m.nr_pages), *range(m.kc_at, m.cc_at + 200), *range(m.cc_at, m.stat)]
    places += [w for pfn in range(m.nr_pages) if m.touched[pfn] for w in range(pfn << m.WS, (pfn << m.WS) + 64)]
    for slab in slabs_of(m, slot):
        places += [*range(slab.address - m.B >> 3, (slab.address - m.B >> 3) + 8)] * 20
    clean = m.snapshot()
    values = [0, 1, 3, (1 << 64) - 1, m.B + 8, m.B + 16, m.B + (m.nr_pages << m.PS) - 16]
    for _ in range(60):
        at = rng.choice(places)
        m.w[at] = rng.choice([*values, m.w[at] ^ 1 << rng.randrange(64), rng.getrandbits(64), m.w[rng.choice(places)]])
        pfn = rng.randrange(m.nr_pages)
        for cell in (None, f"cache-{slot}", f"slab-{pfn}", f"object-{pfn}-{rng.randrange(30)}"):
            figure(m, cell).html()
            SLAB_LAB.details(m, Look(range(1), cell))
        if rng.random() < 0.3:
            m.restore(clean)


def test_equal_machines_give_the_same_text_and_colours_are_the_style_sheets():
    one, two = (figure(slab_machine()) for _ in range(2))
    assert one.html() == two.html()
    m = slab_machine(flags="DEBUG")
    m.caches["dentry"].alloc_bulk(30)
    for picture in (one, figure(m, "object-128-2"), figure(m, hexadecimal=True)):
        assert not re.search(r'(fill|stroke|style)="|#[0-9a-f]{3}', "".join(picture.fragments.values()).replace("&#x27;", ""))
    assert ">page 0x80<" in figure(m, "slab-128", hexadecimal=True).html()


# --- A cache grows


def test_a_cache_that_grows_has_one_more_slab_last_on_its_partial_list():
    m = Machine("1M", max_order=6, undo=3)
    cache = m.kmem_cache_create("mine", 192)
    first, second = cache.grow(), cache.grow()
    m.check()
    slot = slot_of(m, "mine")
    assert [(s.address, s.place) for s in slabs_of(m, slot)] == [(first, "empty"), (second, "empty")]
    assert m.undo()
    assert [s.address for s in slabs_of(m, slot)] == [first]
    assert cache.alloc() == slabs_of(m, slot)[0].object_at(0)
    assert cache.shrink() == 0


def test_a_cache_that_cannot_grow_returns_none_and_one_that_is_gone_says_so():
    m = Machine("64K", max_order=4)
    cache = m.kmem_cache_create("mine", 192)
    m.alloc_pages_bulk(100)
    ram = m.snapshot()
    assert cache.grow() is None
    assert m.snapshot() == ram
    cache.destroy()
    with pytest.raises(KernelBug, match="this cache was destroyed"):
        cache.grow()
    with pytest.raises(ValueError, match="objects live in lowmem"):
        m.caches["kmalloc-8"].grow(0x2)


# --- The preset


@pytest.mark.parametrize("setup", [{}, {"size": 1000, "flags": "DEBUG"}, {"pages": 1024, "cpus": 4}, {"pages": 16, "cpus": 1, "name": "x"}])
def test_the_machine_has_one_free_block_and_a_cache_without_slabs(setup):
    fresh = SLAB_LAB.setup(**setup)
    m, pages = fresh.machine, setup.get("pages", 64)
    m.check()
    assert m.free_pages_count == len(fresh.arena) == pages
    assert m.buddyinfo()[0, "Normal"][-1] == 1
    assert slabs_of(m, slot_of(m, setup.get("name", "dentry"))) == []
    namespace = {}
    exec(fresh.code, namespace)
    assert namespace["m"].snapshot() == m.snapshot()


@pytest.mark.parametrize("cpu", ["CPU 0", "CPU 1"])
def test_the_first_slab_costs_what_it_says_on_either_cpu(session, cpu):
    done = run(session, "allocate", cell="", cpu=cpu)
    assert done.sentence == (
        f"Allocated object 0 of the slab at page 128: no object was free for {cpu}, so it built a slab of page 128, 21 objects: "
        "took 1 struct slab and 6 descriptors, rewrote 32 mem_desc words in 6 splits."
    )
    assert done.cell == "object-128-0"


@pytest.mark.parametrize(
    ("bad", "kind", "said"),
    [
        ({"pages": 65}, ValueError, "pages is a power of two from 16 to 65,536"),
        ({"pages": "64"}, TypeError, "pages is a whole number"),
        ({"flags": "ALL"}, ValueError, "flags is one of none, RED_ZONE"),
        ({"flags": []}, ValueError, "flags is one of none, RED_ZONE"),
        ({"size": 4}, ValueError, "the size of an object is 8 to"),
        ({"name": ""}, ValueError, "the name of a cache"),
        ({"colour": 1}, TypeError, "the set-up of the Slab lab has no 'colour'"),
        ({"machine": 64}, TypeError, "slab_lab takes a Machine"),
    ],
)
def test_a_bad_set_up_is_refused_with_a_sentence(bad, kind, said):
    with pytest.raises(kind, match=said):
        slab_lab(**bad)


# --- What the actions say and cost


def test_building_a_slab_takes_a_struct_slab_and_descriptors_and_is_recorded(session):
    before = session.machine.stats
    done = run(session, "build", cell="")
    d = session.machine.stats - before
    assert (d.slabs_allocated, d.buddies_allocated, d.splits, d.words_split) == (1, 6, 6, 32)
    assert done.sentence == (
        "Built a slab of dentry: page 128, 21 objects, last on the partial list; "
        "took 1 struct slab and 6 descriptors, rewrote 32 mem_desc words in 6 splits."
    )
    assert done.cell == "slab-128"
    assert isinstance(done.recording, Recording)
    assert any("alloc_slab_page(dentry)" in words for words in done.recording.marks)
    assert "took 1 struct slab, changed the type in 1 mem_desc word." in run(session, "build", cell="").sentence


def test_a_slab_of_struct_slabs_takes_none(session):
    run(session, "build", cell="")
    sentence = run(session, "build", cell="cache-1").sentence
    assert "took nothing, since its struct slab lies in its own first bytes" in sentence


def test_the_fast_paths_write_one_word_and_two(session):
    run(session, "allocate", cell="", cpu="CPU 0")
    assert words_changed(session, "allocate", cell="", cpu="CPU 0") == 1
    assert session.steps[-1].sentence == "Allocated object 1 of the slab at page 128: from CPU 0's freelist, the fast path: 1 word written."
    session.machine.write(live_objects(session.machine, "dentry")[0] + 96, b"\1" * 8)  # so that the link is another word than before
    assert words_changed(session, "free", cell="object-128-0", cpu="CPU 0") == 2
    assert (
        session.steps[-1].sentence
        == "Freed object 0 of the slab at page 128: to the head of CPU 0's freelist, the fast path: 2 words written."
    )


def test_another_cpus_free_goes_to_the_slabs_own_list_and_comes_back_when_the_cpus_is_empty(session):
    run(session, "fill", cell="")
    sentence = run(session, "free", cell="object-128-4", cpu="CPU 1").sentence
    assert sentence == (
        "Freed object 4 of the slab at page 128: to the slab's own freelist, since the slab is CPU 0's and CPU 1 frees; it goes on no other list."
    )
    run(session, "free", cell="object-128-9", cpu="CPU 1")
    sentence = run(session, "allocate", cell="", cpu="CPU 0").sentence
    assert sentence == (
        "Allocated object 9 of the slab at page 128: CPU 0's freelist was empty, so it took over the 2 objects of its slab's own freelist."
    )


def test_a_full_slab_leaves_the_cpu_is_on_no_list_and_a_free_puts_it_on_the_partial_list(session):
    assert run(session, "fill", cell="").sentence == (
        "Allocated 21 objects: the slab at page 128 is now full, but CPU 0's until that needs another object; for that, it built 1 slab: "
        "took 1 struct slab and 6 descriptors, rewrote 32 mem_desc words in 6 splits."
    )
    sentence = run(session, "allocate", cell="", cpu="CPU 0").sentence
    assert sentence.endswith("; its old slab at page 128 is full, and on no list from now on.")
    sentence = run(session, "free", cell="object-128-3", cpu="CPU 0").sentence
    assert (
        sentence
        == "Freed object 3 of the slab at page 128: to the slab's freelist; the slab was full and on no list, and is now last on the partial list."
    )
    assert run(session, "free", cell="object-128-4", cpu="CPU 0").sentence.endswith("the slab stays where it is on the partial list.")
    sentence = run(session, "allocate", cell="", cpu="CPU 1").sentence
    assert sentence == (
        "Allocated object 4 of the slab at page 128: CPU 1 had no free object, so the first slab of the partial list became its own, with 2 free objects."
    )


def test_an_empty_slab_is_kept_while_the_partial_list_is_short():
    session = slab_lab(size=4096, pages=128).session
    m = session.machine
    for _ in range(7):
        run(session, "fill", cell="")
    run(session, "allocate", cell="", cpu="CPU 0")
    full = [s.pfn for s in slabs_of(m, slot_of(m, "dentry")) if s.place == "full"]
    last = []
    for pfn in full:
        said = [run(session, "free", cell=f"object-{pfn}-{i}", cpu="CPU 0").sentence for i in range(8)]
        last.append(said[-1])
    kept = m.caches["dentry"].struct.min_partial
    assert ["and is kept: the list has fewer than 6 slabs" in said for said in last] == [i < kept - 1 for i in range(7)]
    for said in last[kept - 1 :]:
        assert (
            "nothing in that is in use now, and the partial list had 6 slabs or more, so the slab was given back with 1 struct slab" in said
        )


def test_free_all_and_shrink_give_everything_back(session):
    m = session.machine
    for _ in range(3):
        run(session, "fill", cell="")
    assert run(session, "free_all", cell="").sentence == (
        "Freed all 63 objects of dentry: no slab was given back; 3 slabs stay (1 CPUs' own, 2 empty)."
    )
    sentence = run(session, "shrink", cell="").sentence
    assert sentence.startswith("Shrank dentry: 1 slab taken from the CPUs, 3 empty slabs given back with 3 struct slabs and ")
    assert sentence.endswith("; 0 slabs stay.")
    assert m.free_pages_count == 64


def test_a_cache_is_created_chosen_and_destroyed(session):
    done = run(session, "create", name="radix_tree_node", size=584, align="0", flags="none")
    assert (
        done.sentence
        == "Created the cache radix_tree_node: 584 bytes an object; slabs of order 1, 14 objects, 16 bytes unused. It has no slab yet."
    )
    run(session, "allocate", cell=done.cell, cpu="CPU 0")
    assert live_objects(session.machine, "radix_tree_node")
    with pytest.raises(Refused, match="radix_tree_node has 1 object in use; free them first"):
        run(session, "destroy", cell=done.cell)
    run(session, "free_all", cell=done.cell)
    assert run(session, "destroy", cell=done.cell).sentence.startswith(
        "Destroyed the cache radix_tree_node: 1 slab given back with 1 struct slab and "
    )
    assert "radix_tree_node" not in session.machine.caches


def test_debug_flags_are_told_with_the_bytes(session):
    done = run(session, "create", name="dbg", size=100, align="0", flags="DEBUG")
    assert ": 100 bytes an object, 120 in its slab; slabs of order 0, 34 objects, 16 bytes unused." in done.sentence
    cell = run(session, "allocate", cell=done.cell, cpu="CPU 0").cell
    assert "now has red zones of cc" in run(session, "allocate", cell=cell, cpu="CPU 0").sentence
    assert run(session, "free", cell=cell, cpu="CPU 1").sentence.endswith("; the object now has red zones of bb and poison.")


def test_the_table_of_caches_may_be_full(session):
    with pytest.raises(Refused, match="Size is a whole number"):
        run(session, "create", name="x", size="8", align="0", flags="none")
    for i in range(64 - len(session.machine.caches)):
        run(session, "create", name=f"c{i}", size=8, align="0", flags="none")
    assert (
        "all 64 slots of the table of caches are taken" in run(session, "create", name="one_more", size=8, align="0", flags="none").sentence
    )


def test_out_of_memory_is_an_ordinary_sentence(session):
    m = session.machine
    while m.alloc_pages(0) is not None:
        pass
    assert run(session, "build", cell="").sentence == "dentry got no slab: no page is free."
    assert "kmem_cache_free(kmem_cache_slab) is called." in session.recording().marks  # the struct slab went back
    assert run(session, "allocate", cell="", cpu="CPU 0").sentence == "kmem_cache_alloc(dentry) returned None: no page is free."
    assert run(session, "fill", cell="").sentence.startswith("kmem_cache_alloc_bulk(dentry, 21) returned None: ")


@pytest.mark.parametrize(
    ("name", "params", "reason"),
    [
        ("free", {"cell": "", "cpu": "CPU 0"}, "Select an allocated object (a) in the picture first."),
        ("free", {"cell": "slab-128", "cpu": "CPU 0"}, "Select an allocated object (a) in the picture first."),
        (
            "free",
            {"cell": "object-128-9", "cpu": "CPU 0"},
            "Object 9 of the slab at page 128 is free already; select an allocated one (a).",
        ),
        ("free", {"cell": "object-128-0", "cpu": "CPU 2"}, "On is one of CPU 0, CPU 1, not 'CPU 2'."),
        ("free", {"cell": "object-64-0", "cpu": "CPU 0"}, "That object of kmem_cache_slab describes pages; it goes when they go."),
        ("free_all", {"cell": "cache-1"}, "The objects of kmem_cache_slab describe pages"),
        ("free_all", {"cell": "cache-5"}, "No object of kmalloc-64 is in use."),
        ("allocate", {"cell": "cache-15", "cpu": "CPU 0"}, "Objects of folio come and go with their pages; choose another cache."),
        ("destroy", {"cell": "cache-5"}, "kmalloc-64 is one of the machine's own caches."),
        ("create", {"name": "dentry", "size": 8, "align": "0", "flags": "none"}, "there is a cache named 'dentry' already"),
        ("create", {"name": "a b", "size": 8, "align": "0", "flags": "none"}, "Name is a name of 1 to 31 letters"),
        ("create", {"name": "a", "size": 7, "align": "0", "flags": "none"}, "Size is a whole number from 8 to"),
        ("create", {"name": "a", "size": 8, "align": "3", "flags": "none"}, "Alignment is one of 0, 16"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(session, name, params, reason):
    run(session, "allocate", cell="", cpu="CPU 0")
    ram = session.machine.snapshot()
    with pytest.raises(Refused, match=re.escape(reason)):
        run(session, name, **params)
    assert session.machine.snapshot() == ram


def test_free_is_off_until_an_object_in_use_is_selected(session):
    free = SLAB_LAB.action("free")
    assert free.reason(session, None) == "Select an allocated object (a) in the picture first."
    cell = run(session, "allocate", cell="", cpu="CPU 0").cell
    assert free.reason(session, cell) is None
    assert SLAB_LAB.action("allocate").reason(session, None) is None  # no selection: the newest cache


@pytest.mark.parametrize("seed", range(2))
def test_random_actions_on_other_machines_leave_ram_in_order_and_code_and_undo_repeat_them(seed):
    rng = random.Random(seed)
    view = slab_lab(pages=(16, 256)[seed], cpus=(1, 3)[seed])
    session, m = view.session, view.machine
    done = 0
    while done < 60:
        action = rng.choice(SLAB_LAB.actions)
        cells = view.picture().cells
        own = [c.id for c in cells if not c.id.startswith("cache-")] or [""]
        params = {}
        for param in action.params:
            if param.name == "cell":
                params["cell"] = rng.choice(own) if rng.random() < 0.8 else rng.choice(cells).id
            elif param.name == "name":
                params["name"] = f"c{done}"
            elif param.name == "size":
                params["size"] = rng.choice([8, 24, 100, 192, 584, 1000, 4000, 9000])
            else:
                params[param.name] = rng.choice(param.accepts(session))
        if action.name in ("create", "destroy", "free_all") and rng.random() < 0.7:
            continue
        try:
            sentence = run(session, action.name, **params).sentence
        except Refused:
            continue
        finally:
            done += 1
        assert sentence.endswith("."), seed
        view.look = view.look._replace(cell=params.get("cell"))
        view.picture().html()
        view.lab.details(m, view.look)
    namespace = {}
    exec(session.code(), namespace)
    assert namespace["m"].snapshot() == m.snapshot(), seed
    after = m.snapshot()
    session.reset()
    session.go(len(session.steps))
    assert m.snapshot() == after


def test_a_state_code_opens_the_lab_in_the_same_state(session):
    run(session, "create", name="dbg", size=100, align="32", flags="DEBUG")
    run(session, "fill", cell="")
    run(session, "free", cell="object-128-3", cpu="CPU 1")
    again = open_lab(state_code(session))
    assert again.machine.snapshot() == session.machine.snapshot()
    assert again.lab is SLAB_LAB


def test_a_machine_of_your_own_can_be_looked_at():
    m = Machine("1M", max_order=6, nodes=2)
    view = slab_lab(m)
    assert isinstance(view, LabView)
    assert view.session is Session.of(m)
    cell = f"cache-{slot_of(m, 'kmalloc-192')}"
    run(view.session, "fill", cell=cell)
    assert "Partial list of node 1" in figure(m, cell).html()


def test_the_demo_is_shown_as_pictures_and_sentences():
    html = slab_lab().static_html()
    for words in (
        "Built a slab of dentry",
        "the first slab of the partial list became its own",
        "is now full",
        "since the slab is CPU 0&#x27;s and CPU 1 frees",
    ):
        assert words in html


# --- A learner's own functions


def test_your_functions_are_compared_in_the_table_of_orders():
    view = slab_lab(
        size=584,
        yours={"objects_per_slab": lambda size, order, page_size: (page_size << order) // size, "calculate_order": lambda _size, _cpus: 1},
    )
    html = view.picture().html()
    assert html.count("yours: the same") == 4
    assert "Your rule picks order 1, as Linux&#x27;s does." in html


def test_a_function_that_never_ends_or_raises_or_gives_no_number_is_a_sentence():
    def endless(_size, _cpus):
        while True:
            pass

    html = slab_lab(yours={"objects_per_slab": lambda *_: "many", "calculate_order": endless}).picture().html()
    assert "! yours: &#x27;many&#x27; is no whole number" in html
    assert (
        "! yours: a number of 16,610 bits is no answer to that"
        in slab_lab(yours={"objects_per_slab": lambda *_: 10**5000}).picture().html()
    )
    assert "did not end" in html
    with pytest.raises(ValueError, match="the Slab lab takes objects_per_slab, calculate_order of yours, not 'buddy_of'"):
        slab_lab(yours={"buddy_of": abs})
