"""A tiny random BAGEL as a policy: what is replayed is exactly what was sampled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.models.bagel.bagel_inference import Noise, UnifiedBagel
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.loading import load_bagel
from alphabench.models.bagel.sampler import GuidedVelocity, denoise_latents
from alphabench.models.bagel.sampling_config import BagelSampling
from alphabench.models.unified_model import GenerationTask
from alphagrpo.policies.unified_policy import EXPERTS, UMMPolicy
from alphatrainers import lora_adapters
from alphatrainers.algorithms import sde_steps
from alphatrainers.algorithms.schedules import sigmas_of_points
from alphatrainers.protocols import ReplaySpec, TextScored, VelocityPredicted, VelocityQuery
from alphatrainers.rollout import RolloutCollector
from alphatrainers.sampling import denoising_step, generator, score_tokens
from alphatrainers.settings import LoraSettings
from alphatrainers.trajectory import (
    GenerateImage,
    GenerateText,
    InputImage,
    InputText,
    Program,
    ProgramStep,
    TrainingPrompt,
    Trajectory,
)
from tests.support.tiny_bagel import save_bagel

SIGMAS = sigmas_of_points(5, shift=3.0)
RECIPE = BagelSampling(
    width=32, height=32, latent_longest=48, latent_shortest=32, patch_longest=42, patch_shortest=28
)
HOW = ReplaySpec()


def draw(*, guidance: Guidance | None = None, window: range = range(1, 3)) -> GenerateImage:
    return GenerateImage(width=32, height=32, sigmas=SIGMAS, window=window, guidance=guidance)


def write(*, most: int = 7, top_p: float = 1.0) -> GenerateText:
    return GenerateText(max_tokens=most, temperature=0.9, top_p=top_p)


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def programs(steps: Sequence[ProgramStep], count: int = 3) -> list[Program]:
    prompt = TrainingPrompt(id="p", text="a red dog")
    return [
        Program(id=f"p/{number}", group="p", prompt=prompt, steps=tuple(steps), seed=number)
        for number in range(count)
    ]


def rt2i(spec: GenerateImage, text: GenerateText | None = None) -> list[ProgramStep]:
    words: list[ProgramStep] = [
        InputText(text="plan first", role="system"),
        InputText(text="a red dog"),
    ]
    return [*words, text or write(), spec]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> UMMPolicy:
    """With LoRA layers that change it, as after some updates."""
    umm = UnifiedBagel(load_bagel(save_bagel(tmp_path_factory.mktemp("bagel"))), RECIPE)
    made = UMMPolicy(umm, identity={"checkpoint": "tiny"})
    bound = lora_adapters.select_trainable(
        made.module, EXPERTS, lora=LoraSettings(rank=2, alpha=4.0), seed=0
    )
    chance = torch.Generator().manual_seed(1)
    for name, one in bound.items():
        if "lora_B" in name:
            one.parameter.data = 0.1 * torch.randn(one.parameter.shape, generator=chance)
    return made


def queries_of(trajectories: Sequence[Trajectory], segment: int) -> list[VelocityQuery]:
    parts = [one.images[-1] for one in trajectories]
    return [
        VelocityQuery(
            segment=segment,
            x_BX=torch.stack([part.path_NX[stored] for part in parts]),
            sigma_B=torch.full((len(parts),), SIGMAS[step]),
            guided=True,
        )
        for stored, step in enumerate(parts[0].spec.window)
    ]


@pytest.mark.parametrize(
    "guidance",
    [
        None,
        Guidance(),
        Guidance(image_scale=2.0, low=0.0, renorm="text_channel"),
        Guidance(low=SIGMAS[2]),
    ],
)
def test_before_an_update_every_image_ratio_is_exactly_one(
    policy: UMMPolicy, guidance: Guidance | None
) -> None:
    spec = draw(guidance=guidance)
    made = policy.rollout(programs(rt2i(spec)))
    queries = queries_of(made, 3)
    answers = list(policy.replay(made, texts=[2], queries=queries, how=HOW))
    assert isinstance(answers[0], TextScored)
    for stored, (query, answer) in enumerate(zip(queries, answers[1:], strict=True)):
        assert isinstance(answer, VelocityPredicted)
        following = torch.stack([one.images[0].path_NX[stored + 1] for one in made])
        step = denoising_step(spec, spec.window[stored], query.x_BX, answer.v_BX)
        before = torch.stack([one.images[0].logp_S[stored] for one in made])
        ratio = (sde_steps.log_prob(step, following) - before).exp()
        assert torch.equal(ratio, torch.ones(3))


def test_texts_sampled_together_and_images_in_slices_are_those_of_one_batch(
    policy: UMMPolicy,
) -> None:
    steps = rt2i(draw(guidance=Guidance(low=0.0)))
    steps = [*steps, write(most=3), draw()]  # a text after an image, too
    whole = policy.rollout(programs(steps, count=5))
    sliced = policy.rollout_in_slices(programs(steps, count=5), images_together=2)
    alone = [policy.rollout([program])[0] for program in programs(steps, count=5)]
    for others in (sliced, alone):
        assert [one.program.id for one in others] == [one.program.id for one in whole]
        for one, other in zip(whole, others, strict=True):
            assert [text.ids for text in one.texts] == [text.ids for text in other.texts]
            for image, again in zip(one.images, other.images, strict=True):
                torch.testing.assert_close(image.final_X, again.final_X, atol=1e-4, rtol=0.0)


@contextmanager
def counted_tokens(policy: UMMPolicy) -> Iterator[list[int]]:
    """The numbers of text tokens that are read within it, a number for each pass."""
    tokens: list[int] = []
    table = policy.umm.loaded.model.language_model.model.embed_tokens
    hook = table.register_forward_hook(lambda _module, given, _result: tokens.append(len(given[0])))
    try:
        yield tokens
    finally:
        hook.remove()


def test_texts_that_a_group_shares_are_read_once_and_change_nothing(policy: UMMPolicy) -> None:
    group = programs(rt2i(draw()), count=4)
    with counted_tokens(policy) as alone:
        policy.rollout(group[:1])
    with counted_tokens(policy) as together:
        made = policy.rollout(group)
    assert together[:2] == alone[:2]  # both input texts
    texts = [step for step in group[0].steps if isinstance(step, InputText)]
    distinct = [
        replace(one, steps=(*texts[:1], InputText(text=f"a red dog{' ' * number}"), *one.steps[2:]))
        for number, one in enumerate(group)
    ]
    with counted_tokens(policy) as apart:
        policy.rollout(distinct)
    assert apart[1] > 3 * alone[1]
    queries = queries_of(made, 3)
    with torch.no_grad(), counted_tokens(policy) as replayed:
        shared = list(policy.replay(made, texts=[2], queries=queries, how=HOW))
    assert replayed[:2] == alone[:2]
    # With gradients for what was read, each row reads its own: the same numbers.
    own = replace(HOW, context_gradient=True)
    with counted_tokens(policy) as each:
        whole = list(policy.replay(made, texts=[2], queries=queries, how=own))
    assert each[:2] == [4 * number for number in alone[:2]]
    for one, other in zip(shared[1:], whole[1:], strict=True):
        assert isinstance(one, VelocityPredicted)
        assert isinstance(other, VelocityPredicted)
        torch.testing.assert_close(one.v_BX, other.v_BX, atol=1e-5, rtol=0.0)


def test_the_batches_of_a_rollout_are_as_large_as_that_of_texts_where_a_policy_can(
    policy: UMMPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []

    def rollout(given: Sequence[Program], *, images_together: int) -> list[Trajectory]:
        sizes.append((len(given), images_together))
        words = InputText(text="a red dog")
        return [Trajectory(program=program, segments=(words,)) for program in given]

    monkeypatch.setattr(policy, "rollout_in_slices", rollout)
    for text_batch in (None, 4):
        scorer: Any = None
        collector = RolloutCollector(policy, scorer, batch=2, group_size=5, text_batch=text_batch)
        collector.collect(programs([InputText(text="a red dog")], count=5), scored=False)
    assert sizes == [(2, 2), (2, 2), (1, 1), (4, 2), (1, 1)]


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_words_scored_at_once_are_as_likely_as_when_they_were_drawn(
    policy: UMMPolicy, top_p: float
) -> None:
    made = policy.rollout(programs(rt2i(draw(), write(most=20, top_p=top_p)), count=4))
    (answer,) = policy.replay(made, texts=[2], queries=[], how=HOW)
    assert isinstance(answer, TextScored)
    for trajectory, logp_T in zip(made, answer.logp, strict=True):
        text = trajectory.texts[0]
        assert len(logp_T) == len(text.ids)
        assert float((logp_T.detach() - text.logp_T).abs().max()) < 1e-5
        assert logp_T.requires_grad


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_with_bfloat16_weights_sampled_and_scored_words_are_those_of_float32_heads(
    tmp_path: Path, top_p: float
) -> None:
    loaded = load_bagel(save_bagel(tmp_path), dtype=torch.bfloat16)
    made = UMMPolicy(UnifiedBagel(loaded, RECIPE), identity={})
    head = loaded.model.language_model.lm_head
    met: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda _, args, __: met.append(args[0].detach()))
    text = write(most=20, top_p=top_p)
    (one,) = made.rollout(programs(rt2i(draw(), text), count=1))
    sampled_TD = torch.cat(met)
    met.clear()
    (answer,) = made.replay([one], texts=[2], queries=[], how=HOW)
    hook.remove()
    assert isinstance(answer, TextScored)
    ids_T = torch.tensor(one.texts[0].ids)
    weight_VD = head.weight.detach().bfloat16().double()
    for hidden_TD, found_T in (
        (sampled_TD, one.texts[0].logp_T),
        (met[0], answer.logp[0].detach()),
    ):
        assert torch.equal(hidden_TD.bfloat16().float(), hidden_TD)
        logits_TV = hidden_TD.double() @ weight_VD.T
        exact_T = score_tokens(logits_TV, ids_T, temperature=0.9, top_p=top_p)
        assert float((found_T - exact_T).abs().max()) < 1e-5


def test_a_thought_that_was_cut_off_ends_with_the_last_word_that_was_drawn(
    policy: UMMPolicy,
) -> None:
    made = policy.rollout(programs(rt2i(draw(), write(most=2)), count=6))
    end = policy.umm.loaded.tokens.end
    for trajectory in made:
        text = trajectory.texts[0]
        assert text.finished == (text.ids[-1] == end)
        assert end not in text.ids[:-1]
    assert any(not one.texts[0].finished for one in made)


def test_an_end_that_was_drawn_is_scored_like_every_other_word(policy: UMMPolicy) -> None:
    umm = policy.umm
    head = umm.loaded.model.language_model.lm_head
    before = head.weight.detach().clone()
    with torch.no_grad():
        head.weight[umm.loaded.tokens.end] += 3.0 * before[:200].abs().mean()
    made = policy.rollout(programs(rt2i(draw(), write(most=60)), count=6))
    (answer,) = policy.replay(made, texts=[2], queries=[], how=HOW)
    with torch.no_grad():
        head.weight.copy_(before)
    assert isinstance(answer, TextScored)
    ended = [n for n, one in enumerate(made) if one.texts[0].finished]
    assert ended
    for number in ended:
        text = made[number].texts[0]
        assert text.ids[-1] == umm.loaded.tokens.end
        assert abs(float(answer.logp[number][-1].detach()) - float(text.logp_T[-1])) < 1e-5


def test_an_edit_reads_its_image_and_replays_exactly(policy: UMMPolicy) -> None:
    guidance = Guidance(image_scale=2.0, low=0.0, renorm="text_channel")
    steps: list[ProgramStep] = [
        InputText(text="plan first", role="system"),
        InputImage(image=picture(0)),
        InputText(text="mend it"),
        write(),
        draw(guidance=guidance),
    ]
    made = policy.rollout(programs(steps))
    first = made[0].segments[1]
    assert isinstance(first, InputImage)
    assert first.encoded is not None
    queries = queries_of(made, 4)
    answers = list(policy.replay(made, texts=[3], queries=queries, how=HOW))
    for stored, answer in enumerate(answers[1:]):
        assert isinstance(answer, VelocityPredicted)
        sampled = torch.stack([one.images[0].velocity_SX[stored] for one in made])
        assert torch.equal(answer.v_BX.detach(), sampled)
    other = list(steps)
    other[1] = InputImage(image=picture(1))
    assert not torch.equal(policy.rollout(programs(other))[0].images[0].final_X,
                           made[0].images[0].final_X)  # fmt: skip


def test_a_image_drawn_within_a_trajectory_is_read_by_what_follows(policy: UMMPolicy) -> None:
    steps: list[ProgramStep] = [
        InputText(text="a dog"),
        draw(window=range(0)),
        InputText(text="mend it"),
        draw(),
    ]
    made = policy.rollout(programs(steps, count=2))
    queries = queries_of(made, 3)
    answers = list(policy.replay(made, texts=[], queries=queries, how=HOW))
    assert isinstance(answers[0], VelocityPredicted)
    sampled = torch.stack([one.images[-1].velocity_SX[0] for one in made])
    assert torch.equal(answers[0].v_BX.detach(), sampled)


def test_a_trajectory_depends_on_its_seed_and_not_on_its_batch(policy: UMMPolicy) -> None:
    wanted = programs(rt2i(draw(guidance=Guidance())), count=3)
    together = policy.rollout(wanted)
    alone = [policy.rollout([program])[0] for program in wanted]
    for one, other in zip(together, alone, strict=True):
        assert one.texts[0].ids == other.texts[0].ids
        assert torch.allclose(one.images[0].final_X, other.images[0].final_X, atol=1e-4)
    assert len({one.texts[0].ids for one in together}) == 3


def gradients(policy: UMMPolicy, made: Sequence[Trajectory], how: ReplaySpec) -> dict[str, float]:
    """Size of each gradient of one image's velocity."""
    policy.module.zero_grad()
    answers = list(policy.replay(made, texts=[2], queries=queries_of(made, 3)[:1], how=how))
    assert isinstance(answers[1], VelocityPredicted)
    answers[1].v_BX.square().sum().backward()  # type: ignore[no-untyped-call]
    return {
        name: float(parameter.grad.abs().sum())
        for name, parameter in policy.module.named_parameters()
        if parameter.grad is not None
    }


def test_the_image_loss_reaches_what_was_read_before_only_if_asked(policy: UMMPolicy) -> None:
    made = policy.rollout(programs(rt2i(draw()), count=2))
    apart = gradients(policy, made, HOW)
    through = gradients(policy, made, ReplaySpec(context_gradient=True))
    # The understanding expert touches the image by the two marks around it in any case.
    words = "language_model.model.layers.0.self_attn.k_proj.lora_B.default.weight"
    assert through[words] > apart[words]
    picture = "language_model.model.layers.1.mlp_moe_gen.down_proj.lora_B.default.weight"
    assert through[picture] == pytest.approx(apart[picture], rel=1e-4)


def test_recomputing_activations_changes_no_gradient(policy: UMMPolicy) -> None:
    made = policy.rollout(programs(rt2i(draw(guidance=Guidance())), count=2))
    found = []
    for recompute in (False, True):
        policy.module.zero_grad()
        how = ReplaySpec(recompute=recompute)
        for answer in policy.replay(made, texts=[2], queries=queries_of(made, 3), how=how):
            loss = (
                torch.stack([logp_T.sum() for logp_T in answer.logp]).sum()
                if isinstance(answer, TextScored)
                else answer.v_BX.square().sum()
            )
            loss.backward()  # type: ignore[no-untyped-call]
        found.append(
            {n: p.grad.clone() for n, p in policy.module.named_parameters() if p.grad is not None}
        )
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def test_unguided_queries_may_have_a_noise_level_for_each_row(policy: UMMPolicy) -> None:
    made = policy.rollout(programs(rt2i(draw(window=range(0))), count=2))
    x_BX = torch.stack([one.images[0].final_X for one in made])
    levels = torch.tensor([0.3, 0.8])
    query = VelocityQuery(segment=3, x_BX=x_BX, sigma_B=levels, guided=False)
    (both,) = policy.replay(made, texts=[], queries=[query], how=HOW)
    assert isinstance(both, VelocityPredicted)
    for row, level in enumerate(levels):
        one = VelocityQuery(segment=3, x_BX=x_BX[row : row + 1], sigma_B=level[None], guided=False)
        (alone,) = policy.replay(made[row : row + 1], texts=[], queries=[one], how=HOW)
        assert isinstance(alone, VelocityPredicted)
        assert torch.allclose(alone.v_BX[0], both.v_BX[row], atol=1e-5)


def test_a_size_that_the_model_cannot_draw_is_refused_in_a_sentence(policy: UMMPolicy) -> None:
    spec = GenerateImage(width=40, height=32, sigmas=SIGMAS)
    with pytest.raises(AlphaBenchError, match="40x32"):
        policy.rollout(programs([InputText(text="a dog"), spec], count=1))


def test_both_experts_are_found_and_share_no_module(tmp_path: Path) -> None:
    model = load_bagel(save_bagel(tmp_path)).model
    names = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    found = {expert: {n for n in names if re.fullmatch(pattern, n)}
             for expert, pattern in EXPERTS.items()}  # fmt: skip
    assert len(found["und"]) == len(found["gen"]) == 2 * 7
    assert not found["und"] & found["gen"]


@pytest.mark.parametrize("edits", [False, True])
def test_training_draws_what_the_harness_draws_from_the_same_noise(
    policy: UMMPolicy, edits: bool
) -> None:
    guidance = Guidance(image_scale=2.0 if edits else 1.0, low=0.0, renorm="text_channel")
    steps: list[ProgramStep] = [InputText(text="plan first", role="system")]
    if edits:
        steps.append(InputImage(image=picture(3)))
    steps += [InputText(text="a red dog"), draw(guidance=guidance, window=range(0))]
    (program,) = programs(steps, count=1)
    (made,) = policy.rollout([program])
    harness = UnifiedBagel(policy.umm.loaded, replace(RECIPE, think_prompt="plan first"))
    task = GenerationTask(prompt="a red dog", seed=0, source=picture(3) if edits else None)
    source = torch.randn((1, 16, 4, 4), generator=generator(program, 1)) if edits else None
    chance = Noise(torch.randn((4, 64), generator=generator(program, len(steps) - 1)), source)
    said = harness.contexts([task], [chance], think=True)
    guided = GuidedVelocity(harness.loaded.model, said, [harness.grid_of(32, 32)], guidance)
    painted_LC = denoise_latents(guided, chance.image_LC, points=len(SIGMAS), shift=3.0)
    assert torch.allclose(painted_LC, made.images[0].final_X, atol=1e-5)
