"""What Feast's universal offline-store tests need to run against this store; see feast_duckdb_repo_configs.py."""
