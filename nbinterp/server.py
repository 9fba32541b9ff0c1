"""What nbinterp changes in a Jupyter server: what a kernel says reaches the page at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

_SETTING = "kernel_websocket_connection_class"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "nbinterp.server"}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    settings = app.web_app.settings
    settings[_SETTING] = prompt(settings[_SETTING])


def prompt(connection: type[Any]) -> type[Any]:
    """Return a class of connections between kernel and page that hold no message back.

    A kernel answers a widget with several small messages. By default the operating system sends the first and keeps the
    others until the browser has confirmed it (Nagle's algorithm, RFC 896), which a browser puts off for 40 ms (delayed
    acknowledgement, RFC 1122, section 4.2.3.2): a slider then feels slow, whatever it is connected to.

    Parameters
    ----------
    connection : type
        A subclass of jupyter_server's ``BaseKernelWebsocketConnection``.
    """

    class Prompt(connection):  # type: ignore[misc]
        def connect(self) -> Any:
            self.websocket_handler.set_nodelay(True)
            return super().connect()

    Prompt.__name__ = Prompt.__qualname__ = connection.__name__
    return Prompt
