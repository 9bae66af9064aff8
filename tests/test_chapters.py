"""Every chapter's exercises, predictions and drills, whatever they are about: what the data of memlab/lessons/chNN must keep."""

import ast
import json
import re
import runpy
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from memlab.labs import open_lab
from memlab.lessons import chapter
from memlab.lessons.drill import grade
from memlab.lessons.judge import judge
from memlab.lessons.model import LEVELS, Verdict
from memlab.lessons.prediction import pose
from memlab.lessons.registry import find_drill, function_name, reference

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = sorted(path.name.removeprefix("ch") for path in ROOT.glob("memlab/lessons/ch[0-9][0-9]"))
CHAPTERS = [chapter(number) for number in NUMBERS]
EXERCISES = [pytest.param(c, e, id=e.id) for c in CHAPTERS for e in c.exercises]
PREDICTIONS = [pytest.param(p, id=p.id) for c in CHAPTERS for p in c.predictions]
TWICE = re.compile(r"(Right|Not so)\. (Right|Not so|No)\b")  # what grade() says already
DRILLS = [pytest.param(d, id=d.id) for c in CHAPTERS for d in c.drills]
SENTENCE = re.compile(r"[^\n]+[.?!)]")
SEEDS = range(20)


def function(source):
    """The one function that a source defines, in a namespace of its own, as in a notebook's cell."""
    names = {}
    exec(compile(source, "<cell>", "exec"), names)
    return next(value for name, value in names.items() if name != "__builtins__" and callable(value))


# --- Shape


def test_the_chapters_with_exercises_are_01_to_11():
    assert [c.number for c in CHAPTERS if c.exercises] == [f"{n:02}" for n in range(1, 12)]


def test_there_are_44_exercises_40_predictions_and_a_drill_or_more_in_each_chapter():
    assert len(EXERCISES) == 44
    assert len(PREDICTIONS) >= 40
    assert len({drill.id[:2] for c in CHAPTERS for drill in c.drills}) == 11


@pytest.mark.parametrize("number", NUMBERS)
def test_a_chapter_is_complete(number):
    c = chapter(number)
    assert c.number == number
    assert (ROOT / "notebooks" / c.notebook).is_file()
    assert c.notebook.startswith(f"{number}_")
    if not c.exercises:
        return
    assert 20 <= c.minutes <= 45
    assert [e.id for e in c.exercises] == [f"{number}.{n}" for n in range(1, 5)]
    assert tuple(e.level for e in c.exercises) == LEVELS
    assert [p.id for p in c.predictions] == [f"{number}.{chr(ord('a') + n)}" for n in range(len(c.predictions))]
    assert len(c.predictions) >= 5
    assert c.drills
    assert all(re.fullmatch(rf"{number}\.[a-z]{{3,}}", d.id) and 1 <= d.level <= 3 for d in c.drills)


def test_every_id_and_every_function_of_a_chapter_is_there_once():
    ids = Counter(thing.id for c in CHAPTERS for thing in (*c.exercises, *c.predictions, *c.drills))
    assert [name for name, n in ids.items() if n > 1] == []
    for c in CHAPTERS:
        names = [function_name(e) for e in c.exercises]
        assert len(set(names)) == len(names)


# --- Exercises


@pytest.mark.parametrize(("c", "e"), EXERCISES)
def test_a_stub_fails_politely(c, e):
    outcome = judge(e, function(e.stub))
    assert (outcome.kind, outcome.details) == ("stub", "")


@pytest.mark.parametrize(("c", "e"), EXERCISES)
def test_the_reference_answer_passes_and_stands_by_itself(c, e):
    source = reference(c, e)
    assert judge(e, function(source))[:1] == ("correct",), judge(e, function(source))
    definition = ast.parse(source).body[0]
    arguments = definition.args.posonlyargs + definition.args.args + definition.args.kwonlyargs
    assert [a.arg for a in arguments if a.annotation] == []  # annotations name types that a notebook does not import
    assert definition.returns is None


def wrong_answers(e):
    """The functions of tests/wrong_answers for an exercise, in the order of their numbers, as a learner would have written them."""
    path, name = ROOT / f"tests/wrong_answers/ch{e.id[:2]}.py", function_name(e)
    source, home = path.read_text(encoding="utf-8"), runpy.run_path(str(path))
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and re.fullmatch(rf"{name}__\d", node.name):
            names = dict(home)
            exec(compile(ast.get_source_segment(source, node).replace(node.name, name), "<cell>", "exec"), names)
            yield names[name]


@cache
def told(e):
    """What each wrong answer to an exercise gets."""
    return [judge(e, answer) for answer in wrong_answers(e)]


@pytest.mark.parametrize(("c", "e"), EXERCISES)
def test_a_wrong_answer_gets_a_sentence_that_teaches(c, e, golden):
    outcomes = told(e)
    assert len({outcome.sentence for outcome in outcomes}) >= 2
    assert {outcome.kind for outcome in outcomes} == {"wrong"}
    assert all(SENTENCE.fullmatch(outcome.sentence) for outcome in outcomes)
    golden(f"wrong_answers/{e.id}.txt", "".join(f"{outcome.sentence}\n" for outcome in outcomes))


def test_there_are_163_wrong_answers():
    assert sum(len(told(e)) for c in CHAPTERS for e in c.exercises) == 163


def test_descriptors_held_for_no_page_at_all_are_not_reckoned_per_page():
    pin = next(e for e in chapter("11").exercises if e.id == "11.4")
    source = "def pin(m):\n    buddys = m.caches['kmem_cache_buddy']\n    for n in range(85 * 32):\n        buddys.alloc()"
    told = judge(pin, function(source)).sentence
    assert told == "34 pages are held by descriptors that belong to no page of yours, and shrink cannot help it."


def test_the_bill_of_a_lab_is_told_a_page_as_it_was_asked():
    bill = next(p for p in chapter("11").predictions if p.id == "11.j")
    reasons = {reason for reason in bill.choices(bill.machine()).values() if reason}
    assert len(reasons) == 1
    assert reasons.pop().endswith(": 7,200 bytes, 9.4 a page.")


@pytest.mark.parametrize(("c", "e"), EXERCISES)
def test_an_exercise_has_what_a_learner_needs(c, e):
    assert 2 <= e.minutes <= 60
    assert len(e.hints) >= 2
    assert len(set(e.hints)) == len(e.hints)
    assert min(map(len, [e.title, e.task, e.explanation, *e.hints])) >= 4
    # What a learner finds is to be written by them, and says so when it is run.
    assert e.stub.rstrip().endswith("raise NotImplementedError")
    assert len(e.cell().splitlines()) <= 12


def parameters(source):
    return re.search(r"^def \w+\((.*?)\)[^)\n]*:$", source, re.MULTILINE | re.DOTALL)[1]


@pytest.mark.parametrize(("c", "e"), EXERCISES)
def test_an_endless_loop_ends_with_a_sentence(c, e):
    loop = f"def {function_name(e)}({parameters(e.stub)}):\n    while True:\n        pass"
    outcome = judge(e, function(loop), steps=10_000)
    assert outcome.kind == "wrong"
    assert "did not end" in outcome.sentence


@pytest.mark.parametrize(
    "nonsense", ["return None", "return 'nonsense'", "return -1", "return [None]", "return 1 // 0", "return lambda *_: None"]
)
@pytest.mark.parametrize(("c", "e"), EXERCISES)
def test_nonsense_is_told_in_a_sentence(c, e, nonsense):
    outcome = judge(e, function(f"def {function_name(e)}({parameters(e.stub)}):\n    {nonsense}"))
    assert outcome.kind in ("wrong", "failed")
    assert SENTENCE.fullmatch(outcome.sentence)


@pytest.mark.parametrize(("c", "e"), EXERCISES)
def test_the_stub_in_the_notebook_is_the_registrys(c, e):
    cells = json.loads((ROOT / "notebooks" / c.notebook).read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert [source for source in sources if f'@exercise("{e.id}")' in source] == [e.cell()]


@pytest.mark.parametrize("c", CHAPTERS, ids=lambda c: c.number)
def test_the_stored_outputs_show_the_panels_and_no_sentence_about_what_is_missing(c):
    cells = json.loads((ROOT / "notebooks" / c.notebook).read_text(encoding="utf-8"))["cells"]
    stubs = {
        e.cell(): (f"{e.id} {e.stars} not started: write the function, then run this cell again.\n", f"<{e.id} {e.title}>")
        for e in c.exercises
    }
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        source = "".join(cell["source"])
        said = "".join("".join(output.get("text", "")) for output in cell["outputs"])
        shown = "".join("".join(output.get("data", {}).get("text/plain", "")) for output in cell["outputs"])
        if asked := re.match(r'(drill|predict)\("([\w.]+)"', source):
            kind = {"drill": "Drill", "predict": "Prediction"}[asked[1]]
            assert (said, shown) == ("", f"<{kind} {asked[2]}>")
        elif source in stubs:
            assert (said, shown) == stubs[source]


@pytest.mark.parametrize(("c", "e"), EXERCISES)
def test_the_state_code_of_an_exercise_opens_its_lab(c, e):
    assert e.state is not None
    view = open_lab(e.state)
    view.machine.check()
    view.close()


# --- Predictions


@pytest.mark.parametrize("p", PREDICTIONS)
def test_exactly_one_choice_is_right_and_every_other_has_its_reason(p):
    posed = pose(p)
    assert posed == pose(p)  # the same each time
    texts = [words for words, _ in posed.choices]
    assert 2 <= len(texts) == len(set(texts))
    assert all(why is None or SENTENCE.fullmatch(why) for _, why in posed.choices)
    assert re.search(r"[?.:]\)?$", posed.question)


# --- Drills


@pytest.mark.parametrize("d", DRILLS)
def test_a_drill_grades_its_own_answer_right_and_a_wrong_one_wrong(d):
    for seed in SEEDS:
        question = d.question(seed)
        right = question.grade(question.answer)
        assert isinstance(right, Verdict)
        assert right.ok, (seed, question.text, question.answer, right.sentence)
        assert question.grade(f" {question.answer} ").ok
        assert SENTENCE.fullmatch(right.sentence)
        for reply in ("987654321", "nonsense", "-1", "0x", "²", "1 2 3 4 5 6 7 8 9"):
            verdict = grade(d, seed, reply)
            assert not verdict.ok, (seed, question.text, reply)
            assert SENTENCE.fullmatch(verdict.sentence)
            assert not TWICE.match(verdict.sentence)
        assert not TWICE.match(grade(d, seed, question.answer).sentence)


def test_a_tagged_word_may_be_taken_apart_in_the_words_that_memlab_prints():
    question = find_drill("03.tag").question(4)
    name, address = question.answer.split()
    for reply in (f"{name} at {address}", f"{name.lower()}, {address}", f"{name}: {address.removeprefix('0x')}."):
        assert question.grade(reply).ok, reply
    assert not question.grade(f"{name} at {address[:-1]}1").ok


@pytest.mark.parametrize(
    ("name", "replies"), [("04.order", ("85", "many", "85 32 1")), ("05.count", ("6", "six")), ("11.bytes", ("many", "1 2"))]
)
def test_a_reply_of_too_few_or_too_many_numbers_is_told_so_and_not_the_answer(name, replies):
    for reply in replies:
        assert grade(find_drill(name), 11, reply) == Verdict(False, "That cannot be read as an answer to this question.")


def test_a_number_of_bytes_may_be_given_with_its_unit_and_commas():
    question = find_drill("11.bytes").question(4)
    for reply in (f"{question.answer} bytes", f"{int(question.answer):,}"):
        assert question.grade(reply).ok, reply


@pytest.mark.parametrize("d", DRILLS)
def test_a_drill_asks_the_same_for_the_same_seed_and_something_else_for_others(d):
    questions = [d.question(seed) for seed in SEEDS]
    again = [d.question(seed) for seed in SEEDS]
    assert [(q.text, q.answer, q.picture) for q in questions] == [(q.text, q.answer, q.picture) for q in again]
    assert len({(q.text, q.picture and q.picture.html()) for q in questions}) >= 8
    assert len({q.answer for q in questions}) >= 2
