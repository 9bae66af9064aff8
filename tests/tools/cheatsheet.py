"""Writes notebooks/images/cheatsheet.svg, one A4 page to print; `make notebooks` runs this, a test compares.

Every number on it is read from the simulator: layouts from memlab.structs, costs and the call chain from runs. Words
are here. It is made of columns of sections, each a heading and lines, and one drawing; a line that is too long, or a
column that is too tall, is an error.
"""

from html import escape
from pathlib import Path

from memlab import GFP, Machine, MemType, structs

TARGET = Path(__file__).resolve().parents[2] / "notebooks" / "images" / "cheatsheet.svg"

# The page in quarters of a millimetre: 297 by 210 mm.
WIDTH, HEIGHT, MARGIN, GAP, COLUMNS = 1188, 840, 30, 20, 4
COLUMN = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
SIZE, LEADING, CHARACTER = 10.5, 13.9, 0.605  # the width of a fixed-width character, in units of the size
TREE = 698  # where the drawing below the columns begins
MOST = int(COLUMN / (SIZE * CHARACTER))  # characters in a line


def sheet() -> str:
    """The SVG."""
    body = [words(MARGIN, 40, "memlab: the page and slab allocators on one page", 19, "b")]
    body.append(words(WIDTH - MARGIN, 40, "4 KiB pages, 64-bit words, order 11 the largest; counted by the simulator", 11, "e"))
    columns = (
        [mem_desc, layouts],
        [buddies, split_and_merge, reckoning],
        [slab_states, slab_sizes, gfp],
        [chain, rules, where_to_look],
    )
    for n, sections in enumerate(columns):
        x, y = MARGIN + n * (COLUMN + GAP), 66.0
        for section in sections:
            heading, lines = section()
            body += [f'<path d="M{x:g} {y:g}h{COLUMN:g}"/>', words(x, y + 16, heading, 13, "b")]
            y += 33
            for line in lines:
                if len(line) > MOST:
                    raise ValueError(f"too long by {len(line) - MOST} characters: {line}")
                body += [words(x, y, line, SIZE, "m")] if line else []
                y += LEADING
            y += 5
        if y > (HEIGHT - 20 if n == 0 else TREE):
            raise ValueError(f"column {n + 1} is too tall: {y:.0f}")
    body += tree(MARGIN + COLUMN + GAP, TREE)
    style = (
        "rect{stroke:#000;fill:#fff}.f{fill:#ddd}.u{fill:#000}text{fill:#000;font-family:system-ui,'DejaVu Sans',sans-serif;white-space:pre}"
        ".m{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace}.b{font-weight:700}.e{text-anchor:end}.c{text-anchor:middle}.u+text{fill:#fff}path{stroke:#000;stroke-width:1.5}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="297mm" height="210mm" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<title>Cheat sheet of memlab</title>\n<style>{style}</style>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" style="stroke:none"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def words(x: float, y: float, text: str, size: float, kind: str) -> str:
    """A line of text."""
    return f'<text class="{kind}" x="{x:g}" y="{y:.1f}" font-size="{size:g}">{escape(text)}</text>'


def tree(x: float, y: float) -> list[str]:
    """A drawing: what is free after one page was taken from a block of order 4, a row for each order."""
    top = 4
    m = Machine(64 * 4096, max_order=top)
    for order, blocks in enumerate(m.buddyinfo()[0, "Normal"]):
        for _ in range(blocks - (order == top)):
            m.alloc_pages(order)
    page = m.alloc_pages(0)
    first = page & -(1 << top)
    unit, row = (WIDTH - MARGIN - x - 70) / (1 << top), 18
    drawing = [
        f'<path d="M{x:g} {y:g}H{WIDTH - MARGIN}"/>',
        words(x, y + 16, f"One page out of a block of order {top}: {top + 1} parts", 13, "b"),
    ]
    for order in range(top, -1, -1):
        line = y + 24 + (top - order) * row
        drawing.append(words(x, line + 13, f"order {order}", SIZE, "m"))
        for pfn in (page & -(1 << order), page & -(1 << order) ^ 1 << order):
            if order == top and pfn != first:
                continue
            free = m.mem_desc(pfn).type is MemType.FREE
            kind, said = ("f", "free") if free else ("u", "in use") if order == 0 else ("", "split")
            left, width = x + 70 + (pfn - first) * unit, unit * (1 << order)
            drawing.append(f'<rect class="{kind}" x="{left:g}" y="{line:g}" width="{width:g}" height="{row - 2}"/>')
            drawing.append(words(left + width / 2, line + 12, said, SIZE, "c"))
    return drawing


# -- sections: heading, lines


def mem_desc() -> tuple[str, list[str]]:
    """The tagged word and its types."""
    names = [f"{kind.value} {kind.name}" for kind in MemType]
    return "struct page: one word, mem_desc", [
        "63                            4 3     0",
        "+------------------------------+-------+",
        "| address of a descriptor      | type  |",
        "+------------------------------+-------+",
        "address = word & ~15    type = word & 15",
        "All pages of a block have the same word.",
        "",
        *("".join(f"{name:13}" for name in names[row::3]).rstrip() for row in range(3)),
    ]


def layouts() -> tuple[str, list[str]]:
    """Where the fields of the descriptors are."""
    lines = ["offset bytes field"]
    for struct in (structs.buddy, structs.slab, structs.folio):
        lines += ["", f"struct {struct.__name__}: {struct.sizeof} bytes"]
        lines += [f"{f.offset:6} {f.width:5} {f.name}" for f in struct.fields]
    others = [s for s in (structs.anonmem, structs.filemem, structs.ptdesc, structs.vmalloc) if s.sizeof == structs.folio.sizeof]
    lines += ["", " ".join(s.__name__ for s in others) + f": {structs.folio.sizeof} bytes"]
    flags, links, buddy = (getattr(structs.memdesc, name).offset for name in ("flags", "list", "buddy"))
    lines += [f"slab to vmalloc: flags {flags}, list {links}, buddy {buddy}"]
    lines += [f"struct page: {structs.old_page.sizeof} bytes before, {structs.page.sizeof} now"]
    return "Descriptors", lines


def buddies() -> tuple[str, list[str]]:
    """The arithmetic of blocks."""
    pfn, order = 38, 1
    return "Blocks and buddies", [
        "a block of order k: 2^k pages, and its",
        "first pfn is a multiple of 2^k",
        "buddy   pfn ^ (1 << k)",
        "merged  pfn & ~(1 << k), order k + 1",
        f"e.g.    order {order}: {pfn} and {pfn ^ 1 << order} make {pfn & ~(1 << order)}",
        "pfn     address >> 12 (in RAM)",
        "",
        "take    smallest block that will do; the",
        "        lower half is split further",
        "free    merge while the buddy is free as",
        "        a block of the same order",
        "list    last in, first out; not sorted",
    ]


def split_and_merge() -> tuple[str, list[str]]:
    """What a split down to one page costs, counted; giving the page back costs the same."""
    lines = ["  k  pages     block  descriptors  words"]
    for order in range(1, 12):
        taken, rewritten, given_back, merged = split_costs(order)
        if (taken, rewritten) != (given_back, merged):
            raise ValueError(f"a split of order {order} costs {taken}, {rewritten}; the merge {given_back}, {merged}")
        lines.append(f"{order:3} {2**order:6} {4 << order:5} KiB {taken:12} {rewritten:6}")
    return "Order k to one page, or back", [*lines, "descriptors: k, before the split", "words of mem_map: 2^(k-1), a lower half"]


def split_costs(order: int) -> tuple[int, int, int, int]:
    """Split a block of `order`, the largest there is, down to one page and free that: descriptors and words, of both."""
    m = Machine(max(64, 8 << order) * 4096, max_order=order)
    for lower, blocks in enumerate(m.buddyinfo()[0, "Normal"][:-1]):
        for _ in range(blocks):
            m.alloc_pages(lower)
    start = m.stats
    page = m.alloc_pages(0)
    middle = m.stats
    m.free_pages(page)
    split, merge = middle - start, m.stats - middle
    return split.buddies_allocated, split.words_split, merge.buddies_freed, merge.words_merged


def reckoning() -> tuple[str, list[str]]:
    """Bytes of notes for each page."""
    old, word, buddy, user = structs.old_page.sizeof, structs.page.sizeof, structs.buddy.sizeof, structs.folio.sizeof
    lines = [f"order k   with a buddy  and its user ({old})"]
    lines += [f"{k:7} {word + buddy / 2**k:13.2f} {word + (buddy + user) / 2**k:13.2f}" for k in (0, 1, 2, 3, 9)]
    lines += [f"mem_map of 1 TiB: {2**40 // 4096 * old >> 30} GiB before, {2**40 // 4096 * word >> 30} GiB now"]
    lines += [f"of all memory: {old / 4096:.4%} and {word / 4096:.4%}"]
    return "Bytes of notes a page", lines


def slab_states() -> tuple[str, list[str]]:
    """The states of a slab and where it is found."""
    return "Slabs: where is it, what is free?", [
        "CPU      frozen: on loan to a CPU; inuse",
        "         counts all objects; what is free",
        "         is on the CPU's freelist",
        "partial  on the node's list; free objects",
        "         on the slab's own freelist",
        "full     on no list at all",
        "empty    partial with inuse = 0; given",
        "         back beyond min_partial",
        "",
        "A free object keeps the link to the next",
        "one in itself. Take: CPU's freelist, then",
        "the CPU slab's, then a partial slab, then",
        "new_slab(). A page's word leads from any",
        "object to its slab, for kfree().",
    ]


def slab_sizes() -> tuple[str, list[str]]:
    """What some caches look like on this machine."""
    m = Machine("4M")
    for name, size in (("dentry", 192), ("radix_tree_node", 584)):
        m.kmem_cache_create(name, size)
    rows = {row["name"]: row for row in m.slabinfo()}
    lines = ["cache             size  pages objects left"]
    for name in ("kmem_cache_buddy", "kmem_cache_slab", "dentry", "radix_tree_node", "kmalloc-1k"):
        size, pages, objects = (rows[name][key] for key in ("objsize", "pagesperslab", "objperslab"))
        lines.append(f"{name:17} {size:4} {pages:6} {objects:7} {pages * 4096 - objects * size:4}")
    return "How many objects in a slab?", lines


def gfp() -> tuple[str, list[str]]:
    """The GFP flags of Linux that memlab knows."""
    bits = {f"__GFP_{name}": getattr(GFP, name) for name in ("DMA", "HIGHMEM", "DMA32", "HIGH", "ZERO", "NOWARN", "COMP", "THISNODE")}
    return "GFP flags", [
        f"GFP_KERNEL {GFP.KERNEL:#7x}  may wait and reclaim",
        f"GFP_ATOMIC {GFP.ATOMIC:#7x}  may not; digs deeper",
        f"GFP_NOWAIT {GFP.NOWAIT:#7x}  may not; fails early",
        "bit, flag",
        *("".join(f"{bit.bit_length() - 1:2} {name:18}" for name, bit in pair).rstrip() for pair in pairs(list(bits.items()))),
        "A descriptor's own allocation drops the",
        "zone flags, ZERO, MOVABLE, COMP, THISNODE.",
    ]


def pairs(items: list) -> list[list]:
    """The items two by two."""
    return [items[n : n + 2] for n in range(0, len(items), 2)]


def chain() -> tuple[str, list[str]]:
    """The calls for one page when no descriptor and no struct slab is at hand, to the deepest."""
    m = Machine("64M")
    for row in m.slabinfo()[:2]:
        m.caches[row["name"]].alloc_bulk(row["num_objs"] - row["active_objs"])
    m.alloc_pages(0)
    with m.trace() as trace:
        m.alloc_pages(0)
    deepest = max(range(len(trace.calls)), key=lambda n: trace.calls[n].depth)
    short = {"": "", "kmem_cache_buddy": "buddy", "kmem_cache_slab": "slab"}
    lines = [f"{call.depth:2}  {call.name}({short[call.cache]})" for call in trace.calls[: deepest + 1]]
    return "One page, with nothing at hand", [*lines, "buddy: kmem_cache_buddy, and so on"]


def rules() -> tuple[str, list[str]]:
    """What the design rests on."""
    return "Rules that make it work", [
        "Descriptors first, then the split: freeing",
        "never has to allocate.",
        "After a nested allocation, look again: the",
        "block may be gone, or a better one there.",
        "__alloc_slab: a page describes itself.",
        "  order 0 found: it is a slab of struct",
        "    slabs; its own is its first object",
        "  larger: page 1 is that, page 2 joins",
        "    kmem_cache_buddy and describes itself",
        "A live descriptor pins its page. Unmake a",
        "half-built slab in reverse order.",
    ]


def where_to_look() -> tuple[str, list[str]]:
    """Files of Linux, and what to type in memlab."""
    return "Where to look", [
        "mm/page_alloc.c  expand, __free_one_page",
        "mm/internal.h    __find_buddy_pfn",
        "mm/slub.c        ___slab_alloc, new_slab",
        "mm/slab.h        struct slab",
        "mm_types.h       struct page, struct folio",
        "gfp_types.h      GFP flags",
        "/proc/buddyinfo  /proc/slabinfo",
        "",
        "m.page(pfn)  m.mem_desc(pfn)  m.buddy(a)",
        "m.slab(a)  m.hexdump(a, n)  m.whatis(a)",
        "m.stats  with m.trace() as t  m.check()",
    ]


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(sheet(), encoding="utf-8")
    print(f"{TARGET.name}: written")
