"""The cells of a notebook with one panel of each kind, for the browser tests and the screenshots."""

CELLS = [
    """from dataclasses import replace

from memlab.labs import buddy_lab
from memlab.lessons import begin, chapter, drill, exercise, predict, progress, registry

lab = buddy_lab()
lab.session.run(lab.lab.action("allocate"), order=2)
this = chapter("02")
with_state = replace(this, exercises=(replace(this.exercises[0], state=lab.state_code), *this.exercises[1:]))
registry.chapter = lambda _number: with_state
begin("02")""",
    'predict("02.a")',
    'drill("02.split", seed=1)',
    '@exercise("02.1")\ndef order_for(size):\n    return size // 4096',
    "progress()",
]
