"""Names of places: a word of RAM by its index or its virtual address, a page by its pfn or the address of its ``struct page``.

Used by everybody who follows a pointer and is not in a hurry; hot paths write the same shift in line.  Imports nothing of memlab.

    word(address)   which 64-bit word of RAM is at a virtual address           address(word)   and back
    pfn_of(page)    which page has its struct page at an address of the vmemmap  page_of_pfn(pfn)   and back

Source: Documentation/arch/x86/x86_64/mm.rst for the two base addresses.
"""

from __future__ import annotations

from typing import Final

B: Final = 0xFFFF_8880_0000_0000  # PAGE_OFFSET: the virtual address of word 0 of RAM
V: Final = 0xFFFF_EA00_0000_0000  # VMEMMAP: the address of page 0's struct page


def word(address: int) -> int:
    """Return the index of the word at a virtual address (unsigned long)."""
    return (address - B) >> 3


def address(word: int) -> int:
    """Return the virtual address of a word of RAM, by its index."""
    return B + 8 * word


def pfn_of(page: int) -> int:
    """Return the pfn of a struct page of one word (struct page *)."""
    return (page - V) >> 3


def page_of_pfn(pfn: int) -> int:
    """Return the address of page ``pfn``'s struct page of one word."""
    return V + 8 * pfn
