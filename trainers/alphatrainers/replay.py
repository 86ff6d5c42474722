"""The one forward pass over stored trajectories, for trained, old, reference and EMA weights alike.

Says what a policy computes (which texts, velocities at which latents), puts the requested weights
in force, checks the answers against the request, and counts every pass. Knows no loss; a policy
reads each context once a pass.

Shapes: B trajectories of a batch; X the axes of one latent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch

from alphatrainers.image_algorithms import ImageLossSettings
from alphatrainers.protocols import (
    Policy,
    ReplayAnswer,
    ReplaySpec,
    TextScored,
    VelocityPredicted,
    WeightView,
)
from alphatrainers.trajectory import (
    SampledImage,
    SampledImageTokens,
    SampledText,
    Trajectory,
)
from alphatrainers.velocity_requests import VelocityRequest
from alphatrainers.weight_sets import WeightSets


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What one pass over a batch computes."""

    batch: tuple[Trajectory, ...]
    texts: tuple[int, ...]
    """Segments whose ids are scored: texts, and images of tokens."""
    points: tuple[VelocityRequest, ...]
    """Sorted by segment."""


def replay_request(
    batch: Sequence[Trajectory], image: ImageLossSettings, *, with_texts: bool, device: torch.device
) -> ReplayRequest:
    """All that the losses need of these trajectories, which have one shape."""
    algorithm = image.algorithm
    texts: list[int] = []
    points: list[VelocityRequest] = []
    for index, segment in enumerate(batch[0].segments):
        if isinstance(segment, SampledText) and with_texts and segment.spec.trained:
            texts.append(index)
        if isinstance(segment, SampledImage) and segment.spec.trained and algorithm is not None:
            points += algorithm.trains_on.requests(index, batch, device, image)
        tokens = isinstance(segment, SampledImageTokens) and segment.spec.trained
        if tokens and image.token_algorithm is not None:
            texts.append(index)
    return ReplayRequest(batch=tuple(batch), texts=tuple(texts), points=tuple(points))


class Replayer:
    """Replays trajectories of one policy under the requested weights."""

    def __init__(self, policy: Policy, weights: WeightSets, how: ReplaySpec) -> None:
        self._policy, self._weights, self.how = policy, weights, how
        self.counts: Counter[str] = Counter()
        """Trajectories replayed, texts and images of tokens scored, and velocities computed by
        view, e.g. `train/velocities`; one for each trajectory."""

    def replay(
        self, request: ReplayRequest, view: WeightView, *, counted_as: str | None = None
    ) -> Iterator[ReplayAnswer]:
        """The answers, one by one; each may be sent backward before the next is computed.

        Args:
            request: the questions.
            view: the weights to put in force.
            counted_as: the name in `counts`; by default the view's.

        Raises:
            ValueError: if the policy does not answer what was requested.
        """
        rows = len(request.batch)
        expected = _order(request)
        name = counted_as or view
        self.counts[f"{name}/trajectories"] += rows
        with self._weights.view(view), self._weights.computing():
            answers = self._policy.replay(
                request.batch,
                texts=request.texts,
                queries=[point.query for point in request.points],
                how=self.how,
            )
            for answer, wanted in zip_longest(answers, expected):
                if answer is None or wanted is None:
                    raise ValueError(
                        f"the policy did not give the {len(expected)} requested answers"
                    )
                _check(answer, wanted, request)
                kind = _kind_of(answer, request)
                self.counts[f"{name}/{kind}"] += rows
                yield answer

    @torch.no_grad()
    def record(
        self, request: ReplayRequest, view: WeightView, *, counted_as: str | None = None
    ) -> tuple[ReplayAnswer, ...]:
        """All answers at once, without gradients; arguments as in `replay`."""
        return tuple(self.replay(request, view, counted_as=counted_as))


def _order(request: ReplayRequest) -> list[int | tuple[int]]:
    """Numbers of segments for texts, (number,) of points, as the answers must come."""
    positions = [(index, -1) for index in request.texts]
    positions += [(point.query.segment, number) for number, point in enumerate(request.points)]
    return [segment if number < 0 else (number,) for segment, number in sorted(positions)]


def _check(answer: ReplayAnswer, wanted: int | tuple[int], request: ReplayRequest) -> None:
    if isinstance(wanted, int):
        if not isinstance(answer, TextScored) or answer.segment != wanted:
            raise ValueError(f"the policy answered {answer!r} where text {wanted} was requested")
        lengths = [len(tokens_at(trajectory, wanted).ids) for trajectory in request.batch]
        given = [len(logp_T) for logp_T in answer.logp]
        if given != lengths:
            raise ValueError(f"text {wanted}: {given} log-probabilities for {lengths} sampled ids")
        return
    if not isinstance(answer, VelocityPredicted) or answer.query != wanted[0]:
        raise ValueError(f"the policy did not answer query {wanted[0]}")
    shape = request.points[wanted[0]].query.x_BX.shape
    if answer.v_BX.shape != shape:
        raise ValueError(f"a velocity of shape {tuple(answer.v_BX.shape)}, not {tuple(shape)}")


def _kind_of(answer: ReplayAnswer, request: ReplayRequest) -> str:
    if isinstance(answer, VelocityPredicted):
        return "velocities"
    scored = tokens_at(request.batch[0], answer.segment)
    return "texts" if isinstance(scored, SampledText) else "token_images"


def tokens_at(trajectory: Trajectory, index: int) -> SampledText | SampledImageTokens:
    """A trajectory's segment of that index, which was sampled token by token."""
    segment = trajectory.segments[index]
    assert isinstance(segment, SampledText | SampledImageTokens)
    return segment
