"""Who asks, and what each kind of credential is refused (``STATUS.md §7``, ``WIRE.md``).

| credential                    | GET state | PATCH state   | VPN auth      | VPN service routes |
|-------------------------------|-----------|---------------|---------------|--------------------|
| the device's own key          | 200       | 200           | 200           | 401, empty         |
| another device's key          | 401       | 401, empty    | 401, empty    | 401, empty         |
| provisioning key              | 401       | 401, empty    | 401, empty    | 401, empty         |
| VPN service key               | 401       | 401, empty    | 401, empty    | 200                |
| a user's token                | 200       | key required  | key required  | key required       |
| none, unknown, or past its end | 401      | key required  | key required  | key required       |

"key required" is 401 with ``{"error": "API key required"}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from .answers import API_KEY_REQUIRED, UNAUTHORIZED, Refusal
from .model import Device

if TYPE_CHECKING:
    from .messages import Request
    from .model import Fleet
    from .state import State

CallerKind = Literal["nobody", "device", "provisioning", "user", "vpn"]


class Caller(NamedTuple):
    """Whom a request's credential belongs to."""

    kind: CallerKind = "nobody"
    device: Device | None = None
    """Whose key it is; the row may be deleted."""
    fleet: Fleet | None = None
    """Whose provisioning key it is."""


NOBODY = Caller()
PERSON = Caller("user")
_BEARER = "bearer "


def presented(request: Request) -> str | None:
    """The key of a request: ``Authorization: Bearer``, else ``?apikey=``."""
    header = request.headers.get("authorization", "")
    if header[: len(_BEARER)].lower() == _BEARER:
        return header[len(_BEARER) :].strip()
    return request.query.get("apikey")


def identify(state: State, request: Request, *, now_ms: int) -> Caller:
    """The owner of the request's key; a key past its end is nobody's."""
    if request.person:
        return PERSON
    text = presented(request)
    found = state.owner(text) if text else None
    if found is None:
        return NOBODY
    if isinstance(found, Device):
        return Caller("device", found)
    if found.expires_at_ms is not None and found.expires_at_ms <= now_ms:
        return NOBODY
    return Caller(found.kind, found.device, found.fleet)


def with_api_key(state: State, request: Request, *, now_ms: int) -> Caller:
    """The caller of a route that takes API keys only.

    Raises:
        Refusal: no key, an unknown one, or a user's token.
    """
    caller = identify(state, request, now_ms=now_ms)
    if caller.kind in ("nobody", "user"):
        raise Refusal(API_KEY_REQUIRED)
    return caller


def own_device(caller: Caller, uuid: str) -> Device:
    """The caller's device, if it is this one and neither deleted nor frozen.

    Raises:
        Refusal: it is not.
    """
    device = caller.device
    if device is None or device.uuid != uuid or device.deleted or device.is_frozen:
        raise Refusal(UNAUTHORIZED)
    return device
