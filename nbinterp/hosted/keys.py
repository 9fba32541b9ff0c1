"""API keys: where one comes from, whom it may be shown to, and how it is kept out of everything that is printed."""

from __future__ import annotations

import json
import os
import re
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, TypeVar
from urllib.parse import quote, urlsplit

from nbinterp.hosted import asking, private_files
from nbinterp.hosted.hosts import PUBLIC, Host, check_trusted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

HEADER = "ndif-api-key"
MASK = "***"

_E = TypeVar("_E", bound=BaseException)


class Key:
    """An API key that can be passed on, and not seen.

    Its representations are masked, it is not pickled nor written as JSON, and its copies are itself. `reveal` is the
    only door.

    Parameters
    ----------
    secret : str
        The key; spaces around it are dropped.

    Raises
    ------
    ValueError
        When it is empty or holds characters that no HTTP header takes. The message does not show it.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        # masked first: a traceback with local variables would show the argument
        secret = Secret(secret.strip())
        if not re.fullmatch(r"[!-~]+", secret):
            raise ValueError(
                "got a key that is empty or has spaces, line breaks or letters beyond ASCII; copy it again."
            )
        self._secret = secret

    def reveal(self) -> Secret:
        """Return the key itself, for the header of a request and nothing else."""
        return self._secret

    def __repr__(self) -> str:
        return f"Key({MASK})"

    def __format__(self, _: str) -> str:
        return repr(self)

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, _: object) -> Key:
        return self

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        _refuse_pickling()


class Secret(str):
    """The text of a key: what writes it as a value is given a mask, what sends it is given the key.

    ``repr``, ``str`` and ``format`` mask it, so a debugger, a log line and a traceback with local variables do. Encoding
    and joining do not, since HTTP and WebSocket clients build their headers so; nor does `json`, so it never leaves a
    `Key` but for a header.
    """

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the key's bytes, which are masked in the same way: httpx keeps them in ``error.request.headers``."""
        return _SecretBytes(super().encode(encoding, errors))

    def __repr__(self) -> str:
        return repr(MASK)

    def __str__(self) -> str:
        return MASK

    def __format__(self, _: str) -> str:
        return MASK

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: object) -> Secret:
        return self

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        _refuse_pickling()


class _SecretBytes(bytes):
    __slots__ = ()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return Secret(super().decode(encoding, errors))

    def __repr__(self) -> str:
        return repr(MASK.encode())

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return repr(self)

    def __copy__(self) -> _SecretBytes:
        return self

    def __deepcopy__(self, _: object) -> _SecretBytes:
        return self

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        _refuse_pickling()


def _refuse_pickling() -> NoReturn:
    raise TypeError("an API key is never pickled; call key_for(host) where it is needed.")


_typed: dict[Host, Key] = {}
"""What was typed in this process, by server."""


def key_for(host: Host) -> Key | None:
    """Return the key that a server is to be sent, or None where there is none.

    A key belongs to one server. In this order: what was typed or stored by `login` in this process; the environment's
    ``NDIF_API_KEY`` for the server that ``"ndif"`` names; what `login` stored for the server; the key of nnsight's
    configuration for the server that it names; for the public service a password field, whose answer is kept for this
    process only.

    Raises
    ------
    PermissionError
        When the public service needs a key and nobody can type one.
    ValueError
        When the key would travel without encryption.
    """
    key = _typed.get(host) or _from_environment(host) or _stored(host) or _from_nnsight(host)
    if key is None and host == PUBLIC:
        key = _typed[host] = _asked(host)
    if key is not None:
        _check_private(host)
    return key


def login(host: str = "ndif") -> None:
    """Ask for a server's API key in a password field and store it for later sessions, readable by you alone.

    The key is no argument, so that it is in no cell of a saved notebook. That of the server which nnsight is set up for
    goes into nnsight's own configuration file, where nnsight finds it as well; those of others go into ``keys.json`` in
    the configuration folder of nbinterp. Both have the mode 0600.

    Parameters
    ----------
    host : str
        ``"ndif"``, or a server's address.

    Raises
    ------
    PermissionError
        When nobody can type a key, or the server is not trusted.
    ValueError
        When there is no such address, the key would travel without encryption, or the key is not one.
    """
    server = Host.of(host)
    _check_private(server)
    check_trusted(server)
    key = _asked(server)
    _typed[server] = key
    try:
        path = _store(server, key)
    except OSError as error:  # the frames below hold the file's text
        raise no_key_in(error, key) from None
    print(f"The key for {server} is in {path}, readable by you alone; {_identity(server, key)}.")


def http_client(host: Host, key: Key | None = None, *, timeout: float = 30.0) -> httpx.Client:
    """Return an HTTP client to a trusted server, which sends the key with every request.

    Parameters
    ----------
    host : Host
        The server.
    key : Key, optional
        What `key_for` returned.
    timeout : float
        Seconds to wait for each step of a request.

    Raises
    ------
    PermissionError
        When the server is not trusted.
    ValueError
        When the key would travel without encryption.
    """
    import httpx

    check_trusted(host)
    if key is not None:
        _check_private(host)
    return httpx.Client(
        base_url=host.url,
        headers={HEADER: key.reveal()} if key is not None else None,
        timeout=timeout,
        # a proxy of the environment is for the network: what is meant for this machine would leave it, unencrypted
        trust_env=not host.is_loopback,
        # whoever is redirected to is another server
        follow_redirects=False,
    )


def scrubbed(text: str, key: Key | None) -> str:
    """Return a text without the key: a server puts a malformed one into its answer."""
    return text if key is None else _pattern(key).sub(MASK, text)


def no_key_in(error: _E, key: Key | None) -> _E | RuntimeError:
    """Return an exception that shows the key nowhere, for ``raise no_key_in(error, key)``.

    Its message, notes and attributes are scrubbed, and those of its causes; the local variables of the frames that it
    went through are dropped, since an HTTP library's hold the header. One that cannot be scrubbed becomes a
    RuntimeError with its text.
    """
    if key is None:
        return error
    shown = _pattern(key)
    for link in _chain(error):
        link.args = tuple(_scrubbed_value(value, shown) for value in link.args)
        vars(link).update({name: _scrubbed_value(value, shown) for name, value in vars(link).items()})
        traceback.clear_frames(link.__traceback__)
    whole = "".join(traceback.format_exception(error)) + repr(error)
    if not shown.search(whole):
        return error
    stand_in = RuntimeError(shown.sub(MASK, f"{type(error).__name__}: {error}"))
    stand_in.__suppress_context__ = True  # the original, where this is raised while it is handled
    return stand_in


def _scrubbed_value(value: Any, shown: re.Pattern[str]) -> Any:
    if isinstance(value, list):  # of notes
        return [_scrubbed_value(item, shown) for item in value]
    if isinstance(value, bytes) and shown.search(value.decode("latin-1")):
        return shown.sub(MASK, value.decode("latin-1")).encode("latin-1")
    # str.__str__ and not the value: a Secret has its own
    return shown.sub(MASK, str.__str__(value)) if isinstance(value, str) else value


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return an exception and all that it shows: causes, contexts, members of a group, exceptions that it wraps."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        link = waiting.pop()
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            waiting += [link.__cause__, link.__context__, *link.args, *getattr(link, "exceptions", ())]
            yield link


def _pattern(key: Key) -> re.Pattern[str]:
    # str.__str__: the secret as it is
    secret = str.__str__(key.reveal())
    forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))), re.IGNORECASE)


def _check_private(host: Host) -> None:
    if not host.is_private:
        parts = urlsplit(host.url)
        raise ValueError(
            f"got a key for {host}, where everyone on the way could read it; wanted https, or a tunnel: run "
            f'`ssh -N -L 5001:localhost:{parts.port or 80} {parts.hostname}` and open host="http://localhost:5001".'
        )


def _asked(host: Host) -> Key:
    where = " (free: https://login.ndif.us)" if host == PUBLIC else ""
    try:
        return Key(asking.ask_hidden(f"API key for {host}{where}: "))
    except asking.NobodyThereError:
        raise PermissionError(
            f"got no API key for {host}{where} and nobody here who could type one; "
            "wanted the environment variable NDIF_API_KEY, or nb.login() once in a notebook or a terminal."
        ) from None


def _from_environment(host: Host) -> Key | None:
    if not os.environ.get("NDIF_API_KEY", "").strip() or host != Host.of("ndif"):
        return None
    return Key(os.environ["NDIF_API_KEY"])


def _stored(host: Host) -> Key | None:
    keys = _read_keys()
    return Key(keys[host.url]) if host.url in keys else None


def _from_nnsight(host: Host) -> Key | None:
    """Return the key that nnsight has read: from its file, from the environment, or from Colab's secrets."""
    from nnsight.schema.config import CONFIG

    if not CONFIG.API.APIKEY:
        return None
    stored = _read_nnsight()
    owner = _owner(stored) if stored.get("APIKEY") == CONFIG.API.APIKEY else Host.of("ndif")
    return Key(CONFIG.API.APIKEY) if host == owner else None


def _owner(stored: dict[str, Any]) -> Host:
    """Return the server whose key nnsight's file holds; the one that the environment names may be another."""
    return Host.of(stored.get("HOST") or PUBLIC.url)


def _store(host: Host, key: Key) -> Path:
    """Write a key where later sessions find it, and return that file."""
    with private_files.one_writer():
        if host == _owner(_read_nnsight()):
            import yaml

            path = _nnsight_file()
            content = _read_yaml(path)
            # as plain text: YAML takes no subclass of str
            content["API"] = {**(content.get("API") or {}), "APIKEY": str.__str__(key.reveal())}
            private_files.write(path, yaml.safe_dump(content, sort_keys=False))
        else:
            path = _keys_file()
            private_files.write(path, json.dumps(_read_keys() | {host.url: key.reveal()}, indent=2) + "\n")
    return path


def _keys_file() -> Path:
    return private_files.folder() / "keys.json"


def _read_keys() -> dict[str, Secret]:
    # suppressed and not chained: the error and its frames hold the text
    with suppress(ValueError, AttributeError):
        keys = json.loads(private_files.read(_keys_file()) or "{}")
        return {url: Secret(secret) for url, secret in keys.items()}
    raise ValueError(f"{_keys_file()} is not the JSON that it was; delete it and call nb.login(host) again.")


def _nnsight_file() -> Path:
    from nnsight.schema.config import _user_config_path

    path: Path = _user_config_path()
    return path


def _read_nnsight() -> dict[str, Any]:
    """Return the section ``API`` of the user's nnsight file; where that holds a key, others cannot open it any more."""
    path = _nnsight_file()
    stored: dict[str, Any] = _read_yaml(path).get("API") or {}
    if stored.get("APIKEY"):
        private_files.tighten(path)
        stored["APIKEY"] = Secret(stored["APIKEY"])
    return stored


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    if not path.exists():
        return {}
    with suppress(yaml.YAMLError, AttributeError):  # as in _read_keys
        return dict((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).items())
    raise ValueError(f"{path} is not the YAML that nnsight wants; mend or delete it.")


def _identity(host: Host, key: Key) -> str:
    """Return whom the server takes the key's owner for, as the end of a sentence."""
    import httpx

    try:
        with http_client(host, key, timeout=10.0) as client:
            answer = client.get("/whoami").raise_for_status().json()
        email = answer.get("email")
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        return f"it could not be checked ({scrubbed(str(error), key)})"
    return f"it belongs to {email}" if email else "the server does not know it, or checks no keys"
