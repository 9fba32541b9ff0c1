"""Servers: how one is named, and which ones may be connected to.

nnsight loads what a server returns with ``torch.load(weights_only=False)``, so whoever runs the server, or changes its
answers on the way, can run code here. A server is therefore on the user's list before the first byte goes there.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nbinterp.hosted import asking, private_files

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _normal(text: str) -> str:
    wanted = 'wanted "ndif" or an address like "https://api.ndif.us" or "http://localhost:5001"'
    text = text.strip()
    if set(text) & set("@?#"):
        # the address is not shown: it may hold a password or a key
        raise ValueError(
            f"got an address with a user name, a query or a fragment; {wanted}: a key goes into nb.login()."
        )
    try:
        parts = urlsplit(text)
        name, port = _name(parts.hostname or ""), parts.port
    except ValueError:
        raise ValueError(f"got the host {text!r}; {wanted}.") from None
    path = parts.path.rstrip("/")
    # urlsplit drops line breaks and tabs without a word
    if parts.scheme not in _DEFAULT_PORTS or set(text) & set("\r\n\t") or not _PATH.fullmatch(path) or "/.." in path:
        raise ValueError(f"got the host {text!r}; {wanted}.")
    return f"{parts.scheme}://{name}{'' if port in (None, _DEFAULT_PORTS[parts.scheme]) else f':{port}'}{path}"


def _name(name: str) -> str:
    """Return the name of a machine as it is looked up, so that letters which only look alike are seen to differ."""
    if ":" in name:
        return f"[{ipaddress.IPv6Address(name)}]"
    name = name.encode("idna").decode()
    if not _NAME.fullmatch(name):
        raise ValueError(name)
    return name.rstrip(".")


@dataclass(frozen=True)
class Host:
    """A server of hosted models; equal ones have the same address.

    Parameters
    ----------
    url : str
        Its address in normal form, as `of` writes it: lower case, no default port, no closing slash, no user name,
        no password, no query.
    """

    url: str

    def __post_init__(self) -> None:
        if self.url != _normal(self.url):
            raise ValueError(f"got the address {self.url!r}; wanted it in normal form: use Host.of.")

    @classmethod
    def of(cls, text: str) -> Host:
        """Return the server that a text names.

        Parameters
        ----------
        text : str
            ``"ndif"`` for the one that nnsight is set up for (the environment's ``NDIF_HOST``, else nnsight's
            configuration, else the public service), or an address, ``"https://…"`` or ``"http://…"``.

        Raises
        ------
        ValueError
            When the text is not such an address, or holds a user name or password.
        """
        return cls(_normal(_configured() if text == "ndif" else text))

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, reached without a network."""
        name = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name == "localhost"

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read or change what is sent: encrypted, or on this machine."""
        return self.url.startswith("https://") or self.is_loopback

    def __str__(self) -> str:
        return self.url


PUBLIC = Host("https://api.ndif.us")
"""The public service of the National Deep Inference Fabric."""


def trust(host: str) -> None:
    """Put a server on your list of trusted ones, which `Model.open` connects to without a question.

    Whoever runs a server of hosted models can run code on the machine of its users: trust those whose people you know.
    The list is the file ``trusted_hosts`` in the configuration folder of nbinterp, one address a line; delete a line to
    take one off.

    Parameters
    ----------
    host : str
        The server's address, for example ``"https://ndif.lab.example"``. Without encryption (``http://``) everyone on
        the way to it is trusted as well; a tunnel, ``ssh -L 5001:localhost:5001 machine``, spares that.

    Raises
    ------
    ValueError
        When the address is not one.
    """
    url = Host.of(host).url
    path = _list()
    with private_files.one_writer():
        text = private_files.read(path)
        if url not in text.splitlines():
            private_files.write(path, f"{text.rstrip()}\n{url}\n".lstrip())


def check_trusted(host: Host) -> None:
    """Return if a server may be connected to; ask the user where somebody can answer.

    This machine and the public service are trusted. Any other is asked about once: a yes is kept by `trust`.

    Raises
    ------
    PermissionError
        When the user says no, or nobody can answer.
    """
    if host.is_loopback or host == PUBLIC or host.url in private_files.read(_list()).splitlines():
        return
    danger = "" if host.is_private else ", as could everyone on the way, for the connection is not encrypted"
    try:
        answer = asking.ask(
            f"{host} is not on your list of trusted servers. It could run code on this machine{danger}. "
            "Trust it from now on? [y/N] "
        )
    except asking.NobodyThereError:
        raise PermissionError(
            f"got the server {host}, which is not on your list of trusted ones and could run code on this machine{danger}; "
            f'wanted your word: call nb.trust("{host}") if you know who runs it.'
        ) from None
    if answer.lower() not in {"y", "yes"}:
        raise PermissionError(f"{host} is not trusted, so nothing was sent to it.")
    trust(host.url)


def _list() -> Path:
    return private_files.folder() / "trusted_hosts"


def _configured() -> str:
    # nnsight reads the variable once, as it is imported; a notebook may set it later
    if given := os.environ.get("NDIF_HOST"):
        return given
    from nnsight.schema.config import CONFIG

    return str(CONFIG.API.HOST)
