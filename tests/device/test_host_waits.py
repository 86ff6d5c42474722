"""How often the host may wait for its device; `tools/perf/host_syncs.py` prints where it does."""

from __future__ import annotations

import pytest
import torch

from alphabench.models.unified_model import GenerationTask
from alphatrainers.algorithms.schedules import sigmas_of_steps
from alphatrainers.nucleus import LIKELIEST
from alphatrainers.sampling import (
    HiddenText,
    generator,
    sample_latents,
    sample_next_tokens,
    score_hidden_texts,
)
from alphatrainers.trajectory import GenerateImage, Program, TrainingPrompt
from alphatrainers.weight_sets import full_values
from tests.support.host_traffic import HostTraffic, recorded
from tools.perf.host_syncs import (
    BEFORE,
    counted_waits,
    opened_nano,
    phase_of,
    training_step,
    waits_table,
)

pytestmark = pytest.mark.device

MOST_OF_A_STEP, MOST_OF_AN_UPDATE, MOST_OF_A_CHECKPOINT = 60, 10, 10


@pytest.fixture(scope="module")
def step() -> HostTraffic:
    """A step of nano-awm with 2 prompts and 4 images each, its judge and a checkpoint."""
    return training_step()


def test_a_training_step_waits_sixty_times_at_most(step: HostTraffic) -> None:
    assert 0 < step.waits() <= MOST_OF_A_STEP, step.by_place()


def test_no_upload_of_a_step_outside_transformers_waits(step: HostTraffic) -> None:
    own = step.uploads(lambda event: not event.within_library("transformers"))
    assert own == 0, step.by_place(waits=False)


def test_an_update_waits_ten_times_at_most(step: HostTraffic) -> None:
    def of_update(phase: str) -> bool:
        return phase in ("replay and update", "metrics and losses", "other")

    waits = step.waits(lambda event: of_update(phase_of(event)))
    assert 0 < waits <= MOST_OF_AN_UPDATE, step.by_place()


def test_the_table_shows_each_phase_beside_the_count_before(step: HostTraffic) -> None:
    rows = counted_waits(step, {})
    assert rows["one training step"].waits == step.waits()
    for line in waits_table(rows).splitlines()[2:]:
        name, before, now = line[:30].strip(), *map(int, line[30:].split()[:2])
        assert before == BEFORE[name].waits
        assert now == (rows[name].waits if name in rows else 0)
        assert now <= before


def test_a_checkpoint_waits_ten_times_at_most(step: HostTraffic) -> None:
    waits = step.waits(lambda event: phase_of(event) == "checkpoint")
    assert 0 < waits <= MOST_OF_A_CHECKPOINT, step.by_place()


def test_tensors_that_are_saved_leave_the_device_together_and_keep_each_bit(
    stand_in: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = {
        "float": torch.tensor([[1.5, float("nan")], [-0.0, 1e-42]]),
        "number": torch.tensor(7.25),
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "half": torch.arange(3, dtype=torch.bfloat16),
        "none": torch.empty(0, 4),
    }
    there = {name: value.to(stand_in) for name, value in hosts.items()}
    values = {**there, "of the host": torch.ones(2)}
    for most, waits in ((2**28, 2), (1, len(there))):
        monkeypatch.setattr("alphatrainers.weight_sets._BYTES_AT_ONCE", most)
        with recorded() as traffic:
            found = full_values(values)
        assert traffic.waits() == waits, traffic.by_place()
        assert list(found) == list(values)
        for name, wanted in hosts.items():
            assert found[name].shape == wanted.shape
            assert found[name].dtype == wanted.dtype
            bits = [one.contiguous().flatten().view(torch.uint8) for one in (found[name], wanted)]
            assert torch.equal(*bits)
        memory = {value.untyped_storage().data_ptr() for value in found.values() if value.numel()}
        assert len(memory) == len(found) - 1
    assert found["of the host"] is not values["of the host"]


def test_no_denoising_step_waits_and_a_batch_of_images_waits_once(stand_in: torch.device) -> None:
    tasks = [GenerationTask(prompt="a red dog", seed=seed) for seed in range(2)]
    for timesteps in (2, 4):
        model = opened_nano(str(stand_in), timesteps=timesteps)
        with recorded() as traffic:
            model.generate(tasks)
        assert traffic.waits() == 1, traffic.by_place()
        assert traffic.uploads() == 0, traffic.by_place(waits=False)


@pytest.mark.parametrize("steps", [2, 5])
def test_stored_denoising_steps_leave_the_device_together(
    stand_in: torch.device, steps: int
) -> None:
    spec = GenerateImage(
        width=4, height=4, sigmas=sigmas_of_steps(steps, shift=3.0), window=range(steps - 1)
    )
    program = Program(
        id="p", group="p", prompt=TrainingPrompt(id="p", text="a"), steps=(spec,), seed=1
    )
    with recorded() as traffic:
        sample_latents(
            lambda x_BX, sigma: x_BX * sigma,
            spec,
            [generator(program, 0)],
            (2, 2),
            device=stand_in,
        )
    assert traffic.waits() == 4, traffic.by_place()
    assert traffic.uploads() == 0


def large_logits(device: torch.device, *, spread: float) -> torch.Tensor:
    """Four rows of a vocabulary of which only the likeliest tokens are looked at."""
    source = torch.Generator().manual_seed(0)
    return (torch.randn((4, 3 * LIKELIEST), generator=source) * spread).to(device)


@pytest.mark.parametrize(("spread", "waits"), [(9.0, 1), (0.1, 2)])
def test_a_token_of_a_nucleus_is_sampled_for_one_wait_and_for_two_where_the_sort_decides(
    stand_in: torch.device, spread: float, waits: int
) -> None:
    logits_BV = large_logits(stand_in, spread=spread)
    generators = [torch.Generator().manual_seed(row) for row in range(4)]
    with recorded() as traffic:
        made = sample_next_tokens(logits_BV, generators, temperature=1.0, top_p=0.9)
    assert traffic.waits() == waits, traffic.by_place()
    assert traffic.uploads() == 0, traffic.by_place(waits=False)
    assert made.ids == made.ids_B.tolist()


@pytest.mark.parametrize("spread", [9.0, 0.1])
def test_texts_of_a_batch_are_scored_within_their_nuclei_for_one_wait(
    stand_in: torch.device, spread: float
) -> None:
    logits_BV = large_logits(stand_in, spread=spread)
    ids_T = torch.tensor([5, 6]).to(stand_in)
    texts = [
        HiddenText(logits_BV[part], ids_T, temperature=1.0, top_p=0.9)
        for part in (slice(0, 2), slice(2, 4))
    ]
    with recorded() as traffic:
        score_hidden_texts(texts, lambda hidden_ND: hidden_ND)
    assert traffic.waits() == 1, traffic.by_place()
    assert traffic.uploads() == 0, traffic.by_place(waits=False)
