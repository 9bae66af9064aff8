"""The helpers between struct page and the descriptors, in both eras: through mem_desc and buddy, and as casts made explicit.

A machine runs in the new era.  For the old one, an array of 64-byte struct pages is laid out in RAM that was allocated for it.
"""

import pytest
from machines import tiny

from memlab import MemType, page
from memlab.memdesc import tag
from memlab.structs import anonmem, buddy, filemem, folio, old_buddy, old_folio, old_page, old_slab, ptdesc, slab, vmalloc

# name of a user -> (from page, to page, view, how a machine makes one)
USERS = {
    "folio": (page.page_folio, page.folio_page, folio, lambda m: m.folio_alloc(2)),
    "anonmem": (page.page_anonmem, page.anonmem_page, anonmem, lambda m: m.anonmem_alloc(1)),
    "filemem": (page.page_filemem, page.filemem_page, filemem, lambda m: m.filemem_alloc(0)),
    "ptdesc": (page.page_ptdesc, page.ptdesc_page, ptdesc, lambda m: m.pgtable_alloc()),
    "vmalloc": (page.page_vmalloc, page.vmalloc_page, vmalloc, lambda m: m.vmalloc(3 * m.page_size)),
    "slab": (page.page_slab, page.slab_page, slab, lambda m: m.mem_desc(m.virt_to_pfn(m.kmalloc(64))).address),
}


def pages_of(m, address):
    """Return the views of all pages whose mem_desc names the descriptor at an address."""
    return [m.page(pfn) for pfn in range(m.nr_pages) if m.mem_desc(pfn).address == address]


# -- the new era


@pytest.mark.parametrize("user", USERS)
def test_every_page_of_a_block_leads_to_its_descriptor(user):
    m = tiny()
    to_user, _, struct, make = USERS[user]
    address = make(m)
    pages = pages_of(m, address)
    assert len(pages) == {"folio": 4, "anonmem": 2, "vmalloc": 3, "slab": 2}.get(user, 1)
    for p in pages:
        assert to_user(p) == struct(m, address)


@pytest.mark.parametrize("user", USERS)
def test_a_descriptor_leads_to_its_first_page(user):
    m = tiny()
    _, to_page, struct, make = USERS[user]
    address = make(m)
    first = to_page(struct(m, address))
    assert first in pages_of(m, address)
    if user != "vmalloc":
        assert first == pages_of(m, address)[0]


@pytest.mark.parametrize("user", ["folio", "anonmem", "filemem", "vmalloc"])
def test_a_descriptor_leads_to_each_of_its_pages_by_number(user):
    m = tiny()
    _, to_page, struct, make = USERS[user]
    view = struct(m, make(m))
    pages = pages_of(m, view.address)
    assert {to_page(view, n).address for n in range(len(pages))} == {p.address for p in pages}
    for n in (len(pages), -1):
        with pytest.raises(ValueError, match=f"(pages 0 to {len(pages) - 1}, not {n}|counted from 0, not from -1)"):
            to_page(view, n)
    with pytest.raises(TypeError, match="whole number, not '1'"):
        to_page(view, "1")


def test_pages_of_a_vmalloc_come_in_the_order_in_which_they_were_taken():
    m = tiny()
    v = vmalloc(m, m.vmalloc(3 * m.page_size))
    assert page.vmalloc_page(v, 0).address == buddy(m, v.list[0] - 8).page
    assert page.vmalloc_page(v, 2).address == buddy(m, v.list[1] - 8).page


@pytest.mark.parametrize("order", [0, 2])
def test_pages_of_a_block_lead_to_its_buddy_free_or_allocated(order):
    m = tiny()
    pfn = m.alloc_pages(order)
    for _ in range(2):
        b = page.page_buddy(m.page(pfn + (1 << order) - 1))
        assert b == m.buddy(m.mem_desc(pfn).address)
        first = m.page_to_pfn(page.buddy_page(b).address)
        assert first <= pfn < first + (1 << b.order)
        if m.mem_desc(pfn).type is MemType.BUDDY:
            assert first == pfn
            m.free_pages(pfn)
    assert m.mem_desc(pfn).type is MemType.FREE


@pytest.mark.parametrize("user", USERS)
def test_a_page_of_another_type_is_refused_in_words(user):
    m = tiny()
    for other in USERS:
        if other != user:
            p = pages_of(m, USERS[other][3](m))[0]
            found = m.mem_desc(m.page_to_pfn(p.address))
            with pytest.raises(
                ValueError, match=f"{p.address:#x} has no {user}: it is described by the {found.type.name} at {found.address:#x}"
            ):
                USERS[user][0](p)


@pytest.mark.parametrize("helper", [page.page_buddy, *(functions[0] for functions in USERS.values())])
def test_pages_without_a_descriptor_and_damaged_ones_are_refused(helper):
    m = tiny()
    with pytest.raises(ValueError, match="it is reserved and has no descriptor"):
        helper(m.page(m.mem_map_pfn))
    pfn = m.alloc_pages(0)
    m.page(pfn).mem_desc |= 15
    with pytest.raises(ValueError, match="is no mem_desc"):
        helper(m.page(pfn))


def test_a_slabs_page_has_its_buddy_through_the_slab_only():
    m = tiny()
    p = pages_of(m, USERS["slab"][3](m))[0]
    with pytest.raises(ValueError, match="has no buddy: it is described by the SLAB"):
        page.page_buddy(p)
    assert page.buddy_page(buddy(m, page.page_slab(p).buddy)) == p


def test_descriptors_that_describe_nothing_lead_nowhere():
    m = tiny()
    view = folio(m, m.folio_alloc(0))
    view.buddy = 0
    with pytest.raises(ValueError, match=f"struct folio at {view.address:#x} describes no pages: its buddy is NULL"):
        page.folio_page(view)
    held = m.buddy(m.caches["kmem_cache_buddy"].alloc())
    with pytest.raises(ValueError, match=f"struct buddy at {held.address:#x} describes no page"):
        page.buddy_page(held)


@pytest.mark.parametrize("user", [*USERS, "buddy"])
def test_what_is_not_the_right_struct_is_a_type_error(user):
    m = tiny()
    to_user, to_page = USERS[user][:2] if user in USERS else (page.page_buddy, page.buddy_page)
    wrong = m.zone()
    for bad in (3, None, wrong):
        with pytest.raises(TypeError, match="takes a struct page"):
            to_user(bad)
        with pytest.raises(TypeError, match=f"takes a struct {user}"):
            to_page(bad)


# -- the old era


def mem_map(m, n=8):
    """Lay out n zeroed old struct pages in RAM, and make pages 4 to 7 one block: three tails with page 4 as their head."""
    at = m.page_address(m.alloc_pages(2))
    m.write(at, bytes(n * old_page.sizeof))
    pages = [old_page(m, at + i * old_page.sizeof) for i in range(n)]
    for tail in pages[5:]:
        tail.compound_head = pages[4].address | 1
    return pages


OLD = [
    (page.page_slab, page.slab_page, old_slab),
    (page.page_folio, page.folio_page, old_folio),
    (page.page_buddy, page.buddy_page, old_buddy),
]


@pytest.mark.parametrize(("to_user", "to_page", "overlay"), OLD)
def test_a_descriptor_of_old_is_its_first_page_seen_otherwise(to_user, to_page, overlay):
    pages = mem_map(tiny())
    view = to_user(pages[2])
    assert view == overlay(pages[2].memory, pages[2].address)
    assert to_page(view) == pages[2]


@pytest.mark.parametrize(("to_user", "to_page", "overlay"), OLD)
def test_tail_pages_of_old_lead_to_their_heads_descriptor(to_user, to_page, overlay):
    pages = mem_map(tiny())
    assert {to_user(p).address for p in pages[4:]} == {pages[4].address}
    assert isinstance(to_user(pages[7]), overlay)
    assert to_page(to_user(pages[7])) == pages[4]


def test_compound_head_of_a_page_that_is_no_tail_is_the_page_itself():
    pages = mem_map(tiny())
    assert [page.compound_head(p) for p in pages] == pages[:4] + [pages[4]] * 4


def test_fields_of_a_slab_of_old_lie_over_those_of_its_page():
    pages = mem_map(tiny())
    s = page.page_slab(pages[2])
    s.slab_cache = 0xFFFF_8880_0000_1230  # aligned, so bit 0 of the word that is also compound_head stays clear
    assert pages[2].compound_head == s.slab_cache
    assert page.page_slab(pages[2]) == s
    s.list = (1, 2)
    assert pages[2]._pad[:2] == (1, 2)


def test_nothing_tells_a_folio_of_old_from_a_slab_but_the_new_era_does():
    m = tiny()
    pages = mem_map(m)
    page.page_slab(pages[2]).freelist = 0x1000
    assert page.page_folio(pages[2]).index == 0x1000  # the wrong cast reads a pointer as a number
    with pytest.raises(ValueError, match="has no folio: it is described by the SLAB"):
        page.page_folio(pages_of(m, USERS["slab"][3](m))[0])


def test_pages_of_a_folio_of_old_follow_each_other():
    pages = mem_map(tiny())
    f = page.page_folio(pages[6])
    assert [page.folio_page(f, n) for n in range(4)] == pages[4:]
    with pytest.raises(ValueError, match="counted from 0"):
        page.folio_page(f, -1)


def test_a_tail_of_a_tail_is_refused():
    pages = mem_map(tiny())
    pages[1].compound_head = pages[5].address | 1
    for helper in (page.compound_head, page.page_slab, page.page_folio, page.page_buddy):
        with pytest.raises(
            ValueError, match=f"{pages[1].address:#x} says that its head is at {pages[5].address:#x}, which is a tail page itself"
        ):
            helper(pages[1])


@pytest.mark.parametrize("helper", [page.page_anonmem, page.page_filemem, page.page_ptdesc, page.page_vmalloc])
def test_types_of_the_new_era_have_no_pages_of_old(helper):
    with pytest.raises(TypeError, match="takes a struct page, such as"):
        helper(mem_map(tiny())[0])


def test_a_page_of_the_new_era_has_no_compound_head():
    m = tiny()
    with pytest.raises(TypeError, match="struct page of 64 bytes"):
        page.compound_head(m.page(3))


def test_the_same_code_runs_in_both_eras():
    """What the helpers are for: this function knows neither era."""
    m = tiny()

    def first_page_of_slab(p):
        return page.slab_page(page.page_slab(p))

    old = mem_map(m)
    cache = m.kmem_cache_create("pages", 1024)
    new = pages_of(m, m.mem_desc(m.virt_to_pfn(cache.alloc())).address)
    assert len(new) > 1
    assert first_page_of_slab(old[7]) == old[4]
    assert first_page_of_slab(new[-1]) == new[0]


def test_a_mem_desc_is_what_tag_makes_of_the_descriptor():
    m = tiny()
    f = m.folio_alloc(0)
    assert pages_of(m, f)[0].mem_desc == tag(f, MemType.FOLIO)
