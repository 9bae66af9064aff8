"""Wrong answers that people give to the exercises of chapter 04: function, two underscores, number.  Used by test_chapters.py."""


def waste__1(size, order):
    return 4096 % size


def waste__2(size, order):
    return (4096 << order) // size


def waste__3(size, order):
    return (4096 << order) - ((4096 << order) // size + 1) * size


def handed_out__1():
    return [0, 1, 2, 3, 4, 5]


def handed_out__2():
    return [0, 1, 2, 1, 0, 3]


def handed_out__3():
    return [0, 1, 2, 0, 1, 4]


def calculate_order__1(size, cpus):
    for order in range(4):
        if (4096 << order) % size <= (4096 << order) // 16:
            return order
    return 3


def calculate_order__2(size, cpus):
    enough = 4 * (cpus.bit_length() + 1)
    first = 0
    while (4096 << first) < enough * size:
        first += 1
    for fraction in (16, 8, 4, 2):
        for order in range(first, 4):
            if (4096 << order) % size <= (4096 << order) // fraction:
                return order
    return first


def calculate_order__3(size, cpus):
    return 0


def hijack__1(m, cache, target):
    pass


def hijack__2(m, cache, target):
    free = cache.alloc()
    cache.free(free)
    m.write(free, target.to_bytes(8, "little"))


def hijack__3(m, cache, target):
    return target


def hijack__4(m, cache, target):
    free = cache.alloc()
    cache.free(free)
    m.write(free + cache.struct.offset, target.to_bytes(8, "big"))
