"""The Bootstrap lab in the kernel: its machine, the steps inside a request, what they say and what is drawn of them."""

import re

import pytest

from memlab import Machine, MemType
from memlab.figures import bootstrap_lab as figure
from memlab.figures.bootstrap import stage_of
from memlab.labs import LabView, Look, Refused, Session, bootstrap_lab, bootstrap_machine
from memlab.labs.bootstrap import BOOTSTRAP_LAB, give_back_descriptors, use_up_descriptors
from memlab.labs.steps import steps

DESIGNS = ("as-written", "bounded")
ORDERS = range(4)


def spare(m, cache):
    row = next(row for row in m.slabinfo() if row["name"] == cache)
    return row["num_objs"] - row["active_objs"]


def do(session, name, **params):
    done = session.run(BOOTSTRAP_LAB.action(name), **params)
    session.machine.check()
    return done


def asked(order, design="as-written", action="struct_slab"):
    """A session in which something was just asked for, and what came of it."""
    session = bootstrap_lab(order=order, design=design).session
    return session, do(session, action)


def step(recording, words):
    """The number of the one step whose sentence contains the words."""
    (k,) = (k for k, mark in enumerate(recording.marks) if words in mark)
    return k


# The machine


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_machine_has_one_free_block_and_no_free_descriptor(order, design):
    m = bootstrap_machine(order, design)
    m.check()
    assert m.buddyinfo()[0, "Normal"] == [int(k == order) for k in range(6)]
    assert (spare(m, "kmem_cache_buddy"), spare(m, "kmem_cache_slab")) == (0, 0)
    assert m.config.design == design


@pytest.mark.parametrize(
    ("args", "error"), [((4,), ValueError), ((-1,), ValueError), (("2",), TypeError), ((True,), TypeError), ((0, "other"), ValueError)]
)
def test_bad_arguments_are_refused_in_a_sentence(args, error):
    with pytest.raises(error, match=r"(order|design) is"):
        bootstrap_machine(*args)


def test_the_lab_takes_a_machine_or_nothing():
    with pytest.raises(TypeError, match="takes a Machine"):
        bootstrap_lab("machine")
    m = Machine("1M")
    assert bootstrap_lab(m).machine is m


# What __alloc_slab does, step by step


def test_of_order_0_the_page_describes_itself():
    session, done = asked(0)
    m, marks = session.machine, done.recording.marks
    inside = marks[step(done.recording, "__alloc_slab") :]
    assert "the smallest free block has order 0, and starts at page 46" in inside[0]
    assert [re.split(r"[:,.]", mark)[0] for mark in inside[1:4]] == [
        "The block of order 0 at page 46 is taken off its free list",
        "The mem_desc of page 46 now names a struct slab at byte 0 of page 46 itself",
        "The first 64 bytes of page 46 become its struct slab",
    ]
    assert m.mem_desc(46) == (MemType.SLAB, m.page_address(46))
    assert m.slab(m.page_address(46)).virt == m.page_address(46)
    assert done.sentence == "Asked for a struct slab and got the one at byte 64 of page 46: built 1 slab, wrote 77 words in 13 steps."


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(("order", "pfn"), [(1, 44), (2, 40), (3, 48)])
def test_of_a_higher_order_the_second_page_joins_kmem_cache_buddy_and_holds_its_own_descriptor(order, pfn, design):
    session, done = asked(order, design)
    m, r = session.machine, done.recording
    one, two = m.page_address(pfn), m.page_address(pfn + 1)
    assert (m.mem_desc(pfn).address, m.mem_desc(pfn + 1).address) == (one, one + 64)
    own = m.slab(one + 64).buddy
    assert (own - m.B >> m.PS, m.buddy(own).page) == (pfn + 1, m.pfn_to_page(pfn + 1))
    story = [
        "__alloc_slab() is called",
        f"The block of order {order} at page {pfn} is taken off its free list",
        "Its old struct buddy keeps the upper half",
        f"describes page {pfn}, order 0",
        f"The mem_desc of page {pfn} now names a struct slab at byte 0 of page {pfn} itself, which is not written yet",
        f"The mem_desc of page {pfn + 1} now names a struct slab at byte 64 of page {pfn}, which is not written yet",
        f"The struct slab at byte 64 of page {pfn} is written: it describes page {pfn + 1}",
        f"Page {pfn + 1} joins kmem_cache_buddy: 85 objects, {order} in use",
        f"Page {pfn + 1} goes on the partial list of kmem_cache_buddy",
        f"The first 64 bytes of page {pfn} become its struct slab: the page describes itself",
        f"Page {pfn} joins kmem_cache_slab: 64 objects, 2 in use",
    ]
    at = [step(r, words) for words in story]
    assert at == sorted(at)
    assert ("change places" in " ".join(r.marks)) == (order == 1)
    parts = [mark for mark in r.marks if mark.startswith("A new struct buddy on page")]
    assert len(parts) == order  # and all of them are on page 2
    assert all(f"on page {pfn + 1} describes" in mark for mark in parts)
    written = {c.address for c in r.changes(at[6])}
    assert written - {a for a in written if a >= m.B + 8 * m.stat} <= set(range(one + 64, one + 128, 8))
    with r.at(at[5]):
        assert m.slab(one + 64).virt == 0
        assert m.mem_desc(pfn + 1).address == one + 64
    assert two == m.slab(one + 64).virt


def test_a_page_can_be_asked_for_and_the_chain_of_calls_leads_to_alloc_slab():
    _, done = asked(2, action="page")
    calls = [mark.split("(")[0] for mark in done.recording.marks if "is called" in mark]
    assert calls[:12] == [
        "alloc_pages",
        "kmem_cache_alloc_bulk",
        *["___slab_alloc", "new_slab", "allocate_slab", "alloc_slab_page", "kmem_cache_alloc"],
        *["___slab_alloc", "new_slab", "allocate_slab", "alloc_slab_page", "__alloc_slab"],
    ]
    assert done.sentence.startswith("Asked for a page and got page 43: built 3 slabs")


def test_bounded_carves_a_page_for_kmem_cache_buddy_and_calls_nothing_for_it():
    depth = {}
    for design in DESIGNS:
        _, done = asked(2, design, "page")
        depth[design] = done.recording.marks
    carved = "A new struct buddy on page 42 describes page 42, order 0: the page holds its own struct buddy."
    assert carved in depth["bounded"]
    assert carved not in depth["as-written"]
    calls = {design: sum("is called" in mark for mark in marks) for design, marks in depth.items()}
    assert calls["bounded"] < calls["as-written"]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("action", ["struct_slab", "page"])
def test_every_step_shows_its_words_and_is_drawn_and_told_without_a_slip(order, design, action):
    session, done = asked(order, design, action)
    m, r = session.machine, done.recording
    end = m.snapshot()
    look = Look(session.setup.arena, done.cell, recording=r)
    for k in range(len(r)):
        counters = m.B + 8 * m.stat
        words = [c.address for c in r.changes(k) if not counters <= c.address < m.V]
        with r.at(k):
            picture = BOOTSTRAP_LAB.figure(m, look._replace(frame=k))
            told = BOOTSTRAP_LAB.details(m, look._replace(frame=k))
        assert r.marks[k][-1] in ".!"
        assert " writes " not in r.marks[k], "a step that has no sentence of its own"
        drawn = {c.id for c in picture.cells}
        stage = stage_of(m, int(done.cell[5:]) if done.cell else None, r)
        shown = [a for a in words if f"w-{stage.pfn}-{a - m.B >> 3}" in drawn]
        marked = {c.id for c in picture.cells if c.label.endswith("written in this step")}
        assert {f"w-{stage.pfn}-{a - m.B >> 3}" for a in shown} <= marked
        assert told[0] == ("This step", f"wrote {len(words)} word{'s' * (len(words) != 1)}" if words else "wrote nothing")
        assert len(told) >= min(len(words), 14) + 1
        assert bool(words) or "is called" in r.marks[k] or k == len(r) - 1
    assert m.snapshot().parts() == end.parts()


def test_what_is_told_of_a_word_is_its_field_and_both_values():
    session, done = asked(2)
    m, r = session.machine, done.recording
    k = step(r, "The struct slab at byte 64 of page 40 is written")
    with r.at(k):
        told = dict(BOOTSTRAP_LAB.details(m, Look(session.setup.arena, done.cell, False, k, r)))
    address = m.page_address(41)
    assert told["page 40, struct slab[1].virt"] == f"0 → {address:#x} (41+0x0)"
    assert told["page 40, struct slab[1].inuse, objects …"] == "0 → 2 in use of 0, order 0"
    k = step(r, "The mem_desc of page 41 now names a struct slab")
    with r.at(k):
        told = dict(BOOTSTRAP_LAB.details(m, Look(session.setup.arena, done.cell, False, k, r)))
    assert told["struct page of pfn 41.mem_desc"] == f"{address | 1:#x} (41+0x0, FREE) → {m.page_address(40) + 64 | 3:#x} (40+0x40, SLAB)"


def test_a_request_that_finds_no_memory_says_so():
    session = bootstrap_lab().session
    do(session, "take_block", order=0)
    before = session.machine.snapshot()
    done = do(session, "struct_slab")
    assert "got NULL, for there is no memory for it: no slab had to be built" in done.sentence
    assert "no block is free" in " ".join(done.recording.marks)
    assert done.cell is None
    assert session.machine.buddyinfo()[0, "Normal"] == [0] * 6
    session.machine.restore(before)


def test_steps_of_work_that_raises_leave_nothing_installed():
    m = Machine("1M")
    words = m.w
    with pytest.raises(ZeroDivisionError):
        steps(m, lambda: 1 / 0)
    assert m.w is words
    assert "get_free_page" not in vars(m)


# The other actions


def test_choosing_which_orders_are_free():
    session = bootstrap_lab(order=1).session
    assert do(session, "free_block", order=3).sentence == "Freed pages 48 to 55, order 3; nothing was allocated for that."
    assert session.machine.buddyinfo()[0, "Normal"] == [0, 1, 0, 1, 0, 0]
    assert "needed" in do(session, "take_block", order=1).sentence
    assert session.machine.buddyinfo()[0, "Normal"] == [0, 0, 0, 1, 0, 0]
    with pytest.raises(Refused, match="Order to take is one of 3, not 1"):
        do(session, "take_block", order=1)
    do(session, "take_block", order=3)
    assert BOOTSTRAP_LAB.action("take_block").reason(session, None) == "No block is free; free one first."
    with pytest.raises(Refused):
        do(session, "take_block", order=3)


def test_freeing_neighbours_merges_and_says_so():
    session = bootstrap_lab(order=0).session
    done = do(session, "free_block", order=0)
    assert done.sentence.startswith("Freed page 47, order 0; it merged with its buddy, which gave back 1 descriptor")
    assert done.cell == "page-46"


@pytest.mark.parametrize("design", DESIGNS)
def test_as_written_the_two_pages_pin_each_other_and_bounded_lets_go(design):
    session, _ = asked(1, design)
    done = do(session, "give_back")
    pinned = [session.machine.mem_desc(p).type is MemType.SLAB for p in (44, 45)]
    assert pinned == [design == "as-written"] * 2
    assert ("pages 44 and 45 of the arena stay slabs" in done.sentence) == (design == "as-written")
    with pytest.raises(Refused, match="Nobody holds a descriptor"):
        do(session, "give_back")


def test_descriptors_can_be_used_up_again_and_then_the_next_request_builds():
    session, _ = asked(0)
    assert "no slab had to be built" in do(session, "struct_slab").sentence
    assert do(session, "use_up").sentence.startswith("Took all 61 free descriptors")
    with pytest.raises(Refused, match="the next request has to build"):
        do(session, "use_up")
    do(session, "free_block", order=2)
    assert "built 2 slabs" in do(session, "struct_slab").sentence


def test_use_up_and_give_back_are_functions_too():
    m = Machine("1M")
    n = spare(m, "kmem_cache_buddy") + spare(m, "kmem_cache_slab")
    assert use_up_descriptors(m) == n
    assert give_back_descriptors(m) == n
    assert give_back_descriptors(m) == 0
    m.check()


# The picture


@pytest.mark.parametrize(
    "machine", [Machine("1M"), Machine("16K", page_size=256, max_order=4), Machine("1M", nodes=2, highmem="256K", cpus=2)]
)
def test_the_figure_draws_any_page_of_any_machine(machine):
    for pfn in (None, *range(machine.nr_pages)):
        assert "word by word" in figure(machine, pfn).label
    for hexadecimal in (False, True):
        assert figure(machine, 1, range(8), hexadecimal).html() == figure(machine, 1, range(8), hexadecimal).html()


def test_a_damaged_machine_is_drawn_too():
    m = asked(2)[0].machine
    for at in (m.page_address(40), m.page_address(41), m.B + 8 * (m.MM + 40)):
        for word in range(0, 64, 8):
            now = m.snapshot()
            m.write(at + word, b"\xff" * 8)
            figure(m)
            figure(m, 40)
            BOOTSTRAP_LAB.details(m, Look(range(40, 64), "page-40"))
            m.restore(now)


def test_arrows_lead_from_each_mem_desc_to_the_struct_that_it_names():
    session, done = asked(2)
    arrows = figure(session.machine, 40, recording=done.recording).fragments["bootstrap-arrows"]
    assert arrows.count("ml-arrow") == 4  # pages 40 and 41 to the two struct slabs, 42 and 43 to the old descriptor


def test_a_word_can_be_selected_and_is_told_of():
    view = bootstrap_lab(order=2)
    word = view.machine.page_address(40) - view.machine.B >> 3
    cell = f"w-40-{word + 6}"
    assert cell in {c.id for c in view.picture().cells}
    view.look = view.look._replace(cell=cell)
    told = dict(BOOTSTRAP_LAB.details(view.machine, view.look))
    assert (told["Selected"], told["Value"]) == ("page 40, struct slab[0].virt", "0")
    assert "ml-selected" in view.picture().fragments["bootstrap-selection"]
    for junk in ("w-40", "w-40-999999999", "desc-40-x", "page-99", "junk", ""):
        BOOTSTRAP_LAB.details(view.machine, Look(range(40, 64), junk))
        BOOTSTRAP_LAB.figure(view.machine, Look(range(40, 64), junk))


def test_the_demo_shows_both_cases_as_static_html():
    html = LabView(BOOTSTRAP_LAB, Session(BOOTSTRAP_LAB.preset())).static_html()
    assert html.count('class="fragment"') >= 20
    assert "the page describes itself" in html
    assert "joins kmem_cache_buddy" in html


def test_the_code_of_the_steps_makes_an_equal_machine():
    session = bootstrap_lab(order=2, design="bounded").session
    for name, params in (("struct_slab", {}), ("use_up", {}), ("free_block", {"order": 1}), ("page", {}), ("give_back", {})):
        do(session, name, **params)
    space = {}
    exec(session.code(), space)
    assert space["m"].snapshot() == session.machine.snapshot()
