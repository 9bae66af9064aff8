"""Chapter 06, A slab and its buddy.  Loaded by the registry of memlab.lessons."""

TITLE = "A slab and its buddy"
NOTEBOOK = "06_slab_and_buddy.ipynb"
MINUTES = 35
