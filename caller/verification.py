"""What an endpoint offers, and what the checks of a credential found. Frozen values, provider-neutral."""

from dataclasses import dataclass, field

from caller.json_types import JsonObject


@dataclass(frozen=True, slots=True)
class Model:
    """A model that an endpoint offers."""

    id: str
    owned_by: str = ""
    provider_fields: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a credential: `status` is PASS, WARN, FAIL or SKIP, `took` in seconds."""

    id: str
    status: str
    observed: str
    remedy: str = ""
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class Verification:
    """What the checks of a credential found. `url` has no query."""

    checks: tuple[Check, ...]
    api: str
    url: str

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not any(check.status == "FAIL" for check in self.checks)
