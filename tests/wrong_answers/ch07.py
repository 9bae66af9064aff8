"""Wrong answers that people give to the exercises of chapter 07: function, two underscores, number.  Used by test_chapters.py."""


def host_of__1(word):
    return (word & ~15) >> 12


def host_of__2(word):
    return (word - 0xFFFF888000000000) // 64


def host_of__3(word):
    return (word - 0xFFFF888000000000) // 4096 + 1


def words__1():
    return [("SLAB", 0), ("SLAB", 1), ("FREE", None), ("FREE", None)]


def words__2():
    return [("SLAB", 0), ("SLAB", 0), ("FREE", 1), ("FREE", 1)]


def words__3():
    return [("SLAB", 0), ("BUDDY", 0), ("FREE", None), ("FREE", None)]


def plan__1(order):
    return [(0, order, None)]


def plan__2(order):
    return [(0, 0, 1), (1, 0, 1)] + [(1 << k, k, 1) for k in range(1, order)] if order else [(0, 0, None)]


def plan__3(order):
    return [(0, 0, None)] + ([(1, 0, 1)] if order else []) + [(1 << k, k, 1) for k in range(1, order)]


def _describe(m, pfn, order=0, kind=3, second_has_its_own=True):
    first, second = m.page_address(pfn), m.page_address(pfn + 1)
    old = m.buddy(m.mem_desc(pfn).address)
    old.order = order
    new = m.buddy(second)
    new.flags, new.order, new.page = old.flags, 0, m.pfn_to_page(pfn + 1)
    for n, buddy in ((0, old), (1, new if second_has_its_own else old)):
        slab = m.slab(first + 64 * n)
        slab.flags, slab.buddy, slab.order = old.flags, buddy.address, 0
        slab.virt = m.page_address(pfn + n)
        m.page(pfn + n).mem_desc = slab.address | kind


def describe__1(m, pfn):
    _describe(m, pfn, order=1)


def describe__2(m, pfn):
    _describe(m, pfn, kind=0)


def describe__3(m, pfn):
    _describe(m, pfn, second_has_its_own=False)
