"""Wrong answers that people give to the exercises of chapter 05: function, two underscores, number.  Used by test_chapters.py."""


def words_rewritten__1(have, want):
    return 2**have


def words_rewritten__2(have, want):
    return 2**have - 2**want


def words_rewritten__3(have, want):
    return 2 ** (have - 1)


def descriptors__1():
    return [4, 0, 0, 0, -4]


def descriptors__2():
    return [5, 0, 0, 0, -1]


def descriptors__3():
    return [4, 3, 0, 0, -1]


def cost__1(free, order):
    return max(k for k, n in enumerate(free) if n) - order if any(free) else None


def cost__2(free, order):
    return next(k for k in range(order, len(free) + 1) if k == len(free) or free[k]) - order


def cost__3(free, order):
    return 0 if free[order] else None


def prepare__1(have, want, get, put):
    taken = []
    for _ in range(have - want):
        d = get()
        if d is None:
            return None
        taken.append(d)
    return taken


def prepare__2(have, want, get, put):
    taken = []
    for _ in range(have - want):
        d = get()
        if d is None:
            for t in taken:
                put(t)
            return None
        taken.append(d)
    return taken


def prepare__3(have, want, get, put):
    return [get() for _ in range(have - want)]
