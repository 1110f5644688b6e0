"""Personal data on its way out: enough to recognise one's own, not enough for anybody else."""

from app.trading import Profile

_HIDDEN = "******"
_LONG_ENOUGH = 3  # letters of a name before the @; of a shorter one the first would be the most of it


def masked(profile: Profile) -> Profile:
    """Return the profile with e-mail, mobile, PAN and depository accounts masked."""
    return profile.model_copy(
        update={
            "email": _masked_email(profile.email),
            "mobile": _masked_end(profile.mobile, shown=2),
            "pan": _masked_end(profile.pan, shown=2),
            "depository_accounts": [_masked_end(account, shown=4) for account in profile.depository_accounts],
        }
    )


def _masked_end(text: str | None, *, shown: int) -> str | None:
    """Show the last characters, of a text that is long enough to keep the most of it hidden."""
    if text is None:
        return None
    return _HIDDEN + (text[-shown:] if len(text) >= 3 * shown else "")


def _masked_email(email: str | None) -> str | None:
    if email is None:
        return None
    name, at, domain = email.rpartition("@")
    if not name:
        return _HIDDEN
    shown = name[0] if len(name) >= _LONG_ENOUGH else ""
    return f"{shown}{_HIDDEN}{at}{domain}"
