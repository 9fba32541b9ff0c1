"""The Jupyter server sends on at once what a kernel says."""

from __future__ import annotations

import asyncio
import json
import pathlib
import socket

import pytest
from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection
from tornado import httpserver, web, websocket
from tornado.websocket import websocket_connect

from nbinterp.server import _jupyter_server_extension_points, prompt

CONFIGURATION = pathlib.Path(__file__).parents[1] / "jupyter_server.json"


class Silent(BaseKernelWebsocketConnection):
    """A connection to no kernel."""

    async def connect(self):
        return "connected"


class Handler(websocket.WebSocketHandler):
    """Says whether its socket keeps small messages back."""

    async def open(self):
        before = self.held_back()
        connection = prompt(Silent)(websocket_handler=self)
        said = await connection.connect()
        await self.write_message(json.dumps([before, self.held_back(), said]))

    def held_back(self):
        option = self.ws_connection.stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        return option == 0


@pytest.fixture
def answer():
    async def ask():
        server = httpserver.HTTPServer(web.Application([("/", Handler)]))
        server.listen(0, "127.0.0.1")
        (port,) = {one.getsockname()[1] for one in server._sockets.values()}
        client = await websocket_connect(f"ws://127.0.0.1:{port}/")
        try:
            return json.loads(await client.read_message())
        finally:
            client.close()
            server.stop()

    return asyncio.run(ask())


def test_a_connection_holds_no_message_back_and_stays_what_it_was(answer):
    before, after, said = answer
    # the first is what jupyter_server does by itself: once it no longer does, nbinterp.server is not needed
    assert (before, after, said) == (True, False, "connected")
    assert prompt(Silent).__name__ == "Silent"
    assert issubclass(prompt(Silent), Silent)


def test_the_wheel_tells_the_server_to_load_it():
    (point,) = _jupyter_server_extension_points()
    assert json.loads(CONFIGURATION.read_text())["ServerApp"]["jpserver_extensions"] == {point["module"]: True}
