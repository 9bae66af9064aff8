from playwright.sync_api import expect
NB='''
from memlab.labs import bootstrap_lab
lab = bootstrap_lab(order=2)
lab
'''
def test_shot(run_all, workbook, write_notebook):
    write_notebook(workbook/"my"/"boot.ipynb", NB)
    page = run_all("boot.ipynb")
    lab = page.locator(".memlab-lab").last
    expect(lab.locator("[data-cell='desc-40-40']")).to_be_visible()
    lab.get_by_role("button", name="Ask for a struct slab", exact=True).click()
    expect(lab.get_by_role("status")).to_contain_text("Asked for")
    for w,h,theme,k in ((1400,1300,"JupyterLab Light","15"),(800,1700,"JupyterLab Dark","9"),(1400,1300,"JupyterLab Dark","13"),(800,1700,"JupyterLab Light","18")):
        page.set_viewport_size({"width":w,"height":h})
        page.evaluate("t => window.jupyterapp.commands.execute('apputils:change-theme',{theme:t})", theme)
        page.wait_for_timeout(1500)
        lab.get_by_role("slider", name="Inside this step").fill(k)
        page.wait_for_timeout(800)
        lab.screenshot(path=f"/tmp/x/bootlab-{w}-{theme[-4:].strip()}.png")
