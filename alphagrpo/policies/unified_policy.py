"""A BAGEL-type model as a policy: reads, writes text and generates images within a trajectory.

Rollout and replay read a trajectory by the same code, so that what is scored is what was sampled:
the ids as sampled, the latents as stored, the same guidance. A thought that was cut off is closed
in the context of what follows, as the harness does. The closing mark was not sampled and is never
scored. Knows no task, reward or optimizer.

Shapes: B rows; L latent tokens of one image; C features of a token; T tokens of a text; V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphabench.models.bagel.bagel_inference import UnifiedBagel, size_obstacle
from alphabench.models.bagel.config import HEADS
from alphabench.models.bagel.decoder import GENERATION
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.kv_cache import Context, stack
from alphabench.models.bagel.model import Bagel, Grid
from alphabench.models.bagel.packed_sequences import ragged
from alphabench.models.bagel.sampler import (
    Contexts,
    GuidedVelocity,
    new_contexts,
    repeated,
    with_latents,
    with_text,
    with_thought,
)
from alphabench.models.bagel.text_decoding import ChosenTokens, generate_text
from alphabench.types import NotGenerated
from alphatrainers.protocols import (
    ReplayAnswer,
    ReplaySpec,
    TextScored,
    VelocityPredicted,
    VelocityQuery,
)
from alphatrainers.sampling import (
    HiddenText,
    generator,
    sample_latents,
    sample_next_tokens,
    score_hidden_texts,
)
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
StepSegments = Sequence[Segment]
"""The segment of one step, of each trajectory in a batch."""


class _ScoredTexts(NamedTuple):
    """The sampled texts of one step, scored, and the context after them."""

    logp: tuple[Tensor, ...]
    after: Context


@dataclass(frozen=True, slots=True, kw_only=True)
class _ContextReader:
    """Reads segments into contexts, one step of all trajectories at a time."""

    umm: UnifiedBagel
    plain: bool
    """No branch for guidance is wanted."""
    recompute: bool = False

    @property
    def model(self) -> Bagel:
        return self.umm.loaded.model

    def begin(self, rows: int) -> Contexts:
        return new_contexts(self.model, rows)

    def after_texts(self, rows: Sequence[Sequence[ProgramStep | Segment]], texts: int) -> Contexts:
        """The contexts after the first `texts` segments of each row, which are input texts.

        Texts that several rows share, as those of a group do, are read once for all of them; not
        for gradients, whose sums would be rounded otherwise than in recorded trainings.
        """
        first: dict[Sequence[object], int] = {}
        if torch.is_grad_enabled():
            distinct, of_row = list(rows), list(range(len(rows)))
        else:
            of_row = [first.setdefault(tuple(row[:texts]), len(first)) for row in rows]
            distinct = [rows[of_row.index(number)] for number in range(len(first))]
        contexts = self.begin(len(distinct))
        for index in range(texts):
            parts = [row[index] for row in distinct]
            contexts = self.read(contexts, [part for part in parts if isinstance(part, InputText)])
        return contexts if len(distinct) == len(rows) else repeated(contexts, of_row)

    def read(self, contexts: Contexts, segments_at_step: StepSegments) -> Contexts:
        """The contexts with one more segment in every row."""
        first = segments_at_step[0]
        if isinstance(first, InputText):
            block = self.umm.loaded.tokens.block
            ids = [block(part.text) for part in segments_at_step if isinstance(part, InputText)]
            return self._needed(with_text(self.model, contexts, ids))
        if isinstance(first, SampledText):
            return self._needed(with_thought(self.model, contexts, self.framed(segments_at_step)))
        return self._needed(self._read_images(contexts, segments_at_step))

    def framed(self, segments_at_step: StepSegments) -> list[list[int]]:
        """The ids of sampled texts between the marks that frame a text."""
        tokens = self.umm.loaded.tokens
        return [
            [tokens.start, *part.ids, *([] if part.finished else [tokens.end])]
            for part in segments_at_step
            if isinstance(part, SampledText)
        ]

    def score(self, context: Context, segments_at_step: StepSegments) -> _ScoredTexts:
        """Log-probabilities of sampled ids, from the one pass that also reads them."""
        texts = [part for part in segments_at_step if isinstance(part, SampledText)]
        framed = self.framed(segments_at_step)
        read = self.model.read_text(context, framed, recompute=self.recompute)
        rows = ragged([len(ids) for ids in framed], read.hidden_TD.device).split(read.hidden_TD)
        sampled = [
            HiddenText(
                hidden_TD[: len(text.ids)],
                torch.tensor(text.ids).to(hidden_TD.device, non_blocking=True),
                temperature=text.spec.temperature,
                top_p=text.spec.top_p,
            )
            for hidden_TD, text in zip(rows, texts, strict=True)
        ]
        return _ScoredTexts(score_hidden_texts(sampled, self.model.logits), read.context)

    def _read_images(self, contexts: Contexts, segments_at_step: StepSegments) -> Contexts:
        """As latents without noise, then as patches to be understood."""
        latents: list[Tensor] = []
        images = []
        for part in segments_at_step:
            if isinstance(part, SampledImage):
                latents.append(part.final_X)
                images.append(part.image)
            else:
                assert isinstance(part, InputImage)
                assert part.encoded is not None, "a rollout encodes what it reads"
                latents.append(part.encoded)
                images.append(self.umm.resized(part.image))
        grids = [self.umm.grid_of(*image.size) for image in images]
        x_LC = torch.cat(latents).to(self.umm.loaded.device, non_blocking=True)
        return self.umm.read_images(with_latents(self.model, contexts, x_LC, grids), list(images))

    def _needed(self, contexts: Contexts) -> Contexts:
        return alike(contexts.full) if self.plain else contexts


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
        decoder = self.umm.loaded.model.language_model.model
        parts = ("self_attn", "mlp", f"mlp{GENERATION}")
        return [*(getattr(layer, part) for layer in decoder.layers for part in parts), decoder]

    def compute_in(self, dtype: torch.dtype) -> None:
        """See `alphatrainers.protocols.HalfPrecision`."""
        model = self.umm.loaded.model
        kept = [*self.units[:-1], *(model.get_submodule(name) for name in HEADS)]
        within = {id(one) for part in kept for one in part.parameters()}
        for tensor in chain(model.parameters(), model.buffers()):
            if tensor.is_floating_point() and id(tensor) not in within:
                tensor.data = tensor.data.to(dtype)

    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        return self.rollout_in_slices(programs, images_together=len(programs))

    @torch.no_grad()
    def rollout_in_slices(
        self, programs: Sequence[Program], *, images_together: int
    ) -> list[Trajectory]:
        """See `alphatrainers.protocols.TextsTogether`."""
        steps = programs[0].steps
        slices = [
            programs[start : start + images_together]
            for start in range(0, len(programs), images_together)
        ]
        image_specs = [step for step in steps if isinstance(step, GenerateImage)]
        reader = _ContextReader(umm=self.umm, plain=not any(_guided(step) for step in image_specs))
        n_read = _leading_texts(steps)
        contexts = [reader.after_texts([p.steps for p in part], n_read) for part in slices]
        all_segments: list[StepSegments] = [
            [step for step in (p.steps[index] for p in programs) if isinstance(step, InputText)]
            for index in range(n_read)
        ]
        for index, step in enumerate(steps[n_read:], start=n_read):
            if isinstance(step, GenerateText):
                segments = self._write_together(contexts, slices, index, step)
            else:
                pairs = zip(contexts, slices, strict=True)
                segments = [self._advance(one, part, index) for one, part in pairs]
            all_segments.append([segment for part in segments for segment in part])
            if index < len(steps) - 1:
                pairs_read = zip(contexts, segments, strict=True)
                contexts = [reader.read(one, part) for one, part in pairs_read]
        rows = zip(programs, zip(*all_segments, strict=True), strict=True)
        return [Trajectory(program=program, segments=segments) for program, segments in rows]

    def _write_together(
        self,
        contexts: Sequence[Contexts],
        slices: Sequence[Sequence[Program]],
        index: int,
        spec: GenerateText,
    ) -> list[StepSegments]:
        """Samples the texts of all slices in one batch."""
        together = contexts[0]
        if len(contexts) > 1:
            together = alike(stack([one.full for one in contexts]))
        generators = [generator(program, index) for part in slices for program in part]
        texts = iter(self._sample_texts(together, spec, generators))
        return [[next(texts) for _ in part] for part in slices]

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        all_segments = list(zip(*(one.segments for one in trajectories), strict=True))
        guided = [q for q in queries if q.guided and _guided(_image_spec(all_segments[q.segment]))]
        reader = _ContextReader(umm=self.umm, plain=not guided, recompute=how.recompute)
        last = max([*texts, *(query.segment for query in queries)], default=-1)
        n_read = min(_leading_texts(trajectories[0].segments), last + 1)
        with torch.set_grad_enabled(how.context_gradient and torch.is_grad_enabled()):
            contexts = reader.after_texts([one.segments for one in trajectories], n_read)
        for index in range(n_read, last + 1):
            segments_at_step = all_segments[index]
            wanted = [(n, query) for n, query in enumerate(queries) if query.segment == index]
            if index in texts:
                scored = reader.score(contexts.full, segments_at_step)
                after = scored.after if how.context_gradient else detached(scored.after)
                yield TextScored(segment=index, logp=scored.logp)
                del scored
                contexts = alike(after) if reader.plain else replace(contexts, full=after)
                continue
            predict = self._predictor(
                contexts, segments_at_step, how, queries=[q for _, q in wanted]
            )
            for number, query in wanted:
                yield VelocityPredicted(query=number, v_BX=predict(query))
            if index < last:
                with torch.set_grad_enabled(how.context_gradient and torch.is_grad_enabled()):
                    contexts = reader.read(contexts, segments_at_step)

    def _advance(self, contexts: Contexts, programs: Sequence[Program], index: int) -> StepSegments:
        segments_at_step: list[ProgramStep] = [program.steps[index] for program in programs]
        generators = [generator(program, index) for program in programs]
        first = segments_at_step[0]
        if isinstance(first, GenerateImage):
            return self._generate_images(contexts, first, generators)
        return [
            self._encoded(step, each) if isinstance(step, InputImage) else step
            for step, each in zip(segments_at_step, generators, strict=True)
            if isinstance(step, InputImage | InputText)
        ]

    def _encoded(self, step: InputImage, noise: torch.Generator) -> InputImage:
        """The image with its latent tokens: a sample of the encoder's, as in its training."""
        image = self.umm.resized(step.image)
        config = self.umm.loaded.model.config.autoencoder
        cells = [side // config.downsample for side in reversed(image.size)]
        noise_1Zyx = torch.randn((1, config.z_channels, *cells), generator=noise)
        return replace(step, encoded=self.umm.encoded(image, noise_1Zyx).float().cpu())

    def _sample_texts(
        self, contexts: Contexts, spec: GenerateText, generators: Sequence[torch.Generator]
    ) -> list[SampledText]:
        tokens = self.umm.loaded.tokens
        row_of_token: list[int] = []
        ids_T: list[int] = []
        step_logps: list[Tensor] = []

        def choose(logits_BV: Tensor, rows: Sequence[int]) -> ChosenTokens:
            own = [generators[row] for row in rows]
            sampled = sample_next_tokens(
                logits_BV, own, temperature=spec.temperature, top_p=spec.top_p
            )
            row_of_token.extend(rows)
            ids_T.extend(sampled.ids)
            step_logps.append(sampled.logp_B)
            return ChosenTokens(sampled.ids_B, sampled.ids)

        generate_text(
            self.umm.loaded.model,
            contexts.full,
            start=tokens.start,
            end=tokens.end,
            max_tokens=spec.max_tokens,
            choose=choose,
        )
        # On the host only now: one transfer for all tokens, not one for each.
        logp_T = torch.cat(step_logps).float().cpu()
        sampled_texts = []
        for row in range(len(generators)):
            own_T = [index for index, one in enumerate(row_of_token) if one == row]
            ids = tuple(ids_T[index] for index in own_T)
            sampled_texts.append(
                SampledText(
                    spec=spec,
                    ids=ids,
                    logp_T=logp_T[own_T],
                    finished=ids[-1] == tokens.end,
                    text=tokens.answer([tokens.start, *ids]),
                )
            )
        return sampled_texts

    def _generate_images(
        self, contexts: Contexts, spec: GenerateImage, generators: Sequence[torch.Generator]
    ) -> list[SampledImage]:
        grids = [self._grid(spec)] * len(generators)
        guided = self._guided_velocity(contexts, spec, grids)
        shape = (
            grids[0].rows * grids[0].columns,
            self.umm.loaded.model.config.latent_features,
        )
        sampled = sample_latents(_velocity(guided), spec, generators, shape, device=self.device)
        final_LC = sampled.final_BX.flatten(0, 1).to(self.device, non_blocking=True)
        images = self.umm.decoded(final_LC, grids)
        made = []
        for row, image in enumerate(images):
            if isinstance(image, NotGenerated):
                raise TrainingStoppedError(
                    f"the policy generated no image: {image.reason}",
                    hint="lower the learning rate or eta, and go back to an earlier checkpoint",
                )
            made.append(
                SampledImage(
                    spec=spec,
                    path_NX=sampled.path_BNX[row],
                    velocity_SX=sampled.velocity_BSX[row],
                    logp_S=sampled.logp_BS[row],
                    final_X=sampled.final_BX[row],
                    image=image,
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

    def _guided_velocity(
        self, contexts: Contexts, spec: GenerateImage, grids: Sequence[Grid]
    ) -> GuidedVelocity:
        return GuidedVelocity(self.umm.loaded.model, contexts, list(grids), _guidance(spec))

    def _predictor(
        self,
        contexts: Contexts,
        segments_at_step: StepSegments,
        how: ReplaySpec,
        *,
        queries: Sequence[VelocityQuery],
    ) -> Callable[[VelocityQuery], Tensor]:
        """Answers queries about the images of one step; prepares once what they share."""
        if not queries:
            return _nothing
        spec = _image_spec(segments_at_step)
        grids = [self._grid(spec)] * len(segments_at_step)
        model = self.umm.loaded.model
        with torch.set_grad_enabled(how.context_gradient and torch.is_grad_enabled()):
            any_guided = any(query.guided for query in queries)
            guided = self._guided_velocity(contexts, spec, grids) if any_guided else None
            canvas = model.canvas(contexts.full, grids)

        def predict(query: VelocityQuery) -> Tensor:
            if query.guided:
                assert guided is not None
                step = _velocity(guided, recompute=how.recompute)
                return step(query.x_BX, _level(query))
            v_LC = model.velocity(
                contexts.full,
                canvas,
                query.x_BX.flatten(0, 1),
                query.sigma_B,
                recompute=how.recompute,
            )
            return v_LC.view_as(query.x_BX)

        return predict


def _leading_texts(steps: Sequence[ProgramStep | Segment]) -> int:
    """How many input texts come before anything else."""
    kinds = [isinstance(step, InputText) for step in steps]
    return kinds.index(False) if False in kinds else len(kinds)


def alike(context: Context) -> Contexts:
    """The same context for all branches, for images without guidance."""
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


def _image_spec(segments_at_step: StepSegments) -> GenerateImage:
    first = segments_at_step[0]
    assert isinstance(first, SampledImage)
    return first.spec


def _level(query: VelocityQuery) -> float:
    """The one noise level of a guided query."""
    return float(query.sigma_B[0]) if query.sigma is None else query.sigma


def _nothing(query: VelocityQuery) -> Tensor:
    raise AssertionError(f"no query was planned for this segment: {query!r}")
