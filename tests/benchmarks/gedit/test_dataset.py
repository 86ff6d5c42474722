"""GEdit-Bench's official data, taken out of a local data set made up for the purpose."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.benchmarks.gedit import dataset
from alphabench.benchmarks.gedit.benchmark import open_gedit
from alphabench.core.errors import AlphaBenchError
from alphabench.types import Verdict
from alphabench.upstream import UpstreamData

datasets: Any = pytest.importorskip("datasets")
pyarrow: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, which have their own


def _png(colour: str, side: int = 8, kind: str = "PNG") -> dict[str, Any]:
    content = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(content, kind)
    return {"bytes": content.getvalue(), "path": None}


def _rows() -> list[dict[str, Any]]:
    return [
        {
            "task_type": task,
            "key": key,
            "instruction": f"{instruction} ({language})",
            "instruction_language": language,
            "Intersection_exist": task == "ps_human",
            "input_image": _png(colour),
            "input_image_raw": _png(colour, 16),
        }
        for task, key, instruction, colour in (
            ("ps_human", "0a/1", "brighten", "red"),
            ("text_change", "0b", "write", "blue"),
            ("text_change", "0b", "write again", "blue"),
        )
        for language in ("en", "cn")
    ]


def _data_set(folder: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    made = datasets.Dataset.from_list(rows or _rows())
    for column in dataset.IMAGE_COLUMNS:
        made = made.cast_column(column, datasets.Image())
    datasets.DatasetDict({"train": made}).save_to_disk(str(folder))
    return folder


def test_a_local_copy_becomes_samples_of_one_language_with_two_pictures(tmp_path: Path) -> None:
    origin = dataset.fetch_gedit(tmp_path / "cache", source=str(_data_set(tmp_path / "copy")))
    assert (origin.source, origin.n_rows) == ("a local copy", 6)
    benchmark = open_gedit("cn", data=UpstreamData(cache_dir=tmp_path / "cache"))
    samples = benchmark.samples()
    assert [sample.id for sample in samples] == [
        "cn-ps_human-0a_1", "cn-text_change-0b", "cn-text_change-0b-2",
    ]  # fmt: skip
    assert samples[0].prompt == "brighten (cn)"
    assert samples[0].source_image is not None
    with Image.open(samples[0].source_image) as given:
        assert given.size == (16, 16)
    with Image.open(samples[0].facts["judge_source"]) as shown:
        assert shown.size == (8, 8)
    assert benchmark.card.data_digest == origin.digest
    pictures = list((dataset.gedit_folder(tmp_path / "cache") / "pictures").iterdir())
    assert len(pictures) == 4


def _parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """As pyarrow writes it: a picture's path stays what it is."""
    folder.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    parquet.write_table(table, folder / "train-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("at", ["copy", "copy/data"])
def test_parquet_files_are_a_local_copy_too(tmp_path: Path, at: str) -> None:
    _parquet(tmp_path / at, _rows())
    origin = dataset.fetch_gedit(tmp_path / "cache", source=str(tmp_path / "copy"))
    assert origin.n_rows == 6


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "data/x.json"])
def test_other_files_in_a_folder_are_not_taken_for_the_data(tmp_path: Path, name: str) -> None:
    """`--from` may be a mirror of other benchmarks' files."""
    path = tmp_path / "mirror" / name
    path.parent.mkdir(parents=True)
    row = {key: value for key, value in _rows()[0].items() if "image" not in key}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(AlphaBenchError, match="holds no copy of stepfun-ai/GEdit-Bench"):
        dataset.fetch_gedit(tmp_path / "cache", source=str(tmp_path / "mirror"))


def test_a_picture_is_never_read_from_outside_the_copy(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    rows = [{**row, "input_image": {"bytes": None, "path": str(secret)}} for row in _rows()]
    with pytest.raises(AlphaBenchError, match="input_image of row 0 is no PNG"):
        dataset.fetch_gedit(tmp_path / "cache", source=str(_parquet(tmp_path / "copy", rows)))


def test_a_copy_with_rows_lacking_is_partial_wherever_it_is_used(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    words = dataset.DATASET.fetch(cache, str(_data_set(tmp_path / "copy")))
    assert words == (
        "6 rows from a local copy, 1206 fewer than the official: results will be PARTIAL"
    )
    benchmark = open_gedit("en", data=UpstreamData(cache_dir=cache))
    samples = benchmark.samples()
    verdicts = [
        Verdict(image_id=f"{one.id}/0", question_id="overall", value=5.0, status="scored",
                detail={"semantics": 5.0, "quality": 5.0})
        for one in samples
    ]  # fmt: skip
    report = benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)
    assert (report.partial, report.coverage) == (True, 1.0)
    assert report.notes == ("the data here has 3 of the 606 rows in its language",)


def test_the_same_rows_have_the_same_digest_and_others_another(tmp_path: Path) -> None:
    one = dataset.fetch_gedit(tmp_path / "a", source=str(_data_set(tmp_path / "one")))
    again = dataset.fetch_gedit(tmp_path / "a", source=str(_data_set(tmp_path / "two")))
    other = dataset.fetch_gedit(
        tmp_path / "a", source=str(_data_set(tmp_path / "three", _rows()[:4]))
    )
    assert one == again
    assert other.digest != one.digest
    assert dataset.gedit_origin(tmp_path / "a") == other


def test_without_a_network_the_hub_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The libraries read their environment once, when they are imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hub"))
    with pytest.raises(AlphaBenchError, match="cannot be read") as caught:
        dataset.fetch_gedit(tmp_path)
    assert "--from a local copy" in str(caught.value.hint)
    assert "\n" not in caught.value.message
    assert dataset.gedit_origin(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task_type": ""}, "row 0 lacks one of task_type"),
        ({"Intersection_exist": None}, "row 0 has no 'Intersection_exist'"),
        ({"input_image": {"bytes": b"BM no", "path": None}}, "input_image of row 0 is no PNG"),
    ],
)
def test_a_data_set_of_another_form_is_refused_and_nothing_stays(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    rows = [{**row, **change} for row in _rows()]
    with pytest.raises(AlphaBenchError, match=words):
        dataset.fetch_gedit(tmp_path / "cache", source=str(_data_set(tmp_path / "copy", rows)))
    assert dataset.gedit_origin(tmp_path / "cache") is None
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_rows_that_were_changed_since_are_refused(tmp_path: Path) -> None:
    dataset.fetch_gedit(tmp_path, source=str(_data_set(tmp_path / "copy")))
    path = dataset.gedit_folder(tmp_path) / "rows.jsonl"
    path.write_text(path.read_text().replace("brighten", "darken"))
    with pytest.raises(AlphaBenchError, match="was changed since it was fetched"):
        dataset.read_gedit_rows(tmp_path)
