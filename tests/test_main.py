"""The command line: exit codes, one sentence for what is expected to go wrong, arguments passed on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_core.paths import jupyter_config_path
from jupyter_server.services.config.manager import ConfigManager

from nbinterp import __main__ as cli
from nbinterp import __version__
from nbinterp.demo import models

ROOT = Path(__file__).parents[1]


def run(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "nbinterp", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_version(tmp_path):
    done = run("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"nbinterp {__version__}\n")


def test_an_unknown_model_lists_the_known_ones(tmp_path):
    done = run("fetch", "gpt-5", cwd=tmp_path)
    assert done.returncode == 2
    assert "gpt-5" in done.stderr
    assert "smollm2-135m" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["dance"], ["fetch"], ["fetch", "smollm2-135m", "--verfy"]])
def test_wrong_calls_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: nbinterp" in capsys.readouterr().err


def test_verify_of_an_absent_model(tmp_path):
    done = run("fetch", "smollm2-135m", "--verify", cwd=tmp_path, NBINTERP_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "nbinterp: got the demo model 'smollm2-135m', which is not on this machine yet; run: nbinterp fetch smollm2-135m\n"
    )


def test_nothing_heavy_is_loaded_for_the_simple_commands():
    code = "import sys, nbinterp.__main__; print({'torch', 'transformers', 'pandas', 'xarray'} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_fetch_prints_where_the_model_is(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(models, "fetch", lambda name: tmp_path / name)
    assert cli.main(["fetch", "smollm2-135m"]) == 0
    assert capsys.readouterr().out == f"smollm2-135m is ready in {tmp_path / 'smollm2-135m'}\n"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (models.FetchError("got no network."), 1, "nbinterp: got no network.\n"),
        (OSError(28, "No space left on device"), 1, "nbinterp: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 130, "nbinterp: stopped; nothing is left half-made.\n"),
    ],
)
def test_expected_problems_have_no_traceback(monkeypatch, capsys, error, code, text):
    def fail(_):
        raise error

    monkeypatch.setattr(models, "fetch", fail)
    assert cli.main(["fetch", "smollm2-135m"]) == code
    assert capsys.readouterr().err == text


class Lab:
    """Stands in for the JupyterLab process: notes how it was called, is interrupted once, ends with 3."""

    def __init__(self, command, env):
        Lab.command, Lab.environment = command, env
        self.interrupted = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self):
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return 3


@pytest.fixture
def lab(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", Lab)
    monkeypatch.setattr(models, "directory", lambda name: tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return Lab


class TestLab:
    def test_passes_arguments_and_the_exit_code_on(self, lab):
        assert cli.main(["lab", "--port", "9999", "--no-browser", "--version"]) == 3
        assert lab.command == [sys.executable, "-m", "jupyterlab", "--port", "9999", "--no-browser", "--version"]

    def test_tells_jupyterlab_that_root_is_meant(self, lab, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        cli.main(["lab", "--no-browser"])
        assert lab.command[3:] == ["--allow-root", "--no-browser"]

    def test_asks_for_no_news_and_keeps_the_users_folders(self, lab, monkeypatch):
        monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/mine")
        cli.main(["lab"])
        monkeypatch.setenv("JUPYTER_CONFIG_PATH", lab.environment["JUPYTER_CONFIG_PATH"])
        assert "/mine" in jupyter_config_path()
        # as JupyterLab reads the defaults of its settings
        settings = ConfigManager(config_dir_name="labconfig").get("default_setting_overrides")
        assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"

    def test_opens_the_tutorial_where_it_is(self, lab, tmp_path):
        tutorial = tmp_path / cli.TUTORIAL
        tutorial.parent.mkdir()
        tutorial.write_text("{}")
        cli.main(["lab", "--no-browser"])
        assert lab.command[3:] == [
            "--LabApp.default_url=/lab/tree/notebooks/01_the_circle_of_months.ipynb",
            "--no-browser",
        ]

    def test_opens_what_is_asked_for_instead(self, lab, tmp_path):
        tutorial = tmp_path / cli.TUTORIAL
        tutorial.parent.mkdir()
        tutorial.write_text("{}")
        tmp_path.joinpath("mine.ipynb").write_text("{}")
        cli.main(["lab", "mine.ipynb"])
        assert lab.command[3:] == ["mine.ipynb"]

    def test_fetches_an_absent_model(self, lab, monkeypatch):
        fetched = []
        monkeypatch.setattr(models, "directory", lambda name: None)
        monkeypatch.setattr(models, "fetch", fetched.append)
        assert cli.main(["lab"]) == 3
        assert fetched == ["smollm2-135m"]

    def test_opens_without_the_model_when_it_cannot_be_had(self, lab, monkeypatch, capsys):
        def fail(_):
            raise models.FetchError("got no network.")

        monkeypatch.setattr(models, "directory", lambda name: None)
        monkeypatch.setattr(models, "fetch", fail)
        assert cli.main(["lab"]) == 3
        assert "got no network." in capsys.readouterr().err


def test_the_real_lab_is_started(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nfrom nbinterp.demo import models\nmodels.directory = lambda n: 1\nfrom nbinterp.__main__ import main\nsys.exit(main(['lab', '--version']))",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("4.")
