"""How long a click in the Buddy lab takes until the new picture is painted, and how many bytes it brings to the browser.

    make bench BENCH_FLAGS=--browser        (with --json as well: one JSON object instead of a table)

It starts a JupyterLab on loopback and a headless Chromium, and clicks, in turn, an ipywidgets button whose handler does next to nothing, and
labs of two sizes in the same page. What is judged is the ratio of the medians. Must not import the labs, which only the notebook's kernel does.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from chromium import find_chromium, launch
from jupyterlab import jupyterlab
from playwright.sync_api import Error, sync_playwright

CLICKS = 20
GOALS = {2048: 1.5, 65536: 2.0}  # pages -> most that a click may take, in empty round trips
MOST_BYTES = 64 << 10
PATIENCE = 120  # seconds

_CELL = f"""
from IPython.display import display
from ipywidgets import Button, HTML, VBox
from memlab.labs import buddy_lab
count, button, said = 0, Button(description="Empty"), HTML("0")
def click(_):
    global count
    count += 1
    said.value = str(count)
button.on_click(click)
labs = [buddy_lab(pages=pages) for pages in {list(GOALS)}]
display(VBox([button, said]), *labs)
"""
_TARGETS = {  # done in turn; a click on the grid selects the first page that it shows, which is allocated
    "Allocate": "[data-action='allocate']",
    "a page": "[data-grid='page']",
    "Free": "[data-action='free']",
    "Undo": "[data-action='undo']",
}
# Clicks, and returns the milliseconds until what `said` finds has other text and the frame after that is painted.
# Before, it waits as people do between clicks: sooner than that, TCP's delayed acknowledgements add 40 ms to some.
_CLICK = """
async ([root, target, said]) => {
  const place = root === null ? document : document.querySelectorAll('.memlab-lab')[root];
  const node = place.querySelector(target), told = place.querySelector(said);
  node.scrollIntoView({ block: 'center' });
  await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve, 500)));
  return await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`nothing came after a click on ${target}`)), 60000);
    const watch = new MutationObserver(() => {
      watch.disconnect();
      requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => resolve(performance.now() - start);
        channel.port2.postMessage(0);  // taken up after the paint
      });
    });
    watch.observe(told, { childList: true, characterData: true, subtree: true });
    const start = performance.now();
    const { left, top } = node.getBoundingClientRect();
    node.dispatchEvent(new MouseEvent('click', { bubbles: true, clientX: left + 3, clientY: top + 3 }));
  });
}
"""


class Missing(Exception):
    """Something that the measurement needs is not here; the message is a sentence."""


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Click and return plain data: milliseconds and bytes of each click, medians, ratios and whether they reach the goals.

    `say` gets a line about each step. Missing if Chromium is not installed, or if JupyterLab does not start.
    """
    try:
        find_chromium()
    except LookupError as missing:
        raise Missing(str(missing)) from None
    say("starting JupyterLab and Chromium")
    with tempfile.TemporaryDirectory(prefix="memlab-bench-") as folder, sync_playwright() as playwright:
        root, home = Path(folder, "root"), Path(folder, "home")
        root.mkdir()
        cell: dict[str, Any] = {"cell_type": "code", "id": "bench", "execution_count": None, "metadata": {}, "outputs": [], "source": _CELL}
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        (root / "bench.ipynb").write_text(json.dumps(notebook))
        page = launch(playwright).new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(1000 * PATIENCE)
        received = [0]
        page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: _count(received, frame)))
        try:
            with jupyterlab(root, home) as url:
                return _clicks(page, url.replace("/doc?", "/doc/tree/bench.ipynb?"), received, say)
        except RuntimeError as error:
            raise Missing(str(error)) from None
        except Error as error:
            raise Missing(f"The labs did not answer in the browser: {error.message.splitlines()[0]}.") from None


def table(report: dict[str, Any]) -> str:
    """Draw what `measure` returned as text for people."""
    lines = [
        f"click to painted in Chromium, medians of {CLICKS} clicks; in the same page an empty ipywidgets button takes {report['empty']:.1f} ms",
        "",
    ]
    for pages, found in report["labs"].items():
        for what, value, goal, met in (
            (f"{int(pages):,} pages: {found['median']:.1f} ms, in empty round trips", f"{found['ratio']:.2f}", found["goal"], found["met"]),
            (f"{int(pages):,} pages: most bytes that a click brought", f"{found['most_bytes']:,}", MOST_BYTES, found["few_bytes"]),
        ):
            lines.append(f"{what:<62} {value:>9}   goal at most {goal:<8,} {'reached' if met else 'MISSED'}")
        lines += [f"    {name:<20} {ms:6.1f} ms" for name, ms in found["by_click"].items()]
    return "\n".join(lines)


def _clicks(page: Any, url: str, received: list[int], say: Callable[[str], None]) -> dict[str, Any]:
    page.goto(url)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    if page.evaluate("async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')") is False:
        raise Missing(f"The labs did not open: {page.locator('.jp-OutputArea').inner_text().splitlines()[-1]}")
    page.wait_for_function(
        f"() => document.querySelectorAll('.memlab-lab [data-grid]').length && document.querySelectorAll('.memlab-lab').length === {len(GOALS)}"
    )

    def click(root: int | None, target: str, said: str) -> tuple[float, int]:
        before = received[0]
        took = page.evaluate(_CLICK, [root, target, said])
        page.wait_for_timeout(50)  # what the kernel says after its answer
        return took, received[0] - before

    def empty() -> float:
        return click(None, ".jupyter-button", ".widget-html-content")[0]

    def lab(number: int, target: str) -> tuple[float, int]:
        return click(number, target, ".memlab-status")

    say("warming up")
    empty()
    for number in range(len(GOALS)):
        for target in [*_TARGETS.values(), "[data-action='allocate']"]:
            lab(number, target)
    round_trips: list[float] = []
    found: list[dict[str, list[tuple[float, int]]]] = [{} for _ in GOALS]
    for n in range(CLICKS):
        say(f"click {n + 1} of {CLICKS}")
        round_trips.append(empty())
        for number in range(len(GOALS)):
            name, target = list(_TARGETS.items())[n % len(_TARGETS)]
            found[number].setdefault(name, []).append(lab(number, target))
    bare = statistics.median(round_trips)
    labs = {}
    for (pages, goal), clicks in zip(GOALS.items(), found, strict=True):
        every = [one for those in clicks.values() for one in those]
        median = statistics.median(ms for ms, _ in every)
        most = max(n for _, n in every)
        labs[str(pages)] = {
            "median": median,
            "ratio": median / bare,
            "goal": goal,
            "met": median / bare <= goal,
            "most_bytes": most,
            "few_bytes": most <= MOST_BYTES,
            "by_click": {name: statistics.median(ms for ms, _ in those) for name, those in clicks.items()},
            "clicks": clicks,
        }
    return {"empty": bare, "round_trips": round_trips, "labs": labs}


def _count(received: list[int], frame: Any) -> None:
    received[0] += len(frame)


def main(arguments: list[str]) -> None:
    """Measure, and print the result; one line about each step goes to standard error."""
    start = perf_counter()

    def say(line: str) -> None:
        print(f"{perf_counter() - start:6.1f} s  {line}", file=sys.stderr, flush=True)

    try:
        found = measure(say)
    except Missing as missing:
        sys.exit(str(missing))
    print(json.dumps(found, indent=2) if "--json" in arguments else table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
