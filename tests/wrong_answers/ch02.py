"""Wrong answers that people give to the exercises of chapter 02: function, two underscores, number.  Used by test_chapters.py."""


def order_for__1(size):
    return size // 4096


def order_for__2(size):
    return (size // 4096).bit_length()


def order_for__3(size):
    return max(0, (size // 4096).bit_length() - 1)


def free_blocks__1():
    return [(32, 4)]


def free_blocks__2():
    return [(36, 2), (40, 3)]


def free_blocks__3():
    return [(1, 32), (0, 35), (2, 36), (3, 40)]


def free_blocks__4():
    return [(32, 0), (33, 0), (35, 0), (36, 2), (40, 3)]


def merge__1(pfn, order, is_free):
    return pfn, order


def merge__2(pfn, order, is_free):
    while is_free(pfn + (1 << order), order):
        order += 1
    return pfn, order


def merge__3(pfn, order, is_free):
    buddy = pfn ^ (1 << order)
    return (min(pfn, buddy), order + 1) if is_free(buddy, order) else (pfn, order)


def pages_to_keep__1():
    return [40]


def pages_to_keep__2():
    return range(32, 48, 2)


def pages_to_keep__3():
    return [0, 4, 8, 12]
