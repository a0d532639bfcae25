"""A static web server with ranges, as any real one has; Python's own has none."""

from __future__ import annotations

import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Files, whole or a range of them; no listing of folders."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        part = data[int(asked[1]) : int(asked[2]) + 1] if asked else data
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 drops connections of a reader that opens 32


def serve(folder: str) -> None:
    """Print the URL, then serve for ever."""
    server = _Server(("127.0.0.1", 0), partial(_Handler, directory=folder))
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
