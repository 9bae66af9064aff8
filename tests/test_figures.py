"""The figures show what RAM says, whatever it says, and are the same text each time."""

import random
import re
import subprocess
import sys
from collections import Counter

import pytest

from memlab import Machine, MemType
from memlab.figures import Picture, buddy_lab, descriptor, free_lists, page_map, stack, tree
from memlab.figures.blocks import KINDS, block_of, blocks
from memlab.figures.page_map import Mark
from memlab.figures.picture import CSS, Key
from memlab.list_head import list_for_each
from memlab.structs import buddy

BOX = re.compile(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-[\d.]+z")


def boxes(picture, begins):
    """The boxes of all paths in fragments whose name begins so: (classes, x, y, width, height)."""
    svg = "".join(svg for name, svg in picture.fragments.items() if name.startswith(begins))
    paths = re.findall(r'<path class="([^"]+)" d="([^"]+)"/>', svg)
    return [(css, *map(float, found)) for css, data in paths for found in BOX.findall(data)]


def drawn_kinds(picture):
    """How many pages are drawn in each class, by the area that it has."""
    area, tick = Counter(), re.search(r'd="M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)', picture.fragments["page_map-targets"])
    for css, _, _, width, height in boxes(picture, "page_map-row"):
        area[css.split()[0]] += width * height / (float(tick[3]) * float(tick[4]))
    return {css: round(n) for css, n in area.items()}


def outlined(picture):
    return sum("ml-block" in css for css, *_ in boxes(picture, "page_map-row"))


def read(picture, begins):
    """The words in fragments whose name begins so, in the order in which they are drawn."""
    return re.findall(r">([^<>]+)</text>", "".join(svg for name, svg in picture.fragments.items() if name.startswith(begins)))


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
        assert f"rect.{kind.css}, path.{kind.css} {{ fill:" in CSS
        assert f".ml-key.{kind.css} {{ background:" in CSS


def test_the_selected_block_is_marked():
    m = Machine("256K", max_order=5)
    pfn = m.alloc_pages(2)
    plain, marked = page_map(m), page_map(m, selected=pfn + 1)
    changed = {k for k in marked.fragments if marked.fragments[k] != plain.fragments[k]}
    assert changed == {"page_map-selection"}
    assert f'width="{4 * 34}"' in marked.fragments["page_map-selection"]  # 544 pixels for 16 pages


def test_marks_are_outlines_with_letters_and_are_explained():
    m = Machine("256K", max_order=5)
    marks = Mark(range(8, 12), "ml-yours", "Yb", "your answer"), Mark(range(500, 502), "ml-machine", "Mb", "an answer off the map")
    picture = page_map(m, marks=marks)
    assert read(picture, "page_map-marks") == ["Yb"]
    assert {key.meaning: key.letter for key in picture.legend}.items() >= {("your answer", "Yb"), ("an answer off the map", "Mb")}


def test_an_allocation_changes_the_fragments_of_its_own_rows_only():
    m = Machine("2M", max_order=9)
    m.alloc_pages(0)
    before = page_map(m)
    pfn = m.alloc_pages(0)
    after = page_map(m)
    row = pfn // 32
    changed = {k for k in after.fragments if after.fragments[k] != before.fragments[k]}
    assert changed == {f"page_map-row-{row}", f"page_map-letters-{row}"}


@pytest.mark.parametrize(("memory", "pages"), [("8M", 2048), ("16M", 4096), ("256M", 65536), ("1G", 262144)])
def test_above_2048_pages_an_overview_stands_beside_a_detail(memory, pages):
    m = Machine(memory)
    picture = page_map(m, selected=pages - 5)
    tiles = [c for c in picture.cells if c.id.startswith("tile-")]
    detail = [c for c in picture.cells if c.id.startswith("page-")]
    if pages <= 2048:
        assert (len(tiles), len(detail)) == (0, pages)
    else:
        assert len(tiles) == len(detail) == 512
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
    assert named(free_lists(m), 0)[:3] == [pfns[3], pfns[5], pfns[1]]


def named(picture, order):
    """The first pages of the blocks drawn on a list."""
    return [int(word) for word in read(picture, f"free_lists-0-Normal-{order}") if word.isdecimal()]


def test_each_list_shows_the_blocks_that_its_links_lead_to():
    m = Machine("1M", max_order=6)
    m.alloc_pages(0)
    picture, zone = free_lists(m), m.zones[0]
    for order in range(m.max_order + 1):
        linked = [m.page_to_pfn(m.buddy(m.B + 8 * li - buddy.list.offset).page) for li in list_for_each(m, zone.heads + 2 * order)]
        assert named(picture, order) == linked[:5]
        arrows = picture.fragments[f"free_lists-0-Normal-{order}"].count("l-5 3.5")
        assert arrows == len(linked)  # and one more leads back to the head:
        assert picture.fragments[f"free_lists-0-Normal-{order}"].count("l3.5 5") == 1
        assert ("empty: the head points to itself" in read(picture, f"free_lists-0-Normal-{order}")) == (not linked)
    assert [c.id for c in picture.cells] == [f"list-{c.id.split('-')[1]}" for c in picture.cells]


def test_the_selected_block_is_marked_on_its_list_whichever_of_its_pages_is_selected():
    m = Machine("256K", max_order=5)
    pfn = next(b.start for b in blocks(m, range(m.nr_pages)) if b.order == 3)
    assert (
        free_lists(m, selected=pfn + 5).fragments["free_lists-selection"]
        == free_lists(m, selected=pfn).fragments["free_lists-selection"]
        != ""
    )
    assert free_lists(m, selected=0).fragments["free_lists-selection"] == ""


def test_links_that_lead_astray_are_said_so():
    m = Machine("256K", max_order=5)
    pfns = [m.alloc_pages(0) for _ in range(6)]
    for pfn in (pfns[1], pfns[5], pfns[3]):
        m.free_pages(pfn)
    li = (m.mem_desc(pfns[5]).address - m.B >> 3) + buddy.list.word  # the second of three
    good = m.w[li]
    for bad, said in ((0, "nowhere"), (good + 4, "nowhere"), (m.B + 8 * li, "a circle"), (m.B + 8 * m.zones[0].heads, "prev link")):
        m.w[li] = bad
        assert said in read(free_lists(m), "free_lists-0-Normal-0")[-1]
    m.w[li] = good
    assert "?" not in read(free_lists(m), "free_lists-0-Normal-0")[-1]


def test_a_long_free_list_says_how_many_blocks_it_leaves_out():
    m = Machine("1M", max_order=6)
    pfns = [m.alloc_pages(0) for _ in range(40)]
    for pfn in pfns[::2]:
        m.free_pages(pfn)
    n = m.buddyinfo()[0, "Normal"][0]
    assert n > 5
    assert f">{n - 5} more<" in free_lists(m).fragments["free_lists-0-Normal-0"]


def test_each_zone_has_its_own_lists():
    m = Machine("8M", dma="1M", highmem="1M", nodes=2)
    assert {name for name in free_lists(m).fragments if name.count("-") == 2} == {f"free_lists-{z.node}-{z.name}" for z in m.zones}


# --- The tree of blocks


def tree_boxes(picture):
    """The ids of the boxes that can be clicked, of blocks and of what is cut off."""
    return [c.id for c in picture.cells]


def test_each_block_is_a_box_in_the_row_of_its_order_as_wide_as_its_pages():
    m = Machine("256K", max_order=6)
    m.alloc_pages(0)
    pages = range(32, 64)
    picture, found = tree(m, pages), list(blocks(m, pages))
    assert sorted(tree_boxes(picture)) == sorted(f"block-{b.start}" for b in found)
    drawn = {(x, y, width) for css, x, y, width, _ in boxes(picture, "tree-0") if "ml-leaf" in css}
    assert drawn == {(57.5 + (b.start - 32) * 17, 22 + (5 - b.order) * 27, len(b.pages) * 17 - 1) for b in found}
    knots = sum(css == "ml-node" for css, *_ in boxes(picture, "tree-0"))
    assert knots == len(found) - 1  # of a whole binary tree


def test_the_way_from_the_top_to_the_selected_block_is_marked():
    m = Machine("256K", max_order=6)
    pfn = m.alloc_pages(0)
    aligned = range(pfn & -32, (pfn & -32) + 32)
    marked = tree(m, aligned, selected=pfn)
    way = re.search(r'ml-edge ml-strong" d="([^"]+)"', marked.fragments["tree-0"])[1]
    assert way.count("L") == 5  # from order 5 down to order 0
    assert marked.fragments["tree-selection"].count("ml-selected ") == 1
    assert tree(m, aligned).fragments["tree-selection"] == ""


@pytest.mark.parametrize("pages", [16, 64, 128, 1024, 65536])
def test_a_tree_of_many_pages_is_drawn_in_parts_that_lead_to_the_selected_block(pages):
    m = Machine(pages * 4096 * 2, max_order=pages.bit_length() - 1, watermarks=None)
    while m.alloc_pages(0) is not None:  # all blocks are single pages
        pass
    at = block_of(m, 2 * pages - 1)
    picture = tree(m, range(pages, 2 * pages), selected=2 * pages - 1)
    ids = [c.id for c in picture.cells]
    assert len(ids) == len(set(ids)) <= 3 * 64
    assert len({(c.row, c.column) for c in picture.cells}) == len(ids)  # each can be reached by arrow keys
    assert f"block-{at.start}" in ids
    assert all(x >= 0 and x + width <= picture.width for _, x, _, width, _ in boxes(picture, "tree"))
    parts = [name for name in picture.fragments if re.fullmatch(r"tree-\d", name)]
    assert len(parts) == (1 if pages <= 64 else 2 if pages <= 1024 else 3)
    letters = {key.letter for key in picture.legend}
    assert ({"…", "▾"} <= letters) == (pages > 64)


def test_a_part_of_a_machine_whose_blocks_are_smaller_than_it_is_a_forest():
    m = Machine("1M", max_order=3)
    picture = tree(m, range(64, 128))
    assert min(c.row for c in picture.cells) == 0
    assert {c.id for c in picture.cells} == {f"block-{b.start}" for b in blocks(m, range(64, 128))}


@pytest.mark.parametrize("pages", [range(0), range(120, 140), range(0, 64, 2)])
def test_a_tree_of_pages_that_do_not_exist_is_refused(pages):
    with pytest.raises(ValueError, match="range of this machine's pages, 0 to 127"):
        tree(Machine("512K", max_order=6), pages)


# --- The descriptor of a page


def test_the_descriptor_shows_each_field_with_its_offset_and_the_bytes_in_ram():
    m = Machine("512K", max_order=6)
    pfn = m.alloc_pages(2)
    address = m.mem_desc(pfn).address
    words = read(descriptor(m, pfn + 1), "descriptor-fields")
    for field, offset, width in (("flags", 0, 8), ("list.next", 8, 8), ("list.prev", 16, 8), ("order", 24, 4), ("page", 32, 8)):
        i = words.index(field)
        assert words[i - 1 : i + 2] == [f"+{offset}", field, m.read(address + offset, width).hex(" ")]
    assert "order 2: 4 pages" in words
    assert f"struct page of page {pfn}" in words
    head = " ".join(read(descriptor(m, pfn), "descriptor-head"))
    assert f"mem_desc {address | 2:#x} = its address {address:#x} + type 2, allocated block" in head


def test_the_descriptor_says_where_it_lives_itself():
    m = Machine("512K", max_order=6)
    pfn = m.alloc_pages(2)
    address = m.mem_desc(pfn).address
    picture = descriptor(m, pfn)
    home, at = m.virt_to_pfn(address), address % 4096
    assert f"It lies in page {home}, {at} bytes from its start: object {at // 48} of 85 in a slab of kmem_cache_buddy" in picture.html()
    letters = "".join(read(picture, "descriptor-home")[1:])
    live = {m.mem_desc(p).address: p for p in range(m.nr_pages) if m.mem_desc(p).type in (MemType.FREE, MemType.BUDDY)}
    inside = [p for a, p in live.items() if (a - m.B) // 4096 == home]
    assert letters.count("A") == sum(m.mem_desc(p).type is MemType.BUDDY for p in inside)
    assert letters.count("f") == sum(m.mem_desc(p).type is MemType.FREE for p in inside)


def test_links_of_a_free_block_say_whom_they_lead_to():
    m = Machine("512K", max_order=6)
    free = m.alloc_pages(0), m.alloc_pages(1), m.alloc_pages(0)
    m.free_pages(free[0])
    text = descriptor(m, free[0]).html()
    assert "to the head of the free list of order 0" in text or "to the struct buddy of page" in text


def test_descriptors_of_each_type_can_be_opened(all_types):
    m = all_types
    for kind in MemType:
        pfn = next(p for p in range(m.nr_pages) if m.mem_desc(p).type is kind)
        text = descriptor(m, pfn, hexadecimal=True).html()
        assert ("has no descriptor" in text) == (kind is MemType.NONE)
        if kind is not MemType.NONE:
            assert "bytes in RAM" in text
            assert "object " in text
    assert "Select a page or a block" in descriptor(m, None).html()
    with pytest.raises(ValueError, match="pfn is a page of this machine, 0 to 255, not 256"):
        descriptor(m, 256)


def test_a_word_that_points_out_of_ram_is_said_to_be_damaged():
    m = Machine("256K", max_order=5)
    m.w[m.MM + 40] = 0x10 | MemType.BUDDY
    assert "That address is not in RAM" in descriptor(m, 40).html()
    m.w[m.MM + 40] = 13
    assert "damaged: there is no type 13" in descriptor(m, 40).html()


# --- The Buddy lab's picture


def test_the_buddy_labs_picture_is_four_panels_that_agree_on_the_selection():
    m = Machine("512K", max_order=6)
    pfn = m.alloc_pages(1)
    picture = buddy_lab(m, selected=pfn)
    assert len(picture.panels) == 4
    assert all(picture.fragments[f"{panel}-selection"] for panel in ("page_map", "tree"))
    assert f"Descriptor of page {pfn}" in picture.html()
    assert any(key.letter == "D" for key in picture.legend)
    assert picture.html() == buddy_lab(m, selected=pfn).html()


def test_a_saved_picture_has_all_panels_and_is_no_wider_than_two_of_them():
    picture = buddy_lab(Machine("512K", max_order=6))
    svg = picture.svg()
    assert all(svg.count(f'data-fragment="{name}"') == 1 for name in picture.fragments)
    assert float(re.search(r'width="([\d.]+)"', svg)[1]) == 2 * 602 + 24 + 24


def test_the_counters_count_from_a_moment():
    m = Machine("512K", max_order=6)
    since = m.stats
    m.free_pages(m.alloc_pages(0))
    d = m.stats - since
    words = read(buddy_lab(m, since=since), "counters")
    assert words[0] == "Since the lab began"
    assert words[1:] == [
        *(str(d.buddies_allocated), "descriptors taken", str(d.buddies_freed), "descriptors given back"),
        *(str(d.words_split + d.words_merged), "mem_desc words rewritten", str(d.splits), "splits", str(d.merges), "merges"),
    ]
    assert read(buddy_lab(m), "counters")[0] == "Since boot"


# --- Any RAM at all


class Plain(Machine):
    """A derived class runs the plain text, in which each function is called."""


@pytest.mark.parametrize("design", ["as-written", "bounded"])
def test_figures_can_be_drawn_in_the_middle_of_an_operation(design, monkeypatch):
    m, drawn = Plain("256K", max_order=5, design=design), []

    def draw(*_):
        drawn.append(buddy_lab(m, selected=40).html())

    fill = m.fill  # what writes mem_desc words, while lists and descriptors are half changed
    monkeypatch.setattr(m, "fill", lambda *args: (draw(), fill(*args), draw()))
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
        buddy_lab(m, selected=rng.randrange(m.nr_pages)).html()
        if rng.random() < 0.3:
            m.restore(clean)


def test_a_type_that_does_not_exist_is_drawn_as_damaged():
    m = Machine("256K", max_order=5)
    m.w[m.MM + 40] = m.w[m.MM + 40] & ~15 | 13
    assert drawn_kinds(page_map(m))["ml-unknown"] == 1


# --- Pictures


def test_equal_machines_give_the_same_text():
    a, b = (Machine("512K", max_order=6) for _ in range(2))
    for figure in (page_map, free_lists, tree, buddy_lab):
        assert figure(a).html() == figure(b).html()
        assert repr(figure(a)) == repr(figure(b))
        assert " at 0x" not in repr(figure(a))


def test_a_picture_shows_itself_with_label_legend_and_caption():
    html = page_map(Machine("256K", max_order=5))._repr_html_()
    assert html.startswith('<figure class="memlab-picture">')
    assert re.search(r'<svg [^>]*role="img"[^>]* aria-label="Page map of pages 0 to 63"', html)
    assert "<figcaption>Page map of pages 0 to 63</figcaption>" in html
    assert '<ul class="ml-legend">' in html


def test_colours_come_from_the_style_sheet_so_that_a_dark_theme_can_change_them(all_types):
    for picture in (buddy_lab(all_types, selected=pfn) for pfn in range(all_types.nr_pages)):
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
    assert [c.id for c in both.cells] == [c.id for c in a.cells + b.cells]
    assert len({(c.row, c.column) for c in both.cells}) == len(both.cells)
    assert both.height > a.height + b.height
    assert len(both.legend) == len(set(both.legend))
    with pytest.raises(ValueError, match="two of the pictures have a fragment"):
        stack("twice", a, a)


def test_figures_need_nothing_but_the_standard_library():
    code = "import sys; import memlab.figures; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "matplotlib", "ipywidgets", "anywidget", "IPython"} & set(loaded)
