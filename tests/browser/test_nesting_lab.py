"""The Nesting lab in a real JupyterLab: by mouse and by keyboard, with picture, sentence and both machines' RAM compared after each step."""

import random
import re

import pytest
from lab_page import LabPage
from playwright.sync_api import expect

# `chains()` gives what the picture should show, read from the machines: for each side (depth, calls, interrupts, outcome) of the last call.
NOTEBOOK = """
from memlab.labs import nesting_lab

lab = nesting_lab()
m = lab.machine

def chains():
    m.check()
    return [(r.trace.depth, len(r.trace.calls), len(r.trace.interrupts), r.outcome) for r in m.runs] if m.runs else None

lab
"""
SIDES = ("written", "bounded")


@pytest.fixture
def lab(run_all, workbook, write_notebook):
    write_notebook(workbook / "my" / "nesting.ipynb", NOTEBOOK)
    page = run_all("nesting.ipynb")
    found = page.locator(".memlab-lab")
    expect(found.get_by_text("press Call").first).to_be_visible()
    return LabPage(page, found)


def agrees(lab):
    """See that headings and gauges tell what both machines did; return that."""
    found = lab.in_kernel("chains()")
    for side, (depth, calls, interrupts, outcome) in zip(SIDES, found or (), strict=bool(found)):
        heading = lab.lab.locator(f"[data-fragment='{side}-call_chain-heading']")
        came = f", {interrupts} interrupt{'s' * (interrupts > 1)}" if interrupts else ""
        expect(heading).to_contain_text(f"→ {outcome}")
        expect(heading).to_contain_text(re.compile(rf"{calls} calls?{came}"))
        gauge = lab.lab.locator(f"[data-fragment='{side}-call_chain-gauge-task']")
        expect(gauge).to_contain_text(f"{depth} frame{'s' * (depth != 1)} ×")
    return found


def choose(lab, name, value):
    lab.lab.get_by_role("combobox", name=name, exact=True).select_option(value)


def test_the_emails_chain_is_made_by_mouse_and_scrubbed(lab):
    lab.button("Free it again").click(force=True)  # dimmed, and says why
    lab.says("No call has given anything")
    lab.button("Call").click()
    lab.says("alloc_pages(0): as written 378 frames deep in 450 calls (page 168); bounded 7 frames deep in 7 calls (page 133)")
    assert [chain[0] for chain in agrees(lab)] == [378, 7]
    expect(lab.lab.get_by_text("60 × the same 7 calls, 6 frames deeper each time")).to_be_visible()
    expect(lab.lab.get_by_text("overflow", exact=True)).to_be_visible()

    choose(lab, "Start", "no free descriptor")
    lab.button("Start anew").click()
    lab.says("Both machines start anew, no free descriptor: 0 free struct buddys, 0 free struct slabs")
    lab.button("Add interrupt").click()
    lab.says("Planned for the calls to come, 1 of 3 at most: return 1 of kmem_cache_alloc(kmem_cache_slab)")
    lab.button("Call").click()
    lab.says("as written 18 frames deep in 30 calls with 1 interrupt (page 6); bounded 12 frames deep")
    assert agrees(lab)[0] == (18, 30, 1, "page 6")

    lab.click("written-call-0")
    lab.says("Selected alloc_pages(), frame 1 of the task; order 0, GFP_KERNEL: returned page 6.")
    inside = lab.lab.get_by_role("slider", name="Inside this step")
    inside.fill("12")
    expect(lab.lab.locator("[data-cell='written-call-12']")).to_have_count(0)
    expect(lab.lab.locator("[data-fragment='written-call_chain-gauge-task']")).to_contain_text("now: 11 frames")
    expect(lab.lab.locator("[data-fragment='written-call_chain-told']")).to_contain_text("has not returned")
    inside.fill(inside.get_attribute("max"))

    lab.button("Free it again").click()
    lab.says("Freeing: as written 1 frame deep in 1 call")
    agrees(lab)
    lab.button("Undo").click()
    lab.says("Undone: Freeing")
    assert agrees(lab)[0] == (18, 30, 1, "page 6")
    lab.button("Redo").click()
    lab.says("Redone: Freeing")
    lab.button("Reset").click()
    lab.says("Undid all 5 steps")
    assert agrees(lab) is None


def test_a_search_goes_on_until_stop_is_pressed_and_other_buttons_are_heard_meanwhile(lab):
    lab.button("Stop").click(force=True)
    lab.says("No search is going on.")
    lab.lab.get_by_role("slider", name="Interrupts").fill("1")
    states = lab.lab.get_by_role("slider", name="States to try")
    states.fill(states.get_attribute("max"))
    lab.button("Find the worst case").click()
    lab.says("Searching; Stop ends it")
    progress = lab.lab.locator(".memlab-progress")
    expect(progress).to_contain_text("states")
    first = progress.inner_text()
    expect(progress).not_to_have_text(first)
    lab.button("Find the worst case").click(force=True)
    lab.says("A search is going on; Stop ends it.")
    lab.button("Call").click()
    lab.says("alloc_pages(0): as written 378 frames")
    expect(progress).to_contain_text(re.compile(r"as written .* [1-9]\d* frames; bounded .* [1-9]\d* frames"))
    lab.button("Stop").click()
    lab.says("Stopped. The deepest chain of alloc_pages that was found, with up to 1 interrupt: as written")
    expect(progress).to_be_empty()
    written, bounded = agrees(lab)
    assert written[0] > bounded[0] >= 7
    lab.button("Undo").click()
    lab.says("Undone: The sequences that were found")
    assert agrees(lab)[0][0] == 378


def test_a_search_of_few_states_ends_by_itself(lab):
    lab.lab.get_by_role("slider", name="States to try").fill("0")
    lab.button("Find the worst case").click()
    lab.says("Done. The deepest chain of alloc_pages that was found, with no interrupt: as written")
    written, bounded = agrees(lab)
    assert f"{written[0]} frames (250 states), bounded {bounded[0]} frames (250 states)" in lab.lab.get_by_role("status").inner_text()


def test_the_keyboard_alone_will_do_and_no_key_reaches_the_notebook(lab):
    page, cells = lab.page, lab.notebook_cells()

    def keys(*names):
        for name in names:
            page.keyboard.press(name)

    lab.lab.get_by_role("combobox", name="Start", exact=True).focus()
    keys("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "Tab")
    expect(lab.button("Start anew")).to_be_focused()
    keys("Enter")
    lab.says("Both machines start anew, no free descriptor")
    keys("Tab", "Tab", "Space")
    lab.says("alloc_pages(0): as written 12 frames deep in 15 calls (page 135); bounded 12 frames deep in 12 calls (page 135)")
    assert [chain[0] for chain in agrees(lab)] == [12, 12]
    keys("Tab", "Enter")
    lab.says("Freeing: as written")
    keys("Shift+Tab", "Enter")
    agrees(lab)

    lab.picture.focus()
    keys("Home", "ArrowDown")
    assert lab.selected().startswith(("alloc_pages()", "kmem_cache_alloc", "kmalloc"))
    keys("ArrowUp", "Enter")
    lab.says("Selected alloc_pages(), frame 1 of the task; order 0, GFP_KERNEL: returned page")
    expect(lab.picture).to_be_focused()
    for place in (lab.picture, lab.button("Call"), lab.button("Stop")):  # JupyterLab's command mode would delete this cell, and insert one
        place.focus()
        keys("d", "d", "b", "a", "x", "Escape", "d", "d")
        expect(place).to_be_focused()
        assert lab.notebook_cells() == cells

    lab.lab.get_by_role("slider", name="number").focus()
    keys("ArrowRight", "Tab", "Tab", "Tab")
    expect(lab.button("Add interrupt")).to_be_focused()
    keys("Enter")
    lab.says("return 2 of kmem_cache_alloc(kmem_cache_slab)")
    keys("Tab", "Enter")
    lab.says("Forgot 1 interrupt")
    lab.lab.get_by_role("slider", name="Bytes of a frame").focus()
    keys("End", "Tab", "Enter")
    lab.says("A frame is taken to need 1024 bytes of stack: 16 frames fit into 16,384 bytes.")
    assert lab.in_kernel("m.frame_bytes") == 1024
    keys("Tab", "Tab", "Tab", "Home", "Tab")
    expect(lab.button("Find the worst case")).to_be_focused()
    keys("Enter")
    lab.says("Searching; Stop ends it")
    keys("Tab")
    expect(lab.button("Stop")).to_be_focused()
    lab.says("that was found, with no interrupt: as written")
    agrees(lab)


def test_20_random_actions_leave_both_machines_in_order(lab):
    seed = 20211025
    rng = random.Random(seed)
    for n in range(20):
        name = rng.choice(["Call", "Call", "Call", "Start anew", "Add interrupt", "No interrupts", "Free it again", "Undo", "Redo"])
        for box in ("Start", "What", "Interrupt at", "of", "to"):
            menu = lab.lab.get_by_role("combobox", name=box, exact=True)
            menu.select_option(index=rng.randrange(menu.locator("option").count()))
        lab.button(name).click(force=True)
        assert lab.in_kernel("m.check()") is None, f"seed {seed}, action {n}: {name}"
    agrees(lab)
    expect(lab.lab.get_by_role("alert")).to_be_empty()


def test_two_labs_on_a_page_do_not_disturb_each_other(run_all, workbook, write_notebook):
    write_notebook(workbook / "my" / "two.ipynb", NOTEBOOK, "other = nesting_lab()\nother")
    page = run_all("two.ipynb")
    page.set_viewport_size({"width": 1400, "height": 4000})
    first, second = (LabPage(page, page.locator(".memlab-lab").nth(i)) for i in (0, 1))
    first.lab.get_by_role("slider", name="States to try").fill("0")
    first.button("Find the worst case").click()
    second.button("Call").click()
    second.says("alloc_pages(0): as written 378 frames deep")
    first.says("Done. The deepest chain")
    assert agrees(first)[0][0] < 378
    assert first.in_kernel("[r.trace.depth for r in other.machine.runs]") == [378, 7]
    expect(second.lab.locator("[data-fragment='written-call_chain-gauge-task']")).to_contain_text("378 frames")
