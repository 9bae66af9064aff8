"""memlab.linux.proc against the samples, this machine's own /proc, and text that is wrong."""

import mmap
import os
import re
from pathlib import Path

import pytest

from memlab.linux import (
    SlabCache,
    buddyinfo_table,
    parse_buddyinfo,
    parse_slabinfo,
    read_buddyinfo,
    read_slabinfo,
    slabinfo_table,
)

ONE_ZONE = "Node 0, zone   Normal      3      0      2 \n"
VERSION = "slabinfo - version: 2.1\n"
COLUMNS = "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : …\n"
DENTRY = "dentry 8568 8569 192 21 1 : tunables 1 2 3 : slabdata 408 409 4\n"


def test_buddyinfo_is_keyed_by_node_and_zone_as_the_machine_is():
    two_nodes = ONE_ZONE + ONE_ZONE.replace("Node 0", "Node 1")
    assert parse_buddyinfo(two_nodes) == {(0, "Normal"): [3, 0, 2], (1, "Normal"): [3, 0, 2]}


def test_slabinfo_columns_have_the_kernels_names():
    (dentry,) = parse_slabinfo(VERSION + COLUMNS + DENTRY)
    assert dentry._asdict() == {
        "name": "dentry",
        "active_objs": 8568,
        "num_objs": 8569,
        "objsize": 192,
        "objperslab": 21,
        "pagesperslab": 1,
        "limit": 1,
        "batchcount": 2,
        "sharedfactor": 3,
        "active_slabs": 408,
        "num_slabs": 409,
        "sharedavail": 4,
    }


def test_a_cache_name_may_end_in_digits_and_hold_a_blank():
    text = VERSION + DENTRY.replace("dentry", "bio-312") + DENTRY.replace("dentry", "my cache 7")
    assert [cache.name for cache in parse_slabinfo(text)] == ["bio-312", "my cache 7"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1 is missing: the text is empty"),
        (" \n\n", "line 1 is missing: the text is empty"),
        ("hello\n", "line 1 is 'hello': expected \"Node N, zone NAME\""),
        (ONE_ZONE + "Node 0, zone DMA\n", "line 2 is 'Node 0, zone DMA': expected"),
        (ONE_ZONE + "\nNode 0, zone DMA 1 -1 0\n", "line 3 is"),
        (ONE_ZONE + "Node 0, zone DMA 1 2 3 four\n", "line 2 is"),
        ("Node ٣, zone DMA 1 2 3\n", "line 1 is"),
        (ONE_ZONE + "Node 0, zone DMA 1 2\n", "line 2 has 2 orders, but the first has 3"),
        (ONE_ZONE + ONE_ZONE, "line 2 is the second one for node 0, zone Normal"),
    ],
)
def test_malformed_buddyinfo_is_refused_in_one_sentence_that_names_the_line(text, says):
    with pytest.raises(ValueError, match=re.escape("buddyinfo " + says)) as refusal:
        parse_buddyinfo(text)
    assert one_sentence(refusal.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1 is missing: the text is empty"),
        ("hello\n", "line 1 is 'hello': expected \"slabinfo - version: 2.1\""),
        (DENTRY, "line 1 is 'dentry"),
        (VERSION.replace("2.1", "1.1") + DENTRY, "line 1 is 'slabinfo - version: 1.1'"),
        (VERSION + COLUMNS + "dentry 1 2 3\n", "line 3 is 'dentry 1 2 3': expected a cache name"),
        (VERSION + DENTRY.replace("8568", "many"), "line 2 is"),
        (VERSION + DENTRY.replace("dentry", ""), "line 2 is"),
        (VERSION + DENTRY + DENTRY[:-3], "line 3 is"),
        (VERSION + DENTRY.replace("409 4", "409 4 5"), "line 2 is"),
        (VERSION + DENTRY.replace("tunables", "tunable"), "line 2 is"),
    ],
)
def test_malformed_slabinfo_is_refused_in_one_sentence_that_names_the_line(text, says):
    with pytest.raises(ValueError, match=re.escape("slabinfo " + says)) as refusal:
        parse_slabinfo(text)
    assert one_sentence(refusal.value)


def one_sentence(error):
    return str(error).endswith(".") and "\n" not in str(error)


@pytest.fixture(params=["missing", "empty", "blank", "a directory", "permission denied"])
def no_file(request, tmp_path, monkeypatch):
    """A path that holds nothing to read, in each of the ways that /proc can refuse."""
    path = tmp_path / "info"
    if request.param == "empty":
        path.touch()
    elif request.param == "blank":
        path.write_text("\n \n")
    elif request.param == "a directory":
        path.mkdir()
    elif request.param == "permission denied":
        path.write_text("not for you")
        # Root, as whom tests may run, can read a file of mode 0: so the refusal is played.
        real_read_text = Path.read_text

        def read_text(self, **how):
            if self == path:
                raise PermissionError(13, "Permission denied", str(path))
            return real_read_text(self, **how)

        monkeypatch.setattr(Path, "read_text", read_text)
    return str(path)


def test_without_a_buddyinfo_the_sample_is_read_and_says_so(no_file):
    info = read_buddyinfo(no_file)
    assert (info.source, info.page_size) == ("sample from a 2-CPU Linux 6.18", 4096)
    assert info.free[0, "DMA"] == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3]
    assert info.free[0, "Normal"][:2] == [3700, 2028]


def test_without_a_slabinfo_the_sample_is_read_and_says_so(no_file):
    info = read_slabinfo(no_file)
    assert (info.source, info.page_size) == ("sample from a 2-CPU Linux 6.18", 4096)
    assert len(info.caches) == 235
    nodes = next(cache for cache in info.caches if cache.name == "radix_tree_node")
    assert (nodes.objsize, nodes.objperslab, nodes.pagesperslab) == (584, 14, 2)


@pytest.mark.parametrize("read", [read_buddyinfo, read_slabinfo])
@pytest.mark.parametrize("content", [b"nonsense\n", b"\xff\xfe\n"])
def test_a_file_that_is_something_else_is_refused_and_not_replaced_by_the_sample(read, content, tmp_path):
    path = tmp_path / "info"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="line 1 is"):
        read(str(path))


def test_a_readable_file_is_this_machines(tmp_path):
    (tmp_path / "buddyinfo").write_text(ONE_ZONE)
    (tmp_path / "slabinfo").write_text(VERSION + DENTRY)
    buddy = read_buddyinfo(str(tmp_path / "buddyinfo"))
    slab = read_slabinfo(str(tmp_path / "slabinfo"))
    assert buddy.source == slab.source == "this machine"
    assert buddy.page_size == slab.page_size == mmap.PAGESIZE
    assert len(slab.caches) == 1


def source_of(path):
    return "this machine" if os.access(path, os.R_OK) else "sample from a 2-CPU Linux 6.18"


def test_the_real_buddyinfo_has_every_zone_of_this_machine_or_is_the_sample():
    info = read_buddyinfo()
    assert info.source == source_of("/proc/buddyinfo")
    pages = sum(count << k for counts in info.free.values() for k, count in enumerate(counts))
    assert pages > 0
    assert {len(counts) for counts in info.free.values()} <= {10, 11, 12, 13, 14}
    if info.source == "this machine":
        lines = Path("/proc/buddyinfo").read_text().splitlines()
        zones = [re.match(r"Node (\d+), zone +(\S+)", line).groups() for line in lines]
        assert list(info.free) == [(int(node), zone) for node, zone in zones]
        assert pages <= os.sysconf("SC_PHYS_PAGES")


def test_every_slab_of_the_real_slabinfo_has_room_for_its_objects():
    info = read_slabinfo()
    assert info.source == source_of("/proc/slabinfo")
    if info.source == "this machine":
        assert len(info.caches) == len(Path("/proc/slabinfo").read_text().splitlines()) - 2
    assert len(info.caches) > 20
    for cache in info.caches:
        room = cache.pagesperslab * info.page_size
        assert 0 < cache.objperslab * cache.objsize <= room, cache


def test_the_buddyinfo_table_counts_pages_and_mib():
    free = {(0, "DMA"): [0, 1, 3], (0, "Normal"): [1000, 0, 2]}
    assert buddyinfo_table(free).splitlines() == [
        "order   block  0:DMA  0:Normal  blocks  pages   MiB",
        "    0   4 KiB      0     1,000   1,000  1,000  3.91",
        "    1   8 KiB      1         0       1      2  0.01",
        "    2  16 KiB      3         2       5     20  0.08",
        "pages             14     1,008   1,006  1,022",
        "  MiB           0.05      3.94                 3.99",
    ]


def test_the_buddyinfo_table_takes_small_pages_and_no_zone_at_all():
    assert "256 B" in buddyinfo_table({(0, "Normal"): [1]}, page_size=256)
    assert buddyinfo_table({}).splitlines()[0] == "order  block  blocks  pages   MiB"


def test_the_slabinfo_table_puts_the_largest_first_and_sums_them_all():
    def cache(name, num_slabs, pagesperslab):
        return SlabCache(name, 5, 7, 192, 21, pagesperslab, 0, 0, 0, num_slabs, num_slabs, 0)

    caches = [cache("b", 256, 1), cache("large", 256, 8), cache("a", 256, 1)]
    assert slabinfo_table(caches, top=2).splitlines() == [
        "name   objsize  objperslab  num_objs  num_slabs    MiB",
        "large      192          21         7        256   8.00",
        "a          192          21         7        256   1.00",
        "all 3                             21        768  10.00",
    ]


@pytest.mark.parametrize("top", [0, -1])
def test_a_slabinfo_table_of_nothing_is_refused(top):
    with pytest.raises(ValueError, match=f"top is {top}: a table shows at least 1 cache"):
        slabinfo_table([], top=top)
