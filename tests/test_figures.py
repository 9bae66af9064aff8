"""The figures show what RAM says, whatever it says, and are the same text each time."""

import random
import re
import subprocess
import sys
from collections import Counter

import pytest

from memlab import Machine, MemType
from memlab.figures import Picture, free_lists, page_map, stack
from memlab.figures.blocks import KINDS, block_of, blocks
from memlab.figures.picture import CSS, Key


def drawn_kinds(picture):
    """How many pages are drawn in each class."""
    return Counter(re.findall(r'class="ml-cell (?:ml-boxed )?(ml-[a-z]+)"[^>]*data-cell="page', "".join(picture.fragments.values())))


def outlined(picture):
    return "".join(picture.fragments.values()).count('class="ml-block"')


@pytest.fixture
def all_types():
    """A machine on which every type of descriptor is live."""
    m = Machine("1M", max_order=6)
    m.alloc_pages(3)
    m.folio_alloc(2)
    m.anonmem_alloc(1)
    m.filemem_alloc(0)
    m.pgtable_alloc()
    m.vmalloc(3 * 4096)
    return m


# --- The page map


def test_every_page_is_a_cell_in_the_colour_of_its_type(all_types):
    m = all_types
    picture = page_map(m)
    assert [c.id for c in picture.cells] == [f"page-{pfn}" for pfn in range(m.nr_pages)]
    types = Counter(m.mem_desc(pfn).type for pfn in range(m.nr_pages))
    assert set(types) == set(MemType)
    assert drawn_kinds(picture) == {KINDS[t].css: n for t, n in types.items()}


def test_every_block_is_outlined_once(all_types):
    m = all_types
    known = [b for b in blocks(m, range(m.nr_pages)) if b.order is not None]
    assert outlined(page_map(m)) == len(known)
    assert sum(len(b.pages) for b in known) == m.nr_pages - m.mem_map_pages  # all but the mem_map, with no overlap


def test_a_block_is_found_from_each_of_its_pages_for_each_type(all_types):
    m = all_types
    for order, take in enumerate((m.filemem_alloc, m.anonmem_alloc, m.folio_alloc)):
        head = m.page_to_pfn(m.buddy(buddy_of(m, take(order))).page)
        for pfn in range(head, head + (1 << order)):
            assert (block_of(m, pfn).start, block_of(m, pfn).order) == (head, order)


def buddy_of(m, descriptor):
    """The address of the struct buddy that a user's descriptor names: its fourth word."""
    return int.from_bytes(m.read(descriptor + 24, 8), "little")


def test_a_page_of_vmalloc_is_described_by_a_buddy_of_its_own(all_types):
    m = all_types
    mine = [pfn for pfn in range(m.nr_pages) if m.mem_desc(pfn).type is MemType.VMALLOC]
    buddies = [block_of(m, pfn).buddy for pfn in mine]
    assert len(mine) == 3
    assert [m.page_to_pfn(m.buddy(b).page) for b in buddies] == mine


def test_the_legend_explains_each_colour_and_letter_that_is_drawn(all_types):
    picture = page_map(all_types)
    explained = {key.kind: key.letter for key in picture.legend}
    for kind in drawn_kinds(picture):
        assert explained[kind] == next(k.letter for k in KINDS if k.css == kind)


def test_each_kind_has_a_letter_of_its_own_and_a_colour():
    assert len({kind.letter for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert f"rect.{kind.css} {{ fill:" in CSS
        assert f".ml-key.{kind.css} {{ background:" in CSS


def test_the_selected_block_is_marked():
    m = Machine("256K", max_order=5)
    pfn = m.alloc_pages(2)
    plain, marked = page_map(m), page_map(m, selected=pfn + 1)
    changed = {k for k in marked.fragments if marked.fragments[k] != plain.fragments[k]}
    assert changed == {"page_map-selection"}
    wide = 640 / 16
    assert f'width="{4 * wide:.0f}"' in marked.fragments["page_map-selection"]


def test_an_allocation_changes_the_fragments_of_its_own_rows_only():
    m = Machine("2M", max_order=9)
    m.alloc_pages(0)
    before = page_map(m)
    pfn = m.alloc_pages(0)
    after = page_map(m)
    row = pfn // 32
    changed = {k for k in after.fragments if after.fragments[k] != before.fragments[k]}
    assert f"page_map-row-{row}" in changed
    assert changed <= {f"page_map-row-{row}", f"page_map-blocks-{row}"}


@pytest.mark.parametrize(("memory", "pages"), [("8M", 2048), ("16M", 4096), ("256M", 65536), ("1G", 262144)])
def test_above_2048_pages_an_overview_stands_beside_a_detail(memory, pages):
    m = Machine(memory)
    picture = page_map(m, selected=pages - 5)
    tiles = [c for c in picture.cells if c.id.startswith("tile-")]
    detail = [c for c in picture.cells if c.id.startswith("page-")]
    if pages <= 2048:
        assert (len(tiles), len(detail)) == (0, pages)
    else:
        assert len(tiles) <= 1024
        assert len(detail) <= 1024
        assert f"page-{pages - 5}" in {c.id for c in detail}
        assert any(key.letter == "+" for key in picture.legend)
    assert len({(c.row, c.column) for c in picture.cells}) == len(picture.cells)  # each can be reached by arrow keys


def test_pages_outside_the_range_are_summed_up_but_for_metadata():
    m = Machine("512K", max_order=6)
    picture = page_map(m, range(96, 128))
    inside, outside = picture.cells[:32], picture.cells[32:]
    assert [c.id for c in inside] == [f"page-{pfn}" for pfn in range(96, 128)]
    metadata = [pfn for pfn in range(96) if m.mem_desc(pfn).type in (MemType.NONE, MemType.SLAB)]
    assert [c.id for c in outside] == [f"page-{pfn}" for pfn in metadata]
    assert f"{96 - len(metadata)} pages set aside" in picture.html()


@pytest.mark.parametrize("pages", [range(0), range(120, 140), range(0, 64, 2)])
def test_a_range_of_pages_that_do_not_exist_is_refused(pages):
    with pytest.raises(ValueError, match="range of this machine's pages, 0 to 127"):
        page_map(Machine("512K", max_order=6), pages)


def test_numbers_are_written_in_hexadecimal_on_demand():
    m = Machine("512K", max_order=6)
    assert ">0x40</text>" in page_map(m, hexadecimal=True).html()
    assert ">64</text>" in page_map(m).html()


# --- Free lists


def test_free_lists_are_in_list_order_not_address_order():
    m = Machine("256K", max_order=5)
    pfns = [m.alloc_pages(0) for _ in range(6)]
    for pfn in (pfns[1], pfns[5], pfns[3]):
        m.free_pages(pfn)
    row = free_lists(m).fragments["free_lists-0-Normal-0"]
    assert re.findall(r'ml-mid ml-free"[^>]*>(\d+)<', row)[:3] == [str(pfns[3]), str(pfns[5]), str(pfns[1])]


def test_a_long_free_list_says_how_many_blocks_it_leaves_out():
    m = Machine("1M", max_order=6)
    pfns = [m.alloc_pages(0) for _ in range(40)]
    for pfn in pfns[::2]:
        m.free_pages(pfn)
    n = m.buddyinfo()[0, "Normal"][0]
    assert n > 6
    assert f"and {n - 6} more" in free_lists(m).fragments["free_lists-0-Normal-0"]


def test_each_zone_has_its_own_lists():
    m = Machine("8M", dma="1M", highmem="1M", nodes=2)
    assert {name for name in free_lists(m).fragments if name.count("-") == 2} == {f"free_lists-{z.node}-{z.name}" for z in m.zones}


# --- Any RAM at all


@pytest.mark.parametrize("design", ["as-written", "bounded"])
def test_figures_can_be_drawn_in_the_middle_of_an_operation(design, monkeypatch):
    m, drawn = Machine("256K", max_order=5, design=design), []

    def draw(*_):
        drawn.append(page_map(m).html() + free_lists(m).html())

    fill = m._fill  # what writes mem_desc words, while lists and descriptors are half changed
    monkeypatch.setattr(m, "_fill", lambda *args: (draw(), fill(*args), draw()))
    cache = m.kmem_cache_create("midway", 64, ctor=draw)
    assert cache.alloc() is not None
    pfn = m.alloc_pages(3)
    m.split_page(pfn)
    m.free_pages(pfn)
    m.free_pages(pfn + 4)
    assert len(set(drawn)) > 5  # and they were different states


@pytest.mark.parametrize("seed", range(8))
def test_no_damage_keeps_the_figures_from_being_drawn(seed):
    rng = random.Random(seed)
    m = Machine("256K", max_order=5)
    m.vmalloc(8192)
    m.folio_alloc(1)
    places = [*range(m.MM, m.MM + m.nr_pages), *range(m.KA, len(m.w))]
    places += [w for pfn in range(m.nr_pages) if m.touched[pfn] for w in range(pfn << m.WS, (pfn << m.WS) + 64)]
    clean = m.snapshot()
    for _ in range(60):
        at = rng.choice(places)
        m.w[at] = rng.choice(
            [0, 1, 3, (1 << 64) - 1, m.B + 8, m.B + 3, m.w[at] ^ 1 << rng.randrange(64), rng.getrandbits(64), m.w[rng.choice(places)]]
        )
        for pfn in range(m.nr_pages):
            assert pfn in block_of(m, pfn).pages
        page_map(m, selected=rng.randrange(m.nr_pages)).html()
        free_lists(m).html()
        if rng.random() < 0.3:
            m.restore(clean)


def test_a_type_that_does_not_exist_is_drawn_as_damaged():
    m = Machine("256K", max_order=5)
    m.w[m.MM + 40] = m.w[m.MM + 40] & ~15 | 13
    assert drawn_kinds(page_map(m))["ml-unknown"] == 1


# --- Pictures


def test_equal_machines_give_the_same_text():
    a, b = (Machine("512K", max_order=6) for _ in range(2))
    for figure in (page_map, free_lists):
        assert figure(a).html() == figure(b).html()
        assert repr(figure(a)) == repr(figure(b))
        assert " at 0x" not in repr(figure(a))


def test_a_picture_shows_itself_with_label_legend_and_caption():
    html = page_map(Machine("256K", max_order=5))._repr_html_()
    assert html.startswith('<figure class="memlab-picture">')
    assert 'role="img" aria-label="Page map of pages 0 to 63"' in html
    assert "<figcaption>Page map of pages 0 to 63</figcaption>" in html
    assert '<ul class="ml-legend">' in html


def test_colours_come_from_the_style_sheet_so_that_a_dark_theme_can_change_them(all_types):
    for picture in (page_map(all_types), free_lists(all_types)):
        assert not re.search(r'(fill|stroke|style)="|#[0-9a-f]{3}', "".join(picture.fragments.values()))


def test_words_in_a_picture_are_escaped():
    picture = Picture({"a": ""}, 1, 1, 'a < b & "c"', (Key("", "<", "less & less"),))
    assert "<figcaption>a &lt; b &amp; &quot;c&quot;</figcaption>" in picture.html()
    assert "less &amp; less" in picture.html()


def test_stacked_pictures_keep_fragments_cells_and_one_legend():
    m = Machine("256K", max_order=5)
    a, b = page_map(m), free_lists(m)
    both = stack("both", a, b)
    assert list(both.fragments) == [*a.fragments, *b.fragments]
    assert both.cells == a.cells
    assert both.height > a.height + b.height
    assert len(both.legend) == len(set(both.legend))
    with pytest.raises(ValueError, match="two of the pictures have a fragment"):
        stack("twice", a, a)


def test_figures_need_nothing_but_the_standard_library():
    code = "import sys; import memlab.figures; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "matplotlib", "ipywidgets", "anywidget", "IPython"} & set(loaded)
