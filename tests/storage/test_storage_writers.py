"""Several writers, at once or one after another: each commit counts, is decided again, or is refused."""

import multiprocessing
import threading

import pytest
from storage_kit import Meanwhile, Watched, content, expected, make_codes, new_index, put, raw_content, write

from hashdb.errors import ConflictError, DuplicateIdError, UnknownIdError
from hashdb.storage import Store, compaction, locking, sweeping
from hashdb.storage import transaction as transactions
from hashdb.storage.maintain import verify


def two_stores(path, **options):
    return new_index(path, make_codes(10), **options), Store.open(path)


def test_two_stores_adding_both_keep_their_rows(tmp_path):
    first, second = two_stores(tmp_path / "i")
    one, two = write(first, make_codes(3, seed=1)), write(second, make_codes(2, seed=2))
    assert first.commit_add(one).tolist() == [10, 11, 12]
    assert second.commit_add(two).tolist() == [13, 14]
    wanted = {
        **expected(range(10), make_codes(10)),
        **expected([10, 11, 12], make_codes(3, seed=1)),
        **expected([13, 14], make_codes(2, seed=2)),
    }
    assert content(second) == raw_content(tmp_path / "i") == wanted


def test_two_stores_adding_one_id_the_second_is_refused(tmp_path):
    first, second = two_stores(tmp_path / "i")
    one, two = write(first, make_codes(1, seed=1), [55]), write(second, make_codes(1, seed=2), [55])
    first.commit_add(one)
    with pytest.raises(DuplicateIdError, match="id 55"):
        second.commit_add(two)
    assert raw_content(tmp_path / "i")[55] == tuple(make_codes(1, seed=1)[0].tolist())


@pytest.mark.parametrize("at", ["lock_folder", "link"])
def test_an_add_decides_again_when_another_was_first(tmp_path, at):
    path = tmp_path / "i"
    other, _ = two_stores(path)
    files = Meanwhile(lambda: put(other, make_codes(2)), lambda: other.commit_delete([3]), at=at)
    with Store.open(path, files=files) as store:
        assert put(store, make_codes(1, seed=9)).tolist() == [12]
        assert store.snapshot.version == 4
        assert content(store) == raw_content(path)
        assert 3 not in content(store)


def test_a_delete_follows_the_row_that_now_holds_the_id(tmp_path):
    path = tmp_path / "i"
    other, _ = two_stores(path)
    files = Meanwhile(lambda: put(other, make_codes(1, seed=4), [3], upsert=True), other.compact)
    with Store.open(path, files=files) as store:
        assert store.commit_delete([3]) == 1
    assert sorted(raw_content(path)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_delete_of_what_another_has_deleted_is_refused(tmp_path):
    path = tmp_path / "i"
    other, _ = two_stores(path)
    with (
        Store.open(path, files=Meanwhile(lambda: other.commit_delete([3]))) as store,
        pytest.raises(UnknownIdError, match="id 3"),
    ):
        store.commit_delete([3, 4])
    assert sorted(raw_content(path)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("id_kind", ["int64", "string"])
def test_a_compaction_takes_up_deletes_and_adds_made_meanwhile(tmp_path, id_kind):
    path = tmp_path / "i"
    ids = [f"w{i:02}" for i in range(20)] if id_kind == "string" else list(range(0, 40, 2))
    other = new_index(path, make_codes(10), ids[:10], id_kind=id_kind)
    put(other, make_codes(5, seed=1), ids[10:15])
    other.commit_delete([ids[1]])
    acts = (
        lambda: other.commit_delete([ids[3], ids[11]]),
        lambda: put(other, make_codes(2, seed=2), [ids[15], ids[4]], upsert=True),
    )
    files = Meanwhile(*acts)
    with Store.open(path, files=files) as store:
        report = store.compact()
        assert report.committed
        assert len(store.snapshot.segments) == 2
        # The merge itself was not done again.
        assert files.log.count("create") < 40
    wanted = {**expected(ids[:10], make_codes(10)), **expected(ids[10:15], make_codes(5, seed=1))}
    wanted.update(expected([ids[15], ids[4]], make_codes(2, seed=2)))
    for gone in (1, 3, 11):
        del wanted[ids[gone]]
    assert raw_content(path) == wanted


def test_a_compaction_decides_again_when_another_compacted(tmp_path):
    path = tmp_path / "i"
    other, _ = two_stores(path)
    put(other, make_codes(3))
    with Store.open(path, files=Meanwhile(lambda: other.compact(prune=True))) as store:
        assert not store.compact().committed
        assert store.snapshot.version == 3
    assert len(raw_content(path)) == 13


def test_a_compaction_leaves_what_others_merge_all_the_while_and_comes_to_an_end(tmp_path, monkeypatch):
    written = []
    write = compaction.Merges._write
    monkeypatch.setattr(
        compaction.Merges, "_write", lambda self, work, inputs: written.append(len(inputs)) or write(self, work, inputs)
    )
    path = tmp_path / "i"
    other = new_index(path, make_codes(100))
    other.commit_delete([5])
    for number in range(3):
        put(other, make_codes(1, seed=number))

    def merge_small_ones():
        before = len(written)
        for number in range(8):
            put(other, make_codes(1, seed=number))
        del written[before:]

    with Store.open(path, files=Meanwhile(*[merge_small_ones] * 5)) as store:
        assert store.compact().committed
    # Once with the small segments, once without: the others took them away before the first could be committed.
    assert written == [4, 1]
    assert sorted(raw_content(path)) == [row for row in range(143) if row != 5]


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("n_commits", [1, 2, 3])
@pytest.mark.parametrize("twice", [False, True])
def test_an_add_survives_commits_and_a_prune_past_its_number(tmp_path, n_commits, keep, twice):
    """The number after the version that it was decided on is free again, but past."""
    path = tmp_path / "i"
    other, _ = two_stores(path)

    def overtake():
        for _ in range(n_commits):
            put(other, make_codes(1), auto_compact=False)
        other.compact(prune=True, keep=keep)

    with Store.open(path, files=Meanwhile(*[overtake] * (1 + twice))) as store:
        n_rows = 10 + n_commits * (1 + twice)
        assert put(store, make_codes(1, seed=9)).tolist() == [n_rows]
        assert len(content(store)) == len(raw_content(path)) == n_rows + 1
        newest = store.snapshot.version
    assert [info.version for info in other.versions()] == list(range(newest - keep, newest + 1))
    assert verify(path, deep=True).ok


def test_a_version_is_not_removed_while_another_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "PATIENCE", 0.05)
    path = tmp_path / "i"
    other, _ = two_stores(path)
    put(other, make_codes(1), auto_compact=False)

    def prune():
        with pytest.raises(ConflictError, match=r"the lock of .*manifests has been held for 0.05 s"):
            other.compact(prune=True)
        other.refresh()

    with Store.open(path, files=Meanwhile(prune, at="link")) as store:
        store.commit_delete([3])  # on version 2; the other's merge is version 3
        assert 3 not in content(store)
    assert [info.version for info in other.versions()] == [1, 2, 3, 4]
    assert verify(path, deep=True).ok


def test_a_link_that_was_made_and_is_told_as_taken_counts(tmp_path):
    """As by a server of files whose first answer was lost."""

    class Lost(Watched):
        def link(self, source, target):
            super().link(source, target)
            raise FileExistsError(target)

    path = tmp_path / "i"
    two_stores(path)
    with Store.open(path, files=Lost()) as store:
        assert put(store, make_codes(2, seed=9)).tolist() == [10, 11]
        assert store.snapshot.version == 2
    assert verify(path, deep=True).ok


@pytest.mark.parametrize("keep", [1, 2])
def test_an_error_after_the_link_leaves_what_others_have_committed_on_since(tmp_path, keep):
    path = tmp_path / "i"
    other, _ = two_stores(path)

    class Late(Watched):
        def fsync_folder(self, place):
            if place.name == "manifests" and "link" in self.log:
                other.refresh()
                other.commit_delete([3])
                other.commit_delete([4])
                sweeping.sweep(other.files, path, grace=3600, keep=keep)
                raise KeyboardInterrupt
            super().fsync_folder(place)

    with Store.open(path, files=Late()) as store, pytest.raises(KeyboardInterrupt):
        put(store, make_codes(2, seed=9), auto_compact=False)
    assert sorted(raw_content(path)) == [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]
    assert verify(path, deep=True).ok


def test_what_a_sweep_took_from_a_commit_that_slept_is_not_committed(tmp_path):
    path = tmp_path / "i"
    other, _ = two_stores(path)
    files = Meanwhile(lambda: sweeping.sweep(other.files, path, grace=-1))
    with Store.open(path, files=files) as store, pytest.raises(ConflictError, match="sweep took"):
        put(store, make_codes(1))
    assert sorted(raw_content(path)) == list(range(10))
    assert verify(path, deep=True).ok


def test_a_delete_of_which_a_sweep_took_a_part_is_not_committed(tmp_path):
    path = tmp_path / "i"
    two_stores(path)
    files = Meanwhile(lambda: next(path.glob("deletes/*/rows/c/0")).unlink())
    with Store.open(path, files=files) as store, pytest.raises(ConflictError, match="sweep took"):
        store.commit_delete([3])
    assert sorted(raw_content(path)) == list(range(10))
    assert verify(path, deep=True).ok


def test_conflicts_without_end_are_given_up_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(transactions, "MAX_RETRIES", 4)
    monkeypatch.setattr(transactions, "LONGEST_WAIT", 0.001)
    path = tmp_path / "i"
    other, _ = two_stores(path)
    files = Meanwhile(*[lambda: other.commit_delete([int(min(content(other)))]) for _ in range(4)])
    with Store.open(path, files=files) as store, pytest.raises(ConflictError, match="committed first 4 times"):
        put(store, make_codes(1))
    assert sorted(raw_content(path)) == [4, 5, 6, 7, 8, 9]
    assert len(list((path / "segments").iterdir())) == 2


def test_threads_share_one_store(tmp_path):
    store = new_index(tmp_path / "i", make_codes(10))
    failures = []

    def work(number):
        try:
            for i in range(8):
                (id_,) = put(store, make_codes(1, seed=100 * number + i)).tolist()
                assert id_ in content(store)
                if i % 2:
                    store.commit_delete([id_])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(raw_content(tmp_path / "i")) == 10 + 16


def _add_in_process(path, seed, gate, results):
    with Store.open(path) as store:
        gate.wait()
        for i in range(6):
            codes = make_codes(2, seed=seed + i)
            results.put((put(store, codes).tolist(), codes.tolist()))


def test_processes_adding_at_once_lose_nothing(tmp_path):
    path = tmp_path / "i"
    new_index(path).close()
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_add_in_process, args=(path, seed, gate, results)) for seed in (100, 200)]
    for worker in workers:
        worker.start()
    acknowledged = [results.get(timeout=60) for _ in range(12)]
    for worker in workers:
        worker.join()
    results.close()
    results.join_thread()
    wanted = {id_: tuple(code) for ids, codes in acknowledged for id_, code in zip(ids, codes, strict=True)}
    assert len(wanted) == 24
    assert raw_content(path) == wanted
    assert [info.version for info in Store.open(path).versions()] == list(range(1, 14))


def test_a_write_that_fails_or_changes_nothing_does_not_move_the_snapshot(tmp_path):
    one = new_index(tmp_path / "i", make_codes(3))
    with Store.open(tmp_path / "i") as other:
        other.commit_delete([0])
    assert one.commit_delete([99], ignore_missing=True) == 0
    with pytest.raises(UnknownIdError):
        one.commit_delete([99])
    assert one.snapshot.version == 1
    assert one.refresh()
    assert one.snapshot.version == 2
