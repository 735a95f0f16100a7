"""Certificates for one test: an authority and a server of 127.0.0.1."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What a server shows, and how to know it.

    Attributes:
        context: For the server.
        ca_file: PEM of who signed it: the certificate itself.
        key_file: PEM of its private key.
        fingerprint: SHA-256, hexadecimal.
    """

    context: ssl.SSLContext
    ca_file: Path
    key_file: Path
    fingerprint: str


def make_identity(folder: Path, *, address: str = "127.0.0.1") -> ServerIdentity:
    """A certificate that signs itself, as most cameras have it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "camera of a test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFETIME)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "camera.pem", folder / "camera.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    der = certificate.public_bytes(serialization.Encoding.DER)
    return ServerIdentity(context, pem, secret, hashlib.sha256(der).hexdigest())
