r"""How people write which tokens and which steps: ``all``, ``last``, ``3``, ``2:5, 7``, ``" France"``, ``/F\w+/``, ``@user``.

Every selection has one text from which it is read back, but those that a function of the user's makes: they stay what they
are under `AS_GIVEN`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from nbinterp.steps import Steps, select_steps
from nbinterp.tokens import Chosen, Match, Positions, Regex, Role, Span, TokenSelection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbinterp.prompts import TokenizedPrompt

AS_GIVEN = "as given"
"""Stands for tokens that cannot be written down: those of the intervention that was given."""

MOST = 2000
"""Characters that a place may have."""

_FLAGS = {"a": re.ASCII, "i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
_NTH = r"(?:#(?P<nth>[1-9]\d{0,5}))?"
_REGEX = re.compile(rf"/(?P<pattern>.*)/(?P<flags>[aimsux]*){_NTH}", re.DOTALL)
_QUOTED = re.compile(rf"(?P<text>\".*\"|'.*'){_NTH}", re.DOTALL)
_ROLE = re.compile(rf"@(?P<role>\".*\"|[^\s#\"]+){_NTH}", re.DOTALL)
_RANGE = re.compile(r"(-?\d{1,9})?:(-?\d{1,9})?(?::(-?\d{1,9})?)?")
_INDEX = re.compile(r"-?\d{1,9}")
_WANTED = 'write all, last, 3, 2:5, 7 (several), " France" (a piece of the prompt), /F\\w+/ (a pattern), @user or none'
_WANTED_STEPS = "write all, none, 3, 2:5 or 0, 4"
_MOST_INDICES = 100_000
_WORDS: dict[str, Positions | Span] = {"all": Span(), "last": Positions((-1,)), "none": Positions(())}


def read_tokens(text: str) -> TokenSelection:
    r"""Return the selection that a text names.

    Parameters
    ----------
    text : str
        ``all`` (or nothing), ``last``, ``none``, indices and ranges, a piece of the prompt in quotes, a pattern between slashes, or a
        role behind ``@``. ``#2`` behind one of the last three means the second of them.

    Raises
    ------
    ValueError
        For a text that names none.

    Examples
    --------
    >>> read_tokens("2:5, 7")
    Positions(indices=(2, 3, 4, 7))
    >>> read_tokens('" France"#2')
    Match(text=' France', nth=2)
    """
    # a field that was left empty means what an intervention means without tokens
    stripped = _checked(text, "tokens")
    if stripped in _WORDS:
        return _WORDS[stripped]
    if found := _REGEX.fullmatch(stripped):
        flags = re.RegexFlag(0)
        for letter in found["flags"].replace("u", ""):
            flags |= _FLAGS[letter]
        try:
            return Regex(re.compile(found["pattern"], flags), _nth(found["nth"]))
        except re.error as error:
            raise ValueError(
                f"got the pattern {found['pattern']!r}, which is no regular expression: {error}."
            ) from None
    if found := _QUOTED.fullmatch(stripped):
        return Match(_unquoted(found["text"]), _nth(found["nth"]))
    if found := _ROLE.fullmatch(stripped):
        role = found["role"]
        return Role(_unquoted(role) if role.startswith('"') else role, _nth(found["nth"]))
    numbers = _numbers(stripped)
    if numbers is None:
        hint = (
            f"put a piece of the prompt into quotes: {_quoted(stripped)}, or "
            if re.search(r"[^\W\d]", stripped)
            else ""
        )
        raise ValueError(f"got the tokens {_short(stripped)}; {hint}{_WANTED}.")
    return numbers


def write_tokens(tokens: TokenSelection) -> str:
    """Return the text from which `read_tokens` makes an equal selection; `AS_GIVEN` where there is none.

    Examples
    --------
    >>> write_tokens(Positions((-1,))), write_tokens(Span(2, 5)), write_tokens(Match(" France", 2))
    ('last', '2:5', '" France"#2')
    """
    match tokens:
        case Span() | Positions():
            return _write_numbers(tokens)
        case Match(text, nth):
            return _quoted(text) + _hash(nth)
        case Role(role, nth):
            plain = re.fullmatch(r"[^\s#\"]+", role)
            return f"@{role if plain else _quoted(role)}{_hash(nth)}"
        case Regex(pattern, nth):
            letters = "".join(letter for letter, flag in _FLAGS.items() if pattern.flags & flag)
            return f"/{pattern.pattern}/{letters}{_hash(nth)}"
        case Chosen():
            return AS_GIVEN


def read_steps(text: str) -> Steps | None:
    """Return which generated tokens a text names; None for ``none`` and an empty text.

    Raises
    ------
    ValueError
        For a text that names none of them.
    """
    stripped = text.strip()
    if stripped in ("", "none"):
        return None
    numbers = Span() if _checked(text, "steps") == "all" else _numbers(stripped)
    if numbers is None:
        raise ValueError(f"got the steps {_short(stripped)}; {_WANTED_STEPS} (the first generated token is 0).")
    return select_steps(numbers)


def write_steps(steps: Steps | None) -> str:
    """Return the text from which `read_steps` makes equal steps."""
    return "none" if steps is None else _write_numbers(steps)


def where(tokens: TokenSelection, prompt: TokenizedPrompt) -> str:
    """Return which tokens of a prompt are chosen, in words."""
    texts = [repr(prompt.tokens[i]) for i in tokens.resolve(prompt)]
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _checked(text: str, what: str) -> str:
    if len(text) > MOST:
        raise ValueError(f"got {what} written with {len(text):,} characters; wanted at most {MOST:,}.")
    return text.strip() or "all"


def _numbers(text: str) -> Positions | Span | None:
    """Return indices and ranges: one range as a slice, several as the indices that they hold."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 and (found := _RANGE.fullmatch(parts[0])):
        start, stop, step = (None if part is None else int(part) for part in found.groups())
        if step == 0:
            raise ValueError(f"got the range {text!r} with step 0; wanted another step.")
        return Span(start, stop, step)
    indices: list[int] = []
    for part in parts:
        if _INDEX.fullmatch(part):
            indices.append(int(part))
        elif found := _RANGE.fullmatch(part):
            indices.extend(_closed(part, found.groups()))
        else:
            return None
    return Positions(tuple(indices))


def _closed(part: str, bounds: Sequence[str | None]) -> range:
    start, stop, step = (None if bound is None else int(bound) for bound in bounds)
    if stop is None or min(start or 0, stop) < 0 or (step is not None and step < 1):
        raise ValueError(f"got the range {part!r} among others; wanted one with both ends counted from 0, such as 2:5.")
    if stop - (start or 0) > _MOST_INDICES:
        raise ValueError(f"got the range {part!r} among others, which is too long; wanted at most {_MOST_INDICES:,}.")
    return range(start or 0, stop, step or 1)


def _write_numbers(numbers: Positions | Span) -> str:
    match numbers:
        case Span(None, None, None):
            return "all"
        case Span(start, stop, step):
            ends = f"{_or_nothing(start)}:{_or_nothing(stop)}"
            return ends if step is None else f"{ends}:{step}"
        case Positions((-1,)):
            return "last"
        case Positions(indices):
            return ", ".join(map(str, indices)) or "none"


def _or_nothing(number: int | None) -> str:
    return "" if number is None else str(number)


def _nth(text: str | None) -> int | None:
    return None if text is None else int(text)


def _hash(nth: int | None) -> str:
    return "" if nth is None else f"#{nth}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _unquoted(text: str) -> str:
    if text.startswith("'"):
        found = text[1:-1]
    else:
        try:
            found = json.loads(text, strict=False)
        except json.JSONDecodeError:
            raise ValueError(
                f'got the piece of text {_short(text)}, with a quote or a backslash inside; write \\" and \\\\ for these.'
            ) from None
    if not found:
        raise ValueError(f"got an empty piece of text, {text}; write a piece of the prompt between the quotes.")
    return str(found)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
