"""`make slides`: from a notebook's slide metadata to a deck in one file. What it looks like is for tests/browser/test_decks.py."""

import re

import nbformat
import pytest
import slides
from slides import SlideError

LAB = """
class Lab:
    def _repr_html_(self):
        import os
        frame = '<div class="fragment"><p>{}</p><svg></svg></div>'.format
        return f'<section class="memlab-static">{frame("before")}{frame("after")}</section>' if os.environ.get("MEMLAB_STATIC") == "1" else "live"

Lab()
"""


def cell(source, kind="-"):
    return nbformat.v4.new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


def code(source, kind="-", html=None):
    """A code cell, with an output if `html` is given."""
    outputs = [nbformat.v4.new_output("display_data", {"text/html": html})] if html else []
    return nbformat.v4.new_code_cell(source, metadata={"slideshow": {"slide_type": kind}}, outputs=outputs)


@pytest.fixture
def as_stored(monkeypatch):
    """Make decks from the outputs that a notebook has, without running it: that takes a second each."""
    monkeypatch.setattr(slides, "run", lambda path: nbformat.read(path, as_version=4))


def deck(folder, *cells, notes=None):
    """The deck of a notebook with these cells, as text."""
    if notes is not None:
        (folder / "lecturer").mkdir()
        (folder / "lecturer" / "01_small.md").write_text(notes, encoding="utf-8")
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), folder / "01_small.ipynb")
    return slides.build(folder / "01_small.ipynb", folder / "out").read_text(encoding="utf-8")


def shown(html):
    """The slides of a deck, without its scripts, as their HTML."""
    return re.findall(r'<section class="slide">(.*?)</section>', html, re.DOTALL)


@pytest.mark.usefixtures("as_stored")
def test_slide_metadata_becomes_slides_columns_and_fragments_and_what_is_skipped_is_not_shown(tmp_path):
    html = deck(
        tmp_path,
        cell("# One", "slide"),
        code("n = 6 * 7", "skip", html="none of this"),
        code("n", "fragment", html="<b>42</b>"),
        cell("right", "-"),
        cell("below", "subslide"),
        cell("## Two", "slide"),
    )
    one, below, two = shown(html)
    assert "<h1>One</h1>" in one
    (step,) = re.findall(r'<div class="fragment">(.*)</div></div>', one, re.DOTALL)
    assert '<span class="n">n</span>' in step
    assert "<b>42</b>" in step
    assert "right" in step
    assert "none of this" not in html
    assert "below" in below
    assert "<h2>Two</h2>" in two
    assert len(re.findall(r"<section>", html)) == 1  # one column of two slides
    assert "<title>One</title>" in html


def test_what_is_skipped_is_run_and_a_lab_shows_its_frames_on_a_slide_of_its_own_one_in_place_of_the_other(tmp_path):
    prose, lab = shown(deck(tmp_path, cell("# Lab", "slide"), code(LAB.replace("Lab()", ""), "skip"), code("Lab()")))
    assert "memlab-static" not in prose
    assert '<div class="frame"><p>before' in lab
    assert '<div class="frame fragment"><p>after' in lab
    assert "Lab()" not in lab  # a lab speaks for itself


@pytest.mark.usefixtures("as_stored")
def test_a_question_keeps_its_answer_for_the_next_step(tmp_path):
    question = '<section class="memlab-static"><p>How many?</p><div class="fragment">Eleven</div></section>'
    (slide,) = shown(deck(tmp_path, cell("# Ask", "slide"), code("predict()", html=question)))
    assert "<p>How many?</p>" in slide
    assert '<div class="fragment">Eleven</div>' in slide


@pytest.mark.usefixtures("as_stored")
def test_notes_go_to_the_slide_with_their_heading(tmp_path):
    notes = "# For lecturers\n\n### One\n\nnot this\n\n## Slide notes\n\n### One\n\nAsk *first*.\n\n### Two\n\nThen run.\n\n## Sources\n\nnor this"
    one, two = shown(deck(tmp_path, cell("# One", "slide"), cell("## Two", "slide"), notes=notes))
    assert '<aside class="notes"><p>Ask <em>first</em>.</p>' in one
    assert '<aside class="notes"><p>Then run.</p>' in two
    assert "this" not in one + two


@pytest.mark.usefixtures("as_stored")
def test_notes_for_a_slide_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(SlideError, match=r"01_small\.md has notes for slides that are not there: Three"):
        deck(tmp_path, cell("# One", "slide"), notes="## Slide notes\n\n### One\n\na\n\n### Three\n\nb")


@pytest.mark.usefixtures("as_stored")
def test_a_deck_is_one_file_with_pictures_and_formulas_inside_and_links_to_other_files_are_plain_text(tmp_path):
    (tmp_path / "a.svg").write_text("<svg/>")
    html = deck(
        tmp_path, cell("# One\n\n![a drawing](a.svg) $2^k < n$ [next](02.ipynb#x) [out](https://kernel.org)\n\n$$x \\oplus y$$", "slide")
    )
    (slide,) = shown(html)
    assert '<img src="data:image/svg+xml;base64,' in slide
    assert 'alt="a drawing"' in slide
    assert slide.count('class="katex"') == 2
    assert slide.count('class="katex-display"') == 1
    assert "02.ipynb" not in slide
    assert '<a href="https://kernel.org">out</a>' in slide
    outside = re.findall(
        r'(?:src|href)="(?!data:|https://kernel\.org)[^"]*"|url\((?!data:)[^)]*\)',
        re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL),
    )
    assert outside == []


@pytest.mark.usefixtures("as_stored")
def test_the_style_of_the_pictures_stands_in_a_deck_once(tmp_path):
    picture = "<style>.x {}</style><p>picture</p>"
    html = deck(tmp_path, cell("# One", "slide"), code("1", html=picture), code("2", html=picture))
    assert html.count(".x {}") == 1


@pytest.mark.usefixtures("as_stored")
@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([cell("# One", "skip")], "01_small.ipynb has no slides: give its cells slide metadata"),
        ([cell("text"), cell("# One", "slide")], "stands before the first slide"),
        ([cell("# One", "slides")], "has the slide type 'slides'; it can be one of slide, subslide"),
        ([cell("![x](no.svg)", "slide")], "there is no picture no.svg"),
        ([cell("$\\nosuch$", "slide")], r"KaTeX cannot set a formula: \nosuch: "),
    ],
)
def test_a_notebook_that_cannot_become_a_deck_is_told_why(tmp_path, cells, said):
    with pytest.raises(SlideError, match=re.escape(said)):
        deck(tmp_path, *cells)


@pytest.mark.usefixtures("as_stored")
def test_without_the_packages_from_npm_one_sentence_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "NODE_MODULES", tmp_path / "none")
    with pytest.raises(SlideError, match=r"reveal\.js and KaTeX from npm: run `make slides`, which gets them"):
        deck(tmp_path, cell("# One", "slide"))


def test_the_command_goes_on_after_a_notebook_that_fails(tmp_path, monkeypatch, capsys):
    def build(path):
        if path.stem == "bad":
            raise SlideError("it has no slides")
        return slides.ROOT / "README.md"

    monkeypatch.setattr(slides, "build", build)
    assert slides.main([str(tmp_path / "bad.ipynb"), str(tmp_path / "good.ipynb")]) == 1
    said = capsys.readouterr()
    assert "bad.ipynb: no slides: it has no slides" in said.err
    assert "README.md: " in said.out


def test_no_notebook_at_all_is_an_error():
    assert slides.main([]) == 2


def test_the_packages_from_npm_are_pinned_and_the_lock_names_no_place_to_get_them_from():
    folder = slides.ROOT / "tests" / "tools" / "npm"
    text = (folder / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    pinned = re.findall(r'"([\w.-]+)": "([^"]*)"', (folder / "package.json").read_text(encoding="utf-8").split('"dependencies"')[1])
    assert pinned
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for _, version in pinned)
