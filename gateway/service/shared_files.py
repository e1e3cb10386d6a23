"""SharedFiles: whether nodes see the files of this machine, and the file by which a client proves that it does too.

Invariant: only the user whom jobs run as can read the witness, so whoever has read it could run the job by hand.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gateway import wire
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, authorise, demand


@dataclass(frozen=True)
class SharedFiles:
    """``witness``: a file of mode 0600; None where nodes are machines of their own."""

    witness: Path | None

    def view(self, reader: Reader) -> wire.SharedFiles:
        """What a client compares. Raises Refused."""
        demand(authorise(reader, Action.SHARE_FILES))
        if self.witness is None:
            return wire.SharedFiles(shared=False)
        digest = hashlib.sha256(self.witness.read_bytes()).hexdigest()
        return wire.SharedFiles(shared=True, witness=str(self.witness), sha256=digest)
