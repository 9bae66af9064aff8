"""Wrong answers that people give to the exercises of chapter 10: function, two underscores, number.  Used by test_chapters.py."""


def words_fit__1(m):
    return m.free_pages_count >= 0


def words_fit__2(m):
    return sum(m.mem_desc(p).type.name == "FREE" for p in range(m.nr_pages)) <= m.free_pages_count


def words_fit__3(m):
    return m.free_pages_count == m.nr_pages


def words_fit__4(m):
    return sum(m.mem_desc(p).type == "FREE" for p in range(m.nr_pages)) == m.free_pages_count


def words_fit__5(m):
    return m.free_pages_count


def wrong_line__1():
    return 8


def wrong_line__2():
    return 16


def wrong_line__3():
    return 11


def wrong_line__4():
    return 2


def wrong_line__5():
    return 40


def nothing_stranded__1(m):
    return True


def nothing_stranded__2(m):
    for pfn in range(m.nr_pages):
        desc = m.mem_desc(pfn)
        home = (desc.address - 0xFFFF888000000000) // m.page_size
        if desc.type.name != "NONE" and home < m.nr_pages and m.mem_desc(home).type.name == "FREE":
            return False
    return True


def nothing_stranded__3(m):
    return not any(m.mem_desc(p).type.name == "FREE" for p in range(m.nr_pages))


def break_it__1(m):
    m.free_pages(m.alloc_pages(2))


def break_it__2(m):
    m.alloc_pages(2)


def break_it__3(m):
    m.page(31).mem_desc = 0


def break_it__4(m):
    pass
