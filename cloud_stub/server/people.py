"""Who calls: people by session or key, devices, fleets and the VPN service by key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import sqlalchemy as sa

from ..model import Device
from ..store.access import Access
from ..store.resources import TABLES
from .accounts import NOBODYS, Person, new_key, password_digest, password_fits

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from .accounts import Sessions
    from .desk import Desk

ADMIN = "admin"
_BEARER = "bearer "


class Caller(NamedTuple):
    """Whose credential a request carries."""

    kind: Literal["nobody", "user", "device", "provisioning", "vpn"] = "nobody"
    person: Person | None = None
    device: Any = None
    """The core's row."""
    fleet: Any = None
    expired: bool = False

    def access(self, *, writing: bool) -> Access | None:
        """The caller's view of resources; ``None``: none."""
        match self.kind:
            case "user":
                assert self.person is not None
                return Access("user", user=self.person.id, writing=writing)
            case "device":
                device = self.device
                return Access("device", device=device.id, fleet=device.fleet.id, writing=writing)
            case "provisioning":
                return Access("provisioning", fleet=self.fleet.id, writing=writing)
            case _:
                return None


NOBODY = Caller()


class People:
    """All users, in memory: there are few, and every request asks."""

    def __init__(self, desk: Desk, sessions: Sessions) -> None:
        self._desk = desk
        self._sessions = sessions
        self._by_id: dict[int, Person] = {}
        self._digests: dict[str, tuple[int, str]] = {}
        """Username and email → user, password digest."""
        self._keys: dict[str, tuple[int, int | None]] = {}
        """Sealed key → user, end."""

    async def load(self, connection: AsyncConnection) -> None:
        """All users and their keys."""
        users, keys = TABLES["user"], TABLES["api_key"]
        self._by_id.clear()
        self._digests.clear()
        for row in (await connection.execute(sa.select(users))).mappings():
            person = Person(
                row["id"], row["actor"], row["username"], row["email"], row["username"] == ADMIN
            )
            self._by_id[person.id] = person
            for name in (person.username, person.email):
                self._digests[name.lower()] = (person.id, row["password"])
        query = sa.select(keys).where(keys.c.kind == "user")
        self._keys = {
            row["key"]: (row["user"], row["expiry_date"])
            for row in (await connection.execute(query)).mappings()
        }

    def add_key(self, sealed: str, user: int, expires_at_ms: int | None) -> None:
        """One more key of a person."""
        self._keys[sealed] = (user, expires_at_ms)

    def forget_key(self, sealed: str) -> None:
        """A key was revoked."""
        self._keys.pop(sealed, None)

    def with_password(self, name: str, password: str) -> Person | None:
        """The user, if this is the right password; takes as long if there is no such user."""
        number, digest = self._digests.get(name.lower(), (0, NOBODYS))
        return self._by_id.get(number) if password_fits(password, digest) else None

    def actor(self, person: int) -> int:
        """A person's actor."""
        return self._by_id[person].actor

    def caller(self, authorization: str, apikey: str | None) -> Caller:
        """The owner of a credential.

        Args:
            authorization: the header, or nothing.
            apikey: of the query string.
        """
        bearer = authorization[: len(_BEARER)].lower() == _BEARER
        token = authorization[len(_BEARER) :].strip() if bearer else apikey
        if not token:
            return NOBODY
        now_ms = self._desk.now_ms()
        person = self._by_id.get(self._sessions.reader(token, now_s=now_ms // 1_000) or 0)
        if person is not None:
            return Caller("user", person)
        owner = self._desk.cloud.key_owner(token)
        if isinstance(owner, Device):
            return Caller("nobody") if owner.deleted else Caller("device", device=owner)
        if owner is not None:
            over = owner.expires_at_ms is not None and owner.expires_at_ms <= now_ms
            if over or (owner.device is not None and owner.device.deleted):
                return NOBODY
            return Caller(owner.kind, device=owner.device, fleet=owner.fleet)
        user, until_ms = self._keys.get(self._desk.seal(token), (0, None))
        if until_ms is not None and until_ms <= now_ms:
            return NOBODY
        person = self._by_id.get(user)
        return NOBODY if person is None else Caller("user", person)


async def add_user(
    connection: AsyncConnection,
    *,
    username: str,
    email: str,
    password: str,
    actor: int,
    now_ms: int,
) -> None:
    """A user, and the organization of the same name."""
    stamps = {"created_at": now_ms, "modified_at": now_ms}
    users, organizations, members = (
        TABLES[name] for name in ("user", "organization", "organization_membership")
    )
    made = await connection.execute(
        sa.insert(users).values(
            username=username,
            email=email,
            password=password_digest(password),
            actor=actor,
            **stamps,
        )
    )
    home = await connection.execute(
        sa.insert(organizations).values(name=username, handle=username, **stamps)
    )
    await connection.execute(
        sa.insert(members).values(
            user=made.inserted_primary_key[0],  # type: ignore[index]
            is_member_of__organization=home.inserted_primary_key[0],  # type: ignore[index]
            organization_membership_role="administrator",
            **stamps,
        )
    )


def generated_password() -> str:
    """A password for a first start without one."""
    return new_key()[:20]
