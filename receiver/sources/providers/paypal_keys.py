"""PayPal's certificates: from which addresses, to which roots, and under which name they are believed."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.verification import PolicyBuilder, Store
from cryptography.x509.verification import VerificationError as Unverified

from receiver.errors import SettingsError, VerificationError
from receiver.sources import chains, keys
from receiver.sources.fetched import KeyRequest
from receiver.sources.options import Option, table, texts
from receiver.sources.pinned import public_roots

LIVE: Final = "messageverificationcerts.paypal.com"
SANDBOX: Final = "messageverificationcerts.sandbox.paypal.com"
NAMES: Final[Mapping[str, str]] = {
    "api.paypal.com": LIVE,
    "api-m.paypal.com": LIVE,
    "api.sandbox.paypal.com": SANDBOX,
    "api-m.sandbox.paypal.com": SANDBOX,
}
"""Hosts that certificates are fetched from, each with the name that they must bear."""
_ADDRESS: Final = re.compile(r"https://([a-z.-]+)((?:/v1/notifications)(?:/[A-Za-z0-9_-]{1,100}){1,3})")
"""No user, port, query, fragment, escape, dot or empty segment: nothing that two readers could read in two ways."""
_ROOTS: Final = frozenset(
    {
        "cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f",  # DigiCert Global Root G2
        "371a00dc0533b3721a7eeb40e8419e70799d2b0a0f2c1d80693165f7cec4ad75",  # DigiCert TLS RSA4096 Root G5
        "7431e5f4c3c1ce4690774f0b61e05440883ba9a01ed00ba6abd7806ed3b118cf",  # DigiCert High Assurance EV Root CA
        "4348a0e9444c78cb265e058d5e8944b4d84f9662bd26db257f8934a443c70161",  # DigiCert Global Root CA
    }
)
"""Of DigiCert, who issues PayPal's certificates. The last two are leaving the bundles of our day."""
_MOST_CERTIFICATES: Final = 6
_LONGEST: Final = 64 * 1024
_MOST_KEYS: Final = 32


class _Key(NamedTuple):
    public: RSAPublicKey
    window: chains.Window


class Certificates:
    """What one account believes: certificates out of its settings, and those that were fetched and checked.

    Raises:
        SettingsError: a certificate cannot be parsed, an address is not PayPal's, or there is no root.
    """

    def __init__(self, options: Mapping[str, Option]) -> None:
        own = keys.whole_certificates(options, "roots") if texts(options, "roots") else public_roots(_ROOTS)
        if not own:
            raise SettingsError("roots: are needed, since the installed certifi has none of those that PayPal uses")
        self._store = Store(own)
        self._intermediates = keys.whole_certificates(options, "intermediates")
        self._given = _given(options)
        self._known: dict[str, _Key] = {}

    @property
    def first(self) -> str | None:
        """The address of the first certificate in the settings."""
        return next(iter(self._given), None)

    def key(self, address: str, now: float) -> RSAPublicKey | None:
        """The key that is published at `address`, or None if it has to be fetched.

        Raises:
            VerificationError: `certificate_expired`; or, of a certificate in the settings, as `learn`.
        """
        known = self._known.get(address)
        if known is None:
            if address not in self._given:
                return None
            known = self._learn(address, self._given[address], now)
        known.window.check(now)
        return known.public

    def knows(self, address: str) -> bool:
        """Whether what is published there is here."""
        return address in self._known or address in self._given

    def learn(self, address: str, pem: bytes, now: float) -> None:
        """Believe what came from `address`, if it leads to a root, is valid now and bears the right name.

        Raises:
            VerificationError: `certificate_malformed`, `certificate_untrusted`, `certificate_expired`.
        """
        try:
            found = x509.load_pem_x509_certificates(pem) if len(pem) <= _LONGEST else []
        except chains.UNREADABLE:
            found = []
        if not 0 < len(found) <= _MOST_CERTIFICATES:
            raise VerificationError("certificate_malformed")
        self._learn(address, found, now)

    def _learn(self, address: str, found: Sequence[x509.Certificate], now: float) -> _Key:
        host, _ = split(address)
        try:
            key = self._checked(found[0], [*found[1:], *self._intermediates], NAMES[host], now)
        except chains.UNREADABLE:
            raise VerificationError("certificate_malformed") from None
        while len(self._known) >= _MOST_KEYS:
            del self._known[next(iter(self._known))]
        self._known[address] = key
        return key

    def _checked(self, leaf: x509.Certificate, between: list[x509.Certificate], name: str, now: float) -> _Key:
        policy = PolicyBuilder().store(self._store).time(dt.datetime.fromtimestamp(now, dt.UTC))
        try:
            chain = policy.build_server_verifier(x509.DNSName(name)).verify(leaf, between)
        except Unverified:
            chains.window(leaf).check(now)  # the one fault that is worth a reason of its own
            raise VerificationError("certificate_untrusted") from None
        public = leaf.public_key()
        if list(chains.common_names(leaf)) != [name] or not isinstance(public, RSAPublicKey):
            raise VerificationError("certificate_untrusted")
        return _Key(public, chains.window(*chain))


def split(address: str) -> tuple[str, str]:
    """Host and path of an address that certificates may come from.

    Raises:
        VerificationError: `certificate_address_forbidden`.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or found[1] not in NAMES:
        raise VerificationError("certificate_address_forbidden")
    return found[1], found[2]


def request(address: str) -> KeyRequest:
    """How the certificate at an allowed address is asked for."""
    host, path = split(address)
    return KeyRequest(host=host, path=path)


def _given(options: Mapping[str, Option]) -> dict[str, list[x509.Certificate]]:
    found: dict[str, list[x509.Certificate]] = {}
    for address, pem in table(options, "certificates").items():
        setting = f"certificates.{address}"
        try:
            split(address)
        except VerificationError:
            raise SettingsError(f"{setting}: is no address that PayPal publishes certificates at") from None
        found[address] = keys.parsed_certificates(pem, setting)
    return found
