"""What every part of one supervisor process shares: settings, the disk's value, the way out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .effects import Effect, Note, Persist, SendRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import AgentConfig, Draws, Persisted

HEX_DIGITS_PER_DRAW = 8


class Context:
    """Handed to each part of an ``Agent``; ``out`` collects the effects of the event at hand."""

    __slots__ = ("config", "draws", "out", "persisted", "requests")

    def __init__(self, config: AgentConfig, persisted: Persisted, draws: Draws) -> None:
        self.config = config
        self.persisted = persisted
        self.draws = draws
        self.out: list[Effect] | None = None
        self.requests = 0
        """Number of the last request sent."""

    def emit(self, effect: Effect) -> None:
        """Have the driver do something; the order of calls is the order of effects."""
        if self.out is None:
            self.out = []
        self.out.append(effect)

    def take(self) -> list[Effect]:
        """The effects since the last call."""
        out, self.out = self.out, None
        return [] if out is None else out

    def note(self, text: str, *, log: str | None = None) -> None:
        """A line for the device's log; ``log`` is for the one that the cloud gets."""
        self.emit(Note(text=text, log=log))

    def persist(self, **changes: Any) -> None:
        """Change what is on the disk; nothing happens where nothing changed."""
        changed = replace(self.persisted, **changes)
        if changed != self.persisted:
            self.persisted = changed
            self.emit(Persist(state=changed))

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None,
        timeout_ms: int | None = None,
        etag: str | None = None,
        more_headers: Mapping[str, str] | None = None,
    ) -> int:
        """Send a request with ``key``; the number its answer will carry."""
        self.requests += 1
        headers: dict[str, str] = {
            "user-agent": self.user_agent,
            "accept": "application/json",
            **(more_headers or {}),
        }
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        if body is not None:
            headers["content-type"] = "application/json"
        if etag is not None:
            headers["if-none-match"] = etag
        timeout_ms = self.config.request_timeout_ms if timeout_ms is None else timeout_ms
        self.emit(
            SendRequest(
                id=self.requests,
                method=method,
                path=path,
                headers=headers,
                body=body,
                timeout_ms=timeout_ms,
            )
        )
        return self.requests

    @property
    def user_agent(self) -> str:
        """As a supervisor names itself (``SUPERVISOR.md §1``)."""
        config = self.config
        return (
            f"Supervisor/{config.supervisor_version} (Linux; {config.os_version};"
            f" {config.os_variant})"
        )

    def secret(self) -> str:
        """A new key or uuid: 32 hexadecimal digits."""
        words = (int(self.draws.random() * 0x1_0000_0000) for _ in range(32 // HEX_DIGITS_PER_DRAW))
        return "".join(f"{word:08x}" for word in words)

    @property
    def applied(self) -> Mapping[str, str]:
        """The device configuration in force, names without prefix."""
        return self.persisted.config
