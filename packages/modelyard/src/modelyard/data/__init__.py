"""Reads tables: imports them as Parquet, profiles their columns, and checks them against schema.yaml."""
