"""Agents: anything that answers a conversation."""

from empg_gym.agents.base import Agent, Message, Reply, SessionAgent, ask, open_session

__all__ = ["Agent", "Message", "Reply", "SessionAgent", "ask", "open_session"]
