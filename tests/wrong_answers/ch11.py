"""Wrong answers that people give to the exercises of chapter 11: function, two underscores, number.  Used by test_chapters.py."""


def saved__1(order, descriptor):
    return 2**order * 56 - 48


def saved__2(order, descriptor):
    return 2**order * (56 - descriptor) - 48


def saved__3(order, descriptor):
    return 48 + descriptor - 2**order * 56


def saved__4(order, descriptor):
    return 2**order * 56 - descriptor


def metadata__1():
    return [48, 112, 112, -112, -48, -112]


def metadata__2():
    return [4, 1, 1, -1, 0, -5]


def metadata__3():
    return [192, 64, 64, -112, 0, -208]


def metadata__4():
    return [192, 112, 112, -112, 0, -256]


def metadata__5():
    return [192, 64, 64, -64, -48, -208]


def metadata__6():
    return [192, 64, 64, -64, 0, -64]


def losers__1(caches):
    lost = [(name, slabs * (8 * pages + 64 - 64 * pages)) for name, pages, slabs in caches]
    return sorted([pair for pair in lost if pair[1] > 0], key=lambda pair: -pair[1])


def losers__2(caches):
    return [(name, slabs * (8 * pages + 112 - 64 * pages)) for name, pages, slabs in caches]


def losers__3(caches):
    lost = [(name, slabs * (8 * pages + 112 - 64 * pages)) for name, pages, slabs in caches]
    return sorted([pair for pair in lost if pair[1] >= 0], key=lambda pair: -pair[1])


def losers__4(caches):
    lost = [(name, slabs * (8 * pages + 112 - 64 * pages)) for name, pages, slabs in caches]
    return sorted([pair for pair in lost if pair[1] > 0], key=lambda pair: pair[1])


def pin__1(m):
    mine = []
    while (page := m.anonmem_alloc(0)) is not None:
        mine.append(page)
    for _n, page in enumerate(mine):
        m.anonmem_put(page)


def pin__2(m):
    mine = []
    while (page := m.anonmem_alloc(0)) is not None:
        mine.append(page)


def pin__3(m):
    mine = []
    while (page := m.alloc_pages(0)) is not None:
        mine.append(page)
    for n, page in enumerate(mine):
        if n % 85:
            m.free_pages(page)


def pin__4(m):
    for _ in range(40):
        m.anonmem_alloc(0)


def pin__5(m):
    v = [m.vmalloc(4096) for _ in range(900)]
    for n in range(900):
        if n % 64:
            m.vfree(v[n])
