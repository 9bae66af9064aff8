"""The other browser tests trust their harness; this is why they can: a click reaches Python, and a bad cell fails."""

import pytest
from playwright.sync_api import expect

COUNTER = """
from ipywidgets import Button, HTML, VBox
clicks, shown = Button(description="Click me"), HTML("no click")
def count(_):
    shown.value = "Python saw the click"
clicks.on_click(count)
VBox([clicks, shown])
"""


def test_a_click_in_the_page_reaches_python_and_its_answer_comes_back(run_cells):
    page = run_cells(COUNTER)
    shown = page.locator(".widget-html-content")
    expect(shown).to_have_text("no click")
    page.get_by_role("button", name="Click me").click()
    expect(shown).to_have_text("Python saw the click")


@pytest.mark.parametrize(("source", "said"), [("1 / 0", "raised"), ("import sys; print('x', file=sys.stderr)", "wrote to stderr")])
def test_a_cell_that_raises_or_warns_fails_the_run(run_cells, source, said):
    with pytest.raises(AssertionError, match=said):
        run_cells("print('fine')", source)


LOSE_THE_FIRST_SHOW = """
() => {
  const send = WebSocket.prototype.send;
  window.lost = 0;
  WebSocket.prototype.send = function (data) {
    const text = typeof data === 'string' ? data : new TextDecoder().decode(data);
    if (!text.includes('"action":"show"')) return send.call(this, data);
    window.lost += 1;
    WebSocket.prototype.send = send;
  };
}
"""


def test_a_lab_whose_first_message_is_lost_asks_again(run_cells, lab_window):
    lab_window.evaluate(LOSE_THE_FIRST_SHOW)
    run_cells("from memlab.labs import buddy_lab\nbuddy_lab(pages=16)")
    expect(lab_window.locator(".memlab-lab [data-cell]").first).to_be_attached()
    assert lab_window.evaluate("window.lost") == 1


RESTARTED = """
from memlab.labs import buddy_lab
from memlab.lessons import predict
from IPython.display import display
lab = buddy_lab(pages=16)
display(lab, predict("02.a"))
"""


def test_after_a_restart_of_the_kernel_labs_and_panels_say_that_they_must_be_run_again(run_cells):
    page = run_cells(RESTARTED)
    lab, panel = page.locator(".memlab-lab"), page.locator(".memlab-panel")
    expect(lab.locator("[data-cell]").first).to_be_attached()
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    for widget, name in ((lab, "Allocate"), (panel, "Answer")):
        widget.get_by_role("button", name=name, exact=True).click()
        expect(widget.get_by_role("status").first).to_have_text("Waiting for the kernel. If nothing comes, run this cell again.")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    lab.get_by_role("button", name="Allocate", exact=True).click()
    expect(lab.get_by_role("status")).to_contain_text("Allocated order 0")


def test_a_lab_that_waits_for_a_cell_says_so_and_then_answers(run_cells):
    page = run_cells(RESTARTED)
    lab, panel = page.locator(".memlab-lab"), page.locator(".memlab-panel")
    expect(lab.locator("[data-cell]").first).to_be_attached()
    page.evaluate(
        "() => { jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code: 'import time; time.sleep(7)' }); }"
    )
    for widget, name in ((lab, "Allocate"), (panel, "Answer")):
        widget.get_by_role("button", name=name, exact=True).click()
    for widget in (lab, panel):
        expect(widget.get_by_role("status")).to_have_text("Waiting for the kernel. If nothing comes, run this cell again.")
    expect(lab.get_by_role("status")).to_contain_text("Allocated order 0")
    expect(panel.get_by_role("status")).to_contain_text("Choose an answer")
