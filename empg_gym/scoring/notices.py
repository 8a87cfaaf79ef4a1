"""What a reader should know before trusting a rate: limits and formats that ended or spoiled many episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from empg_gym.scoring.record import EpisodeRecord
from empg_gym.trajectory import StopReason

SHARE = 0.05
"""Share of episodes or responses above which a notice is given."""


def notices(records: Sequence[EpisodeRecord]) -> list[str]:
    """Return one sentence per kind of trouble that more than 5 % of the scored episodes (or of their responses) had."""
    scored = [record for record in records if record.is_scored]
    steps = sum(record.steps for record in scored)
    return list(_episodes(scored)) + (list(_responses(scored, steps)) if steps else [])


def _episodes(scored: Sequence[EpisodeRecord]) -> Iterator[str]:
    full = sum(record.stop_reason == StopReason.ROW_TOKENS for record in scored)
    if full > SHARE * len(scored):
        yield (
            f"{full} of {len(scored)} episodes ended because the model's context was full: show less history, or use a longer context "
            "(rollout.max_row_tokens in training)"
        )
    late = sum(record.stop_reason == StopReason.TIME_LIMIT for record in scored)
    if late > SHARE * len(scored):
        yield f"{late} of {len(scored)} episodes ended at the time limit: raise limits.max_seconds"


def _responses(scored: Sequence[EpisodeRecord], steps: int) -> Iterator[str]:
    cut = sum(record.cut for record in scored)
    if cut > SHARE * steps:
        yield (
            f"{cut} of {steps} responses were cut at the limit of tokens per response: raise it (agent.max_tokens; "
            "rollout.max_response_tokens in training)"
        )
    malformed = sum(record.malformed for record in scored)
    if malformed > SHARE * steps:
        yield f"{malformed} of {steps} responses were not in the dialogue's format: read some, or try another dialogue"
    inadmissible = sum(record.invalid for record in scored) - malformed
    if inadmissible > SHARE * steps:
        yield f"{inadmissible} of {steps} actions could not be carried out, though they were in the right format"
