"""Chapter 08: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def for_descriptor(gfp):
    strip = 0x1 | 0x2 | 0x4 | 0x8 | 0x100 | 0x40000 | 0x200000
    return gfp & ~strip


def zones_asked():
    return ["HighMem", "Normal", "DMA", "HighMem", "Normal"]


def watermark_ok(free, order, least, reserve, gfp):
    if gfp & 0x20000:  # __GFP_MEMALLOC
        return True
    mark = least
    if gfp & 0x20:  # __GFP_HIGH
        mark -= mark // 2
        if not gfp & 0x400:  # __GFP_DIRECT_RECLAIM: it could wait
            mark -= mark // 4
    return free - 2**order >= mark + reserve


def strand(m):
    for order, gfp in ((6, 0xCC0), (0, 0xCC0), (0, 0xCC2)):  # large blocks first: they need few descriptors, so few are left over
        while m.alloc_pages(order, gfp) is not None:
            pass
