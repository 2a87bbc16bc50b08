"""The handshake's two messages and the cookie, made and read (whitepaper §5.4.2, §5.4.3, §5.4.7).

Layouts, little endian::

    initiation 148  type u32 = 1, sender u32, ephemeral 32, static 48, timestamp 28, mac1, mac2
    response    92  type u32 = 2, sender u32, receiver u32, ephemeral 32, nothing 16, mac1, mac2
    cookie      64  type u32 = 3, receiver u32, nonce 24, cookie 32
    transport       type u32 = 4, receiver u32, counter u64, packet + 16
"""

from __future__ import annotations

import hmac
import struct
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .noise import (
    CHAIN,
    TAG,
    ZERO_NONCE,
    BadKeyError,
    exchange,
    hash_of,
    mac_of,
    mix,
    mix_key,
    mix_psk,
    xcipher,
    xopen,
)

if TYPE_CHECKING:
    from .noise import Identity, Remote

INITIATION, RESPONSE, COOKIE, TRANSPORT = 1, 2, 3, 4
INITIATION_SIZE, RESPONSE_SIZE, COOKIE_SIZE = 148, 92, 64
_TAI_OFFSET = 0x400000000000000A
"""TAI64 of the epoch, with the ten seconds UTC was behind then."""


class RefusedError(Exception):
    """A message that is not for us, not whole, or not honest; nothing was changed by it."""


class Keys(NamedTuple):
    """What a handshake ends in."""

    send: bytes
    receive: bytes
    local: int
    remote: int


def tai64n(time_ns: int) -> bytes:
    """A timestamp that sorts as bytes, 12 of them, of nanoseconds since 1970."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return struct.pack(">QI", _TAI_OFFSET + seconds, rest)


def _with_macs(body: bytes, mac1_key: bytes, cookie: bytes | None) -> bytes:
    signed = body + mac_of(mac1_key, body)
    return signed + (mac_of(cookie, signed) if cookie else bytes(TAG))


def check_mac1(message: bytes, identity: Identity) -> None:
    """A handshake message is meant for us.

    Raises:
        RefusedError: it is not.
    """
    if not hmac.compare_digest(mac_of(identity.mac1_key, message[:-32]), mac1_of(message)):
        raise RefusedError("mac1 is wrong")


def mac1_of(message: bytes) -> bytes:
    """What a cookie for this handshake message is bound to."""
    return message[-32:-16]


def mac2_holds(message: bytes, cookie: bytes) -> bool:
    """Whether the sender has seen the cookie."""
    return hmac.compare_digest(mac_of(cookie, message[:-16]), message[-16:])


class Initiation:
    """One handshake we began; ``message`` is what to send."""

    __slots__ = ("_chain", "_ephemeral", "_hash", "_identity", "_psk", "index", "message")

    def __init__(
        self,
        identity: Identity,
        remote: Remote,
        shared: bytes,
        psk: bytes,
        *,
        index: int,
        ephemeral: bytes,
        time_ns: int,
        cookie: bytes | None,
    ) -> None:
        """Make the first message.

        Args:
            identity: ours.
            remote: theirs.
            shared: secret of both static keys.
            psk: preshared key, 32 bytes; zeroes where there is none.
            index: our session's, to be told to them.
            ephemeral: 32 random bytes.
            time_ns: since 1970; must be later than in any message before.
            cookie: the last one they gave, if it is young enough.
        """
        self._identity, self._psk, self.index = identity, psk, index
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        public = self._ephemeral.public_key().public_bytes_raw()
        chain, told = mix(CHAIN, public), hash_of(remote.hash, public)
        chain, key = mix_key(chain, exchange(self._ephemeral, remote.key))
        static = ChaCha20Poly1305(key).encrypt(ZERO_NONCE, identity.public, told)
        told = hash_of(told, static)
        chain, key = mix_key(chain, shared)
        stamp = ChaCha20Poly1305(key).encrypt(ZERO_NONCE, tai64n(time_ns), told)
        self._chain, self._hash = chain, hash_of(told, stamp)
        body = struct.pack("<II", INITIATION, index) + public + static + stamp
        self.message = _with_macs(body, remote.mac1_key, cookie)

    def finish(self, message: bytes) -> Keys:
        """Read the answer.

        Raises:
            RefusedError: it is no answer to this.
        """
        if len(message) != RESPONSE_SIZE:
            raise RefusedError("no response")
        kind, sender, receiver = struct.unpack_from("<III", message)
        if kind != RESPONSE or receiver != self.index:
            raise RefusedError("a response to something else")
        check_mac1(message, self._identity)
        public = message[12:44]
        theirs = X25519PublicKey.from_public_bytes(public)
        chain, told = mix(self._chain, public), hash_of(self._hash, public)
        try:
            chain = mix(chain, exchange(self._ephemeral, theirs))
            chain = mix(chain, exchange(self._identity.private, theirs))
            chain, secret, key = mix_psk(chain, self._psk)
            told = hash_of(told, secret)
            ChaCha20Poly1305(key).decrypt(ZERO_NONCE, message[44:60], told)
        except (InvalidTag, BadKeyError):
            raise RefusedError("a response made with other keys") from None
        send, receive = mix_key(chain, b"")
        return Keys(send, receive, self.index, sender)


class Received:
    """An initiation that came; who it is from is known, the rest waits for ``prove``."""

    __slots__ = ("_chain", "_ephemeral", "_hash", "_identity", "_stamp", "sender", "static")

    def __init__(self, identity: Identity, message: bytes) -> None:
        """Read the sender's static key.

        Raises:
            RefusedError: it was not made for our key.
        """
        self._identity = identity
        (self.sender,) = struct.unpack_from("<I", message, 4)
        public, static = message[8:40], message[40:88]
        self._ephemeral = X25519PublicKey.from_public_bytes(public)
        chain, told = mix(CHAIN, public), hash_of(identity.hash, public)
        try:
            chain, key = mix_key(chain, exchange(identity.private, self._ephemeral))
            self.static = ChaCha20Poly1305(key).decrypt(ZERO_NONCE, static, told)
        except (InvalidTag, BadKeyError):
            raise RefusedError("an initiation made for another key") from None
        self._chain, self._hash = chain, hash_of(told, static)
        self._stamp = message[88:116]

    def prove(self, shared: bytes) -> bytes:
        """The sender has the static key it names; its timestamp, 12 bytes.

        Raises:
            RefusedError: it has not.
        """
        self._chain, key = mix_key(self._chain, shared)
        try:
            stamp = ChaCha20Poly1305(key).decrypt(ZERO_NONCE, self._stamp, self._hash)
        except InvalidTag:
            raise RefusedError("an initiation without the key it names") from None
        self._hash = hash_of(self._hash, self._stamp)
        return stamp

    def answer(
        self,
        remote: Remote,
        psk: bytes,
        *,
        index: int,
        ephemeral: bytes,
        cookie: bytes | None,
    ) -> tuple[bytes, Keys]:
        """The response, and the keys; after ``prove``.

        Raises:
            RefusedError: the sender's ephemeral key is no good one.
        """
        ours = X25519PrivateKey.from_private_bytes(ephemeral)
        public = ours.public_key().public_bytes_raw()
        chain, told = mix(self._chain, public), hash_of(self._hash, public)
        try:
            chain = mix(chain, exchange(ours, self._ephemeral))
            chain = mix(chain, exchange(ours, remote.key))
        except BadKeyError as error:
            raise RefusedError(str(error)) from None
        chain, secret, key = mix_psk(chain, psk)
        told = hash_of(told, secret)
        nothing = ChaCha20Poly1305(key).encrypt(ZERO_NONCE, b"", told)
        body = struct.pack("<III", RESPONSE, index, self.sender) + public + nothing
        receive, send = mix_key(chain, b"")
        return _with_macs(body, remote.mac1_key, cookie), Keys(send, receive, index, self.sender)


class CookieReplies:
    """Asks the senders of handshake messages to prove their addresses.

    The first 16 bytes of a nonce make a subkey, which costs more than to read an initiation: they
    are drawn once.  The last 8 count, so that no nonce comes twice.
    """

    __slots__ = ("_count", "_head", "_seal")

    def __init__(self, identity: Identity, head: bytes) -> None:
        """In the name of ``identity``; ``head`` is 16 random bytes."""
        self._head, self._count = head, 0
        self._seal = xcipher(identity.cookie_key, head)

    def to(self, message: bytes, cookie: bytes) -> bytes:
        """The reply to a message."""
        (sender,) = struct.unpack_from("<I", message, 4)
        tail = struct.pack("<Q", self._count)
        self._count += 1
        sealed = self._seal.encrypt(bytes(4) + tail, cookie, mac1_of(message))
        return struct.pack("<II", COOKIE, sender) + self._head + tail + sealed


def cookie_from(message: bytes, remote: Remote, mac1: bytes) -> bytes:
    """The cookie of a reply to the handshake message of this ``mac1``.

    Raises:
        RefusedError: it is not for this message.
    """
    try:
        return xopen(remote.cookie_key, message[8:32], message[32:64], mac1)
    except InvalidTag:
        raise RefusedError("a cookie for something else") from None
