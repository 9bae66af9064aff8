"""Decks in Chromium: what slides_check.py must find, one deliberate defect each, and that a lecturer can use a deck."""

import nbformat
import pytest
import slides
import slides_check
from playwright.sync_api import expect

LINES = "\n\n".join(f"line {n}" for n in range(40))
SVG = (
    "<figure class='memlab-picture'><svg viewBox='0 0 100 20' width='100' style='--ml-width: 100px'>"
    "<text x='{x}' y='15' font-size='{size}'>words</text></svg></figure>"
)
GOOD = [("# One", "slide"), ("$2^k$ and text", "fragment"), ("## Two\n\nmore", "subslide"), (SVG.format(x=10, size=13), "fragment")]


@pytest.fixture
def make_deck(tmp_path, monkeypatch):
    """A function: (Markdown, slide type) of cells -> the path of a deck."""
    monkeypatch.setattr(slides, "run", lambda path: nbformat.read(path, as_version=4))  # there is no code in them
    (tmp_path / "lecturer").mkdir()
    (tmp_path / "lecturer" / "01_small.md").write_text("## Slide notes\n\n### Two\n\nAsk them.", encoding="utf-8")

    def make(*cells):
        made = [nbformat.v4.new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}}) for source, kind in cells]
        nbformat.write(nbformat.v4.new_notebook(cells=made), tmp_path / "01_small.ipynb")
        return slides.build(tmp_path / "01_small.ipynb", tmp_path / "out")

    return make


def test_a_good_deck_passes_and_asks_the_network_for_nothing(make_deck, browser):
    assert list(slides_check.findings(browser, make_deck(*GOOD))) == []


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ((LINES, "-"), 'slide 2 (Two), step 2: p "line 39" is cut off at the bottom of the slide'),
        ((LINES, "fragment"), 'slide 2 (Two), step 3: p "line 39" is cut off at the bottom of the slide'),
        ((f"<pre>{'=' * 300}</pre>", "fragment"), "is cut off at the right of the slide"),
        ((SVG.format(x=80, size=13), "fragment"), 'text "words" is cut off at the right of its drawing'),
        ((SVG.format(x=10, size=3), "fragment"), 'text "words" is too small to read: '),
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
