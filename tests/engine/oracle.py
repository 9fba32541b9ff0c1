"""The oracle: one full pass of the bare transformers model with plain PyTorch hooks, one prompt, nothing reused."""

import operator

import numpy as np
import torch

from nbinterp.sites import Site


def divided(model, site, tensor):
    """A component's own axes in a module's tensor: ``[token, n_features]``, as the family's own forward pass cuts it."""
    config, flat = model.nnsight._module.config, tensor.reshape(-1, tensor.shape[-1])
    if site.component not in ("q", "k", "v") or flat.shape[-1] == model.info.width(Site(site.component, site.layer)):
        return flat
    heads, groups, width = model.info.n_heads, model.info.n_kv_heads, model.info.d_head
    which = "qkv".index(site.component)
    match config.model_type:
        case "gpt2":
            return flat.chunk(3, dim=-1)[which]
        case "gpt_neox":
            return flat.view(-1, heads, 3, width)[:, :, which].reshape(len(flat), -1)
        case "phi3":
            return flat.split([heads * width, groups * width, groups * width], dim=-1)[which]
        case "falcon" if config.new_decoder_architecture:
            each = flat.view(-1, groups, heads // groups + 2, width)
            return (each[:, :, :-2], each[:, :, -2:-1], each[:, :, -1:])[which].reshape(len(flat), -1)
        case "falcon" if config.multi_query:
            each = flat.view(-1, heads + 2, width)
            return (each[:, :-2], each[:, -2:-1], each[:, -1:])[which].reshape(len(flat), -1)
        case "falcon":
            return flat.view(-1, heads, 3, width)[:, :, which].reshape(len(flat), -1)
    raise AssertionError(config.model_type)


def written(model, site, tensor, values):
    """Write a component's features back into its module's tensor."""
    index = torch.arange(tensor.numel()).view(tensor.shape)
    tensor.view(-1)[divided(model, site, index).reshape(-1)] = values.reshape(-1)


def hooked(model, prompt, edits=(), reads=()):
    """What the bare module says when `edits`, (site, positions, function), change it on the way.

    Returns logits ``[n_vocab]`` at the last token, and by site ``[n_tokens, n_features]``.
    """
    module = model.nnsight._module
    seen, hooks = {}, []
    todo = [(Site.of(s), p, f) for s, p, f in edits] + [(Site.of(s), None, None) for s in reads]
    for site, positions, function in todo:
        if site.component == "logits":
            continue
        path, side = model.info.event(site)

        def act(tensor, site=site, positions=positions, function=function):
            features = divided(model, site, tensor).clone()
            if function is None:
                seen[site] = chosen(model, site, features).float().numpy()
                return
            head = columns(model, site, features)
            features[positions, head] = function(features[positions, head])
            written(model, site, tensor, features)

        child = operator.attrgetter(path)(module)
        if side == "input":
            # in place, so that a residual stream that the block keeps sees it too
            hooks.append(
                child.register_forward_pre_hook(
                    lambda _, a, k, act=act: act(next(iter((*a, *k.values())))), with_kwargs=True
                )
            )
        else:
            hooks.append(child.register_forward_hook(lambda _, a, o, act=act: act(o[0] if isinstance(o, tuple) else o)))
    try:
        with torch.no_grad():
            logits = module(torch.tensor([model.tokens(prompt).ids]), use_cache=False).logits[0]
    finally:
        for hook in hooks:
            hook.remove()
    for site, positions, function in todo:
        if site.component == "logits":
            if function is None:
                seen[site] = logits.float().numpy()
            else:
                logits[positions] = function(logits[positions])
    return logits[-1].float().numpy(), seen


def columns(model, site, features):
    """The columns of a site's head."""
    if site.head is None:
        return slice(None)
    width = features.shape[-1] // model.info.heads(site)
    return slice(site.head * width, (site.head + 1) * width)


def chosen(model, site, features):
    """The features of a site's head, or all of them."""
    return features[:, columns(model, site, features)].clone()


def same(a, b, tolerance=1e-4):
    """Assert equality within the rounding of float32 sums in another order."""
    a, b = np.asarray(a), np.asarray(b)
    size = np.abs(b).max(initial=0)
    # logits over a whole vocabulary are compared thousands of times, and NumPy's own comparison takes ten times as long
    comparable = a.shape == b.shape and np.isfinite(a).all() and np.isfinite(size)
    if comparable and (np.abs(a - b) <= tolerance * (np.abs(b) + max(1.0, size))).all():
        return
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max()))
