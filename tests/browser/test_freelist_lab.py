"""The Free-list lab in a real JupyterLab: by mouse and by keyboard, with picture, sentence and both machines' RAM compared after each step."""

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
SEEN = "[data-cell='radix-63']"  # when the lab is drawn
DRAWN = """lab => Object.fromEntries([...lab.querySelectorAll('rect.ml-cell[data-cell]')]
  .filter(rect => rect.nextElementSibling?.classList.contains('ml-first'))
  .map(rect => [rect.dataset.cell, rect.nextElementSibling.textContent]))"""


def agrees(lab):
    """See that the picture shows what is in RAM; return that: {cell of a block's first page: letter and order}."""
    ram = lab.in_kernel("ram()")
    assert lab.lab.evaluate(DRAWN) == ram
    return ram


def test_pages_are_freed_by_mouse_until_one_cannot_be(lab):
    lab.press("Free selected", "Select a page in the picture first.", dimmed=True)

    lab.press("Free a HIGHMEM page", "radix trees had to allocate 1 lowmem page for nodes in order to free page 48")
    ram = agrees(lab)
    assert (ram["linked-48"], ram["radix-48"], ram["radix-6"]) == ("f0", "f0", "N")

    lab.menu("From").select_option("HIGHMEM first")
    lab.press("Allocate")
    lab.says(
        "Allocated block 1 of order 0: linked lists gave page 48, took no descriptor, rewrote 1 mem_desc word; radix trees gave page 48"
    )
    assert agrees(lab)["radix-48"] == "A0"

    lab.press("Fill", "Filled with single pages: linked lists gave")
    assert {words for cell, words in agrees(lab).items() if cell.startswith("radix-")} == {"r", "A0"}

    lab.press("Free a HIGHMEM page")
    lab.says("radix trees could not take page 48, which stays pending: no node is left, page 48 has no virtual address to hold one")
    ram = agrees(lab)
    assert (ram["linked-48"], ram["radix-48"]) == ("f0", "P0")

    lab.click("radix-20", "Selected Radix trees: page 20, allocated block, order 0 from page 20.")
    lab.press("Free selected", "radix trees had too few nodes, so page 20 itself was cut into 2 nodes and is in no tree")
    ram = agrees(lab)
    assert (ram["radix-20"], ram["radix-48"]) == ("N", "f0")
    lab.details("level 1 of the tree of order 0, zone HighMem: 1 slot used")

    inside = lab.slider("Inside this step")
    inside.fill("2")
    expect(lab.lab.get_by_text("Radix trees: the pool has too few nodes: page 20 itself is cut into nodes.")).to_be_visible()
    expect(lab.lab.locator("rect[data-cell='radix-48'] + text")).to_have_text("P0")  # it still waits
    inside.fill(inside.get_attribute("max"))
    assert agrees(lab) == ram

    lab.press("Undo", "Undone: Freed block")
    assert agrees(lab)["radix-20"] == "A0"
    lab.press("Redo", "Redone: Freed block")
    assert agrees(lab) == ram
    lab.press("Free all", "linked lists have 55 free pages")
    assert agrees(lab)["radix-48"] == "f4"
    lab.press("Reset", "Undid all 6 steps")
    assert [agrees(lab)[f"{side}-50"] for side in ("linked", "radix")] == ["A0", "A0"]


def test_the_keyboard_alone_will_do_and_no_key_reaches_the_notebook(lab):

    lab.slider("Order").focus()
    lab.keys("ArrowRight", "Tab", "Tab")
    expect(lab.button("Allocate")).to_be_focused()
    lab.keys("Enter", says="Allocated block 17 of order 1: linked lists gave page 2")
    ram = agrees(lab)
    assert (ram["linked-2"], ram["radix-4"]) == ("A1", "A1")

    lab.keys("Tab", "Space", says="Freed block 17 of order 1")  # what was allocated is selected
    assert agrees(lab)["radix-4"] == "f1"
    lab.keys("Tab", "Tab")
    expect(lab.button("Fill")).to_be_focused()
    lab.keys("Enter", says="Filled with single pages")
    lab.keys("Shift+Tab", "Enter", says="stays pending")
    assert agrees(lab)["radix-48"] == "P0"

    lab.picture.focus()
    lab.keys("Home", "ArrowDown", "ArrowRight")
    where = lab.selected()
    assert "page " in where
    lab.keys("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "End")
    assert lab.selected().startswith("Radix trees: page 15, allocated block")
    lab.keys("Enter", says="Selected Radix trees: page 15")
    expect(lab.picture).to_be_focused()

    lab.keeps_its_keys(lab.picture, lab.button("Free selected"))
    lab.keys("Enter", says="page 15 itself was cut into 2 nodes and is in no tree")
    assert agrees(lab)["radix-15"] == "N"
    lab.keys("Tab", "Tab", "Tab")
    expect(lab.button("Free all")).to_be_focused()
    lab.keys("Space", says="linked lists have 55 free pages")
    agrees(lab)


def test_20_random_actions_leave_both_machines_in_order(lab):
    names = ["Allocate", "Allocate", "Free selected", "Free selected", "Free a HIGHMEM page", "Fill", "Free all", "Undo", "Redo"]
    with lab.at_random(20211025) as (rng, done):
        for _ in range(20):
            done.append(rng.choice(names))
            if rng.random() < 0.5:
                lab.lab.locator(f"[data-cell='{rng.choice(['linked', 'radix'])}-{rng.randrange(64)}']").first.click()
            lab.slider("Order").fill(str(rng.choice([0, 0, 1, 2])))
            lab.menu("From").select_option(index=rng.randrange(2))
            lab.press(done[-1], dimmed=True)
            assert lab.in_kernel("m.check()") is None
        agrees(lab)
