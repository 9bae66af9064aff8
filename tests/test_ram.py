"""The simulated RAM: names of places, reading and writing, snapshots, undo, and machines in files.

A place has up to three names (virtual address, pfn, address of its struct page); what is no place is refused.  A copy of RAM is all that a
machine is: restored, undone or loaded, it goes on exactly as the first one would have.
"""

import hashlib
import json
import random
import struct

import pytest
from machines import tiny

from memlab import GFP, KernelBug, Machine, MemType
from memlab.structs import folio, page

TINY = {"memory": "64K", "page_size": 256, "max_order": 4}
SHAPES = {
    "tiny": TINY,
    "bounded": TINY | {"design": "bounded"},
    "CPUs and lists": TINY | {"cpus": 3, "pcp": True},
    "all zones": {"memory": "8M", "nodes": 2, "cpus": 2, "dma": "512K", "dma32": "1M", "highmem": "1M", "distance": [[10, 30], [30, 10]]},
    "watermarks": {"memory": "2M", "watermarks": (4, 8, 12)},
    "linux watermarks": {"memory": "8M"},
}


def work(m, seed=1, steps=60):
    """Do a random mix of work on a machine; return what each call returned."""
    r, told, live = random.Random(seed), [], []
    calls = [
        (lambda: m.alloc_pages(r.randrange(3)), m.free_pages),
        (lambda: m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM), m.free_pages),
        (lambda: m.kmalloc(r.randrange(1, 400)), m.kfree),
        (lambda: m.folio_alloc(0), m.folio_put),
        (lambda: m.vmalloc(3 * m.page_size), m.vfree),
        (m.get_free_page, m.free_page),
    ]
    for _ in range(steps):
        with m.on_cpu(r.randrange(m.config.cpus)):
            if live and r.random() < 0.4:
                free, what = live.pop(r.randrange(len(live)))
                free(what)
            else:
                make, free = r.choice(calls)
                got = make()
                told.append(got)
                if got is not None:
                    live.append((free, got))
    return told


# -- names of places


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_pfn_address_and_struct_page_name_each_other(shape):
    m = Machine(**shape)
    for pfn in range(0, m.nr_pages, 7):
        assert m.page_to_pfn(m.pfn_to_page(pfn)) == pfn
        address = m.page_address(pfn)
        if pfn < m.highmem_pfn:
            assert [m.virt_to_pfn(address + i) for i in (0, 1, m.page_size - 1)] == [pfn] * 3
        else:
            assert address is None


def test_addresses_are_those_of_a_direct_map_and_of_the_vmemmap():
    m = Machine("1M")
    assert [hex(m.page_address(pfn)) for pfn in (0, 1)] == ["0xffff888000000000", "0xffff888000001000"]
    assert [hex(m.pfn_to_page(pfn)) for pfn in (0, 1)] == ["0xffffea0000000000", "0xffffea0000000008"]


def test_a_highmem_page_has_a_pfn_and_a_struct_page_but_no_address():
    m = tiny(highmem="4K")
    pfn = m.alloc_pages(0, GFP.KERNEL | GFP.HIGHMEM)
    assert pfn >= m.highmem_pfn
    assert m.page_address(pfn) is None
    assert m.mem_desc(m.page_to_pfn(m.pfn_to_page(pfn))).type is MemType.BUDDY
    with pytest.raises(ValueError, match="no virtual address of a page"):
        m.virt_to_pfn(m.B + pfn * m.page_size)


# -- reading and writing


def test_what_is_written_is_read():
    m = tiny()
    address = m.get_free_page()
    m.write(address + 3, b"memory")
    assert m.read(address, 10) == b"\0\0\0memory\0"
    for kind in (bytearray, memoryview):
        m.write(address, kind(b"ram"))
        assert m.read(address, 3) == b"ram"
    m.write(address, b"")
    assert m.read(address, 0) == b""


def test_the_vmemmap_is_another_name_of_the_mem_map():
    m = tiny()
    pfn = m.alloc_pages(0)
    alias = m.page_address(m.mem_map_pfn) + page.sizeof * pfn
    assert m.read(m.pfn_to_page(pfn), 8) == m.read(alias, 8)
    m.write(m.pfn_to_page(pfn), b"8 bytes!")
    assert m.read(alias, 8) == b"8 bytes!"
    m.write(alias, b"and back")
    assert m.page(pfn).mem_desc == int.from_bytes(b"and back", "little")


def test_ram_ends_where_the_kernel_area_ends():
    m = tiny()
    first, last = m.B, m.B + 256 * 256
    while True:  # the kernel area lies behind the pages
        try:
            m.read(last, 8)
        except ValueError:
            break
        last += 8
    assert last > m.B + 256 * 256 + 64 * 192
    assert len(m.read(first, last - first)) == last - first
    for address, n in ((first - 1, 1), (first, last - first + 1), (last, 1), (last - 1, 2), (0, 8), (-8, 8), (m.V - 8, 8)):
        with pytest.raises(ValueError, match="are not all in RAM"):
            m.read(address, n)
        with pytest.raises(ValueError, match="are not all in RAM"):
            m.write(address, bytes(n))


def test_the_vmemmap_ends_with_the_last_struct_page():
    m = tiny()
    assert len(m.read(m.V, 8 * 256)) == 8 * 256
    for address, n in ((m.V + 8 * 256, 1), (m.V, 8 * 256 + 1), (m.V + 8 * 255, 9)):
        with pytest.raises(ValueError, match="not all in the vmemmap of 256 struct pages"):
            m.read(address, n)


def test_highmem_is_neither_read_nor_written():
    m = tiny(highmem="4K")
    end = m.B + m.highmem_pfn * m.page_size
    assert m.read(end - 8, 8) == bytes(8)
    for address, n in ((end, 8), (end - 4, 8), (end + 4088, 8), (end - 8, 5000)):
        with pytest.raises(ValueError, match=f"HIGHMEM, which has no virtual addresses; lowmem ends at {end - 1:#x}"):
            m.read(address, n)
        with pytest.raises(ValueError, match="HIGHMEM"):
            m.write(address, bytes(n))
    assert m.read(end + 4096, 8)  # the kernel area behind it is RAM again


def test_a_machine_larger_than_this_computer_says_so():
    with pytest.raises(MemoryError, match=r"cannot map .* MiB for the simulated RAM .*ask for a smaller machine"):
        Machine("200000T")


# -- snapshots


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_restored_machine_does_again_what_it_did(shape):
    m = Machine(**shape)
    work(m, seed=5)
    s, counters = m.snapshot(), m.stats
    first, after = work(m, seed=6), m.snapshot()
    m.restore(s)
    assert m.snapshot() == s
    assert m.stats == counters
    assert m.check() is None
    assert work(m, seed=6) == first
    assert m.snapshot() == after


def test_two_machines_with_one_history_are_equal_and_with_two_they_are_not():
    a, b, c = tiny(), tiny(), tiny()
    for m, seed in ((a, 3), (b, 3), (c, 4)):
        work(m, seed)
    assert a.snapshot() == b.snapshot()
    assert hash(a.snapshot()) == hash(b.snapshot())
    assert a.snapshot() != c.snapshot()
    assert a.snapshot() != "a snapshot"


def test_what_a_free_page_holds_does_not_count():
    m = tiny()
    address = m.get_free_page()
    m.free_page(address)
    before = m.snapshot()
    m.write(address, b"left behind")
    assert m.snapshot() == before
    assert m.get_free_page() == address
    assert m.read(address, 11) == b"left behind"


def test_what_a_page_in_use_holds_does_count():
    m = tiny()
    address = m.get_free_page()
    before = m.snapshot()
    m.write(address, b"\0" * 8)
    assert m.snapshot() == before
    m.write(address, b"x")
    assert m.snapshot() != before


@pytest.mark.parametrize("where", ["kernel area", "mem_map", "descriptor"])
def test_one_word_of_allocator_state_makes_a_difference(where):
    m = tiny()
    pfn = m.alloc_pages(0)
    before = m.snapshot()
    at = {"kernel area": m.zone().address, "mem_map": m.pfn_to_page(pfn), "descriptor": m.mem_desc(pfn).address}[where]
    m.write(at, bytes([m.read(at, 1)[0] ^ 1]))
    assert m.snapshot() != before


def test_counters_do_not_count():
    m = tiny()
    pfns = m.alloc_pages_bulk(8)
    pfn = next(p for p in pfns if p ^ 1 in pfns)  # its buddy stays in use, so nothing merges and nothing is split
    m.free_pages(pfn)
    before, counters = m.snapshot(), m.stats
    assert m.alloc_pages(0) == pfn
    m.free_pages(pfn)
    assert (m.stats - counters).words_typed == 2
    assert m.snapshot() == before


def test_pages_never_written_cost_a_snapshot_nothing():
    m = Machine("64M")
    kernel, mem_map, pages, _ = m.snapshot().parts()
    assert len(mem_map) == 8 * m.nr_pages
    assert len(pages) < 10
    assert len(kernel) < 100_000


def test_restoring_clears_what_was_written_since():
    m = tiny()
    before = m.snapshot()
    address = m.get_free_page()
    m.write(address, b"\xff" * 256)
    m.restore(before)
    assert m.read(address, 256) == bytes(256)


def test_a_snapshot_is_not_changed_by_what_happens_later():
    m = tiny()
    s, t = m.snapshot(), m.snapshot()
    work(m)
    assert s == t
    m.restore(s)
    assert m.snapshot() == t


def test_a_snapshot_of_another_shape_is_refused():
    m = tiny()
    work(m)
    before = m.snapshot()
    for other in (tiny(nodes=2), tiny(cpus=2), Machine("32K", page_size=256, max_order=4), Machine("64K", page_size=256, max_order=3)):
        with pytest.raises(ValueError, match="of a machine of another shape"):
            m.restore(other.snapshot())
    with pytest.raises(TypeError, match="takes what snapshot"):
        m.restore(b"RAM")
    assert m.snapshot() == before


def test_caches_follow_a_restore_there_and_back():
    m = tiny()
    before = m.snapshot()
    cache = m.kmem_cache_create("thing", 32)
    obj = cache.alloc()
    after = m.snapshot()
    m.restore(before)
    assert "thing" not in m.caches
    for call in (cache.alloc, lambda: cache.free(obj), cache.shrink, cache.destroy):
        with pytest.raises(KernelBug, match="destroyed"):
            call()
    m.restore(after)
    assert m.caches["thing"] is cache
    cache.free(obj)
    assert cache.alloc() == obj


def test_a_cache_created_after_a_restore_is_not_the_one_that_the_restore_took_away():
    m = tiny()
    before = m.snapshot()
    old = m.kmem_cache_create("old", 32)
    m.restore(before)
    new = m.kmem_cache_create("new", 64)
    assert m.caches["new"] is new
    assert new.alloc() is not None
    assert (new.name, new.size) == ("new", 64)
    with pytest.raises(KernelBug, match="destroyed"):
        old.alloc()


# -- undo


def test_undo_is_off_unless_asked_for_and_then_nothing_is_wrapped():
    m = tiny()
    assert {name: f for name, f in vars(m).items() if callable(getattr(type(m), name, None))} == m._in_line
    for call in (m.undo, m.redo):
        with pytest.raises(ValueError, match=r"undo is off on this machine; boot it with Machine\(..., undo=100\)"):
            call()
    assert not any(hasattr(f, "__wrapped__") for f in m._in_line.values())
    steps = tiny(undo=1)
    assert {name for name, f in vars(steps).items() if hasattr(f, "__wrapped__")} > {"alloc_pages", "free_pages", "kmalloc", "write"}


def test_undo_goes_back_step_by_step_and_redo_forward_again():
    m = tiny(undo=10)
    address = m.get_free_page()
    states = [m.snapshot()]
    for step in (lambda: m.alloc_pages(3), lambda: m.kmalloc(100), lambda: m.write(address, b"x"), lambda: m.folio_alloc(1)):
        step()
        states.append(m.snapshot())
    for state in reversed(states[:-1]):
        assert m.undo()
        assert m.snapshot() == state
        assert m.check() is None
    for state in states[1:]:
        assert m.redo()
        assert m.snapshot() == state
    assert not m.redo()


def test_undo_keeps_as_many_steps_as_were_asked_for():
    m = tiny(undo=3)
    states = [m.snapshot()]
    for _ in range(8):
        m.alloc_pages(0)
        states.append(m.snapshot())
    assert [m.undo() for _ in range(5)] == [True, True, True, False, False]
    assert m.snapshot() == states[5]


def test_a_new_step_after_undo_drops_what_could_have_been_redone():
    m = tiny(undo=10)
    m.alloc_pages(0)
    m.alloc_pages(1)
    m.undo()
    m.alloc_pages(2)
    after = m.snapshot()
    assert not m.redo()
    assert m.snapshot() == after
    assert m.undo()
    assert m.redo()
    assert m.snapshot() == after


def test_undo_takes_counters_back_too():
    m = tiny(undo=2)
    before = m.stats
    m.alloc_pages(0)
    assert m.stats != before
    m.undo()
    assert m.stats == before


def test_what_was_refused_is_no_step():
    m = tiny(undo=5)
    pfn = m.alloc_pages(0)
    after = m.snapshot()
    for call in (lambda: m.free_pages(pfn + 1), lambda: m.alloc_pages(99), lambda: m.kfree(m.B), lambda: m.write(0, b"x")):
        with pytest.raises((KernelBug, ValueError)):
            call()
    assert m.undo()
    assert not m.undo()
    assert m.redo()
    assert m.snapshot() == after


STEPS = {
    "alloc_pages": lambda m: m.alloc_pages(2),
    "alloc_pages_bulk": lambda m: m.alloc_pages_bulk(9),
    "alloc_pages with ZERO": lambda m: m.alloc_pages(1, GFP.KERNEL | GFP.ZERO),
    "get_free_page": lambda m: m.get_free_page(),
    "split_page": lambda m: m.split_page(m.block),
    "free_pages": lambda m: m.free_pages(m.block),
    "kmem_cache_create": lambda m: m.kmem_cache_create("another", 40),
    "cache.alloc": lambda m: m.caches["thing"].alloc(),
    "cache.alloc with ZERO": lambda m: m.caches["thing"].alloc(GFP.KERNEL | GFP.ZERO),
    "cache.alloc_bulk": lambda m: m.caches["thing"].alloc_bulk(20),
    "cache.alloc_bulk with ZERO": lambda m: m.caches["thing"].alloc_bulk(20, GFP.KERNEL | GFP.ZERO),
    "cache.free": lambda m: m.caches["thing"].free(m.objects[0]),
    "cache.free_bulk": lambda m: m.caches["thing"].free_bulk(m.objects),
    "cache.shrink": lambda m: m.caches["idle"].shrink(),
    "cache.destroy": lambda m: m.caches["idle"].destroy(),
    "descriptor.alloc": lambda m: m.caches["kmem_cache_buddy"].alloc(),
    "descriptor.alloc_bulk": lambda m: m.caches["kmem_cache_slab"].alloc_bulk(3),
    "descriptor.free": lambda m: m.caches["kmem_cache_buddy"].free(m.held),
    "descriptor.free_bulk": lambda m: m.caches["kmem_cache_buddy"].free_bulk([m.held]),
    "kmalloc": lambda m: m.kmalloc(100),
    "kmalloc with ZERO": lambda m: m.kmalloc(1000, GFP.KERNEL | GFP.ZERO),
    "kfree": lambda m: m.kfree(m.large),
    "folio_alloc": lambda m: m.folio_alloc(1),
    "folio_put": lambda m: m.folio_put(m.folio),
    "vmalloc": lambda m: m.vmalloc(1000),
    "shrink": lambda m: m.shrink(),
    "write": lambda m: m.write(m.B + 4096, b"bytes"),
    "a field of a view": lambda m: setattr(folio(m, m.folio), "index", 77),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_each_call_is_one_step(step):
    m = tiny(undo=20, memory="128K")
    m.block, m.large, m.folio = m.alloc_pages(2), m.kmalloc(2000), m.folio_alloc(0)
    m.objects = m.kmem_cache_create("thing", 32).alloc_bulk(3)
    m.kmem_cache_create("idle", 32).free(m.caches["idle"].alloc())
    m.held = m.caches["kmem_cache_buddy"].alloc()
    for obj in m.objects:
        m.write(obj, b"\xff" * 32)
    before = m.snapshot()
    step(m)
    after = m.snapshot()
    assert after != before
    assert m.undo()
    assert m.snapshot() == before
    assert m.redo()
    assert m.snapshot() == after


def test_caches_follow_undo_and_redo():
    m = tiny(undo=5)
    cache = m.kmem_cache_create("thing", 32)
    m.undo()
    assert repr(cache) == "<KmemCache: destroyed>"
    m.redo()
    assert cache.alloc() is not None
    m.undo()
    cache.destroy()
    m.undo()
    assert m.caches["thing"] is cache
    assert cache.alloc() is not None


def test_undo_works_while_calls_are_traced():
    m = tiny(undo=5)
    before = m.snapshot()
    with m.trace() as t:
        m.alloc_pages(0)
    assert t.calls
    m.alloc_pages(0)
    assert m.undo()
    assert m.undo()
    assert not m.undo()
    assert m.snapshot() == before


# -- files


@pytest.fixture
def saved(tmp_path):
    """A file with a machine in it, and the machine."""
    m = tiny()
    work(m)
    path = tmp_path / "machine.memlab"
    m.save(path)
    return path, m


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_loaded_machine_goes_on_where_the_saved_one_stopped(shape, tmp_path):
    m = Machine(**shape)
    work(m, seed=2)
    m.save(tmp_path / "m")
    other = Machine.load(tmp_path / "m")
    assert other.config == m.config
    assert other.snapshot() == m.snapshot()
    assert other.stats == m.stats
    assert other.check() is None
    assert work(other, seed=3) == work(m, seed=3)
    assert other.snapshot() == m.snapshot()
    assert other.check() is None


def test_a_damaged_machine_can_be_saved_and_is_still_damaged_when_loaded(saved, tmp_path):
    _, m = saved
    m.zone().free_pages = 1
    m.save(tmp_path / "damaged")
    with pytest.raises(Exception, match="zone-free-count"):
        Machine.load(tmp_path / "damaged").check()


def test_a_loaded_machine_remembers_no_steps_but_takes_new_ones(saved):
    path, m = saved
    other = Machine.load(path, undo=3)
    assert not other.undo()
    other.alloc_pages(0)
    assert other.undo()
    assert other.snapshot() == m.snapshot()
    with pytest.raises(ValueError, match="undo is off"):
        Machine.load(path).undo()
    with pytest.raises(ValueError, match="number of steps"):
        Machine.load(path, undo=-1)


def test_a_path_may_be_text(saved, tmp_path):
    _, m = saved
    m.save(str(tmp_path / "text"))
    assert Machine.load(str(tmp_path / "text")).snapshot() == m.snapshot()


def test_caches_of_a_loaded_machine_can_be_used_and_destroyed(tmp_path):
    m = tiny()
    obj = m.kmem_cache_create("thing", 32).alloc()
    m.save(tmp_path / "m")
    other = Machine.load(tmp_path / "m")
    cache = other.caches["thing"]
    cache.free(obj)
    cache.destroy()
    with pytest.raises(KernelBug, match="machine's own"):
        other.caches["folio"].destroy()
    assert other.check() is None


def test_a_constructor_is_given_again_after_load(tmp_path):
    m = tiny()
    m.kmem_cache_create("thing", 32, ctor=lambda obj: m.write(obj, b"old"))
    m.save(tmp_path / "m")
    calls = []
    other = Machine.load(tmp_path / "m", ctors={"thing": calls.append})
    obj = other.caches["thing"].alloc()
    assert calls[0] == obj
    assert len(calls) == other.caches["thing"].struct.objects


def test_without_its_constructor_a_loaded_cache_makes_no_slabs_but_uses_those_it_has(tmp_path):
    m = tiny()
    cache = m.kmem_cache_create("thing", 32, ctor=lambda _: None)
    used = cache.alloc()
    m.save(tmp_path / "m")
    other = Machine.load(tmp_path / "m")
    cache = other.caches["thing"]
    rest = cache.struct.objects - 1
    assert len({cache.alloc() for _ in range(rest)} | {used}) == rest + 1
    with pytest.raises(
        KernelBug, match=r"the constructor of thing was not given again after load: Machine.load\(path, ctors=\{'thing': function\}\)"
    ):
        cache.alloc()
    assert other.check() is None


def test_a_constructor_for_no_cache_is_refused(saved):
    with pytest.raises(ValueError, match="has no cache 'thing' to give a constructor to; it has kmem_cache_buddy"):
        Machine.load(saved[0], ctors={"thing": print})


def refuses(path, data, match):
    """Expect one ValueError of one line from loading a file with these bytes."""
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as caught:
        Machine.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert type(caught.value) is ValueError


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"PK\x03\x04" * 50, b"memlab\n" + bytes(100), b"# a notebook"], ids=["empty", "zeros", "zip", "LF", "text"]
)
def test_a_foreign_file_is_refused(tmp_path, data):
    refuses(tmp_path / "foreign", data, "is not a memlab machine")


def test_a_truncated_file_is_refused_wherever_it_ends(saved):
    path, _ = saved
    data = path.read_bytes()
    for n in [*range(8, 80), *range(80, len(data), 97), len(data) - 1]:
        refuses(path, data[:n], "truncated")
    for n in range(8):
        refuses(path, data[:n], "is not a memlab machine")


def test_a_damaged_file_is_refused_whichever_byte_it_is(saved):
    path, _ = saved
    data = path.read_bytes()
    for at in [*range(12, 80), *range(80, len(data), 53), len(data) - 1]:
        refuses(path, data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :], "truncated or damaged: its checksum does not fit")


def test_a_file_with_something_behind_it_is_refused(saved):
    path, _ = saved
    refuses(path, path.read_bytes() + b"\n", "truncated or damaged")


def test_a_newer_file_is_refused_even_with_a_good_checksum(saved):
    path, _ = saved
    data = path.read_bytes()[:-32]
    newer = data[:8] + struct.pack("<I", 99) + data[12:]
    refuses(
        path,
        newer + hashlib.sha256(newer).digest(),
        "saved by a newer memlab .format 99; this one reads up to 1.; update memlab to load it",
    )


def test_the_file_says_what_machine_it_holds(saved):
    path, m = saved
    data = path.read_bytes()
    assert data[:8] == b"memlab\r\n"
    version, length = struct.unpack("<II", data[8:16])
    assert version == 1
    assert json.loads(data[16 : 16 + length])["config"]["memory"] == m.nr_pages * m.page_size
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]


def test_a_file_of_a_large_machine_is_small(tmp_path):
    Machine("64M").save(tmp_path / "m")
    assert (tmp_path / "m").stat().st_size < 100_000


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Machine.load(tmp_path / "nowhere")
    with pytest.raises(OSError, match="nowhere"):
        tiny().save(tmp_path / "nowhere" / "m")
