"""ProofService: receipts with all that is needed to verify them without this gateway, and its published keys.

Invariant: nothing secret is in a proof but what its job's owner sent; who may not see the job gets none.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.accounting.receipt_form import canonical
from gateway.errors import NotFound
from gateway.identity.authenticate import Reader
from gateway.identity.certificates import certify_site
from gateway.identity.evidence import Evidence
from gateway.identity.key_ring import KeyRing
from gateway.service.jobs import JobService
from gateway.wire.proofs import KEYS_SEAL_TYPE, SEAL_TYPE, EvidenceView, GatewayKeys, Proof
from gateway.work import Work, Works


@dataclass(frozen=True)
class ProofService:
    """Makes proofs; ``ring`` signs receipts and certificates, ``audience`` is the gateway's name in signatures."""

    reads: Works
    jobs: JobService
    ring: KeyRing
    audience: str
    now: Callable[[], datetime]

    def keys(self) -> GatewayKeys:
        """The keys that receipts, certificates and replies are signed with, and how they follow each other."""
        published = [{name: key[name] for name in _PUBLISHED} for key in self.ring.jwks()["keys"]]
        keys = GatewayKeys(audience=self.audience, keys=tuple(published), successions=tuple(self.ring.successions))
        return keys.model_copy(update={"seal": self._seal(keys, KEYS_SEAL_TYPE)})

    def of(self, caller: Reader, name: str) -> Proof:
        """The proof of a settled job. Raises NotFound before, and for a job that is not the caller's."""
        self.jobs.receipt(caller, name)
        job = self.jobs.find(caller, name)
        with self.reads() as work:
            receipt = work.receipts.of(job.id)
            evidence = work.evidence.get(receipt.authorisation)
            certificate = self._certificate(work, evidence)
        keys = self.keys()
        proof = Proof(
            audience=self.audience,
            job=job.scheduler_id,
            receipt=receipt.document(),
            signature=receipt.signature,
            evidence=_view(evidence),
            certificate=certificate,
            keys=keys.keys,
            successions=keys.successions,
            exported_at=self.now(),
        )
        return proof.model_copy(update={"seal": self._seal(proof, SEAL_TYPE)})

    def _seal(self, document: GatewayKeys | Proof, typ: str) -> str:
        digest = hashlib.sha256(canonical(document.model_dump(mode="json", exclude={"seal"})))
        return self.ring.sign(digest.hexdigest().encode(), typ, self.now())

    def _certificate(self, work: Work, evidence: Evidence) -> str:
        kind, _, site = evidence.kid.partition(":")
        if kind == "site" and site:
            return certify_site(site, evidence.public_key, self.ring, self.audience, self.now())
        kept = work.certificates.of(evidence.kid)
        if kept is None:
            message = "The certificate of the key that ordered this job was not kept."
            raise NotFound(message, hint="burst receipt without --evidence prints the signed receipt alone")
        return kept


_PUBLISHED = ("kty", "crv", "x", "kid")


def _view(evidence: Evidence) -> EvidenceView:
    return EvidenceView.model_validate({**vars(evidence), "body": base64.b64encode(evidence.body).decode()})
