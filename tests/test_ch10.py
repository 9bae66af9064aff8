"""Chapter 10's own tools: what it prints of searches and sweeps, and how it judges invariants, lines and broken animals."""

import json
import random
from contextlib import suppress
from pathlib import Path

import pytest

from memlab.lessons.ch10 import drills, exercises, searches
from memlab.lessons.ch10.exercises import EXERCISES
from memlab.lessons.judge import judge
from memlab.study.explore import Search, Setup
from memlab.study.zoo import ANIMALS

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "10_does_it_work.ipynb"
EXERCISE = {exercise.id: exercise for exercise in EXERCISES}


def four_parts(m):
    """Blocks of two, one and one page; the first of the single ones is free.  Returns the pfn of the pair."""
    lower, upper = m.split_page(m.alloc_pages(2))
    m.split_page(upper)
    m.free_pages(upper)
    return lower


def said(exercise, answer):
    outcome = judge(EXERCISE[exercise], answer)
    return outcome.kind, outcome.sentence


def test_an_outcome_tells_no_time_and_no_rate():
    text = searches.outcome(searches.searched("bounded"))
    assert "second" not in text
    assert text == searches.outcome(Search("bounded", return_every=1).run(searches.STATES))


def test_levels_count_the_states_by_the_length_of_a_shortest_sequence():
    search = Search("bounded")
    search.run(400)
    found = searches.levels(search)
    assert found[:3] == [1, 6, 28]
    assert sum(found) == search.report.states == 400


@pytest.mark.parametrize("design", ["as-written", "bounded"])
def test_a_sweep_fails_each_call_once_and_a_failed_request_leaves_all_as_before(design):
    rows = searches.sweep(design)
    m = searches.tight_machine(design)
    with m.trace() as trace:
        assert m.alloc_pages(0) is not None
    names = {call.name for call in trace.calls if m.TRACE_POINTS[call.name]}
    assert {point for point, *_ in rows} == names
    assert all(same == failed <= made for _, made, failed, same in rows)
    assert any(failed for _, _, failed, _ in rows)


def test_the_squirrel_in_the_text_is_the_squirrel_of_the_zoo():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    text = next("".join(cell["source"]) for cell in cells if cell["id"] == "exercise-2")
    assert f"```\n{searches.numbered(ANIMALS['squirrel'].source())}\n```" in text


@pytest.mark.parametrize("damage", [exercises._miscounted, exercises._stranded])
def test_what_the_exercises_damage_check_refuses_too(damage):
    for seed in range(30):
        m = Setup("bounded" if seed % 2 else "as-written").boot()
        words = damage(m, random.Random(seed))
        assert searches.broken_rules(m), words


def test_an_invariant_that_changes_the_machine_is_refused():
    def words_fit(m):
        m.alloc_pages(0)
        return True

    assert said("10.1", words_fit) == ("wrong", "words_fit(m) changed the machine; an invariant only looks.")


def test_every_line_of_the_squirrel_but_one_is_answered_with_a_reason():
    lines = len(ANIMALS["squirrel"].source().splitlines())
    kinds = {n: said("10.2", lambda n=n: n)[0] for n in range(1, lines + 1)}
    assert [n for n, kind in kinds.items() if kind == "correct"] == list(ANIMALS["squirrel"].suspects())
    assert exercises._lines_run("squirrel") < set(kinds)


def test_a_longer_sequence_breaks_the_pelican_too_and_is_told_by_how_much():
    def break_it(m):
        for _ in range(3):
            m.alloc_pages(0)
        m.free_pages(four_parts(m))

    kind, sentence = said("10.4", break_it)
    assert kind == "correct"
    assert "Broken after 8 operations" in sentence
    assert "the search's shortest sequence has 5: can you leave out 3?" in sentence


def test_nothing_is_counted_after_the_break_even_if_the_answer_goes_on_whatever_is_raised():
    def break_it(m):
        with suppress(BaseException):
            m.free_pages(four_parts(m))
        m.alloc_pages(0)

    kind, sentence = said("10.4", break_it)
    assert kind == "correct"
    assert "Broken after 5 operations" in sentence


def test_a_blind_storm_breaks_the_pelican_in_the_end():
    def break_it(m):
        mine, rng = [], random.Random(10)
        while True:
            if mine and rng.random() < 0.4:
                m.free_pages(mine.pop(rng.randrange(len(mine))))
            elif (pfn := m.alloc_pages(rng.randrange(3))) is not None:
                mine.append(pfn)

    assert said("10.4", break_it)[0] == "correct"


def test_damage_between_two_operations_is_not_the_pelicans():
    def break_it(m):
        m.free_pages(m.alloc_pages(0))
        m.zone().free_pages = 3
        m.free_pages(m.alloc_pages(0))

    kind, sentence = said("10.4", break_it)
    assert kind == "wrong"
    assert "by hand" in sentence


def test_a_learners_own_mistake_on_the_pelican_is_their_own():
    outcome = judge(EXERCISE["10.4"], lambda m: m.free_pages(m.alloc_pages(1) + 1))
    assert outcome.kind == "failed"
    assert "KernelBug" in outcome.details


def test_the_sound_machine_is_not_broken_by_what_breaks_the_pelican(monkeypatch):
    pelican = ANIMALS["pelican"]
    textbook = type(pelican)(**{**vars(pelican), "machine": pelican.machine.__mro__[1]})
    monkeypatch.setitem(exercises.ANIMALS, "pelican", textbook)
    kind, sentence = said("10.4", lambda m: m.free_pages(four_parts(m)))
    assert kind == "wrong"
    assert "all rules hold" in sentence


def test_the_drills_lists_have_the_fault_that_is_asked_for_and_no_other():
    for seed in range(40):
        rng = random.Random(seed)
        for kind in drills._FAULTS:
            blocks, _ = drills._lists(rng, kind)
            assert drills._faults(blocks) == {kind} - {"none"}
