"""The composition root: from settings to a running gateway, and back to nothing.

``python -m gateway.bootstrap up|down|check|serve --dir D`` is what ``burst up`` and ``burst down`` start.
"""
