"""Chapter 07: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def host_of(word):
    return ((word & ~15) - 0xFFFF888000000000) >> 12


def words():
    return [("SLAB", 0), ("SLAB", 0), ("FREE", None), ("FREE", None)]


def plan(order):
    if order == 0:
        return [(0, 0, None)]
    parts = [(0, 0, 1), (1, 0, 1)] + [(1 << k, k, 1) for k in range(1, order)]
    keeper = 0 if order == 1 else len(parts) - 1  # the first page of a pair, or the upper half
    first, size, _ = parts[keeper]
    parts[keeper] = (first, size, None)
    return parts


def describe(m, pfn):
    first, second = m.page_address(pfn), m.page_address(pfn + 1)
    old = m.buddy(m.mem_desc(pfn).address)
    old.order = 0
    new = m.buddy(second)
    new.flags, new.order, new.page = old.flags, 0, m.pfn_to_page(pfn + 1)
    for n, buddy in ((0, old), (1, new)):
        slab = m.slab(first + 64 * n)
        slab.flags, slab.buddy, slab.order = old.flags, buddy.address, 0
        slab.virt = m.page_address(pfn + n)
        m.page(pfn + n).mem_desc = slab.address | 3
