"""Wrong answers that people give to the exercises of chapter 08: function, two underscores, number.  Used by test_chapters.py."""


def for_descriptor__1(gfp):
    return gfp & ~0x2


def for_descriptor__2(gfp):
    return gfp ^ 0x24010F


def for_descriptor__3(gfp):
    return 0xCC0


def zones_asked__1():
    return ["HighMem"]


def zones_asked__2():
    return ["HighMem", "Normal", "DMA"]


def zones_asked__3():
    return ["HighMem", "Normal", "DMA", "HighMem", "Normal", "DMA"]


def zones_asked__4():
    return ["DMA", "Normal"]


def watermark_ok__1(free, order, least, reserve, gfp):
    if gfp & 0x20000:
        return True
    mark = least
    if gfp & 0x20:
        mark -= mark // 2
        if not gfp & 0x400:
            mark -= mark // 4
    return free - 2**order > mark + reserve


def watermark_ok__2(free, order, least, reserve, gfp):
    if gfp & 0x20000:
        return True
    mark = least
    if gfp & 0x20:
        mark -= mark // 2
        if not gfp & 0x400:
            mark -= mark // 4
    return free >= mark + reserve


def watermark_ok__3(free, order, least, reserve, gfp):
    if gfp & 0x20000:
        return True
    mark = least
    if gfp & 0x20:
        mark -= mark // 2
        if not gfp & 0x400:
            mark -= least // 4
    return free - 2**order >= mark + reserve


def watermark_ok__4(free, order, least, reserve, gfp):
    return free - 2**order >= least + reserve


def strand__1(m):
    while m.alloc_pages(0, 0xCC2) is not None:
        pass


def strand__2(m):
    while m.alloc_pages(0, 0xCC0) is not None:
        pass


def strand__3(m):
    for gfp in (0xCC0, 0xCC2):
        while m.alloc_pages(0, gfp) is not None:
            pass


def strand__4(m):
    m.zone_view(m.zones[-1]).lowmem_reserve = (0, 0, 0, 500)
