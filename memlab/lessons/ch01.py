"""Chapter 01, Memory by the page: its exercises, predictions and drills.  Loaded by the registry of memlab.lessons; imports the engine and the core."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..machine import Machine
from ..ram import PAGE_OFFSET
from ..structs import buddy
from .model import Chapter, Drill, Exercise, Prediction, Question, Verdict

Read = Callable[[int], int]  # the word at an address


def small_machine() -> Machine:
    """Boot the chapter's machine: 64 pages."""
    return Machine("256K")


def reader(m: Machine) -> Read:
    """Return a function that reads the word at an address of ``m``."""

    def read(address: int) -> int:
        return int.from_bytes(m.read(address, 8), "little")

    read.__qualname__ = "read"  # what Python calls it when it is called wrongly
    return read


def list_machine(lengths: dict[int, int]) -> Machine:
    """Return a machine whose free lists have at least so many blocks: {order: blocks}, each made by freeing blocks whose buddies stay in use."""
    m = small_machine()
    for order, n in lengths.items():
        blocks = [pfn for _ in range(2 * n) if (pfn := m.alloc_pages(order)) is not None]
        for pfn in blocks:
            if pfn >> order & 1:
                m.free_pages(pfn)
    return m


def head_of(m: Machine, order: int) -> int:
    """Return the address of a free list's head."""
    return m.B + 8 * (m.zones[0].heads + 2 * order)


def nodes_of(m: Machine, order: int) -> list[int]:
    """Return the addresses of the list_heads on a free list, in list order, without the head."""
    read, head = reader(m), head_of(m, order)
    nodes, node = list[int](), read(head)
    while node != head:
        nodes.append(node)
        node = read(node)
    return nodes


# -- predictions


def _hello(m: Machine) -> str:
    pfn = m.alloc_pages(0) or 0
    address = m.page_address(pfn) or 0
    m.write(address, (0x1122).to_bytes(8, "little"))
    return f"{m.read(address, 1)[0]:#04x}"


def _scribble(m: Machine) -> str:
    pfn = m.alloc_pages(0) or 0
    before = m.read(m.pfn_to_page(pfn), 8)
    m.write(m.page_address(pfn) or 0, b"\xff" * m.page_size)
    return "Nothing: it is somewhere else" if m.read(m.pfn_to_page(pfn), 8) == before else "All its bits are set"


def _order_at(_: object) -> str:
    return f"Byte {buddy.order.offset}"


def _empty_list(m: Machine) -> str:
    empty = next(order for order, n in enumerate(m.buddyinfo()[0, "Normal"]) if n == 0)
    head = head_of(m, empty)
    return "Its own address" if reader(m)(head) == head else "Zero"


def _highmem(m: Machine) -> str:
    pfn = m.nr_pages - 1
    return "A struct page, but no address" if m.page_address(pfn) is None and m.page(pfn).mem_desc else "Both"


def _page_choices(m: Machine) -> list[tuple[str, str | None]]:
    address = _asked_address(m)
    pfn = m.virt_to_pfn(address)
    return [
        (f"Page {pfn:x}", f"The digits are right, but they are hexadecimal: 0x{pfn:x} is {pfn}."),
        (f"Page {pfn}", None),
        (f"Page {pfn + 1}", "Rounding up would be the next page; the address lies before it."),
        (f"Page {address & 0xFFF}", "These are the last three digits: they say where in the page, not which page."),
    ]


def _asked_address(m: Machine) -> int:
    return (m.page_address(40) or 0) + 0x9C4


PREDICTIONS = (
    Prediction(
        "01.a",
        question="A page has 4096 bytes. How is 4096 written in hexadecimal?",
        choices=(
            ("0x1000", None),
            (
                "0x4096",
                "That would be 4 times 4096, plus 9 times 16, plus 6: each place counts sixteen times as much as the one to its right.",
            ),
            ("0x400", "That is 4 times 16 times 16: 1024."),
            ("0x10000", "That is one place more: 16 times 4096, or 65,536."),
        ),
        right=lambda m: f"{m.page_size:#x}",
        machine=small_machine,
    ),
    Prediction(
        "01.b",
        question=lambda m: f"On your machine, in which page is the byte at address {_asked_address(m):#x}?",
        choices=_page_choices,
        right=lambda m: f"Page {m.virt_to_pfn(_asked_address(m))}",
        machine=small_machine,
    ),
    Prediction(
        "01.c",
        question="The number 0x1122 is written as one word at the start of a page. Which byte stands first?",
        choices=(
            ("0x11", "That is how we write it on paper, the large end first. These processors begin with the small end."),
            ("0x22", None),
            ("0x00", "The word has eight bytes and six of them are zero, but they come after the two that count."),
        ),
        right=_hello,
        machine=small_machine,
    ),
    Prediction(
        "01.d",
        question="Somebody fills a whole page with ones. What happens to the page's struct page?",
        choices=(
            ("All its bits are set", "The struct page is not in the page: it is one entry of an array elsewhere."),
            ("Nothing: it is somewhere else", None),
            ("The kernel takes a copy first", "Nobody watches: a write is a write."),
        ),
        right=_scribble,
        machine=small_machine,
    ),
    Prediction(
        "01.e",
        question="A struct buddy begins with flags (8 bytes) and list (two pointers). At which byte is its third field, order?",
        choices=(
            ("Byte 2", "Offsets count bytes, not fields."),
            ("Byte 16", "list has two pointers of 8 bytes each."),
            ("Byte 24", None),
            ("Byte 32", "That is the fourth field, page."),
        ),
        right=_order_at,
    ),
    Prediction(
        "01.f",
        question="The head of a list has a next pointer. Where does it point when the list is empty?",
        choices=(
            ("Zero", "Then every loop would need a test for zero; a circular list needs none."),
            ("Its own address", None),
            ("The address of some free page", "An empty list has no page to point to."),
        ),
        right=_empty_list,
        machine=small_machine,
    ),
    Prediction(
        "01.g",
        question="The last pages of this machine are HIGHMEM. What does such a page have?",
        choices=(
            ("A struct page, but no address", None),
            ("Neither of the two", "The kernel must keep track of it all the same."),
            ("Both", "HIGHMEM is just the memory for which the kernel had no addresses left."),
        ),
        right=_highmem,
        machine=lambda: Machine("256K", highmem="64K"),
    ),
)


# -- exercises


def _check_page_of(answer: Callable[[int], int]) -> Verdict:
    m = small_machine()
    for pfn, offset in ((0, 0), (1, 0), (9, 0xC40), (35, 0xFFF), (63, 8)):
        address = (m.page_address(pfn) or 0) + offset
        got = answer(address)
        if got != m.virt_to_pfn(address) or not isinstance(got, int):
            why = "each page has 0x1000 bytes"
            if not isinstance(got, int):
                why = "return a whole number" if got is not None else "nothing came back, so end with return"
            elif got > m.nr_pages:
                why = "the first page starts at 0xffff888000000000, so take that off first"
            return Verdict(False, f"page_of({address:#x}) gave {got!r}, and the byte is in page {pfn}: {why}.")
    return Verdict(True, "Five addresses, the first and the last byte of a page among them.")


def traced_list() -> tuple[Machine, list[int]]:
    """Return the machine of exercise 01.2, and the pages on its list of order 0, in list order."""
    m = small_machine()
    pages = [m.alloc_pages(0) or 0 for _ in range(14)]
    odd = [pfn for pfn in pages if pfn & 1]
    for pfn in (odd[2], odd[0], odd[3], odd[1]):
        m.free_pages(pfn)
    return m, [m.page_to_pfn(reader(m)(node - buddy.list.offset + buddy.page.offset)) for node in nodes_of(m, 0)]


def list_table(m: Machine, order: int) -> str:
    """Return the list_heads of a free list as a table, sorted by address: what each next pointer says, and the block's first page."""
    read, head = reader(m), head_of(m, order)
    lines = [f"{'at':18}  {'next':18}  page"]
    for at in sorted([head, *nodes_of(m, order)]):
        page = "(head)" if at == head else str(m.page_to_pfn(read(at - buddy.list.offset + buddy.page.offset)))
        lines.append(f"{at:#x}  {read(at):#x}  {page}")
    return "\n".join(lines)


def _check_list_order(answer: Callable[[], list[int]]) -> Verdict:
    _, want = traced_list()
    got = answer()
    if not isinstance(got, (list, tuple)) or set(got) != set(want) or len(got) != len(want):
        return Verdict(False, f"list_order() returns a list of the table's {len(want)} page numbers, in list order; yours is {got!r}.")
    if list(got) == sorted(want):
        return Verdict(False, "That is the order of the page numbers. Start at the head, and go where next points.")
    if got[0] != want[0]:
        return Verdict(False, f"The list begins where the head's next points: with page {want[0]}, and not with page {got[0]}.")
    if list(got) != want:
        at = next(i for i, page in enumerate(want) if got[i] != page)
        return Verdict(False, f"Page {got[at]} does not come after page {want[at - 1]}: look where the next of page {want[at - 1]} points.")
    return Verdict(True, f"Head, then pages {', '.join(map(str, want))}, then the head again.")


def _check_walk(answer: Callable[[Read, int], list[int]]) -> Verdict:
    for lengths in ({0: 4}, {1: 3}, {0: 1}):
        m = list_machine(lengths)
        for order in (*lengths, next(k for k, n in enumerate(m.buddyinfo()[0, "Normal"]) if n == 0)):
            head, want = head_of(m, order), nodes_of(m, order)
            got = answer(reader(m), head)
            if not isinstance(got, list):
                return Verdict(False, f"walk() returns a list of addresses, not {got!r}.")
            if head in got:
                return Verdict(False, "The head is in your answer. It only marks where the circle begins and ends.")
            if got != want:
                what = "an empty list, whose head points to itself," if not want else f"a list of {len(want)}"
                how = "an entry is where a next pointer points, and nothing else"
                if set(got) == set(want):
                    how = "these are the right ones in another order: an entry's next is its first word"
                elif set(got) < set(want):
                    how = "go on until next is the head again"
                return Verdict(False, f"For {what} you found {len(got):,} entries; {how}.")
    return Verdict(True, "Lists of several lengths, the empty one among them.")


def _check_broken(answer: Callable[[Read, int], int | None]) -> Verdict:
    rng = Random(1)
    for case in range(12):
        m = list_machine({0: 5})
        head, nodes = head_of(m, 0), nodes_of(m, 0)
        ring = [head, *nodes]
        want = None
        if case % 4:
            i = rng.randrange(len(ring))
            want, after = ring[i], ring[(i + 1) % len(ring)]
            m.write(after + 8, rng.choice([x for x in ring if x != want]).to_bytes(8, "little"))
        got = answer(reader(m), head)
        if got != want:
            if want is None:
                return Verdict(False, f"This list is sound, and the answer is None; you gave {_hex(got)}.")
            if got is None:
                return Verdict(
                    False, f"The entry after {want:#x} does not point back to it, and you found nothing. Is the head looked at too?"
                )
            return Verdict(
                False, f"You gave {_hex(got)}; but it is the entry after {want:#x} that does not point back, so the answer is {want:#x}."
            )
    return Verdict(
        True, "Twelve lists, three of them sound. Linux makes this test on every change of a list when CONFIG_DEBUG_LIST is set."
    )


def _hex(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) else repr(value)


_WALK_DO = "def walk(read, head):\n    found, node = [head], read(head)\n    while node != head:\n        found.append(node)\n        node = read(node)\n    return found"
_WALK_ZERO = "def walk(read, head):\n    found, node = [], read(head)\n    while node:\n        found.append(node)\n        node = read(node)\n    return found"
_BROKEN_NO_HEAD = (
    "def broken_at(read, head):\n    node = read(head)\n    while read(node) != head:\n        if read(read(node) + 8) != node:\n            return node\n"
    "        node = read(node)\n    return None"
)

EXERCISES = (
    Exercise(
        "01.1",
        level=1,
        minutes=5,
        title="Which page?",
        task="`page_of(address)` returns the pfn of the page that a virtual address is in. Page 0 starts at 0xffff888000000000.",
        stub="def page_of(address):\n    raise NotImplementedError",
        check=_check_page_of,
        hints=(
            "First: how many bytes after the start of page 0 is the address?",
            "Then: how many whole pages of 4096 bytes is that? // rounds down; >> 12 does the same.",
        ),
        wrong=(
            ("def page_of(address):\n    return address >> 12", "take that off first"),
            ("def page_of(address):\n    return (address - 0xffff888000000000) // 0x100", "each page has 0x1000 bytes"),
            ("def page_of(address):\n    return -(-(address - 0xffff888000000000) // 4096)", "each page has 0x1000 bytes"),
        ),
        explanation="In the kernel this is virt_to_pfn(): one subtraction and one shift, because page sizes are powers of two.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussrokkyddkmnrwwajo5ajvk.9b3be3362aca10cc25d78c1d",
    ),
    Exercise(
        "01.2",
        level=1,
        minutes=6,
        title="Trace by hand",
        task="The cell above prints the links of a list of free pages, sorted by address. `list_order()` returns the page numbers in list order.",
        stub="def list_order():\n    raise NotImplementedError",
        check=_check_list_order,
        hints=(
            "Start in the line of the head: where does its next point?",
            "Find that address in the column `at`; note its page; go where its next points.",
        ),
        wrong=(
            ("def list_order():\n    return [1, 3, 35, 37]", "order of the page numbers"),
            ("def list_order():\n    return [35, 1, 3]", "yours is"),
            ("def list_order():\n    return [37, 35, 3, 1]", "where the head's next points"),
        ),
        explanation="The list is last in, first out: the page freed last comes first. Chapter 02 comes back to that.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfosgjzxffduvkk7fc2skkfzjlamnjrxlaeciwu2sigb4rkkbjavlct25mnzcjxdsyz4oklhrzcmqfzldniabcythqy.762eda2d98552b8a1ca2723d",
    ),
    Exercise(
        "01.3",
        level=2,
        minutes=10,
        title="Walk a list",
        task=(
            "`walk(read, head)` returns the addresses of all entries of a circular list, in list order, without the head. `read(address)` returns the word at "
            "an address; an entry's first word is its next pointer."
        ),
        stub="def walk(read, head):\n    raise NotImplementedError",
        check=_check_walk,
        hints=(
            "Where does the walk begin? At read(head), not at head.",
            "When is it over? When next is the head again; that may be at once.",
        ),
        wrong=(
            (_WALK_DO, "The head is in your answer"),
            (_WALK_ZERO, "lines of your code"),
            ("def walk(read, head):\n    return [read(head)]", "go on until next"),
            (
                "def walk(read, head):\n    found, node = [], read(head + 8)\n    while node != head:\n        found.append(node)\n        node = read(node + 8)\n    return found",
                "in another order",
            ),
        ),
        explanation="The kernel's list_for_each() is this loop. The empty list needs no special case: its head points to itself.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfosgjzxffduvkk7fc2skkfybmvvwe5ebqnc2rkjaydsfjinecvmkpl5qqqjw6oas3rzcmz2axdmfuansujlii.63cd4f9700c293c5c0086dda",
    ),
    Exercise(
        "01.4",
        level=3,
        minutes=15,
        title="Find the broken link",
        task=(
            "In at most one place of a list a prev pointer is wrong; the next pointers are sound. `broken_at(read, head)` returns the address of the entry (or the head) "
            "whose successor does not point back to it, or None. An entry's second word, at address + 8, is its prev pointer."
        ),
        stub="def broken_at(read, head):\n    raise NotImplementedError",
        check=_check_broken,
        hints=(
            "For each entry: is read(read(entry) + 8) the entry itself?",
            "The circle has one entry more than you think: the head has a successor too.",
        ),
        wrong=(
            ("def broken_at(read, head):\n    return None", "you found nothing"),
            (_BROKEN_NO_HEAD, "you found nothing"),
            ("def broken_at(read, head):\n    return head", "This list is sound"),
        ),
        explanation="A list with two links an entry carries every address twice, so that damage can be found before it spreads.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfosgjzxffduvkk7fc2skkfzjlamnjrxlaeciwu2sigb4rkkbjavlct25cnbcjhdsy3d3rzcnjty6sm6heid5gf22biaeq2typy.a8a08cdcae8553c4372676b1",
    ),
)


# -- drills


def _pfn_question(rng: Random) -> Question:
    pfn, offset = rng.randrange(16, 4096), rng.randrange(0, 4096)
    address = PAGE_OFFSET + (pfn << 12) + offset

    def grade(reply: str) -> Verdict:
        try:
            right = int(reply.strip(), 0) == pfn
        except ValueError:
            return Verdict(False, f"A page frame number is a number, such as {pfn + 1} or {pfn + 1:#x}.")
        if right:
            return Verdict(True, f"Without the start of page 0 and the last three digits, {pfn:#x} is left: {pfn}.")
        return Verdict(False, f"Take 0xffff888000000000 off and drop the last three digits: {pfn:#x}, that is {pfn}.")

    return Question(
        f"Pages have 0x1000 bytes, and page 0 starts at {PAGE_OFFSET:#x}. In which page is the byte at {address:#x}? (Decimal, or hexadecimal with 0x.)",
        None,
        f"{pfn:#x}",
        grade,
    )


def _list_question(rng: Random) -> Question:
    names = ["A", "B", "C", "D"]
    order = rng.sample(names, 4)
    ring = ["head", *order]
    links = {name: ring[(i + 1) % 5] for i, name in enumerate(ring)}
    table = ", ".join(f"{name}'s next is {links[name]}" for name in ["head", *names])
    answer = " ".join(order)

    def grade(reply: str) -> Verdict:
        letters = [c for c in reply.upper() if c in names]
        if letters == order:
            return Verdict(True, f"From the head: {answer}, and back to the head.")
        return Verdict(False, f"Start at the head and go where next points: {answer}.")

    return Question(f"A circular list: {table}. In which order are A to D on it? (Four letters.)", None, answer, grade)


DRILLS = (Drill("01.pfn", level=1, make=_pfn_question), Drill("01.list", level=1, make=_list_question))

CHAPTER = Chapter(
    number="01",
    title="Memory by the page",
    notebook="01_memory.ipynb",
    minutes=30,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
