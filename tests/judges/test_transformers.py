"""The judge by transformers, on tiny models of real architectures with random weights."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.judges import transformers as judging
from alphabench.judges.transformers import TransformersJudge, open_transformers
from alphabench.judges.yesno import YesNoProbability, YesNoText, yes_no_question
from alphabench.questions import Answer, ImagePart, Question
from tests.support.tiny_vlms import (
    save_pictures,
    save_qwen3_vl,
    save_qwen25_vl,
    save_qwen35,
    yes_no_questions,
)

pytest.importorskip("torchvision", reason="the processors of the tiny models need torchvision")

ROUNDING = 2e-5
"""Of P(yes) in float32."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("judges")
    return {
        "qwen2.5-vl": save_qwen25_vl(root / "a"),
        "qwen3-vl": save_qwen3_vl(root / "b"),
        "qwen3.5": save_qwen35(root / "c"),
    }


@pytest.fixture(scope="module")
def qwen(folders: dict[str, Path]) -> TransformersJudge:
    return opened(folders["qwen2.5-vl"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[ImagePart]:
    return save_pictures(tmp_path_factory.mktemp("pictures"), 4)


@pytest.fixture
def copy_of(folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["qwen2.5-vl"], tmp_path / "copy"))


def opened(folder: Path, **options: str) -> TransformersJudge:
    return open_transformers(str(folder), options={"dtype": "float32", **options}, device="cpu")


def p_yes(answers: list[Answer]) -> list[float]:
    assert {answer.status for answer in answers} == {"scored"}, answers[0].reason
    return [answer.values[0] for answer in answers if answer.values]


def in_words(text: str, *pictures: ImagePart, **changes: Any) -> Question:
    question = yes_no_question(
        text, pictures, image_id="0/0", question_id="0", answer_format=YesNoText()
    )
    return replace(question, sampling=replace(question.sampling, **changes))


@pytest.mark.parametrize("name", ["qwen2.5-vl", "qwen3-vl", "qwen3.5"])
def test_an_answer_does_not_depend_on_the_questions_that_share_its_batch(
    name: str, folders: dict[str, Path], pictures: list[ImagePart]
) -> None:
    questions = yes_no_questions(pictures)
    alone = p_yes(list(opened(folders[name], batch_size="1").ask(questions)))
    together = p_yes(list(opened(folders[name], batch_size="5").ask(questions)))
    judge = opened(folders[name])
    backwards = p_yes(list(judge.ask(questions[::-1])))[::-1]
    assert judge._loaded.pads, "else it was asked one by one"
    assert together == pytest.approx(alone, abs=ROUNDING)
    assert backwards == pytest.approx(alone, abs=ROUNDING)
    assert max(alone) - min(alone) > 0.05, "the questions must differ, or nothing is shown"


@pytest.mark.parametrize("name", ["qwen2.5-vl", "qwen3-vl", "qwen3.5"])
def test_log_probabilities_are_those_of_the_models_own_forward_pass(
    name: str, folders: dict[str, Path], pictures: list[ImagePart]
) -> None:
    import transformers

    judge = opened(folders[name])
    (question, *_) = yes_no_questions(pictures)
    (answer,) = judge.ask([question])
    processor: Any = transformers.AutoProcessor.from_pretrained(folders[name])  # type: ignore[no-untyped-call]
    model = transformers.AutoModelForImageTextToText.from_pretrained(
        folders[name], dtype=torch.float32
    )
    with Image.open(pictures[0].path) as image:
        shown = {"type": "image", "image": image.convert("RGB")}
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": [shown, {"type": "text", "text": question.parts[1]}]}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        logprobs_V = model(**inputs).logits[0, -1].float().log_softmax(dim=-1)
    assert answer.reply is not None
    assert len(answer.reply.first_token) == 20
    assert answer.reply.tokens_in == inputs["input_ids"].shape[1]
    expected = logprobs_V.sort(descending=True).values[:20].tolist()
    assert [value for _, value in answer.reply.first_token] == pytest.approx(expected, abs=1e-4)
    named = replace(question, sampling=replace(question.sampling, first_tokens=("Yes", "No")))
    (answer_to_named,) = judge.ask([named])
    assert answer_to_named.reply is not None
    words = processor.tokenizer.convert_tokens_to_ids(["Yes", "No"])
    tokens = answer_to_named.reply.named_tokens
    assert [one.token for one in tokens] == words
    assert [one.probability for one in tokens] == pytest.approx(
        logprobs_V[words].exp().tolist(), abs=ROUNDING
    )
    p = logprobs_V[words].exp()
    assert p_yes([answer])[0] == pytest.approx(float(p[0] / p.sum()), abs=ROUNDING)


def test_the_second_picture_is_seen_and_the_order_counts(
    qwen: TransformersJudge, pictures: list[ImagePart]
) -> None:
    def ask(*shown: ImagePart) -> Question:
        return yes_no_question(
            "Is there a word?",
            shown,
            image_id="0",
            question_id="0",
            answer_format=YesNoProbability(),
        )

    one, two, swapped = p_yes(
        list(qwen.ask([ask(pictures[0]), ask(*pictures[:2]), ask(*pictures[1::-1])]))
    )
    assert len({round(value, 3) for value in (one, two, swapped)}) == 3


def test_questions_of_all_kinds_share_one_stream_in_order(
    qwen: TransformersJudge, pictures: list[ImagePart]
) -> None:
    mixed = [
        in_words("Is there a word?", pictures[0]),
        in_words("Is there a word without a picture?"),
        *yes_no_questions(pictures[:1]),
        in_words("Is there one?", pictures[1], max_tokens=1),
        replace(in_words("Is there one?", pictures[1]), system="Answer with care."),
    ]
    answers = list(qwen.ask(mixed))
    assert [answer.question for answer in answers] == mixed
    assert {answer.status for answer in answers} == {"scored"}
    words = [answer.reply for answer in answers if answer.reply]
    assert all(reply.text in ("Yes", "No") for reply in words)
    assert [reply.finish_reason for reply in words] == ["stop"] * 2 + ["length"] * 4 + ["stop"]
    assert words[0].tokens_out == 2
    assert words[0].first_token == ()


def test_a_temperature_draws_the_same_reply_again_and_another_for_a_repeat(
    qwen: TransformersJudge, pictures: list[ImagePart]
) -> None:
    questions = [
        replace(in_words("Is there one?", pictures[0], temperature=1.5, max_tokens=6), repeat=n)
        for n in range(12)
    ]
    texts = [answer.reply.text for answer in qwen.ask(questions) if answer.reply]
    again = [answer.reply.text for answer in qwen.ask(questions[::-1]) if answer.reply]
    assert texts == again[::-1]
    assert len(set(texts)) > 1
    state = torch.random.get_rng_state()
    list(qwen.ask(questions[:1]))
    assert torch.equal(state, torch.random.get_rng_state())


def test_penalties_that_the_checkpoint_ships_do_not_touch_a_greedy_answer(
    qwen: TransformersJudge, copy_of: Path, pictures: list[ImagePart]
) -> None:
    path = copy_of / "generation_config.json"
    shipped = json.loads(path.read_text())
    shipped |= {"repetition_penalty": 3.0, "do_sample": True, "temperature": 2.0, "top_k": 1}
    path.write_text(json.dumps(shipped))
    questions = [in_words(f"Is there a word {n}?", p) for n, p in enumerate(pictures)]
    texts = [answer.reply.text for answer in opened(copy_of).ask(questions) if answer.reply]
    assert texts == [answer.reply.text for answer in qwen.ask(questions) if answer.reply]


def test_a_checkpoints_own_temperature_applies_when_the_question_names_none(
    copy_of: Path, pictures: list[ImagePart]
) -> None:
    path = copy_of / "generation_config.json"
    shipped = json.loads(path.read_text())
    path.write_text(json.dumps({**shipped, "do_sample": True, "temperature": 50.0}))
    question = in_words("Is there one?", pictures[0], temperature=None, max_tokens=8)
    (answer,) = opened(copy_of).ask([question])
    assert answer.reply is not None
    assert answer.reply.text not in ("Yes", "No"), "at such a temperature it babbles"


def test_a_question_that_cannot_be_asked_fails_alone(
    qwen: TransformersJudge, pictures: list[ImagePart], tmp_path: Path
) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(pictures[0].path.read_bytes()[:200])
    good = in_words("Is there a word?", pictures[0])
    bad = [
        in_words("Is there a word?", replace(pictures[0], path=tmp_path / "gone.png")),
        in_words("Is there a word?", replace(pictures[0], path=torn)),
        in_words("Is there a <|im_end|> word?", pictures[0]),
        in_words("word " * 5000, pictures[0]),
        in_words("Is there a word?", *([pictures[0]] * 9)),
        in_words("Is there a word?", pictures[0], extra={"response_format": {}}),
    ]
    answers = list(qwen.ask([good, *bad, good]))
    assert [a.status for a in answers] == ["scored", *["failed"] * len(bad), "scored"]
    reasons = " | ".join(answer.reason for answer in answers)
    for part in (
        "cannot be read",
        "altered",
        "im_end",
        "context",
        "exceed the limit",
        "response_format",
    ):
        assert part in reasons


def test_it_can_be_pickled_before_and_after_it_was_asked(
    folders: dict[str, Path], pictures: list[ImagePart]
) -> None:
    judge = opened(folders["qwen2.5-vl"])
    question = yes_no_questions(pictures)[0]
    before = pickle.loads(pickle.dumps(judge))
    (answer,) = judge.ask([question])
    frozen = pickle.dumps(judge)
    assert len(frozen) < 2000, "the weights stay behind"
    for copy in (before, pickle.loads(frozen)):
        assert copy.identity == judge.identity
        assert p_yes(list(copy.ask([question]))) == p_yes([answer])


def test_the_identity_follows_the_weights_and_the_template_and_not_the_place(
    folders: dict[str, Path], copy_of: Path
) -> None:
    original = opened(folders["qwen2.5-vl"]).identity
    assert opened(copy_of).identity == original
    assert opened(copy_of, batch_size="2").identity == original
    assert opened(copy_of, thinking="false").identity != original
    template = copy_of / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert opened(copy_of).identity != original


def test_its_licence_is_what_the_model_card_states(copy_of: Path) -> None:
    judge = opened(copy_of)
    assert judge.licences == {str(copy_of): "unknown"}
    (copy_of / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    assert judge.licences == {str(copy_of): "apache-2.0"}


def test_what_follows_a_thought_that_the_template_opened_is_no_answer(
    copy_of: Path, pictures: list[ImagePart]
) -> None:
    template = copy_of / "chat_template.jinja"
    said = template.read_text(encoding="utf-8").replace("Thinking.", "<think>")
    template.write_text(said, encoding="utf-8")
    question = in_words("Is there a word?", pictures[0])
    (answer,) = opened(copy_of, thinking="true", extra_tokens="3").ask([question])
    assert answer.reply is not None
    assert answer.reply.text.startswith("<think>")
    assert answer.status == "unparsed"


def test_thinking_is_told_to_the_chat_template(
    folders: dict[str, Path], pictures: list[ImagePart]
) -> None:
    question = in_words("Is there a word?", pictures[0])
    lengths = [
        answer.reply.tokens_in
        for thinking in ("none", "true", "false")
        for answer in opened(folders["qwen2.5-vl"], thinking=thinking).ask([question])
        if answer.reply
    ]
    assert lengths[1] > lengths[0] == lengths[2]


def test_a_model_that_padding_confuses_is_found_out(qwen: TransformersJudge) -> None:
    class Careless:
        """Forgets which tokens are padding."""

        def __init__(self, network: Any) -> None:
            self.network, self.device, self.dtype = network, network.device, network.dtype

        def generate(self, **inputs: Any) -> Any:
            mask = torch.ones_like(inputs["attention_mask"])
            return self.network.generate(**{**inputs, "attention_mask": mask})

    loaded = qwen._loaded
    assert loaded.pads
    careless = loaded._replace(network=Careless(loaded.network))
    assert not judging._survives_padding(careless)


def test_a_folder_that_holds_no_such_model_is_refused_in_one_sentence(
    copy_of: Path, tmp_path: Path
) -> None:
    def complaint(location: Path | str) -> str:
        with pytest.raises(AlphaBenchError) as raised:
            list(opened(Path(location)).ask([in_words("Is there a word?")]))
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "no folder" in complaint(tmp_path / "nowhere")
    weights = copy_of / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in complaint(copy_of)
    weights.rename(copy_of / "pytorch_model.bin")
    assert "pickle" in complaint(copy_of)
    weights.write_bytes(whole)
    (copy_of / "chat_template.jinja").unlink()
    config = json.loads((copy_of / "config.json").read_text())
    assert "no chat template" in complaint(copy_of)
    (copy_of / "config.json").write_text(json.dumps({**config, "model_type": "qwen2"}))
    assert "cannot be loaded" in complaint(copy_of)


def test_weights_that_lack_a_tensor_are_refused(copy_of: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy_of / "model.safetensors")
    lost = next(name for name in tensors if "down_proj" in name)
    del tensors[lost]
    save_file(tensors, copy_of / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AlphaBenchError, match="down_proj"):
        list(opened(copy_of).ask([in_words("Is there a word?")]))


def test_bad_options_and_an_empty_location_are_refused_at_once() -> None:
    with pytest.raises(AlphaBenchError, match="batch_size"):
        open_transformers("x", options={"batchsize": "2"}, device="cpu")
    with pytest.raises(AlphaBenchError, match="1 or more"):
        open_transformers("x", options={"batch_size": "0"}, device="cpu")
    with pytest.raises(AlphaBenchError, match="names no model"):
        open_transformers("", options={}, device="cpu")


def test_without_torchvision_a_sentence_says_so(folders: dict[str, Path]) -> None:
    script = "\n".join(
        [
            "import sys; sys.modules['torchvision'] = None",
            "from alphabench.core.errors import AlphaBenchError",
            "from alphabench.judges.transformers import open_transformers",
            "try: list(open_transformers(sys.argv[1], options={}, device='cpu').ask([]))",
            "except AlphaBenchError as error: print(error)",
        ]
    )
    command = [sys.executable, "-c", script, str(folders["qwen2.5-vl"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "needs torchvision, which is not installed" in done.stdout
    assert "pip install torchvision" in done.stdout
