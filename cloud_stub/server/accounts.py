"""People: passwords, sessions and keys; and the secrets of this store.

Passwords are kept as scrypt digests, keys as keyed BLAKE2 digests: both are compared in constant
time or looked up by digest.  Sessions are JWTs (HS256) as the real API's, good for a week.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import jwt

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION_S = 7 * 86_400
KEY_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
KEY_LENGTH = 32
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
_SALT_BYTES = 16
_ALGORITHM = "HS256"


def new_key() -> str:
    """A key as the real API makes them: 32 letters and digits."""
    return "".join(secrets.choice(KEY_CHARS) for _ in range(KEY_LENGTH))


def sealer(secret: bytes) -> Callable[[str], str]:
    """What is kept of keys: a digest that says nothing without the store's secret."""

    def seal(key: str) -> str:
        text = key.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=secret, digest_size=24).hexdigest()

    return seal


def password_digest(password: str, salt: bytes | None = None) -> str:
    """``salt$digest`` in hexadecimal; takes some ten milliseconds on purpose."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    text = password.encode("utf-8", "surrogatepass")
    digest = hashlib.scrypt(text, salt=salt, maxmem=64 * 2**20, **_SCRYPT)
    return f"{salt.hex()}${digest.hex()}"


NOBODYS = password_digest("", bytes(_SALT_BYTES))
"""Compared with where there is no such user, so that the answer takes as long."""


def password_fits(password: str, stored: str) -> bool:
    """Whether this is the password a digest was made of."""
    salt, _, _ = stored.partition("$")
    return hmac.compare_digest(password_digest(password, bytes.fromhex(salt)), stored)


class Person(NamedTuple):
    """A user of the stub."""

    id: int
    actor: int
    username: str
    email: str
    admin: bool


class Sessions:
    """Makes and reads session tokens."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def token(self, person: Person, *, now_s: int) -> str:
        """A token for a person."""
        claims = {
            "id": person.id,
            "actor": person.actor,
            "username": person.username,
            "email": person.email,
            "permissions": ["auth.create_token"],
            "iat": now_s,
            "exp": now_s + SESSION_S,
        }
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def pull_token(self, images: list[str], *, until_s: int) -> str:
        """A token to pull these images."""
        return jwt.encode({"pull": images, "exp": until_s}, self._secret, algorithm=_ALGORITHM)

    def pulls(self, token: str, *, now_s: int) -> frozenset[str] | None:
        """The images a token lets one pull; ``None``: it is no such token, or over."""
        claims = self._claims(token)
        until, images = claims.get("exp"), claims.get("pull")
        if not isinstance(until, int) or until <= now_s or not isinstance(images, list):
            return None
        return frozenset(images)

    def _claims(self, token: str) -> dict[str, Any]:
        """What a token of ours says; of any other, nothing."""
        options = {"verify_exp": False, "verify_iat": False}
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                options=options,  # type: ignore[arg-type]
            )
        except jwt.InvalidTokenError:
            return {}
        return claims

    def reader(self, token: str, *, now_s: int) -> int | None:
        """The user of a token that is ours and not over."""
        if token.count(".") != 2:
            return None
        claims = self._claims(token)
        number, until = claims.get("id"), claims.get("exp")
        if not isinstance(number, int) or not isinstance(until, int) or until <= now_s:
            return None
        return number


class Attempts:
    """How often somebody may try in a minute; a token bucket for each name."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left: dict[str, tuple[float, float]] = {}

    def refused_for_s(self, name: str, *, now_s: float) -> int | None:
        """Seconds to wait, or ``None``: go ahead."""
        left, at_s = self._left.get(name, (float(self._per_minute), now_s))
        left = min(self._per_minute, left + (now_s - at_s) * self._per_minute / 60)
        if left < 1:
            return max(1, round((1 - left) * 60 / self._per_minute))
        return None

    def failed(self, name: str, *, now_s: float) -> None:
        """One more wrong attempt."""
        left, at_s = self._left.get(name, (float(self._per_minute), now_s))
        left = min(self._per_minute, left + (now_s - at_s) * self._per_minute / 60)
        if len(self._left) > 10_000:
            self._left.clear()
        self._left[name] = (left - 1, now_s)

    def succeeded(self, name: str) -> None:
        """The right password: what was held against the name is forgotten."""
        self._left.pop(name, None)
