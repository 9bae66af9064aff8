"""State codes: a lab's state as one line of text, and hostile ones refused with RAM untouched."""

import base64
import json
import re
import zlib

import pytest
from fake_browser import Browser

from memlab import Machine
from memlab.labs import BUDDY_LAB, LABS, Action, Done, IntParam, Lab, LabView, Refused, Session, buddy_lab, open_lab
from memlab.labs import state as state_module
from memlab.labs.state import state_code

ALLOCATE, SPLIT, FREE = (BUDDY_LAB.action(name) for name in ("allocate", "split", "free"))


@pytest.fixture
def view():
    """A Buddy lab with three steps behind it, one undone."""
    view = buddy_lab()
    view.session.run(ALLOCATE, order=2)
    view.session.run(SPLIT, cell="page-128")
    view.session.run(ALLOCATE, order=0)
    view.session.undo()
    return view


def make(told, lab="buddy", ram=None, raw=None):
    """A code of any contents with a right checksum."""
    packed = zlib.compress(json.dumps(told).encode() if raw is None else raw)
    head = f"memlab1.{lab}.{base64.b32encode(packed).decode().rstrip('=').lower()}"
    return f"{head}.{zlib.crc32(head.encode()):08x}{ram or '0' * 16}"


def test_a_code_holds_set_up_and_steps_up_to_the_position(view):
    found = re.fullmatch(r"memlab1\.buddy\.([a-z2-7]+)\.[0-9a-f]{24}", view.state_code)
    packed = found[1].upper()
    told = json.loads(zlib.decompress(base64.b32decode(packed + "=" * (-len(packed) % 8))))
    assert told == {"setup": {"pages": 64}, "steps": [["allocate", {"order": 2}], ["split", {"cell": "page-128"}]]}
    assert len(view.state_code) < 250


def test_opening_a_code_leads_to_equal_ram_and_undo_goes_back_to_the_start(view):
    opened = open_lab(view.state_code)
    assert opened.machine is not view.machine
    assert opened.machine.snapshot() == view.machine.snapshot()
    assert opened.session.code() == view.session.code()
    opened.session.undo()
    opened.session.undo()
    assert opened.machine.snapshot() == buddy_lab().machine.snapshot()
    assert open_lab(f" {opened.state_code[:40]}\n  {opened.state_code[40:]}\n").session.steps == []  # as a mail program leaves it


def test_the_set_up_is_part_of_the_code():
    view = buddy_lab(pages=1024)
    view.session.run(ALLOCATE, order=9)
    opened = open_lab(view.state_code)
    assert opened.machine.nr_pages == 3 * 1024
    assert opened.machine.snapshot() == view.machine.snapshot()


def test_steps_of_another_lab_on_the_machine_are_in_the_code(view, monkeypatch):
    grab = Action(
        "grab",
        "Grab",
        run=lambda s, n: Done(f"Grabbed {s.machine.alloc_pages(n)}."),
        code=lambda _s, n: f"m.alloc_pages({n})",
        params=(IntParam("n", "N", 0, high=lambda _s: 3),),
    )
    other = Lab("grab", "Grab lab", BUDDY_LAB.preset, (grab,), BUDDY_LAB.figure, BUDDY_LAB.details, ())
    second = LabView(other, view.session)
    view.session.run(grab, n=3)
    with pytest.raises(Refused, match=r"Grab is of none of them\. Use Save"):
        _ = view.state_code
    monkeypatch.setitem(LABS, "grab", other)
    assert second.state_code == view.state_code
    opened = open_lab(view.state_code)
    assert opened.lab is BUDDY_LAB
    assert opened.session.steps[-1].action is grab
    assert opened.machine.snapshot() == view.machine.snapshot()


def test_what_code_changed_cannot_be_in_a_code_and_undo_makes_it_possible_again(view):
    view.machine.alloc_pages(0)
    view.session.notice()
    with pytest.raises(Refused, match=r"RAM was changed by code in a notebook cell\. Use Save instead: m\.save"):
        _ = view.state_code
    view.session.undo()
    assert open_lab(view.state_code).machine.snapshot() == view.machine.snapshot()


def test_a_machine_of_ones_own_has_no_code():
    with pytest.raises(Refused, match=r"this one is your own\. Use Save instead"):
        _ = buddy_lab(Machine("1M", max_order=6)).state_code


def test_too_many_steps_and_too_long_a_code_are_refused_with_the_reason(monkeypatch):
    session = buddy_lab().session
    for _ in range(6):
        session.run(FREE, cell=session.run(ALLOCATE, order=0).cell)
    monkeypatch.setattr(state_module, "MOST_STEPS", 11)
    with pytest.raises(Refused, match=r"at most 11 steps, and there are 12\. Use Save"):
        state_code(session)
    monkeypatch.setattr(state_module, "MOST_STEPS", 500)
    monkeypatch.setattr(state_module, "MOST_CHARACTERS", 100)
    with pytest.raises(Refused, match=r"at most 100 characters, and these 12 steps need \d+\. Use Save"):
        state_code(session)


def test_500_equal_steps_fit():
    session = buddy_lab().session
    for _ in range(250):
        session.run(FREE, cell=session.run(ALLOCATE, order=0).cell)
    assert len(state_code(session)) < 1000
    assert len(open_lab(state_code(session)).session.steps) == 500


# --- In a view


def test_the_toggle_shows_the_code_and_it_follows_each_step(view, monkeypatch):
    browser = Browser(view, monkeypatch)
    assert browser.known("state_code") is None
    assert browser.press("state_code", on=True)["state_code"] == [view.state_code, ""]
    assert browser.press("allocate", order=3)["state_code"] == [view.state_code, ""]
    assert "state_code" not in browser.press("select", cell="page-150")  # it did not change
    view.machine.alloc_pages(0)
    view.session.notice()
    code, why = browser.known("state_code")
    assert code == ""
    assert why.startswith("A state code repeats the buttons of labs, and RAM was changed by code in a notebook cell. Use Save")
    assert browser.press("state_code", on=False)["state_code"] is None


def test_a_pasted_code_is_gone_to_and_other_views_follow(view, monkeypatch):
    code, ram = view.state_code, view.machine.snapshot()
    browser, other = Browser(view, monkeypatch), Browser(LabView(BUDDY_LAB, view.session), monkeypatch)
    browser.press("reset")
    browser.press("allocate", order=5)
    answer = browser.press("open", code=code)
    assert answer["status"] == "Opened the state code: 2 steps from the start, which Undo takes back one by one."
    assert view.machine.snapshot() == ram
    assert other.drawn() == other.view.picture().fragments
    assert browser.press("undo")["status"].startswith("Undone: Split the block at page 128")


def test_a_code_with_another_set_up_is_refused_with_what_to_do_instead(view, monkeypatch):
    code = buddy_lab(pages=256).state_code
    answer = Browser(view, monkeypatch).press("open", code=code)
    assert answer["refused"]
    assert (
        answer["status"]
        == f'This state code begins with another machine than this lab\'s; in a cell of its own, open_lab("{code}") opens it.'
    )
    own = Browser(buddy_lab(Machine("1M", max_order=6)), monkeypatch)
    assert "begins with another machine" in own.press("open", code=view.state_code)["status"]


# --- Hostile codes

GOOD = buddy_lab().state_code
SETUP = {"pages": 64}
ONE = [["allocate", {"order": 2}]]


def deep(n):
    return b"[" * n + b"]" * n


HOSTILE = [
    *("", " ", ".", "memlab1", "memlab1.", "memlab1.buddy", "memlab1.buddy.", "memlab1.buddy..", "memlab2" + GOOD[7:], "x" * 100_000),
    *(GOOD[:-1], GOOD + "0", GOOD[1:], GOOD.upper(), GOOD.replace("buddy", "slab"), GOOD.replace("buddy", "../buddy"), GOOD[::-1]),
    *(GOOD[:i] + chr(ord(GOOD[i]) ^ 1) + GOOD[i + 1 :] for i in range(14, len(GOOD), 9)),
    *(GOOD[:20] + bad + GOOD[20:] for bad in ("\0", "é", "=", "+", "a" * 2000)),
    *(make({"setup": SETUP, "steps": []}, lab=lab) for lab in ("x", "labs", "os", "session")),
    *(make(bad) for bad in (None, 1, "x", [], {}, {"setup": SETUP}, {"steps": []}, {"setup": SETUP, "steps": [], "more": 1})),
    *(
        make({"setup": bad, "steps": []})
        for bad in (None, [], 1, "pages", {"pages": 65}, {"pages": "64"}, {"pages": 1 << 30}, {"pages": True})
    ),
    *(
        make({"setup": bad, "steps": []})
        for bad in ({"pages": None}, {"size": 64}, {"self": 1}, {"pages": [64]}, {"pages": float("inf")}, {"": 1})
    ),
    *(make({"setup": SETUP, "steps": bad}) for bad in (None, {}, "steps", 1, [1], [None], ["allocate"], [[]], [["allocate"]])),
    *(
        make({"setup": SETUP, "steps": [bad]})
        for bad in (["allocate", []], ["allocate", {}, {}], [1, {}], ["x", "allocate", {}], ["allocate", None])
    ),
    *(
        make({"setup": SETUP, "steps": [[name, {}]]})
        for name in ("", "undo", "reset", "open", "__init__", "run", "alloc_pages", "x" * 1000)
    ),
    *(
        make({"setup": SETUP, "steps": [["allocate", {"order": bad}]]})
        for bad in (None, -1, 7, "2", 2.0, True, [], {}, 1 << 99, float("nan"))
    ),
    *(
        make({"setup": SETUP, "steps": [["allocate", bad]]})
        for bad in ({}, {"order": 2, "gfp": 0}, {"self": 1}, {"session": 1, "order": 1})
    ),
    *(
        make({"setup": SETUP, "steps": [*ONE, ["free", {"cell": bad}]]})
        for bad in (None, 128, "page-0", "page-64", "page-1", "x", "page-9999999", [])
    ),
    make({"setup": SETUP, "steps": ONE}),  # the hash of RAM is another
    make({"setup": SETUP, "steps": ONE * 501}),
    make({}, raw=b"\xff\xfe not json"),
    make({}, raw=deep(30_000)),
    make({}, raw=b'{"setup": {}, "steps": [' + b" " * (64 << 10) + b"]}"),
    make({}, raw=b'{"setup": {"pages": 64}, "steps": []}' + b" " * 10_000_000),
]


def test_at_least_fifty_hostile_codes_are_tried():
    assert len({str(code) for code in HOSTILE}) >= 100


@pytest.mark.parametrize("code", HOSTILE, ids=lambda code: f"{len(code)}-{code[12:40]!r}")
def test_a_hostile_code_is_refused_with_a_sentence_and_ram_and_history_untouched(code, view, monkeypatch):
    browser = Browser(view, monkeypatch)
    ram, stats, steps, position = view.machine.snapshot(), view.machine.stats, list(view.session.steps), view.session.position
    answer = browser.press("open", code=code)
    assert answer.get("refused") is True, answer
    assert re.fullmatch(r"\w.{10,3000}\.", answer["status"])
    assert (view.machine.snapshot(), view.machine.stats) == (ram, stats)
    assert (view.session.steps, view.session.position) == (steps, position)
    assert browser.press("redo")["status"].startswith("Redone")  # and the lab goes on
    with pytest.raises(ValueError, match=r"^\w.*\.$"):
        open_lab(code)


@pytest.mark.parametrize("bad", [None, 1, b"memlab1", ["memlab1"], {}, True])
def test_what_is_no_text_is_no_code(bad):
    with pytest.raises(ValueError, match="A state code is text that begins with memlab1"):
        open_lab(bad)


def test_an_action_that_fails_during_a_replay_leaves_ram_and_history_as_they_were(view, monkeypatch):
    def run(session):
        session.machine.alloc_pages(0)
        raise ZeroDivisionError

    broken = Lab("broken", "Broken lab", BUDDY_LAB.preset, (Action("break", "Break", run=run, code=lambda _s: ""),), *(None,) * 2, ())
    monkeypatch.setitem(LABS, "broken", broken)
    code = make({"setup": SETUP, "steps": [*ONE, ["broken", "break", {}]]})
    ram, steps = view.machine.snapshot(), list(view.session.steps)
    answer = Browser(view, monkeypatch).press("open", code=code)
    assert "That failed (ZeroDivisionError" in answer["alert"]
    assert view.machine.snapshot() == ram
    assert view.session.steps == steps
    with pytest.raises(ValueError, match="This state code cannot be done"):
        open_lab(code)


def test_a_session_without_a_lab_has_no_code():
    session = Session(BUDDY_LAB.preset())  # the set-up does not say which lab it is of
    with pytest.raises(Refused, match="needs a machine that a lab has set up"):
        state_code(session)
