"""Chapter 09: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def stack_bytes(calls, context):
    return 160 * max((call.depth for call in calls if call.context == context), default=0)


def depths():
    return [1, 7, 13], 18


def backtrace(calls, n):
    depth, name = calls[n]
    chain = [name]
    for before, caller in reversed(calls[:n]):
        if before == depth - 1:  # the caller of the last one found
            chain.append(caller)
            depth = before
    return chain[::-1]


def fill_stack(m):
    buddies, slabs = m.caches["kmem_cache_buddy"], m.caches["kmem_cache_slab"]

    def free(cache):
        return next(row["num_objs"] - row["active_objs"] for row in m.slabinfo() if row["name"] == cache.name)

    for address in [slabs.alloc() for _ in range(24)]:  # most of what is added for them stays, as written
        slabs.free(address)
    while m.buddyinfo()[0, "Normal"][0]:
        m.alloc_pages(0)
    buddies.alloc_bulk(free(buddies))
    slabs.alloc_bulk(free(slabs) - 15)
