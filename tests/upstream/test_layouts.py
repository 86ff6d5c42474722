"""Folders as the benchmarks' own scripts leave them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.benchmarks.dpg.official_files import make_grid
from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.folder import FolderCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.types import ImageRequest, NotGenerated, Sample
from alphabench.upstream.layouts import layouts


def paint(path: Path, red: int, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (red, 0, 0)).save(path)


def shaded(red: int, side: int = 8) -> Image.Image:
    """A square that is darkest in its first corner, where it is `red`."""
    tones = Image.linear_gradient("L").resize((side, side)).point(lambda v: v // 8)
    low = min(tones.tobytes())
    return tones.point(lambda v: v - low + red).convert("RGB")


def grid(path: Path, reds: tuple[int, int, int, int] = (0, 40, 80, 120), side: int = 8) -> None:
    make_grid([shaded(red, side) for red in reds]).save(path)


def request(name: str, /, at: int = 0, **facts: Any) -> ImageRequest:
    sample = Sample(id=name, prompt="p", group="g", facts=facts, source_image=facts.get("source"))
    return ImageRequest(sample=sample, index=at, seed=0)


def opened(root: Path, layout: str, **options: str) -> FolderCheckpoint:
    checkpoint = open_checkpoint(f"images:{root}", options={"layout": layout, **options})
    assert isinstance(checkpoint, FolderCheckpoint)
    return checkpoint


def reds(made: list[Image.Image | NotGenerated]) -> list[int]:
    found = []
    for image in made:
        assert isinstance(image, Image.Image)
        pixel = image.getpixel((0, 0))
        assert isinstance(pixel, tuple)
        found.append(int(pixel[0]))
    return found


WISE = request("17")
RISE = request("c_1", category="causal_reasoning", source=Path("s"))
IMGEDIT = request("17", edit_type="add", source=Path("s"))
GEDIT = request(
    "en-ps_human-k.1", task_type="ps_human", instruction_language="en", key="k.1", source=Path("s")
)
CVTG = request("CVTG-Style-2-17", benchmark_type="CVTG-Style", area=2, index="17")
TIIF = request("style-0-long", type="style", length="long", index=0)
DPG = [request("partiprompts1", at=index) for index in range(4)]


@pytest.mark.parametrize(
    ("layout", "place", "asked"),
    [
        ("wise", "17.png", WISE),
        ("wise", "17.jpg", WISE),
        ("imgedit", "17.png", IMGEDIT),
        ("rise", "images/causal_reasoning/c_1.png", RISE),
        ("rise", "a-model/images/causal_reasoning/c_1.jpg", RISE),
        ("gedit", "fullset/ps_human/en/k.1.png", GEDIT),
        ("gedit", "a-model/fullset/ps_human/en/k.1.png", GEDIT),
        ("gedit", "ps_human/en/k.1.png", GEDIT),
        ("cvtg", "CVTG-Style/2/17.png", CVTG),
        ("tiif", "style/a-model/long_description/0.png", TIIF),
        ("tiif", "style/a-model/long_description/0.webp", TIIF),
    ],
)
def test_an_image_is_found_where_its_benchmark_puts_it(
    tmp_path: Path, layout: str, place: str, asked: ImageRequest
) -> None:
    paint(tmp_path / place, red=80)
    source = tmp_path / place.replace("k.1", "k.1_SRCIMG")
    if layout == "gedit":
        paint(source, red=3)
    checkpoint = opened(tmp_path, layout)
    assert checkpoint.refusals([asked]) == {}
    assert reds(checkpoint.generate([asked])) == [pytest.approx(80, abs=3)]
    before = checkpoint.identity
    if layout == "gedit":
        paint(source, red=99)
        assert opened(tmp_path, layout).identity == before
    paint(tmp_path / place, red=120)
    assert opened(tmp_path, layout).identity != before


def test_a_grid_file_is_split_into_its_four_images(tmp_path: Path) -> None:
    grid(tmp_path / "partiprompts1.png")
    checkpoint = opened(tmp_path, "dpg")
    assert checkpoint.refusals(DPG) == {}
    assert reds(checkpoint.generate(DPG)) == [0, 40, 80, 120]
    assert reds(checkpoint.generate(DPG[::-1])) == [120, 80, 40, 0]
    (second,) = checkpoint.generate(DPG[1:2])
    assert isinstance(second, Image.Image)
    assert second.tobytes() == shaded(40).tobytes()
    assert checkpoint.identity["cells"] == "4"


def test_one_image_per_file_leaves_the_other_three_missing(tmp_path: Path) -> None:
    shaded(9).save(tmp_path / "partiprompts1.png")
    with pytest.raises(AlphaBenchError, match="3 of 4 images are missing"):
        opened(tmp_path, "dpg", cells="1").refusals(DPG)
    checkpoint = opened(tmp_path, "dpg", cells="1", gaps="allow")
    assert list(checkpoint.refusals(DPG)) == [one.id for one in DPG[1:]]
    assert reds(checkpoint.generate(DPG[:1])) == [9]


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        ((16, 12), {}, "'partiprompts1.png' is 16 x 12 pixels, not 16 x 16"),
        ((16, 16), {"side": "16"}, "is 16 x 16 pixels, not 32 x 32"),
        ((16, 16), {"side": "16", "cells": "1"}, "image 1 of 1 .* is of one colour only"),
        ((16, 16), {}, "image 1 of 4 in 'partiprompts1.png' is of one colour only"),
    ],
)
def test_a_file_that_is_no_full_grid_is_named_before_anything_is_scored(
    size: tuple[int, int], options: dict[str, str], words: str, tmp_path: Path
) -> None:
    Image.new("RGB", size).save(tmp_path / "partiprompts1.png")
    checkpoint = opened(tmp_path, "dpg", **options)
    for use in (checkpoint.refusals, checkpoint.generate):
        with pytest.raises(AlphaBenchError, match=words):
            use(DPG[:1])


def test_a_single_image_in_the_place_of_a_grid_shows_by_its_empty_cells(tmp_path: Path) -> None:
    padded = Image.new("RGB", (16, 16))
    padded.paste(shaded(5), (0, 0))
    padded.save(tmp_path / "partiprompts1.png")
    with pytest.raises(AlphaBenchError, match="image 2 of 4"):
        opened(tmp_path, "dpg").refusals(DPG)


@pytest.mark.parametrize("layout", ["tiif", "gedit"])
def test_of_several_models_one_must_be_named(tmp_path: Path, layout: str) -> None:
    form = {
        "tiif": "style/{}/long_description/0.png",
        "gedit": "{}/fullset/ps_human/en/k.1.png",
    }[layout]
    for model, red in (("a", 10), ("b", 20)):
        paint(tmp_path / form.format(model), red=red)
    with pytest.raises(AlphaBenchError, match="images of 2 models: a, b") as caught:
        opened(tmp_path, layout)
    assert "--set model=a" in caught.value.hint
    with pytest.raises(AlphaBenchError, match=r"no model in .* named 'c'"):
        opened(tmp_path, layout, model="c")
    asked = TIIF if layout == "tiif" else GEDIT
    one, other = (opened(tmp_path, layout, model=model) for model in "ab")
    assert reds([*one.generate([asked]), *other.generate([asked])]) == [10, 20]
    assert one.identity != other.identity


@pytest.mark.parametrize(
    ("place", "fitting"),
    [
        ("00000/samples/0000.png", "--layout geneval"),
        ("a_0.png", "--layout flat"),
        ("a/0.png", "--layout flat"),
        ("style/m/short_description/0.png", "--layout tiif"),
        ("style/m/short_description/0.png style/n/short_description/0.png", "--layout tiif"),
        (
            "p1.png",
            "--layout dpg (cuts each file into four images; "
            "with --set cells=1 a file is one image)",
        ),
        ("17.png", "--layout imgedit or --layout wise"),
        ("m/fullset/ps_human/en/k.png", "--layout gedit"),
    ],
)
def test_the_layouts_that_would_fit_are_named(tmp_path: Path, place: str, fitting: str) -> None:
    for path in place.split():
        paint(tmp_path / path, red=1)
    grid = "dpg" if "/" not in place else None  # any image could be one
    others = [name for name in layouts() if name not in fitting and name != grid]
    for name in others:
        with pytest.raises(AlphaBenchError, match="no image in the layout") as caught:
            opened(tmp_path, name)
        assert caught.value.hint == f"try {fitting}"


@pytest.mark.parametrize("layout", ["tiif", "gedit"])
def test_the_layout_of_another_benchmark_is_one_sentence(tmp_path: Path, layout: str) -> None:
    paint(tmp_path / "style/m/short_description/0.png", red=1)
    paint(tmp_path / "m/fullset/ps_human/en/k.png", red=1)
    checkpoint = opened(tmp_path, layout)
    for use in (checkpoint.refusals, checkpoint.generate):
        with pytest.raises(AlphaBenchError, match="has no path for sample '17'") as caught:
            use([WISE])
        assert "layout of the benchmark" in caught.value.hint


@pytest.mark.parametrize(
    ("layout", "options", "words"),
    [
        ("wise", {"model": "m"}, "layout 'wise' has no option 'model'"),
        ("flat", {"cells": "4"}, "layout 'flat' has no option 'cells'"),
        ("dpg", {"cells": "2"}, "cells is 4 or 1"),
        ("dpg", {"side": "0"}, "side is 1 at least"),
        ("wize", {}, "did you mean 'wise'"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    tmp_path: Path, layout: str, options: dict[str, str], words: str
) -> None:
    paint(tmp_path / "1_0.png", red=1)
    paint(tmp_path / "1.png", red=1)
    with pytest.raises(AlphaBenchError, match=words):
        opened(tmp_path, layout, **options)


@pytest.mark.parametrize(
    ("layout", "place", "asked"),
    [
        ("wise", "17.png", WISE),
        ("gedit", "m/fullset/ps_human/en/k.1.png", GEDIT),
        ("tiif", "style/m/long_description/0.png", TIIF),
        ("dpg", "partiprompts1.png", DPG[0]),
    ],
)
def test_gaps_twins_damage_and_links_out_are_refused_in_every_layout(
    tmp_path: Path, layout: str, place: str, asked: ImageRequest
) -> None:
    path = tmp_path / "images" / place
    path.parent.mkdir(parents=True)
    grid(path)
    other = path.with_name(f"99{path.suffix}")
    shutil.copy(path, other)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(AlphaBenchError, match=f"1 of 1 images are missing .*{asked.id}"):
        opened(tmp_path / "images", layout).refusals([asked])
    path.write_bytes(content[:-30])
    for use in ("refusals", "generate"):
        with pytest.raises(AlphaBenchError, match=f"'{place}' .* cannot be read"):
            getattr(opened(tmp_path / "images", layout), use)([asked])
    path.unlink()
    (tmp_path / "secret.png").write_bytes(content)
    path.symlink_to(tmp_path / "secret.png")
    for use in ("refusals", "generate"):
        with pytest.raises(AlphaBenchError, match="a link that leads out"):
            getattr(opened(tmp_path / "images", layout), use)([asked])
    path.unlink()
    path.write_bytes(content)
    path.with_suffix(".webp").write_bytes(content)
    with pytest.raises(AlphaBenchError, match="there are two images"):
        opened(tmp_path / "images", layout)


def test_a_gap_is_a_gap_and_a_second_image_is_none(tmp_path: Path) -> None:
    paint(tmp_path / "17.png", red=1)
    made = opened(tmp_path, "wise").generate([request("18"), request("17", at=1)])
    assert all(isinstance(one, NotGenerated) for one in made)


def linked(snapshot: Path, blob: Path, name: str = "17.png") -> None:
    """An image as Hugging Face's cache holds it: a link out of the snapshot."""
    paint(blob.with_suffix(".png"), 90)
    blob.with_suffix(".png").rename(blob)
    (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
    (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))


def test_links_inside_one_repository_of_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    repository = tmp_path / "datasets--owner--name"
    linked(repository / "snapshots" / "0a1b" / "wise", repository / "blobs" / "77aa")
    checkpoint = opened(repository / "snapshots" / "0a1b" / "wise", "wise")
    assert checkpoint.identity["images"].startswith("sha256:")
    assert not checkpoint.refusals([WISE])
    assert reds(checkpoint.generate([WISE])) == [90]


@pytest.mark.parametrize(
    ("snapshot", "blob"),
    [
        ("datasets--a--b/snapshots/r", "datasets--c--d/blobs/77aa"),
        ("a/snapshots/r", "a/blobs/77aa"),
        ("datasets--a--b/r", "datasets--a--b/blobs/77aa"),
    ],
    ids=["another repository", "no repository", "no snapshot"],
)
def test_other_links_that_lead_out_are_refused(tmp_path: Path, snapshot: str, blob: str) -> None:
    for repository in ("datasets--a--b", "a"):
        (tmp_path / repository / "blobs").mkdir(parents=True)
    linked(tmp_path / snapshot, tmp_path / blob)
    checkpoint = opened(tmp_path / snapshot, "wise")
    for act in (lambda: checkpoint.identity, lambda: checkpoint.generate([WISE])):
        with pytest.raises(AlphaBenchError, match="link that leads out"):
            act()


@pytest.mark.parametrize("layout", ["geneval", "flat", "wise", "dpg", "gedit", "imgedit", "tiif"])
def test_folders_pipes_and_what_systems_leave_are_no_images(tmp_path: Path, layout: str) -> None:
    places = {
        "geneval": "00000/samples", "flat": "17", "wise": ".", "dpg": ".", "imgedit": ".",
        "gedit": "fullset/ps_human/en", "tiif": "style/m/short_description",
    }  # fmt: skip
    place = tmp_path / places[layout]
    (place / "5.png").mkdir(parents=True)
    os.mkfifo(place / "6.png")
    for name in ("._0.png", "Thumbs.db", ".DS_Store", ".0.png"):
        (place / name).write_bytes(b"\0\5\x16\7")
    with pytest.raises(AlphaBenchError, match="has no image"):
        opened(tmp_path, layout)


def test_the_hint_names_the_layout_that_holds_the_requested_images(tmp_path: Path) -> None:
    paint(tmp_path / "17.png", 40)
    paint(tmp_path / "a_0.png", 50)
    with pytest.raises(AlphaBenchError) as caught:
        opened(tmp_path, "geneval")
    assert caught.value.hint == "try --layout flat or --layout imgedit or --layout wise"
    with pytest.raises(AlphaBenchError, match="none of the 1 images") as caught:
        opened(tmp_path, "flat").refusals([WISE])
    assert caught.value.hint == "try --layout wise"
