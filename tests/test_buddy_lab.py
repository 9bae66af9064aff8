"""The Buddy lab: what its actions do and say, its picture of RAM, sizes up to 65,536 pages, and the learner's code beside the machine."""

import random
import re

import pytest
from fake_browser import Browser

from memlab import Machine, MemType
from memlab.figures.blocks import block_of, blocks
from memlab.labs import BUDDY_LAB, LABS, Refused, Session, buddy_lab, buddy_machine, open_lab
from memlab.labs.buddy_actions import allocated, storm
from memlab.labs.buddy_yours import NAMES, machine_merge, order_for

ARENA = range(128, 192)


@pytest.fixture
def session():
    return buddy_lab().session


@pytest.fixture
def open_browser(monkeypatch):
    return lambda view: Browser(view, monkeypatch)


def do(session, name, **params):
    return session.run(BUDDY_LAB.action(name), **params)


def blocks_of_arena(m):
    return [(b.start, b.order, m.mem_desc(b.start).type.name) for b in blocks(m, ARENA)]


# --- Bytes


@pytest.mark.parametrize(
    ("size", "order", "lost"),
    [
        (1, 0, "4,095 bytes of 4 KiB (99 %)"),
        (4096, 0, "0 bytes of 4 KiB (0 %)"),
        (4097, 1, "4,095 bytes of 8 KiB (50 %)"),
        (5000, 1, "3,192 bytes of 8 KiB (39 %)"),
        (20481, 3, "12,287 bytes of 32 KiB (37 %)"),
    ],
)
def test_bytes_get_the_smallest_block_and_what_is_lost_inside_is_said(session, size, order, lost):
    done = do(session, "allocate_bytes", size=size)
    assert done.sentence.startswith(
        f"{size:,} byte{'s' * (size > 1)} need{'s' * (size == 1)} order {order}: {lost} lost inside the block. Allocated order {order}"
    )
    assert block_of(session.machine, 128).order == order


def test_order_for_is_the_least_order_that_is_large_enough():
    m = buddy_machine(16)
    for size in range(1, 16 * 4096 + 1, 97):
        k = order_for(m, size)
        assert m.page_size << k >= size
        assert k == 0 or m.page_size << k - 1 < size


# --- Fill, Free all, Storm: one step each, with moments inside


def test_fill_takes_every_block_and_is_one_step(session):
    m = session.machine
    do(session, "allocate", order=2)
    done = do(session, "fill", order=0)
    assert done.sentence == "Filled memory with 60 blocks of order 0; took 56 descriptors, rewrote 79 mem_desc words."
    assert m.free_pages_count == 0
    assert len(session.steps) == 2
    session.undo()
    assert m.free_pages_count == 60


def test_fill_with_a_large_order_leaves_the_smaller_blocks(session):
    do(session, "allocate", order=0)
    assert do(session, "fill", order=4).sentence.startswith("Filled memory with 3 blocks of order 4; took 1 descriptor")
    assert session.machine.buddyinfo()[0, "Normal"] == [1, 1, 1, 1, 0, 0, 0]
    steps = len(session.steps)
    said = do(session, "fill", order=4).sentence
    assert said == "alloc_pages(4) returned None: the largest free block has order 3, and order 4 was asked for."
    assert len(session.steps) == steps


def test_free_all_frees_what_is_allocated_in_the_arena_and_nothing_else(session):
    m, start = session.machine, session.machine.buddyinfo()
    do(session, "fill", order=0)
    done = do(session, "free_all")
    assert done.sentence == "Freed 64 blocks with 63 merges; gave back 63 descriptors, rewrote 112 mem_desc words."
    assert m.buddyinfo() == start
    with pytest.raises(Refused, match=r"^No block of pages 128 to 191 is allocated\.$"):
        do(session, "free_all")


@pytest.mark.parametrize("seed", range(20))
def test_a_storm_says_what_it_did_and_repeats_itself(seed):
    one, two = buddy_lab().session, buddy_lab().session
    said = do(one, "storm", seed=seed, steps=50).sentence
    assert do(two, "storm", seed=seed, steps=50).sentence == said
    assert one.machine.snapshot() == two.machine.snapshot()
    one.machine.check()
    took, freed, refused = (
        int(found[1]) if (found := re.search(words, said)) else 0
        for words in (r"(\d+) blocks? allocated", r"(\d+) freed", r"(\d+) requests? refused")
    )
    assert took + freed + refused == 50
    assert len(allocated(one.machine, ARENA)) == took - freed


def test_storms_of_other_seeds_are_other_storms():
    states = []
    for seed in range(5):
        m = buddy_machine()
        storm(m, ARENA, seed, 30)
        states.append(blocks_of_arena(m))
    assert len({str(s) for s in states}) == 5


def test_a_compound_action_can_be_looked_into_step_by_step(open_browser):
    browser = open_browser(buddy_lab())
    view = browser.view
    answer = browser.press("storm", seed=7, steps=10)
    assert answer["status"].startswith("Storm 7 of 10 steps: ")
    now, count, words = browser.known("inside")
    assert (now, count, words) == (None, 10, "The end of the step.")
    end, free = view.machine.snapshot(), []
    m = buddy_machine()
    rows = []
    storm(m, ARENA, 7, 10, lambda _words: rows.append(blocks_of_arena(m)))
    for k in range(10):
        browser.press("frame", frame=k)
        assert browser.known("inside")[2].startswith(f"Storm 7, step {k + 1} of 10: ")
        with view.look.recording.at(k):
            assert blocks_of_arena(view.machine) == rows[k]
        assert browser.drawn() == view.picture().fragments
        free.append(browser.drawn()["page_map-row-0"])
        assert view.machine.snapshot() == end
    assert len(set(free)) > 3
    answer = browser.press("fill", order=0)  # acts on RAM as it is, not on the moment that is shown
    assert answer["status"].startswith("Filled memory")
    assert view.look.frame is None
    assert browser.press("undo")["status"].startswith("Undone: Filled")
    assert view.machine.snapshot() == end


@pytest.mark.parametrize("pages", [16, 64, 65536])
def test_fill_and_free_all_have_no_more_moments_than_can_be_looked_at(pages):
    session = buddy_lab(pages=pages).session
    for name, params in (("fill", {"order": 0}), ("free_all", {})):
        done = do(session, name, **params)
        assert min(pages, 60) <= len(done.recording) <= 130
        with done.recording.at(0):
            assert session.machine.free_pages_count != pages or name == "free_all"
    session.machine.check()


# --- The picture agrees with RAM, at every size


@pytest.mark.parametrize("pages", [16, 64, 512, 2048, 65536])
def test_a_click_sends_at_most_64_kib_at_every_size(open_browser, pages):
    browser, rng = open_browser(buddy_lab(pages=pages)), random.Random(5)
    view = browser.view
    clicks = [
        ("allocate", {"order": 0}),
        ("allocate", {"order": 2}),
        ("split", {}),
        ("fill", {"order": 0}),
        ("free_all", {}),
        ("storm", {"seed": 2, "steps": 100}),
    ]
    clicks += [("hexadecimal", {"on": True}), ("fill", {"order": 0}), ("undo", {}), ("reset", {})]
    for name, params in clicks:
        answer = browser.press(name, **params)
        assert "alert" not in answer
        assert browser.bytes[-1] <= 64 << 10, name
        cell = rng.choice([c.id for c in view.picture().cells])
        assert browser.press("select", cell=cell)["status"].startswith("Selected ")
        assert browser.bytes[-1] <= 64 << 10, cell
        assert browser.drawn() == view.picture().fragments
    view.machine.check()


def test_a_block_is_selected_from_each_panel_and_is_the_same_block(open_browser):
    browser = open_browser(buddy_lab())
    browser.press("allocate", order=0)
    for cell in ("page-137", "block-136", "list-136"):
        answer = browser.press("select", cell=cell)
        assert "136" in answer["status"]
        told = dict(browser.known("details"))
        assert told["Block"] == "order 3: 8 pages, 32 KiB; pages 136 to 143"
        assert browser.drawn()["free_lists-selection"]
        assert browser.drawn()["tree-selection"]
        assert "struct buddy, 48 bytes" in browser.drawn()["descriptor-head"]


def test_a_block_that_was_selected_in_the_tree_can_be_freed(open_browser):
    browser = open_browser(buddy_lab())
    browser.press("allocate", order=3)
    browser.press("select", cell="block-128")
    assert browser.press("free")["status"].startswith("Freed order 3 at page 128")
    assert browser.known("selected") == "page-128"


def test_pages_that_a_tree_cuts_off_are_selected_by_their_first_page(open_browser):
    browser = open_browser(buddy_lab(pages=1024))
    browser.press("fill", order=0)
    cell = next(c for c in browser.view.picture().cells if c.id.startswith("blocks-") and not c.id.startswith("blocks-2048-"))
    browser.press("select", cell=cell.id)
    first = int(cell.id.split("-")[1])
    assert dict(browser.known("details"))["Page"] == f"{first} ({first:#x})"
    assert f"block-{first}" in {c.id for c in browser.view.picture().cells}


def test_the_counters_count_since_the_lab_began_and_go_back_with_undo(open_browser):
    browser = open_browser(buddy_lab())
    zero = browser.drawn()["counters"]
    assert re.findall(r">(\d+)<", zero) == ["0", "0", "0", "0", "0"]
    browser.press("allocate", order=0)
    assert re.findall(r">(\d+)<", browser.drawn()["counters"]) == ["6", "0", "32", "6", "0"]
    browser.press("free")
    assert re.findall(r">(\d+)<", browser.drawn()["counters"]) == ["6", "6", "64", "6", "6"]
    browser.press("undo")
    browser.press("undo")
    assert browser.drawn()["counters"] == zero


def test_a_lab_on_a_machine_of_ones_own_counts_from_where_it_was():
    m = Machine("1M", max_order=6)
    m.alloc_pages(0)
    view = buddy_lab(m)
    assert re.findall(r">(\d+)<", view.picture().fragments["counters"]) == ["0", "0", "0", "0", "0"]


def test_a_state_code_opens_a_lab_of_the_same_size():
    view = buddy_lab(pages=256)
    do(view.session, "storm", seed=4, steps=20)
    do(view.session, "allocate_bytes", size=5000)
    again = open_lab(view.state_code)
    assert again.machine.snapshot() == view.machine.snapshot()
    assert len(again.look.arena) == 256
    assert LABS["buddy"] is BUDDY_LAB


# --- The learner's code beside the machine's


def buddy_of(pfn, order):
    return pfn ^ (1 << order)


def merge(pfn, order, is_free):
    while is_free(buddy_of(pfn, order), order):
        pfn, order = pfn & ~(1 << order), order + 1
    return pfn, order


def pages_for(size):
    return (-(-size // 4096) - 1).bit_length()


def test_right_functions_agree_in_words_and_in_the_picture(open_browser):
    browser = open_browser(buddy_lab(yours={"buddy_of": buddy_of, "merge": merge, "order_for": pages_for}))
    said = browser.press("allocate", order=1)["status"]
    assert said.endswith(
        "Your buddy_of(128, 1) gives 130, as the machine does. Your merge(128, 1, is_free) gives (128, 6), as the machine does."
    )
    marks = browser.drawn()["page_map-marks"]
    assert marks.count("ml-agreed") == 2
    assert "ml-yours" not in marks
    assert {"=b", "=m"} <= {key[1] for key in browser.known("legend")}
    said = browser.press("allocate_bytes", size=4097)["status"]
    assert said.endswith("Your order_for(4097) gives 1, as the machine does.")
    assert browser.drawn()["page_map-marks"].count("ml-agreed") == 3
    assert browser.press("free")["status"].endswith("Your merge(130, 1, is_free) gives (130, 1), as the machine does.")


WRONG = [
    (
        {"buddy_of": lambda pfn, order: pfn + (1 << order)},
        "select",
        "Your buddy_of(130, 1) gives 132; the machine differs: its buddy is page 128, where the bit worth 2 of the page number is flipped.",
    ),
    ({"buddy_of": lambda _pfn, _order: "x"}, "select", "Your buddy_of(130, 1) gives 'x'; the machine differs"),
    ({"buddy_of": lambda _pfn, _order: -1}, "select", "Your buddy_of(130, 1) gives -1; the machine differs"),
    ({"buddy_of": lambda _pfn, _order: True}, "select", "Your buddy_of(130, 1) gives True; the machine differs"),
    (
        {"merge": lambda pfn, order, _is_free: (pfn - 2, order + 1)},
        "free",
        "Your merge(130, 1, is_free) gives (128, 2); the machine differs: freed, the block becomes (130, 1), 2 pages from page 130 on.",
    ),
    ({"merge": lambda pfn, order, is_free: is_free(pfn)}, "free", "Your merge(130, 1, is_free) raised TypeError"),
    ({"merge": lambda _pfn, _order, is_free: is_free("x", 1)}, "free", "is_free takes a page number and an order, not 'x' and 1"),
    ({"merge": lambda *_: (1, 2, 3)}, "free", "gives (1, 2, 3); the machine differs"),
    ({"merge": lambda *_: (1 << 90, 1 << 90)}, "free", "; the machine differs"),
    (
        {"order_for": lambda size: size // 4096},
        "allocate_bytes",
        "Your order_for(12288) gives 3; the machine differs: order 2 is the smallest that holds 12,288 bytes, with 16,384.",
    ),
]


@pytest.mark.parametrize(
    "value", [1 << 20000, -1 << 20000, (1 << 20000, 1), [1] * 10**5, float("nan"), "\ud800"], ids=lambda value: type(value).__name__
)
def test_whatever_a_function_returns_there_is_a_picture(open_browser, value):
    browser = open_browser(buddy_lab(yours=dict.fromkeys(NAMES, lambda *_: value)))
    for action, params in (("allocate", {"order": 0}), ("allocate_bytes", {"size": 5000}), ("free", {})):
        answer = browser.press(action, **params)
        assert "alert" not in answer
        assert "the machine differs" in answer["status"]


@pytest.mark.parametrize(("yours", "action", "said"), WRONG, ids=[said[:60] for _, _, said in WRONG])
def test_a_difference_is_said_and_drawn_and_ram_goes_the_machines_way(open_browser, yours, action, said):
    plain, browser = buddy_lab(), open_browser(buddy_lab(yours=yours))
    for _ in range(2):
        do(plain.session, "allocate", order=1)
        browser.press("allocate", order=1)
    params = {"select": {"cell": "page-130"}, "allocate_bytes": {"size": 3 * 4096}}.get(action, {})
    if action != "allocate_bytes":
        assert "ml-machine" in browser.drawn()["page_map-marks"]
        assert "ml-agreed" not in browser.drawn()["page_map-marks"]
    answer = browser.press(action, **params)
    assert said in answer["status"]
    if action == "allocate_bytes":
        assert "Yo" in browser.drawn()["page_map-marks"]
    if action != "select":
        do(plain.session, action, **(params or {"cell": "page-130"}))
    assert browser.view.machine.snapshot() == plain.machine.snapshot()


def endless(pfn, order):
    while True:
        pfn += order


def unwritten(pfn, order):
    raise NotImplementedError  # a learner's function before the exercise: the lab must say that it is not written yet


def broken(pfn, order):
    return pfn // (order - order)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (endless, "Your buddy_of(128, 2) did not end: "),
        (unwritten, "Your buddy_of is not written yet."),
        (broken, "Your buddy_of(128, 2) raised ZeroDivisionError in its line 2"),
    ],
)
def test_code_that_does_not_answer_is_a_sentence_and_the_lab_goes_on(open_browser, function, said):
    browser = open_browser(buddy_lab(yours={"buddy_of": function}))
    answer = browser.press("allocate", order=2)
    assert said in answer["status"]
    assert "alert" not in answer
    assert any(said in words for name, words in browser.known("details") if name == "Your code")
    assert browser.press("free")["status"].startswith("Freed order 2 at page 128")


@pytest.mark.parametrize(
    ("yours", "kind", "said"),
    [
        ({"split": buddy_of}, ValueError, "takes buddy_of, merge, order_for of yours, not 'split'"),
        ({"merge": 3}, TypeError, "merge is a function of yours, not 3"),
    ],
)
def test_only_functions_that_the_lab_knows_can_be_brought(yours, kind, said):
    with pytest.raises(kind, match=re.escape(said)):
        buddy_lab(yours=yours)


def test_the_largest_block_has_no_buddy_to_ask_for(open_browser):
    browser = open_browser(buddy_lab(yours={"buddy_of": buddy_of}))
    assert "buddy_of" not in browser.press("select", cell="page-140")["status"]
    assert "buddy_of" not in browser.press("allocate", order=6)["status"]


@pytest.mark.parametrize("options", [{}, {"nodes": 2}, {"dma": "256K", "highmem": "256K"}, {"pcp": True}, {"max_order": 3}], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_what_the_machine_is_said_to_merge_is_what_it_merges(options, seed):
    m, rng = Machine("2M", **{"max_order": 7, "design": "bounded", **options}), random.Random(seed)
    held = [pfn for _ in range(200) if (pfn := m.alloc_pages(min(int(rng.expovariate(0.9)), m.max_order))) is not None]
    rng.shuffle(held)
    for pfn in held:
        told = machine_merge(m, block_of(m, pfn))
        if m.mem_desc(pfn).type is MemType.BUDDY:
            m.free_pages(pfn)
            assert block_of(m, pfn)[:2] == told


def test_a_view_with_functions_and_one_without_share_a_machine(monkeypatch):
    m = buddy_machine()
    mine, plain = Browser(buddy_lab(m, yours={"buddy_of": buddy_of}), monkeypatch), Browser(buddy_lab(m), monkeypatch)
    assert "Your buddy_of" in mine.press("allocate", order=0)["status"]
    assert "Your buddy_of" not in plain.press("allocate", order=0)["status"]
    assert Session.of(m).steps[0].sentence.count("Your") == 0  # history is the machine's
