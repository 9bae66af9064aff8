"""How long a click in the Buddy lab takes until the new picture is painted, and how many bytes it brings to the browser.

Used by `python -m memlab.bench --browser`. It starts a JupyterLab on loopback and a headless Chromium, and clicks, in turn, an ipywidgets button
whose handler does next to nothing, and labs of two sizes in the same page. What is judged is the ratio of the medians. Needs playwright,
JupyterLab and a Chromium; must not import the labs, which only the notebook's kernel does.
"""

import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
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

    `say` gets a line about each step. Missing if playwright, JupyterLab or Chromium is not installed, or if they do not start.
    """
    try:
        from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415  # the rest of the benchmark does without it
    except ImportError:
        raise Missing('playwright is not installed: pip install "memlab[test]" adds it.') from None
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise Missing("This needs a Chromium: install it, or name one with CHROMIUM=/path/to/it.")
    say("starting JupyterLab and Chromium")
    with _jupyterlab() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(1000 * PATIENCE)
        received = [0]
        page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: _count(received, frame)))
        try:
            return _clicks(page, url, received, say)
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


@contextmanager
def _jupyterlab() -> Iterator[str]:
    """Run JupyterLab on a notebook with the one cell; yields the URL that shows it."""
    with tempfile.TemporaryDirectory(prefix="memlab-bench-") as folder, socket.socket() as probe:
        home, root = Path(folder, "home"), Path(folder, "root")
        (home / "config" / "labconfig").mkdir(parents=True)
        settings = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
        (home / "config" / "labconfig" / "page_config.json").write_text(json.dumps(settings))
        root.mkdir()
        cell: dict[str, Any] = {"cell_type": "code", "id": "bench", "execution_count": None, "metadata": {}, "outputs": [], "source": _CELL}
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        (root / "bench.ipynb").write_text(
            json.dumps({"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
        )
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        token = secrets.token_hex(8)
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
        command += [
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={root}",
            "--LabApp.expose_app_in_browser=True",
        ]
        places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "run", "IPYTHONDIR": "ipython"}
        sources = str(Path(__file__).resolve().parents[2])  # the memlab that is measured, installed or not
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, [sources, os.environ.get("PYTHONPATH")]))}
        environment = os.environ | paths | {name: str(home / place) for name, place in places.items()}
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _wait(process, f"http://127.0.0.1:{port}/api/status?token={token}")
                yield f"http://127.0.0.1:{port}/doc/tree/bench.ipynb?reset&token={token}"
            finally:
                process.terminate()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(5 * PATIENCE):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # the server that was just started
                return
        except OSError:
            time.sleep(0.2)
    raise Missing('JupyterLab did not start: pip install "memlab[lab]" adds it.')
