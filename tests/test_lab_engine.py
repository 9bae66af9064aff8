"""What any lab can use of the engine: parameters that follow the machine, recorded steps, panels, and the learner's own functions."""

import itertools
import re
import sys
import xml.dom.minidom

import pytest
from fake_browser import Browser

from memlab import Machine
from memlab.figures import page_map, panels
from memlab.figures.picture import Cell, Picture, arrow, stack, text
from memlab.labs import Action, CellParam, ChoiceParam, Done, IntParam, Lab, LabView, Refused, Session, Setup, TextParam, ask
from memlab.labs.yours import MOST_STEPS, TooLong, budget
from memlab.recording import Recording


def fill(session, pages, name):
    m = session.machine
    with Recording(m) as recording:
        for n in range(pages):
            recording.mark(f"Page {m.alloc_pages(0)} is the {n + 1}. for {name}.")
    return Done(f"Took {pages} pages for {name}.", None, recording)


def preset(memory="256K"):
    m = Machine(memory, max_order=5)
    return Setup(m, range(m.nr_pages), f"from memlab import Machine\nm = Machine({memory!r}, max_order=5)")


def figure(m, look):
    words = "" if look.recording is None or look.frame is None else look.recording.marks[look.frame]
    free = text(0, 20, f"{m.free_pages_count} free. {words}")
    called = [text(0, 40, ask(f, m.free_pages_count).sentence or "fine") for f in look.yours.values()]
    notes = Picture({"notes": free + "".join(called)}, 300, 50, "Notes", cells=(Cell("note", "the note", 0, 0),))
    return panels("Pages and notes", page_map(m, look.arena), notes)


FILL = Action(
    "fill",
    "Fill",
    run=fill,
    code=lambda _session, pages, name: f"for _ in range({pages}):\n    m.alloc_pages(0)  # {name}",
    params=(IntParam("pages", "Pages", values=(2, 4, 8), default=4), TextParam("name", "Name", 8, "who takes them", default="me")),
)
TAKE = Action(
    "take",
    "Take",
    run=lambda session, pages: Done(f"Took {len([session.machine.alloc_pages(0) for _ in range(pages)])} pages."),
    code=lambda _session, pages: f"for _ in range({pages}):\n    m.alloc_pages(0)",
    params=(IntParam("pages", "Pages", 1, high=lambda session: session.machine.free_pages_count, words=lambda _session, n: f"{n} pages"),),
)
DEMO = (("fill", {"pages": 4, "name": "you"}, (0, 2)), ("take", {"pages": 1}))
TOY = Lab("toy", "Toy lab", preset, (FILL, TAKE), figure, lambda _m, _look: [], DEMO, yours=("count", "other"))


@pytest.fixture
def browser(monkeypatch):
    """A fresh Toy lab and its browser."""
    setup = TOY.setup()
    return Browser(LabView(TOY, Session.of(setup.machine, setup)), monkeypatch)


def drawn_words(browser):
    return re.search(r">([^<]*free\.[^<]*)<", browser.drawn()["notes"])[1]


# --- Set-up by parameters


def test_a_set_up_knows_its_lab_and_all_parameters():
    assert TOY.setup()[3:] == ({"memory": "256K"}, "toy")
    assert TOY.setup(memory="512K").params == {"memory": "512K"}
    assert TOY.setup(memory="512K").machine.nr_pages == 128


@pytest.mark.parametrize("bad", [{"pages": 64}, {"memory": 1, "x": 2}, {"memory": ("256K",)}, {"": 1}])
def test_a_set_up_takes_no_other_parameters(bad):
    with pytest.raises(TypeError, match="the set-up of the Toy lab"):
        TOY.setup(**bad)


# --- Parameters


def test_a_control_follows_the_machine(browser):
    control = browser.known("controls")["take"][0]
    free = browser.view.machine.free_pages_count
    assert control == {
        "name": "pages",
        "label": "Pages",
        "kind": "int",
        "value": 1,
        "values": list(range(1, free + 1)),
        "words": control["words"],
    }
    assert control["words"][-1] == f"{free} pages"
    assert browser.press("take", pages=2)["controls"]["take"][0]["values"] == list(range(1, free - 1))
    assert "controls" not in browser.press("select", cell="note")
    browser.press("take", pages=free - 2)
    assert browser.press("take", pages=1)["status"] == "Pages has no value that is possible now."
    assert browser.known("controls")["take"][0]["values"] == []


@pytest.mark.parametrize("pages", [0, 3, 9, -2, "4", True, 4.0, None])
def test_a_number_among_values_is_one_of_them(browser, pages):
    assert browser.press("fill", pages=pages, name="x")["status"].startswith("Pages is one of 2, 4, 8, not ")


@pytest.mark.parametrize("name", ["", "a b", "x" * 9, "-a", "é", 'a"', "a\n", None, 5])
def test_a_name_is_short_and_plain(browser, name):
    answer = browser.press("fill", pages=2, name=name)
    assert answer["status"].startswith("Name is a name of 1 to 8 letters, digits, '_', '-' and '.', not ")
    assert browser.view.session.steps == []


def test_a_long_range_is_a_field_and_choices_may_follow_the_machine():
    session = Session(preset())
    wide = IntParam("n", "N", 1, high=lambda _session: 5000, default=70)
    assert wide.control(session) == {"kind": "number", "name": "n", "label": "N", "value": 70, "low": 1, "high": 5000}
    assert wide.check(session, 5000) == 5000
    choice = ChoiceParam("c", "C", lambda s: [f"{s.machine.nr_pages}"])
    assert choice.control(session)["choices"] == ["64"]
    assert choice.check(session, "64") == "64"
    with pytest.raises(Refused, match="C is one of 64, not '65'"):
        choice.check(session, "65")
    with pytest.raises(Refused, match="there is nothing to choose from"):
        ChoiceParam("c", "C", ()).check(session, "x")
    with pytest.raises(ValueError, match="n has a high or values"):
        IntParam("n", "N")


def test_a_cell_param_says_what_to_select_and_may_do_without():
    session = Session(preset())
    with pytest.raises(Refused, match=r"Select an object in the picture first\."):
        CellParam(what="an object").check(session, None)
    assert CellParam(needed=False).check(session, None) == ""


# --- Time


def test_the_time_slider_goes_to_any_step_and_back(browser):
    m, free = browser.view.machine, [browser.view.machine.free_pages_count]
    for pages in (2, 1, 3):
        browser.press("take", pages=pages)
        free.append(m.free_pages_count)
    assert browser.known("history") == [3, 3]
    for position in (1, 3, 0, 2):
        answer = browser.press("go", position=position)
        assert answer["history"] == [position, 3]
        assert m.free_pages_count == free[position]
        start = "The start, before the first of 3 steps." if position == 0 else f"After step {position} of 3: Took"
        assert answer["status"].startswith(start)
    browser.press("take", pages=5)  # what came after step 2 is dropped
    assert browser.known("history") == [3, 3]
    assert browser.press("go", position=9)["status"] == "A position of the history is a whole number from 0 to 3, not 9."


# --- Inside a step


def test_inside_a_recorded_step_each_moment_is_drawn_and_ram_stays(browser):
    m = browser.view.machine
    start = m.free_pages_count
    assert browser.known("inside") is None
    answer = browser.press("fill", pages=4, name="me")
    assert answer["inside"] == [None, 4, "The end of the step."]
    end = m.snapshot()
    for k in (0, 3, 1):
        answer = browser.press("frame", frame=k)
        assert answer["inside"] == [k, 4, f"Page {browser.view.look.recording.marks[k].split()[1]} is the {k + 1}. for me."]
        assert drawn_words(browser).startswith(f"{start - k - 1} free. Page ")
        assert m.snapshot() == end
        assert browser.view.picture().fragments == browser.drawn()
    assert browser.press("frame", frame=None)["inside"][0] is None
    assert drawn_words(browser) == f"{start - 4} free. "


def test_an_action_while_a_moment_is_shown_acts_on_ram_as_it_really_is(browser):
    m, start = browser.view.machine, browser.view.machine.free_pages_count
    browser.press("fill", pages=4, name="me")
    browser.press("frame", frame=0)
    answer = browser.press("take", pages=1)
    assert m.free_pages_count == start - 5
    assert answer["inside"] is None
    browser.press("undo")
    assert browser.known("inside")[:2] == [None, 4]  # the recorded step is the last one again
    browser.press("frame", frame=2)
    browser.press("undo")
    assert browser.known("inside") is None
    assert m.free_pages_count == start
    m.check()


def test_code_that_changes_ram_ends_the_look_inside(browser):
    browser.press("fill", pages=4, name="me")
    browser.press("frame", frame=1)
    browser.view.machine.alloc_pages(0)
    browser.view.session.notice()
    assert browser.known("inside") is None
    assert "alert" not in browser.answers[-1]
    assert browser.view.look.frame is None


@pytest.mark.parametrize("frame", [4, -1, True, 1.0, "1", []])
def test_a_moment_that_is_none_is_refused(browser, frame):
    assert browser.press("frame", frame=0)["status"].startswith("The last step was not recorded")
    browser.press("fill", pages=4, name="me")
    assert browser.press("frame", frame=frame)["status"].startswith("Inside this step are moments 0 to 3, not ")


def test_a_recorded_step_of_slides_shows_the_moments_that_the_demo_names(browser):
    html = browser.view.static_html()
    sentences = re.findall(r'<div class="fragment"><p>([^<]*)</p>', html)
    assert [s.split(" is the")[-1] for s in sentences] == [
        "The machine at the start.",
        " 1. for you.",
        " 3. for you.",
        "Took 4 pages for you.",
        "Took 1 pages.",
    ]


def test_two_views_look_inside_independently(browser, monkeypatch):
    other = Browser(LabView(TOY, browser.view.session), monkeypatch)
    browser.press("fill", pages=2, name="me")
    browser.press("frame", frame=0)
    assert other.known("inside") == [None, 2, "The end of the step."]
    other.press("take", pages=1)
    assert browser.known("inside") is None


# --- Pictures side by side


def test_panels_are_svgs_of_their_own_and_arrow_keys_can_tell_them_apart(browser):
    assert [len(ids) > 0 for _, _, ids in browser.known("panels")] == [True, True]
    assert browser.known("panels")[1] == [300, 50, ["notes"]]
    cells = {c.id: c.column for c in browser.view.picture().cells}
    assert cells["note"] == 1000
    assert max(column for id_, column in cells.items() if id_ != "note") < 1000
    html = browser.view.picture().html()
    assert html.count("<svg ") == html.count('role="img"') == 2
    assert html.count("<style>") == html.count("<figcaption>") == 1


def test_a_saved_picture_is_one_file_that_stands_alone(browser):
    answer = browser.press("save_picture")
    assert answer["name"] == "toy_lab.svg"
    assert answer["file"] == browser.view.picture().svg()
    document = xml.dom.minidom.parseString(answer["file"])
    assert document.documentElement.tagName == "svg"
    assert document.getElementsByTagName("title")[0].firstChild.data == "Pages and notes"
    assert "free block" in answer["file"]  # the legend
    assert not re.search(r"var\(|--jp|@|memlab-|url\(", answer["file"])
    for class_ in ("ml-free", "ml-cell", "ml-heading"):
        assert re.search(rf"\.{class_}\b[^{{}}]*{{ [^}}]+ }}", answer["file"])


def test_pictures_whose_ids_are_the_same_cannot_be_put_together():
    one = Picture({"a": ""}, 10, 10, "One", cells=(Cell("c", "c", 0, 0),))
    for together in (panels, stack):
        with pytest.raises(ValueError, match="two of the pictures have a fragment 'a'"):
            together("Two", one, one)
        with pytest.raises(ValueError, match="two of the pictures have a cell 'c'"):
            together("Two", one, Picture({"b": ""}, 10, 10, "Two", cells=one.cells))
    with pytest.raises(ValueError, match="cannot be stacked"):
        stack("Two", panels("One", one))
    assert panels("All", panels("One", one), Picture({"b": ""}, 10, 10, "B")).parts[0] is one


def test_an_arrow_ends_in_a_head_at_its_end():
    assert arrow(0, 0, 100, 0, "ml-strong") == '<path class="ml-arrow ml-strong" d="M0 0L100 0M93 -3.5L100 0L93 3.5"/>'
    assert "nan" not in arrow(5, 5, 5, 5)


# --- Functions of the learner's


def endless():
    while True:
        pass


def swallowing():
    while True:
        try:  # noqa: SIM105
            _ = 1
        except:  # noqa: E722
            pass


def catching():
    while True:
        try:  # noqa: SIM105
            _ = 1
        except Exception:  # noqa: BLE001
            pass


def comprehending():
    return [n for n in itertools.count() if n < 0]


def summing():
    return sum(n for n in itertools.count())


def forking(n=0):
    return forking(n + 1) + forking(n + 1) if n < 40 else 1


def as_key():
    return max(range(3), key=lambda _n: endless())


@pytest.mark.parametrize("function", [endless, swallowing, catching, comprehending, summing, forking, as_key])
def test_an_endless_loop_ends_with_a_sentence(function):
    answer = ask(function)
    assert answer.value is None
    assert answer.sentence == (
        f"{function.__name__}() did not end: it was stopped after 100,000 lines of your code; look for a loop whose condition never becomes false."
    )
    assert sys.gettrace() is None or "pytest" in repr(sys.gettrace())


def recursing(n):
    return recursing(n)


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


def raising(error):
    raise error


@pytest.mark.parametrize(
    ("function", "args", "sentence"),
    [
        (lambda n: n // 0, (3,), "<lambda>(3) raised ZeroDivisionError in its line 1: integer division or modulo by zero"),
        (raising, (KeyError("x"),), "raising(KeyError('x')) raised KeyError in its line 2: 'x'"),
        (raising, (NotImplementedError(),), "raising is not written yet."),  # an exercise's stub: not begun, so not a mistake
        (raising, (SystemExit(),), "raising(SystemExit()) raised SystemExit in its line 2: it says no more."),
        (raising, (Mute(),), "raising(Mute()) raised Mute in its line 2: and cannot say what is wrong."),
        (recursing, (1,), "recursing(1) did not end: it calls itself without end."),
        (raising, (), "raising() raised TypeError: raising() missing 1 required positional argument: 'error'"),
        (None, (), "your function() raised TypeError: 'NoneType' object is not callable"),
        (recursing, (10**5000,), "recursing(a number of 16,610 bits) did not end: it calls itself without end."),
    ],
)
def test_whatever_goes_wrong_in_a_function_is_a_sentence(function, args, sentence):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1500)
    try:
        assert ask(function, *args) == (None, sentence)
    finally:
        sys.setrecursionlimit(limit)


def test_what_memlab_does_for_a_function_costs_nothing():
    def mine(m):
        return [m.alloc_pages(0) for _ in range(50)]

    assert len(ask(mine, Machine("1M", max_order=6), steps=200).value) == 50
    assert "did not end" in ask(mine, Machine("1M", max_order=6), steps=20).sentence


def test_a_budget_is_over_with_its_block_and_what_traced_before_traces_again():
    def before(_frame, _event, _arg):
        return None

    traced = sys.gettrace()
    sys.settrace(before)
    try:
        with pytest.raises(TooLong, match="after 50 lines"), budget(50):
            endless()
        now = sys.gettrace()
    finally:
        sys.settrace(traced)
    assert now is before
    with budget(5):
        pass
    assert sum(1 for _ in range(3 * MOST_STEPS)) == 3 * MOST_STEPS


def test_a_lab_asks_the_functions_that_it_takes(monkeypatch):
    view = LabView(TOY, Session(preset()), yours={"count": endless, "other": lambda n: n})
    words = view.picture().fragments["notes"]
    assert "raised TypeError" in words
    assert "fine" in words
    browser = Browser(view, monkeypatch)
    assert browser.press("take", pages=1)["status"] == "Took 1 pages."
    with pytest.raises(ValueError, match="the Toy lab takes count, other of yours, not 'counts'"):
        LabView(TOY, Session(preset()), yours={"counts": endless})
    with pytest.raises(TypeError, match="count is a function of yours, not 5"):
        LabView(TOY, Session(preset()), yours={"count": 5})
