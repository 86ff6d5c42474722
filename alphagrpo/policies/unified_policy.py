"""A BAGEL-type model as a policy: it reads, writes and draws within one trajectory.

Rollout and replay read a trajectory by the same code, so that what is scored is what was sampled:
the ids as drawn, the latents as stored, the same guidance. A thought that was cut off is closed in
the context of what follows, as the harness does when it draws, but the closing mark was not drawn
and is never scored. Knows no task, reward or optimizer.

Shapes: B rows; L latent tokens of one picture; C features of a token; T tokens of a text; V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphabench.models.bagel.bagel_inference import UnifiedBagel, size_obstacle
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.kv_cache import Context
from alphabench.models.bagel.model import Bagel, Grid
from alphabench.models.bagel.packed_sequences import ragged
from alphabench.models.bagel.sampler import (
    Contexts,
    GuidedVelocity,
    generate_text,
    new_contexts,
    with_latents,
    with_text,
    with_thought,
)
from alphabench.types import NotGenerated
from alphatrainers.protocols import (
    ReplayAnswer,
    ReplaySpec,
    TextScored,
    VelocityPredicted,
    VelocityQuery,
)
from alphatrainers.sampling import generator, sample_latents, sample_tokens, score_tokens
from alphatrainers.trajectory import (
    GenerateImage,
    GenerateText,
    InputImage,
    InputText,
    Program,
    ProgramStep,
    SampledImage,
    SampledText,
    Segment,
    Trajectory,
)

_LAYER: Final = r"language_model\.model\.layers\.\d+\."
EXPERTS: Final[Mapping[str, str]] = {
    "und": _LAYER + r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
    "gen": _LAYER + r"(self_attn\.[qkvo]_proj_moe_gen|mlp_moe_gen\.(gate|up|down)_proj)",
}
"""AlphaGRPO's targets: attention and MLP of both experts, in all layers."""
PLAIN: Final = Guidance(text_scale=1.0)
Column = Sequence[Segment]
"""The same segment of every trajectory of a batch."""


class _Written(NamedTuple):
    """One column of texts, scored, and the context behind it."""

    logp: tuple[Tensor, ...]
    after: Context


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Reads segments into contexts, one column at a time."""

    umm: UnifiedBagel
    plain: bool
    """No branch for guidance is wanted."""
    recompute: bool = False

    @property
    def model(self) -> Bagel:
        return self.umm.loaded.model

    def begin(self, rows: int) -> Contexts:
        return new_contexts(self.model, rows)

    def read(self, said: Contexts, column: Column) -> Contexts:
        """`said` with one more segment in every row."""
        first = column[0]
        if isinstance(first, InputText):
            block = self.umm.loaded.tokens.block
            ids = [block(part.text) for part in column if isinstance(part, InputText)]
            return self._kept(with_text(self.model, said, ids))
        if isinstance(first, SampledText):
            return self._kept(with_thought(self.model, said, self.framed(column)))
        return self._kept(self._read_pictures(said, column))

    def framed(self, column: Column) -> list[list[int]]:
        """The ids of sampled texts between the marks that frame a text."""
        tokens = self.umm.loaded.tokens
        return [
            [tokens.start, *part.ids, *([] if part.finished else [tokens.end])]
            for part in column
            if isinstance(part, SampledText)
        ]

    def score(self, said: Context, column: Column) -> _Written:
        """Log-probabilities of sampled ids, from the one pass that also reads them."""
        texts = [part for part in column if isinstance(part, SampledText)]
        framed = self.framed(column)
        read = self.model.read_text(said, framed, recompute=self.recompute)
        rows = ragged([len(ids) for ids in framed], read.hidden_TD.device).split(read.hidden_TD)
        logp = tuple(
            score_tokens(
                self.model.logits(hidden_TD[: len(text.ids)]),
                torch.tensor(text.ids, device=hidden_TD.device),
                temperature=text.spec.temperature,
                top_p=text.spec.top_p,
            )
            for hidden_TD, text in zip(rows, texts, strict=True)
        )
        return _Written(logp, read.context)

    def _read_pictures(self, said: Contexts, column: Column) -> Contexts:
        """As latents without noise, then as patches to be understood."""
        latents: list[Tensor] = []
        pictures = []
        for part in column:
            if isinstance(part, SampledImage):
                latents.append(part.final_X)
                pictures.append(part.image)
            else:
                assert isinstance(part, InputImage)
                assert part.encoded is not None, "a rollout encodes what it reads"
                latents.append(part.encoded)
                pictures.append(self.umm.resized(part.image))
        grids = [self.umm.grid_of(*picture.size) for picture in pictures]
        x_LC = torch.cat(latents).to(self.umm.loaded.device)
        return self.umm.read_images(with_latents(self.model, said, x_LC, grids), list(pictures))

    def _kept(self, said: Contexts) -> Contexts:
        return alike(said.full) if self.plain else said


class UMMPolicy:
    """See `alphatrainers.protocols.Policy`."""

    def __init__(self, umm: UnifiedBagel, *, identity: Mapping[str, str]) -> None:
        self.umm = umm
        self.identity = identity

    @property
    def module(self) -> nn.Module:
        return self.umm.loaded.model

    @property
    def device(self) -> torch.device:
        return self.umm.loaded.device

    @property
    def experts(self) -> Mapping[str, str]:
        return EXPERTS

    @property
    def units(self) -> Sequence[nn.Module]:
        return list(self.umm.loaded.model.language_model.model.layers)

    @torch.no_grad()
    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        steps = [program.steps for program in programs]
        drawings = [step for step in steps[0] if isinstance(step, GenerateImage)]
        reader = _Reader(umm=self.umm, plain=not any(_guided(step) for step in drawings))
        said = reader.begin(len(programs))
        columns: list[Column] = []
        for index in range(len(steps[0])):
            column = self._make(said, programs, index)
            columns.append(column)
            if index < len(steps[0]) - 1:
                said = reader.read(said, column)
        rows = zip(programs, zip(*columns, strict=True), strict=True)
        return [Trajectory(program=program, segments=segments) for program, segments in rows]

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        columns = list(zip(*(one.segments for one in trajectories), strict=True))
        guided = [q for q in queries if q.guided and _guided(_drawing(columns[q.segment]))]
        reader = _Reader(umm=self.umm, plain=not guided, recompute=how.recompute)
        last = max([*texts, *(query.segment for query in queries)], default=-1)
        said = reader.begin(len(trajectories))
        for index in range(last + 1):
            column = columns[index]
            wanted = [(n, query) for n, query in enumerate(queries) if query.segment == index]
            if index in texts:
                written = reader.score(said.full, column)
                after = written.after if how.context_gradient else detached(written.after)
                yield TextScored(segment=index, logp=written.logp)
                del written
                said = alike(after) if reader.plain else replace(said, full=after)
                continue
            predict = self._predictor(said, column, how, queries=[q for _, q in wanted])
            for number, query in wanted:
                yield VelocityPredicted(query=number, v_BX=predict(query))
            if index < last:
                with torch.set_grad_enabled(how.context_gradient and torch.is_grad_enabled()):
                    said = reader.read(said, column)

    def _make(self, said: Contexts, programs: Sequence[Program], index: int) -> Column:
        column: list[ProgramStep] = [program.steps[index] for program in programs]
        generators = [generator(program, index) for program in programs]
        first = column[0]
        if isinstance(first, GenerateText):
            return self._write(said, first, generators)
        if isinstance(first, GenerateImage):
            return self._draw(said, first, generators)
        return [
            self._encoded(step, each) if isinstance(step, InputImage) else step
            for step, each in zip(column, generators, strict=True)
            if isinstance(step, InputImage | InputText)
        ]

    def _encoded(self, step: InputImage, noise: torch.Generator) -> InputImage:
        """The picture with its latent tokens: a sample of the encoder's, as in its training."""
        picture = self.umm.resized(step.image)
        config = self.umm.loaded.model.config.autoencoder
        cells = [side // config.downsample for side in reversed(picture.size)]
        drawn_1Zyx = torch.randn((1, config.z_channels, *cells), generator=noise)
        return replace(step, encoded=self.umm.encoded(picture, drawn_1Zyx).float().cpu())

    def _write(
        self, said: Contexts, spec: GenerateText, generators: Sequence[torch.Generator]
    ) -> list[SampledText]:
        tokens = self.umm.loaded.tokens
        ids: list[list[int]] = [[] for _ in generators]
        logps: list[list[float]] = [[] for _ in generators]

        def choose(logits_BV: Tensor, rows: Sequence[int]) -> list[int]:
            own = [generators[row] for row in rows]
            drawn = sample_tokens(logits_BV, own, temperature=spec.temperature, top_p=spec.top_p)
            chosen = [int(one) for one in drawn.ids_B.tolist()]
            for row, one, logp in zip(rows, chosen, drawn.logp_B.tolist(), strict=True):
                ids[row].append(one)
                logps[row].append(logp)
            return chosen

        generate_text(
            self.umm.loaded.model,
            said.full,
            start=tokens.start,
            end=tokens.end,
            max_tokens=spec.max_tokens,
            choose=choose,
        )
        return [
            SampledText(
                spec=spec,
                ids=tuple(row),
                logp_T=torch.tensor(logp, dtype=torch.float32),
                finished=row[-1] == tokens.end,
                text=tokens.answer([tokens.start, *row]),
            )
            for row, logp in zip(ids, logps, strict=True)
        ]

    def _draw(
        self, said: Contexts, spec: GenerateImage, generators: Sequence[torch.Generator]
    ) -> list[SampledImage]:
        grids = [self._grid(spec)] * len(generators)
        guided = self._painter(said, spec, grids)
        shape = (grids[0].rows * grids[0].columns, self.umm.loaded.model.config.latent_features)
        drawn = sample_latents(_velocity(guided), spec, generators, shape, device=self.device)
        pictures = self.umm.decoded(drawn.final_BX.flatten(0, 1).to(self.device), grids)
        made = []
        for row, picture in enumerate(pictures):
            if isinstance(picture, NotGenerated):
                raise TrainingStoppedError(
                    f"the policy drew no picture: {picture.reason}",
                    hint="lower the learning rate or eta, and go back to an earlier checkpoint",
                )
            made.append(
                SampledImage(
                    spec=spec,
                    path_NX=drawn.path_BNX[row],
                    velocity_SX=drawn.velocity_BSX[row],
                    logp_S=drawn.logp_BS[row],
                    final_X=drawn.final_BX[row],
                    image=picture,
                )
            )
        return made

    def _grid(self, spec: GenerateImage) -> Grid:
        config = self.umm.loaded.model.config
        side = config.token_pixels
        most = config.latent_side * side
        obstacle = size_obstacle(spec.width, spec.height, side=side, max_side=most)
        if obstacle is not None:
            raise AlphaBenchError(obstacle, hint="set another task.draw.width and height")
        return self.umm.grid_of(spec.width, spec.height)

    def _painter(
        self, said: Contexts, spec: GenerateImage, grids: Sequence[Grid]
    ) -> GuidedVelocity:
        return GuidedVelocity(self.umm.loaded.model, said, list(grids), _guidance(spec))

    def _predictor(
        self, said: Contexts, column: Column, how: ReplaySpec, *, queries: Sequence[VelocityQuery]
    ) -> Callable[[VelocityQuery], Tensor]:
        """Answers queries about one column of pictures; prepares what they share once."""
        if not queries:
            return _nothing
        spec = _drawing(column)
        grids = [self._grid(spec)] * len(column)
        model = self.umm.loaded.model
        with torch.set_grad_enabled(how.context_gradient and torch.is_grad_enabled()):
            any_guided = any(query.guided for query in queries)
            guided = self._painter(said, spec, grids) if any_guided else None
            canvas = model.canvas(said.full, grids)

        def predict(query: VelocityQuery) -> Tensor:
            if query.guided:
                assert guided is not None
                step = _velocity(guided, recompute=how.recompute)
                return step(query.x_BX, float(query.sigma_B[0]))
            v_LC = model.velocity(
                said.full,
                canvas,
                query.x_BX.flatten(0, 1),
                query.sigma_B,
                recompute=how.recompute,
            )
            return v_LC.view_as(query.x_BX)

        return predict


def alike(context: Context) -> Contexts:
    """The same context for all branches: what is plain needs no other."""
    return Contexts(full=context, text_free=context, image_free=context)


def detached(context: Context) -> Context:
    """The context as a constant."""
    return replace(
        context,
        keys=tuple(key.detach() for key in context.keys),
        values=tuple(value.detach() for value in context.values),
    )


def _velocity(
    guided: GuidedVelocity, *, recompute: bool = False
) -> Callable[[Tensor, float], Tensor]:
    def predict(x_BX: Tensor, sigma: float) -> Tensor:
        # A replay gets its levels as float32: guidance must begin and end at the same ones.
        level = float(torch.tensor(sigma, dtype=torch.float32))
        return guided.velocity(x_BX.flatten(0, 1), level, recompute=recompute).view_as(x_BX)

    return predict


def _guidance(spec: GenerateImage) -> Guidance:
    if spec.guidance is None:
        return PLAIN
    assert isinstance(spec.guidance, Guidance)
    return spec.guidance


def _guided(spec: GenerateImage) -> bool:
    guidance = _guidance(spec)
    return guidance.branches(guidance.high) > 1


def _drawing(column: Column) -> GenerateImage:
    first = column[0]
    assert isinstance(first, SampledImage)
    return first.spec


def _nothing(query: VelocityQuery) -> Tensor:
    raise AssertionError(f"nothing was asked of this segment: {query!r}")
