"""Chapter 11: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def saved(order, descriptor):
    pages = 2**order
    return 64 * pages - (8 * pages + 48 + descriptor)


def metadata():
    return [192, 64, 64, -64, 0, -256]


def losers(caches):
    lost = [(name, slabs * (8 * pages + 48 + 64 - 64 * pages)) for name, pages, slabs in caches]
    return sorted([pair for pair in lost if pair[1] > 0], key=lambda pair: -pair[1])


def pin(m):
    mine = []
    while (anonmem := m.anonmem_alloc(0)) is not None:
        mine.append(anonmem)
    kept = set()  # pages of descriptors in which one stays live
    for anonmem in mine:
        if anonmem // 4096 in kept:
            m.anonmem_put(anonmem)
        kept.add(anonmem // 4096)
