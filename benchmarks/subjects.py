"""The models to measure on, each as its peers see it: separate modules that share one copy of the weights."""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import nbinterp as nb
from nbinterp.demo import models

PEER = torch.no_grad  # peers do not pay for gradients that nobody asked for


@dataclass(frozen=True, eq=False)
class Subject:
    """A model to measure on.

    Parameters
    ----------
    name : str
        For the table.
    raw : torch.nn.Module
        As transformers has it; nobody else wraps or hooks this module.
    tokenizer : tokenizer of transformers
        Its tokenizer.
    model : nb.Model
        As nbinterp opens it.
    blocks : str
        Path of its list of blocks.
    """

    name: str
    raw: Any
    tokenizer: Any
    model: nb.Model
    blocks: str

    @functools.cached_property
    def nnsight(self) -> Any:
        """The model as nnsight alone wraps it."""
        from nnsight import TransformersModel

        return TransformersModel(twin(self.raw), tokenizer=self.tokenizer, task="text-generation")

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.model.info.n_layers

    @property
    def raw_blocks(self) -> Any:
        """The blocks of `raw`."""
        return self.raw.get_submodule(self.blocks)

    @functools.cached_property
    def _words(self) -> list[str]:
        # words that are one token each, so that a text of n words has n tokens
        texts = (text for text in self.model.vocabulary.tokens if re.fullmatch(r" [a-z]{3,9}", text))
        return [text for text in texts if len(self.tokenizer(text)["input_ids"]) == 1]

    def text(self, n_tokens: int, seed: int) -> str:
        """Return a text of so many tokens, another one for each seed."""
        generator = np.random.default_rng(seed)
        for _ in range(100):
            words = generator.choice(self._words, n_tokens - 1)
            text = "The" + "".join(words)
            if len(self.tokenizer(text)["input_ids"]) == n_tokens:
                return text
        raise RuntimeError(f"got no text of {n_tokens} tokens in 100 draws; wanted words of one token each.")

    def other(self, text: str, seed: int) -> str:
        """Return the text with its second word replaced by another."""
        first, second, rest = re.fullmatch(r"(\S+) (\S+)(.*)", text).groups()  # type: ignore[union-attr]
        words = [word for word in self._words if word != f" {second}"]
        return first + words[seed % len(words)] + rest

    def ids(self, text: str) -> torch.Tensor:
        """Return the token ids ``[1, n_tokens]``."""
        return torch.tensor([self.tokenizer(text)["input_ids"]])

    @functools.cached_property
    def sizes(self) -> tuple[int, int]:
        """Number of weights of a block, and of the unembedding."""
        blocks = [sum(p.numel() for p in block.parameters()) for block in self.raw_blocks]
        return sum(blocks) // len(blocks), self.raw.get_output_embeddings().weight.numel()

    def multiplications(self, n_blocks: int, n_tokens: int, n_logits: int = 1) -> int:
        """Return how many multiplications by weights so many blocks, tokens and last logits take, attention's own left out."""
        block, unembedding = self.sizes
        return block * n_blocks * n_tokens + unembedding * n_logits

    def vector(self, layer: int, seed: int = 0) -> np.ndarray:
        """Return a direction ``[d_model]`` as long as the residual stream typically is after a layer."""
        seen: list[torch.Tensor] = []
        hook = self.raw_blocks[layer].register_forward_hook(lambda module, args, output: seen.append(output))
        with PEER():
            self.raw(self.ids(self.text(16, seed)), use_cache=False)
        hook.remove()
        length = float(seen[0][0].norm(dim=-1).median())
        direction = np.random.default_rng(seed).normal(size=seen[0].shape[-1])
        return direction * (length / np.linalg.norm(direction) / 8)


def twin(module: torch.nn.Module) -> Any:
    """Return a copy of a module that shares its weights: one reader's hooks are not there for the others."""
    return copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})


@functools.cache
def smollm2() -> Subject:
    """Open the demo model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    folder = models.fetch("smollm2-135m", progress=False)
    raw = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    return _subject("SmolLM2-135M", raw, AutoTokenizer.from_pretrained(folder))


@functools.cache
def gpt2() -> Subject:
    """Make a random model of GPT-2's size and shape, with the demo model's tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = smollm2().tokenizer
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=2)
    config.architectures = ["GPT2LMHeadModel"]
    return _subject("GPT-2-size, random", GPT2LMHeadModel(config).eval().requires_grad_(False), tokenizer)


def _subject(name: str, raw: Any, tokenizer: Any) -> Subject:
    model = nb.Model.open(twin(raw), tokenizer=tokenizer, name=name, device="cpu")
    return Subject(name, raw, tokenizer, model, model.info.blocks)
