"""Versions here and on a server: what differs is named, with the command that makes them agree."""

import importlib.metadata
import platform
import sys

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import nbinterp as nb
from nbinterp.hosted import versions
from nbinterp.hosted.hosts import Host
from nbinterp.hosted.keys import Key
from nbinterp.hosted.versions import NEEDED, check_versions
from tests.hosted.loopback import loopback

SECRET = "5ec2e7ab-0000-4c0f-9d3a-c0ffee5ec2e7"
HERE = {package: importlib.metadata.version(package) for package in NEEDED}


def environment(python=sys.version, **packages):
    """What a server answers that has the same as this machine but for some packages; None takes one away."""
    changed = HERE | packages
    return {"python_version": python, "packages": {name: text for name, text in changed.items() if text is not None}}


def findings(content, status=200):
    with loopback({"/env": (status, content)}) as server:
        return server.url, check_versions(Host.of(server.url))


def next_of(package, number):
    """The version whose number (0 for the major one) is one higher than that of what is installed."""
    release = list(Version(HERE[package]).release[: number + 1])
    release[number] += 1
    return ".".join(map(str, [*release, *[0] * (2 - number)]))


def is_allowed(package, version):
    """Whether nbinterp's own metadata takes it."""
    wanted = next(one for one in map(Requirement, importlib.metadata.requires("nbinterp")) if one.name == package)
    return wanted.specifier.contains(version)


def test_what_agrees_has_no_findings():
    assert findings(environment())[1] == ()


def test_this_environment_as_nnsight_itself_reports_it_agrees():
    from nnsight.ndif import get_local_env

    # a server's answer is made in the same way
    assert findings(get_local_env())[1] == ()


@pytest.mark.parametrize("package", ["nnsight", "torch", "transformers"])
def test_a_patch_or_a_build_is_no_difference(package):
    release = Version(HERE[package]).release
    patch = ".".join(map(str, [*release[:2], release[2] + 1]))
    assert findings(environment(**{package: patch}))[1] == ()
    assert findings(environment(**{package: Version(HERE[package]).public + "+cu130"}))[1] == ()


@pytest.mark.parametrize(
    ("package", "number", "fatal"),
    [
        ("nnsight", 0, True),
        ("nnsight", 1, True),
        ("transformers", 0, True),
        ("transformers", 1, False),
        ("torch", 1, False),
    ],
)
def test_a_difference_is_one_sentence_with_the_command(package, number, fatal):
    there = next_of(package, number)
    url, (finding,) = findings(environment(**{package: there}))
    here = Version(HERE[package]).public
    assert (finding.package, finding.here, finding.there, finding.fatal) == (package, HERE[package], there, fatal)
    assert str(finding).startswith(f"got {package} {here} here and {there} at {url}, where ")
    if is_allowed(package, there):
        assert f"wanted the same: run `pip install {package}=={there}` and restart the kernel." in finding.text
    else:
        command = f"run `pip install {package}=={here}` on the server, since nbinterp {nb.__version__} needs {package}"
        assert f"wanted the same: {command}" in finding.text


def test_the_command_is_for_this_machine_where_nbinterp_takes_the_servers_version(monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.99.0" if name == "torch" else real(name))
    _, (finding,) = findings(environment())
    public = Version(HERE["torch"]).public
    assert finding.text.endswith(f"run `pip install torch=={public}` and restart the kernel.")


def test_another_python_names_what_cannot_be_read_and_the_kernel_to_make():
    minor = sys.version_info.minor + 1
    url, (finding,) = findings(environment(python=f"3.{minor}.2 (main, Jan 1 2026) [GCC]"))
    assert not finding.fatal
    assert finding.text == (
        f"got Python 3.{minor - 1} here and 3.{minor} at {url}, where dataclasses that your notebook defines cannot be "
        f"read; wanted a kernel with 3.{minor} where you send such: run `uv venv --python 3.{minor}`, and "
        "`uv pip install nbinterp` in it."
    )
    assert findings(environment(python=f"{platform.python_version()}+"))[1] == ()


def test_a_python_that_nbinterp_does_not_run_on_is_fatal():
    _, (finding,) = findings(environment(python="3.9.18"))
    assert finding.fatal
    assert finding.text.endswith("where nbinterp's operations do not run; wanted Python >=3.11 on the server.")


@pytest.mark.parametrize("package", NEEDED)
def test_a_package_that_the_server_lacks(package):
    url, (finding,) = findings(environment(**{package: None}))
    assert finding.fatal
    assert finding.text == (
        f"got no {package} at {url}, where nbinterp's operations need it; "
        f"wanted it: run `pip install {package}=={Version(HERE[package]).public}` on the server."
    )


def test_the_fatal_ones_come_first():
    _, found = findings(environment(torch=next_of("torch", 1), nnsight=next_of("nnsight", 1), numpy=None))
    assert [finding.fatal for finding in found] == [True, True, False]


def test_a_server_puts_nothing_into_a_command_but_a_version():
    for text in ("0.9.0; rm -rf ~", "$(id)", "0.9.0`", "", "latest"):
        assert findings(environment(nnsight=text))[1] == ()


@pytest.mark.parametrize(
    ("status", "content", "reason"),
    [
        (503, {"detail": "Service temporarily unavailable"}, "it answered 503 Service Unavailable"),
        (404, {"detail": "Not Found"}, "it answered 404 Not Found"),
        (200, "<html>", "its answer is not that of an NDIF server"),
        (200, [], "its answer is not that of an NDIF server"),
        (200, {"python_version": "3.11", "packages": None}, "its answer is not that of an NDIF server"),
    ],
)
def test_a_server_that_does_not_say_is_a_warning_and_asked_again(status, content, reason):
    with loopback({"/env": (status, content)}) as server:
        host = Host.of(server.url)
        (finding,) = check_versions(host)
        assert not finding.fatal
        assert f"could not be compared with those of {host}: {reason};" in finding.text
        server.answers["/env"] = (200, environment())
        assert check_versions(host) == ()


def test_a_server_is_asked_once():
    with (
        loopback({"/env": (200, environment(numpy=None))}) as server,
        loopback({"/env": (200, environment())}) as other,
    ):
        first, second = (check_versions(Host.of(server.url)) for _ in range(2))
        assert first == second != ()
        assert len(server.requests) == 1
        assert check_versions(Host.of(other.url)) == ()


@pytest.mark.parametrize("cut", [True, False])
def test_no_answer_at_all_is_one_sentence_without_the_key(cut):
    key = Key(SECRET)
    with loopback({"/env": None}) as server:
        host = Host.of(server.url)
        if cut:
            with pytest.raises(
                ConnectionError, match=r"^got no answer from http://127.*\(peer closed .*is it running\?$"
            ):
                check_versions(host, key)
            assert server.headers_of("/env")[0]["ndif-api-key"] == SECRET
    if not cut:
        with pytest.raises(
            ConnectionError, match=r"^got no answer from .*Connection refused.*is it running\?$"
        ) as caught:
            check_versions(host, key)
        assert caught.value.__context__ is None
    assert versions._environments == {}


def test_a_stranger_is_sent_nothing(monkeypatch):
    with loopback({"/env": (200, environment())}) as server:
        # as if it were across a network
        monkeypatch.setattr(Host, "is_loopback", False)
        with pytest.raises(PermissionError, match=r"call nb\.trust"):
            check_versions(Host.of(server.url), Key(SECRET))
        nb.trust(server.url)
        with pytest.raises(ValueError, match="^got a key for http://127"):
            check_versions(Host.of(server.url), Key(SECRET))
        assert server.requests == []
