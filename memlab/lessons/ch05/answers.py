"""Chapter 05: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def words_rewritten(have, want):
    return 2 ** (have - 1) if have > want else 0


def descriptors():
    return [4, 0, 0, 0, -1]


def cost(free, order):
    for k in range(order, len(free)):
        if free[k]:
            return k - order
    return None


def prepare(have, want, get, put):
    taken = []
    for _ in range(have - want):
        descriptor = get()
        if descriptor is None:
            for earlier in reversed(taken):
                put(earlier)
            return None
        taken.append(descriptor)
    return taken
