"""Chapter 02: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def order_for(size):
    pages = -(-size // 4096)
    order = 0
    while 1 << order < pages:
        order += 1
    return order


def free_blocks():
    return [(32, 1), (35, 0), (36, 2), (40, 3)]


def merge(pfn, order, is_free):
    while order < 4 and is_free(pfn ^ (1 << order), order):
        pfn &= ~(1 << order)
        order += 1
    return pfn, order


def pages_to_keep():
    return [32, 36, 40, 44]
