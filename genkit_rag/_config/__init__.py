"""The project's configuration file `genkit_rag.toml`, and the plugins that it configures."""

from genkit_rag._config.file import CONFIG_FILE, CONFIG_VARIABLE, Defaults, ProjectConfig, load_config
from genkit_rag._config.plugins import ConfiguredPlugins, make_plugin

__all__ = [
    "CONFIG_FILE",
    "CONFIG_VARIABLE",
    "ConfiguredPlugins",
    "Defaults",
    "ProjectConfig",
    "load_config",
    "make_plugin",
]
