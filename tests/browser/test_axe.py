"""Every lab and every kind of lesson panel under axe-core, in both themes of JupyterLab.

Only what stands inside a lab or a panel counts: JupyterLab's own page has violations of its own. axe-core comes from
npm (`make test` gets it) and serves these tests alone.
"""

import pytest
from lesson_cells import CELLS
from playwright.sync_api import expect

from memlab.labs import LABS

ROOTS = (".memlab-lab", ".memlab-panel")
LAB = """from memlab.labs import {name}_lab
view = {name}_lab()
for name, params, *_ in view.lab.demo[:2]:
    view.session.run(view.lab.action(name), **params)
view"""
# Violations that are serious or critical, as sentences: the rule and the elements.
AXE = """
async ([roots]) => {
  const { violations, passes } = await axe.run({ include: roots }, { resultTypes: ['violations', 'passes'] });
  const bad = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const found = bad.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(' ')}`);
  return { found, looked: passes.flatMap((p) => p.nodes).length };
}
"""


@pytest.fixture
def everything(run_cells, npm_file):
    """A page with each lab and each kind of panel, all that can be unfolded unfolded."""
    page = run_cells(*(LAB.format(name=name) for name in LABS), *CELLS)
    page.set_viewport_size({"width": 1400, "height": 12_000})  # JupyterLab draws only what is in sight
    expect(page.locator(".memlab-lab")).to_have_count(len(LABS))
    expect(page.locator(".memlab-panel")).to_have_count(len(CELLS) - 1)
    for toggle in page.locator(":is(.memlab-lab, .memlab-panel) [aria-pressed='false']").element_handles():
        toggle.click()
    page.add_script_tag(path=npm_file("axe-core/axe.min.js"))
    return page


def test_no_lab_and_no_panel_has_a_serious_violation_in_either_theme(everything):
    page = everything
    for theme in ("Light", "Dark"):
        page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", f"JupyterLab {theme}")
        page.wait_for_function("dark => document.body.dataset.jpThemeLight === String(!dark)", arg=theme == "Dark")
        for root in ROOTS:
            seen = page.evaluate(AXE, [[root]])
            assert seen["found"] == [], f"{root} in {theme}"
            assert seen["looked"] > 50

    page.evaluate("() => { document.querySelector('.memlab-lab button').textContent = ''; }")  # one that it must find
    (found,) = page.evaluate(AXE, [[".memlab-lab"]])["found"]
    assert found.startswith("button-name: ")
