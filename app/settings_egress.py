"""From which addresses we are to reach the broker, and who tells us from which we do."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, field_validator
from pydantic_settings import NoDecode

from app.settings_parsing import comma_list
from app.urls import is_loopback, web_url


class Egress(BaseModel):
    """The part of the settings that is about our own address, as the broker sees it; `partner doctor` compares."""

    expected_egress_ips: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(comma_list)] = ()
    egress_address_url: Annotated[str, BeforeValidator(web_url)] | None = None

    @field_validator("egress_address_url")
    @classmethod
    def _encrypted(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith("https://") and not is_loopback(url):
            raise ValueError("must be https: whoever stands in between could tell us any address")
        return url
