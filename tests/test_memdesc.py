"""mem_desc: a descriptor's address and its type in one word; what is misaligned, unknown or half a mem_desc is refused."""

import pytest

from memlab import Machine, MemDesc, MemType
from memlab.memdesc import TYPE_MASK, tag, untag

ADDRESS = 0xFFFF_8880_0000_1230
REAL = [kind for kind in MemType if kind is not MemType.NONE]


def test_the_types_are_those_of_the_email_with_free_and_allocated_buddy_told_apart():
    names = ["NONE", "FREE", "BUDDY", "SLAB", "FOLIO", "ANONMEM", "FILEMEM", "PGTABLE", "VMALLOC"]
    assert [(kind.name, int(kind)) for kind in MemType] == [(name, i) for i, name in enumerate(names)]
    assert max(MemType) <= TYPE_MASK == 15


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("address", [16, ADDRESS, (1 << 64) - 16])
def test_what_was_tagged_is_untagged(kind, address):
    word = tag(address, kind)
    assert word == address + kind
    assert untag(word) == MemDesc(kind, address)
    assert tag(*reversed(untag(word))) == word


@pytest.mark.parametrize("kind", REAL)
def test_a_type_may_be_given_as_a_number(kind):
    assert tag(ADDRESS, int(kind)) == tag(ADDRESS, kind)


def test_no_descriptor_is_a_word_of_0():
    assert tag(0, MemType.NONE) == 0
    assert untag(0) == (MemType.NONE, 0)


@pytest.mark.parametrize("kind", MemType)
@pytest.mark.parametrize("off", range(1, 16))
def test_a_misaligned_address_is_refused(kind, off):
    with pytest.raises(ValueError, match=f"aligned to 16 bytes, so that its low bits can hold the type; {ADDRESS + off:#x} is not"):
        tag(ADDRESS + off, kind)


@pytest.mark.parametrize("kind", REAL)
def test_half_a_mem_desc_is_refused(kind):
    for half in (lambda: tag(0, kind), lambda: tag(ADDRESS, MemType.NONE), lambda: untag(int(kind)), lambda: untag(ADDRESS)):
        with pytest.raises(ValueError, match="both an address and a type"):
            half()


@pytest.mark.parametrize("kind", range(9, 16))
def test_a_word_of_an_unknown_type_is_refused(kind):
    with pytest.raises(ValueError, match=f"{ADDRESS | kind:#x} is no mem_desc: its type bits say {kind}, and the types are 0 to 8"):
        untag(ADDRESS | kind)


def test_a_mem_desc_prints_its_type_and_its_address():
    assert repr(untag(tag(ADDRESS, MemType.FOLIO))) == "mem_desc: FOLIO at 0xffff888000001230"
    assert repr(untag(0)) == "mem_desc: NONE"


MAKERS = {
    MemType.BUDDY: lambda m: m.alloc_pages(0),
    MemType.SLAB: lambda m: m.virt_to_pfn(m.kmalloc(64)),
    MemType.FOLIO: lambda m: m.folio_alloc(1),
    MemType.ANONMEM: lambda m: m.anonmem_alloc(0),
    MemType.FILEMEM: lambda m: m.filemem_alloc(2),
    MemType.PGTABLE: lambda m: m.pgtable_alloc(),
    MemType.VMALLOC: lambda m: m.vmalloc(1000),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_machine_has_pages_of_every_type(kind):
    m = Machine("64K", page_size=256, max_order=4)
    made = MAKERS[kind](m)
    of_kind = [m.mem_desc(pfn) for pfn in range(m.nr_pages) if m.mem_desc(pfn).type is kind]
    assert of_kind
    if kind > MemType.SLAB:
        assert {md.address for md in of_kind} == {made}
    else:
        assert m.mem_desc(made) in of_kind


def test_a_fresh_machine_has_reserved_pages_free_ones_and_slabs():
    m = Machine("64K", page_size=256, max_order=4)
    assert {m.mem_desc(pfn).type for pfn in range(m.nr_pages)} == {MemType.NONE, MemType.FREE, MemType.SLAB}
    assert m.mem_desc(0) == (MemType.NONE, 0)


def test_the_mem_desc_of_a_page_is_its_struct_pages_only_word():
    m = Machine("64K", page_size=256, max_order=4)
    pfn = m.alloc_pages(0)
    assert tag(m.mem_desc(pfn).address, MemType.BUDDY) == m.page(pfn).mem_desc == int.from_bytes(m.read(m.pfn_to_page(pfn), 8), "little")
    assert m.page_to_pfn(m.buddy(m.mem_desc(pfn).address).page) == pfn


def test_a_damaged_mem_desc_is_refused_when_it_is_asked_for():
    m = Machine("64K", page_size=256, max_order=4)
    pfn = m.alloc_pages(0)
    m.page(pfn).mem_desc |= 15
    with pytest.raises(ValueError, match="its type bits say 15"):
        m.mem_desc(pfn)
