"""The local web server of review and spot check: on 127.0.0.1 only, and only for those who know its token.

Every address begins with the token, and the page asks no other host for anything. A request by another host's name is
refused, so that no page of the web can reach the server through a name that it points here.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from autolabel.distribution import install_command
from autolabel.errors import AutolabelError, ConfigError, DataError

HOST = "127.0.0.1"
_STATIC = Path(__file__).parent / "page"
_FILES = {
    "index.html": "text/html",
    "review.css": "text/css",
    "review.js": "text/javascript",
    "view.js": "text/javascript",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_MOST = 64_000  # bytes of a request


class Reply(NamedTuple):
    """Bytes of a kind, e.g. image/png."""

    kind: str
    data: bytes


Handler = Callable[[Mapping[str, str]], Any]  # the fields of a request -> a Reply, or what JSON takes


class Routes(NamedTuple):
    """`read` answers GET, `write` answers POST; by name, e.g. "state" for TOKEN/api/state."""

    read: Mapping[str, Handler]
    write: Mapping[str, Handler]


def application(routes: Routes, token: str) -> Any:
    """The WSGI application."""
    bottle = _bottle()
    app = bottle.Bottle(catchall=True)

    @app.hook("before_request")  # type: ignore[untyped-decorator]
    def check_host() -> None:
        name = bottle.request.get_header("Host", "").rpartition(":")[0]
        if name not in (HOST, "localhost"):
            raise bottle.HTTPResponse("another host", 403)

    def guarded(word: str) -> None:
        if not hmac.compare_digest(word.encode("utf-8", "replace"), token.encode()):
            raise bottle.HTTPResponse("unknown address", 404)

    def answer(handlers: Mapping[str, Handler], name: str, fields: Mapping[str, str]) -> Any:
        if name not in handlers:
            return _json(bottle, {"error": f"there is no {name!r}"}, 404)
        try:
            result = handlers[name](fields)
        except AutolabelError as error:
            return _json(bottle, {"error": str(error)}, 400)
        if isinstance(result, Reply):
            return bottle.HTTPResponse(result.data, 200, headers={**_HEADERS, "Content-Type": result.kind})
        return _json(bottle, result, 200)

    @app.get("/<word>/")  # type: ignore[untyped-decorator]
    @app.get("/<word>/<file>")  # type: ignore[untyped-decorator]
    def page(word: str, file: str = "index.html") -> Any:
        guarded(word)
        if file not in _FILES:
            return bottle.HTTPResponse("unknown address", 404)
        headers = {**_HEADERS, "Content-Type": f"{_FILES[file]}; charset=utf-8"}
        return bottle.HTTPResponse((_STATIC / file).read_bytes(), 200, headers=headers)

    @app.get("/<word>/api/<name>")  # type: ignore[untyped-decorator]
    def read(word: str, name: str) -> Any:
        guarded(word)
        return answer(routes.read, name, dict(bottle.request.query.decode()))

    @app.post("/<word>/api/<name>")  # type: ignore[untyped-decorator]
    def write(word: str, name: str) -> Any:
        guarded(word)
        return answer(routes.write, name, _fields(bottle))

    return app


def _fields(bottle: Any) -> dict[str, Any]:
    """The JSON object of a request; an empty one for anything else, which no handler takes."""
    request = bottle.request
    if request.content_type.partition(";")[0] != "application/json" or not 0 <= request.content_length <= _MOST:
        return {}
    try:
        fields = json.loads(request.body.read(_MOST))
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _json(bottle: Any, value: Any, status: int) -> Any:
    headers = {**_HEADERS, "Content-Type": "application/json"}
    return bottle.HTTPResponse(json.dumps(value, allow_nan=False), status, headers=headers)


def _bottle() -> Any:
    try:
        import bottle
    except ImportError as error:
        raise ConfigError("review", "needs the package bottle", install_command("review")) from error
    return bottle


def require_server() -> None:
    """ConfigError where the web framework is not installed."""
    _bottle()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def open_server(routes: Routes, port: int) -> tuple[WSGIServer, str]:
    """A server that has not begun to serve, and the address of its page. ConfigError where the port is taken."""
    token = secrets.token_urlsafe(24)
    try:
        server = make_server(HOST, port, application(routes, token), _Server, _Silent)
    except OSError as error:
        raise ConfigError("--port", f"{port} cannot be used: {error.strerror}", "give another, or none") from error
    return server, f"http://{HOST}:{server.server_port}/{token}/"


def integer(fields: Mapping[str, Any], name: str) -> int:
    """A whole number from 0 among the fields. Raises DataError."""
    value = fields.get(name)
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise DataError("request", f"{name} is no whole number")
    return int(text)
