"""`empg-gym serve space`: a container recipe and a Hugging Face Space for an environment, from one template for all.

The folder has a Dockerfile, the manifest and layout of an OpenEnv package, the card of the Space, and a probe: an episode that OpenEnv's
validation replays in the container. The probe's actions are the expert's.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import jinja2

import empg_gym
from empg_gym.env import TextEnv
from empg_gym.errors import ConfigError, OutputExistsError
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import short_name
from empg_gym.serve.host import EnvHost

_PLACES = {"app.py": "server/app.py", "health.py": "server/health.py"}
"""Files that are not at the root."""
_LOOKS = {"alfworld": ("🏠", ("yellow", "red")), "webshop": ("🛒", ("blue", "green")), "deepsearch": ("🔎", ("indigo", "purple"))}
_PROBE_SEED = 0
_MOST_ACTIONS = 100


def write_space(recipe: EnvRecipe, folder: Path) -> list[Path]:
    """Write the folder of an environment; return the files.

    Args:
        recipe: an environment of this package on its embedded world.
        folder: where to write; new or empty.

    Raises:
        ConfigError: the environment isn't one of this package, or has arguments.
        OutputExistsError: the folder isn't empty.
    """
    name = short_name(recipe.env_id)
    if recipe.module is not None or not recipe.env_id.startswith("EMPG/") or recipe.arguments:
        raise ConfigError("a Space is written for alfworld, webshop or deepsearch, without a split or arguments")
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputExistsError(f"{folder} isn't empty: name a new folder")
    host = EnvHost(name, recipe)
    env = host.catalog()
    emoji, colors = _LOOKS.get(name, ("📄", ("gray", "gray")))
    values = {
        "name": name,
        "env_id": recipe.env_id,
        "benchmark": env.benchmark,
        "version": empg_gym.__version__,
        "split": env.split,
        "splits": {split: host.catalog(split).num_tasks for split in host.splits},
        "emoji": emoji,
        "colors": colors,
        "tags": ["agents", "text", name],
    }
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("empg_gym.serve", "space"), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    texts = {}
    for template in templates.list_templates(extensions=["jinja"]):
        file = template.removesuffix(".jinja")
        texts[_PLACES.get(file, file)] = templates.get_template(template).render(values)
    texts["server/__init__.py"] = ""
    texts["wheels/README.md"] = "Wheels in this folder are preferred to the package index.\n"
    texts["validation/runtime.json"] = json.dumps(_probe(host), indent=1, ensure_ascii=False) + "\n"
    files = []
    for file, text in sorted(texts.items()):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        files.append(path)
    return files


def _probe(host: EnvHost) -> dict[str, object]:
    """Return an expert's episode, for OpenEnv's runtime validation."""
    split = host.splits[0]
    with contextlib.closing(host.make(split)) as env:
        inner = env.unwrapped
        assert isinstance(inner, TextEnv)
        env.reset(seed=_PROBE_SEED, options={"task": 0})
        actions: list[dict[str, str]] = []
        ended = False
        while not ended and len(actions) < _MOST_ACTIONS:
            action = inner.expert() or ""
            actions.append({"action": action})
            _, _, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
    options = {"split": split, "task": 0}
    return {"plan_schema_version": "1", "reset": {"episode_id": "probe", "seed": _PROBE_SEED, "options": options}, "actions": actions}
