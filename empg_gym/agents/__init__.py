"""Agents: anything that answers a conversation."""

from empg_gym.agents.base import Agent, Message, Reply, SessionAgent, ask, open_session
from empg_gym.agents.factory import KINDS, make_agent

__all__ = ["KINDS", "Agent", "Message", "Reply", "SessionAgent", "ask", "make_agent", "open_session"]
