"""The environments of an evaluation: from a name to a recipe. A split may follow the name after "@" ("alfworld@valid_seen")."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from empg_gym.chat_settings import ChatSettings
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import find_id, held_out_split


def find_recipe(name: str, *, split: str | None = None, kwargs: Mapping[str, Any] | None = None, chat: ChatSettings) -> EnvRecipe:
    """Return the recipe of the environment that a user named, with the split to use among its arguments.

    Raises:
        ConfigError: the environment is unknown.
    """
    base, _, wanted = name.partition("@")
    split = wanted or split
    recipe = EnvRecipe(base, dict(kwargs or {}), chat=chat)
    recipe = dataclasses.replace(recipe, env_id=find_id(base))
    if split is None and "split" not in recipe.kwargs:
        split = held_out_split(recipe.env_id)
    return recipe if split is None else dataclasses.replace(recipe, kwargs={"split": split, **recipe.kwargs})
