"""TLS for cameras: verified, against one's own authority, or by a pinned certificate."""

from __future__ import annotations

import hashlib
import hmac
import ssl

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceTlsError


def tls_context(config: SourceConfig) -> ssl.SSLContext:
    """How to talk to a server; blocks while it reads the trusted certificates.

    Raises:
        ConfigError: `tls_ca_file` cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=config.tls_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls_ca_file cannot be read: {error.strerror or type(error).__name__}") from None
    if config.tls_fingerprint is not None or not config.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def check_fingerprint(certificate: bytes, expected: str, *, name: str) -> None:
    """Compares a certificate with the pinned one.

    Args:
        certificate: DER.
        expected: SHA-256 in hexadecimal digits, with or without colons.
        name: Of the source.

    Raises:
        SourceTlsError: It is another one.
    """
    digest = hashlib.sha256(certificate).hexdigest()
    if not hmac.compare_digest(digest, expected.replace(":", "").lower()):
        raise SourceTlsError(f"{name} shows another certificate than tls_fingerprint: {digest}")
