"""Experts' episodes, and a server that plays them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from empg_gym.adapters.episode_task import EpisodeTask
from empg_gym.adapters.session import Session
from empg_gym.trajectory import Trajectory


def expert_episodes(tasks: Sequence[EpisodeTask], **kwargs) -> list[Trajectory]:
    """Return the expert's episodes, played here."""
    session, played = Session(kwargs), []
    for task in tasks:
        session.reset(task)
        while not session.last.done:
            action = session.env.text_env.expert()
            assert action is not None
            session.step(session.env.dialogue.render("as planned", action))
        played.append(session.trajectory)
    return played


@contextmanager
def serving(episodes: Sequence[Trajectory], **options) -> Iterator[str]:
    """Yield the base URL of a server that plays these episodes; for the options see `script_server.serving`."""
    from tests.adapters import script_server

    script = {item.steps[0].observation: [step.response for step in item.steps] for item in episodes}
    with script_server.serving(script, **options) as url:
        yield url
