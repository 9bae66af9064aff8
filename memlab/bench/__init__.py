"""How fast memlab is, beside allocators that do less: `python -m memlab.bench [--json] [--quick | --browser]`.

    workload      the operations, drawn from a seed before any clock runs
    references    what memlab is measured against: the least that a buddy and a slab allocator can be
    race          plays one workload on several allocators in turn and keeps the times
    costs         boot and import, each in a fresh interpreter
    browser       a click in the Buddy lab until it is painted, beside an empty round trip
    report        one run of it all: figures, ratios, goals, and the table
    __main__      the command line

Used by `make bench` and by people who wonder whether a change made memlab slower. Absolute figures are this machine's;
what is judged is ratios, of times taken moments apart. Nothing else in memlab may import this package.
"""
