"""Exercises of chapter 01, Memory by the page, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..model import Exercise, Verdict
from .scene import Read, head_of, list_machine, nodes_of, reader, small_machine, traced_list


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
        explanation="A list with two links an entry carries every address twice, so that damage can be found before it spreads.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgi2kxvkrfixesliawkr2hfosgjzxffduvkk7fc2skkfzjlamnjrxlaeciwu2sigb4rkkbjavlct25cnbcjhdsy3d3rzcnjty6sm6heid5gf22biaeq2typy.a8a08cdcae8553c4372676b1",
    ),
)
