"""What holds for each lab, whatever it is about: derived from its declaration, so that a new lab is tested by being declared."""

import contextlib
import json
import random
import re

import pytest
from fake_browser import Browser

import memlab.figures
import memlab.labs
from memlab.figures import Picture
from memlab.labs import LABS, CellParam, ChoiceParam, IntParam, Refused, Session, TextParam, open_lab

EVERY_LAB = pytest.mark.parametrize("lab", LABS.values(), ids=list(LABS))
SENTENCE = re.compile(r"\w.*[.]", re.DOTALL)


def open_view(lab):
    """The view that the lab's own function opens."""
    return getattr(memlab.labs, f"{lab.name}_lab")()


def random_params(action, session, rng, cells):
    """Parameters for an action, such as its controls could have; None if a control has no value now."""
    params = {}
    for p in action.params:
        if isinstance(p, IntParam | ChoiceParam):
            accepted = p.accepts(session)
            if not accepted:
                return None
            # small values more often: a long range has few that are different
            params[p.name] = accepted[min(int(rng.expovariate(0.5)), len(accepted) - 1)] if rng.random() < 0.7 else rng.choice(accepted)
        elif isinstance(p, TextParam):
            params[p.name] = rng.choice(("a", "b2", "c_3", "d-4", "E.5"))[: p.most]
        else:
            params[p.name] = rng.choice(cells) if cells and rng.random() < 0.95 else None
    return params


class Learner:
    """Somebody who presses a lab's buttons at random, looks at the picture now and then, and changes their mind."""

    def __init__(self, lab, seed):
        self.lab, self.rng, self.done = lab, random.Random(seed), []
        self.view = open_view(lab)
        self.session, self.machine = self.view.session, self.view.machine

    def step(self, moves=True):
        """Do one random thing, and check all of RAM."""
        rng, session = self.rng, self.session
        with contextlib.suppress(Refused):
            if moves and rng.random() < 0.12:
                if rng.random() < 0.8:
                    session.undo() if rng.random() < 0.6 else session.redo()
                else:
                    session.go(rng.randrange(max(session.position - 3, 0), len(session.steps) + 1))
            else:
                self.act()
        self.machine.check()

    def act(self):
        # actions that can be done more often than those that would only be refused
        possible = [a for a in self.lab.actions if a.reason(self.session, self.view.look.cell) is None]
        action = self.rng.choice(possible if possible and self.rng.random() < 0.6 else self.lab.actions)
        cells = [c.id for c in self.view.picture().cells] if any(isinstance(p, CellParam) for p in action.params) else []
        params = random_params(action, self.session, self.rng, cells)
        if params is None:
            return
        self.done.append((action.name, params))
        done = self.session.run(action, **params)
        assert SENTENCE.fullmatch(done.sentence), done
        self.view.look = self.view.look._replace(cell=done.cell if done.cell is not None else params.get("cell"))


def repeated(session):
    """The machine that the session's code makes in a fresh namespace."""
    namespace = {}
    exec(session.code(), namespace)
    return namespace["m"]


@EVERY_LAB
@pytest.mark.parametrize("seed", [20211025])
def test_300_random_actions_leave_ram_in_order_and_code_and_undo_repeat_them(lab, seed):
    learner = Learner(lab, seed)
    session, m = learner.session, learner.machine
    learner.view.close()  # it need not draw what nobody sees
    start = m.snapshot()
    try:
        for _ in range(300):
            learner.step()
    except BaseException as error:
        error.add_note(f"lab {lab.name}, seed {seed}, the last of {len(learner.done)} actions: {learner.done[-1]}")
        raise
    assert len(session.steps) > 40, "hardly anything could be done"
    assert {name for name, _ in learner.done} == {a.name for a in lab.actions}
    end = m.snapshot()
    assert repeated(session).snapshot() == end
    session.reset()
    assert m.snapshot() == start
    for _ in range(len(session.steps)):
        session.redo()
        m.check()
    assert len(session.steps) == session.position


@EVERY_LAB
@pytest.mark.parametrize("seed", range(3))
def test_a_state_code_leads_to_equal_ram_and_to_itself(lab, seed):
    learner = Learner(lab, seed)
    for _ in range(60):
        if len(learner.session.steps) < 12:
            learner.step(moves=False)
    code = learner.view.state_code
    assert re.fullmatch(rf"memlab1\.{lab.name}\.[a-z2-7]+\.[0-9a-f]{{24}}", code)
    assert len(code) <= 2048
    view = open_lab(code)
    assert view.lab is lab
    assert view.machine.snapshot() == learner.machine.snapshot()
    assert view.state_code == code
    assert [s.sentence for s in view.session.steps] == [s.sentence for s in learner.session.steps]


@EVERY_LAB
def test_random_clicks_send_little_and_the_browser_draws_what_the_figure_draws(lab, monkeypatch):
    rng = random.Random(1)
    browser = Browser(open_view(lab), monkeypatch)
    view = browser.view
    for _ in range(60):
        cells = [c.id for c in view.picture().cells]
        if rng.random() < 0.3 and cells:
            browser.press("select", cell=rng.choice(cells))
        elif rng.random() < 0.2:
            browser.press(rng.choice(["undo", "redo", "reset"]))
        else:
            action = rng.choice(lab.actions)
            params = random_params(action, view.session, rng, cells)
            if params is not None:
                browser.press(action.name, **{k: v for k, v in params.items() if k != "cell"})
        answer = browser.answers[-1]
        assert "alert" not in answer, answer["alert"]
        assert browser.bytes[-1] <= 64 << 10
        assert browser.drawn() == view.picture().fragments
        assert all(SENTENCE.fullmatch(reason) for reason in browser.known("disabled").values())


@EVERY_LAB
def test_moments_inside_recorded_steps_can_be_drawn_and_leave_ram_alone(lab, monkeypatch):
    browser = Browser(open_view(lab), monkeypatch)
    view, recorded = browser.view, 0
    for name, params, *_ in lab.demo:
        view.look = view.look._replace(cell=params.get("cell", view.look.cell))
        browser.press(name, **{k: v for k, v in params.items() if k != "cell"})
        now = browser.known("inside")
        if now is None:
            continue
        recorded += 1
        ram = view.machine.snapshot()
        for k in sorted({0, 1, now[1] // 2, now[1] - 1} & set(range(now[1]))):
            answer = browser.press("frame", frame=k)
            assert "alert" not in answer, answer["alert"]
            assert browser.known("inside")[0] == k
            assert browser.drawn() == view.picture().fragments
            assert view.machine.snapshot() == ram
        assert browser.press("frame", frame=None).get("refused") is None
        view.machine.check()
    browser.press("undo")
    assert browser.view.look.frame is None


BAD_VALUES = [None, 1.5, [], {}, -(10**9), 1 << 70, True, "", "x" * 999, "\0", "a b", float("nan"), {"order": 0}, ["page-0"]]


@EVERY_LAB
def test_hostile_messages_are_refused_with_ram_untouched(lab, monkeypatch):
    learner = Learner(lab, 3)
    for _ in range(12):
        learner.step(moves=False)
    browser = Browser(learner.view, monkeypatch)
    m, session = learner.machine, learner.session
    ram, stats, steps = m.snapshot(), m.stats, len(session.steps)
    hostile = [
        *((name, {}) for name in ("", "__init__", "_run", "close", "x" * 9999, lab.title)),
        *(("open", {"code": bad}) for bad in (*BAD_VALUES, f"memlab1.{lab.name}.aaaa.{'0' * 24}")),
        *(("select", {"cell": bad}) for bad in BAD_VALUES),
        *(("go", {"position": bad}) for bad in (*BAD_VALUES[:7], steps + 1)),
        *(("frame", {"frame": bad}) for bad in BAD_VALUES[1:9]),
        *((name, {"on": 1}) for name in ("hexadecimal", "code", "state_code")),
    ]
    for action in lab.actions:
        good = random_params(action, session, random.Random(1), []) or {}
        good.pop("cell", None)
        hostile += [(action.name, {**good, name: 0}) for name in ("cell", "self", "session", "gfp_", "")]
        hostile += [(action.name, {k: v for k, v in good.items() if k != name}) for name in good]
        for p in action.params:
            if p.name in good:
                bad = [v for v in BAD_VALUES if not (isinstance(p, ChoiceParam) and v in p.accepts(session))]
                hostile += [(action.name, {**good, p.name: value}) for value in bad]
    assert len(hostile) > 50
    for name, params in hostile:
        browser.sequence += 1
        answer = browser.message({"action": name, "params": params, "sequence": browser.sequence})
        assert answer.get("refused") is True, (name, params, answer)
        assert SENTENCE.fullmatch(answer["status"]), answer["status"]
        assert len(answer["status"]) < 400
    assert m.snapshot() == ram
    assert m.stats == stats
    assert len(session.steps) == steps


@EVERY_LAB
def test_a_lab_on_a_damaged_machine_still_answers_and_undo_mends_it(lab, monkeypatch):
    rng = random.Random(7)
    for _ in range(8):
        learner = Learner(lab, 5)
        for _ in range(6):
            learner.step(moves=False)
        browser, m = Browser(learner.view, monkeypatch), learner.machine
        position = learner.session.position
        for _ in range(20):
            ram = getattr(m, "linked", getattr(m, "written", m))  # one of the two machines of some labs
            places = (
                ram.MM + rng.randrange(ram.nr_pages),
                rng.randrange(ram.highmem_pfn << ram.WS),
                rng.randrange(ram.KA, ram._kernel_end >> 3),
            )
            ram.write(ram.B + 8 * rng.choice(places), rng.getrandbits(64).to_bytes(8, "little"))
        answer = browser.press("show")
        assert "fragments" in answer or "alert" in answer
        for action in lab.actions:
            answer = browser.press(action.name)
            assert answer.get("status") or answer.get("alert")
        browser.press("go", position=position)
        m.check()


@EVERY_LAB
def test_the_demo_is_shown_as_pictures_and_sentences(lab, monkeypatch):
    monkeypatch.setenv("MEMLAB_STATIC", "1")
    view = open_view(lab)
    html = view.static_html()
    assert html == open_view(lab)._repr_mimebundle_()["text/html"]
    assert html.count('<div class="fragment">') == html.count('<figure class="memlab-picture">') > len(lab.demo)
    assert not re.search(r"<svg(?![^>]*aria-label)", html)
    assert view.session.steps == []  # it works on a machine of its own


@EVERY_LAB
def test_a_figure_of_the_same_name_draws_the_labs_machine(lab):
    figure = getattr(memlab.figures, f"{lab.name}_lab")
    picture = figure(open_view(lab).machine)
    assert isinstance(picture, Picture)
    assert picture.html() == figure(open_view(lab).machine).html()
    assert "var(" not in picture.svg()


@EVERY_LAB
def test_a_declaration_is_in_order(lab):
    assert lab.title.endswith(" lab")
    assert json.loads(json.dumps(lab.setup().params)) == lab.setup().params
    session = Session(lab.setup())
    for action in lab.actions:
        assert action.label[0].isupper()
        names = [p.name for p in action.params]
        assert len(set(names)) == len(names)
        assert all(json.dumps(p.control(session)) for p in action.params)
    assert repr(open_view(lab)) == repr(open_view(lab))
