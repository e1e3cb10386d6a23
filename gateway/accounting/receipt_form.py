"""What of a receipt is signed: one spelling of a document, for who issues it and for who verifies it years later.

Invariant: equal documents have equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

RECEIPT_TYPE: Final = "burst-receipt+jws"


def canonical(document: Mapping[str, Any]) -> bytes:
    """RFC 8785 JSON of a document of texts and integers: keys sorted, no blanks, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
