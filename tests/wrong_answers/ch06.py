"""Wrong answers that people give to the exercises of chapter 06: function, two underscores, number.  Used by test_chapters.py."""


def buddy_of__1(read, page):
    return read(page) & ~15


def buddy_of__2(read, page):
    return read(page)


def buddy_of__3(read, page):
    return read((read(page) & ~15) + 32)


def calls__1():
    return "AB"


def calls__2():
    return "BBAC"


def calls__3():
    return "ABB"


def calls__4():
    return "ABBCD"


def alloc_slab_page__1(alloc_slab, free_slab, alloc_pages, set_buddy):
    buddy = alloc_pages(3)
    if buddy is None:
        return None
    slab = alloc_slab()
    set_buddy(slab, buddy)
    return slab


def alloc_slab_page__2(alloc_slab, free_slab, alloc_pages, set_buddy):
    slab = alloc_slab()
    if slab is None:
        return None
    buddy = alloc_pages(slab | 3)
    if buddy is None:
        return None
    set_buddy(slab, buddy)
    return slab


def alloc_slab_page__3(alloc_slab, free_slab, alloc_pages, set_buddy):
    slab = alloc_slab()
    if slab is None:
        return None
    buddy = alloc_pages(slab)
    if buddy is None:
        free_slab(slab)
        return None
    set_buddy(slab, buddy)
    return slab


def vandalise__1(m, slab):
    return slab + 24, 0x1000


def vandalise__2(m, slab):
    return slab + 24, m.slab(slab).buddy


def vandalise__3(m, slab):
    return slab + 48, 0x1000


def vandalise__4(m, slab):
    return slab + 24, next(d.address for pfn in range(m.nr_pages) if (d := m.mem_desc(pfn)).type.name == "FREE")
