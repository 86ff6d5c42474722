"""Janus on a tiny random model: held against transformers' own generation, and against itself."""

from __future__ import annotations

import importlib
import json
import pickle
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from alphabench.checkpoints import open_checkpoint, pick_checkpoint_kind
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


@pytest.fixture
def spoiled(folder: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(folder, tmp_path / "spoiled"))


def opened(folder: Path | str, **options: str) -> UnifiedCheckpoint:
    checkpoint = open_checkpoint(str(folder), options={**FAST, **options})
    assert isinstance(checkpoint, UnifiedCheckpoint)
    return checkpoint


def tokens(
    janus: Janus, texts: Sequence[str], seeds: Sequence[int], sampling: JanusSampling
) -> list[list[int]]:
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    prompts = janus.prompts(texts)
    drawn_BN = sample_image_tokens(
        janus.network, prompts, janus.prompt_tokens, sampling, generators=generators
    )
    rows: list[list[int]] = drawn_BN.tolist()
    return rows


def picture(drawn: GenerationResult | NotGenerated) -> np.ndarray[Any, np.dtype[np.uint8]]:
    assert isinstance(drawn, GenerationResult), drawn
    return np.asarray(drawn.image)


def request(prompt: str = "a red cat", *, source: Path | None = None) -> ImageRequest:
    sample = Sample(id="0", prompt=prompt, group="colors", source_image=source)
    return ImageRequest(sample=sample, index=0, seed=3)


def noise(seed: int, width: int, height: int) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


# Drawing, against transformers.


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("guidance", [5.0, 1.5])
def test_the_likeliest_tokens_are_those_of_transformers(
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
def test_drawn_tokens_are_those_that_transformers_draws_from_the_same_seed(
    janus: Janus, reference: Any, seed: int, temperature: float, top_k: int | None
) -> None:
    given_BT = janus.prompts([PROMPTS[1]])
    with torch.random.fork_rng():
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


def test_a_vanishing_temperature_draws_the_likeliest_tokens(janus: Janus) -> None:
    cold = replace(PLAIN, temperature=1e-4)
    assert tokens(janus, PROMPTS, (0, 1, 2), cold) == tokens(janus, PROMPTS, (3, 4, 5), GREEDY)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_keys_and_values_that_are_kept_give_what_reading_everything_anew_gives(
    janus: Janus, guidance: float
) -> None:
    given_BT, network = janus.prompts(PROMPTS[1:2]), janus.network
    twins_RT = torch.cat([given_BT.ids_BT, without_prompt(given_BT.ids_BT, janus.prompt_tokens)])
    drawn: list[int] = []
    with torch.inference_mode():
        words_RTE = network.get_input_embeddings()(twins_RT)
        for _ in range(N_TOKENS):
            picture_RNE = network.prepare_embeddings_for_image_generation(
                torch.tensor([drawn, drawn], dtype=torch.long)
            )
            read_RTE = network.model.language_model(
                inputs_embeds=torch.cat([words_RTE, picture_RNE], dim=1), use_cache=False
            ).last_hidden_state
            with_V, without_V = network.model.generation_head(read_RTE[:, -1])
            drawn.append(int((without_V + guidance * (with_V - without_V)).argmax()))
    assert tokens(janus, PROMPTS[1:2], [0], replace(GREEDY, guidance=guidance)) == [drawn]


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
    kept = weight.detach().clone()
    weight.data[0] = torch.nan
    drawn_BN = torch.tensor(
        tokens(janus, PROMPTS[:1], [0], replace(PLAIN, temperature=temperature))
    )
    weight.data = kept
    (made,) = janus.decode(drawn_BN)
    assert made == NotGenerated(status="failed", reason="the model made NaN or infinity")
    assert isinstance(janus.decode(drawn_BN.clamp(min=0))[0], Image.Image)


# Drawing, against itself.


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    order=st.permutations(range(5)),
    size=st.integers(1, 5),
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


def test_a_task_that_cannot_be_drawn_costs_no_other(janus: Janus) -> None:
    tasks = [
        GenerationTask(prompt=PROMPTS[0], seed=1),
        GenerationTask(prompt=f"a {IMAGE_BEGIN} cat", seed=1),
        GenerationTask(prompt=PROMPTS[0], seed=1, width=SIDE, height=2 * SIDE),
        GenerationTask(prompt="a cat " * 200, seed=1),
        GenerationTask(prompt=PROMPTS[1], seed=2, width=SIDE, height=SIDE),
    ]
    drawn = janus.generate(tasks)
    reasons = [
        one.reason for one in drawn if isinstance(one, NotGenerated) and one.status == "refused"
    ]
    assert len(reasons) == 3
    for reason, word in zip(reasons, (IMAGE_BEGIN, f"{SIDE}x{2 * SIDE}", "too long"), strict=True):
        assert word in reason
    for place in (0, 4):
        (alone,) = janus.generate([tasks[place]])
        assert np.array_equal(picture(drawn[place]), picture(alone))


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


def test_tokens_are_drawn_with_the_odds_of_their_scores() -> None:
    scores_BV = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(4000, 4)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(4000)]
    drawn_B = sampled_codes(scores_BV, PLAIN, generators)
    shares_V = torch.bincount(drawn_B, minlength=4) / 4000
    assert (shares_V - torch.tensor([0.5, 0.3, 0.15, 0.05])).abs().max() < 0.03
    few_B = sampled_codes(scores_BV, replace(PLAIN, top_k=2), generators)
    assert set(few_B.tolist()) == {0, 1}


# Answering.


@pytest.mark.parametrize("n_pictures", [0, 1, 2])
def test_an_answer_is_that_of_transformers_greedy_decoding(
    janus: Janus, reference: Any, folder: Path, n_pictures: int
) -> None:
    library: Any = importlib.import_module("transformers")
    processor = library.JanusProcessor.from_pretrained(folder, backend="pil")
    shown = tuple(noise(seed, 40, 30) for seed in range(n_pictures))
    content = [{"type": "image"}] * n_pictures + [{"type": "text", "text": "what is in it?"}]
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


def test_answers_depend_on_their_own_task_alone(janus: Janus) -> None:
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


# As a checkpoint.


def test_a_checkpoint_draws_what_its_model_draws(folder: Path, janus: Janus) -> None:
    checkpoint = opened(folder, batch_size="2")
    assert pickle.loads(pickle.dumps(checkpoint)).identity == checkpoint.identity
    (image,) = checkpoint.generate([request()])
    (drawn,) = janus.generate([GenerationTask(prompt="a red cat", seed=3)])
    assert np.array_equal(np.asarray(image), picture(drawn))


def test_files_of_the_first_releases_draw_and_answer_alike(janus: Janus, tmp_path: Path) -> None:
    older = opened(save_janus(tmp_path, older_files=True)).model()
    task = AnswerTask(text="what is in it?", images=(noise(1, 40, 30),))
    assert older.answer([task]) == janus.answer([task])
    draw = GenerationTask(prompt=PROMPTS[1], seed=1)
    assert np.array_equal(picture(older.generate([draw])[0]), picture(janus.generate([draw])[0]))


def test_words_are_spoken_by_the_table_of_the_file(folder: Path, janus: Janus) -> None:
    stored = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert torch.equal(janus.network.lm_head.weight, stored)
    assert not torch.equal(janus.network.get_input_embeddings().weight, stored)


def test_pictures_are_read_without_torchvision(janus: Janus) -> None:
    assert type(janus.processor.image_processor).__name__ == "JanusImageProcessorPil"


def test_the_identity_names_weights_and_settings(folder: Path, spoiled: Path) -> None:
    plain = opened(folder).identity
    assert plain == opened(spoiled).identity
    for change in ({"guidance": "2"}, {"temperature": "0"}, {"top_k": "9"}, {"batch_size": "2"}):
        assert opened(folder, **change).identity != plain
    assert opened(folder, answer_tokens="7").identity == plain, "decides no image"
    weights = load_file(spoiled / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, spoiled / "model.safetensors", metadata={"format": "pt"})
    assert opened(spoiled).identity["weights"] != plain["weights"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guidence": "3"}, "did you mean 'guidance'"),
        ({"steps": "20"}, "known are: answer_tokens"),
        ({"guidance": "0.5"}, "guidance must be 1 or more, not 0.5"),
        ({"temperature": "-1"}, "temperature must be 0 or more"),
        ({"temperature": "nan"}, "takes a finite number"),
        ({"top_k": "0"}, "top_k must be 1 or more"),
        ({"batch_size": "0"}, "batch_size must be 1 or more"),
        ({"dtype": "float8"}, "did you mean"),
        ({"revision": "main"}, "a folder has no revision"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    folder: Path, options: Mapping[str, str], words: str
) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        opened(folder, **options)


def test_fewer_layers_than_the_weights_hold_are_refused(spoiled: Path) -> None:
    config = json.loads((spoiled / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] -= 1
    (spoiled / "config.json").write_text(json.dumps(config))
    with pytest.raises(AlphaBenchError, match="that the model does not use"):
        opened(spoiled).model()


def test_an_adapter_and_an_edit_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="takes no LoRA"):
        open_checkpoint(str(folder), lora="owner/lora")
    noise(1, 8, 8).save(tmp_path / "source.png")
    with pytest.raises(AlphaBenchError, match="edits an image"):
        opened(folder).generate([request(source=tmp_path / "source.png")])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("deepseek-community/Janus-Pro-7B", "janus"),
        ("someone/my-janus-tuned@main", "janus"),
        ("janus-lab/sd-turbo", "diffusers"),
        ("diffusers:someone/janus-pipeline", "diffusers"),
    ],
)
def test_a_hub_repository_is_told_by_its_name(name: str, kind: str) -> None:
    assert pick_checkpoint_kind(name)[0] == kind


def test_a_folder_is_told_by_its_configuration(folder: Path) -> None:
    assert pick_checkpoint_kind(str(folder)) == ("janus", str(folder))


# Folders that are not whole.


def _edit(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return spoil


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _too_large(folder: Path) -> None:
    """Eight TiB that no disk needs to hold."""
    n_bytes = 2**43
    entry = {"dtype": "F32", "shape": [n_bytes // 4], "data_offsets": [0, n_bytes]}
    header = json.dumps({"lm_head.weight": entry}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + n_bytes)


def _other_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


HEAD = "model.generation_head.proj_out.weight"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_truncate, "is damaged"),
        (_pickle, "only 'pytorch_model.bin', a pickle"),
        (_lose_weights, "holds no weights as safetensors, no weights"),
        (
            _edit("config.json", lambda c: c.update(model_type="multi_modality")),
            "DeepSeek.s layout",
        ),
        (_edit("config.json", lambda c: c.update(model_type="llama")), "no Janus model"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_when_it_is_opened(
    spoiled: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(spoiled)
    with pytest.raises(AlphaBenchError, match=words):
        open_checkpoint(f"janus:{spoiled}")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_weights(lambda w: w.pop(HEAD)), "generation_head"),
        (_other_weights(lambda w: w.update({HEAD: torch.zeros(3, 3)})), "generation_head"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "cannot be loaded as a Janus"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
        (
            _edit("config.json", lambda c: c["vision_config"].update(num_image_tokens=9)),
            "9 tokens make no image",
        ),
        (_too_large, r"need 4096\.0 GiB, and cpu has"),
    ],
)
def test_weights_that_do_not_fit_are_refused_when_they_are_loaded(
    spoiled: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(spoiled)
    checkpoint = open_checkpoint(f"janus:{spoiled}")
    assert isinstance(checkpoint, UnifiedCheckpoint)
    with pytest.raises(AlphaBenchError, match=words):
        checkpoint.model()
