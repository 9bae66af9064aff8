"""The users of descriptors: folio, anonmem, filemem, pgtable and vmalloc, each with a descriptor and a cache of its own, and what misuse of them gets."""

import pytest
from machines import DESIGNS, pages_of

from memlab import GFP, KernelBug, Machine, MemType, structs

# user -> (type of its pages, struct and cache)
USERS = {
    "folio": (MemType.FOLIO, structs.folio),
    "anonmem": (MemType.ANONMEM, structs.anonmem),
    "filemem": (MemType.FILEMEM, structs.filemem),
    "pgtable": (MemType.PGTABLE, structs.ptdesc),
    "vmalloc": (MemType.VMALLOC, structs.vmalloc),
}
BLOCKS = [user for user in USERS if user != "vmalloc"]  # those whose pages are one block


@pytest.fixture(params=DESIGNS)
def m(request):
    machine = Machine("2M", max_order=9, design=request.param)
    yield machine
    machine.check()


def get(m, user, order=0, gfp=GFP.KERNEL):
    """Allocate 2^order pages as ``user`` does; pgtable has single pages only, vmalloc takes bytes."""
    if user == "vmalloc":
        return m.vmalloc(m.page_size << order, gfp)
    return m.pgtable_alloc(gfp) if user == "pgtable" else getattr(m, f"{user}_alloc")(order, gfp)


def put(m, user, address):
    (m.vfree if user == "vmalloc" else getattr(m, f"{user}_put"))(address)


def objects(m, user):
    name = USERS[user][1].struct
    return next(row["active_objs"] for row in m.slabinfo() if row["name"] == name)


# What a user gets


@pytest.mark.parametrize("user", USERS)
def test_pages_name_the_users_descriptor_by_its_own_type(m, user):
    order = 0 if user == "pgtable" else 2
    address = get(m, user, order)
    pages = pages_of(m, address)
    assert len(pages) == 1 << order
    assert {m.mem_desc(pfn) for pfn in pages} == {(USERS[user][0], address)}


@pytest.mark.parametrize("user", USERS)
def test_the_descriptor_is_an_object_of_the_users_own_cache(m, user):
    before = {name: objects(m, name) for name in USERS}
    address = get(m, user)
    after = {name: objects(m, name) for name in USERS}
    assert {name: after[name] - before[name] for name in USERS} == {name: int(name == user) for name in USERS}
    slab = m.slab(m.mem_desc(m.virt_to_pfn(address)).address)
    assert slab.slab_cache == m.caches[USERS[user][1].struct].address


@pytest.mark.parametrize("user", BLOCKS)
def test_the_descriptor_keeps_the_buddy_that_the_pages_no_longer_name(m, user):
    address = get(m, user)
    view = USERS[user][1](m, address)
    buddy = m.buddy(view.buddy)
    assert pages_of(m, address) == [m.page_to_pfn(buddy.page)]
    assert (view.refcount, view.order, buddy.order) == (1, 0, 0)


@pytest.mark.parametrize("user", ["folio", "anonmem", "filemem"])
@pytest.mark.parametrize("order", [0, 1, 4, 7])
def test_a_block_of_any_order_is_described_once(m, user, order):
    address = get(m, user, order)
    pages = pages_of(m, address)
    assert pages == list(range(pages[0], pages[0] + (1 << order)))
    assert USERS[user][1](m, address).order == order
    put(m, user, address)
    assert {m.mem_desc(pfn).type for pfn in pages} == {MemType.FREE}


@pytest.mark.parametrize(("size", "pages"), [(1, 1), (4096, 1), (4097, 2), (20 * 4096, 20)])
def test_vmalloc_takes_single_pages_whose_buddies_hang_on_its_list(m, size, pages):
    m.alloc_pages(0)
    address = m.vmalloc(size)
    view = structs.vmalloc(m, address)
    assert (view.nbytes, view.nr_pages) == (size, pages)
    head, link, found = address + structs.vmalloc.list.offset, view.list[0], []
    while link != head:
        buddy = m.buddy(link - structs.buddy.list.offset)
        assert buddy.order == 0
        found.append(m.page_to_pfn(buddy.page))
        link = buddy.list[0]
    assert sorted(found) == pages_of(m, address)
    assert len(found) == pages


def test_vmalloc_needs_no_block_larger_than_a_page(m):
    pages = m.alloc_pages_bulk(m.nr_pages)
    for pfn in pages[100:200:2]:
        m.free_pages(pfn)
    assert m.vmalloc(2 * m.page_size) is not None


@pytest.mark.parametrize("user", USERS)
def test_put_frees_pages_and_descriptor(m, user):
    put(m, user, get(m, user))  # the cache has a slab from now on
    before, live, blocks = m.free_pages_count, objects(m, user), m.buddyinfo()
    address = get(m, user)
    assert m.free_pages_count < before
    put(m, user, address)
    assert (m.free_pages_count, objects(m, user), m.buddyinfo()) == (before, live, blocks)
    assert pages_of(m, address) == []


@pytest.mark.parametrize("user", BLOCKS)
def test_pages_go_with_the_last_reference_only(m, user):
    address = get(m, user)
    USERS[user][1](m, address).refcount = 2
    put(m, user, address)
    assert len(pages_of(m, address)) == 1
    put(m, user, address)
    assert pages_of(m, address) == []


def test_all_users_live_side_by_side_and_all_types_of_the_email_are_there(m):
    live = [(user, get(m, user)) for user in USERS for _ in range(20)]
    kinds = {m.mem_desc(pfn).type for pfn in range(m.nr_pages)} | {MemType.BUDDY}
    assert kinds == set(MemType)
    m.check()
    for user, address in live[::2] + live[1::2]:
        put(m, user, address)
    m.check()
    assert [objects(m, user) for user in USERS] == [0] * 5


@pytest.mark.parametrize("user", USERS)
def test_zero_pages_are_zero(m, user):
    page = m.get_free_page()
    m.write(page, b"\xff" * m.page_size)
    get(m, user)  # so that the cache has a slab
    m.free_page(page)
    address = get(m, user, 0, GFP.KERNEL | GFP.ZERO)
    (pfn,) = pages_of(m, address)
    assert m.page_address(pfn) == page
    assert not any(m.read(page, m.page_size))


# HIGHMEM


@pytest.mark.parametrize("user", USERS)
def test_highmem_pages_have_a_descriptor_in_lowmem(user, design):
    m = Machine("2M", highmem="1M", design=design)
    border = m.zone(0, "HighMem").start_pfn
    address = get(m, user, 0, GFP.KERNEL | GFP.HIGHMEM)
    (pfn,) = pages_of(m, address)
    assert pfn >= border
    assert m.page_address(pfn) is None
    assert m.virt_to_pfn(address) < border
    if user != "vmalloc":
        assert m.virt_to_pfn(USERS[user][1](m, address).buddy) < border
    m.check()
    put(m, user, address)
    m.check()


# Misuse


@pytest.mark.parametrize("user", USERS)
def test_a_second_put_is_refused_and_ram_untouched(m, user):
    keep, address = get(m, user), get(m, user)
    put(m, user, address)
    before = m.snapshot()
    with pytest.raises(KernelBug, match=f"no live {user}: it was put already"):
        put(m, user, address)
    assert m.snapshot() == before
    put(m, user, keep)


@pytest.mark.parametrize("user", USERS)
def test_a_put_of_the_only_one_twice_is_refused_though_its_slab_may_be_gone(m, user):
    address = get(m, user)
    put(m, user, address)
    m.caches[USERS[user][1].struct].shrink()
    before = m.snapshot()
    with pytest.raises(KernelBug, match=f"no live {user}"):
        put(m, user, address)
    assert m.snapshot() == before


@pytest.mark.parametrize("user", USERS)
def test_a_live_descriptor_cannot_be_freed_twice_over_through_its_cache_and_put(m, user):
    address = get(m, user)
    put(m, user, address)
    before = m.snapshot()
    with pytest.raises(KernelBug):
        m.caches[USERS[user][1].struct].free(address)
    assert m.snapshot() == before


# Out of memory


@pytest.mark.parametrize("user", USERS)
def test_out_of_memory_is_none_and_leaves_nothing(m, user):
    put(m, user, get(m, user))
    live = []
    while (address := get(m, user)) is not None:
        live.append(address)
    assert len(live) > 300
    m.check()
    free, objs = m.free_pages_count, objects(m, user)
    for _ in range(3):
        assert get(m, user) is None
        assert get(m, user, 0, GFP.ATOMIC) is None
    assert (m.free_pages_count, objects(m, user)) == (free, objs) == (free, len(live))
    m.check()
    for address in live:
        put(m, user, address)
    assert objects(m, user) == 0
    assert m.stats.pages_allocated_while_freeing == 0


@pytest.mark.parametrize("user", ["folio", "anonmem", "filemem"])
def test_no_block_of_that_order_gives_the_descriptor_back(m, user):
    put(m, user, get(m, user))
    while m.alloc_pages(3) is not None:
        pass
    before = m.snapshot()
    for order in (3, 5, 9):
        assert get(m, user, order) is None
    assert objects(m, user) == 0
    m.check()
    assert m.snapshot().key()[1] == before.key()[1]  # the mem_map


def test_vmalloc_that_runs_out_half_way_gives_every_page_back(m):
    m.vfree(m.vmalloc(m.page_size))
    pages = m.alloc_pages_bulk(m.nr_pages)
    for pfn in pages[:20]:
        m.free_pages(pfn)
    free = m.free_pages_count
    assert m.vmalloc(100 * m.page_size) is None
    m.check()
    assert objects(m, "vmalloc") == 0
    assert m.free_pages_count >= free - 2  # a slab of descriptors may have grown meanwhile and stays, empty
    assert m.vmalloc(10 * m.page_size) is not None


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("point", ["kmem_cache_alloc", "alloc_pages"])
def test_when_the_descriptor_or_the_pages_fail_nothing_stays(m, user, point):
    put(m, user, get(m, user))
    blocks, objs = m.buddyinfo(), objects(m, user)
    with m.fail(point) as fault:
        assert get(m, user) is None
    assert fault.fired
    assert (m.buddyinfo(), objects(m, user)) == (blocks, objs)
    m.check()
    assert get(m, user) is not None
