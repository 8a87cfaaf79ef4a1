"""Questions from files: formats, folders and mixes."""
