"""Runs code inside a running session, through its server's own kernels and terminals."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from typing import Any

import httpx
from stack import DIRECT, Person, eventually
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

#: What a terminal sends beside text: colours, cursor, titles.
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[=>])|\r")


class CodeFailedError(AssertionError):
    """The code raised, or its command ended with another exit code than 0."""


class SessionClient:
    """One session as the person's own browser reaches it, with a token instead of cookies.

    Parameters
    ----------
    person
        Whose session it is.
    session
        Its name; empty is the default one.
    token
        Used instead of a new token of the person.
    """

    def __init__(self, person: Person, session: str = "", token: str = "") -> None:
        path = f"/user/{person.name}/{session}".rstrip("/")
        self.url = person.stack.url + path
        self._authorization = {"Authorization": f"token {token or person.token()}"}
        self.http = httpx.Client(base_url=self.url + "/", headers=self._authorization, timeout=30, **DIRECT)

    def python(self, code: str, *, kernel: str = "", limit: float = 60) -> str:
        """Run `code` in a new kernel (or in `kernel`) and return what it printed.

        Raises
        ------
        CodeFailedError
            If it raised.
        """
        started = kernel or self.start_kernel()
        try:
            return asyncio.run(self._run_python(started, code, limit))
        finally:
            if not kernel:
                self.http.delete(f"api/kernels/{started}")

    def start_kernel(self) -> str:
        """Start a kernel and return its id."""
        answer = self.http.post("api/kernels", json={})
        assert answer.status_code == 201, f"kernel: {answer.status_code} {answer.text[:300]}"
        return str(answer.json()["id"])

    def shell(self, command: str, *, terminal: str = "", limit: float = 60, check: bool = True) -> str:
        """Run `command` in a new terminal (or in `terminal`) and return what it printed, stripped.

        Raises
        ------
        CodeFailedError
            If its exit code is not 0, unless `check` is false.
        """
        started = terminal or self.start_terminal()
        try:
            output, code = asyncio.run(self._run_shell(started, command, limit))
        finally:
            if not terminal:
                self.http.delete(f"api/terminals/{started}")
        if check and code != 0:
            raise CodeFailedError(f"`{command[:200]}` ended with {code}: {output[-2000:]}")
        return output

    def start_terminal(self) -> str:
        """Start a terminal and return its name."""
        answer = self.http.post("api/terminals")
        assert answer.status_code == 200, f"terminal: {answer.status_code} {answer.text[:300]}"
        return str(answer.json()["name"])

    def value(self, name: str) -> str:
        """Return a variable of a new kernel, as it is; empty if it is not set."""
        printed = self.python(f"import json, os; print(json.dumps(os.environ.get({name!r}, '')))")
        return str(json.loads(printed))

    def wait_until_answers(self, limit: float = 60) -> None:
        """Wait until the session's server answers through the proxy."""
        eventually(lambda: self.http.get("api/status").status_code == 200, limit, what="the session answers")

    async def _connect(self, path: str, limit: float) -> WebSocketClientConnection:
        url = f"{self.url}/{path}".replace("http", "ws", 1)
        request = HTTPRequest(url, headers=self._authorization, connect_timeout=limit, request_timeout=limit)
        return await websocket_connect(request)

    async def _run_python(self, kernel: str, code: str, limit: float) -> str:
        async with asyncio.timeout(limit):
            socket = await self._connect(f"api/kernels/{kernel}/channels", limit)
            try:
                message = _execute_request(code)
                await socket.write_message(json.dumps(message))
                return await _read_answer(socket, message["header"]["msg_id"])
            finally:
                socket.close()

    async def _run_shell(self, terminal: str, command: str, limit: float) -> tuple[str, int]:
        mark = uuid.uuid4().hex
        # In two halves, so that what is typed is not taken for what is printed.
        head, tail = mark[:16], mark[16:]
        line = (
            f"stty -echo cols 1000; PS1=; printf '\\n%s%s:begin\\n' {head} {tail}\n"
            f"{command}\n"
            f"printf '\\n%s%s:%d:end\\n' {head} {tail} $?\n"
        )
        seen = ""
        async with asyncio.timeout(limit):
            socket = await self._connect(f"terminals/websocket/{terminal}", limit)
            try:
                await socket.write_message(json.dumps(["stdin", line]))
                while (end := re.search(rf"{mark}:(\d+):end", seen)) is None:
                    text = await socket.read_message()
                    assert text is not None, "the terminal was closed"
                    kind, *rest = json.loads(text)
                    if kind == "stdout":
                        seen = _CONTROL.sub("", seen + str(rest[0]))
            finally:
                socket.close()
        output = seen[: end.start()].rpartition(f"{mark}:begin")[2]
        return output.strip(), int(end[1])


def _execute_request(code: str) -> dict[str, Any]:
    """Return an ``execute_request`` of the Jupyter messaging protocol 5.3."""
    return {
        "header": {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "username": "test",
            "session": uuid.uuid4().hex,
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        },
        "channel": "shell",
        "buffers": [],
    }


async def _read_answer(socket: WebSocketClientConnection, asked: str) -> str:
    """Return what was printed until the kernel is idle again after the request `asked`."""
    printed: list[str] = []
    failure = ""
    while True:
        text = await socket.read_message()
        assert text is not None, "the kernel's connection was closed"
        message = json.loads(text)
        if message["parent_header"].get("msg_id") != asked:
            continue
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                printed.append(content["text"])
            case "execute_result":
                printed.append(content["data"].get("text/plain", ""))
            case "error":
                failure = f"{content['ename']}: {content['evalue']}"
            case "status" if content["execution_state"] == "idle":
                if failure:
                    raise CodeFailedError(failure)
                return "".join(printed)
