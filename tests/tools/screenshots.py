"""Takes the pictures of the labs: `python tests/tools/screenshots.py`. Needs Chromium, as the browser tests do.

Writes notebooks/images/buddy_lab.png. With a folder as argument it writes instead, into that folder, the lab at both
widths and in both themes, for looking at.
"""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "MEMLAB_SCREENSHOTS"  # where the pictures go, told to the run of pytest below

# The browser tests' server and browser: fixtures that pytest finds here because they stand in this module.
_spec = importlib.util.spec_from_file_location("browser_fixtures", ROOT / "tests" / "browser" / "conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
browser_type_launch_args, browser_context_args = _fixtures.browser_type_launch_args, _fixtures.browser_context_args
workbook, lab_url, run_all = _fixtures.workbook, _fixtures.lab_url, _fixtures.run_all


def test_take_the_pictures(run_all, workbook, write_notebook):
    write_notebook(workbook / "my" / "buddy.ipynb", "from memlab.labs import buddy_lab\nbuddy_lab()")
    folder = os.environ.get(FOLDER)
    page = run_all("buddy.ipynb")
    use_the_lab(page)
    if not folder:
        take(page, 1400, "Light", ROOT / "notebooks" / "images" / "buddy_lab.png")
        return
    for theme in ("Light", "Dark"):
        for width in (1400, 800):
            take(page, width, theme, Path(folder) / f"buddy_{width}_{theme.lower()}.png")
    page.get_by_role("button", name="Large").click()
    page.get_by_role("button", name="Show code").click()
    page.get_by_role("button", name="Hexadecimal").click()
    take(page, 1400, "Light", Path(folder) / "buddy_1400_large.png")


def use_the_lab(page):
    """A few steps that leave blocks of several orders, with one selected."""
    order = page.get_by_role("slider", name="Order")
    for value in (0, 3, 4, 0, 2):
        order.fill(str(value))
        said = page.get_by_role("status").inner_text()
        page.get_by_role("button", name="Allocate").click()
        page.wait_for_function("said => document.querySelector('.memlab-status').textContent !== said", arg=said)
    page.locator("[data-cell='page-138']").click()
    page.wait_for_function("document.querySelector('.memlab-status').textContent.startsWith('Selected')")
    page.get_by_role("button", name="Split").click()
    page.wait_for_function("document.querySelector('.memlab-status').textContent.startsWith('Split')")


def take(page, width, theme, path):
    """Write a picture of the lab alone, with the browser so wide and JupyterLab in this theme."""
    page.set_viewport_size({"width": width, "height": 1600})
    command = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
    page.evaluate(command, f"JupyterLab {theme}")
    page.wait_for_function("dark => document.body.dataset.jpThemeLight === String(!dark)", arg=theme == "Dark")
    lab = page.locator(".memlab-lab")
    lab.scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    lab.screenshot(path=path)
    print(f"{path}: {path.stat().st_size // 1024} KB")


def main():
    """Run the function above; return the exit status."""
    if len(sys.argv) > 1:
        os.environ[FOLDER] = str(Path(sys.argv[1]).resolve())
    return pytest.main([__file__, "-q", "-s", "-p", "no:cacheprovider"])


if __name__ == "__main__":
    sys.exit(main())
