"""What a crash reporter shows."""

from __future__ import annotations

import traceback


def frames_of_ours(error: BaseException) -> str:
    """What a crash reporter shows of our own frames, local variables included."""
    shown = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "thingspace_auth_adapters/" in frame.f_code.co_filename.replace("\\", "/"):
            shown.append(repr(dict(frame.f_locals)))
    return "\n".join(shown)
