"""Whom this process trusts: certifi's certificate authorities, or those that SSL_CERT_FILE or SSL_CERT_DIR names."""

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """One for all clients of a process. Each would read every authority anew, for a twentieth of a second or more."""
    return httpx.create_ssl_context()
