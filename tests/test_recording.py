"""Recording: RAM at marked moments as changed words, put back for a look; and m.trace(frames=True), which marks each call and return."""

import random

import pytest

from memlab import GFP, Machine, page_alloc
from memlab.kernel import Kernel
from memlab.recording import Recording


@pytest.fixture
def m():
    machine = Machine("1M")
    yield machine
    machine.check()


def recorded(m, steps):
    """Do the steps with a mark after each; return the recording and a snapshot at each mark."""
    states = []
    with Recording(m) as recording:
        for i, step in enumerate(steps):
            step()
            recording.mark(f"step {i}")
            states.append(m.snapshot())
    return recording, states


def whole(snapshot):
    """Everything of a snapshot, counters included; a page of zeros is as one never touched."""
    kernel, mem_map, pages, _ = snapshot.parts()
    return kernel, mem_map, {pfn: data for pfn, data in pages.items() if any(data)}


def storm(m, seed, n):
    rng, live, caches = random.Random(seed), [], [m.kmem_cache_create("dentry", 192), m.caches["kmalloc-64"]]

    def step():
        what = rng.randrange(5)
        if what == 0 and live:
            give, thing = live.pop(rng.randrange(len(live)))
            give(thing)
        elif what == 1:
            if (pfn := m.alloc_pages(rng.randrange(4), GFP.KERNEL | (GFP.ZERO if rng.random() < 0.3 else 0))) is not None:
                live.append((m.free_pages, pfn))
        elif what == 2 and (folio := m.folio_alloc(0)) is not None:
            live.append((m.folio_put, folio))
        else:
            cache = rng.choice(caches)
            if (obj := cache.alloc()) is not None:
                m.write(obj, rng.randbytes(24))
                live.append((cache.free, obj))

    return [step] * n


@pytest.mark.parametrize(
    "shape",
    [{"memory": "1M"}, {"memory": "16K", "page_size": 256, "max_order": 4}, {"memory": "1M", "highmem": "256K", "cpus": 2, "pcp": True}],
)
def test_ram_at_each_mark_is_exactly_what_it_was_counters_included(shape):
    m = Machine(**shape)
    recording, states = recorded(m, storm(m, 7, 120))
    end = m.snapshot()
    for k in random.Random(1).sample(range(len(recording)), len(recording)):
        with recording.at(k):
            assert whole(m.snapshot()) == whole(states[k])
            m.check()
        assert m.snapshot().parts() == end.parts()


def test_marks_words_and_changes_are_told(m):
    with Recording(m) as recording:
        recording.mark("before")
        pfn = m.alloc_pages(0)
        m.write(m.page_address(pfn), b"hello   ")
        recording.mark("written")
        recording.mark("nothing happened")
    assert (len(recording), recording.marks) == (3, ["before", "written", "nothing happened"])
    assert recording.changes(0) == recording.changes(2) == []
    changes = {c.address: (c.old, c.new) for c in recording.changes(1)}
    assert changes[m.page_address(pfn)] == (0, int.from_bytes(b"hello   ", "little"))
    assert (m.w[m.MM + pfn]) in [new for _, new in changes.values()]
    assert list(changes) == sorted(changes)
    assert repr(recording) == f"<Recording: 3 marks, {len(changes)} words changed>"


def test_a_word_that_changed_and_changed_back_is_no_change(m):
    recording = Recording(m)
    obj = m.kmalloc(64)
    recording.mark("have it")
    m.write(obj, b"1")
    m.write(obj, bytes(1))
    recording.mark("nothing")
    assert recording.changes(1) == []


def test_ram_is_put_back_when_the_block_raises(m):
    recording, states = recorded(m, storm(m, 3, 30))
    end = m.snapshot()
    with pytest.raises(ZeroDivisionError), recording.at(4):
        assert 1 / (m.snapshot() != states[4])
    assert m.snapshot().parts() == end.parts()


def test_caches_made_while_recording_are_gone_at_the_marks_before_and_back_afterwards(m):
    with Recording(m) as recording:
        recording.mark("before")
        cache = m.kmem_cache_create("dentry", 192)
        recording.mark("made")
        obj = cache.alloc()
    with recording.at(0):
        assert "dentry" not in m.caches
    with recording.at(1):
        assert m.caches["dentry"].size == 192
    cache.free(obj)


def test_a_recording_that_goes_on_can_be_looked_into(m):
    recording = Recording(m)
    recording.mark("before")
    before = m.snapshot()
    pfn = m.alloc_pages(2)
    after = m.snapshot()
    with recording.at(0):
        assert m.snapshot() == before
    assert m.snapshot() == after
    recording.mark("allocated")
    m.free_pages(pfn)
    with recording.at(1):
        assert m.snapshot() == after
    recording.end()
    recording.end()
    with recording.at(0):
        assert m.snapshot() == before


def test_what_changed_after_the_last_mark_is_taken_back_too(m):
    with Recording(m) as recording:
        recording.mark("before")
        before = m.snapshot()
        m.alloc_pages(1)
    with recording.at(0):
        assert m.snapshot() == before


def test_ram_that_changed_since_is_refused_and_untouched(m):
    recording, _ = recorded(m, storm(m, 3, 30))
    end = m.snapshot()
    m.alloc_pages(0)
    now = m.snapshot()
    with pytest.raises(ValueError, match="RAM has changed since this recording ended"), recording.at(3):
        pytest.fail("not reached")
    assert m.snapshot() == now
    m.restore(end)
    with recording.at(3):
        pass


def test_counters_that_went_on_do_no_harm_and_stay(m):
    with Recording(m) as recording:
        recording.mark("before")
        pfn = m.alloc_pages(0)
    end, counted = m.snapshot(), m.stats
    m.free_pages(m.alloc_pages(0))
    assert (m.snapshot() == end, m.stats == counted) == (True, False)
    now = m.snapshot().parts()
    with recording.at(0):
        assert m.mem_desc(pfn).type.name == "FREE"
    assert m.snapshot().parts() == now


def test_misuse_is_told_in_a_sentence(m):
    recording = Recording(m)
    with pytest.raises(IndexError, match=r"marks 0 to -1, not 0"):
        recording.changes(0)
    recording.mark("one")
    for k in (1, -1, "0", None):
        with pytest.raises(IndexError, match="this recording has marks 0 to 0"), recording.at(k):
            pytest.fail("not reached")
    with recording.at(0):
        with pytest.raises(ValueError, match="at another mark already"), recording.at(0):
            pytest.fail("not reached")
        with pytest.raises(ValueError, match="leave that with block first"):
            recording.mark("two")
    recording.end()
    with pytest.raises(ValueError, match="this recording has ended"):
        recording.mark("two")


def test_it_keeps_changed_words_only():
    m = Machine("64M")
    with Recording(m) as recording:
        for _ in range(50):
            m.alloc_pages(0)
            recording.mark("a page")
    words = sum(len(recording.changes(k)) for k in range(50))
    kept = sum(len(delta) * delta.itemsize for delta in recording._deltas)
    assert recording._copy is None
    assert kept == 24 * words < 100_000


# Watching single writes


def test_each_write_is_told_of_in_order_with_who_wrote_it(m):
    writes = []
    with Recording(m) as recording, recording.watch(writes.append):
        pfn = m.alloc_pages(3)
        obj = m.kmalloc(100)
        m.write(obj + 3, b"abcdefgh")
    take, fill = page_alloc.take.__code__, Kernel.fill.__code__
    assert {take, fill} & {w.where for w in writes} == {take}  # what fill writes is written for take
    mem_desc = [w for w in writes if m.MM + pfn <= w.word < m.MM + pfn + 8]
    assert [w.new for w in mem_desc] == [m.w[m.MM + pfn]] * 8
    assert [(w.word - (obj - m.B >> 3), w.where) for w in writes[-2:]] == [(0, writes[-1].where), (1, writes[-1].where)]
    assert writes[-2].new == int.from_bytes(b"abcde", "little") << 24 | writes[-2].old & 0xFFFFFF
    replayed = {}
    for w in writes:
        assert replayed.get(w.word, w.old) == w.old
        replayed[w.word] = w.new
    assert all(m.w[i] == new for i, new in replayed.items())


def test_watched_work_does_what_unwatched_work_does_and_nothing_stays():
    plain, watched = Machine("1M"), Machine("1M")
    for step in storm(plain, 5, 60):
        step()
    words, room = watched.w, watched.map
    steps = storm(watched, 5, 60)
    with Recording(watched) as recording, recording.watch(lambda _write: None):
        for step in steps:
            step()
    assert watched.snapshot() == plain.snapshot()
    assert watched.w is words
    assert watched.map is room
    with pytest.raises(ZeroDivisionError), recording.watch(lambda _write: 1 / 0):
        watched.alloc_pages(0)
    assert watched.w is words


def test_a_mark_before_each_write_splits_an_operation_into_its_words(m):
    recording = Recording(m)
    with recording.watch(lambda write: recording.mark(write.where)):
        m.alloc_pages(0)
    recording.mark("done")
    recording.end()
    assert all(len(recording.changes(k)) <= 1 for k in range(len(recording)))
    assert sum(len(recording.changes(k)) for k in range(len(recording))) >= 4


# Traces with frames


def test_a_trace_with_frames_has_a_mark_at_each_call_and_return(m):
    start = m.snapshot()
    with m.trace(frames=True) as trace:
        m.get_free_page()
    assert trace.recording.marks == ["get_free_page() called", "alloc_pages() called", "alloc_pages() returned", "get_free_page() returned"]
    assert [bool(trace.recording.changes(k)) for k in range(4)] == [False, False, True, False]
    end = m.snapshot()
    with trace.recording.at(1):
        assert m.snapshot() == start
    with trace.recording.at(2):
        assert m.snapshot() == end
    assert str(trace) == "get_free_page()\n  alloc_pages()"


def test_a_trace_of_a_call_that_fails_has_its_return_too(m):
    with m.trace(frames=True) as trace, m.fail("alloc_pages"):
        assert m.get_free_page() is None
    assert trace.recording.marks[1:3] == ["alloc_pages() called", "alloc_pages() returned"]


def test_a_trace_has_no_recording_unless_asked_and_nothing_stays_installed(m):
    before = dict(vars(m))
    with m.trace() as plain:
        m.alloc_pages(0)
    with m.trace(frames=True):
        m.alloc_pages(0)
    assert plain.recording is None
    assert vars(m).keys() == before.keys()
    assert (m.w, m.map) == (before["w"], before["map"])
