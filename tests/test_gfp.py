"""GFP flags: Linux's bits and compositions, their names in kernel C, and what is no set of GFP flags."""

import pytest

from memlab import GFP, Machine
from memlab.gfp import ALL, BITS, check, nested

LINUX_BITS = {
    "DMA": 0,
    "HIGHMEM": 1,
    "DMA32": 2,
    "MOVABLE": 3,
    "RECLAIMABLE": 4,
    "HIGH": 5,
    "IO": 6,
    "FS": 7,
    "ZERO": 8,
    "DIRECT_RECLAIM": 10,
    "KSWAPD_RECLAIM": 11,
    "NOWARN": 13,
    "NORETRY": 16,
    "MEMALLOC": 17,
    "COMP": 18,
    "THISNODE": 21,
}


@pytest.mark.parametrize(("name", "bit"), LINUX_BITS.items())
def test_a_flag_has_linuxs_bit(name, bit):
    assert getattr(GFP, name) == 1 << bit


def test_there_are_no_other_flags():
    assert {name: 1 << bit for name, bit in LINUX_BITS.items()} == BITS
    assert sum(1 << bit for bit in LINUX_BITS.values()) == ALL


@pytest.mark.parametrize(
    ("whole", "value", "parts"),
    [
        ("KERNEL", 0xCC0, ["DIRECT_RECLAIM", "KSWAPD_RECLAIM", "IO", "FS"]),
        ("ATOMIC", 0x820, ["HIGH", "KSWAPD_RECLAIM"]),
        ("NOWAIT", 0x2800, ["KSWAPD_RECLAIM", "NOWARN"]),
        ("RECLAIM", 0xC00, ["DIRECT_RECLAIM", "KSWAPD_RECLAIM"]),
    ],
)
def test_compositions_are_linuxs(whole, value, parts):
    assert getattr(GFP, whole) == value == sum(getattr(GFP, part) for part in parts)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (0, "0"),
        (GFP.KERNEL, "GFP_KERNEL"),
        (GFP.ATOMIC, "GFP_ATOMIC"),
        (GFP.NOWAIT, "GFP_NOWAIT"),
        (GFP.KERNEL | GFP.ZERO, "GFP_KERNEL|__GFP_ZERO"),
        (GFP.KERNEL | GFP.HIGHMEM | GFP.ZERO, "GFP_KERNEL|__GFP_HIGHMEM|__GFP_ZERO"),
        (GFP.ATOMIC | GFP.THISNODE | GFP.COMP, "GFP_ATOMIC|__GFP_COMP|__GFP_THISNODE"),
        (GFP.ATOMIC | GFP.NOWARN, "GFP_ATOMIC|__GFP_NOWARN"),
        (GFP.HIGHMEM, "__GFP_HIGHMEM"),
        (GFP.IO | GFP.FS, "__GFP_IO|__GFP_FS"),
        (GFP.KERNEL & ~GFP.FS, "__GFP_IO|__GFP_DIRECT_RECLAIM|__GFP_KSWAPD_RECLAIM"),
        (GFP.KERNEL | GFP.HIGH, "GFP_KERNEL|__GFP_HIGH"),
    ],
)
def test_flags_are_shown_as_kernel_c_writes_them(flags, text):
    assert GFP.show(flags) == text


@pytest.mark.parametrize("name", LINUX_BITS)
def test_every_single_flag_is_shown_with_its_kernel_name(name):
    assert GFP.show(getattr(GFP, name)) == f"__GFP_{name}"


def test_what_is_shown_adds_up_to_the_flags():
    for flags in (GFP.KERNEL | GFP.ZERO | GFP.DMA, GFP.NOWAIT | GFP.MEMALLOC, GFP.ATOMIC | GFP.NORETRY | GFP.HIGHMEM, GFP.RECLAIM):
        names = GFP.show(flags).split("|")
        values = [getattr(GFP, name.removeprefix("__").removeprefix("GFP_")) for name in names]
        assert sum(values) == flags


def test_flags_that_are_flags_pass_the_check_unchanged():
    for flags in (0, GFP.KERNEL, GFP.ATOMIC | GFP.ZERO, ALL & ~(GFP.HIGHMEM | GFP.DMA32)):
        assert check(flags) == flags


@pytest.mark.parametrize("bit", sorted(set(range(70)) - set(LINUX_BITS.values())))
def test_a_bit_that_is_no_flag_is_refused(bit):
    for call in (check, GFP.show):
        with pytest.raises(ValueError, match=f"bits that are no GFP flag: {1 << bit:#x}; the flags are DMA, HIGHMEM"):
            call(GFP.KERNEL | 1 << bit)


def test_allocating_for_a_descriptor_forgets_where_and_how_its_block_was_wanted():
    forgotten = {name for name, bit in BITS.items() if not nested(bit)}
    assert forgotten == {"DMA", "HIGHMEM", "DMA32", "MOVABLE", "ZERO", "COMP", "THISNODE"}
    assert all(nested(bit) == bit for name, bit in BITS.items() if name not in forgotten)
    assert nested(ALL) == sum(bit for name, bit in BITS.items() if name not in forgotten)


@pytest.mark.parametrize("name", ["MOVABLE", "RECLAIMABLE", "IO", "FS", "KSWAPD_RECLAIM", "NORETRY", "NOWARN", "COMP"])
@pytest.mark.parametrize("pcp", [False, True])
def test_flags_of_what_is_not_modelled_change_nothing(name, pcp):
    """CONTRIBUTING says so."""
    ends = []
    for gfp in (GFP.KERNEL | getattr(GFP, name), GFP.KERNEL & ~getattr(GFP, name)):
        m = Machine("256K", page_size=1024, max_order=5, highmem="64K", watermarks=(2, 3, 4), pcp=pcp, cpus=2)
        got = [m.alloc_pages(n % 4, gfp) for n in range(60)], [m.folio_alloc(n % 2, gfp) for n in range(40)], m.vmalloc(9000, gfp)
        kept = [m.kmalloc(40 * n, gfp) for n in range(1, 50)]
        ends.append((got, kept, m.snapshot()))
    assert ends[0] == ends[1]
    assert None in kept
