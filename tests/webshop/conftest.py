"""A cache folder for the session, and small worlds in it."""

from __future__ import annotations

import os

import pytest

from empg_gym.envs.webshop.env import WebShopEnv


@pytest.fixture(scope="session", autouse=True)
def webshop_cache(tmp_path_factory):
    before = os.environ.get("EMPG_GYM_CACHE")
    os.environ["EMPG_GYM_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["EMPG_GYM_CACHE"]
    else:
        os.environ["EMPG_GYM_CACHE"] = before


@pytest.fixture
def make():
    """Return a factory of environments with a world of 200 products."""

    def make_env(split: str = "all", **options) -> WebShopEnv:
        options.setdefault("num_products", 200)
        return WebShopEnv(split, **options)

    return make_env
