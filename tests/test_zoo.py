"""The bug zoo: each animal is caught by the shortest sequence, and the allocators without its fault pass the very same search."""

import ast
import inspect

import pytest

from memlab import Machine
from memlab.check_rules import RULES
from memlab.study.explore import Search
from memlab.study.zoo import ANIMALS, Textbook, animals
from memlab.study.zoo import __main__ as command

SHORTEST = {
    "pelican": 5,
    "squirrel": 2,
    "hermit crab": 3,
    "gull": 3,
    "goldfish": 4,
    "cuckoo": 2,
    "hamster": 8,
    "leech": 2,
    "snail": 5,
}


@pytest.fixture(scope="module")
def reports():
    """What each animal's hunt found."""
    return {name: animal.hunt() for name, animal in ANIMALS.items()}


def test_the_zoo_has_the_animals_whose_sequences_are_known():
    assert list(ANIMALS) == list(SHORTEST)
    kept = {value for value in vars(animals).values() if isinstance(value, type) and issubclass(value, Textbook)} - {Textbook}
    assert {animal.machine for animal in ANIMALS.values()} == kept


@pytest.mark.parametrize("name", ANIMALS)
def test_the_search_catches_the_animal_by_the_shortest_sequence(name, reports):
    animal, broken = ANIMALS[name], reports[name].broken
    assert broken is not None
    assert animal.rule in broken.rules
    assert animal.rule in {*RULES, "allocating free"}
    assert len(broken.history) == SHORTEST[name]
    assert broken.sentence(animal.rule).startswith(f"{animal.rule}: ")
    assert broken.history.setup.machine is animal.machine


@pytest.mark.parametrize("name", ANIMALS)
def test_no_shorter_sequence_breaks_the_animal(name, reports):
    """All sequences of one operation less were tried, and broke nothing."""
    assert reports[name].level == SHORTEST[name] - 1


@pytest.mark.parametrize("name", [name for name in ANIMALS if ANIMALS[name].rule in RULES])
def test_the_sequence_breaks_the_animal_and_all_but_its_last_step_does_not(name, reports):
    history = reports[name].broken.history
    history.run(len(history) - 1).check()
    with pytest.raises(Exception, match=f"{ANIMALS[name].rule}: "):
        history.run().check()


def test_the_gull_allocates_while_it_frees(reports):
    t = reports["gull"].broken.history.trace()
    assert t.calls[0].name == "free_pages"
    assert "kmem_cache_alloc" in {call.name for call in t.calls}


def test_the_cuckoo_needs_an_interrupt(reports):
    assert any(step.interrupts for step in reports["cuckoo"].broken.history)
    animal = ANIMALS["cuckoo"]
    alone = Search(animal.design, 0, animal.operations, None, animal.orders, 0, animal.machine, animal.shape)
    assert alone.run(states=500).broken is None


@pytest.mark.parametrize("machine", [Machine, Textbook])
@pytest.mark.parametrize("name", ANIMALS)
def test_without_the_fault_the_same_search_finds_nothing_and_goes_further(name, machine, reports):
    states = max(report.states for report in reports.values()) if machine is Machine else reports[name].states
    report = ANIMALS[name].search(machine).run(states=states)
    assert report.broken is None, str(report)
    assert report.states >= reports[name].states
    assert report.level >= reports[name].level


@pytest.mark.parametrize("design", ["as-written", "bounded"])
def test_the_textbook_machine_works_on_any_workload_of_the_search(design):
    report = Search(design, interrupts=1, machine=Textbook).run(states=300)
    assert report.broken is None, str(report)
    assert report.states == 300


@pytest.mark.parametrize("name", ANIMALS)
def test_an_animal_is_the_textbook_machine_but_for_one_method(name):
    animal = ANIMALS[name]
    own = {key for key, value in vars(animal.machine).items() if inspect.isfunction(value)}
    assert own == {animal.method}
    assert animal.source().startswith((f"def {animal.method}(self, ", f"def {animal.method}(m: "))
    assert animal.source() != animal.source(Textbook)
    assert inspect.getdoc(getattr(animal.machine, animal.method)) == inspect.getdoc(getattr(Textbook, animal.method))
    ast.parse(animal.source())


@pytest.mark.parametrize("name", ANIMALS)
def test_the_suspects_are_few_lines_of_the_method_and_nothing_gives_them_away(name):
    animal = ANIMALS[name]
    lines = animal.source().splitlines()
    assert 1 <= len(animal.suspects()) <= 4
    assert all(1 < number <= len(lines) for number in animal.suspects())
    assert "#" not in animal.source()
    assert not any(word in animal.source().lower() for word in ("bug", "fault", "wrong", "forget", "missing"))


def test_the_suspects_are_where_the_fault_is():
    def told(name):
        lines = ANIMALS[name].source().splitlines()
        return [lines[number - 1].strip() for number in ANIMALS[name].suspects()]

    assert told("pelican") == ["if not near:"]
    assert told("squirrel") == ["return chain"]
    assert told("hamster") == ["if not b:", "return 0"]  # on both sides of the missing line
    assert "kmem_cache_alloc" in " ".join(told("gull"))


# -- the command line


def test_the_command_hunts_all_animals_and_prints_what_broke_with_the_sequence(capsys):
    assert command.main([]) == 0
    out = capsys.readouterr().out
    for name, animal in ANIMALS.items():
        assert f"the {name}: {animal.fault}" in out
        assert f"m = {animal.machine.__name__}(" in out
        assert f"{animal.rule}: " in out


def test_the_command_hunts_the_animals_that_it_is_told_and_says_when_one_gets_away(capsys):
    assert command.main(["pelican", "--states", "20"]) == 1
    out = capsys.readouterr().out
    assert "got away: 20 states" in out
    assert "squirrel" not in out


@pytest.mark.parametrize(
    ("args", "message"),
    [(["dodo"], "there is no animal 'dodo'; there are pelican, squirrel"), (["--states", "0"], "--states is 1 or more, not 0")],
)
def test_the_command_refuses_animals_that_there_are_not(args, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main(args)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
