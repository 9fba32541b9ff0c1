"""What a page asks of Python and is answered at once: undo, a table's lines, an export. Never the model's work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Answer = Mapping[str, Any] | tuple[Mapping[str, Any], list[bytes]] | None
Handler = Callable[..., Answer]


class _Page(Protocol):
    def on_msg(self, callback: Any, remove: bool = ...) -> None: ...
    def send(self, content: Any, buffers: Any = ...) -> None: ...


def answer_page(widget: _Page, handlers: Mapping[str, Handler]) -> None:
    """Answer what the page of a widget asks with ``Asking.ask`` of js/src/lib/asking.ts.

    A question is ``{"ask": number, "what": name, …arguments}``. The handler of that name gets the arguments by name and returns
    what goes into ``{"reply": number, "problem": "", …}``, with bytes beside it where it returns a pair. What it raises becomes
    the sentence in ``problem``. It may be called on another thread than the main one, also while a cell runs: long work
    and the model's work go to `nbinterp.Model.live` from there.

    Parameters
    ----------
    widget
        An anywidget.
    handlers : mapping of str to callable
        By what is asked.
    """

    def answered(_: object, content: Any, buffers: object) -> None:
        if not isinstance(content, Mapping) or "ask" not in content:
            return
        arguments = {str(name): value for name, value in content.items() if name not in ("ask", "what")}
        try:
            handler = handlers.get(str(content.get("what")))
            if handler is None:
                raise LookupError(f"got the question {content.get('what')!r}; wanted one of {', '.join(handlers)}.")
            answer = handler(**arguments)
        except Exception as error:  # a page is told what went wrong, whatever it is
            widget.send({"reply": content["ask"], "problem": told(error)})
            return
        said, data = answer if isinstance(answer, tuple) else (answer or {}, [])
        widget.send({"reply": content["ask"], "problem": "", **said}, buffers=data)

    widget.on_msg(answered)


def told(error: BaseException) -> str:
    """Return an error as a widget shows it: its sentence, with its kind where the sentence does not say what was got."""
    sentence = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    notes = " ".join(getattr(error, "__notes__", []))
    text = sentence if sentence.startswith("got ") else f"{type(error).__name__}: {sentence}"
    return f"{text} ({notes})" if notes else text
