"""API keys: only their SHA-256 is stored, and comparing takes the same time for every key.

A key is 32 random bytes, so that a plain digest cannot be guessed back; passwords need another way.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from ernie_ray.errors import ConfigError, UnauthorizedError
from ernie_ray.serving.args import SecurityArgs

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX = "er-"


def new_api_key() -> tuple[str, str]:
    """Make a key.

    Returns:
        The key, for the client, and its digest, for the service.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, _digest(key.encode())


class ApiKeys:
    """The keys that open a service; without any, it is open to all."""

    def __init__(self, digests: tuple[str, ...] = ()) -> None:
        """Keep digests.

        Raises:
            ConfigError: One is not a SHA-256 in hexadecimal.
        """
        wrong = [digest for digest in digests if not _DIGEST.fullmatch(digest)]
        if wrong:
            raise ConfigError(
                f"{len(wrong)} API key digests are not 64 hexadecimal digits; make keys with "
                "`ernie-ray api-key` and store what it calls the digest"
            )
        self._digests = digests

    @classmethod
    def from_args(cls, args: SecurityArgs, environ: Mapping[str, str] = os.environ) -> ApiKeys:
        """Read digests from the file and the variable that the arguments name.

        Raises:
            ConfigError: One of them is named but missing or empty: no service opens by accident.
        """
        digests: list[str] = []
        if args.api_keys_file is not None:
            path = Path(args.api_keys_file)
            if not path.is_file():
                raise ConfigError(f"security.api_keys_file: there is no file {path}")
            lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
            digests += _some([line for line in lines if line], f"the file {path}")
        if args.api_keys_variable is not None:
            parts = environ.get(args.api_keys_variable, "").split(",")
            found = [part.strip() for part in parts if part.strip()]
            digests += _some(found, f"the variable {args.api_keys_variable}")
        return cls(tuple(digests))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, authorization: bytes | None, api_key: bytes | None) -> None:
        """Let a request pass.

        Args:
            authorization: Value of its header ``authorization``: ``Bearer KEY``.
            api_key: Value of its header ``x-api-key``, read if there is no other.

        Raises:
            UnauthorizedError: It carries no key of this service.
        """
        if not self._digests:
            return
        sent = api_key or b""
        if authorization is not None:
            scheme, _, sent = authorization.partition(b" ")
            sent = sent.strip() if scheme.lower() == b"bearer" else b""
        digest = _digest(sent)
        # Every digest is compared, so that the time tells nothing.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if not any(matches):
            raise UnauthorizedError(
                'send one of the service\'s API keys as "authorization: Bearer KEY"'
            )


def _some(digests: list[str], place: str) -> list[str]:
    if not digests:
        raise ConfigError(f"{place} holds no API key digests; make one with `ernie-ray api-key`")
    return digests


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()
