"""Settings: flag > `MLOPS_*` > the tool's own variable > project file > default.

Every setting is a field of a section in `schema`; `load` reads them all at once and remembers
where each value came from, which is what `mlops config show --origin` prints.
"""

from mlops.settings.listing import SettingLine, list_settings
from mlops.settings.load import load_settings
from mlops.settings.project import find_project
from mlops.settings.schema import Settings

__all__ = ["SettingLine", "Settings", "find_project", "list_settings", "load_settings"]
