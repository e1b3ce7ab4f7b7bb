"""The exceptions of the platform.

PropensityError                 anything a user can act on: one line that says what, where, what next
├── SettingsError               an option is missing, unknown or out of range
├── InputError                  input data can't be used
│   ├── MissingSourceError      a file, table or package to read from isn't there
│   └── TooManyBadRowsError     the import was stopped; nothing has changed
├── LookupFailedError           something named doesn't exist
│   ├── UnknownRegionError
│   ├── UnknownCategoryError
│   ├── UnknownCustomerError
│   ├── UnknownModelError
│   ├── UnknownRunError
│   └── MissingSnapshotError    no snapshot, label or run for that as_of
├── WarehouseError              the catalogue or lake can't be used as it is
│   ├── WarehouseLockedError    another process holds the write lock
│   └── WarehouseSchemaError    the catalogue isn't at the schema this version needs
├── TrainingError               a model can't be trained from what is there
│   └── TooLargeError           a training needs more memory than there is
├── ArtifactError               an artifact is damaged, foreign or of another schema version
├── ExportError                 a model can't be exported as asked, or an export isn't what the scorer is
├── GateError                   a model can't be promoted, rolled back or compared as asked
├── PublicationError            a run can't be republished, expired or put online as asked
├── EngineError                 a distributed engine can't be reached, or gave up
└── RuntimeMissingError         a system library or optional package isn't installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PropensityError(Exception):
    """Base of every error the platform raises on purpose."""


class SettingsError(PropensityError):
    """An option is missing, unknown or out of range."""


class InputError(PropensityError):
    """Input data can't be used."""


class MissingSourceError(InputError):
    """A file, table or package to read from isn't there."""


class TooManyBadRowsError(InputError):
    """More bad rows than the settings allow; the import changed nothing."""


class LookupFailedError(PropensityError):
    """Something that was named doesn't exist."""


class UnknownRegionError(LookupFailedError):
    """The region isn't in the catalogue."""


class UnknownCategoryError(LookupFailedError):
    """The category isn't one of the region's."""


class UnknownCustomerError(LookupFailedError):
    """The customer has no row."""


class UnknownModelError(LookupFailedError):
    """No such model version, or none trained yet."""


class UnknownRunError(LookupFailedError):
    """The catalogue has no such run of the region."""


class MissingSnapshotError(LookupFailedError):
    """No snapshot, label or scoring run exists for that as_of."""


class WarehouseError(PropensityError):
    """The catalogue or the lake can't be used as it is."""


class WarehouseLockedError(WarehouseError):
    """Another process holds the catalogue's write lock."""


class WarehouseSchemaError(WarehouseError):
    """The catalogue isn't at the schema this version needs."""


class TrainingError(PropensityError):
    """A model can't be trained from what is there."""


class TooLargeError(TrainingError):
    """A training needs more memory than there is, by its forecast."""


class ArtifactError(PropensityError):
    """An artifact is damaged, foreign or of another schema version."""


class ExportError(PropensityError):
    """A model can't be exported as asked, or an export doesn't do what the scorer does."""


class GateError(PropensityError):
    """A model can't be promoted, rolled back or compared as asked."""


class PublicationError(PropensityError):
    """A run can't be republished, expired or put online as asked."""


class EngineError(PropensityError):
    """A distributed engine can't be reached, or gave up; what it finished is kept."""


class RuntimeMissingError(PropensityError):
    """A system library or optional package isn't installed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'X'?"` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
