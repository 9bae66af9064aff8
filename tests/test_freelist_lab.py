"""The Free-list lab: what its actions say, that this is what happened on both sides, and its pictures."""

import contextlib
import random
import re

import pytest

from memlab import GFP, Machine
from memlab.figures import Picture, radix_trees
from memlab.figures import freelist_lab as draw
from memlab.labs import FREELIST_LAB, Refused, Session, freelist_lab, freelist_machine
from memlab.labs.lab import Look
from memlab.study import RadixMachine, SideBySide, Use

HIGH = GFP.KERNEL | GFP.HIGHMEM


@pytest.fixture
def session():
    """The session of a fresh Free-list lab."""
    return freelist_lab().session


def run(session, name, **params):
    return session.run(FREELIST_LAB.action(name), **params)


# --- The preset


def test_both_machines_have_the_same_pages_and_all_highmem_is_held():
    m = freelist_machine()
    assert [(m.held[n].linked, m.held[n].radix) for n in m.held] == [(pfn, pfn) for pfn in range(48, 64)]
    assert m.linked.buddyinfo()[0, "HighMem"] == m.radix.buddyinfo()[0, "HighMem"] == [0] * 5
    m.check()


@pytest.mark.parametrize(("pages", "page_size"), [(64, 256), (64, 1024), (128, 4096)])
def test_other_sizes_can_be_had(pages, page_size):
    view = freelist_lab(pages=pages, page_size=page_size)
    assert (view.machine.nr_pages, view.machine.page_size) == (pages, page_size)
    for name, params in (("free_highmem", {}), ("fill", {}), ("free_highmem", {}), ("free_all", {})):
        run(view.session, name, **params)
        view.machine.check()
        assert view.picture().svg()


@pytest.mark.parametrize(
    ("params", "kind"),
    [({"pages": 63}, ValueError), ({"pages": True}, TypeError), ({"page_size": 100}, ValueError), ({"page_size": "4K"}, TypeError)],
)
def test_a_bad_size_is_refused_with_a_sentence(params, kind):
    with pytest.raises(kind, match=r"^pages? ?|^page_size is "):
        freelist_machine(**params)


def test_only_a_pair_of_machines_can_have_this_lab():
    with pytest.raises(TypeError, match=r"takes a memlab\.study\.SideBySide, or nothing"):
        freelist_lab(Machine("1M"))
    view = freelist_lab(SideBySide("64K", 1024, 3, "16K"))
    assert "Allocated block 1 of order 2" in run(view.session, "allocate", order=2, zone="HIGHMEM first").sentence
    assert view.session.code().startswith("# m is your own machine")


# --- What the actions say, and that it is so


def test_allocate_says_what_either_side_gave_and_what_it_cost(session):
    m = session.machine
    linked, radix = m.linked.stats, m.radix.stats
    done = run(session, "allocate", order=2, zone="lowmem")
    pair = m.held[17]
    assert done.cell == f"radix-{pair.radix}"
    cost = m.radix.stats - radix
    assert done.sentence.startswith(
        f"Allocated block 17 of order 2: linked lists gave page {pair.linked}, took no descriptor, rewrote 4 mem_desc words; "
    )
    nodes = f"took 1 node, gave back 1 node, wrote {cost.words_written} words."
    assert (cost.nodes_allocated, cost.nodes_freed) == (1, 1)
    assert done.sentence.endswith(f"radix trees gave page {pair.radix}, {nodes}")
    assert (m.linked.stats - linked).words_typed == 4


def test_a_lowmem_page_becomes_the_node_that_its_own_free_needs(session):
    m = session.machine
    run(session, "fill")
    number, pair = next((n, p) for n, p in m.held.items() if None not in p and p.radix < 48)
    done = run(session, "free", cell=f"radix-{pair.radix}")
    assert done.sentence.startswith(f"Freed block {number} of order 0: linked lists took back page {pair.linked}, ")
    assert f"radix trees had too few nodes, so page {pair.radix} itself was cut into 2 nodes and is in no tree" in done.sentence
    assert m.radix.block(pair.radix).use == Use.NODES
    assert any(f"page {pair.radix} itself is cut into nodes" in words for words in done.recording.marks)


def test_a_highmem_page_cannot_and_stays_pending_when_lowmem_is_full(session):
    m = session.machine
    run(session, "fill")
    done = run(session, "free_highmem")
    why = "no node is left, page 48 has no virtual address to hold one, and no lowmem page is free"
    assert done.sentence.endswith(f"radix trees could not take page 48, which stays pending: {why}.")
    assert "linked lists took back page 48, took no descriptor, rewrote 1 mem_desc word; " in done.sentence
    assert m.radix.block(48).use == Use.PENDING
    assert m.linked.buddyinfo()[0, "HighMem"][0] == 1
    low = next(p.radix for p in m.held.values() if p.radix is not None and p.radix < 48)
    assert run(session, "free", cell=f"radix-{low}").sentence.endswith("then entered 1 pending block.")
    assert m.radix.block(48).use == Use.FREE


def test_a_highmem_page_makes_freeing_allocate_when_lowmem_is_left(session):
    m = session.machine
    done = run(session, "free_highmem")
    assert "radix trees had to allocate 1 lowmem page for nodes in order to free page 48" in done.sentence
    assert m.radix.stats.pages_allocated_while_freeing == 1
    assert m.linked.stats.pages_allocated_while_freeing == 0


def test_fill_and_free_all_count_what_they_did(session):
    m = session.machine
    done = run(session, "fill")
    gave = [sum(pair[side] is not None for pair in m.held.values()) - 16 for side in (0, 1)]
    assert f"linked lists gave {gave[0]} pages" in done.sentence
    assert f"radix trees gave {gave[1]} pages" in done.sentence
    assert len(done.recording) == 1 + max(gave)
    assert m.linked.free_pages_count == m.radix.free_pages_count == 0
    held = len(m.held)
    done = run(session, "free_all")
    assert done.sentence.startswith(f"Freed {held} blocks: linked lists have {m.linked.free_pages_count} free pages")
    assert f"radix trees have {m.radix.free_pages_count} free pages" in done.sentence
    assert m.held == {}
    with pytest.raises(Refused, match="there is nothing to free"):
        run(session, "free_all")
    with pytest.raises(Refused, match="No HIGHMEM page is held"):
        run(session, "free_highmem")


def test_out_of_memory_is_an_ordinary_sentence_and_no_step(session):
    run(session, "fill")
    steps = len(session.steps)
    done = run(session, "allocate", order=0, zone="HIGHMEM first")
    assert done.sentence == "Neither the linked lists nor the radix trees have a block of order 0 for this request."
    assert len(session.steps) == steps


def test_a_pending_page_is_neither_allocated_nor_free(session):
    run(session, "fill")
    run(session, "free_highmem")
    done = run(session, "allocate", order=0, zone="HIGHMEM first")
    assert "linked lists gave page 48" in done.sentence
    assert done.sentence.endswith("radix trees had none.")
    session.machine.check()


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("radix-0", "Page 0 of the radix trees is not a block of this lab (reserved: the struct pages)"),
        ("radix-2", "page of tree nodes"),
        ("linked-16", "slab of descriptors"),
        ("list-32", "Page 32 of the linked lists is not a block of this lab (free block)"),
        ("radix-99", "radix-99 is no page of these machines"),
        ("radix-²", "no page of these machines"),
        ("nonsense", "nonsense is no page of these machines"),
        (None, "Select a page in the picture first"),
    ],
)
def test_a_cell_that_cannot_be_freed_is_refused_with_the_reason(session, cell, reason):
    before = session.machine.snapshot()
    with pytest.raises(Refused, match=re.escape(reason)):
        run(session, "free", cell=cell)
    assert session.machine.snapshot() == before


def test_what_code_allocated_on_one_side_is_not_the_labs_to_free(session):
    pfn = session.machine.radix.alloc_pages(0)
    with pytest.raises(Refused, match="allocated by code, and not held by this lab"):
        run(session, "free", cell=f"radix-{pfn}")


# --- One history for both


def random_step(session, rng):
    m = session.machine
    roll = rng.random()
    with contextlib.suppress(Refused):
        if roll < 0.1:
            session.undo()
        elif roll < 0.13:
            session.redo()
        elif roll < 0.45:
            run(session, "allocate", order=min(int(rng.expovariate(0.9)), m.max_order), zone=rng.choice(["lowmem", "HIGHMEM first"]))
        elif roll < 0.5:
            run(session, rng.choice(["fill", "free_all"]))
        elif roll < 0.6:
            run(session, "free_highmem")
        else:
            run(session, "free", cell=f"{rng.choice(['radix', 'linked'])}-{rng.randrange(m.nr_pages)}")


def test_random_actions_leave_both_in_order_and_code_and_undo_repeat_them(session):
    rng, m = random.Random(1), session.machine
    start = m.snapshot()
    for _ in range(80):
        random_step(session, rng)
        m.check()
    end = m.snapshot()
    namespace = {}
    exec(session.code(), namespace)
    assert namespace["m"].snapshot() == end
    session.reset()
    assert m.snapshot() == start
    assert len(m.held) == 16


def test_a_state_that_has_no_code_is_not_said_to_have_a_save(session):
    session.machine.alloc_pages(0)
    session.notice()
    with pytest.raises(Refused, match=r"changed by code in a notebook cell\. Show code gives the steps as Python\.$"):
        _ = freelist_lab(session.machine).state_code


def test_undo_brings_a_consumed_page_back_and_the_numbers_too(session):
    m = session.machine
    run(session, "fill")
    before, held = m.snapshot(), m.held
    run(session, "free", cell="radix-20")
    session.undo()
    assert m.snapshot() == before
    assert m.held == held
    assert m.radix.block(20).use == Use.ALLOCATED


def test_a_recording_shows_both_sides_as_they_were(session):
    run(session, "fill")
    done = run(session, "free", cell="radix-20")
    m, end = session.machine, session.machine.snapshot()
    k = next(k for k, words in enumerate(done.recording.marks) if words.startswith("Linked lists:"))
    with done.recording.at(k):
        assert m.radix.block(20).use == Use.ALLOCATED
        assert m.linked.free_pages_count == 1
    with done.recording.at(0):
        assert m.linked.free_pages_count == 0
        assert isinstance(FREELIST_LAB.figure(m, Look(range(64), "radix-20")), Picture)
    assert m.snapshot() == end


# --- The picture


def test_the_picture_agrees_with_ram(session):
    m, rng = session.machine, random.Random(3)
    for _ in range(40):
        random_step(session, rng)
        picture = draw(m)
        labels = {cell.id: cell.label for cell in picture.cells}
        for b in m.radix.blocks():
            words = {Use.FREE: "free block", Use.ALLOCATED: "allocated block", Use.NODES: "tree nodes", Use.PENDING: "pending"}
            assert words.get(b.use, "reserved") in labels[f"radix-{b.start}"]
            if b.use in (Use.FREE, Use.ALLOCATED):
                assert f"order {b.order} from page {b.start}" in labels[f"radix-{b.pages[-1]}"]
        used = sum(
            m.radix.w[at] != 0 for z in m.radix.zones for k in range(5) for n in m.radix.tree_nodes(z, k) for at in m.radix.slots(n.word)
        )
        drawn = sum(svg.count(f"h{112 / 16:g}v14") for name, svg in picture.fragments.items() if name.startswith("radix_trees"))
        assert drawn == used


def test_both_pages_of_the_selected_block_are_marked_and_what_describes_it(session):
    m = session.machine
    pair = m.held[3]
    picture = FREELIST_LAB.figure(m, Look(range(64), f"radix-{pair.radix}"))
    assert "ml-selected" in picture.fragments["linked-selection"]
    assert "ml-selected" in picture.fragments["radix-selection"]
    assert "ml-home" in picture.fragments["linked-selection"]
    details = dict(FREELIST_LAB.details(m, Look(range(64), f"linked-{pair.linked}")))
    assert details["Block"] == "3, order 0: page 50 of the linked lists, page 50 of the radix trees"
    assert details["Address"].startswith("none: HIGHMEM")
    free = next(b.start for b in m.radix.blocks() if b.use == Use.FREE)
    assert "a slot in page" in dict(FREELIST_LAB.details(m, Look(range(64), f"radix-{free}")))["Entry"]
    nodes = next(b.start for b in m.radix.blocks() if b.use == Use.NODES)
    assert "level" in dict(FREELIST_LAB.details(m, Look(range(64), f"radix-{nodes}")))["Node 1"]
    assert dict(FREELIST_LAB.details(m, Look(range(64))))["Selected"].startswith("nothing yet")


def test_pictures_of_damaged_machines_can_be_drawn():
    rng = random.Random(9)
    m = freelist_machine()
    whole = m.snapshot()
    r = m.radix
    places = [*range(r.KA, r.stat), *range(r.MM, r.MM + 2 * r.nr_pages), *range(2 << r.WS, 9 << r.WS)]
    for _ in range(30):
        for _ in range(4):
            r.w[rng.choice(places)] = rng.choice([0, 1, r.B + 2, r.B + (rng.randrange(64) << r.PS) + 2, rng.getrandbits(64)])
        m.linked.w[m.linked.MM + rng.randrange(64)] = rng.choice([0, 1, m.linked.B + 1, rng.getrandbits(64)])
        for cell in (None, "radix-7", "linked-20", "list-32"):
            look = Look(range(64), cell)
            assert FREELIST_LAB.figure(m, look).html()
            assert FREELIST_LAB.details(m, look)
        m.restore(whole)


def test_trees_of_a_machine_alone_can_be_drawn():
    picture = radix_trees(RadixMachine("4M"), hexadecimal=True)
    assert "in page 0x" in picture.html()


def test_the_lab_says_the_same_each_time_and_in_static_pages(monkeypatch):
    assert repr(freelist_lab()) == repr(freelist_lab()) == "<Free-list lab: pages 0 to 63>"
    assert freelist_lab().picture().html() == freelist_lab().picture().html()
    html = freelist_lab().static_html()
    assert "which stays pending" in html
    assert "itself was cut into 2 nodes" in html
    assert Session.of(freelist_machine()).steps == []
