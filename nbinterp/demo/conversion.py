"""A GGUF file → a folder that transformers opens: float32 safetensors, configuration, tokenizer and chat template."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nbinterp.demo.models import WEIGHTS, FetchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from nbinterp.demo.models import DemoModel
    from nbinterp.demo.sources import Source


def convert(model: DemoModel, source: Source, folder: Path, *, progress: bool = True) -> None:
    """Convert a demo model into an existing empty folder, and read it back.

    Parameters
    ----------
    model : DemoModel
        Which one, for the texts.
    source : Source
        Its files.
    folder : Path
        Where to write.
    progress : bool
        Whether to show how far it is.

    Raises
    ------
    FetchError
        When what was written does not read back the same.
    """
    from tqdm.auto import tqdm

    with (
        tqdm(total=1, desc=f"{model.title}: loading libraries", unit="tensor", disable=not progress) as bar,
        _quiet(bar),
    ):
        import torch
        from safetensors.torch import save_file
        from transformers import AutoModelForCausalLM, AutoTokenizer

        gguf: dict[str, Any] = {"gguf_file": source.gguf.name, "local_files_only": True}
        bar.set_description(f"{model.title}: reading the tokenizer")
        tokenizer = AutoTokenizer.from_pretrained(source.gguf.parent, **gguf)
        bar.set_description(f"{model.title}: reading the weights")
        network = AutoModelForCausalLM.from_pretrained(source.gguf.parent, dtype=torch.float32, **gguf)
        bar.set_description(f"{model.title}: writing")
        tensors = _untied(network.state_dict())
        tokenizer.save_pretrained(folder)
        _write_json(folder / "config.json", _plain_config(network))
        network.generation_config.save_pretrained(folder)
        # save_pretrained refuses a model that comes from a GGUF file
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        shutil.copymode(folder / "config.json", folder / WEIGHTS)  # safetensors makes it private
        if source.licence is not None:
            shutil.copyfile(source.licence, folder / "LICENSE")
        bar.set_description(f"{model.title}: reading back")
        bar.reset(total=len(tensors))
        again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        read, wanted = again.state_dict(), network.state_dict()
        different = sorted(read.keys() ^ wanted.keys())
        for name in sorted(read.keys() & wanted.keys()):
            if not torch.equal(read[name], wanted[name]):
                different.append(name)
            bar.update(name in tensors)
        same_tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab() == tokenizer.get_vocab()
        if different or not same_tokens:
            raise FetchError(
                f"got other {different[0] if different else 'tokens'} than were written when reading {model.title} back: "
                "the disk or the installed transformers is at fault; try again, then report it."
            )
        bar.set_description(f"{model.title}: ready")


def _untied(state: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors of a state dict, each storage once, under its first name."""
    seen: dict[int, str] = {}
    for name, tensor in state.items():
        seen.setdefault(tensor.data_ptr(), name)
    return {name: state[name].contiguous() for name in seen.values()}


def _plain_config(network: Any) -> dict[str, Any]:
    """Return a model's configuration as JSON, without the mark of the GGUF file, which would confuse loading."""
    values: dict[str, Any] = json.loads(network.config.to_json_string())
    values.pop("quantization_config", None)
    return values | {"architectures": [type(network).__name__]}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def _quiet(bar: Any) -> Iterator[None]:
    """Silence transformers' own bars and log, and count the tensors that it dequantises on ours."""
    import transformers.modeling_gguf_pytorch_utils as gguf_reader
    from transformers.utils import logging

    def counted(items: Iterable[Any], **_: object) -> Iterator[Any]:
        tensors = list(items)
        bar.reset(total=len(tensors))
        for tensor in tensors:
            yield tensor
            bar.update()

    level, bars, original = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        getattr(gguf_reader, "tqdm", None),
    )
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if original is not None:
        gguf_reader.tqdm = counted
    try:
        yield
    finally:
        if original is not None:
            gguf_reader.tqdm = original
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
