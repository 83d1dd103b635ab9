"""Providers that sign the raw body, or something around it, with an HMAC in one header: data, and little else."""

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import keys, new_keys, signatures
from receiver.sources.base import Provider, Setting, Signed
from receiver.sources.layout import Layout
from receiver.sources.options import Option


class HmacProvider(Provider):
    """A provider whose class says which header, which digest and where the facts are.

    What differs in more than that overrides `signed_parts`, `candidates` or `check_time`.
    """

    signature_header: ClassVar[bytes]
    algorithm: ClassVar[str] = "sha256"
    encoding: ClassVar[Literal["hex", "base64"]] = "hex"
    prefix: ClassVar[bytes] = b""
    """What stands before the signature in its header."""
    other_headers: ClassVar[frozenset[bytes]] = frozenset()
    """Lower-case names of those that `signed_parts` and `check_time` look at."""
    layout: ClassVar[Layout] = Layout()
    """Where its messages hold what; of no use to a class that overrides `read`."""
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(help="webhook secrets, newest first; each one verifies", secret=True, many=True, key=True),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("secrets",),)

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Take the secrets."""
        self._hmacs = [
            signatures.Hmac(self.key(secret, f"secrets[{index}]"), self.algorithm)
            for index, secret in enumerate(keys.secrets(options, "secrets"))
        ]
        self._wanted = self.other_headers | {self.signature_header} | self.layout.headers()

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """One secret."""
        return {"secrets": [new_keys.secret()]}

    def key(self, secret: str, setting: str) -> bytes:
        """The bytes of the key: those of the secret as it is written.

        Args:
            secret: as it stands in the settings.
            setting: its name, for errors.

        Raises:
            SettingsError: the secret cannot be a key.
        """
        del setting
        return secret.encode()

    def signed_parts(self, body: bytes, found: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """What is signed, one part behind the other.

        Args:
            body: raw.
            found: the headers, by lower-case name.

        Raises:
            VerificationError: something is missing.
        """
        del found
        return (body,)

    def candidates(self, header: bytes) -> list[bytes]:
        """The signatures in the header, as they are spelled; any one may match.

        Raises:
            VerificationError: it holds none.
        """
        if not header.startswith(self.prefix):
            raise VerificationError("signature_malformed")
        return [header[len(self.prefix) :]]

    def check_time(self, found: Mapping[bytes, bytes], now: float) -> None:
        """Refuse what was signed too long ago; most sign no time.

        Raises:
            VerificationError: it is too old, too young or unreadable.
        """
        del found, now

    def authenticate(self, callback: Callback, now: float) -> int:
        """Compare each signature with each secret's HMAC."""
        found = signatures.headers(callback, self._wanted)
        header = found.get(self.signature_header)
        if not header:
            raise VerificationError("signature_missing")
        candidates = self.candidates(header)
        self.check_time(found, now)
        return self.matching(candidates, self.signed_parts(callback.body, found))

    def matching(self, candidates: Sequence[bytes], parts: Sequence[bytes]) -> int:
        """The index of the secret under which one of the candidates is the HMAC of the parts.

        Raises:
            VerificationError: `signature_mismatch`.
        """
        for index, secret in enumerate(self._hmacs):
            if signatures.any_equal(candidates, self.encoded(secret.digest(*parts))):
                return index
        raise VerificationError("signature_mismatch")

    def digest(self, *parts: bytes) -> bytes:
        """The HMAC of the parts under the newest secret. Raises SettingsError if there is none."""
        if not self._hmacs:
            raise SettingsError("secrets: is needed to sign")
        return self._hmacs[0].digest(*parts)

    def encoded(self, digest: bytes) -> bytes:
        """The one spelling of a signature that is accepted."""
        return digest.hex().encode() if self.encoding == "hex" else b2a_base64(digest, newline=False)

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event, read by the class's layout."""
        return self.layout.read(callback, self.trust)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the newest secret."""
        beside = {**self.sent_beside(now), **(beside or {})}
        found = {name.lower().encode(): value.encode() for name, value in beside.items()}
        signature = self.encoded(self.digest(*self.signed_parts(body, found)))
        name = self.signature_header.decode().title()
        headers = {"Content-Type": "application/json", **beside, name: self.written(signature, now).decode()}
        return Signed(headers=tuple(headers.items()), body=body)

    def sent_beside(self, now: float) -> dict[str, str]:
        """Headers that are new with each sending and that `signed_parts` wants: a time, for example (Unix seconds)."""
        del now
        return {}

    def written(self, signature: bytes, now: float) -> bytes:
        """The header that says `signature`, sent at `now` (Unix seconds)."""
        del now
        return self.prefix + signature
