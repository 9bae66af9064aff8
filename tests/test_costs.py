"""The pictures of costs show the numbers of study.accounting, and nothing is drawn over anything else."""

import re

import pytest

from memlab import Machine
from memlab.figures import Picture, cost_bars, cost_curve, cost_mix
from memlab.study import accounting
from memlab.study.accounting import DESIGNS, MEM_DESC, TODAY

RECT = re.compile(r'<rect class="ml-cell ml-boxed [\w-]+" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/><text[^>]*>(\d+)<')
BAR = re.compile(r'<rect class="ml-cell ml-[\w-]+" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"')


def boxes(picture, begins):
    """{fragment: [(middle of the box in x and y, its words)]}."""
    found = {}
    for name, svg in picture.fragments.items():
        if re.fullmatch(rf"{begins}-\d+", name):
            found[name] = [(float(x) + float(w) / 2, float(y) + float(h) / 2, words) for x, y, w, h, words in RECT.findall(svg)]
    return found


def value_at(picture, begins, y):
    """The value on the y axis at a height, from the axis's own numbers."""
    axes = picture.fragments[f"{begins}-axes"]
    lines = [float(at) for at in re.findall(r'class="ml-tick" d="M[\d.]+ ([\d.]+)H', axes)]
    numbers = [int(n) for n in re.findall(r'class="ml-text ml-end ml-dim"[^>]*>(\d+)<', axes)]
    return numbers[0] + (lines[0] - y) * (numbers[-1] - numbers[0]) / (lines[0] - lines[-1])


@pytest.mark.parametrize("descriptor", ["buddy", "anonmem"])
def test_each_box_of_the_curve_stands_at_its_value(descriptor):
    picture, begins = cost_curve((descriptor,)), f"cost_curve-{descriptor}"
    places = boxes(picture, begins)
    assert len(places) == 12
    for order in range(12):
        there = {words: value_at(picture, begins, y) for _, y, words in places[f"{begins}-{order}"]}
        assert there == {str(d.page): pytest.approx(accounting.per_page(d, order, descriptor), abs=0.05) for d in DESIGNS}


@pytest.mark.parametrize("picture", [cost_curve(), cost_mix(), cost_mix((0, "buddy"), (2, "filemem")), cost_mix((1, "folio"), (3, "slab"))])
def test_no_box_covers_another_and_all_are_within_the_picture(picture):
    assert isinstance(picture, Picture)
    for part in picture.parts:
        begins = next(iter(part.fragments)).removesuffix("-axes")
        there = [box for place in boxes(part, begins).values() for box in place]
        assert len(there) == 4 * sum(name.startswith(f"{begins}-") and name[-1].isdigit() for name in part.fragments)
        for n, (x, y, _) in enumerate(there):
            assert 9 <= x <= part.width - 9
            assert 40 <= y <= part.height - 20
            assert all(abs(x - x2) >= 17.9 or abs(y - y2) >= 13.9 for x2, y2, _ in there[n + 1 :])


def test_two_charts_have_one_scale_and_one_legend():
    picture = cost_curve()
    left, right = picture.panels
    ticks = [re.findall(r'class="ml-text ml-end ml-dim"[^>]*>(\d+)<', part.fragments[next(iter(part.fragments))]) for part in (left, right)]
    assert ticks[0] == ticks[1]
    assert [key.letter for key in picture.legend] == ["64", "8", "16", "32"]
    assert picture.label == "Bytes of metadata a page, blocks of order 0 to 11: only a struct buddy; with a struct anonmem"


def test_the_mix_marks_where_the_first_two_designs_are_equal():
    assert "equal at 49.9 %" in cost_mix().fragments["cost_mix-axes"]
    assert "equal" not in cost_mix((0, "buddy")).fragments["cost_mix-axes"]
    mixed = boxes(cost_mix(), "cost_mix")["cost_mix-3"]
    want = accounting.of_mix({(0, "anonmem"): 0.3, (9, "folio"): 0.7})
    assert {words: value_at(cost_mix(), "cost_mix", y) for _, y, words in mixed} == {
        str(d.page): pytest.approx(want[d.name], abs=0.05) for d in DESIGNS
    }


def test_a_mix_of_one_kind_and_designs_of_your_own_can_be_drawn():
    assert "cost_mix-10" in cost_mix((2, "folio"), (2, "folio")).fragments
    heavy = accounting.Design("128-byte pages", 128, 0, False)
    assert "128" in cost_curve((1000,), (heavy, MEM_DESC), 3).fragments["cost_curve-1000-0"]


def test_the_bars_of_a_machine_are_as_long_as_the_bytes_are_many():
    m = Machine("4M")
    for order in (0, 0, 1, 2):
        m.folio_alloc(order)
    m.anonmem_alloc(0)
    account, picture = accounting.of_machine(m), cost_bars(m)
    widths = [sum(float(w) for _, w in BAR.findall(picture.fragments[f"cost_bars-{n}"])) for n in range(5)]
    totals = [account.total, *(account.under(d).total for d in DESIGNS)]
    assert widths == pytest.approx([330 * total / max(totals) for total in totals], abs=0.6)
    assert [key.meaning for key in picture.legend][:5] == ["struct page", "struct buddy", "struct slab", "struct folio", "struct anonmem"]
    assert f"{account.total:,} bytes, {account.per_page:.1f} a page" in picture.fragments["cost_bars-0"]
    assert cost_bars(account) == picture


def test_pictures_are_the_same_text_each_time_and_change_nothing():
    m = Machine("1M")
    before = m.snapshot()
    assert cost_bars(m).html() == cost_bars(m).html()
    assert m.snapshot() == before
    assert cost_curve().html() == cost_curve().html()
    assert cost_mix().html() == cost_mix().html()


def test_bad_input_is_told_in_a_sentence():
    with pytest.raises(ValueError, match="a descriptor is one of buddy, slab, folio"):
        cost_curve(("page",))
    with pytest.raises(ValueError, match="an order is a whole number from 0, not -1"):
        cost_mix((-1, "folio"))
    with pytest.raises(TypeError, match="cost_bars takes a Machine or an Account"):
        cost_bars(TODAY)
