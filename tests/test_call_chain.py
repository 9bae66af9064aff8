"""The picture of a call chain: a bar for each call, folded where it is long, and a gauge of the stack that it needs."""

import re
from contextlib import suppress
from html import unescape

import pytest

from memlab import Machine
from memlab.figures import Picture, call_chain, panels
from memlab.figures.call_chain import FRAME_BYTES, STACK_BYTES, depths
from memlab.figures.call_rows import rows
from memlab.study.consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty

RECT = re.compile(r'<rect class="ml-cell ml-boxed ([^"]+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/>')


def email_chain():
    """The chain of the email: one interrupt, that eats all descriptors."""
    m = Machine("1M", design="as-written")
    KeepLowOrdersEmpty(m, below=2)()
    EatBuddies(m)()
    EatSlabs(m)()
    slabs, buddies = EatSlabs(m), EatBuddies(m)

    def eat():
        slabs()
        buddies()

    with m.trace() as trace, m.interrupt("kmem_cache_alloc(kmem_cache_slab)", "return", eat):
        m.alloc_pages(0)
    return trace


def deep_chain():
    """The chain of a fresh machine of 64 MiB whose low orders and descriptors are used up: 378 frames."""
    m = Machine("64M", design="as-written")
    KeepLowOrdersEmpty(m, below=2)()
    EatBuddies(m)()
    with m.trace() as trace:
        m.alloc_pages(0)
    return trace


def words(picture, begins="call_chain"):
    return unescape(" ".join(re.findall(r">([^<>]+)</text>", "".join(svg for name, svg in picture.fragments.items() if begins in name))))


def bars(picture):
    """(class, x, y, height) of the bars of all calls and interrupts."""
    drawn = "".join(svg for name, svg in picture.fragments.items() if re.search(r"call_chain-(call|calls|interrupt)-", name))
    return [(css, float(x), float(y), float(high)) for css, x, y, _, high in RECT.findall(drawn)]


def test_each_call_is_a_bar_in_the_column_of_its_frame_as_long_as_what_it_calls():
    trace = email_chain()
    picture = call_chain(trace)
    top = min(y for _, _, y, _ in bars(picture))
    drawn = {c.id: bars(Picture({f"call_chain-{c.id}": picture.fragments[f"call_chain-{c.id}"]}, 1, 1, "")) for c in picture.cells}
    order = [c.id for c in picture.cells]  # a row each
    for i, call in enumerate(trace.calls):
        ((_, x, y, high),) = drawn[f"call-{i}"]
        last = max(k for k, c in enumerate(trace.calls) if c.start < call.end)
        assert x == 1 + 14 * (call.level - 1)
        assert y == top + 18 * order.index(f"call-{i}")
        assert y + high == top + 18 * (order.index(f"call-{last}") + 1) - 2
        assert str(call) in words(picture, f"call_chain-call-{i}")


def test_a_picture_by_itself_does_not_ask_to_select_a_call_and_needs_no_room_for_it():
    trace = email_chain()
    alone, in_a_lab = call_chain(trace), call_chain(trace, name="written")
    assert "Select" not in words(alone)
    assert "Select a call" in words(in_a_lab)
    assert alone.height < in_a_lab.height


def test_the_frames_of_an_interrupt_are_told_apart_and_have_a_gauge_of_their_own():
    trace = email_chain()
    picture = call_chain(trace)
    mine = [i for i, call in enumerate(trace.calls) if call.context == 1]
    assert len(mine) >= 2
    for i, call in enumerate(trace.calls):
        svg = picture.fragments[f"call_chain-call-{i}"]
        assert ("ml-anon ml-dashed" in svg and ">I</text>" in svg) is (call.context == 1)
    assert "interrupt 1 on CPU 0 at the return of kmem_cache_alloc(kmem_cache_slab)" in words(picture)
    assert "18 frames × 160 = 2,880 bytes, 18 %" in words(picture, "gauge-task")
    assert "2 frames × 160 = 320 bytes, 2 %" in words(picture, "gauge-interrupts")


@pytest.mark.parametrize("chain", [email_chain, deep_chain])
def test_at_each_moment_the_bars_that_are_filled_are_the_stack_of_then(chain):
    trace = chain()
    for moment in range(0, 2 * len(trace.calls), 7):
        task, interrupts = depths(trace, moment)
        open_now = [c for c in trace.calls if c.start <= moment < c.end]
        assert (task[0], interrupts[0]) == tuple(sum((c.context > 0) is irq for c in open_now) for irq in (False, True))
        picture = call_chain(trace, moment)
        shown = {c.id for c in picture.cells}
        for i, call in enumerate(trace.calls):
            svg = picture.fragments.get(f"call_chain-call-{i}")
            if svg is not None:
                assert (f"call-{i}" in shown) is (call.start <= moment)
                assert bool(svg) is (call.start <= moment)
                assert ("ml-plain" in svg) is (call.end <= moment)


def test_scrubbing_moves_nothing_and_changes_few_fragments():
    trace = email_chain()
    before, after = call_chain(trace, 20), call_chain(trace, 21)
    assert (before.width, before.height) == (after.width, after.height) == (call_chain(trace).width, call_chain(trace).height)
    assert len([k for k in after.fragments if before.fragments[k] != after.fragments[k]]) < 20


def test_a_chain_of_378_frames_is_folded_to_what_can_be_read_and_overflows_the_stack():
    trace = deep_chain()
    found = rows(trace)
    assert len(found) < 40
    folded = [row for row in found if row.folded]
    assert (folded[0].times, folded[0].shift, folded[0].n) == (60, 6, 420)
    assert sum(row.n for row in found) == len(trace.calls)
    picture = call_chain(trace)
    assert "60 × the same 7 calls, 6 frames deeper each time" in words(picture)
    assert "378 frames × 160 = 60,480 bytes" in words(picture, "gauge-task")
    assert "overflow" in words(picture, "gauge-task")
    assert picture.label.endswith("more than there is")
    assert picture.width < 700
    assert picture.height < 700
    assert "overflow" not in words(call_chain(trace, frame_bytes=STACK_BYTES // 378), "gauge")


def test_every_call_is_in_some_row_however_many_there_are():
    m = Machine("1M")
    with m.trace() as trace:
        for i in range(150):
            m.folio_alloc(i % 3)
            m.kmalloc(16 << i % 7)
    found = rows(trace)
    assert len(found) <= 96
    assert sum(row.n for row in found) == len(trace.calls)
    assert any(row.folded and not row.times for row in found)
    assert [row.start for row in found] == sorted(row.start for row in found)
    assert "more calls" in words(call_chain(trace))


def test_the_selected_call_tells_what_it_was_asked_for_and_what_it_returned():
    m = Machine("1M")
    with m.trace() as trace, m.fail("alloc_pages", 2):
        m.alloc_pages(3)
        m.get_free_page()
        m.kmalloc(100)
        m.split_page(m.alloc_pages(1))
        m.caches["kmalloc-64"].alloc_bulk(3)
    told = [words(call_chain(trace, selected=f"call-{i}"), "told") for i in range(len(trace.calls))]
    by_name = {call.name: text for call, text in reversed(list(zip(trace.calls, told, strict=True)))}
    assert by_name["alloc_pages"] == f"alloc_pages(), frame 1 of the task order 3, GFP_KERNEL: returned page {trace.calls[0].result}"
    assert by_name["get_free_page"] == "get_free_page(), frame 1 of the task GFP_KERNEL: returned NULL"
    assert by_name["kmalloc"].endswith(f"100 bytes, GFP_KERNEL: returned {trace.calls[3].result:#x}")
    pages = next(call.result for call in trace.calls if call.name == "split_page")
    assert by_name["split_page"].endswith(f"returned pages {pages[0]} and {pages[1]}")
    assert by_name["kmem_cache_alloc_bulk"].endswith("returned 3 objects")
    assert "→ NULL" in words(call_chain(trace), "call_chain-call-1")
    assert "has not returned" in words(call_chain(trace, 0, "call-0"), "told")


def test_calls_that_were_refused_are_drawn_too():
    m = Machine("1M")
    with m.trace() as trace:
        for refused in (
            lambda: m.alloc_pages("x"),
            lambda: m.alloc_pages(0, "GFP_KERNEL"),
            lambda: m.alloc_pages(0, 1 << 60),
            lambda: m.kmalloc("8"),
        ):
            with suppress(TypeError, ValueError):
                refused()
    picture = call_chain(trace, selected="call-1")
    assert len(picture.cells) == 4
    assert "what cannot be asked for: returned NULL" in picture.cells[1].label


def test_bytes_of_a_frame_are_stated_and_can_be_others():
    trace = email_chain()
    assert f"Assumed: {FRAME_BYTES} bytes a frame (163 on average in ftrace's documentation)" in words(call_chain(trace), "scale")
    assert "Assumed: 1,000 bytes a frame; compilers" in words(call_chain(trace, frame_bytes=1000), "scale")
    assert "18 frames × 1000 = 18,000 bytes, 110 %" in words(call_chain(trace, frame_bytes=1000), "gauge-task")


def test_two_chains_stand_side_by_side_and_one_of_no_calls_is_drawn():
    m = Machine("1M")
    with m.trace() as none:
        pass
    both = panels("Both", call_chain(email_chain(), name="written", title="As written"), call_chain(none, name="bounded", title="Bounded"))
    assert len(both.parts) == 2
    assert both.parts[1].label == "Bounded: no call was made"
    assert next(c.id for c in both.cells) == "written-call-0"


def test_equal_traces_give_equal_text_and_legend_explains_what_is_drawn():
    one, other = call_chain(email_chain(), 31), call_chain(email_chain(), 31)
    assert one.html() == other.html()
    kinds = {css.split()[0] for css, *_ in bars(one)}
    assert kinds == {key.kind for key in one.legend} - {"ml-anon"} | {"ml-plain"}
    assert {key.kind for key in call_chain(deep_chain()).legend} == {css.split()[0] for css, *_ in bars(call_chain(deep_chain()))}
    assert "var(" not in one.svg()


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"moment": -1}, ValueError, "moment is 0 to 60, not -1"),
        ({"moment": 61}, ValueError, "moment is 0 to 60, not 61"),
        ({"moment": "1"}, TypeError, "moment is a whole number"),
        ({"frame_bytes": 0}, ValueError, "frame_bytes is 1 to 16384, not 0"),
        ({"frame_bytes": 1.5}, TypeError, "frame_bytes is a whole number"),
    ],
)
def test_bad_arguments_are_told(given, error, says):
    with pytest.raises(error, match=says):
        call_chain(email_chain(), **given)
    with pytest.raises(TypeError, match="call_chain draws a trace"):
        call_chain([])
