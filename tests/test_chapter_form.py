"""The linter of the chapters: each has the form of all others, and asks what the registry of memlab.lessons knows.

`problems(notebook, chapter, folder)` reads a stored notebook and returns what is wrong with its form, a sentence each.
Outputs are for nbval and test_notebook_guards.py, answers for the tests of the lessons. At the end the linter itself
is tried: a small good chapter, and one deliberate defect for each rule.
"""

import copy
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from memlab.lessons import CHAPTERS
from memlab.lessons.model import LEVELS, Chapter, Drill, Exercise, Prediction

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
# What each chapter must ask: number -> exercises, predictions, drill generators. A deleted one must not go unnoticed.
EXPECTED = {
    "00": (0, 0, 0),
    "01": (4, 7, 2),
    "02": (4, 7, 2),
    "03": (4, 9, 1),
    "04": (4, 8, 1),
    "05": (4, 8, 1),
    "06": (4, 7, 1),
    "07": (4, 8, 1),
    "08": (4, 8, 1),
    "09": (4, 9, 1),
    "10": (4, 9, 1),
    "11": (4, 10, 1),
}
SLIDE_TYPES = {"slide", "subslide", "fragment", "skip", "-"}
FOLDED = "# Checks what the text says.\n"  # all that is seen of a claim; a longer line makes the notebook scroll sideways
LINES, CELLS = 12, 60  # at most so many in a code cell, in a notebook
DRILL = re.compile(r'^drill\("(\d\d)\.\w+", seed=\d+\)$')
PREDICT = re.compile(r'^predict\("(\d\d\.\w+)"', re.MULTILINE)
EXERCISE = re.compile(r'^@exercise\("(\d\d\.\d)"\)$', re.MULTILINE)
SECTION = re.compile(r"^## \d+\. .+$", re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^)\s]+)\)")


def problems(notebook, chapter, folder):
    """All that is wrong with the form of a chapter's notebook, whose files lie in `folder`."""
    cells = [Cell(n, cell) for n, cell in enumerate(notebook["cells"])]
    for rule in (*GENERAL_RULES, *CHAPTER_RULES):
        yield from rule(cells, folder) if rule in GENERAL_RULES else rule(cells, chapter)


class Cell:
    """A cell as the rules see it."""

    def __init__(self, place, cell):
        self.place, self.cell = place, cell
        self.code = cell["cell_type"] == "code"
        self.id = cell.get("id")
        self.source = "".join(cell["source"])
        self.tags = cell["metadata"].get("tags", [])
        self.slide = cell["metadata"].get("slideshow", {}).get("slide_type")
        self.hidden = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        self.claim = "claim" in self.tags
        self.markdown = "" if self.code else re.sub(r"^```.*?^```$|`[^`\n]*`", "", self.source, flags=re.MULTILINE | re.DOTALL)

    def html(self):
        """The HTML of its outputs."""
        return "".join("".join(out.get("data", {}).get("text/html", "")) for out in self.cell.get("outputs", []))

    @property
    def asks(self):
        """Whether it is a call of the lessons, not code to look at."""
        return bool(PREDICT.search(self.source) or EXERCISE.search(self.source) or DRILL.search(self.source) or "begin(" in self.source)


# -- rules for every notebook with a number


def size(cells, _folder):
    if len(cells) > CELLS:
        yield f"has {len(cells)} cells, more than {CELLS}"
    for cell in cells:
        if cell.code and len(cell.source.splitlines()) > LINES:
            yield f"cell {cell.id} has {len(cell.source.splitlines())} lines of code, more than {LINES}"


def cell_ids(cells, _folder):
    ids = [cell.id for cell in cells]
    if len(set(ids)) < len(ids) or None in ids:
        yield "has cells without an id of their own"


def slides(cells, _folder):
    for cell in cells:
        if cell.slide not in SLIDE_TYPES:
            yield f"cell {cell.id} has no slide metadata"
        elif cell.slide != "skip" and (cell.claim or EXERCISE.search(cell.source) or DRILL.search(cell.source)):
            yield f"cell {cell.id} is shown on slides: claims, exercises and drills are skipped"
    if cells[0].slide != "slide":
        yield "does not begin with a slide"


def claims(cells, _folder):
    for cell in cells:
        if cell.claim != cell.hidden or (cell.claim and not re.search(r"^\s*assert ", cell.source, re.MULTILINE)):
            yield f"cell {cell.id}: a claim is a hidden cell with the tag claim that asserts, and no other cell is hidden"
        elif cell.claim and not cell.source.startswith(FOLDED):
            yield f"cell {cell.id} is folded and does not begin by saying what for"
        elif not cell.claim and re.search(r"^assert ", cell.source, re.MULTILINE):
            yield f"cell {cell.id} asserts in sight of the reader: make it a claim"


def opening(cells, _folder):
    if not re.match(r"# .+\n\n\*\*[^*]+\?\*\*", cells[0].source):
        yield "does not open on a title and a bold question"


def pictures(cells, folder):
    for cell in cells:
        for picture, words, target in LINK.findall(cell.markdown):
            if picture and not words.strip():
                yield f"cell {cell.id}: the picture {target} has no alternative text"
            if picture and "://" not in target and not (folder / target).is_file():
                yield f"cell {cell.id}: there is no picture {target}"
        if any('alt="' not in tag for tag in re.findall(r"<img\b[^>]*>", cell.markdown)):
            yield f"cell {cell.id}: a picture has no alternative text"
        figures = re.findall(r"<svg\b[^>]*>", cell.html())
        if any(not re.search(r'aria-label="[^"]', tag) for tag in figures) or (
            "<figure" in cell.html() and "<figcaption>" not in cell.html()
        ):
            yield f"cell {cell.id}: its output has a picture without words or caption"


def links(cells, folder):
    for cell in cells:
        for picture, _, target in LINK.findall(cell.markdown):
            name, _, anchor = target.partition("#")
            if picture or "://" in target:
                continue
            path = folder / name if name else None
            if path and not path.is_file():
                yield f"cell {cell.id} links to {name}, which is not there"
            elif anchor and anchor not in anchors(read(path)["cells"] if path else [other.cell for other in cells]):
                yield f"cell {cell.id} links to {target}, where no such heading is"


def anchors(cells):
    """The names that a link can lead to in a notebook: its headings as JupyterLab spells them, and explicit anchors."""
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    headings = re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[`*]", "", heading).replace(" ", "-") for heading in headings} | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


# -- rules for the chapters from 01 on


def title(cells, chapter):
    first = cells[0].source
    if not first.startswith(f"# {chapter.number} · {chapter.title}\n"):
        yield f'is not titled "{chapter.number} · {chapter.title}"'
    if "**What you need:**" not in first:
        yield "does not say what you need"
    if f"About {chapter.minutes} minutes, exercises not counted." not in first:
        yield f"does not say that it takes about {chapter.minutes} minutes, exercises not counted"
    if "**You will be able to** " not in first:
        yield "does not say what you will be able to do"
    if f'begin("{chapter.number}")' not in next((cell.source for cell in cells if cell.code), "").splitlines():
        yield f'does not call begin("{chapter.number}") in its first code cell'


def drills(cells, chapter):
    found = [(cell.place, DRILL.match(cell.source)) for cell in cells if cell.code and cell.source.startswith("drill(")]
    section = next((cell.place for cell in cells if SECTION.search(cell.markdown)), len(cells))
    earlier = [place for place, match in found if match and match[1] < chapter.number and place < section]
    if len(found) != len(earlier) or len(earlier) != 2 * (chapter.number > "01"):
        yield "does not open on two drills with a seed about earlier chapters, before its first section (chapter 01: none)"


def sections(cells, _chapter):
    starts = [cell.place for cell in cells if SECTION.search(cell.markdown)] + [end_of_sections(cells)]
    headings = [re.search(r"^## (\d+)\. ", cells[place].source, re.MULTILINE)[1] for place in starts[:-1]]
    if headings != [str(n + 1) for n in range(len(headings))] or not headings:
        yield f"its sections are numbered {', '.join(headings) or 'not at all'}"
    for start, stop in pairwise(starts):
        yield from section(cells[start:stop])


def section(cells):
    heading = SECTION.search(cells[0].markdown)[0]
    asked = [cell.place for cell in cells if PREDICT.search(cell.source)]
    results = [cell.place for cell in cells if cell.code and not cell.claim and not cell.asks]
    lab, example = any("_lab(" in cell.source for cell in cells if cell.code), "example" in heading
    if results and not asked and not lab and not example:
        yield f"{heading!r} shows a result that nobody was asked to predict"
    if asked and not lab and not any(place > asked[-1] for place in results):
        yield f"{heading!r} asks for a prediction and does not show the result after it"
    if results and not lab and not any(cell.claim for cell in cells):
        yield f"{heading!r} has no claim: nothing holds what its prose says"


def end_of_sections(cells):
    """The place of the summary, or of the end of the notebook."""
    return next((cell.place for cell in cells if re.search(r"^## Summary$", cell.markdown, re.MULTILINE)), len(cells))


def predictions(cells, chapter):
    asked = [name for cell in cells if cell.code for name in PREDICT.findall(cell.source)]
    if asked != [prediction.id for prediction in chapter.predictions]:
        yield f"asks the predictions {', '.join(asked)}; the registry has {', '.join(p.id for p in chapter.predictions)}"


def worked_example(cells, _chapter):
    first = next((cell.place for cell in cells if EXERCISE.search(cell.source)), len(cells))
    example = next((cell.place for cell in cells if re.search(r"^## .*worked example", cell.markdown, re.MULTILINE)), len(cells))
    if example + 1 >= min(first, len(cells)) or not cells[example + 1].code:
        yield "has no worked example, text and code, before its first exercise"


def summary(cells, _chapter):
    place = end_of_sections(cells)
    first = next((cell.place for cell in cells if EXERCISE.search(cell.source)), len(cells))
    if place >= first:
        yield "has no summary before its exercises"
    after = "\n".join(cell.source for cell in cells[place:])
    if "**In Linux today:** " not in after:
        yield 'does not say what is so "In Linux today"'
    if not re.search(r"\*\*Sources:\*\* .*(linux|mm/|`)", after, re.IGNORECASE):
        yield "does not name its sources"


def exercises(cells, chapter):
    found = [(cell, match[1]) for cell in cells if (match := EXERCISE.search(cell.source))]
    if [name for _, name in found] != [f"{chapter.number}.{n}" for n in range(1, 5)]:
        yield f"has the exercises {', '.join(name for _, name in found)}"
    if [exercise.id for exercise in chapter.exercises] != [f"{chapter.number}.{n}" for n in range(1, 5)]:
        yield f"the registry has the exercises {', '.join(exercise.id for exercise in chapter.exercises)}"
    if tuple(exercise.level for exercise in chapter.exercises) != LEVELS:
        yield "its exercises are not of the levels ★, ★, ★★, ★★★"
    known = {exercise.id: exercise for exercise in chapter.exercises}
    before = 0
    for cell, name in found:
        if name in known:
            heading = f"### {name} {known[name].stars} {known[name].title} ({known[name].minutes} minutes)"
            if heading not in "\n".join(other.markdown for other in cells[before : cell.place]).splitlines():
                yield f"exercise {name} is not under the heading {heading!r}"
            if cell.source.strip() != known[name].cell():
                yield f"exercise {name}: its stub is not the registry's"
        before = cell.place


GENERAL_RULES = (size, cell_ids, slides, claims, opening, pictures, links)
CHAPTER_RULES = (title, drills, sections, predictions, worked_example, summary, exercises)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


# --- The shipped chapters


@pytest.mark.parametrize("chapter", [c for c in CHAPTERS if c.number != "00"], ids=lambda chapter: chapter.notebook)
def test_a_chapter_has_the_form_of_all_chapters(chapter):
    assert list(problems(read(NOTEBOOKS / chapter.notebook), chapter, NOTEBOOKS)) == []


def test_the_front_door_keeps_the_rules_that_hold_for_it_too():
    cells = [Cell(n, cell) for n, cell in enumerate(read(NOTEBOOKS / "00_start.ipynb")["cells"])]
    assert [problem for rule in GENERAL_RULES for problem in rule(cells, NOTEBOOKS)] == []


def test_every_numbered_notebook_is_a_chapter_of_the_registry():
    assert {path.name for path in NOTEBOOKS.glob("[0-9]*.ipynb")} == {chapter.notebook for chapter in CHAPTERS}


def test_the_chapters_ask_as_much_as_they_should():
    asks = {c.number: (len(c.exercises), len(c.predictions), len(c.drills)) for c in CHAPTERS}
    assert asks == EXPECTED
    exercises_, predictions_, drills_ = map(sum, zip(*asks.values(), strict=True))
    assert exercises_ == 44
    assert predictions_ >= 40
    assert drills_ >= 8


def test_no_two_exercises_predictions_or_drills_have_the_same_id():
    ids = [thing.id for c in CHAPTERS for thing in (*c.exercises, *c.predictions, *c.drills)]
    assert len(set(ids)) == len(ids)
    assert all(thing.id.startswith(f"{c.number}.") for c in CHAPTERS for thing in (*c.exercises, *c.predictions, *c.drills))


# --- The linter itself, on a chapter that has nothing wrong with it and on one defect for each rule

# What the learner of the made-up chapter is to write: every exercise begins as such a stub.
STUB = "def answer():\n    raise NotImplementedError"
CHAPTER = Chapter(
    number="02",
    title="Small",
    notebook="02_small.ipynb",
    minutes=9,
    exercises=tuple(Exercise(f"02.{n}", level, 5, f"Task {n}", "", STUB, None, (), (), "") for n, level in enumerate(LEVELS, start=1)),
    predictions=tuple(Prediction(f"02.{letter}", "", (), None) for letter in "ab"),
    drills=(Drill("02.x", 1, None),),
)


def md(cell_id, source, slide="slide"):
    return {"cell_type": "markdown", "id": cell_id, "metadata": {"slideshow": {"slide_type": slide}}, "source": source}


def code(cell_id, source, slide="-", html="", claim=False):
    metadata = {"slideshow": {"slide_type": slide}} | ({"jupyter": {"source_hidden": True}, "tags": ["claim"]} if claim else {})
    outputs = [{"output_type": "display_data", "metadata": {}, "data": {"text/html": html}}] if html else []
    return {"cell_type": "code", "id": cell_id, "execution_count": 1, "metadata": metadata, "outputs": outputs, "source": source}


def good():
    """A small chapter that keeps all rules."""
    picture = '<figure><svg aria-label="a page"></svg><figcaption>a page</figcaption></figure>'
    opening_text = "# 02 · Small\n\n**How many?**\n\n**What you need:** pages. About 9 minutes, exercises not counted.\n\n**You will be able to** count."
    tasks = [
        cell
        for exercise in CHAPTER.exercises
        for cell in (
            md(f"task-{exercise.id}", f"### {exercise.id} {exercise.stars} {exercise.title} (5 minutes)\n\nDo it.", "skip"),
            code(f"stub-{exercise.id}", exercise.cell(), "skip"),
        )
    ]
    cells = [
        md("title", opening_text),
        code("begin", 'from memlab.lessons import begin\n\nbegin("02")', "skip"),
        code("drill-1", 'drill("01.x", seed=2)', "skip"),
        code("drill-2", 'drill("01.y", seed=2)', "skip"),
        md("one", "## 1. One\n\nSee [pages](glossary.ipynb#page), [two](#2.-Two), ![a page](page.svg) and `[no](link.md)`."),
        code("ask-a", 'predict("02.a")'),
        code("run-a", "m", html=picture),
        code("claim-a", f"{FOLDED}assert m", "skip", claim=True),
        md("two", "## 2. Two"),
        code("ask-b", 'predict("02.b", m)'),
        code("run-b", "n"),
        code("claim-b", f"{FOLDED}assert n", "skip", claim=True),
        md("example", "## 3. A worked example", "skip"),
        code("example-code", "1 + 1", "skip"),
        code("example-claim", f"{FOLDED}assert 1 + 1 == 2", "skip", claim=True),
        md("summary", "## Summary\n\n- one\n\n**In Linux today:** so.\n\n**Sources:** Linux `mm/slub.c`."),
        *tasks,
    ]
    return {"cells": cells}


@pytest.fixture
def folder(tmp_path):
    """What the small chapter links to."""
    (tmp_path / "page.svg").write_text("<svg/>")
    (tmp_path / "glossary.ipynb").write_text(json.dumps({"cells": [md("page", "## page\n\n4096 bytes.")]}))
    return tmp_path


def test_the_linter_accepts_a_good_chapter(folder):
    assert list(problems(good(), CHAPTER, folder)) == []


def without(*ids):
    def damage(notebook):
        notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] not in ids]

    return damage


def put(cell_id, old, new):
    """A damage: `old` text of a cell becomes `new`."""

    def damage(notebook):
        (cell,) = [cell for cell in notebook["cells"] if cell["id"] == cell_id]
        assert old in cell["source"]
        cell["source"] = cell["source"].replace(old, new)

    return damage


def meta(cell_id, **metadata):
    def damage(notebook):
        (cell,) = [cell for cell in notebook["cells"] if cell["id"] == cell_id]
        cell["metadata"] = {name: value for name, value in (cell["metadata"] | metadata).items() if value is not None}

    return damage


def html(new):
    def damage(notebook):
        (cell,) = [cell for cell in notebook["cells"] if cell["id"] == "run-a"]
        cell["outputs"][0]["data"]["text/html"] = [new]

    return damage


def add(*cells, before="two"):
    def damage(notebook):
        place = [cell["id"] for cell in notebook["cells"]].index(before)
        notebook["cells"][place:place] = copy.deepcopy(cells)

    return damage


SKIP = {"slide_type": "skip"}
SHOWN = {"slide_type": "-"}
DEFECTS = [
    (add(*(md(f"more-{n}", "x") for n in range(40))), "has 64 cells, more than 60"),
    (put("run-b", "n", "n\n" * 13), "cell run-b has 13 lines of code, more than 12"),
    (add(md("one", "x")), "cells without an id of their own"),
    (meta("run-a", slideshow=None), "cell run-a has no slide metadata"),
    (meta("run-a", slideshow={"slide_type": "notes"}), "cell run-a has no slide metadata"),
    (meta("claim-a", slideshow=SHOWN), "cell claim-a is shown on slides"),
    (meta("stub-02.1", slideshow=SHOWN), "cell stub-02.1 is shown on slides"),
    (meta("drill-1", slideshow=SHOWN), "cell drill-1 is shown on slides"),
    (meta("title", slideshow=SKIP), "does not begin with a slide"),
    (meta("claim-a", jupyter=None), "cell claim-a: a claim is a hidden cell"),
    (meta("run-b", jupyter={"source_hidden": True}), "cell run-b: a claim is a hidden cell"),
    (put("claim-a", "assert m", "m"), "cell claim-a: a claim is a hidden cell with the tag claim that asserts"),
    (put("claim-b", FOLDED, ""), "cell claim-b is folded and does not begin by saying what for"),
    (put("run-b", "n", "assert n"), "cell run-b asserts in sight of the reader"),
    (put("title", "many?", "many."), "does not open on a title and a bold question"),
    (put("one", "![a page]", "![]"), "the picture page.svg has no alternative text"),
    (put("one", "page.svg", "none.svg"), "there is no picture none.svg"),
    (put("one", "See", '<img src="page.svg">'), "cell one: a picture has no alternative text"),
    (html("<figure><svg></svg><figcaption>x</figcaption></figure>"), "cell run-a: its output has a picture without words"),
    (html('<figure><svg aria-label="x"></svg></figure>'), "cell run-a: its output has a picture without words or caption"),
    (put("one", "glossary.ipynb#page", "glosary.ipynb"), "cell one links to glosary.ipynb, which is not there"),
    (put("one", "#page", "#pages"), "cell one links to glossary.ipynb#pages, where no such heading is"),
    (put("one", "#2.-Two", "#2.-two"), "cell one links to #2.-two, where no such heading is"),
    (put("title", "Small", "Smaller"), 'is not titled "02 · Small"'),
    (put("title", "What you need", "Needed"), "does not say what you need"),
    (put("title", "About 9", "About 10"), "does not say that it takes about 9 minutes"),
    (put("title", "You will be able to", "You learn to"), "does not say what you will be able to do"),
    (put("begin", "02", "03"), 'does not call begin("02") in its first code cell'),
    (without("drill-2"), "does not open on two drills"),
    (put("drill-2", "01.y", "02.x"), "does not open on two drills with a seed about earlier chapters"),
    (put("drill-2", "seed=2", "seed=None"), "does not open on two drills with a seed"),
    (put("two", "2.", "4."), "its sections are numbered 1, 4, 3"),
    (
        add(md("more", "## 2. More"), code("more-run", "n"), code("more-claim", f"{FOLDED}assert n", "skip", claim=True)),
        "'## 2. More' shows a result that nobody",
    ),
    (add(code("again", 'predict("02.a")')), "'## 1. One' asks for a prediction and does not show the result after it"),
    (without("claim-b"), "'## 2. Two' has no claim"),
    (put("ask-b", "02.b", "02.c"), "asks the predictions 02.a, 02.c; the registry has 02.a, 02.b"),
    (put("example", "A worked example", "Now you"), "has no worked example"),
    (without("example-code", "example-claim"), "has no worked example, text and code"),
    (put("summary", "## Summary", "## End"), "has no summary before its exercises"),
    (put("summary", "In Linux today", "Now"), 'does not say what is so "In Linux today"'),
    (put("summary", "Linux `mm/slub.c`", "many"), "does not name its sources"),
    (without("task-02.4", "stub-02.4"), "has the exercises 02.1, 02.2, 02.3"),
    (put("task-02.3", "★★", "★"), "exercise 02.3 is not under the heading '### 02.3 ★★ Task 3 (5 minutes)'"),
    (put("task-02.3", "(5 minutes)", ""), "exercise 02.3 is not under the heading"),
    # a stub that does not leave the work to the learner
    (put("stub-02.2", "raise NotImplementedError", "return 11"), "exercise 02.2: its stub is not the registry's"),
]


@pytest.mark.parametrize(("damage", "said"), DEFECTS, ids=[said for _, said in DEFECTS])
def test_the_linter_reports(damage, said, folder):
    notebook = good()
    damage(notebook)
    found = list(problems(notebook, CHAPTER, folder))
    assert [problem for problem in found if said in problem], found


@pytest.mark.parametrize(
    ("exercises_", "said"),
    [
        (CHAPTER.exercises[:3], "the registry has the exercises 02.1, 02.2, 02.3"),
        ((*CHAPTER.exercises[:3], Exercise("02.4", 2, 5, "Task 4", "", STUB, None, (), (), "")), "not of the levels ★, ★, ★★, ★★★"),
    ],
)
def test_the_linter_reports_a_registry_with_other_exercises(exercises_, said, folder):
    chapter = Chapter("02", "Small", "02_small.ipynb", 9, exercises_, CHAPTER.predictions, CHAPTER.drills)
    assert [problem for problem in problems(good(), chapter, folder) if said in problem]


def test_every_rule_has_a_deliberate_defect(folder):
    reported = set()
    for damage, _ in DEFECTS:
        notebook = good()
        damage(notebook)
        cells = [Cell(n, cell) for n, cell in enumerate(notebook["cells"])]
        reported |= {rule for rule in GENERAL_RULES if list(rule(cells, folder))} | {
            rule for rule in CHAPTER_RULES if list(rule(cells, CHAPTER))
        }
    assert reported == {*GENERAL_RULES, *CHAPTER_RULES}
