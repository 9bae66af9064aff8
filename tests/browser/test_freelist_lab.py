"""The Free-list lab in a real JupyterLab: by mouse and by keyboard, with picture, sentence and both machines' RAM compared after each step."""

import random

import pytest
from lab_page import LabPage
from playwright.sync_api import expect

# `ram()` gives what the picture should show on the first page of each block, read from RAM: {cell id: letter and order}.
NOTEBOOK = """
from memlab.figures.blocks import KINDS, block_of, kind_of
from memlab.labs import freelist_lab

lab = freelist_lab()
m = lab.machine

def ram():
    m.check()
    shown = {f"radix-{b.start}": "?fANPr"[b.use] + (str(b.order) if b.use in (1, 2, 4) else "") for b in m.radix.blocks()}
    pfn = 0
    while pfn < 64:
        block, letter = block_of(m.linked, pfn), KINDS[kind_of(m.linked, pfn)].letter
        shown[f"linked-{pfn}"] = letter + (str(block.order) if letter in "fA" else "")
        pfn = block.pages.stop
    return shown

lab
"""
DRAWN = """lab => Object.fromEntries([...lab.querySelectorAll('rect.ml-cell[data-cell]')]
  .filter(rect => rect.nextElementSibling?.classList.contains('ml-first'))
  .map(rect => [rect.dataset.cell, rect.nextElementSibling.textContent]))"""


@pytest.fixture
def lab(run_all, workbook, write_notebook):
    write_notebook(workbook / "my" / "freelist.ipynb", NOTEBOOK)
    page = run_all("freelist.ipynb")
    found = page.locator(".memlab-lab")
    expect(found.locator("[data-cell='radix-63']")).to_be_visible()
    return LabPage(page, found)


def agrees(lab):
    """See that the picture shows what is in RAM; return that: {cell of a block's first page: letter and order}."""
    ram = lab.in_kernel("ram()")
    assert lab.lab.evaluate(DRAWN) == ram
    return ram


def test_pages_are_freed_by_mouse_until_one_cannot_be(lab):
    lab.button("Free selected").click(force=True)  # dimmed, and says why
    lab.says("Select a page in the picture first.")

    lab.button("Free a HIGHMEM page").click()
    lab.says("radix trees had to allocate 1 lowmem page for nodes in order to free page 48")
    ram = agrees(lab)
    assert (ram["linked-48"], ram["radix-48"], ram["radix-6"]) == ("f0", "f0", "N")

    lab.lab.get_by_role("combobox", name="From").select_option("HIGHMEM first")
    lab.button("Allocate").click()
    lab.says(
        "Allocated block 1 of order 0: linked lists gave page 48, took no descriptor, rewrote 1 mem_desc word; radix trees gave page 48"
    )
    assert agrees(lab)["radix-48"] == "A0"

    lab.button("Fill").click()
    lab.says("Filled with single pages: linked lists gave")
    assert {words for cell, words in agrees(lab).items() if cell.startswith("radix-")} == {"r", "A0"}

    lab.button("Free a HIGHMEM page").click()
    lab.says("radix trees could not take page 48, which stays pending: no node is left, page 48 has no virtual address to hold one")
    ram = agrees(lab)
    assert (ram["linked-48"], ram["radix-48"]) == ("f0", "P0")

    lab.lab.locator("[data-cell='radix-20']").click()
    lab.says("Selected Radix trees: page 20, allocated block, order 0 from page 20.")
    lab.button("Free selected").click()
    lab.says("radix trees had too few nodes, so page 20 itself was cut into 2 nodes and is in no tree")
    ram = agrees(lab)
    assert (ram["radix-20"], ram["radix-48"]) == ("N", "f0")
    expect(lab.lab.locator(".memlab-details")).to_contain_text("level 1 of the tree of order 0, zone HighMem: 1 slot used")

    inside = lab.lab.get_by_role("slider", name="Inside this step")
    inside.fill("2")
    expect(lab.lab.get_by_text("Radix trees: the pool has too few nodes: page 20 itself is cut into nodes.")).to_be_visible()
    expect(lab.lab.locator("rect[data-cell='radix-48'] + text")).to_have_text("P0")  # it still waits
    inside.fill(inside.get_attribute("max"))
    assert agrees(lab) == ram

    lab.button("Undo").click()
    lab.says("Undone: Freed block")
    assert agrees(lab)["radix-20"] == "A0"
    lab.button("Redo").click()
    lab.says("Redone: Freed block")
    assert agrees(lab) == ram
    lab.button("Free all").click()
    lab.says("linked lists have 55 free pages")
    assert agrees(lab)["radix-48"] == "f4"
    lab.button("Reset").click()
    lab.says("Undid all 6 steps")
    assert [agrees(lab)[f"{side}-50"] for side in ("linked", "radix")] == ["A0", "A0"]


def test_the_keyboard_alone_will_do_and_no_key_reaches_the_notebook(lab):
    page, cells = lab.page, lab.notebook_cells()

    def keys(*names):
        for name in names:
            page.keyboard.press(name)

    lab.lab.get_by_role("slider", name="Order").focus()
    keys("ArrowRight", "Tab", "Tab")
    expect(lab.button("Allocate")).to_be_focused()
    keys("Enter")
    lab.says("Allocated block 17 of order 1: linked lists gave page 2")
    ram = agrees(lab)
    assert (ram["linked-2"], ram["radix-4"]) == ("A1", "A1")

    keys("Tab", "Space")
    lab.says("Freed block 17 of order 1")  # what was allocated is selected
    assert agrees(lab)["radix-4"] == "f1"
    keys("Tab", "Tab")
    expect(lab.button("Fill")).to_be_focused()
    keys("Enter")
    lab.says("Filled with single pages")
    keys("Shift+Tab", "Enter")
    lab.says("stays pending")
    assert agrees(lab)["radix-48"] == "P0"

    lab.picture.focus()
    keys("Home", "ArrowDown", "ArrowRight")
    where = lab.selected()
    assert "page " in where
    keys("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "End")
    assert lab.selected().startswith("Radix trees: page 15, allocated block")
    keys("Enter")
    lab.says("Selected Radix trees: page 15")
    expect(lab.picture).to_be_focused()

    for place in (lab.picture, lab.button("Free selected")):  # JupyterLab's command mode would delete this cell, and insert one
        place.focus()
        keys("d", "d", "b", "a", "x", "Escape", "d", "d")
        expect(place).to_be_focused()
        assert lab.notebook_cells() == cells
    keys("Enter")
    lab.says("page 15 itself was cut into 2 nodes and is in no tree")
    assert agrees(lab)["radix-15"] == "N"
    keys("Tab", "Tab", "Tab")
    expect(lab.button("Free all")).to_be_focused()
    keys("Space")
    lab.says("linked lists have 55 free pages")
    agrees(lab)


def test_20_random_actions_leave_both_machines_in_order(lab):
    seed = 20211025
    rng = random.Random(seed)
    for n in range(20):
        name = rng.choice(
            ["Allocate", "Allocate", "Free selected", "Free selected", "Free a HIGHMEM page", "Fill", "Free all", "Undo", "Redo"]
        )
        if rng.random() < 0.5:
            lab.lab.locator(f"[data-cell='{rng.choice(['linked', 'radix'])}-{rng.randrange(64)}']").first.click()
        lab.lab.get_by_role("slider", name="Order").fill(str(rng.choice([0, 0, 1, 2])))
        lab.lab.get_by_role("combobox", name="From").select_option(index=rng.randrange(2))
        lab.button(name).click(force=True)
        assert lab.in_kernel("m.check()") is None, f"seed {seed}, action {n}: {name}"
    agrees(lab)
    expect(lab.lab.get_by_role("alert")).to_be_empty()
