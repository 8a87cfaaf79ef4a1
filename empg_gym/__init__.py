"""EMPG Gym: environments, agent loop, trainer and evaluation for long-horizon LLM agents.

Importing this package registers `EMPG/ALFWorld-v0`, `EMPG/WebShop-v0` and `EMPG/DeepSearch-v0` with Gymnasium. It never imports torch.
"""

from empg_gym.registration import register_environments

__version__ = "0.1.0"

register_environments()
