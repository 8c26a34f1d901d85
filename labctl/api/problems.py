"""Every error over HTTP is a problem document (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException

from drivers.documents import DocumentError
from drivers.errors import DeviceError
from labctl.errors import LabError

log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"


class _ProblemDocument(JSONResponse):
    def render(self, content: Any) -> bytes:
        """What an error quotes may hold half of a surrogate pair: no UTF-8, and `backslashreplace` is JSON's escape."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


def problem(status: int, title: str, detail: str, **extra: Any) -> JSONResponse:
    """A problem document as a response. `detail` says what to do about it."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **extra}
    return _ProblemDocument(document, status_code=status, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let `app` answer all errors so."""
    app.add_exception_handler(LabError, _lab_error)
    app.add_exception_handler(DocumentError, _document_error)
    app.add_exception_handler(DeviceError, _device_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(DataError, _not_storable)
    app.add_exception_handler(OperationalError, _database_error)
    app.add_exception_handler(Exception, _unexpected)


def _lab_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LabError)
    return problem(error.status, error.title, error.detail, **error.extra)


def _document_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DocumentError)
    errors = [
        {"detail": each.message, "where": each.where, "source": each.source, "line": each.line, "column": each.column}
        for each in error.problems
    ]
    return problem(422, "Invalid document", str(error), errors=errors)


def _device_error(_request: Request, error: Exception) -> JSONResponse:
    return problem(503, "Device failed", str(error))


def _database_error(request: Request, error: Exception) -> JSONResponse:
    log.error("the database does not do its work", path=request.url.path, error=str(error).strip())
    why = str(getattr(error, "orig", error)).strip().splitlines()[0]
    told = f"the lab's database does not take or give anything now ({why}); nothing was changed. Ask again when it does"
    return problem(503, "Database unavailable", told)


def _not_storable(_request: Request, error: Exception) -> JSONResponse:
    why = str(getattr(error, "orig", error)).strip().splitlines()[0]
    return problem(422, "Invalid input", f"the database cannot keep what was sent: {why}")


def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [_place(each) for each in error.errors()]
    told = "; ".join(f"{each.get('pointer') or each.get('parameter') or 'body'}: {each['detail']}" for each in errors)
    return problem(422, "Invalid input", told, errors=errors)


def _place(error: dict[str, Any]) -> dict[str, Any]:
    detail = "is required" if error["type"] == "missing" else str(error["msg"]).removeprefix("Value error, ")
    where, *rest = error["loc"]
    if where == "body":
        return {"detail": detail, "pointer": _pointer(rest if error["type"] != "json_invalid" else ())}
    return {"detail": detail, "parameter": str(rest[0]) if rest else str(where)}


def _pointer(parts: Sequence[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = f"{error.detail}; see /docs for what there is" if error.status_code in (404, 405) else str(error.detail)
    response = problem(error.status_code, title, detail)
    response.headers.update(error.headers or {})
    return response


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request failed", path=request.url.path, exc_info=error)
    return problem(500, "The daemon failed", "this is a fault of labctl; its log says more")
