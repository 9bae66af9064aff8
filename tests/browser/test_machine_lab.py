"""The Machine lab in a real JupyterLab: by mouse and by keyboard, with picture, sentence and RAM compared after each step."""

from playwright.sync_api import expect

# `ram()` gives what the picture should show, read from RAM: how full each zone is, what a request that was asked for would get (done on a
# copy of the machine), and the letters of the map's pages.
NOTEBOOK = """
from contextlib import nullcontext

from memlab import GFP, Machine
from memlab.figures.zones import request_flags
from memlab.labs import machine_lab

lab = machine_lab("highmem")
m = lab.machine

def would_give(gfp, order):
    ram = m.snapshot()
    pfn = m.alloc_pages(order, gfp, 0)
    m.restore(ram)
    return "None" if pfn is None else next(f"{z.name} {z.node}" for z in m.zones if z.start <= pfn < z.end)

def ram(order=None):
    look = lab.look
    with look.recording.at(look.frame) if look.frame is not None else nullcontext(m.check()):
        shown = {f"zone-{z.node}-{z.name}": f"{m.w[z.free]} page{'s' * (m.w[z.free] != 1)} free of {m.zone_view(z).managed_pages}" for z in m.zones}
        if order is not None:
            shown |= {f"ask-{order}-{row}-0": would_give(gfp, order) for row, gfp in enumerate(request_flags(m))}
    return shown

lab
"""
SEEN = "[data-cell='zone-0-DMA']"  # when the lab is drawn
DRAWN = """(lab, cells) => Object.fromEntries(cells.map(cell => {
  const rect = lab.querySelector(`[data-cell="${cell}"]`);
  const texts = cell.startsWith("zone") ? [...rect?.parentNode.querySelectorAll("text") ?? []].map(text => text.textContent) : [rect?.nextElementSibling?.textContent ?? ""];
  return [cell, cell.startsWith("zone") ? texts.find(text => text.includes("free of")) : texts[0].replace(/^[^A-Za-z]+/, "")];
}))"""


def agrees(lab, order=None):
    """See that the picture shows what is in RAM, and what each request of ``order`` gets; return the latter."""
    ram = lab.in_kernel(f"ram({order})")
    assert lab.lab.evaluate(DRAWN, list(ram)) == ram
    return [words for cell, words in ram.items() if cell.startswith("ask")]


def walk(lab):
    """The zones asked as they are drawn: [words of a try]."""
    return lab.lab.evaluate(
        "lab => [...lab.querySelectorAll('[data-cell^=\"try-\"]')].map(t => [...t.parentNode.querySelectorAll('text')].slice(1).map(x => x.textContent).join(' | '))"
    )


def test_where_requests_go_by_mouse(lab):
    assert agrees(lab, 0) == ["Normal 0", "Normal 0", "Normal 0", "HighMem 0", "DMA 0", "Normal 0"]
    assert walk(lab) == ["1. Normal of node 0 | taken: a block of order 0 | 316 free − 1 = 315 ≥ low 40"]
    lab.menu("Zone").select_option("Normal of node 0")
    lab.press("Fill a zone", "single pages with GFP_KERNEL: 40 of Normal of node 0 stay free, and the next would come from DMA of node 0")
    assert agrees(lab, 0) == ["DMA 0", "DMA 0", "DMA 0", "HighMem 0", "DMA 0", "DMA 0"]

    lab.slider("Order").fill("2")
    lab.press("Request pages")
    lab.says(
        "alloc_pages of order 2 with GFP_KERNEL on node 0 gave page 4 of DMA of node 0 after 1 refusal (Normal of node 0: 40 free − 4 = 36 < low 40)"
    )
    assert agrees(lab, 2)[:2] == ["DMA 0", "DMA 0"]
    assert walk(lab)[0] == "1. Normal of node 0 | refused: too few would stay | 40 free − 4 = 36 < low 40"
    lab.details("order 2: 4 pages, pages 4 to 7")

    lab.menu("Zone").select_option("DMA of node 0")
    lab.press("Fill a zone", "6 of DMA of node 0 stay free, and the next would be refused (DMA of node 0: 6 free − 1 = 5 < min 6)")
    lab.press("Request pages", "gave page")  # from Normal again, below its low watermark
    assert "in the second round" in lab.lab.locator(".ml-legend").inner_text()
    agrees(lab, 2)

    lab.click("ask-2-1-0", "Selected GFP_ATOMIC, node 0")  # GFP_ATOMIC, not done, only looked at
    assert any("min" in words for words in walk(lab))
    lab.details("m.alloc_pages(2, GFP.ATOMIC, 0)")
    lab.click("page-5")
    lab.press("Free selected", "Freed the allocated block at page 4 with free_pages: DMA of node 0 has 4 pages more")
    agrees(lab, 2)

    lab.menu("What").select_option("folio_alloc(2)")
    lab.press("Request an object", "folio_alloc(2) with GFP_KERNEL gave 0xffff8880")
    agrees(lab, 2)
    lab.press("Free all", "Freed all with")
    assert agrees(lab, 2)[0] == "Normal 0"
    lab.press("Undo", "Undone: Freed all")
    agrees(lab, 2)
    lab.press("Reset", "Undid all")
    agrees(lab, 2)


def test_a_call_is_made_to_fail_by_keyboard_and_no_key_reaches_the_notebook(lab):
    start = lab.in_kernel("hash(str(m.snapshot().parts()))")

    lab.slider("Order").focus()
    lab.keys(*3 * ["ArrowRight"], "Tab", "Tab", "Tab")
    expect(lab.button("Request pages")).to_be_focused()
    lab.keys("Enter", says="alloc_pages of order 3 with GFP_KERNEL on node 0 gave page 136 of Normal of node 0")
    agrees(lab, 3)

    lab.menu("Point").focus()  # alloc_pages
    lab.keys("Tab", *3 * ["ArrowRight"], "Tab")
    expect(lab.menu("Operation")).to_be_focused()
    lab.page.keyboard.type("vm")  # the list goes to vmalloc(16384)
    lab.keys("Tab")
    expect(lab.button("Fail the n-th call")).to_be_focused()
    lab.keys("Space")
    lab.says(
        "Call number 4 of alloc_pages failed, 2 deep, and vmalloc(16384) returned None: unmade by free_pages twice and kmem_cache_free once"
    )
    agrees(lab)
    inside = lab.slider("Inside this step")
    inside.focus()
    lab.keys("Home")
    expect(inside).to_have_attribute("aria-valuetext", "vmalloc() is called.")
    assert lab.in_kernel("lab.look.frame") == 0
    agrees(lab)
    failed = lab.in_kernel("next(k for k, words in enumerate(lab.look.recording.marks) if 'made to fail' in words)")
    lab.keys(*failed * ["ArrowRight"])
    expect(inside).to_have_attribute("aria-valuetext", "alloc_pages() is called. It is made to fail: it does nothing and returns NULL.")
    agrees(lab)
    lab.keys("End")
    expect(inside).to_have_attribute("aria-valuetext", "The end of the step.")
    agrees(lab)

    lab.picture.focus()
    assert lab.selected().startswith("page 136, allocated block, order 3")
    lab.keys("ArrowRight", "ArrowDown", "Home", "Enter", says="Selected page 160")
    lab.keys("ArrowUp", *("ArrowRight",) * 8)
    lab.keys("Enter", says="Selected page 136")
    expect(lab.picture).to_be_focused()

    lab.keeps_its_keys(lab.picture, lab.button("Free selected"))

    lab.keys("Enter", says="Freed the allocated block at page 136 with free_pages: Normal of node 0 has 8 pages more")
    agrees(lab, 3)
    lab.button("Reset").focus()
    lab.keys("Space", says="Undid all 3 steps")
    assert lab.in_kernel("hash(str(m.snapshot().parts()))") == start
    agrees(lab)


def test_20_random_actions_leave_ram_in_order(lab):
    names = ("Request pages", "Request an object", "Fill a zone", "Free selected", "Free all", "Fail the n-th call", "Undo", "Redo")
    with lab.at_random(20261122) as (rng, done):
        for _ in range(20):
            for box in lab.lab.get_by_role("combobox").all():
                box.select_option(index=rng.randrange(box.locator("option").count()))
            lab.slider("Order").fill(str(rng.choice((0, 0, 1, 2, 3, 5))))
            lab.slider("n").fill(str(rng.randrange(4)))
            used = lab.in_kernel("[pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn).type not in (0, 1)]")
            lab.click(f"page-{rng.choice(used)}", "Selected page")
            usable = [name for name in names if lab.button(name).get_attribute("aria-disabled") != "true"]
            done.append(rng.choice(usable))
            lab.press(done[-1])
            expect(lab.lab.get_by_role("status")).not_to_contain_text("Selected page")
            agrees(lab)
    assert lab.in_kernel("len(lab.session.steps)") > 5
