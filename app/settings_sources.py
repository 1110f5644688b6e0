"""Where settings come from besides the environment itself: files that a `…_FILE` names, and one that may be empty."""

import os
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource
from typing_extensions import override


class UnreadableFile(Exception):
    """A file that a `…_FILE` names is not there or can't be read."""


class SecretFiles(PydanticBaseSettingsSource):
    """`NAME_FILE=/run/secrets/name` stands for `NAME`, so that a secret need not be in the environment."""

    def __init__(self, settings_cls: type[BaseSettings], dotenv: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._dotenv = dotenv.env_vars if isinstance(dotenv, DotEnvSettingsSource) else {}

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = f"{field_name}_file"
        path = os.environ.get(name.upper()) or self._dotenv.get(name)  # noqa: TID251  # this module is where it is read
        try:
            return (Path(path).read_text("utf-8").strip() if path else None), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableFile(f"{name.upper()}: {path} can't be read as text.") from error

    @override
    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: text for name, text in found.items() if text is not None}


class SwitchedOff(PydanticBaseSettingsSource):
    """`ORDER_CORRELATION_FIELD=` switches it off; any other empty variable counts as absent."""

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = field_name.upper()
        given = os.environ.get(name, dotenv_values(".env").get(name))  # noqa: TID251  # this module is where it is read
        return (given if given == "" else None), field_name, False

    @override
    def __call__(self) -> dict[str, Any]:
        name = "order_correlation_field"
        found = self.get_field_value(self.settings_cls.model_fields[name], name)[0]
        return {} if found is None else {name: found}
