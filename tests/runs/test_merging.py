"""Merged shards are the run that one command makes, however they were made and merged."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.runs.generation import generate_images
from alphabench.runs.merging import PARTS, MergedRun, merge_folders
from alphabench.runs.plan import CheckpointFactory, RunPlan, open_evaluation, plan_run
from alphabench.runs.progress import Silent
from alphabench.runs.run import Outcome, Work, execute_plan, score_run
from alphabench.runs.sharding import RunShard
from alphabench.runs.store import RunFolder, StoredVerdict
from alphabench.runs.stored_run import StoredRun
from tests.support.fakes import Brightness, Dots, Reds

KEPT = tempfile.TemporaryDirectory(prefix="shards-")


def planned(
    out: Path, shard: RunShard | None = None, *, dots: Dots | None = None, limit: int | None = None
) -> RunPlan:
    def the_one(*, device: str) -> Generator:
        return dots or Dots()

    checkpoint = CheckpointFactory(name="dots", open=the_one)
    return plan_run(Reds(), checkpoint, out=out, limit=limit, shard=shard)


def scored(plan: RunPlan, work: Work | None = None, examiner: Brightness | None = None) -> Outcome:
    bench = Reds(examiner=examiner or Brightness())
    evaluation = open_evaluation(bench, "brightness")
    return execute_plan(replace(plan, benchmark=bench), evaluation, work or Work())


@functools.cache
def ready(shard: RunShard | None, limit: int | None = None, *, is_scored: bool = True) -> Path:
    """A folder as a command makes it; to be copied."""
    plan = planned(Path(tempfile.mkdtemp(dir=KEPT.name)) / "a", shard, limit=limit)
    if is_scored:
        scored(plan)
    else:
        generate_images(plan, Work())
    return plan.root


def copied(kept: Path, root: Path) -> Path:
    out = root.with_name(kept.name.replace("a", root.name, 1))
    shutil.copytree(kept, out, dirs_exist_ok=True)
    return out


def made(root: Path, of: int, *, but: Sequence[int] = (), limit: int | None = None) -> list[Path]:
    """The scored shards of a run, without some."""
    shards = [RunShard(number=number, of=of) for number in range(1, of + 1) if number not in but]
    return [copied(ready(shard, limit), root) for shard in shards]


def plain_run(limit: int | None = None) -> RunFolder:
    """What one command makes of all samples."""
    return RunFolder.open(ready(None, limit))


def merged(given: Sequence[Path], out: Path | None = None) -> MergedRun:
    return merge_folders(given, lambda _: Reds(), out=out)


def found(folder: RunFolder) -> tuple[list[tuple[str, str]], str]:
    """Images with digests, and verdicts, both as the files have them."""
    rows = [(name, record.sha256) for name, record in folder.images().items()]
    (verdicts,) = (folder.root / "verdicts").glob("*.jsonl")
    return rows, verdicts.read_text()


def rescored(folder: RunFolder, examiner: Brightness | None = None) -> Outcome:
    bench = Reds(examiner=examiner or Brightness())
    return score_run(folder, bench, open_evaluation(bench, "brightness"), Work())


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of modification of each file."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@given(
    of=st.integers(1, 5),
    limit=st.sampled_from([None, 7, 3]),
    scored_before=st.booleans(),
    shuffle=st.randoms(use_true_random=False),
    cuts=st.integers(1, 3),
)
@settings(max_examples=4, deadline=None)
def test_merged_shards_are_the_plain_run(
    of: int,
    limit: int | None,
    scored_before: bool,
    shuffle: object,
    cuts: int,
) -> None:
    with TemporaryDirectory() as name:
        root = Path(name)
        plain = plain_run(limit)
        shards = [RunShard(number=number, of=of) for number in range(1, min(of, limit or 12) + 1)]
        folders = [
            copied(ready(shard, limit, is_scored=scored_before), root / "a") for shard in shards
        ]
        shuffle.shuffle(folders)  # type: ignore[attr-defined]
        for first in range(0, len(folders), cuts):
            done = merged(folders[first : first + cuts], root / "a")
        assert done.missing == ()
        outcome = rescored(done.folder)
        assert found(outcome.folder) == found(plain)
        assert outcome.folder.manifest.fingerprint == plain.manifest.fingerprint
        assert outcome.folder.manifest.limit == plain.manifest.limit
        (ours,), (theirs,) = ((one / "reports").iterdir() for one in (root / "a", plain.root))
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_shard_is_partial_and_says_which_part_it_is(tmp_path: Path) -> None:
    outcome = scored(planned(tmp_path / "a", RunShard(number=2, of=3)))
    assert outcome.report.partial
    assert not outcome.incomplete
    assert len(outcome.samples) == 4
    assert "holds shard 2 of 3" in (outcome.folder.root / "report.md").read_text()
    assert outcome.folder.root.name == "a.shard-2-of-3"


def test_a_shard_continues_with_the_same_command_and_with_no_other(tmp_path: Path) -> None:
    second = RunShard(number=2, of=3)
    scored(planned(tmp_path / "a", second))
    dots = Dots()
    scored(planned(tmp_path / "a", second, dots=dots))
    assert dots.made == []
    with pytest.raises(AlphaBenchError, match="holds shard 2 of 3, and the command is about the"):
        scored(planned(tmp_path / "a.shard-2-of-3"))
    (tmp_path / "a.shard-2-of-3").rename(tmp_path / "a.shard-1-of-3")
    with pytest.raises(AlphaBenchError, match="holds shard 2 of 3, and --shard names shard 1 of 3"):
        scored(planned(tmp_path / "a", RunShard(number=1, of=3)))


def test_a_shard_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="shard 7 of 8 has no sample: the run has 5") as error:
        planned(tmp_path / "a", RunShard(number=7, of=8), limit=5)
    assert "at most 5 shards" in error.value.hint


class Cut(Silent):
    """A display that ends the command at its n-th call, as a kill would between two writes."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [3, 15])
def test_a_shard_that_was_killed_is_completed_and_merged(tmp_path: Path, after: int) -> None:
    plan = planned(tmp_path / "a", RunShard(number=1, of=2))
    with pytest.raises(KeyboardInterrupt):
        scored(plan, Work(progress=Cut(after)))
    scored(plan)
    made(tmp_path / "a", 2, but=(1,))
    assert found(merged([tmp_path / "a"]).folder) == found(plain_run())


@pytest.mark.parametrize("after", [0, 13, 23])
def test_a_merge_that_was_cut_off_is_completed_by_the_same_command(
    tmp_path: Path, after: int
) -> None:
    folders = made(tmp_path / "a", 3)
    with pytest.raises(KeyboardInterrupt):
        merge_folders(folders, lambda _: Reds(), progress=Cut(after))
    assert found(merged(folders).folder) == found(plain_run())


@pytest.mark.parametrize("name", ["images.jsonl", "not_made.jsonl", "verdicts", "manifest.json"])
def test_a_merge_that_was_cut_off_between_two_files_is_completed(tmp_path: Path, name: str) -> None:
    folders = made(tmp_path / "a", 3)
    whole = merged(folders)
    expected = found(whole.folder)
    doomed = whole.folder.root / name
    if doomed.is_dir():
        shutil.rmtree(doomed)
    else:
        doomed.unlink(missing_ok=True)
    if name == "manifest.json":  # nothing of the folder is written before it
        shutil.rmtree(whole.folder.root)
    assert found(merged(folders).folder) == expected


def test_the_same_merge_again_writes_nothing_and_never_changes_what_is_merged(
    tmp_path: Path,
) -> None:
    folders = made(tmp_path / "a", 3)
    before = {folder: files(folder) for folder in folders}
    whole = merged(folders).folder.root
    once = files(whole)
    assert files(merged(folders).folder.root).keys() == once.keys()
    again = files(whole)
    assert {name: one for name, one in again.items() if name not in ("checked.json", "lock")} == {
        name: one for name, one in once.items() if name not in ("checked.json", "lock")
    }
    assert {folder: files(folder) for folder in folders} == before


def test_images_are_links_and_outlive_the_shards(tmp_path: Path) -> None:
    folders = made(tmp_path / "a", 2)
    whole = merged(folders).folder
    name, record = next(iter(whole.images().items()))
    assert (whole.root / record.path).stat().st_nlink == 2
    for folder in folders:
        shutil.rmtree(folder)
    assert StoredRun.of(whole, verify_images=True).damage == {}
    assert name in whole.images()


def test_images_are_copied_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    folders = made(tmp_path / "a", 2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        whole = merged(folders).folder
    assert StoredRun.of(whole, verify_images=True).damage == {}
    record = next(iter(whole.images().values()))
    assert (whole.root / record.path).stat().st_nlink == 1


def test_missing_shards_are_said_and_the_plain_command_makes_them(tmp_path: Path) -> None:
    made(tmp_path / "a", 5, but=(2, 5))
    done = merged([tmp_path / "a"])
    assert done.missing == ("shards 2 and 5 of 5 are missing: 5 samples",)
    dots = Dots()
    outcome = scored(planned(tmp_path / "a", dots=dots))
    assert len(dots.made) == 10
    assert outcome.report == plain_run().report(outcome.evaluation)
    assert sorted(found(outcome.folder)[0]) == sorted(found(plain_run())[0])


def test_images_that_a_shard_did_not_make_are_counted_with_their_reasons(tmp_path: Path) -> None:
    first = RunShard(number=1, of=2)
    sample = planned(tmp_path / "a", first).samples[0].id
    scored(planned(tmp_path / "a", first, dots=Dots(fail=frozenset({f"{sample}/0"}))))
    made(tmp_path / "a", 2, but=(1,))
    done = merged([tmp_path / "a"])
    assert done.missing == ("1 image of the folders that were merged is missing",)
    assert done.folder.not_made()[f"{sample}/0"].reason == "HTTP 503: busy"


def test_shards_of_several_limits_and_counts_are_one_run(tmp_path: Path) -> None:
    folders = [
        *made(tmp_path / "a", 2, but=(2,), limit=6),
        *made(tmp_path / "a", 3, but=(1, 2)),
    ]
    done = merged(folders)
    assert done.folder.manifest.limit is None
    ids = {
        sample.id
        for number, of, limit in ((1, 2, 6), (3, 3, None))
        for sample in planned(tmp_path / "x", RunShard(number=number, of=of), limit=limit).samples
    }
    assert done.n_images == 2 * len(ids)
    assert done.missing == (
        f"{24 - 2 * len(ids)} images of the folders that were merged are missing",
    )


def test_every_machine_and_command_is_recorded(tmp_path: Path) -> None:
    folders = made(tmp_path / "a", 3)
    manifest = merged([folders[2], folders[0]]).folder.manifest
    assert [one["folder"] for one in manifest.circumstances[PARTS]] == [
        "a.shard-1-of-3",
        "a.shard-3-of-3",
    ]
    manifest = merged([folders[1], folders[0]]).folder.manifest
    parts = manifest.circumstances[PARTS]
    assert [one["shard"]["number"] for one in parts] == [1, 2, 3]
    assert all({"host", "device", "packages", "command"} <= set(p["circumstances"]) for p in parts)
    assert "host" not in manifest.circumstances
    again = merged([tmp_path / "a"], tmp_path / "copy").folder.manifest  # a merged run is a part
    assert again.circumstances[PARTS] == parts
    rescored(RunFolder.open(tmp_path / "a"))
    page = (tmp_path / "a" / "report.md").read_text()
    assert "Merged from 3 folders" in page
    assert "a.shard-2-of-3" in page


Harm = Callable[[Path, Path], object]


def cut_manifest(one: Path, _: Path) -> None:
    (one / "manifest.json").write_text("{")


def damage_row(one: Path, _: Path) -> None:
    (one / "images.jsonl").write_text("{}\n")


def alter_image(one: Path, _: Path) -> None:
    next(one.glob("images/*/0.png")).write_bytes(b"x")


def delete_images(one: Path, _: Path) -> None:
    shutil.rmtree(one / "images")


def change_seed(one: Path, _: Path) -> None:
    text = (one / "manifest.json").read_text()
    (one / "manifest.json").write_text(text.replace('"seed": "0"', '"seed": "1"'))


def take_another_image(one: Path, other: Path) -> None:
    folder = RunFolder.open(other)
    theirs = next(iter(RunFolder.open(one).images().values()))
    (other / theirs.path).parent.mkdir()
    shutil.copy(next(one.glob("images/*/1.png")), other / theirs.path)
    row = replace(theirs, sha256=RunFolder.open(one).images()[f"{theirs.image_id[:-1]}1"].sha256)
    folder.replace_images([*folder.images().values(), row])


def share_a_file(one: Path, other: Path) -> None:
    folder = RunFolder.open(one)
    first, second, *rest = folder.images().values()
    folder.replace_images([first, replace(first, image_id=second.image_id), *rest])


def judge_otherwise(one: Path, other: Path) -> None:
    """The other shard holds an image of this one, too, and found the opposite."""
    ours, theirs = RunFolder.open(one), RunFolder.open(other)
    record = next(iter(ours.images().values()))
    (other / record.path).parent.mkdir()
    shutil.copy(one / record.path, other / record.path)
    theirs.replace_images([*theirs.images().values(), record])
    (evaluation,) = ours.evaluations()
    stored = next(v for v in ours.verdicts(evaluation) if v.verdict.image_id == record.image_id)
    assert stored.verdict.value is not None
    opposite = replace(stored.verdict, value=1 - stored.verdict.value)
    row = StoredVerdict(image_sha256=record.sha256, verdict=opposite)
    theirs.append_verdicts(evaluation, [row])


def rename_evaluator(one: Path, _: Path) -> None:
    (file,) = one.glob("verdicts/*.identity.json")
    file.write_text(file.read_text().replace("128", "7"))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (cut_manifest, "manifest.json"),
        (damage_row, "line 1 of .*images.jsonl"),
        (alter_image, r"1-of-2' is damaged: image \S+ was altered since it was made"),
        (delete_images, r"is damaged: image \S+ was deleted since it was made, and 11 more"),
        (change_seed, r"2-of-2' is of another run than .*1-of-2' \(seed: '1' -> '0'\)"),
        (take_another_image, r"image \S+/0 differs between .*1-of-2' and .*2-of-2'"),
        (share_a_file, "is damaged: the images .* share a file"),
        (judge_otherwise, r"the verdict of brightness\S+ on image \S+/0 differs between"),
        (rename_evaluator, r"the evaluator of brightness\S+ differs between"),
    ],
)
def test_a_damaged_or_contradicting_shard_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, harm: Harm, sentence: str
) -> None:
    first, second = made(tmp_path / "a", 2)
    harm(first, second)
    with pytest.raises(AlphaBenchError, match=sentence):
        merged([first, second])
    assert not (tmp_path / "a").exists()


def test_equal_images_and_verdicts_in_two_folders_are_no_contradiction(tmp_path: Path) -> None:
    folders = [*made(tmp_path / "a", 2), *made(tmp_path / "a", 3)]
    assert found(merged(folders).folder) == found(plain_run())


@pytest.mark.parametrize("unparsed_first", [True, False])
def test_a_verdict_with_a_value_counts_more_than_one_without(
    tmp_path: Path, unparsed_first: bool
) -> None:
    name = planned(tmp_path / "a").requests[0].id
    unsure = Brightness(unparsed=frozenset({name}))
    for out, doubts in (("a", unparsed_first), ("b", not unparsed_first)):
        scored(planned(tmp_path / out), examiner=unsure if doubts else None)
    done = merged([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert rescored(done.folder, Brightness(broken=True)).report.coverage == 1.0


def test_a_shard_that_is_being_written_is_refused(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a", 2)
    with (
        RunFolder.open(second).locked(),
        pytest.raises(AlphaBenchError, match=f"2-of-2' is being written by process {os.getpid()}"),
    ):
        merged([first, second])
    merged([first, second])


def test_a_shard_whose_process_was_killed_elsewhere_is_not_being_written(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a", 2)
    (second / "lock").write_text("process 12 on another-node in boot/pid:[1] 00\n")
    before = files(second)
    merged([first, second])
    assert files(second) == before


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a", 2)
    mistakes: Mapping[str, tuple[Sequence[Path], Path | None]] = {
        "there is no run in .*nothing', and no shards of one beside it": (
            [tmp_path / "nothing"],
            None,
        ),
        "holds shard 1 of 2, and not the whole run": ([second], first),
        "1-of-2' alone is named": ([first], first),
    }
    for sentence, (given_folders, out) in mistakes.items():
        with pytest.raises(AlphaBenchError, match=sentence):
            merged(given_folders, out)
    other = copied(ready(None), tmp_path / "plain")
    with pytest.raises(AlphaBenchError, match="do not say where the merged run belongs"):
        merged([first, other])


def test_a_pattern_that_matches_the_merged_run_too_is_no_mistake(tmp_path: Path) -> None:
    folders = made(tmp_path / "a", 2)
    merged(folders)
    assert merged([*folders, tmp_path / "a"]).n_folders == 2
    assert merged([*folders, *folders, tmp_path / "a"], tmp_path / "a").n_folders == 2


def test_an_image_of_the_merged_run_that_was_altered_is_taken_again(tmp_path: Path) -> None:
    folders = made(tmp_path / "a", 2)
    whole = merged(folders).folder
    record = next(iter(whole.images().values()))
    (whole.root / record.path).unlink()
    (whole.root / record.path).write_bytes(b"x")
    again = merged(folders).folder
    assert StoredRun.of(again, verify_images=True).damage == {}
    assert list((whole.root / record.path).parent.glob("*.altered-*"))
