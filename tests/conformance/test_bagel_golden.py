"""BAGEL's architecture against tensors of the reference code, on a tiny random checkpoint.

Shapes: T tokens, D width, L latent tokens, C features of a latent token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alphabench.models.bagel.autoencoder import grid_indices, to_latent
from alphabench.models.bagel.decoder import rotation
from alphabench.models.bagel.embedding import sine_table, time_features
from alphabench.models.bagel.guidance import Guidance, intervals
from alphabench.models.bagel.image_processing import (
    LATENT_SIZES,
    PATCH_SIZES,
    SizeRule,
    image_to_pixels,
    pixels_to_levels,
    to_patches,
)
from alphabench.models.bagel.model import Grid
from alphabench.models.bagel.sampler import (
    Contexts,
    EulerStep,
    GuidedVelocity,
    denoise_latents,
    new_contexts,
    with_thought,
)
from tests.support.bagel_reference import LATENTS, PATCHES, Golden

GRIDS = {"sq": Grid(4, 4), "rect": Grid(6, 4)}
PLAIN, GUIDED = (3e-5, 0.0), (1e-4, 2e-5)
"""Absolute and relative tolerance of single passes, and of what many passes make."""
GUIDANCES: Mapping[str, Mapping[str, Any]] = {
    "cfg4_global": {},
    "cfg4_channel": {"renorm": "channel"},
    "cfg4_text_channel": {"renorm": "text_channel"},
    "cfg4_channel_min0.9": {"renorm": "channel", "renorm_floor": 0.9},
    "cfg4_global_min1": {"renorm_floor": 1.0},
    "cfg1.5_channel": {"text_scale": 1.5, "renorm": "channel"},
    "cfg4_img1.5_global": {"image_scale": 1.5},
    "swapped_cfg1.5_channel": {"text_scale": 1.5, "renorm": "channel"},
    "swapped_cfg1.5_global": {"text_scale": 1.5},
}


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def close(found: Tensor, wanted: Tensor, tolerance: tuple[float, float] = PLAIN) -> None:
    atol, rtol = tolerance
    torch.testing.assert_close(found, wanted, atol=atol, rtol=rtol)


def same_picture(decoded: Tensor, wanted: Tensor) -> None:
    """Within one level of 255."""
    drawn = pixels_to_levels(decoded)[0].long()
    assert (drawn - wanted.long()).abs().max() <= 1


def outputs(layers: nn.Module) -> tuple[list[Tensor], list[Any]]:
    """What each layer gives in the next pass, and the hooks to remove."""
    found: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    return found, [layer.register_forward_hook(keep) for layer in layers.children()]


def test_sizes_after_resizing_are_the_references(golden: Golden) -> None:
    _, words = golden.case("case0_tables")
    training = SizeRule(longest=980, shortest=378, stride=14, most_pixels=2_007_040)
    rules = {
        "release_vae": (LATENT_SIZES, 1),
        "release_vit": (PATCH_SIZES, 1),
        "tiny_vae": (LATENTS, 1),
        "tiny_vit": (PATCHES, 1),
        "train_vit_edit": (SizeRule(longest=518, shortest=224, stride=14), 1),
        "train_vlm": (training, 1),
        "train_vlm_img_num_2": (training, 2),
        "train_vlm_img_num_8": (training, 8),
    }
    assert len(words["resize"]["rows"]) == 276
    for name, width, height, *wanted in words["resize"]["rows"]:
        rule, pictures = rules[name]
        assert list(rule.size(width, height, images=pictures)) == wanted, (name, width, height)


def test_times_and_their_steps_are_the_references(golden: Golden) -> None:
    _, words = golden.case("case0_tables")
    for wanted in words["schedules"]:
        found = intervals(wanted["num_timesteps"], wanted["shift"])
        assert [step.t for step in found] == wanted["t"]
        assert [step.width for step in found] == wanted["dt"]
        low, high = wanted["cfg_interval"]
        guidance = Guidance(low=low, high=high)
        assert [guidance.branches(step.t) == 2 for step in found] == wanted["cfg_on"]


def test_words_become_the_references_tokens(golden: Golden) -> None:
    _, words = golden.case("case0_tables")
    tokens, special = golden.loaded.tokens, words["special_ids"]
    for row in words["tokenization"]:
        assert tokens.encode(row["text"]) == row["ids"]
    assert (tokens.start, tokens.end) == (special["bos_token_id"], special["eos_token_id"])
    assert tokens.start_of_image == special["start_of_image"]
    assert tokens.end_of_image == special["end_of_image"]


def test_tables_of_time_and_place_are_the_references(golden: Golden) -> None:
    case, _ = golden.case("case0_tables")
    model = golden.loaded.model
    close(time_features(case["in.t"]), case["out.timestep_sinusoid"])
    close(model.time_embedder(case["in.t"]), case["out.timestep_embed"])
    close(model.time_embedder(torch.zeros(1)), case["out.timestep_embed_int0"])
    rows = case["in.latent_pos_rows"]
    close(model.latent_pos_embed(rows), case["out.latent_pos_embed_rows"])
    close(sine_table(16, 64), model.latent_pos_embed.pos_embed)
    close(sine_table(16, 64), model.vit_pos_embed.pos_embed)
    turned = rotation(case["in.rope_pos"], 16, 1e6)
    close(turned.cos[:, 0].repeat(1, 2), case["out.rope_cos"])
    close(turned.sin[:, 0].repeat(1, 2), case["out.rope_sin"])


def test_transparency_becomes_white(golden: Golden) -> None:
    case, _ = golden.case("case0_tables")
    found = image_to_pixels(golden.picture("rgba.png"))
    close(found, (case["out.rgba_to_rgb"].permute(2, 0, 1).float() / 255 - 0.5) / 0.5)


def test_text_goes_through_every_layer_as_in_the_reference(golden: Golden) -> None:
    case, words = golden.case("case1_text")
    model = golden.loaded.model
    ids = golden.loaded.tokens.block(words["prompt"])
    assert ids == case["in.ids"].tolist()
    layers, hooks = outputs(model.language_model.model.layers)
    read = model.read_text(model.new_context(1), [ids])
    for hook in hooks:
        hook.remove()
    for index, layer in enumerate(layers):
        close(layer, case[f"out.layer{index}"])
        close(read.context.keys[index][0].transpose(0, 1), case[f"out.k_cache{index}"])
        close(read.context.values[index][0].transpose(0, 1), case[f"out.v_cache{index}"])
    assert len(layers) == 3
    close(read.hidden_TD, case["out.hidden_after_final_norm"])
    close(model.logits(read.hidden_TD), case["out.logits"])


def test_text_is_continued_as_in_the_reference(golden: Golden) -> None:
    case, words = golden.case("case1_text")
    once = golden.say(new_contexts(golden.loaded.model, 1), words["prompt"])
    written = golden.write(once, 16)
    assert written.ids == case["out.greedy_ids"].tolist()
    close(written.logits, case["out.greedy_logits"])
    stopped = golden.write(once, 16, end=words["stop_end_token_id"])
    assert stopped.ids == case["out.stop_ids"].tolist()
    twice = golden.say(once, words["second_prompt"])
    assert list(twice.full.lengths) == words["two_texts_kv_len"]
    assert list(twice.full.positions) == words["two_texts_rope"]
    written = golden.write(twice, 4)
    assert written.ids == case["out.two_texts_greedy_ids"].tolist()
    close(written.logits[:1], case["out.two_texts_first_logits"])


@pytest.mark.parametrize(("prefix", "twice"), [("direct.", False), ("", True)])
def test_a_picture_is_seen_as_in_the_reference(golden: Golden, prefix: str, twice: bool) -> None:
    case, _ = golden.case("case2_vit")
    model, picture = golden.loaded.model, golden.picture("photo.png")
    pixels = image_to_pixels(PATCHES.resized(LATENTS.resized(picture) if twice else picture))
    close(pixels, case[f"out.{prefix}pixels"])
    patches = to_patches(pixels, 14)
    close(patches, case[f"out.{prefix}patches"])
    layers, hooks = outputs(model.vit_model.vision_model.encoder.layers)
    ends, more = outputs(nn.ModuleList([model.vit_model.vision_model, model.connector]))
    embedded = model.embed_patches(patches, [Grid(pixels.shape[1] // 14, pixels.shape[2] // 14)])
    for hook in hooks + more:
        hook.remove()
    assert (len(layers), len(ends)) == (2, 2)
    for index, layer in enumerate(layers):
        close(layer, case[f"out.{prefix}layer{index}"])
    close(ends[0], case[f"out.{prefix}vit_out"])
    close(ends[1], case[f"out.{prefix}connector_out"])
    close(embedded, case[f"out.{prefix}embed"])


def test_places_and_sizes_of_a_picture_are_the_references(golden: Golden) -> None:
    case, _ = golden.case("case2_vit")
    resized = LATENTS.resized(golden.picture("photo.png"))
    assert np.array_equal(np.asarray(resized), case["out.vae_resized_u8"].numpy())
    close(image_to_pixels(resized), case["out.vae_pixels"])
    assert torch.equal(grid_indices(5, 6, 16), case["out.vae_position_ids"])
    assert torch.equal(grid_indices(6, 7, 16), case["out.position_ids"])
    assert torch.equal(grid_indices(5, 6, 16), case["out.direct.position_ids"])


@pytest.mark.parametrize("name", ["img64", "rect"])
def test_pictures_become_latents_and_pictures_again(golden: Golden, name: str) -> None:
    case, _ = golden.case("case3_vae")
    coder, pixels = golden.loaded.autoencoder, case[f"in.{name}.pixels"]
    close(torch.cat(coder.moments(pixels), dim=1), case[f"out.{name}.moments"])
    sampled = coder.encode(pixels, case[f"in.{name}.eps"])
    close(sampled, case[f"out.{name}.z_sampled"])
    close(coder.encode(pixels), case[f"out.{name}.z_mean"])
    decoded = coder.decode(case[f"out.{name}.z_sampled"])
    close(decoded, case[f"out.{name}.decoded_from_z_sampled"])
    close(coder.decode(case[f"out.{name}.z_mean"]), case[f"out.{name}.decoded_from_z_mean"])
    same_picture(decoded, case[f"out.{name}.image_u8"])


@pytest.mark.parametrize("size", GRIDS)
def test_velocities_from_text_match_under_every_guidance(golden: Golden, size: str) -> None:
    case, words = golden.case("case4_t2i")
    model, grid, noise = golden.loaded.model, GRIDS[size], case[f"in.{size}.noise"]
    said = golden.say(new_contexts(model, 1), words["prompt"])
    empty = said.text_free
    for index, t in enumerate(words["timesteps"]):
        wanted = {
            key.removeprefix(f"out.{size}.t{index}."): value
            for key, value in case.items()
            if key.startswith(f"out.{size}.t{index}.v")
        }
        plain = {"v": said, "v_uncond": Contexts(full=empty, text_free=empty, image_free=empty)}
        for name, contexts in plain.items():
            found = golden.guided(contexts, grid, text_scale=1.0).velocity(noise, t)
            close(found, wanted.pop(name), GUIDED)
        assert set(wanted) == {f"v_{name}" for name in GUIDANCES}
        for name, options in GUIDANCES.items():
            contexts = said
            if name.startswith("swapped"):
                contexts = Contexts(full=empty, text_free=said.full, image_free=empty)
            guided = golden.guided(contexts, grid, low=0.0, **options)
            close(guided.velocity(noise, t), wanted[f"v_{name}"], GUIDED)


@pytest.mark.parametrize("size", GRIDS)
def test_latents_go_through_every_layer_as_in_the_reference(golden: Golden, size: str) -> None:
    case, words = golden.case("case4_t2i")
    model, grid = golden.loaded.model, GRIDS[size]
    context = golden.say(new_contexts(model, 1), words["prompt"]).full
    canvas = model.canvas(context, [grid])
    assert torch.equal(canvas.indices_L, case[f"in.{size}.latent_position_ids"])
    layers, hooks = outputs(model.language_model.model.layers)
    model.velocity(context, canvas, case[f"in.{size}.noise"], torch.ones(1))
    for hook in hooks:
        hook.remove()
    for index, layer in enumerate(layers):
        close(layer[canvas.block.restore_T], case[f"out.{size}.t0.layer{index}"], GUIDED)


def follow(guided: GuidedVelocity, noise: Tensor, points: int) -> list[EulerStep]:
    return list(guided.steps(noise, points=points, shift=3.0))


def check_run(
    golden: Golden, steps: list[EulerStep], grid: Grid, wanted: dict[str, Tensor]
) -> None:
    """Everything that one recorded run of the sampler holds."""
    final = steps[-1].after_LC
    found = {
        "t": torch.tensor([step.t for step in steps]),
        "x_traj": torch.stack([step.x_LC for step in steps]),
        "v_traj": torch.stack([step.velocity_LC for step in steps]),
        "final_latent_tokens": final,
        "final_latent": to_latent(final, 2, rows=grid.rows, columns=grid.columns)[None],
        "decoded": golden.decode(final, grid),
    }
    picture = wanted.pop("image_u8", None)
    assert wanted.keys() <= found.keys()
    for name, tensor in wanted.items():
        close(found[name], tensor, GUIDED)
    if picture is not None:
        same_picture(found["decoded"], picture)


def recorded(case: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    found = {
        key.removeprefix(prefix): value for key, value in case.items() if key.startswith(prefix)
    }
    assert found
    return found


@pytest.mark.parametrize("size", GRIDS)
def test_text_to_image_is_the_references(golden: Golden, size: str) -> None:
    case, words = golden.case("case4_t2i")
    said = golden.say(new_contexts(golden.loaded.model, 1), words["prompt"])
    runs: Mapping[str, Mapping[str, Any]] = {
        "ode_nocfg": {"text_scale": 1.0},
        "ode_cfg4_global": {"renorm": "global"},
        "ode_cfg4_channel": {"renorm": "channel"},
    }
    for name, options in runs.items():
        guided = golden.guided(said, GRIDS[size], **options)
        steps = follow(guided, case[f"in.{size}.noise"], 8)
        check_run(golden, steps, GRIDS[size], recorded(case, f"out.{size}.{name}."))


def test_editing_is_the_references(golden: Golden) -> None:
    case, words = golden.case("case5_edit")
    nothing = new_contexts(golden.loaded.model, 1)
    picture = golden.picture("photo.png")
    seen, grid = golden.show_for_editing(nothing, picture, case["in.vae_eps"])
    for layer in (0, 2):
        for kind, stored in (("k", seen.full.keys), ("v", seen.full.values)):
            key = f"out.{kind}_cache{layer}_after_image"
            close(stored[layer][0].transpose(0, 1), case[key], GUIDED)
    said = golden.say(seen, words["prompt"])
    assert list(said.full.positions) == words["rope_full"]
    assert list(said.full.lengths) == words["kv_full"]
    assert list(said.image_free.lengths) == words["kv_cfg_img"]
    branches = {
        "v": said.full,
        "v_cfg_text_branch": said.text_free,
        "v_cfg_img_branch": said.image_free,
    }
    both = {"image_scale": 1.5, "low": 0.0}
    for index, t in enumerate(words["timesteps"]):
        wanted = recorded(case, f"out.t{index}.")
        for name, context in branches.items():
            alone = Contexts(full=context, text_free=context, image_free=context)
            found = golden.guided(alone, grid, text_scale=1.0).velocity(case["in.noise"], t)
            close(found, wanted.pop(name), GUIDED)
        options: Mapping[str, Mapping[str, Any]] = {
            "v_cfg_text_channel": {"renorm": "text_channel", **both},
            "v_cfg_global": {"renorm": "global", **both},
            "v_cfg_channel": {"renorm": "channel", **both},
            "v_cfg1.2_img1.5_text_channel": {"text_scale": 1.2, "renorm": "text_channel", **both},
            "v_cfg1_img1.5": {"text_scale": 1.0, **both},
        }
        assert options.keys() == wanted.keys()
        for name, chosen in options.items():
            found = golden.guided(said, grid, **chosen).velocity(case["in.noise"], t)
            close(found, wanted[name], GUIDED)
    for renorm in ("text_channel", "global"):
        guided = golden.guided(said, grid, renorm=renorm, **both)
        steps = follow(guided, case["in.noise"], 6)
        check_run(golden, steps, grid, recorded(case, f"out.ode_{renorm}."))


def test_drawing_after_thinking_is_the_references(golden: Golden) -> None:
    case, words = golden.case("case6_think")
    nothing = new_contexts(golden.loaded.model, 1)
    said = golden.say(golden.say(nothing, words["system_prompt"]), words["prompt"])
    thought = golden.write(said, words["max_think_token_n"] - 1)
    assert thought.ids == case["out.think_ids_with_start"].tolist()
    close(thought.logits, case["out.think_logits"], GUIDED)
    assert thought.text == words["think_text"]
    ids = golden.loaded.tokens.block(thought.text)
    assert ids[1:-1] == words["retokenized_ids"]
    after = with_thought(golden.loaded.model, said, [ids])
    steps = follow(golden.guided(after, Grid(4, 4)), case["in.noise"], 6)
    names = ("x_traj", "v_traj", "t", "final_latent", "decoded", "image_u8")
    wanted = {name: case[f"out.{name}"] for name in (*names, "final_latent_tokens")}
    check_run(golden, steps, Grid(4, 4), wanted)
    stronger = denoise_latents(
        golden.guided(after, Grid(4, 4), image_scale=1.5), case["in.noise"], points=6
    )
    close(stronger, case["out.cfg_img1.5.final_latent_tokens"], GUIDED)


def test_editing_after_thinking_is_the_references(golden: Golden) -> None:
    case, words = golden.case("case6_think")
    edit = words["edit"]
    nothing = new_contexts(golden.loaded.model, 1)
    told = golden.say(nothing, words["system_prompt"])
    seen, grid = golden.show_for_editing(
        told, golden.picture(edit["image"]), case["in.edit.vae_eps"]
    )
    said = golden.say(seen, edit["prompt"])
    thought = golden.write(said, edit["max_think_token_n"] - 1)
    assert thought.ids == case["out.edit.think_ids_with_start"].tolist()
    assert thought.text == edit["think_text"]
    ids = golden.loaded.tokens.block(thought.text)
    after = with_thought(golden.loaded.model, said, [ids])
    guided = golden.guided(after, grid, image_scale=2.0, low=0.0, renorm="text_channel")
    steps = follow(guided, case["in.edit.noise"], edit["num_timesteps"])
    wanted = {name: case[f"out.edit.{name}"] for name in ("v_traj", "final_latent_tokens")}
    check_run(golden, steps, grid, wanted)


def test_questions_about_pictures_are_answered_as_in_the_reference(golden: Golden) -> None:
    case, words = golden.case("case7_und")
    nothing = new_contexts(golden.loaded.model, 1)
    photo = golden.picture(words["image"])
    asked = golden.say(golden.show(nothing, photo), words["question"])
    told = golden.say(nothing, words["think"]["system_prompt"])
    two = nothing
    for name in words["chat_two_images"]["images"]:
        two = golden.show(two, golden.picture(name), twice=False)
    runs = {
        "": (asked, words),
        "chat_two_images.": (golden.say(two, words["question"]), words["chat_two_images"]),
        "think.": (golden.say(golden.show(told, photo), words["question"]), words["think"]),
    }
    for prefix, (contexts, wanted) in runs.items():
        written = golden.write(contexts, 8)
        assert written.ids == case[f"out.{prefix}ids_with_start"].tolist()
        assert written.text == wanted["text"]
        close(written.logits, case[f"out.{prefix}logits"])
    close(golden.write(asked, 1).logits[0], case["out.first_logits"])
