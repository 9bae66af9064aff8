"""Exercises of chapter 10, Does it work?, and their checks.  Used by the chapter's __init__; answers.py has an answer to each."""

from __future__ import annotations

from ..model import Exercise
from .checks import check_break, check_count, check_line, check_stranded

# The states: a storm's pages and their words; two buddies in use; a struct slab and its buddy in pages of their own; a block of four pages, halved.
EXERCISES = (
    Exercise(
        "10.1",
        level=1,
        minutes=6,
        title="Words and counts",
        task=(
            "`words_fit(m)` is True if as many pages have a word of the type FREE as the machine says are free (`m.free_pages_count`), and False otherwise. "
            '`m.mem_desc(pfn).type.name` is the name of a type, such as "FREE".'
        ),
        stub="def words_fit(m):\n    raise NotImplementedError",
        check=check_count,
        hints=(
            'Count: sum(m.mem_desc(pfn).type.name == "FREE" for pfn in range(m.nr_pages)).',
            "The result of == is True or False already.",
        ),
        explanation="The count, the free lists and the words say the same thing three times. That costs a little care in each operation, and it is what makes damage visible.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgiz2tvkrfixesliawkr2hanm7srfyjm5nkqlvvaueuvuga5yusiuc3lmnqwqbr72cu4q.e221f7a697616933aa7af23f",
    ),
    Exercise(
        "10.2",
        level=1,
        minutes=8,
        title="Trace by hand",
        task=(
            "The squirrel's `_free_one_page`, as printed above the exercise. Page 19 was allocated, its buddy, page 18, is in use, and free_pages(19) runs. "
            "`wrong_line()` returns the number of the line that is wrong."
        ),
        stub="def wrong_line():\n    raise NotImplementedError",
        check=check_line,
        hints=(
            "pfn is 19 and order 0. What is `other`? Page 18 is no free block, so `near` is 0. Which line comes next?",
            "A freed block must be on a free list when the method ends. Which line puts it there, and is it reached?",
        ),
        explanation="`break` in the place of `return chain`: merging ends at a busy buddy, freeing does not. It is one of the faults that were found in real teaching allocators.",
        state="memlab1.buddy.pdnkwvrkjywsslkqwkvfmksijrhs2vvsgiz2tvkrfixesliawkr2hfisonzpfeytjnjjk5fksxziwussrokkyddkmn2xasoe2ybaa6ugdozq.24c1163258399a680597f8f8",
    ),
    Exercise(
        "10.3",
        level=2,
        minutes=15,
        title="Nothing stranded",
        task=(
            "`nothing_stranded(m)` is True if no descriptor that is in use lies in a free page. Look at the descriptor that each page's word names, and, if that is a struct slab, "
            "at its `buddy` too. Page 0 starts at 0xffff888000000000; a page has m.page_size bytes. A word whose type is NONE names nothing, and one descriptor may lie outside all pages."
        ),
        stub="def nothing_stranded(m):\n    raise NotImplementedError",
        check=check_stranded,
        hints=(
            "desc = m.mem_desc(pfn) has .type.name and .address; the page of an address is (address - 0xffff888000000000) // m.page_size.",
            'If desc.type.name is "SLAB", then m.slab(desc.address).buddy is a second address to look at.',
            "Is the page below m.nr_pages? Only then ask for the type of its word.",
        ),
        explanation="This is the rule desc-in-free-page of check(). It answers one of the questions about the email: can a descriptor be stranded in a page that is free? In all states that were searched, none is.",
        state="memlab1.bootstrap.pdna3rrrblacadaf2c57zwiolvzrlelcnmuiewcjeioye53p372bzsrwa7epcsdbahwqdbnv3yoyjlg3fpkyyo2wqana6bof7bh6mzmhwz6cf6cknf6yf5qzha.dcc8073c68aafe756e2d0068",
    ),
    Exercise(
        "10.4",
        level=3,
        minutes=20,
        title="Break the pelican",
        task=(
            "`break_it(m)`: m is a fresh pelican with 32 pages. With calls such as m.alloc_pages(order), m.split_page(pfn) and m.free_pages(pfn), break a rule. "
            "Any sequence counts; then make it shorter: you are told how short the search's is."
        ),
        stub="def break_it(m):\n    raise NotImplementedError",
        check=check_break,
        hints=(
            "The textbook's line is `if not near or self.order_of[near] != order`. What does the pelican not ask about the free block it finds?",
            "Its buddy must BEGIN with a free block that is smaller than itself, while the rest of that buddy is in use.",
            "alloc_pages(2) gives four pages. Split them, and split one half once more: blocks of 2, 1 and 1. Free the one that the large one's buddy begins with.",
        ),
        explanation="Five operations, and no four will do: the search tried them all. The pelican takes pages that somebody uses into a free block, and what described them is lost.",
        state="memlab1.buddy.pdnb3s2lbkadadcf2g63y4i5lbckiwzjduka2iqedkndqkwzxop5tzoadvilew4qa2sj5jci5prac2ren7tyzsw46zviimgq7jar2kl2bemsu7gzu45tci757m2modk6ri777li4te.472bb4a06e0d4fc4bf3eb1cf",
    ),
)
