"""The lines of a script that does what an experiment does, from what it takes of other runs to what comes out."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, cast

import numpy as np

from nbinterp import arithmetic
from nbinterp.interventions import Cut
from nbinterp.prompts import Chat, Prompt
from nbinterp.snippets import Spot
from nbinterp.tokens import Match, Positions, Regex, Role, Span, TokenSelection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.experiment import Experiment, Generation
    from nbinterp.operations import Intervention
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats
    from nbinterp.steps import Steps

Numbered = tuple[int, "Intervention"]


def is_experiment(source: object) -> bool:
    """Return whether what a patch takes from is an experiment, and no prompt or array."""
    return hasattr(source, "prompts")


class Script:
    """The lines of a script, and what they need to stand before them.

    Parameters
    ----------
    model : ModelInfo
        For which model.
    """

    def __init__(self, model: ModelInfo) -> None:
        self.model = model
        self.needs: set[str] = set()
        self.functions: dict[Callable[..., object], None] = {}
        self.constants: dict[str, str] = {}
        self._count = 0

    def whole(self, experiment: Experiment, shown: bool) -> list[str]:
        """Return the lines from the prompts on."""
        acts, left_out = self._numbered(experiment, experiment.generation is not None)
        prompts, generation = experiment.prompts, experiment.generation
        lines = [f"# left out, since it is disabled: {type(act).__name__} at {act.site}" for act in left_out]
        lines += self._sources(acts)
        lines += _listed("prompts", prompts)
        lines.append("logits = []  # one [n_vocab] a prompt, at its last token")
        if experiment.read:
            lines.append("activations = []  # one {site: tensor} a prompt")
        if generation is not None:
            lines.append("generated = []  # one list of token ids a prompt")
        lines += ["", "for prompt in prompts:"]
        reads = {site: f"read_{i if site.is_path else _name(site)}" for i, site in enumerate(experiment.read)}
        body = self._run("prompt", prompts, acts, [(name, site, None) for site, name in reads.items()], generation)
        body.append("logits.append(last)")
        if experiment.read:
            entries = ", ".join(f"{str(site)!r}: {name}" for site, name in reads.items())
            body.append(f"activations.append({{{entries}}})")
        if generation is not None:
            body += self._generation(generation, acts)
        lines += [f"    {line}" if line else "" for line in body]
        return lines + (_shown(generation is not None) if shown else [])

    def _numbered(self, experiment: Experiment, generates: bool) -> tuple[list[Numbered], list[Intervention]]:
        """Return the interventions that do something, with numbers, and those that are disabled."""
        first = self._count
        self._count += len(experiment.interventions)
        numbered = list(enumerate(experiment.interventions, first))
        acts = [
            (n, a) for n, a in numbered if a.enabled and (_acts_on_prompt(a) or (generates and a.steps is not None))
        ]
        return acts, [act for act in experiment.interventions if not act.enabled]

    # what is taken from other runs

    def _sources(self, acts: Sequence[Numbered]) -> list[str]:
        """Return the lines that run what some interventions take activations from, each source once."""
        lines: list[str] = []
        takers: dict[object, list[Numbered]] = {}
        for number, act in acts:
            sources = act.sources()
            if sources is None:
                continue
            if sources.how == "each":
                takers.setdefault(sources.prompts[0], []).append((number, act))
            else:
                lines += self._references(number, act, cast("tuple[Prompt, ...]", sources.prompts), sources.how)
        for source, takes in takers.items():
            lines += self._source(source, takes)
        return lines

    def _references(self, number: int, act: Intervention, prompts: Sequence[Prompt], how: str) -> list[str]:
        what = f"the mean of {act.site}" if how == "mean" else f"what {act.site} is resampled from"
        lines = [f"# {what}: all tokens of these", *_listed(f"references_{number}", prompts)]
        lines += [f"pool_{number} = []", f"for reference in references_{number}:"]
        body = self._run("reference", prompts, [], [("taken", act.site, ":")], None, ends=False)
        lines += [f"    {line}" for line in [*body, f"pool_{number}.append(taken)"]]
        if how == "mean":
            lines.append(f"value_{number} = torch.cat(pool_{number}).double().mean(0).to(parameter)")
        return [*lines, ""]

    def _source(self, source: object, takers: Sequence[Numbered]) -> list[str]:
        """Return the lines of one other run, which may have interventions of its own."""
        sites = ", ".join(dict.fromkeys(str(act.site) for _, act in takers))
        prompt, acts = cast("Prompt", source), cast("list[Numbered]", [])
        lines = []
        if is_experiment(source):
            experiment = cast("Experiment", source)
            prompt = experiment.prompts[0]
            acts, _ = self._numbered(experiment, False)
            lines += self._sources(acts)
        lines += [f"# the run that gives {sites}", f"source = {_literal(prompt)}"]
        takes: list[tuple[str, Site, str | None]] = []
        positions: list[tuple[str, TokenSelection]] = []
        for number, act in takers:
            sources = act.sources()
            assert sources is not None
            positions.append((f"from_{number}", sources.tokens))
            takes.append((f"value_{number}", act.site, _inline(sources.tokens) or f"from_{number}"))
        return [*lines, *self._run("source", [prompt], acts, takes, None, positions, ends=False), ""]

    # runs

    def _run(
        self,
        variable: str,
        prompts: Sequence[Prompt],
        acts: Sequence[Numbered],
        reads: Sequence[tuple[str, Site, str | None]],
        generation: Generation | None,
        chosen: Sequence[tuple[str, TokenSelection]] = (),
        ends: bool = True,
    ) -> list[str]:
        """Return the lines that run what a variable holds.

        Parameters
        ----------
        variable : str
            Its name.
        prompts : sequence of prompts
            What it may hold.
        acts : sequence of numbered interventions
            What is changed at its tokens.
        reads : sequence of (variable, Site, index or None)
            What is kept: ``[n_tokens, n_features]`` at some tokens, or, without any, everything as results have it.
        generation : Generation, optional
            How it goes on.
        chosen : sequence of (variable, selection)
            Tokens that the reads need.
        ends : bool
            Whether the logits of the last token are kept.
        """
        now = [(number, act) for number, act in acts if _acts_on_prompt(act)]
        lines = [
            f"{name} = {self._chosen(selection, variable)}"
            for name, selection in [*((f"at_{number}", act.tokens) for number, act in now), *chosen]
            if _inline(selection) is None
        ]
        for number, act in now:
            if isinstance(act, Cut):
                self.needs.add("tokenized")
                keys = f"torch.tensor({self._chosen(act.keys, variable)}, device=parameter.device)"
                lines.append(f"keep_{number} = parameter.new_ones(len(ids)).index_fill(0, {keys}, 0)")
        for number, act in acts:
            sources = act.sources()
            if sources is None or sources.how != "resample":
                continue
            self.needs |= {"resampled", "tokenized"}
            if _acts_on_prompt(act):
                n = _count(act.tokens, number)
                lines.append(f"value_{number} = resampled(pool_{number}, ids, n={n}, seed={sources.seed})")
            if act.steps is not None and generation is not None:
                lines.append(f"later_{number} = resampled(pool_{number}, ids, n=1, seed={sources.seed})")
        chats = any(isinstance(prompt, Chat) for prompt in prompts)
        if chats:
            self.needs |= {"tokenized chat"}
        if lines or chats:
            self.needs.add("tokenized")
            lines.insert(0, f"text, ids, spans = tokenized({variable})")
        given = "ids" if chats else variable
        if generation is not None:
            self.needs.add("cache")
            lines.append("cache = DynamicCache()")
            given += ", past_key_values=cache, use_cache=True"
        changes = [(act.site, self._change(number, act, _inline(act.tokens) or f"at_{number}")) for number, act in now]
        return lines + self._trace(given, changes, reads, ends)

    def _trace(
        self,
        given: str,
        changes: Sequence[tuple[Site, list[str]]],
        reads: Sequence[tuple[str, Site, str | None]],
        ends: bool = True,
    ) -> list[str]:
        """Return the lines of one trace: everything in the model's order, and at one place changes in the order of writing, then reads."""
        todo = list(changes)
        for name, site, tokens in reads:
            spot = Spot(site, self.model)
            value = spot.read if tokens is None else spot.features(tokens)
            todo.append((site, [f"{name} = {value}.clone().save()"]))
        todo.sort(key=lambda pair: self.model.position(pair[0]))
        body: list[str] = []
        defined: dict[str, str] = {}
        attentions: dict[str, None] = {}
        for site, lines in todo:
            spot = Spot(site, self.model)
            self.needs |= spot.needs
            if spot.attention:
                attentions[spot.attention] = None
            if defined.get(spot.name) != spot.tensor:
                body.append(f"{spot.name} = {spot.tensor}")
                defined[spot.name] = spot.tensor
            body += lines
        if ends:
            body.append("last = model.output.logits[0, -1].clone().save()")
        contexts = f"eager({', '.join(attentions)}), torch.no_grad()" if attentions else "torch.no_grad()"
        return [f"with {contexts}, model.trace({given}):", *(f"    {line}" for line in body)]

    def _change(self, number: int, act: Intervention, tokens: str, value: str = "value") -> list[str]:
        """Return the lines, in a trace, of one intervention at some tokens."""
        operation, spot = act.operation(), Spot(act.site, self.model)
        self.functions[operation.function] = None
        arguments = [f"{name}={self._constant(name, number, array)}" for name, array in operation.arrays.items()]
        arguments += [f"{name}={number_!r}" for name, number_ in operation.numbers.items()]
        if act.sources() is not None:
            arguments.append(f"value={value}_{number}")
        if isinstance(act, Cut):
            arguments.append(f"keep=keep_{number}")
        features = spot.features(tokens)
        call = f"{operation.function.__name__}({', '.join([features, *arguments])})"
        if operation.amount != 1:
            self.functions[arithmetic.partly] = None
            call = f"{arithmetic.partly.__name__}({features}, {call}, amount={operation.amount!r})"
        return [f"# {type(act).__name__} at {act.site}", spot.changed(tokens, call)]

    def _constant(self, name: str, number: int, array: Floats) -> str:
        """Return the name of an array that stands before the runs, the same one for equal arrays."""
        shape = ", ".join(map(str, array.shape))
        if array.any():
            self.needs.add("array")
            text = base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode()
            value = f'array("{text}", {shape})'
        else:
            value = f"parameter.new_zeros({shape})"
        return self.constants.setdefault(value, "zero" if value == "parameter.new_zeros(1)" else f"{name}_{number}")

    def _chosen(self, selection: TokenSelection, variable: str) -> str:
        """Return an expression for the chosen tokens of what a variable holds."""
        self.needs.add("tokenized")
        match selection:
            case Positions(indices):
                return f"list(dict.fromkeys(i % len(ids) for i in {list(indices)}))"
            case Span(start, stop, step):
                return f"list(range(len(ids))[{_slice(start, stop, step)}])"
            case Match(text, nth):
                self.needs |= {"match", "overlapping"}
                return f"match(text, spans, {text!r}{'' if nth in (None, 1) else f', nth={nth}'})"
            case Regex(pattern, nth):
                self.needs |= {"search", "overlapping"}
                flags = re.RegexFlag(pattern.flags & ~re.UNICODE)
                expression = f"re.compile({pattern.pattern!r}{f', {flags!r}' if flags else ''})"
                return f"search(text, spans, {expression}{'' if nth is None else f', nth={nth}'})"
            case Role(role, nth):
                self.needs |= {"said", "tokenized chat"}
                return f"said({variable}, text, spans, {role!r}{'' if nth is None else f', nth={nth}'})"
        raise AssertionError(f"functions are refused before: {selection}")

    # generation

    def _generation(self, generation: Generation, acts: Sequence[Numbered]) -> list[str]:
        """Return the lines that go on after a prompt's run."""
        self.needs.add("ends")
        changes = []
        for number, act in acts:
            if act.steps is None:
                continue
            sources = act.sources()
            again = "later" if sources is not None and sources.how == "resample" else "value"
            comment, line = self._change(number, act, ":", again)
            when = _when(act.steps, generation.max_new_tokens)
            changes.append((act.site, [comment, *([line] if when is None else [f"if {when}:", f"    {line}"])]))
        stops = f"len(chosen) == {generation.max_new_tokens} or chosen[-1] in ends"
        if generation.stop:
            stops += f" or any(stop in model.tokenizer.decode(chosen) for stop in {list(generation.stop)!r})"
        token = "{'input_ids': torch.tensor([chosen[-1:]], device=parameter.device)}".replace("'", '"')
        return [
            "",
            "# token n goes in again, alone, at step n; what came before it is in the cache",
            "chosen = []",
            *([] if not generation.temperature else [f"random = torch.Generator().manual_seed({generation.seed})"]),
            f"for step in range({generation.max_new_tokens}):",
            *(f"    {line}" for line in _next_token(generation)),
            f"    if {stops}:",
            "        break",
            *(f"    {line}" for line in self._trace(f"{token}, past_key_values=cache, use_cache=True", changes, ())),
            "generated.append(chosen)",
        ]


def _next_token(generation: Generation) -> list[str]:
    """Return the lines that choose a token from ``last``, the logits."""
    if not generation.temperature:
        return ["chosen.append(int(last.float().argmax()))"]
    lines = [f"scores = last.float().cpu() / {generation.temperature!r}"]
    if generation.top_k is not None:
        lines.append(
            f"scores = scores.masked_fill(scores < scores.topk(min({generation.top_k}, len(scores))).values[-1], -torch.inf)"
        )
    lines.append("probabilities = scores.softmax(-1)")
    if generation.top_p is not None:
        lines += [
            "ordered, order = probabilities.sort(descending=True)",
            "# a token stays while what is more probable has not reached top_p yet",
            f"probabilities[order[ordered.cumsum(-1) - ordered >= {generation.top_p!r}]] = 0",
        ]
    return [*lines, "chosen.append(int(torch.multinomial(probabilities, 1, generator=random)))"]


def _when(steps: Steps, most: int) -> str | None:
    """Return the condition under which an intervention acts at a step; None where it always does."""
    match steps:
        case Span(None | 0, None, None | 1):
            return None
        case Span(start, stop, step):
            stop = most if stop is None else stop
            stride = "" if step in (None, 1) else f", {step}"
            return f"step in range({start or 0}, {stop}{stride})"
        case Positions(indices):
            return f"step in {list(indices)}"


def _acts_on_prompt(act: Intervention) -> bool:
    return act.tokens != Positions(())


def _inline(selection: TokenSelection) -> str | None:
    """Return a selection as an index of its own; None where it takes the prompt's text or length."""
    match selection:
        case Positions(indices) if min(indices) >= 0 or max(indices) < 0:
            # the same token twice is that token once; of mixed signs only the length tells
            return repr(list(dict.fromkeys(indices)))
        case Span(start, stop, step) if step is None or step > 0:
            return _slice(start, stop, step)
        case Match("last", None):
            return "[-1]"
        case Match("all", None):
            return ":"
    return None


def _slice(start: int | None, stop: int | None, step: int | None) -> str:
    ends = ":".join("" if end is None else str(end) for end in (start, stop))
    return ends if step in (None, 1) else f"{ends}:{step}"


def _count(selection: TokenSelection, number: int) -> str:
    """Return an expression for the number of chosen tokens."""
    index = _inline(selection)
    if index is None:
        return f"len(at_{number})"
    if isinstance(selection, Positions) or index == "[-1]":
        return str(index.count(",") + 1)
    return "len(ids)" if index == ":" else f"len(ids[{index}])"


def _name(site: Site) -> str:
    return str(site).replace(".", "_")


def _literal(prompt: Prompt) -> str:
    return repr(prompt.to_json() if isinstance(prompt, Chat) else prompt)


def _listed(name: str, prompts: Sequence[Prompt]) -> list[str]:
    if len(prompts) == 1:
        return [f"{name} = [{_literal(prompts[0])}]"]
    return [f"{name} = [", *(f"    {_literal(prompt)}," for prompt in prompts), "]"]


def _shown(generates: bool) -> list[str]:
    if generates:
        return [
            "",
            "for prompt, chosen in zip(prompts, generated):",
            "    print(repr(prompt), repr(model.tokenizer.decode(chosen)))",
        ]
    return [
        "",
        "for prompt, last in zip(prompts, logits):",
        "    probabilities, ids = last.float().softmax(-1).topk(5)",
        "    print(repr(prompt), [(model.tokenizer.decode([i]), round(p, 4)) for i, p in zip(ids.tolist(), probabilities.tolist())])",
    ]
