from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.folder import FolderCheckpoint, open_folder
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Selective
from alphabench.types import ImageRequest, NotGenerated, Sample
from tests.checkpoints.conftest import AskFor

PROMPTS = ("a cat", "a dog", "two benches")


def save_image(path: Path, red: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (red, 0, 0)).save(path)


def red_of(image: object) -> int:
    assert isinstance(image, Image.Image)
    return int(np.asarray(image)[0, 0, 0])


def opened(root: Path, **options: str) -> FolderCheckpoint:
    checkpoint = open_checkpoint(f"images:{root}", options=options)
    assert isinstance(checkpoint, FolderCheckpoint)
    return checkpoint


@pytest.fixture
def geneval(tmp_path: Path) -> Path:
    """Three folders of two images, as GenEval's own generator leaves them."""
    root = tmp_path / "outputs"
    for i, prompt in enumerate(PROMPTS):
        for index in range(2):
            save_image(root / f"{i:05}" / "samples" / f"{index:05}.png", red=10 * i + index)
        line = json.dumps({"tag": "single_object", "prompt": prompt})
        (root / f"{i:05}" / "metadata.jsonl").write_text(line + "\n")
        save_image(root / f"{i:05}" / "grid.png", red=255)
    return root


@pytest.fixture
def requests(ask: AskFor) -> list[ImageRequest]:
    return [
        ask(prompt, sample=f"{i:05}", index=index)
        for i, prompt in enumerate(PROMPTS)
        for index in range(2)
    ]


def test_geneval_folders_answer_each_request_with_its_image(
    geneval: Path, requests: list[ImageRequest]
) -> None:
    checkpoint = opened(geneval)
    assert isinstance(checkpoint, Selective)
    assert checkpoint.refusals(requests) == {}
    assert [red_of(image) for image in checkpoint.generate(requests)] == [0, 1, 10, 11, 20, 21]
    assert [red_of(i) for i in checkpoint.generate(requests[::-1])] == [21, 20, 11, 10, 1, 0]


def test_a_folder_is_located_by_its_number_and_other_files_are_ignored(
    geneval: Path, ask: AskFor
) -> None:
    shutil.copytree(geneval / "00001", geneval / "notes")
    save_image(geneval / "00001" / "samples" / "best.png", red=200)
    save_image(geneval / "00001" / "samples" / "0000.jpg", red=200)
    image = opened(geneval).generate([ask("a dog", sample="0001", index=0)])[0]
    assert red_of(image) == 10


@pytest.mark.parametrize(
    "name", ["a/0.png", "a/000.webp", "a_0.png", "a_00.jpg", "a_0.JPEG", "b_c/0.png", "b_c_0.png"]
)
def test_flat_folders_take_both_spellings_and_four_formats(
    name: str, tmp_path: Path, ask: AskFor
) -> None:
    save_image(tmp_path / name, red=250)
    sample = "b_c" if name.startswith("b_c") else "a"
    image = opened(tmp_path, layout="flat").generate([ask(sample=sample)])[0]
    assert red_of(image) > 240


def test_gaps_are_listed_up_to_ten_and_counted(
    geneval: Path, requests: list[ImageRequest], ask: AskFor
) -> None:
    (geneval / "00001" / "samples" / "00001.png").unlink()
    more = [ask("a new prompt", sample=f"{i:05}") for i in range(50, 65)]
    with pytest.raises(AlphaBenchError) as caught:
        opened(geneval).refusals(requests + more)
    assert "16 of 21 images are missing" in caught.value.message
    assert "00001/1, 00050/0" in caught.value.message
    assert "00058/0 and 6 more" in caught.value.message
    assert "gaps=allow" in caught.value.hint
    allowed = opened(geneval, gaps="allow")
    assert list(allowed.refusals(requests)) == ["00001/1"]


def test_images_of_another_prompt_are_refused_by_name(
    geneval: Path, requests: list[ImageRequest]
) -> None:
    (geneval / "00000").rename(geneval / "x")
    (geneval / "00001").rename(geneval / "00000")
    (geneval / "x").rename(geneval / "00001")
    for use in (opened(geneval).refusals, opened(geneval).generate):
        with pytest.raises(AlphaBenchError, match=r"'00000' were made for 'a dog'.*'a cat'"):
            use(requests)


def test_metadata_that_cannot_be_read_is_named(geneval: Path, requests: list[ImageRequest]) -> None:
    (geneval / "00002" / "metadata.jsonl").write_text("")
    with pytest.raises(AlphaBenchError, match=r"00002/metadata.jsonl' cannot be read"):
        opened(geneval).refusals(requests)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_corrupt_image_is_named_before_anything_is_scored(
    content: bytes | None, geneval: Path, requests: list[ImageRequest]
) -> None:
    path = geneval / "00001" / "samples" / "00000.png"
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    for use in (opened(geneval).refusals, opened(geneval).generate):
        with pytest.raises(AlphaBenchError, match=r"00001/samples/00000.png' .* cannot be read"):
            use(requests)


def test_a_link_out_of_the_folder_is_not_followed(
    geneval: Path, requests: list[ImageRequest], tmp_path: Path
) -> None:
    save_image(tmp_path / "secret.png", red=1)
    path = geneval / "00001" / "samples" / "00000.png"
    path.unlink()
    path.symlink_to(tmp_path / "secret.png")
    for use in (opened(geneval).refusals, opened(geneval).generate):
        with pytest.raises(AlphaBenchError, match="a link that leads out"):
            use(requests)
    with pytest.raises(AlphaBenchError, match="a link that leads out"):
        _ = opened(geneval).identity


def test_a_sample_id_cannot_lead_out_of_the_folder(tmp_path: Path, ask: AskFor) -> None:
    save_image(tmp_path / "secret" / "0.png", red=1)
    save_image(tmp_path / "images" / "a" / "0.png", red=2)
    checkpoint = opened(tmp_path / "images", layout="flat", gaps="allow")
    assert list(checkpoint.refusals([ask(sample="../secret")])) == ["../secret/0"]


def test_an_image_is_rotated_by_its_orientation_tag(tmp_path: Path, ask: AskFor) -> None:
    image = Image.new("RGB", (12, 8))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held on its side
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.jpg", exif=exif)
    (turned,) = opened(tmp_path, layout="flat").generate([ask(sample="a")])
    assert isinstance(turned, Image.Image)
    assert turned.size == (8, 12)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path, ask: AskFor) -> None:
    for index, mode in enumerate(("L", "RGBA", "P", "1")):
        Image.new(mode, (4, 4)).save(tmp_path / f"a_{index}.png")
    checkpoint = opened(tmp_path, layout="flat")
    images = checkpoint.generate([ask(sample="a", index=index) for index in range(4)])
    assert [image.mode for image in images if isinstance(image, Image.Image)] == ["RGB"] * 4


def test_the_identity_follows_the_images_and_not_their_path_or_date(
    geneval: Path, tmp_path: Path
) -> None:
    first = opened(geneval).identity
    moved = shutil.copytree(geneval, tmp_path / "moved")
    os.utime(moved / "00000" / "samples" / "00000.png", (1, 1))
    assert opened(moved).identity == first
    save_image(moved / "00000" / "samples" / "00000.png", red=99)
    assert opened(moved).identity != first


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        ([], {}, "has no image in the layout 'geneval'"),
        (["a_0.png"], {}, "try --layout flat"),
        (["00000/samples/0000.png"], {"layout": "flat"}, "try --layout geneval"),
        (["a.png"], {"layout": "flat"}, "try --layout dpg .cuts each file into four .*cells=1"),
        (["a_0.png"], {"layout": "flatt"}, "did you mean 'flat'"),
        (["a_0.png", "a/0.png"], {"layout": "flat"}, "two .* a/0"),
        (["07/samples/0.png", "7/samples/0.png"], {}, "both number 7"),
    ],
)
def test_a_folder_that_does_not_fit_its_layout_is_refused_when_opening(
    files: list[str], options: dict[str, str], words: str, tmp_path: Path
) -> None:
    for file in files:
        save_image(tmp_path / file, red=0)
    with pytest.raises(AlphaBenchError, match=words):
        opened(tmp_path, **options)


@pytest.mark.parametrize("folder_name", ["missing", ""])
def test_a_folder_that_is_not_there_is_named(folder_name: str, tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="there is no folder"):
        open_checkpoint(f"images:{tmp_path / folder_name if folder_name else ''}")


def test_an_edit_that_was_already_made_answers_its_request(tmp_path: Path, ask: AskFor) -> None:
    save_image(tmp_path / "a_0.png", red=7)
    request = ask(sample="a")
    edit = replace(request, sample=replace(request.sample, source_image=Path("cat.png")))
    (image,) = opened(tmp_path, layout="flat").generate([edit])
    assert red_of(image) == 7


def test_a_transparent_image_is_white_where_nothing_is_visible(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "s" / "0.png")
    checkpoint = open_folder(str(tmp_path), options={"layout": "flat"}, lora=None, device="cpu")
    sample = Sample(id="s", prompt="p", group="g")
    (made,) = checkpoint.generate([ImageRequest(sample=sample, index=0, seed=1)])
    assert not isinstance(made, NotGenerated)
    assert made.getpixel((0, 0)) == (255, 255, 255)
