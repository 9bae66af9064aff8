"""The Nesting lab in a real JupyterLab: by mouse and by keyboard, with picture, sentence and both machines' RAM compared after each step."""

import re

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
SEEN = "text=press Call"  # when the lab is drawn
SIDES = ("written", "bounded")


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


def test_the_emails_chain_is_made_by_mouse_and_scrubbed(lab):
    lab.press("Free it again", "No call has given anything", dimmed=True)
    lab.press("Call", "alloc_pages(0): as written 378 frames deep in 450 calls (page 168); bounded 7 frames deep in 7 calls (page 133)")
    assert [chain[0] for chain in agrees(lab)] == [378, 7]
    expect(lab.lab.get_by_text("60 × the same 7 calls, 6 frames deeper each time")).to_be_visible()
    expect(lab.lab.get_by_text("overflow", exact=True)).to_be_visible()

    lab.menu("Start").select_option("no free descriptor")
    lab.press("Start anew", "Both machines start anew, no free descriptor: 0 free struct buddys, 0 free struct slabs")
    lab.press("Add interrupt", "Planned for the calls to come, 1 of 3 at most: return 1 of kmem_cache_alloc(kmem_cache_slab)")
    lab.press("Call", "as written 18 frames deep in 30 calls with 1 interrupt (page 6); bounded 12 frames deep")
    assert agrees(lab)[0] == (18, 30, 1, "page 6")

    lab.click("written-call-0", "Selected alloc_pages(), frame 1 of the task; order 0, GFP_KERNEL: returned page 6.")
    inside = lab.slider("Inside this step")
    inside.fill("12")
    expect(lab.lab.locator("[data-cell='written-call-12']")).to_have_count(0)
    expect(lab.lab.locator("[data-fragment='written-call_chain-gauge-task']")).to_contain_text("now: 11 frames")
    expect(lab.lab.locator("[data-fragment='written-call_chain-told']")).to_contain_text("has not returned")
    inside.fill(inside.get_attribute("max"))

    lab.press("Free it again", "Freeing: as written 1 frame deep in 1 call")
    agrees(lab)
    lab.press("Undo", "Undone: Freeing")
    assert agrees(lab)[0] == (18, 30, 1, "page 6")
    lab.press("Redo", "Redone: Freeing")
    lab.press("Reset", "Undid all 5 steps")
    assert agrees(lab) is None


def test_a_search_goes_on_until_stop_is_pressed_and_other_buttons_are_heard_meanwhile(lab):
    lab.press("Stop", "No search is going on.", dimmed=True)
    lab.slider("Interrupts").fill("1")
    states = lab.slider("States to try")
    states.fill(states.get_attribute("max"))
    lab.press("Find the worst case", "Searching; Stop ends it")
    progress = lab.lab.locator(".memlab-progress")
    expect(progress).to_contain_text("states")
    first = progress.inner_text()
    expect(progress).not_to_have_text(first)
    lab.press("Find the worst case", "A search is going on; Stop ends it.", dimmed=True)
    lab.press("Call", "alloc_pages(0): as written 378 frames")
    expect(progress).to_contain_text(re.compile(r"as written .* [1-9]\d* frames; bounded .* [1-9]\d* frames"))
    lab.press("Stop", "Stopped. The deepest chain of alloc_pages that was found, with up to 1 interrupt: as written")
    expect(progress).to_be_empty()
    written, bounded = agrees(lab)
    assert written[0] > bounded[0] >= 7
    lab.press("Undo", "Undone: The sequences that were found")
    assert agrees(lab)[0][0] == 378


def test_a_search_of_few_states_ends_by_itself(lab):
    lab.slider("States to try").fill("0")
    lab.press("Find the worst case", "Done. The deepest chain of alloc_pages that was found, with no interrupt: as written")
    written, bounded = agrees(lab)
    assert f"{written[0]} frames (250 states), bounded {bounded[0]} frames (250 states)" in lab.lab.get_by_role("status").inner_text()


def test_the_keyboard_alone_will_do_and_no_key_reaches_the_notebook(lab):

    lab.menu("Start").focus()
    lab.keys("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "Tab")
    expect(lab.button("Start anew")).to_be_focused()
    lab.keys("Enter", says="Both machines start anew, no free descriptor")
    lab.keys("Tab", "Tab", "Space")
    lab.says("alloc_pages(0): as written 12 frames deep in 15 calls (page 135); bounded 12 frames deep in 12 calls (page 135)")
    assert [chain[0] for chain in agrees(lab)] == [12, 12]
    lab.keys("Tab", "Enter", says="Freeing: as written")
    lab.keys("Shift+Tab", "Enter")
    agrees(lab)

    lab.picture.focus()
    lab.keys("Home", "ArrowDown")
    assert lab.selected().startswith(("alloc_pages()", "kmem_cache_alloc", "kmalloc"))
    lab.keys("ArrowUp", "Enter", says="Selected alloc_pages(), frame 1 of the task; order 0, GFP_KERNEL: returned page")
    expect(lab.picture).to_be_focused()
    lab.keeps_its_keys(lab.picture, lab.button("Call"), lab.button("Stop"))

    lab.slider("number").focus()
    lab.keys("ArrowRight", "Tab", "Tab", "Tab")
    expect(lab.button("Add interrupt")).to_be_focused()
    lab.keys("Enter", says="return 2 of kmem_cache_alloc(kmem_cache_slab)")
    lab.keys("Tab", "Enter", says="Forgot 1 interrupt")
    lab.slider("Bytes of a frame").focus()
    lab.keys("End", "Tab", "Enter", says="A frame is taken to need 1024 bytes of stack: 16 frames fit into 16,384 bytes.")
    assert lab.in_kernel("m.frame_bytes") == 1024
    lab.keys("Tab", "Tab", "Tab", "Home", "Tab")
    expect(lab.button("Find the worst case")).to_be_focused()
    lab.keys("Enter", says="Searching; Stop ends it")
    lab.keys("Tab")
    expect(lab.button("Stop")).to_be_focused()
    lab.says("that was found, with no interrupt: as written")
    agrees(lab)


def test_20_random_actions_leave_both_machines_in_order(lab):
    names = ["Call", "Call", "Call", "Start anew", "Add interrupt", "No interrupts", "Free it again", "Undo", "Redo"]
    with lab.at_random(20211025) as (rng, done):
        for _ in range(20):
            done.append(rng.choice(names))
            for box in ("Start", "What", "Interrupt at", "of", "to"):
                menu = lab.menu(box)
                menu.select_option(index=rng.randrange(menu.locator("option").count()))
            lab.press(done[-1], dimmed=True)
            assert lab.in_kernel("m.check()") is None
        agrees(lab)


def test_two_labs_on_a_page_do_not_disturb_each_other(run_cells):
    page = run_cells(NOTEBOOK, "other = nesting_lab()\nother")
    page.set_viewport_size({"width": 1400, "height": 4000})
    first, second = (LabPage(page, page.locator(".memlab-lab").nth(i)) for i in (0, 1))
    first.slider("States to try").fill("0")
    first.press("Find the worst case")
    second.press("Call", "alloc_pages(0): as written 378 frames deep")
    first.says("Done. The deepest chain")
    assert agrees(first)[0][0] < 378
    assert first.in_kernel("[r.trace.depth for r in other.machine.runs]") == [378, 7]
    expect(second.lab.locator("[data-fragment='written-call_chain-gauge-task']")).to_contain_text("378 frames")
