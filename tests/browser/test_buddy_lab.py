"""The Buddy lab in a real JupyterLab: by mouse and by keyboard, with picture, sentence and RAM compared after each step."""

from lab_page import LabPage
from playwright.sync_api import expect

# What lies on the lab's pages, read from RAM by a notebook's kernel: [(first page, letter and order)].
RAM = """
from memlab.figures.blocks import KINDS, blocks, kind_of

def ram(view):
    m = view.machine
    m.check()
    return {b.start: f"{KINDS[kind_of(m, b.start)].letter}{b.order}" for b in blocks(m, view.look.arena)}

def lists(view):
    return [[m.page_to_pfn(m.buddy(m.B + 8 * li - 8).page) for li in list_for_each(m, z.heads + 2 * k)]
            for m in [view.machine] for z in m.zones for k in range(m.max_order + 1)]

from memlab.list_head import list_for_each
from memlab.labs import buddy_lab
"""
NOTEBOOK = f"{RAM}\nlab = buddy_lab()\nlab"
SEEN = "[data-cell='page-128']"  # when the lab is drawn
# The words that stand on cells of the page map, by first page: the letters whose middle is in the cell's box.
DRAWN = """lab => {
  const letters = [...lab.querySelectorAll('[data-fragment^="page_map-letters"] text.ml-first')].flatMap((text) =>
    [...text.textContent].map((letter, i) => ({ letter, x: text.x.baseVal[i].value, y: Number(text.getAttribute('y')) })));
  const boxes = [...lab.querySelectorAll('[data-fragment^="page_map-targets"] path')].map((path) => [path.dataset.cell, path.getBBox()]);
  return Object.fromEntries(boxes
    .map(([cell, box]) => [Number(cell.split('-')[1]),
      letters.filter(({ x, y }) => x > box.x && x < box.x + box.width && y > box.y && y < box.y + box.height).map(({ letter }) => letter).join('')])
    .filter(([, words]) => words));
}"""

# The fragments that are not, element by element, what their text says; to draw one, the browser changes what it drew before.
WRONG = """(lab, texts) => Object.entries(texts).filter(([id, text]) => {
  const group = document.createElementNS('http://www.w3.org/2000/svg', 'g');
  group.dataset.fragment = id;
  group.innerHTML = text;
  return !lab.querySelector(`[data-fragment="${id}"]`)?.isEqualNode(group);
}).map(([id]) => id)"""


class BuddyPage(LabPage):
    """A Buddy lab on a page; ``name`` is what its view is called in the kernel."""

    def __init__(self, page, lab, name="lab"):
        super().__init__(page, lab)
        self.name = name

    def agrees(self):
        """Compare page map, tree and free lists with RAM, which must be in order; return {first page: letter and order}.

        And each fragment with the picture that the view would draw anew.
        """
        assert self.lab.evaluate(WRONG, self.in_kernel(f"dict({self.name}.picture().fragments)")) == []
        ram = self.in_kernel(f"ram({self.name})")
        assert {int(pfn): words for pfn, words in self.lab.evaluate(DRAWN).items()} == ram
        tree = self.lab.locator("[data-fragment^='tree-targets'] path").evaluate_all("paths => paths.map(path => path.dataset.cell)")
        assert sorted(tree) == sorted(f"block-{pfn}" for pfn in ram)
        boxes = self.lab.locator("[data-fragment^='free_lists'] rect[data-cell]").evaluate_all(
            "rects => rects.map(rect => rect.dataset.cell)"
        )
        assert boxes == [f"list-{pfn}" for linked in self.in_kernel(f"lists({self.name})") for pfn in linked[:5]]
        return ram

    def order(self, value, name="Order"):
        self.slider(name).fill(str(value))


LAB_PAGE = BuddyPage


def test_the_lab_of_the_first_notebook_works(run_all):
    page = run_all("00_start.ipynb")
    page.evaluate("() => { const n = jupyterapp.shell.currentWidget.content; return n.scrollToItem(n.widgets.length - 1); }")
    lab = LabPage(page, page.locator(".memlab-lab").last)
    expect(lab.lab.locator("[data-cell='page-128']")).to_be_visible()
    lab.press("Allocate", "Allocated order 0 at page 128: split a block of order 6 down; took 6 descriptors, rewrote 32 mem_desc words.")


def test_allocate_split_free_fill_and_storm_by_mouse(lab):
    assert lab.agrees() == {128: "f6"}
    lab.press("Free all", "No block of pages 128 to 191 is allocated.", dimmed=True)

    lab.order(2)
    lab.press("Allocate", "Allocated order 2 at page 128: split a block of order 6 down; took 4 descriptors, rewrote 32 mem_desc words.")
    assert lab.agrees() == {128: "A2", 132: "f2", 136: "f3", 144: "f4", 160: "f5"}

    lab.press("Split", "Split the block at page 128 into two of order 1")
    assert lab.agrees() == {128: "A1", 130: "A1", 132: "f2", 136: "f3", 144: "f4", 160: "f5"}

    lab.click("page-131", "Selected page 131, allocated block, order 1 from page 130.")
    address = lab.in_kernel("lab.machine.page_address(131)")
    lab.details(f"{address:#x}")
    buddy = lab.in_kernel("lab.machine.mem_desc(131).address")
    bytes_ = lab.in_kernel(f"lab.machine.read({buddy + 32}, 8).hex(' ')")
    expect(lab.lab.locator("[data-fragment='descriptor-fields']")).to_contain_text(bytes_)

    lab.press("Free", "Freed order 1 at page 130: no merge, since its buddy at page 128 is in use")
    assert lab.agrees() == {128: "A1", 130: "f1", 132: "f2", 136: "f3", 144: "f4", 160: "f5"}
    lab.press("Free", "Page 130 is in a free block", dimmed=True)

    lab.click("list-136", "Selected free block at page 136, number 1 of 1 on the list of order 3.")  # in the free lists
    lab.click("block-128", "Selected allocated block of 2 pages, order 1, at page 128.")  # in the tree
    lab.press("Free", "Freed order 1 at page 128: merged 5 times into a free block of order 6 at page 128; gave back 5 descriptors")
    assert lab.agrees() == {128: "f6"}

    lab.lab.get_by_role("spinbutton", name="Bytes").fill("10000")
    lab.press("Allocate bytes")
    lab.says("10,000 bytes need order 2: 6,384 bytes of 16 KiB (39 %) lost inside the block. Allocated order 2 at page 128")
    assert lab.agrees()[128] == "A2"

    lab.order(1, "Fill order")
    lab.press("Fill", "Filled memory with 30 blocks of order 1; took 26 descriptors, rewrote")
    assert lab.agrees() == {128: "A2", **dict.fromkeys(range(132, 192, 2), "A1")}
    inside = lab.slider("Inside this step")
    inside.fill("4")  # as RAM was then: five blocks
    expect(lab.lab.locator("[data-cell='block-144']")).to_have_count(1)
    expect(lab.lab.locator("[data-cell='block-160']")).to_have_count(1)
    expect(lab.lab.locator("[data-cell='block-190']")).to_have_count(0)
    inside.fill(inside.get_attribute("max"))
    expect(lab.lab.locator("[data-cell='block-190']")).to_have_count(1)
    lab.agrees()

    lab.press("Free all", "Freed 31 blocks with 30 merges; gave back 30 descriptors")
    assert lab.agrees() == {128: "f6"}

    lab.lab.get_by_role("spinbutton", name="Seed").fill("7")
    lab.press("Storm", "Storm 7 of 20 steps: ")
    after = lab.agrees()
    lab.press("Undo", "Undone: Storm 7")
    assert lab.agrees() == {128: "f6"}
    lab.press("Redo", "Redone: Storm 7")
    assert lab.agrees() == after
    lab.slider("Time").fill("2")
    lab.says("After step 2 of")
    assert lab.agrees() == {128: "A1", 130: "A1", 132: "f2", 136: "f3", 144: "f4", 160: "f5"}
    lab.press("Reset", "Undid all 2 steps")
    assert lab.agrees() == {128: "f6"}


def test_the_keyboard_alone_will_do_and_no_key_reaches_the_notebook(lab):

    lab.slider("Order").focus()
    lab.keys("ArrowRight", "ArrowRight", "ArrowRight", "Tab")
    expect(lab.button("Allocate")).to_be_focused()
    lab.keys("Enter", says="Allocated order 3 at page 128")
    assert lab.agrees() == {128: "A3", 136: "f3", 144: "f4", 160: "f5"}
    lab.keys("Tab")
    expect(lab.lab.get_by_role("spinbutton", name="Bytes")).to_be_focused()
    lab.keys("ControlOrMeta+a", "1", "2", "0", "0", "0", "Tab", "Enter")
    lab.says("12,000 bytes need order 2: 4,384 bytes of 16 KiB (27 %) lost inside the block. Allocated order 2 at page 136")
    assert lab.agrees() == {128: "A3", 136: "A2", 140: "f2", 144: "f4", 160: "f5"}
    lab.keys("Tab")
    expect(lab.button("Split")).to_be_focused()
    lab.keys("Space", says="Split the block at page 136 into two of order 1")
    assert lab.agrees() == {128: "A3", 136: "A1", 138: "A1", 140: "f2", 144: "f4", 160: "f5"}

    lab.picture.focus()
    assert lab.selected() == "page 136, allocated block, order 1, selected"
    lab.keys("ArrowRight", "ArrowRight", "ArrowRight")
    assert lab.selected() == "page 139, allocated block, order 1 from page 138"
    lab.keys("Enter", says="Selected page 139, allocated block, order 1 from page 138.")
    expect(lab.picture).to_be_focused()  # patched, not replaced
    lab.keys("ArrowDown", "ArrowUp", "Home", "End", "ArrowUp", "ArrowLeft")
    assert lab.selected().startswith("page 142,")
    lab.keys("ArrowRight", "ArrowRight")  # past the end of a row: into the tree beside it
    assert " of " in lab.selected()
    assert "at page" in lab.selected()

    lab.keeps_its_keys(lab.picture, lab.button("Free"))

    lab.keys("Enter", says="Freed order 1 at page 138: no merge, since its buddy at page 136 is in use")
    assert lab.agrees() == {128: "A3", 136: "A1", 138: "f1", 140: "f2", 144: "f4", 160: "f5"}
    lab.keys("Tab", "Tab", "Enter", says="Filled memory with 54 blocks of order 0")
    assert lab.agrees()[191] == "A0"
    lab.keys("Tab", "Enter", says="Freed 56 blocks with 55 merges")
    assert lab.agrees() == {128: "f6"}
    lab.keys("Tab", "Tab", "ArrowLeft", "Tab", "Enter", says="Storm 1 of 10 steps: ")
    lab.agrees()
    lab.keys("Tab", "Enter", says="Undone: Storm 1")
    assert lab.agrees() == {128: "f6"}


def test_20_random_actions_leave_ram_in_order(lab):
    names = ["Allocate", "Allocate", "Allocate", "Allocate bytes", "Split", "Free", "Free", "Fill", "Free all", "Storm", "Undo", "Redo"]
    with lab.at_random(20211025) as (rng, done):
        while len(done) < 20:
            cell = rng.choice(lab.lab.locator("[data-cell]").evaluate_all("cells => cells.map(cell => cell.dataset.cell)"))
            lab.click(cell, "Selected ")
            lab.order(rng.randrange(4))
            lab.order(rng.randrange(3), "Fill order")
            lab.lab.get_by_role("spinbutton", name="Seed").fill(str(rng.randrange(99)))
            button = lab.button(rng.choice(names))
            if button.get_attribute("aria-disabled") != "true":
                done.append((cell, button.inner_text()))
                button.click()
                expect(lab.lab.get_by_role("status")).not_to_contain_text("Selected ")
                lab.agrees()
    assert len({name for _, name in done}) > 5


TWO_VIEWS = """
from memlab.labs import BUDDY_LAB, Action, ChoiceParam, Done, Lab, LabView, Session

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
grabber = LabView(Lab("grab", "Grab lab", BUDDY_LAB.preset, (action,), BUDDY_LAB.figure, BUDDY_LAB.details, ()), lab.session)
grabber
"""
ANOTHER_LAB = """
def buddy_of(pfn, order):
    return pfn + (1 << order)

other = buddy_lab(pages=2048, yours={"buddy_of": buddy_of})
other
"""


def test_views_of_a_machine_stay_in_step_and_labs_of_two_machines_apart(run_cells):
    page = run_cells(RAM, TWO_VIEWS, SECOND_VIEW, ANOTHER_LAB)
    page.set_viewport_size({"width": 1400, "height": 4000})  # JupyterLab draws only what is in sight
    one, two = (
        BuddyPage(page, page.locator(f".memlab-lab[aria-label='{title}']").first, name)
        for title, name in (("Buddy lab", "lab"), ("Grab lab", "grabber"))
    )
    other = BuddyPage(page, page.locator(".memlab-lab").last, "other")
    for view in (one, two, other):
        expect(view.lab.locator("[data-cell^='page-']").first).to_be_visible()
    untouched = other.lab.inner_html()

    one.press("Allocate", "Allocated order 0 at page 128")
    assert one.agrees() == two.agrees() == {128: "A0", 129: "f0", 130: "f1", 132: "f2", 136: "f3", 144: "f4", 160: "f5"}
    expect(two.lab.get_by_role("status")).to_have_text("Ready.")  # only the view that acted speaks

    two.menu("Size").select_option("too large")
    two.press("Grab")
    alert = two.lab.get_by_role("alert")
    expect(alert).to_contain_text("That failed (OSError: out of luck). RAM is as it was before")
    assert two.agrees() == one.agrees()
    alert.get_by_role("button", name="Undo").click()
    two.says("Undone: Allocated order 0 at page 128")
    expect(alert).to_be_empty()
    assert one.agrees() == {128: "f6"}

    two.menu("Size").select_option("large")
    two.press("Grab", "Grabbed a large block.")
    assert one.agrees() == {128: "A5", 160: "f5"}

    page.evaluate(
        "async () => (await jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code: 'lab.machine.alloc_pages(4)' }).done)"
    )
    for view in (one, two):
        expect(view.lab.locator("[data-cell='block-160']")).to_have_count(1)
        assert view.agrees() == {128: "A5", 160: "A4", 176: "f4"}
    one.press("Undo", "Undone: RAM was changed by code in a notebook cell.")
    assert two.agrees() == {128: "A5", 160: "f5"}

    for name in ("Hexadecimal", "Show code", "Large"):
        one.button(name).click()
        expect(one.button(name)).to_have_attribute("aria-pressed", "true")
    expect(one.lab.get_by_role("region", name="Python code")).to_contain_text("m.alloc_pages(5)")
    expect(one.lab.get_by_text("0xb0", exact=True)).to_be_visible()
    expect(two.button("Hexadecimal")).to_have_attribute("aria-pressed", "false")  # how numbers look is a view's own

    # the other machine's lab saw nothing of it all; and in it the learner's function is drawn beside the machine
    assert other.lab.inner_html() == untouched
    other.order(1)
    for _ in range(2):
        other.press("Allocate")
    other.says("Your buddy_of(4098, 1) gives 4100; the machine differs: its buddy is page 4096")
    expect(other.lab.locator("rect.ml-mark.ml-yours")).to_have_count(1)
    expect(other.lab.locator("rect.ml-mark.ml-machine")).to_have_count(1)
    assert other.in_kernel("ram(other)")[4098] == "A1"
    assert one.in_kernel("ram(lab)") == {128: "A5", 160: "f5"}
