"""A server on this machine that answers as the hub and as Google Drive do."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

VIRUS_SCAN = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head>
<body><p class="uc-warning-caption">Google Drive can't scan this file for viruses.</p>
<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">\
<input type="submit" value="Download anyway"/><input type="hidden" name="id" value="{id}">\
<input type="hidden" name="confirm" value="t"></form></body></html>"""
QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can't view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>
</body></html>"""
FOLDER = """<html><head><title>weights</title></head><body>{entries}</body></html>"""
ENTRY = '<a href="https://drive.google.com/file/d/{id}/view?usp=drive_web">{name}</a>'


@dataclass
class Public:
    """What the server offers, and what it was asked.

    `cut` is the number of bytes after which a response breaks off, for so many responses.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)  # by the path on the hub, or Drive's id
    page: dict[str, str] = field(default_factory=dict)  # what Drive shows for an id first
    folder: dict[str, dict[str, str]] = field(default_factory=dict)  # of Drive: name to id
    cut: tuple[int, int] = (0, 0)
    stall: bool = False  # instead of breaking off, send nothing more
    ranges: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve() -> Iterator[Public]:
    """The server, until the block ends."""
    public = Public()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"public": public}))
    server.daemon_threads = True
    public.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield public
    finally:
        public.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    public: Public

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the requests are in `public.requests`."""

    def end_headers(self) -> None:
        """No connection outlives its response, or the server."""
        self.send_header("Connection", "close")
        super().end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        public = self.public
        public.requests.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if match := re.fullmatch(r"/(.+?/.+?)/resolve/main/(.+)", parts.path):
            self._redirect(match[2])
        elif parts.path.startswith("/cdn/"):
            self._content(public.files[parts.path.removeprefix("/cdn/")], {})
        elif parts.path == "/embeddedfolderview":
            entries = public.folder[query["id"]].items()
            lines = [ENTRY.format(id=identity, name=name) for name, identity in entries]
            self._html(FOLDER.format(entries="".join(lines)))
        elif parts.path == "/uc" and query["id"] in public.page:
            self._html(public.page[query["id"]].format(id=query["id"]))
        elif parts.path in ("/uc", "/download") and query["id"] in public.files:
            name = {"Content-Disposition": 'attachment; filename="weights.pt"'}
            self._content(public.files[query["id"]], name)
        else:
            self.send_error(404)

    def _html(self, text: str) -> None:
        content = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _redirect(self, path: str) -> None:
        if path not in self.public.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.public.files[path]
        self.send_response(302)
        self.send_header("Location", f"{self.public.address}/cdn/{path}")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        start = 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match[1])
            self.public.ranges.append(match[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        limit, times = self.public.cut
        if not times:
            self.wfile.write(content[start:])
            return
        self.public.cut = (limit, times - 1)
        self.wfile.write(content[start : start + limit])
        self.wfile.flush()
        if self.public.stall:
            self.public.stop.wait()
        self.close_connection = True
