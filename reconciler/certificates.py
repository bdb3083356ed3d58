"""The edge's certificate, where a public authority signs it: had, and renewed in the last third of
its time, by ACME (RFC 8555).

The names hold wildcards, so that the proof is a record in the zone (DNS-01): any provider of
octoDNS that the zone is kept at can give it. The account's key is a secret of the platform's; the
certificate's is made anew each time, and seen by the edge alone.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.resolver
import josepy
from acme import challenges, client, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from requests import RequestException

from reconciler import ReconcilerError
from stacks import StackError, certificate
from stacks.dns_zone import Zone
from stacks.edge_config import certificate_names, is_signed_outside
from stacks.platform import zone_inputs
from state_repo import StateRepoError
from state_repo.documents import Platform, Tls
from state_repo.files import read_secret, write_secret

if TYPE_CHECKING:
    from reconciler.loop import Reconciler

log = logging.getLogger(__name__)
DIRECTORIES = {"production": "https://acme-v02.api.letsencrypt.org/directory",
               "staging": "https://acme-staging-v02.api.letsencrypt.org/directory"}
ACCOUNT = "acme-account"
LOOK_S = 30.0
# An authority lets five proofs an hour fail (https://letsencrypt.org/docs/rate-limits).
AGAIN_S, LONGEST_S = 60.0, 6 * 3600.0
SEEN_S, ORDER_S = 180.0, 300.0
_LOOK_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last one. `directory`: of whom the certificate is that is there; `problem`: why the last
    attempt failed, empty when it did not; `failures`: in a row. `at`: RFC 3339."""

    directory: str = ""
    at: str = ""
    problem: str = ""
    failures: int = 0

    @classmethod
    def read(cls, path: Path) -> Attempt:
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError) as error:
            log.error("%s can't be read, and is begun anew: %s", path, error)
            return cls()

    def may_try(self, now: datetime) -> bool:
        if not self.failures:
            return True
        wait = min(AGAIN_S * 4 ** (self.failures - 1), LONGEST_S)
        return now - datetime.fromisoformat(self.at) >= timedelta(seconds=wait)


class Certificates:
    """`work` is a thread's; everything else may be called from any."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._r, self._instance = reconciler, reconciler.instance
        self._path = reconciler.instance.data / "certificate.json"
        self._attempt = Attempt.read(self._path)
        self._stop, self._woken = threading.Event(), threading.Event()
        self._asked = False

    # ---- the life of the thread --------------------------------------------------------------

    def work(self) -> None:
        """Looks now and then, until stopped."""
        while not self._stop.is_set():
            try:
                self.look(datetime.now(UTC))
            except Exception:
                log.exception("the certificate could not be looked at; it is tried again")
            self._woken.wait(LOOK_S)
            self._woken.clear()

    def stop(self) -> None:
        self._stop.set()
        self._woken.set()

    def renew(self) -> None:
        """Has it signed anew, now. Raises ReconcilerError: nobody outside signs it."""
        platform = self._r.book.platform
        if platform is None or not is_signed_outside(self._instance, platform.tls):
            raise ReconcilerError("no public authority signs the certificate: iw tls set acme")
        self._asked = True
        self._woken.set()

    def look(self, now: datetime) -> None:
        """Has it signed when that is due."""
        platform = self._r.book.platform
        if platform is None or not is_signed_outside(self._instance, platform.tls):
            self._r.metrics.show_certificate(None)
            return
        found, tls = certificate.current(self._instance), platform.tls
        if found is not None:
            due = (self._asked or not found.is_signed or found.is_due(now)
                   or found.names != set(certificate_names(self._instance))
                   or self._attempt.directory != tls.directory)
            if due and (self._asked or self._attempt.may_try(now)):
                self._asked = False
                self._try(platform, now)
                found = certificate.current(self._instance)
        self._r.metrics.show_certificate(found if found and found.is_signed else None,
                                         is_wanted=True)

    def _try(self, platform: Platform, now: datetime) -> None:
        """Has it signed, and keeps and tells what went wrong."""
        try:
            self._have_signed(platform)
            problem = ""
        except (errors.Error, messages.Error, StackError, StateRepoError, RequestException, OSError,
                ValueError) as error:
            problem = _words(error)
        failures = self._attempt.failures + 1 if problem else 0
        self._attempt = Attempt(self._attempt.directory if problem else platform.tls.directory,
                                now.isoformat(), problem, failures)
        write_secret(self._path, json.dumps(asdict(self._attempt)))
        if problem:
            log.warning("the certificate was not signed: %s", problem)
            self._r.outbox.event("CertificateFailed", f"the certificate was not signed: {problem}")
        else:
            self._r.outbox.event("CertificateSigned", "the edge has a new certificate")

    def as_json(self) -> dict[str, Any]:
        """`issuer`, `directory`; `names`, `ends`, `signed_by`: of what is there (None: nothing);
        `problem`, `tried`: of the last attempt."""
        platform = self._r.book.platform
        tls = platform.tls if platform else Tls()
        outside = is_signed_outside(self._instance, tls)
        found = certificate.current(self._instance) if outside else None
        own = "internal" if self._instance.app_url.startswith("https:") else None
        return {"issuer": tls.issuer if outside else own,
                "directory": tls.directory if outside else None,
                "names": sorted(found.names) if found else None,
                "ends": found.ends.isoformat() if found and found.is_signed else None,
                "signed_by": found.issuer if found and found.is_signed else None,
                "problem": self._attempt.problem if outside else "",
                "tried": self._attempt.at or None}

    # ---- one order ---------------------------------------------------------------------------

    def _have_signed(self, platform: Platform) -> None:
        tls, deadline = platform.tls, datetime.now() + timedelta(seconds=ORDER_S)  # as acme counts
        with self._authority(tls) as authority:
            key, wanted = certificate.request(certificate_names(self._instance))
            order = authority.new_order(wanted)
            proofs = [self._proof(authority, each) for each in order.authorizations
                      if each.body.status != messages.STATUS_VALID]
            texts: dict[str, list[str]] = {}
            for name, _, _, text in proofs:
                texts.setdefault(name.removesuffix(f".{self._instance.domain}"), []).append(text)
            zone, inputs = Zone(self._instance), zone_inputs(self._instance, platform)
            try:
                zone.answer(inputs, texts)
                for name, body, response, text in proofs:
                    self._wait_until_seen(platform, name, text)
                    authority.answer_challenge(body, response)
                signed = authority.poll_and_finalize(order, deadline)
            finally:
                zone.answer(inputs, {})
        certificate.install(self._instance, key, signed.fullchain_pem.encode())

    @contextmanager
    def _authority(self, tls: Tls) -> Iterator[client.ClientV2]:
        net = client.ClientNetwork(josepy.JWKRSA(key=self._account_key()),
                                   user_agent="instantworker")
        if tls.trusted:
            path = self._instance.secrets_path / tls.trusted
            read_secret(path)  # says what is missing
            setattr(net, "verify_ssl", str(path))  # noqa: B010 - requests takes a path as well
        url = DIRECTORIES.get(tls.directory, tls.directory)
        try:
            found = client.ClientV2(client.ClientV2.get_directory(url, net), net)
            terms = messages.NewRegistration.from_data(email=tls.email,
                                                       terms_of_service_agreed=True)
            try:
                found.new_account(terms)
            except errors.ConflictError as known:
                net.account = messages.RegistrationResource(
                    uri=known.location, body=messages.Registration())
            yield found
        finally:
            net.session.close()

    def _account_key(self) -> rsa.RSAPrivateKey:
        path = self._instance.secrets_path / ACCOUNT
        if not path.exists():
            write_secret(path, rsa.generate_private_key(65537, 2048).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption()).decode())
        key = serialization.load_pem_private_key(read_secret(path).encode(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise StackError(f"the secret {ACCOUNT} holds another kind of key; remove it to have "
                             "one made")
        return key

    def _proof(self, authority: client.ClientV2, asked: messages.AuthorizationResource
               ) -> tuple[str, messages.ChallengeBody, Any, str]:
        """Of a name: where the proof is looked for, what is answered, and the proof itself."""
        offered = next((body for body in asked.body.challenges
                        if isinstance(body.chall, challenges.DNS01)), None)
        if offered is None:
            raise StackError("the authority takes no record in DNS as a proof (dns-01)")
        response, text = offered.response_and_validation(authority.net.key)
        return (offered.validation_domain_name(asked.body.identifier.value), offered, response,
                text)

    def _wait_until_seen(self, platform: Platform, name: str, text: str) -> None:
        """Until whoever is asked for the zone answers with the proof: the authority asks once."""
        until, servers = time.monotonic() + SEEN_S, self._servers(platform)
        while text not in _texts(servers, name):
            if self._stop.is_set():
                raise StackError("the reconciler was stopped")
            if time.monotonic() > until:
                raise StackError(f"{name} does not answer with the proof {SEEN_S:.0f} s after it "
                                 "was put into the zone; see whether the domain is delegated to "
                                 "it (dig NS)")
            time.sleep(_LOOK_UP_S)

    def _servers(self, platform: Platform) -> dns.resolver.Resolver:
        """Who is asked: our own server, or those of the world."""
        if platform.dns.provider != "powerdns":
            return dns.resolver.Resolver()
        found = dns.resolver.Resolver(configure=False)
        found.nameservers, found.port = ["127.0.0.1"], self._instance.ports["dns"]
        return found


def _texts(resolver: dns.resolver.Resolver, name: str) -> set[str]:
    try:
        answer = resolver.resolve(name, "TXT", lifetime=5.0)
    except dns.exception.DNSException:
        return set()
    return {b"".join(record.strings).decode(errors="replace") for record in answer}


def _words(error: Exception) -> str:
    """What an authority says is in several places."""
    if isinstance(error, errors.ValidationError):
        said = [f"{each.body.identifier.value}: {challenge.error.detail}"
                for each in error.failed_authzrs for challenge in each.body.challenges
                if challenge.error is not None]
        return "the proof was not found: " + "; ".join(said)
    return " ".join(str(error).split())[:500] or type(error).__name__
