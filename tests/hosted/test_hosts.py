"""Servers: what names one, what is this machine, and that a stranger is asked about before anything is sent."""

import os
import pty
import stat
import subprocess
import sys
import threading
import time
import warnings

import pytest

import nbinterp as nb
from nbinterp import __main__ as cli
from nbinterp.hosted import asking
from nbinterp.hosted.hosts import PUBLIC, Host, check_trusted

LAB = "https://ndif.lab.example"


def trusted_hosts(folder):
    return folder / "nbinterp" / "trusted_hosts"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://API.ndif.us/", "https://api.ndif.us"),
        ("HTTPS://api.ndif.us:443", "https://api.ndif.us"),
        ("http://localhost:80", "http://localhost"),
        ("http://[0:0:0:0:0:0:0:1]:5001/", "http://[::1]:5001"),
        (" https://lab.example/ndif/ ", "https://lab.example/ndif"),
        ("https://lab.example.", "https://lab.example"),
        # a Cyrillic letter that looks like an a
        ("https://\u0430pi.ndif.us", "https://xn--pi-6kc.ndif.us"),
    ],
)
def test_one_server_has_one_address(text, url):
    host = Host.of(text)
    assert (host.url, str(host), f"{host}") == (url, url, url)
    assert host == Host.of(url)


def test_the_public_service_is_the_one_that_nnsight_ships():
    from nnsight.schema.config import ApiConfig

    assert PUBLIC.url == ApiConfig().HOST


def test_ndif_is_what_nnsight_is_set_up_for(monkeypatch):
    from nnsight.schema.config import CONFIG

    assert Host.of("ndif") == PUBLIC
    monkeypatch.setattr(CONFIG.API, "HOST", LAB + "/")
    assert Host.of("ndif") == Host(LAB)
    # after nnsight has been imported, as in a cell
    monkeypatch.setenv("NDIF_HOST", "http://localhost:5001")
    assert Host.of("ndif") == Host("http://localhost:5001")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nowhere",
        "api.ndif.us",
        "ftp://api.ndif.us",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://a b.example",
        "https://a\nb.example",
        "https://lab.example:port",
        "https://lab.example:99999",
        "https://lab.example/../admin",
        "https://lab.example\\.other.example",
        "https://-lab.example",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(
        ValueError, match=r'^got the host .*; wanted "ndif" or an address like "https://api\.ndif\.us" or'
    ):
        Host.of(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@lab.example",
        "http://127.0.0.1:5001@lab.example",
        "https://lab.example?key=hunter2",
        "https://lab.example#hunter2",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(text):
    with pytest.raises(
        ValueError, match=r"^got an address with a user name, a query or a fragment; .*nb\.login"
    ) as caught:
        Host.of(text)
    assert "hunter2" not in str(caught.value)


def test_a_host_cannot_be_made_around_the_checks():
    with pytest.raises(ValueError, match=r"wanted it in normal form: use Host\.of"):
        Host("https://API.ndif.us/")


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("http://localhost:5001", True),
        ("https://127.8.9.1", True),
        ("http://[::1]:5001", True),
        ("http://127.0.0.1.lab.example", False),
        ("http://localhost.lab.example", False),
        ("http://0.0.0.0:5001", False),
        ("http://192.168.0.7:5001", False),
        ("http://2130706433", False),
        ("https://api.ndif.us", False),
    ],
)
def test_only_this_machine_is_loopback(text, loopback):
    assert Host.of(text).is_loopback is loopback


def test_private_is_encrypted_or_here():
    private = [LAB, "http://localhost:5001", "http://10.0.0.7:5001"]
    assert [Host.of(text).is_private for text in private] == [True, True, False]


class TestTrust:
    def test_this_machine_and_the_public_service_need_no_question(self, own_configuration):
        for text in ("ndif", "http://localhost:5001", "http://[::1]:80"):
            check_trusted(Host.of(text))
        assert not trusted_hosts(own_configuration).exists()

    def test_a_stranger_is_refused_where_nobody_can_answer_and_the_error_says_what_to_call(self):
        sentence = (
            rf"^got the server {LAB}, which is not on your list of trusted ones and could run code on this machine; "
            rf'wanted your word: call nb\.trust\("{LAB}"\) if you know who runs it\.$'
        )
        with pytest.raises(PermissionError, match=sentence):
            check_trusted(Host.of(LAB))
        nb.trust(LAB)
        check_trusted(Host.of(LAB))

    def test_another_port_scheme_or_path_is_another_server(self):
        nb.trust("http://gpu.example:5001/alice")
        for text in ("http://gpu.example:5002/alice", "https://gpu.example:5001/alice", "http://gpu.example:5001/eve"):
            with pytest.raises(PermissionError):
                check_trusted(Host.of(text))

    def test_the_danger_without_encryption_is_named(self):
        with pytest.raises(PermissionError, match="as could everyone on the way, for the connection is not encrypted"):
            check_trusted(Host.of("http://gpu.example:5001"))

    def test_the_list_is_a_private_file_of_one_address_a_line(self, own_configuration):
        nb.trust(LAB + "/")
        nb.trust("https://other.example")
        nb.trust(LAB)
        path = trusted_hosts(own_configuration)
        assert path.read_text() == f"{LAB}\nhttps://other.example\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert {file.name for file in path.parent.iterdir()} <= {"trusted_hosts", ".lock"}

    def test_a_list_that_others_could_open_is_closed_to_them(self, own_configuration):
        nb.trust(LAB)
        path = trusted_hosts(own_configuration)
        path.chmod(0o664)
        with pytest.warns(UserWarning, match=r"trusted_hosts had the mode 664, so that others .* now it has 600\.$"):
            check_trusted(Host.of(LAB))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_trusted(Host.of(LAB))

    def test_a_bad_address_is_not_written(self, own_configuration):
        with pytest.raises(ValueError, match="got the host 'lab'"):
            nb.trust("lab")
        assert not trusted_hosts(own_configuration).exists()

    def test_the_command(self, capsys):
        assert cli.main(["trust", LAB]) == 0
        check_trusted(Host.of(LAB))
        assert cli.main(["trust", "lab"]) == 1
        assert capsys.readouterr().err.startswith("nbinterp: got the host 'lab'; wanted")

    def test_writers_at_the_same_moment_lose_nothing(self, own_configuration):
        hosts = [f"https://{number}.example" for number in range(12)]
        threads = [threading.Thread(target=nb.trust, args=(host,)) for host in hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(trusted_hosts(own_configuration).read_text().split()) == sorted(hosts)

    def test_a_list_that_is_a_link_stays_one(self, own_configuration):
        path = trusted_hosts(own_configuration)
        path.parent.mkdir()
        (own_configuration / "dotfiles").write_text("https://old.example\n")
        (own_configuration / "dotfiles").chmod(0o600)
        path.symlink_to(own_configuration / "dotfiles")
        nb.trust(LAB)
        assert path.is_symlink()
        assert (own_configuration / "dotfiles").read_text() == f"https://old.example\n{LAB}\n"


CHECK = f"from nbinterp.hosted.hosts import Host, check_trusted; check_trusted(Host.of({LAB!r})); print('CONNECTED')"


def at_a_terminal(code, answer):
    """Run Python at a real terminal, answer its question, and return its exit code and all that it showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        while part := _read(ours):
            shown += part
            if answer and shown.rstrip().endswith((b"[y/N]", b":")) and b"Traceback" not in shown:
                os.write(ours, answer.encode() + b"\n")
                answer = None
    os.close(ours)
    return process.returncode, shown.decode()


def _read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that the other side is closed
        return b""


class TestAsking:
    def test_yes_is_asked_for_once(self, own_configuration):
        code, shown = at_a_terminal(CHECK, "y")
        assert code == 0
        assert f"{LAB} is not on your list of trusted servers. It could run code on this machine. Trust it" in shown
        assert "CONNECTED" in shown
        assert trusted_hosts(own_configuration).read_text() == f"{LAB}\n"
        code, shown = at_a_terminal(CHECK, None)
        assert (code, shown.strip()) == (0, "CONNECTED")

    @pytest.mark.parametrize("answer", ["n", " ", "why?"])
    def test_all_but_yes_is_no(self, own_configuration, answer):
        code, shown = at_a_terminal(CHECK, answer)
        assert code == 1
        assert f"PermissionError: {LAB} is not trusted, so nothing was sent to it." in shown
        assert not trusted_hosts(own_configuration).exists()

    @pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE])
    def test_a_script_without_a_terminal_never_waits(self, stdin):
        # a pipe that could answer: only a person may
        done = subprocess.Popen([sys.executable, "-c", CHECK], stdin=stdin, stderr=subprocess.PIPE, text=True)
        _, shown = done.communicate("y\n" if stdin == subprocess.PIPE else None, timeout=60)
        assert done.returncode == 1
        assert f"PermissionError: got the server {LAB}, which is not on your list" in shown
        assert f'nb.trust("{LAB}")' in shown

    @pytest.mark.parametrize("stdin", ["None", "open(__import__('os').devnull)"])
    def test_no_standard_input_at_all(self, stdin):
        code = f"import sys; sys.stdin = {stdin}; sys.stdin and sys.stdin.close()\n{CHECK}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "PermissionError: got the server" in done.stderr


@pytest.fixture(scope="module")
def kernel():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel()
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


class TestInANotebook:
    def run(self, client, code, answer=None):
        """Run a cell, answer its question, and return the question, whether it was for a password, and the error."""
        asked = []

        def reply(message):
            asked.append(message["content"])
            client.input(answer)

        outcome = client.execute_interactive(
            code, allow_stdin=answer is not None, stdin_hook=reply, output_hook=lambda _: None, timeout=60
        )["content"]
        return asked, outcome.get("evalue", "")

    def test_a_cell_asks_and_a_batch_run_does_not(self, kernel, tmp_path):
        folder = f"import os; os.environ['NBINTERP_CONFIG'] = {str(tmp_path)!r}; "
        asked, error = self.run(kernel, folder + CHECK)
        assert asked == []
        assert error.startswith(f"got the server {LAB}, which is not on your list")
        asked, error = self.run(kernel, folder + CHECK, answer="n")
        assert error == f"{LAB} is not trusted, so nothing was sent to it."
        asked, error = self.run(kernel, folder + CHECK, answer="y")
        assert error == ""
        assert [(one["password"], "Trust it from now on?" in one["prompt"]) for one in asked] == [(False, True)]
        assert (tmp_path / "trusted_hosts").read_text() == f"{LAB}\n"

    def test_a_password_field_hides_what_is_typed(self, kernel):
        code = "from nbinterp.hosted.asking import ask_hidden; assert ask_hidden('key: ') == 'abc'"
        asked, error = self.run(kernel, code, answer="abc")
        assert (error, asked) == ("", [{"prompt": "key: ", "password": True}])

    @pytest.mark.parametrize("asker", ["ask", "ask_hidden"])
    def test_a_callback_between_cells_never_waits_on_the_terminal_of_the_kernel(self, kernel, tmp_path, asker):
        code = f"""
import asyncio, pathlib
from nbinterp.hosted import asking

def callback():
    try:
        outcome = asking.{asker}("? ")
    except asking.NobodyThereError:
        outcome = "nobody"
    pathlib.Path({str(tmp_path / "outcome")!r}).write_text(outcome)

asyncio.get_running_loop().call_later(0.2, callback)
"""
        assert self.run(kernel, code)[1] == ""
        deadline = time.monotonic() + 60
        while not (tmp_path / "outcome").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (tmp_path / "outcome").read_text() == "nobody"


def test_a_question_at_a_terminal_that_ends_is_unanswered(monkeypatch):
    code = "from nbinterp.hosted import asking\ntry: asking.ask('? ')\nexcept asking.NobodyThereError: print('NOBODY')"
    _, shown = at_a_terminal(code.replace("'? '", "'?:'"), "\x04")
    assert "NOBODY" in shown
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(asking.NobodyThereError):
        asking.ask("? ")
