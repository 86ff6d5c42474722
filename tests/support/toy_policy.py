"""A policy of a few hundred weights that generates tokens and 2 x 2 images, and its rewards.

It counts its forward passes, and can replay with the wrong noise levels on purpose. One recurrent
cell reads, one small network predicts velocities; the context is one vector a trajectory.

Shapes: B trajectories, D width, V vocabulary, X = (2, 2) a latent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from alphabench.core.errors import JudgeUnavailableError
from alphatrainers.algorithms.schedules import sigmas_of_steps
from alphatrainers.protocols import (
    JsonValue,
    ReplayAnswer,
    ReplaySpec,
    Score,
    ScoredTrajectory,
    StepInfo,
    TextScored,
    TrajectoryCollector,
    ValidationPoint,
    VelocityPredicted,
    VelocityQuery,
)
from alphatrainers.sampling import generator, sample_latents, sample_next_tokens, score_tokens
from alphatrainers.trajectory import (
    GenerateImage,
    GenerateImageTokens,
    GenerateText,
    InputImage,
    InputText,
    Program,
    ProgramStep,
    SampledImage,
    SampledImageTokens,
    SampledText,
    Segment,
    TrainingPrompt,
    Trajectory,
)

VOCABULARY, WIDTH, END = 8, 6, 0
LONGEST = 3
"""Tokens of a prompt in trainings of several processes."""
TEXT = GenerateText(max_tokens=4)
IMAGE = GenerateImage(width=4, height=4, sigmas=sigmas_of_steps(5, shift=3.0), window=range(1, 4))
TOKEN_IMAGE = GenerateImageTokens(width=4, height=4, temperature=0.9)
N_CODES = 3
"""Tokens of an image."""
PLAIN_IMAGE = GenerateImage(width=4, height=4, sigmas=sigmas_of_steps(5, shift=3.0))


class Cell(nn.Module):
    """Reads one token."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, read_BD: Tensor, token_BD: Tensor) -> Tensor:
        return torch.tanh(self.mix(torch.cat([read_BD, token_BD], 1)))


class ToyVelocity(nn.Module):
    """Predicts a velocity."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(4 + 1 + WIDTH, 12)
        self.leave = nn.Linear(12, 4)

    def forward(self, x_BX: Tensor, sigma_B: Tensor, read_BD: Tensor) -> Tensor:
        inside = torch.cat([x_BX.flatten(1), sigma_B[:, None], read_BD], 1)
        return torch.as_tensor(self.leave(torch.tanh(self.enter(inside))).reshape(-1, 2, 2).clone())


class ToyModel(nn.Module):
    """All weights."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.cell = Cell()
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.painter = ToyVelocity()


class ToyPolicy:
    """Implements `alphatrainers.protocols.Policy`."""

    def __init__(
        self,
        *,
        dtype: torch.dtype = torch.float32,
        wrong_sigmas: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self._device = device or torch.device("cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self._model = ToyModel().to(self._device, dtype)
        self._dtype, self._wrong = dtype, wrong_sigmas
        self.counts: Counter[str] = Counter()
        """Calls of cell and velocity network in rollout and replay; one for each batch."""
        self._doing = "rollout"

    @property
    def identity(self) -> Mapping[str, str]:
        return {"model": "toy"}

    @property
    def module(self) -> nn.Module:
        return self._model

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def experts(self) -> Mapping[str, str]:
        return {"und": r"cell\.mix|head", "gen": r"painter\..*"}

    @property
    def units(self) -> Sequence[nn.Module]:
        return [self._model.cell, self._model.head, self._model.painter]

    def compute_in(self, dtype: torch.dtype) -> None:
        """See `alphatrainers.protocols.HalfPrecision`."""
        self._model.tokens.to(dtype)
        self._dtype = dtype

    @torch.no_grad()
    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        self._doing = "rollout"
        read_BD = self._nothing(len(programs))
        columns: list[Sequence[Segment]] = []
        for index, step in enumerate(programs[0].steps):
            generators = [generator(program, index) for program in programs]
            if isinstance(step, GenerateText):
                texts, read_BD = self._write(step, generators, read_BD)
                columns.append(texts)
            elif isinstance(step, GenerateImage):
                columns.append(self._generate_image(step, generators, read_BD))
            elif isinstance(step, GenerateImageTokens):
                columns.append(self._sample_codes(step, generators, read_BD))
            else:
                inputs = [program.steps[index] for program in programs]
                read_BD = self._read(inputs, read_BD)
                columns.append(inputs)  # type: ignore[arg-type]
        return [
            Trajectory(
                program=program,
                segments=tuple(segments_at_step[row] for segments_at_step in columns),
            )
            for row, program in enumerate(programs)
        ]

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        self._doing = "replay"
        read_BD = self._nothing(len(trajectories))
        for index, segment in enumerate(trajectories[0].segments):
            if isinstance(segment, SampledText):
                parts = [_text(trajectory.segments[index]) for trajectory in trajectories]
                logp, after_BD = self._score(parts, read_BD)
                if index in texts:
                    yield TextScored(segment=index, logp=logp)
                read_BD = after_BD if how.context_gradient else after_BD.detach()
            elif isinstance(segment, SampledImageTokens):
                if index in texts:
                    yield TextScored(
                        segment=index, logp=self._score_codes(trajectories, index, read_BD)
                    )
            elif isinstance(segment, SampledImage):
                for number, query in enumerate(queries):
                    if query.segment == index:
                        sigma_B = query.sigma_B * (0.9 if self._wrong else 1.0)
                        v_BX = self._velocity(query.x_BX, sigma_B, read_BD)
                        yield VelocityPredicted(query=number, v_BX=v_BX)
            else:
                with torch.set_grad_enabled(how.context_gradient and torch.is_grad_enabled()):
                    inputs = [trajectory.segments[index] for trajectory in trajectories]
                    read_BD = self._read(inputs, read_BD)

    def _nothing(self, rows: int) -> Tensor:
        return torch.zeros(rows, WIDTH, dtype=self._dtype, device=self._device)

    def _step(self, read_BD: Tensor, ids: Sequence[int]) -> Tensor:
        self.counts[f"{self._doing} cell"] += 1
        token_BD = self._model.tokens(torch.tensor(ids, device=self._device))
        return torch.as_tensor(self._model.cell(read_BD, token_BD))

    def _column(self, values: Sequence[bool]) -> Tensor:
        return torch.tensor(values, device=self._device)[:, None]

    def _read(self, inputs: Sequence[ProgramStep | Segment], read_BD: Tensor) -> Tensor:
        rows = [_tokens(part) for part in inputs]
        # As many steps for each prompt of a training: processes gather a unit's weights together.
        for position in range(max(LONGEST, *map(len, rows))):
            going = [row[position] if position < len(row) else END for row in rows]
            mask_B1 = self._column([position < len(row) for row in rows])
            read_BD = torch.where(mask_B1, self._step(read_BD, going), read_BD)
        return read_BD

    def _write(
        self, spec: GenerateText, generators: Sequence[torch.Generator], read_BD: Tensor
    ) -> tuple[list[SampledText], Tensor]:
        rows: list[list[int]] = [[] for _ in generators]
        logps: list[list[Tensor]] = [[] for _ in generators]
        for _ in range(spec.max_tokens):
            sampled = sample_next_tokens(
                self._model.head(read_BD),
                generators,
                temperature=spec.temperature,
                top_p=spec.top_p,
            )
            writing = [not row or row[-1] != END for row in rows]
            for position, goes_on in enumerate(writing):
                if goes_on:
                    rows[position].append(int(sampled.ids_B[position]))
                    logps[position].append(sampled.logp_B[position])
            next_BD = self._step(read_BD, sampled.ids_B.tolist())
            read_BD = torch.where(self._column(writing), next_BD, read_BD)
        texts = [
            SampledText(
                spec=spec,
                ids=tuple(row),
                logp_T=torch.stack(logp).float().cpu(),
                finished=row[-1] == END,
                text=" ".join(map(str, row)),
            )
            for row, logp in zip(rows, logps, strict=True)
        ]
        return texts, read_BD

    def _score(
        self, texts: Sequence[SampledText], read_BD: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        spec = texts[0].spec
        columns: list[Tensor] = []
        for position in range(spec.max_tokens):
            ids = [text.ids[position] if position < len(text.ids) else END for text in texts]
            logits_BV = self._model.head(read_BD)
            columns.append(
                score_tokens(
                    logits_BV,
                    torch.tensor(ids, device=self._device),
                    temperature=spec.temperature,
                    top_p=spec.top_p,
                )
            )
            mask_B1 = self._column([position < len(text.ids) for text in texts])
            read_BD = torch.where(mask_B1, self._step(read_BD, ids), read_BD)
        logp_BT = torch.stack(columns, 1)
        return tuple(logp_BT[row, : len(t.ids)] for row, t in enumerate(texts)), read_BD

    def _sample_codes(
        self, spec: GenerateImageTokens, generators: Sequence[torch.Generator], read_BD: Tensor
    ) -> list[SampledImageTokens]:
        ids, logps = [], []
        for _ in range(N_CODES):
            sampled = sample_next_tokens(
                self._model.head(read_BD), generators, temperature=spec.temperature, top_p=1.0
            )
            ids.append(sampled.ids_B)
            logps.append(sampled.logp_B)
            read_BD = self._step(read_BD, sampled.ids_B.tolist())
        logp_BT = torch.stack(logps, 1).float().cpu()
        return [
            SampledImageTokens(
                spec=spec,
                ids=tuple(row),
                logp_T=logp_BT[number],
                image=Image.new("RGB", (4, 4), (30 * row[0], 30 * row[1], 30 * row[2])),
            )
            for number, row in enumerate(torch.stack(ids, 1).tolist())
        ]

    def _score_codes(
        self, trajectories: Sequence[Trajectory], index: int, read_BD: Tensor
    ) -> tuple[Tensor, ...]:
        parts = [one.segments[index] for one in trajectories]
        rows = [part.ids for part in parts if isinstance(part, SampledImageTokens)]
        assert isinstance(parts[0], SampledImageTokens)
        columns = []
        for position in range(N_CODES):
            ids = [row[position] for row in rows]
            ids_B = torch.tensor(ids, device=self._device)
            logits_BV, temperature = self._model.head(read_BD), parts[0].spec.temperature
            columns.append(score_tokens(logits_BV, ids_B, temperature=temperature, top_p=1.0))
            read_BD = self._step(read_BD, ids)
        return tuple(torch.stack(columns, 1))

    def _velocity(self, x_BX: Tensor, sigma_B: Tensor, read_BD: Tensor) -> Tensor:
        self.counts[f"{self._doing} painter"] += 1
        x_BX, sigma_B = x_BX.to(self._dtype), sigma_B.to(self._dtype)
        return torch.as_tensor(self._model.painter(x_BX, sigma_B, read_BD))

    def _generate_image(
        self, spec: GenerateImage, generators: Sequence[torch.Generator], read_BD: Tensor
    ) -> list[SampledImage]:
        rows = len(generators)

        def velocity(x_BX: Tensor, sigma: float) -> Tensor:
            return self._velocity(x_BX, torch.full((rows,), sigma, device=self._device), read_BD)

        made = sample_latents(velocity, spec, generators, (2, 2), device=self.device)
        return [
            SampledImage(
                spec=spec,
                path_NX=made.path_BNX[row],
                velocity_SX=made.velocity_BSX[row],
                logp_S=made.logp_BS[row],
                final_X=made.final_BX[row],
                image=grey_image(made.final_BX[row]),
            )
            for row in range(rows)
        ]


def grey_image(latent_X: Tensor) -> Image.Image:
    """Grey levels."""
    grey = (torch.sigmoid(latent_X.float()) * 255).round().to(torch.uint8)
    image = Image.new("L", (2, 2))
    image.putdata(grey.flatten().tolist())
    return image.resize((4, 4), Image.Resampling.NEAREST).convert("RGB")


def _text(segment: Segment) -> SampledText:
    assert isinstance(segment, SampledText)
    return segment


def _tokens(part: ProgramStep | Segment) -> list[int]:
    if isinstance(part, InputText):
        return [1 + ord(letter) % (VOCABULARY - 1) for letter in part.text]
    assert isinstance(part, InputImage)
    return [1 + part.image.convert("L").tobytes()[0] % (VOCABULARY - 1)]


@dataclass
class Brightness:
    """Mean of the last latent, or a constant; unavailable for the first `away` calls."""

    constant: float | None = None
    away: int = 0
    unscored: frozenset[int] = frozenset()
    """Members of each group that cannot be scored."""
    calls: int = 0

    @property
    def identity(self) -> Mapping[str, str]:
        return {"reward": "brightness"}

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        self.calls += 1
        if self.calls <= self.away:
            raise JudgeUnavailableError("no judge answers")
        return [self._one(trajectory) for trajectory in trajectories]

    def _one(self, trajectory: Trajectory) -> Score:
        if int(trajectory.program.id.rpartition("/")[2]) in self.unscored:
            return Score(value=None, reason="the image could not be read")
        value = float(trajectory.images[-1].final_X.mean())
        return Score(value=value if self.constant is None else self.constant)


@dataclass
class Threes:
    """How often the third token was written."""

    @property
    def identity(self) -> Mapping[str, str]:
        return {"reward": "threes"}

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        return [Score(value=float(t.texts[0].ids.count(3))) for t in trajectories]


@dataclass
class Fives:
    """How often the fifth token is in an image."""

    @property
    def identity(self) -> Mapping[str, str]:
        return {"reward": "fives"}

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        return [Score(value=float(t.token_images[0].ids.count(5))) for t in trajectories]


@dataclass
class ToyTask:
    """Reads the prompt, then does `steps`; its queue holds the prompts of the last step."""

    steps: tuple[ProgramStep, ...] = (TEXT, IMAGE)
    seen: list[str] = field(default_factory=list)
    splits_groups: bool = True

    def programs(self, prompts: Sequence[TrainingPrompt], step_info: StepInfo) -> list[Program]:
        return [
            program_of(prompt, member, step_info, self.steps)
            for prompt in prompts
            for member in step_info.members_of(prompt)
        ]

    def collect(
        self, prompts: Sequence[TrainingPrompt], collector: TrajectoryCollector, step_info: StepInfo
    ) -> list[ScoredTrajectory]:
        self.seen = [prompt.id for prompt in prompts]
        return collector.collect(self.programs(prompts, step_info))

    def state(self) -> JsonValue:
        return list(self.seen)

    def restore(self, state: JsonValue) -> None:
        assert isinstance(state, list)
        self.seen = [str(name) for name in state]


def program_of(
    prompt: TrainingPrompt, member: int, step_info: StepInfo, steps: tuple[ProgramStep, ...]
) -> Program:
    seed = sum(ord(letter) * 31**position for position, letter in enumerate(prompt.id))
    return Program(
        id=f"{step_info.step}/{prompt.id}/{member}",
        group=f"{step_info.step}/{prompt.id}",
        prompt=prompt,
        steps=(InputText(text=prompt.text), *steps),
        seed=seed * 1_000_003 + step_info.step * 1009 + member,
    )


PROMPTS = [
    TrainingPrompt(id=f"p{n}", text=text)
    for n, text in enumerate(["ab", "cad", "dog", "eel", "fi"])
]


@dataclass
class Scripted:
    """A validation with scripted points."""

    points: Sequence[ValidationPoint | None]
    name: str = "held out"
    prompts: Sequence[str] = ("zebra",)
    measured: list[tuple[int, str]] = field(default_factory=list)

    def measure(self, *, step: int, view: Any) -> ValidationPoint | None:
        self.measured.append((step, view))
        return self.points[min(len(self.measured), len(self.points)) - 1]


def point(*values: float) -> ValidationPoint:
    """A validation point of one sample a value."""
    mean = sum(values) / len(values)
    items = {str(number): value for number, value in enumerate(values)}
    return ValidationPoint(value=mean, low=mean - 0.1, high=mean + 0.1, items=items)
