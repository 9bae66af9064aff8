"""The cells of a notebook with one panel of each kind, for the browser tests."""

CELLS = [
    'from memlab.lessons import begin, drill, exercise, predict, progress\n\nbegin("02")',
    'predict("02.a")',
    'drill("02.split", seed=1)',
    '@exercise("02.1")\ndef order_for(size):\n    return size // 4096',
    "progress()",
]
