"""Wrong answers that people give to the exercises of chapter 09: function, two underscores, number.  Used by test_chapters.py."""

from memlab.study.consumers import EatBuddies, EatSlabs, KeepLowOrdersEmpty


def stack_bytes__1(calls, context):
    return 160 * len([c for c in calls if c.context == context])


def stack_bytes__2(calls, context):
    return 160 * max(c.depth for c in calls)


def stack_bytes__3(calls, context):
    return 160 * max([c.level for c in calls if c.context == context] or [0])


def stack_bytes__4(calls, context):
    if not any(c.context == context for c in calls):
        return 0
    return 160 * max(c.depth for c in calls)


def depths__1():
    return [1, 7], 18


def depths__2():
    return [1], 12


def depths__3():
    return [1, 2, 3], 4


def depths__4():
    return [1, 7, 13, 19], 18


def depths__5():
    return [1, 7, 13], 12


def backtrace__1(calls, n):
    return [name for depth, name in calls[: n + 1]]


def backtrace__2(calls, n):
    return [name for depth, name in calls[:n]]


def backtrace__3(calls, n):
    chain = {}
    for depth, name in calls[:n]:
        chain.setdefault(depth, name)
    depth, name = calls[n]
    return [chain[d] for d in range(1, depth)] + [name]


def backtrace__4(calls, n):
    depth, name = calls[n]
    chain = [name]
    for d, caller in reversed(calls[:n]):
        if d == depth - 1:
            chain.append(caller)
            depth = d
    return chain


def fill_stack__1(m):
    pass


def fill_stack__2(m):
    KeepLowOrdersEmpty(m)()


def fill_stack__3(m):
    KeepLowOrdersEmpty(m)()
    EatBuddies(m)()
    EatSlabs(m)()


def _fill(m, slabs):
    cache = m.caches["kmem_cache_slab"]
    for address in [cache.alloc() for _ in range(slabs)]:
        cache.free(address)
    KeepLowOrdersEmpty(m)()
    EatBuddies(m)()


def fill_stack__4(m):
    _fill(m, 31)


def fill_stack__5(m):
    _fill(m, 8)


def fill_stack__6(m):
    _fill(m, 24)
    m.interrupt("new_slab", "call", EatBuddies(m), times=None)


def fill_stack__7(m):
    _fill(m, 24)
    m.interrupt("kmem_cache_alloc", "return", EatSlabs(m))
