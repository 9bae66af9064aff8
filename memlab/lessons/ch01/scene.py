"""The machines and words that chapter 01's predictions, exercises and notebook share.  Imports the core, labs and study."""

from __future__ import annotations

from collections.abc import Callable

from ...machine import Machine
from ...structs import buddy

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
