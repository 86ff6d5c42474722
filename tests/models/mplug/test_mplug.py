"""mPLUG computes what modelscope's code computes, and shared work changes nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.mplug.mplug_self_test import run_mplug_self_test
from alphabench.models.mplug import build_probe
from alphabench.models.mplug.attention import Memory, attend_heads
from alphabench.models.mplug.beam_search import END, START, search
from alphabench.models.mplug.config import BeamSearchConfig, read_mplug_config
from alphabench.models.mplug.image_processing import pixels_of
from alphabench.models.mplug.loading import LoadedMplug, load_mplug
from tests.support.tiny_mplug import questions_for, save_images, save_mplug

STORED = Path(build_probe.__file__).with_name(build_probe.FILE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mplug(tmp_path_factory.mktemp("mplug") / "model")


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedMplug:
    return load_mplug(folder)


def encode_image(loaded: LoadedMplug, *images: Image.Image) -> Tensor:
    return loaded.model.encode_image(pixels_of(images, side=32))


def test_the_build_computes_the_official_logits() -> None:
    build_probe.check_mplug_build("cpu")


@pytest.mark.parametrize("operator", ["gelu", "scaled_dot_product_attention", "layer_norm"])
def test_a_build_with_a_wrong_operator_does_not_score(
    operator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(torch.nn.functional, operator)
    monkeypatch.setattr(
        torch.nn.functional, operator, lambda *given, **named: right(*given, **named) * 1.02
    )
    with pytest.raises(AlphaBenchError, match="self-test failed: this build's mPLUG differs by"):
        run_mplug_self_test(lambda _: [], device="cpu")


def test_the_official_answers_are_found_in_one_batch(loaded: LoadedMplug) -> None:
    cases = json.loads(STORED.read_text())
    image_ID = encode_image(loaded, build_probe.probe_image())[0]
    token_QT, seen_QT = loaded.tokenizer.encode(questions_for(0, len(cases)))
    answer_QT = loaded.model.answer(image_ID, token_QT, seen_QT)
    for row, case in zip(answer_QT.tolist(), cases, strict=True):
        assert row[0] == START
        assert loaded.tokenizer.decode(torch.tensor([row])) == [case["text"]]


def test_official_logits_are_met_to_the_last_digits(loaded: LoadedMplug) -> None:
    image_ID = encode_image(loaded, build_probe.probe_image())[0]
    for case in json.loads(STORED.read_text()):
        token_1T = torch.tensor([case["tokens"]])
        answer_1T = torch.tensor([case["answer"]], dtype=torch.long)
        seen_1T = torch.ones_like(token_1T, dtype=torch.bool)
        ours_TV = loaded.model.logits(image_ID, token_1T, seen_1T, answer_1T)[0]
        assert torch.allclose(
            ours_TV[:, :: build_probe.EVERY], torch.tensor(case["logits"]), atol=1e-4
        )


def test_a_batch_of_questions_answers_as_one_by_one(loaded: LoadedMplug, tmp_path: Path) -> None:
    paths = save_images(tmp_path, 3)
    images = [Image.open(path) for path in paths]
    looked_BID = encode_image(loaded, *images)
    for number, image in enumerate(images):
        questions = questions_for(number, 6)
        together = loaded.tokenizer.decode(
            loaded.model.answer(looked_BID[number], *loaded.tokenizer.encode(questions))
        )
        alone = [
            loaded.tokenizer.decode(
                loaded.model.answer(
                    encode_image(loaded, image)[0], *loaded.tokenizer.encode([question])
                )
            )[0]
            for question in questions
        ]
        assert together == alone


def test_padding_changes_no_logit(loaded: LoadedMplug) -> None:
    image_ID = encode_image(loaded, build_probe.probe_image())[0]
    token_1T, seen_1T = loaded.tokenizer.encode(["is there a cat?"])
    answer_1T = torch.tensor([[120, 121]])
    plain = loaded.model.logits(image_ID, token_1T, seen_1T, answer_1T)
    padded = loaded.model.logits(
        image_ID,
        torch.nn.functional.pad(token_1T, (0, 5)),
        torch.nn.functional.pad(seen_1T, (0, 5)),
        answer_1T,
    )
    assert torch.allclose(plain, padded, atol=1e-5)


def test_questions_are_small_letters_and_at_most_25_tokens(loaded: LoadedMplug) -> None:
    token_QT, _ = loaded.tokenizer.encode(["Is There A CAT?"])
    assert token_QT.equal(loaded.tokenizer.encode(["is there a cat?"]).token_QT)
    token_QT, seen_QT = loaded.tokenizer.encode(["cat " * 40, "a"])
    assert token_QT.shape[1] == 25
    assert seen_QT.sum(dim=1).tolist() == [25, 3]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_any_mode_become_a_square(mode: str) -> None:
    pixels_B3RR = pixels_of([Image.new("RGB", (40, 90), "white").convert(mode)], side=16)
    assert pixels_B3RR.shape == (1, 3, 16, 16)
    assert pixels_B3RR[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - m) / d for m, d in zip(*_normalisation(), strict=True)]
    )


def _normalisation() -> tuple[tuple[float, ...], tuple[float, ...]]:
    from alphabench.models.mplug.image_processing import DEVIATION, MEAN

    return MEAN, DEVIATION


@given(seed=st.integers(0, 99), rows=st.integers(1, 3), shared=st.booleans())
@settings(max_examples=20, deadline=None)
def test_attention_to_pieces_is_attention_to_the_whole(
    seed: int, rows: int, *, shared: bool
) -> None:
    draw = torch.Generator().manual_seed(seed)
    n_shared = 1 if shared else rows
    query = torch.randn(rows, 2, 3, 4, generator=draw)
    keys, values = torch.randn(2, n_shared, 2, 5, 4, generator=draw)
    first = Memory(keys, values)
    seen_NS = torch.rand(rows, 6, generator=draw) < 0.7
    keys, values = torch.randn(2, rows, 2, 6, 4, generator=draw)
    second = Memory(keys, values, seen_NS)
    whole = Memory(
        torch.cat([first.key_NHSK.expand(rows, -1, -1, -1), second.key_NHSK], dim=2),
        torch.cat([first.value_NHSK.expand(rows, -1, -1, -1), second.value_NHSK], dim=2),
        torch.cat([torch.ones(rows, 5, dtype=torch.bool), seen_NS], dim=1),
    )
    assert torch.allclose(
        attend_heads(query, [first, second]), attend_heads(query, [whole]), atol=1e-5
    )


def plain_search(log_of: list[Tensor], rules: BeamSearchConfig) -> list[int]:
    """The official algorithm for one question, written out in lists."""
    beams: list[tuple[float, list[int]]] = [(0.0, [START])]
    ended: list[tuple[float, list[int]]] = []
    for step in range(rules.max_length):
        penalty = ((6.0 + step) / 6.0) ** 0.6
        log = log_of[step].softmax(-1).log().tolist()
        if step < rules.min_length:
            log[END] = -1e20
        grown = [
            ((total + one) / penalty, [*words, word])
            for total, words in beams
            for word, one in enumerate(log)
        ]
        grown.sort(key=lambda pair: -pair[0])
        best = grown[: rules.beam_size]
        last = step + 1 == rules.max_length
        over = best[0][1][-1] == END or last
        ended += [pair for pair in best if over or pair[1][-1] == END]
        if over:
            break
        beams = [(score * penalty, words) for score, words in best]
    return max(ended, key=lambda pair: pair[0])[1]


@given(seed=st.integers(0, 10_000), beams=st.integers(1, 4), lift=st.floats(0.0, 3.0))
@settings(max_examples=30, deadline=None)
def test_batched_search_finds_what_the_plain_one_finds(seed: int, beams: int, lift: float) -> None:
    rules = BeamSearchConfig(beam_size=beams, max_length=4)
    draw = torch.Generator().manual_seed(seed)
    logits_SQV = torch.randn(4, 3, 110, generator=draw) * 2.0
    logits_SQV[..., END] += lift
    step = iter(logits_SQV)

    def next_logits(last_QB: Tensor, parent_QB: Tensor | None) -> Tensor:
        logits_QV: Tensor = next(step)
        return logits_QV[:, None].expand(-1, last_QB.shape[1], -1)

    found_QT = search(next_logits, rules, n_questions=3, device="cpu")
    for question in range(3):
        wanted = plain_search(list(logits_SQV[:, question]), rules)
        assert found_QT[question, : len(wanted)].tolist() == wanted
        assert set(found_QT[question, len(wanted) :].tolist()) <= {END}


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_logits_that_are_no_numbers_are_an_error_and_no_answer(broken: float) -> None:
    def next_logits(last_QB: Tensor, parent_QB: Tensor | None) -> Tensor:
        logits_QBV = torch.zeros(*last_QB.shape, 110)
        logits_QBV[..., 105] = broken
        return logits_QBV

    with pytest.raises(RuntimeError, match="not finite"):
        search(next_logits, BeamSearchConfig(), n_questions=2, device="cpu")


def altered(folder: Path, target: Path, name: str, change: Tensor | None) -> Path:
    """A copy of the model with one tensor replaced or left out."""
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    if change is None:
        del weights[name]
    else:
        weights[name] = change
    torch.save(weights, target / "pytorch_model.bin")
    return target


@pytest.mark.parametrize(
    "name",
    [
        "fusion_encoder.encoder.layer.3.intermediate.dense.weight_scale",
        "fusion_encoder.encoder.layer.9.intermediate.dense.weight",
        "text_encoder.encoder.layer.0.attention.self.query.lora_A",
    ],
)
def test_a_tensor_beside_those_that_are_computed_with_is_refused(
    name: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(AlphaBenchError, match=f"does not use, such as '{name}'"):
        load_mplug(altered(folder, tmp_path / "more", name, torch.ones(2, 2)))


NAME = "fusion_encoder.encoder.layer.3.intermediate.dense.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "does not contain the tensor"),
        (torch.zeros(64, 32), "is 0 throughout"),
        (torch.full((64, 32), torch.nan), "is not finite"),
        (torch.ones(2, 2), "is (2, 2), not (64, 32)"),
    ],
)
def test_wrong_weights_are_refused_by_name(
    folder: Path, tmp_path: Path, change: Tensor | None, words: str
) -> None:
    with pytest.raises(AlphaBenchError, match=NAME) as caught:
        load_mplug(altered(folder, tmp_path / "model", NAME, change))
    assert words in caught.value.message


def test_a_norm_of_zeros_is_refused_and_a_bias_of_zeros_is_not(
    folder: Path, tmp_path: Path
) -> None:
    norm = "fusion_encoder.encoder.layer.3.output.LayerNorm"
    load_mplug(altered(folder, tmp_path / "bias", f"{norm}.bias", torch.zeros(32)))
    with pytest.raises(AlphaBenchError, match=f"'{norm}.weight' .* is 0 throughout"):
        load_mplug(altered(folder, tmp_path / "weight", f"{norm}.weight", torch.zeros(32)))


def test_weights_may_be_wrapped_as_trainers_do_and_in_half_precision(
    folder: Path, loaded: LoadedMplug, tmp_path: Path
) -> None:
    target = altered(folder, tmp_path / "model", NAME, torch.ones(1))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    halves = {f"model.{name}": one.half() for name, one in weights.items()}
    torch.save({"module": halves}, target / "pytorch_model.bin")
    model = load_mplug(target).model
    for name, one in model.state_dict().items():
        assert one.dtype == torch.float32
        assert one.equal(loaded.model.state_dict()[name].half().float())


def test_a_pickle_that_would_run_code_is_refused(folder: Path, tmp_path: Path) -> None:
    target = altered(folder, tmp_path / "model", NAME, torch.ones(1))
    torch.save({"code": Path("x")}, target / "pytorch_model.bin")
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        load_mplug(target)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("config.yaml", "vision_width: 7\n", "vision_width 7"),
        ("config.yaml", "image_res: wide\n", "'wide' for 'image_res'"),
        ("config.yaml", "beam_size: 0\n", "0 for 'beam_size'"),
        ("config.yaml", "- 1\n", "not a mapping"),
        ("config_bert.json", '{"hidden_act": "relu"}', "hidden_act 'relu'"),
        ("config_bert.json", "{", "cannot be read"),
        ("config_bert.json", '{"layer_norm_eps": "small"}', "'small' for 'layer_norm_eps'"),
        ("config_bert.json", '{"layer_norm_eps": NaN}', "nan for 'layer_norm_eps'"),
        ("config_bert.json", '{"stride_layer": 0}', "0 for 'stride_layer'"),
        ("config_bert.json", '{"hidden_size": null}', "None for 'hidden_size'"),
        ("config.yaml", "clip_vision_patch_size: 0\n", "0 for 'clip_vision_patch_size'"),
        ("config.yaml", "min_length: -1\n", "-1 for 'min_length'"),
        ("config.yaml", "bert_config: other.json\n", "bert_config 'other.json'"),
        ("vocab.txt", "a\nb\n", "not the vocabulary"),
    ],
)
def test_a_folder_of_another_kind_is_refused(
    folder: Path, tmp_path: Path, file: str, text: str, words: str
) -> None:
    target = altered(folder, tmp_path / "model", NAME, torch.ones(1))
    (target / file).write_text(text)
    with pytest.raises(AlphaBenchError) as caught:
        load_mplug(target)
    assert words in caught.value.message


def test_absent_settings_have_the_official_defaults(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: visual-question-answering\n")
    (tmp_path / "config_bert.json").write_text('{"layer_norm_eps": "1e-12"}')
    config = read_mplug_config(tmp_path)
    assert (config.vision.image_res, config.vision.n_tokens) == (504, 1297)
    assert dataclasses.astuple(config.search) == (5, 1, 10)
    assert config.text.layer_norm_eps == 1e-12
