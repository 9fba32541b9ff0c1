"""Whether what is installed here and on a server fit together, and what to install where they do not."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nbinterp
from nbinterp.hosted.keys import http_client, scrubbed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    from nbinterp.hosted.hosts import Host
    from nbinterp.hosted.keys import Key

# what differs, in which number of the version, for what reason, and whether work is then impossible
_RULES = (
    ("nnsight", 2, "a request of one release series is not read by another", True),
    ("transformers", 1, "the modules of a model have other names and outputs", True),
    ("transformers", 2, "some models' modules may have other names there", False),
    ("torch", 2, "numbers may differ in their last digits", False),
)

NEEDED = ("attrs", "nnsight", "numpy", "torch", "transformers")
"""What nbinterp's own code imports where it runs on a server; each is imported by the name of its package."""


@dataclass(frozen=True)
class Finding:
    """A difference between this machine and a server.

    Parameters
    ----------
    package : str
        What differs.
    here, there : str
        The two versions; empty where there is none or it is not known.
    fatal : bool
        Whether nothing works as long as they differ; else results may differ.
    text : str
        One sentence that says what to install, and where.
    """

    package: str
    here: str
    there: str
    fatal: bool
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class _Environment:
    python: str
    packages: dict[str, str]


_environments: dict[Host, _Environment] = {}
"""What servers said they run, in this process; a server that could not say is asked again."""


def check_versions(host: Host, key: Key | None = None) -> tuple[Finding, ...]:
    """Compare the versions here with those of a server, which is asked once per process.

    Parameters
    ----------
    host : Host
        A trusted server.
    key : Key, optional
        What `nbinterp.hosted.keys.key_for` returned.

    Returns
    -------
    tuple of Finding
        The fatal ones first; empty where all agree.

    Raises
    ------
    PermissionError
        When the server is not trusted; nothing is sent to it then.
    ConnectionError
        When nothing answers at its address.
    """
    if host not in _environments:
        answer = _asked(host, key)
        if isinstance(answer, Finding):
            return (answer,)
        _environments[host] = answer
    server = _environments[host]
    findings = [*_differences(host, server), *_missing(host, server), *_python(host, server)]
    return tuple(sorted(findings, key=lambda finding: not finding.fatal))


def _asked(host: Host, key: Key | None) -> _Environment | Finding:
    import httpx

    try:
        with http_client(host, key) as client:
            response = client.get("/env")
    except httpx.TimeoutException:
        return _silent(host, "it did not answer in time")
    except httpx.HTTPError as error:
        reason = scrubbed(str(error), key)
    else:
        if not response.is_success:
            return _silent(host, f"it answered {response.status_code} {response.reason_phrase}".rstrip())
        try:
            content = response.json()
            return _Environment(
                python=str(content["python_version"]),
                packages={str(name): str(version) for name, version in content["packages"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return _silent(host, "its answer is not that of an NDIF server")
    # outside of the handler, so that the header in httpx's frames is not part of the traceback
    raise ConnectionError(f"got no answer from {host} ({reason}); wanted an NDIF server there: is it running?")


def _silent(host: Host, reason: str) -> Finding:
    text = (
        f"the versions here could not be compared with those of {host}: {reason}; what differs shows as an error later."
    )
    return Finding("", "", "", fatal=False, text=text)


def _differences(host: Host, server: _Environment) -> Iterator[Finding]:
    found = set()
    for package, numbers, reason, fatal in _RULES:
        here, there = _version(importlib.metadata.version(package)), _version(server.packages.get(package, ""))
        if here is None or there is None or package in found or here.release[:numbers] == there.release[:numbers]:
            continue
        found.add(package)
        text = f"got {package} {here.public} here and {there.public} at {host}, where {reason}; wanted the same"
        yield Finding(package, str(here), str(there), fatal, f"{text}: {_agreement(package, here, there)}.")


def _agreement(package: str, here: Version, there: Version) -> str:
    """Say what makes two versions the same: the server's here, unless nbinterp does not take that one."""
    bound = _bound(package)
    if there not in _specifiers(bound):
        return (
            f"run `pip install {package}=={here.public}` on the server, "
            f"since nbinterp {nbinterp.__version__} needs {package}{bound}"
        )
    return f"run `pip install {package}=={there.public}` and restart the kernel"


def _missing(host: Host, server: _Environment) -> Iterator[Finding]:
    for package in NEEDED:
        if package not in server.packages:
            here = importlib.metadata.version(package)
            text = (
                f"got no {package} at {host}, where nbinterp's operations need it; "
                f"wanted it: run `pip install {package}=={here.partition('+')[0]}` on the server."
            )
            yield Finding(package, here, "", fatal=True, text=text)


def _python(host: Host, server: _Environment) -> Iterator[Finding]:
    found = re.match(r"(\d+)\.(\d+)", server.python)
    here = ".".join(platform.python_version_tuple()[:2])
    if found is None or found[0] == here:
        return
    there, bound = found[0], importlib.metadata.metadata("nbinterp")["Requires-Python"]
    text = f"got Python {here} here and {there} at {host}, where"
    if there not in _specifiers(bound):
        text = f"{text} nbinterp's operations do not run; wanted Python {bound} on the server."
        yield Finding("Python", here, there, fatal=True, text=text)
        return
    # nnsight sends functions as source; the methods that a dataclass writes have none and go as bytecode, which raises
    # there (seen from 3.11 to 3.12) or ends the server's process (from 3.11 to 3.13)
    text = (
        f"{text} dataclasses that your notebook defines cannot be read; wanted a kernel with {there} where you send such: "
        f"run `uv venv --python {there}`, and `uv pip install nbinterp` in it."
    )
    yield Finding("Python", here, there, fatal=False, text=text)


def _bound(package: str) -> str:
    """Return the versions of a package that nbinterp takes, as its own metadata has them."""
    from packaging.requirements import Requirement

    parsed = map(Requirement, importlib.metadata.requires("nbinterp") or [])
    return next((str(one.specifier) for one in parsed if one.name == package and one.marker is None), "")


def _specifiers(text: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(text, prereleases=True)


def _version(text: str) -> Version | None:
    """Return a version, or None: what a server says goes into a command only where it is nothing else than a version."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text)
    except InvalidVersion:
        return None
