"""Every option, with its meaning and default.

A value comes from, in falling precedence: a flag, an environment variable `PROPENSITY_…` (nested ones with two
underscores: `PROPENSITY_TRAINING__EPOCHS=3`), a TOML file (`PROPENSITY_CONFIG`, else `propensity.toml` in the
project root), the default. `feature_repo` imports this module, which imports errors and other options only.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as UnreadableSettingError,
)

from propensity.errors import SettingsError
from propensity.scoring_settings import RetentionSettings, ScoringSettings


def project_root() -> Path:
    """Directory that holds `feature_repo/` and `migrations/`: `PROPENSITY_PROJECT`, else the checkout."""
    named = os.environ.get("PROPENSITY_PROJECT")
    return Path(named).expanduser().resolve() if named else Path(__file__).resolve().parents[2]


class TrainingSettings(BaseModel):
    """How the net is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str = Field("category_aligned", description="Key of training.networks.NETWORKS.")
    cutoffs: Annotated[int, Field(ge=2)] = Field(
        13, description="Most training cut-offs (as_of) used, newest first; fewer where history is short."
    )
    cutoff_every_days: Annotated[int, Field(ge=1)] = Field(14, description="Days between training cut-offs.")
    epochs: Annotated[int, Field(ge=1)] = Field(
        6, description="Most passes over the training rows; early stopping on validation log loss picks fewer."
    )
    patience: Annotated[int, Field(ge=1)] = Field(
        2, description="Epochs without a better validation log loss before training stops."
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(128, description="Rows per step.")
    shuffle_megabytes: Annotated[int, Field(ge=1)] = Field(
        1024,
        description="Memory for encoded training rows. More of them stay on disk and are shuffled as many at a time.",
    )
    optimizer: Literal["adam", "adagrad", "sgd"] = Field(
        "adam", description="MXNet's name of the optimizer. Each wants a learning rate of its own."
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        3e-3, description="The optimizer's step at the start; it decays to zero over the epochs."
    )
    warm_epochs: Annotated[int, Field(ge=1)] = Field(
        2, description="`epochs` of a training that starts from a previous model: propensity train --from-model."
    )
    warm_learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-3, description="`learning_rate` of a training that starts from a previous model."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.5, description="Dropout of the deep part's hidden layers.")
    aligned_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="Dropout of the category-aligned part's hidden layers."
    )
    hidden: Annotated[tuple[int, ...], Field(min_length=1)] = Field(
        (64, 32), description="Widths of the deep part's hidden layers."
    )
    aligned_hidden: Annotated[tuple[int, ...], Field(min_length=1)] = Field(
        (64, 32), description="Widths of the hidden layers that all categories share in the category-aligned part."
    )
    embedding: Annotated[int, Field(ge=1)] = Field(8, description="Width of a category's embedding.")
    context: Annotated[int, Field(ge=1)] = Field(
        8, description="Width of the context vector the deep part hands to the category-aligned part."
    )
    min_feature_rows: Annotated[int, Field(ge=1)] = Field(
        20, description="Training rows a feature must occur in to get a column of its own."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-5, description="L2 penalty on dense weights.")
    nets: Annotated[int, Field(ge=1)] = Field(
        2,
        description="Nets in a model, from different seeds; their margins are averaged. Scoring cost rises with it.",
    )
    category_weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.02, description="L2 penalty on each category's own linear weights and on those of the cross-category part."
    )
    cross_signals: tuple[str, ...] = Field(
        ("purchases_decay_60d", "purchases_365d"),
        description="Category-aligned signals of which the cross-category part has a weight for each pair of "
        "categories; none leaves the part out.",
    )
    seed: Annotated[int, Field(ge=0)] = Field(7, description="Seed of initialisation, shuffling and dropout.")
    retrain_after_days: Annotated[int, Field(ge=1)] = Field(
        28,
        description="`propensity run` trains again when the champion's training window ended this long before as_of.",
    )


class LabelSettings(BaseModel):
    """What the net predicts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon_days: Annotated[int, Field(ge=1)] = Field(30, description="Length of the label window in local days.")
    event_types: tuple[str, ...] = Field(
        ("purchase",),
        description="Event types in rising order of commitment: class 0 is none of them, class i the i-th; "
        "the highest one in the window wins. One type makes K = 2 classes.",
    )

    @field_validator("event_types")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("labels.event_types needs at least one event type, each once")
        return value

    @property
    def n_classes(self) -> int:
        """K, the number of classes per category."""
        return len(self.event_types) + 1


class FeatureSettings(BaseModel):
    """What builds features and labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["local", "spark"] = Field(
        "local", description="What runs their SQL: DuckDB here, or Spark on the cluster of scoring.spark_master."
    )


SIMPLE_BASELINES: Final = ("global_popularity", "personal_frequency", "recency_weighted_frequency")


class GateSettings(BaseModel):
    """What a challenger must reach on its validation window to become champion; see docs/models.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_micro_auc: Annotated[float, Field(ge=0, le=1)] = Field(0.65, description="Lowest ROC AUC over all pairs.")
    min_macro_auc: Annotated[float, Field(ge=0, le=1)] = Field(
        0.55, description="Lowest mean ROC AUC of the categories with enough positives, where there are such."
    )
    max_log_loss_ratio: Annotated[float, Field(gt=0)] = Field(
        0.99, description="Highest log loss as a share of that of global popularity."
    )
    max_log_loss: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Highest log loss in nats per pair; none by default, since it depends on the label density."
    )
    max_ece: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="Highest expected calibration error, 15 bins of equal width."
    )
    min_customers: Annotated[int, Field(ge=1)] = Field(
        50, description="Fewest customers in the window; with fewer any model is refused, the first one too."
    )
    min_positives: Annotated[int, Field(ge=1)] = Field(100, description="Fewest positive pairs in the window.")
    baselines: tuple[str, ...] = Field(
        SIMPLE_BASELINES,
        description="Simple rules that a challenger must beat in log loss and macro AUC; may be fewer of these.",
    )
    level: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.95, description="Level of the paired bootstrap interval against the champion."
    )

    @field_validator("baselines")
    @classmethod
    def _simple(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(value) - set(SIMPLE_BASELINES):
            raise ValueError(f"unknown {', '.join(sorted(unknown))}; known: {', '.join(SIMPLE_BASELINES)}")
        return value


class Settings(BaseSettings):
    """All options of the platform; frozen. Printed by `propensity config`."""

    model_config = SettingsConfigDict(env_prefix="PROPENSITY_", env_nested_delimiter="__", frozen=True, extra="forbid")

    home: Path = Field(
        default_factory=lambda: project_root() / ".propensity",
        description="Directory of lake, catalogue, models and Feast's registry. It may be moved.",
    )
    region: str = Field("us", pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="Market that commands work on.")
    timezone: str = Field(
        "America/New_York",
        description="Time zone in which a region's days begin; a date given as as_of means its midnight.",
    )
    snapshot_every_days: Annotated[int, Field(ge=1)] = Field(7, description="Cadence of `--from … --to …` builds.")
    features: FeatureSettings = Field(default_factory=FeatureSettings)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    gate: GateSettings = Field(default_factory=GateSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    top_k: Annotated[int, Field(ge=1)] = Field(20, description="Categories kept in top_categories and served online.")
    online_full_vectors: bool = Field(default=False, description="Serve the full propensity vector online too.")
    scoring: ScoringSettings = Field(default_factory=ScoringSettings)
    offline_store: Literal["duckdb", "spark"] = Field(
        "duckdb",
        description="Where Feast joins features: in this process, or on Spark as scoring.spark_master and "
        "scoring.spark say. After a change: propensity apply.",
    )
    max_bad_row_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="Share of quarantined rows above which an import stops and changes nothing."
    )
    memory_limit: str = Field("4GB", description="DuckDB's memory limit; beyond it DuckDB spills to home/tmp.")
    refuse_beyond_memory: bool = Field(
        default=True, description="Refuse a training that is forecast to need more memory than there is."
    )
    threads: Annotated[int, Field(ge=1)] = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), description="Threads for DuckDB, MXNet and scoring."
    )
    lock_timeout_seconds: Annotated[float, Field(ge=0)] = Field(
        10.0, description="How long a command retries when another process holds the catalogue's lock."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the TOML file (see the module's docstring)."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())

    @field_validator("home")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone such as 'Europe/Berlin'") from error
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The region's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def lake(self) -> Path:
        """Root of the Parquet lake."""
        return self.home / "lake"

    @property
    def warehouse(self) -> Path:
        """The catalogue's DuckDB file."""
        return self.home / "warehouse.duckdb"

    @property
    def models(self) -> Path:
        """Root of the model artifacts, one directory per region and version."""
        return self.home / "models"

    @property
    def feast_project(self) -> str:
        """Feast project of the region: markets share a registry and an online store, never a feature."""
        return "propensity_" + self.region.replace("-", "_")


def config_file() -> Path:
    """The TOML file settings are read from, whether it exists or not."""
    named = os.environ.get("PROPENSITY_CONFIG")
    return Path(named).expanduser() if named else project_root() / "propensity.toml"


def load_settings(**flags: Any) -> Settings:
    """Read the settings; `flags` that are None count as not given.

    Raises:
        SettingsError: A value is unknown or out of range, or the TOML file named by PROPENSITY_CONFIG is
            missing or malformed. The message names the option.
    """
    if os.environ.get("PROPENSITY_CONFIG") and not config_file().is_file():
        raise SettingsError(f"PROPENSITY_CONFIG names {str(config_file())!r}, which is not a file.")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"Setting {option!r}: {reason}. See: propensity config") from error
    except UnreadableSettingError as error:
        advice = "A list is written as JSON, e.g. PROPENSITY_LABELS__EVENT_TYPES='[\"purchase\"]'."
        raise SettingsError(f"{str(error).rstrip('.')}. {advice}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config_file()}: not valid TOML: {error}") from error
