"""API tokens: `labctl_` + 12 characters that name the token + 43 of secret + 6 of checksum.

The secret has 256 random bits, so nobody can guess it, whatever a guess costs; the hash at rest is therefore a fast one
(a slow one protects passwords, which people choose, and would let anybody keep the daemon busy with wrong ones). It is
keyed with the token's name, so that a hash copied to another row is worth nothing there. The checksum tells a mistyped
or cut token from one that was revoked, without a look into the database; the fixed beginning lets scanners find tokens
that leaked into a repository.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIX = "labctl_"
_ID, _SECRET, _CHECKSUM = 12, 43, 6
_FORM = re.compile(rf"{_PREFIX}([0-9A-Za-z]{{{_ID}}})_([0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as its owner holds it. Its text is shown once."""

    id: str
    secret: str

    @classmethod
    def new(cls) -> Token:
        """A fresh one."""
        name = "".join(secrets.choice(_ALPHABET) for _ in range(_ID))
        return cls(name, _base62(int.from_bytes(secrets.token_bytes(32)), _SECRET))

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """The token in a text; None when it is none, or was not copied as a whole."""
        found = _FORM.fullmatch(text)
        if found is None or _checksum(found[1], found[2]) != found[3]:
            return None
        return cls(found[1], found[2])

    @property
    def text(self) -> str:
        """What is sent with requests."""
        return f"{_PREFIX}{self.id}_{self.secret}{_checksum(self.id, self.secret)}"

    def __repr__(self) -> str:
        return f"Token({self.id!r})"

    def hash(self) -> str:
        """What the database keeps of it: 64 hex digits."""
        keyed = hashlib.blake2b(self.secret.encode(), key=self.id.encode(), person=b"labctl token", digest_size=32)
        return keyed.hexdigest()

    def matches(self, kept: str) -> bool:
        """Whether this is the token of which `kept` is the hash."""
        return hmac.compare_digest(self.hash(), kept)


def presented(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The token in the raw headers of a request, None when there is no `Authorization`.

    `Bearer TOKEN`, or `Basic` with the token as password, or as user name with an empty password.
    """
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                return rest.strip()
            return _of_basic(rest) if scheme.lower() == "basic" else ""
    return None


def without_tokens(text: str) -> str:
    """The text with the secrets of all tokens in it blotted out."""
    return re.sub(rf"({_PREFIX}[0-9A-Za-z]{{1,{_ID}}})_[0-9A-Za-z]+", r"\1_...", text)


def _of_basic(encoded: str) -> str:
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return password or user


def _checksum(name: str, secret: str) -> str:
    return _base62(zlib.crc32(f"{name}_{secret}".encode()), _CHECKSUM)


def _base62(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits
