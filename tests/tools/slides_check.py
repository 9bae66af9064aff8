"""`make slides-check`: in Chromium, at 1280 x 720, is everything on every slide to be seen, and does a deck ask the network for nothing?

    python tests/tools/slides_check.py build/slides/02_buddies.html ...

Goes through a deck as a lecturer does, one step after the other, and looks at all that is visible after each. A
finding names the slide by its number and heading, the step, and what is wrong: something reaches beyond the edge, an
element or a drawing cuts off what is in it, text is too small to read. Then prints the deck to PDF, where every step
must have a page. The remedy for what is cut off is in the notebook: a fragment more, or another subslide.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from chromium import launch
from playwright.sync_api import Browser, Page, sync_playwright

WIDTH, HEIGHT = 1280, 720
PATIENCE = 180_000  # milliseconds: a deck of many pictures, on a loaded machine
# What is wrong in the current step, as sentences, the worst of each kind. Chromium rounds the places of things: one pixel is no finding.
LOOK = """
() => {
  const slide = Reveal.getCurrentSlide(), worst = {};
  const seen = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !e.closest("aside.notes, .katex");
  const words = (e) => `${e.localName} "${(e.textContent || e.alt || "").trim().replace(/\\s+/g, " ").slice(0, 50)}"`;
  const note = (what, badness, said) => { if (badness >= (worst[what]?.badness ?? 0)) worst[what] = { badness, said }; };
  const beyond = (e, inner, outer, where) => {
    const sides = { top: outer.top - inner.top, left: outer.left - inner.left, bottom: inner.bottom - outer.bottom, right: inner.right - outer.right };
    for (const [side, pixels] of Object.entries(sides)) {
      if (pixels > 1) note(`${side} of ${where}`, pixels, `${words(e)} is cut off at the ${side} of ${where}: ${Math.round(pixels)} pixels`);
    }
  };
  const edges = { top: 0, left: 0, right: innerWidth, bottom: innerHeight };
  for (const e of [...slide.querySelectorAll("*")].filter(seen)) {
    const svg = e.ownerSVGElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!box.width || !box.height) continue;
    if (!svg && !e.matches(".content, .fragment, .memlab-static")) beyond(e, box, edges, "the slide");
    if (svg && e.localName === "text") beyond(e, box, svg.getBoundingClientRect(), "its drawing");
    if (!svg && style.overflow !== "visible" && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1))
      note("overflow", 1, `${words(e)} does not show all of what is in it`);
    const size = parseFloat(style.fontSize) * (svg ? svg.getScreenCTM().a : 1);
    const writes = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (writes && size < (svg ? 6 : 10.5)) note("size", 1 / size, `${words(e)} is too small to read: ${size.toFixed(1)} pixels`);
  }
  if (!slide.innerText.trim()) note("nothing", 1, "there is nothing to be seen");
  return Object.values(worst).map(({ said }) => said);
}
"""


def findings(browser: Browser, deck: Path) -> Iterator[str]:
    """All that is wrong with a deck, a sentence each."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    steps, told = 0, set()  # what one step shows, the next one usually shows too
    for name, step in walk(page, deck):
        steps += 1
        for finding in page.evaluate(LOOK):
            if (name, finding) not in told:
                told.add((name, finding))
                yield f"{name}, step {step}: {finding}"
    pages = print_to_pdf(page, deck)
    if pages != steps:
        yield f"printed, its {steps} steps become {pages} pages"
    for url in dict.fromkeys(asked):
        if not url.startswith(("file:", "data:")):
            yield f"asks for {url}"
    yield from (f"a script failed: {error}" for error in dict.fromkeys(errors))
    page.close()


def walk(page: Page, deck: Path) -> Iterator[tuple[str, int]]:
    """Open a deck and go through it; yield (number and heading of the slide, number of the step on it)."""
    open_deck(page, deck)
    step, before = 0, None
    while True:
        number, heading, last = page.evaluate(
            "() => [Reveal.getSlidePastCount() + 1, Reveal.getCurrentSlide().querySelector('h1, h2, h3')?.textContent ?? '',"
            " Reveal.isLastSlide() && !Reveal.availableFragments().next]"
        )
        step = step + 1 if number == before else 1
        before = number
        yield f"slide {number} ({heading})" if heading else f"slide {number}", step
        if last:
            return
        page.evaluate("() => Reveal.next()")


def open_deck(page: Page, deck: Path, query: str = "") -> None:
    """Open a deck at its start and wait until reveal.js has it."""
    page.goto("about:blank")
    page.goto(deck.resolve().as_uri() + query)
    page.wait_for_function("() => window.Reveal?.isReady()", timeout=PATIENCE)
    page.evaluate("() => document.fonts.ready")


def print_to_pdf(page: Page, deck: Path) -> int:
    """Print a deck as a lecturer does, into memory; return how many pages the PDF has."""
    open_deck(page, deck, "?print-pdf")
    page.wait_for_selector(".pdf-page", timeout=PATIENCE)
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def main(paths: list[str]) -> int:
    """Check each deck of `paths`; return 1 if something is wrong with one, 2 if none was given."""
    if not paths:
        print("usage: slides_check.py DECK ...", file=sys.stderr)
        return 2
    wrong = 0
    with sync_playwright() as playwright, launch(playwright) as browser:
        for path in map(Path, paths):
            found = list(findings(browser, path))
            wrong += len(found)
            print("\n  ".join([f"{path.name}: {len(found) or 'nothing'} wrong", *found]))
    return int(wrong > 0)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LookupError as missing:
        sys.exit(str(missing))
