"""Gradients of every loss, through the replay of a tiny model, against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from alphatrainers.distributed import Processes
from alphatrainers.image_algorithms import ImageLossSettings
from alphatrainers.objective import LossCounts, Objective, TrajectoryAdvantage, counts_of
from alphatrainers.protocols import (
    ReplayAnswer,
    ReplaySpec,
    StepInfo,
    TextScored,
    VelocityPredicted,
)
from alphatrainers.replay import Replayer, replay_request
from alphatrainers.settings import TextLossSettings, TrainingSettings
from alphatrainers.trajectory import ProgramStep
from alphatrainers.weight_sets import WeightSets
from tests.support.toy_policy import (
    IMAGE,
    PLAIN_IMAGE,
    PROMPTS,
    TEXT,
    TOKEN_IMAGE,
    ToyPolicy,
    program_of,
)

CPU = torch.device("cpu")
NO_TEXT, NO_IMAGE = TextLossSettings(kind="none"), ImageLossSettings(kind="none")
ADVANTAGES = [
    TrajectoryAdvantage(1.2, 0.7, image_trained=True, text_trained=True),
    TrajectoryAdvantage(-0.8, -1.1, image_trained=True, text_trained=True),
    TrajectoryAdvantage(9.0, 9.0, image_trained=False, text_trained=False),
    TrajectoryAdvantage(0.3, 0.4, image_trained=True, text_trained=True),
]
ALL = [advantage._replace(image_trained=True, text_trained=True) for advantage in ADVANTAGES]


class Bench:
    """A policy in float64 that has moved on from the weights it sampled with."""

    def __init__(
        self, image: ImageLossSettings, text: TextLossSettings, *steps: ProgramStep
    ) -> None:
        self.policy = ToyPolicy(dtype=torch.float64)
        settings = TrainingSettings(steps=1, lora=None, image=image, text=text)
        self.objective = Objective(image, text)
        views = frozenset({*self.objective.views, "old"})
        self.weights = WeightSets(self.policy, settings, views=views, processes=Processes())
        step_info = StepInfo(step=0, seed=0, group_size=4)
        programs = [program_of(PROMPTS[1], row, step_info, steps) for row in range(len(ADVANTAGES))]
        batch = self.policy.rollout(programs)
        self.request = replay_request(batch, image, with_texts=text.kind != "none", device=CPU)
        moved = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for parameter in self.weights.trained.values():
                noise = torch.randn(parameter.shape, generator=moved, dtype=torch.float64)
                parameter.add_(0.05 * noise)
        self.weights.mark_changed()
        how = ReplaySpec(context_gradient=True)
        self.replayer = Replayer(self.policy, self.weights, how)
        recorded = {v: self.replayer.record(self.request, v) for v in self.objective.views}  # type: ignore[arg-type]
        self.recorded = recorded
        self.before = self.replayer.record(self.request, "old")
        self.counts = self.objective.count(self.request, ADVANTAGES)

    def answers(self) -> list[ReplayAnswer]:
        return list(self.replayer.replay(self.request, "train"))

    def loss(self, advantages: Sequence[TrajectoryAdvantage] = ADVANTAGES) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for number, answer in enumerate(self.answers()):
            others = {view: answers[number] for view, answers in self.recorded.items()}
            share = self.objective.share(
                answer,
                self.request,
                advantages,
                counts=self.counts,
                others=others,
                before=self.before[number],
            )
            total = total + share.loss
        return total

    def compare(self, loss: Callable[[], Tensor]) -> None:
        """The gradient of the objective against central differences of `loss`."""
        parameters = list(self.weights.trained.values())
        gradients = torch.autograd.grad(self.loss(), parameters, allow_unused=True)
        largest, size = 0.0, 1e-6
        for parameter, gradient in zip(parameters, gradients, strict=True):
            for place in range(0, parameter.numel(), 5):
                found = 0.0 if gradient is None else float(gradient.flatten()[place])
                with torch.no_grad():
                    flat = parameter.view(-1)
                    start = flat[place].clone()
                    values = []
                    for shift in (size, -size):
                        flat[place] = start + shift
                        values.append(float(loss()))
                    flat[place] = start
                wanted = (values[0] - values[1]) / (2.0 * size)
                assert found == pytest.approx(wanted, rel=2e-5, abs=2e-7)
                largest = max(largest, abs(found))
        assert largest > 1e-3, "a gradient of nothing proves nothing"


WIDE = {"clip_low": 0.5, "clip_high": 0.5}
KL = {"reference": 0.3, "old": 0.2}


@pytest.mark.parametrize("kl", ["gaussian", "flow_grpo", "x_mse", "v_mse"])
def test_the_gradient_of_flow_grpo_with_each_distance_is_that_of_its_value(kl: str) -> None:
    image = ImageLossSettings(kind="flow_grpo", kl=kl, kl_weights=KL, **WIDE)  # type: ignore[arg-type]
    bench = Bench(image, NO_TEXT, TEXT, IMAGE)
    bench.compare(bench.loss)


def test_the_gradient_of_guard_is_that_of_its_value() -> None:
    image = ImageLossSettings(kind="guard", reweight=True, **WIDE)  # type: ignore[arg-type]
    bench = Bench(image, NO_TEXT, TEXT, IMAGE)
    bench.compare(bench.loss)


@pytest.mark.parametrize("weighting", ["uniform", "t", "t2", "huber", "ghuber"])
def test_the_gradient_of_awm_is_that_of_its_value(weighting: str) -> None:
    image = ImageLossSettings(
        kind="awm",
        weighting=weighting,  # type: ignore[arg-type]
        levels=2,
        clip_low=1.0,
        clip_high=1.0,
        kl_weights=KL,
    )
    bench = Bench(image, NO_TEXT, TEXT, PLAIN_IMAGE)
    bench.compare(bench.loss)


def test_the_gradient_of_nft_is_that_of_its_value_with_the_normaliser_held_fixed() -> None:
    image = ImageLossSettings(kind="nft", levels=2, beta=0.7)
    bench = Bench(image, NO_TEXT, TEXT, PLAIN_IMAGE)
    fixed: list[tuple[Tensor, Tensor]] = []

    def by_hand() -> Tensor:
        """The formula once more, with the normalisers of the first call."""
        total = torch.zeros((), dtype=torch.float64)
        for number, answer in enumerate(bench.answers()):
            old = bench.recorded["old"][number]
            assert isinstance(answer, VelocityPredicted)
            assert isinstance(old, VelocityPredicted)
            noised = bench.request.points[number].noised
            assert noised is not None
            t_B11 = noised.t_B[:, None, None].double()
            x_BX = (1 - t_B11) * noised.x0_BX + t_B11 * noised.noise_BX
            errors = [
                x_BX - t_B11 * v_BX - noised.x0_BX
                for v_BX in (
                    0.3 * old.v_BX + 0.7 * answer.v_BX,
                    1.7 * old.v_BX - 0.7 * answer.v_BX,
                )
            ]
            if len(fixed) <= number:
                fixed.append(tuple(e.detach().abs().mean((1, 2)) for e in errors))  # type: ignore[arg-type]
            halves = [(e**2).mean((1, 2)) / w for e, w in zip(errors, fixed[number], strict=True)]
            for row, advantage in enumerate(ADVANTAGES):
                share = min(max(advantage.image, -5.0), 5.0) / 10.0 + 0.5
                mixed = share * halves[0][row] + (1 - share) * halves[1][row]
                total = total + advantage.image_trained * 5.0 * mixed / 0.7 / bench.counts.images
        return total

    by_hand()
    assert by_hand().item() == pytest.approx(bench.loss().item(), rel=1e-6)
    bench.compare(by_hand)


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo", "gspo"])
def test_the_gradient_of_each_text_loss_is_that_of_its_value(kind: str) -> None:
    text = TextLossSettings(kind=kind, kl_weights={"reference": 0.3})  # type: ignore[arg-type]
    bench = Bench(NO_IMAGE, text, TEXT, PLAIN_IMAGE, TEXT)
    bench.compare(bench.loss)


def test_the_gradient_of_cispo_is_that_of_its_value_with_the_weights_held_fixed() -> None:
    bench = Bench(NO_IMAGE, TextLossSettings(kind="cispo"), TEXT)
    (first,) = bench.answers()
    (old,) = bench.before
    assert isinstance(first, TextScored)
    assert isinstance(old, TextScored)
    weights = [
        (new_T.detach() - old_T).exp().clamp(max=1.28)
        for new_T, old_T in zip(first.logp, old.logp, strict=True)
    ]

    def by_hand() -> Tensor:
        (answer,) = bench.answers()
        assert isinstance(answer, TextScored)
        rows = zip(answer.logp, weights, ADVANTAGES, strict=True)
        total = sum(
            -(weight_T * advantage.text * advantage.text_trained * logp_T).sum()
            for logp_T, weight_T, advantage in rows
        )
        return torch.as_tensor(total / bench.counts.tokens)

    bench.compare(by_hand)


@pytest.mark.parametrize("kind", ["token_grpo", "token_gspo"])
def test_the_gradient_of_each_loss_of_image_tokens_is_that_of_its_value(kind: str) -> None:
    image = ImageLossSettings(kind=kind, kl_weights=KL, **WIDE)  # type: ignore[arg-type]
    bench = Bench(image, NO_TEXT, TEXT, TOKEN_IMAGE)
    bench.compare(bench.loss)


def test_image_tokens_are_trained_with_the_advantage_and_the_limit_of_images() -> None:
    image = ImageLossSettings(kind="token_grpo", limit=1.0, weight=2.0, **WIDE)  # type: ignore[arg-type]
    bench = Bench(image, NO_TEXT, TEXT, TOKEN_IMAGE)
    (answer,), (old,) = bench.answers(), bench.before
    assert isinstance(answer, TextScored)
    assert isinstance(old, TextScored)
    by_hand = torch.zeros((), dtype=torch.float64)
    for row, advantage in enumerate(ADVANTAGES):
        ratio_T = (answer.logp[row] - old.logp[row]).exp()
        own = min(max(advantage.image, -1.0), 1.0) * advantage.image_trained
        worse_T = torch.minimum(own * ratio_T, own * ratio_T.clamp(0.5, 1.5))
        by_hand = by_hand - 2.0 * worse_T.mean() / 3.0
    assert bench.counts == LossCounts(images=3.0, sequences=0.0, tokens=0.0)
    assert bench.loss().item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_texts_and_image_tokens_of_one_trajectory_are_trained_apart() -> None:
    image = ImageLossSettings(kind="token_grpo", **WIDE)  # type: ignore[arg-type]
    both = Bench(image, TextLossSettings(), TEXT, TOKEN_IMAGE)
    apart = Bench(image, NO_TEXT, TEXT, TOKEN_IMAGE).loss()
    apart = apart + Bench(NO_IMAGE, TextLossSettings(), TEXT, TOKEN_IMAGE).loss()
    assert both.loss().item() == pytest.approx(apart.item(), rel=1e-9)
    assert both.counts.images == 3.0
    assert both.counts.sequences == 3.0


def test_text_and_image_add_up_with_their_weights() -> None:
    image = ImageLossSettings(weight=0.25, **WIDE)  # type: ignore[arg-type]
    text = TextLossSettings(weight=3.0)
    both = Bench(image, text, TEXT, IMAGE).loss()
    apart = Bench(ImageLossSettings(**WIDE), NO_TEXT, TEXT, IMAGE).loss() * 0.25  # type: ignore[arg-type]
    apart = apart + Bench(NO_IMAGE, TextLossSettings(), TEXT, IMAGE).loss() * 3.0
    assert both.item() == pytest.approx(apart.item(), rel=1e-9)


def test_a_trajectory_that_is_not_trained_changes_nothing() -> None:
    bench = Bench(ImageLossSettings(**WIDE), TextLossSettings(), TEXT, IMAGE)  # type: ignore[arg-type]
    other = [
        advantage._replace(image=-3.0, text=2.0) if not advantage.image_trained else advantage
        for advantage in ADVANTAGES
    ]
    assert torch.equal(bench.loss(), bench.loss(other))
    assert not torch.equal(bench.loss(), bench.loss(ALL))
    assert bench.counts.images == 3 * 3


def test_texts_that_were_cut_off_can_be_left_out() -> None:
    bench = Bench(NO_IMAGE, TextLossSettings(), TEXT)
    texts = [trajectory.texts[0] for trajectory in bench.request.batch]
    assert {text.finished for text in texts} == {True, False}
    left_out = Objective(NO_IMAGE, TextLossSettings(cut_off="left_out")).count(bench.request, ALL)
    assert left_out.tokens == sum(len(text.ids) for text in texts if text.finished)
    assert left_out.sequences == sum(text.finished for text in texts)


def test_the_image_loss_reaches_the_context_only_if_the_settings_say_so() -> None:
    bench = Bench(ImageLossSettings(**WIDE), NO_TEXT, TEXT, IMAGE)  # type: ignore[arg-type]
    und = [p for n, p in bench.weights.trained.items() if bench.weights.expert_of[n] == "und"]
    gen = [p for n, p in bench.weights.trained.items() if bench.weights.expert_of[n] == "gen"]

    def gradients(context: bool) -> tuple[list[Tensor | None], list[Tensor | None]]:
        bench.replayer.how = ReplaySpec(context_gradient=context)
        found = torch.autograd.grad(bench.loss(), und + gen, allow_unused=True)
        return list(found[: len(und)]), list(found[len(und) :])

    with_und, with_gen = gradients(context=True)
    without_und, without_gen = gradients(context=False)
    assert any(g is not None and bool(g.abs().sum() > 0) for g in with_und)
    assert all(g is None for g in without_und)
    for one, other in zip(with_gen, without_gen, strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other)


def test_counts_of_nothing_divide_by_1() -> None:
    nothing = LossCounts(images=0.0, sequences=0.0, tokens=0.0)
    assert counts_of(nothing.as_tensor()) == LossCounts(images=1.0, sequences=1.0, tokens=1.0)
