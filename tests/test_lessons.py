"""The engine of the lessons: judging, panels, predictions, drills, progress, solved notebooks, and the command line.

All of it on a demo chapter that stands in this file: number 97.
"""

import json
import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import pytest

import memlab.lessons
from memlab import Machine
from memlab.labs import LabView, buddy_lab
from memlab.labs.refused import Refused
from memlab.lessons import begin, cells, drill, exercise, guide, predict, progress, registry, results
from memlab.lessons.__main__ import main
from memlab.lessons.drill import MOST_SEED, after
from memlab.lessons.judge import judge
from memlab.lessons.model import Chapter, Drill, Exercise, Prediction, Question, Verdict
from memlab.lessons.overview import ProgressSheet
from memlab.lessons.panel import Panel
from memlab.lessons.prediction import copy_of, pose
from memlab.lessons.registry import LessonError
from memlab.lessons.sheet import Button, Sheet
from memlab.lessons.solve import solve


def check_double(answer):
    for n in (0, 1, 21):
        if (got := answer(n)) != 2 * n:
            return Verdict(False, f"double({n}) gave {got}; twice {n} is {2 * n}.")
    return Verdict(True, "Three numbers were tried.")


def double(n):
    return n + n  # the reference answer


DOUBLE = Exercise(
    "97.1",
    level=1,
    minutes=5,
    title="Double",
    task="`double(n)` returns twice n.",
    stub="def double(n):\n    raise NotImplementedError",  # what an exercise gives out: the learner writes the rest
    check=check_double,
    hints=("Add.", "Add n to `n`."),
    explanation="Addition will do.",
)
PAGES = Prediction(
    "97.a",
    question=lambda m: f"How many of {m.nr_pages} pages are free?",
    choices={"All of them": "Some hold the mem_map.", "Fewer": None},
    right=lambda m: "Fewer" if m.free_pages_count < m.nr_pages else "All of them",
    machine=lambda: Machine("1M"),
)
SUM = Drill("97.sum", 1, lambda rng: sum_question(rng.randrange(100), rng.randrange(100)))


def sum_question(a, b):
    return Question(f"What is {a} + {b}?", None, str(a + b), lambda reply: Verdict(int(reply) == a + b, f"{a} + {b} = {a + b}."))


CHAPTER = Chapter("97", "Demo", "97_demo.ipynb", 20, (DOUBLE,), (PAGES,), (SUM,))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder for the progress of one test, and the demo chapter in the registry."""
    answers = ModuleType("memlab.lessons.ch97.answers")
    answers.double = double
    monkeypatch.setitem(sys.modules, answers.__name__, answers)
    real = registry.chapter
    for module in (registry, cells):
        monkeypatch.setattr(module, "chapter", lambda number: CHAPTER if number == "97" else real(number))
    monkeypatch.setattr("memlab.lessons.overview.chapters", lambda: (CHAPTER,))
    monkeypatch.setattr("memlab.lessons.__main__.chapters", lambda: (CHAPTER,))
    monkeypatch.setattr(results, "_told", False)
    monkeypatch.setattr(cells, "_sheets", {})
    monkeypatch.setattr(cells, "_panels", {})
    monkeypatch.setenv("MEMLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("IPython.get_ipython", lambda: None)  # another test of this process may have started one
    for name in ("BINDER_SERVICE_HOST", "BINDER_REPO_URL", "MEMLAB_STATIC"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def learner(source):
    """A function as a learner writes it, with lines that a traceback can show."""
    names = {}
    exec(compile(source, "<cell>", "exec"), names)
    return next(value for name, value in names.items() if name != "__builtins__")


def press(panel, action, value=None):
    """What the browser does; returns (status, tone) that it shows then."""
    panel._handle_msg({"content": {"data": {"method": "custom", "content": {"action": action, "value": value}}}, "buffers": []})
    return panel.content["status"], panel.content["tone"]


def shown(panel):
    return [block["key"] for block in panel.content["more"]]


# --- Judging


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("raise NotImplementedError", "stub", "Not started."),
        ("return n * 2", "correct", "Three numbers were tried."),
        ("return n", "wrong", "double(1) gave 1; twice 1 is 2."),
        ("while True: pass", "wrong", "double(0) did not end: it was stopped after 5,000 lines of your code"),
        ("while True:\n        try:\n            n += 1\n        except:\n            pass", "wrong", "double(0) did not end"),
        ("return double(n)", "wrong", "double(0) did not end: it calls itself"),
        ("return 1 // n", "failed", "double(0) stopped with an error."),
        ("raise SystemExit", "failed", "double(0) stopped with an error."),
        ("raise KeyboardInterrupt", "wrong", "The check was interrupted."),
        ("return missing", "failed", "double(0) stopped with an error."),
        ("return [n] * 10**12", "failed", "double(0) stopped with an error."),
        ("return -10**5000", "wrong", "double(0) returned a number of 16,610 bits, and the check can do nothing with that"),
        ("return 'x' * 10**6", "wrong", "xxx ..."),
    ],
)
def test_whatever_an_answer_does_it_is_judged(body, kind, said):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # some libraries raise it
    try:
        outcome = judge(DOUBLE, learner(f"def double(n):\n    {body}"), steps=5000)
    finally:
        sys.setrecursionlimit(limit)
    assert outcome.kind == kind
    assert said in outcome.sentence
    assert "\n" not in outcome.sentence


@pytest.mark.parametrize("answer", [None, 5, "double", int, print, [], lambda: 0])
def test_what_is_no_fitting_function_is_told_so(answer):
    outcome = judge(DOUBLE, answer)
    assert outcome.kind == "wrong"
    assert "asks for a function" in outcome.sentence or "does not take that" in outcome.sentence


def test_a_result_that_the_check_cannot_use_is_named():
    shape = replace(DOUBLE, check=lambda answer: Verdict(answer(4)[0] == 8, "Good."))
    assert judge(shape, lambda _n: None).sentence.startswith(
        "<lambda>(4) returned None, and the check can do nothing with that (TypeError:"
    )


def test_a_traceback_is_cut_to_the_learners_own_lines():
    source = "def double(n):\n    return helper(n)\ndef helper(n):\n    Machine = __import__('memlab').Machine\n    return Machine('1M').free_pages(1)"
    outcome = judge(DOUBLE, learner(source.replace("def helper", "global helper\ndef helper")))
    lines = outcome.details.splitlines()
    assert lines[0] == "Your lines, the last call last:"
    assert [line.strip() for line in lines if " in " in line and "line " in line] == ["line 2, in double", "line 6, in helper"]
    assert lines[-1].startswith("KernelBug: ")
    assert not any(word in outcome.details for word in ("memlab/", "judge", "check_double"))


def test_what_an_answer_prints_is_shown_but_never_all_of_a_flood(capsys):
    assert judge(DOUBLE, learner("def double(n):\n    print('n is', n)\n    return 2 * n")).details == "n is 0\nn is 1\nn is 21"
    flood = judge(DOUBLE, learner("def double(n):\n    while True:\n        print('again')"), steps=100_000).details
    assert flood.splitlines()[-1] == "... (your function printed more)"
    assert len(flood.splitlines()) == 21
    huge = judge(DOUBLE, learner("def double(n):\n    print('x' * 10**6)\n    return 2 * n")).details
    assert len(huge) < 3000
    assert capsys.readouterr().out == ""


def test_the_budget_leaves_pythons_own_tracing_as_it_was():
    before = sys.gettrace()
    judge(DOUBLE, learner("def double(n):\n    while True: pass"), steps=100)
    assert sys.gettrace() is before


# --- The exercise decorator


def test_the_decorator_prints_one_constant_line_and_returns_the_function_unchanged(capsys):
    def double(n):
        raise NotImplementedError

    assert exercise("97.1")(double) is double
    assert capsys.readouterr().out == "97.1 ★ not started: write the function, then run this cell again.\n"
    function = learner("def double(n):\n    return 2 * n")
    assert exercise("97.1")(function) is function
    assert capsys.readouterr().out == "97.1: correct\n"
    exercise("97.1")(learner("def double(n):\n    return n"))
    assert capsys.readouterr().out == "97.1: not yet. double(1) gave 1; twice 1 is 2.\n"
    assert results.read().exercises == {"97.1": True}


def test_a_function_that_calls_itself_means_itself_and_not_what_had_its_name_before():
    names = {"exercise": exercise}
    stub = "def double(n):\n    raise NotImplementedError"
    recursive = "def double(n):\n    return 2 + double(n - 1) if n else 0"
    for source, kind in ((stub, {}), (recursive, {"97.1": True})):
        exec(compile(f"@exercise('97.1')\n{source}", "<cell>", "exec"), names)
        assert results.read().exercises == kind


def test_the_decorator_without_a_number_says_so(capsys):
    function = learner("def double(n):\n    return n")
    assert exercise(function) is function
    assert capsys.readouterr().out == 'Which exercise is double for? Write its number, such as @exercise("02.1"), in the line above def.\n'


def test_an_address_in_a_sentence_is_hexadecimal():
    outcome = judge(replace(DOUBLE, check=lambda answer: answer(0xFFFF_8880_0000_1000) or answer(5)), learner("def double(n):\n    1 // 0"))
    assert outcome.sentence == "double(0xffff888000001000) stopped with an error."


def test_a_wide_list_leaves_room_for_the_arguments_after_it():
    outcome = judge(
        replace(DOUBLE, check=lambda answer: answer(["x" * 55] * 15, 1) or answer(5)), learner("def double(n, m):\n    return n[m * 99]")
    )
    assert outcome.sentence == f"double(['{'x' * 55}', ... 15 in all], 1) stopped with an error."


@pytest.mark.parametrize("name", ["97.2", "96.1", "nonsense", "", "97", "../x.1", "９7.1", None, 5, b"97.1"])
def test_a_name_that_there_is_not_is_a_sentence_and_the_function_is_returned(name, capsys):
    def function(n):
        return n

    assert exercise(name)(function) is function
    assert predict(name) is None
    assert drill(name) is None
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert all(line.startswith(("Chapter 97 has no ", "There is no chapter ", "The name of ")) for line in said)


def exercise_panel():
    exercise("97.1")(learner(DOUBLE.stub))
    return cells._panels["97.1"]


def test_hints_come_one_by_one_and_the_rest_on_demand():
    panel = exercise_panel()
    assert panel.content["title"] == "97.1 Double"
    assert panel.content["note"] == "★ · about 5 minutes"
    assert shown(panel) == []
    assert press(panel, "hint")[0] == "Hint 1 is shown below."
    assert shown(panel) == ["hint-1"]
    press(panel, "hint")
    assert press(panel, "hint") == ("All hints are shown below.", "")
    assert shown(panel) == ["hint-1", "hint-2"]
    press(panel, "solution")
    press(panel, "explanation")
    press(panel, "stub")
    assert shown(panel) == ["hint-1", "hint-2", "solution", "explanation", "stub"]
    texts = {block["key"]: block["text"] for block in panel.content["more"]}
    assert texts["solution"] == '@exercise("97.1")\ndef double(n):\n    return n + n  # the reference answer'
    assert texts["stub"] == '@exercise("97.1")\ndef double(n):\n    raise NotImplementedError'
    press(panel, "solution")
    assert shown(panel) == ["hint-1", "hint-2", "explanation", "stub"]
    assert "state" not in [button["name"] for button in panel.content["buttons"]]


def test_running_the_cell_again_keeps_what_was_revealed_and_closes_the_old_panel():
    panel = exercise_panel()
    press(panel, "hint")
    again = exercise_panel()
    assert again is not panel
    assert shown(again) == ["hint-1"]
    assert panel.comm is None


def test_an_exercise_opens_the_lab_of_its_state_code():
    lab = buddy_lab()
    lab.session.run(lab.lab.action("allocate"), order=1)
    code = lab.state_code
    cells._sheets["97.1"] = cells.ExerciseSheet(CHAPTER, replace(DOUBLE, state=code))
    panel = exercise_panel()
    press(panel, "state")
    assert isinstance(panel.widget, LabView)
    assert panel.widget.machine.snapshot() == lab.machine.snapshot()
    assert panel.content["more"][-1]["text"] == f'from memlab.labs import open_lab\n\nopen_lab("{code}")'
    press(panel, "state")
    assert panel.widget is None


# --- Predictions


def test_a_prediction_says_right_or_wrong_with_the_reason():
    panel = predict("97.a")
    assert panel.content["blocks"][0]["label"] == "How many of 256 pages are free?"
    assert panel.content["blocks"][0]["choices"] == ["All of them", "Fewer"]
    assert press(panel, "answer", None) == ("Choose an answer first.", "")
    assert press(panel, "answer", 0) == ("Not so. Some hold the mem_map.", "wrong")
    assert results.read().predictions == {"97.a": False}
    assert press(panel, "answer", 1) == ("Right: Fewer.", "right")
    assert press(panel, "answer", 0)[1] == "wrong"
    assert results.read().predictions == {"97.a": True}


def test_a_prediction_about_the_learners_machine_leaves_it_as_it_is():
    m = Machine("2M", cpus=2, watermarks=None, design="bounded")
    m.alloc_pages(3)
    before, stats = m.snapshot(), m.stats

    def right(copy):
        assert copy is not m
        assert copy.snapshot() == before
        while copy.alloc_pages(0) is not None:
            pass
        return "Fewer" if copy.free_pages_count == 0 else "All of them"

    posed = pose(replace(PAGES, right=right), m)
    assert posed.question == "How many of 512 pages are free?"
    assert (m.snapshot(), m.stats) == (before, stats)
    assert predict("97.a", m).sheet.note == ""


def test_a_machine_that_a_question_does_not_fit_is_replaced_by_a_fresh_one_and_that_is_said(monkeypatch):
    odd = replace(PAGES, right=lambda m: "Fewer" if m.nr_pages == 256 else 1 // 0)
    monkeypatch.setattr(cells, "find_prediction", lambda _name: odd)
    panel = predict("97.a", Machine("2M"))
    assert panel.content["note"].startswith("Your machine is not in a state")
    assert panel.content["blocks"][0]["label"] == "How many of 256 pages are free?"


@pytest.mark.parametrize("machine", ["m", 5, buddy_lab, object()])
def test_predict_takes_a_machine_and_nothing_else(machine, capsys):
    assert predict("97.a", machine) is None
    assert capsys.readouterr().out.startswith("predict takes the name of a prediction and, if you like, a Machine;")


@pytest.mark.parametrize(
    "choices",
    [
        {"All": "No.", "Fewer": "No."},
        {"All": None, "Fewer": None},
        {"All": None, "Most": "No."},
        {"Fewer": "No."},
        {"Fewer": "No.", "All": None},
    ],
)
def test_a_prediction_without_exactly_one_right_choice_is_a_mistake_of_its_author(choices):
    with pytest.raises(ValueError, match=r"97\.a"):
        pose(replace(PAGES, choices=choices))


def test_a_copy_of_a_machine_has_its_ram_and_goes_its_own_way():
    m = Machine("4M", highmem="1M", cpus=2, pcp=True)
    cache = m.kmem_cache_create("names", 100)
    cache.alloc()
    copy = copy_of(m)
    assert copy.snapshot() == m.snapshot()
    assert copy.caches["names"].alloc() == cache.alloc()
    copy.check()
    copy.alloc_pages(2)
    assert copy.snapshot() != m.snapshot()


# --- Drills


def test_a_drill_grades_at_once_and_another_question_is_the_next_seed():
    panel = drill("97.sum", seed=3)
    assert panel.content["note"] == "★ · question 3"
    answer = SUM.question(3).answer
    assert press(panel, "check", "") == ("Type an answer first.", "wrong")
    assert press(panel, "check", "many")[0] == "That cannot be read as an answer to this question."
    assert press(panel, "check", "-7")[0].startswith("Not so. ")
    assert results.read().drills == {}
    status, tone = press(panel, "check", answer)
    assert (status[:6], tone) == ("Right.", "right")
    assert press(panel, "another") == ("Question 4.", "")
    assert panel.content["blocks"][0]["text"] == SUM.question(4).text
    assert results.read().drills == {"97.sum": {3}}


def test_the_question_after_one_does_not_ask_the_very_same_again():
    few = Drill("97.few", 1, lambda rng: sum_question(rng.randrange(2), 0))
    assert few.question(MOST_SEED - 1).text != few.question(after(few, MOST_SEED - 1)).text
    seeds = [3]
    for _ in range(20):
        seeds.append(after(few, seeds[-1]))
        assert few.question(seeds[-1]).text != few.question(seeds[-2]).text
    assert seeds[-1] > 23  # some were left out
    assert after(Drill("97.one", 1, lambda _rng: sum_question(1, 0)), 3) > 3  # a drill with one question has an end, too


@pytest.mark.parametrize("seed", [-1, 2**32, True, 1.5, "1", None])
def test_a_seed_is_a_number_that_there_is(seed, capsys):
    assert drill("97.sum", seed=seed) is None
    assert capsys.readouterr().out.startswith("A drill's seed is a whole number from 0 to 4294967295, not ")


def test_a_drill_in_a_terminal(monkeypatch, capsys):
    replies = iter(["1000", SUM.question(7).answer, "", "x" * 300])

    def reply(_prompt):
        try:
            return next(replies)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", reply)
    assert main(["drill", "97.sum", "--seed", "7"]) == 0
    out = capsys.readouterr().out
    assert [f"Question {n}" in out for n in (7, 8, 9, 10)] == [True, True, True, False]
    assert out.count("Not so. ") == out.count("Right. ") == 1
    assert "That is too long for an answer" in out
    assert main(["drill"]) == 0
    assert capsys.readouterr().out.startswith("97.sum")


# --- Panels


HOSTILE = [
    None,
    5,
    "hint",
    [],
    {},
    {"action": "hint"},
    {"action": "hint", "value": 1},
    {"action": "hint", "value": None, "more": 1},
    {"action": "__init__", "value": None},
    {"action": "judge", "value": None},
    {"action": ["hint"], "value": None},
    {"action": None, "value": None},
    {"action": "state", "value": None},
    {"action": "answer", "value": -1},
    {"action": "answer", "value": 2},
    {"action": "answer", "value": 10**30},
    {"action": "answer", "value": True},
    {"action": "answer", "value": 0.0},
    {"action": "answer", "value": "0"},
    {"action": "answer", "value": [0]},
    {"action": "check", "value": None},
    {"action": "check", "value": 5},
    {"action": "check", "value": {"a": 1}},
    {"action": "another", "value": "4"},
    {"action": "import", "value": 5},
    {"action": "import", "value": None},
    {"action": "export", "value": "/etc/passwd"},
]


@pytest.mark.parametrize("message", HOSTILE, ids=str)
def test_a_message_that_is_not_in_order_changes_nothing(message):
    for panel in (exercise_panel(), predict("97.a"), drill("97.sum"), progress()):
        before = {**panel.content, "status": None, "tone": None}
        panel._handle_msg({"content": {"data": {"method": "custom", "content": message}}, "buffers": []})
        assert {**panel.content, "status": None, "tone": None} == before
        assert panel.content["status"]
        assert panel.content["tone"] == ""
    assert results.read() == results.Progress()


def test_a_sheet_that_raises_becomes_a_sentence():
    class Broken(Sheet):
        title = "Broken"

        def blocks(self):
            return []

        def buttons(self):
            return [Button("go", "Go", lambda: 1 // 0)]

    assert press(Panel(Broken()), "go")[0] == "That failed (ZeroDivisionError: integer division or modulo by zero)."
    with pytest.raises(Refused):
        Broken().receive("go")


def test_reprs_are_constant():
    assert [repr(panel) for panel in (exercise_panel(), predict("97.a"), drill("97.sum"), progress())] == [
        "<97.1 Double>",
        "<Prediction 97.a>",
        "<Drill 97.sum>",
        "<Your progress>",
    ]
    assert predict("97.a")._repr_mimebundle_()[0]["text/plain"] == "<Prediction 97.a>"


def test_on_slides_a_prediction_is_a_question_with_its_answer_as_a_fragment(monkeypatch):
    monkeypatch.setenv("MEMLAB_STATIC", "1")
    html = predict("97.a")._repr_mimebundle_()["text/html"]
    assert html.index("<li>All of them</li><li>Fewer</li>") < html.index('<div class="fragment"><p>Answer: Fewer</p></div>')
    assert "input" not in html
    assert exercise_panel()._repr_mimebundle_() == {"text/plain": "<97.1 Double>"}
    assert "What is" in drill("97.sum")._repr_mimebundle_()["text/html"]


def test_texts_are_never_html():
    panel = Panel(replace_question("`a < b` & <script>"))
    assert "<script>" not in panel.sheet.static_html()
    assert "<code>a &lt; b</code> &amp; &lt;script&gt;" in panel.sheet.static_html()


def replace_question(words):
    return predict_sheet(replace(PAGES, question=words))


def predict_sheet(prediction):
    from memlab.lessons.prediction import PredictionSheet  # noqa: PLC0415

    return PredictionSheet(prediction)


# --- Progress


def write(home, *lines):
    home.mkdir(parents=True, exist_ok=True)
    (home / "progress.jsonl").write_text("".join(lines), encoding="utf-8")


def line(kind="exercise", name="97.1", ok=True, **more):
    return json.dumps({"v": 1, "at": "2025-01-31T12:00:00Z", "kind": kind, "id": name, "ok": ok} | more) + "\n"


BAD = [
    "nonsense\n",
    "[]\n",
    "null\n",
    '{"v": 1}\n',
    line(v=2),
    line(v=True),
    line(kind="lab"),
    line(kind=[]),
    line(name="../x"),
    line(name=5),
    line(ok="yes"),
    line(more=1),
    line(at="x" * 100),
    line(kind="drill"),
    line(kind="drill", seed=-1),
    line(kind="drill", seed=True),
    "[" * 100_000 + "\n",
    "\x00\n",
]


def test_results_are_appended_and_the_best_is_kept(home):
    assert results.record("exercise", "97.1", False) == ""
    assert results.record("exercise", "97.1", True) == ""
    assert results.record("exercise", "97.1", False) == ""
    for seed in (1, 2, 2):
        results.record("drill", "97.sum", True, seed)
    lines = (home / "progress.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(one)["ok"] for one in lines] == [False, True, True, True]
    assert results.read() == results.Progress({"97.1": True}, {}, {"97.sum": {1, 2}})


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_bad_line_is_set_aside_and_left_in_place(bad, home):
    write(home, bad, line())
    known = results.read()
    assert (known.exercises, known.unread) == ({"97.1": True}, 1)
    results.record("prediction", "97.a", True)
    assert (home / "progress.jsonl").read_text(encoding="utf-8").startswith(bad)
    assert results.read().predictions == {"97.a": True}
    assert results.export().count("\n") == 2


def test_a_torn_last_line_spoils_no_other(home):
    write(home, line(), line(name="97.2")[:20])
    results.record("exercise", "97.3", True)
    assert results.read() == results.Progress({"97.1": True, "97.3": True}, {}, {}, unread=1)


def test_bytes_that_are_no_text_are_set_aside(home):
    write(home, "")
    (home / "progress.jsonl").write_bytes(b"\xff\xfe\n" + line().encode())
    assert results.read().unread == 1


def test_a_folder_that_cannot_be_written_stops_no_learner_and_is_told_once(home, capsys):
    home.write_text("in the way", encoding="utf-8")
    panel = predict("97.a")
    first, second = press(panel, "answer", 1)[0], press(panel, "answer", 1)[0]
    assert first.startswith("Right: Fewer. (Your progress cannot be written down: ")
    assert second == "Right: Fewer."
    exercise("97.1")(double)
    assert capsys.readouterr().out == "97.1: correct\n"
    assert "cannot be read" in progress().content["blocks"][0]["text"]
    assert press(progress(), "export")[1] == "wrong"


def test_the_folder_is_the_users_unless_memlab_home_says_otherwise(monkeypatch, tmp_path):
    assert results.folder() == tmp_path / "home"
    monkeypatch.delenv("MEMLAB_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert results.folder() == tmp_path / "data" / "memlab"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert results.folder().parts[-3:] == ("Library", "Application Support", "memlab")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("APPDATA", str(tmp_path / "roaming"))
    assert results.folder() == tmp_path / "roaming" / "memlab"


def test_progress_goes_elsewhere_as_a_file_and_comes_back(home, tmp_path, capsys, monkeypatch):
    write(home, line(), "nonsense\n", line("drill", "97.sum", seed=4))
    file = tmp_path / "mine.jsonl"
    assert main(["export", str(file)]) == 0
    monkeypatch.setenv("MEMLAB_HOME", str(tmp_path / "elsewhere"))
    assert main(["export", str(tmp_path / "none")]) == 0
    results.record("exercise", "97.1", False)
    assert main(["import", str(file)]) == 0
    assert main(["import", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "There is nothing to save yet.",
        "2 new results brought in.",
        "Nothing in it was new.",
    ]
    assert results.read() == results.Progress({"97.1": True}, {}, {"97.sum": {4}})
    file.write_text("no progress at all\n", encoding="utf-8")
    assert main(["import", str(file)]) == 1
    assert main(["import", str(tmp_path / "missing")]) == 1
    assert capsys.readouterr().err.startswith("This is no file of progress: not one line of it is a result.\n")


def test_the_table_shows_each_chapter_and_saves_and_brings_in(home):
    write(home, line(), line("prediction", "97.a"), line("drill", "97.sum", seed=4), "nonsense\n")
    panel = progress()
    table, unread = panel.content["blocks"]
    assert table["rows"] == [{"chapter": "97 Demo", "exercises": (("★", "done"),), "predictions": (1, 1), "drills": 1}]
    assert unread["text"] == "Left as found in progress.jsonl, as they cannot be read: 1 line."
    sent = []
    panel.send = sent.append
    press(panel, "export")
    assert sent[0]["download"]["text"].count("\n") == 3
    (home / "progress.jsonl").unlink()
    assert press(panel, "refresh")[0] == "The table is up to date."
    assert panel.content["blocks"][0]["rows"][0]["drills"] == 0
    assert (
        press(panel, "import", sent[0]["download"]["text"] + "bad\n")[0]
        == "3 new results brought in; left out, as they cannot be read: 1 line."
    )
    assert panel.content["blocks"][0]["rows"][0]["exercises"] == (("★", "done"),)
    assert press(panel, "import", "bad\n") == ("This is no file of progress: not one line of it is a result.", "wrong")
    assert press(panel, "import", "x" * (results.MOST_BYTES + 1))[1] == "wrong"
    assert press(panel, "import", "")[1] == "wrong"  # what the browser sends for a file that is too long
    assert press(panel, "export")[0].startswith("Saved as memlab-progress.jsonl")
    assert [bool(answer["download"]) for answer in sent] == [True, *[False] * 5, True]  # each message is answered


def test_the_table_in_a_terminal(capsys):
    results.record("exercise", "97.1", True)
    assert main(["progress"]) == 0
    assert capsys.readouterr().out.splitlines() == ["Chapter  exercises  predictions  drills", "97 Demo     1 of 1      0 of  1       0"]


def test_the_static_table_shows_nobodys_progress():
    assert ProgressSheet().static_html() == ""


# --- Beginning a chapter


def test_begin_says_one_constant_line_and_on_binder_how_to_keep_progress(capsys, monkeypatch):
    begin("97")
    begin("97")
    assert capsys.readouterr().out == "Chapter 97, Demo: ready.\n" * 2
    monkeypatch.setenv("BINDER_SERVICE_HOST", "somewhere")
    begin("97")
    assert "python -m memlab.lessons export" in capsys.readouterr().out
    begin("96")
    begin(97)
    assert capsys.readouterr().out.count("There is no chapter ") == 2


def test_a_missing_name_is_explained_by_the_cell_that_makes_it(write_notebook, tmp_path):
    path = write_notebook(
        tmp_path / "n.ipynb",
        "import os.path as p\nm = 1\nfor i in range(3): k = i",
        "%magic\nx = 1",
        "def f():\n    z = 1\n\n\nclass C:\n    y = 2",
        "m = 2",
    )
    names = guide.made_by(path)
    assert names == {
        "p": "import os.path as p",
        "m": "m = 1",
        "i": "for i in range(3): k = i",
        "k": "for i in range(3): k = i",
        "f": "def f():",
        "C": "class C:",
    }
    assert guide.sentence("m", names, set()) == (
        "m is not there yet: it comes from the cell with the line `m = 1`. Run the cells from the first down to that one, then this one again."
    )
    assert guide.sentence("pront", names, set()) == "There is no name pront: is print meant?"
    assert guide.sentence("qqqq", names, {"order_for"}).startswith("There is no name qqqq: it may be misspelt")
    assert guide.made_by(tmp_path / "none.ipynb") == {}
    assert guide.checks_of(tmp_path / "none.ipynb") == set()


NAMES = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("from memlab.lessons import begin; begin('02')")
for cell in ("buddy_of(1)", "page_map(lab.machine)", "free_lists(1)", "def f():\\n    del q\\n    q = 1\\nf()", "import ast; ast.nothing"):
    print("--", shell.run_cell(cell).success)
"""


def test_in_a_notebook_a_missing_name_is_one_sentence_and_other_errors_stay_themselves():
    done = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True)
    parts = done.stdout.split("-- False\n")
    assert len(parts) == 6
    assert [part.count("Traceback") for part in parts] == [0, 0, 0, 1, 1, 0]
    assert all(len(part.splitlines()) == 1 for part in parts[1:3])


CHECKS = """
from IPython.core.interactiveshell import InteractiveShell
from memlab.lessons import guide
shell = InteractiveShell.instance()
guide.checks_of = lambda notebook: {"assert x == 1"}
shell.run_cell("from memlab.lessons import begin; begin('02')")
for cell in ("x = 2\\nassert x == 1", "assert x == 3"):
    print("--", shell.run_cell(cell).success)
"""


def test_a_check_of_the_chapter_that_fails_says_what_to_do_and_a_learners_own_assert_stays_itself():
    done = subprocess.run([sys.executable, "-c", CHECKS], capture_output=True, text=True, check=True)
    chapters, own, _ = done.stdout.split("-- False\n")
    assert "Run All Above Selected Cell" in chapters
    assert ("Traceback" in chapters, "Traceback" in own) == (False, True)


# --- Solved notebooks


def notebook(tmp_path, *sources):
    """The text of a notebook with these code cells, each with two outputs: a line of text and a panel."""
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["not started\n"]},
        {"output_type": "display_data", "data": {"text/plain": ["<97.1>"]}},
    ]
    code = [
        {"cell_type": "code", "id": f"c{n}", "execution_count": n, "metadata": {}, "outputs": outputs, "source": s.splitlines(True)}
        for n, s in enumerate(sources)
    ]
    return json.dumps({"cells": [{"cell_type": "markdown", "id": "m", "metadata": {}, "source": ["text"]}, *code], "metadata": {}})


def test_a_solved_notebook_has_the_reference_answer_and_all_else_as_it_was(tmp_path):
    text = notebook(tmp_path, "1 + 1", DOUBLE.cell(), "double(2)")
    solved, ids = solve(text)
    assert ids == ["97.1"]
    before, after = json.loads(text)["cells"], json.loads(solved)["cells"]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True]
    assert "".join(after[2]["source"]) == '@exercise("97.1")\ndef double(n):\n    return n + n  # the reference answer'
    assert after[2]["outputs"] == [{"output_type": "stream", "name": "stdout", "text": ["97.1: correct\n"]}, before[2]["outputs"][1]]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (DOUBLE.cell() + "\n", "is not the stub that the registry has"),
        (DOUBLE.cell().replace("(n)", "(x)"), "is not the stub that the registry has"),
        (DOUBLE.cell().replace("97.1", "97.2"), "Chapter 97 has no exercise 97.2"),
    ],
)
def test_a_stub_that_is_not_the_registrys_is_refused(source, said, tmp_path):
    with pytest.raises(LessonError, match=said):
        solve(notebook(tmp_path, source))


def test_what_is_no_notebook_is_refused():
    for text in ("", "[]", "{}", '{"cells": 1}', '{"cells": [{}]}'):
        with pytest.raises(LessonError, match="That is not a notebook"):
            solve(text)


def test_a_stub_that_was_never_run_is_refused(tmp_path):
    text = json.loads(notebook(tmp_path, DOUBLE.cell()))
    text["cells"][1]["outputs"] = []
    with pytest.raises(LessonError, match="run it first"):
        solve(json.dumps(text))


def test_solving_on_the_command_line_never_overwrites_the_notebook(tmp_path, capsys):
    path = tmp_path / "n.ipynb"
    path.write_text(notebook(tmp_path, DOUBLE.cell()), encoding="utf-8")
    assert main(["solve", str(path), str(tmp_path / "solved.ipynb")]) == 0
    assert "1 exercises solved" in capsys.readouterr().out
    before = path.read_text(encoding="utf-8")
    assert main(["solve", str(path), str(path)]) == 1
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("arguments", [[], ["drill", "97.sum", "--seed", "-1"], ["drill", "97.sum", "--seed", "²"], ["nonsense"]])
def test_a_command_that_there_is_not_is_explained(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "usage:" in capsys.readouterr().err


def test_a_drill_that_there_is_not_is_a_sentence_in_a_terminal(capsys):
    assert main(["drill", "97.none"]) == 1
    assert capsys.readouterr().err == "Chapter 97 has no drill 97.none; it has 97.sum.\n"


# --- The registry


def test_the_registry_loads_a_chapter_when_it_is_asked_for():
    code = "import sys; import memlab.lessons; print([n for n in sys.modules if n.startswith('memlab.lessons.ch')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError):
        _ = memlab.lessons.NOTHING
