"""The class of a tokenizer that is all in its `tokenizer.json`.

`AutoTokenizer` gives a folder the class that belongs to its model's type, and that of Qwen2 replaces normalization and splitting by
its own. A folder that names a class of its own (`auto_map`) is exempt: so this class writes its name, and this file beside it, into
every folder that it is saved in. It is called as the generic class is, which AutoTokenizer takes where `trust_remote_code` is not set;
both read `tokenizer.json` as it stands.
"""

from __future__ import annotations

import transformers


class TokenizersBackend(transformers.TokenizersBackend):
    """The generic tokenizer of transformers, which `save_pretrained` writes so that `AutoTokenizer` reads it for any type of model."""

    _auto_class = "AutoTokenizer"
