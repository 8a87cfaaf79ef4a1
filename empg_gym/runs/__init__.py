"""Run folders and configurations, shared by training and evaluation.

folder       errors of writing to a folder, unused folders, folders that appear whole
lock         one process at a time writes to a folder
atomic_write, json_file
             files are replaced whole; reading names what is damaged
line_digest  lines that a resumed run knows as its own
resume       a folder continues only with the configuration that began it
overrides    the grammar of `--set`
validation   one sentence for a mistake in a configuration
redaction    what a secret looks like, and its removal from all that is written or shown
terminal     a console that foreign texts can't control
progress     a live view on a terminal, plain lines elsewhere
"""
