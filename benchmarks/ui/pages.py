"""A page with JupyterLab in it, its clock, and what goes over its wire."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from tests.ui.driver import Lab, LabServer, lab_page, launch_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import CDPSession

# Milliseconds since 1970, as Python's `time.time() * 1000` on the same machine. A change is on screen when the frame
# after the one that drew it begins: only then has the browser handed the first one on. What changes while a frame is
# prepared is drawn by that one, anything else by the next.
_CLOCK = """() => {
  window.clock = at => performance.timeOrigin + (at ?? performance.now());
  let preparing = false;
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { preparing = false; };
  const mark = () => {
    preparing = true;
    port2.postMessage(0);
    requestAnimationFrame(mark);
  };
  requestAnimationFrame(mark);
  const frame = () => new Promise(requestAnimationFrame);
  window.onScreen = () => (preparing ? frame() : frame().then(frame)).then(() => clock());
}"""


@contextlib.contextmanager
def jupyter() -> Iterator[Lab]:
    """Start a server and a browser, give a page, and end them."""
    with tempfile.TemporaryDirectory() as root, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        server = LabServer(pathlib.Path(root))
        try:
            with lab_page(server, browser) as lab:
                lab.page.set_default_timeout(180_000)
                lab.page.evaluate(_CLOCK)
                yield lab
        finally:
            server.stop()
            browser.close()


def run_cells(lab: Lab, cells: Sequence[str]) -> None:
    """Run cells in a new notebook."""
    lab.open(lab.write_notebook(cells))
    for index in range(len(cells)):
        lab.run_cell(index)


class Wire:
    """Bytes over the page's web sockets, both ways, while it counts."""

    def __init__(self, lab: Lab) -> None:
        self._session: CDPSession = lab.page.context.new_cdp_session(lab.page)
        self.bytes = 0
        for event in ("Network.webSocketFrameSent", "Network.webSocketFrameReceived"):
            self._session.on(event, self._count)
        self._session.send("Network.enable")

    def _count(self, event: dict[str, Any]) -> None:
        frame = event["response"]
        length = len(frame["payloadData"])
        # binary frames are told in base64
        self.bytes += length * 3 // 4 if frame["opcode"] == 2 else length

    def close(self) -> None:
        """Count no more."""
        self._session.detach()


def page_megabytes(lab: Lab) -> float:
    """Return the memory that belongs to the page's process alone, in MB."""
    session = lab.page.context.browser.new_browser_cdp_session()  # type: ignore[union-attr]
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    # garbage that nobody has collected yet is no memory that the page needs
    collector = lab.page.context.new_cdp_session(lab.page)
    collector.send("HeapProfiler.collectGarbage")
    collector.detach()
    return max(_private(process["id"]) for process in processes if process["type"] == "renderer")


def _private(pid: int) -> float:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("RssAnon"))
    return int(kilobytes) / 1000
