"""A tokenizer class for tokenizers that are fully described by their `tokenizer.json`.

`AutoTokenizer` selects the class by the model's type, and Qwen2's class replaces normalization and splitting with its own. A folder that
names its own class (`auto_map`) is exempt. This class therefore saves its name, and this file, into every folder that it is saved in. It
has the name of the generic class, which AutoTokenizer uses if `trust_remote_code` is not set; both read `tokenizer.json` unchanged.
"""

from __future__ import annotations

import transformers


class TokenizersBackend(transformers.TokenizersBackend):
    """The generic tokenizer of transformers, saved in such a way that `AutoTokenizer` loads it for any type of model."""

    _auto_class = "AutoTokenizer"
