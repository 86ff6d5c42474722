"""A judge in this process, by transformers: any image-text-to-text model, with log-probabilities.

Promises the same answer whatever questions share a batch, up to rounding: batches are padded on the
left, a model whose results change with padding gets one question at a time, and every question
is sampled with its own generator. Log-probabilities are taken before temperature, as servers report
them. Does not share the prefix of questions about one image; vLLM does, and is faster.

Shapes: B questions, V tokens of the vocabulary, T tokens of a sequence.
"""

from __future__ import annotations

import base64
import copy
import importlib
import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import torch
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill
from alphabench.images import open_rgb
from alphabench.judges import in_process
from alphabench.judges.data_uris import data_uri
from alphabench.judges.openai.chat_api import LastingError
from alphabench.judges.token_sampling import TokenSampler, TokenSampling, token_sampling_for
from alphabench.questions import (
    Answer,
    Capabilities,
    ImagePart,
    NamedToken,
    Question,
    Reply,
    ReplySampling,
)
from alphabench.weights.find import LOADING_ERRORS, WeightsFolder, load_complete
from alphabench.weights.strict_loading import strict_loading

_KIND: Final = "transformers"
_IMAGES, _TOKENS = 4, 8192
"""Decoded images and texts of tokens that are remembered, at most."""
_MOST_PADDING_SHIFT: Final = 0.02
"""Probability mass that padding may move, for rounding in half precision."""
_HOST_POSITIONS: Final = ("qwen3_vl",)
"""Kinds of models, by `model_type`, whose positions are computed before inputs are uploaded."""
_PROBES: Final = ("Yes or no?", "Answer with one word, yes or no: is this picture empty?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersOptions:
    """What `transformers:MODEL?key=value` takes."""

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision; auto is the one that the weights are stored in."""
    batch_size: int = 8
    """Questions that are computed together, at most."""
    images_per_question: int | None = None
    """Left out, 8, or 1 for kinds of models that were trained on single images."""
    thinking: bool | None = None
    """Sent to the chat template as enable_thinking; false for models that think by default."""
    extra_tokens: int = 0
    """Added to each question's bound on the reply, for models that always think."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Which implementation; left out, the library's choice."""
    device_map: str | None = None
    """`auto` spreads a large model over all accelerators; left out, one device."""
    remote_code: bool = False
    """Allow the checkpoint to run its own Python code, with all your rights."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.images_per_question or 1) < 1:
            raise ValueError("batch_size and images_per_question are 1 or more")
        if self.extra_tokens < 0:
            raise ValueError("extra_tokens is 0 or more")


def open_transformers(
    location: str, *, options: Mapping[str, str], device: str
) -> TransformersJudge:
    """`transformers:FOLDER` or `transformers:owner/name[@revision]`; nothing is loaded yet.

    Raises:
        AlphaBenchError: an unknown option or a value that does not fit, or no location.
    """
    chosen = fill(TransformersOptions, options, owner=_KIND)
    if not location:
        raise AlphaBenchError(
            "transformers: names no model",
            hint="write transformers:FOLDER or transformers:owner/name",
        )
    return TransformersJudge(location, chosen, device=device)


class TransformersJudge:
    """Can be pickled at any time; the copy loads the model again.

    Args:
        location: a folder or a hub id.
        options: see `TransformersOptions`.
        device: of torch: `cpu`, `cuda:1`.
        kind: the name under which it stands in the registry.
        processor: opens the folder's processor in place of the library's own.
    """

    def __init__(
        self,
        location: str,
        options: TransformersOptions,
        *,
        device: str,
        kind: str = _KIND,
        processor: Callable[[Path], Any] | None = None,
    ) -> None:
        self.location = location
        self.options = options
        self.device = device
        self.kind = kind
        self.processor = processor

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_loaded"}

    def on_device(self, device: str) -> TransformersJudge:
        """See `RunsOnDevice`; `device_map` goes before the device."""
        moved = copy.copy(self)
        if device == self.device and "_loaded" in self.__dict__:
            moved.__dict__["_loaded"] = self.__dict__["_loaded"]
        moved.device = device
        return moved

    @property
    def identity(self) -> Mapping[str, str]:
        """Finds the weights, which may download them; loads nothing."""
        settings = {
            "dtype": self.options.dtype,
            "thinking": self.options.thinking,
            "extra_tokens": self.options.extra_tokens or None,
            "attention": self.options.attention,
            "library": f"transformers {version('transformers')}, torch {torch.__version__}",
        }
        return in_process.identity_of(self.kind, self._weights, settings)

    @property
    def capabilities(self) -> Capabilities:
        images = in_process.images_per_question(
            self._weights.folder, self.options.images_per_question
        )
        return Capabilities(images_per_question=images, logprobs=True, named_tokens=True)

    @property
    def licences(self) -> Mapping[str, str]:
        """Of the model, as its card states it."""
        return {self.location: in_process.model_licence(self._weights)}

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`.

        Raises:
            AlphaBenchError: the model cannot be loaded, or fails on question after question.
        """
        loaded = self._loaded
        size = self.options.batch_size if loaded.pads else 1
        return in_process.answers_in_batches(questions, self._prepare, self._replies, size=size)

    @cached_property
    def _weights(self) -> WeightsFolder:
        return in_process.find_model(self.kind, self.location, remote_code=self.options.remote_code)

    @cached_property
    def _loaded(self) -> _Loaded:
        return _load(self, self._weights)

    def _prepare(self, question: Question) -> _Prompt:
        loaded = self._loaded
        in_process.refuse_control_tokens(question, loaded.control_tokens)
        if in_process.n_images(question) > self.capabilities.images_per_question:
            raise LastingError(
                f"{in_process.n_images(question)} images exceed the limit of one question"
            )
        fields = in_process.TemplateFields(thinking=self.options.thinking).of(question)
        in_process.repetition_penalty(question.sampling)
        return _prompt(
            loaded, in_process.with_extra_tokens(question, self.options.extra_tokens), fields
        )

    def _replies(self, prompts: Sequence[_Prompt]) -> list[Reply]:
        """Prompts that cannot share one call of the model go one after another."""
        by_shape: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for position, prompt in enumerate(prompts):
            by_shape[prompt.sampling.max_tokens, bool(prompt.images)].append(position)
        replies: dict[int, Reply] = {}
        for positions in by_shape.values():
            batch = [prompts[position] for position in positions]
            generated = _generate(self._loaded, batch, model=self._weights.identity)
            replies |= zip(positions, generated, strict=True)
        return [replies[position] for position in range(len(prompts))]


class _Prompt(NamedTuple):
    """A question as the model's processor takes it."""

    sampling: ReplySampling
    seed: int
    """Derived from the question's content and repeat, so that a reply can be reproduced."""
    text: str
    images: tuple[Image.Image, ...]


class _Loaded(NamedTuple):
    network: Any
    processor: Any
    default_sampling: TokenSampling
    """What the checkpoint itself recommends."""
    ends: frozenset[int]
    """Tokens that end a reply."""
    control_tokens: tuple[str, ...]
    context: int | None
    """Tokens of question and reply together, at most."""
    token_text: Callable[[int], str]
    """Of one token; remembers those of before, since most replies have the same alternatives."""
    first_token_of: Callable[[str], int]
    """The first token of a text, without tokens that only mark its start."""
    image_of: Callable[[str], Image.Image]
    """Decodes a data URI; remembers the last ones: questions about one image come together."""
    pads: bool = True
    """Whether prompts of different lengths may share a batch."""


def _load(judge: TransformersJudge, weights: WeightsFolder) -> _Loaded:
    """The model and its processor.

    Raises:
        AlphaBenchError: no image-text-to-text model, incomplete weights, or a library is missing.
    """
    transformers: Any = importlib.import_module("transformers")
    location, options = judge.location, judge.options
    settings: dict[str, Any] = {"trust_remote_code": options.remote_code}
    placement: dict[str, Any] = {
        "attn_implementation": options.attention,
        "device_map": options.device_map,
    }
    placement = {key: value for key, value in placement.items() if value is not None}
    try:
        with strict_loading(location):
            if judge.processor is not None:
                processor = judge.processor(weights.folder)
            else:
                processor = transformers.AutoProcessor.from_pretrained(weights.folder, **settings)
            if not hasattr(processor, "image_processor") or not processor.chat_template:
                raise ValueError("it takes no images, or has no chat template")
            network = load_complete(
                transformers.AutoModelForImageTextToText,
                weights.folder,
                dtype=options.dtype if options.dtype == "auto" else getattr(torch, options.dtype),
                **settings,
                **placement,
            )
    except (*LOADING_ERRORS, TypeError, AttributeError) as error:
        raise _loading_error(location, error) from error
    if options.device_map is None:
        network = network.to(judge.device)
    loaded = _configured(network.eval(), processor)
    return loaded._replace(pads=_survives_padding(loaded))


def _loading_error(location: str, error: Exception) -> AlphaBenchError:
    text = " ".join(str(error).split()) or type(error).__name__
    # Without torchvision the libraries complain about the first class that is missing.
    is_torchvision_missing = (
        "torchvision" in text.casefold() or "video_processor" in text.casefold()
    )
    if is_torchvision_missing and importlib.util.find_spec("torchvision") is None:
        return AlphaBenchError(
            f"the processor of {location!r} needs torchvision, which is not installed",
            hint="pip install torchvision, the release that belongs to the installed torch",
        )
    return AlphaBenchError(
        f"{location!r} cannot be loaded as an image-text-to-text model: {text[:300]}",
        hint="give a folder with weights, processor and chat template of such a model",
    )


def _configured(network: Any, processor: Any) -> _Loaded:
    """Reads the settings out of its configuration, so that no default of it applies silently."""
    transformers: Any = importlib.import_module("transformers")
    recommended = network.generation_config
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    ends = recommended.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    ends = [ends] if isinstance(ends, int) else list(ends or ())
    # Checkpoints ship penalties and samplers, which `generate` would add to ours.
    network.generation_config = transformers.GenerationConfig(
        eos_token_id=ends or None,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=recommended.bos_token_id,
        decoder_start_token_id=recommended.decoder_start_token_id,
        do_sample=False,
    )
    own = TokenSampling()
    if recommended.do_sample:
        own = TokenSampling(
            temperature=_or(recommended.temperature, 1.0),
            top_p=_or(recommended.top_p, 1.0),
            top_k=_or(recommended.top_k, 0),
        )
    text_config = network.config.get_text_config()
    return _Loaded(
        network=network,
        processor=processor,
        default_sampling=own,
        ends=frozenset(ends),
        control_tokens=in_process.control_tokens(tokenizer),
        context=getattr(text_config, "max_position_embeddings", None),
        token_text=lru_cache(_TOKENS)(lambda token: tokenizer.decode([token])),
        first_token_of=lru_cache(_TOKENS)(
            lambda text: tokenizer.encode(text, add_special_tokens=False)[0]
        ),
        image_of=lru_cache(_IMAGES)(_decoded),
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _prompt(loaded: _Loaded, question: Question, fields: Mapping[str, Any]) -> _Prompt:
    """The chat template's text and the images, decoded from what a server would receive."""
    image_parts = [part for part in question.parts if isinstance(part, ImagePart)]
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in question.parts
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if question.system:
        system_content = [{"type": "text", "text": question.system}]
        messages.insert(0, {"role": "system", "content": system_content})
    return _Prompt(
        sampling=question.sampling,
        seed=int(question.content_digest[:15], 16),
        text=_in_template(loaded, messages, fields),
        images=tuple(loaded.image_of(data_uri(part)) for part in image_parts),
    )


def _in_template(
    loaded: _Loaded, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]
) -> str:
    text: str = loaded.processor.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, **fields
    )
    return text


def _decoded(uri: str) -> Image.Image:
    """From the bytes that a web service gets, so that both see the same pixels."""
    _, _, encoded = uri.partition(",")
    return open_rgb(base64.b64decode(encoded))


def _generate(loaded: _Loaded, prompts: Sequence[_Prompt], *, model: str) -> list[Reply]:
    """Replies to prompts with one bound on length, all with images or all without."""
    inputs = _inputs(loaded, prompts)
    bound = prompts[0].sampling.max_tokens
    n_tokens_B = inputs["attention_mask"].sum(dim=1).tolist()
    if loaded.context is not None and max(n_tokens_B) + bound > loaded.context:
        raise LastingError(f"{max(n_tokens_B)} tokens and {bound} to reply exceed the context")
    sampler = TokenSampler(
        [token_sampling_for(prompt.sampling, loaded.default_sampling) for prompt in prompts],
        seeds=[prompt.seed for prompt in prompts],
        pad=loaded.processor.tokenizer.pad_token_id,
    )
    tokens_BT = _generated_tokens(loaded, inputs, sampler, bound)
    rows = zip(prompts, tokens_BT, sampler.first_BV, n_tokens_B, strict=True)
    return [
        Reply(
            text=in_process.with_opened_thought(prompt.text, _text(loaded, tokens_T)),
            model=model,
            first_token=_alternatives(loaded, tokens_T[0], first_V, prompt.sampling.top_logprobs),
            named_tokens=_named_tokens(loaded, first_V, prompt.sampling.first_tokens),
            finish_reason="stop" if loaded.ends.intersection(tokens_T) else "length",
            tokens_in=n_tokens,
            tokens_out=_length(loaded, tokens_T),
        )
        for prompt, tokens_T, first_V, n_tokens in rows
    ]


@torch.inference_mode()
def _generated_tokens(
    loaded: _Loaded, inputs: Any, sampler: TokenSampler, bound: int
) -> list[list[int]]:
    """The tokens of each reply, with padding after its end."""
    try:
        tokens_BT = loaded.network.generate(
            **inputs, max_new_tokens=bound, logits_processor=[sampler]
        )
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise LastingError("the device's memory does not hold the question") from error
    # Encoder-decoders begin with their own start instead of the prompt: count from the end.
    generated_BT: list[list[int]] = tokens_BT[:, tokens_BT.shape[1] - sampler.n_steps :].tolist()
    return generated_BT


def _inputs(loaded: _Loaded, prompts: Sequence[_Prompt]) -> Any:
    images = [list(prompt.images) for prompt in prompts]
    start = loaded.processor.tokenizer.bos_token
    # Some chat templates write the start token, others leave it to the tokenizer.
    is_marked = bool(start) and prompts[0].text.startswith(start)
    inputs = loaded.processor(
        text=[prompt.text for prompt in prompts],
        images=images if any(images) else None,
        padding=True,
        return_tensors="pt",
        add_special_tokens=not is_marked,
    )
    _add_positions(loaded.network, inputs)
    return inputs.to(loaded.network.device, loaded.network.dtype)


def _add_positions(network: Any, inputs: Any) -> None:
    """Adds the positions that `generate` would find itself, for a model on a device.

    Qwen3-VL finds them row by row, from values that the host would wait for nine times a row.
    Here they are still on the host, and the model's own code gives the same whole numbers.
    """
    find = getattr(network, "_prepare_position_ids_for_generation", None)
    on_device = network.device.type != "cpu"
    if on_device and find is not None and network.config.model_type in _HOST_POSITIONS:
        inputs["position_ids"] = find(inputs["input_ids"], dict(inputs))


def _length(loaded: _Loaded, tokens_T: Sequence[int]) -> int:
    """Tokens up to the one that ends the reply, with it."""
    return next((t + 1 for t, token in enumerate(tokens_T) if token in loaded.ends), len(tokens_T))


def _text(loaded: _Loaded, tokens_T: Sequence[int]) -> str:
    reply_T = list(tokens_T[: _length(loaded, tokens_T)])
    return in_process.reply_text(loaded.processor.tokenizer, reply_T)


def _alternatives(
    loaded: _Loaded, sampled: int, first_V: torch.Tensor, n_wanted: int
) -> tuple[tuple[str, float], ...]:
    """The most likely first tokens as text, plus the sampled one, as web services return them."""
    if n_wanted == 0:
        return ()
    tokens = first_V.topk(min(n_wanted, first_V.shape[0])).indices.tolist()
    tokens = tokens if sampled in tokens else [*tokens, sampled]
    pairs = [(loaded.token_text(token), float(first_V[token])) for token in tokens]
    return tuple(pair for pair in pairs if pair[1] > -torch.inf)


def _named_tokens(
    loaded: _Loaded, first_V: torch.Tensor, texts: Sequence[str]
) -> tuple[NamedToken, ...]:
    """The first tokens of the texts, with their probabilities over the whole vocabulary."""
    tokens = [loaded.first_token_of(text) for text in texts]
    probabilities = first_V[tokens].double().exp().tolist() if tokens else []
    return tuple(
        NamedToken(text, token, loaded.token_text(token), probability)
        for text, token, probability in zip(texts, tokens, probabilities, strict=True)
    )


def _survives_padding(loaded: _Loaded) -> bool:
    """Whether a short prompt gives the same result alone and padded to a longer one's length."""
    blank = Image.new("RGB", (64, 64), "grey")
    prompts = [
        _Prompt(
            sampling=ReplySampling(max_tokens=1),
            seed=0,
            text=_in_template(
                loaded,
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": probe}]}],
                {},
            ),
            images=(blank,),
        )
        for probe in _PROBES
    ]
    alone, padded = (TokenSampler([TokenSampling()] * n, seeds=[0] * n) for n in (1, len(prompts)))
    _generated_tokens(loaded, _inputs(loaded, prompts[:1]), alone, 1)
    _generated_tokens(loaded, _inputs(loaded, prompts), padded, 1)
    shift = 0.5 * (alone.first_BV[0].exp() - padded.first_BV[0].exp()).abs().sum()
    return bool(shift <= _MOST_PADDING_SHIFT)
