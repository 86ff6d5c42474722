"""VIEScore's two questions: their wording, their pictures, and how they are sampled."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from alphabench.benchmarks.gedit.viescore import (
    JUDGE_SOURCE,
    OWN,
    VieOptions,
    VieQuestions,
    open_viescore,
    source_image_part,
    vie_templates_of,
)
from alphabench.benchmarks.gedit.viescore_parser import LowestScore
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import ScriptedJudge, ScriptedReply
from alphabench.questions import ImagePart, Question, ReplySampling
from alphabench.types import GeneratedImage, ImageRequest, ProtocolName, Sample
from alphabench.upstream import UpstreamData

SCRIPT = '''
_context_no_delimit = """Invented context."""
_prompts_0shot_two_image_edit_rule = """Invented rule."""
_prompts_0shot_tie_rule_SC = """Invented scale.
Instruction: <instruction>"""
_prompts_0shot_rule_PQ = """Invented quality."""
_prompts_unused = f"""{1 + 1}"""
'''
NOWHERE = UpstreamData(cache_dir=Path("nowhere"))


def edited(tmp_path: Path, *, judge_source: bool = False) -> GeneratedImage:
    source, other, path = (tmp_path / f"{name}.png" for name in ("raw", "shown", "edit"))
    Image.new("RGB", (60, 40), "red").save(source)
    Image.new("RGB", (30, 20), "red").save(other)
    Image.new("RGB", (64, 64), "blue").save(path)
    facts = {JUDGE_SOURCE: str(other)} if judge_source else {}
    sample = Sample(id="a", prompt="make it blue", group="g", source_image=source, facts=facts)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    request = ImageRequest(sample=sample, index=0, seed=0)
    return GeneratedImage(request=request, path=path, sha256=digest, seconds=0.0)


def asked(tmp_path: Path, protocol: ProtocolName) -> list[Question]:
    questions: list[Question] = []

    def listen(question: Question) -> ScriptedReply:
        questions.append(question)
        return "[8, 8]"

    options = VieOptions(wording="own")
    evaluator = open_viescore(
        ScriptedJudge(listen), options, mini=True, protocol=protocol, data=NOWHERE
    )
    list(evaluator.evaluate([edited(tmp_path)]))
    return questions


def test_semantics_shows_source_and_edit_and_quality_the_edit_alone(tmp_path: Path) -> None:
    semantics, quality = asked(tmp_path, "official")
    assert [semantics.id, quality.id] == ["semantics", "quality"]
    text, source, edit = semantics.parts
    assert isinstance(text, str)
    assert "make it blue" in text
    assert "<instruction>" not in text
    assert isinstance(source, ImagePart)
    assert isinstance(edit, ImagePart)
    assert (source.path.name, source.encoding, source.size) == ("raw.png", "jpeg", None)
    assert (edit.path.name, edit.encoding, edit.size) == ("edit.png", "jpeg", (60, 40))
    assert [type(part) for part in quality.parts] == [str, ImagePart]
    assert quality.parts[1] == edit


def test_officially_the_judge_samples_as_it_likes_and_strictly_at_temperature_0(
    tmp_path: Path,
) -> None:
    assert [q.sampling.temperature for q in asked(tmp_path, "official")] == [None, None]
    assert [q.sampling.temperature for q in asked(tmp_path, "strict")] == [0.0, 0.0]
    assert {q.sampling.max_tokens for q in asked(tmp_path, "official")} == {1400}


def test_the_judge_sees_the_source_that_is_meant_for_it(tmp_path: Path) -> None:
    image = edited(tmp_path, judge_source=True)
    assert source_image_part(image.request.sample).path.name == "shown.png"
    ask = VieQuestions(OWN, ReplySampling(max_tokens=1), LowestScore(strict=True))
    semantics, _ = ask(image)
    assert semantics.parts[2] == ImagePart(
        path=image.path, sha256=image.sha256, encoding="jpeg", size=(30, 20)
    )


def test_a_turned_source_gives_its_stored_size_and_makes_another_question(tmp_path: Path) -> None:
    image = edited(tmp_path)
    ask = VieQuestions(OWN, ReplySampling(max_tokens=1), LowestScore(strict=True))
    with Image.open(tmp_path / "raw.png") as opened:
        upright, exif = opened.copy(), Image.Exif()
    exif[0x0112] = 6
    upright.save(tmp_path / "raw.png", exif=exif)
    source = source_image_part(image.request.sample)
    assert (source.size, source.exif_rotated) == ((60, 40), True)
    semantics, _ = ask(image)
    before = replace(
        semantics,
        parts=(
            semantics.parts[0],
            replace(source, encoding="jpeg", size=None, exif_rotated=False),
            semantics.parts[2],
        ),
    )
    assert before.content_digest != semantics.content_digest


def test_a_source_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    image = edited(tmp_path)
    (tmp_path / "raw.png").unlink()
    with pytest.raises(AlphaBenchError, match=r"source image .* cannot be read"):
        source_image_part(image.request.sample)
    (tmp_path / "raw.png").write_bytes(b"no picture")
    with pytest.raises(AlphaBenchError, match=r"source image .* cannot be read"):
        source_image_part(image.request.sample)


def test_the_official_wording_is_put_together_from_a_script_of_upstreams_form() -> None:
    words = vie_templates_of(SCRIPT.encode())
    assert words.semantics == (
        "Invented context.\nInvented rule.\nInvented scale.\nInstruction: <instruction>"
    )
    assert words.quality == "Invented context.\nInvented quality."
    assert words.digest != OWN.digest


@pytest.mark.parametrize("gone", ["_context_no_delimit", "_prompts_0shot_rule_PQ", "<instruction>"])
def test_a_script_that_lacks_a_part_is_refused(gone: str) -> None:
    with pytest.raises(AlphaBenchError, match="does not contain the judge's template"):
        vie_templates_of(SCRIPT.replace(gone, "x").encode())
