"""The Buddy lab in a real JupyterLab: by mouse and by keyboard, with picture, sentence and RAM compared after each step."""

import ast

import pytest
from playwright.sync_api import expect

# The lab of 00_start.ipynb has the name `lab` in its kernel. What lies on pages 128 to 191, read from RAM:
BLOCKS = "[(b.start, b.order, lab.machine.mem_desc(b.start).type.name) for b in __import__('memlab.figures.blocks', fromlist=['x']).blocks(lab.machine, lab.look.arena)]"


class LabPage:
    """What a learner does to the lab, and what can be seen of it."""

    def __init__(self, page, lab):
        self.page, self.lab = page, lab
        self.picture = lab.locator(".memlab-host")

    def button(self, name):
        return self.lab.get_by_role("button", name=name, exact=True)

    def says(self, start):
        """Wait until the lab says a sentence that starts so."""
        expect(self.lab.get_by_role("status")).to_contain_text(start)

    def drawn(self):
        """The blocks as they are drawn: {first page: letter and order}, from the texts that stand on cells."""
        return self.lab.evaluate(
            """lab => Object.fromEntries([...lab.querySelectorAll('rect[data-cell]')]
                 .map(rect => [rect.dataset.cell, rect.nextElementSibling])
                 .filter(([, text]) => text?.classList.contains('ml-first'))
                 .map(([cell, text]) => [Number(cell.split('-')[1]), text.textContent]))"""
        )

    def selected(self):
        return self.picture.evaluate(
            "host => document.getElementById(host.getAttribute('aria-activedescendant'))?.getAttribute('aria-label')"
        )

    def in_kernel(self, expression):
        """The value of a Python expression in the notebook's kernel."""
        value = self.page.evaluate(
            """async expression => {
                 const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                 const done = kernel.requestExecute({ code: '', silent: true, store_history: false, user_expressions: { value: expression } }).done;
                 return (await done).content.user_expressions.value;
               }""",
            expression,
        )
        assert value["status"] == "ok", value
        return ast.literal_eval(value["data"]["text/plain"])

    def agrees(self):
        """Compare the picture with RAM; return {first page: letter and order}."""
        self.in_kernel("lab.machine.check()")
        letters = {"FREE": "f", "BUDDY": "A"}
        ram = {start: f"{letters[kind]}{order}" for start, order, kind in self.in_kernel(BLOCKS)}
        assert {int(pfn): words for pfn, words in self.drawn().items()} == ram
        return ram

    def notebook_cells(self):
        return self.page.evaluate("jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.id)")


@pytest.fixture
def lab_page(run_all):
    page = run_all("00_start.ipynb")
    page.evaluate("() => { const n = jupyterapp.shell.currentWidget.content; return n.scrollToItem(n.widgets.length - 1); }")
    lab = page.locator(".memlab-lab").last
    expect(lab.locator("[data-cell='page-128']")).to_be_visible()
    return LabPage(page, lab)


def test_allocate_split_and_free_by_mouse(lab_page):
    lab = lab_page
    assert lab.agrees() == {128: "f6"}

    lab.lab.get_by_role("slider", name="Order").fill("2")
    lab.button("Allocate").click()
    lab.says("Allocated order 2 at page 128: split a block of order 6 down; took 4 descriptors, rewrote 32 mem_desc words.")
    assert lab.agrees() == {128: "A2", 132: "f2", 136: "f3", 144: "f4", 160: "f5"}

    lab.button("Split").click()
    lab.says("Split the block at page 128 into two of order 1")
    assert lab.agrees() == {128: "A1", 130: "A1", 132: "f2", 136: "f3", 144: "f4", 160: "f5"}

    lab.lab.locator("[data-cell='page-131']").click()
    lab.says("Selected page 131, allocated block, order 1 from page 130.")
    address = lab.in_kernel("lab.machine.page_address(131)")
    expect(lab.lab.locator(".memlab-details")).to_contain_text(f"{address:#x}")

    lab.button("Free").click()
    lab.says("Freed order 1 at page 130: no merge, since its buddy at page 128 is in use")
    assert lab.agrees() == {128: "A1", 130: "f1", 132: "f2", 136: "f3", 144: "f4", 160: "f5"}

    lab.button("Free").click(force=True)  # page 130 is still selected, and free: the button is dimmed, and says why
    lab.says("Page 130 is in a free block")
    lab.button("Undo").click()
    lab.says("Undone: Freed order 1 at page 130")
    assert lab.agrees()[130] == "A1"
    lab.button("Redo").click()
    lab.says("Redone: Freed order 1 at page 130")
    lab.button("Reset").click()
    lab.says("Undid all 3 steps")
    assert lab.agrees() == {128: "f6"}


def test_the_keyboard_alone_will_do_and_no_key_reaches_the_notebook(lab_page):
    lab, page = lab_page, lab_page.page
    cells = lab.notebook_cells()
    lab.lab.get_by_role("slider", name="Order").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    page.keyboard.press("Tab")
    expect(lab.button("Allocate")).to_be_focused()
    page.keyboard.press("Enter")
    lab.says("Allocated order 3 at page 128")
    page.keyboard.press("Tab")
    expect(lab.button("Split")).to_be_focused()
    page.keyboard.press("Space")
    lab.says("Split the block at page 128 into two of order 2")
    assert lab.agrees() == {128: "A2", 132: "A2", 136: "f3", 144: "f4", 160: "f5"}

    lab.picture.focus()
    assert lab.selected() == "page 128, allocated block, order 2 from page 128, selected"
    for key in ("ArrowRight",) * 5:
        page.keyboard.press(key)
    assert lab.selected() == "page 133, allocated block, order 2 from page 132"
    page.keyboard.press("Enter")
    lab.says("Selected page 133")
    expect(lab.picture).to_be_focused()  # patched, not replaced
    for key in ("ArrowDown", "ArrowUp", "Home", "End", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
    assert lab.selected().startswith("page 142,")

    # JupyterLab's command mode would delete this cell, and insert one
    for place in (lab.picture, lab.button("Free")):
        place.focus()
        for key in ("d", "d", "b", "a", "x", "Escape", "d", "d"):
            page.keyboard.press(key)
        expect(place).to_be_focused()
        assert lab.notebook_cells() == cells

    page.keyboard.press("Enter")
    lab.says("Freed order 2 at page 132")
    assert lab.agrees() == {128: "A2", 132: "f2", 136: "f3", 144: "f4", 160: "f5"}


TWO_VIEWS = """
from memlab.labs import BUDDY_LAB, Action, ChoiceParam, Done, Lab, LabView, Session, buddy_lab
lab = buddy_lab()
lab
"""
SECOND_VIEW = """
def grab(session, size):
    if size == "too large":
        session.machine.alloc_pages(0)
        raise OSError("out of luck")
    session.machine.alloc_pages(5)
    return Done(f"Grabbed a {size} block.")

action = Action("grab", "Grab", run=grab, code=lambda _s, size: "m.alloc_pages(5)", params=(ChoiceParam("size", "Size", ("large", "too large")),))
LabView(Lab("grab", "Grab lab", BUDDY_LAB.preset, (action,), BUDDY_LAB.figure, BUDDY_LAB.details, ()), lab.session)
"""


def test_two_views_stay_in_step_code_is_noticed_and_a_failure_can_be_undone(run_all, workbook, write_notebook):
    write_notebook(workbook / "my" / "two_views.ipynb", TWO_VIEWS, SECOND_VIEW)
    page = run_all("two_views.ipynb")
    one, two = (LabPage(page, page.locator(f".memlab-lab[aria-label='{name}']")) for name in ("Buddy lab", "Grab lab"))
    expect(two.lab.locator("[data-cell='page-128']")).to_be_visible()

    one.button("Allocate").click()
    one.says("Allocated order 0 at page 128")
    expect(two.lab.locator("[data-cell='page-128'] + text")).to_have_text("A0")
    expect(two.lab.get_by_role("status")).to_have_text("Ready.")  # only the view that acted speaks

    two.lab.get_by_role("combobox", name="Size").select_option("too large")
    two.button("Grab").click()
    alert = two.lab.get_by_role("alert")
    expect(alert).to_contain_text("That failed (OSError: out of luck). RAM is as it was before")
    assert two.agrees() == one.agrees()
    alert.get_by_role("button", name="Undo").click()
    two.says("Undone: Allocated order 0 at page 128")
    expect(alert).to_be_empty()
    assert one.agrees() == {128: "f6"}

    two.lab.get_by_role("combobox", name="Size").select_option("large")
    two.button("Grab").click()
    two.says("Grabbed a large block.")
    expect(one.lab.locator("[data-cell='page-128'] + text")).to_have_text("A5")

    page.evaluate(
        "async () => (await jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code: 'lab.machine.alloc_pages(4)' }).done)"
    )
    for view in (one, two):
        expect(view.lab.locator("[data-cell='page-160'] + text")).to_have_text("A4")
    one.button("Undo").click()
    one.says("Undone: RAM was changed by code in a notebook cell.")
    assert two.agrees() == {128: "A5", 160: "f5"}

    for name in ("Hexadecimal", "Show code", "Large"):
        one.button(name).click()
        expect(one.button(name)).to_have_attribute("aria-pressed", "true")
    expect(one.lab.get_by_role("region", name="Python code")).to_contain_text("m.alloc_pages(5)")
    expect(one.lab.get_by_text("0xb0", exact=True)).to_be_visible()
    expect(two.button("Hexadecimal")).to_have_attribute("aria-pressed", "false")  # how numbers look is a view's own
