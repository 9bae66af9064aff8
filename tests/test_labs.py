"""The engine of the labs and the Buddy lab: one history, code that repeats it, and no message that can do harm."""

import contextlib
import gc
import random
import re

import pytest
from fake_browser import Browser
from IPython.testing.globalipapp import start_ipython

from memlab import Machine, MemType
from memlab.figures import Picture, page_map
from memlab.figures.blocks import block_of, blocks
from memlab.labs import (
    BUDDY_LAB,
    Action,
    CellParam,
    ChoiceParam,
    Done,
    IntParam,
    Lab,
    LabView,
    Refused,
    Session,
    Setup,
    bootstrap_lab,
    buddy_lab,
    buddy_machine,
    machine_lab,
    slab_lab,
)
from memlab.labs import session as session_module

ALLOCATE, SPLIT, FREE = (BUDDY_LAB.action(name) for name in ("allocate", "split", "free"))
ARENA = range(128, 192)


@pytest.fixture
def session():
    """The session of a fresh Buddy lab."""
    return buddy_lab().session


@pytest.fixture
def open_browser(monkeypatch):
    return lambda view: Browser(view, monkeypatch)


def blocks_of_arena(m):
    return [(b.start, b.order, m.mem_desc(b.start).type) for b in blocks(m, ARENA)]


# --- The preset


def test_the_buddy_machine_has_an_arena_of_one_free_block_and_nothing_else_free():
    m = buddy_machine()
    assert blocks_of_arena(m) == [(128, 6, MemType.FREE)]
    assert m.free_pages_count == 64
    m.check()


@pytest.mark.parametrize("pages", [16, 64, 1024, 65536])
def test_the_arena_has_as_many_pages_as_were_asked_for(pages):
    view = buddy_lab(pages=pages)
    assert len(view.look.arena) == view.machine.free_pages_count == pages
    namespace = {}
    exec(view.session.code(), namespace)
    assert namespace["m"].snapshot() == view.machine.snapshot()


def test_the_first_click_costs_what_it_says_because_descriptors_are_at_hand(session):
    before = session.machine.stats
    sentence = session.run(ALLOCATE, order=0).sentence
    assert sentence == "Allocated order 0 at page 128: split a block of order 6 down; took 6 descriptors, rewrote 32 mem_desc words."
    d = session.machine.stats - before
    assert (d.buddies_allocated, d.splits, d.words_split, d.slabs_allocated) == (6, 6, 32, 0)


def test_descriptors_suffice_for_every_page_of_the_arena_without_a_new_slab(session):
    before = session.machine.stats
    for _ in ARENA:
        session.run(ALLOCATE, order=0)
    assert (session.machine.stats - before).slabs_allocated == 0
    assert session.machine.free_pages_count == 0


@pytest.mark.parametrize(
    ("bad", "kind"), [(0, ValueError), (8, ValueError), (65, ValueError), (1 << 20, ValueError), ("64", TypeError), (True, TypeError)]
)
def test_a_bad_number_of_pages_is_refused_with_a_sentence(bad, kind):
    with pytest.raises(kind, match=r"^pages is a "):
        buddy_machine(bad)


def test_only_a_machine_can_have_a_lab():
    with pytest.raises(TypeError, match="buddy_lab takes a Machine, or nothing for a fresh one, not 64"):
        buddy_lab(64)


# --- What the actions say


def test_an_exact_fit_takes_no_descriptor(session):
    session.run(ALLOCATE, order=0)
    sentence = session.run(ALLOCATE, order=3).sentence
    assert (
        sentence
        == "Allocated order 3 at page 136: a block of that order was free; took no descriptor, changed the type in 8 mem_desc words."
    )


def test_a_split_takes_one_descriptor(session):
    session.run(ALLOCATE, order=3)
    done = session.run(SPLIT, cell="page-131")  # any page of the block will do
    assert (
        done.sentence
        == "Split the block at page 128 into two of order 2, at pages 128 and 132; took 1 descriptor, rewrote 4 mem_desc words."
    )
    assert blocks_of_arena(session.machine)[:2] == [(128, 2, MemType.BUDDY), (132, 2, MemType.BUDDY)]


def test_a_free_says_how_often_it_merged_and_what_that_gave_back(session):
    session.run(ALLOCATE, order=0)
    sentence = session.run(FREE, cell="page-128").sentence
    words = "merged 6 times into a free block of order 6 at page 128; gave back 6 descriptors, rewrote 32 mem_desc words."
    assert sentence == f"Freed order 0 at page 128: {words}"


def test_a_free_that_cannot_merge_says_why(session):
    for _ in range(2):
        session.run(ALLOCATE, order=0)
    sentence = session.run(FREE, cell="page-128").sentence
    assert (
        sentence
        == "Freed order 0 at page 128: no merge, since its buddy at page 129 is in use; gave back no descriptor, changed the type in 1 mem_desc word."
    )
    session.run(ALLOCATE, order=1)
    session.run(ALLOCATE, order=1)
    assert "its buddy at page 128 is free only in part" in session.run(FREE, cell="page-130").sentence


def test_out_of_memory_is_an_ordinary_sentence_and_no_step(session):
    session.run(ALLOCATE, order=5)
    steps = len(session.steps)
    sentence = session.run(ALLOCATE, order=6).sentence
    assert sentence == "alloc_pages(6) returned None: the largest free block has order 5, and order 6 was asked for."
    session.run(ALLOCATE, order=5)
    assert session.run(ALLOCATE, order=0).sentence == "alloc_pages(0) returned None: no page is free."
    assert len(session.steps) == steps + 1


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("page-130", "Page 130 is in a free block; select an allocated one"),
        ("page-64", "Page 64 is not from alloc_pages"),
        ("page-0", "Page 0 is not from alloc_pages"),
        ("page-1", "Page 1 was set aside before the lab began; the lab works on pages 128 to 191"),
        ("page-9999", "page-9999 is no page of this machine"),
        ("page-³", "page-³ is no page of this machine"),
        ("nonsense", "nonsense is no page of this machine"),
        (None, "Select a page in the picture first"),
        (128, "A cell of the picture has a name that is text, not 128"),
    ],
)
@pytest.mark.parametrize("action", [SPLIT, FREE], ids=["split", "free"])
def test_a_cell_that_cannot_be_split_or_freed_is_refused_with_the_reason(session, action, cell, reason):
    ram = session.machine.snapshot()
    with pytest.raises(Refused, match=re.escape(reason)):
        session.run(action, cell=cell)
    assert session.machine.snapshot() == ram
    assert session.steps == []


def test_a_single_page_cannot_be_split(session):
    session.run(ALLOCATE, order=0)
    with pytest.raises(Refused, match="The block at page 128 is a single page, which cannot be split"):
        session.run(SPLIT, cell="page-128")


def test_a_machine_of_your_own_is_worked_on_whole():
    m = Machine("1M", max_order=6, nodes=2, pcp=True)
    s = buddy_lab(m).session
    done = s.run(ALLOCATE, order=0)
    assert "it stays on this CPU's own list of free pages" in s.run(FREE, cell=done.cell).sentence
    assert s.code().startswith("# m is your own machine")
    m.check()


# --- One history


def test_undo_and_redo_move_ram_and_reset_goes_back_to_the_start(session):
    m = session.machine
    states = [m.snapshot()]
    for order in (0, 3, 1):
        session.run(ALLOCATE, order=order)
        states.append(m.snapshot())
    assert session.undo() == f"Undone: {session.steps[2].sentence}"
    assert m.snapshot() == states[2]
    assert session.redo() == f"Redone: {session.steps[2].sentence}"
    assert m.snapshot() == states[3]
    assert session.reset() == "Undid all 3 steps; Redo does them again."
    assert m.snapshot() == states[0]
    session.redo()
    assert m.snapshot() == states[1]


def test_the_counters_go_back_with_ram(session):
    before = session.machine.stats
    session.run(ALLOCATE, order=0)
    session.undo()
    assert session.machine.stats == before


def test_an_action_after_undo_drops_what_was_undone(session):
    session.run(ALLOCATE, order=0)
    session.run(ALLOCATE, order=1)
    session.undo()
    session.run(ALLOCATE, order=2)
    assert [step.code for step in session.steps] == ["m.alloc_pages(0)", "m.alloc_pages(2)"]
    with pytest.raises(Refused, match="nothing to redo"):
        session.redo()


def test_undo_redo_and_reset_at_the_ends_are_refused(session):
    for move, words in ((session.undo, "nothing to undo"), (session.redo, "nothing to redo"), (session.reset, "as it was")):
        with pytest.raises(Refused, match=words):
            move()


def test_what_code_changed_becomes_a_step(session):
    m = session.machine
    session.run(ALLOCATE, order=0)
    ram = m.snapshot()
    pfn = m.alloc_pages(2)
    assert session.notice()
    assert not session.notice()
    assert session.steps[1].sentence == "RAM was changed by code in a notebook cell."
    assert session.code().endswith("# here: RAM was changed by code in a notebook cell.")
    session.undo()
    assert m.snapshot() == ram
    session.redo()
    assert block_of(m, pfn).order == 2


def test_a_change_by_code_is_a_step_of_its_own_even_if_no_cell_ended(session):
    session.run(ALLOCATE, order=0)
    session.machine.alloc_pages(1)
    session.run(ALLOCATE, order=2)
    assert [step.code[:6] for step in session.steps] == ["m.allo", "# here", "m.allo"]


def test_the_history_is_bounded_and_reset_still_goes_to_the_start(session, monkeypatch):
    monkeypatch.setattr(session_module, "MOST_STEPS", 10)
    start = session.machine.snapshot()
    cell = session.run(ALLOCATE, order=0).cell
    for _ in range(12):
        session.run(FREE, cell=cell)
        session.run(ALLOCATE, order=0)
    assert sum(state is not None for state in session._states) <= 11
    for _ in range(9):
        session.undo()
    with pytest.raises(Refused, match="too long ago and is forgotten"):
        session.undo()
    assert session.reset() == "Undid all 16 steps. The first of them are forgotten; Time leads to the newest."
    assert session.machine.snapshot() == start
    with pytest.raises(Refused, match="Time to the newest steps"):
        session.redo()
    session.go(25)
    assert session.machine.snapshot() != start


def test_what_was_recorded_inside_steps_is_bounded_and_the_newest_stays(session, monkeypatch):
    monkeypatch.setattr(session_module, "MOST_BYTES", 400_000)
    fill, free_all = BUDDY_LAB.action("fill"), BUDDY_LAB.action("free_all")
    for _ in range(5):
        session.run(fill, order=0)
        session.run(free_all)
    kept = [step.recording is not None for step in session.steps]
    assert 1 <= sum(kept) < 10
    assert kept == sorted(kept)
    monkeypatch.setattr(session_module, "MOST_BYTES", 0)
    session.run(fill, order=0)
    assert [step.recording is not None for step in session.steps].index(True) == 10


@pytest.mark.parametrize("lab", [bootstrap_lab, machine_lab, slab_lab])
def test_the_code_of_another_lab_on_the_machine_brings_its_imports_and_each_but_once(lab, session):
    other = lab(session.machine)
    for action in other.lab.actions:
        params = {p.name: p.accepts(session)[0] for p in action.params if isinstance(p, IntParam | ChoiceParam)}
        with contextlib.suppress(Refused):
            session.run(action, **params)
            session.run(action, **params)
    assert repeat(session).snapshot() == session.machine.snapshot()
    lines = session.code().splitlines()
    imports = [line for line in lines if "import" in line]
    assert imports == lines[: len(set(imports))]


def test_all_labs_of_a_machine_share_one_session_and_it_goes_with_them():
    m = Machine("1M", max_order=6)
    assert Session.of(m) is not Session.of(Machine("1M", max_order=6))
    first, second = buddy_lab(m), buddy_lab(m)
    assert first.session is second.session
    assert not any("ession" in name for name in vars(m))  # the machine knows nothing of it
    known = len(session_module._sessions)
    first.close()
    second.close()
    del first, second
    gc.collect()
    assert len(session_module._sessions) < known


def test_a_cell_that_changes_ram_is_noticed_after_it_ran():
    shell = start_ipython()
    try:
        view = buddy_lab()
        shell.push({"m": view.machine})
        shell.run_cell("x = 1")
        assert view.session.steps == []
        shell.run_cell("m.alloc_pages(0)")
        assert [step.sentence for step in view.session.steps] == ["RAM was changed by code in a notebook cell."]
        buddy_lab()
        hooks = shell.events.callbacks["post_run_cell"]
        assert hooks.count(session_module._after_cell) == 1
    finally:
        shell.events.unregister("post_run_cell", session_module._after_cell)


# --- Code


def repeat(session):
    """The machine that the session's code makes in a fresh namespace."""
    namespace = {}
    exec(session.code(), namespace)
    return namespace["m"]


def random_step(session, rng):
    """Do one random thing that a learner could do."""
    m = session.machine
    roll = rng.random()
    with contextlib.suppress(Refused):
        if roll < 0.1:
            session.undo()
        elif roll < 0.15:
            session.redo()
        elif roll < 0.55:
            session.run(ALLOCATE, order=min(int(rng.expovariate(0.8)), m.max_order))
        else:
            session.run(rng.choice([SPLIT, FREE, FREE]), cell=f"page-{rng.choice(ARENA)}")


@pytest.mark.parametrize("seed", range(3))
def test_300_random_actions_leave_ram_in_order_and_code_and_undo_repeat_them(session, seed):
    rng, m = random.Random(seed), session.machine
    start = m.snapshot()
    for _ in range(300):
        random_step(session, rng)
        m.check()
    assert len(session.steps) > 100
    end = m.snapshot()
    assert repeat(session).snapshot() == end
    while session.position:
        session.undo()
        m.check()
    assert m.snapshot() == start
    while session.position < len(session.steps):
        session.redo()
    assert m.snapshot() == end


def test_the_code_follows_undo(session):
    session.run(ALLOCATE, order=2)
    session.run(ALLOCATE, order=0)
    session.undo()
    assert session.code() == "from memlab.labs import buddy_machine\n\nm = buddy_machine()\nm.alloc_pages(2)"
    assert repeat(session).snapshot() == session.machine.snapshot()


# --- Messages


def test_what_the_browser_has_patched_is_what_the_figure_draws(open_browser):
    browser = open_browser(buddy_lab())
    rng = random.Random(1)
    for _ in range(60):
        name = rng.choice(["allocate", "allocate", "select", "split", "free", "undo", "redo"])
        params = {"allocate": {"order": rng.randrange(4)}, "select": {"cell": f"page-{rng.choice(ARENA)}"}}.get(name, {})
        browser.press(name, **params)
        assert browser.drawn() == browser.view.picture().fragments


def test_only_changed_fragments_and_cells_are_sent(open_browser):
    browser = open_browser(buddy_lab())
    browser.press("allocate", order=0)
    answer = browser.press("allocate", order=0)
    assert "page_map-row-0" in answer["fragments"]
    assert not any(name.startswith("page_map-row-") for name in answer["fragments"].keys() - {"page_map-row-0"})
    assert not {"legend", "label", "panels", "code", "controls", "hexadecimal"} & answer.keys()
    answer = browser.press("select", cell="page-129")  # it is selected already
    assert answer["fragments"] == answer["cells"] == {}
    assert answer.keys() == {"sequence", "status", "fragments", "cells", "gone", "gone_cells"}


@pytest.mark.parametrize("pages", [2048, 65536])
def test_a_click_sends_at_most_64_kib(open_browser, pages):
    browser = open_browser(buddy_lab(pages=pages))
    for order in (0, 0, 3, 5):
        browser.press("allocate", order=order)
    for name in ("hexadecimal", "code", "state_code"):
        browser.press(name, on=True)
    browser.press("reset")
    browser.press("save_picture")
    assert max(browser.bytes) <= 64 << 10


def test_what_is_allocated_is_selected_so_that_split_and_free_act_on_it(open_browser):
    browser = open_browser(buddy_lab())
    assert {"split", "free", "undo", "redo", "reset"} <= browser.known("disabled").keys()
    assert browser.press("allocate", order=1)["selected"] == "page-128"
    assert browser.known("disabled").keys() == {"redo"}
    assert browser.press("split")["status"].startswith("Split the block at page 128")
    assert browser.press("free")["status"].startswith("Freed order 0 at page 128")


def test_the_details_tell_page_address_block_and_descriptor(open_browser):
    view = buddy_lab()
    browser = open_browser(view)
    browser.press("allocate", order=2)
    told = dict(browser.press("select", cell="page-130")["details"])
    address, buddy = view.machine.page_address(130), view.machine.mem_desc(130).address
    assert told["Page"] == "130 (0x82)"
    assert told["Address"] == f"{address:#x}"
    assert told["Block"] == "order 2: 4 pages, 16 KiB; pages 128 to 131"
    assert told["Described by"] == f"struct buddy at {buddy:#x}, in page {view.machine.virt_to_pfn(buddy)}"
    assert dict(browser.press("select", cell="page-64")["details"])["Slab of"].startswith(
        "kmem_cache_slab, described by the struct slab at 0x"
    )
    assert "mem_map: one word for each of 192 pages" in dict(browser.press("select", cell="page-0")["details"])["Holds"]


def test_numbers_turn_hexadecimal_and_code_is_shown_on_demand(open_browser):
    browser = open_browser(buddy_lab())
    assert browser.answers[-1]["code"] is None
    assert ">0x80<" in browser.press("hexadecimal", on=True)["fragments"]["page_map-row-0"]
    assert browser.press("code", on=True)["code"].endswith("m = buddy_machine()")
    assert browser.press("allocate", order=0)["code"].endswith("m.alloc_pages(0)")
    assert browser.press("code", on=False)["code"] is None


def message(action="allocate", params=None, sequence=1):
    return {"action": action, "params": {"order": 0} if params is None else params, "sequence": sequence}


HOSTILE = [
    *(None, 0, "allocate", [], {}, {"action": "allocate"}, {"action": "allocate", "params": {"order": 0}}),
    {**message(), "extra": 1},
    *(message(sequence=bad) for bad in (None, -1, "1", 1.0, True, 1 << 60, float("nan"), [])),
    *(message(action=bad) for bad in (None, 3, ["allocate"], "", "Allocate", "alloc", "__init__", "_run", "close", "machine", "x" * 9999)),
    *(message(params=bad) for bad in ([], "order", 0, {}, {"order": None}, {"order": -1}, {"order": 7}, {"order": 1 << 99})),
    *(message(params={"order": bad}) for bad in ("0", 0.0, True, [0], {"order": 0}, float("inf"))),
    *(
        message(params=bad)
        for bad in (
            {"order": 0, "gfp": 1},
            {"order": 0, "cell": "page-128"},
            {1: 2},
            {"": 0},
            *({name: 0} for name in ("self", "session", "action", "params", "_session")),
        )
    ),
    *(
        message("select", bad)
        for bad in ({}, {"cell": 128}, {"cell": None}, {"cell": "page-999"}, {"cell": ["page-128"]}, {"cell": {}}, {"on": True})
    ),
    *(message(name, {"on": 1}) for name in ("hexadecimal", "code")),
    *(message(name, {"on": True}) for name in ("show", "undo", "redo", "reset")),
    *(message(name, {"cell": "page-128"}) for name in ("split", "free")),
]


def test_at_least_fifty_hostile_messages_are_tried():
    assert len(HOSTILE) >= 50


@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: repr(content)[:60])
def test_a_hostile_message_is_refused_with_a_sentence_and_ram_untouched(open_browser, content):
    view = buddy_lab()
    browser = open_browser(view)
    browser.press("allocate", order=2)
    ram, stats = view.machine.snapshot(), view.machine.stats
    answer = browser.message(content)
    assert answer.get("refused") is True, answer.get("alert")
    assert re.fullmatch(r"[A-Za-z].{10,250}\.", answer["status"])
    assert view.machine.snapshot() == ram
    assert view.machine.stats == stats
    assert len(view.session.steps) == 1
    assert browser.press("free")["status"].startswith("Freed order 2")  # and the lab goes on


def test_two_views_of_a_machine_stay_in_step_and_only_the_acting_one_speaks(open_browser):
    m = buddy_machine()
    one, two = (open_browser(buddy_lab(m)) for _ in range(2))
    one.press("allocate", order=0)
    assert two.answers[-1]["sequence"] is None
    assert "status" not in two.answers[-1]
    assert two.drawn()["page_map-row-0" if "page_map-row-0" in two.drawn() else "x"] == one.drawn()["page_map-row-0"]
    assert two.view.look.cell is None  # a selection is a view's own
    assert two.press("undo")["status"].startswith("Undone: Allocated order 0")
    assert set(one.answers[-1]["disabled"]) == {"undo", "reset", "split", "free"}
    m.alloc_pages(3)
    one.view.session.notice()
    for browser in (one, two):
        assert browser.drawn() == browser.view.picture().fragments


def test_labs_of_two_machines_do_not_disturb_each_other(open_browser):
    one, two = open_browser(buddy_lab()), open_browser(buddy_lab())
    told = len(two.answers)
    one.press("allocate", order=0)
    assert len(two.answers) == told
    assert two.view.machine.free_pages_count == 64


def test_a_closed_view_is_told_nothing(open_browser):
    view = buddy_lab()
    browser = open_browser(view)
    told = len(browser.answers)
    view.close()
    view.session.run(ALLOCATE, order=0)
    assert len(browser.answers) == told


# --- When something goes wrong


def failing_lab(error):
    """The Buddy lab with an action more, which changes RAM and then fails."""

    def run(session):
        session.machine.alloc_pages(0)
        session.machine.write(session.machine.page_address(130), b"junk")
        raise error

    broken = Action("break", "Break", run=run, code=lambda _session: "raise")
    return Lab("broken", "Broken lab", BUDDY_LAB.preset, (*BUDDY_LAB.actions, broken), BUDDY_LAB.figure, BUDDY_LAB.details, ())


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), RecursionError("too deep"), IndexError()], ids=repr)
def test_an_unexpected_exception_restores_ram_and_shows_the_banner(open_browser, error):
    view = LabView(failing_lab(error), Session(BUDDY_LAB.preset()))
    browser = open_browser(view)
    browser.press("allocate", order=1)
    ram, stats = view.machine.snapshot(), view.machine.stats
    answer = browser.press("break")
    assert type(error).__name__ in answer["alert"]
    assert "RAM is as it was before" in answer["alert"]
    assert view.machine.snapshot() == ram
    assert view.machine.stats == stats
    assert len(view.session.steps) == 1
    assert "alert" not in browser.press("undo")


def test_misuse_that_the_kernel_finds_is_a_plain_sentence(open_browser):
    free = Action("free_twice", "Free twice", run=lambda s: [s.machine.free_pages(128) for _ in range(2)], code=lambda _session: "")
    view = LabView(Lab("x", "X", BUDDY_LAB.preset, (ALLOCATE, free), BUDDY_LAB.figure, BUDDY_LAB.details, ()), Session(BUDDY_LAB.preset()))
    browser = open_browser(view)
    browser.press("allocate", order=0)
    ram = view.machine.snapshot()
    answer = browser.press("free_twice")
    assert answer["refused"]
    assert "128" in answer["status"]
    assert view.machine.snapshot() == ram


def test_a_picture_that_cannot_be_drawn_is_told_and_undo_still_works(open_browser):
    def figure(m, look):
        if m.free_pages_count < 64:
            raise ValueError("no ink")
        return page_map(m, look.arena)

    view = LabView(Lab("x", "X", BUDDY_LAB.preset, (ALLOCATE,), figure, lambda _m, _look: [], ()), Session(BUDDY_LAB.preset()))
    browser = open_browser(view)
    assert "The picture cannot be drawn (ValueError: no ink). Undo" in browser.press("allocate", order=0)["alert"]
    answer = browser.press("undo")
    assert "alert" not in answer
    assert answer["status"].startswith("Undone")


def test_a_lab_on_a_damaged_machine_still_answers(open_browser):
    rng = random.Random(7)
    for _ in range(30):
        view = buddy_lab()
        browser = open_browser(view)
        m = view.machine
        browser.press("allocate", order=1)
        for _ in range(20):
            m.w[rng.choice([m.MM + rng.randrange(m.nr_pages), (64 << m.WS) + rng.randrange(3 << m.WS)])] = rng.choice(
                [0, 3, 1 << 63, m.B + 8, rng.getrandbits(64)]
            )
        damaged = m.snapshot()
        answer = browser.press("select", cell="page-130")
        assert answer.get("status") or answer.get("alert")
        browser.press("undo")
        assert view.session.position == 1  # the damage was noticed as a step, and taken back
        assert m.snapshot() != damaged
        m.check()


# --- Declaring a lab


def test_a_new_lab_is_one_declaration(open_browser):
    def paint(session, colour, times):
        for _ in range(times):
            session.machine.alloc_pages({"small": 0, "large": 2}[colour])
        return Done(f"Painted {times} {colour}.")

    lab = Lab(
        name="paint",
        title="Paint lab",
        preset=lambda: Setup(Machine("256K", max_order=5), range(64), "from memlab import Machine\nm = Machine('256K', max_order=5)"),
        actions=(
            Action(
                "paint",
                "Paint",
                run=paint,
                code=lambda _session, colour, times: f"for _ in range({times}): m.alloc_pages({0 if colour == 'small' else 2})",
                params=(
                    ChoiceParam("colour", "Colour", ("small", "large")),
                    IntParam("times", "Times", 1, high=lambda _session: 3, words=lambda _session, n: f"{n} x"),
                ),
            ),
        ),
        figure=lambda m, look: page_map(m, look.arena),
        details=lambda _m, _look: [],
        demo=(("paint", {"colour": "large", "times": 2}),),
    )
    view = LabView(lab, Session(lab.preset()))
    browser = open_browser(view)
    assert view.actions == [
        {
            "name": "paint",
            "label": "Paint",
            "params": [
                {"kind": "choice", "name": "colour", "label": "Colour", "choices": ["small", "large"]},
                {"kind": "int", "name": "times", "label": "Times", "value": 1, "values": [1, 2, 3], "words": ["1 x", "2 x", "3 x"]},
            ],
        }
    ]
    assert browser.press("paint", colour="small", times=3)["status"] == "Painted 3 small."
    assert browser.press("paint", colour="red", times=3)["status"] == "Colour is one of small, large, not 'red'."
    assert browser.press("paint", colour="small")["status"] == "Times is a whole number from 1 to 3, not None."
    assert repeat(view.session).snapshot() == view.machine.snapshot()
    assert "Painted 2 large." in view.static_html()


@pytest.mark.parametrize("names", [("undo",), ("select", "x"), ("x", "x")])
def test_actions_of_a_lab_have_names_of_their_own(names):
    actions = tuple(Action(name, name, run=lambda _session: Done(""), code=lambda _session: "") for name in names)
    with pytest.raises(ValueError, match="a name of its own"):
        Lab("x", "X", BUDDY_LAB.preset, actions, BUDDY_LAB.figure, BUDDY_LAB.details, ())


def test_no_control_needs_a_cell_param_to_be_drawn():
    assert [a["params"] for a in buddy_lab().actions if a["name"] in ("split", "free")] == [[], []]
    assert CellParam().control(Session(BUDDY_LAB.preset())) is None


# --- Text


def test_the_repr_is_the_same_each_time():
    assert repr(buddy_lab()) == repr(buddy_lab()) == "<Buddy lab: pages 128 to 191>"
    shown = buddy_lab()._repr_mimebundle_()
    data = shown[0] if isinstance(shown, tuple) else shown
    assert data["text/plain"] == "<Buddy lab: pages 128 to 191>"
    assert "application/vnd.jupyter.widget-view+json" in data


def test_static_mode_shows_the_demo_as_pictures_and_sentences(monkeypatch):
    monkeypatch.setenv("MEMLAB_STATIC", "1")
    data = buddy_lab()._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html"}
    assert data == buddy_lab()._repr_mimebundle_()
    html = data["text/html"]
    assert html.count('<div class="fragment">') == html.count('<figure class="memlab-picture">') == 1 + len(BUDDY_LAB.demo)
    assert "Allocated order 0 at page 128: split a block of order 6 down" in html
    assert "Split the block at page 132" in html


def test_a_view_draws_the_same_picture_as_the_figure_function():
    view = buddy_lab()
    assert isinstance(view.picture(), Picture)
    assert view.picture().html() == BUDDY_LAB.figure(view.machine, view.look).html()
    assert view.picture().html() == buddy_lab().picture().html()


def test_a_view_loads_nothing_from_elsewhere():
    for text in (LabView._esm, LabView._css, buddy_lab().picture().html()):
        assert not re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)[a-z]+\.|@import|\burl\(|\bimport\b[^:]*\bfrom\b", text)
