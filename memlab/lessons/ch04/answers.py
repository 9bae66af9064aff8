"""Chapter 04: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def waste(size, order):
    return (4096 << order) % size


def handed_out():
    return [0, 1, 2, 0, 1, 3]


def calculate_order(size, cpus):
    def order_for(nbytes):
        return max(0, (nbytes - 1) // 4096).bit_length()

    enough = min(4 * (cpus.bit_length() + 1), max(1, 4 * 8192 // size))
    for fraction in (16, 8, 4, 2):
        for order in range(order_for(enough * size), 4):
            slab = 4096 << order
            if slab % size <= slab // fraction:
                return order
    return order_for(size)


def hijack(m, cache, target):
    free = cache.alloc()
    cache.free(free)
    m.write(free + cache.struct.offset, target.to_bytes(8, "little"))
