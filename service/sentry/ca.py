"""Private certificate authorities: checked once when they are given, and made into what TLS needs."""

import ssl

from service.errors import BadInput

_LARGEST = 65536
_CURE = "Give the PEM text of the authority's certificate, or of several: -----BEGIN CERTIFICATE----- and so on."


def parse_ca(pem: str) -> str:
    """The certificates of a PEM text, each once and without what stands between them: equal sets in one spelling.

    Raises :class:`BadInput` for anything but certificates, and for more than 64 KiB. It never repeats the text, which
    may be a private key.
    """
    # Not at the top: they take 1 MiB, and few Sentrys have an authority of their own.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    if len(pem) > _LARGEST:
        raise BadInput("The certificates are larger than 64 KiB.", cure="Give only those that Sentry's own hangs on.")
    if "PRIVATE KEY-----" in pem:
        raise BadInput("This holds a private key, which must be given to nobody.", cure=_CURE)
    if pem.count("-----BEGIN ") != pem.count("-----BEGIN CERTIFICATE-----"):
        raise BadInput("This holds something else than certificates.", cure=_CURE)
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        encoded = {certificate.public_bytes(Encoding.PEM).decode() for certificate in found}
        trusted = "".join(sorted(encoded))
        create_tls_context(trusted)  # OpenSSL is stricter in some things
    except (ValueError, UnicodeEncodeError, ssl.SSLError):
        raise BadInput("This is not a certificate in PEM form.", cure=_CURE) from None
    return trusted


def create_tls_context(ca: str) -> ssl.SSLContext:
    """What TLS needs to trust these authorities and no others; names are verified as always."""
    return ssl.create_default_context(cadata=ca)  # with `cadata` it loads no other roots
