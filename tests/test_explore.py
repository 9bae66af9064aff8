"""Explore: its survey against check(), its canonical form, its histories, its budgets, and the search that settles whether the design works."""

import os
import random
import signal
import subprocess
import sys
from itertools import islice

import pytest

from memlab import Machine
from memlab.addresses import word
from memlab.cache_table import percpu, slabs_of, walk_freelist
from memlab.check import check
from memlab.study.consumers import free_descriptors
from memlab.study.explore import DEFAULT, EVERYTHING, HANDLERS, Broken, History, Search, Setup, Step, Survey
from memlab.study.explore import __main__ as command
from memlab.study.explore.choices import on_hand, survey_for
from memlab.study.explore.expand import Expander, Plan, _digest, _packed
from memlab.study.explore.steps import RunsAway, do
from memlab.study.zoo import ANIMALS

DESIGNS = ["as-written", "bounded"]
SETS = {"default": DEFAULT, "everything": EVERYTHING}


def walk(design, operations, seed, n, interrupts=0):
    """An Expander, and images of ``n`` states on random ways from the fresh machine."""
    rng = random.Random(seed)
    e = Expander(Plan(Setup(design), interrupts, tuple(operations), tuple(HANDLERS), 2, 0))
    images, ways = [], [e.start_image]
    while len(images) < n:
        images.append(ways.pop(-1 if rng.random() < 0.9 else rng.randrange(len(ways))))
        new = [edge.image for edge in e.expand(images[-1]) if edge.image]
        rng.shuffle(new)
        ways += new
    return e, images


def agree(e, at, value):
    """Damage a word, and demand that the survey and check() say the same of it; puts the word back."""
    m = e.m
    before, m.w[at] = m.w[at], value
    try:
        form, broken = e.survey.look(), check(m)
    finally:
        m.w[at] = before
    assert (form is None) == bool(broken), f"word {at}, {before:#x} became {value:#x}: {form!r}, and check() says {broken}"


def slab_words(m):
    """The words of all slabs' pages, all descriptors among them."""
    pages = [pfn for pfn in range(m.nr_pages) if m.w[m.MM + pfn] & 15 == 3]
    return [(pfn << m.WS) + i for pfn in pages for i in range(m.page_size // 8)]


def plausible(m, at, rng, others):
    """A wrong value for a word that is as near to a right one as a bug would make it."""
    old, other = m.w[at], rng.choice(others)
    values = [
        *(0, 1, 2, old + 1, old - 1, old + 8, old - 8, old + 16, old + 48, old - 48, old + 64, old ^ 1 << rng.randrange(64)),
        *(m.w[other], m.w[other] + 1, m.w[other] + 8, m.B + 8 * other, old & ~15 | rng.randrange(16), old + (1 << 32), rng.getrandbits(64)),
    ]
    return rng.choice(values) & (1 << 64) - 1


# -- the survey and check()


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("operations", SETS)
def test_a_survey_refuses_a_damaged_image_if_and_only_if_check_does(design, operations):
    e, images = walk(design, SETS[operations], 1, 120)
    m, rng = e.m, random.Random(2)
    for image in images[::8]:
        e.unpack(image)
        assert e.survey.look() is not None
        assert not check(m)
        words = [m.MM + pfn for pfn in range(m.nr_pages)]
        spans = [at for a, b in e.survey.spans for at in range(a, b)]
        slabs = slab_words(m)
        for _ in range(60):
            at = rng.choice(rng.choice((words, spans, slabs, slabs)))
            agree(e, at, plausible(m, at, rng, [*words, *spans, *slabs]))


@pytest.mark.parametrize("design", DESIGNS)
def test_a_survey_agrees_with_check_about_every_word_that_operations_change(design):
    e, images = walk(design, DEFAULT, 5, 60)
    m = e.m
    e.unpack(images[-1])
    for at in [*range(m.MM, m.MM + m.nr_pages), *(at for a, b in e.survey.spans for at in range(a, b)), *slab_words(m)]:
        for value in (0, m.w[at] ^ 1, m.w[at] ^ 16, m.w[at] + (1 << 32), m.w[at] ^ 1 << 55, m.w[at] ^ 1 << 63):
            agree(e, at, value & (1 << 64) - 1)


def test_a_survey_refuses_any_change_of_what_no_operation_changes():
    e, _ = walk("as-written", DEFAULT, 3, 5)
    m = e.m
    free = {at for a, b in e.survey.spans for at in range(a, b)}
    for at in sorted(set(range(m.KA, m.stat)) - free)[::7]:
        m.w[at] ^= 1
        assert e.survey.look() is None
        m.w[at] ^= 1
    assert e.survey.look() is not None


def test_a_write_where_no_operation_writes_is_a_broken_rule_even_if_check_knows_no_rule_for_it():
    class Scribbler(Machine):
        def split_page(self, pfn):
            self.min_partial_of[self.KC_BUDDY] ^= 1
            return super().split_page(pfn)

    broken = Search(machine=Scribbler).run(states=100).broken
    assert broken.rules == ("kernel-area",)
    assert broken.history[-1].operation == "split_page"
    assert check(broken.history.run()) == []


def test_a_survey_does_not_look_at_the_counters_and_free_pages():
    e, images = walk("as-written", DEFAULT, 4, 40)
    m = e.m
    e.unpack(images[-1])
    form = e.survey.look()
    m.w[m.stat] += 1
    for pfn in range(m.nr_pages):
        if m.w[m.MM + pfn] & 15 == 1:
            m.map[pfn << m.PS : (pfn + 1) << m.PS] = b"\xa5" * m.page_size
    assert e.survey.look() == form
    assert not check(m)


@pytest.mark.parametrize(
    "shape", [{"nodes": 2}, {"pcp": True}, {"highmem": "4M"}, {"dma": "4M"}], ids=["two nodes", "per-CPU lists", "HIGHMEM", "DMA"]
)
def test_a_survey_says_which_machines_it_can_look_at(shape):
    with pytest.raises(ValueError, match="one node and one zone"):
        Survey(Machine("16M", **shape))


# -- the canonical form


def test_two_images_that_differ_in_what_makes_no_difference_have_one_form():
    m = Setup().boot()
    survey = Survey(m)
    held = m.caches["kmem_cache_buddy"].alloc_bulk(3)
    start, forms = m.snapshot(), set()
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        for i in order:
            m.caches["kmem_cache_buddy"].free(held[i])
        forms.add(survey.look())
        m.restore(start)
    assert len(forms) == 1
    assert None not in forms


def test_two_images_that_go_on_differently_have_two_forms():
    m = Setup().boot()
    survey, pfns = Survey(m), [m.alloc_pages(2) for _ in range(2)]
    start, forms = m.snapshot(), []
    for order in (pfns, pfns[::-1]):
        for pfn in order:
            m.free_pages(pfn)
        forms.append((survey.look(), m.alloc_pages(2)))
        m.restore(start)
    assert forms[0] != forms[1]
    assert len({form for form, _ in forms}) == len({pfn for _, pfn in forms})


def test_which_slab_is_a_cpus_tells_states_apart_even_if_one_page_holds_both_struct_slabs():
    """Two slabs of struct buddys are full, described from one page, and this CPU's is one or the other: what is freed goes elsewhere."""
    ways = [(1, 1, None, 0, 0), (0, 1, None, 0, 1)]
    one, other = ([Step("shrink") if order is None else Step("alloc_pages", order) for order in way] for way in ways)
    machines = [History(Setup("bounded"), steps).run() for steps in (one, other)]
    forms = [Survey(m).look() for m in machines]
    assert None not in forms
    assert machines[0].w[machines[0].MM : machines[0].MM + 32].tolist() == machines[1].w[machines[1].MM : machines[1].MM + 32].tolist()
    assert forms[0] != forms[1]


def disguise(e, rng):
    """Change what makes no difference: the order of each freelist, and what lies in free objects and free pages."""
    m, w = e.m, e.m.w
    for c in map(word, e.survey.caches):
        heads = [(m.freelist_of, s) for s in slabs_of(m, c)]
        for column, at in [*heads, (m.cpu_freelist_of, percpu(m, c))]:
            objects = walk_freelist(m, c, column[at])
            for obj in objects:
                for i in range(m.size_of[c] >> 3):
                    w[word(obj) + i] = rng.getrandbits(64)
            rng.shuffle(objects)
            column[at] = objects[0] if objects else 0
            for obj, after in zip(objects, [*objects, 0][1:], strict=True):
                w[word(obj + m.offset_of[c])] = after
    for pfn in range(m.nr_pages):
        if w[m.MM + pfn] & 15 == 1:
            m.map[pfn << m.PS : (pfn + 1) << m.PS] = rng.randbytes(m.page_size)


@pytest.mark.parametrize("interrupts", [0, 1])
@pytest.mark.parametrize("design", DESIGNS)
def test_images_of_one_form_lead_to_the_same_forms(design, interrupts):
    """Bisimulation, sampled: RAM that differs, with one canonical form, has the same future."""
    e, images = walk(design, DEFAULT, 7, 120)
    one, rng, disguised = Expander(Plan(Setup(design), interrupts, DEFAULT, tuple(HANDLERS), 2, 0)), random.Random(8), 0

    def future(image):
        return sorted((edge.step.operation, edge.step.interrupts, edge.key, edge.depth, edge.broken is None) for edge in one.expand(image))

    for image in images[:: 10 if interrupts else 3]:
        e.unpack(image)
        form, raw = e.survey.look(), e._raw()
        disguise(e, rng)
        assert e.survey.look() == form
        assert check(e.m) == []
        disguised += e._raw() != raw
        assert future(_packed(e._raw())) == future(image)
    assert disguised


# -- steps and histories


@pytest.mark.parametrize("design", DESIGNS)
def test_a_history_replays_to_the_state_that_the_search_saw_with_its_depth_and_interrupts(design):
    search = Search(design, interrupts=1, return_every=0)
    search.run(states=150)
    rng = random.Random(1)
    parents = sorted(search._images)[:12]
    seen = 0
    for parent in parents:
        edges = list(Expander(search.plan).expand(search._images[parent]))
        for edge in rng.sample(edges, min(6, len(edges))):
            history = search.history(parent, edge.step)
            m = history.run(len(history) - 1)
            with m.trace() as t:
                do(m, edge.step)
            assert _digest(survey_for(m, DEFAULT).look()) == edge.key
            assert max((call.depth for call in t.calls if call.context == 0), default=0) == edge.depth
            assert len(t.interrupts) == len(edge.step.interrupts)
            seen += len(t.interrupts)
    assert seen > 10


def test_the_deepest_chain_that_is_reported_is_the_one_that_its_history_shows():
    report = Search("as-written", interrupts=1, return_every=0).run(states=400)
    for (name, n), deepest in report.deepest.items():
        t = deepest.history.trace()
        assert max((call.depth for call in t.calls if call.context == 0), default=0) == deepest.depth
        assert (deepest.history[-1].operation, len(t.interrupts)) == (name, n)


def test_a_history_prints_the_python_that_repeats_it():
    history = Search("as-written").run(states=60).deepest["alloc_pages", 0].history
    lines = [line for line in str(history).splitlines() if not line.startswith("    #")]
    names = {"Machine": Machine}
    for line in lines:
        exec(line, names)
    assert names["m"].snapshot() == history.run().snapshot()
    assert repr(history) == f"<History: {len(history)} steps>"
    assert len(lines) == 1 + len(history)


def test_a_history_without_steps_has_nothing_to_trace():
    with pytest.raises(ValueError, match="no step to trace"):
        Search().history(0).trace()


@pytest.mark.parametrize("design", DESIGNS)
def test_what_is_on_hand_is_counted_as_consumers_count_it(design):
    e, images = walk(design, DEFAULT, 9, 60)
    m, counts = e.m, set()
    for image in images:
        e.unpack(image)
        for name, ci in (("kmem_cache_slab", m.KC_SLAB), ("kmem_cache_buddy", m.KC_BUDDY)):
            assert on_hand(m, ci) == min(2, free_descriptors(m, name))
            counts.add(on_hand(m, ci))
    assert counts == {0, 1, 2}


class Endless(Machine):
    """A machine that frees without end."""

    def free_pages(self, pfn):
        while pfn >= 0:
            pfn += 1


def test_a_call_that_does_not_end_is_a_broken_rule_and_hangs_nothing():
    report = Search(machine=Endless, operations=("alloc_pages", "free_pages"), return_every=0).run(states=100)
    assert report.broken.kind == "bug"
    assert "RunsAway" in report.broken.words
    assert "RunsAway" in str(report.broken.history)
    with pytest.raises(RunsAway):
        report.broken.history.run()
    assert sys.gettrace() is None or sys.gettrace().__name__ != "watch"


def test_what_breaks_only_when_all_is_freed_is_a_broken_rule_as_well():
    for machine, words in (
        (Endless, "RunsAway when all is freed after it"),
        (ANIMALS["snail"].machine, "KeyError when all is freed after it"),
    ):
        broken = Search(machine=machine, operations=("alloc_pages", "shrink"), return_every=1).run(states=500).broken
        assert broken.kind == "bug"
        assert broken.words.startswith(words)
        broken.history.run()  # the sequence is what comes before


# -- the search as a whole


def figures(report):
    """All that a report says, but for the time it took."""
    deepest = {kind: (d.depth, tuple(d.history)) for kind, d in report.deepest.items()}
    losing = report.losing and tuple(report.losing)
    return report.states, report.transitions, report.level, deepest, report.returned, report.lossy, report.lost, losing, report.complete


def test_two_processes_find_what_one_finds():
    reports = [Search("as-written", interrupts=1).run(states=500, processes=n) for n in (1, 2)]
    assert figures(reports[0]) == figures(reports[1])


def test_a_search_that_is_run_in_parts_finds_what_one_run_finds():
    whole = Search("bounded", interrupts=1).run(states=400)
    parts = Search("bounded", interrupts=1)
    for states, processes in ((1, 1), (37, 1), (120, 2), (121, 1), (400, 1)):
        report = parts.run(states=states, processes=processes)
        assert report.states == max(states, 1)
        assert report.stopped == f"at {report.states:,} states"
    assert figures(report) == figures(whole)


def test_slices_can_be_dropped_anywhere():
    whole, search = Search().run(states=300), Search()
    for n in (1, 2, 3, 5, 8):
        for _ in islice(search.slices(every=7), n):
            pass
    assert figures(search.run(states=300)) == figures(whole)


def test_a_search_ends_when_its_time_is_up():
    report = Search().run(seconds=0.001)
    assert report.stopped == "after 0.001 seconds"
    assert not report.complete
    assert report.transitions > 0
    assert "stopped after 0.001" in str(report)


def test_a_search_of_a_machine_with_few_states_tries_them_all():
    search = Search(operations=("alloc_pages", "split_page"), orders=1, shape={"memory": "2K", "page_size": 256, "max_order": 2})
    report = search.run(states=10_000)
    assert report.complete
    assert "every reachable state" in str(report)
    assert search.run(states=10_000).states == report.states  # nothing is left


def test_an_interrupt_from_the_keyboard_ends_a_search_like_a_budget_and_it_can_go_on():
    class Keyboard(Machine):
        pressed = False

        def split_page(self, pfn):
            if not Keyboard.pressed and self.stats.splits > 8:
                Keyboard.pressed = True
                raise KeyboardInterrupt
            return super().split_page(pfn)

    search = Search(machine=Keyboard, return_every=0)
    report = search.run(states=400)
    assert Keyboard.pressed
    assert report.stopped == "from the keyboard"
    assert 1 < report.states < 400
    assert "all sequences of" in str(report)
    assert figures(search.run(states=400)) == figures(Search(return_every=0).run(states=400))


def test_ctrl_c_ends_a_search_on_two_processes_without_a_traceback():
    source = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it\n"
        "from memlab.study.explore import Search\n"
        "print(Search().run(states=10**9, processes=2, progress=lambda report: print('going', flush=True)))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=dict(os.environ),
    )
    try:
        assert child.stdout.readline() == "going\n"
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does
        out, err = child.communicate(timeout=300)
    finally:
        child.kill()
    assert child.returncode == 0
    assert "stopped from the keyboard" in out
    assert not err


def test_progress_is_reported_and_says_how_far_the_search_is():
    told = []
    Search().run(seconds=1.5, progress=lambda report: told.append(report.progress()))
    assert told
    assert "states" in told[0]


def test_a_broken_rule_ends_the_search_and_running_on_changes_nothing():
    search = Search(machine=Endless, operations=("alloc_pages", "free_pages"))
    report = search.run(states=100)
    before = figures(report)
    assert figures(search.run(states=1000)) == before
    assert not report.complete
    assert isinstance(report.broken, Broken)
    assert "stopped at a broken rule" in str(report)
    assert report.broken.rules == ("bug",)
    assert report.broken.sentence().startswith("bug: RunsAway")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"operations": ["fly"]}, "there is no operation 'fly'; there are 'alloc_pages', 'free_pages'"),
        ({"operations": []}, "give at least one operation; there are 'alloc_pages'"),
        ({"handlers": ["fly"]}, "there is no handler 'fly'; there are 'eat all struct slabs'"),
        ({"handlers": "fly"}, "there is no handler 'fly'"),
        ({"design": "fly"}, "as-written"),
        ({"orders": 5}, "orders is 0 to 4 on this machine, not 5"),
        ({"orders": -1}, "orders is 0 or more, not -1"),
        ({"start": [Step("fly")]}, "there is no operation 'fly'; there are 'alloc_pages'"),
        ({"start": [Step("alloc_pages", 0, ((1, "fly"),))]}, "there is no handler 'fly'; there are 'eat all struct slabs'"),
        ({"start": [Step("kmalloc")]}, "a survey cannot look at the state that these steps lead to"),
        ({"start": [Step("vmalloc")], "operations": EVERYTHING}, "a survey cannot look at the state that these steps lead to"),
        ({"interrupts": -1}, "interrupts is 0 or more, not -1"),
        ({"return_every": -1}, "return_every is 0 or more"),
        ({"shape": {"memory": "8K", "page_size": 256, "max_order": 4, "nodes": 2}}, "one node"),
    ],
)
def test_a_search_refuses_what_does_not_exist_and_says_what_does(argument, message):
    with pytest.raises(ValueError, match=message):
        Search(**argument)


@pytest.mark.parametrize("argument", [{"interrupts": 1.5}, {"orders": "2"}, {"return_every": True}, {"interrupts": None}])
def test_a_search_refuses_what_is_no_whole_number(argument):
    with pytest.raises(TypeError, match="is a whole number, not"):
        Search(**argument)


def test_a_search_starts_with_steps():
    with pytest.raises(TypeError, match=r"a search starts with steps, as tight\(\) gives them, not 'alloc_pages'"):
        Search(start=["alloc_pages"])


@pytest.mark.parametrize(
    ("budget", "error", "message"),
    [
        ({}, ValueError, "a search wants a budget"),
        ({"states": 0}, ValueError, "states is more than 0"),
        ({"states": 1.5}, TypeError, "states is a whole number"),
        ({"seconds": -1}, ValueError, "seconds is more than 0"),
        ({"seconds": float("nan")}, ValueError, "seconds is more than 0"),
        ({"seconds": "1"}, TypeError, "seconds is a number"),
        ({"states": 1, "processes": 0}, ValueError, "processes is more than 0"),
        ({"states": 1, "processes": None}, TypeError, "processes is a whole number"),
    ],
)
def test_a_run_refuses_a_bad_budget(budget, error, message):
    with pytest.raises(error, match=message):
        Search().run(**budget)


# -- the command line


def test_the_command_prints_the_report_and_with_histories_a_sequence_for_each_figure(capsys):
    assert command.main(["--states", "1500", "--processes", "1", "--histories"]) == 0
    out = capsys.readouterr().out
    assert "1,500 states" in out
    assert "no rule broke" in out
    assert out.count("m = Machine('8K', page_size=256") >= len(DEFAULT)
    assert "pages stay away after" in out


def test_the_command_takes_operations_handlers_and_time(capsys):
    assert command.main(["--operation", "everything", "--states", "100", "--processes", "1", "--return-every", "0"]) == 0
    assert "kmalloc, 0 interrupts" in capsys.readouterr().out
    args = ["--operation", "split_page", "--operation", "alloc_pages", "--handler", "take a page", "--interrupts", "1", "--seconds", "0.01"]
    assert command.main([*args, "--processes", "1", "--design", "bounded", "--orders", "1"]) == 0
    assert "bounded, up to 1 interrupts" in capsys.readouterr().out


def test_on_a_terminal_the_progress_goes_before_the_report_comes(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert command.main(["--seconds", "1.2", "--processes", "1"]) == 0
    out, err = capsys.readouterr()
    assert "transitions" in err
    assert err.endswith("\r\x1b[K")
    assert out.startswith("as-written, ")


def test_the_command_ends_with_1_when_a_rule_broke(capsys, monkeypatch):
    monkeypatch.setattr(command, "Search", lambda *args: Search(*args, machine=Endless))
    assert command.main(["--states", "100", "--processes", "1"]) == 1
    assert "broken: bug: RunsAway" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--states", "0"], "states is more than 0, not 0"),
        (["--states", "many"], "invalid int value: 'many'"),
        (["--interrupts", "-1"], "interrupts is 0 or more, not -1"),
        (["--orders", "9"], "orders is 0 to 4 on this machine, not 9"),
        (["--operation", "fly"], "invalid choice: 'fly'"),
        (["--handler", "fly"], "invalid choice: 'fly'"),
        (["--design", "fly"], "invalid choice: 'fly'"),
        (["--processes", "0"], "processes is more than 0, not 0"),
        (["--seconds", "-5"], "seconds is more than 0"),
    ],
)
def test_the_command_refuses_bad_arguments_in_a_sentence(args, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main(args)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


# -- does it work?


def test_over_a_hundred_thousand_states_no_rule_breaks_no_free_allocates_and_no_failure_leaks():
    budgets = {("as-written", 0): 40_000, ("bounded", 0): 35_000, ("as-written", 1): 5_000, ("bounded", 1): 25_000}
    assert sum(budgets.values()) >= 100_000
    for (design, interrupts), states in budgets.items():
        report = Search(design, interrupts).run(states=states, processes=2)
        assert report.broken is None, str(report)  # a broken rule, a free that allocates, a failure that leaves something behind
        assert report.states == states
        assert report.returned > states // 32
        if design == "bounded":
            assert report.lost == 0, str(report.losing)
