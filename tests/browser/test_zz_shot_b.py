from lesson_cells import CELLS
from playwright.sync_api import expect

def test_shots(run_all, workbook, write_notebook):
    write_notebook(workbook / "my" / "lessons.ipynb", *CELLS)
    page = run_all("lessons.ipynb")
    panels = page.locator(".memlab-panel")
    expect(panels).to_have_count(4)
    pred, drill, ex, prog = (panels.nth(i) for i in range(4))
    pred.get_by_role("radio").nth(2).check(); pred.get_by_role("button", name="Answer").click()
    expect(pred.get_by_role("status")).to_contain_text("Right")
    prog.get_by_role("button", name="Refresh").click()
    expect(prog.get_by_role("status")).to_contain_text("up to")
    for theme, width in (("Light", 800), ("Dark", 1400)):
        page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}")
        page.set_viewport_size({"width": width, "height": 1900})
        page.wait_for_timeout(1500)
        page.evaluate("() => jupyterapp.shell.currentWidget.content.scrollToItem(0)")
        page.wait_for_timeout(500)
        page.screenshot(path=f"/tmp/x/shot_b_{theme}_{width}.png")
