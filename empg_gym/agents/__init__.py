"""Agents: anything that answers a conversation."""

from empg_gym.agents.adapter import AgentLike, Session, as_agent, label_of
from empg_gym.agents.base import Agent, AgentInfo, BaseAgent, Message, Reply, TrainingOrigin
from empg_gym.agents.factory import KINDS, make_agent

__all__ = [
    "KINDS",
    "Agent",
    "AgentInfo",
    "AgentLike",
    "BaseAgent",
    "Message",
    "Reply",
    "Session",
    "TrainingOrigin",
    "as_agent",
    "label_of",
    "make_agent",
]
