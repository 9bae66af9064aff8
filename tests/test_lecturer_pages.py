"""The lecturers' pages, notebooks/lecturer/NN_name.md: each chapter has one, of one form, whose state codes open and whose notes find their slide."""

import re
from pathlib import Path

import nbformat
import pytest
import slides

from memlab.labs import open_lab
from memlab.lessons import chapter

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTERS = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
SECTIONS = ["States to show", "Questions to ask", "What they get wrong", "Slide notes"]
PAGES = sorted(path.stem for path in (NOTEBOOKS / "lecturer").glob("*.md"))
EVERY_PAGE = pytest.mark.parametrize("stem", CHAPTERS)


def page(stem):
    return (NOTEBOOKS / "lecturer" / f"{stem}.md").read_text(encoding="utf-8")


def section(stem, name):
    """The text of a section, without its heading."""
    return re.search(rf"^## {name}$(.*?)(?=^## |\Z)", page(stem), re.MULTILINE | re.DOTALL)[1]


def bullets(text):
    return re.findall(r"^- (.+)$", text, re.MULTILINE)


def states(stem):
    """What is said of each state, and its code."""
    return re.findall(r"^(.+)\n\n```\n(.*?)\n```$", section(stem, "States to show"), re.MULTILINE)


def headings(stem):
    """The headings of the slides of a chapter, as `make slides` reads them."""
    cells = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4).cells
    return [slides.heading(cell) for cell in cells if cell.metadata.slideshow.slide_type == "slide"]


def test_there_is_a_page_for_each_chapter_and_no_other():
    assert PAGES == CHAPTERS


@EVERY_PAGE
def test_a_page_has_the_title_of_its_chapter_and_all_sections_in_order(stem):
    assert page(stem).splitlines()[0] == f"# For lecturers: {headings(stem)[0]}"
    assert re.findall(r"^## (.+)$", page(stem), re.MULTILINE) == SECTIONS


@EVERY_PAGE
def test_the_minutes_of_the_sections_are_those_of_the_chapter(stem):
    assert "| Section | Minutes | What to do |\n| --- | --- | --- |\n" in page(stem)
    minutes = [int(n) for n in re.findall(r"^\| .+? \| (\d+) \| .*\|$", page(stem), re.MULTILINE)]
    assert sum(minutes) == chapter(stem[:2]).minutes


@EVERY_PAGE
def test_every_question_has_its_answer_and_there_are_misunderstandings(stem):
    questions = bullets(section(stem, "Questions to ask"))
    assert len(questions) >= 3
    assert [q for q in questions if not re.fullmatch(r"\*[^*].*?\?\* \S.+[.:)?]", q)] == []
    assert len(bullets(section(stem, "What they get wrong"))) >= 3


@EVERY_PAGE
def test_there_are_states_to_show_each_with_a_sentence(stem):
    found = states(stem)
    assert 2 <= len(found) <= 7
    assert section(stem, "States to show").count("```") == 2 * len(found)  # nothing else stands in a fence
    assert [words for words, _ in found if not re.search(r"[.?]$", words)] == []


@pytest.mark.parametrize("code", [pytest.param(code, id=f"{stem}-{n}") for stem in PAGES for n, (_, code) in enumerate(states(stem), 1)])
def test_a_state_opens_its_lab_on_sound_ram(code):
    view = open_lab(code)
    view.machine.check()
    view.close()


@EVERY_PAGE
def test_each_slide_has_its_note_and_each_note_its_slide(stem):
    notes = slides.read_notes(page(stem))
    assert list(notes) == headings(stem)
    assert [heading for heading, words in notes.items() if not words] == []


@EVERY_PAGE
def test_a_lab_helps_with_the_trace_and_with_the_hardest_exercise(stem):
    exercises = chapter(stem[:2]).exercises
    assert [e.id for e in exercises if e.id[-1] in "24" and e.state is None] == []  # that the codes open is for test_chapters.py
