"""Phrase: four plain words for a public key, so that a person can compare two screens.

Invariant: both sides make the words from the key itself, so a key that was changed on its way has other words.
"""

from __future__ import annotations

import hashlib
from typing import Final

from joserfc.jwk import OKPKey

from gateway.identity.keys import thumbprint

WORDS: Final = (
    ("brave", "calm", "clever", "curious", "eager", "fair", "gentle", "happy", "honest", "jolly", "kind", "lively",
     "lucky", "merry", "mild", "modest", "neat", "noble", "patient", "plain", "polite", "proud", "quick", "quiet",
     "shy", "sleepy", "small", "stout", "sunny", "tall", "tidy", "wise"),
    ("badgers", "bears", "bees", "cats", "cows", "cranes", "crows", "deer", "dogs", "ducks", "eels", "foxes", "frogs",
     "geese", "goats", "hares", "herons", "horses", "lambs", "larks", "mice", "moles", "otters", "owls", "pigeons",
     "rabbits", "robins", "seals", "swans", "toads", "trout", "whales"),
    ("bake", "build", "carry", "climb", "count", "dance", "draw", "drift", "dream", "drive", "float", "follow",
     "gather", "glide", "hum", "jump", "knit", "listen", "march", "paint", "plant", "play", "read", "row", "run",
     "sail", "sing", "skate", "swim", "talk", "walk", "write"),
    ("alone", "badly", "boldly", "bravely", "calmly", "daily", "deeply", "early", "easily", "fast", "finely", "firmly",
     "freely", "gladly", "often", "gravely", "keenly", "late", "loudly", "neatly", "nicely", "openly", "quietly",
     "rarely", "safely", "slowly", "softly", "somehow", "sweetly", "together", "warmly", "well"),
)  # fmt: skip
"""Four lists of 32 words: 20 bits."""


def phrase(key: OKPKey) -> str:
    """A sentence such as "quiet cows run slowly", of the key's thumbprint (RFC 7638)."""
    digest = hashlib.sha256(thumbprint(key).encode()).digest()
    return " ".join(words[byte % len(words)] for words, byte in zip(WORDS, digest, strict=False))
