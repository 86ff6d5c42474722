"""The run folder survives crashes at any byte, and is never silently about something else."""

from __future__ import annotations

import json
import multiprocessing
import resource
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.folder_search import run_folders
from alphabench.runs.store import (
    Manifest,
    RunFolder,
    StoredVerdict,
    fingerprint,
    save_image,
)
from alphabench.types import GeneratedImage, ImageRequest, NotGenerated, Sample, Verdict


def manifest(limit: int | None = None, **pixels: str) -> Manifest:
    return Manifest(
        benchmark="reds@1",
        checkpoint="dots",
        pixels={
            "benchmark": "reds@1",
            "benchmark.data_digest": "0" * 64,
            "benchmark.images_per_sample": "2",
            "seed": "0",
            **pixels,
        },
        limit=limit,
        circumstances={},
    )


def request(name: str = "a", index: int = 0) -> ImageRequest:
    return ImageRequest(sample=Sample(id=name, prompt="a red dot", group="g"), index=index, seed=7)


def verdict(image: str, value: float = 1.0) -> StoredVerdict:
    found = Verdict(image_id=image, question_id="q", value=value, status="scored")
    return StoredVerdict(image_sha256="0" * 64, verdict=found)


def stored_image(folder: RunFolder, name: str = "a", colour: str = "red") -> GeneratedImage:
    wanted = request(name)
    path, sha256 = save_image(folder.root, wanted, Image.new("RGB", (4, 4), colour), run="f")
    image = GeneratedImage(request=wanted, path=path, sha256=sha256, seconds=0.1)
    folder.append_image(image)
    return image


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", manifest())
    image = stored_image(folder)
    folder.append_not_made("b/0", NotGenerated(status="refused", reason="<b>no</b>\n"))
    folder.append_verdicts("e", [verdict("a/0", 0.25)])
    again = RunFolder.open(tmp_path / "run")
    assert again.manifest == manifest()
    assert again.images()["a/0"].sha256 == image.sha256
    assert again.not_made() == {"b/0": NotGenerated(status="refused", reason="<b>no</b>\n")}
    assert again.verdicts("e") == [verdict("a/0", 0.25)]


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 10_000), rows=st.integers(1, 4))
def test_a_file_cut_at_any_byte_keeps_its_whole_lines_and_takes_new_ones(
    tmp_path_factory: pytest.TempPathFactory, cut: int, rows: int
) -> None:
    root = tmp_path_factory.mktemp("cut")
    folder = RunFolder.create(root / "run", manifest())
    for number in range(rows):
        folder.append_verdicts("e", [verdict(f"ü{number}/0")])
    path = root / "run" / "verdicts" / "e.jsonl"
    content = path.read_bytes()
    kept = content[: cut % (len(content) + 1)]
    path.write_bytes(kept)
    whole = kept.count(b"\n")
    assert len(folder.verdicts("e")) == whole
    folder.append_verdicts("e", [verdict("new/0")])
    assert [v.verdict.image_id for v in folder.verdicts("e")] == [
        *(f"ü{n}/0" for n in range(whole)),
        "new/0",
    ]


def test_a_damaged_line_in_the_middle_is_named_not_passed_over(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", manifest())
    folder.append_verdicts("e", [verdict("a/0"), verdict("b/0")])
    path = tmp_path / "run" / "verdicts" / "e.jsonl"
    path.write_text("{oops\n" + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(AlphaBenchError, match="line 1 of"):
        folder.verdicts("e")


def test_the_newest_verdict_on_a_question_counts(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", manifest())
    folder.append_verdicts("e", [verdict("a/0", 0.0), verdict("b/0", 0.0), verdict("a/0", 1.0)])
    assert [(v.verdict.image_id, v.verdict.value) for v in folder.verdicts("e")] == [
        ("a/0", 1.0),
        ("b/0", 0.0),
    ]


def test_halves_of_surrogate_pairs_are_stored_and_the_run_goes_on(tmp_path: Path) -> None:
    odd = "half \ud83d"
    folder = RunFolder.create(tmp_path / "run", manifest(path=odd))
    wanted = ImageRequest(sample=Sample(id="a", prompt=odd, group=odd), index=0, seed=7)
    path, sha256 = save_image(folder.root, wanted, Image.new("RGB", (4, 4)), run="f")
    made = GeneratedImage(
        request=wanted, path=path, sha256=sha256, seconds=0.1, notes={odd: {odd: [odd]}}
    )
    folder.append_image(made)
    folder.append_not_made("b/0", NotGenerated(status="failed", reason=odd))
    answer = Verdict(
        image_id="a/0", question_id="q", value=None, status="failed", detail={"reason": odd}
    )
    folder.append_verdicts("e", [StoredVerdict(image_sha256=sha256, verdict=answer)])
    folder.write_evaluation("e", {"model": odd})
    folder.write_evaluation("e", {"model": odd})
    again = RunFolder.create(tmp_path / "run", manifest(path=odd))
    assert again.images()["a/0"].prompt == "half \ufffd"
    assert again.not_made()["b/0"].reason == "half \ufffd"
    assert again.verdicts("e")[0].verdict.detail == {"reason": "half \ufffd"}
    assert not again.damage(again.images().values())


def test_digests_of_another_run_are_named_by_their_beginning(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", manifest(weights="a" * 64))
    with pytest.raises(AlphaBenchError, match=f"weights: '{12 * 'a'}…' -> '{12 * 'b'}…'"):
        RunFolder.create(tmp_path / "run", manifest(weights="b" * 64))


def test_a_folder_of_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", manifest(steps="20"))
    with pytest.raises(AlphaBenchError, match="steps: '20' -> '28'") as caught:
        RunFolder.create(tmp_path / "run", manifest(steps="28"))
    assert "--out" in caught.value.hint


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(AlphaBenchError, match="not a run folder"):
        RunFolder.create(tmp_path, manifest())
    with pytest.raises(AlphaBenchError, match="not a run folder"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("before", "now", "kept"), [(4, 9, 9), (9, 4, 9), (4, None, None), (None, 4, None)]
)
def test_a_wider_limit_widens_the_run_and_a_narrower_one_does_not_narrow_it(
    tmp_path: Path, before: int | None, now: int | None, kept: int | None
) -> None:
    RunFolder.create(tmp_path / "run", manifest(limit=before))
    with RunFolder.create(tmp_path / "run", manifest(limit=now)).locked():
        pass
    assert RunFolder.open(tmp_path / "run").manifest.limit == kept


def test_a_command_that_is_refused_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    root = tmp_path / "run"
    first = RunFolder.create(root, manifest(limit=4))
    before = (root / "manifest.json").read_bytes()
    with first.locked():
        wider = RunFolder.create(root, manifest(limit=None))
        with pytest.raises(AlphaBenchError, match="is being written by"), wider.locked():
            pass
        assert (root / "manifest.json").read_bytes() == before
    with wider.locked():
        assert RunFolder.open(root).manifest.limit is None


def test_keys_that_this_version_does_not_know_survive_a_wider_limit(tmp_path: Path) -> None:
    root = tmp_path / "run"
    RunFolder.create(root, manifest(limit=4))
    path = root / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}))
    with RunFolder.create(root, manifest(limit=None)).locked():
        pass
    assert json.loads(path.read_text())["colour"] == "blue"


@pytest.mark.parametrize("left", [".manifest.json.4711.tmp", "lock", ".DS_Store"])
def test_a_folder_that_was_only_begun_is_continued(tmp_path: Path, left: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / left).write_text("half")
    assert RunFolder.create(tmp_path / "run", manifest()).images() == {}


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", manifest())
    image = stored_image(folder)
    drafts = [
        image.path.with_name(".0.png.999999999.tmp"),
        image.path.with_name("0.999999999.tmp"),
        folder.root / ".report.md.999999999.tmp",
    ]
    for draft in drafts:
        draft.write_text("half")
    (folder.root / "lock").write_text("process 999999999 on somewhere\n")
    with folder.locked():
        assert not any(draft.exists() for draft in drafts)
        assert image.path.exists()


def _hold(root: Path, held: object, release: object) -> None:
    with RunFolder.open(root).locked():
        held.set()  # type: ignore[attr-defined]
        release.wait(30)  # type: ignore[attr-defined]


def test_a_second_writer_is_refused_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    root = tmp_path / "run"
    folder = RunFolder.create(root, manifest())
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(root, held, release))
    holder.start()
    assert held.wait(60)
    with pytest.raises(AlphaBenchError, match=f"process {holder.pid} on"), folder.locked():
        pass
    holder.kill()
    holder.join()
    with folder.locked():
        pass


def test_images_that_are_deleted_truncated_or_swapped_are_noticed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", manifest())
    whole, deleted, truncated, swapped = (stored_image(folder, name) for name in "abcd")
    deleted.path.unlink()
    truncated.path.write_bytes(truncated.path.read_bytes()[:-9])
    swapped.path.write_bytes(stored_image(folder, "e", "blue").path.read_bytes())
    damage = folder.damage(folder.images().values())
    assert damage == {"b/0": "deleted", "c/0": "altered", "d/0": "altered"}
    assert whole.id not in damage


def test_equal_pixels_prompt_and_seed_give_equal_bytes(tmp_path: Path) -> None:
    image = Image.effect_noise((16, 16), 50).convert("RGB")
    digests = [save_image(tmp_path / name, request(), image, run="f")[1] for name in ("one", "two")]
    assert digests[0] == digests[1]
    with Image.open(tmp_path / "one" / "images" / "a" / "0.png") as stored:
        assert stored.text["prompt"] == "a red dot"  # type: ignore[attr-defined]
        assert stored.tobytes() == image.tobytes()


@pytest.mark.parametrize(
    "name", ["../a", "a/b", "", ".hidden", "a\0b", "x" * 200, "CON", "nul.x", "a."]
)
def test_a_sample_id_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(AlphaBenchError, match="cannot be a file name"):
        save_image(tmp_path, request(name), Image.new("RGB", (4, 4)), run="f")


def test_a_stored_image_holds_its_pixels_and_no_chunk_but_ours(tmp_path: Path) -> None:
    palette = Image.radial_gradient("L").convert("RGB").quantize(8)
    palette.info.update(transparency=0, icc_profile=b"profile", exif=b"Exif", comment="theirs")
    path, digest = save_image(tmp_path / "one", request(), palette, run="f")
    with Image.open(path) as image:
        assert sorted(image.info) == ["prompt", "run", "seed"]
        pixels = image.copy()
    assert save_image(tmp_path / "two", request(), pixels, run="f")[1] == digest


def test_a_manifest_of_another_format_is_not_guessed_at(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", manifest())
    path = tmp_path / "run" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 999}))
    with pytest.raises(AlphaBenchError, match="another version"):
        RunFolder.open(tmp_path / "run")
    path.write_text("{")
    with pytest.raises(AlphaBenchError, match="damaged"):
        RunFolder.open(tmp_path / "run")


def test_one_name_of_an_evaluation_stands_for_one_identity(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", manifest())
    folder.write_evaluation("e", {"model": "a"})
    folder.write_evaluation("e", {"model": "a"})
    assert folder.evaluations() == ["e"]
    with pytest.raises(AlphaBenchError, match="another evaluator"):
        folder.write_evaluation("e", {"model": "b"})


def test_run_folders_are_found_below_a_folder(tmp_path: Path) -> None:
    for name in ("b/run", "a/run"):
        RunFolder.create(tmp_path / name, manifest())
    assert [f.root for f in run_folders(tmp_path)] == [tmp_path / "a/run", tmp_path / "b/run"]


def test_what_is_no_run_is_passed_over_with_a_note(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "good", manifest())
    for name, content in {
        "site": '{"start_url": "/"}',
        "damaged": "{",
        "newer": '{"format": 9, "pixels": {}}',
        "node_modules/x": "[]",
    }.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text(content)
    (tmp_path / "good" / "._manifest.json").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "manifest.json").write_text('{"name": "a web page beside the runs"}')
    notes: list[str] = []
    assert [folder.root.name for folder in run_folders(tmp_path, note=notes.append)] == ["good"]
    assert len(notes) == 5
    assert all(any(name in note for note in notes) for name in ("site", "damaged", "newer", "x"))
    with pytest.raises(AlphaBenchError, match="is not the manifest of a run"):
        run_folders(tmp_path / "site")


def _write_without_room(root: Path, said: object) -> None:
    folder = RunFolder.open(root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    try:
        for number in range(1_000):
            folder.append_verdicts("e", [verdict(f"{number}/0")])
    except AlphaBenchError as error:
        said.put(str(error))  # type: ignore[attr-defined]


def test_no_room_on_the_disk_is_a_sentence_and_keeps_what_was_written(tmp_path: Path) -> None:
    root = tmp_path / "run"
    folder = RunFolder.create(root, manifest())
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    writer = context.Process(target=_write_without_room, args=(root, said))
    writer.start()
    assert "cannot be written" in said.get(timeout=60)
    writer.join()
    kept = folder.verdicts("e")
    assert len(kept) > 3
    folder.append_verdicts("e", [verdict("after/0")])
    assert len(folder.verdicts("e")) == len(kept) + 1


def test_the_fingerprint_is_of_content_not_of_order() -> None:
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})
    assert fingerprint({"a": "1"}) != fingerprint({"a": "2"})
