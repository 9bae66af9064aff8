"""Exercises of chapter 03, One word, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable

from ... import structs
from ...figures.picture import count
from ...machine import Machine
from ...memdesc import MemType, untag
from ..model import Exercise, Verdict
from .scene import Read, metadata_bytes, owners_machine, traced_words, typical_page


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
        explanation=(
            "A single page with a user costs 8 + 48 + 64 = 120 bytes. The design pays off where memory is used in larger blocks; how the balance comes out for a mix of orders "
            "is a subject of its own."
        ),
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hflscojtgmxtkkkxjfhssozffe2lsr2kvfokgmjexffmstjpe4zs6prrg43s6kjtkdbuqevne4qs2oa3vfg43ubofpk5qp6fy7munjrxlcbwymekognrwuaaw2zv6a.a507816414d881086c892ac9",
    ),
)
