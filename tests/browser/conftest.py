"""What the browser tests share: one JupyterLab server on loopback, and Chromium driven by Playwright.

A test asks for `run_all` and gets its page with every cell of a notebook run; with `run_cells`, of a notebook of its own:

    def test_the_lab_splits_a_block(run_cells):
        page = run_cells("from memlab.labs import buddy_lab\\nbuddy_lab()")
        page.get_by_role("button", name="Split").click()

The other notebooks are the learner's copies, made as `make lab` makes them. A test of a lab asks for `lab`. Without
Chromium these tests fail: they are never skipped. Run them serially and on their own (`make test` does): Playwright's
event loop and pytest-xdist do not share a process well.
"""

import shutil
from pathlib import Path

import pytest
from chromium import FLAGS, find_chromium
from jupyterlab import jupyterlab
from lab_page import LabPage
from playwright.sync_api import expect

from memlab.workbook import make_copies

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
# Milliseconds to wait for anything: long, for a loaded machine. A test that passes never waits so long.
PATIENCE = 60_000
# Ends the kernel of each open notebook and closes it, unsaved; then opens another.
OPEN = """
async path => {
  for (const widget of [...jupyterapp.shell.widgets('main')]) {
    await widget.sessionContext?.shutdown();
    widget.dispose();
  }
  await jupyterapp.commands.execute('docmanager:open', { path, factory: 'Notebook' });
}
"""
ERRORS = ", ".join(f".jp-RenderedText[data-mime-type='application/vnd.jupyter.{kind}']" for kind in ("error", "stderr"))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    try:
        return {**browser_type_launch_args, "executable_path": find_chromium(), "args": FLAGS}
    except LookupError as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return {**browser_context_args, "viewport": {"width": 1400, "height": 1000}}


@pytest.fixture(scope="session")
def workbook(tmp_path_factory):
    """A folder with a copy of notebooks/ and the learner's copies in my/."""
    root = tmp_path_factory.mktemp("workbook")
    shutil.copytree(NOTEBOOKS, root / "notebooks")
    make_copies(root)
    return root


@pytest.fixture(scope="session")
def lab_url(workbook, tmp_path_factory):
    """The URL of a running JupyterLab that shows one notebook at a time, with none open."""
    try:
        with jupyterlab(workbook, tmp_path_factory.mktemp("jupyter")) as url:
            yield url
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def lab_window(browser, browser_context_args, lab_url):
    """JupyterLab in Chromium, one page for all tests: it takes seconds to load."""
    expect.set_options(timeout=PATIENCE)
    context = browser.new_context(**browser_context_args)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(lab_url)
    page.wait_for_function("async () => Boolean(await window.jupyterapp?.restored)")
    yield page
    context.close()


@pytest.fixture
def run_all(lab_window, browser_context_args):
    """A function: close what is open, open a notebook, run all its cells, fail if one raised or wrote to stderr, return the page."""

    page = lab_window

    def run(notebook):
        page.set_viewport_size(browser_context_args["viewport"])
        page.evaluate(OPEN, f"my/{notebook}")
        page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
        # This resolves when the last cell is done, with false if one raised.
        succeeded = page.evaluate("async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')")
        errors = page.locator(ERRORS).all_inner_texts()
        assert succeeded is not False, f"a cell of {notebook} raised: {errors}"
        assert not errors, f"{notebook} wrote to stderr"
        return page

    return run


@pytest.fixture
def run_cells(run_all, workbook, write_notebook, request):
    """A function: run a notebook of these cells, with a kernel of its own, as `run_all` does."""

    def run(*sources):
        write_notebook(workbook / "my" / f"{request.node.originalname}.ipynb", *sources)
        return run_all(f"{request.node.originalname}.ipynb")

    return run


@pytest.fixture
def lab(run_cells, request):
    """The lab of a test file, a LabPage, or of the file's own LAB_PAGE: that of the cell NOTEBOOK, drawn as soon as SEEN is there."""
    file = request.module
    page = run_cells(file.NOTEBOOK)
    found = page.locator(".memlab-lab")
    expect(found.locator(file.SEEN).first).to_be_visible()
    return getattr(file, "LAB_PAGE", LabPage)(page, found)


@pytest.fixture
def npm_file():
    """A function: the path of a file in a package from npm; the test fails if it is not installed."""

    def find(name):
        path = ROOT / ".venv" / "npm" / "node_modules" / name
        if not path.is_file():
            pytest.fail("This test needs a package from npm: `make test` gets it, or `make .venv/npm.stamp` alone.", pytrace=False)
        return path

    return find
