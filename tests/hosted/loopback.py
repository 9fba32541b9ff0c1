"""A real HTTP server on loopback that answers as a test tells it to, and remembers what it was sent."""

import http.server
import json
import threading
from contextlib import contextmanager


class Loopback(http.server.ThreadingHTTPServer):
    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.requests = answers, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def headers_of(self, path):
        return [headers for asked, headers in self.requests if asked == path]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, dict(self.headers)))
        answer = self.server.answers.get(self.path, (404, {"detail": "Not Found"}))
        if answer is None:  # cut the connection in the middle of the answer
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
            self.close_connection = True
            return
        status, content, *headers = answer
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


@contextmanager
def loopback(answers=()):
    """Yield a server with answers by path: (status, JSON or text, *headers), or None to cut the connection."""
    with Loopback(dict(answers)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
