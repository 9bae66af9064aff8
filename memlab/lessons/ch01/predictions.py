"""Predictions of chapter 01, Memory by the page, and what computes their answers.  Used by the chapter's __init__."""

from __future__ import annotations

from ...machine import Machine
from ...structs import buddy
from ..model import Choices, Prediction
from .scene import head_of, reader, small_machine


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


def _page_choices(m: Machine) -> Choices:
    address = _asked_address(m)
    pfn = m.virt_to_pfn(address)
    return {
        f"Page {pfn:x}": f"The digits are right, but they are hexadecimal: 0x{pfn:x} is {pfn}.",
        f"Page {pfn}": None,
        f"Page {pfn + 1}": "Rounding up would be the next page; the address lies before it.",
        f"Page {address & 0xFFF}": "These are the last three digits: they say where in the page, not which page.",
    }


def _asked_address(m: Machine) -> int:
    return (m.page_address(40) or 0) + 0x9C4


PREDICTIONS = (
    Prediction(
        "01.a",
        question="A page has 4096 bytes. How is 4096 written in hexadecimal?",
        choices={
            "0x1000": None,
            "0x4096": "That would be 4 times 4096, plus 9 times 16, plus 6: each place counts sixteen times as much as the one to its right.",
            "0x400": "That is 4 times 16 times 16: 1024.",
            "0x10000": "That is one place more: 16 times 4096, or 65,536.",
        },
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
        choices={
            "0x11": "That is how we write it on paper, the large end first. These processors begin with the small end.",
            "0x22": None,
            "0x00": "The word has eight bytes and six of them are zero, but they come after the two that count.",
        },
        right=_hello,
        machine=small_machine,
    ),
    Prediction(
        "01.d",
        question="Somebody fills a whole page with ones. What happens to the page's struct page?",
        choices={
            "All its bits are set": "The struct page is not in the page: it is one entry of an array elsewhere.",
            "Nothing: it is somewhere else": None,
            "The kernel takes a copy first": "Nobody watches: a write is a write.",
        },
        right=_scribble,
        machine=small_machine,
    ),
    Prediction(
        "01.e",
        question="A struct buddy begins with flags (8 bytes) and list (two pointers). At which byte is its third field, order?",
        choices={
            "Byte 2": "Offsets count bytes, not fields.",
            "Byte 16": "list has two pointers of 8 bytes each.",
            "Byte 24": None,
            "Byte 32": "That is the fourth field, page.",
        },
        right=_order_at,
    ),
    Prediction(
        "01.f",
        question="The head of a list has a next pointer. Where does it point when the list is empty?",
        choices={
            "Zero": "Then every loop would need a test for zero; a circular list needs none.",
            "Its own address": None,
            "The address of some free page": "An empty list has no page to point to.",
        },
        right=_empty_list,
        machine=small_machine,
    ),
    Prediction(
        "01.g",
        question="The last pages of this machine are HIGHMEM. What does such a page have?",
        choices={
            "A struct page, but no address": None,
            "Neither of the two": "The kernel must keep track of it all the same.",
            "Both": "HIGHMEM is just the memory for which the kernel had no addresses left.",
        },
        right=_highmem,
        machine=lambda: Machine("256K", highmem="64K"),
    ),
)
