"""The Slab lab in a real JupyterLab: by mouse and by keyboard, with picture, sentence and RAM compared after each step."""

from playwright.sync_api import expect

# `ram()` gives what the picture should show of each object of the chosen cache, read from RAM: {cell id: letter}.
NOTEBOOK = """
from memlab.figures.slab_state import cpu_freelist, focus, slab_freelist, slabs_of
from memlab.labs import slab_lab

lab = slab_lab()
m = lab.machine

def ram():
    m.check()
    slot = focus(m, lab.look.cell).slot
    letters = {}
    for s in slabs_of(m, slot):
        mine, cpus = slab_freelist(m, slot, s).objects, cpu_freelist(m, slot, s).objects
        letters |= {f"object-{s.pfn}-{i}": "s" if i in mine else "c" if i in cpus else "a" for i in range(s.objects)}
    return letters

lab
"""
SEEN = "[data-cell='cache-20']"  # when the lab is drawn
DRAWN = """lab => Object.fromEntries([...lab.querySelectorAll('rect[data-cell^="object-"]')]
  .map(rect => [rect.dataset.cell, rect.nextElementSibling.textContent]))"""


def agrees(lab):
    """See that the picture shows what is in RAM; return each slab's objects as a text of letters, by its first page."""
    ram = lab.in_kernel("ram()")
    assert lab.lab.evaluate(DRAWN) == ram
    slabs = {}
    for cell in sorted(ram, key=lambda cell: [int(n) for n in cell.split("-")[1:]]):
        pfn = int(cell.split("-")[1])
        slabs[pfn] = slabs.get(pfn, "") + ram[cell]
    return slabs


def test_a_cache_is_built_filled_and_emptied_by_mouse(lab):
    on = lab.menu("On")
    lab.press("Free", "Select an allocated object (a) in the picture first.", dimmed=True)

    lab.press("Build slab", "Built a slab of dentry: page 128, 21 objects, last on the partial list; took 1 struct slab and 6 descriptors")
    assert agrees(lab) == {128: "s" * 21}
    expect(lab.lab.get_by_text("empty", exact=True)).to_be_visible()

    inside = lab.slider("Inside this step")
    inside.fill("2")
    expect(lab.lab.locator("[data-cell='object-128-0']")).to_have_count(0)  # as RAM was then
    inside.fill(inside.get_attribute("max"))
    expect(lab.lab.locator("[data-cell='object-128-0']")).to_be_visible()

    lab.press("Allocate")
    lab.says("Allocated object 0 of the slab at page 128: CPU 0 had no free object, so the first slab of the partial list became its own")
    assert agrees(lab) == {128: "a" + "c" * 20}

    on.nth(0).select_option("CPU 1")
    lab.press("Allocate", "Allocated object 0 of the slab at page 129: no object was free for CPU 1, so it built a slab of page 129")
    assert agrees(lab) == {128: "a" + "c" * 20, 129: "a" + "c" * 20}

    lab.press("Fill a slab", "Allocated 20 objects: the slab at page 128 is now full, but CPU 0's")
    lab.click("object-128-7", "Selected object 7 of the slab at page 128, allocated.")
    lab.details(f"{lab.in_kernel('m.page_address(128) + 7 * 192'):#x}")
    on.nth(1).select_option("CPU 1")
    lab.press("Free", "Freed object 7 of the slab at page 128: to the slab's own freelist, since the slab is CPU 0's and CPU 1 frees")
    assert agrees(lab) == {128: "a" * 7 + "s" + "a" * 13, 129: "a" + "c" * 20}

    lab.lab.get_by_role("textbox", name="Name").fill("inode_cache")
    lab.lab.get_by_role("spinbutton", name="Size").fill("100")
    lab.menu("Flags").select_option("DEBUG")
    lab.press("Create cache")
    lab.says("Created the cache inode_cache: 100 bytes an object, 120 in its slab; slabs of order 0, 34 objects, 16 bytes unused.")
    assert agrees(lab) == {}
    lab.press("Allocate", "Allocated object 0")
    expect(lab.lab.get_by_text("left red zone, 8 B")).to_be_visible()
    expect(lab.lab.get_by_text("cc", exact=True)).to_have_count(12)
    lab.press("Free", "the object now has red zones of bb and poison.")
    expect(lab.lab.get_by_text("bb", exact=True)).to_have_count(12)
    assert set(agrees(lab).values()) == {"s" * 34}

    lab.click("cache-20", "Selected cache dentry")
    lab.press("Free all", "Freed all 21 objects of dentry: no slab was given back; 2 slabs stay (2 CPUs' own).")
    lab.press("Shrink", "Shrank dentry: 2 slabs taken from the CPUs, 2 empty slabs given back")
    assert agrees(lab) == {}
    lab.press("Undo", "Undone: Shrank dentry")
    assert agrees(lab).keys() == {128, 129}
    lab.press("Reset", "Undid all")
    assert agrees(lab) == {}


def test_the_keyboard_alone_will_do_and_no_key_reaches_the_notebook(lab):

    lab.button("Build slab").focus()
    lab.keys("Enter", says="Built a slab of dentry: page 128")
    lab.keys("Tab", "Tab")
    expect(lab.button("Allocate")).to_be_focused()
    lab.keys("Space", says="Allocated object 0 of the slab at page 128: CPU 0 had no free object")
    lab.keys("Space", says="Allocated object 1 of the slab at page 128: from CPU 0's freelist, the fast path: 1 word written.")
    assert agrees(lab) == {128: "aa" + "c" * 19}
    lab.keys("Tab", "Tab", "Tab")
    expect(lab.button("Fill a slab")).to_be_focused()
    lab.keys("Enter", says="Allocated 19 objects: the slab at page 128 is now full, but CPU 0's until that needs another object.")

    lab.picture.focus()
    assert lab.selected() == "slab at page 128, order 0: 21 of 21 objects allocated; a CPU's own, selected"
    lab.keys("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight")
    assert lab.selected() == "object 3 of the slab at page 128, allocated"
    lab.keys("Enter", says="Selected object 3 of the slab at page 128, allocated.")
    expect(lab.picture).to_be_focused()  # patched, not replaced
    lab.button("Free").focus()
    lab.keys("Enter", says="Freed object 3 of the slab at page 128: to the head of CPU 0's freelist, the fast path: 2 words written.")
    assert agrees(lab) == {128: "aaac" + "a" * 17}

    lab.keeps_its_keys(lab.picture, lab.button("Free all"))

    lab.keys("Enter", says="Freed all 20 objects of dentry: no slab was given back; 1 slab stays (1 CPUs' own).")
    assert agrees(lab) == {128: agrees(lab)[128].replace("a", "c")}
    lab.keys("Tab", "Enter", says="Shrank dentry: 1 slab taken from the CPUs, 1 empty slab given back")
    lab.button("Undo").focus()
    lab.keys("Enter", says="Undone: Shrank dentry")
    assert agrees(lab) == {128: "c" * 21}

    lab.picture.focus()
    lab.keys("Home", "ArrowRight")  # to the end of a row, and on to the caches beside it
    while not lab.selected().startswith("cache kmem_cache"):
        lab.keys("End", "ArrowRight", "ArrowUp")
    lab.keys("Enter", says="Selected cache kmem_cache")
    assert agrees(lab)


def test_20_random_actions_leave_ram_in_order(lab):
    names = ["Build slab", "Allocate", "Allocate", "Free", "Free", "Fill a slab", "Free all", "Shrink", "Create cache", "Undo", "Redo"]
    with lab.at_random(20211025) as (rng, done):
        while len(done) < 20:
            cells = sorted(lab.in_kernel("ram()"))
            if cells and rng.random() < 0.5:
                cell = rng.choice(cells)
                lab.click(cell, f"Selected object {cell.split('-')[2]} of the slab at page {cell.split('-')[1]},")
            for box in lab.lab.get_by_role("combobox", name="On").all():
                box.select_option(rng.choice(("CPU 0", "CPU 1")))
            lab.lab.get_by_role("textbox", name="Name").fill(f"cache_{len(done)}")
            button = lab.button(rng.choice(names))
            if button.get_attribute("aria-disabled") == "false":
                done.append(button.inner_text())
                button.click()
                agrees(lab)
    assert len(set(done)) > 5
