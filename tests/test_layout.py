"""Declared layouts: offsets and sizes of every struct, what pahole prints of them, views that read and write RAM, and hexdumps that name fields."""

import random
import re

import pytest
from machines import tiny

from memlab import SLAB, structs
from memlab.layout import U8, U16, U32, U64, Chars, Flags, ListHead, ListHeads, Ptr, Struct, U64s


def offsets(struct):
    return {field.name: field.offset for field in struct.fields}


# -- the structs of the kernel


@pytest.mark.parametrize(
    ("struct", "size", "used"),
    [
        (structs.page, 8, 8),
        (structs.old_page, 64, 64),
        (structs.buddy, 48, 40),
        (structs.slab, 64, 64),
        (structs.kmem_cache_cpu, 16, 16),
        (structs.kmem_cache_node, 32, 32),
        (structs.per_cpu_pages, 24, 24),
    ],
)
def test_sizes_of_the_design(struct, size, used):
    assert (struct.sizeof, struct.used) == (size, used)


@pytest.mark.parametrize("struct", [structs.folio, structs.anonmem, structs.filemem, structs.ptdesc, structs.vmalloc])
def test_a_users_descriptor_takes_at_most_64_bytes_and_has_its_buddy_where_all_have_it(struct):
    assert struct.sizeof <= 64
    assert struct.buddy.offset == structs.slab.buddy.offset == 24
    assert struct.list.offset == structs.buddy.list.offset == 8
    assert struct.flags.offset == 0
    assert struct.sizeof % 16 == 0  # so that in an aligned slab four tag bits are free


@pytest.mark.parametrize("struct", [structs.old_page, structs.old_buddy, structs.old_slab, structs.old_folio])
def test_what_was_laid_over_a_page_of_old_takes_its_64_bytes(struct):
    assert struct.sizeof == 64


def test_offsets_of_a_buddy_and_of_a_slab():
    assert offsets(structs.buddy) == {"flags": 0, "list": 8, "order": 24, "page": 32}
    assert offsets(structs.slab) == {
        "flags": 0,
        "list": 8,
        "buddy": 24,
        "freelist": 32,
        "inuse": 40,
        "objects": 42,
        "order": 44,
        "frozen": 45,
        "debug": 46,
        "virt": 48,
        "slab_cache": 56,
    }
    assert (structs.slab.virt.word, structs.slab.inuse.word, structs.slab.order.word) == (6, 5, 5)


ALL = [s for s in vars(structs).values() if isinstance(s, type) and issubclass(s, Struct) and s is not Struct] + [
    structs.zone(n) for n in (1, 4, 11)
]


@pytest.mark.parametrize("struct", ALL, ids=lambda s: s.__qualname__)
def test_fields_are_aligned_in_order_and_do_not_overlap(struct):
    at = 0
    for field in struct.fields:
        assert field.offset >= at
        assert field.offset % field.align == 0
        assert field.offset - at < 8  # holes are for alignment only
        at = field.offset + field.width
    assert at == struct.used <= struct.sizeof
    assert struct.sizeof % 8 == 0
    assert struct.__doc__


def test_a_zone_has_a_free_list_for_each_order():
    for max_order in (1, 4, 11):
        zone = structs.zone(max_order)
        assert zone.free_area.width == 16 * (max_order + 1)
        assert zone.struct == "zone"
        assert structs.zone(max_order) is zone


# -- pahole


def test_pahole_prints_a_buddy_as_c_with_its_hole_and_its_padding():
    assert structs.buddy.pahole().splitlines() == [
        "struct buddy {",
        "\tunsigned long flags;             /*     0     8 */",
        "\tstruct list_head list;           /*     8    16 */",
        "\tunsigned int order;              /*    24     4 */",
        "\t/* 4 bytes hole */",
        "\tstruct page *page;               /*    32     8 */",
        "",
        "\t/* size: 48, members: 4, padding: 8 */",
        "};",
    ]


def test_pahole_prints_arrays_with_their_length():
    text = structs.zone(4).pahole()
    assert re.search(r"char name\[16\]; +/\* +0 +16 \*/", text)
    assert re.search(r"unsigned long watermark\[3\]; +/\* +56 +24 \*/", text)
    assert re.search(r"struct list_head free_area\[5\]; +/\* +112 +80 \*/", text)
    assert structs.old_page.pahole().startswith("struct page {")


@pytest.mark.parametrize("struct", ALL, ids=lambda s: s.__qualname__)
def test_what_pahole_prints_adds_up_to_the_size(struct):
    text = struct.pahole()
    widths = [int(n) for n in re.findall(r"/\* +\d+ +(\d+) \*/", text)]
    holes = [int(n) for n in re.findall(r"(\d+) bytes hole", text)]
    size, members, padding = map(int, re.search(r"size: (\d+), members: (\d+), padding: (\d+)", text).groups())
    assert (size, members) == (struct.sizeof, len(widths))
    assert sum(widths) + sum(holes) + padding == size


# -- views


def test_a_view_reads_ram_each_time_it_is_asked():
    m = tiny()
    pfn = m.alloc_pages(1)
    b = m.buddy(m.mem_desc(pfn).address)
    assert (b.order, b.page, b.flags) == (1, m.pfn_to_page(pfn), 0x20)
    m.split_page(pfn)
    assert m.buddy(m.mem_desc(pfn).address).order == 0
    m.write(b.address + structs.buddy.order.offset, b"\7\0\0\0")
    assert b.order == 7


def test_assigning_to_a_field_writes_those_bytes_and_no_others():
    m = tiny()
    at = m.get_free_page()
    m.write(at, b"\xee" * 64)
    s = structs.slab(m, at)
    s.objects = 0x1234
    s.frozen = 1
    s.freelist = 0xFFFF_8880_0000_1000
    s.list = (1, 2)
    expected = bytearray(b"\xee" * 64)
    expected[42:44], expected[45:46] = b"\x34\x12", b"\1"
    expected[32:40] = (0xFFFF_8880_0000_1000).to_bytes(8, "little")
    expected[8:24] = bytes([1, *[0] * 7, 2, *[0] * 7])
    assert m.read(at, 64) == expected
    assert (s.objects, s.frozen, s.freelist, s.list) == (0x1234, 1, 0xFFFF_8880_0000_1000, (1, 2))


def test_text_is_kept_with_a_zero_behind_it():
    m = tiny()
    cache = m.kmem_cache_create("thing", 32).struct
    cache.name = "größe"
    assert cache.name == "größe"
    cache.name = "a"
    assert m.read(cache.address, 32) == b"a" + bytes(31)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("objects", 1 << 16), ("objects", -1), ("frozen", 256), ("freelist", 1 << 64), ("virt", -8)),
        *(("order", "3"), ("order", None), ("order", 1.0), ("list", (1,)), ("list", (1, 2, 3)), ("list", (1, -1)), ("list", (1, 1 << 64))),
        ("list", ("1", "2")),
    ],
)
def test_a_value_that_does_not_fit_its_field_is_refused_and_ram_untouched(field, value):
    m = tiny()
    at = m.get_free_page()
    m.write(at, b"\xee" * 64)
    with pytest.raises(ValueError, match=f"{field} holds"):
        setattr(structs.slab(m, at), field, value)
    assert m.read(at, 64) == b"\xee" * 64


def test_text_that_is_too_long_is_refused():
    cache = tiny().caches["folio"].struct
    for name in ("x" * 32, "ü" * 16):
        with pytest.raises(ValueError, match="name holds at most 31 bytes of text"):
            cache.name = name
    assert cache.name == "folio"


def test_a_view_beyond_ram_is_refused_when_it_is_read_or_written():
    m = tiny()
    view = structs.buddy(m, 0x1000)
    with pytest.raises(ValueError, match="not all in RAM"):
        _ = view.order
    with pytest.raises(ValueError, match="not all in RAM"):
        view.order = 1
    with pytest.raises(AttributeError):
        _ = view.no_such_field


def test_views_of_one_place_are_equal_if_they_are_of_one_struct_and_machine():
    m, n = tiny(), tiny()
    at = m.get_free_page()
    assert structs.folio(m, at) == structs.folio(m, at)
    assert len({structs.folio(m, at), structs.folio(m, at), structs.folio(m, at + 64)}) == 2
    assert structs.folio(m, at) != structs.anonmem(m, at)
    assert structs.folio(m, at) != structs.folio(m, at + 64)
    assert structs.folio(m, at) != structs.folio(n, at)
    assert structs.folio(m, at) != at


# -- reprs


def test_reprs_name_struct_address_and_fields():
    m = tiny()
    pfn = m.alloc_pages(1)
    b = m.buddy(m.mem_desc(pfn).address)
    b.list = (0x10, 0x20)
    assert repr(b) == (  # wrapped at 77 characters, between fields
        f"struct buddy @ {b.address:#x}: flags=0x20, list={{next=0x10, prev=0x20}},\n    order=1, page={m.pfn_to_page(pfn):#x}"
    )
    assert repr(m.page(0)) == "struct page @ 0xffffea0000000000: mem_desc=0x0"
    assert repr(structs.old_page(m, m.get_free_page())).endswith(": flags=0x0, compound_head=0")  # padding is not shown
    assert "name='folio'" in repr(m.caches["folio"].struct)
    assert "free_area=[5 lists]" in repr(m.zone())
    assert "mapping=NULL" in repr(structs.folio(m, m.folio_alloc(0)))


def test_reprs_are_the_same_on_every_machine_with_the_same_history():
    told = []
    for _ in range(2):
        m = tiny(cpus=2)
        cache = m.kmem_cache_create("thing", 32)
        slab = m.slab(m.mem_desc(m.virt_to_pfn(cache.alloc())).address)
        told.append([repr(x) for x in (m, m.zone(), m.page(9), slab, cache, cache.struct, m.mem_desc(9), m.snapshot(), m.whatis(m.B))])
    assert told[0] == told[1]
    assert not any(" at 0x7" in text for text in told[0])  # no address of this computer


# -- a struct of one's own


class inode(Struct, size=96):
    """What a learner may declare."""

    i_mode = U16()
    i_flags = Flags()
    i_kind = U8()
    i_nlink = U32()
    i_size = U64("loff_t")
    i_mapping = Ptr("struct address_space")
    i_lru = ListHead()
    i_name = Chars(12)
    i_extra = U64s(2)


class lists(Struct, name="list_table"):
    heads = ListHeads(2)


def test_a_struct_of_ones_own_follows_cs_rules():
    assert offsets(inode) == {
        "i_mode": 0,
        "i_flags": 8,
        "i_kind": 16,
        "i_nlink": 20,
        "i_size": 24,
        "i_mapping": 32,
        "i_lru": 40,
        "i_name": 56,
        "i_extra": 72,
    }
    assert (inode.sizeof, inode.used, inode.struct) == (96, 88, "inode")
    assert (lists.sizeof, lists.struct) == (32, "list_table")
    assert "loff_t i_size;" in inode.pahole()
    assert inode.pahole().count("hole") == 3


def test_a_struct_of_ones_own_is_read_and_written():
    m = tiny()
    view = inode(m, m.kmalloc(96))
    view.i_mode, view.i_size, view.i_name, view.i_extra, view.i_lru = 0o100644, 1 << 40, "notes.txt", (7, 8), (view.address + 40,) * 2
    assert (view.i_mode, view.i_size, view.i_name, view.i_extra) == (0o100644, 1 << 40, "notes.txt", (7, 8))
    assert m.read(view.address + 56, 12) == b"notes.txt\0\0\0"
    assert repr(view).startswith(f"struct inode @ {view.address:#x}: i_mode=33188, i_flags=0x0, ")
    table = lists(m, m.kmalloc(32))
    table.heads = (1, 2, 3, 4)
    assert repr(table) == f"struct list_table @ {table.address:#x}: heads=[2 lists]"


def test_a_struct_may_begin_with_another():
    class swapmem(structs.memdesc):
        entry = U64()
        refcount = U32()

    assert offsets(swapmem) == {"flags": 0, "list": 8, "buddy": 24, "entry": 32, "refcount": 40}
    assert swapmem.sizeof == 48
    assert structs.memdesc.sizeof == 32  # it is as it was


def test_anything_with_read_and_write_is_memory_enough():
    class Bytes:
        def __init__(self, n):
            self.data = bytearray(n)

        def read(self, address, n):
            return bytes(self.data[address : address + n])

        def write(self, address, data):
            self.data[address : address + len(data)] = data

    memory = Bytes(128)
    inode(memory, 32).i_nlink = 5
    assert memory.data[52] == 5
    assert inode(memory, 32).i_nlink == 5


def test_labels_name_each_word_with_all_that_begins_in_it():
    assert inode.labels() == {
        0: "i_mode",
        8: "i_flags",
        16: "i_kind, i_nlink",
        24: "i_size",
        32: "i_mapping",
        40: "i_lru.next",
        48: "i_lru.prev",
        56: "i_name",
        64: "i_name[8]",
        72: "i_extra[0]",
        80: "i_extra[1]",
    }
    assert lists.labels() == {0: "heads[0].next", 8: "heads[0].prev", 16: "heads[1].next", 24: "heads[1].prev"}


# -- whatis


def places():
    """Return a machine and {what to look at: (address, name, start, struct)}."""
    m = tiny()
    pfn, folio = m.alloc_pages(0), m.folio_alloc(0)
    b = m.mem_desc(pfn).address
    slab = m.mem_desc(m.virt_to_pfn(b)).address
    first, slabs = m.slab(slab).virt, m.slab(m.mem_desc(m.virt_to_pfn(slab)).address).virt
    debug = m.kmem_cache_create("guarded", 40, flags=SLAB.DEBUG)
    obj = debug.alloc()
    free = m.nr_pages - 1
    return m, {
        "struct page": (m.pfn_to_page(pfn) + 3, f"struct page of pfn {pfn}", m.pfn_to_page(pfn), structs.page),
        "struct page in the mem_map": (
            m.page_address(m.mem_map_pfn) + 8 * 77,
            "struct page of pfn 77",
            m.page_address(m.mem_map_pfn) + 8 * 77,
            structs.page,
        ),
        "struct buddy": (b + 9, f"kmem_cache_buddy[{(b - first) // 48}]", b, structs.buddy),
        "struct slab": (slab + 8, f"kmem_cache_slab[{(slab - slabs) // 64}]", slab, structs.slab),
        "struct folio": (folio + 63, "folio[0]", folio, structs.folio),
        "kmem_cache": (
            m.caches["folio"].address + 40,
            f"kmem_cache[{list(m.caches).index('folio')}]",
            m.caches["folio"].address,
            structs.kmem_cache,
        ),
        "zone": (m.zone().address + 50, "zone", m.zone().address, structs.zone(4)),
        "object": (obj + 39, "guarded[0]", obj, None),
        "red zone": (obj - 1, "guarded[0] left red zone", obj - 8, None),
        "free page": (m.page_address(free) + 9, f"page {free}: free", m.page_address(free), None),
        "page in use": (m.page_address(pfn), f"page {pfn}: buddy", m.page_address(pfn), None),
    }


@pytest.mark.parametrize("what", places()[1])
def test_whatis_names_what_holds_an_address(what):
    m, all_places = places()
    address, *expected = all_places[what]
    assert m.whatis(address) == tuple(expected)


def test_whatis_names_the_waste_behind_the_last_object_of_a_slab():
    m = tiny()
    cache = m.kmem_cache_create("thing", 48)
    s = m.slab(m.mem_desc(m.virt_to_pfn(cache.alloc())).address)
    end = s.virt + s.objects * 48
    assert m.whatis(end).name == "thing: rest of the slab"
    assert m.whatis(end - 1).name == f"thing[{s.objects - 1}]"


# -- hexdumps


def test_a_hexdump_crosses_from_one_buddy_to_the_next_and_names_its_fields():
    m = tiny()
    b = m.buddy(m.mem_desc(m.alloc_pages(0)).address)
    first = b.address - b.address % 256
    b = m.buddy(first)
    rows = m.hexdump(first, 56).splitlines()
    values = [b.flags, *b.list, b.order, b.page, 0, m.buddy(first + 48).flags]
    names = ["kmem_cache_buddy[0].flags", ".list.next", ".list.prev", ".order", ".page", "(padding)", "kmem_cache_buddy[1].flags"]
    assert rows == [f"{first + 8 * i:#018x}  {value:016x}  {name}" for i, (value, name) in enumerate(zip(values, names, strict=True))]


def test_a_hexdump_of_the_vmemmap_names_each_page():
    m = tiny()
    rows = m.hexdump(m.pfn_to_page(5), 24).splitlines()
    assert [row.split("  ")[2] for row in rows] == [f"struct page of pfn {pfn}.mem_desc" for pfn in (5, 6, 7)]
    assert [int(row.split("  ")[1], 16) for row in rows] == [m.page(pfn).mem_desc for pfn in (5, 6, 7)]


@pytest.mark.parametrize(
    ("view", "labels"),
    [
        (
            lambda m: m.zone(),
            ["zone.name", ".name[8]", ".flags", ".start_pfn", ".end_pfn", ".managed_pages", ".free_pages", ".watermark[0]"],
        ),
        (
            lambda m: m.caches["kmem_cache_buddy"].struct,
            ["kmem_cache[0].name", ".name[8]", ".name[16]", ".name[24]", ".flags", ".size", ".object_size"],
        ),
        (
            lambda m: m.slab(m.mem_desc(m.virt_to_pfn(m.kmalloc(64))).address),
            [
                "kmem_cache_slab[3].flags",
                ".list.next",
                ".list.prev",
                ".buddy",
                ".freelist",
                ".inuse, objects, order, frozen, debug",
                ".virt",
                ".slab_cache",
            ],
        ),
        (
            lambda m: structs.folio(m, m.folio_alloc(0)),
            ["folio[0].flags", ".list.next", ".list.prev", ".buddy", ".mapping", ".index", ".private"],
        ),
    ],
    ids=["zone", "kmem_cache", "slab", "folio"],
)
def test_a_hexdump_of_a_struct_has_its_fields(view, labels):
    m = tiny()
    at = view(m).address
    found = [row.split("  ")[2] for row in m.hexdump(at, 8 * len(labels)).splitlines()]
    assert [re.sub(r"slab\[\d+\]", "slab[3]", label) for label in found] == labels


def test_a_hexdump_of_a_free_object_shows_the_link_to_the_next():
    m = tiny()
    cache = m.kmem_cache_create("thing", 32)
    a, b = cache.alloc(), cache.alloc()
    cache.free(a)
    cache.free(b)
    rows = m.hexdump(b, 32).splitlines()
    assert rows[0].endswith("  thing[1] + 0x0")
    assert rows[cache.struct.offset // 8].split("  ")[1] == f"{a:016x}"


def test_a_hexdump_names_red_zones():
    m = tiny()
    obj = m.kmem_cache_create("guarded", 40, flags=SLAB.DEBUG).alloc()
    rows = m.hexdump(obj - 8, 56).splitlines()
    assert rows[0] == f"{obj - 8:#018x}  cccccccccccccccc  guarded[0] left red zone + 0x0"
    assert rows[1].endswith("guarded[0] + 0x0")
    assert rows[6].split("  ")[1] == "c" * 16


def test_a_hexdump_begins_at_a_word_and_covers_all_that_was_asked_for():
    m = tiny()
    at = m.get_free_page()
    m.write(at + 8, b"\1\2\3\4\5\6\7\x08")
    assert m.hexdump(at + 13, 1) == m.hexdump(at + 8, 8)
    assert m.hexdump(at + 8, 8).split("  ")[1] == "0807060504030201"
    assert [len(m.hexdump(at + i, n).splitlines()) for i, n in ((0, 0), (0, 1), (0, 8), (0, 9), (7, 2), (7, 9))] == [0, 1, 1, 2, 2, 2]
    assert len(m.hexdump(at).splitlines()) == 8


def test_a_hexdump_reaches_to_the_last_word_of_ram_and_no_further():
    m = tiny(highmem="4K")
    end = m.page_address(m.highmem_pfn - 1) + m.page_size
    assert m.hexdump(end - 8, 8)
    for address, n in ((end - 8, 16), (m.B - 8, 16), (m.pfn_to_page(m.nr_pages - 1), 16)):
        with pytest.raises(ValueError, match=r"(HIGHMEM|not all in)"):
            m.hexdump(address, n)
    with pytest.raises(ValueError, match="0 or more"):
        m.hexdump(m.B, -9)


@pytest.mark.parametrize("seed", range(3))
def test_whatis_and_hexdump_find_words_for_damaged_ram_too(seed):
    r = random.Random(seed)
    m = tiny()
    m.folio_alloc(1)
    good = m.snapshot()
    slabs = [m.page_address(pfn) for pfn in range(m.nr_pages) if m.mem_desc(pfn).type == 3]
    area = m.zone().address
    for _ in range(15):
        m.restore(good)
        for _ in range(6):
            at = r.choice([m.pfn_to_page(r.randrange(m.nr_pages)), r.choice(slabs) + 8 * r.randrange(32), area + 8 * r.randrange(1200)])
            m.write(at, r.choice([r.randbytes(8), (m.B + 16 * r.randrange(5000) + r.randrange(9)).to_bytes(8, "little"), bytes(8)]))
        for at in range(m.B, area + 9600, 8 * 17):
            assert m.whatis(at).name
        for slab in slabs:
            assert len(m.hexdump(slab, m.page_size).splitlines()) == 32
