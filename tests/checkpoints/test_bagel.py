"""A BAGEL folder as a checkpoint: files, settings, identity, adapters, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from alphabench.checkpoints import open_checkpoint, pick_checkpoint_kind
from alphabench.checkpoints.bagel import NANO, BagelHandle, read_think_prompt
from alphabench.checkpoints.bagel_presets import PRESETS
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import AdaptsToBenchmark
from alphabench.models.bagel.decoder import Decoder
from alphabench.models.bagel.parameter_groups import lora_targets
from alphabench.models.bagel.sampling_config import FOLDER_FILE
from alphabench.types import NOTES
from tests.checkpoints.conftest import AskFor
from tests.support.hub_server import COMMIT
from tests.support.tiny_bagel import save_bagel

SMALL = {"width": "64", "height": "64", "timesteps": "3"}

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:.*config file:UserWarning"
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return save_bagel(tmp_path_factory.mktemp("bagels") / "tiny")


@pytest.fixture
def own_folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy to spoil, without the slow writing of random weights."""
    return Path(shutil.copytree(tiny, tmp_path / "own"))


def opened(folder: Path, adapter: Path | None = None, /, **options: str) -> UnifiedCheckpoint:
    lora = None if adapter is None else str(adapter)
    found = open_checkpoint(str(folder), options={**SMALL, **options}, lora=lora)
    assert isinstance(found, UnifiedCheckpoint)
    return found


def sampling_of(checkpoint: UnifiedCheckpoint) -> Any:
    assert isinstance(checkpoint.handle, BagelHandle)
    return checkpoint.handle.sampling


def refusal(folder: Path, **options: str) -> str:
    with pytest.raises(AlphaBenchError) as caught:
        opened(folder, **options).model()
    return str(caught.value)


def generated(checkpoint: UnifiedCheckpoint, ask: AskFor) -> Any:
    return np.asarray(checkpoint.generate([ask()])[0], dtype=np.int16)


def test_folders_and_hub_ids_are_known_by_their_files_and_names(
    tiny: Path, own_folder: Path
) -> None:
    assert pick_checkpoint_kind(str(tiny)) == ("bagel", str(tiny))
    assert pick_checkpoint_kind("ByteDance-Seed/BAGEL-7B-MoT") == (
        "bagel",
        "ByteDance-Seed/BAGEL-7B-MoT",
    )
    assert pick_checkpoint_kind("bagel:owner/other")[0] == "bagel"
    assert pick_checkpoint_kind("nano") == ("nano", "")
    (own_folder / "ema.safetensors").unlink()
    assert pick_checkpoint_kind(str(own_folder))[0] == "bagel"


def test_it_generates_the_same_before_and_after_pickling(tiny: Path, ask: AskFor) -> None:
    checkpoint = opened(tiny)
    again = pickle.loads(pickle.dumps(checkpoint))
    assert np.array_equal(generated(checkpoint, ask), generated(again, ask))
    assert generated(checkpoint, ask).shape == (64, 64, 3)


def test_thinking_attaches_the_thought_to_the_image(tiny: Path, ask: AskFor) -> None:
    limits = {"max_think_tokens": "4"}
    (silent,) = opened(tiny).generate([ask()])
    (thoughtful,) = opened(tiny, think="true", **limits).generate([ask()])
    assert NOTES not in getattr(silent, "info", {})
    notes = getattr(thoughtful, "info", {})[NOTES]
    assert set(notes) == {"thought", "thought_cut"}
    assert isinstance(notes["thought"], str)


def test_the_users_options_come_before_all_other_settings(own_folder: Path) -> None:
    content = {"shift": 1.5, "draw": {"text_scale": 2.0}, "batch_size": 4, "think_prompt": "Plan."}
    (own_folder / FOLDER_FILE).write_text(json.dumps(content))
    from_folder = sampling_of(opened(own_folder))
    assert (from_folder.shift, from_folder.draw.text_scale) == (1.5, 2.0)
    assert (from_folder.batch_size, from_folder.think_prompt) == (4, "Plan.")
    assert from_folder.edit.text_scale == 4.0
    from_user = sampling_of(opened(own_folder, shift="2.0", text_scale="3.0"))
    assert (from_user.shift, from_user.draw.text_scale, from_user.edit.text_scale) == (2, 3, 3)


def test_presets_follow_the_benchmark_unless_user_or_folder_override_them(
    tiny: Path, own_folder: Path
) -> None:
    plain = opened(tiny)
    assert isinstance(plain, AdaptsToBenchmark)
    suited = plain.for_benchmark("geneval")
    assert sampling_of(suited).draw.low == 0.0
    assert suited.identity["preset"] == "geneval"
    wise = sampling_of(plain.for_benchmark("wise"))
    assert (wise.draw.low, wise.temperature, wise.max_think_tokens) == (0.4, 0.3, 2047)
    assert sampling_of(plain.for_benchmark("gedit")).edit.image_scale == 1.5
    assert plain.for_benchmark("dvreward").identity == plain.identity
    assert sampling_of(opened(tiny, low="0.2").for_benchmark("geneval")).draw.low == 0.2
    assert sampling_of(opened(tiny, preset="reflect").for_benchmark("geneval")).temperature == 0.3
    assert sampling_of(opened(tiny, preset="none").for_benchmark("geneval")).draw.low == 0.4
    (own_folder / FOLDER_FILE).write_text('{"shift": 1.0}')
    assert sampling_of(opened(own_folder).for_benchmark("geneval")).draw.low == 0.4


def test_guidance_by_the_source_is_for_edits_alone(tiny: Path) -> None:
    sampling = sampling_of(opened(tiny, image_scale="3.0"))
    assert (sampling.edit.image_scale, sampling.draw.image_scale) == (3.0, 1.0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_named_and_has_a_source(name: str, tiny: Path) -> None:
    assert opened(tiny, preset=name).identity["preset"] == name
    assert PRESETS[name].source


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": "5"}, "did you mean 'timesteps'"),
        ({"preset": "genevla"}, "did you mean 'geneval'"),
        ({"timesteps": "1"}, "timesteps must be 2 or more"),
        ({"renorm": "local"}, "renorm"),
        ({"renorm_floor": "2"}, "renorm_floor lies in"),
        ({"width": "60"}, "60x64 is no size in steps of 16 pixels"),
        ({"width": "160"}, "larger than 128 pixels"),
        ({"inferencer": "x.py"}, "only matters with think=true"),
        ({"inferencer": "absent.py", "think": "true"}, "'absent.py' cannot be read"),
        ({"dtype": "int8"}, "dtype"),
        ({"revision": "main"}, "a folder has no revision"),
        ({"batch_size": "0"}, "batch_size must be 1 or more"),
        ({"reflect_prompt": "mend it"}, "reflect_prompt does not contain {prompt}"),
        (
            {"think": "true", "think_prompt": "a", "inferencer": "b"},
            "both give the thinking prompt",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tiny: Path, options: dict[str, str], words: str
) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        opened(tiny, **options)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "holds no JSON object"),
        ("{", "cannot be read"),
        ('{"timestep": 4}', "did you mean 'timesteps'"),
        ('{"timesteps": "4"}', "timesteps in alphabench.json of"),
        ('{"draw": {"scale": 4}}', "no setting of draw in alphabench.json"),
        ('{"draw": 4}', "it takes a mapping"),
        ('{"timesteps": 1}', "timesteps must be 2 or more"),
        ('{"draw": {"renorm": "local"}}', "value of renorm in draw"),
        ('{"dtype": "int8"}', "dtype is one of"),
    ],
)
def test_unknown_settings_of_a_folder_are_refused_by_name(
    own_folder: Path, content: str, words: str
) -> None:
    (own_folder / FOLDER_FILE).write_text(content)
    assert words in refusal(own_folder)


def spoil(folder: Path, what: str) -> None:
    """One way in which a folder can be broken."""
    weights = folder / "ema.safetensors"
    if what == "key":
        tensors = load_file(weights)
        save_file({k: v for k, v in tensors.items() if k != "llm2vae.bias"}, weights)
    elif what == "shape":
        save_file({**load_file(weights), "llm2vae.bias": torch.zeros(63)}, weights)
    elif what == "truncated":
        (folder / "ae.safetensors").write_bytes((folder / "ae.safetensors").read_bytes()[:-7])
    elif what == "tokenizer":
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({"tokenizer_class": "Qwen2Tokenizer"}))
    else:
        (folder / what).unlink()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("key", "'ema.safetensors' does not contain the tensor 'llm2vae.bias'"),
        ("shape", "'llm2vae.bias' in 'ema.safetensors' has shape [63], not [64]"),
        ("truncated", "the weights file 'ae.safetensors'"),
        ("tokenizer", "has no token '<|im_start|>'"),
        ("vit_config.json", "the file 'vit_config.json'"),
        ("llm_config.json", "'llm_config.json'"),
        ("ema.safetensors", "the file 'ema.safetensors'"),
        ("merges.txt", "the file 'merges.txt'"),
    ],
)
def test_a_broken_folder_is_refused_by_the_name_of_what_is_broken(
    own_folder: Path, what: str, words: str
) -> None:
    spoil(own_folder, what)
    assert words in refusal(own_folder)


def test_weights_that_cannot_fit_are_refused_before_they_load(own_folder: Path) -> None:
    checkpoint = opened(own_folder)
    assert isinstance(checkpoint.handle, BagelHandle)
    header_only = own_folder / "ema.safetensors"
    # A sparse file: a header that promises far more than any machine has.
    n_bytes = 2**43
    header = {"x": {"dtype": "U8", "shape": [n_bytes], "data_offsets": [0, n_bytes]}}
    text = json.dumps(header).encode()
    with header_only.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        try:
            file.truncate(8 + len(text) + n_bytes)
        except OSError:
            pytest.skip("this file system holds no sparse file of that size")
    with pytest.raises(AlphaBenchError, match=r"need 8192\.0 GiB, and cpu has"):
        checkpoint.model()


def test_identity_contains_every_setting_that_decides_an_image(
    tiny: Path, own_folder: Path
) -> None:
    base = opened(tiny).identity
    assert base["weights"].startswith("sha256:")
    for change in (
        {"timesteps": "4"}, {"shift": "2"}, {"text_scale": "2"}, {"image_scale": "3"},
        {"low": "0.1"}, {"high": "0.9"}, {"renorm": "channel"}, {"renorm_floor": "0.5"},
        {"width": "96"}, {"latent_longest": "512"}, {"latent_shortest": "256"},
        {"think": "true"}, {"dtype": "float32"}, {"batch_size": "2"}, {"preset": "gedit"},
    ):  # fmt: skip
        assert opened(tiny, **change).identity != base, change
    thinking = opened(tiny, think="true").identity
    for change in ({"temperature": "1"}, {"max_think_tokens": "5"}, {"think_prompt": "Plan."}):
        assert opened(tiny, think="true", **change).identity != thinking, change
        assert opened(tiny, **change).identity == base, change
    assert opened(own_folder).identity == base
    save_file({**load_file(own_folder / "ema.safetensors"), "llm2vae.bias": torch.ones(64)},
              own_folder / "ema.safetensors")  # fmt: skip
    assert opened(own_folder).identity != base


def test_the_identity_tells_of_float32_heads_where_other_weights_are_rounded(
    tiny: Path, own_folder: Path
) -> None:
    assert "heads" not in opened(tiny).identity
    assert "heads" not in opened(tiny, dtype="float32").identity
    assert opened(tiny, dtype="bfloat16").identity["heads"] == "float32"
    stored = load_file(own_folder / "ema.safetensors")
    save_file({name: w.bfloat16() for name, w in stored.items()}, own_folder / "ema.safetensors")
    rounded = opened(own_folder)
    assert rounded.identity["heads"] == "float32"
    assert "heads" not in opened(own_folder, dtype="float32").identity
    size, model = rounded.handle.weight_size(), rounded.model().loaded.model  # type: ignore[attr-defined]
    coder = rounded.model().loaded.autoencoder.network  # type: ignore[attr-defined]
    weights = [*model.parameters(), *coder.parameters()]
    assert size.loaded == sum(one.numel() * one.element_size() for one in weights)


def test_upstreams_thinking_prompt_is_read_from_its_script_and_enters_the_identity(
    tiny: Path, tmp_path: Path
) -> None:
    script = tmp_path / "inferencer.py"
    script.write_text("raise SystemExit\nGEN_THINK_SYSTEM_PROMPT = '''first line \nsecond'''\n")
    assert read_think_prompt(script) == "first line \nsecond"
    identity = opened(tiny, think="true", inferencer=str(script)).identity
    assert "first line" not in str(identity)
    assert identity["think_prompt"] != opened(tiny, think="true").identity["think_prompt"]
    script.write_text("OTHER = 'x'")
    with pytest.raises(AlphaBenchError, match="holds no text named"):
        read_think_prompt(script)


def test_a_cached_repository_is_opened_as_a_folder_is(
    tiny: Path, tmp_path: Path, ask: AskFor
) -> None:
    repository = tmp_path / "models--tiny--bagel"
    shutil.copytree(tiny, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    options = {**SMALL, "cache_dir": str(tmp_path), "offline": "true"}
    found = open_checkpoint("tiny/bagel", options=options)
    assert found.identity["weights"] == f"hub:tiny/bagel@{COMMIT}"
    assert isinstance(found, UnifiedCheckpoint)
    assert np.array_equal(generated(found, ask), generated(opened(tiny), ask))


def test_a_missing_nano_model_is_one_sentence() -> None:
    if (NANO / "llm_config.json").is_file():
        assert open_checkpoint("nano").identity["kind"] == "bagel"
        return
    with pytest.raises(AlphaBenchError, match="not in this copy of the package"):
        open_checkpoint("nano")
    with pytest.raises(AlphaBenchError, match="nano takes no location"):
        open_checkpoint("nano:x")


@pytest.mark.parametrize("name", ["scene:", "images:.", "https://host/v1#m", "owner/pipeline"])
def test_what_cannot_think_refuses_to(name: str) -> None:
    with pytest.raises(AlphaBenchError, match="does not think before it generates"):
        open_checkpoint(name, options={"think": "true"})


Adapter = Callable[..., Path]


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Adapter:
    """Writes an adapter as PEFT does, for the whole model or for its decoder alone."""

    def make(*, inside_decoder: bool = False, rename: tuple[str, str] = ("", "")) -> Path:
        from peft import LoraConfig, get_peft_model

        from alphabench.models.bagel.loading import load_bagel

        whole = load_bagel(tiny).model
        targets = lora_targets(whole)
        base: Any = whole.language_model if inside_decoder else whole
        if inside_decoder:
            targets = [name.removeprefix("language_model.") for name in targets]
        torch.manual_seed(0)
        tuned = get_peft_model(base, LoraConfig(r=2, lora_alpha=4, target_modules=targets))
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        folder = tmp_path / "adapter"
        tuned.save_pretrained(str(folder))
        file = folder / "adapter_model.safetensors"
        save_file({key.replace(*rename): value for key, value in load_file(file).items()}, file)
        return folder

    return make


@pytest.mark.parametrize("inside_decoder", [False, True])
def test_a_lora_on_both_experts_generates_as_its_merged_weights_do(
    tiny: Path, own_folder: Path, adapter: Adapter, ask: AskFor, inside_decoder: bool
) -> None:
    folder = adapter(inside_decoder=inside_decoder)
    tensors = load_file(folder / "adapter_model.safetensors")
    weights = load_file(own_folder / "ema.safetensors")
    for key in [key for key in tensors if ".lora_A." in key]:
        name = key.replace("base_model.model.", "").replace(".lora_A", "")
        name = f"language_model.{name}" if inside_decoder else name
        weights[name] += 2.0 * tensors[key.replace("lora_A", "lora_B")] @ tensors[key]
    save_file(weights, own_folder / "ema.safetensors")
    found = generated(opened(tiny, folder), ask)
    assert np.abs(found - generated(opened(own_folder), ask)).max() <= 1
    assert not np.array_equal(found, generated(opened(tiny), ask))
    assert opened(tiny, folder).identity["lora"].startswith("sha256:")
    off = generated(opened(tiny, folder, lora_scale="0"), ask)
    assert np.array_equal(off, generated(opened(tiny), ask))


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        (("q_proj_moe_gen", "q_proj_other"), "the model has no module for"),
        (("layers.1.", "layers.7."), "the model has no module for"),
        ((".lora_B.", ".lora_C."), "lora_C.weight' is no part of a LoRA"),
    ],
)
def test_a_lora_that_does_not_bind_completely_is_refused(
    tiny: Path, adapter: Adapter, rename: tuple[str, str], words: str
) -> None:
    folder = adapter(rename=rename)
    with pytest.raises(AlphaBenchError, match=words):
        opened(tiny, folder)  # before any weights are loaded


def test_a_lora_without_its_scale_is_refused(tiny: Path, adapter: Adapter) -> None:
    file = adapter() / "adapter_model.safetensors"
    bare = file.rename(file.with_name("bare.safetensors"))
    with pytest.raises(AlphaBenchError, match=r"has no adapter_config\.json"):
        opened(tiny, bare).model()


def test_compile_compiles_the_layers_and_is_part_of_the_identity(
    tiny: Path, ask: AskFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = partialmethod(Decoder.compile_layers, backend="eager")
    monkeypatch.setattr(Decoder, "compile_layers", captured)
    plain, compiled = opened(tiny), opened(tiny, compile="true")
    assert dict(compiled.identity) == {**plain.identity, "compiled": "yes"}
    difference = generated(compiled, ask) - generated(plain, ask)
    assert np.abs(difference).max() <= 1
    assert compiled.model().loaded.model.language_model.model.compiled  # type: ignore[attr-defined]


def test_the_memory_of_a_batch_is_counted_before_the_weights_load(tiny: Path) -> None:
    handle = opened(tiny, width="32", height="32", timesteps="3").handle
    assert isinstance(handle, BagelHandle)
    size, peak = handle.weight_size(), handle.peak_bytes()
    assert size is not None
    assert peak is not None
    assert size.loaded < peak < 10 * size.loaded
