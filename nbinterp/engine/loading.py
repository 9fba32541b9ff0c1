"""Find a model and load it, from safetensors or GGUF only."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nbinterp.demo import models as demo
from nbinterp.engine.checksum import weights_checksum


@dataclass(frozen=True)
class Loaded:
    """A module in evaluation mode with its tokenizer, and what it is called."""

    module: torch.nn.Module
    tokenizer: Any
    name: str
    revision: str
    source: str


def load(
    source: str | Path | torch.nn.Module,
    *,
    tokenizer: Any,
    revision: str | None,
    dtype: str | torch.dtype,
    device: str | torch.device | None,
    trust_remote_code: bool,
) -> Loaded:
    """Return the model that `source` names; see `nbinterp.model.Model.open` for the arguments and errors."""
    if isinstance(source, torch.nn.Module):
        if tokenizer is None:
            raise ValueError(f"got a {type(source).__name__} without its tokenizer; give it with tokenizer=.")
        _leave_a_core()
        return Loaded(source.eval(), tokenizer, type(source).__name__, weights_checksum(source), "")
    if tokenizer is not None:
        raise ValueError(
            f"got a tokenizer beside the model {str(source)!r}, which brings its own; leave tokenizer out, or pass a module."
        )
    name, place, kwargs = _locate(source)
    checksum = kwargs.pop("checksum", None)
    module, found = _from_pretrained(
        place, kwargs | {"revision": revision} if revision else kwargs, dtype, trust_remote_code
    )
    module.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    _leave_a_core()
    commit = getattr(module.config, "_commit_hash", None)
    opened_from = str(Path(place) / kwargs["gguf_file"]) if "gguf_file" in kwargs else place
    return Loaded(module, found, name, checksum or commit or weights_checksum(module), opened_from)


def _leave_a_core() -> None:
    """Let torch use all cores but one in a notebook's kernel, unless it was told to use fewer already.

    Its threads wait for each other after every operation, so that one that shares its core with the browser holds up
    all: with a busy page on two cores, two threads are five times slower than one. A script has no page.
    """
    kernel = sys.modules.get("ipykernel.kernelapp")
    if kernel is None or not kernel.IPKernelApp.initialized():
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.get_num_threads() >= cores > 1:
        torch.set_num_threads(cores - 1)


def _locate(source: str | Path) -> tuple[str, str, dict[str, Any]]:
    """Return a name, what transformers opens, and its keyword arguments."""
    text, path = str(source), Path(source).expanduser()
    if text in demo.DEMO_MODELS:
        folder = demo.directory(text)
        if folder is None:
            raise LookupError(
                f"got the demo model {text!r}, which is not on this machine yet; run: nbinterp fetch {text}"
            )
        return text, str(folder), {"checksum": demo.revision(text)}
    if path.is_file() and path.suffix == ".gguf":
        return path.stem, str(path.parent.resolve()), {"gguf_file": path.name}
    if path.is_dir():
        ggufs = sorted(path.glob("*.gguf"))
        if any(path.glob("*.safetensors")):
            return path.name, str(path.resolve()), {}
        if len(ggufs) == 1:
            return path.name, str(path.resolve()), {"gguf_file": ggufs[0].name}
        raise ValueError(
            f"got the directory {text!r} with {len(ggufs)} GGUF and no safetensors files; wanted a model saved as safetensors, or the path of "
            "one GGUF file (nbinterp does not open pickled weights)."
        )
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        return text, text, {}
    raise LookupError(
        f"got {text!r}, which is neither a demo model ({', '.join(demo.DEMO_MODELS)}) nor a directory, a GGUF file or a hub id 'owner/name' "
        "that could be opened."
    )


def _from_pretrained(
    place: str, kwargs: dict[str, Any], dtype: str | torch.dtype, trust_remote_code: bool
) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=trust_remote_code, **kwargs)
        safe = {} if "gguf_file" in kwargs else {"use_safetensors": True}
        module = AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, trust_remote_code=trust_remote_code, **safe, **kwargs
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"got {place!r}, which could not be opened as a causal language model with safetensors or GGUF weights: {reason}"
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    return module, tokenizer
