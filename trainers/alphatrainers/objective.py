"""Turns an answer of a replay into its part of the loss; means use the counts of the whole update.

The sum of all shares over micro-batches and processes is the loss of the whole update, however it
was cut. A trajectory that is not trained is masked, in the counts too. Knows no model and no
optimizer.

Shapes: B trajectories of a batch; T tokens; X the axes of one latent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from alphatrainers.algorithms.losses.kl import TextKL, step_kl, token_kl, velocity_kl
from alphatrainers.algorithms.losses.reduction import mean_of_samples, mean_of_tokens
from alphatrainers.algorithms.losses.surrogate import Clip
from alphatrainers.algorithms.losses.text import TEXT_ALGORITHMS, TextAlgorithm, token_losses
from alphatrainers.algorithms.precision import widen
from alphatrainers.image_algorithms import ImageLossInput, ImageLossSettings, surrogate_values
from alphatrainers.protocols import ReplayAnswer, TextScored, VelocityPredicted
from alphatrainers.replay import ReplayRequest, tokens_at
from alphatrainers.settings import TextLossSettings
from alphatrainers.trajectory import SampledImage, SampledImageTokens, SampledText
from alphatrainers.velocity_requests import (
    VelocityRequest,
    image_at,
    score_stored_step,
    step_of,
)


class TrajectoryAdvantage(NamedTuple):
    """Advantages of one trajectory, and which of its parts are trained."""

    image: float
    text: float
    image_trained: bool
    text_trained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCounts:
    """What the means of one update are divided by: of all its micro-batches and processes."""

    images: float
    """(trajectory, velocity) pairs trained, and images of tokens."""
    sequences: float
    tokens: float

    def as_tensor(self) -> Tensor:
        """For a sum over processes."""
        return torch.tensor([self.images, self.sequences, self.tokens], dtype=torch.float64)


def counts_of(tensor: Tensor) -> LossCounts:
    """The inverse of `as_tensor`; a count of 0 becomes 1, so that nothing divides by 0."""
    images, sequences, tokens = (max(1.0, float(value)) for value in tensor)
    return LossCounts(images=images, sequences=sequences, tokens=tokens)


class DeviceSum(NamedTuple):
    """A sum for the log and how many parts it has: tensors without dimensions, on the device."""

    total: Tensor
    number: Tensor


class LossShare(NamedTuple):
    """Loss of one answer, and sums for the log; `fetched_shares` brings them to the host."""

    loss: Tensor
    sums: dict[str, DeviceSum]
    gap: tuple[str, Tensor] | None
    """`image` or `text`, and how far log-probabilities are from those of the sampler."""


class FetchedShare(NamedTuple):
    """The numbers of one `LossShare`, on the host."""

    loss: float
    sums: dict[str, tuple[float, float]]
    gap: tuple[str, float] | None


def fetched_shares(shares: Sequence[LossShare]) -> list[FetchedShare]:
    """The numbers of all shares, in one transfer: the host waits for the device once."""
    numbers: list[Tensor] = []
    for share in shares:
        numbers.append(share.loss.detach())
        numbers += [number for one in share.sums.values() for number in one]
        numbers += [] if share.gap is None else [share.gap[1]]
    if not numbers:
        return []
    # float64 holds every float32 exactly.
    values = iter(torch.stack([number.double() for number in numbers]).tolist())
    return [
        FetchedShare(
            next(values),
            {name: (next(values), next(values)) for name in share.sums},
            None if share.gap is None else (share.gap[0], next(values)),
        )
        for share in shares
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokenPart:
    """How the tokens of a text, or of an image, are trained."""

    name: str
    """`text` or `image`, in the log."""
    algorithm: TextAlgorithm
    weight: float
    limit: float | None
    clip: Clip
    kl: TextKL
    kl_weights: Mapping[str, float]
    advantages: Sequence[float]
    """One a trajectory, before the limit."""
    n_sequences: float
    """Of the whole update."""


class Objective:
    """The losses of a recipe."""

    def __init__(self, image: ImageLossSettings, text: TextLossSettings) -> None:
        self._image, self._text = image, text
        self._algorithm = image.algorithm

    @property
    def views(self) -> tuple[str, ...]:
        """Weights other than the trained ones whose answers the losses need."""
        return tuple(sorted(self._image_views | self._text_views))

    @property
    def _image_views(self) -> set[str]:
        views = {view for view, weight in self._image.kl_weights.items() if weight > 0.0}
        return views | set(() if self._algorithm is None else self._algorithm.views)

    @property
    def _text_views(self) -> set[str]:
        return {view for view, weight in self._text.kl_weights.items() if weight > 0.0}

    def under_view(self, request: ReplayRequest, view: str) -> ReplayRequest:
        """The part of a request whose answers under this view the losses need.

        A KL of images alone needs no text scored under the reference, whose vocabulary head costs
        as much as several layers.
        """
        of_text, of_image = view in self._text_views, view in self._image_views

        def needed(index: int) -> bool:
            is_text = isinstance(request.batch[0].segments[index], SampledText)
            return of_text if is_text else of_image

        return replace(
            request,
            texts=tuple(index for index in request.texts if needed(index)),
            points=request.points if of_image else (),
        )

    @property
    def trains_text(self) -> bool:
        """Whether texts are scored at all."""
        return self._text.trained

    def count(
        self, request: ReplayRequest, advantages: Sequence[TrajectoryAdvantage]
    ) -> LossCounts:
        """What this batch adds to the counts of its update."""
        first = request.batch[0]
        texts = [n for n in request.texts if isinstance(first.segments[n], SampledText)]
        each = len(request.points) + len(request.texts) - len(texts)
        images = sum(advantage.image_trained for advantage in advantages) * each
        masks = [
            self._token_mask(tokens_at(trajectory, index), advantage)
            for index in texts
            for trajectory, advantage in zip(request.batch, advantages, strict=True)
        ]
        tokens = [int(mask_T.sum()) for mask_T in masks]
        return LossCounts(images=images, sequences=sum(n > 0 for n in tokens), tokens=sum(tokens))

    def share(
        self,
        answer: ReplayAnswer,
        request: ReplayRequest,
        advantages: Sequence[TrajectoryAdvantage],
        *,
        counts: LossCounts,
        others: Mapping[str, ReplayAnswer],
        before: ReplayAnswer | None,
    ) -> LossShare:
        """Loss of one answer under the trained weights.

        Args:
            answer: with gradient.
            request: what the batch's replay computed.
            advantages: one a trajectory.
            counts: of the whole update.
            others: the same answer under each of `views`, where `under_view` asks for it.
            before: the same answer under the weights that sampled, if it was replayed; None takes
                the sampler's own numbers where there are any and `answer` itself elsewhere.
        """
        if isinstance(answer, TextScored):
            texts = {k: v for k, v in others.items() if isinstance(v, TextScored)}
            old = before if isinstance(before, TextScored) else None
            return self._share_of_tokens(answer, request, advantages, counts, texts, old)
        velocities = {k: v.v_BX for k, v in others.items() if isinstance(v, VelocityPredicted)}
        old_BX = before.v_BX if isinstance(before, VelocityPredicted) else None
        return self._share_of_image(answer, request, advantages, counts, velocities, old_BX)

    @torch.no_grad()
    def reference_kl(
        self,
        answer: ReplayAnswer,
        reference: ReplayAnswer,
        request: ReplayRequest,
        advantages: Sequence[TrajectoryAdvantage],
    ) -> dict[str, DeviceSum]:
        """The distance to the reference for the log alone, by the estimator that a loss would use.

        Args:
            answer: under the trained weights.
            reference: the same one under the reference.
            request: what the batch's replay computed.
            advantages: one a trajectory; those that are not trained do not count.
        """
        if isinstance(answer, TextScored):
            assert isinstance(reference, TextScored), "both answer one request"
            texts = [tokens_at(trajectory, answer.segment) for trajectory in request.batch]
            of_image = isinstance(texts[0], SampledImageTokens)
            masks = [self._token_mask(*pair) for pair in zip(texts, advantages, strict=True)]
            logp_BT = _padded(answer.logp)
            mask_BT = _padded(masks).to(logp_BT.device, non_blocking=True)
            kind = self._image.kl_estimator if of_image else self._text.kl
            kl_BT = token_kl(logp_BT, _padded(reference.logp), mask_BT, kind=kind)
            return {_kl_name("image" if of_image else "text", "reference"): _sum(kl_BT, mask_BT)}
        assert isinstance(reference, VelocityPredicted), "both answer one request"
        point, v_BX = request.points[answer.query], answer.v_BX
        image = image_at(request.batch[0], point.query.segment)
        trained_B = _uploaded([advantage.image_trained for advantage in advantages], v_BX.device)
        kl_B = self._kl(point, image, v_BX, reference.v_BX)
        return {_kl_name("image", "reference"): _sum(kl_B, trained_B)}

    def _token_mask(
        self, sampled: SampledText | SampledImageTokens, advantage: TrajectoryAdvantage
    ) -> Tensor:
        if isinstance(sampled, SampledImageTokens):
            counted = advantage.image_trained
        else:
            used = sampled.finished or self._text.cut_off == "trained"
            counted = advantage.text_trained and used
        return torch.full((len(sampled.ids),), counted, dtype=torch.bool)

    def _token_part(
        self, *, of_image: bool, advantages: Sequence[TrajectoryAdvantage], counts: LossCounts
    ) -> _TokenPart:
        if not of_image:
            text = self._text
            return _TokenPart(
                name="text",
                algorithm=TEXT_ALGORITHMS[text.kind],
                weight=text.weight,
                limit=text.limit,
                clip=text.clip(),
                kl=text.kl,
                kl_weights=text.kl_weights,
                advantages=[advantage.text for advantage in advantages],
                n_sequences=counts.sequences,
            )
        image = self._image
        assert image.token_algorithm is not None
        return _TokenPart(
            name="image",
            algorithm=image.token_algorithm,
            weight=image.weight,
            limit=image.limit,
            clip=image.clip(),
            kl=image.kl_estimator,
            kl_weights=image.kl_weights,
            advantages=[advantage.image for advantage in advantages],
            n_sequences=counts.images,
        )

    def _share_of_tokens(
        self,
        answer: TextScored,
        request: ReplayRequest,
        advantages: Sequence[TrajectoryAdvantage],
        counts: LossCounts,
        others: Mapping[str, TextScored],
        before: TextScored | None,
    ) -> LossShare:
        texts = [tokens_at(trajectory, answer.segment) for trajectory in request.batch]
        of_image = isinstance(texts[0], SampledImageTokens)
        part = self._token_part(of_image=of_image, advantages=advantages, counts=counts)
        device = answer.logp[0].device
        logp_BT = _padded(answer.logp)
        sampled_BT = _padded([text.logp_T for text in texts]).to(device, non_blocking=True)
        old_BT = sampled_BT if before is None else _padded(before.logp).detach()
        pairs = zip(texts, advantages, strict=True)
        mask_BT = _padded([self._token_mask(*pair) for pair in pairs]).to(device, non_blocking=True)
        advantage_B = _uploaded(part.advantages, device)
        if part.limit is not None:
            advantage_B = advantage_B.clamp(-part.limit, part.limit)
        surrogate = token_losses(
            logp_BT,
            old_BT,
            mask_BT,
            advantage_B,
            importance=part.algorithm.importance,
            clip=part.clip,
        )
        loss_BT = surrogate.loss_N
        monitored = surrogate_values(surrogate).monitored
        sums = {f"{part.name}/{name}": _sum(v_BT, mask_BT) for name, v_BT in monitored.items()}
        for view, weight in part.kl_weights.items():
            if weight > 0.0:
                kl_BT = token_kl(logp_BT, _padded(others[view].logp), mask_BT, kind=part.kl)
                loss_BT = loss_BT + weight * kl_BT
                sums[_kl_name(part.name, view)] = _sum(kl_BT, mask_BT)
        loss = mean_of_tokens(
            loss_BT,
            mask_BT,
            normaliser=part.algorithm.normaliser,
            n_sequences=part.n_sequences,
            n_tokens=counts.tokens,
            max_length=_most_tokens(texts[0]),
        )
        here_BT = _padded([torch.ones(len(t.ids), dtype=torch.bool) for t in texts])
        distance_BT = (logp_BT.detach() - sampled_BT).abs()
        total, number = _sum(distance_BT, here_BT.to(device, non_blocking=True))
        gap = (part.name, total.double() / number.clamp(min=1))
        return LossShare(part.weight * loss, sums, gap)

    def _share_of_image(
        self,
        answer: VelocityPredicted,
        request: ReplayRequest,
        advantages: Sequence[TrajectoryAdvantage],
        counts: LossCounts,
        others: Mapping[str, Tensor],
        old_BX: Tensor | None,
    ) -> LossShare:
        point, v_BX = request.points[answer.query], answer.v_BX
        advantage_B = _uploaded([advantage.image for advantage in advantages], v_BX.device)
        trained_B = _uploaded([advantage.image_trained for advantage in advantages], v_BX.device)
        images = [image_at(trajectory, point.query.segment) for trajectory in request.batch]
        stored, gap = None, None
        if point.stored is not None:
            scored = score_stored_step(point, images, v_BX, old_BX)
            stored, gap = scored.stored, ("image", scored.gap)
        assert self._algorithm is not None
        values = self._algorithm.loss(
            ImageLossInput(
                request=point,
                v_BX=v_BX,
                advantage_B=advantage_B,
                views=others,
                old_BX=old_BX,
                stored=stored,
            ),
            self._image,
        )
        loss_B = values.loss_B
        sums = {f"image/{name}": _sum(v_B, trained_B) for name, v_B in values.monitored.items()}
        for view, weight in self._image.kl_weights.items():
            if weight > 0.0:
                kl_B = self._kl(point, images[0], v_BX, others[view])
                loss_B = loss_B + weight * kl_B
                sums[_kl_name("image", view)] = _sum(kl_B, trained_B)
        loss = mean_of_samples(loss_B, mask_B=trained_B, n_samples=counts.images)
        return LossShare(self._image.weight * loss, sums, gap)

    def _kl(
        self, point: VelocityRequest, image: SampledImage, v_BX: Tensor, other_BX: Tensor
    ) -> Tensor:
        if self._image.kl == "v_mse":
            return velocity_kl(v_BX, other_BX)
        reference = step_of(point, image, other_BX)
        return step_kl(step_of(point, image, v_BX), reference, kind=self._image.kl)


def _kl_name(part: str, view: str) -> str:
    """`kl` is the distance to the reference, as elsewhere."""
    return f"{part}/kl" if view == "reference" else f"{part}/kl_{view}"


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """Rows of different lengths, 0 (or False) after their ends."""
    wide = [row if row.dtype == torch.bool else widen(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(wide, batch_first=True)


def _sum(value: Tensor, mask: Tensor) -> DeviceSum:
    return DeviceSum(torch.where(mask, value.detach(), 0.0).sum(), mask.sum())


def _uploaded(values: Sequence[float] | Sequence[bool], device: torch.device) -> Tensor:
    """Without waiting for the device, as `torch.tensor(values, device=device)` would."""
    return torch.tensor(values).to(device, non_blocking=True)


def _most_tokens(sampled: SampledText | SampledImageTokens) -> int:
    return sampled.spec.max_tokens if isinstance(sampled, SampledText) else len(sampled.ids)
