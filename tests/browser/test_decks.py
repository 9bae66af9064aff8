"""Decks in Chromium: what slides_check.py must find, one deliberate defect each, and that a lecturer can use a deck."""

import nbformat
import pytest
import slides
import slides_check
from playwright.sync_api import expect

LINES = "\n\n".join(f"line {n}" for n in range(40))
LONG = "print('=' * 400)"
SVG = "<svg viewBox='0 0 100 20' width='100' style='--ml-width: 100px'><text x='{x}' y='15' font-size='{size}'>words</text></svg>"


@pytest.fixture
def make_deck(tmp_path):
    """A function: (source, slide type) of cells, code if it starts with print or from -> the deck's path."""

    def make(*cells):
        made = []
        for source, kind in cells:
            new = nbformat.v4.new_code_cell if source.startswith(("print", "from")) else nbformat.v4.new_markdown_cell
            made.append(new(source, metadata={"slideshow": {"slide_type": kind}}))
        nbformat.write(nbformat.v4.new_notebook(cells=made), tmp_path / "01_small.ipynb")
        (tmp_path / "lecturer").mkdir(exist_ok=True)
        (tmp_path / "lecturer" / "01_small.md").write_text("## Slide notes\n\n### Two\n\nAsk them.", encoding="utf-8")
        return slides.build(tmp_path / "01_small.ipynb", tmp_path / "out")

    return make


def picture(**values):
    return f"from IPython.display import HTML\nHTML({'<figure class=memlab-picture>' + SVG.format(**values) + '</figure>'!r})"


GOOD = [("# One", "slide"), ("$2^k$ and text", "fragment"), ("## Two\n\nmore", "subslide"), (picture(x=10, size=13), "fragment")]


def test_a_good_deck_passes_and_asks_the_network_for_nothing(make_deck, browser):
    assert list(slides_check.findings(browser, make_deck(*GOOD))) == []


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ((LINES, "-"), 'slide 2 (Two), step 2: p "line 39" is cut off at the bottom of the slide'),
        ((LINES, "fragment"), 'slide 2 (Two), step 3: p "line 39" is cut off at the bottom of the slide'),
        ((LONG, "fragment"), "is cut off at the right of the slide"),
        ((picture(x=80, size=13), "fragment"), 'text "words" is cut off at the right of its drawing'),
        ((picture(x=10, size=4), "fragment"), 'text "words" is too small to read: '),
        (('<div style="height: 40px; overflow: hidden">a<br>b<br>c</div>', "-"), "does not show all of what is in it"),
        (('<img src="data:," alt=""><script src="https://127.0.0.1:1/x.js"></script>', "-"), "asks for https://127.0.0.1:1/x.js"),
        (("<script>throw new Error('boom')</script>", "-"), "a script failed: boom"),
        (("&nbsp;", "slide"), "slide 3, step 1: there is nothing to be seen"),
    ],
)
def test_a_defect_is_reported_with_its_slide_and_step(make_deck, browser, defect, said):
    found = list(slides_check.findings(browser, make_deck(*GOOD, defect)))
    assert len(found) == 1, found
    assert said in found[0]


def test_a_lecturer_sees_notes_and_page_numbers_and_can_print(make_deck, page):
    deck = make_deck(*GOOD)
    slides_check.open_deck(page, deck)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator(".slide-number")).to_have_text("2 / 2")
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    expect(popup.value.locator(".speaker-controls-notes .value")).to_have_text("Ask them.")
    assert slides_check.print_to_pdf(page, deck) == 4
