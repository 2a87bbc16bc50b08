"""Tags that user code gives the device: kept, gathered and told to the cloud.

Throttled and retried as the state report is.  What the tags are now only the cloud knows
(``SUPERVISOR.md`` §2, §10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .backoff import backoff_ms
from .device_config import poll_interval_ms
from .effects import ReplyToApi
from .events import ResponseReceived

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .context import Context
    from .events import RequestFailed

OK, BAD_REQUEST, SERVER_ERROR = 200, 400, 500


class Tags:
    """Tags on their way, and questions for them."""

    __slots__ = ("_asked", "_failures", "_sending", "_sent_ms", "next_ms", "waiting")

    def __init__(self) -> None:
        self.next_ms: int | None = None
        self.waiting: int | None = None
        self._sending: Mapping[str, str] = {}
        self._sent_ms: int | None = None
        self._failures = 0
        self._asked: dict[int, int] = {}
        """Request → call of the supervisor API that waits for it."""

    def set(self, ctx: Context, tags: Mapping[str, Any], *, now_ms: int) -> tuple[int, Any]:
        """``PATCH /v2/device/tags``: accepted, and sent later; the answer."""
        for key, value in tags.items():
            if not key or any(letter.isspace() for letter in key) or not isinstance(value, str):
                text = f"a tag is a key without blanks and a text, not {key!r}: {value!r}"
                return BAD_REQUEST, {"status": "failed", "message": text[:200]}
        ctx.persist(tags={**ctx.persisted.tags, **tags})
        self.start(ctx, now_ms=now_ms)
        return OK, {"status": "success"}

    def start(self, ctx: Context, *, now_ms: int) -> None:
        """Send what is not told yet as soon as it may go."""
        if ctx.persisted.tags and self.waiting is None and self.next_ms is None:
            gap_ms = ctx.config.report_gap_ms
            self.next_ms = now_ms if self._sent_ms is None else max(now_ms, self._sent_ms + gap_ms)

    def due(self, ctx: Context, *, now_ms: int) -> None:
        """Send them, if it is time."""
        if self.next_ms is None or self.next_ms > now_ms:
            return
        self.next_ms = None
        disk = ctx.persisted
        self._sending = dict(disk.tags)
        body = {disk.uuid: self._sending}
        self.waiting = ctx.send("PATCH", "/device/v3/tags", body, key=disk.device_api_key)

    def ask(self, ctx: Context, call: int) -> None:
        """``GET /v2/device/tags``: what the cloud has."""
        disk = ctx.persisted
        chosen = quote(f"device/uuid eq '{disk.uuid}'")
        path = f"/v7/device_tag?$select=id,tag_key,value&$filter={chosen}"
        self._asked[ctx.send("GET", path, key=disk.device_api_key)] = call

    def answered(
        self, ctx: Context, event: ResponseReceived | RequestFailed, *, now_ms: int
    ) -> None:
        """An answer of the cloud; one to somebody else is left alone."""
        call = self._asked.pop(event.id, None)
        if call is not None:
            status, body = _tags_of(event)
            ctx.emit(ReplyToApi(call=call, status=status, body=body))
        if event.id != self.waiting:
            return
        self.waiting = None
        if isinstance(event, ResponseReceived) and event.status in range(200, 300):
            self._failures, self._sent_ms = 0, now_ms
            known = ctx.persisted.tags.items()
            ctx.persist(tags={k: v for k, v in known if self._sending.get(k) != v})
            self.start(ctx, now_ms=now_ms)
            return
        cap_ms = poll_interval_ms(ctx.applied, ctx.config.poll_interval_ms)
        first_ms = ctx.config.backoff_min_ms
        wait_ms = backoff_ms(self._failures, first_ms=first_ms, cap_ms=cap_ms)
        if self._failures == 0:
            ctx.note(f"tags were not taken, next try in {wait_ms} ms")
        self._failures += 1
        self.next_ms = now_ms + wait_ms


def _tags_of(event: ResponseReceived | RequestFailed) -> tuple[int, Any]:
    """The answer to user code."""
    if not isinstance(event, ResponseReceived):
        return SERVER_ERROR, {"status": "failed", "message": f"no answer: {event.reason}"}
    rows = event.body.get("d") if isinstance(event.body, dict) else None
    if event.status != OK or not isinstance(rows, list):
        text = f"the API answered {event.status}"
        return SERVER_ERROR, {"status": "failed", "message": text}
    tags = [
        {"id": row.get("id"), "name": row.get("tag_key"), "value": row.get("value")}
        for row in rows
        if isinstance(row, dict)
    ]
    return OK, {"status": "success", "tags": tags}
