"""What everybody who sees an answer has to know of the model behind it.

Of a corpus such as the generated sample, a line in its folder (``notice.txt``) goes into
features.json, from there into every checkpoint, and from the checkpoint into every answer.
"""

from collections.abc import Sequence

from emotion.prediction.members import Member
from emotion.telling import tell


def notice_of(members: Sequence[Member]) -> str:
    """The line that goes with every answer of these models, or nothing."""
    lines = (member.checkpoint.features.get("notice", "") for member in members)
    return "; ".join(dict.fromkeys(line for line in lines if line))


def tell_notice(members: Sequence[Member]) -> None:
    """The same on stderr."""
    if notice := notice_of(members):
        tell(f"warning: {notice}")
