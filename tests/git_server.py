"""A Git server with one private repository, by git's own http-backend; and a plain file server beside it."""

from __future__ import annotations

import base64
import http.server
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

GIT_BACKEND = Path(
    subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
)


class GitServer:
    """git http-backend behind Basic authentication; a plain file server for ``/scripts/``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.token = "git-token-1"
        self.scripts: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.bare = root / "projet.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.bare], check=True, timeout=30)
        subprocess.run(["git", "-C", self.bare, "config", "http.receivepack", "true"], check=True, timeout=30)
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path in server.redirects:
                    self.send_response(302)
                    self.send_header("Location", server.redirects[self.path])
                    self.end_headers()
                elif self.path.startswith("/scripts/"):
                    body = server.scripts.get(self.path[9:])
                    self.send_response(404 if body is None else 200)
                    self.end_headers()
                    self.wfile.write(body or b"")
                else:
                    self.backend()

            do_POST = do_GET  # noqa: N815

            def backend(self) -> None:
                want = "Basic " + base64.b64encode(f"alice:{server.token}".encode()).decode()
                if self.headers.get("Authorization") != want:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="git"')
                    self.end_headers()
                    return
                path, _, query = self.path.partition("?")
                length = int(self.headers.get("Content-Length") or 0)
                data = self.rfile.read(length)
                environ = {
                    "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(server.root), "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "alice",
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(length),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                }  # fmt: skip
                done = subprocess.run(
                    [GIT_BACKEND / "git-http-backend"],
                    input=data,
                    env=environ,
                    capture_output=True,
                    timeout=30,
                    check=True,
                )
                head, _, body = done.stdout.partition(b"\r\n\r\n")
                lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
                status = next((int(value.split()[0]) for name, value in lines if name == "Status"), 200)
                self.send_response(status)
                for name, value in lines:
                    if name != "Status":
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}/projet.git"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def fill(self) -> None:
        """Give the repository a commit on `main`, and the branch `dev/x`."""
        seed = str(self.root / "seed")
        author = ["-c", "user.name=x", "-c", "user.email=x@x"]
        for words in (
            ["init", "-q", "-b", "main", seed],
            ["-C", seed, *author, "commit", "-q", "--allow-empty", "-m", "one"],
            ["-C", seed, "push", "-q", str(self.bare), "main", "main:dev/x"],
        ):
            subprocess.run(["git", *words], check=True, timeout=30)

    def log(self) -> str:
        """Return who wrote what on `main`, the newest first."""
        words = ["git", "-C", str(self.bare), "log", "--format=%an <%ae> %s", "main"]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
