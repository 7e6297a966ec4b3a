"""A plugin that fails at import."""

raise RuntimeError("this plugin needs a library that is not here")
