"""Chapter 11, What it costs.  Loaded by the registry of memlab.lessons."""

TITLE = "What it costs"
NOTEBOOK = "11_costs.ipynb"
MINUTES = 35
