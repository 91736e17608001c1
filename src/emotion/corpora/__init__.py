"""The corpora this project reads: a module with ``load(folder) -> Corpus`` each, and where names
follow a scheme ``parse_name(stem) -> Named``; its line stands in ``emotion/registry.py``.
"""
