"""Pictures on their way to a judge."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from alphabench.core.files import regular_file_state
from alphabench.judges.data_uris import DataUriCache, UnusableImageError, data_uri
from alphabench.judges.yesno import YesNoText
from alphabench.questions import ImagePart, Question, ReplySampling


def decoded(uri: str) -> tuple[str, bytes]:
    head, _, content = uri.partition(";base64,")
    return head, base64.b64decode(content)


def test_a_png_travels_byte_for_byte(picture: ImagePart) -> None:
    assert decoded(data_uri(picture)) == ("data:image/png", picture.path.read_bytes())


def test_jpeg_and_size_are_as_asked_for(picture: ImagePart) -> None:
    kind, content = decoded(data_uri(replace(picture, encoding="jpeg", size=(6, 4))))
    with Image.open(io.BytesIO(content)) as image:
        assert (kind, image.format, image.size) == ("data:image/jpeg", "JPEG", (6, 4))


def test_jpeg_of_a_stated_quality_is_what_pillow_makes_and_another_question(
    picture: ImagePart,
) -> None:
    wanted = io.BytesIO()
    with Image.open(picture.path) as image:
        image.convert("RGB").save(wanted, "JPEG", quality=95)
    fine = replace(picture, encoding="jpeg", quality=95)
    assert decoded(data_uri(fine)) == ("data:image/jpeg", wanted.getvalue())
    coarse = replace(picture, encoding="jpeg")
    assert decoded(data_uri(coarse))[1] != wanted.getvalue()
    sampling, wording = ReplySampling(max_tokens=1), YesNoText()
    digests = {
        Question(
            image_id="0/0", id="0", parts=(part,), sampling=sampling, answer_format=wording
        ).content_digest
        for part in (fine, coarse, picture)
    }
    assert len(digests) == 3


def test_a_file_is_called_what_it_is_and_not_what_its_name_says(picture: ImagePart) -> None:

    jpeg = io.BytesIO()
    Image.new("RGB", (4, 4)).save(jpeg, "JPEG")
    picture.path.write_bytes(jpeg.getvalue())
    named_png = replace(picture, sha256=hashlib.sha256(jpeg.getvalue()).hexdigest())
    assert decoded(data_uri(named_png)) == ("data:image/jpeg", jpeg.getvalue())


def test_an_altered_absent_or_broken_file_is_no_picture(picture: ImagePart, tmp_path: Path) -> None:

    with pytest.raises(UnusableImageError, match="altered"):
        data_uri(replace(picture, sha256="0" * 64))
    with pytest.raises(UnusableImageError, match="cannot be read"):
        data_uri(replace(picture, path=tmp_path / "none.png"))
    picture.path.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    broken = replace(picture, sha256=hashlib.sha256(picture.path.read_bytes()).hexdigest())
    with pytest.raises(UnusableImageError, match="decoded"):
        data_uri(replace(broken, encoding="jpeg"))


def test_an_image_that_is_known_to_be_unchanged_is_not_hashed_again(picture: ImagePart) -> None:
    state = regular_file_state(picture.path)
    believed = replace(picture, sha256="0" * 64, verified_state=state)
    assert decoded(data_uri(believed))[1] == picture.path.read_bytes()


def test_a_verified_image_that_was_altered_since_is_not_sent(picture: ImagePart) -> None:
    verified = replace(picture, verified_state=regular_file_state(picture.path))
    before, content = picture.path.stat(), picture.path.read_bytes()
    time.sleep(0.02)  # file systems tell the time in steps of some milliseconds
    picture.path.write_bytes(content[:-1] + b"?")
    os.utime(picture.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UnusableImageError, match="altered"):
        data_uri(verified)


def test_one_picture_is_encoded_once_for_all_questions_and_forgotten_later(
    picture: ImagePart, tmp_path: Path
) -> None:
    others = []
    for level in range(3):
        path = tmp_path / f"{level}.png"
        Image.new("RGB", (8, 8), (level, 0, 0)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        others.append(replace(picture, path=path, sha256=digest))

    async def use() -> None:
        cache = DataUriCache(max_images=2)
        first = await asyncio.gather(*(cache.uri(picture) for _ in range(5)))
        assert all(uri is first[0] for uri in first)
        picture.path.unlink()
        assert await cache.uri(picture) is first[0]
        for other in others:
            await cache.uri(other)
        with pytest.raises(UnusableImageError):
            await cache.uri(picture)

    asyncio.run(use())


def test_images_are_decoded_one_at_a_time(picture: ImagePart) -> None:
    at_work: list[ImagePart] = []

    def make(one: ImagePart) -> str:
        assert not at_work
        at_work.append(one)
        time.sleep(0.01)  # in which another thread would begin
        at_work.remove(one)
        return "data:,"

    async def use() -> None:
        cache = DataUriCache(make=make)
        pictures = [replace(picture, size=(side, side)) for side in range(1, 6)]
        await asyncio.gather(*map(cache.uri, pictures))

    asyncio.run(use())


def test_jpegs_are_turned_as_viescore_turns_them_after_resizing(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.linear_gradient("L").resize((40, 24)).convert("RGB")
    path = tmp_path / "turned.png"
    stored.save(path, exif=exif)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for size, seen in ((None, (24, 40)), ((30, 10), (10, 30))):
        shown = ImagePart(path=path, sha256=digest, encoding="jpeg", size=size)
        wanted = io.BytesIO()
        with Image.open(path) as opened:
            image = opened.convert("RGB").resize(size) if size else opened
            ImageOps.exif_transpose(image).convert("RGB").save(wanted, "JPEG")
        content = decoded(data_uri(shown))[1]
        assert content == wanted.getvalue()
        assert Image.open(io.BytesIO(content)).size == seen


def test_a_deep_jpeg_source_is_not_white(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.new("I;16", (8, 8), 30_000).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    content = decoded(data_uri(ImagePart(path=path, sha256=digest, encoding="jpeg")))[1]
    assert Image.open(io.BytesIO(content)).getpixel((4, 4)) == (117, 117, 117)


def test_a_device_or_pipe_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnusableImageError, match="not a regular file"):
        data_uri(ImagePart(path=tmp_path / "pipe.png", sha256="0"))
