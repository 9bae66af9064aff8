"""The panels of the lessons in a real JupyterLab: by mouse and by keyboard, in both themes, with no key reaching the notebook."""

import json
from pathlib import Path

import pytest
from lab_page import DELETE_AND_INSERT, notebook_cells
from lesson_cells import CELLS
from playwright.sync_api import expect
from test_axe import AXE


class LessonPage:
    """A notebook with one panel of each kind, and what a learner does to them."""

    def __init__(self, page):
        self.page = page
        expect(page.locator(".memlab-panel")).to_have_count(4)
        self.prediction, self.drill, self.exercise, self.progress = (page.locator(".memlab-panel").nth(n) for n in range(4))

    @staticmethod
    def says(panel, words):
        expect(panel.locator(":scope > [role=status]")).to_contain_text(words)

    @staticmethod
    def button(panel, name):
        return panel.get_by_role("button", name=name, exact=True)


@pytest.fixture
def lessons(run_cells):
    return LessonPage(run_cells(*CELLS))  # a kernel for each test: what was revealed once stays so


def test_by_mouse_each_panel_does_what_it_says_and_axe_finds_nothing(lessons, npm_file):
    p, page = lessons, lessons.page
    prediction, drill, exercise = p.prediction, p.drill, p.exercise
    expect(page.get_by_role("region", name="Drill 02.split")).to_have_count(1)
    ids = page.evaluate("[...document.querySelectorAll('.memlab-panel [id]')].map(node => node.id)")
    assert len(ids) == len(set(ids)) == 4
    p.button(prediction, "Answer").click()
    p.says(prediction, "Choose an answer first.")
    prediction.get_by_role("radio", name="6 pages", exact=True).check()
    p.button(prediction, "Answer").click()
    p.says(prediction, "Not so. Six is no power of two either.")
    expect(prediction.get_by_role("radio", name="6 pages", exact=True)).to_be_checked()
    prediction.get_by_role("radio", name="8 pages", exact=True).check()
    p.button(prediction, "Answer").click()
    p.says(prediction, "Right: 8 pages.")

    question = drill.locator(".memlab-text").inner_text()
    expect(drill.locator("svg[role=img]")).to_be_visible()
    drill.get_by_label("Your answer").fill("nonsense")
    p.button(drill, "Check").click()
    p.says(drill, "Not so.")
    expect(drill.get_by_label("Your answer")).to_have_value("nonsense")
    p.button(drill, "Another one").click()
    p.says(drill, "Question 2.")
    expect(drill.get_by_label("Your answer")).to_have_value("")
    assert drill.locator(".memlab-text").inner_text() != question

    p.says(exercise, "order_for(4096) gave 1")
    for name, heading in (("Hint 1 of 2", "Hint 1"), ("Show explanation", "Explanation")):
        p.button(exercise, name).click()
        expect(exercise.get_by_text(heading, exact=True)).to_be_visible()
    for name, heading in (("Show solution", "One good answer"), ("Show original stub", "The cell as it was")):
        p.button(exercise, name).click()
        expect(exercise.get_by_role("region", name=heading)).to_be_visible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    exercise.locator(".memlab-source").last.get_by_role("button", name="Copy").click()
    p.says(exercise, "Copied.")
    # The learner's stub, as the notebook gave it out: to write it is the exercise.
    assert page.evaluate("navigator.clipboard.readText()") == '@exercise("02.1")\ndef order_for(size):\n    raise NotImplementedError'
    p.button(exercise, "Show lab").click()
    lab = exercise.locator(".memlab-lab")
    expect(lab.get_by_role("application")).to_contain_text("f4")
    lab.get_by_role("button", name="Allocate", exact=True).click()
    expect(lab.get_by_role("status")).to_contain_text("Allocated order 0 at page 32")
    page.evaluate(npm_file("axe-core/axe.min.js").read_text(encoding="utf-8"))
    for theme in ("Dark", "Light"):
        page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}")
        page.wait_for_function("light => document.body.dataset.jpThemeLight === String(light)", arg=theme == "Light")
        assert page.evaluate(AXE, [[".memlab-panel"]])["found"] == []
    p.button(exercise, "Hide lab").click()
    expect(lab).to_have_count(0)

    results = p.progress
    p.button(results, "Refresh").click()
    p.says(results, "The table is up to date.")
    expect(results.get_by_label("1 stars, tried").first).to_be_visible()
    with page.expect_download() as download:
        p.button(results, "Save as a file").click()
    saved = Path(download.value.path()).read_text(encoding="utf-8")
    assert {json.loads(line)["id"] for line in saved.splitlines()} >= {"02.a", "02.1"}
    with page.expect_file_chooser() as chooser:
        p.button(results, "Bring in a file").click()
    chooser.value.set_files(download.value.path())
    p.says(results, "Nothing in it was new.")


def test_by_keyboard_alone_and_no_key_reaches_the_notebook(lessons):
    p, page = lessons, lessons.page
    cells = notebook_cells(page)
    p.prediction.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    p.says(p.prediction, "Right: 8 pages.")
    expect(p.prediction.get_by_role("radio", name="8 pages", exact=True)).to_be_focused()

    p.drill.get_by_label("Your answer").focus()
    page.keyboard.type("d d b")
    page.keyboard.press("Enter")
    p.says(p.drill, "Not so.")
    expect(p.drill.get_by_label("Your answer")).to_be_focused()
    expect(p.drill.get_by_label("Your answer")).to_have_value("d d b")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(p.button(p.drill, "Another one")).to_be_focused()
    page.keyboard.press("Enter")
    p.says(p.drill, "Question 2.")
    expect(p.button(p.drill, "Another one")).to_be_focused()  # patched, not replaced

    hint = p.exercise.get_by_role("button", name="int")
    hint.focus()
    page.keyboard.press("Enter")
    p.says(p.exercise, "Hint 1 is shown below.")
    page.keyboard.press("Space")
    p.says(p.exercise, "Hint 2 is shown below.")
    expect(hint).to_be_focused()
    page.keyboard.press("Enter")
    p.says(p.exercise, "All hints are shown below.")
    page.keyboard.press("Tab")
    expect(p.button(p.exercise, "Show solution")).to_be_focused()
    page.keyboard.press("Enter")
    expect(p.exercise.get_by_role("region", name="One good answer")).to_be_visible()

    # JupyterLab's command mode would delete the cell, and insert one
    places = (
        p.prediction.get_by_role("radio").first,
        p.drill.get_by_label("Your answer"),
        p.button(p.exercise, "Hide solution"),
        p.button(p.progress, "Refresh"),
    )
    for place in places:
        place.focus()
        for key in DELETE_AND_INSERT:
            page.keyboard.press(key)
        expect(place).to_be_focused()
        assert notebook_cells(page) == cells
