"""The trace points: which functions of a machine count as call frames, by the kernel's names.

Used by probes.py, which installs wrappers there, by trace.py and by the study of the design.  Imports nothing of memlab.

Source: the email (its call chain).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Point(NamedTuple):
    """A function that counts as a call frame.

    ``attribute``: of the machine.  ``null``: what it returns when made to fail.  ``cache``: its first argument is one.
    ``word``: what a word index that it returns is of, "buddy" or "slab"; "" if it returns no word index.
    """

    attribute: str
    null: object
    cache: bool = False
    may_fail: bool = True
    word: str = ""


def _frees(attribute: str, cache: bool = False) -> tuple[Point, ...]:
    return (Point(attribute, None, cache, may_fail=False),)


POINTS: Final[dict[str, tuple[Point, ...]]] = {
    "alloc_pages": (Point("alloc_pages", None), Point("_alloc_pages", 0, word="buddy")),
    "get_free_page": (Point("get_free_page", None),),
    "split_page": (Point("split_page", None),),
    "kmem_cache_alloc": (Point("_kmem_cache_alloc", 0, cache=True),),
    "kmem_cache_alloc_bulk": (Point("_kmem_cache_alloc_bulk", None, cache=True),),
    "kmalloc": (Point("kmalloc", None),),
    "folio_alloc": (Point("folio_alloc", None),),
    "anonmem_alloc": (Point("anonmem_alloc", None),),
    "filemem_alloc": (Point("filemem_alloc", None),),
    "pgtable_alloc": (Point("pgtable_alloc", None),),
    "vmalloc": (Point("vmalloc", None),),
    "___slab_alloc": (Point("___slab_alloc", 0, cache=True),),
    "new_slab": (Point("_new_slab", 0, cache=True, word="slab"),),
    "allocate_slab": (Point("_allocate_slab", 0, cache=True, word="slab"),),
    "alloc_slab_page": (Point("_alloc_slab_page", 0, cache=True, word="slab"),),
    "__alloc_slab": (Point("__alloc_slab", 0, word="slab"),),
    "free_pages": (*_frees("free_pages"), *_frees("_free_block")),
    "free_page": _frees("free_page"),
    "kmem_cache_free": _frees("_kmem_cache_free", cache=True),
    "kmem_cache_free_bulk": _frees("_kmem_cache_free_bulk", cache=True),
    "kfree": _frees("kfree"),
    "folio_put": _frees("folio_put"),
    "anonmem_put": _frees("anonmem_put"),
    "filemem_put": _frees("filemem_put"),
    "pgtable_put": _frees("pgtable_put"),
    "vfree": _frees("vfree"),
}
TRACE_POINTS: Final = {name: points[0].may_fail for name, points in POINTS.items()}
# public functions that are no trace point and call some: what the handler of an interrupt raises in one of those undoes all of the function
OF_SEVERAL: Final = ("alloc_pages_bulk", "alloc_pages_desc", "alloc_pages_node_desc", "free_pages_desc", "_kmem_cache_grow")
