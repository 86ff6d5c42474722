"""Janus on a tiny random model: held against transformers' own generation, and against itself."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.models.janus.janus_inference import (
    Janus,
    JanusSampling,
    guided_logits,
    sample_image_tokens,
    sampled_codes,
    without_prompt,
)
from alphabench.models.unified_model import AnswerTask, GenerationResult, GenerationTask
from alphabench.types import ImageRequest, NotGenerated, Sample
from tests.support.tiny_janus import IMAGE, IMAGE_BEGIN, N_TOKENS, SIDE, save_janus

FAST = {"dtype": "float32", "answer_tokens": "12"}
PROMPTS = ("a red cat", "a photo of two green dogs and a red cat, what is in it?", "Yes.")
PLAIN = JanusSampling(guidance=5.0, temperature=1.0, top_k=None, batch_size=8, answer_tokens=12)
GREEDY = replace(PLAIN, temperature=0.0)

pytestmark = pytest.mark.filterwarnings(
    # Libraries warn of their own next releases while they load or sample.
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Must not be changed."""
    return save_janus(tmp_path_factory.mktemp("janus"))


@pytest.fixture(scope="module")
def janus(folder: Path) -> Janus:
    model = opened(folder).model()
    assert isinstance(model, Janus)
    return model


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    """The same weights, loaded and configured by transformers alone."""
    library: Any = importlib.import_module("transformers")
    return library.JanusForConditionalGeneration.from_pretrained(folder).eval()


def opened(folder: Path | str, **options: str) -> UnifiedCheckpoint:
    checkpoint = open_checkpoint(str(folder), options={**FAST, **options})
    assert isinstance(checkpoint, UnifiedCheckpoint)
    return checkpoint


def tokens(
    janus: Janus, texts: Sequence[str], seeds: Sequence[int], sampling: JanusSampling
) -> list[list[int]]:
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    prompts = janus.prompts(texts)
    sampled_BN = sample_image_tokens(
        janus.network, prompts, janus.prompt_tokens, sampling, generators=generators
    )
    rows: list[list[int]] = sampled_BN.tolist()
    return rows


def pixels_of(result: GenerationResult | NotGenerated) -> np.ndarray[Any, np.dtype[np.uint8]]:
    assert isinstance(result, GenerationResult), result
    return np.asarray(result.image)


def request(prompt: str = "a red cat") -> ImageRequest:
    sample = Sample(id="0", prompt=prompt, group="colors")
    return ImageRequest(sample=sample, index=0, seed=3)


def noise(seed: int, width: int, height: int) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


# Drawing, against transformers.


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("guidance", [5.0, 1.5])
def test_greedy_tokens_are_those_of_transformers(
    janus: Janus, reference: Any, prompt: str, guidance: float
) -> None:
    given_BT = janus.prompts([prompt])
    theirs_BN = reference.generate(
        input_ids=given_BT.ids_BT,
        attention_mask=given_BT.mask_BT,
        generation_mode="image",
        do_sample=False,
        guidance_scale=guidance,
    )
    ours = tokens(janus, [prompt], [0], replace(GREEDY, guidance=guidance))
    assert ours == theirs_BN.tolist()
    assert len(set(ours[0])) > 2, "constant tokens would show little"


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.7, None), (1.3, 5)])
def test_sampled_tokens_are_those_of_transformers_with_the_same_seed(
    janus: Janus, reference: Any, seed: int, temperature: float, top_k: int | None
) -> None:
    given_BT = janus.prompts([PROMPTS[1]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs_BN = reference.generate(
            input_ids=given_BT.ids_BT,
            attention_mask=given_BT.mask_BT,
            generation_mode="image",
            do_sample=True,
            temperature=temperature,
            top_k=top_k or 0,
        )
    sampling = replace(PLAIN, temperature=temperature, top_k=top_k)
    assert tokens(janus, [PROMPTS[1]], [seed], sampling) == theirs_BN.tolist()


def test_a_vanishing_temperature_gives_greedy_tokens(janus: Janus) -> None:
    cold = replace(PLAIN, temperature=1e-4)
    assert tokens(janus, PROMPTS, (0, 1, 2), cold) == tokens(janus, PROMPTS, (3, 4, 5), GREEDY)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_cached_keys_and_values_give_the_same_as_reading_everything_again(
    janus: Janus, guidance: float
) -> None:
    given_BT, network = janus.prompts(PROMPTS[1:2]), janus.network
    twins_RT = torch.cat([given_BT.ids_BT, without_prompt(given_BT.ids_BT, janus.prompt_tokens)])
    result: list[int] = []
    with torch.inference_mode():
        text_RTE = network.get_input_embeddings()(twins_RT)
        for _ in range(N_TOKENS):
            image_RNE = network.prepare_embeddings_for_image_generation(
                torch.tensor([result, result], dtype=torch.long)
            )
            read_RTE = network.model.language_model(
                inputs_embeds=torch.cat([text_RTE, image_RNE], dim=1), use_cache=False
            ).last_hidden_state
            with_V, without_V = network.model.generation_head(read_RTE[:, -1])
            result.append(int((without_V + guidance * (with_V - without_V)).argmax()))
    assert tokens(janus, PROMPTS[1:2], [0], replace(GREEDY, guidance=guidance)) == [result]


def test_tokens_become_the_pixels_that_transformers_processor_makes_of_them(
    janus: Janus, reference: Any
) -> None:
    tokens_BN = torch.tensor(tokens(janus, PROMPTS, (0, 1, 2), PLAIN))
    with torch.inference_mode():
        levels_BHWC = reference.decode_image_tokens(tokens_BN)
    # Its processor with PIL, unlike the one with torchvision, needs channels first.
    decoded = [one.permute(2, 0, 1).numpy() for one in levels_BHWC]
    theirs = janus.processor.postprocess(decoded, return_tensors="PIL.Image.Image")["pixel_values"]
    for ours, other in zip(janus.decode(tokens_BN), theirs, strict=True):
        assert isinstance(ours, Image.Image)
        assert ours.size == (SIDE, SIDE)
        assert np.abs(np.asarray(ours, dtype=int) - np.asarray(other, dtype=int)).max() <= 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_not_finite_are_no_token(janus: Janus, temperature: float) -> None:
    head = janus.network.model.generation_head
    weight = next(head.parameters())
    cached = weight.detach().clone()
    weight.data[0] = torch.nan
    sampled_BN = torch.tensor(
        tokens(janus, PROMPTS[:1], [0], replace(PLAIN, temperature=temperature))
    )
    weight.data = cached
    (made,) = janus.decode(sampled_BN)
    assert made == NotGenerated(status="failed", reason="the model made NaN or infinity")
    assert isinstance(janus.decode(sampled_BN.clamp(min=0))[0], Image.Image)


# Drawing, against itself.


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    order=st.permutations(range(5)),
    size=st.integers(2, 5),
    guidance=st.sampled_from([1.0, 5.0]),
    seeds=st.lists(st.integers(0, 2**31 - 1), min_size=5, max_size=5),
    texts=st.lists(st.text("ab cd", min_size=1, max_size=20), min_size=5, max_size=5),
)
def test_batch_and_order_change_no_token(
    janus: Janus,
    order: list[int],
    size: int,
    guidance: float,
    seeds: list[int],
    texts: list[str],
) -> None:
    sampling = replace(PLAIN, guidance=guidance)
    alone = [tokens(janus, [texts[i]], [seeds[i]], sampling)[0] for i in order]
    together = [
        row
        for start in range(0, 5, size)
        for row in tokens(
            janus,
            [texts[i] for i in order[start : start + size]],
            [seeds[i] for i in order[start : start + size]],
            sampling,
        )
    ]
    assert together == alone


def test_prompt_seed_and_guidance_each_change_the_tokens(janus: Janus) -> None:
    (first,) = tokens(janus, PROMPTS[:1], [1], PLAIN)
    assert tokens(janus, PROMPTS[:1], [1], PLAIN) == [first]
    assert tokens(janus, PROMPTS[1:2], [1], PLAIN) != [first]
    assert tokens(janus, PROMPTS[:1], [2], PLAIN) != [first]
    assert tokens(janus, PROMPTS[:1], [1], replace(PLAIN, guidance=1.0)) != [first]


def test_an_impossible_task_does_not_affect_others(janus: Janus) -> None:
    tasks = [
        GenerationTask(prompt=PROMPTS[0], seed=1),
        GenerationTask(prompt=f"a {IMAGE_BEGIN} cat", seed=1),
        GenerationTask(prompt=PROMPTS[0], seed=1, width=SIDE, height=2 * SIDE),
        GenerationTask(prompt="a cat " * 200, seed=1),
        GenerationTask(prompt=PROMPTS[1], seed=2, width=SIDE, height=SIDE),
    ]
    result = janus.generate(tasks)
    reasons = [
        one.reason for one in result if isinstance(one, NotGenerated) and one.status == "refused"
    ]
    assert len(reasons) == 3
    for reason, word in zip(reasons, (IMAGE_BEGIN, f"{SIDE}x{2 * SIDE}", "too long"), strict=True):
        assert word in reason
    for place in (0, 4):
        (alone,) = janus.generate([tasks[place]])
        assert np.array_equal(pixels_of(result[place]), pixels_of(alone))


@given(
    scale=st.floats(1.0, 10.0),
    rows=st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=1, max_size=3),
)
def test_guidance_leads_away_from_the_unguided_scores(
    scale: float, rows: list[list[float]]
) -> None:
    with_BV = torch.tensor(rows)
    same = (
        guided_logits(torch.cat([with_BV, with_BV]), scale)
        if scale != 1.0
        else guided_logits(with_BV, scale)
    )
    torch.testing.assert_close(same, with_BV)
    if scale != 1.0:
        away = guided_logits(torch.cat([with_BV, torch.zeros_like(with_BV)]), scale)
        torch.testing.assert_close(away, scale * with_BV)


def test_tokens_are_sampled_with_the_probabilities_of_their_logits() -> None:
    scores_BV = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(4000, 4)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(4000)]
    complete_B = sampled_codes(scores_BV, PLAIN, generators)
    shares_V = torch.bincount(complete_B, minlength=4) / 4000
    assert (shares_V - torch.tensor([0.5, 0.3, 0.15, 0.05])).abs().max() < 0.03
    few_B = sampled_codes(scores_BV, replace(PLAIN, top_k=2), generators)
    assert set(few_B.tolist()) == {0, 1}


# Answering.


@pytest.mark.parametrize("n_images", [0, 1, 2])
def test_an_answer_is_that_of_transformers_greedy_decoding(
    janus: Janus, reference: Any, folder: Path, n_images: int
) -> None:
    library: Any = importlib.import_module("transformers")
    processor = library.JanusProcessor.from_pretrained(folder, backend="pil")
    shown = tuple(noise(seed, 40, 30) for seed in range(n_images))
    content = [{"type": "image"}] * n_images + [{"type": "text", "text": "what is in it?"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    inputs = processor(text=text, images=list(shown) or None, return_tensors="pt")
    theirs = reference.generate(**inputs, max_new_tokens=12, do_sample=False)
    words = processor.decode(
        theirs[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    ).strip()
    (answer,) = janus.answer([AnswerTask(text="what is in it?", images=shown)])
    assert answer.text == words
    assert words
    assert answer.cut is (processor.tokenizer.eos_token_id not in theirs[0].tolist())


def test_answers_depend_on_their_task_alone(janus: Janus) -> None:
    tasks = [
        AnswerTask(text="what is in it?", images=(noise(1, 40, 30),)),
        AnswerTask(text="Yes."),
        AnswerTask(text="a photo of a red cat and two dogs?", images=(noise(2, 20, 60),)),
        AnswerTask(text="what is a dog and what is a cat?"),
        AnswerTask(text="what?", images=(noise(3, 32, 32), noise(4, 50, 10))),
    ]
    alone = [janus.answer([task])[0] for task in tasks]
    assert janus.answer(tasks) == alone
    assert janus.answer(tasks[::-1]) == alone[::-1]
    assert len({answer.text for answer in alone}) > 2


def test_a_question_that_holds_a_control_token_is_refused(janus: Janus) -> None:
    with pytest.raises(AlphaBenchError, match=rf"holds '{IMAGE}', which controls"):
        janus.answer([AnswerTask(text=f"what is {IMAGE}?")])


def test_a_question_longer_than_the_model_holds_is_refused(janus: Janus) -> None:
    with pytest.raises(AlphaBenchError, match="exceed the model's limit"):
        janus.answer([AnswerTask(text="a cat " * 200)])


# Checkpoints of other releases, and loading.


def test_a_checkpoint_generates_what_its_model_generates(folder: Path, janus: Janus) -> None:
    checkpoint = opened(folder, batch_size="2")
    assert pickle.loads(pickle.dumps(checkpoint)).identity == checkpoint.identity
    (image,) = checkpoint.generate([request()])
    (result,) = janus.generate([GenerationTask(prompt="a red cat", seed=3)])
    assert np.array_equal(np.asarray(image), pixels_of(result))


def test_files_of_the_first_releases_generate_and_answer_equally(
    janus: Janus, tmp_path: Path
) -> None:
    older = opened(save_janus(tmp_path, older_files=True)).model()
    task = AnswerTask(text="what is in it?", images=(noise(1, 40, 30),))
    assert older.answer([task]) == janus.answer([task])
    draw = GenerationTask(prompt=PROMPTS[1], seed=1)
    assert np.array_equal(
        pixels_of(older.generate([draw])[0]), pixels_of(janus.generate([draw])[0])
    )


def test_the_vocabulary_head_is_that_of_the_file(folder: Path, janus: Janus) -> None:
    stored = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert torch.equal(janus.network.lm_head.weight, stored)
    assert not torch.equal(janus.network.get_input_embeddings().weight, stored)


def test_images_are_read_without_torchvision(janus: Janus) -> None:
    assert type(janus.processor.image_processor).__name__ == "JanusImageProcessorPil"
