"""Chapter 10: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def words_fit(m):
    free = sum(m.mem_desc(pfn).type.name == "FREE" for pfn in range(m.nr_pages))
    return free == m.free_pages_count


def wrong_line():
    return 9  # return chain: the block is put on no free list


def nothing_stranded(m):
    for pfn in range(m.nr_pages):
        desc = m.mem_desc(pfn)
        if desc.type.name == "NONE":
            continue
        addresses = [desc.address]
        if desc.type.name == "SLAB":
            addresses.append(m.slab(desc.address).buddy)
        for address in addresses:
            home = (address - 0xFFFF888000000000) // m.page_size
            if home < m.nr_pages and m.mem_desc(home).type.name == "FREE":
                return False
    return True


def break_it(m):
    four = m.alloc_pages(2)
    lower, upper = m.split_page(four)
    m.split_page(upper)
    m.free_pages(upper)  # one page of the upper half is free, the other is not
    m.free_pages(lower)  # the pelican takes the upper half for free
