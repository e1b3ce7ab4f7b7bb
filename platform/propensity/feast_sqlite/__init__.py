"""Feast's sqlite online store for several writers: newer rows win. Usable without the rest of the platform.

feature_store.yaml:
    online_store:
      type: propensity.feast_sqlite.NewestSqliteOnlineStore
      path: data/online_store.db
"""

from propensity.feast_sqlite.store import NewestSqliteOnlineStore, NewestSqliteOnlineStoreConfig

__all__ = ["NewestSqliteOnlineStore", "NewestSqliteOnlineStoreConfig"]
