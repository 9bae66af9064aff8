"""Chapter 03: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def address_of(word):
    return word & ~15


def blocks():
    return [(32, 4, "BUDDY"), (36, 1, "SLAB"), (37, 1, "BUDDY"), (38, 2, "FOLIO"), (40, 8, "FREE")]


def first_page(read, page):
    kind, descriptor = read(page) & 15, read(page) & ~15
    if kind == 0:
        return None
    if kind > 2:
        descriptor = read(descriptor + 24)
    return read(descriptor + 32)


def folios():
    return [0] * 28
