"""`make screenshots`: the pictures of the labs in the README, notebooks/images/*_lab.png. Needs Chromium, as the browser tests do.

    python tests/tools/screenshots.py [FOLDER]

With a folder it writes instead, into that folder and for looking at: every lab in two widths and both themes and once
in large, and every notebook in two widths, in parts of one screen after the other.
"""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from memlab.labs import LABS

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "notebooks" / "images"
FOLDER = "MEMLAB_SCREENSHOTS"  # where the pictures go, told to the run of pytest below
WIDTHS = (1400, 800)
TALL = 4500  # the browser's height for a lab: JupyterLab does not draw what is out of sight
# What was done in each lab when its picture is taken, as actions and parameters; None: the lab's demo.
STEPS = {
    "buddy": [*(("allocate", {"order": order}) for order in (0, 3, 4, 0, 2)), ("split", {"cell": "page-136"})],
    "slab": None,
    "bootstrap": [("struct_slab", {}), ("use_up", {}), ("free_block", {"order": 2}), ("struct_slab", {})],
    "freelist": None,
    "nesting": None,
    "machine": None,
}
MARK = {"bootstrap": 15}  # the labs that are shown in the middle of a step: at which mark
README = ("buddy", "slab", "bootstrap", "machine")
LAB = """from memlab.labs import {name}_lab
view = {name}_lab()
for name, params, *_ in {steps!r} or view.lab.demo:
    done = view.session.run(view.lab.action(name), **params)
    view.look = view.look._replace(cell=done.cell or view.look.cell)
view"""

# The browser tests' server and browser: fixtures that pytest finds here because they stand in this module.
_spec = importlib.util.spec_from_file_location("browser_fixtures", ROOT / "tests" / "browser" / "conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
browser_type_launch_args, browser_context_args = _fixtures.browser_type_launch_args, _fixtures.browser_context_args
workbook, lab_url = _fixtures.workbook, _fixtures.lab_url
jupyterlab, run_all = _fixtures.jupyterlab, _fixtures.run_all


@pytest.mark.parametrize("name", LABS if os.environ.get(FOLDER) else README)
def test_take_the_pictures_of_a_lab(run_all, workbook, write_notebook, name):
    write_notebook(workbook / "my" / f"{name}.ipynb", LAB.format(name=name, steps=STEPS[name]))
    page = run_all(f"{name}.ipynb")
    for button in ("Undo", "Redo"):  # so that the lab says what the last step did
        page.get_by_role("button", name=button, exact=True).click()
        page.wait_for_function("said => document.querySelector('.memlab-status').textContent.startsWith(said)", arg=button.rstrip("o"))
    if name in MARK:
        slider = page.get_by_role("slider", name="Inside this step")
        slider.fill(str(MARK[name]))
        page.wait_for_function("() => document.querySelector('.memlab-lab').textContent.includes('This step')")
        slider.blur()
    folder = os.environ.get(FOLDER)
    if not folder:
        take(page, ".memlab-lab", WIDTHS[0], "Light", IMAGES / f"{name}_lab.png", TALL)
        return
    for theme in ("Light", "Dark"):
        for width in WIDTHS:
            take(page, ".memlab-lab", width, theme, Path(folder) / f"{name}_{width}_{theme.lower()}.png", TALL)
    for toggle in ("Large", "Show code", "State code", "Hexadecimal"):
        page.get_by_role("button", name=toggle, exact=True).click()
    take(page, ".memlab-lab", WIDTHS[0], "Light", Path(folder) / f"{name}_{WIDTHS[0]}_large.png", TALL)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_take_the_pictures_of_a_notebook(run_all, path):
    page = run_all(path.name)
    scroll = "top => { const box = document.querySelector('.jp-WindowedPanel-outer'); box.scrollTop = top; return box.scrollTop; }"
    for width in WIDTHS:
        for part in range(20):
            top = part * 1500
            place(page, width, "Light")
            if page.evaluate(scroll, top) < top - 1500:
                break
            page.wait_for_timeout(500)  # JupyterLab draws what has come into sight
            page.evaluate(scroll, top)
            take(page, ".jp-NotebookPanel", width, "Light", Path(os.environ[FOLDER]) / f"{path.stem}_{width}_{part + 1:02}.png")


def take(page, selector, width, theme, path, height=1600):
    """Write a picture of one element, with the browser so wide and high and JupyterLab in this theme."""
    place(page, width, theme, height)
    element = page.locator(selector).first
    element.scroll_into_view_if_needed()
    path.parent.mkdir(parents=True, exist_ok=True)
    element.screenshot(path=path)
    print(f"{path.name}: {path.stat().st_size // 1024} KB")


def place(page, width, theme, height=1600):
    """Make the browser so wide and high and JupyterLab look so."""
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", f"JupyterLab {theme}")
    page.wait_for_function("dark => document.body.dataset.jpThemeLight === String(!dark)", arg=theme == "Dark")
    page.mouse.move(0, 0)


def main():
    """Run the functions above; return the exit status."""
    arguments = [__file__, "-q", "-s", "-p", "no:cacheprovider"]
    if len(sys.argv) > 1:
        os.environ[FOLDER] = str(Path(sys.argv[1]).resolve())
    else:
        arguments += ["-k", "of_a_lab"]
    return pytest.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
