"""The Nesting lab and what it stands on: one call on both designs, planned interrupts, chains that are followed, and a search that can be stopped."""

import json
import re

import pytest
from fake_browser import Browser

from memlab import KernelBug
from memlab.labs import BUDDY_LAB, NESTING_LAB, Refused, buddy_lab, nesting_lab, nesting_machine, open_lab
from memlab.labs import view as view_module
from memlab.study import Nesting, SideBySide
from memlab.study.explore import Search
from memlab.study.nesting import CALLS, step_of
from memlab.study.planned import MEALS, STARTS, TINY_START
from memlab.study.worst_case import WorstCase, steps_of
from memlab.study.worst_chain import EMAIL_CHAIN, HERE

EAT_BOTH = "eat all struct slabs and struct buddys"


@pytest.fixture
def m():
    machine = Nesting()
    yield machine
    machine.check()


@pytest.fixture
def fake(monkeypatch):
    return Browser(nesting_lab(), monkeypatch)


def depths(m):
    return tuple(run.trace.depth for run in m.runs)


# --- The machines


# frames of alloc_pages(0), as written and bounded
DEPTHS = {
    "fresh": (1, 1),
    "low orders empty": (2, 2),
    "no free struct buddy": (378, 7),
    "no free struct buddy, one struct slab": (18, 7),
    "no free descriptor": (12, 12),
    "slab churn: many struct slabs": (1116, 7),
    TINY_START: (1, 1),
}


@pytest.mark.parametrize("start", STARTS)
def test_how_deep_alloc_pages_goes_from_each_start(m, start):
    m.start(start)
    m.run("alloc_pages(0)")
    assert depths(m) == DEPTHS[start]
    if start.startswith(("no free", "slab churn")):  # 6 frames for each free struct slab
        hands = m.runs[0].trace.hands[0]
        assert hands.buddies == hands.blocks == 0
        assert DEPTHS[start][0] == 6 * hands.slabs + 12


def test_the_emails_chain_takes_one_planned_interrupt(m):
    m.start("no free descriptor")
    m.interrupt(HERE, "return", 1, EAT_BOTH)
    m.run("alloc_pages(0)")
    written, bounded = m.runs
    task = [(call.depth, call.name, call.cache) for call in written.trace.calls if not call.context]
    assert tuple(task[:24]) == EMAIL_CHAIN
    assert depths(m) == (18, 12)
    assert [len(run.trace.interrupts) for run in m.runs] == [1, 1]
    assert bounded.outcome.startswith("page ")


def test_an_interrupt_comes_at_the_nth_time_and_once(m):
    m.start("no free struct buddy")
    for nth in (1, 3):
        m.interrupt("alloc_slab_page(kmem_cache_buddy)", "call", nth, "eat a struct slab")
    m.run("alloc_pages(0)")
    written, bounded = m.runs
    came = [arrival.start for arrival in written.trace.interrupts]
    calls = [c for c in written.trace.calls if (c.name, c.cache, c.context) == ("alloc_slab_page", "kmem_cache_buddy", 0)]
    assert [next(i for i, c in enumerate(calls, 1) if c.start < start < c.end and start == c.start + 1) for start in came] == [1, 3]
    assert len(bounded.trace.interrupts) == 1  # there is no third time
    assert depths(m)[0] == 378 - 2 * 6


def test_two_interrupts_at_one_place_come_one_after_the_other(m):
    m.start("no free struct buddy")
    m.interrupt(HERE, "return", 1, "eat all struct slabs")
    m.interrupt(HERE, "return", 1, "take a page")
    m.run("alloc_pages(0)")
    calls = m.runs[0].trace.calls
    assert [next(c.name for c in calls if c.context == n) for n in (1, 2)] == ["kmem_cache_alloc_bulk", "alloc_pages"]
    assert len(m.runs[0].trace.interrupts) == 2


@pytest.mark.parametrize("meal", MEALS)
@pytest.mark.parametrize("call", CALLS)
def test_every_call_and_every_meal_leave_both_machines_in_order(m, call, meal):
    m.start("no free struct buddy, one struct slab")
    for at in ("kmem_cache_alloc(kmem_cache_slab)", "kmem_cache_alloc_bulk(kmem_cache_buddy)"):
        m.interrupt(at, "return", 1, meal)
    m.run(call)
    m.check()
    if m.can_free:
        m.free()
        assert not m.can_free


def test_what_an_interrupt_freed_meanwhile_is_not_freed_twice_and_not_in_the_way(m):
    m.run("alloc_pages(0)")
    m.interrupt("alloc_pages", "call", 1, "free a block")
    m.run("alloc_pages(1)")
    m.no_interrupts()
    m.free()
    assert [run.outcome for run in m.runs] == ["done", "done"]
    m.free()
    assert [run.outcome for run in m.runs] == ["refused, as an interrupt had freed it"] * 2
    for machine in m.machines:
        machine.check()
    with pytest.raises(ValueError, match="no call gave anything"):
        m.free()


def test_what_calls_gave_is_freed_last_first_and_then_there_is_nothing(m):
    m.run("get_free_page()")
    m.run("kmalloc(64)")
    given = [run.outcome for run in m.runs]
    m.free()
    assert [run.call for run in m.runs] == [f"kfree({address})" for address in given]
    m.free()
    assert m.runs[0].call.startswith("free_page(0x")
    with pytest.raises(ValueError, match="no call gave anything"):
        m.free()


def test_a_snapshot_brings_back_ram_plan_and_chains_whatever_was_done_since(m):
    m.start("no free descriptor")
    m.interrupt(HERE, "return", 1, EAT_BOTH)
    m.run("alloc_pages(0)")
    before, chain, ram = m.snapshot(), str(m.runs[0].trace), [machine.snapshot() for machine in m.machines]
    m.start(TINY_START)
    m.no_interrupts()
    m.frame_bytes = 1000
    m.run("kmalloc(64)")
    assert m.snapshot() != before
    m.restore(before)
    assert m.snapshot() == before
    assert [machine.snapshot() for machine in m.machines] == ram
    assert (str(m.runs[0].trace), len(m.planned), m.frame_bytes, m.nr_pages) == (chain, 1, 160, 256)
    m.run("alloc_pages(1)")


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (lambda m: m.start("somewhere"), "there is no start 'somewhere'; there are 'fresh'"),
        (lambda m: m.run("alloc_pages(99)"), "there is no call"),
        (lambda m: m.interrupt("kfree_all", "call", 1, EAT_BOTH), "there is no trace point 'kfree_all'; there are alloc_pages"),
        (lambda m: m.interrupt("alloc_pages(dentry)", "call", 1, EAT_BOTH), "alloc_pages takes no cache, say 'alloc_pages'"),
        (
            lambda m: m.interrupt("new_slab(dentry)", "call", 1, EAT_BOTH),
            "'new_slab(dentry)' is no trace point: the caches are kmem_cache_buddy",
        ),
        (lambda m: m.interrupt(None, "call", 1, EAT_BOTH), "there is no trace point None; there are alloc_pages"),
        (lambda m: m.interrupt(HERE, "before", 1, EAT_BOTH), "there is no when 'before'"),
        (lambda m: m.interrupt(HERE, "call", 0, EAT_BOTH), "nth is 1 for the first call"),
        (lambda m: m.interrupt(HERE, "call", 1, "sleep"), "there is no meal 'sleep'"),
        (lambda m: [m.interrupt(HERE, "call", 1, EAT_BOTH) for _ in range(4)], "3 interrupts are planned already"),
        (lambda m: setattr(m, "frame_bytes", 0), "frame_bytes is a whole number from 1 to 16384, not 0"),
        (lambda m: m.follow([], [["alloc_pages", 0, []]]), "at least one step"),
        (lambda m: m.follow([["alloc_pages", 0]], [["alloc_pages", 0, []]]), "a step is an operation"),
    ],
)
def test_bad_arguments_are_told_and_change_nothing(m, does, says):
    ram = [machine.snapshot() for machine in m.machines]
    with pytest.raises(ValueError, match=re.escape(says)):
        does(m)
    assert [machine.snapshot() for machine in m.machines] == ram
    with pytest.raises(TypeError, match="restore takes"):
        m.restore(SideBySide().snapshot())
    with pytest.raises(TypeError, match="nth is a whole number"):
        m.interrupt(HERE, "call", "1", EAT_BOTH)


@pytest.mark.parametrize(
    "step",
    [None, [], "alloc_pages", ["x", 0, []], ["alloc_pages", -1, []], ["alloc_pages", "0", []], ["alloc_pages", 0, [[0, EAT_BOTH]]]]
    + [["alloc_pages", 0, bad] for bad in (None, [1], [[1]], [[1, "sleep"]], [[1, EAT_BOTH]] * 4, [["1", EAT_BOTH]])],
)
def test_what_is_no_step_is_told(step):
    with pytest.raises(ValueError, match=r"a step is|an interrupt of a step is"):
        step_of(step)


# --- The search


def test_a_search_finds_chains_that_the_machines_then_repeat(m):
    search = WorstCase("alloc_pages", 1, 300)
    said = list(search)
    assert len(said) > 10
    assert all(re.fullmatch(r"as written [\d,]+ states, .* frames; bounded [\d,]+ states, .* frames\.", words) for words in said)
    written, bounded = search.deepest()
    assert written.depth > bounded.depth
    m.follow(steps_of(written), steps_of(bounded))
    assert depths(m) == (written.depth, bounded.depth)
    assert len(m.runs[0].before) >= len(written.history) - 1
    assert search.told().endswith(f"bounded {bounded.depth} frames (300 states).")


def test_slices_within_a_state_find_what_whole_ones_find():
    whole, sliced = Search(interrupts=1), Search(interrupts=1)
    whole.run(states=200)
    slices = list(sliced.slices(states=200, every=16))
    assert len(slices) > 20
    assert (whole.report.transitions, whole.report.states) == (sliced.report.transitions, sliced.report.states)
    assert {kind: (d.depth, d.history.steps) for kind, d in whole.report.deepest.items()} == {
        kind: (d.depth, d.history.steps) for kind, d in sliced.report.deepest.items()
    }


@pytest.fixture
def slices_of_one(monkeypatch):
    """Let a message do one slice of a search, however long it takes."""
    times = iter(range(10**6))
    monkeypatch.setattr(view_module.time, "monotonic", lambda: next(times) / 10)  # 0.1 seconds from look to look, of 0.15


def test_the_browser_asks_for_each_slice_and_other_messages_are_answered_between(fake, slices_of_one):
    m, ram = fake.view.machine, fake.view.machine.snapshot()
    answer = fake.press("search", operation="alloc_pages", interrupts=1, states=64_000)
    assert answer["searching"] is True
    assert answer["status"] == "Searching; Stop ends it and shows what was found."
    assert fake.known("disabled")["search"] == "A search is going on; Stop ends it."
    assert "stop" not in fake.known("disabled")
    told = [fake.press("search_on") for _ in range(12)]
    assert all(answer["searching"] and answer.keys() == {"sequence", "progress", "searching"} for answer in told)
    assert len({answer["progress"] for answer in told}) == len(told)
    assert m.snapshot() == ram  # it has machines of its own
    assert fake.press("search", operation="alloc_pages", interrupts=0, states=250)["refused"]
    assert "378 frames deep" in fake.press("call", call="alloc_pages(0)")["status"]
    assert fake.press("show")["searching"] is True  # a page that is loaded anew takes it up again
    assert fake.press("search_on")["searching"] is True
    while not re.search(r"as written .* [1-9]\d* frames; bounded .* [1-9]\d* frames", fake.press("search_on")["progress"]):
        pass
    answer = fake.press("stop")
    assert answer["searching"] is False
    assert answer["status"].startswith("Stopped. The deepest chain of alloc_pages that was found, with up to 1 interrupt: as written ")
    assert fake.known("disabled")["stop"] == "No search is going on."
    assert fake.view.session.steps[-1].action.name == "follow"
    assert fake.drawn() == fake.view.picture().fragments
    assert fake.press("stop")["refused"]
    assert fake.press("search_on")["searching"] is False
    assert fake.press("undo")["status"].startswith("Undone: The sequences that were found")
    assert depths(m) == (378, 7)
    m.check()


def test_a_search_ends_by_itself_and_what_it_found_goes_into_code_and_state_code(fake):
    answer = fake.press("search", operation="kmalloc", interrupts=1, states=250)
    while answer["searching"]:
        answer = fake.press("search_on")
    assert answer["status"].startswith("Done. The deepest chain of kmalloc that was found, with up to 1 interrupt: as written ")
    view = fake.view
    namespace = {}
    exec(view.session.code(), namespace)
    assert namespace["m"].snapshot() == view.machine.snapshot()
    again = open_lab(view.state_code)
    assert again.machine.snapshot() == view.machine.snapshot()
    assert str(again.machine.runs[0].trace) == str(view.machine.runs[0].trace)


def test_a_search_that_is_stopped_at_once_has_found_nothing(fake):
    fake.press("search", operation="folio_alloc", interrupts=3, states=250)
    answer = fake.press("stop")
    assert answer["status"] == "Stopped. Nothing was found yet."
    assert fake.view.session.steps == []


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_a_search_that_raises_is_over_and_the_lab_goes_on(fake, error, monkeypatch):
    def broken(_search):
        raise error

    fake.press("search", operation="alloc_pages", interrupts=0, states=250)
    monkeypatch.setattr(WorstCase, "__next__", broken)
    answer = fake.press("search_on")
    if isinstance(error, KeyboardInterrupt):
        assert answer["status"] == "Interrupted. Nothing was found yet."
    else:
        assert "RuntimeError: broken" in answer["alert"]
    assert fake.known("disabled")["stop"] == "No search is going on."
    assert "378 frames" in fake.press("call", call="alloc_pages(0)")["status"]


def test_hostile_searches_are_refused(fake, monkeypatch):
    good = {"operation": "alloc_pages", "interrupts": 1, "states": 250}
    hostile = [{}, {**good, "more": 1}, *({k: v for k, v in good.items() if k != name} for name in good)]
    hostile += [{**good, name: bad} for name in good for bad in (None, -1, 4, 1.5, True, "x" * 999, [], {}, 10**9)]
    for params in hostile:
        answer = fake.press("search", **params)
        assert answer["refused"], params
        assert len(answer["status"]) < 400
    for name in ("search_on", "stop"):
        assert fake.press(name, x=1)["refused"]
    steps = [["alloc_pages", 0, []]]
    assert fake.press("follow", written=steps, bounded=steps)["refused"]  # a search does it, and state codes
    other = Browser(buddy_lab(), monkeypatch)
    assert other.press("search")["status"] == "This lab has nothing to search for."
    assert "stop" not in other.known("disabled")
    assert BUDDY_LAB.search is None


def test_static_pages_run_no_search(monkeypatch):
    monkeypatch.setenv("MEMLAB_STATIC", "1")
    monkeypatch.setattr(WorstCase, "__init__", lambda *_: pytest.fail("a search began"))
    html = nesting_lab()._repr_mimebundle_()["text/html"]
    assert "378 frames × 160 = 60,480 bytes" in html
    assert "18 frames × 160 = 2,880 bytes" in html


@pytest.mark.parametrize("bad", [[], [["alloc_pages", 0, []]] * 25, [["alloc_pages", 0]], "x"])
def test_only_sequences_are_followed(bad):
    view = nesting_lab()
    good = [["alloc_pages", 0, []]]
    with pytest.raises(Refused, match="cannot be taken"):
        view.session.run(NESTING_LAB.action("follow"), written=good, bounded=bad)
    assert view.session.run(NESTING_LAB.action("follow"), written=good, bounded=good).sentence.startswith("The sequences that were found: ")


def test_a_sequence_that_cannot_be_done_leaves_ram_as_it_was():
    view = nesting_lab()
    ram = view.machine.snapshot()
    with pytest.raises(Refused, match=r"\w.*\."):
        view.session.run(NESTING_LAB.action("follow"), written=[["free_pages", 1, []]], bounded=[["alloc_pages", 0, []]])
    assert view.machine.snapshot() == ram
    with pytest.raises(KernelBug):
        view.machine.follow([["free_pages", 1, []]], [["alloc_pages", 0, []]])
    assert view.machine.snapshot() == ram


# --- What the lab says and shows


def test_the_sentence_says_how_deep_what_came_and_whether_it_fits(fake):
    said = fake.press("call", call="alloc_pages(0)")["status"]
    assert said == (
        "alloc_pages(0): as written 378 frames deep in 450 calls (page 168); bounded 7 frames deep in 7 calls (page 133); "
        "at 160 bytes a frame the deeper one needs 60,480 bytes, which does not fit into a stack of 16,384."
    )
    fake.press("frame_bytes", frame_bytes=32)
    fake.press("start", state="no free descriptor")
    fake.press("interrupt", when="call", nth=9, at="__alloc_slab", meal="take a page")
    said = fake.press("call", call="alloc_pages(0)")["status"]
    assert "; 1 planned interrupt never came on either; " in said
    assert said.endswith("at 32 bytes a frame the deeper one needs 384 bytes, which fits into a stack of 16,384.")


def test_the_details_tell_what_was_at_hand_at_each_moment(fake):
    fake.press("call", call="alloc_pages(0)")
    moments = fake.known("inside")[1]
    assert moments == 900
    fake.press("frame", frame=13)
    details = dict(map(tuple, fake.known("details")))
    assert details["At hand at moment 13"] == "0 free struct buddys, 60 free struct slabs, 0 free blocks below order 2"
    assert fake.known("inside")[2] == (
        "As written: alloc_slab_page(kmem_cache_buddy) is called, 12 frames deep; Bounded: alloc_pages() returns."
    )
    assert "now: 12 frames" in fake.drawn()["written-call_chain-gauge-task"]
    fake.press("frame", frame=None)
    assert "At hand at the end" in dict(map(tuple, fake.known("details")))


def test_selecting_a_call_tells_of_it_and_a_new_call_selects_its_first(fake):
    fake.press("call", call="folio_alloc(0)")
    assert fake.known("selected") == "written-call-0"
    said = fake.press("select", cell="bounded-call-1")["status"]
    assert said.startswith("Selected kmem_cache_alloc(folio), frame 2 of the task; ")
    details = dict(map(tuple, fake.known("details")))
    assert details["Selected"] == "kmem_cache_alloc(folio), frame 2 of the task"
    assert details["Result"].startswith("returned 0xffff")


def test_the_list_of_starts_begins_with_the_one_that_the_lab_is_in():
    (starts,) = NESTING_LAB.action("start").params
    assert starts.choices[0] == nesting_machine().begun_from
    assert sorted(starts.choices) == sorted(STARTS)


def test_a_lab_on_a_pair_of_ones_own():
    m = nesting_machine()
    view = nesting_lab(m)
    assert view.machine is m
    assert json.dumps(view.lab.details(m, view.look))
    with pytest.raises(TypeError, match=r"nesting_lab takes a memlab\.study\.Nesting"):
        nesting_lab("64M")
