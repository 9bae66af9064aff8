"""Chapter 03, One word: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine, labs and core."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from .. import structs
from ..figures.picture import count
from ..labs import buddy_machine
from ..machine import Machine
from ..memdesc import MemType, tag, untag
from ..page import page_slab
from ..ram import PAGE_OFFSET
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

Read = Callable[[int], int]  # the word at an address


def owners_machine() -> Machine:
    """Boot the chapter's machine: 256 pages, with one page or block of every type, and free ones."""
    m = Machine("1M")
    m.alloc_pages(1)
    m.folio_alloc(2)
    m.anonmem_alloc(0)
    m.filemem_alloc(1)
    m.pgtable_alloc()
    m.vmalloc(2 * m.page_size)
    m.kmalloc(100)
    return m


def typical_page(m: Machine, kind: MemType) -> int:
    """Return the first page whose mem_desc has a type; ValueError if there is none."""
    for pfn in range(m.nr_pages):
        if m.mem_desc(pfn).type is kind:
            return pfn
    raise ValueError(f"this machine has no page of type {kind.name}")


def metadata_bytes(m: Machine) -> int:
    """Return what a machine's pages cost in notes: its mem_map, and every live descriptor."""
    live = sum(
        row["active_objs"] * row["objsize"] for row in m.slabinfo() if row["name"].startswith("kmem_cache_") or row["name"] in _DESCRIPTORS
    )
    return m.nr_pages * structs.PAGE_STRUCT_BYTES + int(live)


_DESCRIPTORS = ("folio", "anonmem", "filemem", "ptdesc", "vmalloc")


# -- predictions


def _gib(pages: int, each: int) -> str:
    return f"{pages * each / (1 << 30):g} GiB"


def _as_a_buddy(m: Machine) -> str:
    base = m.page_address(m.alloc_pages(0) or 0) or 0
    structs.old_slab(m, base).slab_cache = m.caches["kmem_cache_slab"].address
    nxt = structs.old_buddy(m, base).list[0]
    return "The address of the slab's cache" if nxt == m.caches["kmem_cache_slab"].address else "Zero"


def _slab_of_a_tail(m: Machine) -> str:
    base = m.page_address(m.alloc_pages(0) or 0) or 0
    tail = structs.old_page(m, base + 6 * structs.old_page.sizeof)
    tail.compound_head = base + 5 * structs.old_page.sizeof + 1
    return f"To the address of entry {(page_slab(tail).address - base) // structs.old_page.sizeof}"


def _types(_: object) -> str:
    fits = 0
    while True:
        address = (fits + 1) << 4
        if untag(tag(address, min(fits, 8) or 1)).address != address or fits == 16:
            return f"{fits} types"
        fits += 1


def _word_choices(m: Machine) -> list[tuple[str, str | None]]:
    word = m.page(typical_page(m, MemType.SLAB)).mem_desc
    kind, address = untag(word)
    return [
        (f"{kind.name}, described at {address:#x}", None),
        (f"{kind.name}, described at {word:#x}", "The type bits are still in this address; take them out."),
        (f"{MemType(int(kind) + 1).name}, described at {address:#x}", f"The last digit is {int(kind)}; count the list of types from 0."),
        ("It is free", "FREE would have the digit 1 at the end."),
    ]


def _word_right(m: Machine) -> str:
    found = m.mem_desc(typical_page(m, MemType.SLAB))
    return f"{found.type.name}, described at {found.address:#x}"


def _same_words(m: Machine) -> str:
    folio = m.folio_alloc(2) or 0
    page = m.buddy(structs.folio(m, folio).buddy).page
    words = {int.from_bytes(m.read(page + 8 * n, 8), "little") for n in range(4)}
    return "All four have the same word" if len(words) == 1 else "Each has a word of its own"


def _buddy_size(_: object) -> str:
    return f"{structs.buddy.sizeof} bytes"


def _words_in_arena(m: Machine) -> int:
    return len({m.page(pfn).mem_desc for pfn in range(m.nr_pages * 2 // 3, m.nr_pages)})


def _words_choices(m: Machine) -> list[tuple[str, str | None]]:
    right, pages = _words_in_arena(m), m.nr_pages // 3
    wrong = {n for n in (1, right + 1, pages, max(1, right - 1), right * 2) if n != right}
    why = "Count the blocks, free or not: all pages of a block have the same word."
    return [(f"{n} different words" if n > 1 else "1 word", None if n == right else why) for n in sorted({right, *wrong})[:5]]


def _words_right(m: Machine) -> str:
    n = _words_in_arena(m)
    return f"{n} different words" if n > 1 else "1 word"


PREDICTIONS = (
    Prediction(
        "03.a",
        question="A server has 1 TiB of RAM in pages of 4 KiB, and a note of 64 bytes for each. How much memory do the notes take?",
        choices=(
            ("16 MiB", "There are 256 million pages; even one byte for each is more than that."),
            ("1 GiB", "That would be 4 bytes a page."),
            ("16 GiB", None),
            ("64 GiB", "That would be one sixteenth of it all; 64 of 4096 bytes is one sixty-fourth."),
        ),
        right=lambda _: _gib((1 << 40) // 4096, structs.old_page.sizeof),
    ),
    Prediction(
        "03.b",
        question="A struct page was filled in as a slab. Some code takes it for a free block and follows list.next. What does it get?",
        choices=(
            ("Zero", "The word was written: by the slab, for a purpose of its own."),
            ("An error", "Nothing in these 64 bytes says what they are, so nothing can notice."),
            ("The address of the slab's cache", None),
            ("The next free block", "There is none: the page is in use."),
        ),
        right=_as_a_buddy,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "03.c",
        question="Entry 6 of the old mem_map is the second page of the slab at entry 5. To which address does page_slab(entry 6) lead?",
        choices=(
            ("To the address of entry 6", "Entry 6 is a tail page: its compound_head leads to the head first."),
            ("To the address of entry 5", None),
            ("To the first byte of the slab's memory", "That is the page; the slab's description is in the page's struct page."),
        ),
        right=_slab_of_a_tail,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "03.d",
        question="Descriptors are aligned to 16 bytes. How many different types can the free low bits of their addresses tell apart?",
        choices=(
            ("4 types", "Four BITS are free; each has two values."),
            ("8 types", "That would be three bits, for an alignment of 8."),
            ("16 types", None),
            ("64 types", "The size of the old struct page has nothing to do with it."),
        ),
        right=_types,
    ),
    Prediction(
        "03.e",
        question=lambda m: f"On your machine a page has the word {m.page(typical_page(m, MemType.SLAB)).mem_desc:#x}. What does it say?",
        choices=_word_choices,
        right=_word_right,
        machine=owners_machine,
    ),
    Prediction(
        "03.f",
        question="A folio of four pages is allocated. What do the four words in the mem_map say?",
        choices=(
            (
                "The first names the descriptor, the others the first page",
                "That is how compound pages work today (compound_head); here no page is special.",
            ),
            ("Each has a word of its own", "There is only one descriptor for the four."),
            ("All four have the same word", None),
        ),
        right=_same_words,
        machine=lambda: Machine("256K"),
    ),
    Prediction(
        "03.g",
        question="flags, two list pointers, order (4 bytes), page: 36 bytes and some padding. How long is a struct buddy, aligned to 16?",
        choices=(
            ("36 bytes", "A pointer must lie at a multiple of 8, and the next struct at a multiple of 16."),
            ("40 bytes", "These are used; but 40 is no multiple of 16."),
            ("48 bytes", None),
            ("64 bytes", "That is the old struct page, and our struct slab."),
        ),
        right=_buddy_size,
    ),
    Prediction(
        "03.h",
        question="A single page is in use as a folio. With one word for the page, how many bytes of notes are there about it in all?",
        choices=(
            ("8 bytes", "That is only the word; what it points to takes memory as well."),
            ("56 bytes", "The word and its struct buddy: but the folio has a descriptor of its own."),
            ("64 bytes", "That was the old design."),
            ("120 bytes", None),
        ),
        right=lambda _: f"{structs.page.sizeof + structs.buddy.sizeof + structs.folio.sizeof} bytes",
    ),
    Prediction(
        "03.i",
        question="Your lab's pages, as they are now: how many different words have they in the mem_map?",
        choices=_words_choices,
        right=_words_right,
        machine=lambda: buddy_machine(16),
    ),
)


# -- exercises


def _check_address_of(answer: Callable[[int], int]) -> Verdict:
    m = owners_machine()
    for kind in MemType:
        word = m.page(typical_page(m, kind)).mem_desc
        want, got = untag(word).address, answer(word)
        if got != want:
            shown = f"{got:#x}" if isinstance(got, int) else repr(got)
            why = "the type is still in it" if got == word else "only the low four bits are the type; everything else is the address"
            if not isinstance(got, int):
                why = "an address is a whole number" if got is not None else "nothing came back, so end with return"
            return Verdict(False, f"address_of({word:#x}) gave {shown}: {why}. It is {want:#x}.")
    return Verdict(True, "One word of each type, read from a machine's mem_map.")


def traced_words() -> tuple[Machine, range]:
    """Return the machine of exercise 03.2, and the pages that are looked at."""
    m = buddy_machine(16)
    m.alloc_pages(2)
    m.folio_alloc(1)
    m.alloc_pages(0)
    return m, range(32, 48)


def word_table(m: Machine, pages: range) -> str:
    """Return the mem_map's words of some pages as text, two to a line."""
    lines = [f"{pfn}: " + "  ".join(f"{m.page(p).mem_desc:#x}" for p in range(pfn, pfn + 2)) for pfn in pages[::2]]
    return "\n".join(lines)


def _check_blocks(answer: Callable[[], list[tuple[int, int, str]]]) -> Verdict:
    m, pages = traced_words()
    want = list[tuple[int, int, str]]()
    for pfn in pages:
        if want and m.page(pfn).mem_desc == m.page(want[-1][0]).mem_desc:
            want[-1] = (want[-1][0], want[-1][1] + 1, want[-1][2])
        else:
            want.append((pfn, 1, m.mem_desc(pfn).type.name))
    got = answer()
    if not isinstance(got, (list, tuple)) or not all(isinstance(x, (list, tuple)) and len(x) == 3 for x in got):
        return Verdict(False, 'blocks() returns a list of triples (first page, pages, type), such as [(32, 16, "FREE")].')
    mine = [(start, pages, kind.name if isinstance(kind, MemType) else kind) for start, pages, kind in got]
    if not all(isinstance(x[2], str) for x in mine):
        return Verdict(False, 'The third of each triple is the name of the type, such as "FREE".')
    mine = [(start, pages, kind.upper()) for start, pages, kind in mine]
    sizes = {start: n for start, n, _ in want}
    for start, n, _ in mine:
        if start not in list(sizes):  # a list: what a learner gives may have no hash
            return Verdict(False, f"No block starts at page {start!r}: a block starts where the word is another than the one before.")
        if n != sizes[start]:
            return Verdict(
                False, f"The block at page {start} is of {count(sizes[start], 'page')}, not {n!r}: so many equal words are in a row."
            )
    missing = [start for start in sizes if start not in [x[0] for x in mine]]
    if missing or len(mine) != len(want):
        return Verdict(
            False, f"There are {len(want)} blocks, each once; you have {len(mine)}{f', and none at page {missing[0]}' if missing else ''}."
        )
    mine.sort()
    for x, y in zip(mine, want, strict=True):
        if x != y:
            return Verdict(False, f"The block at page {y[0]} is not {x[2]!r}: its words end in the digit {int(MemType[y[2]])}.")
    return Verdict(True, f"{len(want)} blocks, found in sixteen words.")


def _check_first_page(answer: Callable[[Read, int], int | None]) -> Verdict:
    m = owners_machine()

    def read(address: int) -> int:
        if 0 <= address < 64:
            raise ValueError(f"nothing is at {address:#x}: a page of type 0 has no descriptor that could be read")
        return int.from_bytes(m.read(address, 8), "little")

    read.__qualname__ = "read"  # what Python calls it when it is called wrongly

    for kind in sorted(MemType, key=lambda kind: not kind):
        if kind is MemType.VMALLOC:
            continue  # its pages are single; the task leaves it out
        first = typical_page(m, kind)
        pfn = next((p for p in range(m.nr_pages - 1, first, -1) if m.page(p).mem_desc == m.page(first).mem_desc), first)
        want = None if kind is MemType.NONE else m.pfn_to_page(first)
        got = answer(read, m.pfn_to_page(pfn))
        if got != want:
            shown = f"{got:#x}" if isinstance(got, int) else repr(got)
            if want is None:
                return Verdict(False, f"A reserved page's word is 0 and it has no descriptor: the answer is None, not {shown}.")
            how = (
                "its descriptor is a struct buddy itself"
                if kind in (MemType.FREE, MemType.BUDDY)
                else "its descriptor names the struct buddy at offset 24"
            )
            return Verdict(False, f"For a page of type {kind.name} you gave {shown}; {how}, whose page is at offset 32: {want:#x}.")
    return Verdict(True, "A page of every type but vmalloc, the last of its block each time.")


def _check_worse(answer: Callable[[], list[int]]) -> Verdict:
    m = Machine("256K")
    old = m.nr_pages * structs.old_page.sizeof
    got = answer()
    if not isinstance(got, (list, tuple)) or not all(isinstance(x, int) and 0 <= x <= m.max_order for x in got[: m.nr_pages]):
        return Verdict(False, f"folios() returns a list of orders, each from 0 to {m.max_order}, such as [0, 0, 3]; not {got!r}.")
    for order in got[: m.nr_pages]:
        if m.folio_alloc(order) is None:
            break
    new = metadata_bytes(m)
    said = f"{new:,} bytes of notes in the new design, and 64 bytes a page are {old:,}."
    if new <= old:
        hint = "One large folio needs no more notes than one of a single page." if any(got) else "Take more of them."
        return Verdict(False, f"Your folios make {said} {hint}")
    if len(got) > _FEWEST:
        return Verdict(False, f"It costs more: {said} But you took {len(got)} folios, and it can be done with fewer.")
    return Verdict(True, f"{len(got)} folios make {said} Less than half of the memory is in use, and the old design is the cheaper one.")


_FEWEST = 28  # folios that make the new design cost more


_FIRST_BUDDY_ONLY = "def first_page(read, page):\n    word = read(page)\n    return read((word & ~15) + 32) if word else None"
_FIRST_NO_NONE = (
    "def first_page(read, page):\n    desc = read(page) & ~15\n    if read(page) & 15 > 2:\n        desc = read(desc + 24)\n"
    "    return read(desc + 32) if desc else 0"
)

EXERCISES = (
    Exercise(
        "03.1",
        level=1,
        minutes=4,
        title="The other half of the word",
        task="`address_of(word)` returns the address of the descriptor that a mem_desc names.",
        stub="def address_of(word):\n    raise NotImplementedError",
        check=_check_address_of,
        hints=(
            "The worked example keeps the low four bits. You want everything but them.",
            "~15 is the number with all bits set except the low four.",
        ),
        wrong=(
            ("def address_of(word):\n    return word", "the type is still in it"),
            ("def address_of(word):\n    return word & ~0xFF", "only the low four bits"),
            ("def address_of(word):\n    return word >> 4", "only the low four bits"),
        ),
        explanation="Two operations that cost nothing, `& 15` and `& ~15`: that is the price of a type in a pointer.",
        state="memlab1.machine.pdnjls55blbdafag2b37sjufft7fajd3ovieixclffu3stlkn5ecaumhsb33oychdw5j7eyqfa7d2zccgdfbgjgmucgslczmcarpsaczkvyo3a52bci7anrkj2vhopfyiyy3w3vvlvb2az5fe6f5h4owttf7xnn4edl6fr7uhkvjm2n6rpvmw7wtu3mb35ul4y4m7yt7vpzqpufbkt7a.b8147d359b607903763744bb",
    ),
    Exercise(
        "03.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task="The cell above prints sixteen words of a mem_map. `blocks()` returns the blocks in them, as (first page, number of pages, type's name).",
        stub="def blocks():\n    raise NotImplementedError",
        check=_check_blocks,
        hints=(
            "All pages of a block have the same word: look where it changes.",
            "The last digit is the type: 1 FREE, 2 BUDDY, 3 SLAB, 4 FOLIO.",
        ),
        wrong=(
            (
                'def blocks():\n    return [(32, 4, "FREE"), (36, 1, "SLAB"), (37, 1, "BUDDY"), (38, 2, "FOLIO"), (40, 8, "FREE")]',
                "is not 'FREE'",
            ),
            ('def blocks():\n    return [(32, 16, "FREE")]', "is of 4 pages, not 16"),
            ('def blocks():\n    return [(32, 4, "BUDDY"), (33, 3, "BUDDY")]', "No block starts at page 33"),
            ('def blocks():\n    return [(32, 4, "BUDDY")]', "you have 1, and none at page 36"),
            ("def blocks():\n    return [32, 36]", "triples"),
        ),
        explanation="The mem_map alone tells where every block begins and ends, what it is, and where to read more.",
        state="memlab1.buddy.pdng3df3bibdcecf77svmcrjkyfyx5flqurgeg6cgldntb2ee5wcefrb75xnzwxooi46ozcej3xqbhirndqarpozcwczqogunugmq63rsqmcuq7ghph5bw3csxazhxbyxxva7oj53csr74azffa2gfz7jg3zrk3glwe55u2qom4oyl65wg6z5wyts3dj66ctvqwv7he3gewa.d43014e919dbf23f092a6df9",
    ),
    Exercise(
        "03.3",
        level=2,
        minutes=12,
        title="From any page to the first",
        task=(
            "`first_page(read, page)` returns the address of the struct page of the FIRST page of the block that `page` (the address of a struct page) belongs to, or "
            "None for a reserved page. `read(address)` is the word there. A struct buddy has its page at offset 32; types above 2 name their struct buddy at offset 24."
        ),
        stub="def first_page(read, page):\n    raise NotImplementedError",
        check=_check_first_page,
        hints=(
            "Read the word at `page`, and take it apart into type and address.",
            "Types 1 and 2: the address is that of the struct buddy. Types above: read its address at offset 24.",
            "Type 0 has no descriptor: return None before you read anything.",
        ),
        wrong=(
            (_FIRST_BUDDY_ONLY, "names the struct buddy at offset 24"),
            (_FIRST_NO_NONE, "the answer is None"),
            ("def first_page(read, page):\n    return page if read(page) else None", "whose page is at offset 32"),
        ),
        explanation="This is what page_slab(), slab_page() and their kin are made of. Code that goes through them need not know where the descriptor lies.",
        state="memlab1.buddy.pdnb3dn5bibdceag37s2wfgsnbqzd7vukbcgyqzy224poi6rbwlrlc4qo435utjrymkgjvtxqiwuqndsq3o6zksbkzhi3hodspbdjpyyazzhw4cqtcbm6rakrna6elb5yuugdnk5g5ryqnfwbkd73jj7o3lxg52c6xdodl4q6kxzlzoojo5vj37lc4msakgs.d4dcccdb57816f5c6cf212e7",
    ),
    Exercise(
        "03.4",
        level=3,
        minutes=10,
        title="When the new design costs more",
        task=(
            "A machine with 64 pages is fresh. `folios()` returns a list of orders; a folio of each is allocated. Choose them so that the notes "
            "(8 bytes a page, and all live descriptors) take more memory than 64 bytes a page would, and take as few folios as you can."
        ),
        stub="def folios():\n    raise NotImplementedError",
        check=_check_worse,
        hints=(
            "What does one folio cost in notes, whatever its order?",
            "A struct folio of 64 bytes and a struct buddy of 48, and a free block has a struct buddy too. Which orders leave memory in the most blocks?",
            "Then try: the answer says how many bytes of notes your list makes.",
        ),
        wrong=(
            ("def folios():\n    return [4, 3]", "One large folio"),
            ("def folios():\n    return [0] * 10", "Take more of them"),
            ("def folios():\n    return [0] * 64", "with fewer"),
            ("def folios():\n    return [99]", "a list of orders"),
        ),
        explanation=(
            "A single page with a user costs 8 + 48 + 64 = 120 bytes. The design pays off where memory is used in larger blocks; how the balance comes out for a mix of orders "
            "is a subject of its own."
        ),
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hflscojtgmxtkkkxjfhssozffe2lsr2kvfokgmjexffmstjpe4zs6prrg43s6kjtkdbuqevne4qs2oa3vfg43ubofpk5qp6fy7munjrxlcbwymekognrwuaaw2zv6a.a507816414d881086c892ac9",
    ),
)


# -- drills


def _tag_question(rng: Random) -> Question:
    kind = MemType(rng.randrange(1, len(MemType)))
    address = PAGE_OFFSET + rng.randrange(1, 1 << 18) * 16
    word = tag(address, kind)
    names = ", ".join(f"{int(k)} {k.name}" for k in MemType)

    def grade(reply: str) -> Verdict:
        parts = [part for part in re.findall(r"\w+", reply.upper()) if part != "AT"]
        if len(parts) != 2:
            return Verdict(False, "Give the type's name and the address, such as FREE 0x1230.")
        try:
            right = parts[0] in (kind.name, str(int(kind))) and int(parts[1], 16) == address
        except ValueError:
            right = False
        if right:
            return Verdict(True, f"{word:#x} is {address:#x} with the digit {int(kind)}.")
        return Verdict(False, f"The last digit, {int(kind)}, says {kind.name}; with 0 in its place the address is {address:#x}.")

    return Question(
        f"The types are {names}. Take the word {word:#x} apart: which type, and which address? (Such as FREE 0x1230.)",
        None,
        f"{kind.name} {address:#x}",
        grade,
    )


DRILLS = (Drill("03.tag", level=1, make=_tag_question),)

CHAPTER = Chapter(
    number="03",
    title="One word",
    notebook="03_one_word.ipynb",
    minutes=40,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
