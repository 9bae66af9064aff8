"""The Bootstrap lab in a real JupyterLab: by mouse and by keyboard, with picture, sentence and RAM compared after each step."""

from playwright.sync_api import expect

# `ram()` gives what the picture should show, read from RAM: the mem_desc of pages 40 to 47, and where the first two struct slabs
# of page 40 say that their buddy and their page are.
NOTEBOOK = """
from contextlib import nullcontext

from memlab.labs import bootstrap_lab
from memlab.structs import slab

lab = bootstrap_lab(order=2)
m = lab.machine

def place(address):
    page, at = divmod(address - m.B, 4096)
    return f"{page}+{at:#x}" if address else "0"

def ram():
    look = lab.look
    with look.recording.at(look.frame) if look.frame is not None else nullcontext(m.check()):
        words = {f"desc-40-{p}": f"{'rfAS'[m.mem_desc(p).type]} {p} {place(m.mem_desc(p).address)}" for p in range(40, 48)}
        for i in range(2):
            s = slab(m, m.page_address(40) + 64 * i)
            words |= {f"w-40-{s.address + 24 - m.B >> 3}": place(s.buddy), f"w-40-{s.address + 48 - m.B >> 3}": place(s.virt)}
    return words

lab
"""
SEEN = "[data-cell='desc-40-40']"  # when the lab is drawn
DRAWN = """(lab, cells) => Object.fromEntries(cells.map(cell => {
  const rect = lab.querySelector(`[data-cell="${cell}"]`);
  const texts = [rect?.nextElementSibling, cell.startsWith("desc") ? rect?.nextElementSibling?.nextElementSibling : null];
  return [cell, texts.filter(Boolean).map(text => text.textContent).join(" ")];
}))"""


def agrees(lab):
    """See that the picture shows what is in RAM, at the moment that is chosen; return letters of pages 40 to 47."""
    ram = lab.in_kernel("ram()")
    assert lab.lab.evaluate(DRAWN, list(ram)) == ram
    return "".join(ram[f"desc-40-{p}"][0] for p in range(40, 48))


def moment(lab):
    """The slider inside a step, and what it says."""
    return lab.slider("Inside this step")


def mark(lab, words):
    """The number of the step whose sentence contains the words."""
    return lab.in_kernel(f"next(k for k, mark in enumerate(lab.session.recording().marks) if {words!r} in mark)")


def test_a_page_comes_to_describe_itself_by_mouse(lab):
    assert agrees(lab) == "ffffAAAA"
    lab.press("Ask for a struct slab")
    lab.says("Asked for a struct slab and got the one at byte 128 of page 40: built 2 slabs, wrote 185 words in 21 steps.")
    assert agrees(lab) == "SSffAAAA"
    end = lab.in_kernel("hash(str(m.snapshot().parts()))")

    inside = moment(lab)
    k = mark(lab, "The struct slab at byte 64 of page 40 is written")
    inside.fill(str(k))
    expect(lab.lab).to_contain_text("The struct slab at byte 64 of page 40 is written: it describes page 41")
    expect(lab.lab.locator("svg .ml-written")).to_have_count(4)  # flags, buddy, counts, virt
    assert agrees(lab) == "SSffAAAA"
    lab.details("page 40, struct slab[1].virt")
    lab.details(f"0 → {lab.in_kernel('m.page_address(41)'):#x} (41+0x0)")

    inside.fill(str(mark(lab, "The block is split")))  # and back
    lab.details("struct page 40) → ")
    assert agrees(lab) == "ffffAAAA"
    assert lab.in_kernel("hash(str(m.snapshot().parts()))") == end  # only the picture went back
    inside.fill(inside.get_attribute("max"))
    assert agrees(lab) == "SSffAAAA"

    virt = lab.in_kernel("m.page_address(40) - m.B + 48 >> 3")
    lab.click(f"w-40-{virt}", "Selected page 40, struct slab[0].virt: 40+0x0.")
    lab.details(f"{lab.in_kernel('m.page_address(40) + 48'):#x}")

    lab.press("Ask for a struct slab", "Asked for a struct slab and got the one at byte 192 of page 40: no slab had to be built")
    lab.press("Use up descriptors", "Took all 143 free descriptors")
    lab.press("Take a block", "Took pages 42 to 43, order 1: it had just that order")
    assert agrees(lab) == "SSAAAAAA"
    lab.press("Undo", "Undone: Took pages 42 to 43")
    assert agrees(lab) == "SSffAAAA"
    lab.press("Redo", "Redone: Took pages 42 to 43")
    lab.press("Free a block", "Freed page 46, order 0; nothing was allocated for that.")
    lab.press("Ask for a page", "Asked for a page and got page 46: no slab had to be built")
    lab.click("page-41", "Selected page 41, slab, order 0")  # either page shows both
    assert agrees(lab) == "SSAAAAAA"
    lab.press("Give back descriptors", "Gave back")
    expect(lab.lab.get_by_role("status")).to_contain_text("pages 40 and 41 of the arena stay slabs")
    lab.slider("Time").fill("0")
    assert agrees(lab) == "ffffAAAA"


def test_the_keyboard_alone_will_do_and_no_key_reaches_the_notebook(lab):
    lab.button("Ask for a page").focus()
    lab.keys("Enter", says="Asked for a page and got page 43: built 3 slabs")
    assert agrees(lab) == "SSSAAAAA"

    moment(lab).focus()
    lab.keys("Home")
    expect(lab.lab).to_contain_text("alloc_pages() is called.")
    assert agrees(lab) == "ffffAAAA"
    k = mark(lab, "The mem_desc of page 40 now names")
    lab.keys(*k * ["ArrowRight"])
    expect(lab.lab).to_contain_text(
        "The mem_desc of page 40 now names a struct slab at byte 0 of page 40 itself, which is not written yet."
    )
    assert agrees(lab)[:2] == "Sf"
    lab.keys("ArrowLeft")
    expect(lab.lab).to_contain_text("A new struct buddy on page 41 describes page 40, order 0.")
    assert agrees(lab)[:2] == "ff"
    expect(moment(lab)).to_be_focused()
    lab.keys("End")
    assert agrees(lab) == "SSSAAAAA"

    lab.picture.focus()
    assert lab.selected() == "page 40, slab, order 0, selected"  # in the map, which is the second panel
    lab.keys("ArrowLeft", "Home")
    assert lab.selected() == "page 40, struct slab[0].flags: 0x20"
    lab.keys(*6 * ["ArrowDown"], "ArrowRight")
    assert lab.selected() == "page 40, struct slab[1].virt: 41+0x0"
    lab.keys("Enter", says="Selected page 40, struct slab[1].virt: 41+0x0.")
    expect(lab.picture).to_be_focused()  # patched, not replaced

    lab.keeps_its_keys(lab.picture, lab.button("Take a block"), moment(lab))

    lab.button("Use up descriptors").focus()
    lab.keys("Space", says="Took all")
    lab.slider("Order to free").focus()
    lab.keys("End", "Tab")
    expect(lab.button("Free a block")).to_be_focused()
    lab.keys("Enter", says="Freed pages 48 to 55, order 3")
    lab.button("Undo").focus()
    lab.keys("Enter", says="Undone: Freed pages 48 to 55")
    lab.button("Reset").focus()
    lab.keys("Enter", says="Undid all 2 steps")
    lab.picture.focus()  # where the block was that was free for a moment: back to the first
    lab.keys("Home", "Enter", says="Selected page 40, free block, order 2")
    assert agrees(lab) == "ffffAAAA"


def test_20_random_actions_leave_ram_in_order(lab):
    names = [
        "Ask for a struct slab",
        "Ask for a page",
        "Free a block",
        "Take a block",
        "Use up descriptors",
        "Give back descriptors",
        "Undo",
        "Redo",
    ]
    with lab.at_random(20211025) as (rng, done):
        for _ in range(20):
            usable = [name for name in names if lab.button(name).get_attribute("aria-disabled") != "true"]
            done.append(rng.choice(usable))
            lab.press(done[-1])
            assert lab.in_kernel("m.check()") is None
            expect(lab.lab.get_by_role("alert")).to_be_empty()
    assert lab.in_kernel("len(lab.session.steps)") > 5
