"""API keys: which server gets which, where they lie, and that nothing that is printed, logged or kept shows one."""

import copy
import io
import json
import logging
import os
import pickle
import pprint
import stat
import traceback

import httpx
import pytest
import yaml

import nbinterp as nb
from nbinterp import __main__ as cli
from nbinterp.hosted import keys
from nbinterp.hosted.hosts import PUBLIC, Host
from nbinterp.hosted.keys import Key, http_client, key_for, no_key_in, scrubbed
from tests.hosted.loopback import loopback
from tests.hosted.test_hosts import at_a_terminal

SECRET = "5ec2e7ab-0000-4c0f-9d3a-c0ffee5ec2e7"
OTHER = "07e20000-1111-4c0f-9d3a-c0ffee07e200"
LAB = "https://ndif.lab.example"


def nnsight_file(folder):
    return folder / "nnsight" / "config.yaml"


def keys_file(folder):
    return folder / "nbinterp" / "keys.json"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def revealed(key):
    return None if key is None else "".join([key.reveal()])


def shown(error):
    """Everything that a person may be shown of an exception: a traceback with local variables in four libraries' ways."""
    from IPython.core.ultratb import AutoFormattedTB
    from rich.console import Console
    from rich.traceback import Traceback

    parts = (type(error), error, error.__traceback__)
    text = io.StringIO()
    Console(file=text, width=400).print(Traceback.from_exception(*parts, show_locals=True, locals_max_string=None))
    verbose = AutoFormattedTB(mode="Verbose", theme_name="nocolor").text(*parts)
    plain = traceback.TracebackException.from_exception(error, capture_locals=True)
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "failed: %r %s", (error, error), parts)
    return "\n".join(
        [text.getvalue(), verbose, *plain.format(), logging.Formatter().format(record), repr(error), str(vars(error))]
    )


def failed_request(url, headers, key=None):
    """Return the exception of a request whose connection is cut in mid-answer; its frames hold the headers."""
    try:
        with httpx.Client() as client:
            client.get(f"{url}/cut", headers=headers)
    except httpx.HTTPError as error:
        return no_key_in(error, key)


WRITERS = {
    "repr": repr,
    "str": str,
    "format": "{:>60}".format,
    "percent": lambda value: f"{value!s} %s %r" % (value, value),
    "pprint": pprint.pformat,
    "in a list": lambda value: str([value, {"key": value}]),
    "vars": lambda value: str(vars(value)) if hasattr(value, "__dict__") else str(dir(value)),
    "slots": lambda value: str([getattr(value, name) for name in getattr(value, "__slots__", ())]),
    "copy": lambda value: repr(copy.copy(value)),
    "deepcopy": lambda value: repr(copy.deepcopy({"key": value})),
    "logging": lambda value: logging.LogRecord("x", 1, "x", 1, "%s %r", (value, value), None).getMessage(),
    "yaml": lambda value: yaml.dump(str(value)),
}


class TestSecrecy:
    @pytest.mark.parametrize("writer", WRITERS)
    def test_no_representation_shows_it(self, writer):
        key = Key(SECRET)
        for value in (key, key.reveal(), key.reveal().encode(), key.reveal().encode().decode()):
            text = WRITERS[writer](value)
            assert SECRET not in text
            assert "***" in text or writer in ("vars", "slots")

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_is_not_pickled(self, protocol):
        import cloudpickle

        key = Key(SECRET)
        for value in (key, key.reveal(), key.reveal().encode(), [key], lambda: key):
            with pytest.raises(TypeError, match="^an API key is never pickled"):
                cloudpickle.dumps(value, protocol)

    def test_it_is_no_json(self):
        with pytest.raises(TypeError, match="Key is not JSON serializable"):
            json.dumps({"key": Key(SECRET)})
        assert json.dumps({"key": Key(SECRET)}, default=str) == '{"key": "Key(***)"}'

    def test_rich_and_ipython_show_no_more(self):
        from IPython.lib.pretty import pretty
        from rich.console import Console

        key, text = Key(SECRET), io.StringIO()
        import rich

        rich.inspect(key, all=True, private=True, console=Console(file=text, width=400))
        rich.inspect(key.reveal(), all=True, private=True, console=Console(file=text, width=400))
        assert SECRET not in text.getvalue() + pretty(key) + pretty(key.reveal()) + pretty([key.reveal()])

    @pytest.mark.parametrize("wrong", ["", "  ", "two words", "line\nbreak", "ümlaut", "nul\0"])
    def test_what_no_header_takes_is_refused_and_not_repeated(self, wrong):
        text = SECRET + wrong if wrong.strip() else wrong
        with pytest.raises(ValueError, match="^got a key that is empty or has spaces, line breaks") as caught:
            Key(text)
        del text
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack[1:]
        assert frames
        assert SECRET not in str([frame.locals for frame in frames])

    def test_spaces_that_were_copied_along_do_not_matter(self):
        assert revealed(Key(f" {SECRET}\n")) == SECRET


class TestSending:
    def test_httpx_sends_the_key_and_shows_a_mask(self):
        with loopback({"/": (200, {})}) as server, http_client(Host.of(server.url), Key(SECRET)) as client:
            response = client.get("/")
            client.get("/missing")
            assert [headers["ndif-api-key"] for _, headers in server.requests] == [SECRET] * 2
        for value in (client.headers, response.request.headers, vars(response.request), response):
            assert SECRET not in repr(value)
        assert "***" in repr(response.request.headers)

    def test_websocket_client_sends_the_key(self):
        websocket = pytest.importorskip("websocket")
        key = Key(SECRET)
        with loopback({"/subscribe": (403, {"detail": "Invalid API key."})}) as server:
            address = server.url.replace("http", "ws") + "/subscribe"
            with pytest.raises(websocket.WebSocketBadStatusException) as caught:
                websocket.create_connection(address, header={"ndif-api-key": key.reveal()})
            assert server.headers_of("/subscribe")[0]["ndif-api-key"] == SECRET
        # its frames hold the whole request, whatever the header was made of
        assert SECRET in shown(caught.value)
        assert SECRET not in shown(no_key_in(caught.value, key))

    def test_nnsights_backend_sends_the_key_and_shows_a_mask(self):
        from nnsight.intervention.backends.remote import RemoteBackend, RemoteError
        from nnsight.schema.request import RequestModel

        key = Key(SECRET)
        # the words of a real server
        with loopback(
            {"/request": (400, {"detail": f"Invalid API key format: '{SECRET}'. API keys must …"})}
        ) as server:
            backend = RemoteBackend("model", host=server.url, api_key=key.reveal())
            assert SECRET not in repr(vars(backend)) + pprint.pformat(vars(backend))
            with pytest.raises(RemoteError) as caught:
                backend._post(RequestModel(model_key="model"), b"blob")
            assert server.headers_of("/request")[0]["ndif-api-key"] == SECRET
        assert SECRET in str(caught.value)
        clean = no_key_in(caught.value, key)
        assert clean is caught.value
        assert str(clean).startswith("Failed to send request: Invalid API key format: '***'. API keys must")
        assert SECRET not in shown(clean)

    def test_a_redirect_is_not_followed(self):
        with loopback() as elsewhere:
            moved = (302, {}, ("Location", elsewhere.url + "/"))
            with loopback({"/": moved}) as server, http_client(Host.of(server.url), Key(SECRET)) as client:
                assert client.get("/").status_code == 302
            assert elsewhere.requests == []

    def test_what_is_meant_for_this_machine_goes_to_no_proxy(self, monkeypatch):
        with loopback({"/": (200, {})}) as server, loopback() as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            with http_client(Host.of(server.url), Key(SECRET)) as client:
                assert client.get("/").status_code == 200
            assert proxy.requests == []

    def test_a_stranger_gets_nothing(self):
        with pytest.raises(PermissionError, match=r'call nb\.trust\("https://ndif\.lab\.example"\)'):
            http_client(Host.of(LAB), Key(SECRET))

    def test_no_key_travels_without_encryption(self):
        nb.trust("http://gpu.example:8000")
        sentence = r"wanted https, or a tunnel: run `ssh -N -L 5001:localhost:8000 gpu\.example` and open host="
        with pytest.raises(ValueError, match=sentence):
            http_client(Host.of("http://gpu.example:8000"), Key(SECRET))
        http_client(Host.of("http://gpu.example:8000")).close()

    def test_logs_of_the_libraries_have_no_key(self, caplog):
        caplog.set_level(logging.DEBUG)
        with loopback({"/": (200, {})}) as server, http_client(Host.of(server.url), Key(SECRET)) as client:
            client.get("/")
        assert "send_request_headers" in caplog.text
        assert SECRET not in caplog.text


class TestErrors:
    def test_a_failed_request_would_show_the_key_and_does_not(self):
        key = Key(SECRET)
        with loopback({"/cut": None}) as server:
            leak = failed_request(server.url, {"ndif-api-key": SECRET})
            assert SECRET in "".join(traceback.TracebackException.from_exception(leak, capture_locals=True).format())
            error = failed_request(server.url, {"ndif-api-key": key.reveal()}, key)
        assert isinstance(error, httpx.RemoteProtocolError)
        assert SECRET not in shown(error)
        assert "failed_request" in "".join(traceback.format_exception(error))

    def test_causes_contexts_notes_groups_and_attributes(self):
        key = Key(SECRET)

        def deep():
            header = {"ndif-api-key": SECRET}
            raise OSError(5, f"bad header {header}")

        try:
            try:
                try:
                    deep()
                except OSError as error:
                    raise ConnectionError(f"sent {SECRET.upper()}") from error
            except ConnectionError as error:
                wrapped = RuntimeError("later", f"with {SECRET}".encode(), error)
                wrapped.add_note(f"the key was {SECRET}")
                wrapped.detail = f"key={SECRET}"
                raise ExceptionGroup(f"both {SECRET}", [wrapped, ValueError(SECRET)]) from None
        except ExceptionGroup as error:
            clean = no_key_in(error, key)
        text = shown(clean) + str(vars(clean.exceptions[0]) if isinstance(clean, ExceptionGroup) else "")
        assert SECRET not in text
        assert SECRET.upper() not in text
        assert "***" in text

    def test_an_exception_that_cannot_be_changed_is_replaced(self):
        key = Key(SECRET)

        def fail():
            try:
                raise UnicodeEncodeError("ascii", f"{SECRET}ü", 36, 37, f"no: {SECRET}")
            except UnicodeEncodeError as error:
                raise no_key_in(error, key)  # noqa: B904

        with pytest.raises(RuntimeError, match=r"^UnicodeEncodeError: .*no: \*\*\*$") as caught:
            fail()
        assert SECRET not in shown(caught.value)

    def test_without_a_key_nothing_is_changed(self):
        error = ValueError("as it was")
        assert no_key_in(error, None) is error
        assert (str(error), scrubbed("as it was", None)) == ("as it was", "as it was")

    def test_other_ways_to_write_it(self):
        key = Key("a/b+c='d'\\\"e")
        texts = [
            "a/b+c='d'\\\"e",
            "a%2Fb%2Bc%3D%27d%27%5C%22e",
            "A%2fB%2bC%3d%27D%27%5c%22E",
            json.dumps("a/b+c='d'\\\"e"),
        ]
        assert [scrubbed(f"<{text.strip(chr(34))}>", key) for text in texts] == ["<***>"] * 4


class TestWhoGetsWhich:
    def test_none_is_known(self):
        assert key_for(Host.of("http://localhost:5001")) is None
        assert key_for(Host.of(LAB)) is None

    def test_the_environments_key_is_for_the_server_that_ndif_names(self, monkeypatch):
        monkeypatch.setenv("NDIF_API_KEY", SECRET)
        assert revealed(key_for(PUBLIC)) == SECRET
        # a server of somebody else is not sent the key of the public service
        assert key_for(Host.of(LAB)) is None
        assert key_for(Host.of("http://localhost:5001")) is None
        monkeypatch.setenv("NDIF_HOST", LAB)
        assert revealed(key_for(Host.of(LAB))) == SECRET

    def test_what_nnsight_has_read(self, monkeypatch):
        from nnsight.schema.config import CONFIG

        monkeypatch.setattr(CONFIG.API, "APIKEY", SECRET)
        assert revealed(key_for(Host.of("ndif"))) == SECRET
        monkeypatch.setenv("NDIF_API_KEY", OTHER)
        assert revealed(key_for(Host.of("ndif"))) == OTHER

    def test_the_key_of_nnsights_file_stays_with_the_server_of_the_file(self, monkeypatch, own_configuration):
        from nnsight.schema.config import CONFIG

        path = nnsight_file(own_configuration)
        path.parent.mkdir()
        path.write_text(f"API: {{APIKEY: {SECRET}}}\n")
        path.chmod(0o600)
        monkeypatch.setattr(CONFIG.API, "APIKEY", SECRET)
        monkeypatch.setenv("NDIF_HOST", "http://localhost:5001")
        assert key_for(Host.of("ndif")) is None
        assert revealed(key_for(PUBLIC)) == SECRET

    def test_nnsights_file_is_closed_to_others(self, monkeypatch, own_configuration):
        from nnsight.schema.config import CONFIG

        path = nnsight_file(own_configuration)
        path.parent.mkdir()
        path.write_text(f"API:\n  APIKEY: {SECRET}\n")
        path.chmod(0o644)
        monkeypatch.setattr(CONFIG.API, "APIKEY", SECRET)
        with pytest.warns(
            UserWarning, match=r"config\.yaml had the mode 644, so that others .*; now it has 600\.$"
        ) as told:
            assert revealed(key_for(PUBLIC)) == SECRET
        assert len(told) == 1
        assert mode(path) == 0o600

    def test_the_public_service_needs_one_and_the_error_says_where_it_comes_from(self):
        with pytest.raises(
            PermissionError, match=r"^got no API key for https://api\.ndif\.us .*NDIF_API_KEY.*nb\.login"
        ):
            key_for(PUBLIC)

    def test_a_key_for_an_unencrypted_server_is_refused(self, monkeypatch):
        monkeypatch.setenv("NDIF_HOST", "http://gpu.example")
        monkeypatch.setenv("NDIF_API_KEY", SECRET)
        with pytest.raises(
            ValueError, match="^got a key for http://gpu.example, where everyone on the way could read it"
        ):
            key_for(Host.of("ndif"))

    @pytest.mark.parametrize("content", ["{", "[1]", '"text"', "{}"])
    def test_a_damaged_file_is_named_and_not_shown(self, own_configuration, content):
        keys_file(own_configuration).parent.mkdir()
        keys_file(own_configuration).write_text(content + SECRET)
        keys_file(own_configuration).chmod(0o600)
        with pytest.raises(ValueError, match=r"keys\.json is not the JSON that it was; delete it") as caught:
            key_for(Host.of(LAB))
        assert SECRET not in shown(caught.value)


class TestLogin:
    def test_the_public_key_goes_where_nnsight_finds_it(self, own_configuration, typed):
        from nnsight.schema.config import Config

        path = nnsight_file(own_configuration)
        path.parent.mkdir()
        with loopback({"/whoami": (200, {"email": "me@lab.example", "tags": []})}) as server:
            # nnsight's file names the server, as a lab's would
            path.write_text(f"API:\n  HOST: {server.url}\n  COMPRESS: false\nAPP:\n  REMOTE_LOGGING: false\n")
            typed.secret = SECRET
            said = typed.login(server.url)
            assert server.headers_of("/whoami")[0]["ndif-api-key"] == SECRET
        assert said == f"The key for {server.url} is in {path}, readable by you alone; it belongs to me@lab.example.\n"
        assert yaml.safe_load(path.read_text()) == {
            "API": {"HOST": server.url, "COMPRESS": False, "APIKEY": SECRET},
            "APP": {"REMOTE_LOGGING": False},
        }
        assert mode(path) == 0o600
        # as nnsight reads it, in a later session
        api = Config.load().API
        assert (SECRET, server.url) == (api.APIKEY, api.HOST)

    def test_the_key_of_another_server_goes_into_our_own_file(self, own_configuration, typed, monkeypatch):
        with loopback({"/whoami": (200, {"email": None, "tags": []})}) as server:
            typed.secret = OTHER
            said = typed.login(server.url)
            assert "the server does not know it, or checks no keys." in said
            path = keys_file(own_configuration)
            assert json.loads(path.read_text()) == {server.url: OTHER}
            assert mode(path) == 0o600
            assert not nnsight_file(own_configuration).exists()
            # a later session
            monkeypatch.setattr(keys, "_typed", {})
            assert revealed(key_for(Host.of(server.url))) == OTHER
            assert key_for(Host.of("http://localhost:1")) is None

    def test_a_server_that_is_down_leaves_the_key_stored_and_says_so(self, typed):
        with loopback() as server:
            url = server.url
        typed.secret = SECRET
        assert "it could not be checked (" in typed.login(url)
        assert revealed(key_for(Host.of(url))) == SECRET

    def test_the_newest_word_of_this_session_counts(self, typed, monkeypatch):
        with loopback() as server:
            monkeypatch.setenv("NDIF_HOST", server.url)
            monkeypatch.setenv("NDIF_API_KEY", OTHER)
            typed.secret = SECRET
            typed.login("ndif")
            assert revealed(key_for(Host.of("ndif"))) == SECRET

    def test_a_full_disk_is_an_error_without_the_key(self, typed, monkeypatch):
        real = os.fsync

        def full(number):
            real(number)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        typed.secret = SECRET
        with pytest.raises(OSError, match="No space left on device") as caught:
            typed.login("http://localhost:5001")
        typed.secret = None
        assert SECRET not in shown(caught.value)

    def test_a_stranger_is_not_asked_a_key_for(self, typed):
        typed.secret = SECRET
        with pytest.raises(PermissionError, match="is not on your list of trusted ones"):
            typed.login(LAB)
        assert typed.prompts == []

    def test_the_command(self, typed, capsys):
        with loopback({"/whoami": (200, {"email": "me@lab.example"})}) as server:
            typed.secret = SECRET
            assert cli.main(["login", server.url]) == 0
        assert capsys.readouterr().out.endswith("readable by you alone; it belongs to me@lab.example.\n")
        assert cli.main(["login", LAB]) == 1
        assert capsys.readouterr().err.startswith(f"nbinterp: got the server {LAB}, which is not on your list")

    def test_where_nobody_can_type(self):
        with pytest.raises(PermissionError, match=r"^got no API key for http://localhost:5001 and nobody here"):
            nb.login("http://localhost:5001")

    def test_at_a_terminal_nothing_is_echoed(self):
        code = f"from nbinterp.hosted.asking import ask_hidden; print(ask_hidden('key: ') == {SECRET!r})"
        assert at_a_terminal(code, SECRET) == (0, "key: \r\nTrue\r\n")

    def test_what_the_public_services_password_field_is_given_is_not_stored(self, typed, own_configuration):
        typed.secret = SECRET
        assert revealed(key_for(PUBLIC)) == SECRET
        typed.secret = None
        assert revealed(key_for(PUBLIC)) == SECRET
        assert typed.prompts == ["API key for https://api.ndif.us (free: https://login.ndif.us): "]
        assert [path for path in own_configuration.rglob("*") if path.is_file() and SECRET in path.read_text()] == []


NOTEBOOK = [
    "%xmode Verbose\n"
    "from nbinterp.hosted.hosts import Host\n"
    "from nbinterp.hosted.keys import http_client, key_for\n"
    "from nbinterp.hosted.versions import check_versions\n"
    "host = Host.of('ndif')\n"
    "key = key_for(host)\n"
    "key",
    "client = http_client(host, key)\nsecret = key.reveal()\nsecret, [secret], vars(client), client.headers",
    "print(key, secret, f'{secret}', '%s' % secret)\ndisplay(key, {'key': secret})",
    "%whos",
    "check_versions(host, key)",
    "%tb Verbose",
    "def deep(key, secret):\n    raise RuntimeError(f'failed with {key} and {secret}')\ndeep(key, secret)",
    "import pickle\npickle.dumps({'key': key})",
]


def test_no_saved_notebook_holds_it(monkeypatch):
    import nbclient
    import nbformat

    with loopback({"/env": None}) as server:
        monkeypatch.setenv("NDIF_HOST", server.url)
        monkeypatch.setenv("NDIF_API_KEY", SECRET)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in NOTEBOOK])
        nbclient.NotebookClient(notebook, timeout=120, allow_errors=True, kernel_name="python3").execute()
        assert server.headers_of("/env")[0]["ndif-api-key"] == SECRET
    saved = nbformat.writes(notebook)
    assert SECRET not in saved
    said = ["".join(str(output) for output in cell.outputs) for cell in notebook.cells]
    wanted = [
        "Key(***)",
        "ndif-api-key",
        "***",
        "***",
        "is it running?",
        "is it running?",
        "failed with Key(***) and ***",
    ]
    assert [text for text, cell in zip([*wanted, "never pickled"], said, strict=True) if text not in cell] == []


@pytest.fixture
def typed(monkeypatch, capsys):
    """Somebody at the password field, who types `secret`."""
    from nbinterp.hosted import asking

    class Person:
        secret, prompts = None, []

        def answer(self, question):
            self.prompts.append(question)
            return self.secret

        def login(self, host):
            nb.login(host)
            return capsys.readouterr().out

    person = Person()
    person.prompts = []
    monkeypatch.setattr(asking, "ask_hidden", person.answer)
    return person
