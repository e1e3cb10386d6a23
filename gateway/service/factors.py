"""FactorService: how users look after their own logins: codes, recovery codes, remembered devices, the password.

Invariant: what would let somebody in needs the password once more, and a code where one is enrolled: a session that
was stolen, or left open, is not enough. Requests with a password in them are not kept as evidence.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway import wire
from gateway.errors import Conflict, NotAllowed
from gateway.identity import recovery_codes, totp
from gateway.identity.audit import Act, Outcome
from gateway.identity.authenticate import Caller, Reader
from gateway.identity.authorise import Action, authorise, demand
from gateway.identity.factors import Proof, Totp, confirmed
from gateway.identity.passwords import hash_password
from gateway.identity.sessions import check_password, wrong_login
from gateway.identity.throttle import PASSWORDS, PASSWORDS_OF_ADDRESS, SECOND_FACTORS
from gateway.identity.users import User
from gateway.service.people import PeopleService
from gateway.work import Work


@dataclass(frozen=True)
class FactorService:
    """One's own ways to log in."""

    people: PeopleService

    def view(self, caller: Reader) -> wire.FactorsView:
        """What is enrolled."""
        demand(authorise(caller, Action.SEE_FACTORS))
        name = caller.user.name
        with self.people.reads() as work:
            return wire.FactorsView(
                totp=confirmed(work.factors, name) is not None,
                recovery_codes=work.factors.codes_left(name),
                devices=len(work.device_keys.of_user(name)),
            )

    def begin_totp(self, caller: Reader, request: wire.PasswordProof, address: str) -> wire.TotpSecret:
        """A new secret, which counts once ``confirm_totp`` has seen its first code. Raises NotAllowed, Conflict."""
        self._fresh(caller, request, address)
        user, secret, now = caller.user, totp.make_secret(), self.people.now()
        with self.people.works() as work:
            if confirmed(work.factors, user.name) is not None:
                raise Conflict("An authenticator app is enrolled already.", hint="burst totp remove, then enrol anew")
            work.factors.put_totp(Totp.of(user.name, secret, self.people.sealer, now))
        issuer = f"burst-{urlsplit(self.people.issuer).hostname}"
        text = base64.b32encode(secret).decode()
        return wire.TotpSecret(uri=totp.provisioning_uri(secret, user.name, issuer), secret=text)

    def confirm_totp(self, caller: Reader, request: wire.ConfirmRequest, address: str) -> wire.RecoveryCodes:
        """From now on logins need a code; ten recovery codes. Raises NotAllowed for a wrong code, Conflict."""
        demand(authorise(caller, Action.SET_FACTORS))
        name, now = caller.user.name, self.people.now()
        self.people.throttle.count(SECOND_FACTORS, name)
        with self.people.works() as work:
            factor = work.factors.totp(name)
            if factor is None or factor.confirmed_at is not None:
                raise Conflict("No authenticator app waits for its first code.", hint="burst totp enrol begins")
            step = totp.matching_step(factor.secret(self.people.sealer), request.code, now)
            if step is None or not work.factors.use_step(name, step):
                raise NotAllowed(
                    "The code is wrong.", hint="see that the phone's clock is right; type the code shown now"
                )
            work.factors.confirm(name, now)
            self._tell(work, name, "enrol totp", "logins need a code from now on", address=address)
            codes = self._new_codes(work, name)
        self.people.throttle.forgive(SECOND_FACTORS, name)
        return codes

    def remove_totp(self, caller: Reader, request: wire.PasswordProof, address: str) -> None:
        """Logins need no code from now on. Raises NotAllowed, Conflict when none is enrolled."""
        self._fresh(caller, request, address)
        with self.people.works() as work:
            self._enrolled(work, caller)
            forget_factors(work, caller.user.name, self.people)
            self._tell(work, caller.user.name, "remove totp", "by password and code", address=address)

    def new_recovery_codes(self, caller: Reader, request: wire.PasswordProof, address: str) -> wire.RecoveryCodes:
        """Ten new recovery codes in place of those before. Raises NotAllowed, Conflict when no app is enrolled."""
        self._fresh(caller, request, address)
        with self.people.works() as work:
            self._enrolled(work, caller)
            self._tell(work, caller.user.name, "make recovery codes", "those before are void", address=address)
            return self._new_codes(work, caller.user.name)

    def recover(self, request: wire.RecoverRequest, address: str) -> None:
        """Remove a lost second factor, for the password and a recovery code; sessions and devices end.

        Raises NotAllowed in the words of a wrong password whatever is wrong, TooManyTries.
        """
        people = self.people
        people.throttle.check(PASSWORDS_OF_ADDRESS, address)
        people.throttle.count(PASSWORDS, request.user, address)
        try:
            with people.reads() as work:
                user = check_password(work.users, request.user, request.password)
            people.throttle.count(SECOND_FACTORS, user.name)
            self._recover(user, recovery_codes.code_hash(user.name, request.recovery_code), address)
        except NotAllowed:
            people.throttle.count(PASSWORDS_OF_ADDRESS, address)
            raise
        people.throttle.forgive(PASSWORDS, user.name, address)
        people.throttle.forgive(SECOND_FACTORS, user.name)

    def change_password(self, caller: Caller, request: wire.PasswordRequest, address: str) -> None:
        """A new password; every other session ends. Raises NotAllowed, InvalidRequest for one that is too short."""
        self._fresh(caller, request, address)
        digest, name, now = hash_password(request.new_password), caller.user.name, self.people.now()
        with self.people.works() as work:
            work.users.set_password(name, digest)
            work.invitations.end_all(name, now)
            ended = work.sessions.revoke_all(name, now, keep=caller.session.id) + work.browsers.end_all(name, now)
            self._tell(work, name, "change password", f"{ended} other logins ended", address=address)

    def devices(self, caller: Caller) -> list[wire.DeviceView]:
        """The remembered devices of who asks, newest first."""
        demand(authorise(caller, Action.SEE_FACTORS))
        with self.people.reads() as work:
            found = work.device_keys.of_user(caller.user.name)
        return [wire.DeviceView(**{name: getattr(one, name) for name in wire.DeviceView.model_fields}) for one in found]

    def revoke_device(self, caller: Caller, device: str, address: str) -> None:
        """A device needs a code again. Raises NotFound."""
        demand(authorise(caller, Action.SET_FACTORS))
        with self.people.works() as work:
            work.device_keys.revoke(caller.user.name, device, self.people.now())
            work.evidence.keep(caller.evidence)
            act = Act(
                caller.user.name,
                "revoke device",
                f"device:{device}",
                "it needs a code again",
                authorisation=caller.evidence.digest,
                address=address,
            )
            work.audit.tell(act, self.people.now())

    def _fresh(self, caller: Reader, request: wire.PasswordProof, address: str) -> None:
        demand(authorise(caller, Action.SET_FACTORS))
        self.people.check_password(caller.user.name, request.password, address, Proof(request.code))

    def _recover(self, user: User, code_hash: str, address: str) -> None:
        people, now = self.people, self.people.now()
        with people.works() as work:
            found = not user.disabled and work.factors.use_code(user.name, code_hash, now)
            if found:
                forget_factors(work, user.name, people)
                work.sessions.revoke_all(user.name, now)
                work.browsers.end_all(user.name, now)
                self._tell(
                    work, user.name, "recover", "the second factor was removed by a recovery code", address=address
                )
            else:
                text = "the password was right, the recovery code was not"
                self._tell(work, user.name, "recover", text, address=address, outcome=Outcome.ALARM)
        if not found:
            raise wrong_login()

    def _enrolled(self, work: Work, caller: Reader) -> None:
        if confirmed(work.factors, caller.user.name) is None:
            raise Conflict("No authenticator app is enrolled.", hint="burst totp enrol")

    def _new_codes(self, work: Work, user: str) -> wire.RecoveryCodes:
        codes = recovery_codes.make_codes()
        work.factors.put_codes(user, [recovery_codes.code_hash(user, code) for code in codes], self.people.now())
        return wire.RecoveryCodes(codes=codes)

    def _tell(
        self, work: Work, user: str, action: str, text: str, *, address: str, outcome: Outcome = Outcome.DONE
    ) -> None:
        work.audit.tell(Act(user, action, f"user:{user}", text, outcome, address=address), self.people.now())


def forget_factors(work: Work, user: str, people: PeopleService) -> None:
    """No second factor, recovery code or remembered device of a user's is good any more."""
    work.factors.remove(user)
    work.device_keys.revoke_all(user, people.now())
