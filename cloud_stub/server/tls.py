"""TLS: a certificate of one's own, or a development authority made for this stub."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING

from .settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

AUTHORITY_DAYS = 3_650
SERVER_DAYS = 397


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS for a certificate chain and its key.

    Raises:
        SettingsError: a file cannot be read or they do not fit each other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"--tls {certificate},{key}: {error}") from error
    return context


def development_authority(
    folder: Path, hosts: Sequence[str], *, days_before: int = 1, days: int = SERVER_DAYS
) -> tuple[str, str]:
    """A certificate for these hosts by an authority in ``folder``; both are made where missing.

    Args:
        folder: of keys and certificates.
        hosts: names and addresses.
        days_before: the certificate was valid so many days ago already.
        days: it will be for so many more.

    Returns:
        Files of the certificate chain and its key.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority, authority_key = folder / "ca.pem", folder / "ca.key"
    if not authority.exists():
        long = (max(days_before, 1), max(days, AUTHORITY_DAYS))
        _make(authority, authority_key, "fieldbeat development CA", [], None, long)
    chain, key = folder / "server.pem", folder / "server.key"
    _make(chain, key, hosts[0], hosts, (authority, authority_key), (days_before, days))
    return str(chain), str(key)


def _make(
    file: Path,
    key_file: Path,
    name: str,
    hosts: Sequence[str],
    signer: tuple[Path, Path] | None,
    valid_days: tuple[int, int],
) -> None:
    from cryptography import x509  # slow to import, seldom needed
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    before, after = map(dt.timedelta, valid_days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - before)
        .not_valid_after(now + after)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    if signer is None:
        certificate = builder.issuer_name(subject).sign(key, hashes.SHA256())
    else:
        authority = x509.load_pem_x509_certificate(signer[0].read_bytes())
        signing = serialization.load_pem_private_key(signer[1].read_bytes(), None)
        names = x509.SubjectAlternativeName([_name(host) for host in hosts])
        builder = builder.issuer_name(authority.subject).add_extension(names, critical=False)
        certificate = builder.sign(signing, hashes.SHA256())  # type: ignore[arg-type]
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
