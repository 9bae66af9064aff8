"""Wrong answers that people give to the exercises of chapter 03: function, two underscores, number.  Used by test_chapters.py."""


def address_of__1(word):
    return word


def address_of__2(word):
    return word & ~0xFF


def address_of__3(word):
    return word >> 4


def blocks__1():
    return [(32, 4, "FREE"), (36, 1, "SLAB"), (37, 1, "BUDDY"), (38, 2, "FOLIO"), (40, 8, "FREE")]


def blocks__2():
    return [(32, 16, "FREE")]


def blocks__3():
    return [(32, 4, "BUDDY"), (33, 3, "BUDDY")]


def blocks__4():
    return [(32, 4, "BUDDY")]


def blocks__5():
    return [32, 36]


def first_page__1(read, page):
    word = read(page)
    return read((word & ~15) + 32) if word else None


def first_page__2(read, page):
    desc = read(page) & ~15
    if read(page) & 15 > 2:
        desc = read(desc + 24)
    return read(desc + 32) if desc else 0


def first_page__3(read, page):
    return page if read(page) else None


def folios__1():
    return [4, 3]


def folios__2():
    return [0] * 10


def folios__3():
    return [0] * 64


def folios__4():
    return [99]
