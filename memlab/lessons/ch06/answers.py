"""Chapter 06: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def buddy_of(read, page):
    slab = read(page) & ~15
    return read(slab + 24)


def calls():
    return "ABBC"


def alloc_slab_page(alloc_slab, free_slab, alloc_pages, set_buddy):
    slab = alloc_slab()
    if slab is None:
        return None
    buddy = alloc_pages(slab | 3)
    if buddy is None:
        free_slab(slab)
        return None
    set_buddy(slab, buddy)
    return slab


def vandalise(m, slab):
    for pfn in range(m.nr_pages):
        desc = m.mem_desc(pfn)
        if desc.type.name == "SLAB" and desc.address != slab:
            return slab + 24, m.slab(desc.address).buddy
    return None
