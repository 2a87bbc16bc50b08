"""What WireGuard is made of: hashes, key derivation, ciphers, keys (whitepaper §5.4).

``Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s``; elliptic curve and cipher are those of ``cryptography``.
"""

from __future__ import annotations

import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEY = 32
TAG = 16
NO_PSK = bytes(KEY)
ZERO_NONCE = bytes(12)
# a key is filled up to BLAKE2s' block of 64 bytes with zeros, each byte mixed with a constant
_INNER, _OUTER = (bytes(byte ^ mask for byte in range(256)) for mask in (0x36, 0x5C))
_INNER_REST, _OUTER_REST = b"\x36" * (64 - KEY), b"\x5c" * (64 - KEY)


class BadKeyError(ValueError):
    """A key that cannot be one."""


def hash_of(*parts: bytes) -> bytes:
    """BLAKE2s of the parts put together, 32 bytes."""
    return hashlib.blake2s(b"".join(parts)).digest()


def mac_of(key: bytes, data: bytes) -> bytes:
    """Keyed BLAKE2s, 16 bytes: mac1, mac2 and cookies."""
    return hashlib.blake2s(data, digest_size=16, key=key).digest()


def hmac_of(key: bytes, data: bytes) -> bytes:
    """HMAC-BLAKE2s (RFC 2104) under a key of 32 bytes: ``hmac.digest``, in half its time."""
    inside = hashlib.blake2s(key.translate(_INNER) + _INNER_REST + data).digest()
    return hashlib.blake2s(key.translate(_OUTER) + _OUTER_REST + inside).digest()


def mix(chain: bytes, data: bytes) -> bytes:
    """The next chaining key (``KDF1``)."""
    return hmac_of(hmac_of(chain, data), b"\x01")


def mix_key(chain: bytes, data: bytes) -> tuple[bytes, bytes]:
    """The next chaining key, and a key (``KDF2``)."""
    root = hmac_of(chain, data)
    first = hmac_of(root, b"\x01")
    return first, hmac_of(root, first + b"\x02")


def mix_psk(chain: bytes, psk: bytes) -> tuple[bytes, bytes, bytes]:
    """The next chaining key, what is hashed, and a key (``KDF3``)."""
    root = hmac_of(chain, psk)
    first = hmac_of(root, b"\x01")
    second = hmac_of(root, first + b"\x02")
    return first, second, hmac_of(root, second + b"\x03")


CHAIN = hash_of(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
HASH = hash_of(CHAIN, b"WireGuard v1 zx2c4 Jason@zx2c4.com")


class Identity:
    """A static key pair of ours."""

    __slots__ = ("cookie_key", "hash", "mac1_key", "private", "public")

    def __init__(self, private: bytes) -> None:
        """Take a private key of 32 bytes.

        Raises:
            BadKeyError: it has another length.
        """
        if len(private) != KEY:
            raise BadKeyError(f"a key has {KEY} bytes, this one {len(private)}")
        self.private = X25519PrivateKey.from_private_bytes(private)
        self.public = self.private.public_key().public_bytes_raw()
        self.mac1_key = hash_of(b"mac1----", self.public)
        self.cookie_key = hash_of(b"cookie--", self.public)
        self.hash = hash_of(HASH, self.public)
        """Of a handshake somebody begins with us."""


class Remote:
    """A static public key of somebody else; peers of many devices share one."""

    __slots__ = ("cookie_key", "hash", "key", "mac1_key", "public")

    def __init__(self, public: bytes) -> None:
        """Take a public key of 32 bytes.

        Raises:
            BadKeyError: it has another length.
        """
        if len(public) != KEY:
            raise BadKeyError(f"a key has {KEY} bytes, this one {len(public)}")
        self.public = public
        self.key = X25519PublicKey.from_public_bytes(public)
        self.mac1_key = hash_of(b"mac1----", public)
        self.cookie_key = hash_of(b"cookie--", public)
        self.hash = hash_of(HASH, public)


def exchange(private: X25519PrivateKey, public: X25519PublicKey) -> bytes:
    """The shared secret.

    Raises:
        BadKeyError: the public key is one of the few that give nothing secret.
    """
    try:
        return private.exchange(public)
    except ValueError:
        raise BadKeyError("a public key of low order") from None


# --- XChaCha20-Poly1305, for cookies only -------------------------------------------------------

_ROUNDS = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)
_WORD = 0xFFFFFFFF


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """The subkey of a 16-byte nonce (draft-irtf-cfrg-xchacha §2.2); 32 bytes."""
    s = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))
    for _ in range(10):
        for a, b, c, d in _ROUNDS:
            for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                s[x] = (s[x] + s[y]) & _WORD
                mixed = s[z] ^ s[x]
                s[z] = (mixed << turn | mixed >> (32 - turn)) & _WORD
    return struct.pack("<8I", *s[:4], *s[12:])


def xcipher(key: bytes, head: bytes) -> ChaCha20Poly1305:
    """The cipher of all 24-byte nonces that begin so; of them it takes ``0000`` and the rest."""
    return ChaCha20Poly1305(hchacha20(key, head))


def xopen(key: bytes, nonce: bytes, sealed: bytes, also: bytes) -> bytes:
    """Decrypt what was sealed under a 24-byte nonce.

    Raises:
        InvalidTag: it was not.
    """
    return xcipher(key, nonce[:16]).decrypt(bytes(4) + nonce[16:], sealed, also)
