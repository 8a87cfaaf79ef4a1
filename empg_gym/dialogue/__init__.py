"""Dialogue formats: the text formats between an environment and a language model."""

from empg_gym.dialogue.base import Dialogue, Parsed
from empg_gym.dialogue.formats import DIALOGUES, Native, Plain, ReAct, ThinkAction, get_dialogue

__all__ = ["DIALOGUES", "Dialogue", "Native", "Parsed", "Plain", "ReAct", "ThinkAction", "get_dialogue"]
