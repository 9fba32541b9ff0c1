"""A real JupyterLab in a real Chromium, driven from tests: one server, one browser, one page a test."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Browser, Error, FloatRect, Locator, Page, Playwright, Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPOSITORY = pathlib.Path(__file__).parents[2]
LABEXTENSION = REPOSITORY / "nbinterp" / "labextension"
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
NO_BROWSER = "The browser tests found no Chromium; run `make chromium`, or set NBINTERP_CHROMIUM to one."

_PATIENCE = 30_000
_LONGEST = 150_000  # milliseconds: what any cell of a test may take on a busy machine
_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # no address but loopback is ever found
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
_TOKEN = "loopback"
# errors of others that happen without us: (text, where it was thrown)
_NOT_OURS = [
    # ipywidgets asks for the session of a notebook that was opened without a kernel
    ("Cannot read properties of null (reading 'kernel')", "@jupyter-widgets/jupyterlab-manager"),
    # JupyterLab's own bundle removes a theme's style sheet twice when themes change quickly
    ("Failed to execute 'removeChild' on 'Node'", "/static/lab/"),
]


def launch_chromium(playwright: Playwright) -> Browser:
    """Start Chromium: the one of NBINTERP_CHROMIUM, else the one on PATH, else Playwright's own.

    Raises
    ------
    RuntimeError
        Where there is none, saying what to run.
    """
    path = os.environ.get("NBINTERP_CHROMIUM") or shutil.which("chromium")
    try:
        return playwright.chromium.launch(executable_path=path, args=_CHROMIUM_FLAGS, headless=True)
    except Error as error:
        raise RuntimeError(NO_BROWSER) from error


class LabServer:
    """A JupyterLab server on loopback, with settings, workspaces and kernels of its own.

    Parameters
    ----------
    root
        An empty folder: the notebooks lie in it, and all that the server writes.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root / "notebooks"
        self.root.mkdir()
        state = root / "state"
        self._log_path = root / "server.log"
        self._log = self._log_path.open("w")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        settings = state / "settings"
        _write_settings(settings)
        # the extension as it was built last, wherever the package itself is installed
        extensions = state / "labextensions"
        extensions.mkdir(parents=True)
        (extensions / "nbinterp").symlink_to(LABEXTENSION)
        folders = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        environment = dict(os.environ, JUPYTERLAB_SETTINGS_DIR=str(settings))
        environment |= {name: str(state / folder) for name, folder in folders.items()}
        environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        options = [
            "--no-browser",
            "--allow-root",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
            f"--IdentityProvider.token={_TOKEN}",
            "--LabApp.expose_app_in_browser=True",
            f"--LabApp.extra_labextensions_path={extensions}",
            "--ServerApp.jpserver_extensions=nbinterp.server=True",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=self.root,
        )
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise

    def _wait_until_up(self, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while True:
            # a server that is still starting refuses the connection
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.address}/api?token={_TOKEN}", timeout=2):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab did not start:\n{self._log_path.read_text()[-3000:]}")
            time.sleep(0.1)

    def page_address(self) -> str:
        """Return where JupyterLab opens with an empty workspace."""
        return f"{self.address}/lab?token={_TOKEN}&reset"

    def stop(self) -> None:
        """End the server and, with it, the kernels that it started."""
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _write_settings(folder: pathlib.Path) -> None:
    """Settings without which JupyterLab would look for news and updates, or save while a test looks on."""
    settings = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "docmanager-extension/plugin": {"autosave": False},
    }
    for name, value in settings.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))


class Lab:
    """One page with JupyterLab in it.

    Attributes
    ----------
    page
        Playwright's page, for what this class has no word for.
    strayed
        Addresses outside this machine that the page asked for; they were refused.
    errors
        Errors that the page threw.
    """

    def __init__(self, server: LabServer, page: Page) -> None:
        self.server = server
        self.page = page
        self.strayed: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(_PATIENCE)
        page.on("pageerror", self._note_error)
        page.context.on("request", self._note_stray)

    def _note_error(self, error: Error) -> None:
        if not any(message in str(error) and source in (error.stack or "") for message, source in _NOT_OURS):
            self.errors.append(str(error))

    def _note_stray(self, request: Request) -> None:
        if not request.url.startswith((self.server.address, "data:", "blob:")):
            self.strayed.append(request.url)

    def load(self) -> None:
        """Load JupyterLab anew, with an empty workspace."""
        self.page.goto(self.server.page_address())
        self.page.wait_for_function("() => window.jupyterapp?.restored.then(() => true)")

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab and wait until it is done."""
        self._in_time(f"await window.jupyterapp.commands.execute({json.dumps(name)}, {json.dumps(arguments)});")

    def use_theme(self, theme: str) -> None:
        """Switch to a theme, `LIGHT` or `DARK`, and wait until it is on."""
        # a change while the first theme still loads makes JupyterLab remove a style sheet twice
        self.page.wait_for_function("() => document.body.dataset.jpThemeName")
        if self.page.evaluate("() => document.body.dataset.jpThemeName") != theme:
            self.command("apputils:change-theme", theme=theme)
            self.page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)
            # JupyterLab covers the page while a theme loads: what is dragged meanwhile is the cover
            self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def write_notebook(self, cells: Sequence[str]) -> str:
        """Write a notebook with these code cells and return its name."""
        name = f"{uuid.uuid4().hex[:10]}.ipynb"
        code = [
            {
                "cell_type": "code",
                "id": f"cell-{i}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for i, source in enumerate(cells)
        ]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = {"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        self.notebook_path(name).write_text(json.dumps(notebook))
        return name

    def notebook_path(self, name: str) -> pathlib.Path:
        """Return where a notebook lies on the disk."""
        return self.server.root / name

    def open(self, name: str, *, kernel: bool = True) -> None:
        """Open a notebook and wait until it is shown and, with a kernel, until that one answers."""
        preference: dict[str, Any] = {"shouldStart": False, "canStart": False, "autoStartDefault": False}
        arguments = {} if kernel else {"kernelPreference": preference}
        # what is waited for is what can be seen: JupyterLab's own promise of an opened document is sometimes lost
        options = {"path": name, "factory": "Notebook", **arguments}
        self.page.evaluate(
            "options => { void window.jupyterapp.commands.execute('docmanager:open', options); }", options
        )
        opened = """([name, kernel]) => {
            const notebook = window.jupyterapp.shell.currentWidget;
            return notebook?.context?.path === name && notebook.context.isReady && notebook.isVisible
                && (!kernel || notebook.sessionContext.session?.kernel?.connectionStatus === 'connected');
        }"""
        self.page.wait_for_function(opened, arg=[name, kernel])
        if kernel:
            self._on_notebook("await notebook.sessionContext.session.kernel.info;")

    def _on_notebook(self, script: str) -> Any:
        """Run a script in the page that finds the notebook panel in `notebook`, also while a panel beside it is current."""
        panels = "[window.jupyterapp.shell.currentWidget, ...window.jupyterapp.shell.widgets('main')]"
        return self._in_time(f"const notebook = {panels}.find(panel => panel?.sessionContext); {script}")

    def _in_time(self, script: str) -> Any:
        """Run a script in the page; one that waits for what never comes fails, and does not hold up all that follows."""
        late = (
            f"new Promise((_, reject) => setTimeout(() => reject(new Error('no answer in {_LONGEST} ms')), {_LONGEST}))"
        )
        return self.page.evaluate(f"() => Promise.race([(async () => {{ {script} }})(), {late}])")

    def scroll_to(self, text: str) -> None:
        """Scroll to the first cell whose source holds a text and stay there while what lies above it is drawn.

        JupyterLab draws only the cells near what is seen: those above take their true height when they come near.
        """
        script = """
            const index = notebook.content.widgets.findIndex(cell => cell.model.sharedModel.getSource().includes(TEXT));
            const { node } = notebook.content.widgets[index];
            const resting = () => {
                const seen = notebook.content.node.getBoundingClientRect();
                const { top } = node.getBoundingClientRect();
                return node.isConnected && top >= seen.top - 2 && top < seen.bottom - 20;
            };
            for (let rested = 0; rested < 3; rested = resting() ? rested + 1 : 0) {
                if (!resting()) {
                    await notebook.content.scrollToItem(index, 'start');
                }
                await new Promise(resolve => setTimeout(resolve, 150));
            }
        """
        self._on_notebook(script.replace("TEXT", json.dumps(text)))

    def run_all(self) -> None:
        """Run every cell and wait until the kernel has done so; an exception in one fails the test with its text."""
        self.command("notebook:run-all-cells")
        self._raise_cell_errors()

    def run_cell(self, index: int) -> None:
        """Run one cell and wait until the kernel has done so."""
        self._on_notebook(f"notebook.content.activeCellIndex = {index}; notebook.content.deselectAll();")
        self.command("notebook:run-cell")
        self._raise_cell_errors()

    def new_view_of_output(self, index: int) -> None:
        """Show the outputs of a cell a second time, in a panel beside the notebook."""
        self._on_notebook(f"notebook.content.activeCellIndex = {index};")
        self.command("notebook:create-output-view")

    def _raise_cell_errors(self) -> None:
        for index, outputs in enumerate(self.outputs()):
            for output in outputs:
                if output["output_type"] == "error":
                    raise AssertionError(f"cell {index}: {output['ename']}: {output['evalue']}")

    def outputs(self) -> list[list[dict[str, Any]]]:
        """Return the outputs of every cell as a saved file would hold them."""
        script = "return notebook.content.model.sharedModel.toJSON().cells.map(cell => cell.outputs ?? []);"
        outputs: list[list[dict[str, Any]]] = self._on_notebook(script)
        return outputs

    def cell_text(self, index: int) -> str:
        """Return what a cell printed."""
        return "".join("".join(output.get("text", "")) for output in self.outputs()[index])

    def ask(self, expression: str) -> str:
        """Return the text of a Python expression, evaluated in the notebook's kernel beside the cells."""
        script = """
            const future = notebook.sessionContext.session.kernel.requestExecute(
                { code: '', silent: true, store_history: false, user_expressions: { asked: EXPRESSION } });
            const reply = (await future.done).content.user_expressions.asked;
            return reply.status === 'ok' ? reply.data['text/plain'] : `${reply.ename}: ${reply.evalue}`;
        """
        return str(self._on_notebook(script.replace("EXPRESSION", json.dumps(expression))))

    def wait_until_kernel_says(self, expression: str, wanted: str, seconds: float = 15) -> None:
        """Wait until a Python expression in the kernel has this text."""
        deadline = time.monotonic() + seconds
        while (got := self.ask(expression)) != wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"{expression} is {got}, not {wanted}")

    def save(self) -> None:
        """Save the notebook to the disk."""
        self._on_notebook("await notebook.context.save();")

    def close(self) -> None:
        """Close the notebook and end its kernel, without saving."""
        self._on_notebook(
            "await notebook.sessionContext.shutdown(); notebook.context.model.dirty = false; notebook.close();"
        )

    def reopen_without_kernel(self, name: str, *, trusted: bool = True) -> None:
        """Load JupyterLab anew and open a saved notebook without a kernel.

        Parameters
        ----------
        name
            The notebook.
        trusted
            False forgets that this machine has run it, as after it came by mail.
        """
        if not trusted:
            path = self.notebook_path(name)
            notebook = json.loads(path.read_text())
            # the server trusts what it has signed: a changed text is a stranger's
            notebook["metadata"]["from"] = uuid.uuid4().hex
            path.write_text(json.dumps(notebook))
        self.load()
        self.open(name, kernel=False)

    def wait_until(self, target: Locator, attribute: str, wanted: str) -> None:
        """Wait until an element's attribute has a value."""
        handle = target.element_handle()
        script = "([element, name, value]) => element.getAttribute(name) === value"
        try:
            self.page.wait_for_function(script, arg=[handle, attribute, wanted])
        except Error as error:
            raise AssertionError(f"{attribute} is {target.get_attribute(attribute)!r}, not {wanted!r}") from error

    def drag(self, path: Sequence[tuple[float, float]], *, touch: bool = False) -> None:
        """Press at the first point of a path on the page, move along it, and let go at its end."""
        if touch:
            self._drag_touch(path)
            return
        self.page.mouse.move(*path[0])
        self.page.mouse.down()
        for point in path[1:]:
            self.page.mouse.move(*point, steps=4)
        self.page.mouse.up()

    def _drag_touch(self, path: Sequence[tuple[float, float]]) -> None:
        # Playwright's own touchscreen can tap, not drag
        session = self.page.context.new_cdp_session(self.page)
        for step, (x, y) in enumerate(path):
            kind = "touchStart" if step == 0 else "touchMove"
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        # a finger rests before it is lifted: after a flick Chromium takes the next tap for the one that stops the flick
        self.page.wait_for_timeout(200)
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        session.detach()

    def screenshot(self, target: Locator, path: pathlib.Path) -> None:
        """Write a picture of an element."""
        path.parent.mkdir(parents=True, exist_ok=True)
        target.screenshot(path=path)


def box_of(target: Locator) -> FloatRect:
    """Return where an element lies on the page, scrolled into view."""
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    if box is None:
        raise AssertionError(f"{target} is not shown")
    return box


@contextlib.contextmanager
def lab_page(server: LabServer, browser: Browser, **options: Any) -> Iterator[Lab]:
    """Give a page with JupyterLab, and fail if it asked for anything outside this machine or threw an error."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, **options)
    try:
        lab = Lab(server, context.new_page())
        lab.load()
        # the server remembers the theme of the test before
        lab.use_theme(LIGHT)
        yield lab
        assert lab.strayed == [], f"the page asked for addresses outside this machine: {lab.strayed}"
        assert lab.errors == [], f"the page threw errors: {lab.errors}"
    finally:
        context.close()
