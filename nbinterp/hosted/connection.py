"""A connection to a server: kept open, with the key, and proved once."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Self

import httpx

from nbinterp.hosted.hosts import Host, check_trusted
from nbinterp.hosted.keys import http_client, key_for
from nbinterp.hosted.versions import check_versions

if TYPE_CHECKING:
    from nbinterp.hosted.keys import Key


class HostedError(RuntimeError):
    """Something went wrong at a hosted model; the text says what, and what to do."""


class Connection:
    """How a server is reached.

    Parameters
    ----------
    host : Host
        A trusted server.
    key : Key or None
        With which it is asked.
    """

    def __init__(self, host: Host, key: Key | None) -> None:
        self.host, self.key = host, key

    @classmethod
    def to(cls, host: str) -> Self:
        """Return a connection to a server that is trusted and runs versions that work together with those here.

        Raises
        ------
        PermissionError
            When it is not trusted, or wants a key and nobody can give one.
        HostedError
            When it does not answer, or cannot run what nbinterp sends.
        """
        server = Host.of(host)
        check_trusted(server)
        connection = cls(server, key_for(server))
        try:
            findings = check_versions(server, connection.key)
        except ConnectionError as error:
            raise HostedError(f"{error}") from None
        for finding in findings:
            if finding.fatal:
                raise HostedError(finding.text)
            warnings.warn(finding.text, UserWarning, stacklevel=4)
        return connection

    @functools.cached_property
    def client(self) -> httpx.Client:
        """What asks the server; making one takes longer than a small job."""
        return http_client(self.host, self.key, timeout=600.0)

    def fetch(self, url: str) -> bytes:
        """Return what lies at an address that the server named, which may be another machine's: without the key."""
        return self._stranger.get(url).raise_for_status().content

    @functools.cached_property
    def _stranger(self) -> httpx.Client:
        return httpx.Client(timeout=600.0, trust_env=not self.host.is_loopback)
